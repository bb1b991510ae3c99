//! The grammar of `grammar/bkl.pest` behind one door: the only file that names pest.

use std::sync::Mutex;

use pest::Parser as _;
use pest::error::InputLocation;

/// The generated parser.
#[derive(pest_derive::Parser)]
#[grammar = "grammar/bkl.pest"]
struct Grammar;

/// A node of the concrete syntax.
pub(super) type Pair<'i> = pest::iterators::Pair<'i, Rule>;

/// Nodes in order.
pub(super) type Pairs<'i> = pest::iterators::Pairs<'i, Rule>;

/// Where reading stopped, and what could have followed.
#[derive(Debug)]
pub(super) struct Failure {
    /// Byte offset of the first token that does not fit.
    pub at: usize,
    /// Tokens as written, `)`, `let`, sorted.
    pub tokens: Vec<String>,
    /// Rules that could have started here.
    pub rules: Vec<Rule>,
}

/// Reads a whole file, or a stretch of one: items up to the end.
pub(super) fn parse(text: &str) -> Result<Pair<'_>, Failure> {
    match Grammar::parse(Rule::file, text) {
        Ok(mut pairs) => Ok(pairs.next().expect("`file` is one pair")),
        Err(_) => Err(explain(text)),
    }
}

/// Whether [`parse`] gives a tree.
pub(super) fn parses(text: &str) -> bool {
    Grammar::parse(Rule::file, text).is_ok()
}

/// Parses a text that is known to fail once more, now with the bookkeeping that pest keeps for errors.
///
/// The switch for it is global in pest; the lock keeps one caller's `off` from another's parse. Parses that run
/// meanwhile with the switch on are slower and otherwise the same.
fn explain(text: &str) -> Failure {
    static DETAIL: Mutex<()> = Mutex::new(());
    let _detail = DETAIL.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    pest::set_error_detail(true);
    let result = Grammar::parse(Rule::file, text);
    pest::set_error_detail(false);
    let Err(error) = result else {
        return Failure { at: text.len(), tokens: Vec::new(), rules: Vec::new() };
    };
    let at = match error.location {
        InputLocation::Pos(at) | InputLocation::Span((at, _)) => at,
    };
    let mut failure = Failure { at, tokens: Vec::new(), rules: Vec::new() };
    if let Some(attempts) = error.parse_attempts() {
        failure.at = attempts.max_position;
        failure.tokens = attempts.expected_tokens().iter().map(ToString::to_string).collect();
        for stack in attempts.call_stacks() {
            let rules = [stack.deepest.get_rule(), stack.parent.as_ref()];
            failure.rules.extend(rules.into_iter().flatten().copied());
        }
    }
    failure.tokens.sort();
    failure.tokens.dedup();
    failure.rules.sort();
    failure.rules.dedup();
    failure
}
