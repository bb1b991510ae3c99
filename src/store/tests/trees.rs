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
    let info = store.layer(one.layers()[0]).unwrap().unwrap();
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
    let alone = Snapshot::scratch().with(top.layers()[1]);
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
    assert!(store.layer(top.layers()[1]).unwrap().unwrap().empty);
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
    fs::remove_dir_all(store.root().join("layers").join(tree.layers()[0].to_string())).unwrap();
    assert!(!store.check(&tree));
    assert!(matches!(store.view(&tree), Err(crate::store::StoreError::NoLayer { .. })));
    assert_eq!(store.layer(tree.layers()[0]).unwrap(), None);
    let unknown = Snapshot::scratch().with(LayerId::random());
    assert!(!store.check(&unknown));
    assert!(store.stage(&unknown).is_err());
}

#[test]
fn a_layer_that_lost_a_file_at_its_root_is_a_miss_as_root() {
    let (_dir, store) = store();
    let tree = tree(&store, &Snapshot::scratch(), |root| fs::write(root.join("f"), "1").unwrap());
    fs::remove_file(store.root().join("layers").join(tree.layers()[0].to_string()).join("fs/f")).unwrap();
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
    let last = store.layer(*tree.layers().last().unwrap()).unwrap().unwrap();
    assert_eq!(last.parents.layers(), tree.layers()[..499]);
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
    assert_eq!(store.diff_snapshots(&copied, &new, &meta("diff")).unwrap().layers(), new.layers()[1..]);
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

/// Each rule by which a computed diff takes a file for another one, or for the same.
#[test]
fn what_counts_as_a_change_as_root() {
    use rustix::fs::{CWD, FileType, XattrFlags, lsetxattr, makedev, mknodat};
    let (_dir, store) = store();
    let set_time = |path: &std::path::Path, seconds: u64, nanoseconds: u32| {
        let time = std::time::UNIX_EPOCH + std::time::Duration::new(seconds, nanoseconds);
        let at = rustix::fs::Timespec {
            tv_sec: time.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64,
            tv_nsec: i64::from(nanoseconds),
        };
        let times = rustix::fs::Timestamps { last_access: at, last_modification: at };
        rustix::fs::utimensat(CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
    };
    type Change = fn(&std::path::Path);
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let node = |major| {
        move |path: &std::path::Path| {
            mknodat(CWD, path, FileType::CharacterDevice, 0o644.into(), makedev(major, 3)).unwrap();
        }
    };
    // The time that both get afterwards, how each is made, and whether they count as different.
    let check = |name: &str,
                 times: [(u64, u32); 2],
                 one: &dyn Fn(&std::path::Path),
                 other: &dyn Fn(&std::path::Path),
                 differs: bool| {
        let make = |change: &dyn Fn(&std::path::Path), (seconds, nanoseconds): (u64, u32)| {
            tree(&store, &Snapshot::scratch(), |root| {
                change(&root.join("it"));
                set_time(&root.join("it"), seconds, nanoseconds);
            })
        };
        let (old, new) = (make(one, times[0]), make(other, times[1]));
        let diff = store.diff_snapshots(&old, &new, &meta("diff")).unwrap();
        assert_eq!(!list(&store, &diff).is_empty(), differs, "{name}");
    };
    let text = |content: &'static str| move |path: &std::path::Path| fs::write(path, content).unwrap();
    let with_mode = |mode: u32| {
        move |path: &std::path::Path| {
            fs::write(path, "x").unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    let owned = |uid: u32, gid: u32| {
        move |path: &std::path::Path| {
            fs::write(path, "x").unwrap();
            std::os::unix::fs::chown(path, Some(uid), Some(gid)).unwrap();
        }
    };
    let with_xattr = |name: &'static str, value: Vec<u8>| {
        move |path: &std::path::Path| {
            fs::write(path, "x").unwrap();
            lsetxattr(path, name, &value, XattrFlags::empty()).unwrap();
        }
    };
    let link = |target: &'static str| {
        move |path: &std::path::Path| std::os::unix::fs::symlink(target, path).unwrap()
    };
    let dir: Change = |path| fs::create_dir(path).unwrap();
    let (whole, part) = ([(7, 0), (7, 0)], [(7, 5), (7, 5)]);
    check("nothing", whole, &text("x"), &text("x"), false);
    check("content, times in whole seconds", whole, &text("x"), &text("y"), true);
    check("content, times with nanoseconds", part, &text("x"), &text("y"), false);
    check("size", part, &text("x"), &text("xx"), true);
    check("touched", [(7, 0), (8, 0)], &text("x"), &text("x"), true);
    check("touched within the second", [(7, 5), (7, 6)], &text("x"), &text("x"), true);
    check("one of them cut off", [(7, 0), (7, 6)], &text("x"), &text("x"), true);
    check("mode", part, &with_mode(0o644), &with_mode(0o600), true);
    check("set-id", part, &with_mode(0o755), &with_mode(0o4755), true);
    check("owner", part, &owned(1, 1), &owned(2, 1), true);
    check("group", part, &owned(1, 1), &owned(1, 2), true);
    check("kind", part, &text("x"), &link("x"), true);
    check("device", part, &node(1), &node(5), true);
    check("same device", part, &node(1), &node(1), false);
    check("capability", part, &text("x"), &with_xattr("security.capability", capability.to_vec()), true);
    check("other attributes", part, &text("x"), &with_xattr("user.note", b"y".to_vec()), false);
    check("target, whole seconds", whole, &link("xx"), &link("xy"), true);
    check("target, nanoseconds", part, &link("xx"), &link("xy"), false);
    check("time of a directory", [(7, 0), (8, 0)], &dir, &dir, false);
    let closed: Change = |path| {
        fs::create_dir(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
    };
    check("mode of a directory", whole, &dir, &closed, true);
}

/// Trees merge as if one were unpacked on the other: directories join, everything else replaces.
#[test]
fn merging_replaces_as_root() {
    let (_dir, store) = store();
    let one = tree(&store, &Snapshot::scratch(), |root| {
        fs::create_dir_all(root.join("both/one")).unwrap();
        fs::create_dir_all(root.join("dir-then-file/inside")).unwrap();
        fs::write(root.join("file-then-dir"), "file").unwrap();
        fs::write(root.join("both/same"), "one").unwrap();
        std::os::unix::fs::symlink("both", root.join("link-then-dir")).unwrap();
        fs::create_dir(root.join("dir-then-link")).unwrap();
        fs::write(root.join("dir-then-link/hidden"), "h").unwrap();
    });
    let two = tree(&store, &Snapshot::scratch(), |root| {
        fs::create_dir_all(root.join("both/two")).unwrap();
        fs::set_permissions(root.join("both"), fs::Permissions::from_mode(0o711)).unwrap();
        fs::write(root.join("dir-then-file"), "file").unwrap();
        fs::create_dir(root.join("file-then-dir")).unwrap();
        fs::write(root.join("file-then-dir/inside"), "i").unwrap();
        fs::write(root.join("both/same"), "two").unwrap();
        fs::create_dir(root.join("link-then-dir")).unwrap();
        fs::write(root.join("link-then-dir/new"), "n").unwrap();
        std::os::unix::fs::symlink("both", root.join("dir-then-link")).unwrap();
        fs::write(root.join("a"), "linked").unwrap();
        fs::hard_link(root.join("a"), root.join("b")).unwrap();
    });
    let merged = Snapshot::merge([&one, &two]);
    let wanted = entries(&[
        ("a", "linked"),
        ("b", "linked"),
        ("both", "/"),
        ("both/one", "/"),
        ("both/same", "two"),
        ("both/two", "/"),
        ("dir-then-file", "file"),
        ("dir-then-link", "-> both"),
        ("file-then-dir", "/"),
        ("file-then-dir/inside", "i"),
        ("link-then-dir", "/"),
        ("link-then-dir/new", "n"),
    ]);
    assert_eq!(list(&store, &merged), wanted);
    let view = store.view(&merged).unwrap();
    let meta_of = |path: &str| path_of(&view).join(path).symlink_metadata().unwrap();
    // A directory is the upper one's in all it is; names of one file stay names of one file.
    assert_eq!(meta_of("both").mode() & 0o7777, 0o711);
    assert_eq!((meta_of("a").ino(), meta_of("a").nlink()), (meta_of("b").ino(), 2));
    // Nothing, scratch and the same again change nothing; deletions reach what lies below them only.
    assert_eq!(Snapshot::merge([&Snapshot::scratch(), &one]), one);
    assert!(Snapshot::merge(std::iter::empty::<&Snapshot>()).is_scratch());
    let without = tree(&store, &two, |root| {
        fs::remove_dir_all(root.join("both")).unwrap();
        fs::remove_file(root.join("a")).unwrap();
    });
    let deletions = store.diff_snapshots(&two, &without, &meta("diff")).unwrap();
    assert_eq!(list(&store, &deletions), entries(&[]), "by itself it shows no marks");
    let left = list(&store, &Snapshot::merge([&one, &deletions]));
    assert!(!left.contains_key("both/one") && left.contains_key("dir-then-file/inside"));
    let above = list(&store, &Snapshot::merge([&deletions, &one]));
    assert!(above.contains_key("both/one"));
    // All of one side gone, and nothing of it.
    let all_gone = store.diff_snapshots(&one, &Snapshot::scratch(), &meta("diff")).unwrap();
    assert_eq!(list(&store, &Snapshot::merge([&one, &all_gone])), entries(&[]));
    assert!(store.diff_snapshots(&one, &one, &meta("diff")).unwrap().is_scratch());
}
