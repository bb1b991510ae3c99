//! Results to the outside: OCI and docker archives, OCI layout directories, trees as tar or as files.
//!
//! - [`spec`]: what `-o` says;
//! - [`image`]: a snapshot and a config to manifest, config and blobs, with [`config`] and [`json`] for their bytes;
//! - [`layout`]: images to an archive or a layout directory, with [`archive`] for the tar around it;
//! - [`local`]: a tree to a directory; [`target`]: files that appear only when they are whole.
//!
//! Everything here is synchronous: call it from a blocking thread. The clock and the environment are not looked at:
//! times come from layers and from the spec.

mod archive;
mod config;
mod error;
pub(in crate::engine) mod image;
pub(in crate::engine) mod json;
pub(in crate::engine) mod layout;
mod local;
pub(in crate::engine) mod spec;
mod target;

use std::io::Write;
use std::path::PathBuf;

use crate::base::{Digest, Platform};
use crate::engine::cancel::Cancel;
use crate::graph::ir::ImageConfig;
use crate::store::{Snapshot, Store};

pub use error::ExportError;
pub use image::{describe, identify};
pub use spec::{
    Annotation, AnnotationPlace, Dest, Format, ImageOptions, MediaTypes, OutputSpec, SpecError, parse,
    read_epoch,
};
use target::Stoppable;

/// One result to export.
#[derive(Debug, Clone)]
pub struct ExportItem {
    /// Path of the target, `images.api`.
    pub name: String,
    /// What it is.
    pub kind: ExportKind,
}

/// What a result is made of.
#[derive(Debug, Clone)]
pub enum ExportKind {
    /// Files.
    Fs(Snapshot),
    /// One image.
    Image(Box<ExportImage>),
    /// One image per platform.
    Index {
        /// The images, in the order of the platforms.
        images: Vec<ExportImage>,
        /// Names of the index, normalised references.
        tags: Vec<String>,
    },
}

/// An image to export.
#[derive(Debug, Clone)]
pub struct ExportImage {
    /// Its files.
    pub snapshot: Snapshot,
    /// Its config; `base` holds history and root filesystem of the image it was made from.
    pub config: ImageConfig,
    /// Names it is given, normalised references.
    pub tags: Vec<String>,
    /// What its config says so that its layers serve as a cache ([`Known::inline`](super::cache::Known::inline)).
    pub cache: Option<String>,
}

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExportReport {
    /// Files and directories that were made or changed: the destination. Empty when it went to the writer.
    pub paths: Vec<PathBuf>,
    /// The images, in the order of the items.
    pub images: Vec<ExportedImage>,
}

/// An image by its digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedImage {
    /// Path of the target.
    pub name: String,
    /// Digest of the manifest, or of the index.
    pub digest: Digest,
    /// Per platform: its manifest and its config.
    pub platforms: Vec<(Platform, Digest, Digest)>,
    /// Names it was given.
    pub tags: Vec<String>,
}

/// Exports `items` as `spec` says. `out` takes the bytes when the destination is standard output.
///
/// Files and new directories appear under their names only when they are whole; in directories that are there
/// already, files are replaced one by one and others kept. That goes for an export that `cancel` ends, too.
pub fn export(
    store: &Store,
    items: &[ExportItem],
    spec: &OutputSpec,
    out: &mut dyn Write,
    cancel: &Cancel,
) -> Result<ExportReport, ExportError> {
    let out = &mut Stoppable { out, cancel };
    let done = match spec.format {
        Format::Oci | Format::Docker => layout::export(store, items, spec, out, cancel),
        Format::Tar => local::export_tar(store, items, spec, out, cancel),
        Format::Local => local::export_dir(store, items, spec, cancel),
    };
    match done {
        Err(_) if cancel.is_cancelled() => Err(ExportError::Cancelled),
        done => done,
    }
}
