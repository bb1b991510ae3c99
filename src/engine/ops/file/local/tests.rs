//! Copies brought up to date are what copying everything gives: random directories, edits and options. Needs root and
//! overlayfs; skipped without.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::engine::content_hash::xattrs;
use crate::engine::source::local::{Wanted, look_at};
use crate::store::Options;

/// Times of the tests lie before this; later ones are those of the clock.
const CLOCK: i64 = 1_200_000_000;

/// xorshift64*.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }

    fn one_of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.roll(all.len())]
    }

    fn often(&mut self) -> bool {
        self.roll(4) != 0
    }
}

struct Bench {
    _home: tempfile::TempDir,
    store: Arc<Store>,
    context: PathBuf,
    n_times: i64,
}

const NAMES: [&str; 6] = ["a", "b.txt", "c", "d", "e.txt", "sub"];

/// An access control list as the attribute holds it: one user more may do all. What is made in its directory gets it.
fn default_acl() -> Vec<u8> {
    let entries: [(u16, u16, u32); 5] =
        [(1, 7, u32::MAX), (2, 7, 1000), (4, 5, u32::MAX), (16, 7, u32::MAX), (32, 5, u32::MAX)];
    let mut value = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        value.extend(tag.to_le_bytes().into_iter().chain(permissions.to_le_bytes()).chain(id.to_le_bytes()));
    }
    value
}

impl Bench {
    fn new() -> Option<Bench> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let home = tempfile::tempdir_in("/var/tmp").unwrap();
        let store = Arc::new(Store::open(&home.path().join("store"), &Options::default()).unwrap());
        let context = home.path().join("context");
        fs::create_dir(&context).unwrap();
        Some(Bench { _home: home, store, context, n_times: 1_000_000_000 })
    }

    /// A path in the directory, down to three levels.
    fn path(&self, dice: &mut Dice) -> PathBuf {
        let mut path = self.context.clone();
        for _ in 0..=dice.roll(3) {
            path.push(dice.one_of(&NAMES));
        }
        path
    }

    /// Changes something, or fails to.
    fn edit(&mut self, dice: &mut Dice) {
        let path = self.path(dice);
        let text = format!("{}", dice.roll(1000));
        let there = path.ancestors().find(|it| it.symlink_metadata().is_ok()).unwrap_or(&path);
        let attempt: std::io::Result<()> = match dice.roll(18) {
            0..6 => path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, text)),
            6 => fs::remove_file(&path),
            7 => fs::remove_dir_all(&path),
            8 => fs::create_dir_all(&path),
            9 => fs::set_permissions(&path, fs::Permissions::from_mode([0o644, 0o755, 0o4711][dice.roll(3)])),
            10 => symlink(dice.one_of(&["a", "../c", "/d", "nowhere"]), &path),
            11 => fs::hard_link(self.path(dice), &path),
            12 => fs::rename(self.path(dice), &path),
            13 => {
                fs::File::open(&path).and_then(|file| file.set_modified(UNIX_EPOCH + Duration::from_secs(5)))
            }
            14 => {
                let set = rustix::fs::XattrFlags::empty();
                rustix::fs::lsetxattr(there, "user.test", text.as_bytes(), set).map_err(Into::into)
            }
            15 => rustix::fs::lremovexattr(there, "user.test").map_err(Into::into),
            16 => {
                let set = rustix::fs::XattrFlags::empty();
                rustix::fs::lsetxattr(there, "system.posix_acl_default", &default_acl(), set)
                    .map_err(Into::into)
            }
            _ => fs::remove_file(&path).and_then(|()| fs::write(&path, text)),
        };
        // What is not possible is not done.
        drop(attempt);
        let context = self.context.clone();
        self.settle(&context);
    }

    /// Takes times of the clock away.
    fn settle(&mut self, path: &Path) {
        let meta = fs::symlink_metadata(path).unwrap();
        if meta.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                self.settle(&entry.unwrap().path());
            }
        }
        let meta = fs::symlink_metadata(path).unwrap();
        if CLOCK < meta.mtime() {
            self.n_times += 1;
            let time = rustix::fs::Timespec { tv_sec: self.n_times, tv_nsec: 7 };
            let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
            let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::utimensat(rustix::fs::CWD, path, &times, flags).unwrap();
        }
    }

    fn base(&self, dice: &mut Dice) -> Snapshot {
        let layer = self.store.stage(&Snapshot::scratch()).unwrap();
        let mount = layer.mount().unwrap();
        let root = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
        for _ in 0..dice.roll(8) {
            let path = root.join(dice.one_of(&["", "app"])).join(dice.one_of(&NAMES));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let _ = match dice.roll(3) {
                0 => fs::write(&path, "base"),
                1 => fs::create_dir_all(path.join(dice.one_of(&NAMES))),
                _ => symlink("/app", &path),
            };
        }
        drop(mount);
        Snapshot::scratch().with(layer.commit(&LayerMeta::default()).unwrap())
    }

    fn copy(
        &self,
        local: &LocalTree,
        op: &FileCopy,
        base: &Snapshot,
        key: &str,
    ) -> Result<Snapshot, FileError> {
        let owner = (op.mode == 0o640).then_some(Owner { uid: 5, gid: 6 });
        let (key, cancel) = (Digest::of(key), Cancel::new());
        let write = |root: &Root| {
            root.make_dirs(b"/app/d", 0o755, None, None)?;
            root.make_dirs(b"/b.txt", 0o700, None, None).map(drop)
        };
        let prepare: Option<Prepare<'_>> = if op.timestamp == -1 { None } else { Some(&write) };
        let (store, description, cancel) = (&self.store, "test", &cancel);
        let reuse = Reuse::Earlier;
        let record_type = crate::store::RecordType::Regular;
        LocalCopy { store, op, local, base, prepare, key, owner, description, record_type, reuse, cancel }
            .run()
    }

    /// All that can be told of a tree, and whether the clock was in it.
    fn facts(&self, tree: &Snapshot) -> (BTreeMap<PathBuf, String>, bool) {
        let view = self.store.view(tree).unwrap();
        let root = PathBuf::from(format!("/proc/self/fd/{}/.", view.as_raw_fd()));
        let (mut found, mut links, mut has_clock) = (BTreeMap::new(), BTreeMap::new(), false);
        let mut todo = vec![PathBuf::new()];
        while let Some(relative) = todo.pop() {
            let path = root.join(&relative);
            let meta = fs::symlink_metadata(&path).unwrap();
            let content = if meta.is_dir() {
                let names = fs::read_dir(&path).unwrap().map(|it| relative.join(it.unwrap().file_name()));
                todo.extend(names);
                String::new()
            } else if meta.is_symlink() {
                fs::read_link(&path).unwrap().display().to_string()
            } else {
                fs::read_to_string(&path).unwrap()
            };
            let mtime = if meta.mtime() < CLOCK {
                format!("{}.{}", meta.mtime(), meta.mtime_nsec())
            } else {
                has_clock |= !relative.as_os_str().is_empty();
                "the clock's".to_owned()
            };
            let parent = fs::File::open(path.parent().unwrap()).unwrap().into();
            let xattrs = match path.file_name() {
                Some(name) => xattrs(&parent, name).unwrap(),
                None => Vec::new(),
            };
            let xattrs: Vec<_> =
                xattrs.into_iter().filter(|(name, _)| !name.starts_with(b"trusted.")).collect();
            links.entry(meta.ino()).or_insert_with(Vec::new).push(relative.clone());
            let (mode, uid, gid) = (meta.mode(), meta.uid(), meta.gid());
            found.insert(relative, format!("{mode:o} {uid}:{gid} {mtime} {content:?} {xattrs:?}"));
        }
        for (_, mut names) in links.into_iter().filter(|(_, names)| 1 < names.len()) {
            names.sort();
            for name in &names {
                found.get_mut(name).unwrap().push_str(&format!("= {names:?}"));
            }
        }
        (found, has_clock)
    }
}

fn random_copy(dice: &mut Dice) -> FileCopy {
    let patterns = |dice: &mut Dice, all: &[&str]| -> Vec<String> {
        if dice.often() {
            Vec::new()
        } else {
            (0..=dice.roll(2)).map(|_| dice.one_of(all).to_owned()).collect()
        }
    };
    FileCopy {
        src: dice.one_of(&["/", "/", "/", "/a", "/sub", "/c/d", "/*"]).to_owned(),
        dest: dice.one_of(&["/", "/app", "/app/", "/new/deep", "/c"]).to_owned(),
        mode: [-1, -1, -1, 0o640][dice.roll(4)],
        follow_symlink: dice.often(),
        dir_copy_contents: dice.often(),
        create_dest_path: true,
        allow_wildcard: true,
        allow_empty_wildcard: true,
        timestamp: [-1, -1, 77_000_000_000][dice.roll(3)],
        include_patterns: patterns(dice, &["**/*.txt", "a", "sub/**", "c/d"]),
        exclude_patterns: patterns(dice, &["**/*.txt", "d", "!d/a", "sub"]),
        always_replace_existing: dice.often(),
        ..FileCopy::default()
    }
}

/// Runs a random history; gives how many copies were brought up to date.
fn history(seed: u64) -> usize {
    let Some(mut bench) = Bench::new() else { return usize::MAX };
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (op, base) = (random_copy(&mut dice), bench.base(&mut dice));
    (0..20).for_each(|_| bench.edit(&mut dice));
    let mut n_updated = 0;
    for round in 0..8 {
        let look =
            || look_at(&bench.store, bench.context.clone(), &Wanted::default(), &Cancel::new()).unwrap();
        let local = look();
        let updated = bench.copy(&local, &op, &base, "updated");
        let whole = bench.copy(&local, &op, &base, &format!("whole {round}"));
        let about = format!("seed {seed}, round {round}, {op:?}");
        match (updated, whole) {
            (Ok(updated), Ok(whole)) => {
                let ((found, _), (expected, has_clock)) = (bench.facts(&updated), bench.facts(&whole));
                for (path, facts) in &expected {
                    assert_eq!(found.get(path), Some(facts), "{}: {about}", path.display());
                }
                assert_eq!(found.len(), expected.len(), "{found:#?} {expected:#?} {about}");
                let id = |tree: &Snapshot| bench.store.diff_id(tree.layers()[1]).unwrap();
                if !has_clock {
                    assert_eq!(id(&updated), id(&whole), "{about}");
                }
                n_updated +=
                    usize::from(!bench.store.layer(updated.layers()[1]).unwrap().unwrap().parts.is_empty());
            }
            (Err(updated), Err(whole)) => assert_eq!(updated.to_string(), whole.to_string(), "{about}"),
            (updated, whole) => panic!("{:?} {:?} {about}", updated.err(), whole.err()),
        }
        let tree = local_tree(&bench.store, &local, &Cancel::new()).unwrap();
        let stored = bench.facts(&tree).0;
        assert_eq!(stored.len(), local.n_files() + 1, "{about}");
        (0..=dice.roll(3)).for_each(|_| bench.edit(&mut dice));
    }
    n_updated
}

/// `HISTORIES=FROM..TO` runs others.
#[test]
fn updates_are_what_copying_everything_gives() {
    use rayon::prelude::*;
    let asked = std::env::var("HISTORIES").ok();
    let asked = asked.as_deref().map(|it| it.split_once("..").expect("HISTORIES is FROM..TO"));
    let (from, to) = asked.map_or((0, 60), |(from, to)| (from.parse().unwrap(), to.parse().unwrap()));
    let n_updated: Vec<usize> = (from..to).into_par_iter().map(history).collect();
    let (sum, n_copies) =
        (n_updated.iter().fold(0_usize, |sum, &n| sum.saturating_add(n)), 8 * n_updated.len());
    assert!(n_updated.len() < sum, "only {sum} of {n_copies} copies were updates");
}
