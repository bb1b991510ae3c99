//! Copying from tree to tree (BuildKit solver/llbsolver/file/backend.go and fsutil/copy).

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;

use rayon::prelude::*;
use rustix::fs::{AtFlags, FileType, Mode, Timespec};
use rustix::io::Errno;

use super::error::FileError;
use super::files::{Directory, Facts, Files};
use super::regular::{Regular, Target};
use super::root::{
    Last, Owner, Place, Root, chmod_at, chown_at, has_xattrs, join, resolve, set_times_at, set_xattrs, shown,
    split, strip_xattrs, timespec,
};
use super::{mode, unpack};
use crate::base::glob::{self, Kind, Matched, Patterns};
use crate::base::stack::deeper;
use crate::engine::cancel::Cancel;
use crate::engine::content_hash::FileKind;
use crate::graph::ir::FileCopy;

/// A copy with everything about it that is the same for all files.
pub(super) struct Copy<'a> {
    pub(super) op: &'a FileCopy,
    pub(super) from: &'a dyn Files,
    pub(super) to: &'a Root,
    /// The tree that `to` was before an earlier copy, when that one's result is brought up to date: what it made counts
    /// as made now.
    pub(super) before: Option<&'a Root>,
    pub(super) owner: Option<Owner>,
    pub(super) cancel: &'a Cancel,
}

/// Something that `src` stands for, and where it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) source: Place,
    pub(super) target: Place,
    /// Whether the target was made for it, and not for the way there.
    pub(super) is_new: bool,
}

/// Copying of one match.
struct Tree<'a> {
    copy: &'a Copy<'a>,
    include: Option<Patterns>,
    exclude: Option<Patterns>,
    time: Option<Timespec>,
    /// First target of every file that has several names.
    inodes: HashMap<(u64, u64), Place>,
    /// Directories on the way down, outermost first: where from, where to, and once it is there, whether it is new.
    way: Vec<(Place, Place, Option<bool>)>,
    /// What is brought up to date.
    earlier: Option<&'a Match>,
    regular: Regular,
}

/// What the patterns said of a directory.
#[derive(Clone, Default)]
struct Verdicts {
    include: Matched,
    exclude: Matched,
}

/// A regular file to be copied; several are copied at once.
type Job = (OsString, Facts);

/// What a copy is of, from the top, if that is one path.
pub(super) fn single(op: &FileCopy) -> Option<String> {
    let src = super::rooted(&op.src);
    let has_patterns =
        [&op.include_patterns, &op.exclude_patterns, &op.required_paths].iter().any(|it| !it.is_empty());
    let is_pattern = op.allow_wildcard && !glob::split_wildcard(&src).1.is_empty();
    (!has_patterns && !is_pattern && !op.attempt_unpack).then_some(src)
}

impl Copy<'_> {
    /// Where it goes if no link is on the way: the directory that is made for it, and the path asked for.
    pub(super) fn destination(&self) -> (Place, Place) {
        let dest = self.dest();
        let place = |path: &[u8]| resolve(path, Last::Follow, &|_| Ok(None)).unwrap_or_default();
        (place(directory_of(dest.as_bytes())), place(dest.as_bytes()))
    }

    /// The mode of directories that are made on the way.
    pub(super) fn parents_mode(&self) -> u32 {
        let op = self.op;
        if op.mode != -1 && op.mode_str.is_empty() { op.mode as u32 & 0o777 } else { 0o755 }
    }

    /// Copies the regular file at `source` to `target`, in place of a file that is there; `parent` is where that goes.
    pub(super) fn file(
        &self,
        source: &[u8],
        stat: &rustix::fs::Stat,
        parent: BorrowedFd<'_>,
        target: &[u8],
    ) -> Result<(), FileError> {
        let (directory, name) = split(source);
        let from = self.from.directory(directory)?;
        let job = (OsStr::from_bytes(name).to_owned(), Facts::of(stat));
        let (place, name) = split(target);
        self.tree()?.regular(&*from, &job, OsStr::from_bytes(name), &Target::new(parent, place))
    }

    /// Does it; gives what was copied and not unpacked.
    pub(super) fn run(&self) -> Result<Vec<Match>, FileError> {
        let op = self.op;
        if !op.create_dest_path {
            let dest = self.to.resolve(self.dest().as_bytes(), Last::Follow)?;
            if self.to.stat(split(&dest).0)?.is_none() {
                let missing = String::from_utf8_lossy(split(&dest).0).into_owned();
                return Err(FileError::NoParent { path: missing });
            }
        }
        let matches = self.matches()?;
        if matches.is_empty() && !op.allow_empty_wildcard {
            return Err(FileError::NotFound { path: op.src.clone() });
        }
        let mut copied = Vec::new();
        for asked in matches {
            let source = self.resolve(&asked)?;
            let Some(facts) = self.from.look(&source)? else {
                return Err(FileError::NotFound { path: String::from_utf8_lossy(&asked).into_owned() });
            };
            if op.attempt_unpack && facts.kind == FileKind::Regular && self.unpack(&source, &facts)? {
                continue;
            }
            let (target, is_new) = self.copy_match(&asked, &source, &facts)?;
            copied.push(Match { source, target, is_new });
        }
        self.check_required()?;
        Ok(copied)
    }

    /// Copies into what an earlier run of the same copy made, as far as `from` shows what differs; see
    /// [`local`](super::local).
    pub(super) fn update(&self, earlier: &Match) -> Result<(), FileError> {
        let Match { source, target, .. } = earlier;
        let missing = || FileError::NotFound { path: String::from_utf8_lossy(source).into_owned() };
        let facts = self.from.look(source)?.ok_or_else(missing)?;
        let mut tree = self.tree()?;
        tree.earlier = Some(earlier);
        tree.entry(source, &facts, "", target, &Verdicts::default())?;
        self.check_required()
    }

    /// Where a path that is asked for leads.
    pub(super) fn resolve(&self, asked: &[u8]) -> Result<Place, FileError> {
        self.from.resolve(asked, self.last())
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

    fn tree(&self) -> Result<Tree<'_>, FileError> {
        let patterns = |list: &[String]| -> Result<Option<Patterns>, FileError> {
            Ok(if list.is_empty() { None } else { Some(Patterns::new(list)?) })
        };
        Ok(Tree {
            copy: self,
            include: patterns(&self.op.include_patterns)?,
            exclude: patterns(&self.op.exclude_patterns)?,
            time: timespec(self.op.timestamp),
            inodes: HashMap::new(),
            way: Vec::new(),
            earlier: None,
            regular: Regular::default(),
        })
    }

    /// The paths that `src` stands for, as they are asked for.
    pub(super) fn matches(&self) -> Result<Vec<Place>, FileError> {
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

    fn unpack(&self, source: &[u8], facts: &Facts) -> Result<bool, FileError> {
        let (parent, name) = split(source);
        let fd = self.from.directory(parent)?.open(OsStr::from_bytes(name), facts)?;
        let Some(archive) = unpack::Archive::detect(File::from(fd), source)? else { return Ok(false) };
        let dest = self.to.resolve(self.dest().as_bytes(), Last::Follow)?;
        self.to.make_dirs(&dest, 0o755, self.owner, timespec(self.op.timestamp))?;
        archive.unpack(self.to, &dest, self.owner, self.cancel)?;
        Ok(true)
    }

    /// Copies a match; gives where to.
    fn copy_match(&self, asked: &[u8], source: &[u8], facts: &Facts) -> Result<(Place, bool), FileError> {
        let op = self.op;
        let is_dir = facts.is_dir();
        let time = timespec(op.timestamp);
        let parents_mode = self.parents_mode();
        let dest = self.dest();
        let dest = dest.as_bytes();
        let directory = directory_of(dest);
        let mut made = Vec::new();
        let mut make = |place: &[u8]| -> Result<(), FileError> {
            made.extend(self.to.make_dirs(place, parents_mode, self.owner, time)?);
            Ok(())
        };
        make(&self.to.resolve(directory, Last::Follow)?)?;
        let mut target = self.to.resolve(dest, Last::Follow)?;
        let there = self.to.stat(&target)?;
        let there_is_dir = there.is_some_and(|stat| Facts::of(&stat).is_dir());
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
        let is_new = !self.to.is_dir(&target)?;
        self.tree()?.entry(source, facts, "", &target, &Verdicts::default())?;
        if let Some(time) = time {
            for place in made.iter().rev() {
                self.to.set_times(place, time, time)?;
            }
        }
        Ok((target, is_new))
    }

    /// Required paths that no pattern selected: without them BuildKit's content hash would have failed.
    fn check_required(&self) -> Result<(), FileError> {
        for required in &self.op.required_paths {
            if glob::has_wildcard(required) {
                continue;
            }
            let path = format!("{}/{required}", self.op.src);
            let place = self.from.resolve(path.as_bytes(), Last::Keep)?;
            if self.from.look(&place)?.is_none() {
                return Err(FileError::NotFound { path: required.clone() });
            }
        }
        Ok(())
    }
}

/// The directory that a destination says: `a/b/` and `a/b/.` name one, `a/b` something in `a`.
fn directory_of(dest: &[u8]) -> &[u8] {
    match dest.iter().rposition(|&byte| byte == b'/') {
        Some(at) if !matches!(&dest[at + 1..], b"" | b".") => &dest[..at],
        Some(_) | None => dest,
    }
}

impl Tree<'_> {
    /// Copies what is at `source` to `target`; `relative` is its path below the match, `""` for the match itself.
    fn entry(
        &mut self,
        source: &[u8],
        facts: &Facts,
        relative: &str,
        target: &[u8],
        parent: &Verdicts,
    ) -> Result<(), FileError> {
        if self.copy.cancel.is_cancelled() {
            return Err(FileError::Cancelled);
        }
        let (selected, verdicts) = self.selects(relative, parent);
        let is_dir = facts.is_dir();
        if !selected && (!is_dir || self.passes_by(relative, &verdicts)) {
            return Ok(());
        }
        if is_dir {
            return deeper(|| self.directory(source, facts, relative, target, selected, &verdicts));
        }
        self.make_way()?;
        self.clear_for_file(target)?;
        self.file(source, facts, target)
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
        facts: &Facts,
        relative: &str,
        target: &[u8],
        selected: bool,
        verdicts: &Verdicts,
    ) -> Result<(), FileError> {
        let is_top = relative.is_empty();
        self.way.push((source.to_vec(), target.to_vec(), None));
        if selected {
            self.make_way()?;
        }
        let from = self.copy.from.directory(source)?;
        let mut jobs: Vec<Job> = Vec::new();
        let mut directories = Vec::new();
        for (name, facts) in from.entries()? {
            let relative = match relative {
                "" => name.to_string_lossy().into_owned(),
                relative => format!("{relative}/{}", name.to_string_lossy()),
            };
            match facts.kind {
                FileKind::Directory => directories.push((facts, relative, name)),
                FileKind::Regular if facts.inode.is_none() => {
                    if self.selects(&relative, verdicts).0 {
                        jobs.push((name, facts));
                    }
                }
                _ => {
                    let (below, target) = (join(source, name.as_bytes()), join(target, name.as_bytes()));
                    self.entry(&below, &facts, &relative, &target, verdicts)?;
                }
            }
        }
        if !jobs.is_empty() {
            self.make_way()?;
            self.files(&*from, target, &jobs)?;
        }
        drop(from);
        for (facts, relative, name) in directories {
            let (below, target) = (join(source, name.as_bytes()), join(target, name.as_bytes()));
            self.entry(&below, &facts, &relative, &target, verdicts)?;
        }
        let (_, _, met) = self.way.pop().expect("pushed above");
        let is_new = match met {
            Some(is_new) => is_new,
            // What the earlier copy made on the way to what did not change is as it is now.
            None => self.copy.before.is_some() && self.copy.to.is_dir(target)? && self.is_own(target)?,
        };
        if !is_new && (met.is_none() || !selected) {
            return Ok(());
        }
        // Metadata comes last: the children changed the times.
        let keeps = !is_new && (is_top || self.include.is_some());
        self.metadata(source, facts, target, if keeps { Keep::Attributes } else { Keep::Nothing })
    }

    /// Whether the directory at `target`, which is there, was made by the earlier copy.
    fn is_own(&self, target: &[u8]) -> Result<bool, FileError> {
        if let Some(earlier) = self.earlier.filter(|it| it.target == target) {
            return Ok(earlier.is_new);
        }
        self.copy.before.map_or(Ok(false), |before| Ok(!before.is_dir(target)?))
    }

    /// Makes the directories on the way that were not made yet.
    fn make_way(&mut self) -> Result<(), FileError> {
        let to = self.copy.to;
        for idx in 0..self.way.len() {
            if self.way[idx].2.is_some() {
                continue;
            }
            let (source, target, _) = self.way[idx].clone();
            let is_new = match to.stat(&target)? {
                Some(stat) if Facts::of(&stat).is_dir() => {
                    let is_own = self.is_own(&target)?;
                    if self.copy.before.is_some() {
                        let (parent, name) = to.parent_of(&target)?;
                        let failed =
                            |errno: Errno| FileError::io("take attributes from", &target, errno.into());
                        if is_own {
                            // As a new one has none: what its children would inherit, and what the source has no more.
                            // Those that the source has come last, as with a new one.
                            strip_xattrs(&parent, name, |_| true).map_err(failed)?;
                        } else if has_xattrs(&parent, name).map_err(failed)? {
                            // Which of them are the tree's below, and which the earlier copy's, is not known.
                            return Err(FileError::Op { why: "it cannot be brought up to date" });
                        }
                    }
                    is_own
                }
                Some(_) if self.copy.op.always_replace_existing => {
                    to.remove_all(&target)?;
                    to.make_dir(&target, 0o755)?;
                    true
                }
                Some(_) => {
                    let path = shown(&target);
                    return Err(FileError::InTheWay { what: "a directory", there: "a file", path });
                }
                None => {
                    to.make_dir(&target, 0o755)?;
                    true
                }
            };
            self.way[idx].2 = Some(is_new);
            // Those above the innermost were not selected themselves: their metadata is set when the walk leaves them
            // if they are new, and now for what is copied meanwhile.
            if is_new
                && idx + 1 < self.way.len()
                && let Some(facts) = self.copy.from.look(&source)?
            {
                self.metadata(&source, &facts, &target, Keep::Nothing)?;
                // All but what children would inherit: they have what their sources have.
                let (parent, name) = to.parent_of(&target)?;
                strip_xattrs(&parent, name, |key| key == b"system.posix_acl_default")
                    .map_err(|errno| FileError::io("take attributes from", &target, errno.into()))?;
            }
        }
        Ok(())
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
                let path = shown(target);
                Err(FileError::InTheWay { what: "a file", there: "a directory", path })
            }
            Err(errno) => Err(FileError::io("replace", target, errno.into())),
        }
    }

    /// Copies anything but a directory to a free place.
    fn file(&mut self, source: &[u8], facts: &Facts, target: &[u8]) -> Result<(), FileError> {
        let failed = |attempt| move |errno: Errno| FileError::io(attempt, target, errno.into());
        let (parent, name) = self.copy.to.parent_of(target)?;
        if let Some(inode) = facts.inode {
            if let Some(first) = self.inodes.get(&inode) {
                let (first_parent, first_name) = self.copy.to.parent_of(first)?;
                return rustix::fs::linkat(&first_parent, first_name, &parent, name, AtFlags::empty())
                    .map_err(failed("link"));
            }
            self.inodes.insert(inode, target.to_vec());
        }
        match facts.kind {
            FileKind::Regular => {
                let (directory, from_name) = split(source);
                let from = self.copy.from.directory(directory)?;
                let job = (OsStr::from_bytes(from_name).to_owned(), *facts);
                let to = Target::new(parent.as_fd(), split(target).0);
                return self.regular(&*from, &job, name, &to);
            }
            FileKind::Symlink => {
                let link = self.copy.from.read_link(source)?.unwrap_or_default();
                rustix::fs::symlinkat(link.as_slice(), &parent, name).map_err(failed("make the link"))?;
            }
            // A socket becomes a node nobody listens on.
            kind => {
                // Overlayfs takes such a node for its mark that nothing is there.
                if kind == FileKind::CharDevice && facts.rdev == 0 {
                    return Err(failed("make the device 0:0")(Errno::PERM));
                }
                let file_type = match kind {
                    FileKind::CharDevice => FileType::CharacterDevice,
                    FileKind::BlockDevice => FileType::BlockDevice,
                    FileKind::Fifo => FileType::Fifo,
                    _ => FileType::Socket,
                };
                rustix::fs::mknodat(&parent, name, file_type, Mode::from_raw_mode(0o600), facts.rdev)
                    .map_err(failed("make the node"))?;
            }
        }
        self.metadata(source, facts, target, Keep::Nothing)
    }

    /// Copies regular files of one directory, several at once.
    fn files(&self, from: &dyn Directory, target: &[u8], jobs: &[Job]) -> Result<(), FileError> {
        let fd = self.copy.to.open_dir(target)?;
        let to = Target::new(fd.as_fd(), target);
        let one = |job: &Job| -> Result<(), FileError> {
            if self.copy.cancel.is_cancelled() {
                return Err(FileError::Cancelled);
            }
            self.regular(from, job, &job.0, &to)
        };
        if jobs.len() < 8 { jobs.iter().try_for_each(one) } else { jobs.par_iter().try_for_each(one) }
    }

    /// Copies a regular file, in place of a file or link that is there.
    fn regular(
        &self,
        from: &dyn Directory,
        (from_name, facts): &Job,
        name: &OsStr,
        to: &Target<'_>,
    ) -> Result<(), FileError> {
        let wanted = self.regular.wanted(self.copy.owner, self.mode(facts)?, self.times(facts));
        let made = match self.regular.make(to, name, &wanted)? {
            Some(made) => made,
            None => {
                let place = join(to.place, name.as_bytes());
                self.clear_at(to.fd, name, &place)?;
                let again = || FileError::io("make", &place, Errno::EXIST.into());
                self.regular.make(to, name, &wanted)?.ok_or_else(again)?
            }
        };
        self.regular.fill(from, from_name, facts, &made, to, name, &wanted)
    }

    /// Gives what was made at `target` the attributes of what is at `source`. Not for regular files.
    fn metadata(&self, source: &[u8], facts: &Facts, target: &[u8], keep: Keep) -> Result<(), FileError> {
        let failed = |attempt| move |errno: Errno| FileError::io(attempt, target, errno.into());
        let (parent, name) = self.copy.to.parent_of(target)?;
        let parent = parent.as_fd();
        if keep == Keep::Nothing {
            let owner = self.copy.owner.unwrap_or(facts.owner);
            chown_at(parent, name, owner).map_err(failed("set the owner of"))?;
            if facts.kind != FileKind::Symlink {
                chmod_at(parent, name, self.mode(facts)?).map_err(failed("set the mode of"))?;
            }
            set_xattrs(&self.copy.from.xattrs(source, facts)?, parent, name)
                .map_err(failed("set the attributes of"))?;
        }
        let (access, change) = self.times(facts);
        set_times_at(parent, name, access, change).map_err(failed("set the times of"))
    }

    fn times(&self, facts: &Facts) -> (Timespec, Timespec) {
        self.time.map_or((facts.accessed, facts.modified), |time| (time, time))
    }

    fn mode(&self, facts: &Facts) -> Result<u32, FileError> {
        let op = self.copy.op;
        if !op.mode_str.is_empty() {
            return mode::apply(&op.mode_str, facts.mode, facts.is_dir());
        }
        Ok(if op.mode == -1 { facts.mode } else { op.mode as u32 & 0o7777 })
    }
}

/// What of an existing directory stays when another is copied onto it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    Nothing,
    /// Everything but the times.
    Attributes,
}
