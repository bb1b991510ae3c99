//! Tests of what is noted while an archive is unpacked.

use std::os::fd::AsFd as _;

use super::*;

/// Notes directories, implied directories and links at `paths`, forgets `path`, and tells what is left of each.
fn check(paths: &[&str], path: &str, left: &[&str]) {
    let root = tempfile::tempfile().unwrap();
    let mut applier = Applier::new(root.as_fd());
    for (n, path) in paths.iter().enumerate() {
        let path = path.as_bytes().to_vec();
        applier.dir_times.insert(path.clone(), (0, 0));
        applier.unsettled.implicit.insert(path.clone());
        applier.awaited.insert(path.clone(), n);
        let entry = Entry::new(EntryKind::HardLink, path.clone());
        applier.unsettled.links.push(LinkBelow { path, entry, is_replaced: false });
    }
    applier.forget(path.as_bytes());
    let left: Vec<Vec<u8>> = left.iter().map(|it| it.as_bytes().to_vec()).collect();
    assert_eq!(applier.dir_times.into_keys().collect::<Vec<_>>(), left);
    assert_eq!(applier.awaited.into_keys().collect::<Vec<_>>(), left);
    let links = applier.unsettled.links.iter();
    for link in links {
        assert_eq!(link.is_replaced, !left.contains(&link.path));
    }
    assert_eq!(applier.unsettled.implicit.into_iter().collect::<Vec<_>>(), left);
}

#[test]
fn what_is_below_is_forgotten() {
    let paths = ["a", "a-b", "a.b", "a/b", "a/b/c", "a/b0", "a/bc", "a0", "ab", "b"];
    check(&paths, "a", &["a-b", "a.b", "a0", "ab", "b"]);
    check(&paths, "a/b", &["a", "a-b", "a.b", "a/b0", "a/bc", "a0", "ab", "b"]);
    check(&paths, "c", &paths);
    check(&paths, "b", &paths[..9]);
}

/// An archive of nothing but replaced entries: going through all that is noted for each would take minutes.
#[test]
fn much_is_forgotten_in_little_time() {
    let root = tempfile::tempfile().unwrap();
    let mut applier = Applier::new(root.as_fd());
    let name = |n: usize| format!("d{n}").into_bytes();
    for n in 0..100_000 {
        applier.dir_times.insert(name(n), (0, 0));
        applier.unsettled.implicit.insert(name(n));
    }
    (0..100_000).for_each(|n| applier.forget(&name(n)));
    assert!(applier.dir_times.is_empty() && applier.unsettled.implicit.is_empty());
}
