//! What is done without a mount is what is done with one: every action on every tree, both ways.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;

use super::super::quick;
use super::*;

/// A layer's files but for times that are not older than the test.
type Shown = BTreeMap<PathBuf, (u32, u32, u32, Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>, Option<(i64, i64)>)>;

fn show(dir: &Path, top: &Path, since: i64, shown: &mut Shown) {
    let meta = dir.symlink_metadata().unwrap();
    let content = match meta.file_type() {
        kind if kind.is_symlink() => fs::read_link(dir).unwrap().into_os_string().into_encoded_bytes(),
        kind if kind.is_file() => fs::read(dir).unwrap(),
        _ => Vec::new(),
    };
    let parent: OwnedFd = fs::File::open(dir.parent().unwrap()).unwrap().into();
    let xattrs = crate::engine::content_hash::xattrs(&parent, dir.file_name().unwrap()).unwrap();
    let time = (meta.mtime() < since).then(|| (meta.mtime(), meta.mtime_nsec()));
    let path = dir.strip_prefix(top).unwrap().to_owned();
    shown.insert(path, (meta.mode(), meta.uid(), meta.gid(), content, xattrs, time));
    if meta.is_dir() {
        for entry in fs::read_dir(dir).unwrap() {
            show(&entry.unwrap().path(), top, since, shown);
        }
    }
}

/// The layer that `actions` make on `inputs`, or why there is none.
fn outcome(bench: &Bench, inputs: &[Snapshot], actions: &[FileAction], since: i64) -> Result<Shown, String> {
    let outputs = bench.run(inputs, actions.to_vec()).map_err(|error| error.to_string())?;
    let layer = bench.store.root().join("layers").join(outputs[0].top().unwrap().to_string());
    let mut shown = Shown::new();
    show(&layer.join("fs"), &layer.join("fs"), since, &mut shown);
    Ok(shown)
}

/// Compares both ways; how many of the actions were done without a mount.
fn check(bench: &Bench, inputs: &[Snapshot], actions: &[FileAction], said: &str) -> usize {
    // The same of both: the trees may have been made in the second in which the first of them begins.
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    quick::N_DONE.set(0);
    let quickly = outcome(bench, inputs, actions, since);
    quick::OFF.set(true);
    let mounted = outcome(bench, inputs, actions, since);
    quick::OFF.set(false);
    assert_eq!(quickly, mounted, "{said}: {actions:?}");
    quick::N_DONE.get()
}

/// A tree of several layers with something of every kind.
fn base(bench: &Bench) -> Snapshot {
    let on = |below: &Snapshot, change: &dyn Fn(&Path)| {
        let layer = bench.store.stage(below).unwrap();
        let mounted = mounted(layer.mount().unwrap());
        change(&mounted.path);
        drop(mounted);
        below.with(layer.commit(&LayerMeta::default()).unwrap())
    };
    let first = on(&Snapshot::scratch(), &|root| {
        source(root);
        for name in ["gone", "again", "odd", "deep/er/still"] {
            fs::create_dir_all(root.join(name)).unwrap();
            fs::write(root.join(name).join("old"), "old").unwrap();
        }
        fs::set_permissions(root.join("odd"), fs::Permissions::from_mode(0o2751)).unwrap();
        std::os::unix::fs::chown(root.join("odd"), Some(7), Some(8)).unwrap();
        let odd = fs::File::open(root.join("odd")).unwrap();
        rustix::fs::fsetxattr(odd.as_fd(), "user.mark", b"x", rustix::fs::XattrFlags::empty()).unwrap();
        symlink("odd", root.join("link")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        fs::write(root.join("file"), "file").unwrap();
        for name in ["odd", "deep/er/still", "deep/er", "deep", "dir", "gone", "again", "."] {
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
            fs::File::open(root.join(name)).unwrap().set_modified(time).unwrap();
        }
    });
    let second = on(&first, &|root| {
        fs::remove_dir_all(root.join("gone")).unwrap();
        fs::remove_dir_all(root.join("again")).unwrap();
        fs::write(root.join("dir/new"), "new").unwrap();
    });
    let third = on(&second, &|root| {
        fs::create_dir(root.join("again")).unwrap();
        fs::remove_file(root.join("dir/a.txt")).unwrap();
    });
    // So many that some are mounted as blocks.
    (0..120).fold(third, |tree, n| on(&tree, &|root| fs::write(root.join(format!("odd/n{n}")), "n").unwrap()))
}

const PLACES: [&str; 19] = [
    "/",
    "/new",
    "/file",
    "/odd",
    "/odd/n3",
    "/odd/new",
    "/gone",
    "/gone/new",
    "/again/new",
    "/again/old",
    "/dir/a.txt",
    "/dir/new",
    "/deep/er/still/new",
    "/deep/er/new/one",
    "/link",
    "/link/new",
    "/dangling",
    "/file/new",
    "../odd/./x/../y",
];

#[test]
fn what_makes_one_thing_as_root() {
    let Some(bench) = Bench::new() else { return };
    let tree = base(&bench);
    let chowns = [None, Some(Chown { user: Some(User::Id(3)), group: None })];
    let mut n_done = 0;
    for (n, place) in PLACES.iter().enumerate() {
        for timestamp in [-1, 5_000_000_007] {
            let owner = chowns[n % 2].clone();
            let path = (*place).to_owned();
            let ops = [
                FileActionOp::Mkfile(FileMkfile {
                    path: path.clone(),
                    mode: 0o4640,
                    data: b"data".to_vec(),
                    owner: owner.clone().map(Box::new),
                    timestamp,
                }),
                FileActionOp::Mkdir(FileMkdir {
                    path: path.clone(),
                    mode: 0o750,
                    make_parents: false,
                    owner: owner.clone().map(Box::new),
                    timestamp,
                }),
                FileActionOp::Mkdir(FileMkdir {
                    path: path.clone(),
                    mode: 0o750,
                    make_parents: true,
                    owner: owner.clone().map(Box::new),
                    timestamp,
                }),
                FileActionOp::Symlink(FileSymlink {
                    oldpath: "to/where".to_owned(),
                    newpath: path,
                    owner: owner.map(Box::new),
                    timestamp,
                }),
            ];
            for op in ops {
                n_done += check(&bench, std::slice::from_ref(&tree), &chain(vec![op]), place);
            }
        }
    }
    assert!(60 < n_done, "{n_done} actions were done without a mount");
}

/// `ops` one after the other on input 0; copies are out of input 1.
fn chain(ops: Vec<FileActionOp>) -> Vec<FileAction> {
    let last = ops.len() - 1;
    let action = |(idx, op): (usize, FileActionOp)| FileAction {
        input: if idx == 0 { FileInput::Input(0) } else { FileInput::Action(idx as u32 - 1) },
        secondary: match op {
            FileActionOp::Copy(_) => FileInput::Input(1),
            _ => FileInput::Scratch,
        },
        output: (idx == last).then_some(0),
        op,
    };
    ops.into_iter().enumerate().map(action).collect()
}

#[test]
fn copies_as_root() {
    let Some(bench) = Bench::new() else { return };
    let tree = base(&bench);
    let mut n_done = 0;
    for src in [
        "/file",
        "/odd/n3",
        "/dir/sub/b.txt",
        "/odd",
        "/link",
        "/link/old",
        "/dangling",
        "/gone/old",
        "/dir/*",
    ] {
        for place in
            PLACES.iter().map(|it| (*it).to_owned()).chain(["/odd/", "/new/", "/new/er/."].map(str::to_owned))
        {
            for plain in [true, false] {
                let copy = FileCopy {
                    src: src.to_owned(),
                    dest: place.clone(),
                    create_dest_path: plain || place.contains("new"),
                    follow_symlink: plain,
                    allow_wildcard: true,
                    mode: if plain { -1 } else { 0o711 },
                    owner: (!plain)
                        .then(|| Chown { user: Some(User::Id(3)), group: Some(User::Id(4)) }.into()),
                    timestamp: if plain { -1 } else { 5_000_000_007 },
                    always_replace_existing: !plain,
                    ..FileCopy::default()
                };
                let actions = chain(vec![FileActionOp::Copy(copy.into())]);
                n_done += check(&bench, &[tree.clone(), tree.clone()], &actions, src);
            }
        }
    }
    assert!(60 < n_done, "{n_done} copies were done without a mount");
}

/// Actions see what those before them made, and what is mounted goes on with what was not.
#[test]
fn chains_as_root() {
    let Some(bench) = Bench::new() else { return };
    let tree = base(&bench);
    let mkfile = |path: &str| {
        let (path, data) = (path.to_owned(), b"data".to_vec());
        FileActionOp::Mkfile(FileMkfile { path, mode: 0o644, data, owner: None, timestamp: -1 })
    };
    let mkdir = |path: &str| {
        let path = path.to_owned();
        FileActionOp::Mkdir(FileMkdir { path, mode: 0o755, make_parents: true, owner: None, timestamp: -1 })
    };
    let rm = |path: &str| {
        let path = path.to_owned();
        FileActionOp::Rm(FileRm { path, allow_not_found: true, allow_wildcard: false })
    };
    let copy = |src: &str, dest: &str| {
        let (src, dest) = (src.to_owned(), dest.to_owned());
        FileActionOp::Copy(FileCopy { src, dest, create_dest_path: true, ..FileCopy::default() }.into())
    };
    let chains = [
        vec![mkdir("/a/b/c"), mkfile("/a/b/c/f"), mkfile("/a/b/c/f"), mkfile("/odd/f"), mkfile("/odd/g")],
        vec![mkfile("/odd/f"), rm("/odd"), mkfile("/odd"), mkfile("/z")],
        vec![
            copy("/file", "/odd/"),
            copy("/odd/n3", "/odd/file"),
            copy("/file", "/x/y/"),
            copy("/dir", "/x/y"),
        ],
        vec![
            mkdir("/deep/er/one"),
            copy("/file", "/deep/er/one/"),
            rm("/deep/er/still"),
            mkfile("/deep/er/still"),
        ],
    ];
    for ops in chains {
        assert!(0 < check(&bench, &[tree.clone(), tree.clone()], &chain(ops), "a chain"));
    }
}
