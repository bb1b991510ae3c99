//! Slips that many make, in words of their own: other languages' operators and keywords, Dockerfile, HCL and YAML text,
//! commas and colons that are missing.
//!
//! The grammar only knows what could have followed; what was meant shows in the token that stands there and in the words in
//! front of it. Each rule gives up where it is not sure: then the plain "expected …" is said.

mod behind;
mod declaration;
mod expression;
mod item;

use super::error::SyntaxError;
use super::grammar::{Failure, Rule};
use crate::base::{FileId, Span};

/// A recognised slip: what is wrong, what to say at its place, the way out.
pub(super) struct Slip {
    message: String,
    label: &'static str,
    help: Option<String>,
    /// Bytes of the text that it is about; none: the token.
    place: Option<(usize, usize)>,
}

impl Slip {
    fn new(message: impl Into<String>, label: &'static str) -> Slip {
        Slip { message: message.into(), label, help: None, place: None }
    }

    fn help(mut self, text: impl Into<String>) -> Slip {
        self.help = Some(text.into());
        self
    }

    fn at(mut self, start: usize, end: usize) -> Slip {
        self.place = Some((start, end));
        self
    }
}

/// Where reading stopped.
pub(super) struct Place<'a> {
    /// The whole text.
    pub text: &'a str,
    /// Where the item starts that is read, its doc left out.
    pub item: usize,
    /// Start of the token that does not fit.
    pub at: usize,
    /// The token, `"let"`, `"=="`; empty at the end.
    pub found: &'a str,
    /// What the grammar says.
    pub failure: &'a Failure,
}

impl<'a> Place<'a> {
    /// The item up to the token, without space at its end.
    fn before(&self) -> &'a str {
        self.text[self.item.min(self.at)..self.at].trim_end()
    }

    /// The text from the token on.
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// The text behind the token, up to the end of its line.
    fn behind(&self) -> &'a str {
        self.rest()[self.found.len()..].lines().next().unwrap_or_default()
    }

    /// Whether a token could have stood here.
    fn wants(&self, token: &str) -> bool {
        self.failure.tokens.iter().any(|it| it == token)
    }

    /// Whether something of this rule could have started here.
    fn could_be(&self, rule: Rule) -> bool {
        self.failure.rules.contains(&rule)
    }

    fn wants_item(&self) -> bool {
        self.could_be(Rule::item) || self.could_be(Rule::vis)
    }

    fn wants_expression(&self) -> bool {
        let rules = [Rule::atom, Rule::term, Rule::unary, Rule::expr];
        !self.wants_item() && (rules.into_iter().any(|rule| self.could_be(rule)) || self.wants("0o"))
    }

    /// Whether only blank space stands in front of the token on its line.
    fn starts_line(&self) -> bool {
        self.text[..self.at].rsplit('\n').next().is_none_or(|line| line.trim().is_empty())
    }

    /// The word of the language that the item starts with, `pub` left out, and what stands behind it.
    fn declared(&self) -> (&'a str, &'a str) {
        let before = self.before();
        let before = before.strip_prefix("pub ").map_or(before, str::trim_start);
        let word = before.find(|c: char| !is_word(c)).unwrap_or(before.len());
        (&before[..word], before[word..].trim_start())
    }

    /// `x` of a statement `x = …` where a function's body starts, or behind a `let` of one.
    fn reassigned(&self) -> Option<&'a str> {
        let before = self.before();
        let name = last_word(before);
        let in_front = before[..before.len() - name.len()].trim_end();
        let opens = in_front.ends_with('{') && !in_front[..in_front.len() - 1].contains('{');
        let line = in_front.rsplit('\n').next().unwrap_or_default();
        let behind_let = line.trim_start().starts_with("let ") && before[in_front.len()..].contains('\n');
        let in_body = self.declared().0 == "fn" && before.contains("->");
        (!name.is_empty() && in_body && (opens || behind_let)).then_some(name)
    }

    /// The last word in front of the token; empty when a sign stands there.
    fn last_word(&self) -> &'a str {
        last_word(self.before())
    }
}

/// What was meant at a place, if that is known.
pub(super) fn recognise(place: &Place<'_>, file: FileId) -> Option<SyntaxError> {
    let slip = if place.found.is_empty() {
        expression::no_else(place)
    } else if place.wants_item() && place.starts_line() {
        item::slip(place)
    } else if place.wants_item() {
        behind::slip(place)
    } else {
        declaration::slip(place).or_else(|| expression::slip(place))
    };
    slip.map(|slip| {
        let (start, end) = slip.place.unwrap_or((place.at, place.at + place.found.len()));
        let at = Span::new(file, start as u32, end as u32);
        SyntaxError::Slip { message: slip.message, label: slip.label, help: slip.help, at }
    })
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn last_word(text: &str) -> &str {
    &text[text.trim_end_matches(is_word).len()..]
}

/// The name that a module of this path is imported by.
fn module_name(path: &str) -> String {
    let last = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".bkl");
    last.chars().map(|c| if is_word(c) { c } else { '_' }).collect()
}

/// A text in quotes at the start of `text`, without its quotes.
fn quoted(text: &str) -> Option<&str> {
    let text = text.strip_prefix('"')?;
    text.split(['"', '\n']).next().filter(|it| !it.is_empty())
}

/// `x` of `#{x}` or `${x}` at the start of `text`.
fn braced(text: &str) -> Option<&str> {
    let inner = text.trim_start_matches(['#', '$', '{']);
    let name = &inner[..inner.find(|c: char| !is_word(c)).unwrap_or(inner.len())];
    (!name.is_empty()).then_some(name)
}
