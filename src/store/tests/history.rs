//! What is kept of runs, and for how long.

use super::store;
use crate::base::Digest;
use crate::store::NewRun;

fn run(line: &str, key: &str, size: usize) -> NewRun {
    let group = Digest::of("program");
    NewRun { group, line: Digest::of(line), key: Digest::of(key), once: false, body: vec![0; size] }
}

#[test]
fn the_newest_runs_of_a_line_are_kept_with_their_logs() {
    let (_dir, store) = store();
    for idx in 0..20 {
        let key = format!("run {idx}");
        std::fs::write(store.log_path(&Digest::of(&key)), "log").unwrap();
        store.put_runs(&[run("a", &key, 10), run("b", &format!("other {idx}"), 4 << 20)]).unwrap();
    }
    let is_kept = |key: &str| store.run(&Digest::of(key)).unwrap().is_some();
    let kept = (0..20).filter(|idx| is_kept(&format!("run {idx}"))).collect::<Vec<_>>();
    assert_eq!(kept, (4..20).collect::<Vec<_>>());
    assert!((0..20).all(|idx| {
        let key = format!("run {idx}");
        store.log_path(&Digest::of(&key)).exists() == is_kept(&key)
    }));
    assert_eq!((0..20).filter(|idx| is_kept(&format!("other {idx}"))).count(), 4, "fewer of large ones");
}

#[test]
fn runs_are_told_newest_first_by_group_and_batch() {
    let (_dir, store) = store();
    store.put_runs(&[run("a", "1", 1), run("b", "2", 1)]).unwrap();
    store.put_runs(&[run("a", "1", 2), NewRun { group: Digest::of("else"), ..run("c", "3", 1) }]).unwrap();
    let known = store.runs(Some(&Digest::of("program")), 10).unwrap();
    let sizes: Vec<(Digest, usize)> = known.iter().map(|run| (run.key, run.body.len())).collect();
    assert_eq!(sizes, [(Digest::of("1"), 2), (Digest::of("2"), 1), (Digest::of("1"), 1)]);
    assert!(known[0].batch > known[1].batch && known[1].batch == known[2].batch);
    assert_eq!(store.runs(None, 2).unwrap().len(), 2);
    assert_eq!(store.run(&Digest::of("1")).unwrap().unwrap().body.len(), 2, "the newest of a name");
    // What is only kept once.
    store.put_runs(&[NewRun { once: true, ..run("a", "1", 3) }]).unwrap();
    assert_eq!(store.run(&Digest::of("1")).unwrap().unwrap().body.len(), 2);
}
