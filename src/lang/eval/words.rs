//! Splitting the text of `exec` into words, as google/shlex does: no shell, no variables, no patterns.
//!
//! `'…'` is verbatim; in `"…"` and outside quotes a backslash makes the next character ordinary; `#` at the start of a
//! word starts a comment. A value is one word or a part of one whatever it holds; a list is as many as it has.

#[cfg(test)]
mod tests;

use super::quote::Piece;

/// Why a text does not split.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum SplitError {
    /// An open quote at the end.
    #[error("the quote `{0}` is never closed")]
    OpenQuote(char),
    /// A backslash at the end.
    #[error("there is nothing behind the last backslash")]
    TrailingBackslash,
    /// A list between quotes would be one word.
    #[error("a list between quotes would become one word")]
    ListInQuotes,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Bare,
    Quoted(char),
    Escape { quoted: bool },
    Comment,
}

/// The words of `pieces`.
pub(super) fn split(pieces: &[Piece<'_>]) -> Result<Vec<String>, SplitError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut state = State::Bare;
    for piece in pieces {
        match piece {
            Piece::Text(text) => {
                for c in text.chars() {
                    state = step(state, c, &mut word, &mut words);
                }
            }
            // A comment stays a comment, and an escape is about the written character it was meant for.
            Piece::Word(_) | Piece::Words(_) if state == State::Comment => {}
            Piece::Word(value) => {
                word.get_or_insert_default().push_str(value);
                state = after_value(state);
            }
            Piece::Words(values) => {
                if matches!(state, State::Quoted(_) | State::Escape { quoted: true }) {
                    return Err(SplitError::ListInQuotes);
                }
                for (idx, value) in values.iter().enumerate() {
                    if idx > 0 {
                        words.extend(word.take());
                    }
                    word.get_or_insert_default().push_str(value);
                }
                state = after_value(state);
            }
        }
    }
    match state {
        State::Quoted(quote) => Err(SplitError::OpenQuote(quote)),
        State::Escape { .. } => Err(SplitError::TrailingBackslash),
        State::Bare | State::Comment => {
            words.extend(word);
            Ok(words)
        }
    }
}

fn after_value(state: State) -> State {
    match state {
        State::Escape { quoted: true } => State::Quoted('"'),
        State::Escape { quoted: false } => State::Bare,
        state => state,
    }
}

fn step(state: State, c: char, word: &mut Option<String>, words: &mut Vec<String>) -> State {
    match (state, c) {
        (State::Comment, '\n') => State::Bare,
        (State::Comment, _) => State::Comment,
        (State::Escape { quoted }, c) => {
            word.get_or_insert_default().push(c);
            if quoted { State::Quoted('"') } else { State::Bare }
        }
        (State::Quoted(quote), c) if c == quote => State::Bare,
        (State::Quoted('"'), '\\') => State::Escape { quoted: true },
        (State::Bare, '\\') => State::Escape { quoted: false },
        (State::Bare, ' ' | '\t' | '\r' | '\n') => {
            words.extend(word.take());
            State::Bare
        }
        (State::Bare, '\'' | '"') => {
            word.get_or_insert_default();
            State::Quoted(c)
        }
        (State::Bare, '#') if word.is_none() => State::Comment,
        (State::Bare | State::Quoted(_), c) => {
            word.get_or_insert_default().push(c);
            state
        }
    }
}
