//! Copying from tree to tree (BuildKit solver/llbsolver/file/backend.go and fsutil/copy).

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rayon::prelude::*;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, Timespec};
use rustix::io::Errno;

use super::error::FileError;
use super::root::{
    Last, Owner, Place, Root, chmod_at, chown_at, join, kind, list, set_times_at, set_xattrs, split,
    timespec, transfer,
};
use super::{mode, unpack};
use crate::base::glob::{self, Kind, Matched, Patterns};
use crate::engine::cancel::Cancel;
use crate::engine::content_hash::xattrs;
use crate::graph::ir::FileCopy;

/// A copy with everything about it that is the same for all files.
pub(super) struct Copy<'a> {
    pub(super) op: &'a FileCopy,
    pub(super) from: &'a Root,
    pub(super) to: &'a Root,
    pub(super) owner: Option<Owner>,
    pub(super) cancel: &'a Cancel,
}

/// Copying of one match.
struct Tree<'a> {
    copy: &'a Copy<'a>,
    include: Option<Patterns>,
    exclude: Option<Patterns>,
    time: Option<Timespec>,
    /// First target of every file that has several names.
    inodes: HashMap<(u64, u64), Place>,
    /// Directories on the way down, outermost first: where from, where to, whether made or met.
    way: Vec<(Place, Place, bool)>,
}

/// What the patterns said of a directory.
#[derive(Clone, Default)]
struct Verdicts {
    include: Matched,
    exclude: Matched,
}

/// A regular file to be copied; several are copied at once.
struct Job {
    name: std::ffi::OsString,
    stat: Stat,
}

impl Copy<'_> {
    /// Does it.
    pub(super) fn run(&self) -> Result<(), FileError> {
        let op = self.op;
        if !op.create_dest_path {
            let dest = self.to.resolve(self.dest().as_bytes(), Last::Follow)?;
            if self.to.stat(split(&dest).0)?.is_none() {
                let missing = String::from_utf8_lossy(split(&dest).0).into_owned();
                return Err(FileError::NotFound { path: missing });
            }
        }
        let matches = self.matches()?;
        if matches.is_empty() && !op.allow_empty_wildcard {
            return Err(FileError::NotFound { path: op.src.clone() });
        }
        for asked in matches {
            let source = self.from.resolve(&asked, self.last())?;
            let Some(stat) = self.from.stat(&source)? else {
                return Err(FileError::NotFound { path: String::from_utf8_lossy(&asked).into_owned() });
            };
            if op.attempt_unpack && kind(&stat) == FileType::RegularFile && self.unpack(&source)? {
                continue;
            }
            self.copy_match(&asked, &source, &stat)?;
        }
        self.check_required()
    }

    /// Whether the path that is copied may itself be a link to be followed.
    fn last(&self) -> Last {
        if self.op.follow_symlink { Last::Follow } else { Last::Keep }
    }

    /// Where it goes, from the top; `/` or `/.` at the end stay, for they say that it is a directory.
    fn dest(&self) -> String {
        let clean = super::rooted(&self.op.dest);
        match &self.op.dest {
            dest if dest.ends_with("/.") => format!("{}/.", clean.trim_end_matches('/')),
            dest if dest.ends_with('/') && clean != "/" => clean + "/",
            _ => clean,
        }
    }

    /// The paths that `src` stands for, as they are asked for.
    fn matches(&self) -> Result<Vec<Place>, FileError> {
        let src = super::rooted(&self.op.src);
        let (before, pattern) = glob::split_wildcard(&src);
        if !self.op.allow_wildcard || pattern.is_empty() {
            return Ok(vec![src.into_bytes()]);
        }
        // Where a link stands right before the wildcard, it is the path itself that is followed or not.
        let top = self.from.resolve(before.as_bytes(), self.last())?;
        let prefix = before.trim_end_matches('/').as_bytes();
        let below = super::matches_below(self.from, &top, pattern)?;
        Ok(below.into_iter().map(|below| [prefix, &below].concat()).collect())
    }

    fn unpack(&self, source: &[u8]) -> Result<bool, FileError> {
        let fd = self
            .from
            .open(source, OFlags::RDONLY, Mode::empty())
            .map_err(|errno| FileError::io("open", source, errno.into()))?;
        let Some(archive) = unpack::Archive::detect(File::from(fd), source)? else { return Ok(false) };
        let dest = self.to.resolve(self.dest().as_bytes(), Last::Follow)?;
        self.to.make_dirs(&dest, 0o755, self.owner, timespec(self.op.timestamp))?;
        archive.unpack(self.to, &dest, self.owner, self.cancel)?;
        Ok(true)
    }

    fn copy_match(&self, asked: &[u8], source: &[u8], stat: &Stat) -> Result<(), FileError> {
        let op = self.op;
        let is_dir = kind(stat) == FileType::Directory;
        let time = timespec(op.timestamp);
        let parents_mode =
            if op.mode != -1 && op.mode_str.is_empty() { op.mode as u32 & 0o777 } else { 0o755 };
        let dest = self.dest();
        let dest = dest.as_bytes();
        // `a/b/` and `a/b/.` name a directory, `a/b` something in `a`.
        let directory = match dest.iter().rposition(|&byte| byte == b'/') {
            Some(at) if !matches!(&dest[at + 1..], b"" | b".") => &dest[..at],
            Some(_) | None => dest,
        };
        let mut made = Vec::new();
        let mut make = |place: &[u8]| -> Result<(), FileError> {
            made.extend(self.to.make_dirs(place, parents_mode, self.owner, time)?);
            Ok(())
        };
        make(&self.to.resolve(directory, Last::Follow)?)?;
        let mut target = self.to.resolve(dest, Last::Follow)?;
        let there = self.to.stat(&target)?;
        let there_is_dir = there.is_some_and(|stat| kind(&stat) == FileType::Directory);
        let goes_into = if is_dir { there.is_some() && !op.dir_copy_contents } else { there_is_dir };
        // The root has no name to go by: it goes into what is there as its contents do.
        if goes_into && !split(asked).1.is_empty() {
            target = join(&target, split(asked).1);
        }
        if op.dir_copy_contents && is_dir && there.is_none() {
            make(&target)?;
        } else {
            make(split(&target).0)?;
        }
        let patterns = |list: &[String]| -> Result<Option<Patterns>, FileError> {
            Ok(if list.is_empty() { None } else { Some(Patterns::new(list)?) })
        };
        let mut tree = Tree {
            copy: self,
            include: patterns(&op.include_patterns)?,
            exclude: patterns(&op.exclude_patterns)?,
            time,
            inodes: HashMap::new(),
            way: Vec::new(),
        };
        tree.entry(source, stat, "", &target, &Verdicts::default())?;
        if let Some(time) = time {
            for place in made.iter().rev() {
                self.to.set_times(place, time, time)?;
            }
        }
        Ok(())
    }

    /// Required paths that no pattern selected: without them BuildKit's content hash would have failed.
    fn check_required(&self) -> Result<(), FileError> {
        for required in &self.op.required_paths {
            if glob::has_wildcard(required) {
                continue;
            }
            let path = format!("{}/{required}", self.op.src);
            let place = self.from.resolve(path.as_bytes(), Last::Keep)?;
            if self.from.stat(&place)?.is_none() {
                return Err(FileError::NotFound { path: required.clone() });
            }
        }
        Ok(())
    }
}

impl Tree<'_> {
    /// Copies what is at `source` to `target`; `relative` is its path below the match, `""` for the match itself.
    fn entry(
        &mut self,
        source: &[u8],
        stat: &Stat,
        relative: &str,
        target: &[u8],
        parent: &Verdicts,
    ) -> Result<(), FileError> {
        if self.copy.cancel.is_cancelled() {
            return Err(FileError::Cancelled);
        }
        let (selected, verdicts) = self.selects(relative, parent);
        let is_dir = kind(stat) == FileType::Directory;
        if !selected && (!is_dir || self.passes_by(relative, &verdicts)) {
            return Ok(());
        }
        if is_dir {
            return self.directory(source, stat, relative, target, selected, &verdicts);
        }
        self.make_way()?;
        self.clear_for_file(target)?;
        self.file(source, stat, target)
    }

    fn selects(&self, relative: &str, parent: &Verdicts) -> (bool, Verdicts) {
        let mut verdicts = Verdicts::default();
        let mut selected = true;
        if relative.is_empty() {
            return (true, verdicts);
        }
        if let Some(patterns) = &self.include {
            (selected, verdicts.include) = patterns.verdict(relative, &parent.include);
        }
        if let Some(patterns) = &self.exclude {
            let excluded;
            (excluded, verdicts.exclude) = patterns.verdict(relative, &parent.exclude);
            selected &= !excluded;
        }
        (selected, verdicts)
    }

    /// Whether nothing below a directory that is not selected can be.
    fn passes_by(&self, relative: &str, verdicts: &Verdicts) -> bool {
        let excluded = self
            .exclude
            .as_ref()
            .filter(|it| !relative.is_empty() && it.verdict(relative, &verdicts.exclude).0);
        match (excluded, &self.include) {
            (Some(exclude), _) => exclude.selects_nothing_below(relative, Kind::Exceptions),
            (None, Some(include)) => include.selects_nothing_below(relative, Kind::Plain),
            (None, None) => false,
        }
    }

    fn directory(
        &mut self,
        source: &[u8],
        stat: &Stat,
        relative: &str,
        target: &[u8],
        selected: bool,
        verdicts: &Verdicts,
    ) -> Result<(), FileError> {
        let is_top = relative.is_empty();
        let mut is_new = false;
        self.way.push((source.to_vec(), target.to_vec(), false));
        if selected {
            is_new = self.make_way()?;
        }
        let from = self.copy.from.open_dir(source)?;
        let names = list(&from).map_err(|errno| FileError::io("list", source, errno.into()))?;
        let mut jobs = Vec::new();
        let mut directories = Vec::new();
        for (name, _) in names {
            let below = join(source, name.as_bytes());
            let stat = rustix::fs::statat(&from, &name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|errno| FileError::io("look at", &below, errno.into()))?;
            let relative = match relative {
                "" => name.to_string_lossy().into_owned(),
                relative => format!("{relative}/{}", name.to_string_lossy()),
            };
            match kind(&stat) {
                FileType::Directory => directories.push((below, stat, relative, name)),
                FileType::RegularFile if stat.st_nlink == 1 => {
                    if self.selects(&relative, verdicts).0 {
                        jobs.push(Job { name, stat });
                    }
                }
                _ => self.entry(&below, &stat, &relative, &join(target, name.as_bytes()), verdicts)?,
            }
        }
        if !jobs.is_empty() {
            is_new |= self.make_way()?;
            self.files(&from, target, &jobs)?;
        }
        drop(from);
        for (below, stat, relative, name) in directories {
            self.entry(&below, &stat, &relative, &join(target, name.as_bytes()), verdicts)?;
        }
        let (_, _, exists) = self.way.pop().expect("pushed above");
        if !exists {
            return Ok(());
        }
        // Metadata comes last: the children changed the times.
        let (parent, name) = self.copy.to.parent_of(target)?;
        let keeps = !is_new && (is_top || self.include.is_some());
        let attributes = if keeps { Keep::Attributes } else { Keep::Nothing };
        if !selected && !is_new {
            return Ok(());
        }
        self.metadata(source, stat, parent.as_fd(), name, target, attributes)
    }

    /// Makes the directories on the way that were not made yet; whether the innermost one is new.
    fn make_way(&mut self) -> Result<bool, FileError> {
        let to = self.copy.to;
        let mut is_new = false;
        for idx in 0..self.way.len() {
            if self.way[idx].2 {
                continue;
            }
            let (source, target, _) = self.way[idx].clone();
            is_new = match to.stat(&target)? {
                Some(stat) if kind(&stat) == FileType::Directory => false,
                Some(_) if self.copy.op.always_replace_existing => {
                    to.remove_all(&target)?;
                    to.make_dir(&target, 0o755)?;
                    true
                }
                Some(_) => {
                    let path = super::root::shown(&target);
                    return Err(FileError::InTheWay { what: "a directory", there: "a file", path });
                }
                None => {
                    to.make_dir(&target, 0o755)?;
                    true
                }
            };
            self.way[idx].2 = true;
            // Those above the innermost were not selected themselves: their metadata is set when the walk leaves them
            // if they are new, and now for what is copied meanwhile.
            if is_new
                && idx + 1 < self.way.len()
                && let Some(stat) = self.copy.from.stat(&source)?
            {
                let (parent, name) = to.parent_of(&target)?;
                self.metadata(&source, &stat, parent.as_fd(), name, &target, Keep::Nothing)?;
            }
        }
        Ok(is_new)
    }

    /// Removes a file or link where a file comes.
    fn clear_for_file(&self, target: &[u8]) -> Result<(), FileError> {
        let (parent, name) = self.copy.to.parent_of(target)?;
        self.clear_at(parent.as_fd(), name, target)
    }

    fn clear_at(&self, parent: BorrowedFd<'_>, name: &OsStr, target: &[u8]) -> Result<(), FileError> {
        match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR) if self.copy.op.always_replace_existing => self.copy.to.remove_all(target),
            Err(Errno::ISDIR) => {
                let path = super::root::shown(target);
                Err(FileError::InTheWay { what: "a file", there: "a directory", path })
            }
            Err(errno) => Err(FileError::io("replace", target, errno.into())),
        }
    }

    /// Copies anything but a directory to a free place.
    fn file(&mut self, source: &[u8], stat: &Stat, target: &[u8]) -> Result<(), FileError> {
        let failed = |attempt| move |errno: Errno| FileError::io(attempt, target, errno.into());
        let (parent, name) = self.copy.to.parent_of(target)?;
        if 1 < stat.st_nlink {
            let inode = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.inodes.get(&inode) {
                let (first_parent, first_name) = self.copy.to.parent_of(first)?;
                return rustix::fs::linkat(&first_parent, first_name, &parent, name, AtFlags::empty())
                    .map_err(failed("link"));
            }
            self.inodes.insert(inode, target.to_vec());
        }
        match kind(stat) {
            FileType::RegularFile => {
                let (from, from_name) = self.copy.from.parent_of(source)?;
                copy_data(from.as_fd(), from_name, parent.as_fd(), name, stat).map_err(failed("copy"))?;
            }
            FileType::Symlink => {
                let link = self.copy.from.read_link(source)?.unwrap_or_default();
                rustix::fs::symlinkat(link.as_slice(), &parent, name).map_err(failed("make the link"))?;
            }
            // A socket becomes a node nobody listens on.
            file_type => {
                rustix::fs::mknodat(&parent, name, file_type, Mode::from_raw_mode(0o600), stat.st_rdev)
                    .map_err(failed("make the node"))?;
            }
        }
        self.metadata(source, stat, parent.as_fd(), name, target, Keep::Nothing)
    }

    /// Copies regular files of one directory, several at once.
    fn files(&self, from: &OwnedFd, target: &[u8], jobs: &[Job]) -> Result<(), FileError> {
        let to = self.copy.to.open_dir(target)?;
        let one = |job: &Job| -> Result<(), FileError> {
            if self.copy.cancel.is_cancelled() {
                return Err(FileError::Cancelled);
            }
            let place = || join(target, job.name.as_bytes());
            let made = copy_data(from.as_fd(), &job.name, to.as_fd(), &job.name, &job.stat);
            if let Err(errno) = made {
                if errno != Errno::EXIST {
                    return Err(FileError::io("copy", &place(), errno.into()));
                }
                self.clear_at(to.as_fd(), &job.name, &place())?;
                copy_data(from.as_fd(), &job.name, to.as_fd(), &job.name, &job.stat)
                    .map_err(|errno| FileError::io("copy", &place(), errno.into()))?;
            }
            self.metadata_from(from, &job.name, &job.stat, to.as_fd(), &job.name, &place(), Keep::Nothing)
        };
        if jobs.len() < 8 { jobs.iter().try_for_each(one) } else { jobs.par_iter().try_for_each(one) }
    }

    fn metadata(
        &self,
        source: &[u8],
        stat: &Stat,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        target: &[u8],
        keep: Keep,
    ) -> Result<(), FileError> {
        let (from, from_name) = self.copy.from.parent_of(source)?;
        self.metadata_from(&from, from_name, stat, parent, name, target, keep)
    }

    #[allow(clippy::too_many_arguments, reason = "two ends of a copy")]
    fn metadata_from(
        &self,
        from: &OwnedFd,
        from_name: &OsStr,
        stat: &Stat,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        target: &[u8],
        keep: Keep,
    ) -> Result<(), FileError> {
        let failed = |attempt| move |errno: Errno| FileError::io(attempt, target, errno.into());
        if keep == Keep::Nothing {
            let owner = self.copy.owner.unwrap_or(Owner { uid: stat.st_uid, gid: stat.st_gid });
            chown_at(parent, name, owner).map_err(failed("set the owner of"))?;
            if kind(stat) != FileType::Symlink {
                let mode = self.mode(stat)?;
                chmod_at(parent, name, mode).map_err(failed("set the mode of"))?;
            }
            copy_xattrs(from, from_name, parent, name).map_err(failed("set the attributes of"))?;
        }
        let (access, change) = match self.time {
            Some(time) => (time, time),
            None => (
                Timespec { tv_sec: stat.st_atime, tv_nsec: stat.st_atime_nsec as _ },
                Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ },
            ),
        };
        set_times_at(parent, name, access, change).map_err(failed("set the times of"))
    }

    fn mode(&self, stat: &Stat) -> Result<u32, FileError> {
        let op = self.copy.op;
        let own = stat.st_mode & 0o7777;
        if !op.mode_str.is_empty() {
            return mode::apply(&op.mode_str, own, kind(stat) == FileType::Directory);
        }
        Ok(if op.mode == -1 { own } else { op.mode as u32 & 0o7777 })
    }
}

/// What of an existing directory stays when another is copied onto it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    Nothing,
    /// Everything but the times.
    Attributes,
}

/// Makes `to_name` with the content of `from_name`; it must not exist yet.
fn copy_data(
    from: BorrowedFd<'_>,
    from_name: &OsStr,
    to: BorrowedFd<'_>,
    to_name: &OsStr,
    stat: &Stat,
) -> rustix::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let make = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::openat(to, to_name, make, Mode::from_raw_mode(0o600))?;
    if stat.st_size == 0 {
        return Ok(());
    }
    let source = rustix::fs::openat(from, from_name, flags, Mode::empty())?;
    transfer(&source, &target)
}

/// Copies all extended attributes.
fn copy_xattrs(
    from: &OwnedFd,
    from_name: &OsStr,
    to: BorrowedFd<'_>,
    to_name: &OsStr,
) -> rustix::io::Result<()> {
    set_xattrs(&xattrs(from, from_name)?, to, to_name)
}
