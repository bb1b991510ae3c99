//! Layers and trees: what commits keep, how stacks look.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::{entries, layer, list, meta, path_of, store, tree};
use crate::store::{LayerId, Snapshot};

#[test]
fn a_layer_on_scratch_as_root() {
    let (_dir, store) = store();
    let one = tree(&store, &Snapshot::scratch(), |root| {
        fs::create_dir(root.join("d")).unwrap();
        fs::write(root.join("d/f"), "1").unwrap();
    });
    assert_eq!(list(&store, &one), entries(&[("d", "/"), ("d/f", "1")]));
    assert_eq!(list(&store, &Snapshot::scratch()), entries(&[]));
    let info = store.layer(one.layers[0]).unwrap().unwrap();
    assert_eq!((info.usage.inodes, info.empty, info.parents), (2, false, Snapshot::scratch()));
    assert!(store.check(&one));
}

#[test]
fn views_are_read_only_as_root() {
    let (_dir, store) = store();
    let one = tree(&store, &Snapshot::scratch(), |root| fs::write(root.join("f"), "1").unwrap());
    for tree in [&one, &Snapshot::scratch()] {
        let view = store.view(tree).unwrap();
        let error = fs::write(path_of(&view).join("new"), "x").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EROFS));
    }
}

#[test]
fn removals_and_replacements_show_as_root() {
    let (_dir, store) = store();
    let base = tree(&store, &Snapshot::scratch(), |root| {
        for dir in ["keep", "gone", "new", "new/deep"] {
            fs::create_dir(root.join(dir)).unwrap();
            fs::write(root.join(dir).join("f"), dir).unwrap();
        }
    });
    let top = tree(&store, &base, |root| {
        fs::remove_dir_all(root.join("gone")).unwrap();
        fs::remove_dir_all(root.join("new")).unwrap();
        fs::create_dir_all(root.join("new/deep")).unwrap();
        fs::write(root.join("new/deep/g"), "g").unwrap();
        fs::remove_file(root.join("keep/f")).unwrap();
    });
    let wanted = entries(&[("keep", "/"), ("new", "/"), ("new/deep", "/"), ("new/deep/g", "g")]);
    assert_eq!(list(&store, &top), wanted);
    // The upper layer alone shows no marks, and on another base it removes the same names.
    let alone = Snapshot { layers: vec![top.layers[1]] };
    assert_eq!(list(&store, &alone), wanted);
    let other = tree(&store, &Snapshot::scratch(), |root| {
        fs::create_dir_all(root.join("new/deep")).unwrap();
        fs::write(root.join("new/deep/f"), "hidden").unwrap();
        fs::write(root.join("new/deep/h"), "h").unwrap();
    });
    let merged = Snapshot::merge([&other, &alone]);
    let mut with_h = wanted.clone();
    with_h.insert("new/deep/h".to_owned(), "h".to_owned());
    assert_eq!(list(&store, &merged), with_h);
}

#[test]
fn a_step_that_changes_nothing_is_empty_as_root() {
    let (_dir, store) = store();
    let base = tree(&store, &Snapshot::scratch(), |root| {
        fs::write(root.join("f"), "1").unwrap();
        fs::set_permissions(root, fs::Permissions::from_mode(0o700)).unwrap();
    });
    let top = tree(&store, &base, |root| assert_eq!(fs::metadata(root).unwrap().mode() & 0o7777, 0o700));
    assert!(store.layer(top.layers[1]).unwrap().unwrap().empty);
    assert_eq!(list(&store, &top), entries(&[("f", "1")]));
}

#[test]
fn a_dropped_layer_leaves_nothing_as_root() {
    let (_dir, store) = store();
    let active = store.stage(&Snapshot::scratch()).unwrap();
    fs::write(path_of(&active.mount().unwrap()).join("f"), "1").unwrap();
    drop(active);
    assert_eq!(fs::read_dir(store.root().join("layers")).unwrap().count(), 0);
    let root = store.root().to_owned();
    drop(store);
    assert_eq!(walk(&root.join("staging")), [""; 0]);
}

fn walk(dir: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path.display().to_string()) }
    }
    found
}

#[test]
fn a_missing_layer_is_a_miss_as_root() {
    let (_dir, store) = store();
    let tree = tree(&store, &Snapshot::scratch(), |root| fs::write(root.join("f"), "1").unwrap());
    fs::remove_dir_all(store.root().join("layers").join(tree.layers[0].to_string())).unwrap();
    assert!(!store.check(&tree));
    assert!(matches!(store.view(&tree), Err(crate::store::StoreError::NoLayer { .. })));
    assert_eq!(store.layer(tree.layers[0]).unwrap(), None);
    let unknown = Snapshot { layers: vec![LayerId::random()] };
    assert!(!store.check(&unknown));
    assert!(store.stage(&unknown).is_err());
}

#[test]
fn a_layer_that_lost_a_file_at_its_root_is_a_miss_as_root() {
    let (_dir, store) = store();
    let tree = tree(&store, &Snapshot::scratch(), |root| fs::write(root.join("f"), "1").unwrap());
    fs::remove_file(store.root().join("layers").join(tree.layers[0].to_string()).join("fs/f")).unwrap();
    assert!(!store.check(&tree));
}

#[test]
fn five_hundred_layers_mount_as_root() {
    let (_dir, store) = store();
    let mut tree = Snapshot::scratch();
    for n in 0..500 {
        let active = store.stage(&tree).unwrap();
        let name = format!("f{n}");
        let file = rustix::fs::openat(
            active.upper_dir(),
            name.as_str(),
            rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY,
            rustix::fs::Mode::from_raw_mode(0o644),
        );
        drop(file.unwrap());
        if n == 250 {
            crate::store::tree::make_whiteout(active.upper_dir(), b"f7").unwrap();
        }
        tree = tree.with(active.commit(&meta("step")).unwrap());
    }
    let found = list(&store, &tree);
    assert_eq!(found.len(), 499);
    assert!(!found.contains_key("f7") && found.contains_key("f499"));
    // The parents of a chain come back whole.
    let last = store.layer(*tree.layers.last().unwrap()).unwrap().unwrap();
    assert_eq!(last.parents.layers, tree.layers[..499]);
    // And a writable mount on top works.
    let top = layer(&store, &tree, |root| fs::remove_file(root.join("f0")).unwrap());
    assert_eq!(list(&store, &tree.with(top)).len(), 498);
}

#[test]
fn equal_layers_count_once_as_root() {
    let (_dir, store) = store();
    let one = tree(&store, &Snapshot::scratch(), |root| fs::write(root.join("f"), "1").unwrap());
    let two = tree(&store, &Snapshot::scratch(), |root| fs::write(root.join("f"), "2").unwrap());
    assert_eq!(list(&store, &Snapshot::merge([&one, &two, &one])), entries(&[("f", "1")]));
    assert_eq!(store.usage(&Snapshot::merge([&one, &two, &one])).unwrap().inodes, 2);
}

#[test]
fn a_computed_diff_has_what_changed_as_root() {
    let (_dir, store) = store();
    let old = tree(&store, &Snapshot::scratch(), |root| {
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir(root.join("same")).unwrap();
        for name in ["a/b/gone", "a/b/kept", "a/changed", "same/f"] {
            fs::write(root.join(name), name).unwrap();
        }
    });
    // The same files again, in a tree that does not have the first as a prefix.
    let copied = tree(&store, &Snapshot::scratch(), |root| {
        let view = store.view(&old).unwrap();
        let target: std::os::fd::OwnedFd = fs::File::open(root).unwrap().into();
        crate::store::tree::copy_tree(&view, &target).unwrap();
    });
    let new = tree(&store, &copied, |root| {
        fs::remove_file(root.join("a/b/gone")).unwrap();
        fs::write(root.join("a/changed"), "now").unwrap();
        fs::create_dir(root.join("added")).unwrap();
        fs::write(root.join("added/one"), "1").unwrap();
        fs::hard_link(root.join("added/one"), root.join("added/two")).unwrap();
    });
    let diff = store.diff_snapshots(&old, &new, &meta("diff")).unwrap();
    let wanted = entries(&[
        ("a", "/"),
        ("a/b", "/"),
        ("a/changed", "now"),
        ("added", "/"),
        ("added/one", "1"),
        ("added/two", "1"),
    ]);
    assert_eq!(list(&store, &diff), wanted);
    assert_eq!(list(&store, &Snapshot::merge([&old, &diff])), list(&store, &new));
    assert_eq!(store.diff_snapshots(&copied, &new, &meta("diff")).unwrap().layers, new.layers[1..]);
}

#[test]
fn plans_mount_elsewhere_as_root() {
    let (_dir, store) = store();
    let base = tree(&store, &Snapshot::scratch(), |root| fs::write(root.join("f"), "1").unwrap());
    let active = store.stage(&base).unwrap();
    let text = serde_json::to_string(&active.plan().unwrap()).unwrap();
    let plan: crate::store::MountPlan = serde_json::from_str(&text).unwrap();
    let mount = plan.mount().unwrap();
    fs::write(path_of(&mount).join("g"), "2").unwrap();
    drop(mount);
    // A second mount sees what the first one did.
    let mount = active.mount().unwrap();
    assert_eq!(fs::read(path_of(&mount).join("g")).unwrap(), b"2");
    drop(mount);
    let top = base.with(active.commit(&meta("x")).unwrap());
    assert_eq!(list(&store, &top), entries(&[("f", "1"), ("g", "2")]));
}

#[test]
fn a_mount_moves_into_another_namespace_as_root() {
    use rustix::mount::{MountPropagationFlags, MoveMountFlags, mount_change, move_mount};
    let (dir, store) = store();
    let base = tree(&store, &Snapshot::scratch(), |root| fs::write(root.join("f"), "1").unwrap());
    let scratch = store.stage(&Snapshot::scratch()).unwrap();
    let mounts =
        [store.view(&base).unwrap(), scratch.mount().unwrap(), store.view(&Snapshot::scratch()).unwrap()];
    let at = dir.path().join("at");
    fs::create_dir(&at).unwrap();
    let seen = std::thread::spawn(move || {
        // SAFETY: the new namespace is this thread's alone, which ends with the test.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.unwrap();
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        mounts.map(|mount| {
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            move_mount(&mount, "", rustix::fs::CWD, &at, flags).unwrap();
            fs::read_dir(&at).unwrap().count()
        })
    });
    assert_eq!(seen.join().unwrap(), [1, 0, 0]);
}
