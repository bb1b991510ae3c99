//! What can go wrong between us and a registry, an OCI layout, or the blobs they gave.

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
    /// The other side cannot prove that it is who it should be.
    #[error("cannot trust `{host}`: {reason}")]
    Certificate {
        /// Registry, with its port.
        host: String,
        /// What is wrong with its certificate.
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
    /// The credential store could not be asked; its own words.
    #[error("{0}")]
    Credentials(String),
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
            RegistryError::Unreachable { .. } | RegistryError::Digest { .. } | RegistryError::Size { .. } => {
                true
            }
            RegistryError::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            RegistryError::Certificate { .. }
            | RegistryError::NotFound { .. }
            | RegistryError::Denied { .. }
            | RegistryError::Realm { .. }
            | RegistryError::Credentials(_)
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
            | RegistryError::Certificate { .. }
            | RegistryError::Status { .. }
            | RegistryError::Redirect { .. }
            | RegistryError::Client(_) => "bkl::registry",
            RegistryError::NotFound { .. } => "bkl::image_not_found",
            RegistryError::Denied { .. } | RegistryError::Realm { .. } | RegistryError::Credentials(_) => {
                "bkl::registry_auth"
            }
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
            RegistryError::Certificate { .. } => {
                "add the authority that signed its certificate to the system's, or name it in SSL_CERT_FILE".to_owned()
            }
            RegistryError::Status { status: 429, .. } => {
                "the registry limits how often it may be asked; log in or wait a while".to_owned()
            }
            RegistryError::NotFound { .. } => "check the name, the tag and the digest".to_owned(),
            RegistryError::Denied { host, .. } => {
                let server = if host == super::DOCKER_HUB_HOST { String::new() } else { format!(" {host}") };
                format!("`docker login{server}` stores credentials where bkl looks for them")
            }
            RegistryError::Credentials(_) => {
                "check the `auths`, `credHelpers` and `credsStore` of docker's config.json (DOCKER_CONFIG)"
                    .to_owned()
            }
            RegistryError::Digest { host, .. } | RegistryError::Size { host, .. } => {
                format!(
                    "nothing was kept; the copy at `{host}` must be replaced, by pushing the image again, say"
                )
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
