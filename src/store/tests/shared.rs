//! Stores used by several threads and processes at once: leases, cache mounts, seeds.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::{layer, list, open, store, tree};
use crate::base::Digest;
use crate::store::{
    ActiveLayer, CacheDir, ContentStore, Ingest, Lease, Seed, Sharing, Snapshot, Store, StoreError,
    UnpackedLayer,
};

#[test]
fn the_types_cross_threads() {
    fn check<T: Send>() {}
    fn check_sync<T: Send + Sync>() {}
    check_sync::<Store>();
    check_sync::<ContentStore>();
    check_sync::<ActiveLayer>();
    check::<(UnpackedLayer, Ingest, Lease, CacheDir, StoreError)>();
}

fn never() -> bool {
    false
}

#[test]
fn a_lease_has_one_holder() {
    let (dir, store) = store();
    // Another opening of the same store is what another process would have.
    let other = open(dir.path());
    let key = Digest::of(b"step");
    let held = store.lease(&key, &never).unwrap();
    assert!(other.try_lease(&key).unwrap().is_none() && store.try_lease(&key).unwrap().is_none());
    assert!(other.try_lease(&Digest::of(b"another")).unwrap().is_some());
    assert!(matches!(other.lease(&key, &|| true), Err(StoreError::Cancelled)));
    drop(held);
    assert!(other.try_lease(&key).unwrap().is_some());
}

#[test]
fn many_waiters_take_turns() {
    let (dir, store) = store();
    let inside = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            let (store, inside) = (store.clone(), &inside);
            let other = open(dir.path());
            scope.spawn(move || {
                for at in 0..10 {
                    let lease =
                        if at % 2 == 0 { &store } else { &other }.lease(&Digest::of(b"k"), &never).unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two holders");
                    std::thread::sleep(Duration::from_micros(200));
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(lease);
                }
            });
        }
    });
}

#[test]
fn two_stores_work_side_by_side_as_root() {
    let (dir, _store) = store();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let store = open(dir.path());
            scope.spawn(move || {
                let mut tree = Snapshot::scratch();
                for step in 0..10 {
                    let name = format!("{worker}-{step}");
                    tree =
                        tree.with(layer(&store, &tree, |root| fs::write(root.join(&name), &name).unwrap()));
                    store.content().put(format!("blob {step}").as_bytes()).unwrap();
                }
                assert_eq!(list(&store, &tree).len(), 10);
                assert!(store.check(&tree));
            });
        }
    });
    let store = open(dir.path());
    assert_eq!(fs::read_dir(store.root().join("layers")).unwrap().count(), 40);
    assert_eq!(fs::read_dir(store.root().join("content/sha256")).unwrap().count(), 10);
}

#[test]
fn cache_mounts_are_shared_locked_or_private_as_root() {
    let (dir, store) = store();
    let other = open(dir.path());
    let shared = store.cache_dir("go", None, Sharing::Shared, &never).unwrap();
    fs::write(shared.path().join("f"), "1").unwrap();
    let second = other.cache_dir("go", None, Sharing::Shared, &never).unwrap();
    assert_eq!((second.path(), fs::read(second.path().join("f")).unwrap()), (shared.path(), b"1".to_vec()));
    assert!(matches!(other.cache_dir("go", None, Sharing::Locked, &|| true), Err(StoreError::Cancelled)));
    let private = other.cache_dir("go", None, Sharing::Private, &never).unwrap();
    assert!(!private.path().join("f").exists());
    drop((shared, second));
    let locked = other.cache_dir("go", None, Sharing::Locked, &never).unwrap();
    assert!(locked.path().join("f").exists());
    assert!(!store.cache_dir("rust", None, Sharing::Shared, &never).unwrap().path().join("f").exists());
    // Nobody waits for a cancelled waiter.
    let cancelled = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let waiter = scope
            .spawn(|| store.cache_dir("go", None, Sharing::Locked, &|| cancelled.load(Ordering::Relaxed)));
        std::thread::sleep(Duration::from_millis(30));
        cancelled.store(true, Ordering::Relaxed);
        assert!(matches!(waiter.join().unwrap(), Err(StoreError::Cancelled)));
    });
}

#[test]
fn a_seeded_cache_mount_starts_as_a_copy_as_root() {
    let (_dir, store) = store();
    let base = tree(&store, &Snapshot::scratch(), |root| {
        fs::create_dir_all(root.join("mod/cache")).unwrap();
        fs::write(root.join("mod/cache/f"), "seed").unwrap();
    });
    let seed = Some(Seed { tree: &base, path: "/mod" });
    let mount = store.cache_dir("go", seed, Sharing::Shared, &never).unwrap();
    assert_eq!(fs::read(mount.path().join("cache/f")).unwrap(), b"seed");
    fs::write(mount.path().join("cache/f"), "mine").unwrap();
    drop(mount);
    let mount = store.cache_dir("go", seed, Sharing::Shared, &never).unwrap();
    assert_eq!(fs::read(mount.path().join("cache/f")).unwrap(), b"mine");
    assert_eq!(fs::read(super::path_of(&store.view(&base).unwrap()).join("mod/cache/f")).unwrap(), b"seed");
}
