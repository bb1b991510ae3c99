//! Local directories: what is selected, what is remembered, what cannot be read.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::scan::{Filter, Scan};
use super::*;
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
    let look = || look_at(&store, "ctx", dir.path().to_owned(), Wanted::default(), &Cancel::new()).unwrap();
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
