//! Texts as editors see them: lines, positions in UTF-8 or UTF-16, incremental edits.

use std::sync::Arc;

use lsp_types::{Position, PositionEncodingKind, Range, TextDocumentContentChangeEvent};

/// How columns are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Bytes.
    Utf8,
    /// UTF-16 code units: what the protocol means when nothing is said.
    Utf16,
}

impl Encoding {
    /// UTF-8 where the client offers it.
    pub(super) fn negotiate(offered: Option<&[PositionEncodingKind]>) -> Encoding {
        match offered {
            Some(kinds) if kinds.contains(&PositionEncodingKind::UTF8) => Encoding::Utf8,
            _ => Encoding::Utf16,
        }
    }

    /// As the protocol calls it.
    pub(super) fn kind(self) -> PositionEncodingKind {
        match self {
            Encoding::Utf8 => PositionEncodingKind::UTF8,
            Encoding::Utf16 => PositionEncodingKind::UTF16,
        }
    }

    /// Length of `text` in columns.
    pub(super) fn len(self, text: &str) -> u32 {
        match self {
            Encoding::Utf8 => text.len() as u32,
            Encoding::Utf16 => text.chars().map(|c| c.len_utf16() as u32).sum(),
        }
    }
}

/// A text and where its lines start.
#[derive(Debug, Clone)]
pub(super) struct Text {
    /// The text.
    pub text: Arc<str>,
    /// Offset of the first byte of each line; lines end with `\n`, `\r\n` or `\r`.
    starts: Arc<[u32]>,
    /// Every character is one byte and one column, however long its line is.
    is_ascii: bool,
}

impl Text {
    pub(super) fn new(text: impl Into<Arc<str>>) -> Text {
        let text = text.into();
        let bytes = text.as_bytes();
        let ends_line = |at: &usize| match bytes[*at] {
            b'\n' => true,
            b'\r' => bytes.get(at + 1) != Some(&b'\n'),
            _ => false,
        };
        let ends = (0..bytes.len()).filter(ends_line).map(|at| at as u32 + 1);
        let starts = std::iter::once(0).chain(ends).collect();
        let is_ascii = text.is_ascii();
        Text { text, starts, is_ascii }
    }

    /// The text of a line, its end left out, and where it starts; lines behind the last are empty.
    fn line(&self, line: u32) -> (&str, u32) {
        let Some(&start) = self.starts.get(line as usize) else { return ("", self.text.len() as u32) };
        let end = self.starts.get(line as usize + 1).map_or(self.text.len(), |&end| end as usize);
        (self.text[start as usize..end].trim_end_matches(['\n', '\r']), start)
    }

    /// Byte offset of a position; one that lies outside of its line or the text is moved inside.
    pub(super) fn offset(&self, position: Position, encoding: Encoding) -> u32 {
        let (line, start) = self.line(position.line);
        if self.is_ascii {
            return start + position.character.min(line.len() as u32);
        }
        let mut column = 0;
        for (at, c) in line.char_indices() {
            // A position inside of a character is one in front of it.
            let len = encoding.len(c.encode_utf8(&mut [0; 4]));
            if position.character < column + len {
                return start + at as u32;
            }
            column += len;
        }
        start + line.len() as u32
    }

    /// Position of a byte offset on a character boundary.
    pub(super) fn position(&self, offset: u32, encoding: Encoding) -> Position {
        let offset = offset.min(self.text.len() as u32);
        let line = self.starts.partition_point(|&start| start <= offset) - 1;
        let start = self.starts[line];
        if self.is_ascii {
            return Position::new(line as u32, offset - start);
        }
        Position::new(line as u32, encoding.len(&self.text[start as usize..offset as usize]))
    }

    pub(super) fn range(&self, start: u32, end: u32, encoding: Encoding) -> Range {
        Range::new(self.position(start, encoding), self.position(end, encoding))
    }

    /// The text after a change.
    pub(super) fn changed(&self, change: &TextDocumentContentChangeEvent, encoding: Encoding) -> Text {
        let Some(range) = change.range else { return Text::new(change.text.as_str()) };
        let start = self.offset(range.start, encoding) as usize;
        let end = (self.offset(range.end, encoding) as usize).max(start);
        Text::new([&self.text[..start], &change.text, &self.text[end..]].concat())
    }
}

#[cfg(test)]
mod tests;
