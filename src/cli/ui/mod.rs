//! Progress: the engine's events, shown live on a terminal, as plain lines, or as BuildKit's status messages.
//!
//! The engine never waits for who reads: an event becomes text at once, and a thread of its own writes that. So nothing of
//! an event is kept but what is still to be shown.

mod backlog;
mod ended;
mod model;
mod plain;
mod rawjson;
mod tty;

#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub(super) use model::{one_line, size};

use self::backlog::Backlog;
use crate::cli::args;
use crate::engine::event::{self, Event, EventSink};

/// How often a live display is drawn.
const FRAME: Duration = Duration::from_millis(100);

/// What consumes events.
trait Display: Send {
    /// Takes one event in. What is written is shown soon, and at once after a flush.
    fn event(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()>;

    /// Draws what changed; called every [`FRAME`] while the build runs and all before is written.
    fn frame(&mut self, out: &mut dyn Write) -> io::Result<()>;

    /// Ends what is written as far as it came: something else is about to be.
    fn settle(&mut self, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    /// Draws the last state, and leaves the cursor at the start of a line.
    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()>;
}

/// A running display; [`Ui::finish`] ends it.
pub(crate) struct Ui(Option<(Arc<Screen>, JoinHandle<()>)>);

impl Ui {
    /// Starts the display of `progress` on stderr. `auto` is `tty` on a terminal and `plain` elsewhere. What is read too
    /// slowly waits in a file in `dir`.
    pub(crate) fn start(progress: args::Progress, dir: &Path) -> Ui {
        let is_terminal = io::stderr().is_terminal();
        let display: Box<dyn Display> = match progress {
            args::Progress::Quiet => return Ui(None),
            args::Progress::Rawjson => Box::new(rawjson::RawJson::default()),
            args::Progress::Auto if is_terminal => Box::new(tty::Tty::new()),
            args::Progress::Tty => Box::new(tty::Tty::new()),
            args::Progress::Auto | args::Progress::Plain => Box::new(plain::Plain::default()),
        };
        let screen = Arc::new(Screen::new(display, dir));
        let showing = screen.clone();
        let thread = std::thread::spawn(move || showing.show(io::stderr()));
        Ui(Some((screen, thread)))
    }

    /// Where the engine sends its events.
    pub(crate) fn sink(&self) -> EventSink {
        match &self.0 {
            Some((screen, _)) => {
                let screen = screen.clone();
                Arc::new(move |event| screen.tell(&event))
            }
            None => event::silent(),
        }
    }

    /// For who is to write to the terminal, too, while the display runs.
    pub(crate) fn pending(&self) -> Pending {
        Pending(self.0.as_ref().map(|(screen, _)| screen.clone()))
    }

    /// Waits until everything sent so far is shown. What is sent later is not.
    pub(crate) fn finish(self) {
        if let Some((screen, thread)) = self.0 {
            screen.end();
            // A panic in the display has been printed; the build's result matters more.
            let _ = thread.join();
        }
    }
}

/// What a display has not shown yet.
pub(crate) struct Pending(Option<Arc<Screen>>);

impl Pending {
    /// Waits until everything sent so far is shown, but no longer than `most`.
    pub(crate) fn wait(&self, most: Duration) {
        if let Some(screen) = &self.0 {
            screen.settle(most);
        }
    }
}

/// Columns and rows of the terminal that stderr is; `None` when it is none, or does not know.
pub(crate) fn terminal_size() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(io::stderr()).ok()?;
    let (columns, rows) = (usize::from(size.ws_col), usize::from(size.ws_row));
    (0 < columns && 0 < rows).then_some((columns, rows))
}

/// A display between those who tell it what happened and the thread that writes down what it makes of that.
struct Screen {
    state: Mutex<Shown>,
    /// There is something to write.
    is_due: Condvar,
    /// Something was written.
    is_read: Condvar,
}

struct Shown {
    /// `None` once nobody looks any more.
    display: Option<Box<dyn Display>>,
    backlog: Backlog,
    /// Bytes that were written out.
    n_shown: u64,
    has_ended: bool,
}

impl Shown {
    /// Lets the display write. It ends with a panic, the build does not.
    fn write(&mut self, write: impl FnOnce(&mut dyn Display, &mut Backlog) -> io::Result<()>) {
        if let Some(display) = &mut self.display {
            let written = catch_unwind(AssertUnwindSafe(|| write(&mut **display, &mut self.backlog)));
            if !matches!(written, Ok(Ok(()))) {
                self.display = None;
            }
        }
    }
}

impl Screen {
    fn new(display: Box<dyn Display>, dir: &Path) -> Screen {
        let backlog = Backlog::new(dir.to_owned());
        Screen {
            state: Mutex::new(Shown { display: Some(display), backlog, n_shown: 0, has_ended: false }),
            is_due: Condvar::new(),
            is_read: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an event in. Only where the disk has no room for what is not read yet this waits for the reader.
    fn tell(&self, event: &Event) {
        let mut state = self.lock();
        state.write(|display, backlog| display.event(event, backlog));
        if state.backlog.is_due() {
            self.is_due.notify_one();
        }
        while !state.backlog.make_room() {
            state = self.is_read.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until all that was told is written out, `most` at most.
    fn settle(&self, most: Duration) {
        let until = Instant::now() + most;
        let mut state = self.lock();
        state.write(|display, backlog| display.settle(backlog).and_then(|()| backlog.flush()));
        self.is_due.notify_one();
        let n_told = state.backlog.n_written();
        while state.display.is_some() && state.n_shown < n_told {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            (state, _) = self.is_read.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn end(&self) {
        self.lock().has_ended = true;
        self.is_due.notify_one();
    }

    /// Writes to `out` what there is to show, until the end.
    fn show(&self, mut out: impl Write) {
        let mut chunk = Vec::new();
        let written = loop {
            let written = self.next(&mut chunk).and_then(|()| out.write_all(&chunk));
            if written.is_err() || chunk.is_empty() {
                break written;
            }
        };
        let mut state = self.lock();
        let display = state.display.take();
        state.backlog.clear();
        drop(state);
        self.is_read.notify_all();
        // There is nowhere left to say that it cannot be written.
        if let (Ok(()), Some(mut display)) = (written, display) {
            let mut out = io::BufWriter::new(out);
            let _ = display.finish(&mut out).and_then(|()| out.flush());
        }
    }

    /// `chunk` has been written: waits for what is to be written next, the oldest first; nothing is left when it is empty.
    fn next(&self, chunk: &mut Vec<u8>) -> io::Result<()> {
        let mut next_frame = Instant::now() + FRAME;
        let mut state = self.lock();
        state.n_shown += chunk.len() as u64;
        chunk.clear();
        self.is_read.notify_all();
        loop {
            let Shown { display, backlog, has_ended, .. } = &mut *state;
            let now = Instant::now();
            let is_time = next_frame <= now;
            if is_time {
                next_frame = now + FRAME;
            }
            if is_time
                && !*has_ended
                && let Some(display) = display
            {
                display.frame(backlog)?;
            }
            if is_time || *has_ended || backlog.is_due() {
                backlog.take(chunk)?;
                self.is_read.notify_all();
                if *has_ended || !chunk.is_empty() {
                    return Ok(());
                }
            }
            let wait = next_frame - now;
            (state, _) = self.is_due.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
