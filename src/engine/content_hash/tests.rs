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
