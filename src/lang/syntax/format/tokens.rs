//! A text as tokens with the comments between them: what the printer lays out anew and what the guard compares.

use std::ops::Range;

use crate::lang::syntax::words::SIGNS;

/// What a token is, as far as layout cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A word or a number.
    Word,
    /// A whole literal in quotes, expressions in it included.
    Text,
    /// A bracket or an operator.
    Mark,
    /// A `///` line.
    Doc,
    /// The end of the text.
    End,
}

/// A comment that stands between two tokens.
#[derive(Debug, Clone)]
pub(super) struct Comment {
    /// Its place, the newline left out.
    pub range: Range<usize>,
    /// It is the first one behind a token, on the same line.
    pub trailing: bool,
    /// An empty line lies above it.
    pub blank_above: bool,
}

/// A token and what lies between it and the token before it.
#[derive(Debug, Clone)]
pub(super) struct Token {
    /// What it is.
    pub kind: Kind,
    /// Its place.
    pub range: Range<usize>,
    /// Comments above it, in order.
    pub comments: Vec<Comment>,
    /// An empty line lies between it and what stands above it.
    pub blank_above: bool,
    /// It starts a line.
    pub on_new_line: bool,
    /// A comma lies between it and the token before it; commas are no tokens here, the printer sets its own.
    pub after_comma: bool,
}

/// Splits a text that parses.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut next = Token::starting_at(0);
    let mut at = 0;
    let mut newlines = 0;
    while at < text.len() {
        let rest = &text[at..];
        let first = rest.chars().next().expect("`at` is inside the text");
        if first.is_whitespace() || first == '\u{FEFF}' {
            newlines += usize::from(first == '\n');
            at += first.len_utf8();
            continue;
        }
        let len = length(rest, first);
        let range = at..at + rest[..len].trim_end().len();
        at += len;
        let is_doc = rest.starts_with("///") && !rest.starts_with("////");
        if first == ',' {
            // A comment behind the comma belongs to what stands before it.
            next.after_comma = true;
            newlines = 0;
            continue;
        }
        if rest.starts_with("//") && !is_doc {
            let trailing = newlines == 0 && next.comments.is_empty() && !tokens.is_empty();
            next.comments.push(Comment { range, trailing, blank_above: 1 < newlines });
            newlines = 0;
            continue;
        }
        next.kind = match first {
            _ if is_doc => Kind::Doc,
            '"' => Kind::Text,
            'r' if rest.starts_with("r\"") => Kind::Text,
            _ if is_word(first) => Kind::Word,
            _ => Kind::Mark,
        };
        next.range = range;
        next.blank_above = 1 < newlines;
        next.on_new_line = 0 < newlines || !next.comments.is_empty();
        newlines = 0;
        tokens.push(std::mem::replace(&mut next, Token::starting_at(at)));
    }
    next.range = text.len()..text.len();
    tokens.push(next);
    tokens
}

impl Token {
    fn starting_at(at: usize) -> Token {
        Token {
            kind: Kind::End,
            range: at..at,
            comments: Vec::new(),
            blank_above: false,
            on_new_line: false,
            after_comma: false,
        }
    }
}

/// Bytes of the token or comment that `rest` starts with.
fn length(rest: &str, first: char) -> usize {
    if rest.starts_with("//") {
        rest.find('\n').unwrap_or(rest.len())
    } else if first == '"' || rest.starts_with("r\"") {
        text_length(rest)
    } else if is_word(first) {
        rest.find(|c| !is_word(c)).unwrap_or(rest.len())
    } else {
        SIGNS.iter().find(|mark| rest.starts_with(**mark)).map_or(first.len_utf8(), |mark| mark.len())
    }
}

/// Bytes of a literal in quotes, which may hold expressions with literals of their own.
fn text_length(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let raw = bytes[0] == b'r';
    let quote = if rest[usize::from(raw)..].starts_with("\"\"\"") { "\"\"\"" } else { "\"" };
    let mut at = usize::from(raw) + quote.len();
    while at < rest.len() {
        if rest[at..].starts_with(quote) {
            return at + quote.len();
        }
        at += match bytes[at] {
            b'\\' if !raw && quote.len() == 1 => 1 + rest[at + 1..].chars().next().map_or(0, char::len_utf8),
            b'#' if !raw && rest[at..].starts_with("#{") => 2 + expression_length(&rest[at + 2..]),
            _ => rest[at..].chars().next().map_or(1, char::len_utf8),
        };
    }
    rest.len()
}

/// Bytes up to and with the `}` that ends `#{`.
pub(super) fn expression_length(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(first) = rest[at..].chars().next() {
        let len = if first.is_whitespace() { first.len_utf8() } else { length(&rest[at..], first) };
        at += len;
        match first {
            '{' => depth += 1,
            '}' if depth == 0 => return at,
            '}' => depth -= 1,
            _ => {}
        }
    }
    rest.len()
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}
