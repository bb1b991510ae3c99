//! Layers of several directories are like those of one.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::{entries, list, meta, open, path_of, store, tree};
use crate::store::{Snapshot, Store};

type Change = fn(&Path);

/// Makes `changes` on `base`: all in one layer, and each in a part of its own. Both have to be the same in all respects.
fn check(base: Change, changes: &[Change]) {
    let (dir, store) = store();
    let scratch = Snapshot::scratch();
    let base = tree(&store, &scratch, |root| at_rest(root, base));
    let whole = tree(&store, &base, |root| {
        changes.iter().for_each(|change| change(root));
        rest(root);
    });
    let composite = in_parts(&store, &base, changes);
    let (top, other) = (whole.layers()[1], composite.layers()[1]);
    let info = store.layer(other).unwrap().unwrap();
    assert_eq!((info.parents.clone(), info.empty), (base.clone(), false));
    assert_eq!(info.parts.len(), if changes.len() <= 12 { changes.len() - 1 } else { changes.len() - 12 });
    assert_eq!(list(&store, &composite), list(&store, &whole));
    assert_eq!(store.diff_id(other).unwrap(), store.diff_id(top).unwrap());
    let archive = |layer| {
        let mut bytes = Vec::new();
        store.write_layer_tar(layer, &mut bytes).unwrap();
        bytes
    };
    assert!(archive(other) == archive(top));
    // On another tree, and below another layer.
    let elsewhere = tree(&store, &scratch, |root| {
        for name in ["a", "d", "e", "new"] {
            fs::create_dir(root.join(name)).unwrap();
            fs::write(root.join(name).join("f"), "elsewhere").unwrap();
            fs::write(root.join(name).join("own"), name).unwrap();
        }
        fs::write(root.join("f"), "elsewhere").unwrap();
    });
    for below in [&scratch, &elsewhere] {
        let on = |layer| Snapshot::merge([below, &Snapshot::scratch().with(layer), &elsewhere]);
        assert_eq!(list(&store, &on(other)), list(&store, &on(top)));
        let alone = |layer| below.with(layer);
        assert_eq!(list(&store, &alone(other)), list(&store, &alone(top)));
    }
    let difference = |upper| store.diff_snapshots(&elsewhere, upper, &meta("diff")).unwrap();
    assert_eq!(list(&store, &difference(&composite)), list(&store, &difference(&whole)));
    assert_eq!(store.twin(&composite).unwrap(), None);
    // It is as whole as its parts are.
    drop(store);
    let store = open(dir.path());
    assert!(store.check(&composite));
    assert!(store.usage(&composite).unwrap().inodes >= store.usage(&whole).unwrap().inodes);
    if let Some(&part) = info.parts.first() {
        store.forget_layer(part).unwrap();
        assert!(!store.check(&composite) && store.view(&composite).is_err());
    }
    store.forget_layer(other).unwrap();
    assert!(store.check(&whole));
}

fn in_parts(store: &Store, base: &Snapshot, changes: &[Change]) -> Snapshot {
    let (first, rest) = changes.split_first().unwrap();
    let mut layer = tree(store, base, |root| at_rest(root, *first)).layers()[1];
    for change in rest {
        let active = store.stage_part(layer).unwrap().unwrap();
        assert_eq!(active.parents(), base);
        let mount = active.mount().unwrap();
        at_rest(&path_of(&mount), *change);
        drop(mount);
        layer = active.commit(&meta("test")).unwrap();
    }
    base.with(layer)
}

fn at_rest(root: &Path, change: Change) {
    change(root);
    rest(root);
}

/// Sets all times below to the same, where they are not.
fn rest(root: &Path) {
    let time = UNIX_EPOCH + Duration::new(1_000_000_000, 5);
    for entry in fs::read_dir(root).unwrap().map(Result::unwrap) {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            rest(&entry.path());
        }
        let now = entry.metadata().unwrap();
        if !kind.is_symlink() && (now.mtime(), now.mtime_nsec()) != (1_000_000_000, 5) {
            fs::File::open(entry.path()).unwrap().set_modified(time).unwrap();
        }
    }
}

fn first(root: &Path) {
    for name in ["a", "d", "d/deep"] {
        fs::create_dir_all(root.join(name)).unwrap();
        fs::write(root.join(name).join("f"), name).unwrap();
    }
    fs::write(root.join("one"), "linked").unwrap();
    fs::hard_link(root.join("one"), root.join("two")).unwrap();
    fs::write(root.join("three"), "linked").unwrap();
    fs::hard_link(root.join("three"), root.join("four")).unwrap();
    fs::set_permissions(root.join("a"), fs::Permissions::from_mode(0o701)).unwrap();
}

fn base(root: &Path) {
    fs::create_dir(root.join("a")).unwrap();
    fs::write(root.join("a/base"), "base").unwrap();
    fs::write(root.join("base"), "base").unwrap();
}

#[test]
fn changes_as_root() {
    check(
        base,
        &[first, |root| {
            fs::write(root.join("a/f"), "changed").unwrap();
            fs::write(root.join("a/base"), "changed").unwrap();
            fs::write(root.join("d/deep/new"), "new").unwrap();
            fs::set_permissions(root.join("d"), fs::Permissions::from_mode(0o750)).unwrap();
        }],
    );
}

#[test]
fn removals_as_root() {
    check(
        base,
        &[first, |root| {
            fs::remove_file(root.join("a/f")).unwrap();
            fs::remove_dir_all(root.join("d/deep")).unwrap();
            fs::remove_file(root.join("two")).unwrap();
            fs::remove_file(root.join("three")).unwrap();
        }],
    );
    check(|_| {}, &[first, |root| fs::remove_dir_all(root.join("d")).unwrap()]);
}

#[test]
fn what_comes_back_as_root() {
    let remove: Change = |root| fs::remove_dir_all(root.join("d")).unwrap();
    let again: Change = |root| {
        fs::create_dir(root.join("d")).unwrap();
        fs::write(root.join("d/other"), "other").unwrap();
    };
    check(base, &[first, remove, again]);
    check(base, &[first, remove, again, remove, again, |root| fs::write(root.join("d/f"), "f").unwrap()]);
}

#[test]
fn other_kinds_as_root() {
    check(
        base,
        &[first, |root| {
            fs::remove_dir_all(root.join("d")).unwrap();
            fs::write(root.join("d"), "a file").unwrap();
        }],
    );
    check(
        base,
        &[first, |root| {
            fs::remove_file(root.join("one")).unwrap();
            symlink("two", root.join("one")).unwrap();
        }],
    );
    check(
        base,
        &[
            |root| fs::write(root.join("e"), "a file").unwrap(),
            |root| {
                fs::remove_file(root.join("e")).unwrap();
                fs::create_dir(root.join("e")).unwrap();
                fs::write(root.join("e/g"), "below").unwrap();
            },
        ],
    );
}

#[test]
fn links_as_root() {
    check(
        base,
        &[first, |root| {
            fs::write(root.join("d/x"), "linked").unwrap();
            fs::hard_link(root.join("d/x"), root.join("d/y")).unwrap();
            for name in ["one", "two"] {
                fs::remove_file(root.join(name)).unwrap();
            }
            fs::write(root.join("one"), "linked anew").unwrap();
            fs::hard_link(root.join("one"), root.join("two")).unwrap();
        }],
    );
}

#[test]
fn many_parts_are_put_together_as_root() {
    let grow: Change = |root| {
        let n = fs::read_dir(root.join("d")).unwrap().count();
        fs::write(root.join(format!("d/n{n}")), n.to_string()).unwrap();
        fs::write(root.join("a/f"), n.to_string()).unwrap();
    };
    let shrink: Change = |root| fs::remove_file(root.join("d/n3")).unwrap();
    let mut changes = vec![first, grow, grow, grow, shrink];
    changes.extend([grow; 10]);
    check(base, &changes);
}

#[test]
fn what_hides_something_is_not_built_upon_as_root() {
    let (_dir, store) = store();
    let below = tree(&store, &Snapshot::scratch(), base);
    let hiding = tree(&store, &below, |root| fs::remove_file(root.join("base")).unwrap());
    assert!(store.stage_part(hiding.layers()[1]).unwrap().is_none());
    let part = store.stage_part(below.layers()[0]).unwrap().unwrap();
    assert_eq!(list(&store, &below), entries(&[("a", "/"), ("a/base", "base"), ("base", "base")]));
    drop(part);
    assert_eq!(fs::read_dir(store.root().join("layers")).unwrap().count(), 2);
}
