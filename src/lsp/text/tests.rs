//! Positions and offsets, both ways.

use lsp_types::{Position, Range, TextDocumentContentChangeEvent};

use super::{Encoding, Text};

const TEXT: &str = "a🦀b\r\n漢字\nlast";

#[track_caller]
fn check(encoding: Encoding, line: u32, character: u32, offset: u32) {
    let text = Text::new(TEXT);
    let position = Position::new(line, character);
    assert_eq!(text.offset(position, encoding), offset);
    assert_eq!(text.position(offset, encoding), position);
}

#[test]
fn columns_count_code_units() {
    check(Encoding::Utf16, 0, 0, 0);
    check(Encoding::Utf16, 0, 1, 1);
    check(Encoding::Utf16, 0, 3, 5);
    check(Encoding::Utf16, 1, 1, 11);
    check(Encoding::Utf16, 2, 4, 19);
    check(Encoding::Utf8, 0, 5, 5);
    check(Encoding::Utf8, 1, 3, 11);
}

#[test]
fn positions_outside_are_moved_inside() {
    let text = Text::new(TEXT);
    // Inside of the crab, behind the line's end, behind the last line.
    assert_eq!(text.offset(Position::new(0, 2), Encoding::Utf16), 1);
    assert_eq!(text.offset(Position::new(0, 99), Encoding::Utf16), 6);
    assert_eq!(text.offset(Position::new(99, 0), Encoding::Utf8), TEXT.len() as u32);
}

#[test]
fn edits_replace_ranges() {
    let text = Text::new(TEXT);
    let range = Some(Range::new(Position::new(0, 1), Position::new(1, 1)));
    let change = TextDocumentContentChangeEvent { range, range_length: None, text: "é\n".to_owned() };
    assert_eq!(&*text.changed(&change, Encoding::Utf16).text, "aé\n字\nlast");
}
