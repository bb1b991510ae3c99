//! File ops: actions on a tree, one layer for a chain of them.
//!
//! An action works on the layer that the action before it left open, as long as nobody else wants to see what that one
//! made; else the layer is committed and a new one begun (BuildKit solver/llbsolver/ops/file.go, `requiresCommit`).

mod copy;
mod error;
pub(crate) mod files;
mod local;
mod mode;
mod owner;
mod quick;
mod regular;
pub(crate) mod root;
mod unpack;

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{FileType, Mode, OFlags, Timespec};

use crate::base::{Digest, glob};
use crate::engine::cancel::Cancel;
use crate::engine::solver::Output as _;
use crate::engine::source::SourceError;
use crate::engine::source::local::{LocalTree, ScannedFiles};
use crate::engine::tree::Tree;
use crate::graph::ir::{
    Chown, FileAction, FileActionOp, FileCopy, FileInput, FileMkdir, FileMkfile, FileOp, FileRm, FileSymlink,
    User,
};
use crate::store::{ActiveLayer, LayerMeta, RecordType, Snapshot, Store};

pub use error::FileError;
use files::Files;
pub(super) use local::Reuse;
pub(crate) use local::local_tree;
use quick::{Done, Draft};
use root::{Last, Owner, Place, Root, kind, shown, timespec};

/// A file op on its way.
pub(super) struct Run<'a> {
    pub(super) store: &'a Store,
    pub(super) op: &'a FileOp,
    pub(super) inputs: &'a [Tree],
    /// What the op does, whatever it works on.
    pub(super) digest: Digest,
    /// What is said about the layers that are made.
    pub(super) description: &'a str,
    /// Whether parts of it are taken from earlier runs.
    pub(super) reuse: Reuse,
    pub(super) cancel: &'a Cancel,
    pub(super) pace: Cell<Pace>,
}

/// Whether an op may take its time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Pace {
    /// It is run where it may block.
    #[default]
    Any,
    /// It is only run as long as that takes no longer than moving to another thread would.
    AtOnce,
}

/// An op of more actions is not run at once.
const MAX_ACTIONS: usize = 4;
/// Nor one that writes larger files.
const MAX_AT_ONCE: u64 = 64 << 10;

/// A failed action.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {error}")]
pub struct FailedAction {
    /// Index of the action in its op.
    pub action: usize,
    /// For people.
    pub name: String,
    /// Why.
    #[source]
    pub error: FileError,
}

/// What an action left.
enum State {
    /// A layer that the next action goes on with.
    Open(Box<Open>),
    /// A tree.
    Tree(Snapshot),
    /// Nobody needs it any more.
    Gone,
}

/// A layer being made. The mount goes before the layer: field order is drop order.
struct Open {
    view: View,
    layer: ActiveLayer,
}

/// What actions work on.
enum View {
    /// The layers: as long as actions are simple.
    Draft(Draft),
    /// The mounted tree.
    Mounted(Root),
}

impl Run<'_> {
    /// Does a small op; `None`, and nothing done, if it is not small.
    pub(super) fn at_once(&self) -> Option<Result<Vec<Snapshot>, FailedAction>> {
        let is_small = |it: &FileAction| match &it.op {
            FileActionOp::Mkfile(op) => op.data.len() as u64 <= MAX_AT_ONCE,
            FileActionOp::Mkdir(_) | FileActionOp::Symlink(_) | FileActionOp::Copy(_) => true,
            FileActionOp::Rm(_) => false,
        };
        let are_small = self
            .op
            .actions
            .iter()
            .all(|it| is_small(it) && names(&it.op).next().is_none() && !self.is_local(it.secondary));
        let are_stored = self.inputs.iter().all(|it| matches!(it, Tree::Stored(_)));
        if !are_small || !are_stored || MAX_ACTIONS < self.op.actions.len() {
            return None;
        }
        self.pace.set(Pace::AtOnce);
        let done = self.run();
        // An action that was not small has said so.
        (self.pace.replace(Pace::Any) == Pace::AtOnce).then_some(done)
    }

    /// Does all actions; gives the outputs in order. On failure nothing of them is left.
    pub(super) fn run(&self) -> Result<Vec<Snapshot>, FailedAction> {
        let actions = &self.op.actions;
        if let Some((local, op)) = self.local_copy() {
            let at = Cell::new(0);
            let failed = |error| {
                let action = at.get();
                FailedAction { action, name: actions[action].op.name(), error }
            };
            return Ok(vec![self.copy_local(local, op, &at).map_err(failed)?]);
        }
        let mut states: Vec<State> = Vec::with_capacity(actions.len());
        let stay_open = self.stay_open();
        let mut outputs: Vec<Option<Snapshot>> =
            vec![None; actions.iter().filter(|it| it.output.is_some()).count()];
        for (idx, action) in actions.iter().enumerate() {
            let failed = |error| FailedAction { action: idx, name: action.op.name(), error };
            let state = self.action(action, stay_open[idx], &mut states).map_err(failed)?;
            if let Some(output) = action.output {
                let State::Tree(tree) = &state else { unreachable!("an action with an output is committed") };
                let slot = outputs.get_mut(output as usize).filter(|it| it.is_none());
                let slot = slot
                    .ok_or(FileError::Op { why: "its outputs are not numbered from 0" })
                    .map_err(failed)?;
                *slot = Some(tree.clone());
            }
            states.push(state);
        }
        Ok(outputs.into_iter().map(|it| it.expect("as many outputs as slots, each another")).collect())
    }

    /// Of an op that is a copy out of a directory of the machine, with nothing before it but small actions on the same
    /// tree: the two.
    fn local_copy(&self) -> Option<(&LocalTree, &FileCopy)> {
        let (last, before) = self.op.actions.split_last()?;
        let FileActionOp::Copy(op) = &last.op else { return None };
        let FileInput::Input(from) = last.secondary else { return None };
        let Some(Tree::Local(local)) = self.inputs.get(from as usize) else { return None };
        let is_small = |it: &FileAction| !matches!(it.op, FileActionOp::Copy(_)) && it.output.is_none();
        let is_chain = self.op.actions.iter().enumerate().all(|(idx, it)| match (idx, it.input) {
            (0, FileInput::Action(_)) => false,
            (0, input) => input != last.secondary,
            (idx, input) => input == FileInput::Action(idx as u32 - 1),
        });
        let is_other = |it: FileInput| it != last.secondary && !matches!(it, FileInput::Action(_));
        let names_others = self.op.actions.iter().flat_map(|it| names(&it.op)).all(is_other);
        (is_chain && names_others && before.iter().all(is_small) && last.output == Some(0))
            .then_some((&**local, op))
    }

    /// Does an op of which [`Run::local_copy`] says what is copied; `at` says how far it is.
    fn copy_local(&self, local: &LocalTree, op: &FileCopy, at: &Cell<usize>) -> Result<Snapshot, FileError> {
        let from = self.inputs.iter().map(|input| match input {
            Tree::Local(tree) if std::ptr::eq(&**tree, local) => *local.id(),
            input => input.identity(),
        });
        let names = from.map(|it| it.to_string()).collect::<Vec<_>>().join(" ");
        let (_, before) = self.op.actions.split_last().expect("the copy is there");
        let prepare = |root: &Root| {
            for (idx, action) in before.iter().enumerate() {
                at.set(idx);
                self.perform(action, root, &[])?;
            }
            at.set(before.len());
            Ok(())
        };
        let prepare: Option<local::Prepare<'_>> = if before.is_empty() { None } else { Some(&prepare) };
        let lookup = |input| self.view(input, &[]);
        let base = self.tree(self.op.actions[0].input, &[])?;
        local::LocalCopy {
            store: self.store,
            op,
            local,
            base: &base,
            prepare,
            // A layer belongs to the very tree it was made on.
            key: Digest::of(format!("{} {} {names}", self.digest, base.identity())),
            owner: op.owner.as_ref().map(|chown| owner::owner(chown, &lookup)).transpose()?,
            description: self.description,
            record_type: RecordType::Regular,
            reuse: self.reuse,
            cancel: self.cancel,
        }
        .run()
    }

    fn action(
        &self,
        action: &FileAction,
        stays_open: bool,
        states: &mut [State],
    ) -> Result<State, FileError> {
        if self.cancel.is_cancelled() {
            return Err(FileError::Cancelled);
        }
        let mut open = self.open(action.input, states)?;
        if let View::Draft(draft) = &open.view
            && (quick::is_off() || self.perform_quickly(action, draft, &open.layer, states)? == Done::No)
        {
            if self.pace.get() == Pace::AtOnce {
                self.pace.set(Pace::Any);
                return Err(FileError::Cancelled);
            }
            open.view = View::Mounted(Root::new(open.layer.open()?));
        }
        if let View::Mounted(root) = &open.view {
            self.perform(action, root, states)?;
        }
        if stays_open {
            return Ok(State::Open(open));
        }
        let Open { view, layer } = *open;
        drop(view);
        let base = layer.parents().clone();
        let meta = LayerMeta { description: self.description.to_owned(), ..LayerMeta::default() };
        Ok(State::Tree(base.with(layer.commit(&meta)?)))
    }

    /// For each action, whether the only use of its result is another action that goes on with it.
    fn stay_open(&self) -> Vec<bool> {
        let actions = &self.op.actions;
        let mut n_primary = vec![0_usize; actions.len()];
        let mut n_other = vec![0_usize; actions.len()];
        let count = |uses: &mut [usize], input: FileInput| {
            if let FileInput::Action(used) = input
                && let Some(n) = uses.get_mut(used as usize)
            {
                *n += 1;
            }
        };
        for action in actions {
            count(&mut n_primary, action.input);
            count(&mut n_other, action.secondary);
            names(&action.op).for_each(|input| count(&mut n_other, input));
        }
        let uses = n_primary.into_iter().zip(n_other).zip(actions);
        uses.map(|((primary, other), action)| action.output.is_none() && primary == 1 && other == 0).collect()
    }

    /// The layer that an action on `input` writes to.
    fn open(&self, input: FileInput, states: &mut [State]) -> Result<Box<Open>, FileError> {
        if let FileInput::Action(before) = input {
            let state = states.get_mut(before as usize).ok_or(LATER)?;
            if let State::Open(_) = state {
                let State::Open(open) = std::mem::replace(state, State::Gone) else {
                    unreachable!("just seen")
                };
                return Ok(open);
            }
        }
        let layer = self.store.stage(&self.tree(input, states)?)?;
        let view = View::Draft(Draft::new(&layer)?);
        Ok(Box::new(Open { view, layer }))
    }

    fn tree(&self, input: FileInput, states: &[State]) -> Result<Snapshot, FileError> {
        match input {
            FileInput::Scratch => Ok(Snapshot::scratch()),
            FileInput::Input(idx) => {
                let input = self.inputs.get(idx as usize);
                let input = input.ok_or(FileError::Op { why: "it has no such input" })?;
                input.snapshot(self.cancel).map_err(failed_source)
            }
            FileInput::Action(before) => match states.get(before as usize) {
                Some(State::Tree(tree)) => Ok(tree.clone()),
                Some(State::Open(_) | State::Gone) => {
                    unreachable!("what is used otherwise does not stay open")
                }
                None => Err(LATER),
            },
        }
    }

    fn view(&self, input: FileInput, states: &[State]) -> Result<Root, FileError> {
        Ok(Root::new(self.store.read(&self.tree(input, states)?)?))
    }

    /// Does an action without a mount, if it is simple.
    fn perform_quickly(
        &self,
        action: &FileAction,
        draft: &Draft,
        layer: &ActiveLayer,
        states: &[State],
    ) -> Result<Done, FileError> {
        let owner = |chown: &Option<Box<Chown>>| -> Result<Option<Owner>, FileError> {
            let lookup = |input| self.view(input, states);
            chown.as_ref().map(|chown| owner::owner(chown, &lookup)).transpose()
        };
        match &action.op {
            FileActionOp::Mkfile(op) => draft.mkfile(layer, op, owner(&op.owner)?),
            FileActionOp::Mkdir(op) => draft.mkdir(layer, op, owner(&op.owner)?),
            FileActionOp::Symlink(op) => draft.symlink(layer, op, owner(&op.owner)?),
            FileActionOp::Copy(op) if !self.is_local(action.secondary) => {
                let from = self.tree(action.secondary, states)?;
                let max_size = if self.pace.get() == Pace::AtOnce { MAX_AT_ONCE } else { u64::MAX };
                draft.copy(layer, op, (self.store, &from), owner(&op.owner)?, (max_size, self.cancel))
            }
            FileActionOp::Copy(_) | FileActionOp::Rm(_) => Ok(Done::No),
        }
    }

    fn is_local(&self, input: FileInput) -> bool {
        let FileInput::Input(idx) = input else { return false };
        matches!(self.inputs.get(idx as usize), Some(Tree::Local(_)))
    }

    fn perform(&self, action: &FileAction, root: &Root, states: &[State]) -> Result<(), FileError> {
        let owner = |chown: &Option<Box<Chown>>| -> Result<Option<Owner>, FileError> {
            let lookup = |input| self.view(input, states);
            chown.as_ref().map(|chown| owner::owner(chown, &lookup)).transpose()
        };
        match &action.op {
            FileActionOp::Copy(op) => {
                let local = match action.secondary {
                    FileInput::Input(idx) => self.inputs.get(idx as usize),
                    FileInput::Scratch | FileInput::Action(_) => None,
                };
                let from: Box<dyn Files + '_> = match local {
                    Some(Tree::Local(local)) => Box::new(ScannedFiles::new(local)?),
                    Some(Tree::Stored(_)) | None => Box::new(self.view(action.secondary, states)?),
                };
                let (owner, cancel) = (owner(&op.owner)?, self.cancel);
                copy::Copy { op, from: &*from, to: root, before: None, owner, cancel }.run().map(drop)
            }
            FileActionOp::Mkfile(op) => mkfile(root, op, owner(&op.owner)?),
            FileActionOp::Mkdir(op) => mkdir(root, op, owner(&op.owner)?),
            FileActionOp::Rm(op) => rm(root, op),
            FileActionOp::Symlink(op) => symlink(root, op, owner(&op.owner)?),
        }
    }
}

fn failed_source(error: SourceError) -> FileError {
    match error {
        SourceError::Cancelled => FileError::Cancelled,
        SourceError::Source(error) => match error.downcast() {
            Ok(error) => FileError::Local(error),
            Err(error) => FileError::io("write", b"", std::io::Error::other(error)),
        },
        error @ SourceError::Scheme { .. } => FileError::io("write", b"", std::io::Error::other(error)),
    }
}

/// The path from the top, without `.` and `..`: those are taken off as text, before links are looked at.
fn rooted(path: &str) -> String {
    crate::base::path::clean(&format!("/{path}"))
}

const LATER: FileError = FileError::Op { why: "an action works on what a later one makes" };

/// The trees in which an action looks up names.
fn names(op: &FileActionOp) -> impl Iterator<Item = FileInput> {
    let chown = match op {
        FileActionOp::Copy(op) => op.owner.as_ref(),
        FileActionOp::Mkfile(op) => op.owner.as_ref(),
        FileActionOp::Mkdir(op) => op.owner.as_ref(),
        FileActionOp::Symlink(op) => op.owner.as_ref(),
        FileActionOp::Rm(_) => None,
    };
    let users = chown.into_iter().flat_map(|it| [&it.user, &it.group]).flatten();
    users.filter_map(|user| match user {
        User::Name { input, .. } => Some(*input),
        User::Id(_) => None,
    })
}

fn mkdir(root: &Root, op: &FileMkdir, owner: Option<Owner>) -> Result<(), FileError> {
    let place = root.resolve(rooted(&op.path).as_bytes(), Last::Follow)?;
    let time = timespec(op.timestamp);
    let mode = op.mode as u32 & 0o777;
    if op.make_parents {
        return root.make_dirs(&place, mode, owner, time).map(drop);
    }
    if root.stat(&place)?.is_some() {
        return Ok(());
    }
    root.make_dir(&place, mode)?;
    settle(root, &place, owner, time)
}

fn mkfile(root: &Root, op: &FileMkfile, owner: Option<Owner>) -> Result<(), FileError> {
    use std::io::Write as _;
    let place = root.resolve(rooted(&op.path).as_bytes(), Last::Follow)?;
    let failed = |source: std::io::Error| FileError::io("write", &place, source);
    let is_new = match root.stat(&place)? {
        // Opening a FIFO or a device would do something else than make a file.
        Some(stat) if kind(&stat) != FileType::RegularFile => {
            return Err(FileError::InTheWay { what: "a file", there: "something else", path: shown(&place) });
        }
        there => there.is_none(),
    };
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW;
    let fd: OwnedFd =
        root.open(&place, flags, Mode::from_raw_mode(0o600)).map_err(|errno| failed(errno.into()))?;
    std::fs::File::from(fd).write_all(&op.data).map_err(failed)?;
    if let Some(owner) = owner {
        root.chown(&place, owner)?;
    }
    // Behind the owner: changing it takes set-id bits off.
    if is_new {
        root.chmod(&place, op.mode as u32 & 0o777)?;
    }
    settle(root, &place, None, timespec(op.timestamp))
}

fn symlink(root: &Root, op: &FileSymlink, owner: Option<Owner>) -> Result<(), FileError> {
    let place = root.resolve(rooted(&op.newpath).as_bytes(), Last::Follow)?;
    let (parent, name) = root.parent_of(&place)?;
    rustix::fs::symlinkat(op.oldpath.as_str(), &parent, name)
        .map_err(|errno| FileError::io("make the link", &place, errno.into()))?;
    settle(root, &place, owner, timespec(op.timestamp))
}

/// Gives what was made its owner and times.
fn settle(root: &Root, place: &[u8], owner: Option<Owner>, time: Option<Timespec>) -> Result<(), FileError> {
    if let Some(owner) = owner {
        root.chown(place, owner)?;
    }
    if let Some(time) = time {
        root.set_times(place, time, time)?;
    }
    Ok(())
}

fn rm(root: &Root, op: &FileRm) -> Result<(), FileError> {
    let path = rooted(&op.path);
    let (before, pattern) = glob::split_wildcard(&path);
    if op.allow_wildcard && !pattern.is_empty() {
        for place in expand(root, before, pattern)? {
            remove(root, &place)?;
        }
        return Ok(());
    }
    let place = root.resolve(path.as_bytes(), Last::Keep)?;
    // Whether it is there is asked of what a link points to: a dangling link counts as missing (BuildKit, rmPath).
    let target = root.resolve(path.as_bytes(), Last::Follow)?;
    if !op.allow_not_found && root.stat(&target)?.is_none() {
        return Err(FileError::NotFound { path: op.path.clone() });
    }
    remove(root, &place)
}

fn remove(root: &Root, place: &[u8]) -> Result<(), FileError> {
    if place.is_empty() {
        return Err(FileError::RemoveTop);
    }
    root.remove_all(place)
}

/// Places below the directory `before` whose path from there matches `pattern`, in order; what lies in a match is not
/// looked at. A link in the place of `before` is not followed, and holds nothing.
fn expand(root: &Root, before: &str, pattern: &str) -> Result<Vec<Place>, FileError> {
    let top = root.resolve(before.as_bytes(), Last::Keep)?;
    let below = matches_below(root, &top, pattern)?;
    Ok(below.into_iter().map(|below| [top.as_slice(), &below].concat()).collect())
}

/// As [`expand`], with paths below `top`, each with a leading `/`.
fn matches_below(files: &dyn Files, top: &[u8], pattern: &str) -> Result<Vec<Place>, FileError> {
    let n_components = pattern.matches('/').count() + 1;
    let mut found = Vec::new();
    // Path below `top` and its number of components; the last pushed is taken first, so names are pushed backwards.
    let mut todo = vec![(Place::new(), 0)];
    while let Some((below, depth)) = todo.pop() {
        if 0 < depth && glob::matches(pattern, &String::from_utf8_lossy(&below[1..]))? {
            found.push(below);
            continue;
        }
        let place = [top, &below].concat();
        if depth == n_components || !files.look(&place)?.is_some_and(|it| it.is_dir()) {
            continue;
        }
        let names = files.directory(&place)?.entries()?;
        todo.extend(
            names.into_iter().rev().map(|(name, _)| (root::join(&below, name.as_bytes()), depth + 1)),
        );
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
