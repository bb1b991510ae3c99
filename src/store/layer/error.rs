//! What can be wrong with a layer archive.

use std::io;

/// A layer archive that is refused. Names are shown with non-UTF-8 bytes replaced.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The stream below failed, or its compression is damaged.
    #[error("cannot read the archive: {0}")]
    Read(#[source] io::Error),
    /// The stream ended inside an entry or before the end mark.
    #[error("the archive ends too early, at byte {offset}")]
    Truncated {
        /// Position in the uncompressed stream.
        offset: u64,
    },
    /// A header whose checksum or fields make no sense.
    #[error("damaged entry header at byte {offset}: {why}")]
    Header {
        /// Position in the uncompressed stream.
        offset: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A PAX record that does not parse; skipping it would read a different archive.
    #[error("malformed PAX record at byte {offset}: {why}")]
    Pax {
        /// Position in the uncompressed stream.
        offset: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An entry that would touch something outside of the tree, or that no tree can hold.
    #[error("entry `{name}` is refused: {why}")]
    Refused {
        /// The entry's name.
        name: String,
        /// The rule it breaks.
        why: &'static str,
    },
    /// More than the limits allow.
    #[error("the archive is too large: more than {limit} {unit}")]
    TooLarge {
        /// The limit.
        limit: u64,
        /// Of what: `entries`, `bytes`, ..
        unit: &'static str,
    },
}
