//! What a frame looks like on terminals of any size.

use std::time::SystemTime;

use unicode_width::UnicodeWidthStr;

use super::{Tty, cut};
use crate::base::Digest;
use crate::cli::ui::Display;
use crate::engine::event::{Event, Stream};

fn started(display: &mut Tty, name: &str) {
    let vertex = Digest::of(name);
    let mut out = Vec::new();
    let event = Event::Started { vertex, name: name.to_owned(), inputs: Vec::new(), at: SystemTime::now() };
    display.event(&event, &mut out).unwrap();
    let event = Event::Log {
        vertex,
        stream: Stream::Stdout,
        bytes: "印刷された行\tand more words\n".as_bytes().to_vec(),
    };
    display.event(&event, &mut out).unwrap();
}

/// Nothing is wider than the terminal: a folded line would shift every frame after it.
#[test]
fn lines_fit_any_terminal() {
    let mut display = Tty::new();
    for name in
        ["a", "日本語の長い名前を持つステップ, twice as wide as it is long", "x\u{301}y 🦀🦀🦀🦀🦀🦀🦀🦀"]
    {
        started(&mut display, name);
    }
    for width in 1..120 {
        for height in 1..12 {
            let lines: Vec<_> = display.lines(width, height).collect();
            assert!(lines.len() <= height.max(1), "{} lines in {height} rows", lines.len());
            for line in lines {
                assert!(line.text.width() <= width, "{:?} is wider than {width}", line.text);
            }
        }
    }
}

#[test]
fn wide_characters_are_cut_whole() {
    assert_eq!(cut("日本語", 6), "日本語");
    assert_eq!(cut("日本語", 5), "日本…");
    assert_eq!(cut("日本語", 4), "日…");
    assert_eq!(cut("abc", 1), "…");
    assert_eq!(cut("abc", 0), "");
}

/// Lines drawn at 80 columns take twice the rows at 40: the next frame starts above all of them.
#[test]
fn a_narrower_terminal_is_redrawn_from_the_top() {
    let mut display = Tty::new();
    started(&mut display, "step");
    display.draw(1, (80, 24), &mut Vec::new()).unwrap();
    display.drawn = vec![80, 80, 10];
    let mut out = Vec::new();
    display.draw(1, (40, 24), &mut out).unwrap();
    let drawn = String::from_utf8(out).unwrap();
    assert!(drawn.contains("\u{1b}[5A"), "{drawn:?}");
}

/// A step that a definition made by a step has too is told of again.
#[test]
fn steps_that_ended_may_run_again() {
    let mut display = Tty::new();
    let lines = |display: &Tty| -> Vec<String> {
        display.lines(30, 10).skip(1).map(|line| line.text.trim_end().to_owned()).collect()
    };
    let at = SystemTime::now();
    let event = |name: &str| Event::Cached {
        vertex: Digest::of(name),
        name: name.to_owned(),
        inputs: Vec::new(),
        at,
    };
    let completed = Event::Completed {
        vertex: Digest::of("two"),
        at: SystemTime::UNIX_EPOCH,
        error: Some("no".to_owned()),
        cached: false,
    };
    let tell = |display: &mut Tty, event: &Event| display.event(event, &mut Vec::new()).unwrap();
    tell(&mut display, &event("one"));
    started(&mut display, "two");
    tell(&mut display, &event("three"));
    tell(&mut display, &completed);
    let shown =
        [" => one                CACHED", " => two                 ERROR", " => three              CACHED"];
    assert_eq!(lines(&display), shown);
    // It ended once.
    tell(&mut display, &completed);
    assert_eq!(lines(&display), shown);
    started(&mut display, "one");
    let again = lines(&display);
    assert!(again[0].starts_with(" => one ") && again[0].ends_with("0.0s"), "{again:?}");
    assert_eq!(again[2..], shown[1..], "a line of output is between");
}
