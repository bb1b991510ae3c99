//! What the person who asked for a build provides: directories, image layouts, secrets, credentials.
//!
//! The engine asks a [`Session`] by name and never looks at the environment or at paths of its own accord.

use std::path::PathBuf;

/// What one build may use of the machine it was asked for on.
///
/// Every method is asked lazily, at most once per op, and may block shortly; `Ok(None)` and `None` mean that the session
/// does not provide such a thing, which is an error of the build only where the op needs it.
pub trait Session: Send + Sync {
    /// The directory behind `local://<name>`, absolute.
    fn local_dir(&self, name: &str) -> Option<PathBuf>;

    /// The OCI layout directory behind the store id `store` of an `oci-layout://` source, absolute.
    fn oci_layout(&self, store: &str) -> Option<PathBuf> {
        let _ = store;
        None
    }

    /// Who we are at `registry` (`docker.io`, `host:port`); `Ok(None)` is anonymous.
    fn credentials(&self, registry: &str) -> Result<Option<Credentials>, SessionError> {
        let _ = registry;
        Ok(None)
    }

    /// The bytes of the secret `id`.
    fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, SessionError> {
        let _ = id;
        Ok(None)
    }

    /// The socket of the agent `id`; the empty id is the default agent. Good as long as the session is there.
    fn ssh_agent(&self, id: &str) -> Result<Option<PathBuf>, SessionError> {
        let _ = id;
        Ok(None)
    }

    /// The lines of known_hosts that say which keys hosts have, for sources that do not bring their own; empty trusts none.
    fn known_hosts(&self) -> String {
        String::new()
    }
}

/// A login at a registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A user with a password.
    Basic {
        /// User name.
        user: String,
        /// Password.
        password: String,
    },
    /// A token that is exchanged for access tokens (OAuth2 refresh token).
    IdentityToken(String),
}

impl std::fmt::Debug for Credentials {
    /// Without what is secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Credentials::Basic { user, .. } => {
                f.debug_struct("Basic").field("user", user).finish_non_exhaustive()
            }
            Credentials::IdentityToken(_) => f.debug_struct("IdentityToken").finish_non_exhaustive(),
        }
    }
}

/// Why the session could not provide what it has.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// A secret's file or variable could not be read.
    #[error("cannot read the secret `{id}`")]
    Secret {
        /// Which.
        id: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The agent is not there, or does not take the key.
    #[error("the agent `{id}` cannot be used: {reason}")]
    Agent {
        /// Which.
        id: String,
        /// Why.
        reason: String,
    },
    /// The credential store or helper failed.
    #[error("cannot get the credentials of `{registry}`: {reason}")]
    Credentials {
        /// Where they are for.
        registry: String,
        /// What the helper or the file's parser said.
        reason: String,
    },
}

/// A session that provides nothing.
pub struct NoSession;

impl Session for NoSession {
    fn local_dir(&self, _name: &str) -> Option<PathBuf> {
        None
    }
}
