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

    /// Waits until everything sent so far is shown. What is sent later is not.
    pub(crate) fn finish(self) {
        if let Some((screen, thread)) = self.0 {
            screen.end();
            // A panic in the display has been printed; the build's result matters more.
            let _ = thread.join();
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
    has_ended: bool,
}

impl Screen {
    fn new(display: Box<dyn Display>, dir: &Path) -> Screen {
        let backlog = Backlog::new(dir.to_owned());
        Screen {
            state: Mutex::new(Shown { display: Some(display), backlog, has_ended: false }),
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
        let Shown { display: Some(display), backlog, .. } = &mut *state else { return };
        // The display ends with a panic, the build does not.
        let shown = catch_unwind(AssertUnwindSafe(|| display.event(event, backlog)));
        if !matches!(shown, Ok(Ok(()))) {
            state.display = None;
        }
        if state.backlog.is_due() {
            self.is_due.notify_one();
        }
        while !state.backlog.make_room() {
            state = self.is_read.wait(state).unwrap_or_else(PoisonError::into_inner);
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
            chunk.clear();
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

    /// Waits for what is to be written next, the oldest first; nothing is left when it is empty.
    fn next(&self, chunk: &mut Vec<u8>) -> io::Result<()> {
        let mut next_frame = Instant::now() + FRAME;
        let mut state = self.lock();
        loop {
            let Shown { display, backlog, has_ended } = &mut *state;
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
