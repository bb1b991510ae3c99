//! Why a result cannot be exported.

use std::io;
use std::path::{Path, PathBuf};

use crate::base::Report;
use crate::store::StoreError;

/// A failed export. Nothing half-written is left under a final name.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Files where an image is needed.
    #[error("`{item}` is a tree of files, not an image: it cannot be exported as `type={format}`")]
    NotAnImage {
        /// Target.
        item: String,
        /// Format asked for.
        format: &'static str,
    },
    /// Docker archives hold one platform per name.
    #[error("`{item}` is for several platforms: a docker archive holds one")]
    SeveralPlatforms {
        /// Target.
        item: String,
    },
    /// One tar holds one tree.
    #[error("`type=tar` holds one tree, and there are {n_trees}")]
    SeveralTrees {
        /// Trees of all items.
        n_trees: usize,
    },
    /// `name=` with several targets.
    #[error("`name=` names one image, and there are {n_images}")]
    SeveralNames {
        /// Images.
        n_images: usize,
    },
    /// `containerimage.config=` with several images.
    #[error("`containerimage.config=` is the config of one image, and there are {n_images}")]
    SeveralConfigs {
        /// Images, each platform one.
        n_images: usize,
    },
    /// Something of the wrong kind stands where the result goes.
    #[error("cannot write `{}`: {reason}", path.display())]
    InTheWay {
        /// What is there.
        path: PathBuf,
        /// Why it is not replaced.
        reason: &'static str,
    },
    /// The kernel refused.
    #[error("cannot {attempt} `{}`: {source}", path.display())]
    Io {
        /// What was being done.
        attempt: &'static str,
        /// To what.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Standard output was closed, or another writer failed.
    #[error("cannot write to standard output: {0}")]
    Out(#[source] io::Error),
    /// The switch was turned on.
    #[error("the export was stopped")]
    Cancelled,
    /// The store could not give the tree.
    #[error("cannot read `{item}` from the store: {source}")]
    Store {
        /// Target.
        item: String,
        /// Why.
        #[source]
        source: Box<StoreError>,
    },
}

impl ExportError {
    /// Stable name of the diagnostic.
    pub fn code(&self) -> &'static str {
        match self {
            ExportError::NotAnImage { .. }
            | ExportError::SeveralPlatforms { .. }
            | ExportError::SeveralTrees { .. }
            | ExportError::SeveralNames { .. }
            | ExportError::SeveralConfigs { .. } => "bkl::bad_output",
            ExportError::InTheWay { .. } | ExportError::Io { .. } | ExportError::Out(_) => "bkl::export",
            ExportError::Store { .. } => "bkl::store",
            ExportError::Cancelled => "bkl::stopped",
        }
    }

    /// The way out, when there is one to name.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            ExportError::NotAnImage { .. } => {
                "export files with `type=local` or `type=tar`, or make an image of them with `.image()`"
                    .to_owned()
            }
            ExportError::SeveralPlatforms { .. } => "use `type=oci`, or build for one platform".to_owned(),
            ExportError::SeveralTrees { .. } => {
                "use `type=local`, which gives each its own directory, or name one target".to_owned()
            }
            ExportError::SeveralNames { .. } => "name one target, or give each image its `tags`".to_owned(),
            ExportError::SeveralConfigs { .. } => "name one target, for one platform".to_owned(),
            ExportError::InTheWay { .. }
            | ExportError::Io { .. }
            | ExportError::Out(_)
            | ExportError::Cancelled
            | ExportError::Store { .. } => return None,
        })
    }

    /// The diagnostic for people, without a place.
    pub fn report(&self) -> Report {
        Report::error(self.code(), self.to_string()).maybe_help(self.help())
    }
}

/// Puts the attempt and the path on a bare IO error.
pub(super) trait Context<T> {
    fn at(self, attempt: &'static str, path: impl AsRef<Path>) -> Result<T, ExportError>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn at(self, attempt: &'static str, path: impl AsRef<Path>) -> Result<T, ExportError> {
        self.map_err(|error| ExportError::Io {
            attempt,
            path: path.as_ref().to_owned(),
            source: error.into(),
        })
    }
}
