//! Mount points that had to be made: they are no part of the result and go when the command has ended.
//!
//! BuildKit removes them by path (`executor/stubs.go`); that lets a command swap a directory for a link and have the
//! cleaner delete elsewhere (CVE-2024-23652). Here every directory is held open from before the command starts, and only
//! what has the device and inode numbers of what was made is removed.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, AtFlags, FileType, Timespec, Timestamps};
use rustix::io::Errno;

use crate::engine::exec::tree::{Times, times, times_of};

/// Made things, in the order of their making.
#[derive(Default)]
pub(super) struct Stubs {
    made: Vec<Stub>,
    parents: Vec<Parent>,
}

struct Stub {
    /// Index of its directory in `parents`.
    parent: usize,
    name: OsString,
    id: Id,
    is_dir: bool,
}

/// A directory in which something was made.
struct Parent {
    dir: OwnedFd,
    id: Id,
    /// Before the first thing was made.
    before: Times,
    /// Modification time after the last one was.
    after: Timespec,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Id {
    dev: u64,
    ino: u64,
}

impl Stubs {
    /// Remembers `name`, just made in `dir`, whose times were `before`.
    pub(super) fn add(&mut self, dir: OwnedFd, name: &OsStr, before: Times) -> Result<(), Errno> {
        let stat = fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let parent_stat = fs::fstat(&dir)?;
        let after = times_of(&parent_stat).modification;
        let id = id_of(&parent_stat);
        let parent = match self.parents.iter().position(|it| it.id == id) {
            Some(index) => {
                self.parents[index].after = after;
                index
            }
            None => {
                self.parents.push(Parent { dir, id, before, after });
                self.parents.len() - 1
            }
        };
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        self.made.push(Stub { parent, name: name.to_owned(), id: id_of(&stat), is_dir });
        Ok(())
    }

    /// Removes what is still there and still empty, and gives its directories back the times they would have had.
    ///
    /// What cannot be removed stays: a file that the command wrote to is its result.
    pub(super) fn remove(self) {
        // Times as the command left them, before the removals change them.
        let left: Vec<_> = self.parents.iter().map(|it| times(it.dir.as_fd())).collect();
        for stub in self.made.iter().rev() {
            let dir = self.parents[stub.parent].dir.as_fd();
            let Ok(stat) = fs::statat(dir, &stub.name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            if id_of(&stat) != stub.id {
                continue;
            }
            if stub.is_dir {
                let _ = fs::unlinkat(dir, &stub.name, AtFlags::REMOVEDIR);
            } else if stat.st_size == 0 && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
                let _ = fs::unlinkat(dir, &stub.name, AtFlags::empty());
            }
        }
        // Innermost last made, so outer directories are restored after what happened inside them.
        for (parent, left) in self.parents.iter().zip(left).rev() {
            let Ok(left) = left else { continue };
            // A command that changed the directory itself has set its time; otherwise only we did.
            let untouched = left.modification == parent.after;
            let times = if untouched { parent.before } else { left };
            let times = Timestamps { last_access: times.access, last_modification: times.modification };
            // By name: a descriptor opened by reference cannot set times itself.
            let _ = fs::utimensat(&parent.dir, ".", &times, AtFlags::empty());
        }
    }
}

fn id_of(stat: &fs::Stat) -> Id {
    Id { dev: stat.st_dev, ino: stat.st_ino }
}
