//! A text with a name at the cursor, and the item around it mended so that it parses: what completion looks at.
//!
//! While someone writes `img.`, the text is no program. A made-up name behind the dot and an end for what is open make
//! one of it, and the checker says what stands in front of the dot.

use std::ops::Range;

use crate::lang::syntax::lex::{self, Opened};
use crate::lang::syntax::{item_starts, parses};

/// Stands for what is not written yet; part of the name at the cursor.
pub(super) const MARK: &str = "bkl_cursor_";

/// How many ways to mend an item are tried.
const MAX_TRIES: usize = 250;
/// How many bytes are parsed for that in all.
const MAX_PARSED: usize = 1 << 20;

/// What can be missing right behind the cursor.
const FILLERS: [&str; 7] =
    ["", " => none", ": none", " = none", " in []: none", " { none } else { none }", " else { none }"];

/// A text with [`MARK`] at the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marked {
    /// The text; up to the word at the cursor it is what it was.
    pub text: String,
    /// The word at the cursor in the text as it was; perhaps empty.
    pub word: Range<u32>,
}

/// Puts the mark behind the first part of the word at `offset`; `None` inside of a number. `call` says that the name is
/// to be called: behind `|>` a name alone is nothing.
pub(super) fn marked(text: &str, offset: u32, call: Call) -> Option<Marked> {
    let offset = offset as usize;
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let start = text[..offset].trim_end_matches(is_word).len();
    let end = text.len() - text[offset..].trim_start_matches(is_word).len();
    if text[start..end].starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let parens = if call == Call::Added { "()" } else { "" };
    let mark_end = offset + MARK.len() + (end - offset) + parens.len();
    let whole = [&text[..offset], MARK, &text[offset..end], parens, &text[end..]].concat();
    let starts = item_starts(&whole);
    let next = starts.partition_point(|&item| item as usize <= start);
    let item_start = next.checked_sub(1).map_or(0, |item| starts[item] as usize);
    let item_end = starts.get(next).map_or(whole.len(), |&item| item as usize);
    let item = &whole[item_start..item_end];
    let mended = match mended(item, mark_end - item_start) {
        Some(mended) => [&whole[..item_start], &mended, "\n", &whole[item_end..]].concat(),
        None => whole,
    };
    Some(Marked { text: mended, word: start as u32..end as u32 })
}

/// Whether the name at the cursor is given parentheses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// As it is written.
    AsWritten,
    /// An empty call.
    Added,
}

/// An item that parses and is `item` up to `cursor`.
fn mended(item: &str, cursor: usize) -> Option<String> {
    let (before, after) = item.split_at(cursor);
    if let Some(filler) = FILLERS.iter().find(|filler| parses(&[before, filler, after].concat())) {
        return Some([before, filler, after].concat());
    }
    // What follows the cursor is given up; what is open there is closed.
    let opened: Vec<Opened> = lex::opened(before).into_iter().rev().collect();
    let max_tries = MAX_TRIES.min(MAX_PARSED / before.len().max(1)).max(1);
    let mut tries = 0;
    for n_special in 0..=2 {
        for special in choices(&opened, n_special) {
            let closing: String =
                opened.iter().zip(&special).map(|(open, &kind)| closing(*open, kind)).collect();
            for filler in FILLERS {
                tries += 1;
                if max_tries < tries {
                    return None;
                }
                let mended = [before, filler, &closing].concat();
                if parses(&mended) {
                    return Some(mended);
                }
            }
        }
    }
    None
}

/// Ways to close what is open: for each the number of its closing, all zero but `n_special` of them.
fn choices(opened: &[Opened], n_special: usize) -> Vec<Vec<usize>> {
    let kinds = |open: &Opened| match open {
        Opened::Bracket(b'{' | b'(') => 3,
        Opened::Bracket(_) => 2,
        Opened::Insert(_) | Opened::Text(_) => 1,
    };
    let mut all = vec![(0, Vec::new())];
    for open in opened {
        let mut longer = Vec::new();
        for (used, choice) in all {
            for kind in 0..if used < n_special { kinds(open) } else { 1 } {
                let mut choice = choice.clone();
                choice.push(kind);
                longer.push((used + usize::from(kind != 0), choice));
            }
        }
        // More than can be tried is not worth being listed.
        longer.truncate(MAX_TRIES);
        all = longer;
    }
    all.into_iter().filter(|(used, _)| *used == n_special).map(|(_, choice)| choice).collect()
}

/// The end of what is open.
fn closing(open: Opened, kind: usize) -> String {
    match (open, kind) {
        (Opened::Bracket(b'{'), 0) => "}".to_owned(),
        (Opened::Bracket(b'{'), 1) => " none }".to_owned(),
        (Opened::Bracket(b'{'), _) => "} else { none }".to_owned(),
        (Opened::Bracket(b'['), 0) => "]".to_owned(),
        (Opened::Bracket(b'['), _) => ": none]".to_owned(),
        (Opened::Bracket(_), 0) => ")".to_owned(),
        (Opened::Bracket(_), 1) => " none)".to_owned(),
        (Opened::Bracket(_), _) => ") -> int { 0 }".to_owned(),
        (Opened::Insert(quote), _) => format!("}}{quote}"),
        (Opened::Text(quote), _) => quote.to_owned(),
    }
}

#[cfg(test)]
mod tests;
