//! Paths, links, owners and account files that try to get out of a tree (security.md, S2.8, S2.9, S4).

use super::*;

/// A tree that leads out in every way links can, with a directory to be lost in it.
fn leading_out(root: &Path) {
    source(root);
    symlink("/", root.join("slash")).unwrap();
    symlink("/etc", root.join("host")).unwrap();
    symlink("../../../../../../etc", root.join("dir/up")).unwrap();
    symlink("/proc/self/root/etc", root.join("magic")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    symlink("..", root.join("dir/parent")).unwrap();
}

fn mkdir(path: &str) -> FileActionOp {
    let make_parents = true;
    FileActionOp::Mkdir(FileMkdir {
        path: path.to_owned(),
        mode: 0o7755,
        make_parents,
        ..FileMkdir::default()
    })
}

fn mkfile(path: &str) -> FileActionOp {
    let data = b"written".to_vec();
    FileActionOp::Mkfile(FileMkfile { path: path.to_owned(), mode: 0o7644, data, ..FileMkfile::default() })
}

fn rm(path: &str) -> FileActionOp {
    FileActionOp::Rm(FileRm { path: path.to_owned(), allow_not_found: true, allow_wildcard: true })
}

fn link(newpath: &str) -> FileActionOp {
    let (oldpath, newpath) = ("/etc/passwd".to_owned(), newpath.to_owned());
    FileActionOp::Symlink(FileSymlink { oldpath, newpath, ..FileSymlink::default() })
}

/// Names at the machine's top and in its `/etc`: they must be as before, whatever was tried.
struct Canary(Vec<std::ffi::OsString>);

impl Canary {
    fn look() -> Canary {
        Canary(Canary::names())
    }

    fn names() -> Vec<std::ffi::OsString> {
        let list = |dir: &str| fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        let mut names: Vec<std::ffi::OsString> = list("/");
        let etc: Vec<std::ffi::OsString> = list("/etc");
        names.extend(etc);
        names.sort();
        names
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(Canary::names(), self.0, "the machine was changed");
        }
    }
}

#[test]
fn paths_that_climb() {
    let Some(bench) = Bench::new() else { return };
    let _canary = Canary::look();
    let base = bench.tree(leading_out);
    let run = |op: FileActionOp| bench.chain(std::slice::from_ref(&base), vec![op]);
    // The top cannot go, whatever it is called.
    for path in ["/", "", ".", "..", "../..", "/..", "dir/..", "dir/../..", "/.", "//", "./", "dir/../../."] {
        let failed = run(rm(path)).err().unwrap_or_else(|| panic!("{path}"));
        assert!(matches!(failed.error, FileError::RemoveTop), "{path}: {failed}");
    }
    // `..` is taken off as text, before any link is looked at; a dot matches no directory above.
    for (path, gone, left) in [
        ("dir/../top", "top", "dir/a.txt"),
        ("../../top/.", "top", "dir/a.txt"),
        ("dir/up/../a.txt", "dir/a.txt", "dir/up"),
        ("host", "host", "top"),
        ("dir/up", "dir/up", "dir/a.txt"),
        (".*", "nothing", "dir/a.txt"),
        ("dir/..*", "nothing", "dir/a.txt"),
        ("*/.*", "nothing", "dir/a.txt"),
        ("h[o]st", "host", "top"),
        ("dir/p*", "dir/parent", "top"),
    ] {
        let tree = run(rm(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(!tree.has(gone) && tree.has(left), "{path}");
    }
    // What lies behind a link out is looked for in the tree, where there is nothing.
    for path in ["host/passwd", "dir/up/hostname", "magic/passwd", "slash/slash/host/shadow"] {
        run(rm(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
    for (op, made) in [
        (mkdir("../../climbed"), "climbed"),
        (mkdir("slash/inside"), "inside"),
        (mkdir("host/bkl"), "etc/bkl"),
        (mkdir("dir/up/bkl"), "etc/bkl"),
        (mkfile("../../climbed"), "climbed"),
        (mkfile("slash/inside"), "inside"),
        (mkfile("dir/parent/../beside"), "dir/beside"),
        (link("../../climbed"), "climbed"),
        (link("slash/inside"), "inside"),
    ] {
        let tree = run(op.clone()).unwrap_or_else(|error| panic!("{op:?}: {error}"));
        assert!(tree.has(made), "{op:?}");
        // Set-id and sticky bits are no part of a mode here.
        assert_eq!(tree.stat(made).0 & 0o7000, 0, "{op:?}");
    }
    for op in [mkdir("loop/x"), mkfile("loop"), link("loop/x")] {
        assert!(matches!(run(op).err().expect("it is a loop").error, FileError::Io { .. }));
    }
}

#[test]
fn copies_that_climb() {
    let Some(bench) = Bench::new() else { return };
    let _canary = Canary::look();
    let tree = bench.tree(leading_out);
    let run = |op: FileCopy| bench.copy(&tree, &tree, op);
    let followed = |src: &str, dest: &str| FileCopy { follow_symlink: true, ..copy(src, dest) };
    // Sources: nothing of this machine comes along.
    for src in
        ["../../etc/passwd", "host/passwd", "dir/up/passwd", "magic/passwd", "slash/host/passwd", "/etc"]
    {
        let failed = run(followed(src, "/got")).err().unwrap_or_else(|| panic!("{src}"));
        assert!(matches!(failed.error, FileError::NotFound { .. }), "{src}: {failed}");
    }
    for src in ["host", "dir/up", "loop"] {
        assert!(run(followed(src, "/got")).is_err(), "{src}");
        // As a link it is only text.
        assert!(run(copy(src, "/got")).unwrap().path.join("got").symlink_metadata().unwrap().is_symlink());
    }
    assert_eq!(run(followed("../../slash/dir/../top", "/got")).unwrap().read("got"), "top");
    // Targets.
    for (dest, made) in [
        ("../../got", "got"),
        ("slash/got", "got"),
        ("host/got", "etc/got"),
        ("dir/up/", "etc/top"),
        ("dir/up/.", "etc/top"),
        ("dir/parent/../got", "dir/got"),
        ("a/../b/../../got/", "got/top"),
        ("..", "top"),
    ] {
        let tree = run(copy("/top", dest)).unwrap_or_else(|error| panic!("{dest}: {error}"));
        assert_eq!(tree.read(made), "top", "{dest}");
    }
    // A link in the tree that is copied is replaced by what comes there, and not followed.
    let from = bench.tree(|root| {
        fs::create_dir(root.join("d")).unwrap();
        fs::write(root.join("d/host"), "file").unwrap();
    });
    let contents = FileCopy { dir_copy_contents: true, ..copy("/d", "/") };
    let made = bench.copy(&tree, &from, contents).unwrap();
    assert_eq!(made.read("host"), "file");
}

#[test]
fn owners_that_are_none() {
    let Some(bench) = Bench::new() else { return };
    let named = |name: &str| User::Name { name: name.to_owned(), input: FileInput::Input(0) };
    let chown = |base: &Snapshot, user: User, group: Option<User>| {
        let owner = Some(Chown { user: Some(user), group }.into());
        let op = FileMkfile { path: "/f".to_owned(), mode: 0o644, owner, ..FileMkfile::default() };
        let made = bench.chain(std::slice::from_ref(base), vec![FileActionOp::Mkfile(op)]);
        made.map(|tree| (tree.stat("f").1, tree.stat("f").2))
    };
    let accounts = |passwd: &str, group: &str| {
        bench.tree(|root| {
            fs::create_dir(root.join("etc")).unwrap();
            fs::write(root.join("etc/passwd"), passwd).unwrap();
            fs::write(root.join("etc/group"), group).unwrap();
        })
    };
    let base = accounts(
        "1000:x:5:6::/:\nbig:x:4294967296:1::/:\nneg:x:-1:1::/:\nplus:x:+0:1::/:\nhex:x:0x1:1::/:\nlast:x:4294967294:4294967294::/:\n\
         short:x\napp:x:7:8::/:\napp:x:70:80::/:\n",
        "bad:x:4294967296:\nweb:x:33:\n",
    );
    // The kernel would take the last number for "as it is".
    for (user, group) in [(User::Id(u32::MAX), None), (User::Id(0), Some(User::Id(u32::MAX)))] {
        assert!(matches!(chown(&base, user, group).unwrap_err().error, FileError::Io { .. }));
    }
    assert_eq!(chown(&base, User::Id(u32::MAX - 1), None).unwrap(), (u32::MAX - 1, u32::MAX - 1));
    assert_eq!(chown(&base, User::Id(1 << 31), Some(User::Id(1))).unwrap(), (1 << 31, 1));
    // A number is no name, a name is no number, and numbers that are none are nobody's.
    assert_eq!(chown(&base, User::Id(1000), None).unwrap(), (1000, 1000));
    assert_eq!(chown(&base, named("1000"), None).unwrap(), (5, 6));
    for name in ["big", "neg", "hex", "short", "nobody", ""] {
        assert_eq!(chown(&base, named(name), None).unwrap(), (0, 0), "{name}");
    }
    assert_eq!(chown(&base, named("last"), None).unwrap(), (u32::MAX - 1, u32::MAX - 1));
    assert_eq!(chown(&base, named("app"), None).unwrap(), (7, 8), "the first line counts");
    assert_eq!(chown(&base, named("app"), Some(named("web"))).unwrap(), (7, 33));
    assert_eq!(chown(&base, named("app"), Some(named("bad"))).unwrap(), (7, 8));
    assert_eq!(chown(&base, User::Id(9), Some(named("nobody"))).unwrap(), (9, 9));
    assert_eq!(chown(&Snapshot::scratch(), named("app"), Some(named("web"))).unwrap(), (0, 0));

    // Account files that would hang, hide or grow without end.
    let strange = |make: fn(&Path)| {
        bench.tree(|root| {
            fs::create_dir(root.join("etc")).unwrap();
            make(&root.join("etc/passwd"));
        })
    };
    let fifo = strange(|path| {
        rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, 0o644.into(), 0).unwrap();
    });
    let directory = strange(|path| fs::create_dir(path).unwrap());
    let sparse = strange(|path| fs::File::create(path).unwrap().set_len(1 << 30).unwrap());
    for (tree, why) in
        [(fifo, "no regular file"), (directory, "no regular file"), (sparse, "larger than 10 MiB")]
    {
        let failed = chown(&tree, named("app"), None).unwrap_err();
        assert!(failed.to_string().contains(why), "{failed}");
    }
    let away = strange(|path| symlink("/proc/self/environ", path).unwrap());
    assert_eq!(chown(&away, named("app"), None).unwrap(), (0, 0));
    let linked = strange(|path| {
        symlink("real", path).unwrap();
        fs::write(path.with_file_name("real"), "app:x:7:8::/:\n").unwrap();
    });
    assert_eq!(chown(&linked, named("app"), None).unwrap(), (7, 8));
}
