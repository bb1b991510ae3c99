//! What can go wrong with a repository.

use std::io;

use crate::base::Report;
use crate::engine::registry::ImageError;
use crate::engine::source::signature::SignatureError;
use crate::session::SessionError;
use crate::store::StoreError;

/// Why files of a repository could not be brought in. URLs hold no credentials.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages are the documentation; `said` is what git wrote")]
pub enum GitError {
    /// There is no `git`.
    #[error("there is no `git` on this machine, and `{url}` needs it")]
    NoGit { url: String },
    /// The program could not be run.
    #[error("cannot run `git`: {source}")]
    Start {
        #[source]
        source: io::Error,
    },
    /// No connection, or one that broke off.
    #[error("cannot reach `{url}`: {said}")]
    Unreachable { url: String, said: String },
    /// The server wants to know who asks, or does not let them.
    #[error("`{url}` cannot be read {}", if *.with_credentials { "with the credentials that were given" } else { "without credentials" })]
    Denied { url: String, with_credentials: bool, said: String },
    /// The server sends us elsewhere, and we have credentials.
    #[error("`{url}` redirects, and credentials are not taken elsewhere")]
    Redirected { url: String },
    /// The host's key is not known, or is another one.
    #[error("the key of the host of `{url}` is not known")]
    HostKey { url: String, host: String },
    /// No such repository.
    #[error("there is no repository `{url}`")]
    NoRepository { url: String, said: String },
    /// No such branch or tag.
    #[error("`{url}` has no branch or tag `{reference}`")]
    NoRef { url: String, reference: String, near: Option<String> },
    /// No such commit.
    #[error("`{url}` has no commit {commit}")]
    NoCommit { url: String, commit: String },
    /// Another commit than the one that is expected.
    #[error("`{reference}` of `{url}` is the commit {found}, and {expected} is expected")]
    Checksum { url: String, reference: String, expected: String, found: String },
    /// Neither the tag nor the commit is signed as it must be.
    #[error("{what} of `{url}` is not signed as it must be: {source}")]
    Signature {
        url: String,
        what: String,
        #[source]
        source: SignatureError,
    },
    /// The bundle cannot be had.
    #[error("the bundle of `{url}`: {source}")]
    Bundle {
        url: String,
        #[source]
        source: Box<ImageError>,
    },
    /// No such directory.
    #[error("there is no directory `{subdir}` in `{url}` at {commit}")]
    Subdir { url: String, subdir: String, commit: String },
    /// A submodule is not what it may be, or cannot be fetched.
    #[error("the submodule `{path}`: {why}")]
    Submodule { path: String, why: String },
    /// A submodule could not be fetched.
    #[error("the submodule `{path}`: {source}")]
    InSubmodule {
        path: String,
        #[source]
        source: Box<GitError>,
    },
    /// Credentials over a line that everybody can read.
    #[error("the secret `{id}` is not sent to `{url}`, which is not encrypted")]
    Cleartext { id: String, url: String },
    /// The secret that was named is not given.
    #[error("the secret `{id}` is not given to this build")]
    NoSecret { id: String },
    /// The secret cannot be a header.
    #[error("the secret `{id}` cannot be sent: it is empty, or has line breaks or bytes that are no text")]
    BadSecret { id: String },
    /// The agent is not given.
    #[error("the agent `{id}` is not given to this build")]
    NoAgent { id: String },
    /// The session failed.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The op makes no sense, or asks for what is not done here.
    #[error("`{identifier}` cannot be fetched: {reason}")]
    Op { identifier: String, reason: String },
    /// Git said something else.
    #[error("`git {what}` failed for `{url}`: {said}")]
    Failed { what: String, url: String, said: String },
    /// The store failed.
    #[error(transparent)]
    Store(Box<StoreError>),
    /// The build was stopped.
    #[error("cancelled")]
    Cancelled,
}

impl From<StoreError> for GitError {
    fn from(error: StoreError) -> GitError {
        match error {
            StoreError::Cancelled => GitError::Cancelled,
            error => GitError::Store(Box::new(error)),
        }
    }
}

impl GitError {
    /// Stable name of the diagnostic.
    pub fn code(&self) -> &'static str {
        match self {
            GitError::NoGit { .. } | GitError::Start { .. } => "bkl::no_git",
            GitError::Denied { .. }
            | GitError::Redirected { .. }
            | GitError::HostKey { .. }
            | GitError::Cleartext { .. } => "bkl::git_auth",
            GitError::NoRepository { .. }
            | GitError::NoRef { .. }
            | GitError::NoCommit { .. }
            | GitError::Subdir { .. } => "bkl::git_not_found",
            GitError::Checksum { .. } => "bkl::checksum",
            GitError::Signature { .. } => "bkl::signature",
            GitError::Bundle { source, .. } => source.code(),
            GitError::NoSecret { .. } => "bkl::no_secret",
            GitError::NoAgent { .. } => "bkl::no_agent",
            GitError::Session(SessionError::Agent { .. }) => "bkl::ssh",
            GitError::BadSecret { .. } | GitError::Session(_) => "bkl::secret",
            GitError::Op { .. } => "bkl::bad_git",
            GitError::Store(_) => "bkl::store",
            GitError::InSubmodule { source, .. } => source.code(),
            GitError::Unreachable { .. }
            | GitError::Submodule { .. }
            | GitError::Failed { .. }
            | GitError::Cancelled => "bkl::git",
        }
    }

    /// The way out, when there is one to name.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            GitError::NoGit { .. } => "install git, `apt-get install git` say; bkl uses the machine's".to_owned(),
            GitError::Unreachable { .. } => "check the URL, and that its host can be reached from here".to_owned(),
            GitError::Denied { url, with_credentials: false, .. } if !by_http(url) => {
                "declare an agent and give it: `ssh key` and `git(…, ssh: key)` in the program, `--ssh key` here".to_owned()
            }
            GitError::Denied { url, .. } if !by_http(url) => {
                "`ssh-add -l` shows the keys that the agent has; one of them must be known there".to_owned()
            }
            GitError::Denied { with_credentials: false, .. } => {
                "if it is there and private: declare a secret with a token and give it, `git(…, token: t)`, or \
                 `--secret id=GIT_AUTH_TOKEN,…` for all repositories"
                    .to_owned()
            }
            GitError::Denied { .. } => "check that the token is still good and may read the repository".to_owned(),
            GitError::Redirected { .. } => "name the final URL in the program".to_owned(),
            GitError::HostKey { host, .. } => {
                format!("`ssh-keyscan {host}` shows its keys; compare them with what its owner publishes, then add them to ~/.ssh/known_hosts")
            }
            GitError::NoRef { near: Some(near), .. } => format!("did you mean `{near}`?"),
            GitError::NoRepository { .. } => "check the URL; a private repository may need a `token:`".to_owned(),
            GitError::NoCommit { .. } => {
                "it may have been removed by a forced push; `bkl update` takes what the branch is now".to_owned()
            }
            GitError::Cleartext { .. } => "use https".to_owned(),
            GitError::NoSecret { id } => {
                format!("give it with `--secret id={id},src=FILE` or `--secret id={id},env=VARIABLE`")
            }
            GitError::NoAgent { id } => no_agent_help(id),
            GitError::InSubmodule { source, .. } => return source.help(),
            GitError::Signature { source, .. } => return source.help(),
            GitError::Bundle { source, .. } => return source.help(),
            GitError::Submodule { .. } => "`submodules: false` leaves submodules out".to_owned(),
            _ => return None,
        })
    }

    /// What git wrote, where the message does not say it.
    fn said(&self) -> Option<&str> {
        match self {
            GitError::Denied { said, .. } | GitError::NoRepository { said, .. } => Some(said),
            GitError::InSubmodule { source, .. } => source.said(),
            _ => None,
        }
    }

    /// The diagnostic for people, without a place.
    pub fn report(&self) -> Report {
        let report = Report::error(self.code(), self.to_string()).maybe_help(self.help());
        match self.said().filter(|said| !said.is_empty()) {
            Some(said) => report.details(format!("  git said:\n  │ {said}\n")),
            None => report,
        }
    }
}

/// How an agent is given.
pub fn no_agent_help(id: &str) -> String {
    let id = if id.is_empty() { "default" } else { id };
    format!(
        "give it with `--ssh {id}`, which is the agent of SSH_AUTH_SOCK, `--ssh {id}=SOCKET` or `--ssh {id}=KEYFILE`"
    )
}

fn by_http(url: &str) -> bool {
    url.starts_with("http")
}
