//! Documents and how they are laid out: Wadler's printer, with comments that wait for the end of their line.

use std::rc::Rc;

/// Columns a line may have.
pub(super) const WIDTH: usize = 110;
/// Columns of one level.
const INDENT: usize = 2;

/// Text with places where lines may break. Cheap to copy.
#[derive(Debug, Clone)]
pub(super) struct Doc {
    kind: Rc<Kind>,
    /// There is a break in it that cannot be avoided.
    pub forced: bool,
}

#[derive(Debug)]
enum Kind {
    /// Text without newlines.
    Text(String),
    /// A literal over several lines: the first one, and the others as they stand under the indentation of their place.
    Lines(String, Vec<String>),
    /// The same, the others as they stand in their columns.
    Verbatim(String, Vec<String>),
    /// Flat: this text; broken: a newline, with an empty line above when `true`.
    Line(&'static str, bool),
    /// A newline, always; with an empty line above when `true`.
    Hard(bool),
    /// A newline, unless the line is still empty.
    Fresh,
    /// A comment, put off to the end of the line.
    Comment(String),
    /// One after the other.
    Concat(Vec<Doc>),
    /// One level deeper.
    Indent(Doc),
    /// Flat if it fits, else broken.
    Group(Doc),
    /// Only where the group around it is broken.
    IfBroken(Doc),
    /// In a broken group: the second if the first fits on the line, else the third. In a flat one: the third.
    Fit(Doc, Doc, Doc),
}

fn doc(kind: Kind, forced: bool) -> Doc {
    Doc { kind: Rc::new(kind), forced }
}

pub(super) fn nil() -> Doc {
    text("")
}

pub(super) fn text(text: impl Into<String>) -> Doc {
    doc(Kind::Text(text.into()), false)
}

pub(super) fn lines(first: String, rest: Vec<String>) -> Doc {
    doc(Kind::Lines(first, rest), true)
}

pub(super) fn verbatim(first: String, rest: Vec<String>) -> Doc {
    doc(Kind::Verbatim(first, rest), true)
}

/// A space or a newline.
pub(super) fn line() -> Doc {
    doc(Kind::Line(" ", false), false)
}

/// The same break, with an empty line above where it is a newline.
pub(super) fn spaced(line: &Doc) -> Doc {
    match &*line.kind {
        Kind::Line(flat, _) => doc(Kind::Line(flat, true), line.forced),
        Kind::Hard(_) => blank(),
        _ => line.clone(),
    }
}

/// Nothing or a newline.
pub(super) fn soft() -> Doc {
    doc(Kind::Line("", false), false)
}

/// A newline.
pub(super) fn hard() -> Doc {
    doc(Kind::Hard(false), true)
}

/// A newline and an empty line.
pub(super) fn blank() -> Doc {
    doc(Kind::Hard(true), true)
}

/// A newline, unless the line is still empty.
pub(super) fn fresh() -> Doc {
    doc(Kind::Fresh, true)
}

pub(super) fn comment(text: &str) -> Doc {
    doc(Kind::Comment(text.to_owned()), false)
}

pub(super) fn concat(parts: Vec<Doc>) -> Doc {
    let forced = parts.iter().any(|part| part.forced);
    doc(Kind::Concat(parts), forced)
}

pub(super) fn indent(inner: Doc) -> Doc {
    let forced = inner.forced;
    doc(Kind::Indent(inner), forced)
}

pub(super) fn group(inner: Doc) -> Doc {
    let forced = inner.forced;
    doc(Kind::Group(inner), forced)
}

pub(super) fn if_broken(inner: Doc) -> Doc {
    doc(Kind::IfBroken(inner), false)
}

/// See [`Kind::Fit`].
pub(super) fn fit(probe: Doc, then: Doc, otherwise: Doc) -> Doc {
    let forced = then.forced || otherwise.forced;
    doc(Kind::Fit(probe, then, otherwise), forced)
}

impl Doc {
    /// The same, in a group around it that breaks.
    pub(super) fn force(mut self) -> Doc {
        self.forced = true;
        self
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    Flat,
    Broken,
}

/// Lays a document out; the text ends in one newline unless it is empty.
pub(super) fn print(document: &Doc) -> String {
    let mut printer = Printer { out: String::new(), column: 0, waiting: Vec::new() };
    let mut todo = vec![(0, Mode::Broken, document)];
    while let Some((level, mode, doc)) = todo.pop() {
        match &*doc.kind {
            Kind::Text(text) => printer.text(text),
            Kind::Lines(first, rest) | Kind::Verbatim(first, rest) => {
                let level_of_rest = if matches!(&*doc.kind, Kind::Lines(..)) { level } else { 0 };
                // What waits for the end of the line must not get into the literal.
                if !printer.waiting.is_empty() {
                    printer.newline(level);
                }
                printer.text(first);
                for line in rest {
                    printer.verbatim_newline(if line.is_empty() { 0 } else { level_of_rest });
                    printer.text(line);
                }
            }
            Kind::Line(flat, _) if mode == Mode::Flat => printer.text(flat),
            Kind::Line(_, false) | Kind::Hard(false) => printer.newline(level),
            Kind::Line(_, true) | Kind::Hard(true) => {
                printer.newline(0);
                printer.newline(level);
            }
            Kind::Fresh => printer.fresh(level),
            Kind::Comment(text) => printer.waiting.push(text.clone()),
            Kind::Concat(parts) => todo.extend(parts.iter().rev().map(|part| (level, mode, part))),
            Kind::Indent(inner) => todo.push((level + 1, mode, inner)),
            Kind::Group(inner) => {
                let flat = !inner.forced && (mode == Mode::Flat || fits(printer.column, inner, &todo));
                todo.push((level, if flat { Mode::Flat } else { Mode::Broken }, inner));
            }
            Kind::IfBroken(inner) => {
                if mode == Mode::Broken {
                    todo.push((level, mode, inner));
                }
            }
            Kind::Fit(probe, then, otherwise) => {
                let chosen = mode == Mode::Broken && fits(printer.column, probe, &[]);
                todo.push((level, mode, if chosen { then } else { otherwise }));
            }
        }
    }
    printer.end()
}

/// Whether `doc`, laid out flat at `column`, and what follows it up to the next newline, keep within the width.
fn fits(column: usize, doc: &Doc, after: &[(usize, Mode, &Doc)]) -> bool {
    let mut left = WIDTH.saturating_sub(column);
    let mut after = after.iter().rev();
    let mut todo = vec![(Mode::Flat, doc)];
    loop {
        let Some((mode, doc)) = todo.pop() else {
            let Some(&(_, mode, doc)) = after.next() else { return true };
            todo.push((mode, doc));
            continue;
        };
        match &*doc.kind {
            Kind::Text(text) => match left.checked_sub(text.chars().count()) {
                Some(rest) => left = rest,
                None => return false,
            },
            Kind::Lines(first, _) | Kind::Verbatim(first, _) => return first.chars().count() <= left,
            Kind::Line(flat, _) if mode == Mode::Flat => match left.checked_sub(flat.len()) {
                Some(rest) => left = rest,
                None => return false,
            },
            Kind::Line(..) | Kind::Hard(_) | Kind::Fresh => return true,
            Kind::Comment(_) => {}
            Kind::Concat(parts) => todo.extend(parts.iter().rev().map(|part| (mode, part))),
            Kind::Indent(inner) => todo.push((mode, inner)),
            // A group that comes later may still break.
            Kind::Group(inner) => todo.push((mode, inner)),
            Kind::IfBroken(inner) => {
                if mode == Mode::Broken {
                    todo.push((mode, inner));
                }
            }
            Kind::Fit(_, _, otherwise) => todo.push((mode, otherwise)),
        }
    }
}

struct Printer {
    out: String,
    /// Characters of the line so far.
    column: usize,
    /// Comments for the end of the line.
    waiting: Vec<String>,
}

impl Printer {
    fn text(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.chars().count();
    }

    /// Ends the line; comments that met on it go below each other.
    fn newline(&mut self, level: usize) {
        for (n, comment) in std::mem::take(&mut self.waiting).into_iter().enumerate() {
            self.trim();
            let empty = self.out.is_empty() || self.out.ends_with('\n');
            if 0 < n {
                self.out.push('\n');
                self.out.push_str(&" ".repeat(level * INDENT));
            } else if !empty {
                self.out.push(' ');
            }
            self.out.push_str(&comment);
        }
        self.trim();
        self.verbatim_newline(level);
    }

    /// A newline inside a literal, where spaces before it count.
    fn verbatim_newline(&mut self, level: usize) {
        self.out.push('\n');
        self.column = level * INDENT;
        self.out.push_str(&" ".repeat(self.column));
    }

    fn fresh(&mut self, level: usize) {
        let line = &self.out[self.out.rfind('\n').map_or(0, |newline| newline + 1)..];
        if line.trim_start().is_empty() && self.waiting.is_empty() {
            self.trim();
            self.column = level * INDENT;
            self.out.push_str(&" ".repeat(self.column));
        } else {
            self.newline(level);
        }
    }

    fn trim(&mut self) {
        self.out.truncate(self.out.trim_end_matches(' ').len());
    }

    fn end(mut self) -> String {
        self.newline(0);
        let end = self.out.trim_end_matches('\n').len();
        self.out.truncate(end);
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        self.out
    }
}
