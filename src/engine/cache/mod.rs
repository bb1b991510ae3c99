//! Caches that machines exchange, in BuildKit's form (llb reference 3.8): any of its clients reads what is written here,
//! and what it wrote is read.
//!
//! - [`config`]: the document that says what stands for what, and its exact bytes;
//! - [`chains`]: the records of a build on their way into one, each once;
//! - [`spec`]: what `--cache-to` and `--cache-from` say;
//! - [`import`]: caches of registries, directories and images as the scheduler asks them;
//! - [`export`]: what a build was made of into a registry, a directory or an image.
//!
//! A record is an edge by what made it: the digest of an op with an output index, and for each input the records that
//! may stand there. Of the trees themselves it has layers, which are fetched and checked as those of images are. So the
//! worst that a foreign cache can do is to give another tree for a step, as whoever one imports from is trusted to know.

pub mod chains;
pub mod config;
pub mod export;
pub mod import;
pub mod spec;

pub use export::{CacheExportError, CacheReport, Known};
pub use import::{CacheImportError, ImportedCaches, Origin};
pub use spec::{CacheFrom, CacheSpecError, CacheTo, parse_from, parse_to};

use crate::base::Digest;

/// Media type of a cache's config.
pub const CONFIG_TYPE: &str = "application/vnd.buildkit.cacheconfig.v0";

/// Where an image's config keeps the cache of its own layers.
pub const INLINE_KEY: &str = "moby.buildkit.cache.v0";

/// What the record of output `output` of an op with this digest is called.
pub fn edge_digest(op: &Digest, output: usize) -> Digest {
    Digest::of(format!("{op}@{output}"))
}

/// What the record of content that an op reads is called.
pub fn content_digest(content: &Digest) -> Digest {
    Digest::of(format!("{content}@-1"))
}
