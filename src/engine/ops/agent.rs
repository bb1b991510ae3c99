//! An agent's socket for one command: a socket of its own with the owner and mode that the op asks for, behind which
//! every connection is passed on to the agent. The agent's own socket stays what it is, and where it is.

use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use super::ExecError;
use crate::engine::exec::MountSource;
use crate::graph::ir::FileSecret;
use crate::store::{Store, StoreError, WorkDir};

/// Name of the socket in its directory.
const NAME: &str = "agent";

/// A socket that is there until this is dropped.
pub(super) struct AgentSocket {
    dir: WorkDir,
    accepting: JoinHandle<()>,
}

impl AgentSocket {
    /// Starts to listen; `agent` is the socket that connections are passed on to. Must be called on a tokio runtime.
    pub(super) fn start(
        store: &Arc<Store>,
        agent: PathBuf,
        options: &FileSecret,
    ) -> Result<AgentSocket, ExecError> {
        let dir = store.work_dir()?;
        // By the open directory: the name of a socket may have 107 bytes, and stores lie deep.
        let path = PathBuf::from(format!("/proc/self/fd/{}/{NAME}", dir.fd().as_raw_fd()));
        let failed = |attempt| move |error| StoreError::io(attempt, "the socket of an agent", error);
        let listener = UnixListener::bind(&path).map_err(failed("make"))?;
        chown(&path, Some(options.uid), Some(options.gid)).map_err(failed("give away"))?;
        let mode = fs::Permissions::from_mode(options.mode & 0o777);
        fs::set_permissions(&path, mode).map_err(failed("set the mode of"))?;
        let accepting = tokio::spawn(async move { accept(&listener, &agent).await });
        Ok(AgentSocket { dir, accepting })
    }

    /// What a command mounts.
    pub(super) fn source(&self) -> MountSource {
        MountSource::Dir { path: self.dir.path().to_owned(), selector: NAME.to_owned() }
    }
}

impl Drop for AgentSocket {
    fn drop(&mut self) {
        // The connections end with the set that holds them.
        self.accepting.abort();
    }
}

async fn accept(listener: &UnixListener, agent: &Path) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((mut client, _)) = listener.accept().await {
        let agent = agent.to_owned();
        connections.spawn(async move {
            // An agent that is gone is a closed connection; the client says what it could not do.
            if let Ok(mut agent) = UnixStream::connect(agent).await {
                let _ = tokio::io::copy_bidirectional(&mut client, &mut agent).await;
            }
        });
        while connections.try_join_next().is_some() {}
    }
}
