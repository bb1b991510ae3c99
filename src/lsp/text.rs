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

/// A text and where its lines start. Positions and offsets are found by halving: lines may be as long as they like.
#[derive(Debug, Clone)]
pub(super) struct Text {
    /// The text.
    pub text: Arc<str>,
    /// Offset of the first byte of each line; lines end with `\n`, `\r\n` or `\r`.
    starts: Arc<[u32]>,
    /// The characters of more than one byte, in order.
    wide: Arc<[Wide]>,
}

/// A character of more than one byte.
#[derive(Debug, Clone, Copy)]
struct Wide {
    start: u32,
    end: u32,
    /// How many bytes more than UTF-16 code units the text has up to its end.
    extra: u32,
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
        let mut extra = 0;
        let wide = text.char_indices().filter(|(_, c)| !c.is_ascii()).map(|(start, c)| {
            extra += (c.len_utf8() - c.len_utf16()) as u32;
            Wide { start: start as u32, end: (start + c.len_utf8()) as u32, extra }
        });
        let wide = wide.collect();
        Text { text, starts, wide }
    }

    /// UTF-16 code units in front of a byte offset on a character boundary.
    fn units(&self, offset: u32) -> u32 {
        let before = self.wide.partition_point(|wide| wide.end <= offset);
        offset - before.checked_sub(1).map_or(0, |last| self.wide[last].extra)
    }

    /// Byte offset of a position; one that lies outside of its line or the text is moved inside, one inside of a
    /// character in front of it.
    pub(super) fn offset(&self, position: Position, encoding: Encoding) -> u32 {
        let Some(&start) = self.starts.get(position.line as usize) else { return self.text.len() as u32 };
        let end = self.starts.get(position.line as usize + 1).map_or(self.text.len(), |&end| end as usize);
        let line = self.text[start as usize..end].trim_end_matches(['\n', '\r']);
        let end = start + line.len() as u32;
        let offset = match encoding {
            Encoding::Utf8 => start.saturating_add(position.character),
            Encoding::Utf16 => {
                let units = self.units(start).saturating_add(position.character);
                let before = self.wide.partition_point(|wide| wide.end - wide.extra <= units);
                units.saturating_add(before.checked_sub(1).map_or(0, |last| self.wide[last].extra))
            }
        };
        let offset = offset.min(end);
        let around = self.wide.partition_point(|wide| wide.end <= offset);
        match self.wide.get(around) {
            Some(wide) if wide.start < offset => wide.start,
            _ => offset,
        }
    }

    /// Position of a byte offset on a character boundary.
    pub(super) fn position(&self, offset: u32, encoding: Encoding) -> Position {
        let offset = offset.min(self.text.len() as u32);
        let line = self.starts.partition_point(|&start| start <= offset) - 1;
        let start = self.starts[line];
        let column = match encoding {
            Encoding::Utf8 => offset - start,
            Encoding::Utf16 => self.units(offset) - self.units(start),
        };
        Position::new(line as u32, column)
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
