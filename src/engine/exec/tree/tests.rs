//! Paths that try to leave their tree.

use std::fs as std_fs;
use std::os::unix::fs::symlink;

use super::*;

const OWN: fn() -> Owner =
    || Owner { uid: rustix::process::getuid().as_raw(), gid: rustix::process::getgid().as_raw() };

#[test]
fn clean_paths() {
    let check = |base: &str, path: &str, expected: &str| {
        assert_eq!(clean(base, path), Path::new(expected), "`{path}` from `{base}`");
    };
    check("/w", "a/./b//c/", "/w/a/b/c");
    check("/w", "/a/../b", "/b");
    check("/w", "../../..", "/");
    check("w/x", "..", "/w");
    check("", "", "/");
}

/// Where `path` lies in a tree with links, as `directory name`; `!` before what does not exist.
fn check(path: &str, expected: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path();
    std_fs::create_dir_all(root.join("d/e")).expect("a directory");
    std_fs::write(root.join("d/file"), "").expect("a file");
    symlink("/d/e", root.join("abs")).expect("a link");
    symlink("../../../../d", root.join("d/e/up")).expect("a link");
    symlink("/new/place", root.join("dangling")).expect("a link");
    symlink("loop", root.join("loop")).expect("a link");
    let fd = std_fs::File::open(root).expect("the directory opens");
    let found = match place(fd.as_fd(), Path::new(path), OWN()) {
        Err(err) => format!("errno {}", err.raw_os_error()),
        Ok(at) => {
            let parent = rustix::fs::readlink(proc_path(&at.parent), Vec::new()).expect("/proc is mounted");
            let parent = PathBuf::from(OsStr::from_bytes(parent.as_bytes()));
            let parent = parent.strip_prefix(root).expect("inside the tree").display().to_string();
            let mark = if at.exists { "" } else { "!" };
            format!("{mark}/{parent} {}", at.name.display())
        }
    };
    assert_eq!(found, expected, "{path}");
}

fn proc_path(fd: &OwnedFd) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

#[test]
fn places_are_in_the_tree() {
    check("/d/file", "/d file");
    check("/d/e", "/d/e .");
    check("/", "/ .");
    check("../../etc/passwd", "!/etc passwd");
    check("abs/x", "!/d/e x");
    check("abs/up/file", "/d file");
    check("dangling", "!/new place");
    check("dangling/more", "!/new/place more");
    check("d/file/x", "errno 20");
    check("loop", "errno 40");
}

#[test]
fn only_small_regular_files_are_read() {
    let dir = tempfile::tempdir().expect("a directory");
    std_fs::write(dir.path().join("ten"), "0123456789").expect("a file");
    symlink("/ten", dir.path().join("link")).expect("a link");
    symlink("/proc/self/environ", dir.path().join("out")).expect("a link");
    let fd = std_fs::File::open(dir.path()).expect("the directory opens");
    let read = |path, limit| read_text(fd.as_fd(), path, limit);
    assert!(read("link", 10).is_ok_and(|it| it == "0123456789"));
    assert!(matches!(read("ten", 9), Err(ReadError::TooLarge)));
    assert!(matches!(read("/", 9), Err(ReadError::NotRegular)));
    assert!(read("out", 9).is_ok_and(|it| it.is_empty()), "it is not in the tree");
    assert!(read("none/at/all", 9).is_ok_and(|it| it.is_empty()));
}
