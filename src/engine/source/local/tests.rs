//! Local directories: what is selected, what is remembered, what cannot be read.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::scan::{Filter, Scan};
use super::*;
use crate::base::glob::Patterns;
use crate::engine::cancel::Cancel;
use crate::store::Table;

fn patterns(list: &[&str]) -> Patterns {
    Patterns::new(list).unwrap()
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|&it| it.to_owned()).collect()
}

fn scanned(dir: &Path, include: &[String], exclude: &[&str]) -> Scan {
    let root = scan::open_root(dir, "ctx").unwrap();
    let filter = Filter { include: Patterns::new(include).unwrap(), exclude: patterns(exclude) };
    scan::scan(&root, dir, &filter, &Cancel::new()).unwrap()
}

fn paths(scan: &Scan) -> Vec<String> {
    scan.entries.iter().map(|it| String::from_utf8_lossy(&it.path).into_owned()).collect()
}

fn read(dir: &Path, scan: &mut Scan) -> Result<(), LocalError> {
    scan.read_files(&scan::open_root(dir, "ctx").unwrap(), dir, &Cancel::new())
}

fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for path in ["src/a.rs", "src/deep/b.rs", "src-gen/c.rs", "node_modules/x/index.js", "README.md"] {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "text").unwrap();
    }
    symlink("../README.md", dir.path().join("src/readme")).unwrap();
    symlink("/src", dir.path().join("rooted")).unwrap();
    dir
}

#[test]
fn patterns_select() {
    let dir = tree();
    let check = |include: &[&str], exclude: &[&str], expected: &[&str]| {
        assert_eq!(
            paths(&scanned(dir.path(), &strings(include), exclude)),
            expected,
            "{include:?} {exclude:?}"
        );
    };
    // Components are compared, so `src/..` stands before `src-gen`.
    let src = ["src", "src/a.rs", "src/deep", "src/deep/b.rs", "src/readme"];
    check(&["src"], &[], &src);
    check(&["src", "src-gen"], &["**/*.rs"], &["src", "src/deep", "src/readme", "src-gen"]);
    check(&["**/b.rs"], &[], &["src", "src/deep", "src/deep/b.rs"]);
    check(&[], &["*", "!src/deep"], &["src", "src/deep", "src/deep/b.rs"]);
    check(&[], &["src*", "node_modules"], &["README.md", "rooted"]);
    check(&["nothing"], &[], &[]);
}

#[test]
fn followed_links_bring_their_targets() {
    let dir = tree();
    let check = |follow: &[&str], expected: &[&str]| {
        let root = scan::open_root(dir.path(), "ctx").unwrap();
        let include = follow::extend(&root, dir.path(), Vec::new(), &strings(follow)).unwrap();
        assert_eq!(include, strings(expected), "{follow:?}");
    };
    check(&["src/readme"], &["README.md", "src/readme"]);
    check(&["rooted/deep"], &["rooted", "src/deep"]);
    check(&["rooted/readme"], &["README.md", "rooted", "src/readme"]);
    check(&["src/r*"], &["README.md", "src/r*"]);
    check(&["not/there"], &["not/there"]);
    check(&["."], &[]);
    symlink("loop", dir.path().join("loop")).unwrap();
    check(&["loop"], &["loop"]);
}

#[test]
fn what_is_remembered_is_not_read_again() {
    let dir = tree();
    // Old enough to be believed.
    std::thread::sleep(std::time::Duration::from_millis(80));
    let (_home, store) = store();
    let id = Digest::of("id");
    let mut first = scanned(dir.path(), &[], &[]);
    read(dir.path(), &mut first).unwrap();
    assert!(first.entries.iter().all(|it| it.settled));
    let key = first.hash_tree().whole();
    let memory = Memory::new(&first);
    let load = || state::load(&store, &id);
    assert!(load().is_none());
    state::keep(&store, &id, None, &first, &memory, &key).unwrap();
    let known = load().unwrap();
    assert_eq!((&known.scan, &known.memory, known.key), (&first, &memory, key));
    let mut second = scanned(dir.path(), &[], &[]);
    assert!(second.take_known(&known));
    assert_eq!(second.entries, first.entries);
    // One file is written anew: it alone is unknown.
    fs::write(dir.path().join("src/a.rs"), "text").unwrap();
    let mut third = scanned(dir.path(), &[], &[]);
    assert!(!third.take_known(&known));
    let unknown: Vec<_> =
        third.entries.iter().filter(|it| it.digest.is_none()).map(|it| it.path.clone()).collect();
    assert_eq!(unknown, [b"src/a.rs"]);
    read(dir.path(), &mut third).unwrap();
    assert_eq!(third.hash_tree().whole(), key, "its content is the same");
    // It is so young that it might be written again in the same tick: next time it is read again.
    assert!(third.entries.iter().any(|it| !it.settled));
    let memory = memory.advance(&known.scan, &third);
    state::keep(&store, &id, Some(&known), &third, &memory, &key).unwrap();
    let known = load().unwrap();
    assert_eq!((&known.scan, &known.memory), (&third, &memory));
    assert!(!scanned(dir.path(), &[], &[]).take_known(&known));
    // What is damaged is not there.
    for which in ["scan:", "since:"] {
        let name = [which.as_bytes(), id.as_bytes()].concat();
        let bytes = store.get_value(Table::LocalFiles, &name).unwrap().unwrap();
        for length in 0..bytes.len() {
            store.put_value(Table::LocalFiles, &name, &bytes[..length]).unwrap();
            assert!(load().is_none(), "{which} {length}");
        }
        store.put_value(Table::LocalFiles, &name, &bytes).unwrap();
    }
}

fn store() -> (tempfile::TempDir, Arc<Store>) {
    let home = tempfile::tempdir().unwrap();
    let options = crate::store::Options::default();
    let store = Store::open(&home.path().join("store"), &options).unwrap();
    (home, Arc::new(store))
}

#[test]
fn only_the_difference_is_written() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..400 {
        fs::write(dir.path().join(format!("f{n}")), n.to_string()).unwrap();
    }
    std::thread::sleep(std::time::Duration::from_millis(80));
    let (_home, store) = store();
    let look = || look_at(&store, dir.path().to_owned(), &Wanted::default(), &Cancel::new()).unwrap();
    let first = look();
    let value = |what: &str| {
        let name = [what.as_bytes(), first.id.as_bytes()].concat();
        store.get_value(Table::LocalFiles, &name).unwrap().unwrap()
    };
    let (base, start) = (value("scan:"), first.moment());
    let paths = |tree: &LocalTree, moment: &Moment| {
        let since = tree.since(moment).unwrap();
        let name = |idx: &usize| String::from_utf8(tree.scan.entries[*idx].path.clone()).unwrap();
        let gone = since.gone.iter().map(|it| String::from_utf8(it.to_vec()).unwrap());
        (since.changed.iter().map(name).collect::<Vec<_>>(), gone.collect::<Vec<_>>())
    };
    assert_eq!(paths(&look(), &start), (vec![], vec![]));
    fs::write(dir.path().join("f7"), "seven").unwrap();
    let second = look();
    assert_eq!(paths(&second, &start), (vec!["f7".to_owned()], vec![]));
    fs::remove_file(dir.path().join("f8")).unwrap();
    fs::write(dir.path().join("new"), "new").unwrap();
    let third = look();
    assert_eq!(paths(&third, &start), (vec!["f7".to_owned(), "new".to_owned()], vec!["f8".to_owned()]));
    assert_eq!(paths(&third, &second.moment()), (vec!["new".to_owned()], vec!["f8".to_owned()]));
    assert!(value("scan:") == base && value("since:").len() < 2000, "only a difference is written");
    // As the same kind it may come back, as another all begins anew.
    fs::write(dir.path().join("f8"), "again").unwrap();
    let fourth = look();
    assert_eq!(paths(&fourth, &third.moment()), (vec!["f8".to_owned()], vec![]));
    assert_eq!(third.since(&fourth.moment()), None, "what is to come is not known");
    fs::remove_file(dir.path().join("f8")).unwrap();
    look();
    fs::create_dir(dir.path().join("f8")).unwrap();
    assert_eq!(look().since(&start), None);
    // Two who looked at once have different moments.
    let (one, other) = (first.memory.clone(), first.memory.clone());
    let (one, other) = (one.advance(&first.scan, &second.scan), other.advance(&first.scan, &third.scan));
    assert_eq!(one.since(&other.moment()), None);
    // A large difference is a new base.
    for n in 0..40 {
        fs::write(dir.path().join(format!("f{n}x")), "more").unwrap();
    }
    look();
    assert!(value("scan:") != base);
    assert_eq!(look().scan.entries.len(), 441);
}

#[test]
fn files_that_do_not_hold_still() {
    let check = |change: fn(&Path), expected: fn(&LocalError) -> bool| {
        let dir = tree();
        let file = dir.path().join("src/a.rs");
        let mut scan = scanned(dir.path(), &[], &[]);
        std::thread::sleep(std::time::Duration::from_millis(20));
        change(&file);
        let error = read(dir.path(), &mut scan).unwrap_err();
        assert!(expected(&error) && error.help().is_some(), "{error}");
        assert!(error.to_string().contains("src"), "{error}");
    };
    let changed: fn(&LocalError) -> bool = |it| matches!(it, LocalError::Changed { .. });
    let vanished: fn(&LocalError) -> bool = |it| matches!(it, LocalError::Vanished { .. });
    check(|file| fs::write(file, "longer text").unwrap(), changed);
    check(|file| fs::write(file, "tex2").unwrap(), changed);
    check(|file| fs::remove_file(file).unwrap(), vanished);
    check(|file| fs::remove_dir_all(file.parent().unwrap()).unwrap(), vanished);
    check(
        |file| {
            fs::remove_file(file).unwrap();
            symlink("/etc/passwd", file).unwrap();
        },
        vanished,
    );
    // Opening a FIFO would wait for a writer.
    check(
        |file| {
            fs::remove_file(file).unwrap();
            rustix::fs::mknodat(rustix::fs::CWD, file, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        },
        changed,
    );
    check(
        |file| {
            fs::remove_file(file).unwrap();
            fs::create_dir(file).unwrap();
        },
        changed,
    );
}

#[test]
fn what_ops_say() {
    #[track_caller]
    fn check(attrs: &[(&str, &str)], expected: Result<&str, &str>) {
        let attrs = attrs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let op = SourceOp { identifier: "local://ctx".to_owned(), attrs };
        let found = Wanted::read(&op).map(|it| {
            let Wanted { name, include, exclude, follow, differ, metadata_only } = it;
            format!("{name} {include:?} {exclude:?} {follow:?} {differ:?} {metadata_only:?}")
        });
        assert_eq!(
            found.map_err(|error| error.to_string()),
            expected.map(str::to_owned).map_err(str::to_owned)
        );
    }
    let plain = "ctx [] [] [] Metadata None";
    check(&[], Ok(plain));
    check(&[("local.session", "id"), ("local.unique", "u"), ("local.sharedkeyhint", "h")], Ok(plain));
    check(&[("local.session", "main:id")], Ok("main-ctx [] [] [] Metadata None"));
    check(
        &[
            ("local.includepattern", r#"["a","b"]"#),
            ("local.excludepatterns", r#"["c"]"#),
            ("local.followpaths", "null"),
            ("local.differ", "none"),
        ],
        Ok(r#"ctx ["a", "b"] ["c"] [] None None"#),
    );
    check(&[("local.differ", "metadata"), ("local.metadatatransfer", "false")], Ok(plain));
    check(&[("local.metadatatransferexclude", r#"["x"]"#)], Ok(plain));
    let metadata = ("local.metadatatransfer", "true");
    check(&[metadata], Ok("ctx [] [] [] Metadata Some([])"));
    check(
        &[metadata, ("local.metadatatransferexclude", r#"["x"]"#)],
        Ok(r#"ctx [] [] [] Metadata Some(["x"])"#),
    );
    check(
        &[("local.metadatatransfer", "yes")],
        Err("the local directory `ctx` has `local.metadatatransfer` as `yes`, which says nothing"),
    );
    check(
        &[("local.differ", "weird")],
        Err("the local directory `ctx` has `local.differ` as `weird`, which says nothing"),
    );
    // What cannot be read must not be taken for "everything".
    check(
        &[("local.includepattern", "src")],
        Err("the local directory `ctx` has `local.includepattern` as `src`, which says nothing"),
    );
}

#[test]
fn strange_files() {
    use rustix::fs::{CWD, FileType, mknodat};
    let dir = tree();
    let path = |name: &str| dir.path().join(name);
    mknodat(CWD, path("fifo"), FileType::Fifo, 0o640.into(), 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
    symlink("/etc/shadow", path("shadow")).unwrap();
    symlink("nowhere", path("dangling")).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        mknodat(CWD, path("null"), FileType::CharacterDevice, 0o666.into(), rustix::fs::makedev(1, 3))
            .unwrap();
    }
    let mut scan = scanned(dir.path(), &[], &[]);
    read(dir.path(), &mut scan).unwrap();
    let of = |path: &str| scan.entries.iter().find(|it| it.path == path.as_bytes());
    assert!(of("socket").is_none(), "sockets are left out");
    assert_eq!(of("fifo").unwrap().kind, crate::engine::content_hash::FileKind::Fifo);
    // A link is a link, wherever it leads.
    assert_eq!(of("shadow").unwrap().target, b"/etc/shadow");
    assert!(of("dangling").is_some());
    if is_root {
        assert_eq!(of("null").unwrap().header().device, (1, 3));
    }
}

/// Following ends at the directory's own top.
#[test]
fn links_out_of_the_directory_lead_nowhere() {
    let dir = tree();
    symlink("/etc", dir.path().join("out")).unwrap();
    symlink("../../../../../../etc", dir.path().join("src/up")).unwrap();
    let check = |follow: &str, expected: &[&str]| {
        let root = scan::open_root(dir.path(), "ctx").unwrap();
        let include = follow::extend(&root, dir.path(), Vec::new(), &strings(&[follow])).unwrap();
        assert_eq!(include, strings(expected));
        let found = paths(&scanned(dir.path(), &include, &[]));
        assert!(found.iter().all(|path| !path.contains("shadow") && !path.contains("passwd")), "{found:?}");
    };
    check("out/shadow", &["etc/shadow", "out"]);
    check("src/up/passwd", &["etc/passwd", "src/up"]);
    check("../../etc/passwd", &["etc/passwd"]);
}

/// Runs `work` as nobody, as far as files are concerned, on this thread.
fn as_nobody<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: plain system calls on numbers; the id is the thread's own, and is set back.
    let before = unsafe { libc::setfsuid(65_534) };
    let done = work();
    // SAFETY: as above.
    unsafe { libc::setfsuid(before.cast_unsigned()) };
    done
}

#[test]
fn what_cannot_be_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let mode = |path: &Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(dir.path(), 0o755);
    fs::create_dir(dir.path().join("closed")).unwrap();
    fs::write(dir.path().join("secret"), "text").unwrap();
    mode(&dir.path().join("secret"), 0o600);
    mode(&dir.path().join("closed"), 0o0);
    let check = |exclude: &[&str], expected: Option<&str>| {
        // Root reads everything, so this is somebody else; one directory is walked by this thread alone.
        let result = as_nobody(|| {
            let root = scan::open_root(dir.path(), "ctx").unwrap();
            let filter = Filter { include: patterns(&[]), exclude: patterns(exclude) };
            let scan = scan::scan(&root, dir.path(), &filter, &Cancel::new())?;
            let mut entries = scan.entries.iter().filter(|it| it.path == b"secret");
            let top = scan::open_directory(&root, b"").unwrap();
            entries.try_for_each(|entry| scan::read_entry(&top, dir.path(), entry).map(drop))
        });
        match (result, expected) {
            (Ok(()), None) => {}
            (Err(error), Some(name)) => {
                assert!(matches!(error, LocalError::Unreadable { .. }) && error.help().is_some(), "{error}");
                assert!(error.to_string().contains(name), "{error}");
            }
            (result, expected) => panic!("{result:?}, not {expected:?}"),
        }
    };
    check(&[], Some("closed"));
    check(&["closed"], Some("secret"));
    // What is left out is not looked at.
    check(&["closed", "secret"], None);
    mode(&dir.path().join("closed"), 0o700);
}

/// As deep as a path may be long: whatever walks down does so on any stack.
#[test]
fn directories_that_are_deeper_than_the_stack() {
    use rustix::fs::{Mode, OFlags, mkdirat, openat};
    let dir = tempfile::tempdir().unwrap();
    let mut at: OwnedFd = fs::File::open(dir.path()).unwrap().into();
    for _ in 0..1500 {
        mkdirat(&at, "d", Mode::from_raw_mode(0o755)).unwrap();
        at = openat(&at, "d", OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).unwrap();
    }
    let mut scan = scanned(dir.path(), &[], &[]);
    assert_eq!(scan.entries.len(), 1500);
    read(dir.path(), &mut scan).unwrap();
    scan.hash_tree().whole();
    // The standard library's way to remove a directory is not made for such trees.
    let removed = std::process::Command::new("rm").arg("-rf").arg(dir.path().join("d")).status();
    assert!(removed.unwrap().success());
}
