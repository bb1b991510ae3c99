//! File actions on trees in a store. Skipped where overlayfs cannot be mounted.

mod hostile;
mod quick;
mod strange;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use super::*;
use crate::graph::ir::FileCopy;
use crate::store::Options;

/// A store and a way to make trees in it.
struct Bench {
    _dir: tempfile::TempDir,
    store: Store,
}

/// A mounted tree.
struct Mounted {
    _fd: OwnedFd,
    path: PathBuf,
}

impl Bench {
    fn new() -> Option<Bench> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let store = Store::open(&dir.path().join("store"), &Options::default()).unwrap();
        Some(Bench { _dir: dir, store })
    }

    /// A tree that `make` writes.
    fn tree(&self, make: impl FnOnce(&Path)) -> Snapshot {
        let layer = self.store.stage(&Snapshot::scratch()).unwrap();
        let mounted = mounted(layer.mount().unwrap());
        make(&mounted.path);
        drop(mounted);
        Snapshot::scratch().with(layer.commit(&LayerMeta::default()).unwrap())
    }

    fn run(&self, inputs: &[Snapshot], actions: Vec<FileAction>) -> Result<Vec<Snapshot>, FailedAction> {
        let op = FileOp { actions };
        let inputs: Vec<Tree> = inputs.iter().cloned().map(Tree::Stored).collect();
        let (digest, cancel) = (Digest::of("test"), Cancel::new());
        Run {
            store: &self.store,
            op: &op,
            inputs: &inputs,
            digest,
            description: "test",
            reuse: Reuse::Earlier,
            cancel: &cancel,
            pace: Cell::default(),
        }
        .run()
    }

    /// Chains `ops` on input 0; a copy reads input 1.
    fn chain(&self, inputs: &[Snapshot], ops: Vec<FileActionOp>) -> Result<Mounted, FailedAction> {
        let last = ops.len() - 1;
        let action = |(idx, op): (usize, FileActionOp)| FileAction {
            input: if idx == 0 { FileInput::Input(0) } else { FileInput::Action(idx as u32 - 1) },
            secondary: if matches!(op, FileActionOp::Copy(_)) {
                FileInput::Input(1)
            } else {
                FileInput::Scratch
            },
            output: (idx == last).then_some(0),
            op,
        };
        let outputs = self.run(inputs, ops.into_iter().enumerate().map(action).collect())?;
        assert_eq!(outputs[0].layers().len(), inputs[0].layers().len() + 1, "a chain is one layer");
        Ok(mounted(self.store.view(&outputs[0]).unwrap()))
    }

    fn copy(&self, base: &Snapshot, from: &Snapshot, copy: FileCopy) -> Result<Mounted, FailedAction> {
        self.chain(&[base.clone(), from.clone()], vec![FileActionOp::Copy(copy.into())])
    }
}

fn mounted(fd: OwnedFd) -> Mounted {
    use std::os::fd::AsRawFd as _;
    let path = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    Mounted { _fd: fd, path }
}

impl Mounted {
    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn has(&self, path: &str) -> bool {
        self.path.join(path).symlink_metadata().is_ok()
    }

    /// (mode, uid, gid, mtime) without following.
    fn stat(&self, path: &str) -> (u32, u32, u32, i64) {
        let meta = self.path.join(path).symlink_metadata().unwrap();
        (meta.mode() & 0o7777, meta.uid(), meta.gid(), meta.mtime())
    }
}

/// The source of most copies.
fn source(root: &Path) {
    fs::create_dir_all(root.join("dir/sub")).unwrap();
    fs::write(root.join("dir/a.txt"), "a").unwrap();
    fs::write(root.join("dir/sub/b.txt"), "b").unwrap();
    fs::write(root.join("dir/sub/c.md"), "c").unwrap();
    fs::write(root.join("top"), "top").unwrap();
    fs::hard_link(root.join("dir/a.txt"), root.join("dir/z.txt")).unwrap();
    symlink("sub/b.txt", root.join("dir/link")).unwrap();
    symlink("dir", root.join("into")).unwrap();
    fs::set_permissions(root.join("dir"), fs::Permissions::from_mode(0o750)).unwrap();
    fs::set_permissions(root.join("top"), fs::Permissions::from_mode(0o4711)).unwrap();
    std::os::unix::fs::chown(root.join("top"), Some(7), Some(8)).unwrap();
    // Owners take set-id bits along.
    fs::set_permissions(root.join("top"), fs::Permissions::from_mode(0o4711)).unwrap();
    for path in ["dir/a.txt", "dir"] {
        fs::File::open(root.join(path)).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    }
}

fn copy(src: &str, dest: &str) -> FileCopy {
    let (src, dest) = (src.to_owned(), dest.to_owned());
    FileCopy { src, dest, create_dest_path: true, allow_wildcard: true, ..FileCopy::default() }
}

#[test]
fn where_a_copy_goes() {
    let Some(bench) = Bench::new() else { return };
    let from = bench.tree(source);
    let base = bench.tree(|root| {
        fs::create_dir_all(root.join("there/dir")).unwrap();
        fs::write(root.join("there/dir/old"), "old").unwrap();
        fs::set_permissions(root.join("there"), fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(root.join("file"), "old").unwrap();
        symlink("there", root.join("link")).unwrap();
    });
    let check = |copy: FileCopy, expected: &[&str]| {
        let tree = bench.copy(&base, &from, copy.clone()).unwrap_or_else(|error| panic!("{error}"));
        expected.iter().for_each(|path| assert!(tree.has(path), "{copy:?}: {path}"));
        tree
    };
    let contents = |src: &str, dest: &str| FileCopy { dir_copy_contents: true, ..copy(src, dest) };
    check(copy("/top", "/new"), &["new"]);
    check(copy("/top", "/new/"), &["new/top"]);
    check(copy("/top", "/deep/er/new"), &["deep/er/new"]);
    check(copy("/top", "/there"), &["there/top"]);
    check(copy("/top", "/link"), &["there/top"]);
    check(copy("/dir", "/new"), &["new/a.txt", "new/sub/b.txt"]);
    check(copy("/dir", "/there"), &["there/dir/a.txt", "there/dir/old"]);
    check(copy("/", "/there"), &["there/dir/a.txt", "there/dir/old"]);
    check(contents("/dir", "/there/."), &["there/a.txt", "there/dir/old"]);
    check(contents("/dir", "/new"), &["new/a.txt"]);
    check(copy("/into/sub/*.txt", "/out/"), &["out/b.txt"]);
    check(copy("/d*/[ab].txt", "/out/"), &["out/a.txt"]);
    check(contents("/d?r", "/out"), &["out/a.txt", "out/link"]);
    // Metadata, hard links, links as they are.
    let tree = check(copy("/", "/all"), &["all/dir/a.txt"]);
    assert_eq!(tree.stat("all/dir"), (0o750, 0, 0, 0));
    let (mode, uid, gid, _) = tree.stat("all/top");
    assert_eq!((mode, uid, gid), (0o4711, 7, 8));
    let inode = |path: &str| tree.path.join(path).metadata().unwrap().ino();
    assert_eq!(inode("all/dir/a.txt"), inode("all/dir/z.txt"));
    assert_eq!(fs::read_link(tree.path.join("all/into")).unwrap(), Path::new("dir"));
    // A directory that was there keeps its mode and takes the source's times.
    let tree = check(contents("/dir", "/there"), &["there/a.txt"]);
    assert_eq!(tree.stat("there"), (0o700, 0, 0, 0));
    // The path itself may be a link that is followed.
    let followed = FileCopy { follow_symlink: true, ..contents("/into", "/f") };
    check(followed, &["f/a.txt"]);
    let kept = check(copy("/into", "/f"), &["f"]);
    assert_eq!(fs::read_link(kept.path.join("f")).unwrap(), Path::new("dir"));
    // A file replaces a file, and a link rather than what it points to.
    assert_eq!(check(copy("/top", "/file"), &[]).read("file"), "top");
}

#[test]
fn what_a_copy_is_made_into() {
    let Some(bench) = Bench::new() else { return };
    let from = bench.tree(source);
    let base = bench.tree(|root| {
        fs::create_dir(root.join("etc")).unwrap();
        fs::write(root.join("etc/passwd"), "root:x:0:0::/:\napp:x:1000:1001::/:\n").unwrap();
        fs::write(root.join("etc/group"), "root:x:0:\nweb:x:33:\n").unwrap();
    });
    let run = |op: FileCopy| bench.copy(&base, &from, op).unwrap_or_else(|error| panic!("{error}"));
    let tree = run(FileCopy { mode: 0o640, timestamp: 5_000_000_000, ..copy("/dir", "/new") });
    assert_eq!(tree.stat("new/a.txt"), (0o640, 0, 0, 5));
    assert_eq!(tree.stat("new/sub"), (0o640, 0, 0, 5));
    let tree = run(FileCopy { mode: 0, mode_str: "go-rwx,u+x,a+X".to_owned(), ..copy("/dir", "/new") });
    assert_eq!((tree.stat("new/a.txt").0, tree.stat("new").0), (0o711, 0o711));
    let named = |name: &str| User::Name { name: name.to_owned(), input: FileInput::Input(0) };
    let owner = |user, group| Some(Chown { user, group });
    let check = |chown: Option<Chown>, expected: (u32, u32)| {
        let tree = run(FileCopy { owner: chown.map(Box::new), ..copy("/dir", "/made/new") });
        for path in ["made", "made/new", "made/new/sub/b.txt", "made/new/link"] {
            let (_, uid, gid, _) = tree.stat(path);
            assert_eq!((uid, gid), expected, "{path}");
        }
    };
    check(owner(Some(named("app")), None), (1000, 1001));
    check(owner(Some(named("app")), Some(named("web"))), (1000, 33));
    check(owner(Some(User::Id(5)), None), (5, 5));
    check(owner(Some(User::Id(5)), Some(User::Id(6))), (5, 6));
    check(owner(None, Some(User::Id(6))), (0, 6));
    check(owner(Some(named("nobody we know")), Some(named("no group"))), (0, 0));
}

#[test]
fn patterns_choose_what_is_copied() {
    let Some(bench) = Bench::new() else { return };
    let from = bench.tree(source);
    let scratch = Snapshot::scratch();
    let check = |include: &[&str], exclude: &[&str], expected: &[&str]| {
        let list = |patterns: &[&str]| patterns.iter().map(|&it| it.to_owned()).collect::<Vec<_>>();
        let (include_patterns, exclude_patterns) = (list(include), list(exclude));
        let op = FileCopy { include_patterns, exclude_patterns, dir_copy_contents: true, ..copy("/", "/") };
        let tree = bench.copy(&scratch, &from, op).unwrap();
        let mut found = Vec::new();
        let mut todo = vec![PathBuf::new()];
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(tree.path.join(&dir)).unwrap() {
                let entry = entry.unwrap();
                let path = dir.join(entry.file_name());
                found.push(path.display().to_string());
                if entry.file_type().unwrap().is_dir() {
                    todo.push(path);
                }
            }
        }
        found.sort();
        assert_eq!(found, expected, "{include:?} {exclude:?}");
    };
    check(&["dir/sub/*.txt"], &[], &["dir", "dir/sub", "dir/sub/b.txt"]);
    check(&["**/*.md"], &[], &["dir", "dir/sub", "dir/sub/c.md"]);
    check(&["dir"], &["dir/sub"], &["dir", "dir/a.txt", "dir/link", "dir/z.txt"]);
    check(&[], &["dir", "into"], &["top"]);
    check(&[], &["*", "!dir/sub/c.md"], &["dir", "dir/sub", "dir/sub/c.md"]);
    check(&["nothing"], &[], &[]);
}

#[test]
fn copies_that_cannot_be() {
    let Some(bench) = Bench::new() else { return };
    let from = bench.tree(source);
    let base = bench.tree(|root| {
        fs::create_dir_all(root.join("t/top")).unwrap();
        fs::write(root.join("f"), "a file").unwrap();
        fs::create_dir(root.join("d")).unwrap();
        fs::write(root.join("d/sub"), "a file").unwrap();
    });
    let check = |op: FileCopy, expected: fn(&FileError) -> bool| {
        let Err(failed) = bench.copy(&base, &from, op.clone()) else { panic!("{op:?} fails") };
        assert!(expected(&failed.error), "{failed}");
    };
    check(copy("/nothing", "/x"), |it| matches!(it, FileError::NotFound { path } if path == "/nothing"));
    check(copy("/no*", "/x"), |it| matches!(it, FileError::NotFound { path } if path == "/no*"));
    let strict = FileCopy { create_dest_path: false, ..copy("/top", "/not/there") };
    check(strict, |it| matches!(it, FileError::NoParent { path } if path == "/not"));
    check(copy("/top", "/t/"), |it| matches!(it, FileError::InTheWay { there: "a directory", .. }));
    let over = || FileCopy { dir_copy_contents: true, ..copy("/dir", "/d") };
    check(over(), |it| matches!(it, FileError::InTheWay { there: "a file", .. }));
    check(FileCopy { mode_str: "u+q".to_owned(), ..copy("/top", "/x") }, |it| {
        matches!(it, FileError::Mode { .. })
    });
    // Replacing is what some ask for; no match is no error for others.
    let replacing = |op: FileCopy| FileCopy { always_replace_existing: true, ..op };
    assert!(bench.copy(&base, &from, replacing(over())).unwrap().has("d/sub/b.txt"));
    assert_eq!(bench.copy(&base, &from, replacing(copy("/top", "/t/"))).unwrap().read("t/top"), "top");
    bench.copy(&base, &from, FileCopy { allow_empty_wildcard: true, ..copy("/no*", "/x") }).unwrap();
}

#[test]
fn the_other_actions() {
    let Some(bench) = Bench::new() else { return };
    let base = bench.tree(|root| {
        source(root);
        symlink("nowhere", root.join("dangling")).unwrap();
        symlink("/etc", root.join("host")).unwrap();
    });
    let mkdir = |path: &str, make_parents| {
        FileActionOp::Mkdir(FileMkdir {
            path: path.to_owned(),
            mode: 0o1705,
            make_parents,
            owner: None,
            timestamp: 9_000_000_000,
        })
    };
    let mkfile = |path: &str, text: &str| {
        let data = text.as_bytes().to_vec();
        FileActionOp::Mkfile(FileMkfile {
            path: path.to_owned(),
            mode: 0o600,
            data,
            owner: None,
            timestamp: 3_000_000_000,
        })
    };
    let rm = |path: &str, allow_not_found, allow_wildcard| {
        FileActionOp::Rm(FileRm { path: path.to_owned(), allow_not_found, allow_wildcard })
    };
    let link = |oldpath: &str, newpath: &str| {
        let (oldpath, newpath) = (oldpath.to_owned(), newpath.to_owned());
        FileActionOp::Symlink(FileSymlink { oldpath, newpath, owner: None, timestamp: 4_000_000_000 })
    };
    let run = |ops: Vec<FileActionOp>| bench.chain(std::slice::from_ref(&base), ops);
    let tree = run(vec![
        mkdir("/p/q/r", true),
        mkdir("/dir", false),
        mkfile("/p/f", "new"),
        mkfile("/into/a.txt", "longer than before"),
        mkfile("/host/passwd", "inside"),
        link("../x", "/p/l"),
        rm("/dir/sub/*.txt", false, true),
        rm("/dir/z*", false, true),
        rm("/none", true, false),
        rm("/dir/link", true, false),
    ]);
    // `/etc` is not in the tree: a link to it leads nowhere there.
    let failed = tree.err().expect("there is no /etc");
    assert_eq!(failed.action, 4);
    let tree = run(vec![
        mkdir("/p/q/r", true),
        mkdir("/dir", false),
        mkfile("/p/f", "new"),
        mkfile("/into/a.txt", "longer than before"),
        link("../x", "/p/l"),
        rm("/dir/sub/*.txt", false, true),
        rm("/dir/z*", false, true),
        rm("/none", true, false),
        rm("/dangling", true, false),
    ])
    .unwrap();
    assert_eq!(tree.stat("p/q/r"), (0o705, 0, 0, 9));
    assert_eq!(tree.stat("dir").0, 0o750);
    assert_eq!((tree.read("p/f").as_str(), tree.stat("p/f")), ("new", (0o600, 0, 0, 3)));
    assert_eq!(tree.read("dir/a.txt"), "longer than before");
    assert_eq!(
        (fs::read_link(tree.path.join("p/l")).unwrap(), tree.stat("p/l").3),
        (PathBuf::from("../x"), 4)
    );
    assert!(
        tree.has("dir/sub/c.md")
            && !tree.has("dir/sub/b.txt")
            && !tree.has("dir/z.txt")
            && !tree.has("dangling")
    );
    let fails = |op: FileActionOp, expected: fn(&FileError) -> bool| {
        let failed = run(vec![op]).err().expect("it fails");
        assert!(expected(&failed.error), "{failed}");
    };
    fails(rm("/none", false, false), |it| matches!(it, FileError::NotFound { path } if path == "/none"));
    fails(rm("/dangling", false, false), |it| matches!(it, FileError::NotFound { .. }));
    fails(rm("/", true, false), |it| matches!(it, FileError::RemoveTop));
    fails(mkdir("/a/b", false), |it| matches!(it, FileError::Io { .. }));
    fails(mkfile("/a/b", ""), |it| matches!(it, FileError::Io { .. }));
    fails(mkfile("/dir", ""), |it| matches!(it, FileError::InTheWay { .. }));
    fails(link("x", "/top"), |it| matches!(it, FileError::Io { .. }));
    // A directory goes with all it holds.
    assert!(!run(vec![rm("/dir", false, false)]).unwrap().has("dir"));
}

#[test]
fn results_that_several_actions_use() {
    let Some(bench) = Bench::new() else { return };
    let mkfile = |path: &str, input, output| FileAction {
        input,
        secondary: FileInput::Scratch,
        output,
        op: FileActionOp::Mkfile(FileMkfile {
            path: path.to_owned(),
            mode: 0o644,
            data: path.as_bytes().to_vec(),
            owner: None,
            timestamp: -1,
        }),
    };
    let actions = vec![
        mkfile("/one", FileInput::Scratch, None),
        mkfile("/two", FileInput::Action(0), Some(1)),
        FileAction {
            input: FileInput::Action(0),
            secondary: FileInput::Action(1),
            output: Some(0),
            op: FileActionOp::Copy(copy("/two", "/copied").into()),
        },
    ];
    let outputs = bench.run(&[], actions).unwrap();
    let (first, second) =
        (mounted(bench.store.view(&outputs[0]).unwrap()), mounted(bench.store.view(&outputs[1]).unwrap()));
    assert!(first.has("one") && first.has("copied") && !first.has("two"));
    assert!(second.has("one") && second.has("two") && !second.has("copied"));
    let later =
        vec![mkfile("/one", FileInput::Action(1), None), mkfile("/two", FileInput::Action(0), Some(0))];
    assert!(matches!(bench.run(&[], later).unwrap_err().error, FileError::Op { .. }));
}

#[test]
fn archives_are_unpacked() {
    let Some(bench) = Bench::new() else { return };
    let archive = |entries: &[(&str, &str, tar::EntryType)]| {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content, kind) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
            header.set_mtime(7);
            header.set_uid(11);
            header.set_gid(12);
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            if kind.is_symlink() || kind.is_hard_link() {
                header.set_link_name_literal(content).unwrap();
                header.set_size(0);
                header.set_cksum();
                builder.append(&header, std::io::empty()).unwrap();
            } else {
                header.set_size(content.len() as u64);
                header.set_cksum();
                builder.append(&header, content.as_bytes()).unwrap();
            }
        }
        builder.into_inner().unwrap()
    };
    use tar::EntryType as T;
    let good = archive(&[
        ("d/", "", T::Directory),
        ("d/f", "text", T::Regular),
        ("l", "d/f", T::Symlink),
        ("h", "d/f", T::Link),
    ]);
    let gzip = {
        use std::io::Write as _;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&good).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = zstd::encode_all(good.as_slice(), 1).unwrap();
    let bzip2 = {
        use std::io::Write as _;
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        encoder.write_all(&good).unwrap();
        encoder.finish().unwrap()
    };
    let xz = {
        use std::io::Write as _;
        let options = lzma_rust2::XzOptions::with_preset(1);
        let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
        encoder.write_all(&good).unwrap();
        encoder.finish().unwrap()
    };
    let unpack = |bytes: &[u8], base: &Snapshot| {
        let from = bench.tree(|root| fs::write(root.join("a.tar"), bytes).unwrap());
        bench.copy(base, &from, FileCopy { attempt_unpack: true, ..copy("/a.tar", "/out/") })
    };
    let scratch = Snapshot::scratch();
    for bytes in [&good, &gzip, &zstd, &bzip2, &xz] {
        let tree = unpack(bytes, &scratch).unwrap();
        assert_eq!(tree.read("out/d/f"), "text");
        assert_eq!(tree.stat("out/d/f"), (0o644, 11, 12, 7));
        assert_eq!(tree.stat("out/d"), (0o755, 11, 12, 7));
        assert_eq!(tree.read("out/h"), "text");
        assert_eq!(fs::read_link(tree.path.join("out/l")).unwrap(), Path::new("d/f"));
        assert!(!tree.has("out/a.tar"));
    }
    // What is no archive is copied.
    assert_eq!(unpack(b"no archive", &scratch).unwrap().read("out/a.tar"), "no archive");
    let refused = |bytes: &[u8], base: &Snapshot, part: &str| {
        let failed = unpack(bytes, base).err().expect("it fails");
        assert!(failed.to_string().contains(part), "{failed}");
    };
    // What only begins as one is none either.
    for begins in [&b"BZh91AY"[..], b"\xfd7zXZ\0rest", b"\x1f\x8brest", b"\x28\xb5\x2f\xfdrest"] {
        assert_eq!(fs::read(unpack(begins, &scratch).unwrap().path.join("out/a.tar")).unwrap(), begins);
    }
    // And what is compressed but no archive is copied as it is.
    let no_archive = zstd::encode_all(&b"no archive"[..], 1).unwrap();
    assert_eq!(fs::read(unpack(&no_archive, &scratch).unwrap().path.join("out/a.tar")).unwrap(), no_archive);
    refused(&archive(&[("a", "", T::Regular), ("../x", "evil", T::Regular)]), &scratch, "leads out");
    refused(&archive(&[("l", "/", T::Symlink), ("l/x", "evil", T::Regular)]), &scratch, "leads out");
    refused(&archive(&[("l", "../..", T::Symlink), ("l/x", "evil", T::Regular)]), &scratch, "leads out");
    refused(
        &archive(&[("h", "../secret", T::Link)]),
        &bench.tree(|root| fs::write(root.join("secret"), "s").unwrap()),
        "leads out",
    );
    refused(&good[..700], &scratch, "a.tar");
}

#[test]
fn modes() {
    let check = |text: &str, mode: u32, is_dir: bool, expected: Option<u32>| {
        assert_eq!(mode::apply(text, mode, is_dir).ok(), expected, "{text}");
    };
    check("644", 0o777, false, Some(0o644));
    check("4755", 0, false, Some(0o4755));
    check("u+x", 0o644, false, Some(0o744));
    check("+x", 0o644, false, Some(0o755));
    check("go-rw,u=rwx", 0o666, false, Some(0o700));
    check("a=rX", 0o644, false, Some(0o444));
    check("a=rX", 0o744, false, Some(0o555));
    check("a+X", 0o600, true, Some(0o711));
    check("g=u", 0o750, false, Some(0o770));
    check("o=g-w", 0o770, false, Some(0o775));
    check("u+s,g+s,+t", 0o755, false, Some(0o7755));
    check("u=rwx", 0o2755, true, Some(0o2755));
    check("99", 0, false, None);
    check("u", 0, false, None);
    check("x+u", 0, false, None);
    check("u+q", 0, false, None);
    check("", 0, false, None);
}
