//! Progress: the engine's events, shown live on a terminal, as plain lines, or as BuildKit's status messages.
//!
//! The engine never waits for the display: events go through a channel to a thread of their own.

mod model;
mod plain;
mod rawjson;
mod tty;

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

pub(super) use model::{one_line, size};

use crate::cli::args;
use crate::engine::event::Event;

/// How often a live display is drawn.
const FRAME: Duration = Duration::from_millis(100);

/// What consumes events.
trait Display: Send {
    /// Takes one event in.
    fn event(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()>;

    /// Draws what changed; called at least every [`FRAME`] while the build runs.
    fn frame(&mut self, out: &mut dyn Write) -> io::Result<()>;

    /// Draws the last state, and leaves the cursor at the start of a line.
    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()>;
}

/// A running display; [`Ui::finish`] ends it.
pub(crate) struct Ui {
    events: Option<mpsc::Sender<Event>>,
    thread: Option<JoinHandle<()>>,
}

impl Ui {
    /// Starts the display of `progress` on stderr. `auto` is `tty` on a terminal and `plain` elsewhere.
    pub(crate) fn start(progress: args::Progress) -> Ui {
        let is_terminal = io::stderr().is_terminal();
        let display: Box<dyn Display> = match progress {
            args::Progress::Quiet => return Ui { events: None, thread: None },
            args::Progress::Rawjson => Box::new(rawjson::RawJson::default()),
            args::Progress::Auto if is_terminal => Box::new(tty::Tty::new()),
            args::Progress::Tty => Box::new(tty::Tty::new()),
            args::Progress::Auto | args::Progress::Plain => Box::new(plain::Plain::default()),
        };
        let (events, received) = mpsc::channel();
        let thread = std::thread::spawn(move || show(display, &received));
        Ui { events: Some(events), thread: Some(thread) }
    }

    /// Where the engine sends its events.
    pub(crate) fn sink(&self) -> Arc<dyn Fn(Event) + Send + Sync> {
        match self.events.clone() {
            // The display may have ended because stderr is closed; the build goes on without it.
            Some(events) => Arc::new(move |event| drop(events.send(event))),
            None => Arc::new(drop),
        }
    }

    /// Waits until everything sent so far is shown. Every sink must have been dropped.
    pub(crate) fn finish(mut self) {
        drop(self.events.take());
        if let Some(thread) = self.thread.take() {
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

fn show(mut display: Box<dyn Display>, events: &mpsc::Receiver<Event>) {
    let mut out = io::BufWriter::new(io::stderr());
    let mut next_frame = std::time::Instant::now() + FRAME;
    loop {
        let wait = next_frame.saturating_duration_since(std::time::Instant::now());
        let shown = match events.recv_timeout(wait) {
            Ok(event) => display.event(&event, &mut out),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                next_frame = std::time::Instant::now() + FRAME;
                display.frame(&mut out).and_then(|()| out.flush())
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let _ = display.finish(&mut out).and_then(|()| out.flush());
                return;
            }
        };
        if shown.is_err() {
            return;
        }
    }
}
