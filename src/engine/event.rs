//! What an engine tells while it works: the data behind progress displays and build logs.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::SystemTime;

use crate::base::Digest;

pub use super::exec::Stream;

/// Takes events; called from any thread, must not block for long.
pub type EventSink = Arc<dyn Fn(Event) + Send + Sync>;

/// Something that happened to a vertex. `vertex` is always the digest of its marshalled op.
///
/// A vertex has at most one `Started` and one `Completed`; logs and progress come between them. A vertex that was not
/// needed has no event at all; one that was found in the cache has `Cached` only.
#[derive(Debug, Clone)]
pub enum Event {
    /// Work on a vertex began.
    Started {
        /// Which.
        vertex: Digest,
        /// For people: custom name, command or identifier.
        name: String,
        /// What it works on, in order.
        inputs: Vec<Digest>,
        /// When.
        at: SystemTime,
    },
    /// The result was found; nothing is run.
    Cached {
        /// Which.
        vertex: Digest,
        /// For people.
        name: String,
        /// What it would have worked on, in order.
        inputs: Vec<Digest>,
        /// When.
        at: SystemTime,
    },
    /// Output of a command, as it came: no line buffering, any bytes.
    Log {
        /// Whose.
        vertex: Digest,
        /// Where it wrote to.
        stream: Stream,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// How far a part of a vertex's work is; later ones of the same `id` replace earlier ones.
    Progress {
        /// Whose.
        vertex: Digest,
        /// The part: a blob's short digest, `scan`.
        id: String,
        /// Done so far.
        current: u64,
        /// All there is to do, when known.
        total: Option<u64>,
        /// What is counted.
        unit: Unit,
    },
    /// Work on a vertex ended.
    Completed {
        /// Which.
        vertex: Digest,
        /// When.
        at: SystemTime,
        /// Why it failed.
        error: Option<String>,
        /// Another build made the result while this one waited for it.
        cached: bool,
    },
    /// Something to tell that is no error.
    Warning {
        /// Which vertex it is about.
        vertex: Digest,
        /// One line.
        message: String,
    },
}

/// What [`Event::Progress`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "see the type")]
pub enum Unit {
    Bytes,
    Files,
}

/// A sink that drops everything.
pub fn silent() -> EventSink {
    Arc::new(|_| {})
}

/// Puts the two streams of a command together as lines: what one wrote is never part of the other's line.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seam {
    /// Whose line is not finished.
    open: Option<Stream>,
    /// Streams whose line was ended for them, stdout's and stderr's: the newline that may follow has been written.
    is_cut: [bool; 2],
}

impl Seam {
    /// More output: whether the line before it, which is the other stream's, ends here, and what there is to show of `bytes`.
    pub fn join<'a>(&mut self, stream: Stream, bytes: &'a [u8]) -> (bool, &'a [u8]) {
        if bytes.is_empty() {
            return (false, bytes);
        }
        let ends = self.open.is_some_and(|open| open != stream);
        if ends {
            self.cut();
        }
        let mut shown = bytes;
        if std::mem::take(&mut self.is_cut[stream as usize]) {
            let newline = [&b"\n"[..], b"\r\n"].into_iter().find_map(|it| bytes.strip_prefix(it));
            shown = newline.unwrap_or(bytes);
        }
        self.open = if shown.last().is_none_or(|&byte| byte == b'\n') { None } else { Some(stream) };
        (ends, shown)
    }

    /// The line that is not finished ends here.
    pub fn cut(&mut self) {
        if let Some(open) = self.open.take() {
            self.is_cut[open as usize] = true;
        }
    }

    /// Adds more output to what is kept of it.
    pub fn append(&mut self, kept: &mut Vec<u8>, stream: Stream, bytes: &[u8]) {
        let (ends, shown) = self.join(stream, bytes);
        if ends {
            kept.push(b'\n');
        }
        kept.extend_from_slice(shown);
    }
}
