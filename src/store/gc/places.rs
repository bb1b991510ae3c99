//! What has no rows: cache mounts, copies of repositories, outputs of runs, databases that were put aside. Each has a lock
//! that its users hold; its last use is the time of a file.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};

use super::choose::less;
use super::inventory::{Taking, What, sum};
use super::measure::{measure, single};
use super::{Item, RecordType, Sizes};
use crate::store::error::Context as _;
use crate::store::lease::{try_lease, try_lock};
use crate::store::records::to_millis;
use crate::store::work::{mirror_key, mirror_name};
use crate::store::{Result, Store, StoreError, Usage, content, db, layout, sweep};

/// Where something without rows lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A copy of a cache mount: `cache-mounts/<hash>/<number>`; without one, `cache-mounts/<hash>`.
    Mount(PathBuf),
    /// A copy of a repository: `git/<hash>`.
    Mirror(PathBuf),
    /// The output of a run: `logs/<hex>`.
    Log(PathBuf),
    /// A database that was put aside: `damaged/<n>`.
    Damaged(PathBuf),
}

/// Adds all of them.
pub(super) fn add(taking: &mut Taking<'_>) -> Result<()> {
    mounts(taking)?;
    mirrors(taking)?;
    logs(taking)?;
    damaged(taking)
}

/// The names in a directory, in order; none if it is not there, or no directory.
pub(super) fn names(dir: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        entries => entries.at("list", dir)?,
    };
    let names = entries.map(|entry| entry.map(|it| it.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<io::Result<Vec<_>>>().at("list", dir)?;
    names.sort_unstable();
    Ok(names)
}

/// Of a directory of ours, the entries that are ours, too, by their form; others are none of our business.
fn own(dir: &Path, is_name: fn(&str) -> bool, form: Form) -> Result<Vec<String>> {
    let mut own = names(dir)?;
    own.retain(|name| {
        is_name(name)
            && fs::symlink_metadata(dir.join(name)).is_ok_and(|it| match form {
                Form::Dir => it.is_dir(),
                Form::File => it.is_file(),
            })
    });
    Ok(own)
}

#[derive(Clone, Copy)]
enum Form {
    Dir,
    File,
}

/// When the file was last written.
pub(super) fn changed(path: &Path) -> Option<SystemTime> {
    fs::symlink_metadata(path).and_then(|it| it.modified()).ok()
}

fn mounts(taking: &mut Taking<'_>) -> Result<()> {
    let all = taking.store.root().join("cache-mounts");
    for name in own(&all, layout::is_digest, Form::Dir)? {
        let dir = all.join(&name);
        let id = fs::read_to_string(dir.join("id")).unwrap_or_default();
        let inside = names(&dir)?;
        let (copies, rest): (Vec<_>, Vec<_>) = inside.into_iter().partition(|it| it.parse::<u32>().is_ok());
        let used = changed(&dir.join("id")).unwrap_or(UNIX_EPOCH);
        // What the copies have in common is counted with the first one.
        let mut shell = rest.iter().map(|it| single(&dir.join(it))).fold(single(&dir), sum);
        let copies = if copies.is_empty() { vec![None] } else { copies.into_iter().map(Some).collect() };
        for copy in copies {
            let path = copy.as_ref().map_or_else(|| dir.clone(), |it| dir.join(it));
            let in_use = copy.as_ref().is_some_and(|it| is_locked(&dir.join(format!("{it}.lock"))));
            let own = if copy.is_some() { measured(taking, &path, used, in_use) } else { Usage::default() };
            let suffix = copy.filter(|it| it != "0").map(|it| format!("-{it}")).unwrap_or_default();
            let item = Item {
                id: format!("{}{suffix}", name.get(..32).unwrap_or(&name)),
                record_type: RecordType::ExecCacheMount,
                created_at: used,
                last_used: used,
                mutable: true,
                in_use,
                description: format!("cache mount {id}"),
                ..Item::default()
            };
            let usage = sum(own, std::mem::take(&mut shell));
            taking.add(item, What::Place(Place::Mount(path)), &[], Some(usage));
        }
    }
    Ok(())
}

fn mirrors(taking: &mut Taking<'_>) -> Result<()> {
    let all = taking.store.root().join("git");
    for name in own(&all, layout::is_digest, Form::Dir)? {
        let path = all.join(&name);
        let named = mirror_name(&path);
        let used = changed(&named).or(changed(&path)).unwrap_or(UNIX_EPOCH);
        let in_use = try_lease(taking.store.root(), &mirror_key(&name))?.is_none();
        let usage = sum(measured(taking, &path, used, in_use), single(&named));
        let remote = fs::read_to_string(&named).unwrap_or_default();
        let item = Item {
            id: name.get(..32).unwrap_or(&name).to_owned(),
            record_type: RecordType::SourceGitCheckout,
            created_at: used,
            last_used: used,
            mutable: true,
            in_use,
            description: format!("copy of the repository {remote}").trim_end().to_owned(),
            ..Item::default()
        };
        taking.add(item, What::Place(Place::Mirror(path)), &[], Some(usage));
    }
    Ok(())
}

fn logs(taking: &mut Taking<'_>) -> Result<()> {
    let all = taking.store.root().join("logs");
    for name in own(&all, layout::is_digest, Form::File)? {
        let path = all.join(&name);
        let used = changed(&path).unwrap_or(UNIX_EPOCH);
        let item = Item {
            id: name.get(..32).unwrap_or(&name).to_owned(),
            record_type: RecordType::Internal,
            created_at: used,
            last_used: used,
            in_use: is_locked(&path),
            description: "output of a step".to_owned(),
            ..Item::default()
        };
        let usage = single(&path);
        taking.add(item, What::Place(Place::Log(path)), &[], Some(usage));
    }
    Ok(())
}

fn damaged(taking: &mut Taking<'_>) -> Result<()> {
    let all = taking.store.root().join("damaged");
    for name in own(&all, layout::is_number, Form::Dir)? {
        let path = all.join(&name);
        let used = changed(&path).unwrap_or(UNIX_EPOCH);
        let item = Item {
            id: format!("damaged-{name}"),
            record_type: RecordType::Internal,
            created_at: used,
            last_used: used,
            description: "database that was damaged".to_owned(),
            ..Item::default()
        };
        taking.add(item, What::Place(Place::Damaged(path.clone())), &[&path], None);
    }
    Ok(())
}

/// Adds the database, the directories that hold everything, and what is being made: not our own corner, which is gone as
/// soon as we are.
pub(super) fn rest(taking: &mut Taking<'_>) -> Result<()> {
    let root = taking.store.root().to_owned();
    let mut other = single(&root);
    for name in names(&root)? {
        let path = root.join(&name);
        if name.starts_with(db::FILE) {
            taking.inventory.database = sum(taking.inventory.database, single(&path));
            continue;
        }
        // What is being made comes on top of what may stay.
        let is_whole = matches!(name.as_str(), "staging" | "ingest") && taking.sizes == Sizes::Looked;
        other = sum(other, if is_whole { measure(&path) } else { single(&path) });
        if is_whole && name == "staging" {
            other = less(other, measure(taking.store.inner.owner.dir()));
        }
    }
    taking.inventory.other = sum(other, single(&root.join("content/sha256")));
    Ok(())
}

fn is_locked(lock: &Path) -> bool {
    let Ok(file) = File::open(lock) else { return false };
    flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
}

/// What a directory takes that changes in place: as it was measured after its last use, or by looking.
fn measured(taking: &mut Taking<'_>, path: &Path, used: SystemTime, in_use: bool) -> Usage {
    let stamp = to_millis(used);
    let name = path.strip_prefix(taking.store.root()).unwrap_or(path).to_string_lossy().into_owned();
    if let (Sizes::Believed, Some((known, usage))) = (taking.sizes, taking.measured.get(&name))
        && *known == stamp
        && !in_use
    {
        return *usage;
    }
    let usage = measure(path);
    // Who came meanwhile wrote a new time first.
    if !in_use {
        taking.newly_measured.push((name, stamp, usage));
    }
    usage
}

impl Place {
    /// Removes it if nobody uses it; whether it is gone.
    pub(super) fn remove(&self, store: &Store) -> Result<bool> {
        match self {
            Place::Mount(path) => remove_mount(store, path),
            Place::Mirror(path) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let Some(_lease) = try_lease(store.root(), &mirror_key(&name))? else { return Ok(false) };
                take_away(store, path)?;
                content::remove_file(&mirror_name(path)).map(|()| true)
            }
            Place::Log(path) => {
                if is_locked(path) {
                    return Ok(false);
                }
                content::remove_file(path).map(|()| true)
            }
            Place::Damaged(path) => take_away(store, path).map(|()| true),
        }
    }

    /// The file whose time is that of the last use.
    pub(super) fn timed(&self) -> PathBuf {
        match self {
            Place::Mount(path) if path.ends_with("id") => path.clone(),
            Place::Mount(path) => match path.file_name().and_then(|it| it.to_str()?.parse::<u32>().ok()) {
                Some(_) => path.with_file_name("id"),
                None => path.join("id"),
            },
            Place::Mirror(path) => mirror_name(path),
            Place::Log(path) | Place::Damaged(path) => path.clone(),
        }
    }
}

/// Moves a directory into our corner, all at once, and removes it there.
pub(super) fn take_away(store: &Store, path: &Path) -> Result<()> {
    let aside = store.inner.owner.new_dir()?;
    let moved = match fs::rename(path, &aside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        moved => moved.at("move", path),
    };
    sweep::remove_dir(&aside)?;
    moved
}

fn remove_mount(store: &Store, path: &Path) -> Result<bool> {
    let number = path.file_name().and_then(|it| it.to_str()).unwrap_or_default();
    let dir = match number.parse::<u32>() {
        Ok(_) => {
            let dir = path.parent().unwrap_or(path);
            let lock = dir.join(format!("{number}.lock"));
            let held = match try_lock(&lock, FlockOperation::NonBlockingLockExclusive) {
                // Somebody else was faster.
                Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    return Ok(true);
                }
                held => held?,
            };
            let Some(_held) = held else { return Ok(false) };
            take_away(store, path)?;
            dir
        }
        Err(_) => path,
    };
    // Without copies, all of it may go. Who holds this lock is the only one to make one, and who locked a file that has no
    // name any more begins anew.
    let is_empty = || names(dir).map(|inside| !inside.iter().any(|it| it.parse::<u32>().is_ok()));
    if !is_empty()? {
        return Ok(true);
    }
    let Some(_guard) = try_lock(&dir.join("new.lock"), FlockOperation::NonBlockingLockExclusive)? else {
        return Ok(number.parse::<u32>().is_ok());
    };
    if is_empty()? {
        take_away(store, dir)?;
    }
    Ok(true)
}

/// Sets the time of a file that is ahead of `now`: a clock was wrong.
pub(super) fn set_right(path: &Path, now: SystemTime) {
    if changed(path).is_some_and(|at| now + Duration::from_secs(3600) < at)
        && let Ok(file) = File::open(path)
    {
        let _ = file.set_modified(now);
    }
}
