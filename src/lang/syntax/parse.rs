//! Text to syntax tree: concrete syntax is read by [`super::grammar`], here it becomes [`super::ast`].
//!
//! pest stops at its first error. So a text that does not parse is cut where items start, and each piece is read for
//! itself: a broken item costs only itself, and its name stays known.

use std::sync::Arc;

use super::ast::{Ident, Item, ItemKind, Module};
use super::build::Builder;
use super::error::{Expected, SyntaxError};
use super::grammar::{self, Failure, Rule};
use super::scan::{self, Scan};
use super::slip::{self, Place};
use super::words::KEYWORDS;
use crate::base::{SourceFile, Span};

/// What could be read of a file, and what is wrong with the rest.
#[derive(Debug)]
pub struct Parsed {
    /// The tree; items that could not be read are [`ItemKind::Broken`].
    pub module: Module,
    /// Errors in source order.
    pub errors: Vec<SyntaxError>,
}

/// Reads a file.
pub fn parse(file: &SourceFile) -> Parsed {
    let text = &*file.text;
    let scan = scan::scan(text);
    let mut parsed = Parsed {
        module: Module {
            file: file.id,
            items: Vec::new(),
            doc: module_doc(text, &scan),
            comments: scan.comments.iter().map(|&(start, end)| Span::new(file.id, start, end)).collect(),
        },
        errors: Vec::new(),
    };
    if let Some(&(at, character)) = scan.bad_characters.first() {
        // What such a text says cannot be trusted to be what is seen.
        let at = Span::new(file.id, at, at + character.len_utf8() as u32);
        parsed.errors.push(SyntaxError::BadCharacter { character, at });
        return parsed;
    }
    if let Some(at) = scan.too_deep {
        parsed.errors.push(SyntaxError::TooDeep { at: Span::new(file.id, at, at + 1) });
        return parsed;
    }
    if !read(file, &scan, 0..text.len(), &mut parsed) {
        let whole = std::mem::take(&mut parsed.errors);
        if matches!(whole.as_slice(), [SyntaxError::Dockerfile { .. } | SyntaxError::OtherLanguage { .. }]) {
            parsed.errors = whole;
            return parsed;
        }
        read_pieces(file, &scan, &mut parsed);
        if parsed.errors.is_empty() {
            parsed.errors = whole;
        }
    }
    parsed.errors.sort_by_key(|error| error.span());
    parsed
}

/// Whether a stretch of whole items parses.
pub fn parses(text: &str) -> bool {
    scan::scan(text).too_deep.is_none() && grammar::parses(text)
}

/// Offsets at which items start, a doc counting to its item.
pub fn item_starts(text: &str) -> Vec<u32> {
    scan::scan(text).item_starts
}

/// Reads each item for itself.
fn read_pieces(file: &SourceFile, scan: &Scan, parsed: &mut Parsed) {
    let end = file.text.len();
    let first = scan.item_starts.first().map_or(end, |&start| start as usize);
    read(file, scan, 0..first, parsed);
    for (i, &start) in scan.item_starts.iter().enumerate() {
        let end = scan.item_starts.get(i + 1).map_or(end, |&next| next as usize);
        let range = start as usize..end;
        if !read(file, scan, range.clone(), parsed) {
            let name = declared_name(file, range.clone());
            let span = Span::new(file.id, range.start as u32, range.end as u32);
            parsed.module.items.push(Item { kind: ItemKind::Broken { name }, public: true, doc: None, span });
        }
    }
}

/// Reads a stretch of whole items; `false`: it does not parse, and the error says why.
fn read(file: &SourceFile, scan: &Scan, range: std::ops::Range<usize>, parsed: &mut Parsed) -> bool {
    match grammar::parse(&file.text[range.clone()]) {
        Ok(pair) => {
            let mut builder = Builder::new(file, range.start as u32, &scan.comments);
            parsed.module.items.extend(builder.file(pair));
            parsed.errors.append(&mut builder.errors);
            true
        }
        Err(failure) => {
            parsed.errors.push(diagnose(file, scan, range, failure));
            false
        }
    }
}

/// What to say about a stretch that does not parse.
fn diagnose(
    file: &SourceFile,
    scan: &Scan,
    range: std::ops::Range<usize>,
    mut failure: Failure,
) -> SyntaxError {
    let text = &*file.text;
    let span = |start: usize, end: usize| Span::new(file.id, start as u32, end as u32);
    let at = word_start(text, range.start + failure.at.min(range.len()));
    if let Some(from) = dockerfile_start(text) {
        return SyntaxError::Dockerfile { at: span(from, from + 4) };
    }
    if let Some((from, len, language)) = other_language(text) {
        return SyntaxError::OtherLanguage { language, at: span(from, from + len) };
    }
    let inside = |offset: &u32| range.contains(&(*offset as usize));
    if let Some(error) = unclosed(file, scan, inside, at) {
        return error;
    }
    let rest = &text[at..range.end];
    if let Some(&open) = scan.unclosed_brackets.iter().rfind(|open| inside(open))
        && rest.trim_start().is_empty()
    {
        let bracket = char::from(text.as_bytes()[open as usize]);
        return SyntaxError::UnclosedBracket { bracket, at: span(open as usize, open as usize + 1) };
    }
    let line_start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let before = &text[line_start..at];
    let found = found(text, at, range.end);
    let here = span(at, at + found.len());
    let in_call = failure.expects_arg_end();
    if found == "=" && in_call && ends_in_word(before.trim_end()) {
        return SyntaxError::EqualsInCall { at: here };
    }
    if found == "("
        && before.ends_with([' ', '\t'])
        && ends_in_word(before.trim_end())
        && last_word(before.trim_end()) != "fn"
    {
        let gap = span(line_start + before.trim_end().len(), at + 1);
        let name = last_word(before.trim_end()).to_owned();
        return SyntaxError::SpaceBeforeCall { name, at: gap };
    }
    if found == ";" {
        return SyntaxError::Semicolon { at: here };
    }
    if found == "'" {
        return SyntaxError::SingleQuote { at: here };
    }
    let item = item_start(text, scan, &range);
    if found.is_empty()
        && range.end <= item
        && let Some(doc) = text[range.clone()].find("///")
    {
        // Docs and comments, and nothing else.
        return SyntaxError::StrayDoc { at: span(range.start + doc, range.start + doc + 3) };
    }
    if let Some(doc) = before.find("///").or_else(|| last_line_is_doc(&text[range.start..at], at)) {
        // Reading stopped inside of the doc or right behind it; what an item's own doc is followed by speaks for itself.
        let start = if before.contains("///") { line_start + doc } else { range.start + doc };
        if found.is_empty() || before.contains("///") || item <= start {
            return SyntaxError::StrayDoc { at: span(start, start + 3) };
        }
    }
    let stopped = range.start + failure.at.min(range.len());
    if text[range.start..stopped].ends_with('\\') {
        let end = stopped + text[stopped..].chars().next().map_or(0, char::len_utf8);
        return SyntaxError::BadEscape {
            escape: text[stopped - 1..end].to_owned(),
            at: span(stopped - 1, end),
        };
    }
    if at <= item && !failure.rules.contains(&Rule::item) {
        // What starts like a word of the language and goes on, `public`: the grammar only knows that it is no `pub`.
        failure.rules.push(Rule::item);
    }
    let failure = &failure;
    let place = Place { text: &text[..range.end], item, at, found, failure };
    if let Some(slip) = slip::recognise(&place, file.id) {
        return slip;
    }
    if found.starts_with(|c: char| c.is_ascii_digit()) && found.contains(|c: char| c.is_ascii_alphabetic()) {
        return SyntaxError::BadNumber { text: found.to_owned(), at: here };
    }
    let word = last_word(before.trim_end());
    let declares = last_word(before.trim_end()[..before.trim_end().len() - word.len()].trim_end());
    if KEYWORDS.contains(&word) && (found == ":" || NAMING_WORDS.contains(&declares)) {
        let end = line_start + before.trim_end().len();
        return SyntaxError::KeywordAsName { word: word.to_owned(), at: span(end - word.len(), end) };
    }
    let starts_line = found.is_empty() || before.trim().is_empty();
    let expected = Expected::of(failure, stopped == at && ends_in_word(before), starts_line);
    if found.is_empty() {
        let last = last_token(text, scan, range.start, at);
        return SyntaxError::Ends {
            expected,
            last: text[last.clone()].to_owned(),
            at: span(last.start, last.end),
        };
    }
    SyntaxError::Unexpected { expected, found: found.to_owned(), at: here }
}

/// The first text, insertion or bracket in front of `at` that has no end or a wrong one; brackets that are still open at
/// the end of the stretch are only to blame when reading stopped there.
fn unclosed(file: &SourceFile, scan: &Scan, inside: impl Fn(&u32) -> bool, at: usize) -> Option<SyntaxError> {
    let text = &*file.text;
    let span = |start: u32, end: u32| Span::new(file.id, start, end);
    let bracket = |at: u32| char::from(text.as_bytes()[at as usize]);
    let strings = scan.unclosed_strings.iter().find(|(start, _)| inside(start)).map(|&(start, end)| {
        let opening = text[start as usize..].trim_start_matches('r');
        let quote = if opening.starts_with("\"\"\"") { "\"\"\"" } else { "\"" };
        let escaped = text[start as usize..end as usize].ends_with("\\\"");
        SyntaxError::UnclosedText { quote, escaped, at: span(start, end) }
    });
    let insertions = scan.unclosed_insertions.iter().find(|open| inside(open));
    let insertions = insertions.map(|&open| SyntaxError::UnclosedInsertion { at: span(open, open + 2) });
    let brackets = scan.mismatched.iter().find(|(_, close)| inside(close)).map(|&(open, close)| {
        let (opened, at) = (span(open, open + 1), span(close, close + 1));
        SyntaxError::Mismatched { open: bracket(open), opened, close: bracket(close), at }
    });
    let found = [strings, insertions, brackets].into_iter().flatten().min_by_key(SyntaxError::span);
    found.filter(|error| error.span().start as usize <= at)
}

/// Where the item of a stretch starts: its docs and comments left out; the end, where there is nothing else.
fn item_start(text: &str, scan: &Scan, range: &std::ops::Range<usize>) -> usize {
    let mut at = range.start;
    loop {
        at += text[at..range.end].len() - text[at..range.end].trim_start().len();
        match scan.comments.binary_search_by_key(&(at as u32), |&(start, _)| start) {
            // A stretch may be cut in front of the comment that starts at its end.
            Ok(comment) if at < range.end => at = scan.comments[comment].1 as usize,
            _ => return at,
        }
    }
}

/// The last token in front of `at`, space and comments left out.
fn last_token(text: &str, scan: &Scan, start: usize, at: usize) -> std::ops::Range<usize> {
    let mut end = at;
    loop {
        end = start + text[start..end].trim_end().len();
        match scan.comments.iter().find(|comment| comment.1 as usize == end && start <= comment.0 as usize) {
            Some(comment) => end = comment.0 as usize,
            None => break,
        }
    }
    let line = &text[start..end];
    let word = last_word(line).len();
    let sign = ["...", "|>", "??", "||", "&&", "==", "!=", "<=", ">=", "->", "=>"];
    let sign = sign.into_iter().find(|sign| line.ends_with(sign)).map(str::len);
    let len = if 0 < word {
        word
    } else {
        sign.or_else(|| line.chars().next_back().map(char::len_utf8)).unwrap_or(0)
    };
    end - len..end
}

/// Words that a name follows.
const NAMING_WORDS: &[&str] =
    &["import", "param", "secret", "ssh", "let", "fn", "type", "enum", "target", "for", "fold"];

/// Where the doc starts that is the last line of `text`, if it is all that is left before the end.
fn last_line_is_doc(text: &str, at: usize) -> Option<usize> {
    let trimmed = text.trim_end();
    let start = trimmed.rfind('\n').map_or(0, |newline| newline + 1);
    let line = trimmed[start..].trim_start();
    let is_doc = line.starts_with("///") && !line.starts_with("////") && at != 0;
    is_doc.then(|| trimmed.len() - line.len())
}

/// The token at `at`, shortened to its line: a word, a text, or one sign; empty at the end.
fn found(text: &str, at: usize, end: usize) -> &str {
    let rest = &text[at..end.max(at)];
    let line = rest.lines().next().unwrap_or_default();
    let word = line.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(line.len());
    if 0 < word {
        return &line[..word];
    }
    for sign in ["\"\"\"", "...", "|>", "??", "||", "&&", "==", "!=", "<=", ">=", "->", "=>", "///", "#{"] {
        if line.starts_with(sign) {
            return &line[..sign.len()];
        }
    }
    &line[..line.chars().next().map_or(0, char::len_utf8)]
}

/// Start of the word that `at` lies in or behind the space that it lies in.
fn word_start(text: &str, at: usize) -> usize {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    if text[at..].starts_with(is_word) {
        return text[..at].trim_end_matches(is_word).len();
    }
    at + text[at..].len() - text[at..].trim_start().len()
}

fn ends_in_word(text: &str) -> bool {
    text.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
}

fn last_word(text: &str) -> &str {
    &text[text.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == '_').len()..]
}

/// Offset of a `FROM` that is the first word of the text, but for comments of a Dockerfile and `ARG` lines.
fn dockerfile_start(text: &str) -> Option<usize> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let words = line.trim_start();
        let first = words.split_whitespace().next().unwrap_or_default();
        match first {
            "FROM" => return Some(at + line.len() - words.len()),
            "" | "ARG" => {}
            comment if comment.starts_with('#') => {}
            _ => return None,
        }
        at += line.len();
    }
    None
}

/// Blocks of bake files and their kin.
const HCL: &[&str] = &["group", "variable", "target", "function", "resource", "locals"];

/// Place, length and language of the first token of a text that is none of ours.
fn other_language(text: &str) -> Option<(usize, usize, &'static str)> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let start = at + line.len() - line.trim_start().len();
        let words = line.trim();
        at += line.len();
        if words.is_empty() || words.starts_with('#') || words.starts_with("//") {
            continue;
        }
        let word =
            words.len() - words.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_').len();
        let rest = words[word..].trim_start();
        return match &words[..word] {
            "" if words.starts_with(['{', '[']) => Some((start, 1, "JSON")),
            "" if words.starts_with("- ") => Some((start, 1, "YAML")),
            "" if words.starts_with("---") => Some((start, 3, "YAML")),
            "" => None,
            block if HCL.contains(&block) && rest.starts_with(['"', '{']) && rest.ends_with(['{', '}']) => {
                Some((start, word, "a bake file"))
            }
            _ if words[word..].starts_with(':') => Some((start, word + 1, "YAML")),
            _ => None,
        };
    }
    None
}

/// The name a broken item declares, by its first words.
fn declared_name(file: &SourceFile, range: std::ops::Range<usize>) -> Option<Ident> {
    let mut at = range.start;
    for line in file.text[range.clone()].split_inclusive('\n') {
        if line.starts_with("//") || line.trim().is_empty() {
            at += line.len();
            continue;
        }
        let word = |from: usize| {
            let rest = &file.text[from..range.end];
            let start = from + rest.len() - rest.trim_start().len();
            let rest = &file.text[start..range.end];
            let len = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            (start, &rest[..len])
        };
        let (mut start, mut keyword) = word(at);
        if keyword == "pub" {
            (start, keyword) = word(start + keyword.len());
        }
        if keyword == "test" {
            return None;
        }
        let (start, name) = word(start + keyword.len());
        let span = Span::new(file.id, start as u32, (start + name.len()) as u32);
        return (!name.is_empty()).then(|| Ident { text: Arc::from(name), span });
    }
    None
}

/// The `//!` lines at the top.
fn module_doc(text: &str, scan: &Scan) -> Option<Arc<str>> {
    let lines = scan.comments.iter().map(|&(start, end)| &text[start as usize..end as usize]);
    let lines: Vec<&str> = lines.map_while(|line| line.strip_prefix("//!")).map(trim_doc).collect();
    (!lines.is_empty()).then(|| Arc::from(lines.join("\n")))
}

/// A doc line without its mark: one space in front goes with the mark.
pub(super) fn trim_doc(line: &str) -> &str {
    line.strip_prefix(' ').unwrap_or(line).trim_end()
}

#[cfg(test)]
mod tests;
