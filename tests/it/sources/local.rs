//! `local` sources: every attribute, and files that are no plain files.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use bkl::graph::ir::build::{Differ, LocalOptions};
use bkl::graph::ir::{Edge, Graph};
use libtest_mimic::Trial;

use super::{Bench, Tree};

pub(super) fn trials() -> Vec<Trial> {
    let trial = |name: &str, run: fn()| crate::trial(format!("sources::local::needs_root::{name}"), run);
    vec![
        trial("what_is_chosen", what_is_chosen),
        trial("only_a_list", only_a_list),
        trial("whose_directory", whose_directory),
        trial("strange_files", strange_files),
    ]
}

fn options() -> LocalOptions {
    LocalOptions::default()
}

fn of(options: LocalOptions) -> impl FnOnce(&mut Graph) -> Edge {
    move |graph| graph.local_with("ctx", &options)
}

/// A bench whose session gives the directory as `ctx`.
fn bench() -> (Bench, PathBuf) {
    let mut bench = Bench::new();
    let dir = bench.dir.path().join("ctx");
    for path in ["a", "dir/file1", "dir/file2", "dir/sub/bar1", "other/deep/x.rs", "other/y.md"] {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, path.file_name().unwrap().as_encoded_bytes()).unwrap();
    }
    symlink("dir/file1", dir.join("link")).unwrap();
    bench.given.dirs.insert("ctx".to_owned(), dir.clone());
    (bench, dir)
}

/// All paths of a tree, sorted.
fn paths(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(tree.path(dir.to_str().unwrap())).unwrap().flatten() {
            let path = dir.join(entry.file_name());
            found.push(path.display().to_string());
            if entry.file_type().unwrap().is_dir() {
                todo.push(path);
            }
        }
    }
    found.sort();
    found
}

fn what_is_chosen() {
    let (bench, dir) = bench();
    let list = |patterns: &[&str]| patterns.iter().map(|&it| it.to_owned()).collect::<Vec<_>>();
    let check = |include: &[&str], exclude: &[&str], follow: &[&str], expected: &[&str]| {
        let options = LocalOptions {
            include: list(include),
            exclude: list(exclude),
            follow: list(follow),
            ..options()
        };
        assert_eq!(paths(&bench.built(of(options))), expected, "{include:?} {exclude:?} {follow:?}");
    };
    check(&["dir/file*", "!dir/file2"], &[], &[], &["dir", "dir/file1"]);
    check(&["**/*.rs"], &[], &[], &["other", "other/deep", "other/deep/x.rs"]);
    check(&[], &["dir", "other/deep"], &[], &["a", "link", "other", "other/y.md"]);
    check(&["dir"], &["**/bar*"], &[], &["dir", "dir/file1", "dir/file2", "dir/sub"]);
    check(&[], &[], &["link"], &["dir", "dir/file1", "link"]);
    check(&["a"], &[], &["li*"], &["a", "dir", "dir/file1", "link"]);
    // What is left out may change at will; nothing is made anew for it.
    let only = || of(LocalOptions { include: list(&["a"]), ..options() });
    let first = bench.built(only());
    fs::write(dir.join("dir/file1"), "changed").unwrap();
    let again = bench.built(only());
    assert_eq!((again.snapshot == first.snapshot, again.n_fetched), (true, 0));
    fs::write(dir.join("a"), "changed").unwrap();
    assert_eq!(bench.built(only()).read("a"), "changed");
    // How changes are found, and what a daemon keeps directories apart by, changes nothing of what comes.
    let all = bench.built(of(options()));
    for differ in
        [Some(Differ { metadata: false, required: true }), Some(Differ { metadata: true, required: false })]
    {
        let unique = Some("u".to_owned());
        let options = LocalOptions { differ, unique, shared_key_hint: "h".to_owned(), ..options() };
        assert_eq!(bench.built(of(options)).snapshot, all.snapshot);
    }
}

fn only_a_list() {
    let (bench, dir) = bench();
    let only = |exceptions: &[&str]| {
        let exceptions = exceptions.iter().map(|&it| it.to_owned()).collect();
        of(LocalOptions { metadata_only: Some(exceptions), ..options() })
    };
    let plain = bench.built(only(&[]));
    assert_eq!(paths(&plain), [".fsutil-metadata"]);
    let meta = plain.path(".fsutil-metadata").metadata().unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.mtime()), (0o600, 0, 0));
    let list = fs::read(plain.path(".fsutil-metadata")).unwrap();
    let has = |list: &[u8], name: &str| list.windows(name.len()).any(|it| it == name.as_bytes());
    for name in ["dir/sub/bar1", "other/deep/x.rs", "link"] {
        assert!(has(&list, name), "{name}");
    }
    let chosen = || bench.built(only(&["**/*1", "link"]));
    let tree = chosen();
    let expected = [".fsutil-metadata", "dir", "dir/file1", "dir/sub", "dir/sub/bar1", "link"];
    assert_eq!(
        (paths(&tree), tree.read("dir/file1")),
        (expected.map(str::to_owned).to_vec(), "file1".to_owned())
    );
    assert_eq!(fs::read(tree.path(".fsutil-metadata")).unwrap(), list);
    // Nothing changed: nothing is made. A name more is another list, though no content came.
    let again = chosen();
    assert_eq!((again.snapshot == tree.snapshot, again.n_fetched), (true, 0));
    fs::write(dir.join("new-name"), "").unwrap();
    let more = chosen();
    assert_eq!(paths(&more), expected);
    assert!(has(&fs::read(more.path(".fsutil-metadata")).unwrap(), "new-name"));
    fs::write(dir.join("dir/file1"), "changed").unwrap();
    assert_eq!(chosen().read("dir/file1"), "changed");
    fs::remove_dir_all(dir.join("dir/sub")).unwrap();
    assert_eq!(paths(&chosen()), [".fsutil-metadata", "dir", "dir/file1", "link"]);
}

fn whose_directory() {
    let (mut bench, dir) = bench();
    let session = |text: &str| LocalOptions { session: text.to_owned(), ..options() };
    assert!(bench.built(of(session("some-id"))).has("a"));
    bench.fails(of(session("main:some-id")), "the local directory `main-ctx` is not given");
    let other = dir.join("other");
    bench.given.dirs.insert("main-ctx".to_owned(), other);
    assert_eq!(paths(&bench.built(of(session("main:some-id")))), ["deep", "deep/x.rs", "y.md"]);
    let raw = |key: &str, value: &str| {
        let op = bkl::graph::ir::SourceOp {
            identifier: "local://ctx".to_owned(),
            attrs: [(key.to_owned(), value.to_owned())].into(),
        };
        move |graph: &mut Graph| graph.source(op, &[], None)
    };
    bench.fails(raw("local.includepattern", "a"), "which says nothing");
    bench.fails(raw("local.metadatatransfer", "perhaps"), "which says nothing");
    bench.fails(raw("local.excludepatterns", r#"["[a"]"#), "bad pattern");
}

fn strange_files() {
    let (bench, dir) = bench();
    let run = |program: &str, args: &[&str]| {
        assert!(Command::new(program).args(args).current_dir(&dir).status().unwrap().success());
    };
    run("mkfifo", &["-m", "640", "fifo"]);
    run("mknod", &["-m", "666", "null", "c", "1", "3"]);
    let _socket = UnixListener::bind(dir.join("socket")).unwrap();
    symlink("/etc/shadow", dir.join("shadow")).unwrap();
    symlink("../../../../../../etc", dir.join("up")).unwrap();
    fs::hard_link(dir.join("a"), dir.join("dir/same")).unwrap();
    fs::set_permissions(dir.join("a"), fs::Permissions::from_mode(0o4751)).unwrap();
    std::os::unix::fs::chown(dir.join("dir"), Some(1000), Some(1000)).unwrap();
    let tree = bench.built(of(options()));
    let meta = |path: &str| tree.path(path).symlink_metadata().unwrap();
    assert!(meta("fifo").file_type().is_fifo() && meta("null").file_type().is_char_device());
    assert_eq!((meta("fifo").mode() & 0o7777, meta("null").rdev()), (0o640, 0x103));
    assert!(!tree.has("socket"), "sockets are left out");
    assert_eq!(fs::read_link(tree.path("shadow")).unwrap(), Path::new("/etc/shadow"));
    assert_eq!(fs::read_link(tree.path("up")).unwrap(), Path::new("../../../../../../etc"));
    assert_eq!((meta("a").mode() & 0o7777, meta("dir").uid(), meta("dir").gid()), (0o4751, 0, 0));
    assert_eq!((meta("a").ino(), meta("a").nlink()), (meta("dir/same").ino(), 2));
    // Following stops at the directory's top: what is meant is what lies there.
    let follow = LocalOptions { follow: vec!["up/hostname".to_owned(), "shadow".to_owned()], ..options() };
    assert_eq!(paths(&bench.built(of(follow))), ["shadow", "up"]);
}
