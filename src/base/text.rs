//! Source files and positions in them.

use std::sync::Arc;

/// Index of a file in a [`SourceMap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// A stretch of one source file: byte offsets `start..end`, on character boundaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The file the offsets point into.
    pub file: FileId,
    /// Offset of the first byte.
    pub start: u32,
    /// Offset behind the last byte; equal to `start` for a point.
    pub end: u32,
}

impl Span {
    /// The stretch `start..end` of `file`.
    pub fn new(file: FileId, start: u32, end: u32) -> Span {
        Span { file, start, end }
    }

    /// From the start of `self` to the end of `last`, which lies in the same file.
    pub fn to(self, last: Span) -> Span {
        debug_assert_eq!(self.file, last.file);
        Span { end: last.end.max(self.end), ..self }
    }
}

/// One source text with the name users know it by.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// Its place in the [`SourceMap`].
    pub id: FileId,
    /// Path as given on the command line or in the import, `std/go` for the library; only for showing.
    pub name: Arc<str>,
    /// The whole text.
    pub text: Arc<str>,
    /// Byte offset of the first character of each line.
    lines: Arc<[u32]>,
}

/// A position for people and for LLB: both counts are zero-based; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineCol {
    /// Lines before this one.
    pub line: u32,
    /// Characters of the line before this position.
    pub col: u32,
}

impl SourceFile {
    /// Line and column of the byte `offset`, which may be the end of the text.
    pub fn line_col(&self, offset: u32) -> LineCol {
        let line = self.lines.partition_point(|&start| start <= offset) - 1;
        let start = self.lines[line] as usize;
        let end = (offset as usize).min(self.text.len());
        LineCol { line: line as u32, col: self.text[start..end].chars().count() as u32 }
    }

    /// The text of `span`.
    pub fn slice(&self, span: Span) -> &str {
        &self.text[span.start as usize..span.end as usize]
    }
}

/// All source texts of a run, in the order they were added.
#[derive(Debug, Clone, Default)]
pub struct SourceMap {
    files: Vec<SourceFile>,
}

impl SourceMap {
    /// Adds a text under the name users know it by.
    pub fn add(&mut self, name: impl Into<Arc<str>>, text: impl Into<Arc<str>>) -> FileId {
        let id = FileId(self.files.len() as u32);
        let text = text.into();
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at as u32 + 1)).collect();
        self.files.push(SourceFile { id, name: name.into(), text, lines });
        id
    }

    /// The file of `id`; ids come from [`SourceMap::add`] of the same map.
    pub fn file(&self, id: FileId) -> &SourceFile {
        &self.files[id.0 as usize]
    }

    /// All files, in the order of their ids.
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// `name:line:column`, both one-based, of the start of `span`.
    pub fn locate(&self, span: Span) -> String {
        let file = self.file(span.file);
        let at = file.line_col(span.start);
        format!("{}:{}:{}", file.name, at.line + 1, at.col + 1)
    }
}
