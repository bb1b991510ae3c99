//! What can be wrong with the syntax of a text, in words.

use std::fmt;

use super::grammar::{Failure, Rule};
use crate::base::{Fix, Report, Span};

/// A text that is not bkl.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    /// A token that does not fit where it stands.
    #[error("expected {expected}, found `{found}`")]
    Unexpected {
        /// What could have stood here.
        expected: Expected,
        /// What does.
        found: String,
        /// Its place.
        at: Span,
    },
    /// An item that ends too early.
    #[error("expected {expected} behind `{last}`")]
    Ends {
        /// What could have followed.
        expected: Expected,
        /// The last token.
        last: String,
        /// Its place.
        at: Span,
    },
    /// A slip that many make, in words of its own.
    #[error("{message}")]
    Slip {
        /// What is wrong.
        message: String,
        /// What to say at the place.
        label: &'static str,
        /// The way out.
        help: Option<String>,
        /// Its place.
        at: Span,
    },
    /// `[1, 2)`
    #[error("`{close}` cannot close `{open}`")]
    Mismatched {
        /// The opening bracket.
        open: char,
        /// Its place.
        opened: Span,
        /// The closing one.
        close: char,
        /// Its place.
        at: Span,
    },
    /// A character that cannot be seen, or that changes how others are seen.
    #[error("the character U+{:04X} cannot stand in a program", u32::from(*character))]
    BadCharacter {
        /// The character.
        character: char,
        /// Its place.
        at: Span,
    },
    /// `#{…` without `}`
    #[error("this `#{{` is never closed")]
    UnclosedInsertion {
        /// The `#{`.
        at: Span,
    },
    /// `"…` without an end.
    #[error("this text is not closed")]
    UnclosedText {
        /// The quote that is missing.
        quote: &'static str,
        /// Whether it ends in `\"`.
        escaped: bool,
        /// From the quote to the end of its line.
        at: Span,
    },
    /// `(`, `[` or `{` without its partner.
    #[error("this `{bracket}` is never closed")]
    UnclosedBracket {
        /// The bracket.
        bracket: char,
        /// Its place.
        at: Span,
    },
    /// `f(name = value)`.
    #[error("named arguments use `:`, not `=`")]
    EqualsInCall {
        /// The `=`.
        at: Span,
    },
    /// `f (x)`.
    #[error("the `(` of a call follows its function directly")]
    SpaceBeforeCall {
        /// The function.
        name: String,
        /// The space and the bracket.
        at: Span,
    },
    /// `;`
    #[error("bkl has no semicolons")]
    Semicolon {
        /// The semicolon.
        at: Span,
    },
    /// `'text'`
    #[error("text is written in double quotes")]
    SingleQuote {
        /// The quote.
        at: Span,
    },
    /// `///` where nothing follows that can have a doc.
    #[error("this doc comment belongs to nothing")]
    StrayDoc {
        /// The mark.
        at: Span,
    },
    /// `"\x"`
    #[error("`{escape}` is no escape")]
    BadEscape {
        /// Backslash and what follows.
        escape: String,
        /// Its place.
        at: Span,
    },
    /// A number that does not fit into 64 bits.
    #[error("this number is too large")]
    NumberTooLarge {
        /// The number.
        at: Span,
    },
    /// A word that starts with a digit.
    #[error("`{text}` is no number")]
    BadNumber {
        /// The word.
        text: String,
        /// Its place.
        at: Span,
    },
    /// `x |> y` where `y` is no call.
    #[error("`|>` needs a call on its right")]
    PipeIntoValue {
        /// What stands there.
        at: Span,
    },
    /// Brackets or chains too deep to be worked on.
    #[error("this is nested too deeply")]
    TooDeep {
        /// Where it became too deep.
        at: Span,
    },
    /// A text of another language.
    #[error("this is not a bkl program")]
    OtherLanguage {
        /// Which it seems to be.
        language: &'static str,
        /// Its first token.
        at: Span,
    },
    /// A Dockerfile given as a program.
    #[error("this is a Dockerfile")]
    Dockerfile {
        /// Its first instruction.
        at: Span,
    },
    /// `let if = …`
    #[error("`{word}` is a word of the language and cannot be a name")]
    KeywordAsName {
        /// The word.
        word: String,
        /// Its place.
        at: Span,
    },
    /// `#{…}` where a plain text is wanted.
    #[error("no value can be inserted here")]
    InterpolationHere {
        /// The `#{…}`.
        at: Span,
    },
    /// `extern` outside of the prelude.
    #[error("`extern` belongs to the prelude of bkl")]
    Extern {
        /// The item.
        at: Span,
    },
}

impl SyntaxError {
    /// Where.
    pub fn span(&self) -> Span {
        match self {
            SyntaxError::Unexpected { at, .. }
            | SyntaxError::Ends { at, .. }
            | SyntaxError::Slip { at, .. }
            | SyntaxError::Mismatched { at, .. }
            | SyntaxError::BadCharacter { at, .. }
            | SyntaxError::UnclosedInsertion { at }
            | SyntaxError::UnclosedText { at, .. }
            | SyntaxError::UnclosedBracket { at, .. }
            | SyntaxError::EqualsInCall { at }
            | SyntaxError::SpaceBeforeCall { at, .. }
            | SyntaxError::Semicolon { at }
            | SyntaxError::SingleQuote { at }
            | SyntaxError::StrayDoc { at }
            | SyntaxError::BadEscape { at, .. }
            | SyntaxError::NumberTooLarge { at }
            | SyntaxError::BadNumber { at, .. }
            | SyntaxError::PipeIntoValue { at }
            | SyntaxError::TooDeep { at }
            | SyntaxError::OtherLanguage { at, .. }
            | SyntaxError::Dockerfile { at }
            | SyntaxError::KeywordAsName { at, .. }
            | SyntaxError::InterpolationHere { at }
            | SyntaxError::Extern { at } => *at,
        }
    }

    /// The way out, where it is one edit.
    fn fix(&self) -> Option<Fix> {
        let at = self.span();
        Some(match self {
            SyntaxError::EqualsInCall { .. } => Fix::replace("write `:`", at, ":"),
            SyntaxError::SpaceBeforeCall { .. } => Fix::replace("remove the space", at, "("),
            SyntaxError::Semicolon { .. } => Fix::replace("remove the semicolon", at, ""),
            SyntaxError::StrayDoc { .. } => Fix::replace("make it a comment: `//`", at, "//"),
            SyntaxError::PipeIntoValue { .. } => Fix::append("call it: `()`", at, "()"),
            SyntaxError::Mismatched { open, .. } => {
                let partner = partner(*open);
                Fix::replace(format!("write `{partner}`"), at, partner.to_string())
            }
            SyntaxError::Unexpected { .. }
            | SyntaxError::Ends { .. }
            | SyntaxError::Slip { .. }
            | SyntaxError::BadCharacter { .. }
            | SyntaxError::UnclosedInsertion { .. }
            | SyntaxError::OtherLanguage { .. }
            | SyntaxError::UnclosedText { .. }
            | SyntaxError::UnclosedBracket { .. }
            | SyntaxError::SingleQuote { .. }
            | SyntaxError::BadEscape { .. }
            | SyntaxError::NumberTooLarge { .. }
            | SyntaxError::BadNumber { .. }
            | SyntaxError::TooDeep { .. }
            | SyntaxError::Dockerfile { .. }
            | SyntaxError::KeywordAsName { .. }
            | SyntaxError::InterpolationHere { .. }
            | SyntaxError::Extern { .. } => return None,
        })
    }

    /// As people get it.
    pub fn report(&self) -> Report {
        let (code, label, help) = match self {
            SyntaxError::Unexpected { .. } => ("bkl::syntax", "unexpected".to_owned(), None),
            SyntaxError::Ends { .. } => ("bkl::syntax", "nothing follows".to_owned(), None),
            SyntaxError::Slip { label, help, .. } => ("bkl::syntax", (*label).to_owned(), help.clone()),
            SyntaxError::Mismatched { open, .. } => {
                ("bkl::unclosed", format!("`{}` is wanted here", partner(*open)), None)
            }
            SyntaxError::BadCharacter { character, .. } => (
                "bkl::bad_character",
                if character.is_control() { "a control character" } else { "it changes the order in which text is shown" }
                    .to_owned(),
                Some(format!("in a text write `\\u{{{:x}}}`", u32::from(*character))),
            ),
            SyntaxError::UnclosedInsertion { .. } => {
                ("bkl::unclosed", "no `}` for this one".to_owned(), Some("`\\#{` is a plain `#{`".to_owned()))
            }
            SyntaxError::UnclosedText { quote: "\"", escaped, .. } => (
                "bkl::unclosed",
                "opened here, and the line ends".to_owned(),
                Some(if *escaped {
                    "`\\\"` is a quote inside of the text; write `\\\\\"` for a backslash and its end".to_owned()
                } else {
                    "text over several lines stands in `\"\"\"`".to_owned()
                }),
            ),
            SyntaxError::UnclosedText { quote, .. } => {
                ("bkl::unclosed", format!("opened here; no `{quote}` follows"), None)
            }
            SyntaxError::UnclosedBracket { bracket, .. } => {
                ("bkl::unclosed", format!("no `{}` for this one", partner(*bracket)), None)
            }
            SyntaxError::EqualsInCall { .. } => {
                ("bkl::syntax", "write `:` here".to_owned(), Some("as in `f(name: value)`".to_owned()))
            }
            SyntaxError::SpaceBeforeCall { name, .. } => {
                ("bkl::syntax", "no space here".to_owned(), Some(format!("write `{name}(…)`")))
            }
            SyntaxError::Semicolon { .. } => {
                ("bkl::syntax", "remove it".to_owned(), Some("the end of a line is enough".to_owned()))
            }
            SyntaxError::SingleQuote { .. } => (
                "bkl::syntax",
                "not a quote of bkl".to_owned(),
                Some("write `\"…\"`; single quotes inside of it belong to the shell".to_owned()),
            ),
            SyntaxError::StrayDoc { .. } => (
                "bkl::syntax",
                "`///` stands before an item, a parameter, a field or a variant".to_owned(),
                Some("write `//` for a comment".to_owned()),
            ),
            SyntaxError::BadEscape { .. } => (
                "bkl::bad_escape",
                "unknown escape".to_owned(),
                Some(
                    r#"the escapes are \n \t \r \0 \\ \" \# \u{…}; in `r"…"` and `"""…"""` a backslash is itself"#
                        .to_owned(),
                ),
            ),
            SyntaxError::NumberTooLarge { .. } => {
                ("bkl::bad_number", "does not fit into 64 bits".to_owned(), None)
            }
            SyntaxError::BadNumber { text, .. } => (
                "bkl::bad_number",
                "not a number, a mode, a size or a duration".to_owned(),
                number_meant(text).or_else(|| Some("numbers look like `42`, `0o755`, `64MiB` (B kB MB GB KiB MiB GiB), `30s` (ms s m h)".to_owned())),
            ),
            SyntaxError::PipeIntoValue { .. } => (
                "bkl::syntax",
                "not a call".to_owned(),
                Some("`x |> f(y)` means `f(x, y)`; with nothing more to give, write `x |> f()`".to_owned()),
            ),
            SyntaxError::TooDeep { .. } => (
                "bkl::too_deep",
                "too deep from here on".to_owned(),
                Some("give parts of it names with `let`; for many steps use `fold`".to_owned()),
            ),
            SyntaxError::OtherLanguage { language, .. } => (
                "bkl::syntax",
                format!("looks like {language}"),
                Some("a program is a list of items: `target app = image(\"…\")`, `param tag: str = \"latest\"`".to_owned()),
            ),
            SyntaxError::Dockerfile { .. } => (
                "bkl::dockerfile",
                "the first instruction of a Dockerfile".to_owned(),
                Some("in bkl, `FROM x` is `image(\"x\")`, `RUN c` is `.run(\"c\")`, `COPY` is `.copy(src, from, to)`".to_owned()),
            ),
            SyntaxError::KeywordAsName { .. } => {
                ("bkl::syntax", "choose another name".to_owned(), None)
            }
            SyntaxError::InterpolationHere { .. } => {
                ("bkl::syntax", "this text must be known before anything is evaluated".to_owned(), None)
            }
            SyntaxError::Extern { .. } => ("bkl::syntax", "not allowed here".to_owned(), None),
        };
        let mut report = Report::error(code, self.to_string()).label(self.span(), label);
        if let SyntaxError::Mismatched { opened, .. } = self {
            report = report.label(*opened, "opened here");
        }
        report.maybe_help(help).fixes(self.fix())
    }
}

fn partner(open: char) -> char {
    match open {
        '(' => ')',
        '[' => ']',
        _ => '}',
    }
}

/// Units as people write them, with ours.
const UNITS: &[(&[&str], &str)] = &[
    (&["k", "K", "ki", "Ki", "kib", "KIB"], "KiB"),
    (&["m", "M", "mi", "Mi", "mib", "MIB"], "MiB"),
    (&["g", "G", "gi", "Gi", "gib", "GIB"], "GiB"),
    (&["b", "bytes"], "B"),
    (&["kb", "KB", "Kb"], "kB"),
    (&["mb", "Mb"], "MB"),
    (&["gb", "Gb"], "GB"),
    (&["sec", "secs", "second", "seconds", "S"], "s"),
    (&["min", "mins", "minute", "minutes"], "m"),
    (&["hour", "hours", "hr", "hrs", "H"], "h"),
    (&["msec", "millis", "MS"], "ms"),
];

/// The number that was probably meant.
fn number_meant(text: &str) -> Option<String> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let known = UNITS.iter().find(|(names, _)| names.contains(&unit)).map(|(_, unit)| *unit);
    Some(match (digits, unit) {
        ("0", _) if unit.starts_with(['x', 'X', 'b']) && unit.len() > 1 => {
            "numbers are decimal, and modes octal: `0o755`".to_owned()
        }
        ("0", _) if unit.starts_with('o') => "a mode has three or four octal digits: `0o755`".to_owned(),
        (_, "d" | "day" | "days") => format!("write `{}h`", digits.parse::<u64>().ok()?.checked_mul(24)?),
        _ => format!("did you mean `{digits}{}`?", known?),
    })
}

/// What could have stood at the place of an error, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected(Vec<String>);

impl Expected {
    /// Sums up what the grammar tried.
    ///
    /// `starts_line`: only blank space stands in front of the place. `after_word`: a word ends right in front of the place, so that a name is "expected" only as more of that word.
    pub(super) fn of(failure: &Failure, after_word: bool, starts_line: bool) -> Expected {
        let mut words: Vec<String> = Vec::new();
        let mut add = |word: &str| {
            if !words.iter().any(|known| known == word) {
                words.push(word.to_owned());
            }
        };
        let has = |rule: Rule| failure.rules.contains(&rule);
        let tokens: Vec<&str> = failure.tokens.iter().map(String::as_str).collect();
        let item = has(Rule::item) || has(Rule::vis);
        let expression = !item
            && ([Rule::atom, Rule::term, Rule::unary, Rule::expr].into_iter().any(has)
                || tokens.contains(&"0o"));
        if item && !starts_line {
            add("an operator or the end of the item");
        } else if item {
            add("an item (`let`, `fn`, `param`, `target`, …)");
        }
        if has(Rule::EOI) {
            add("the end of the file");
        }
        if expression {
            add("an expression");
        }
        if has(Rule::ty) {
            add("a type");
        }
        if !expression && !has(Rule::ty) {
            if [Rule::plain_str, Rule::str_lit, Rule::string, Rule::raw_str, Rule::multi_str]
                .into_iter()
                .any(has)
            {
                add("a text in quotes");
            }
            if !after_word && (has(Rule::ident) || has(Rule::name)) {
                add("a name");
            }
        }
        if has(Rule::pattern) {
            add("a pattern (`.variant`, `some(x)`, `none`, `_`)");
        }
        for (rule, word) in WORDS {
            if has(*rule) && !expression {
                add(word);
            }
        }
        let postfix = tokens.contains(&"[");
        for token in tokens {
            let opens =
                token == "{" && !expression && !has(Rule::ty) || token == "(" && !expression && !postfix;
            if opens || matches!(token, ")" | "]" | "}" | "," | ":" | "=" | "=>" | "->") {
                add(&format!("`{token}`"));
            }
        }
        if words.is_empty() {
            words.push("something else".to_owned());
        }
        Expected(words)
    }
}

/// Rules that are one word.
const WORDS: &[(Rule, &str)] = &[
    (Rule::kw_from, "`from`"),
    (Rule::kw_in, "`in`"),
    (Rule::kw_else, "`else`"),
    (Rule::kw_for, "`for`"),
    (Rule::kw_assert, "`assert`"),
];

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [] => Ok(()),
            [one] => f.write_str(one),
            [first @ .., last] => write!(f, "{} or {last}", first.join(", ")),
        }
    }
}

impl Failure {
    /// Whether an argument could have ended here.
    pub(super) fn expects_arg_end(&self) -> bool {
        self.tokens.iter().any(|token| token == ")")
    }
}
