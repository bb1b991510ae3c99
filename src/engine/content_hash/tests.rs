//! The vectors of BuildKit's exported caches, and what decides a digest.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::*;

/// The tree of the recorded vectors: sub/ 0755 { a.txt 0640, dir/ 0755 { b 0600 }, hard, link -> a.txt }.
fn vector_tree(root: &Path) {
    fs::create_dir_all(root.join("sub/dir")).unwrap();
    fs::write(root.join("sub/a.txt"), "hello\n").unwrap();
    fs::write(root.join("sub/dir/b"), "x").unwrap();
    fs::hard_link(root.join("sub/a.txt"), root.join("sub/hard")).unwrap();
    symlink("a.txt", root.join("sub/link")).unwrap();
    for (path, mode) in [("sub", 0o755), ("sub/dir", 0o755), ("sub/a.txt", 0o640), ("sub/dir/b", 0o600)] {
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
}

fn open(root: &Path) -> HashTree {
    HashTree::of_view(fs::File::open(root).unwrap().into()).unwrap()
}

fn path(path: &str) -> Selector {
    Selector { path: path.to_owned(), follow_links: true, ..Selector::default() }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn recorded_vectors() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    vector_tree(dir.path());
    let check = |selector: &Selector, expected: &str| {
        let found = open(dir.path()).digest(std::slice::from_ref(selector)).unwrap();
        assert_eq!(found.to_string(), format!("sha256:{expected}"), "{selector:?}");
    };
    check(&path("/sub"), "0a83853bc03698cb6752ca7303bb7c0a3a09e41bd1323af099b67d7b41a411da");
    check(&path("/sub/dir"), "a084dc4f07d5de637c7b9df3a297a467e0aecf2e75f36c2ec73f8ec7e2ff87b1");
    let exclude = vec!["dir".to_owned()];
    let wildcard = Selector { wildcard: true, follow_links: false, exclude, ..path("/sub/*") };
    check(&wildcard, "7e11203b985b46e158a171dbc1e72140971fe70497be701a219dbffd63ff7199");
}

#[test]
fn what_changes_a_digest() {
    let dir = tempfile::tempdir().unwrap();
    vector_tree(dir.path());
    let all = || open(dir.path()).digest(&[path("/")]).unwrap();
    let before = all();
    let file = dir.path().join("sub/a.txt");
    let times = fs::File::options().write(true).open(&file).unwrap();
    times.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(all(), before, "times do not count");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let after_chmod = all();
    assert_ne!(after_chmod, before, "modes do");
    fs::set_permissions(dir.path().join("sub/dir"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_ne!(all(), after_chmod, "those of directories too (moby/buildkit#7176)");
}

#[test]
fn selection() {
    let dir = tempfile::tempdir().unwrap();
    vector_tree(dir.path());
    symlink("sub/dir", dir.path().join("into")).unwrap();
    let digest = |selector: Selector| open(dir.path()).digest(&[selector]);
    let same = |a: Selector, b: Selector| assert_eq!(digest(a).unwrap(), digest(b).unwrap());
    // Links in the middle and, when asked, at the end are followed.
    same(path("into/b"), path("/sub/dir/b"));
    same(path("into"), path("sub/dir"));
    assert_ne!(
        digest(Selector { follow_links: false, ..path("into") }).unwrap(),
        digest(path("sub/dir")).unwrap()
    );
    // One match whose name is the pattern's last component is that file.
    same(Selector { wildcard: true, ..path("/su?/dir") }, Selector { wildcard: true, ..path("/s*/dir") });
    // Changing what is not selected changes nothing.
    let include = || Selector { include: vec!["dir/**".to_owned()], ..path("sub") };
    let before = digest(include()).unwrap();
    fs::write(dir.path().join("sub/a.txt"), "other").unwrap();
    assert_eq!(digest(include()).unwrap(), before);
    fs::write(dir.path().join("sub/dir/c"), "new").unwrap();
    assert_ne!(digest(include()).unwrap(), before);
    // Nothing selected, required paths.
    let none = Selector { wildcard: true, ..path("/nothing*") };
    assert_eq!(digest(none.clone()).unwrap(), Digest::of(Digest::of("").to_string()));
    assert!(matches!(
        digest(Selector { required: vec!["x".to_owned()], ..none }),
        Err(HashError::NotFound { path }) if path == "/x"
    ));
    assert!(matches!(digest(path("/missing")), Err(HashError::NotFound { path }) if path == "/missing"));
    symlink("loop", dir.path().join("loop")).unwrap();
    assert!(matches!(digest(path("/loop/x")), Err(HashError::Links { .. })));
}

/// The text that a record's digest begins with, written out.
fn record(
    mode: u32,
    (uid, gid): (u32, u32),
    size: u64,
    flag: char,
    link: &str,
    (major, minor): (u32, u32),
) -> String {
    format!(
        "namemode{mode}uid{uid}gid{gid}size{size}typeflag{flag}linkname{link}unamegnamedevmajor{major}devminor{minor}"
    )
}

/// Digest of what a selector reads, before several are combined.
fn select(tree: &HashTree, selector: &Selector) -> Digest {
    tree.select(selector).unwrap()
}

#[test]
fn records() {
    #[track_caller]
    fn check(header: &Header, expected: &str) {
        assert_eq!(header.digest(), Digest::of(expected), "{header:?}");
    }
    let plain = Header {
        kind: FileKind::Regular,
        mode: 0o644,
        uid: 1,
        gid: 2,
        size: 3,
        target: Vec::new(),
        device: (0, 0),
        xattrs: Vec::new(),
    };
    let of = |kind, mode| Header { kind, mode, ..plain.clone() };
    check(&plain, &record(420, (1, 2), 3, '0', "", (0, 0)));
    // Only regular files have a size; links are open to all, whatever their mode says.
    check(&of(FileKind::Directory, 0o1755), &record(0o1755, (1, 2), 0, '5', "", (0, 0)));
    let link = Header { target: b"to/x".to_vec(), ..of(FileKind::Symlink, 0o600) };
    check(&link, &record(0o777, (1, 2), 0, '2', "to/x", (0, 0)));
    check(&of(FileKind::Fifo, 0o4711), &record(0o4711, (1, 2), 0, '6', "", (0, 0)));
    check(&of(FileKind::Socket, 0o2600), &record(0o2600, (1, 2), 0, '0', "", (0, 0)));
    let device = Header { device: (1, 300), ..of(FileKind::CharDevice, 0o600) };
    check(&device, &record(0o600, (1, 2), 0, '3', "", (1, 300)));
    check(&of(FileKind::BlockDevice, 0o600), &record(0o600, (1, 2), 0, '4', "", (0, 0)));
    let attribute = |name: &str, value: &[u8]| (name.as_bytes().to_vec(), value.to_vec());
    let xattrs = vec![
        attribute("security.capability", b"cap"),
        attribute("security.selinux", b"label"),
        attribute("system.posix_acl_access", b"acl"),
        attribute("trusted.x", b"t"),
        attribute("user.y", b"\0z"),
    ];
    let expected =
        format!("{}security.capabilitycaptrusted.xtuser.y\0z", record(420, (1, 2), 3, '0', "", (0, 0)));
    check(&Header { xattrs, ..plain.clone() }, &expected);
}

/// Digests of files, directories and selections as the reference spells them, computed by hand.
#[test]
fn directories() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for (path, content) in [("a/x", "1"), ("a/y/z", "22"), ("a-b", "333"), ("a.c", "")] {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    for path in ["a/x", "a/y/z", "a-b", "a.c", "a", "a/y"] {
        let mode = if path.ends_with(['a', 'y']) { 0o755 } else { 0o644 };
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
    symlink("a", root.join("link")).unwrap();
    let file = |content: &str| {
        Digest::of(format!("{}{content}", record(420, (0, 0), content.len() as u64, '0', "", (0, 0))))
    };
    let header = Digest::of(record(0o755, (0, 0), 0, '5', "", (0, 0)));
    let link = Digest::of(record(0o777, (0, 0), 0, '2', "a", (0, 0)));
    let y = Digest::of(format!("\0{header}\0z{}", file("22")));
    let a = Digest::of(format!("\0{header}\0x{}\0y{y}", file("1")));
    // `/` sorts before all: what a directory holds stands before `a-b`; here it is one digest anyway.
    let all = format!("\0{header}\0a{a}\0a-b{}\0a.c{}\0link{link}", file("333"), file(""));
    let tree = || open(root);
    let plain =
        |path: &str, follow_links| Selector { path: path.to_owned(), follow_links, ..Selector::default() };
    assert_eq!(select(&tree(), &plain("/", false)), Digest::of(all));
    assert_eq!(select(&tree(), &plain("a", false)), a);
    assert_eq!(select(&tree(), &plain("/a/y/../y/z", false)), file("22"));
    assert_eq!((select(&tree(), &plain("link", true)), select(&tree(), &plain("link", false))), (a, link));
    assert_eq!(select(&tree(), &plain("link/y", false)), y, "in the middle links are always followed");
    // Several selectors: their digests joined.
    let both = [plain("a", false), plain("a-b", false)];
    assert_eq!(tree().digest(&both).unwrap(), Digest::of(format!("{a}\0{}", file("333"))));

    // With patterns: keys below the path, each directory by its own record only.
    let with = |path: &str, include: &[&str], exclude: &[&str]| {
        let list = |patterns: &[&str]| patterns.iter().map(|&it| it.to_owned()).collect();
        Selector {
            path: path.to_owned(),
            include: list(include),
            exclude: list(exclude),
            ..Selector::default()
        }
    };
    let sum = |parts: &[(&str, Digest)]| {
        Digest::of(parts.iter().map(|(key, digest)| format!("{key}{digest}")).collect::<String>())
    };
    let below_a = [("\0x", file("1")), ("\0y", header), ("\0y\0z", file("22"))];
    let whole_a = [&[("\0", header)], &below_a[..]].concat();
    assert_eq!(select(&tree(), &with("a", &["**"], &[])), sum(&whole_a));
    // A slash at the end leaves the directory's own record out.
    assert_eq!(select(&tree(), &with("a/", &["**"], &[])), sum(&below_a));
    // A directory that is not meant itself comes before the first thing in it that is.
    assert_eq!(
        select(&tree(), &with("a", &["y/z"], &[])),
        sum(&[("\0", header), ("\0y", header), ("\0y\0z", file("22"))])
    );
    assert_eq!(select(&tree(), &with("a", &[], &["y"])), sum(&whole_a[..2]));
    assert_eq!(
        select(&tree(), &with("a", &[], &["*", "!y/z"])),
        sum(&[&whole_a[..1], &whole_a[2..]].concat())
    );
    // A copy makes the top of what it copies in any case; for the digest it is only there with something in it.
    assert_eq!(select(&tree(), &with("a", &["nothing"], &[])), Digest::of(""));
    assert_eq!(select(&tree(), &with("a/", &["nothing"], &[])), Digest::of(""));
    // One thing of the name that was asked for is that.
    assert_eq!(select(&tree(), &with("a-b", &[], &["x"])), file("333"));
    let wildcard = |path: &str, follow_links| Selector {
        path: path.to_owned(),
        wildcard: true,
        follow_links,
        ..Selector::default()
    };
    assert_eq!(
        select(&tree(), &wildcard("a-*", false)),
        sum(&[("\0a-b", file("333"))]),
        "its name is not the pattern"
    );
    // What is matched brings all it holds; keys are those below what stands before the wildcard.
    let matched = [
        ("\0a", header),
        ("\0a\0x", file("1")),
        ("\0a\0y", header),
        ("\0a\0y\0z", file("22")),
        ("\0a-b", file("333")),
    ];
    assert_eq!(select(&tree(), &wildcard("a?b", false)), sum(&matched[4..]));
    assert_eq!(select(&tree(), &wildcard("/a/?", false)), sum(&below_a));
    let by_both = Selector { exclude: vec!["y/z".to_owned()], ..wildcard("/[a]", false) };
    assert_eq!(select(&tree(), &by_both), sum(&matched[..3]), "patterns are relative to what was matched");
    // A link that is matched stands for what it leads to, when links are followed.
    assert_eq!(select(&tree(), &wildcard("lin?", false)), sum(&[("\0link", link)]));
    assert_eq!(select(&tree(), &wildcard("lin?", true)), sum(&[("\0link", a)]));
    // Before the wildcard they always are; the keys are those of the path as it was asked for.
    assert_eq!(select(&tree(), &wildcard("link/x*", false)), sum(&below_a[..1]));
    assert_eq!(select(&tree(), &wildcard("no/*", false)), Digest::of(""));
}

#[test]
fn required_paths_count_with_patterns_only() {
    let dir = tempfile::tempdir().unwrap();
    vector_tree(dir.path());
    let digest = |selector: Selector, required: &str| {
        let required = vec![required.to_owned()];
        open(dir.path()).digest(&[Selector { required, ..selector }])
    };
    assert!(digest(path("sub"), "/none").is_ok());
    let all = || Selector { include: vec!["**".to_owned()], ..path("sub") };
    for there in ["/sub", "/sub/dir", "/sub/dir/b", "/sub/a.t"] {
        assert!(digest(all(), there).is_ok(), "{there}: the beginning of a path is enough");
    }
    assert!(matches!(digest(all(), "/sub/none"), Err(HashError::NotFound { path }) if path == "/sub/none"));
    let only = Selector { include: vec!["a.txt".to_owned()], ..path("sub") };
    assert!(digest(only, "/sub/dir/b").is_err(), "what was not selected is not there");
}

/// On disk a device's numbers are not looked at (a bug of BuildKit's that keys depend on); of a local directory they are.
#[test]
fn devices() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let node = dir.path().join("null");
    let device = rustix::fs::makedev(1, 3);
    rustix::fs::mknodat(rustix::fs::CWD, &node, rustix::fs::FileType::CharacterDevice, 0o600.into(), device)
        .unwrap();
    fs::set_permissions(&node, fs::Permissions::from_mode(0o666)).unwrap();
    let found = select(&open(dir.path()), &path("null"));
    assert_eq!(found, Digest::of(record(0o666, (0, 0), 0, '3', "", (0, 0))));
}

#[test]
fn trees_without_a_top() {
    let nothing = HashTree::of_nothing();
    assert_eq!(select(&nothing, &path("/")), Digest::of(""));
    assert_eq!(select(&nothing, &path("")), Digest::of(""));
    assert!(matches!(nothing.digest(&[path("/x")]), Err(HashError::NotFound { path }) if path == "/x"));
    // What came from a local directory has a top of the digest of nothing, too, with all that is in it.
    let file = Digest::of("file");
    let children = [(b"f".to_vec(), Node::file(file))].into();
    let tree = HashTree::complete(Node::directory(Digest::of(""), children));
    assert_eq!(tree.whole(), Digest::of(format!("\0{}\0f{file}", Digest::of(""))));
}

#[test]
fn many_links() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("l0"), "end").unwrap();
    for n in 1..=256 {
        symlink(format!("l{}", n - 1), dir.path().join(format!("l{n}"))).unwrap();
    }
    let tree = open(dir.path());
    assert_eq!(select(&tree, &path("l255")), select(&tree, &path("l0")));
    assert!(matches!(tree.digest(&[path("l256")]), Err(HashError::Links { .. })));
    symlink("../../../../l0", dir.path().join("up")).unwrap();
    symlink("/l0", dir.path().join("absolute")).unwrap();
    let tree = open(dir.path());
    assert_eq!(select(&tree, &path("up")), select(&tree, &path("l0")));
    assert_eq!(select(&tree, &path("absolute")), select(&tree, &path("l0")));
}
