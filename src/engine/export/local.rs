//! Trees to a directory, and to one tar.
//!
//! Everything below the destination is done relative to open directories that were not reached through a symbolic
//! link: neither what the tree holds nor what lies at the destination can lead a write elsewhere.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RawDir, SeekFrom, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::error::Context;
use super::spec::{Dest, OutputSpec};
use super::target::{NewDir, NewFile, Stoppable, temporary_path};
use super::{ExportError, ExportItem, ExportKind, ExportReport};
use crate::base::Platform;
use crate::base::stack::deeper;
use crate::engine::cancel::Cancel;
use crate::store::{Snapshot, Store, in_user_namespace};

/// A tree and where below the destination it goes; empty is the destination itself.
struct Place<'a> {
    subdir: PathBuf,
    item: &'a str,
    tree: &'a Snapshot,
}

/// Exports one tree as a tar; see [`super::export`].
pub(super) fn export_tar(
    store: &Store,
    items: &[ExportItem],
    spec: &OutputSpec,
    out: &mut dyn Write,
    cancel: &Cancel,
) -> Result<ExportReport, ExportError> {
    let places = places(items);
    let [place] = places.as_slice() else {
        return Err(ExportError::SeveralTrees { n_trees: places.len() });
    };
    let failed = |source| ExportError::Store { item: place.item.to_owned(), source: Box::new(source) };
    let paths = match &spec.dest {
        Dest::Stdout => {
            store.write_tree_tar(place.tree, out).map_err(failed)?;
            out.flush().map_err(ExportError::Out)?;
            Vec::new()
        }
        Dest::Path(path) => {
            let mut file = NewFile::create(path)?;
            let out = &mut Stoppable { out: &mut file, cancel };
            store.write_tree_tar(place.tree, out).map_err(failed)?;
            vec![file.publish()?]
        }
    };
    Ok(ExportReport { paths, images: Vec::new() })
}

/// Exports trees as files; see [`super::export`].
///
/// One tree goes into the destination itself, several into directories named after their targets, and each platform
/// of an index into one of its own (`linux_amd64`).
pub(super) fn export_dir(
    store: &Store,
    items: &[ExportItem],
    spec: &OutputSpec,
    cancel: &Cancel,
) -> Result<ExportReport, ExportError> {
    let Dest::Path(dest) = &spec.dest else { unreachable!("parsing refuses a directory on standard output") };
    let is_new = match fs::metadata(dest) {
        Ok(metadata) if metadata.is_dir() => false,
        Ok(_) => {
            return Err(ExportError::InTheWay { path: dest.clone(), reason: "it is no directory" });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(source) => return Err(ExportError::Io { attempt: "look at", path: dest.clone(), source }),
    };
    // A new directory appears when all of it is there.
    let write =
        |target: &Path| places(items).iter().try_for_each(|place| write_place(store, place, target, cancel));
    if is_new {
        let new = NewDir::create(dest)?;
        write(new.path())?;
        match new.publish(dest) {
            // Another build made the directory meanwhile: its files are replaced one by one, as in any that is there.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                ) =>
            {
                write(dest)?;
            }
            renamed => renamed.at("rename a finished directory to", dest)?,
        }
    } else {
        write(dest)?;
    }
    Ok(ExportReport { paths: vec![dest.clone()], images: Vec::new() })
}

fn places(items: &[ExportItem]) -> Vec<Place<'_>> {
    let mut places = Vec::new();
    for item in items {
        let subdir = if items.len() == 1 { PathBuf::new() } else { PathBuf::from(&item.name) };
        let mut add = |subdir, tree| places.push(Place { subdir, item: &item.name, tree });
        match &item.kind {
            ExportKind::Fs(tree) => add(subdir, tree),
            ExportKind::Image(image) => add(subdir, &image.snapshot),
            ExportKind::Index { images, .. } => {
                for image in images {
                    add(subdir.join(platform_dir(&image.config.platform)), &image.snapshot);
                }
            }
        }
    }
    places
}

fn platform_dir(platform: &Platform) -> String {
    platform.normalize().to_string().replace('/', "_")
}

fn write_place(store: &Store, place: &Place<'_>, target: &Path, cancel: &Cancel) -> Result<(), ExportError> {
    let path = target.join(&place.subdir);
    fs::create_dir_all(&path).at("create the directory", &path)?;
    let failed = |source| ExportError::Store { item: place.item.to_owned(), source: Box::new(source) };
    let view = store.view(place.tree).map_err(failed)?;
    let to = rustix::fs::open(&path, DIR_FLAGS, Mode::empty()).at("open", &path)?;
    let mut copy = Copy { links: BTreeMap::new(), root: to.as_fd(), cancel };
    copy.directory(view.as_fd(), to.as_fd(), &Below { full: path, relative: PathBuf::new() })
}

const DIR_FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Where an entry goes: for messages, and for links.
struct Below {
    full: PathBuf,
    relative: PathBuf,
}

impl Below {
    fn join(&self, name: &CStr) -> Below {
        use std::os::unix::ffi::OsStrExt as _;
        let name = std::ffi::OsStr::from_bytes(name.to_bytes());
        Below { full: self.full.join(name), relative: self.relative.join(name) }
    }
}

struct Copy<'a> {
    /// Files with several names, by device and inode: where the first name was written.
    links: BTreeMap<(u64, u64), PathBuf>,
    root: BorrowedFd<'a>,
    cancel: &'a Cancel,
}

impl Copy<'_> {
    /// Copies what is in `from` into `to`.
    fn directory(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, at: &Below) -> Result<(), ExportError> {
        for name in names(from).at("read the tree for", &at.full)? {
            if self.cancel.is_cancelled() {
                return Err(ExportError::Cancelled);
            }
            self.entry(from, to, &name, &at.join(&name))?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        at: &Below,
    ) -> Result<(), ExportError> {
        let stat =
            rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW).at("read the tree for", &at.full)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        match kind {
            FileType::Directory => {
                let inner_from =
                    rustix::fs::openat(from, name, DIR_FLAGS, Mode::empty()).at("open", &at.full)?;
                let inner_to = make_dir(to, name, at)?;
                deeper(|| self.directory(inner_from.as_fd(), inner_to.as_fd(), at))?;
                // Last: writing into it changed its time, and it may be read-only.
                copy_metadata(inner_from.as_fd(), inner_to.as_fd(), &stat).at("set the metadata of", &at.full)
            }
            FileType::Socket | FileType::Unknown => Ok(()),
            FileType::RegularFile
            | FileType::Symlink
            | FileType::Fifo
            | FileType::CharacterDevice
            | FileType::BlockDevice => {
                let inode = (stat.st_dev, stat.st_ino);
                let temporary = temporary_name();
                let made = match self.links.get(&inode) {
                    Some(first) => link(self.root, first, to, &temporary),
                    None => make(from, to, name, &temporary, &stat, kind),
                };
                let published = made
                    .and_then(|()| rustix::fs::renameat(to, &temporary, to, name).map_err(io::Error::from));
                if let Err(error) = published {
                    // Removed if it was made; the error is the thing to tell.
                    let _ = rustix::fs::unlinkat(to, &temporary, AtFlags::empty());
                    if error.raw_os_error() == Some(libc::EISDIR) {
                        let reason = "a directory is in its place";
                        return Err(ExportError::InTheWay { path: at.full.clone(), reason });
                    }
                    return Err(ExportError::Io { attempt: "write", path: at.full.clone(), source: error });
                }
                if 1 < stat.st_nlink {
                    self.links.entry(inode).or_insert_with(|| at.relative.clone());
                }
                Ok(())
            }
        }
    }
}

/// The names in a directory, sorted.
fn names(dir: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    // A description of its own: the position of the given one stays.
    let dir = rustix::fs::openat(dir, c".", DIR_FLAGS, Mode::empty())?;
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut entries = RawDir::new(dir, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Opens the directory `name`, made if it is not there. Something else of that name, a symbolic link to a directory
/// included, gives way.
fn make_dir(to: BorrowedFd<'_>, name: &CStr, at: &Below) -> Result<OwnedFd, ExportError> {
    let open = || rustix::fs::openat(to, name, DIR_FLAGS, Mode::empty());
    match open() {
        Ok(dir) => return Ok(dir),
        Err(Errno::NOENT) => {}
        Err(Errno::NOTDIR | Errno::LOOP) => {
            rustix::fs::unlinkat(to, name, AtFlags::empty()).at("replace", &at.full)?;
        }
        Err(error) => return Err(error).at("open", &at.full),
    }
    rustix::fs::mkdirat(to, name, Mode::RWXU).at("create the directory", &at.full)?;
    open().at("open", &at.full)
}

fn link(root: BorrowedFd<'_>, first: &Path, to: BorrowedFd<'_>, temporary: &CStr) -> io::Result<()> {
    let (parent, name) = (first.parent().unwrap_or(Path::new("")), first.file_name().unwrap_or_default());
    // We have just written there, but somebody may have put a link in the way since.
    let flags = rustix::fs::ResolveFlags::BENEATH | rustix::fs::ResolveFlags::NO_SYMLINKS;
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let parent = rustix::fs::openat2(root, parent, DIR_FLAGS, Mode::empty(), flags)?;
    Ok(rustix::fs::linkat(parent, name, to, temporary, AtFlags::empty())?)
}

/// Makes a copy of the entry `name` of `from` as `temporary` in `to`, with its metadata.
fn make(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &CStr,
    temporary: &CStr,
    stat: &Stat,
    kind: FileType,
) -> io::Result<()> {
    match kind {
        FileType::RegularFile => {
            let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let source = File::from(rustix::fs::openat(from, name, read, Mode::empty())?);
            let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let copy = File::from(rustix::fs::openat(to, temporary, write, Mode::RUSR | Mode::WUSR)?);
            copy_bytes(&source, &copy, stat)?;
            copy_metadata(source.as_fd(), copy.as_fd(), stat)
        }
        FileType::Symlink => {
            let link = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(&link, to, temporary)?;
            set_owner_and_times(to, temporary, stat)
        }
        FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice => {
            let mode = Mode::from_raw_mode(stat.st_mode);
            rustix::fs::mknodat(to, temporary, kind, mode, stat.st_rdev)?;
            set_owner_and_times(to, temporary, stat)?;
            Ok(rustix::fs::chmodat(to, temporary, mode, AtFlags::empty())?)
        }
        FileType::Directory | FileType::Socket | FileType::Unknown => {
            unreachable!("directories are made elsewhere, sockets are not copied")
        }
    }
}

/// Holes stay holes where the file has any.
fn copy_bytes(source: &File, copy: &File, stat: &Stat) -> io::Result<()> {
    let size = stat.st_size as u64;
    if size <= stat.st_blocks as u64 * 512 {
        return io::copy(&mut &*source, &mut &*copy).map(drop);
    }
    copy.set_len(size)?;
    let mut at = 0;
    while at < size {
        let start = match rustix::fs::seek(source, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            // No holes known to this file system.
            Err(Errno::INVAL | Errno::OPNOTSUPP) if at == 0 => 0,
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(source, SeekFrom::Hole(start)).unwrap_or(size);
        rustix::fs::seek(source, SeekFrom::Start(start))?;
        rustix::fs::seek(copy, SeekFrom::Start(start))?;
        io::copy(&mut io::Read::take(source, end - start), &mut &*copy)?;
        at = end;
    }
    Ok(())
}

/// Owner, extended attributes, mode and times, in the order in which none undoes another.
fn copy_metadata(from: BorrowedFd<'_>, to: BorrowedFd<'_>, stat: &Stat) -> io::Result<()> {
    give_away(|uid, gid| rustix::fs::fchown(to, uid, gid), stat)?;
    copy_xattrs(from, to)?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode))?;
    Ok(rustix::fs::futimens(to, &times(stat))?)
}

fn set_owner_and_times(dir: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<()> {
    give_away(|uid, gid| rustix::fs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW), stat)?;
    Ok(rustix::fs::utimensat(dir, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Only root gives files away: for others, what they write is theirs, also when a user namespace would let them.
fn give_away(
    chown: impl FnOnce(Option<Uid>, Option<Gid>) -> rustix::io::Result<()>,
    stat: &Stat,
) -> io::Result<()> {
    if in_user_namespace() {
        return Ok(());
    }
    match chown(Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid))) {
        Err(Errno::PERM) if !rustix::process::geteuid().is_root() => Ok(()),
        result => Ok(result?),
    }
}

/// As far as the destination takes them.
fn copy_xattrs(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let mut list = vec![0; 64 << 10];
    let n_bytes = match rustix::fs::flistxattr(from, &mut list[..]) {
        Ok(n_bytes) => n_bytes,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for name in list[..n_bytes].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = CString::new(name).expect("split at the NULs");
        let mut value = vec![0; 64 << 10];
        let Ok(n_bytes) = rustix::fs::fgetxattr(from, &name, &mut value[..]) else { continue };
        match rustix::fs::fsetxattr(to, &name, &value[..n_bytes], rustix::fs::XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM | Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn times(stat: &Stat) -> Timestamps {
    let time = |sec: i64, nsec: u64| Timespec { tv_sec: sec, tv_nsec: nsec as i64 };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

fn temporary_name() -> CString {
    let path = temporary_path(Path::new("new"));
    let name = path.file_name().map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default();
    CString::new(name).expect("hex digits and letters")
}
