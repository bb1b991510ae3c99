//! Whatever is written is read, once and in order.

use std::io::Write;

use super::{Backlog, MOST};

/// Writes and takes as `steps` says: bytes to write, or one chunk to be taken. Gives what was taken in the end.
fn check(steps: &[Option<usize>]) {
    let dir = tempfile::tempdir().unwrap();
    let mut backlog = Backlog::new(dir.path().to_owned());
    let (mut written, mut taken, mut chunk) = (Vec::new(), Vec::new(), Vec::new());
    for step in steps {
        match step {
            Some(n_bytes) => {
                let from = written.len();
                written.extend((from..from + n_bytes).map(|at| (at % 251) as u8));
                backlog.write_all(&written[from..]).unwrap();
                assert!(backlog.make_room());
                assert!(backlog.memory.len() < MOST);
            }
            None => {
                chunk.clear();
                backlog.take(&mut chunk).unwrap();
                taken.extend_from_slice(&chunk);
            }
        }
    }
    loop {
        chunk.clear();
        backlog.take(&mut chunk).unwrap();
        if chunk.is_empty() {
            break;
        }
        taken.extend_from_slice(&chunk);
    }
    assert!(taken == written, "{} of {} bytes", taken.len(), written.len());
    assert_eq!((backlog.begin, backlog.end), (0, 0), "the file is empty");
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "the file has no name");
}

#[test]
fn bytes_are_taken_in_order() {
    check(&[]);
    check(&[Some(1), None, Some(2)]);
    check(&[Some(MOST), Some(5), None, Some(7)]);
    check(&[Some(3 * MOST), Some(MOST - 1), None, None, Some(1), None, Some(MOST), Some(3)]);
    let many: Vec<_> = (0..400).map(|at| if at % 7 == 6 { None } else { Some(at * 97 % 40_000) }).collect();
    check(&many);
}

#[test]
fn without_a_file_there_is_no_room_before_somebody_reads() {
    let mut backlog = Backlog::new("/nonexistent".into());
    backlog.write_all(&[7; MOST]).unwrap();
    assert!(!backlog.make_room());
    let mut chunk = Vec::new();
    backlog.take(&mut chunk).unwrap();
    assert_eq!(chunk.len(), MOST);
    assert!(backlog.make_room());
}

#[test]
fn it_is_due_after_a_flush() {
    let mut backlog = Backlog::new("/nonexistent".into());
    backlog.flush().unwrap();
    assert!(!backlog.is_due(), "there is nothing");
    backlog.write_all(b"line\n").unwrap();
    assert!(!backlog.is_due());
    backlog.flush().unwrap();
    assert!(backlog.is_due());
    backlog.take(&mut Vec::new()).unwrap();
    assert!(!backlog.is_due());
}

#[test]
fn what_was_read_takes_no_room() {
    use std::os::unix::fs::MetadataExt as _;
    let dir = tempfile::tempdir().unwrap();
    let mut backlog = Backlog::new(dir.path().to_owned());
    let occupied = |backlog: &Backlog| backlog.file.as_ref().unwrap().metadata().unwrap().blocks() * 512;
    for _ in 0..8 {
        backlog.write_all(&[7; MOST]).unwrap();
        assert!(backlog.make_room());
    }
    for _ in 0..6 {
        backlog.take(&mut Vec::new()).unwrap();
    }
    let waiting = 2 * MOST as u64;
    assert!((waiting..waiting + (64 << 10)).contains(&occupied(&backlog)), "{}", occupied(&backlog));
}

#[test]
fn most_of_the_disk_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let mut backlog = Backlog::new(dir.path().to_owned());
    backlog.end = super::MOST_ON_DISK;
    backlog.write_all(&[7; MOST]).unwrap();
    assert!(!backlog.make_room());
    backlog.begin = backlog.end - MOST as u64;
    assert!(backlog.make_room());
}
