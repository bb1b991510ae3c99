//! Layer archives: a streaming tar reader, the deterministic writer, and the applier that unpacks into a bare directory.

mod error;

pub use error::ArchiveError;
