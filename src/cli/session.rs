//! What the command line provides to a build: directories beside the program, docker's credentials.

use std::path::{Path, PathBuf};

use crate::engine::registry::docker_credentials;
use crate::session::{Credentials, Session, SessionError};

/// The session of one `bkl` process.
pub(crate) struct LocalSession {
    root: PathBuf,
}

impl LocalSession {
    /// Directories are named relative to `root`, an absolute path: the folder of the program.
    pub(crate) fn new(root: &Path) -> LocalSession {
        LocalSession { root: root.to_owned() }
    }
}

impl Session for LocalSession {
    fn local_dir(&self, name: &str) -> Option<PathBuf> {
        Some(self.root.join(name))
    }

    fn oci_layout(&self, store: &str) -> Option<PathBuf> {
        Some(self.root.join(store))
    }

    /// From docker's config.json and the helpers it names; no config is no login.
    fn credentials(&self, registry: &str) -> Result<Option<Credentials>, SessionError> {
        docker_credentials(registry)
    }
}
