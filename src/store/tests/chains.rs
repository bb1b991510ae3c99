//! Long chains of layers: how they are recorded, mounted and looked into.

use std::collections::BTreeMap;
use std::fs;
use std::time::SystemTime;

use super::{layer, list, meta, open, store};
use crate::base::Digest;
use crate::store::records::{from_millis, to_millis};
use crate::store::{Found, LayerId, Record, Snapshot, Store, StoreError};

/// A chain of layers with a file each.
fn chain(store: &Store, n: usize) -> Snapshot {
    (0..n).fold(Snapshot::scratch(), |tree, n| {
        let active = store.stage(&tree).unwrap();
        let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
        let mode = rustix::fs::Mode::from_raw_mode(0o644);
        drop(rustix::fs::openat(active.upper_dir(), format!("f{n}").as_str(), flags, mode).unwrap());
        tree.with(active.commit(&meta("step")).unwrap())
    })
}

/// A directory that lost an attribute, and one that was made anew, have what the newest layer says, however long the chain.
#[test]
fn blocks_have_the_attributes_of_the_newest_layer_as_root() {
    use super::super::tree::{remove_xattr, set_xattr, xattrs};
    let (_dir, store) = store();
    let first = super::tree(&store, &Snapshot::scratch(), |root| {
        let root = fs::File::open(root).unwrap();
        for name in ["lost", "anew"] {
            rustix::fs::mkdirat(&root, name, rustix::fs::Mode::from_raw_mode(0o755)).unwrap();
            set_xattr(&root, name.as_bytes(), b"user.a", b"1").unwrap();
            set_xattr(&root, name.as_bytes(), b"user.b", b"1").unwrap();
        }
    });
    let second = super::tree(&store, &first, |root| {
        fs::remove_dir(root.join("anew")).unwrap();
        fs::create_dir(root.join("anew")).unwrap();
        let root = fs::File::open(root).unwrap();
        remove_xattr(&root, b"lost", b"user.a").unwrap();
    });
    let long = (0..120).fold(second, |below, n| {
        super::tree(&store, &below, |root| fs::write(root.join(format!("f{n}")), "").unwrap())
    });
    let view = store.view(&long).unwrap();
    let names = |dir: &[u8]| xattrs(&view, dir).unwrap().into_iter().map(|it| it.0).collect::<Vec<_>>();
    assert_eq!(names(b"lost"), [b"user.b".to_vec()]);
    assert_eq!(names(b"anew"), Vec::<Vec<u8>>::new());
}

/// Only what is not there is lost: when descriptors have run out nothing is forgotten.
#[test]
fn what_cannot_be_opened_is_not_lost() {
    let (_dir, store) = store();
    let tree = chain(&store, 1);
    let top = tree.top().unwrap();
    let failed =
        |code| store.unopened(top, std::path::Path::new("fs"), std::io::Error::from_raw_os_error(code));
    assert!(matches!(failed(libc::EMFILE), StoreError::Io { .. }));
    assert!(store.layer(top).unwrap().is_some());
    assert!(matches!(failed(libc::ENOENT), StoreError::NoLayer { .. }));
    assert!(store.layer(top).unwrap().is_none());
}

fn record(tree: &Snapshot) -> Record {
    let created_at = from_millis(to_millis(SystemTime::now()));
    Record { outputs: vec![tree.clone(), Snapshot::scratch()], meta: b"meta".to_vec(), created_at }
}

fn outputs(store: &Store, key: &Digest) -> Vec<u8> {
    let sql = "SELECT outputs FROM records WHERE key = ?1";
    store.inner.database.with("test", |it| it.query_row(sql, [key.as_bytes()], |row| row.get(0))).unwrap()
}

#[test]
fn records_name_the_top_of_a_long_chain() {
    let (dir, store) = store();
    let (tree, key) = (chain(&store, 40), Digest::of(b"key"));
    store.put_record(&key, &record(&tree)).unwrap();
    assert_eq!(outputs(&store, &key).len(), 4 + 16 + 4);
    drop(store);
    let store = open(dir.path());
    let found = store.get_record(&key).unwrap().unwrap();
    assert_eq!(found.outputs, [tree.clone(), Snapshot::scratch()]);
    assert!(store.check(&found.outputs[0]));
    assert_eq!(store.tree_of(tree.top().unwrap()).unwrap(), Some(tree.clone()));
    // Where a layer is missing the chain is no more.
    store.forget_layer(tree.layers()[7]).unwrap();
    assert!(!store.check(&tree));
    drop((found, tree, store));
    assert_eq!(open(dir.path()).get_record(&key).unwrap(), None);
}

/// As they were written before chains had a form of their own, and as trees are that are none.
#[test]
fn records_list_what_is_no_long_chain() {
    let (dir, store) = store();
    let (tree, key) = (chain(&store, 40), Digest::of(b"key"));
    let listed = |tree: &Snapshot| -> Vec<u8> {
        let ids = tree.layers().into_iter().flat_map(|it| *it.as_bytes());
        (tree.n_layers() as u32).to_le_bytes().into_iter().chain(ids).collect()
    };
    let merged = Snapshot::merge([&tree, &chain(&store, 1)]);
    store.put_record(&key, &record(&merged)).unwrap();
    assert_eq!(outputs(&store, &key), [listed(&merged), listed(&Snapshot::scratch())].concat());
    let sql = "UPDATE records SET outputs = ?2 WHERE key = ?1";
    let old = listed(&tree);
    store.inner.database.with("test", |it| it.execute(sql, (key.as_bytes(), &old))).unwrap();
    drop(store);
    let store = open(dir.path());
    let found = store.get_record(&key).unwrap().unwrap();
    assert_eq!(found.outputs, [tree]);
    assert!(store.check(&found.outputs[0]));
    // A layer on such a tree, and one on that.
    let (one, other) = (LayerId::random(), LayerId::random());
    assert_eq!(store.tree_of(one).unwrap(), None);
    assert!(!store.check(&merged.with(one).with(other)));
}

/// A random history of files and folders made, replaced and removed, a layer each: what is shown is what there should be,
/// while blocks are made and put into blocks.
#[test]
fn long_histories_show_what_they_left_as_root() {
    let (dir, store) = store();
    let mut store = Some(store);
    let mut expected: BTreeMap<String, String> = BTreeMap::new();
    let mut tree = Snapshot::scratch();
    let mut seed = 7_u64;
    let mut dice = |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % n
    };
    for step in 0..400 {
        let (folder, name) = (format!("d{}", dice(4)), format!("f{}", dice(6)));
        let path = format!("{folder}/{name}");
        let what = dice(8);
        let top = layer(store.as_ref().unwrap(), &tree, |root| match what {
            0 if root.join(&folder).is_dir() => fs::remove_dir_all(root.join(&folder)).unwrap(),
            // A folder is replaced by an empty one.
            1 => {
                let _ = fs::remove_dir_all(root.join(&folder));
                fs::create_dir(root.join(&folder)).unwrap();
            }
            2 if root.join(&path).exists() => fs::remove_file(root.join(&path)).unwrap(),
            _ => {
                fs::create_dir_all(root.join(&folder)).unwrap();
                fs::write(root.join(&path), step.to_string()).unwrap();
            }
        });
        let below = format!("{folder}/");
        match what {
            0 if expected.contains_key(&folder) => {
                expected.retain(|it, _| *it != folder && !it.starts_with(&below));
            }
            1 => {
                expected.retain(|it, _| !it.starts_with(&below));
                expected.insert(folder, "/".to_owned());
            }
            2 if expected.contains_key(&path) => drop(expected.remove(&path)),
            _ => {
                expected.insert(folder, "/".to_owned());
                expected.insert(path, step.to_string());
            }
        }
        tree = tree.with(top);
        if step % 23 == 0 || step == 399 {
            assert_eq!(list(store.as_ref().unwrap(), &tree), expected, "after {step}");
            looked_into(store.as_ref().unwrap(), &tree, &expected);
        }
        if step == 200 {
            // Another process finds the blocks that are there.
            drop(store.take());
            store = Some(open(dir.path()));
        }
    }
}

/// What is seen without a mount is what is seen with one.
fn looked_into(store: &Store, tree: &Snapshot, expected: &BTreeMap<String, String>) {
    let layers = store.layered(tree).unwrap();
    for folder in (0..4).map(|n| format!("d{n}")) {
        let found = layers.look(&layers.top(), folder.as_bytes()).unwrap();
        let Found::Directory(merged) = found else {
            assert!(!expected.contains_key(&folder), "{folder}");
            continue;
        };
        assert_eq!(expected.get(&folder).map(String::as_str), Some("/"));
        for path in (0..6).map(|n| format!("{folder}/f{n}")) {
            let is_there = match layers.look(&merged, path.as_bytes()).unwrap() {
                Found::Nothing => false,
                Found::Leaf(_) => true,
                Found::Directory(_) => panic!("{path}"),
            };
            assert_eq!(is_there, expected.contains_key(&path), "{path}");
        }
    }
}

#[test]
fn a_layer_that_is_gone_is_not_taken_for_an_empty_one() {
    let (_dir, store) = store();
    let tree = chain(&store, 3);
    let lost = tree.layers()[1];
    fs::remove_dir_all(store.layer_fs(lost)).unwrap();
    assert!(matches!(store.layered(&tree), Err(StoreError::NoLayer { layer }) if layer == lost));
    let active = store.stage(&tree).unwrap();
    assert!(matches!(active.layered(), Err(StoreError::NoLayer { .. })));
}
