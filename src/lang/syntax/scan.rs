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
    /// Pairs of brackets that do not belong together: the opening and the closing one.
    pub mismatched: Vec<(u32, u32)>,
    /// `#{` without `}` before their line, or the text, ends.
    pub unclosed_insertions: Vec<u32>,
    /// Characters that no program may have.
    pub bad_characters: Vec<(u32, char)>,
    /// The bracket that is one too many.
    pub too_deep: Option<u32>,
}

/// What is open.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Open {
    /// A bracket of this kind, at this offset.
    Bracket(u8, u32),
    /// `#{` inside a string of this kind: where the string starts, and where this is.
    Interp(Quote, u32, u32),
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
    let bad = text.char_indices().filter(|&(_, c)| is_bad(c)).map(|(at, c)| (at as u32, c));
    let found = Scan { bad_characters: bad.collect(), ..Scan::default() };
    let mut scanner = Scanner { text: text.as_bytes(), at: 0, open: Vec::new(), found };
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
            if self.open.is_empty() && self.is_no_expression(word_len) {
                self.found.item_starts.push(doc_start.unwrap_or(at));
            }
            let line = self.text[self.at..self.line_end()].trim_ascii();
            if !line.is_empty() && !line.starts_with(b"//") {
                *doc_start = None;
            }
            return;
        }
        // What follows an item word is a name or a text; `target.len()` and `test = …` are something else.
        let next = self.rest()[word_len..].iter().find(|byte| !matches!(byte, b' ' | b'\t'));
        let declares = next.is_some_and(|&byte| is_word(byte) || byte == b'"');
        let in_block =
            matches!(self.open.last(), Some(Open::Bracket(b'{', _) | Open::Interp(Quote::Three, ..)));
        if declares && (self.open.is_empty() || word != b"let" || !in_block) {
            self.report_open();
            self.found.item_starts.push(doc_start.take().unwrap_or(at));
        }
    }

    /// Whether the line starts with a word that goes on like no expression does: `word word`, `word "text"`, `word = …`.
    /// Only asked where no bracket is open; it matters only when the text does not parse.
    fn is_no_expression(&self, word_len: usize) -> bool {
        let word = &self.rest()[..word_len];
        let in_expressions: [&[u8]; 11] =
            [b"if", b"else", b"match", b"for", b"in", b"on", b"fold", b"where", b"true", b"false", b"none"];
        if word_len == 0 || word[0].is_ascii_digit() || in_expressions.contains(&word) {
            return false;
        }
        let rest = self.rest()[word_len..].trim_ascii_start();
        let spaced = self.rest()[word_len..].starts_with(b" ");
        let assigns = rest.starts_with(b"=") && !rest.starts_with(b"==") && !rest.starts_with(b"=>");
        assigns || spaced && rest.first().is_some_and(|&byte| is_word(byte) || byte == b'"')
    }

    fn report_open(&mut self) {
        for open in self.open.drain(..) {
            match open {
                Open::Bracket(_, at) => self.found.unclosed_brackets.push(at),
                Open::Interp(_, _, at) => self.found.unclosed_insertions.push(at),
            }
        }
    }

    fn push(&mut self, open: Open) {
        self.open.push(open);
        if self.open.len() > MAX_NESTING {
            self.found.too_deep = Some(self.at as u32);
        }
    }

    /// A closing bracket, which has been read, closes the innermost opening one, whatever that is.
    fn close(&mut self, bracket: u8) {
        if let Some(&Open::Bracket(open, opened)) = self.open.last() {
            self.open.pop();
            let pair = matches!((open, bracket), (b'(', b')') | (b'[', b']') | (b'{', b'}'));
            if !pair {
                self.found.mismatched.push((opened, self.at as u32 - 1));
            }
            if pair || bracket != b'}' {
                return;
            }
        }
        if let Some(&Open::Interp(quote, start, _)) = self.open.last()
            && bracket == b'}'
        {
            self.open.pop();
            self.string(quote, start as usize, 0);
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
                    self.push(Open::Interp(quote, start as u32, self.at as u32));
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
        if let (Quote::One, Some(&Open::Interp(Quote::One, _, at))) = (quote, self.open.last())
            && !self.text[at as usize..start].contains(&b'\n')
        {
            // `"…#{x"`: the quote that seems to open a text was meant to close one.
            self.open.pop();
            self.found.unclosed_insertions.push(at);
            return;
        }
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

/// Control characters, and those that change in which order text is shown or cannot be seen at all.
fn is_bad(c: char) -> bool {
    c.is_control() && !matches!(c, '\t' | '\n' | '\r')
        || matches!(c, '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}' | '\u{2066}'..='\u{2069}')
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
