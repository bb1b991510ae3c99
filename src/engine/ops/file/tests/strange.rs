//! Files that are not just bytes with a name: devices, sockets, attributes, holes, names that are no text.

use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{CWD, XattrFlags, lgetxattr, lsetxattr, makedev, mknodat};

use super::*;

/// `cap_net_bind_service=ep`, as the kernel keeps it.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn strange(root: &Path) {
    let node = |name: &str, file_type, device| {
        mknodat(CWD, root.join(name), file_type, 0o640.into(), device).unwrap();
    };
    node("null", FileType::CharacterDevice, makedev(1, 3));
    node("disk", FileType::BlockDevice, makedev(7, 300));
    node("fifo", FileType::Fifo, 0);
    drop(std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap());
    fs::write(root.join(OsStr::from_bytes(b"no \xff text\n")), "bytes").unwrap();
    fs::create_dir(root.join(OsStr::from_bytes(b"\xfe"))).unwrap();
    fs::write(root.join(OsStr::from_bytes(b"\xfe/in")), "in").unwrap();
    fs::write(root.join("capable"), "x").unwrap();
    lsetxattr(root.join("capable"), "security.capability", &CAPABILITY, XattrFlags::empty()).unwrap();
    lsetxattr(root.join("capable"), "user.note", b"kept", XattrFlags::empty()).unwrap();
    let holes = fs::File::create(root.join("holes")).unwrap();
    holes.set_len(64 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&holes, b"end", (64 << 20) - 3).unwrap();
    fs::write(root.join("first"), "linked").unwrap();
    fs::hard_link(root.join("first"), root.join("second")).unwrap();
    fs::create_dir(root.join("sub")).unwrap();
    fs::hard_link(root.join("first"), root.join("sub/third")).unwrap();
    mknodat(CWD, root.join("sub/null"), FileType::CharacterDevice, 0o666.into(), makedev(1, 3)).unwrap();
    fs::hard_link(root.join("sub/null"), root.join("sub/also-null")).unwrap();
    symlink("first", root.join("link")).unwrap();
    fs::hard_link(root.join("link"), root.join("same-link")).unwrap();
}

use std::ffi::OsStr;

#[test]
fn copies_of_all_kinds() {
    let Some(bench) = Bench::new() else { return };
    let from = bench.tree(strange);
    let all = FileCopy { dir_copy_contents: true, ..copy("/", "/to/") };
    let tree = bench.copy(&Snapshot::scratch(), &from, all).unwrap();
    let meta = |path: &str| tree.path.join("to").join(path).symlink_metadata().unwrap();
    let kind = |path: &str| meta(path).mode() & libc::S_IFMT;
    assert_eq!((kind("null"), meta("null").rdev()), (libc::S_IFCHR, makedev(1, 3)));
    assert_eq!((kind("disk"), meta("disk").rdev()), (libc::S_IFBLK, makedev(7, 300)));
    assert_eq!((kind("fifo"), meta("fifo").mode() & 0o7777), (libc::S_IFIFO, 0o640));
    assert_eq!(kind("socket"), libc::S_IFSOCK, "a node nobody listens on");
    let bytes = |name: &[u8]| fs::read(tree.path.join("to").join(OsStr::from_bytes(name))).unwrap();
    assert_eq!((bytes(b"no \xff text\n"), bytes(b"\xfe/in")), (b"bytes".to_vec(), b"in".to_vec()));
    let attribute = |name: &str| {
        let mut value = vec![0; 64];
        let length = lgetxattr(tree.path.join("to/capable"), name, &mut value[..]).unwrap();
        value.truncate(length);
        value
    };
    assert_eq!(attribute("security.capability"), CAPABILITY);
    assert_eq!(attribute("user.note"), b"kept");
    assert_eq!(meta("holes").len(), 64 << 20);
    let inode = |path: &str| meta(path).ino();
    for (a, b) in
        [("first", "second"), ("first", "sub/third"), ("sub/null", "sub/also-null"), ("link", "same-link")]
    {
        assert_eq!(inode(a), inode(b), "{a} and {b} are one file");
    }
    assert_eq!(meta("first").nlink(), 3);
    // What is copied by itself is by itself.
    let tree = bench.copy(&Snapshot::scratch(), &from, copy("/second", "/")).unwrap();
    assert_eq!(tree.path.join("second").metadata().unwrap().nlink(), 1);
    // Of names that are no text a wildcard knows all but those bytes.
    let tree = bench.copy(&Snapshot::scratch(), &from, copy("/no*", "/to/")).unwrap();
    assert!(tree.path.join("to").join(OsStr::from_bytes(b"no \xff text\n")).exists());
}

#[test]
fn owners_modes_and_times_of_all_kinds() {
    let Some(bench) = Bench::new() else { return };
    let from = bench.tree(strange);
    let owner = Some(Chown { user: Some(User::Id(7)), group: Some(User::Id(8)) }.into());
    let all = FileCopy {
        owner,
        mode: 0o4751,
        timestamp: 1_500_000_000_250_000_000,
        dir_copy_contents: true,
        ..copy("/", "/to/new")
    };
    let tree = bench.copy(&Snapshot::scratch(), &from, all).unwrap();
    for path in ["to/new/null", "to/new/fifo", "to/new/capable", "to/new/sub", "to/new/sub/third"] {
        assert_eq!(tree.stat(path), (0o4751, 7, 8, 1_500_000_000), "{path}");
    }
    // Directories above take the permission bits of the mode, and the owner and time; a link has no mode.
    assert_eq!(tree.stat("to"), (0o751, 7, 8, 1_500_000_000));
    let (_, uid, gid, time) = tree.stat("to/new/link");
    assert_eq!((uid, gid, time), (7, 8, 1_500_000_000));
    assert_eq!(tree.path.join("to/new/fifo").symlink_metadata().unwrap().mtime_nsec(), 250_000_000);
    // Times before the epoch, and to the nanosecond; without one, the source's.
    let early = FileCopy { timestamp: -1_500_000_000, ..copy("/first", "/f") };
    let tree = bench.copy(&Snapshot::scratch(), &from, early).unwrap();
    let meta = tree.path.join("f").metadata().unwrap();
    assert_eq!((meta.mtime(), meta.mtime_nsec()), (-2, 500_000_000));
    let zero = FileCopy { timestamp: 0, ..copy("/first", "/f") };
    assert_eq!(bench.copy(&Snapshot::scratch(), &from, zero).unwrap().stat("f").3, 0);
}

/// A mode as text is worked out for each file by itself.
#[test]
fn modes_as_text() {
    let Some(bench) = Bench::new() else { return };
    let from = bench.tree(|root| {
        fs::create_dir(root.join("d")).unwrap();
        for (name, mode) in [("plain", 0o640), ("run", 0o750), ("suid", 0o4755)] {
            let path = root.join("d").join(name);
            fs::write(&path, "").unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::set_permissions(root.join("d"), fs::Permissions::from_mode(0o700)).unwrap();
    });
    let modes = |text: &str| {
        let op = FileCopy { mode_str: text.to_owned(), ..copy("/d", "/e/d") };
        let tree = bench.copy(&Snapshot::scratch(), &from, op).unwrap();
        ["e", "e/d", "e/d/plain", "e/d/run", "e/d/suid"].map(|path| tree.stat(path).0)
    };
    assert_eq!(modes("go+rX"), [0o755, 0o755, 0o644, 0o755, 0o4755]);
    assert_eq!(modes("a=rX,u+w"), [0o755, 0o755, 0o644, 0o755, 0o755]);
    assert_eq!(modes("0700"), [0o755, 0o700, 0o700, 0o700, 0o700]);
    assert_eq!(modes("u-s,g=u"), [0o755, 0o770, 0o660, 0o770, 0o775]);
}

/// Each sentence of the reference about what comes where something is already.
#[test]
fn what_is_there_already() {
    let Some(bench) = Bench::new() else { return };
    let from = bench.tree(|root| {
        fs::create_dir_all(root.join("src/nested/deep")).unwrap();
        fs::write(root.join("src/nested/file"), "new").unwrap();
        symlink("new-target", root.join("src/link")).unwrap();
        fs::write(root.join("src/was-link"), "new").unwrap();
        for (path, mode) in [("src", 0o711), ("src/nested", 0o700)] {
            fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
            fs::File::open(root.join(path)).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        }
        std::os::unix::fs::chown(root.join("src/nested"), Some(5), Some(6)).unwrap();
    });
    let base = bench.tree(|root| {
        fs::create_dir_all(root.join("dst/nested/kept")).unwrap();
        fs::write(root.join("dst/nested/file"), "old").unwrap();
        fs::write(root.join("dst/link"), "old").unwrap();
        fs::write(root.join("target"), "untouched").unwrap();
        symlink("../target", root.join("dst/was-link")).unwrap();
        fs::set_permissions(root.join("dst"), fs::Permissions::from_mode(0o750)).unwrap();
        symlink("dst", root.join("to-dst")).unwrap();
    });
    let contents = |src: &str, dest: &str| FileCopy { dir_copy_contents: true, ..copy(src, dest) };
    for dest in ["/dst", "/dst/", "/dst/.", "/to-dst"] {
        let tree = bench.copy(&base, &from, contents("/src", dest)).unwrap();
        // The directory that was named keeps what it is, but for its times; one inside of it becomes the source's.
        assert_eq!(tree.stat("dst"), (0o750, 0, 0, 0), "{dest}");
        assert_eq!(tree.stat("dst/nested"), (0o700, 5, 6, 0), "{dest}");
        assert!(tree.has("dst/nested/kept") && tree.has("dst/nested/deep"));
        assert_eq!(
            (tree.read("dst/nested/file"), tree.read("target")),
            ("new".to_owned(), "untouched".to_owned())
        );
        assert_eq!(fs::read_link(tree.path.join("dst/link")).unwrap(), Path::new("new-target"));
        assert!(!tree.path.join("dst/was-link").symlink_metadata().unwrap().is_symlink());
    }
    // The link that is the destination itself is followed, also by a file.
    let tree = bench.copy(&base, &from, copy("/src/nested/file", "/dst/was-link")).unwrap();
    assert_eq!(tree.read("target"), "new");
    // Without its contents meant, a directory goes into one that is there.
    assert!(bench.copy(&base, &from, copy("/src", "/dst")).unwrap().has("dst/src/nested/file"));
    // A file on a directory and the other way round, unless everything is to be replaced.
    let swapped = bench.tree(|root| {
        fs::create_dir_all(root.join("src/link/full")).unwrap();
        fs::write(root.join("src/nested"), "file").unwrap();
    });
    for (name, what) in [("link", "a directory"), ("nested", "a file")] {
        let one = FileCopy { include_patterns: vec![name.to_owned()], ..contents("/src", "/dst") };
        let failed = bench.copy(&base, &swapped, one.clone()).err().expect("it is in the way");
        let is_it = matches!(&failed.error, FileError::InTheWay { what: found, .. } if *found == what);
        assert!(is_it, "{failed}");
        let replaced =
            bench.copy(&base, &swapped, FileCopy { always_replace_existing: true, ..one }).unwrap();
        assert!(replaced.has(&format!("dst/{name}")));
    }
    let replaced = FileCopy { always_replace_existing: true, ..contents("/src", "/dst") };
    assert!(bench.copy(&base, &from, replaced).unwrap().has("dst/nested/kept"), "directories still merge");
}

/// Required paths count where something is chosen by patterns or wildcards; here they always do, before anything is copied
/// on top of a wrong assumption.
#[test]
fn required_paths() {
    let Some(bench) = Bench::new() else { return };
    let from = bench.tree(source);
    let run = |required: &str| {
        let required_paths = vec![required.to_owned()];
        bench.copy(&Snapshot::scratch(), &from, FileCopy { required_paths, ..copy("/dir", "/x") })
    };
    assert!(run("a.txt").is_ok() && run("sub/b.txt").is_ok());
    assert!(matches!(run("none").err().unwrap().error, FileError::NotFound { path } if path == "none"));
}

#[test]
fn what_mkfile_mkdir_and_symlink_find() {
    let Some(bench) = Bench::new() else { return };
    let base = bench.tree(|root| {
        source(root);
        symlink("missing", root.join("dangling")).unwrap();
        symlink("top", root.join("to-top")).unwrap();
    });
    let run = |op: FileActionOp| bench.chain(std::slice::from_ref(&base), vec![op]);
    let owner = Some(Chown { user: Some(User::Id(3)), group: None }.into());
    let mkfile = |path: &str| {
        let data = b"new".to_vec();
        let (path, owner) = (path.to_owned(), owner.clone());
        FileActionOp::Mkfile(FileMkfile { path, mode: 0o600, data, owner, timestamp: 2_000_000_000 })
    };
    // A file that is there keeps its mode, and takes owner and time; so through a link.
    for path in ["/top", "/to-top"] {
        let tree = run(mkfile(path)).unwrap();
        let (mode, uid, gid, time) = tree.stat("top");
        assert_eq!((mode & 0o777, uid, gid, time, tree.read("top")), (0o711, 3, 3, 2, "new".to_owned()));
    }
    // A dangling link leads to where the file is made.
    let tree = run(mkfile("/dangling")).unwrap();
    assert_eq!((tree.stat("missing"), tree.read("missing")), ((0o600, 3, 3, 2), "new".to_owned()));
    let mkdir = |path: &str, make_parents| {
        let (path, owner) = (path.to_owned(), owner.clone());
        FileActionOp::Mkdir(FileMkdir { path, mode: 0o750, make_parents, owner, timestamp: 2_000_000_000 })
    };
    // Whatever is there is enough without parents; with them it must be a directory. Nothing that is there changes.
    for path in ["/dir", "/top", "/into"] {
        let tree = run(mkdir(path, false)).unwrap();
        assert_eq!((tree.stat("dir"), tree.stat("top").1), ((0o750, 0, 0, 0), 7), "{path}");
    }
    assert!(run(mkdir("/top", true)).is_err() && run(mkdir("/top/x", true)).is_err());
    let tree = run(mkdir("/dir/new/er", true)).unwrap();
    assert_eq!((tree.stat("dir/new"), tree.stat("dir/new/er")), ((0o750, 3, 3, 2), (0o750, 3, 3, 2)));
    assert_eq!((tree.stat("dir").1, tree.stat("dir").0), (0, 0o750));
    let link = |oldpath: &str, newpath: &str| {
        let (oldpath, newpath, owner) = (oldpath.to_owned(), newpath.to_owned(), owner.clone());
        FileActionOp::Symlink(FileSymlink { oldpath, newpath, owner, timestamp: 2_000_000_000 })
    };
    let tree = run(link("../..//odd/./text", "/into/new-link")).unwrap();
    assert_eq!(fs::read_link(tree.path.join("dir/new-link")).unwrap(), Path::new("../..//odd/./text"));
    let (_, uid, gid, time) = tree.stat("dir/new-link");
    assert_eq!((uid, gid, time), (3, 3, 2));
    assert!(run(link("x", "/dir")).is_err() && run(link("x", "/none/x")).is_err());
    assert!(run(link("x", "/to-top")).is_err(), "what the link leads to is there");
}

/// `*` never crosses `/`, dots are letters like others, what is matched is not looked into for more.
#[test]
fn wildcards() {
    let Some(bench) = Bench::new() else { return };
    let from = bench.tree(|root| {
        fs::create_dir_all(root.join("d/d/e")).unwrap();
        for name in ["a.txt", ".hidden.txt", "b[1].txt", "d/a.txt", "d/d/a.txt"] {
            fs::write(root.join(name), name).unwrap();
        }
        symlink("d", root.join("link")).unwrap();
        symlink("/nowhere", root.join("gone")).unwrap();
    });
    let names = |op: FileCopy| -> Vec<String> {
        let tree = match bench.copy(&Snapshot::scratch(), &from, FileCopy { dest: "/to/".to_owned(), ..op }) {
            Ok(tree) => tree,
            Err(failed) => return vec![failed.error.to_string()],
        };
        let entries = fs::read_dir(tree.path.join("to")).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let plain = |src: &str| names(copy(src, ""));
    assert_eq!(plain("*.txt"), [".hidden.txt", "a.txt", "b[1].txt"]);
    assert_eq!(plain("?.txt"), ["a.txt"]);
    // A backslash makes a letter of a wildcard, in patterns; a path without any is taken as it is written (sic).
    assert_eq!(plain("b\\[*.txt"), ["b[1].txt"]);
    assert_eq!(plain("b\\[1].txt"), ["`/b\\[1].txt` does not exist"]);
    assert_eq!(plain("[^a]*.txt"), [".hidden.txt", "b[1].txt"]);
    assert_eq!(plain("*/a.txt"), ["a.txt"]);
    assert_eq!(plain("d*"), ["d"], "a directory goes into the one that is named by a slash");
    assert_eq!(plain("g*"), ["gone"], "a link is copied, wherever it leads");
    // A link before the wildcard is only followed when the path is to be; links further up always are.
    assert_eq!(plain("link/*.txt"), ["`link/*.txt` does not exist"]);
    assert_eq!(names(FileCopy { follow_symlink: true, ..copy("link/*.txt", "") }), ["a.txt"]);
    assert_eq!(plain("link/d/*.txt"), ["a.txt"]);
    // Without wildcards allowed they are names.
    assert_eq!(names(FileCopy { allow_wildcard: false, ..copy("b[1].txt", "") }), ["b[1].txt"]);
    assert_eq!(names(FileCopy { allow_wildcard: false, ..copy("*.txt", "") }), ["`/*.txt` does not exist"]);
    let bad = names(copy("[a", ""));
    assert!(bad[0].contains('['), "{bad:?}");
    let rm = |path: &str| {
        let op = FileRm { path: path.to_owned(), allow_not_found: false, allow_wildcard: true };
        bench.chain(std::slice::from_ref(&from), vec![FileActionOp::Rm(op)]).unwrap()
    };
    let tree = rm("*/a.txt");
    assert!(!tree.has("d/a.txt") && tree.has("d/d/a.txt") && tree.has("a.txt"));
    assert!(rm("link/*").has("d/a.txt"), "what the link leads to is left alone");
    assert!(!rm("link/d/*").has("d/d/a.txt"));
    assert!(!rm("lin?").has("link"));
    assert!(rm("none*").has("a.txt"), "no match is no error");
}
