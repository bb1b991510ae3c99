//! Two kinds of patterns for paths: Go's `path.Match`, and moby's patternmatcher, the semantics of `.dockerignore`.
//!
//! LLB, Dockerfiles and BuildKit's content hash are defined by these two; they differ from every shell. Paths that are
//! not UTF-8 are matched with each bad byte read as U+FFFD, as Go does.

use regex::Regex;

/// A pattern that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// An open `[`, or a `\` with nothing behind it.
    #[error("`{pattern}` is not a valid pattern: {reason}")]
    Syntax {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A `!` with nothing behind it.
    #[error("the pattern `!` excepts nothing")]
    EmptyException,
}

/// Whether `name` as a whole matches `pattern` (Go `path.Match`): `*` and `?` stop at `/`, `[a-z]` and `[^a]` are
/// classes, `\` takes the next character as it is.
pub fn matches(pattern: &str, name: &str) -> Result<bool, GlobError> {
    let tokens = tokens(pattern)?;
    let name: Vec<char> = name.chars().collect();
    // Where to go on when a try fails: behind the last `*`, one character later.
    let (mut token, mut at, mut retry) = (0, 0, None);
    loop {
        match tokens.get(token) {
            Some(Token::Star) => {
                token += 1;
                retry = Some((token, at));
                continue;
            }
            Some(it) if name.get(at).is_some_and(|&c| it.takes(c)) => {
                token += 1;
                at += 1;
                continue;
            }
            None if at == name.len() => return Ok(true),
            Some(_) | None => {}
        }
        match retry {
            Some((star, from)) if name.get(from).is_some_and(|&c| c != '/') => {
                (token, at) = (star, from + 1);
                retry = Some((star, from + 1));
            }
            Some(_) | None => return Ok(false),
        }
    }
}

/// Whether the text holds `*`, `?` or `[` that is not behind a `\`.
pub fn has_wildcard(text: &str) -> bool {
    first_wildcard(text).is_some()
}

/// The part of `path` before its first component with a wildcard, and the part from there on (empty if there is none).
///
/// The first part keeps its trailing `/`.
pub fn split_wildcard(path: &str) -> (&str, &str) {
    match first_wildcard(path) {
        Some(at) => path.split_at(path[..at].rfind('/').map_or(0, |slash| slash + 1)),
        None => (path, ""),
    }
}

fn first_wildcard(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let is_escaped = escaped;
        escaped = byte == b'\\' && !is_escaped;
        !is_escaped && matches!(byte, b'*' | b'?' | b'[')
    })
}

/// A piece of a Go pattern.
enum Token {
    Star,
    Any,
    Literal(char),
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Token {
    fn takes(&self, c: char) -> bool {
        match self {
            Token::Star => false,
            Token::Any => c != '/',
            Token::Literal(literal) => *literal == c,
            Token::Class { negated, ranges } => {
                ranges.iter().any(|&(low, high)| (low..=high).contains(&c)) != *negated
            }
        }
    }
}

fn tokens(pattern: &str) -> Result<Vec<Token>, GlobError> {
    let bad = |reason| GlobError::Syntax { pattern: pattern.to_owned(), reason };
    let mut tokens = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' if matches!(tokens.last(), Some(Token::Star)) => continue,
            '*' => Token::Star,
            '?' => Token::Any,
            '\\' => Token::Literal(chars.next().ok_or_else(|| bad("nothing follows the last `\\`"))?),
            '[' => {
                let negated = chars.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                while ranges.is_empty() || chars.next_if_eq(&']').is_none() {
                    let low = bound(&mut chars).map_err(bad)?;
                    let high =
                        if chars.next_if_eq(&'-').is_some() { bound(&mut chars).map_err(bad)? } else { low };
                    ranges.push((low, high));
                }
                Token::Class { negated, ranges }
            }
            c => Token::Literal(c),
        });
    }
    Ok(tokens)
}

/// The next bound of a range in brackets.
fn bound(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<char, &'static str> {
    match chars.next() {
        None => Err("a `[` is not closed"),
        Some('-' | ']') => Err("a `-` or `]` in brackets needs a `\\` before it"),
        Some('\\') => chars.next().ok_or("a `[` is not closed"),
        Some(c) => Ok(c),
    }
}

/// A list of patterns as in `.dockerignore` (github.com/moby/patternmatcher).
///
/// The last pattern that matches a path decides, `!` patterns against; a pattern that matches a directory matches all
/// that lies below it. Patterns and paths are relative, without leading `/`.
#[derive(Debug, Clone, Default)]
pub struct Patterns {
    patterns: Vec<Pattern>,
    has_exceptions: bool,
}

#[derive(Debug, Clone)]
struct Pattern {
    /// Cleaned, without `!`.
    text: String,
    is_exception: bool,
    rule: Rule,
}

#[derive(Debug, Clone)]
enum Rule {
    /// The text itself.
    Exact,
    /// What begins with the text less its trailing `**`.
    Prefix,
    /// What ends with the text less its leading `**`.
    Suffix,
    Regex(Regex),
}

/// Which patterns matched a directory: what [`Patterns::verdict`] needs for what the directory holds.
#[derive(Debug, Clone, Default)]
pub struct Matched(Vec<bool>);

impl Patterns {
    /// Empty lines and surrounding blanks are dropped.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Patterns, GlobError> {
        let mut list = Patterns::default();
        for pattern in patterns {
            let text = pattern.as_ref().trim();
            if text.is_empty() {
                continue;
            }
            let cleaned = super::path::clean(text);
            let (text, is_exception) = match cleaned.strip_prefix('!') {
                Some("") => return Err(GlobError::EmptyException),
                Some(rest) => (rest.to_owned(), true),
                None => (cleaned, false),
            };
            tokens(&text)?;
            let rule = rule(&text)?;
            list.has_exceptions |= is_exception;
            list.patterns.push(Pattern { text, is_exception, rule });
        }
        Ok(list)
    }

    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether some pattern begins with `!`.
    pub fn has_exceptions(&self) -> bool {
        self.has_exceptions
    }

    /// Whether the list selects `path`, and what to remember if it is a directory.
    ///
    /// `parent` is what was remembered of the directory that holds `path`; the default for the top directory.
    pub fn verdict(&self, path: &str, parent: &Matched) -> (bool, Matched) {
        let mut matched = false;
        let mut all = vec![false; self.patterns.len()];
        for (idx, pattern) in self.patterns.iter().enumerate() {
            let mut is_match = parent.0.get(idx).copied().unwrap_or(false);
            if !is_match {
                // Only a pattern that would change the verdict is tried; the others count as not matching, also for
                // what lies below (a quirk of moby's that decides some lists).
                if pattern.is_exception != matched {
                    continue;
                }
                is_match = pattern.matches(path);
                if !is_match && parent.0.is_empty() {
                    is_match = path.match_indices('/').any(|(at, _)| pattern.matches(&path[..at]));
                }
            }
            all[idx] = is_match;
            if is_match {
                matched = !pattern.is_exception;
            }
        }
        (matched, Matched(all))
    }

    /// Whether the list selects `path`, its parent directories considered.
    pub fn selects(&self, path: &str) -> bool {
        self.verdict(path, &Matched::default()).0
    }

    /// Whether a walk may pass by the directory `dir`, which the list does not select, because no pattern of the
    /// wanted kind can select anything below it.
    ///
    /// `exceptions` asks for the `!` patterns: what lies below an excluded directory.
    pub fn selects_nothing_below(&self, dir: &str, kind: Kind) -> bool {
        let mut wanted =
            self.patterns.iter().filter(|it| it.is_exception == (kind == Kind::Exceptions)).peekable();
        // Only literal prefixes tell what can lie below.
        wanted.all(|pattern| {
            let literal = pattern.text.strip_suffix("/**").unwrap_or(&pattern.text);
            let is_literal = !literal.contains(['*', '[', ']', '?', '^', '\\']);
            // `dir/**` is about what lies in `dir`, though not about `dir`.
            let reaches_below = |rest: &str| rest.is_empty() || rest.starts_with('/');
            is_literal && !literal.strip_prefix(dir).is_some_and(reaches_below)
        })
    }
}

/// One pattern that whole paths are held against: moby's, so that `**` stands for any number of directories, but what
/// lies below a match is none itself.
#[derive(Debug)]
pub struct PathGlob(Pattern);

impl PathGlob {
    /// Reads a pattern.
    pub fn new(text: &str) -> Result<PathGlob, GlobError> {
        let mut patterns = Patterns::new(&[text])?.patterns;
        match patterns.pop() {
            Some(pattern) if !pattern.is_exception => Ok(PathGlob(pattern)),
            Some(_) => {
                let reason = "an exception needs other patterns before it";
                Err(GlobError::Syntax { pattern: text.to_owned(), reason })
            }
            None => Err(GlobError::Syntax { pattern: text.to_owned(), reason: "it is empty" }),
        }
    }

    /// Whether the pattern matches all of `path`, which is relative and clean.
    pub fn matches(&self, path: &str) -> bool {
        self.0.matches(path)
    }

    /// Whether something below the directory `dir` may match.
    pub fn may_match_below(&self, dir: &str) -> bool {
        let literal = split_wildcard(&self.0.text).0;
        let below = format!("{dir}/");
        literal.contains('\\') || literal.starts_with(&below) || below.starts_with(literal)
    }
}

/// Which patterns of a list are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Those without `!`.
    Plain,
    /// Those with `!`.
    Exceptions,
}

impl Pattern {
    fn matches(&self, path: &str) -> bool {
        match &self.rule {
            Rule::Exact => path == self.text,
            Rule::Prefix => path.starts_with(&self.text[..self.text.len() - 2]),
            Rule::Suffix => {
                let suffix = &self.text[2..];
                path.ends_with(suffix) || suffix.strip_prefix('/') == Some(path)
            }
            Rule::Regex(regex) => regex.is_match(path),
        }
    }
}

/// How a cleaned pattern is matched (patternmatcher.go, compile).
fn rule(text: &str) -> Result<Rule, GlobError> {
    /// As far as the text was read.
    #[derive(PartialEq)]
    enum Found {
        Exact,
        Prefix,
        Suffix,
        Regex,
    }
    let mut found = Found::Exact;
    let mut regex = String::from("^");
    let mut chars = text.chars().peekable();
    let mut is_first = true;
    let mut in_class = false;
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                chars.next_if_eq(&'/');
                if chars.peek().is_some() {
                    regex.push_str("(.*/)?");
                    found = Found::Regex;
                } else if found == Found::Exact {
                    found = Found::Prefix;
                } else {
                    regex.push_str(".*");
                    found = Found::Regex;
                }
                if is_first {
                    found = Found::Suffix;
                }
            }
            '*' => {
                regex.push_str("[^/]*");
                found = Found::Regex;
            }
            '?' => {
                regex.push_str("[^/]");
                found = Found::Regex;
            }
            '.' | '+' | '(' | ')' | '|' | '{' | '}' | '$' => regex.extend(['\\', c]),
            '\\' => match chars.next() {
                Some(next) => {
                    // Go's regexp takes `\` before any punctuation as an escape; letters would be classes there.
                    regex.push_str(&regex::escape(next.encode_utf8(&mut [0; 4])));
                    found = Found::Regex;
                }
                None => regex.push_str("\\\\"),
            },
            // Inside of brackets these have a meaning that they lack in Go.
            '[' | '&' | '~' if in_class => regex.extend(['\\', c]),
            '[' | ']' => {
                in_class = c == '[';
                regex.push(c);
                found = Found::Regex;
            }
            c => regex.push(c),
        }
        is_first = false;
    }
    Ok(match found {
        Found::Exact => Rule::Exact,
        Found::Prefix => Rule::Prefix,
        Found::Suffix => Rule::Suffix,
        Found::Regex => {
            regex.push('$');
            Rule::Regex(Regex::new(&regex).map_err(|_| GlobError::Syntax {
                pattern: text.to_owned(),
                reason: "its brackets cannot be understood",
            })?)
        }
    })
}

#[cfg(test)]
mod tests;
