//! Tests of the store. Those named `.._as_root` mount overlays and make devices: they need root and a real file system.

mod archives;
mod chains;
mod faults;
mod gc;
mod history;
mod hostile;
mod parts;
mod pins;
mod shared;
mod trees;
mod twins;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::SystemTime;

use super::{Durability, LayerId, LayerMeta, Options, Record, Snapshot, Store, Table};
use crate::base::Digest;

/// A store of its own, gone with the returned directory.
pub(super) fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    (dir, store)
}

pub(super) fn open(dir: &Path) -> Store {
    let options = Options { durability: Durability::Manual, ..Options::default() };
    Store::open(&dir.join("store"), &options).unwrap()
}

pub(super) fn meta(description: &str) -> LayerMeta {
    LayerMeta { description: description.to_owned(), ..LayerMeta::default() }
}

/// A path by which std's file functions reach into a detached mount.
pub(super) fn path_of(fd: &OwnedFd) -> std::path::PathBuf {
    use std::os::fd::AsRawFd as _;
    // Not `self`: children use it too.
    format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd()).into()
}

/// A layer on `parents` made by `change`, which gets the mounted tree.
pub(super) fn layer(store: &Store, parents: &Snapshot, change: impl FnOnce(&Path)) -> LayerId {
    let active = store.stage(parents).unwrap();
    let mount = active.mount().unwrap();
    change(&path_of(&mount));
    drop(mount);
    active.commit(&meta("test")).unwrap()
}

pub(super) fn tree(store: &Store, parents: &Snapshot, change: impl FnOnce(&Path)) -> Snapshot {
    parents.with(layer(store, parents, change))
}

/// Path to content of every entry of a tree: `/` for directories, `-> x` for symlinks, kinds for the rest.
pub(super) fn list(store: &Store, tree: &Snapshot) -> BTreeMap<String, String> {
    let view = store.view(tree).unwrap();
    let mut found = BTreeMap::new();
    list_below(view.as_fd(), "", &mut found);
    found
}

fn list_below(dir: std::os::fd::BorrowedFd<'_>, prefix: &str, found: &mut BTreeMap<String, String>) {
    use super::tree::{self, Kind};
    for name in tree::names(dir).unwrap() {
        let path = format!("{prefix}{}", String::from_utf8_lossy(&name));
        let Some(meta) = tree::stat(dir, &name).unwrap() else {
            found.insert(path, "listed but not there".to_owned());
            continue;
        };
        let shown = match meta.kind {
            Kind::Dir => {
                list_below(tree::open_dir(dir, &name).unwrap().as_fd(), &format!("{path}/"), found);
                "/".to_owned()
            }
            Kind::File => {
                let mut text = Vec::new();
                std::fs::File::from(tree::open_file(dir, &name).unwrap()).read_to_end(&mut text).unwrap();
                String::from_utf8_lossy(&text).into_owned()
            }
            Kind::Symlink => {
                let target = rustix::fs::readlinkat(dir, name.as_slice(), Vec::new()).unwrap();
                format!("-> {}", target.to_string_lossy())
            }
            other => format!("{other:?}"),
        };
        found.insert(path, shown);
    }
}

pub(super) fn entries(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(path, shown)| ((*path).to_owned(), (*shown).to_owned())).collect()
}

#[test]
fn content_is_published_by_digest() {
    let (_dir, store) = store();
    let content = store.content();
    let digest = content.put(b"hello").unwrap();
    assert_eq!(digest, Digest::of(b"hello"));
    assert_eq!(content.read(&digest).unwrap(), b"hello");
    assert_eq!(content.size(&digest).unwrap(), Some(5));

    let mut ingest = content.ingest().unwrap();
    ingest.write_all(b"other").unwrap();
    let error = ingest.commit(Some(&digest)).unwrap_err();
    assert!(matches!(error, super::StoreError::Mismatch { .. }), "{error}");
    drop(content.ingest().unwrap());
    assert_eq!(std::fs::read_dir(store.root().join("ingest")).unwrap().count(), 0);
}

#[test]
fn damaged_content_is_found_and_removed() {
    let (_dir, store) = store();
    let content = store.content();
    let digest = content.put(b"hello").unwrap();
    std::fs::write(content.path(&digest), b"jello").unwrap();
    assert!(matches!(content.read(&digest), Err(super::StoreError::Corrupt { .. })));
    assert!(!content.has(&digest));
    let digest = content.put(b"hello").unwrap();
    std::fs::write(content.path(&digest), b"hell").unwrap();
    assert!(!content.has(&digest));
}

#[test]
fn records_and_values_are_kept() {
    let (dir, store) = store();
    let key = Digest::of(b"key");
    let tree: Snapshot = [LayerId::random(), LayerId::random()].into_iter().collect();
    let created_at = super::records::from_millis(super::records::to_millis(SystemTime::now()));
    let record = Record { outputs: vec![tree, Snapshot::scratch()], meta: b"meta".to_vec(), created_at };
    store.put_record(&key, &record).unwrap();
    store.put_value(Table::ImageRefs, b"alpine", b"sha256:1").unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.get_record(&key).unwrap(), Some(record.clone()));
    assert_eq!(store.get_records(&[Digest::of(b"no"), key]).unwrap(), [None, Some(record)]);
    assert_eq!(store.get_value(Table::ImageRefs, b"alpine").unwrap().unwrap(), b"sha256:1");
    assert_eq!(store.get_value(Table::Sources, b"alpine").unwrap(), None);
    store.forget_record(&key).unwrap();
    assert_eq!(store.get_record(&key).unwrap(), None);
}

#[test]
fn a_store_of_an_older_version_is_upgraded() {
    let (dir, store) = store();
    let undo = "DROP TABLE measured; DROP TABLE collected; ALTER TABLE squashed DROP COLUMN members;
        ALTER TABLE records DROP COLUMN used; ALTER TABLE records DROP COLUMN uses;
        ALTER TABLE blobs DROP COLUMN doomed; ALTER TABLE layers DROP COLUMN doomed;
        ALTER TABLE layers DROP COLUMN type; ALTER TABLE layers DROP COLUMN used;
        ALTER TABLE layers DROP COLUMN parts; ALTER TABLE layers DROP COLUMN hides; DROP INDEX layers_by_outline; ALTER TABLE layers DROP COLUMN outline; DROP TABLE runs;
        PRAGMA user_version = 1;";
    store.inner.database.with("test", |it| it.execute_batch(undo)).unwrap();
    drop(store);
    let store = open(dir.path());
    let found = "SELECT count(*) FROM sqlite_master WHERE name IN ('layers_by_outline', 'runs_by_key')";
    let count: i64 =
        store.inner.database.with("test", |it| it.query_row(found, [], |row| row.get(0))).unwrap();
    assert_eq!(count, 2);
    assert!(store.check(&tree(&store, &Snapshot::scratch(), |_| {})), "a layer has all its columns");
}

#[test]
fn only_an_empty_directory_becomes_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let options = Options { durability: Durability::Manual, ..Options::default() };
    // What a process leaves that is killed while it makes one, after each of its steps; and a new disk.
    let steps = [
        "lost+found",
        "content",
        "content/sha256",
        "ingest",
        "layers",
        "staging",
        "cache-mounts",
        "logs",
        "empty",
    ];
    for n in 0..=steps.len() {
        steps[..n].iter().for_each(|it| std::fs::create_dir_all(root.join(it)).unwrap());
        drop(Store::open(&root, &options).unwrap());
        std::fs::remove_dir_all(&root).unwrap();
    }
    for path in
        ["notes", "git/mine/f", "logs/f", "content/sha256/mine/f", "content/page", "layers/mine/f", "empty/f"]
    {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "x").unwrap();
        let error = Store::open(&root, &options).err().unwrap();
        assert!(matches!(error, super::StoreError::NotEmpty { .. }), "{path:?}: {error}");
        assert!(path.is_file() && !root.join("staging").exists());
        std::fs::remove_dir_all(&root).unwrap();
    }
    // Somebody else's database.
    std::fs::create_dir_all(root.join("staging")).unwrap();
    let database = rusqlite::Connection::open(root.join("db.sqlite")).unwrap();
    database.execute_batch("CREATE TABLE theirs(a)").unwrap();
    let error = Store::open(&root, &options).err().unwrap();
    assert!(matches!(error, super::StoreError::Version { found: 0, .. }), "{error}");
}

#[test]
fn a_store_is_made_by_many_at_once() {
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            (0..4).for_each(|_| drop(scope.spawn(|| drop(open(dir.path())))));
        });
    }
}

#[test]
fn a_store_of_another_version_is_refused() {
    let (dir, store) = store();
    store.inner.database.with("test", |it| it.pragma_update(None, "user_version", 99)).unwrap();
    drop(store);
    let options = Options::default();
    let error = Store::open(&dir.path().join("store"), &options).err().unwrap();
    assert!(matches!(error, super::StoreError::Version { found: 99, .. }), "{error}");
}
