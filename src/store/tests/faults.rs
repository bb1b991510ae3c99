//! Killed processes, power cuts, full disks.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{entries, layer, list, meta, open, path_of, store, tree};
use crate::base::Digest;
use crate::store::layer::{ArchiveWriter, Compression, Entry, EntryKind};
use crate::store::{Durability, Existing, LayerId, Options, Snapshot, Store, StoreError};

/// The part of a killed process: does one of everything, then waits for its end.
#[test]
#[ignore = "run by a_killed_process_leaves_nothing_as_root"]
fn victim() {
    let dir = std::env::var("BKL_VICTIM").unwrap();
    let store = open(Path::new(&dir));
    let done = tree(&store, &Snapshot::scratch(), |root| fs::write(root.join("done"), "done").unwrap());
    let active = store.stage(&done).unwrap();
    let mount = active.mount().unwrap();
    fs::write(path_of(&mount).join("half"), vec![1; 1 << 20]).unwrap();
    let mut ingest = store.content().ingest().unwrap();
    ingest.write_all(b"half").unwrap();
    let _lease = store.try_lease(&Digest::of(b"key")).unwrap().unwrap();
    writeln!(std::io::stdout(), "\nready {}", done.layers()[0]).unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_killed_process_leaves_nothing_as_root() {
    let (dir, store) = store();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::faults::victim", "--ignored", "--nocapture"])
        .env("BKL_VICTIM", dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let done = lines.find_map(|it| it.unwrap().strip_prefix("ready ").map(str::to_owned)).unwrap();
    assert!(store.try_lease(&Digest::of(b"key")).unwrap().is_none());
    // A third store opened now must not touch what lives.
    drop(open(dir.path()));
    assert_eq!(fs::read_dir(store.root().join("ingest")).unwrap().count(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(store.try_lease(&Digest::of(b"key")).unwrap().is_some());
    let store = open(dir.path());
    assert_eq!(fs::read_dir(store.root().join("ingest")).unwrap().count(), 0);
    // The corners of the two open stores.
    assert_eq!(fs::read_dir(store.root().join("staging")).unwrap().count(), 2);
    let done = Snapshot::scratch().with(done.parse().unwrap());
    assert_eq!(list(&store, &done), entries(&[("done", "done")]));
}

#[test]
fn what_was_published_without_a_row_is_removed_as_root() {
    let (dir, store) = store();
    let kept = layer(&store, &Snapshot::scratch(), |root| fs::write(root.join("f"), "1").unwrap());
    let blob = store.content().put(b"kept").unwrap();
    let (lost_layer, lost_blob) = (LayerId::random(), Digest::of(b"lost"));
    fs::create_dir_all(store.root().join("layers").join(lost_layer.to_string()).join("fs")).unwrap();
    fs::write(store.content().path(&lost_blob), b"lost").unwrap();
    let corner = store.root().join("staging").join(LayerId::random().to_string());
    fs::create_dir(&corner).unwrap();
    let notes = format!("layer {kept}\nlayer {lost_layer}\nblob {}\nblob {}\n", blob.hex(), lost_blob.hex());
    fs::write(corner.join("owner"), notes).unwrap();
    drop(store);
    let store = open(dir.path());
    assert!(!corner.exists());
    assert!(store.check(&Snapshot::scratch().with(kept)) && store.content().has(&blob));
    assert!(!store.root().join("layers").join(lost_layer.to_string()).exists());
    assert!(!store.content().path(&lost_blob).exists());
}

#[test]
fn a_power_cut_drops_what_was_not_synced_as_root() {
    let dir = tempfile::tempdir().unwrap();
    let boot = |name: &str| {
        let boot_id = Some(name.to_owned());
        let options = Options { boot_id, durability: Durability::Manual, ..Options::default() };
        Store::open(&dir.path().join("store"), &options).unwrap()
    };
    let first = boot("first");
    let old = tree(&first, &Snapshot::scratch(), |root| fs::write(root.join("old"), "1").unwrap());
    let old_blob = first.content().put(b"old").unwrap();
    assert!(first.is_unsynced());
    first.sync().unwrap();
    assert!(!first.is_unsynced());
    let new = tree(&first, &old, |root| fs::write(root.join("new"), "1").unwrap());
    let new_blob = first.content().put(b"new").unwrap();
    drop(first);
    // The same boot: a killed process loses nothing.
    let again = boot("first");
    assert!(again.check(&new) && again.content().has(&new_blob));
    drop(again);
    let second = boot("second");
    assert!(second.check(&old) && second.content().has(&old_blob));
    assert!(!second.check(&new) && !second.content().has(&new_blob));
    assert_eq!(fs::read_dir(second.root().join("layers")).unwrap().count(), 1);
    assert!(!second.content().path(&new_blob).exists());
}

/// Runs `work` in a mount namespace of its own with a small disk at the given path; nothing stays mounted.
pub(super) fn with_small_disk(work: impl FnOnce(&Path) + Send + 'static) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    let outcome = std::thread::spawn(move || {
        use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
        // SAFETY: the new namespace is this thread's alone, which ends with the test.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.unwrap();
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        mount("tmpfs", &path, "tmpfs", MountFlags::empty(), Some(c"size=8m,mode=0700")).unwrap();
        work(&path);
    })
    .join();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// Bytes in use below `dir`, by the file system's own account.
fn n_used(dir: &Path) -> u64 {
    let it = rustix::fs::statfs(dir).unwrap();
    (it.f_blocks - it.f_bfree) * it.f_bsize.cast_unsigned()
}

fn noise(n_bytes: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let step = |state: &mut u32| {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (*state >> 24).to_le_bytes()[0]
    };
    (0..n_bytes).map(|_| step(&mut state)).collect()
}

#[test]
fn a_full_disk_is_said_and_healed_as_root() {
    with_small_disk(|disk| {
        let store = open(disk);
        let base =
            tree(&store, &Snapshot::scratch(), |root| fs::write(root.join("noise"), noise(2 << 20)).unwrap());
        let before = n_used(disk);
        let small = |what: &str| {
            let top = tree(&store, &base, |root| fs::write(root.join("small"), "1").unwrap());
            assert_eq!(list(&store, &top).len(), 2, "{what}");
            store.forget_layer(top.layers()[1]).unwrap();
        };
        let healed = |what: &str, error: &StoreError| {
            assert!(error.is_no_space(), "{what}: {error:?}");
            assert!(n_used(disk) <= before + (256 << 10), "{what}: {} and {before}", n_used(disk));
            small(what);
        };

        let mut ingest = store.content().ingest().unwrap();
        let error = ingest.write_all(&noise(16 << 20)).map_err(|it| ingest.error(it)).unwrap_err();
        drop(ingest);
        healed("a blob", &error);

        let mut big = Entry::new(EntryKind::File, "big");
        big.size = 16 << 20;
        let mut writer = ArchiveWriter::new(Vec::new());
        writer.write_file(&big, &mut noise(16 << 20).as_slice()).unwrap();
        let archive = writer.finish().unwrap();
        let error = store.unpack(&mut archive.as_slice()).err().unwrap();
        healed("a layer archive", &error);

        // A step that fills the disk: its own write fails, and dropping the layer gives the space back.
        let active = store.stage(&base).unwrap();
        let mount = active.mount().unwrap();
        let error = fs::write(path_of(&mount).join("big"), noise(16 << 20)).unwrap_err();
        drop((mount, active));
        healed("a step", &StoreError::io("run a step in", disk, error));

        // No room for the blob of a layer.
        let filler = disk.join("filler");
        let n_free = usize::try_from((8 << 20) - n_used(disk)).unwrap();
        fs::write(&filler, noise(n_free - (1 << 20))).unwrap();
        let error = store.blob(base.layers()[0], Compression::Gzip(6), Existing::Keep).unwrap_err();
        fs::remove_file(&filler).unwrap();
        healed("an export", &error);

        // No room at all: the database says so too.
        let fill = fs::write(&filler, noise(8 << 20));
        assert!(fill.is_err());
        let value = noise(1 << 20);
        let error = store.put_value(crate::store::Table::Sources, b"k", &value).unwrap_err();
        // An empty directory still fits on a tmpfs.
        assert!(store.stage(&base).map_or_else(|it| it.is_no_space(), |_| true));
        fs::remove_file(&filler).unwrap();
        healed("a record", &error);
        store.put_value(crate::store::Table::Sources, b"k", b"v").unwrap();
        assert_eq!(store.get_value(crate::store::Table::Sources, b"k").unwrap().unwrap(), b"v");
        assert!(store.check(&base));
    });
}

#[test]
fn a_failed_commit_leaves_nothing_as_root() {
    let (_dir, store) = store();
    let active = store.stage(&Snapshot::scratch()).unwrap();
    fs::write(path_of(&active.mount().unwrap()).join("f"), "1").unwrap();
    fs::remove_dir_all(store.root().join("layers")).unwrap();
    assert!(active.commit(&meta("x")).is_err());
    assert_eq!(fs::read_dir(store.root().join("staging")).unwrap().count(), 1);
}

/// Damages the database of a store with a layer; what opening it says, and whether a build can go on.
fn check_heals(damage: impl Fn(&std::path::Path)) {
    let (dir, store) = store();
    let gone = layer(&store, &Snapshot::scratch(), |root| fs::write(root.join("f"), "1").unwrap());
    let blob = store.content().put(b"blob").unwrap();
    store.sync().unwrap();
    store.inner.database.checkpoint().unwrap();
    let other = open(dir.path());
    drop(store);
    damage(&dir.path().join("store"));
    // While somebody has the store open, it cannot be taken apart.
    let options = Options { durability: Durability::Manual, ..Options::default() };
    let error = Store::open(&dir.path().join("store"), &options).err();
    assert!(matches!(error, Some(StoreError::InUse { .. })), "{error:?}");
    drop(other);
    let store = open(dir.path());
    assert_eq!(store.notices().len(), 1, "{:?}", store.notices());
    assert!(store.root().join("damaged/1/db.sqlite").is_file());
    assert!(!store.check(&Snapshot::scratch().with(gone)) && !store.content().has(&blob));
    assert_eq!(fs::read_dir(store.root().join("layers")).unwrap().count(), 0);
    let made = layer(&store, &Snapshot::scratch(), |root| fs::write(root.join("f"), "2").unwrap());
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.notices(), [""; 0]);
    assert_eq!(list(&store, &Snapshot::scratch().with(made)), entries(&[("f", "2")]));
}

#[test]
fn a_damaged_database_is_put_aside_as_root() {
    check_heals(|root| fs::write(root.join("db.sqlite"), "garbage").unwrap());
    check_heals(|root| {
        let file = fs::OpenOptions::new().write(true).open(root.join("db.sqlite")).unwrap();
        file.set_len(4096 * 3).unwrap();
    });
    check_heals(|root| {
        // All pages but the first.
        let path = root.join("db.sqlite");
        let mut bytes = fs::read(&path).unwrap();
        bytes[4096..].fill(0x5a);
        fs::write(&path, bytes).unwrap();
    });
    // Damage that was met later.
    check_heals(|root| fs::write(root.join("db.damaged"), "").unwrap());
}

#[test]
fn a_flusher_syncs_an_idle_store_and_goes_with_it_as_root() {
    let (dir, store) = store();
    let made = layer(&store, &Snapshot::scratch(), |root| fs::write(root.join("f"), "1").unwrap());
    let root = store.root().to_owned();
    drop(store);
    crate::store::flusher::run(&root, Duration::from_millis(300)).unwrap();
    // Another boot drops what is unsynced.
    let options =
        Options { boot_id: Some("later".to_owned()), durability: Durability::Manual, ..Options::default() };
    let store = Store::open(&root, &options).unwrap();
    assert!(store.check(&Snapshot::scratch().with(made)));
    drop(store);
    let waiting = std::thread::spawn(move || crate::store::flusher::run(&root, Duration::from_secs(60)));
    std::thread::sleep(Duration::from_millis(100));
    fs::remove_dir_all(dir.path().join("store")).unwrap();
    waiting.join().unwrap().unwrap();
    assert!(!dir.path().join("store").exists());
}
