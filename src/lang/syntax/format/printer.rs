//! Takes the tokens in order, each with what lies above it. The walk over the syntax is in `items` and `exprs`.

use super::doc::{self, Doc};
use super::tokens::{Comment, Kind, Token};

/// What is left to lay out.
pub(super) struct Printer<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    at: usize,
}

/// Comments above a token.
struct Above {
    /// The one at the end of the line before.
    trailing: Doc,
    /// Those on lines of their own, each with its newline.
    own: Doc,
    /// There are some of the second kind.
    has_own: bool,
    /// There is a comment of either kind.
    any: bool,
    /// An empty line lies directly under what was there before.
    blank: bool,
}

impl<'a> Printer<'a> {
    pub(super) fn new(text: &'a str, tokens: Vec<Token>) -> Printer<'a> {
        Printer { text, tokens, at: 0 }
    }

    /// The next token; at the end, the end again.
    fn token(&mut self) -> &mut Token {
        let at = self.at.min(self.tokens.len() - 1);
        &mut self.tokens[at]
    }

    /// The next token as written.
    pub(super) fn peek(&self) -> &'a str {
        &self.text[self.tokens[self.at.min(self.tokens.len() - 1)].range.clone()]
    }

    /// What the next token is.
    pub(super) fn peek_kind(&self) -> Kind {
        self.tokens[self.at.min(self.tokens.len() - 1)].kind
    }

    /// Whether a comma stands in front of the next token.
    pub(super) fn after_comma(&self) -> bool {
        self.tokens[self.at.min(self.tokens.len() - 1)].after_comma
    }

    /// Whether what comes next starts on a line of its own.
    pub(super) fn on_new_line(&self) -> bool {
        self.tokens[self.at.min(self.tokens.len() - 1)].on_new_line
    }

    /// Whether comments lie above the next token.
    pub(super) fn has_comments(&self) -> bool {
        !self.tokens[self.at.min(self.tokens.len() - 1)].comments.is_empty()
    }

    /// Whether the next token has comments on lines of their own above it.
    pub(super) fn has_own_comments(&self) -> bool {
        self.tokens[self.at.min(self.tokens.len() - 1)].comments.iter().any(|comment| !comment.trailing)
    }

    /// Whether comments lie above the token that starts at the byte `start`.
    pub(super) fn has_comments_at(&self, start: usize) -> bool {
        let at = self.tokens.partition_point(|token| token.range.start < start);
        self.tokens.get(at).is_some_and(|token| !token.comments.is_empty())
    }

    /// Takes the comments above the next token.
    fn above(&mut self) -> Above {
        let text = self.text;
        let token = self.token();
        let comments = std::mem::take(&mut token.comments);
        let token_blank = std::mem::take(&mut token.blank_above);
        let (trailing, own) = match comments.split_first() {
            Some((first, rest)) if first.trailing => (Some(first), rest),
            _ => (None, comments.as_slice()),
        };
        let written = |comment: &Comment| text[comment.range.clone()].trim_end();
        let mut docs = Vec::new();
        for (n, comment) in own.iter().enumerate() {
            if 0 < n {
                docs.push(if comment.blank_above { doc::blank() } else { doc::hard() });
            }
            docs.push(doc::text(written(comment)));
        }
        if !own.is_empty() {
            docs.push(if token_blank { doc::blank() } else { doc::hard() });
        }
        Above {
            trailing: trailing.map_or_else(doc::nil, |comment| doc::comment(written(comment))),
            own: doc::concat(docs),
            has_own: !own.is_empty(),
            any: !comments.is_empty(),
            blank: own.first().map_or(token_blank, |comment| comment.blank_above),
        }
    }

    /// The next token, with its comments although no line was to break here.
    pub(super) fn next(&mut self) -> Doc {
        let above = self.above();
        let token = self.bare();
        if above.has_own {
            doc::concat(vec![above.trailing, doc::fresh(), above.own, token])
        } else {
            doc::concat(vec![above.trailing, token])
        }
    }

    fn bare(&mut self) -> Doc {
        let written = self.peek();
        let kind = self.token().kind;
        self.at += 1;
        match kind {
            Kind::Text if written.contains('\n') => multi_line(written),
            Kind::Doc => doc::text(written.trim_end()),
            Kind::Text | Kind::Word | Kind::Mark | Kind::End => doc::text(written),
        }
    }

    /// A place where a line may break, in front of the next token; a comment there makes it break.
    pub(super) fn break_with(&mut self, line: Doc) -> Doc {
        let above = self.above();
        if above.any { doc::concat(vec![above.trailing, line, above.own]).force() } else { line }
    }

    /// The same between two elements that stand below each other: one empty line is kept.
    pub(super) fn between(&mut self, line: Doc) -> Doc {
        let above = self.above();
        let line = if above.blank { doc::spaced(&line) } else { line };
        if above.any { doc::concat(vec![above.trailing, line, above.own]).force() } else { line }
    }

    /// Comments above a closing bracket, which belong to what is inside; `empty`: nothing else is inside.
    pub(super) fn before_closing(&mut self, empty: bool) -> Doc {
        let comments = std::mem::take(&mut self.token().comments);
        if comments.is_empty() {
            return doc::nil();
        }
        let mut docs = Vec::new();
        for (n, comment) in comments.iter().enumerate() {
            let written = self.text[comment.range.clone()].trim_end();
            if comment.trailing {
                docs.push(doc::comment(written));
                continue;
            }
            docs.push(if comment.blank_above && !(empty && n == 0) { doc::blank() } else { doc::hard() });
            docs.push(doc::text(written));
        }
        doc::concat(docs).force()
    }

    /// How many tokens were not taken, the end not counted.
    pub(super) fn n_left(&self) -> usize {
        (self.tokens.len() - 1).saturating_sub(self.at)
    }
}

/// A literal over several lines, moved to where it stands now. What is in front of all its lines is no part of the
/// text (`dedent`), so it can be replaced; a literal with an expression over several lines stays as it is.
fn multi_line(written: &str) -> Doc {
    let (first, rest) = split(written);
    let rest = match rest {
        Lines::Fixed(lines) => return doc::verbatim(first, lines),
        Lines::Movable(lines) => lines,
    };
    let closes_alone = rest.last().is_some_and(|line| line == "\"\"\"");
    let n_content = rest.len() - usize::from(closes_alone);
    let shift = |(n, line): (usize, String)| match line.as_str() {
        "" => line,
        _ if n < n_content => format!("  {line}"),
        _ => line,
    };
    doc::lines(first, rest.into_iter().enumerate().map(shift).collect())
}

/// The lines of a literal behind its first one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lines {
    /// They must stay in their columns.
    Fixed(Vec<String>),
    /// Without the white space that all of them have in front.
    Movable(Vec<String>),
}

/// First line of a literal, and the others.
pub(super) fn split(written: &str) -> (String, Lines) {
    let mut lines = written.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    let first = lines.next().unwrap_or_default().to_owned();
    let rest: Vec<&str> = lines.collect();
    let blank = |line: &str| line.trim().is_empty();
    // Only literals in three quotes have several lines of text; in others, an expression has them.
    let three = written.trim_start_matches('r').starts_with("\"\"\"");
    if !three || spans_lines(written) {
        return (first, Lines::Fixed(rest.into_iter().map(str::to_owned).collect()));
    }
    let closing_alone = rest.last().is_some_and(|line| line.trim_start_matches([' ', '\t']) == "\"\"\"");
    let n_content = rest.len() - usize::from(closing_alone);
    let indent_of = |line: &str| line.len() - line.trim_start_matches([' ', '\t']).len();
    let content = rest.iter().take(n_content).filter(|line| !blank(line));
    let indent = content.map(|line| indent_of(line)).min().unwrap_or(0);
    let moved = rest.iter().enumerate().map(|(n, line)| {
        if n >= n_content {
            "\"\"\"".to_owned()
        } else if blank(line) {
            String::new()
        } else {
            line[indent..].to_owned()
        }
    });
    (first, Lines::Movable(moved.collect()))
}

/// Whether an expression in a literal goes over more than one line.
fn spans_lines(written: &str) -> bool {
    if written.starts_with('r') {
        return false;
    }
    let mut rest = written;
    while let Some(at) = rest.find("#{") {
        let inside = &rest[at + 2..];
        let len = super::tokens::expression_length(inside);
        if inside[..len].contains('\n') {
            return true;
        }
        rest = &inside[len..];
    }
    false
}
