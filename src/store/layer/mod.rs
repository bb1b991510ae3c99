//! Layer archives: a streaming tar reader, the deterministic writer, and the applier that unpacks into a bare directory.
//!
//! No tar crate reads or writes a container layer faithfully (nanoseconds, devices, directory attributes, binary
//! extended attributes and sparse files get lost), and the writer's bytes must be those of Go's `archive/tar`, which
//! BuildKit uses: a layer's name is the digest of its archive.

mod apply;
mod compress;
mod entry;
mod error;
mod pax;
mod reader;
mod unpack;
mod writer;

pub use compress::Compression;
pub(in crate::store) use compress::{Compressor, decompress};
pub use entry::{Device, Entry, EntryKind};
pub use error::ArchiveError;
pub use reader::{ArchiveReader, Limits};
pub use unpack::UnpackedLayer;
pub use writer::ArchiveWriter;
