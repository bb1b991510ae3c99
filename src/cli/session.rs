//! What the command line provides to a build: directories beside the program, secrets, agents, docker's credentials.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::base::Report;
use crate::cli::args;
use crate::cli::program::io_reason;
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
    places: Places,
    given: Given,
}

/// Where directories and layouts are.
enum Places {
    /// Below this folder, absolute, by their paths.
    Below(PathBuf),
    /// Where the command line says.
    Named { locals: BTreeMap<String, PathBuf>, layouts: BTreeMap<String, PathBuf> },
}

impl LocalSession {
    /// Directories are named relative to `root`, an absolute path: the folder of the program.
    pub(crate) fn new(root: &Path, given: Given) -> LocalSession {
        LocalSession { places: Places::Below(root.to_owned()), given }
    }

    /// Directories are those of `--local` and `--oci-layout`.
    pub(crate) fn of_definition(args: &args::Definition, given: Given) -> Result<LocalSession, Report> {
        let locals = named(&args.locals, "--local")?;
        let layouts = named(&args.layouts, "--oci-layout")?;
        Ok(LocalSession { places: Places::Named { locals, layouts }, given })
    }
}

/// The directories behind `NAME=DIR`, absolute.
fn named(texts: &[String], option: &str) -> Result<BTreeMap<String, PathBuf>, Report> {
    let mut all = BTreeMap::new();
    for text in texts {
        let Some((name, dir)) =
            text.split_once('=').filter(|(name, dir)| !name.is_empty() && !dir.is_empty())
        else {
            let message = format!("`{option} {text}` names no directory");
            return Err(Report::error("bkl::usage", message)
                .help(format!("write the name, `=` and the directory: `{option} context=.`")));
        };
        let dir = std::path::absolute(dir).map_err(|error| {
            let reason = io_reason(&error);
            Report::error("bkl::usage", format!("`{option} {text}` cannot be found: {reason}"))
        })?;
        if all.insert(name.to_owned(), dir).is_some() {
            return Err(Report::error("bkl::usage", format!("`{option} {name}=…` is given twice")));
        }
    }
    Ok(all)
}

impl Session for LocalSession {
    fn local_dir(&self, name: &str) -> Option<PathBuf> {
        match &self.places {
            Places::Below(root) => Some(root.join(name)),
            Places::Named { locals, .. } => locals.get(name).cloned(),
        }
    }

    fn oci_layout(&self, store: &str) -> Option<PathBuf> {
        match &self.places {
            Places::Below(root) => Some(root.join(store)),
            Places::Named { layouts, .. } => layouts.get(store).cloned(),
        }
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
