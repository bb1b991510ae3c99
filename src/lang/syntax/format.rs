//! `bkl fmt`: one layout for every program. Tokens and comments stay in their order; only space, line breaks and the
//! comma behind a last element are the formatter's.
//!
//! A text is read into tokens ([`tokens`]) and concrete syntax, laid out as a document ([`doc`], by [`printer`],
//! [`items`] and [`exprs`]), and read again to prove that nothing but the layout changed.

mod doc;
mod exprs;
mod items;
mod printer;
mod tokens;

#[cfg(test)]
mod tests;

use thiserror::Error;

use self::printer::{Lines, Printer};
use self::tokens::{Kind, Token};
use super::grammar;
use crate::base::{Report, SourceFile};
use crate::lang::on_deep_stack;

/// How often a text is laid out at most: comments in odd places may need a second time to come to rest.
const MAX_ROUNDS: usize = 4;

/// Why a text has no layout.
#[derive(Debug, Error)]
pub enum FormatError {
    /// It does not parse; the errors say why.
    #[error("it does not parse")]
    Syntax(Vec<super::SyntaxError>),
    /// The layout would say something else, or does not come to rest: a bug of the formatter.
    #[error("formatting `{file}` would change {what}")]
    Changed {
        /// The file.
        file: String,
        /// What differs.
        what: &'static str,
    },
}

impl FormatError {
    /// What to tell people.
    pub fn reports(&self) -> Vec<Report> {
        match self {
            FormatError::Syntax(errors) => errors.iter().map(super::SyntaxError::report).collect(),
            FormatError::Changed { .. } => vec![Report::error("bkl::format_bug", self.to_string()).help(
                "this is a bug of `bkl fmt`; the file is left as it is. Please report it with the file",
            )],
        }
    }
}

/// The text of `file` in the one layout. Formatting the result gives the same again.
pub fn format(file: &SourceFile) -> Result<String, FormatError> {
    on_deep_stack(|| {
        let parsed = super::parse(file);
        if !parsed.errors.is_empty() {
            return Err(FormatError::Syntax(parsed.errors));
        }
        let changed = |what| FormatError::Changed { file: file.name.to_string(), what };
        let mut text = file.text.to_string();
        for _ in 0..MAX_ROUNDS {
            let next = lay_out(&text).ok_or_else(|| changed("its tokens"))?;
            same_meaning(&text, &next).map_err(changed)?;
            if next == text {
                return Ok(text);
            }
            text = next;
        }
        Err(changed("every time it is done again"))
    })
}

/// One pass; `None` when the walk and the tokens disagree.
fn lay_out(text: &str) -> Option<String> {
    let tree = grammar::parse(text).ok()?;
    let mut printer = Printer::new(text, tokens::tokens(text));
    let document = printer.file(tree);
    (printer.n_left() == 0).then(|| doc::print(&document))
}

/// Whether two texts have the same tokens, the same tree and the same comments; else what differs.
fn same_meaning(before: &str, after: &str) -> Result<(), &'static str> {
    let (old, new) = (tokens::tokens(before), tokens::tokens(after));
    if !words(before, &old).eq(words(after, &new)) {
        return Err("its tokens");
    }
    if !comments(before, &old).eq(comments(after, &new)) {
        return Err("its comments");
    }
    let tree = |text| grammar::parse(text).map(|pair| shape(&pair)).map_err(|_| "its syntax");
    if tree(before)? == tree(after)? { Ok(()) } else { Err("its syntax") }
}

/// What a token says: literals over several lines without the indentation of the source, commas that separate.
fn words<'a>(
    text: &'a str,
    tokens: &'a [Token],
) -> impl Iterator<Item = (bool, Kind, String, Option<Lines>)> + 'a {
    tokens.iter().map(move |token| {
        let written = &text[token.range.clone()];
        let closes = matches!(written, ")" | "]" | "}");
        let comma = token.after_comma && !closes;
        let (first, rest) = match token.kind {
            Kind::Text if written.contains('\n') => {
                let (first, rest) = printer::split(written);
                (first, Some(rest))
            }
            Kind::Text | Kind::Word | Kind::Mark | Kind::Doc | Kind::End => {
                (written.trim_end().to_owned(), None)
            }
        };
        (comma, token.kind, first, rest)
    })
}

fn comments<'a>(text: &'a str, tokens: &'a [Token]) -> impl Iterator<Item = &'a str> {
    let comments = tokens.iter().flat_map(|token| &token.comments);
    comments.map(|comment| text[comment.range.clone()].trim_end())
}

/// The rules a text is read by, in order, with how deep they lie.
fn shape(pair: &grammar::Pair<'_>) -> Vec<(usize, grammar::Rule)> {
    let mut shape = Vec::new();
    let mut todo = vec![(0, pair.clone())];
    while let Some((depth, pair)) = todo.pop() {
        shape.push((depth, pair.as_rule()));
        let first = todo.len();
        // Inside of literals, the tokens were compared.
        if pair.as_rule() != grammar::Rule::string {
            todo.extend(pair.into_inner().map(|inner| (depth + 1, inner)));
            todo[first..].reverse();
        }
    }
    shape
}
