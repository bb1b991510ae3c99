//! What can go wrong between us and a registry, an OCI layout, or the blobs they gave.

use std::path::PathBuf;
use std::time::Duration;

use super::document::DocumentError;
use crate::base::{Digest, Report};

/// A failed fetch. `what` names the thing that was asked for: "layer `sha256:…` of `debian:12`".
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No answer, or one that broke off.
    #[error("cannot fetch {what} from `{host}`: {reason}")]
    Unreachable {
        /// Thing asked for.
        what: String,
        /// Registry, with its port.
        host: String,
        /// The chain of causes in one line; no URL in it, for those carry signatures.
        reason: String,
    },
    /// An answer that is not success, and none of those below.
    #[error("cannot fetch {what}: `{host}` answered {status}{detail}")]
    Status {
        /// Thing asked for.
        what: String,
        /// Registry, with its port.
        host: String,
        /// HTTP status.
        status: u16,
        /// The registry's own words, `: …`, or nothing.
        detail: String,
        /// How long it asked us to wait.
        retry_after: Option<Duration>,
    },
    /// 404.
    #[error("`{host}` has no {what}")]
    NotFound {
        /// Thing asked for.
        what: String,
        /// Registry, with its port.
        host: String,
    },
    /// 401 or 403 after we gave what we had.
    #[error("`{host}` does not allow {what} {}", if *.with_credentials { "for the configured user" } else { "without credentials" })]
    Denied {
        /// Thing asked for.
        what: String,
        /// Registry, with its port.
        host: String,
        /// Whether credentials were sent.
        with_credentials: bool,
    },
    /// A token server we do not give credentials to (CVE-2026-48978's class).
    #[error("`{host}` sends us for a token to `{realm}`, which is not encrypted")]
    Realm {
        /// Registry, with its port.
        host: String,
        /// The token server's URL.
        realm: String,
    },
    /// The credential store could not be asked.
    #[error("cannot read the credentials for `{host}`: {reason}")]
    Credentials {
        /// Registry, with its port.
        host: String,
        /// The credential store's words.
        reason: String,
    },
    /// A redirect that is not followed.
    #[error("cannot fetch {what}: `{host}` redirects {reason}")]
    Redirect {
        /// Thing asked for.
        what: String,
        /// Registry, with its port.
        host: String,
        /// Where to, or how often.
        reason: String,
    },
    /// The bytes are not the ones asked for.
    #[error("{what} is damaged: its digest is {found}")]
    Digest {
        /// Thing asked for, with its digest.
        what: String,
        /// Registry, with its port, or layout directory.
        host: String,
        /// Digest of what came.
        found: Digest,
    },
    /// Fewer or more bytes than the descriptor says.
    #[error("{what} is damaged: it has {found} bytes instead of {expected}")]
    Size {
        /// Thing asked for.
        what: String,
        /// Registry, with its port, or layout directory.
        host: String,
        /// Bytes the descriptor says.
        expected: u64,
        /// Bytes that came (at least).
        found: u64,
    },
    /// Not a manifest, or one that could pass for something else.
    #[error("{what} is refused: {source}")]
    Document {
        /// Thing asked for.
        what: String,
        /// Why.
        source: DocumentError,
    },
    /// The TLS or HTTP client cannot be set up on this machine.
    #[error("cannot set up the HTTP client: {0}")]
    Client(String),
}

impl RegistryError {
    /// Whether asking again may help: the network, the server's load, damaged bytes on the way.
    pub fn is_transient(&self) -> bool {
        match self {
            RegistryError::Unreachable { .. }
            | RegistryError::Digest { .. }
            | RegistryError::Size { .. } => true,
            RegistryError::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            RegistryError::NotFound { .. }
            | RegistryError::Denied { .. }
            | RegistryError::Realm { .. }
            | RegistryError::Credentials { .. }
            | RegistryError::Redirect { .. }
            | RegistryError::Document { .. }
            | RegistryError::Client(_) => false,
        }
    }

    /// How long the registry asked us to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            RegistryError::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Stable name of the diagnostic.
    pub fn code(&self) -> &'static str {
        match self {
            RegistryError::Unreachable { .. }
            | RegistryError::Status { .. }
            | RegistryError::Redirect { .. }
            | RegistryError::Client(_) => "bkl::registry",
            RegistryError::NotFound { .. } => "bkl::image_not_found",
            RegistryError::Denied { .. }
            | RegistryError::Realm { .. }
            | RegistryError::Credentials { .. } => "bkl::registry_auth",
            RegistryError::Digest { .. } | RegistryError::Size { .. } => "bkl::corrupt_blob",
            RegistryError::Document { .. } => "bkl::bad_manifest",
        }
    }

    /// The way out, when there is one to name.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            RegistryError::Unreachable { host, .. } => {
                format!("check that `{host}` can be reached from here; the fetch was tried several times")
            }
            RegistryError::Status { status: 429, .. } => {
                "the registry limits how often it may be asked; log in or wait a while".to_owned()
            }
            RegistryError::NotFound { .. } => "check the name, the tag and the digest".to_owned(),
            RegistryError::Denied { host, .. } => {
                let server = if host == super::DOCKER_HUB_HOST { String::new() } else { format!(" {host}") };
                format!("`docker login{server}` stores credentials where bkl looks for them")
            }
            RegistryError::Credentials { .. } => {
                "check the `auths`, `credHelpers` and `credsStore` of docker's config.json (DOCKER_CONFIG)"
                    .to_owned()
            }
            RegistryError::Digest { host, .. } | RegistryError::Size { host, .. } => {
                format!("nothing was kept; the copy at `{host}` must be replaced, by pushing the image again, say")
            }
            RegistryError::Status { .. }
            | RegistryError::Realm { .. }
            | RegistryError::Redirect { .. }
            | RegistryError::Document { .. }
            | RegistryError::Client(_) => return None,
        })
    }

    /// The diagnostic for people, without a place.
    pub fn report(&self) -> Report {
        Report::error(self.code(), self.to_string()).maybe_help(self.help())
    }
}

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
    /// Local content was asked for and there is none.
    #[error("`{reference}` is not in the store, and asking a registry is not allowed here")]
    NotLocal {
        /// Image.
        reference: String,
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
    #[error("`{}` has no image named `{name}`", path.display())]
    NoEntry {
        /// The directory.
        path: PathBuf,
        /// As asked for; empty when nothing was.
        name: String,
        /// Names and digests it has.
        there: Vec<String>,
    },
    /// A layer cannot be unpacked.
    #[error("cannot unpack layer {layer} of `{reference}`: {source}")]
    Unpack {
        /// Image.
        reference: String,
        /// The layer's blob.
        layer: Digest,
        /// Why.
        source: crate::store::StoreError,
    },
    /// The store failed.
    #[error("cannot keep `{reference}` in the store: {source}")]
    Store {
        /// Image.
        reference: String,
        /// Why.
        source: crate::store::StoreError,
    },
}

impl ImageError {
    /// Stable name of the diagnostic.
    pub fn code(&self) -> &'static str {
        match self {
            ImageError::Fetch(error) => error.code(),
            ImageError::Identifier { .. } => "bkl::bad_source",
            ImageError::NoPlatform { .. } => "bkl::no_platform",
            ImageError::Broken { .. } => "bkl::bad_image",
            ImageError::Checksum { .. } => "bkl::image_checksum",
            ImageError::NotLocal { .. } => "bkl::image_not_local",
            ImageError::Layout { .. } => "bkl::bad_layout",
            ImageError::NoEntry { .. } => "bkl::image_not_found",
            ImageError::Unpack { .. } => "bkl::corrupt_layer",
            ImageError::Store { .. } => "bkl::store",
        }
    }

    /// The way out, when there is one to name.
    pub fn help(&self) -> Option<String> {
        let list = |things: &[String]| things.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ");
        Some(match self {
            ImageError::Fetch(error) => return error.help(),
            ImageError::NoPlatform { offered, .. } if offered.is_empty() => {
                "the index names no platforms at all".to_owned()
            }
            ImageError::NoPlatform { offered, .. } => format!("it has {}", offered.join(", ")),
            ImageError::NoEntry { there, .. } if there.is_empty() => "its index.json lists no images".to_owned(),
            ImageError::NoEntry { name, there, .. } if name.is_empty() => {
                format!("it has several: name one of {}", list(there))
            }
            ImageError::NoEntry { there, .. } => format!("it has {}", list(there)),
            ImageError::Layout { .. } => {
                "a layout has the files `oci-layout` and `index.json` and the directory `blobs`".to_owned()
            }
            ImageError::Unpack { .. } => {
                "nothing of this layer was kept; if it fails again, the image must be pushed again".to_owned()
            }
            ImageError::NotLocal { .. } => "drop `pull: .never` or pull the image first".to_owned(),
            ImageError::Checksum { .. } => {
                "if the change is wanted, write the new digest, or run `bkl update`".to_owned()
            }
            ImageError::Identifier { .. } | ImageError::Broken { .. } | ImageError::Store { .. } => return None,
        })
    }

    /// The diagnostic for people, without a place.
    pub fn report(&self) -> Report {
        Report::error(self.code(), self.to_string()).maybe_help(self.help())
    }
}
