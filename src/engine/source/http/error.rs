//! What can go wrong between us and a web server.

use std::time::Duration;

use crate::base::{Digest, Report};
use crate::engine::registry::retry::Transient;
use crate::engine::source::signature::SignatureError;
use crate::session::SessionError;
use crate::store::StoreError;

/// Why a file could not be brought in. URLs are without query: that may carry a signature.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No answer, or one that broke off.
    #[error("cannot fetch `{url}`: {reason}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// The chain of causes in one line.
        reason: String,
    },
    /// The other side cannot prove that it is who it should be.
    #[error("cannot trust `{host}`: {reason}")]
    Certificate {
        /// Server, with its port.
        host: String,
        /// What is wrong with its certificate.
        reason: String,
    },
    /// An answer that is not success, and none of those below.
    #[error("cannot fetch `{url}`: the server answered {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// HTTP status.
        status: u16,
        /// How long it asked us to wait.
        retry_after: Option<Duration>,
    },
    /// 404 or 410.
    #[error("there is no `{url}`")]
    NotFound {
        /// What was asked for.
        url: String,
    },
    /// 401 or 403.
    #[error("the server does not allow `{url}` {}", if *.with_secret { "with the secret it was given" } else { "without credentials" })]
    Denied {
        /// What was asked for.
        url: String,
        /// Whether credentials were sent.
        with_secret: bool,
    },
    /// A redirect that is not followed.
    #[error("cannot fetch `{url}`: the server redirects {reason}")]
    Redirect {
        /// What was asked for.
        url: String,
        /// Where to, or how often.
        reason: String,
    },
    /// The bytes are others than those that were pinned.
    #[error("`{url}` has changed: its digest is {found}, and {expected} is expected")]
    Checksum {
        /// What was asked for.
        url: String,
        /// The pinned digest.
        expected: Digest,
        /// That of what came.
        found: Digest,
    },
    /// The file is not signed as it must be.
    #[error("`{url}` is not signed as it must be: {source}")]
    Signature {
        /// What was asked for.
        url: String,
        /// Why it does not count.
        #[source]
        source: SignatureError,
    },
    /// More bytes than are taken.
    #[error("`{url}` is too large: more than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// Bytes.
        limit: u64,
    },
    /// Credentials over a line that everybody can read.
    #[error("the secret `{id}` is not sent to `{url}`, which is not encrypted")]
    Cleartext {
        /// The secret.
        id: String,
        /// Where it would go.
        url: String,
    },
    /// The secret that should authorize is not given.
    #[error("the secret `{id}` is not given to this build")]
    NoSecret {
        /// Which.
        id: String,
    },
    /// The secret cannot be a header.
    #[error(
        "the secret `{id}` cannot be a header: it is empty, or has line breaks or bytes that are no text"
    )]
    BadSecret {
        /// Which.
        id: String,
    },
    /// The session failed.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The op makes no sense.
    #[error("`{identifier}` cannot be fetched: {reason}")]
    Op {
        /// The op's identifier.
        identifier: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The TLS or HTTP client cannot be set up on this machine.
    #[error("cannot set up the HTTP client: {0}")]
    Client(String),
    /// The store failed.
    #[error(transparent)]
    Store(Box<StoreError>),
    /// The build was stopped.
    #[error("cancelled")]
    Cancelled,
}

impl From<StoreError> for HttpError {
    fn from(error: StoreError) -> HttpError {
        match error {
            StoreError::Cancelled => HttpError::Cancelled,
            error => HttpError::Store(Box::new(error)),
        }
    }
}

impl Transient for HttpError {
    fn is_transient(&self) -> bool {
        match self {
            HttpError::Unreachable { .. } => true,
            HttpError::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            _ => false,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            HttpError::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl HttpError {
    /// Stable name of the diagnostic.
    pub fn code(&self) -> &'static str {
        match self {
            HttpError::NotFound { .. } => "bkl::http_not_found",
            HttpError::Signature { .. } => "bkl::signature",
            HttpError::Denied { .. } | HttpError::Cleartext { .. } => "bkl::http_auth",
            HttpError::Checksum { .. } => "bkl::checksum",
            HttpError::NoSecret { .. } => "bkl::no_secret",
            HttpError::BadSecret { .. } | HttpError::Session(_) => "bkl::secret",
            HttpError::Op { .. } => "bkl::bad_http",
            HttpError::Store(_) => "bkl::store",
            HttpError::Unreachable { .. }
            | HttpError::Certificate { .. }
            | HttpError::Status { .. }
            | HttpError::Redirect { .. }
            | HttpError::TooLarge { .. }
            | HttpError::Client(_)
            | HttpError::Cancelled => "bkl::http",
        }
    }

    /// The way out, when there is one to name.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            HttpError::Signature { source, .. } => return source.help(),
            HttpError::Unreachable { .. } => {
                "check that the server can be reached from here; the fetch was tried several times".to_owned()
            }
            HttpError::Certificate { .. } => {
                "add the authority that signed its certificate to the system's, or name it in SSL_CERT_FILE"
                    .to_owned()
            }
            HttpError::NotFound { .. } => "check the URL".to_owned(),
            HttpError::Denied { with_secret: false, .. } => {
                "declare a secret that holds the whole `Authorization` header, as in `Bearer …`, and give it as `token:`"
                    .to_owned()
            }
            HttpError::Denied { .. } => {
                "the secret must hold the whole `Authorization` header: `Bearer …` or `Basic …`".to_owned()
            }
            HttpError::Redirect { .. } => "name the final URL in the program".to_owned(),
            HttpError::Checksum { .. } => {
                "if the change is meant, say `bkl update` for this URL, or write the new `digest:`".to_owned()
            }
            HttpError::Cleartext { .. } => "use https".to_owned(),
            HttpError::NoSecret { id } => {
                format!("give it with `--secret id={id},src=FILE` or `--secret id={id},env=VARIABLE`")
            }
            _ => return None,
        })
    }

    /// The diagnostic for people, without a place.
    pub fn report(&self) -> Report {
        Report::error(self.code(), self.to_string()).maybe_help(self.help())
    }
}
