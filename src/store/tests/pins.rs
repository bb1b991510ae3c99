//! What is said to be used: little, and always enough.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{open, store};
use crate::base::Digest;
use crate::store::annex::SMALL;
use crate::store::gc::Used;
use crate::store::{InUse, LayerId, Store};

/// Layers and blobs that a build finds.
struct Found {
    layers: Vec<LayerId>,
    blobs: Vec<Digest>,
}

impl Found {
    fn new(n: usize) -> Found {
        let layers: Vec<LayerId> = (0..n).map(|_| LayerId::random()).collect();
        let blobs = layers.iter().step_by(3).map(|it| Digest::of(it.to_string())).collect();
        Found { layers, blobs }
    }

    /// As if all of them were there. A part is only looked for if `n_missing` says so.
    fn find(&self, store: &Store, n_missing: usize) {
        let (pins, owner) = (&store.inner.pins, &store.inner.owner);
        for layers in self.layers.chunks(50) {
            pins.announce(owner, layers).unwrap();
            pins.hold(&layers[n_missing.min(layers.len())..]);
        }
        for blob in &self.blobs {
            pins.announce_blob(owner, blob).unwrap();
            pins.hold_blob(blob);
        }
    }

    fn are_in(&self, used: &Used) -> bool {
        self.layers.iter().all(|it| used.layers.contains(it))
            && self.blobs.iter().all(|it| used.blobs.contains(it))
    }
}

/// Bytes of all notes in the store.
fn n_noted(store: &Store) -> u64 {
    let corners = fs::read_dir(store.root().join("staging")).unwrap();
    corners.map(|it| fs::metadata(it.unwrap().path().join("owner")).unwrap().len()).sum()
}

fn n_corners(store: &Store) -> usize {
    fs::read_dir(store.root().join("staging")).unwrap().count()
}

/// Builds that find `kept` and other things, one after the other; the newest of them.
fn builds(store: &Store, n_builds: usize, kept: &Found) -> InUse {
    let mut build = store.begin_build();
    for _ in 0..n_builds {
        kept.find(store, 0);
        Found::new(300).find(store, 2);
        let next = store.begin_build();
        kept.find(store, 0);
        build = next;
    }
    build
}

#[test]
fn notes_of_many_builds_stay_few() {
    let (_dir, store) = store();
    let kept = Found::new(100);
    let build = builds(&store, 200, &kept);
    let used = Used::read(store.root()).unwrap();
    assert!(kept.are_in(&used));
    // What is only looked for may come: it is said as long as the process lives.
    let n_missing = 200 * 300 / 50 * 2;
    assert_eq!((used.layers.len(), used.blobs.len()), (100 + n_missing, 34));
    let (noted, live) = (n_noted(&store), (used.layers.len() * 38 + used.blobs.len() * 75) as u64);
    assert!(noted < 2 * SMALL as u64 + 3 * live, "{noted} bytes say {live}");
    assert_eq!(n_corners(&store), 2);
    drop(build);
    let used = Used::read(store.root()).unwrap();
    assert_eq!((used.layers.len(), used.blobs.len()), (n_missing, 0));
    let root = store.root().to_owned();
    drop(store);
    assert_eq!(fs::read_dir(root.join("staging")).unwrap().count(), 0);
}

#[test]
fn one_large_build_needs_one_corner() {
    let (_dir, store) = store();
    let build = store.begin_build();
    let found = Found::new(5000);
    found.find(&store, 0);
    assert!(n_corners(&store) == 1 && found.are_in(&Used::read(store.root()).unwrap()));
    drop(build);
    let used = Used::read(store.root()).unwrap();
    assert!(used.layers.is_empty() && used.blobs.is_empty());
}

/// What is looked for again and again, and never there, is said once.
#[test]
fn what_is_missing_is_said_once() {
    let (_dir, store) = store();
    let missing = Found::new(10);
    let _build = store.begin_build();
    missing.find(&store, usize::MAX);
    let noted = n_noted(&store);
    (0..100).for_each(|_| missing.find(&store, usize::MAX));
    assert_eq!(n_noted(&store), noted);
    assert!(missing.are_in(&Used::read(store.root()).unwrap()));
}

/// A blob that is there, and is written again: both say so, and both that it is not used.
#[test]
fn a_blob_that_is_made_again_is_let_go() {
    let (_dir, store) = store();
    let build = builds(&store, 50, &Found::new(1));
    assert_eq!(n_corners(&store), 2);
    let (old, new) = (Digest::of("old"), Digest::of("new"));
    let (pins, owner) = (&store.inner.pins, &store.inner.owner);
    pins.announce_blob(owner, &old).unwrap();
    pins.hold_blob(&old);
    for blob in [&old, &new] {
        pins.announce_new_blob(owner, blob).unwrap();
        pins.hold_blob(blob);
        assert!(Used::read(store.root()).unwrap().blobs.contains(blob));
    }
    drop(build);
    assert_eq!(Used::read(store.root()).unwrap().blobs, HashSet::new());
}

/// Somebody who looks all the time sees what is used all the time.
#[test]
fn nothing_looks_unused_while_it_is_used() {
    let (dir, store) = store();
    let kept = Found::new(200);
    let build = store.begin_build();
    kept.find(&store, 0);
    let has_ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looking = |_| {
            scope.spawn(|| {
                let other = open(dir.path());
                let mut n_looks = 0;
                while !has_ended.load(Ordering::Relaxed) {
                    if !kept.are_in(&Used::read(other.root()).unwrap()) {
                        return Err(n_looks);
                    }
                    n_looks += 1;
                }
                Ok(n_looks)
            })
        };
        let looks: Vec<_> = (0..2).map(looking).collect();
        // Others come and go: they sweep what is dead.
        let coming = scope.spawn(|| {
            while !has_ended.load(Ordering::Relaxed) {
                drop(open(dir.path()));
            }
        });
        let last = builds(&store, 200, &kept);
        has_ended.store(true, Ordering::Relaxed);
        looks.into_iter().for_each(|it| assert!(0 < it.join().unwrap().expect("all is used")));
        coming.join().unwrap();
        drop(last);
    });
    drop(build);
}

/// The part of a process that is killed while it finds things.
#[test]
#[ignore = "run by a_killed_process_uses_nothing"]
fn finder() {
    let store = open(Path::new(&std::env::var("BKL_VICTIM").unwrap()));
    loop {
        drop(builds(&store, 1000, &Found::new(10)));
    }
}

#[test]
fn a_killed_process_uses_nothing() {
    let (dir, store) = store();
    let kept = Found::new(10);
    let build = builds(&store, 60, &kept);
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::tests::pins::finder", "--ignored", "--nocapture"])
            .env("BKL_VICTIM", dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while n_corners(&store) < 4 {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(11 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        let used = Used::read(store.root()).unwrap();
        let n_own = 10 + 60 * 300 / 50 * 2;
        assert!(kept.are_in(&used) && used.layers.len() == n_own, "{} layers", used.layers.len());
        // The next one sweeps its corners.
        drop(open(dir.path()));
        assert_eq!(n_corners(&store), 2);
    }
    drop(build);
}
