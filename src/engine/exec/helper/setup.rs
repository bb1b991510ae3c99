//! The tree of a command with everything mounted into it but what needs the container's own namespaces.
//!
//! All mounts are made in a mount namespace of the helper, below a memory file system of its own (`place`). Targets and selectors
//! are resolved inside their trees by descriptor and mounts are moved onto descriptors: no path that an image, a build program or
//! another command can influence is ever handed to mount(2).

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree, unmount};

use super::EMULATOR;
use super::place::{COPY, attach, tmpfs};
use super::stubs::Stubs;
use crate::engine::exec::error::RunError;
use crate::engine::exec::spec::StubParents;
use crate::engine::exec::sys;
use crate::engine::exec::tree::{self, Owner, ReadError};
use crate::engine::exec::user::{self, Identity};
use crate::engine::exec::wire::{Confinement, Request, WireEmulation, WireSource};

const ROOT: Owner = Owner { uid: 0, gid: 0 };
/// Larger passwd and group files are refused (moby/sys/user).
const MAX_USER_FILE: u64 = 10 << 20;

/// Name of the directory of an area on which the root is mounted.
pub(super) const ROOTFS: &str = "rootfs";

/// A tree that is ready for a container.
pub(super) struct Prepared {
    /// Where the root is mounted, in this process's mount namespace.
    pub(super) rootfs: PathBuf,
    pub(super) identity: Identity,
    /// Working directory, cleaned.
    pub(super) cwd: PathBuf,
    /// Directories that the runtime mounts on and the tree does not have.
    missing: Vec<&'static str>,
}

/// Mounts everything into the tree, below `area`: a directory in memory of this process's own mount namespace, with a
/// directory [`ROOTFS`] in it. What had to be made in the tree is added to `stubs`, also before an error.
pub(super) fn prepare(
    request: &Request,
    root: BorrowedFd<'_>,
    trees: &[OwnedFd],
    area: &Path,
    net_files: &mut NetFiles,
    stubs: &mut Stubs,
) -> Result<Prepared, RunError> {
    let rootfs = area.join(ROOTFS);
    attach(root, &rootfs).map_err(|err| {
        let what = format!("cannot attach the root: {err}; kernels before 5.15 cannot run commands");
        RunError::Environment { what, help: "use Linux 5.15 or newer".into() }
    })?;
    let mut identity = identity(root, &request.user)?;
    for group in &request.groups {
        if !identity.groups.contains(group) {
            identity.groups.push(*group);
        }
    }

    let mut mounter = Mounter {
        root,
        root_mount: mount_id(root).map_err(errno("look at", "/"))?,
        area,
        n_files: 0,
        stub_parents: request.stub_parents,
        missing: Vec::new(),
        stubs,
    };
    let cwd = tree::clean("/", &request.cwd);
    let mounts = sorted_mounts(request)?;
    mounter.note_missing(mounts.iter().map(|it| it.0.as_path()));
    make_cwd(root, &cwd, Owner { uid: identity.uid, gid: identity.gid })?;
    for (path, text) in [("/etc/resolv.conf", &request.resolv_conf), ("/etc/hosts", &request.hosts)] {
        let file = match request.confinement {
            Confinement::Full => net_files.mount(area, path, text)?,
            // It could make it writable.
            Confinement::Namespaces { .. } => {
                let file = mounter.file(text.as_bytes(), ROOT, 0o644)?;
                sys::make_readonly(&file, false).map_err(io("protect", path))?;
                file
            }
        };
        mounter.mount(file.as_fd(), Path::new(path))?;
    }
    for (dest, index) in &mounts {
        let mount = &request.mounts[*index];
        let source = match &mount.source {
            WireSource::Tree { tree, selector } => {
                let tree = trees.get(*tree).ok_or_else(|| bug("a mount names no tree"))?;
                mounter.tree(tree.as_fd(), selector)?
            }
            WireSource::Tmpfs { size } => tmpfs(*size, 0o1777).map_err(io("make memory for", dest))?,
            WireSource::File { bytes, uid, gid, mode } => {
                mounter.file(bytes, Owner { uid: *uid, gid: *gid }, *mode)?
            }
        };
        if mount.readonly {
            sys::make_readonly(&source, true).map_err(io("protect", dest))?;
        }
        mounter.mount(source.as_fd(), dest)?;
    }
    if !mounts.is_empty() {
        // Again, as runc does: a mount may have covered what was made.
        make_cwd(root, &cwd, ROOT)?;
    }
    let missing = preflight(root)?;
    Ok(Prepared { rootfs, identity, cwd, missing })
}

/// What commands have at `/etc/resolv.conf` and `/etc/hosts`, in memory: kept for the next command, which most times has the
/// same. Those who share a file cannot write to it.
#[derive(Default)]
pub(super) struct NetFiles {
    /// Path in the tree and text of each file, which is in the area under its base name.
    kept: Vec<(&'static str, String)>,
}

impl NetFiles {
    /// A read-only mount of the file with this text.
    fn mount(&mut self, area: &Path, path: &'static str, text: &str) -> Result<OwnedFd, RunError> {
        let place = area.join(path.trim_start_matches("/etc/"));
        if !self.kept.iter().any(|it| it.0 == path && it.1 == text) {
            self.kept.retain(|it| it.0 != path);
            // Another file: a container that has the old one may not have ended.
            match fs::remove_file(&place) {
                Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
                    return Err(io("remove", &place)(err));
                }
                _ => {}
            }
            write(&place, text.as_bytes(), ROOT, 0o644)?;
            self.kept.push((path, text.to_owned()));
        }
        take(&place, libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOEXEC)
    }
}

/// Writes a file of the area.
fn write(place: &Path, bytes: &[u8], owner: Owner, mode: u32) -> Result<(), RunError> {
    fs::write(place, bytes).map_err(io("write", place))?;
    chown(place, Some(owner.uid), Some(owner.gid)).map_err(io("give away", place))?;
    let permissions = fs::Permissions::from_mode(mode & 0o777);
    fs::set_permissions(place, permissions).map_err(io("set the mode of", place))
}

/// A file of the area as a mount to be moved, with these attributes and those that every file has.
fn take(place: &Path, attributes: u64) -> Result<OwnedFd, RunError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = open_tree(rustix::fs::CWD, place, flags).map_err(errno("take", place))?;
    let attributes = attributes | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    sys::set_attributes(&mount, attributes, false).map_err(io("protect", place))?;
    Ok(mount)
}

/// The emulator as a mount that nobody can write to.
pub(super) fn emulator(request: &Request, trees: Vec<OwnedFd>) -> Result<Option<OwnedFd>, RunError> {
    let WireEmulation::Program { tree, .. } = request.emulation else { return Ok(None) };
    let mount = trees.into_iter().nth(tree).ok_or_else(|| bug("the emulator is no tree"))?;
    let attributes = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    sys::set_attributes(&mount, attributes, false).map_err(io("protect", EMULATOR))?;
    Ok(Some(mount))
}

/// Leaves nothing in `area` of the command before, however it ended.
pub(super) fn empty(area: &Path) {
    for n in 1.. {
        let place = place_of(area, n);
        let Ok(metadata) = fs::symlink_metadata(&place) else { return };
        if metadata.is_dir() {
            let _ = unmount(&place, UnmountFlags::DETACH);
            let _ = fs::remove_dir(&place);
        } else {
            let _ = fs::remove_file(&place);
        }
    }
}

fn place_of(area: &Path, n: u32) -> PathBuf {
    area.join(n.to_string())
}

/// Who the command runs as.
fn identity(root: BorrowedFd<'_>, text: &str) -> Result<Identity, RunError> {
    let read = |path: &str| {
        tree::read_text(root, path, MAX_USER_FILE).map_err(|err| {
            let why = match err {
                ReadError::Errno(err) => err.to_string(),
                ReadError::NotRegular => "it is no regular file".to_owned(),
                ReadError::TooLarge => "it is larger than 10 MiB".to_owned(),
            };
            RunError::Step {
                what: format!("cannot read `{path}` of the tree to find the user `{text}`: {why}"),
            }
        })
    };
    // Root without further wishes needs no files; broken ones are then nobody's business.
    match (read("/etc/passwd"), text.is_empty()) {
        (Ok(passwd), true) => user::resolve(text, &passwd, ""),
        (Err(_), true) => user::resolve(text, "", ""),
        (passwd, false) => user::resolve(text, &passwd?, &read("/etc/group")?),
    }
}

/// Destinations, parents before children, with the index of their mount; of equal ones the last.
fn sorted_mounts(request: &Request) -> Result<Vec<(PathBuf, usize)>, RunError> {
    let mut out: Vec<(PathBuf, usize)> = Vec::new();
    for (index, mount) in request.mounts.iter().enumerate() {
        let dest = tree::clean(&request.cwd, &mount.dest);
        if dest == Path::new("/") {
            return Err(step(format!("a second mount on the root (`{}`)", mount.dest)));
        }
        if ["/dev", "/proc", "/sys"].iter().any(|it| dest.starts_with(it)) {
            return Err(step(format!(
                "a mount on `{}`: `/dev`, `/proc` and `/sys` are the engine's",
                mount.dest
            )));
        }
        out.retain(|it| it.0 != dest);
        out.push((dest, index));
    }
    out.sort_by(|a, b| a.0.as_os_str().cmp(b.0.as_os_str()));
    Ok(out)
}

/// Makes the working directory where it is missing, as `owner`'s; it stays in the tree.
fn make_cwd(root: BorrowedFd<'_>, cwd: &Path, owner: Owner) -> Result<(), RunError> {
    // Links to descriptors lead out of the container (CVE-2024-21626); libcontainer looks again once inside.
    if cwd.starts_with("/proc") && cwd != Path::new("/proc") {
        return Err(step(format!("the working directory `{}` is below `/proc`", cwd.display())));
    }
    let failed = |err: Errno| step(format!("cannot make the working directory `{}`: {err}", cwd.display()));
    let at = tree::place(root, cwd, owner).map_err(failed)?;
    if !at.exists {
        return tree::make_dir(at.parent.as_fd(), &at.name, owner).map_err(failed);
    }
    // Links are resolved: what is not the directory itself is a file.
    if at.name == "." { Ok(()) } else { Err(failed(Errno::NOTDIR)) }
}

/// How often a mount point may vanish before it is mounted on.
const N_TRIES: u32 = 16;

/// Whether a mount is in its place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moved {
    Yes,
    /// The mount point was removed in between: by a command before on the same tree that was given up and is being cleaned
    /// up after.
    Vanished,
}

/// Puts mounts into the root.
struct Mounter<'a> {
    root: BorrowedFd<'a>,
    /// Stubs in other mounts than the root's are not ours to remove.
    root_mount: u64,
    area: &'a Path,
    n_files: u32,
    stub_parents: StubParents,
    /// Destinations that were not in the tree before anything was made.
    missing: Vec<PathBuf>,
    stubs: &'a mut Stubs,
}

impl Mounter<'_> {
    /// Notes which destinations do not exist yet: what the working directory brings is then still a stub, as with BuildKit.
    fn note_missing<'p>(&mut self, dests: impl Iterator<Item = &'p Path>) {
        let own = [Path::new("/etc/resolv.conf"), Path::new("/etc/hosts")];
        for dest in own.into_iter().chain(dests) {
            if let Err(Errno::NOENT) = tree::resolve(self.root, dest) {
                self.missing.push(dest.to_owned());
            }
        }
    }

    /// The part of `tree` that `selector` names, as a mount to be moved; resolved inside the tree.
    fn tree(&mut self, tree: BorrowedFd<'_>, selector: &str) -> Result<OwnedFd, RunError> {
        let own = || tree.try_clone_to_owned().map_err(io("duplicate", "a mount"));
        let selected = tree::clean("/", selector);
        if selected == Path::new("/") {
            return own();
        }
        // Older kernels clone only from mounts of this namespace: attach it first.
        let place = self.fresh_place();
        fs::create_dir(&place).map_err(io("make", &place))?;
        attach(tree, &place).map_err(errno("attach", &place))?;
        let found = tree::resolve(tree, &selected)
            .map_err(|err| step(format!("`{selector}` in the mounted tree: {err}")))?;
        open_tree(&found, "", COPY).map_err(errno("take", &selected))
    }

    /// A file in memory, as a mount to be moved.
    fn file(&mut self, bytes: &[u8], owner: Owner, mode: u32) -> Result<OwnedFd, RunError> {
        let place = self.fresh_place();
        write(&place, bytes, owner, mode)?;
        take(&place, if mode & 0o111 == 0 { libc::MOUNT_ATTR_NOEXEC } else { 0 })
    }

    fn fresh_place(&mut self) -> PathBuf {
        self.n_files += 1;
        place_of(self.area, self.n_files)
    }

    /// Moves `mount` to `dest` in the root, making the mount point where it is missing.
    fn mount(&mut self, mount: BorrowedFd<'_>, dest: &Path) -> Result<(), RunError> {
        for _ in 0..N_TRIES {
            if self.try_mount(mount, dest)? == Moved::Yes {
                return Ok(());
            }
            // What was there was somebody else's mount point, who is done: now it is ours to make and to remove.
            if !self.missing.iter().any(|it| it == dest) {
                self.missing.push(dest.to_owned());
            }
        }
        Err(step(format!("cannot mount on `{}`: it is removed again and again", dest.display())))
    }

    fn try_mount(&mut self, mount: BorrowedFd<'_>, dest: &Path) -> Result<Moved, RunError> {
        let is_dir = is_dir(mount).map_err(errno("look at what goes to", dest))?;
        let missing = self.missing.iter().any(|it| it == dest);
        let no_place = |err: Errno| match err {
            Errno::ROFS => step(format!(
                "there is no `{}` to mount on, and it lies in a read-only mount",
                dest.display()
            )),
            err => step(format!("cannot make the mount point `{}`: {err}", dest.display())),
        };
        let at = tree::place(self.root, dest, ROOT).map_err(no_place)?;
        if missing && self.stub_parents == StubParents::Remove {
            for made in at.made {
                if mount_id(made.parent.as_fd()).is_ok_and(|it| it == self.root_mount) {
                    self.stubs.add(made.parent, &made.name, made.before).map_err(no_place)?;
                }
            }
        }
        let before = tree::times(at.parent.as_fd()).map_err(no_place)?;
        if !at.exists {
            make_target(at.parent.as_fd(), &at.name, is_dir).map_err(no_place)?;
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = match rustix::fs::openat(&at.parent, &at.name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(Moved::Vanished),
            other => other.map_err(no_place)?,
        };
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        // Before it is covered: afterwards the name leads to what is mounted.
        if missing && mount_id(at.parent.as_fd()).is_ok_and(|it| it == self.root_mount) {
            match self.stubs.add(at.parent, &at.name, before) {
                Err(Errno::NOENT) => return Ok(Moved::Vanished),
                other => other.map_err(no_place)?,
            }
        }
        // The kernel says EINVAL for a directory on a file and the other way round (fs/namespace.c, do_move_mount).
        let on_dir = rustix::fs::fstat(&target)
            .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir());
        match move_mount(mount, "", &target, "", flags) {
            Ok(()) => return Ok(Moved::Yes),
            Err(Errno::NOENT) => return Ok(Moved::Vanished),
            Err(err) => Err(err),
        }
        .map_err(|err| match err {
            Errno::NOTDIR | Errno::INVAL if is_dir && !on_dir => {
                step(format!("a directory cannot be mounted on the file `{}`", dest.display()))
            }
            Errno::NOTDIR | Errno::INVAL if !is_dir && on_dir => {
                step(format!("a file cannot be mounted on the directory `{}`", dest.display()))
            }
            err => step(format!("cannot mount on `{}`: {err}", dest.display())),
        })
    }
}

fn make_target(dir: BorrowedFd<'_>, name: &OsStr, is_dir: bool) -> Result<(), Errno> {
    if is_dir { tree::make_dir(dir, name, ROOT) } else { tree::make_file(dir, name) }
}

/// Where the runtime mounts must be directories, not links: libcontainer would follow `/dev` out of the tree and make
/// its links on the host (runc CVE-2026-41579 and its like). Gives those that are not there.
fn preflight(root: BorrowedFd<'_>) -> Result<Vec<&'static str>, RunError> {
    let strict = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut missing = Vec::new();
    for dir in ["dev", "proc", "sys", "dev/pts"] {
        match rustix::fs::openat2(root, dir, flags, Mode::empty(), strict) {
            Ok(_) => {}
            Err(Errno::NOENT) => missing.push(dir),
            Err(Errno::LOOP | Errno::NOTDIR) => {
                return Err(step(format!("`/{dir}` of the tree is no directory: refusing to mount on it")));
            }
            Err(err) => return Err(step(format!("cannot look at `/{dir}` of the tree: {err}"))),
        }
    }
    Ok(missing)
}

impl Prepared {
    /// Makes the directories that the runtime mounts on where they are missing; they stay in the tree, as with the peer.
    pub(super) fn make_system_dirs(&self, root: BorrowedFd<'_>) -> Result<(), RunError> {
        // What is below them is mounted along.
        for dir in self.missing.iter().filter(|it| !it.contains('/')) {
            tree::make_dir(root, OsStr::new(dir), ROOT)
                .map_err(|err| step(format!("cannot make `/{dir}` in the tree: {err}")))?;
        }
        Ok(())
    }
}

fn is_dir(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    rustix::fs::fstat(fd).map(|it| FileType::from_raw_mode(it.st_mode) == FileType::Directory)
}

pub(super) fn mount_id(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    let flags = rustix::fs::AtFlags::EMPTY_PATH;
    rustix::fs::statx(fd, "", flags, rustix::fs::StatxFlags::MNT_ID).map(|it| it.stx_mnt_id)
}

fn step(what: String) -> RunError {
    RunError::Step { what }
}

fn bug(what: &str) -> RunError {
    RunError::Bug { what: what.to_owned() }
}

pub(super) fn io(attempt: &'static str, path: impl AsRef<Path>) -> impl Fn(std::io::Error) -> RunError {
    let path = path.as_ref().to_owned();
    move |source| RunError::Io { attempt, path: path.clone(), source }
}

pub(super) fn errno(attempt: &'static str, path: impl AsRef<Path>) -> impl Fn(Errno) -> RunError {
    let io = io(attempt, path);
    move |err| io(err.into())
}
