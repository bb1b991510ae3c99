//! What the command line provides to a build: directories beside the program, secrets, docker's credentials.

use std::path::{Path, PathBuf};

use crate::cli::secret::Secrets;
use crate::engine::registry::docker_credentials;
use crate::session::{Credentials, Session, SessionError};

/// The session of one `bkl` process.
pub(crate) struct LocalSession {
    root: PathBuf,
    secrets: Secrets,
}

impl LocalSession {
    /// Directories are named relative to `root`, an absolute path: the folder of the program.
    pub(crate) fn new(root: &Path, secrets: Secrets) -> LocalSession {
        LocalSession { root: root.to_owned(), secrets }
    }
}

impl Session for LocalSession {
    fn local_dir(&self, name: &str) -> Option<PathBuf> {
        Some(self.root.join(name))
    }

    fn oci_layout(&self, store: &str) -> Option<PathBuf> {
        Some(self.root.join(store))
    }

    fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, SessionError> {
        self.secrets.get(id)
    }

    /// From docker's config.json and the helpers it names; no config is no login.
    fn credentials(&self, registry: &str) -> Result<Option<Credentials>, SessionError> {
        docker_credentials(registry)
    }
}
