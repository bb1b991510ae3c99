//! Making regular files with as few system calls as their attributes allow: of a hundred thousand files, each call
//! counts. A file is made with its mode and as the owner we are; that this gave what was wanted is looked at once per
//! directory (there may be a umask, a default ACL, a set-gid bit), and from then on believed.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rustix::fs::{Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::error::FileError;
use super::files::{Directory, Facts};
use super::root::{Owner, join, transfer_inside, transfer_through};

/// Files larger than this are copied inside of the kernel, where it can.
const SMALL: u64 = 256 << 10;

/// What is known of copying here.
#[derive(Default)]
pub(super) struct Regular {
    /// The kernel does not copy between these two file systems by itself.
    only_through: AtomicBool,
}

/// A directory that files are made in.
pub(super) struct Target<'a> {
    pub(super) fd: BorrowedFd<'a>,
    pub(super) place: &'a [u8],
    /// Mode bits that a new file was seen to get.
    seen_modes: AtomicU32,
    /// New files were seen to belong to root.
    seen_root: AtomicBool,
}

/// The attributes that a file is to have.
pub(super) struct Wanted {
    owner: Option<Owner>,
    mode: u32,
    times: (Timespec, Timespec),
}

const ROOT: Owner = Owner { uid: 0, gid: 0 };

impl<'a> Target<'a> {
    pub(super) fn new(fd: BorrowedFd<'a>, place: &'a [u8]) -> Target<'a> {
        Target { fd, place, seen_modes: AtomicU32::new(0), seen_root: AtomicBool::new(false) }
    }
}

impl Regular {
    /// `owner` is that of the source if it is `None`.
    pub(super) fn wanted(&self, owner: Option<Owner>, mode: u32, times: (Timespec, Timespec)) -> Wanted {
        Wanted { owner, mode, times }
    }

    /// Makes the file, empty; `None` when something is there.
    pub(super) fn make(
        &self,
        to: &Target<'_>,
        name: &OsStr,
        wanted: &Wanted,
    ) -> Result<Option<OwnedFd>, FileError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(to.fd, name, flags, Mode::from_raw_mode(wanted.mode & 0o777)) {
            Ok(made) => Ok(Some(made)),
            Err(Errno::EXIST) => Ok(None),
            Err(errno) => Err(FileError::io("make", &join(to.place, name.as_bytes()), errno.into())),
        }
    }

    /// Gives a file that was just made its content and attributes.
    #[allow(clippy::too_many_arguments, reason = "two ends of a copy")]
    pub(super) fn fill(
        &self,
        from: &dyn Directory,
        from_name: &OsStr,
        facts: &Facts,
        made: &OwnedFd,
        to: &Target<'_>,
        name: &OsStr,
        wanted: &Wanted,
    ) -> Result<(), FileError> {
        let failed = |attempt| {
            move |errno: Errno| FileError::io(attempt, &join(to.place, name.as_bytes()), errno.into())
        };
        let mut source = None;
        if 0 < facts.size {
            let fd = from.open(from_name, facts)?;
            self.transfer(&fd, made, facts.size).map_err(failed("copy"))?;
            from.still(from_name, facts, &fd)?;
            source = Some(fd);
        }
        let owner = wanted.owner.unwrap_or(facts.owner);
        self.settle(made, to, owner, wanted.mode & 0o7777).map_err(failed("set the mode and owner of"))?;
        for (key, value) in from.xattrs(from_name, facts, source.as_ref())? {
            if key.starts_with(b"trusted.") || key.starts_with(b"user.overlay.") {
                continue;
            }
            // What the file system or the kernel refuses is left out, as BuildKit does.
            let set = rustix::fs::fsetxattr(made, OsStr::from_bytes(&key), &value, XattrFlags::empty());
            if let Err(Errno::NOSPC | Errno::DQUOT) = set {
                return Err(failed("set the attributes of")(Errno::NOSPC));
            }
        }
        let (last_access, last_modification) = wanted.times;
        rustix::fs::futimens(made, &Timestamps { last_access, last_modification })
            .map_err(failed("set the times of"))
    }

    fn transfer(&self, source: &OwnedFd, target: &OwnedFd, size: u64) -> rustix::io::Result<()> {
        thread_local! {
            static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; SMALL as usize]);
        }
        if SMALL < size && !self.only_through.load(Ordering::Relaxed) {
            if transfer_inside(source, target)? {
                return Ok(());
            }
            self.only_through.store(true, Ordering::Relaxed);
        }
        BUFFER.with_borrow_mut(|buffer| transfer_through(source, target, size, buffer))
    }

    /// Sets owner and mode where they are not those wanted.
    fn settle(&self, made: &OwnedFd, to: &Target<'_>, owner: Owner, mode: u32) -> rustix::io::Result<()> {
        // The kernel takes the last number for "leave it as it is".
        if owner.uid == u32::MAX || owner.gid == u32::MAX {
            return Err(Errno::INVAL);
        }
        let is_seen = owner == ROOT
            && to.seen_root.load(Ordering::Relaxed)
            && mode & !to.seen_modes.load(Ordering::Relaxed) == 0;
        if is_seen {
            return Ok(());
        }
        let stat = rustix::fs::fstat(made.as_fd())?;
        let found = Owner { uid: stat.st_uid, gid: stat.st_gid };
        if found == ROOT {
            to.seen_root.store(true, Ordering::Relaxed);
        }
        if found != owner {
            rustix::fs::fchown(made, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?;
        }
        if stat.st_mode & 0o7777 == mode {
            to.seen_modes.fetch_or(mode, Ordering::Relaxed);
        } else {
            // Behind the owner: changing it takes set-id bits off.
            rustix::fs::fchmod(made, Mode::from_raw_mode(mode))?;
        }
        Ok(())
    }
}
