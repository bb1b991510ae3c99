//! A light first pass over a text: comments, brackets, strings. It finds what the grammar cannot report well.
//!
//! - comments, which the grammar drops;
//! - strings and brackets that are not closed, and nesting too deep to recurse over;
//! - where items start, so that a broken item costs only itself.

use super::words::ITEM_WORDS;

/// How deep brackets and `#{…}` may nest.
pub(super) const MAX_NESTING: usize = 200;

/// What was found. All numbers are byte offsets into the text.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Comments in order, docs included: start and end, the newline left out.
    pub comments: Vec<(u32, u32)>,
    /// Starts of items at the first column, a doc counting to its item.
    pub item_starts: Vec<u32>,
    /// Quotes that open a string and have no end: start of the quote, end of the line.
    pub unclosed_strings: Vec<(u32, u32)>,
    /// Brackets without an end when the next item starts, or at the end of the text.
    pub unclosed_brackets: Vec<u32>,
    /// The bracket that is one too many.
    pub too_deep: Option<u32>,
}

/// What is open.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Open {
    /// A bracket of this kind, at this offset.
    Bracket(u8, u32),
    /// `#{` inside a string of this kind, which starts at this offset.
    Interp(Quote, u32),
}

/// Kinds of strings.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Quote {
    /// `"…"`
    One,
    /// `"""…"""`
    Three,
    /// `r"…"`
    Raw,
    /// `r"""…"""`
    RawThree,
}

/// Scans `text`.
pub(super) fn scan(text: &str) -> Scan {
    let mut scanner = Scanner { text: text.as_bytes(), at: 0, open: Vec::new(), found: Scan::default() };
    scanner.run();
    scanner.found
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    open: Vec<Open>,
    found: Scan,
}

impl Scanner<'_> {
    fn run(&mut self) {
        let mut doc_start = None;
        while self.at < self.text.len() {
            let at = self.at;
            if at == 0 || self.text[at - 1] == b'\n' {
                self.line_start(&mut doc_start);
            }
            match self.text[at] {
                b'/' if self.rest().starts_with(b"//") => {
                    let end = self.line_end();
                    self.found.comments.push((at as u32, end as u32));
                    self.at = end;
                }
                b'"' if self.rest().starts_with(b"\"\"\"") => self.string(Quote::Three, at, 3),
                b'"' => self.string(Quote::One, at, 1),
                b'r' if !self.after_word() && self.rest().starts_with(b"r\"\"\"") => {
                    self.string(Quote::RawThree, at, 4);
                }
                b'r' if !self.after_word() && self.rest().starts_with(b"r\"") => {
                    self.string(Quote::Raw, at, 2);
                }
                bracket @ (b'(' | b'[' | b'{') => {
                    self.push(Open::Bracket(bracket, at as u32));
                    self.at += 1;
                }
                bracket @ (b')' | b']' | b'}') => {
                    self.at += 1;
                    self.close(bracket);
                }
                _ => self.at += 1,
            }
            if self.found.too_deep.is_some() {
                return;
            }
        }
        self.report_open();
    }

    fn rest(&self) -> &[u8] {
        &self.text[self.at..]
    }

    fn after_word(&self) -> bool {
        self.at.checked_sub(1).is_some_and(|before| is_word(self.text[before]))
    }

    fn line_end(&self) -> usize {
        self.rest().iter().position(|&byte| byte == b'\n').map_or(self.text.len(), |n| self.at + n)
    }

    /// At a first column outside of strings: does an item start here?
    fn line_start(&mut self, doc_start: &mut Option<u32>) {
        let at = self.at as u32;
        if self.rest().starts_with(b"///") && !self.rest().starts_with(b"////") {
            doc_start.get_or_insert(at);
            return;
        }
        let word_len = self.rest().iter().take_while(|&&byte| is_word(byte)).count();
        let word = &self.rest()[..word_len];
        if !ITEM_WORDS.iter().any(|it| it.as_bytes() == word) {
            if !self.rest().starts_with(b"//") {
                *doc_start = None;
            }
            return;
        }
        // What follows an item word is a name or a text; `target.len()` and `test = …` are something else.
        let next = self.rest()[word_len..].iter().find(|byte| !matches!(byte, b' ' | b'\t'));
        let declares = next.is_some_and(|&byte| is_word(byte) || byte == b'"');
        let in_block = matches!(self.open.last(), Some(Open::Bracket(b'{', _) | Open::Interp(..)));
        if declares && (self.open.is_empty() || word != b"let" || !in_block) {
            self.report_open();
            self.found.item_starts.push(doc_start.take().unwrap_or(at));
        }
    }

    fn report_open(&mut self) {
        let brackets = self.open.drain(..).filter_map(|open| match open {
            Open::Bracket(_, at) => Some(at),
            Open::Interp(..) => None,
        });
        self.found.unclosed_brackets.extend(brackets);
    }

    fn push(&mut self, open: Open) {
        self.open.push(open);
        if self.open.len() > MAX_NESTING {
            self.found.too_deep = Some(self.at as u32);
        }
    }

    /// A closing bracket closes the innermost opening one; the grammar says when they do not belong together.
    fn close(&mut self, bracket: u8) {
        match self.open.last() {
            Some(&Open::Interp(quote, start)) if bracket == b'}' => {
                self.open.pop();
                self.string(quote, start as usize, 0);
            }
            Some(Open::Bracket(..)) => drop(self.open.pop()),
            Some(Open::Interp(..)) | None => {}
        }
    }

    /// Reads a string up to its end or its next `#{`; `start` is its first quote, `skip` what of it is still to read.
    fn string(&mut self, quote: Quote, start: usize, skip: usize) {
        self.at += skip;
        while self.at < self.text.len() {
            match (quote, self.text[self.at]) {
                (Quote::One | Quote::Raw, b'\n') => break,
                (Quote::One, b'\\') if self.text.get(self.at + 1) != Some(&b'\n') => self.at += 2,
                (Quote::One | Quote::Three, b'#') if self.rest().starts_with(b"#{") => {
                    self.push(Open::Interp(quote, start as u32));
                    self.at += 2;
                    return;
                }
                (Quote::One | Quote::Raw, b'"') => {
                    self.at += 1;
                    return;
                }
                (Quote::Three | Quote::RawThree, b'"') if self.rest().starts_with(b"\"\"\"") => {
                    self.at += 3;
                    return;
                }
                _ => self.at += 1,
            }
        }
        self.at = self.at.min(self.text.len());
        let end = match quote {
            Quote::One | Quote::Raw => self.at,
            Quote::Three | Quote::RawThree => {
                let line = &self.text[start..];
                start + line.iter().position(|&byte| byte == b'\n').unwrap_or(line.len())
            }
        };
        self.found.unclosed_strings.push((start as u32, end as u32));
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
