//! What is told is shown, however slow the reader is, and little of it is kept.

use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use super::backlog::MOST;
use super::plain::Plain;
use super::rawjson::RawJson;
use super::tty::Tty;
use super::{Display, Screen};
use crate::base::Digest;
use crate::base::heap::measured;
use crate::engine::event::{Event, Stream};

fn started(n: u32) -> Event {
    let name = format!("write /f{n}");
    let vertex = Digest::of(&name);
    Event::Started { vertex, name, inputs: vec![vertex], at: SystemTime::UNIX_EPOCH }
}

fn log(n: u32, bytes: Vec<u8>) -> Event {
    Event::Log { vertex: Digest::of(format!("write /f{n}")), stream: Stream::Stdout, bytes }
}

fn completed(n: u32) -> Event {
    let vertex = Digest::of(format!("write /f{n}"));
    Event::Completed { vertex, at: SystemTime::UNIX_EPOCH, error: None, cached: false }
}

/// A hundred thousand steps that ended take at most `n_bytes` each, also while they are shown for the last time.
fn check_memory(mut display: impl Display, n_bytes: usize) {
    let n_steps = 100_000;
    let ((), heap) = measured(|| {
        for n in 0..n_steps {
            display.event(&started(n), &mut io::sink()).unwrap();
            display.event(&log(n, b"a line\nand the start of one".to_vec()), &mut io::sink()).unwrap();
            display.event(&completed(n), &mut io::sink()).unwrap();
        }
        display.frame(&mut io::sink()).unwrap();
        display.finish(&mut io::sink()).unwrap();
    });
    let taken = heap.most / n_steps as usize;
    assert!(taken <= n_bytes, "{taken} bytes a step");
}

#[test]
fn little_is_kept_of_steps_that_ended() {
    check_memory(Plain::default(), 36);
    check_memory(Tty::new(), 100);
    check_memory(RawJson::default(), 1);
}

/// Shows what `tell` tells a display of plain lines, to a reader who reads nothing before `tell` has come back.
fn check_unread(events: &[Event]) {
    struct Late(mpsc::Receiver<()>, Arc<Mutex<Vec<u8>>>);
    impl Write for Late {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // It fails once the other end was dropped: then all is read.
            let _ = self.0.recv();
            self.1.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut direct = Vec::new();
    let mut display = Plain::default();
    events.iter().for_each(|event| display.event(event, &mut direct).unwrap());
    display.finish(&mut direct).unwrap();

    let dir = tempfile::tempdir().unwrap();
    let screen = Screen::new(Box::new(Plain::default()), dir.path());
    let (hold, held) = mpsc::channel();
    let shown = Arc::new(Mutex::new(Vec::new()));
    let late = Late(held, shown.clone());
    std::thread::scope(|scope| {
        let showing = scope.spawn(|| screen.show(late));
        events.iter().for_each(|event| screen.tell(event));
        drop(hold);
        screen.end();
        showing.join().unwrap();
    });
    let shown = shown.lock().unwrap();
    let (shown, direct) = (String::from_utf8_lossy(&shown), String::from_utf8_lossy(&direct));
    assert!(without_times(&shown) == without_times(&direct), "{} of {} bytes", shown.len(), direct.len());
}

/// The lines, without how long their steps have been running.
fn without_times(text: &str) -> Vec<String> {
    let line = |line: &str| line.split(' ').filter(|word| word.parse::<f64>().is_err()).collect();
    text.lines().map(line).collect()
}

#[test]
fn nothing_is_lost_that_is_read_late() {
    check_unread(&[]);
    check_unread(&[started(1), log(1, b"unfinished".to_vec())]);
    let steps: Vec<Event> = (0..20_000).flat_map(|n| [started(n), completed(n)]).collect();
    check_unread(&steps);
    let line = |n: usize| format!("line {n:0100}\n").into_bytes();
    let logs = (0..2_000).map(|n| log(1, [line(n), line(n)].concat()));
    let logs: Vec<Event> = [started(1)].into_iter().chain(logs).chain([completed(1)]).collect();
    check_unread(&logs);
}

fn written(n: u32, stream: Stream, bytes: &str) -> Event {
    let vertex = Digest::of(format!("write /f{n}"));
    Event::Log { vertex, stream, bytes: bytes.as_bytes().to_vec() }
}

#[test]
fn what_one_stream_left_unfinished_is_a_line_of_its_own() {
    use Stream::{Stderr, Stdout};
    let events = [
        started(1),
        written(1, Stdout, "one\nchecking "),
        written(1, Stdout, "it ... "),
        written(1, Stderr, "oops\n"),
        started(2),
        written(2, Stderr, "half"),
        written(1, Stdout, "\nno\r\nmore"),
        written(2, Stdout, "\n"),
        written(2, Stderr, "other\n"),
        completed(1),
        written(2, Stdout, "end"),
    ];
    let mut shown = Vec::new();
    let mut display = Plain::default();
    events.iter().for_each(|event| display.event(event, &mut shown).unwrap());
    display.finish(&mut shown).unwrap();
    let lines = without_times(&String::from_utf8(shown).unwrap());
    let expected = [
        "#1 write /f1",
        "#1 one",
        "#1 checking it ... ",
        "#1 oops",
        "",
        "#2 write /f2",
        "",
        "#1 ...",
        "#1 no",
        "",
        "#2 ...",
        "#2 half",
        "#2 ",
        "#2 other",
        "",
        "#1 ...",
        "#1 more",
        "#1 DONE 0.0s",
        "",
        "#2 ...",
        "#2 end",
    ];
    let joined = |line: &str| line.replace(' ', "");
    assert_eq!(lines, expected.map(joined), "{lines:#?}");
}

/// What a display that is shown to `out` and has no room on the disk makes of many events.
fn show_to(display: Box<dyn Display>, out: impl Write + Send) {
    let screen = Screen::new(display, Path::new("/nonexistent"));
    std::thread::scope(|scope| {
        let showing = scope.spawn(|| screen.show(out));
        for n in 0..10_000 {
            [started(n), completed(n)].iter().for_each(|event| screen.tell(event));
        }
        screen.end();
        showing.join().unwrap();
    });
}

/// A reader who reads once for each message that comes, and what he has read.
#[derive(Clone)]
struct Asked(Arc<Mutex<mpsc::Receiver<()>>>, Arc<Mutex<Vec<u8>>>);

impl Write for Asked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.lock().unwrap().recv();
        self.1.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn who_writes_beside_it_waits_for_what_was_told() {
    let dir = tempfile::tempdir().unwrap();
    let screen = Screen::new(Box::new(Plain::default()), dir.path());
    let (ask, asked) = mpsc::channel();
    let read = Asked(Arc::new(Mutex::new(asked)), Arc::default());
    let n_read = || read.1.lock().unwrap().len();
    let (given_up, waited) = std::thread::scope(|scope| {
        let showing = scope.spawn(|| screen.show(read.clone()));
        screen.tell(&started(1));
        let much = vec![b'x'; 2 * MOST];
        for _ in 0..4 {
            screen.tell(&log(1, much.clone()));
            screen.tell(&log(1, b"\n".to_vec()));
        }
        screen.tell(&log(1, b"not finished".to_vec()));
        // Nobody reads: it is given up.
        screen.settle(Duration::from_millis(100));
        let given_up = n_read();
        // Read slowly, but read.
        let reading = scope.spawn(move || {
            while ask.send(()).is_ok() {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        screen.settle(Duration::from_secs(60));
        let waited = n_read();
        // What comes behind it is another line, and the end of the first one no empty one.
        screen.tell(&log(1, b"\nmore\n".to_vec()));
        screen.end();
        showing.join().unwrap();
        // The other end goes with this.
        drop(std::mem::replace(&mut *read.0.lock().unwrap(), mpsc::channel().1));
        reading.join().unwrap();
        (given_up, waited)
    });
    let shown = String::from_utf8(read.1.lock().unwrap().clone()).unwrap();
    assert_eq!(given_up, 0, "nobody read");
    assert!(8 * MOST < waited && shown[..waited].ends_with(" not finished\n"), "{waited} bytes");
    let lines = without_times(&shown);
    assert_eq!(lines[lines.len() - 2..], ["#1notfinished", "#1more"]);
}

#[test]
fn nobody_waits_for_what_is_not_shown() {
    for display in [Box::new(Plain::default()) as Box<dyn Display>, Box::new(RawJson::default())] {
        let screen = Screen::new(display, Path::new("/nonexistent"));
        let begun = Instant::now();
        // The reader has gone.
        screen.tell(&started(1));
        screen.end();
        screen.show(io::sink());
        screen.settle(Duration::from_secs(60));
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
}

#[test]
fn without_room_the_reader_is_waited_for() {
    let mut shown = Vec::new();
    show_to(Box::new(Plain::default()), &mut shown);
    assert!(MOST < shown.len(), "enough to wait for");
    assert!(
        shown.ends_with(b"#10000 DONE 0.0s\n"),
        "{:?}",
        String::from_utf8_lossy(&shown[shown.len() - 100..])
    );
}

#[test]
fn nobody_waits_for_a_reader_who_has_gone() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    show_to(Box::new(Plain::default()), Closed);
}

#[test]
fn a_panic_ends_the_display_alone() {
    struct Panics;
    impl Display for Panics {
        fn event(&mut self, _: &Event, out: &mut dyn Write) -> io::Result<()> {
            writeln!(out, "before")?;
            panic!("a display's")
        }
        fn frame(&mut self, _: &mut dyn Write) -> io::Result<()> {
            Ok(())
        }
        fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
            writeln!(out, "after")
        }
    }
    let mut shown = Vec::new();
    show_to(Box::new(Panics), &mut shown);
    assert_eq!(shown, b"before\n");
}
