//! What the command line provides to a build: directories beside the program, secrets, agents, docker's credentials.

use std::path::{Path, PathBuf};

use crate::base::Report;
use crate::cli::args;
use crate::cli::secret::Secrets;
use crate::cli::ssh::{self, Agents};
use crate::engine::registry::docker_credentials;
use crate::session::{Credentials, Session, SessionError};

/// What no file of the program holds.
#[derive(Debug, Default)]
pub(crate) struct Given {
    secrets: Secrets,
    agents: Agents,
}

impl Given {
    /// Reads `--secret` and `--ssh`.
    pub(crate) fn read(args: &args::Secrets) -> Result<Given, Report> {
        Ok(Given { secrets: Secrets::read(&args.secrets)?, agents: Agents::read(&args.ssh)? })
    }
}

/// The session of one `bkl` process.
pub(crate) struct LocalSession {
    root: PathBuf,
    given: Given,
}

impl LocalSession {
    /// Directories are named relative to `root`, an absolute path: the folder of the program.
    pub(crate) fn new(root: &Path, given: Given) -> LocalSession {
        LocalSession { root: root.to_owned(), given }
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
        self.given.secrets.get(id)
    }

    /// From docker's config.json and the helpers it names; no config is no login.
    fn credentials(&self, registry: &str) -> Result<Option<Credentials>, SessionError> {
        docker_credentials(registry)
    }

    fn ssh_agent(&self, id: &str) -> Result<Option<PathBuf>, SessionError> {
        self.given.agents.get(id)
    }

    /// The user's and the machine's.
    fn known_hosts(&self) -> String {
        ssh::known_hosts()
    }
}
