//! Directories for work that is no layer yet, and repositories that are kept between builds.

use std::fs::{self, DirBuilder, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::error::Context as _;
use super::lease::Lease;
use super::{Result, Store, sweep};
use crate::base::Digest;
use crate::base::url::redacted;

/// A directory of this process on the store's disk: removed when dropped; after a process that died, by the next one.
pub struct WorkDir {
    store: Store,
    path: PathBuf,
    fd: OwnedFd,
}

impl WorkDir {
    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory, open.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        self.store.inner.owner.throw_away(std::mem::take(&mut self.path));
    }
}

/// Sole hold, among all processes, on the copy of a remote repository that builds share. It may be empty at first.
pub struct Mirror {
    path: PathBuf,
    _lease: Lease,
}

impl Mirror {
    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Empties it: what is in it is damaged.
    pub fn reset(&self) -> Result<()> {
        sweep::remove_dir(&self.path)?;
        make(&self.path)
    }
}

impl Store {
    /// A fresh, empty directory, only for this user.
    pub fn work_dir(&self) -> Result<WorkDir> {
        let path = self.inner.owner.new_dir()?;
        let fd = File::open(&path).at("open", &path)?.into();
        Ok(WorkDir { store: self.clone(), path, fd })
    }

    /// The shared copy of the repository `remote`: `git/<hash of its URL>/`. Waits while others use it, asking `cancelled`
    /// every 10 ms.
    ///
    /// No command ever sees it: what git reads its settings from must not be written by steps.
    pub fn mirror(&self, remote: &str, cancelled: &dyn Fn() -> bool) -> Result<Mirror> {
        let name = Digest::of(remote);
        let lease = self.lease(&mirror_key(&name.hex()), cancelled)?;
        let path = self.inner.root.join("git").join(name.hex());
        make(&path)?;
        // Its name for people; written anew, it tells the time of the last use.
        let named = mirror_name(&path);
        make(named.parent().unwrap_or(&named))?;
        fs::write(&named, redacted(remote)).at("write", named)?;
        Ok(Mirror { path, _lease: lease })
    }
}

/// The file that has the name of a mirror's remote: `git-names/<hash>`.
pub(super) fn mirror_name(mirror: &Path) -> PathBuf {
    let root = mirror.ancestors().nth(2).unwrap_or(mirror);
    root.join("git-names").join(mirror.file_name().unwrap_or_default())
}

/// What the lease of a mirror is named by; `name` is that of its directory.
pub(super) fn mirror_key(name: &str) -> Digest {
    Digest::of(format!("git mirror {name}"))
}

fn make(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).at("create", path)?;
    // Of a directory that was there, too: nobody else may put hooks into it.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(path, mode).at("set the mode of", path)
}
