//! Which layers count as equal.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use super::{meta, open, path_of, store, tree};
use crate::store::snapshot::alike;
use crate::store::{LayerMeta, Snapshot, Store};

/// Makes a tree twice on the same base, by `one` and by `other`, and says whether the second is told to equal the first.
fn check(is_twin: bool, one: impl FnOnce(&Path), other: impl FnOnce(&Path)) {
    let (_dir, store) = store();
    let base = tree(&store, &Snapshot::scratch(), |root| fs::write(root.join("base"), "b").unwrap());
    let (one, other) = (tree(&store, &base, one), tree(&store, &base, other));
    let found = store.twin(&other).unwrap();
    assert_eq!(found, is_twin.then_some(one));
}

fn write(name: &str, text: &str) -> impl FnOnce(&Path) {
    move |root| fs::write(root.join(name), text).unwrap()
}

#[test]
fn times_do_not_count_as_root() {
    let file = |root: &Path, seconds| {
        fs::create_dir(root.join("d")).unwrap();
        fs::write(root.join("d/f"), "1").unwrap();
        symlink("f", root.join("d/l")).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        fs::File::open(root.join("d/f")).unwrap().set_modified(time).unwrap();
    };
    check(true, |root| file(root, 1), |root| file(root, 2));
    check(true, |_| {}, |_| {});
}

#[test]
fn content_names_modes_links_and_devices_count_as_root() {
    check(false, write("f", "1"), write("f", "2"));
    check(false, write("f", "1"), write("g", "1"));
    let with_mode = |mode| {
        move |root: &Path| {
            fs::write(root.join("f"), "1").unwrap();
            fs::set_permissions(root.join("f"), fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    check(false, with_mode(0o644), with_mode(0o755));
    check(true, with_mode(0o4755), with_mode(0o4755));
    let link = |to: &'static str| move |root: &Path| symlink(to, root.join("l")).unwrap();
    check(false, link("a"), link("b"));
    let node = |minor| {
        move |root: &Path| {
            mknodat(CWD, root.join("n"), FileType::CharacterDevice, Mode::RUSR, makedev(1, minor)).unwrap();
        }
    };
    check(false, node(3), node(5));
    let pairs = |pairs: [(&'static str, &'static str); 2]| {
        move |root: &Path| {
            for (one, other) in pairs {
                fs::write(root.join(one), "same").unwrap();
                fs::hard_link(root.join(one), root.join(other)).unwrap();
            }
        }
    };
    check(true, pairs([("a", "b"), ("c", "d")]), pairs([("a", "b"), ("c", "d")]));
    check(false, pairs([("a", "b"), ("c", "d")]), pairs([("a", "c"), ("b", "d")]));
    let without_base = |root: &Path| fs::remove_file(root.join("base")).unwrap();
    check(true, without_base, without_base);
    check(false, without_base, |_| {});
    let in_mode =
        |mode| move |root: &Path| fs::set_permissions(root, fs::Permissions::from_mode(mode)).unwrap();
    check(false, in_mode(0o700), in_mode(0o711));
}

#[test]
fn other_bases_merges_and_damage_have_no_twins_as_root() {
    let (_dir, store) = store();
    let one = tree(&store, &Snapshot::scratch(), write("f", "1"));
    let other = tree(&store, &Snapshot::scratch(), write("f", "1"));
    assert_eq!(store.twin(&other).unwrap(), Some(one.clone()));
    let (on_one, on_other) = (tree(&store, &one, write("g", "2")), tree(&store, &other, write("g", "2")));
    assert_eq!(store.twin(&on_other).unwrap(), None);
    assert_eq!(store.twin(&Snapshot::merge([&on_other, &one])).unwrap(), None);
    assert_eq!(store.twin(&Snapshot::scratch()).unwrap(), None);
    // On one base there is one, until it is found to be damaged.
    let again = tree(&store, &one, write("g", "2"));
    assert_eq!(store.twin(&again).unwrap(), Some(on_one.clone()));
    fs::write(store.layer_fs(on_one.layers()[1]).join("extra"), "").unwrap();
    assert_eq!(store.twin(&again).unwrap(), None);
}

/// Blocks of layers have names for their files, too.
#[test]
fn other_names_of_a_file_do_not_count_as_root() {
    let (dir, store) = store();
    let make = || tree(&store, &Snapshot::scratch(), write("f", "1"));
    let (one, other) = (make(), make());
    fs::hard_link(store.layer_fs(one.layers()[0]).join("f"), dir.path().join("f")).unwrap();
    assert_eq!(store.twin(&other).unwrap(), Some(one));
}

/// A layer with one file on `base`, committed as of `at`.
fn made_at(store: &Store, base: &Snapshot, at: SystemTime) -> Snapshot {
    let active = store.stage(base).unwrap();
    let mount = active.mount().unwrap();
    fs::write(path_of(&mount).join("f"), "1").unwrap();
    drop(mount);
    base.with(active.commit(&LayerMeta { created_at: Some(at), ..meta("test") }).unwrap())
}

/// Of layers made in one millisecond the one that was there first is the oldest, also for another process.
#[test]
fn equal_times_are_told_apart_as_root() {
    let (dir, store) = store();
    let other = open(dir.path());
    let at = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let made: Vec<Snapshot> =
        [&store, &other, &other, &store].map(|it| made_at(it, &Snapshot::scratch(), at)).into();
    assert_eq!(store.twin(&made[0]).unwrap(), None);
    for (place, tree) in made.iter().enumerate().skip(1) {
        assert_eq!(store.twin(tree).unwrap().as_ref(), Some(&made[0]), "the layer at {place}");
    }
    // Rows that had equal times before.
    let level = "UPDATE layers SET created = 0";
    store.inner.database.with("test", |it| it.execute(level, [])).unwrap();
    for (place, one) in made.iter().enumerate() {
        for other in &made[..place] {
            let older = |of: &Snapshot, it: &Snapshot| {
                alike(&store.inner.database, of.top().unwrap()).unwrap().contains(&it.top().unwrap())
            };
            assert_ne!(older(one, other), older(other, one), "one takes the other's place");
        }
    }
}

/// Whoever looks right after he made his layer: all but one take the place of another, and all of the same.
#[test]
fn of_many_at_once_one_stays_as_root() {
    let (dir, store) = store();
    for round in 0..5 {
        let at = UNIX_EPOCH + Duration::from_secs(1_000_000_000 + round);
        let base = tree(&store, &Snapshot::scratch(), write(&format!("base{round}"), ""));
        let stores = [(); 4].map(|()| open(dir.path()));
        let kept: Vec<(Snapshot, Snapshot)> = std::thread::scope(|scope| {
            let make = |store: &Store| {
                let own = made_at(store, &base, at);
                let twin = store.twin(&own).unwrap();
                (own.clone(), twin.unwrap_or(own))
            };
            let threads: Vec<_> = stores.iter().map(|store| scope.spawn(move || make(store))).collect();
            threads.into_iter().map(|it| it.join().unwrap()).collect()
        });
        let n_stay = kept.iter().filter(|(own, kept)| own == kept).count();
        assert_eq!(n_stay, 1, "{kept:?}");
        assert!(kept.iter().all(|(_, it)| *it == kept[0].1), "{kept:?}");
    }
}
