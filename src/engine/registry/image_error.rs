//! Why an image cannot be brought in.

use std::path::PathBuf;

use super::error::RegistryError;
use crate::base::{Digest, Report};
use crate::store::StoreError;

/// Why an image cannot be resolved or unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The registry or the layout did not give what was asked for.
    #[error(transparent)]
    Fetch(#[from] RegistryError),
    /// The text behind `docker-image://` or `oci-layout://` cannot be read.
    #[error("`{identifier}` is not a source: {reason}")]
    Identifier {
        /// As written in the graph.
        identifier: String,
        /// Why.
        reason: String,
    },
    /// The session knows no layout of this name.
    #[error("`{identifier}` is not a source: the build provides no OCI layout named `{name}`")]
    NotGiven {
        /// As written in the graph.
        identifier: String,
        /// The layout's name.
        name: String,
    },
    /// No image of the index runs on the platform.
    #[error("`{reference}` has no image for {platform}")]
    NoPlatform {
        /// Image.
        reference: String,
        /// Wanted.
        platform: String,
        /// What there is, `os/arch[/variant]`.
        offered: Vec<String>,
    },
    /// Something inside the image does not fit together.
    #[error("the image `{reference}` is broken: {reason}")]
    Broken {
        /// Image.
        reference: String,
        /// What does not fit.
        reason: String,
    },
    /// The digest that was asked for is not the one there is.
    #[error("`{reference}` is {found}, not {expected}")]
    Checksum {
        /// Image.
        reference: String,
        /// Asked for.
        expected: Digest,
        /// There.
        found: Digest,
    },
    /// A directory that is not an OCI layout.
    #[error("`{}` is not an OCI layout: {reason}", path.display())]
    Layout {
        /// The directory.
        path: PathBuf,
        /// What is missing or wrong.
        reason: String,
    },
    /// The layout has no such entry.
    #[error("`{}` {}", path.display(), if name.is_empty() { "is not one image".to_owned() } else { format!("has no image named `{name}`") })]
    NoEntry {
        /// The directory.
        path: PathBuf,
        /// As asked for; empty when nothing was.
        name: String,
        /// Names and digests it has.
        there: Vec<String>,
    },
    /// A layer cannot be unpacked: damaged, or not what the config says.
    #[error("cannot unpack layer `{layer}` of `{reference}`: {source}")]
    Unpack {
        /// Image.
        reference: String,
        /// The layer's blob.
        layer: Digest,
        /// Why.
        #[source]
        source: Box<StoreError>,
    },
    /// The store failed.
    #[error("cannot keep {what} in the store: {source}")]
    Store {
        /// Thing that was to be kept or read.
        what: String,
        /// Why.
        #[source]
        source: Box<StoreError>,
    },
    /// The build was stopped.
    #[error("cancelled")]
    Cancelled,
}

impl ImageError {
    /// Stable name of the diagnostic.
    pub fn code(&self) -> &'static str {
        match self {
            ImageError::Fetch(error) => error.code(),
            ImageError::Identifier { .. } | ImageError::NotGiven { .. } => "bkl::bad_source",
            ImageError::NoPlatform { .. } => "bkl::no_platform",
            ImageError::Broken { .. } => "bkl::bad_image",
            ImageError::Checksum { .. } => "bkl::image_checksum",
            ImageError::Layout { .. } => "bkl::bad_layout",
            ImageError::NoEntry { .. } => "bkl::image_not_found",
            ImageError::Unpack { .. } => "bkl::corrupt_layer",
            ImageError::Store { .. } => "bkl::store",
            ImageError::Cancelled => "bkl::cancelled",
        }
    }

    /// The way out, when there is one to name.
    pub fn help(&self) -> Option<String> {
        let list =
            |things: &[String]| things.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ");
        Some(match self {
            ImageError::Fetch(error) => return error.help(),
            ImageError::NotGiven { name, .. } => format!("give it with `--oci-layout {name}=DIR`"),
            ImageError::NoPlatform { offered, .. } if offered.is_empty() => {
                "the index names no platforms at all".to_owned()
            }
            ImageError::NoPlatform { offered, .. } => format!("it has {}", offered.join(", ")),
            ImageError::NoEntry { there, .. } if there.is_empty() => {
                "its index.json lists no images".to_owned()
            }
            ImageError::NoEntry { name, there, .. } if name.is_empty() => {
                format!("name one of {}", list(there))
            }
            ImageError::NoEntry { there, .. } => format!("it has {}", list(there)),
            ImageError::Layout { .. } => {
                "a layout has the files `oci-layout` and `index.json` and the directory `blobs`".to_owned()
            }
            ImageError::Unpack { .. } => {
                "nothing of this layer was kept; if it fails again, the image must be pushed again".to_owned()
            }
            ImageError::Checksum { .. } => {
                "if the change is wanted, write the new digest, or run `bkl update`".to_owned()
            }
            ImageError::Identifier { .. }
            | ImageError::Broken { .. }
            | ImageError::Store { .. }
            | ImageError::Cancelled => return None,
        })
    }

    /// The diagnostic for people, without a place.
    pub fn report(&self) -> Report {
        Report::error(self.code(), self.to_string()).maybe_help(self.help())
    }
}
