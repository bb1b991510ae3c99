//! A text as colours: what each stretch of it is, whether or not it parses.
//!
//! The grammar decides what a program is; this only has to agree with it on programs that parse. It never fails and
//! leaves out nothing but blank space.

use super::words::{CONSTANTS, ITEM_WORDS, KEYWORDS, SIGNS};

/// What a stretch of text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A word of the language where it stands.
    Keyword,
    /// `true`, `false`, `none`.
    Constant,
    /// Any other word.
    Name,
    /// A number, with its unit.
    Number,
    /// `// …`, `//! …`.
    Comment,
    /// `/// …`.
    Doc,
    /// Text in quotes, the quotes included, without escapes and what is inserted.
    Text,
    /// `\n` in a text.
    Escape,
    /// `#{` and the `}` that ends it.
    Insert,
    /// `(`, `[` or `{`.
    Open,
    /// `)`, `]` or `}`.
    Close,
    /// Anything else: operators, commas, what does not belong here.
    Sign,
}

/// A stretch of text. Texts over several lines are one stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lexeme {
    /// What it is.
    pub kind: Kind,
    /// Offset of its first byte.
    pub start: u32,
    /// Offset behind its last byte.
    pub end: u32,
}

/// What is open at the end of a text, innermost last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// `(`, `[` or `{`.
    Bracket(u8),
    /// `#{` in a text that ends with this quote.
    Insert(&'static str),
    /// A text that ends with this quote.
    Text(&'static str),
}

/// Splits `text`.
pub fn lex(text: &str) -> Vec<Lexeme> {
    let mut lexer = Lexer::new(text);
    lexer.run();
    lexer.found
}

/// What brackets and texts of `text` have no end.
pub fn opened(text: &str) -> Vec<Opened> {
    let mut lexer = Lexer::new(text);
    lexer.run();
    lexer.open
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    open: Vec<Opened>,
    found: Vec<Lexeme>,
}

impl<'a> Lexer<'a> {
    fn new(text: &'a str) -> Lexer<'a> {
        Lexer { text, at: 0, open: Vec::new(), found: Vec::new() }
    }

    fn run(&mut self) {
        while self.at < self.text.len() {
            let start = self.at;
            let rest = &self.text[start..];
            let first = rest.chars().next().expect("`at` is inside the text");
            if first.is_whitespace() || first == '\u{FEFF}' {
                self.at += first.len_utf8();
                continue;
            }
            if rest.starts_with("//") {
                let is_doc = rest.starts_with("///") && !rest.starts_with("////");
                let line = rest.find('\n').map_or(rest, |end| &rest[..end]).trim_end();
                self.push(if is_doc { Kind::Doc } else { Kind::Comment }, line.len().max(2));
                continue;
            }
            if let Some((opening, quote)) = quote(rest) {
                let raw = opening.starts_with('r');
                self.at += opening.len();
                self.rest_of_text(start, quote, raw);
                continue;
            }
            match first {
                '(' | '[' | '{' => {
                    self.open.push(Opened::Bracket(rest.as_bytes()[0]));
                    self.push(Kind::Open, 1);
                }
                '}' if matches!(self.open.last(), Some(Opened::Insert(_))) => {
                    let Some(Opened::Insert(quote)) = self.open.pop() else {
                        unreachable!("looked at above")
                    };
                    self.push(Kind::Insert, 1);
                    self.rest_of_text(self.at, quote, false);
                }
                ')' | ']' | '}' => {
                    if matches!(self.open.last(), Some(Opened::Bracket(_))) {
                        self.open.pop();
                    }
                    self.push(Kind::Close, 1);
                }
                _ if is_word(first) => {
                    let len = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                    let kind = self.word(&rest[..len]);
                    self.push(kind, len);
                }
                _ => {
                    let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
                    self.push(Kind::Sign, sign.map_or(first.len_utf8(), |sign| sign.len()));
                }
            }
        }
    }

    fn push(&mut self, kind: Kind, len: usize) {
        let (start, end) = (self.at as u32, (self.at + len) as u32);
        self.found.push(Lexeme { kind, start, end });
        self.at += len;
    }

    /// What a word is where it stands.
    fn word(&self, word: &str) -> Kind {
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            return Kind::Number;
        }
        let before = self.text[..self.at].trim_end_matches([' ', '\t']);
        let behind = self.text[self.at + word.len()..].trim_start_matches([' ', '\t']);
        let is_label = behind.starts_with(':');
        let is_part = before.ends_with('.') && !before.ends_with("...");
        if KEYWORDS.contains(&word) {
            return match is_part || is_label && !CONSTANTS.contains(&word) {
                true => Kind::Name,
                false if CONSTANTS.contains(&word) => Kind::Constant,
                false => Kind::Keyword,
            };
        }
        let names = |c: char| c.is_ascii_alphabetic() || c == '_';
        let declares = match word {
            "test" => behind.starts_with('"'),
            "pub" | "extern" => behind.starts_with(names),
            _ => behind.starts_with(|c| names(c) || c == '[' || c == '{'),
        };
        let starts_item = || {
            let line = &before[before.rfind('\n').map_or(0, |newline| newline + 1)..];
            matches!(line.trim(), "" | "pub" | "extern" | "pub extern")
        };
        if ITEM_WORDS.contains(&word) && declares && !is_part && !is_label && starts_item() {
            return Kind::Keyword;
        }
        let keyword = match word {
            "from" => behind.starts_with('"'),
            "some" => behind.starts_with('('),
            "fold" => behind.starts_with(names),
            _ => false,
        };
        if keyword && !is_part && !is_label { Kind::Keyword } else { Kind::Name }
    }

    /// Reads a text up to its end or its next `#{`; what of it is read already starts at `start`.
    fn rest_of_text(&mut self, start: usize, quote: &'static str, raw: bool) {
        let mut piece = start;
        let flush = |lexer: &mut Self, piece: usize| {
            if piece < lexer.at {
                let (start, end) = (piece as u32, lexer.at as u32);
                lexer.found.push(Lexeme { kind: Kind::Text, start, end });
            }
        };
        while self.at < self.text.len() {
            let rest = &self.text[self.at..];
            let first = rest.chars().next().expect("`at` is inside the text");
            if rest.starts_with(quote) {
                self.at += quote.len();
                return flush(self, piece);
            }
            if quote == "\"" && first == '\n' {
                // A text on one line ends with it, closed or not.
                return flush(self, piece);
            }
            if !raw && rest.starts_with("#{") {
                flush(self, piece);
                self.push(Kind::Insert, 2);
                self.open.push(Opened::Insert(quote));
                return;
            }
            if !raw && quote == "\"" && first == '\\' {
                flush(self, piece);
                let unicode =
                    rest.starts_with("\\u{").then(|| rest.find('}')).flatten().filter(|&end| end < 10);
                let next = rest[1..].chars().next().filter(|&next| next != '\n');
                self.push(Kind::Escape, unicode.map_or(1 + next.map_or(0, char::len_utf8), |end| end + 1));
                piece = self.at;
                continue;
            }
            self.at += first.len_utf8();
        }
        flush(self, piece);
        self.open.push(Opened::Text(quote));
    }
}

/// How a text starts and ends.
fn quote(rest: &str) -> Option<(&'static str, &'static str)> {
    let kinds = [("r\"\"\"", "\"\"\""), ("\"\"\"", "\"\"\""), ("r\"", "\""), ("\"", "\"")];
    kinds.into_iter().find(|(opening, _)| rest.starts_with(opening))
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests;
