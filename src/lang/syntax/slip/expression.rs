//! Inside of an expression: calls, lists, branches, loops.

use super::{Place, Slip, braced, is_word};
use crate::lang::syntax::grammar::Rule;

pub(super) fn slip(place: &Place<'_>) -> Option<Slip> {
    shell(place)
        .or_else(|| quotes(place))
        .or_else(|| branches(place))
        .or_else(|| matches_(place))
        .or_else(|| loops(place))
        .or_else(|| numbers(place))
        .or_else(|| equals(place))
        .or_else(|| elements(place))
}

/// `$x`, `${x}`, `#{x}` outside of a text.
fn shell(place: &Place<'_>) -> Option<Slip> {
    if !place.wants_expression() || !matches!(place.found, "$" | "#{") {
        return None;
    }
    let name = braced(place.rest())?;
    let end = place.rest().find(name)? + name.len();
    let end = end + usize::from(place.rest()[end..].starts_with('}'));
    let message =
        if place.found == "$" { "`$` belongs to the shell" } else { "`#{…}` stands inside of a text" };
    let slip = Slip::new(message, "an expression is wanted here").at(place.at, place.at + end);
    Some(slip.help(format!("write `{name}`")))
}

/// Quotes of other kinds.
fn quotes(place: &Place<'_>) -> Option<Slip> {
    matches!(place.found, "`" | "“" | "”" | "„" | "«" | "‘" | "’")
        .then(|| Slip::new("text is written in double quotes", "not a quote of bkl").help("write `\"…\"`"))
}

/// `if` and `on` without braces, `elif`, no `else`.
fn branches(place: &Place<'_>) -> Option<Slip> {
    let found = place.found;
    if matches!(found, "elif" | "elsif" | "elseif") {
        return Some(
            Slip::new(format!("`{found}` is written `else if`"), "no word of bkl").help("write `else if`"),
        );
    }
    if let Some(slip) = no_else(place) {
        return Some(slip);
    }
    if found == "return" || place.last_word() == "return" {
        let (start, end) = match found {
            "return" => (place.at, place.at + 6),
            _ => (place.item + place.before().len() - 6, place.item + place.before().len()),
        };
        let slip = Slip::new("bkl has no `return`", "remove it").at(start, end);
        return Some(slip.help("the last expression of a block is its value"));
    }
    if place.last_word() == "let"
        && place.before().trim_end_matches("let").trim_end().ends_with(['=', '(', ','])
    {
        let end = place.item + place.before().len();
        let slip =
            Slip::new("a `let` inside of an expression stands in braces", "`{` is wanted in front of it")
                .at(end - 3, end);
        return Some(slip.help("write `{ let x = …  value }`"));
    }
    if !place.wants("{") || place.wants_expression() || found == "=" {
        return None;
    }
    if matches!(found, "then" | ":" | "do") {
        return Some(Slip::new("branches and bodies stand in braces", "write `{` here"));
    }
    let starts = found.starts_with(|c: char| is_word(c) || matches!(c, '"' | '[' | '('));
    if starts && place.last_word() == "else" {
        let slip = Slip::new("behind `else` stands a block, or another `if`", "`{` is wanted here");
        return Some(slip.help("write `else if condition { … }` or `else { … }`"));
    }
    let line = place.before().rsplit('\n').next().unwrap_or_default();
    let word = line.split(|c: char| !is_word(c)).rfind(|it| matches!(*it, "if" | "on" | "fold"))?;
    starts.then(|| {
        Slip::new(format!("the body of this `{word}` stands in braces"), "`{` is wanted here").help(
            match word {
                "if" => "write `if condition { a } else { b }`",
                "on" => "write `on platform { value }`",
                _ => "write `fold total = 0 for x in xs { total + x }`",
            },
        )
    })
}

/// An `if` that ends behind its first block.
pub(super) fn no_else(place: &Place<'_>) -> Option<Slip> {
    let end = place.item + place.before().len();
    let ends =
        place.could_be(Rule::kw_else) && !place.could_be(Rule::plain_str) && place.before().ends_with('}');
    let slip = Slip::new("this `if` has no `else`", "`else { … }` is missing behind this")
        .at(end.checked_sub(1)?, end);
    ends.then(|| {
        slip.help("an `if` is a value, so both cases need one; with nothing to change, give the value itself")
    })
}

/// Arms of a `match`.
fn matches_(place: &Place<'_>) -> Option<Slip> {
    let found = place.found;
    if place.wants("=>") && matches!(found, ":" | "->" | "=") {
        return Some(Slip::new("an arm is written `pattern => value`", "write `=>` here"));
    }
    if !place.could_be(Rule::pattern) {
        return None;
    }
    if found == "case" {
        return Some(Slip::new("an arm starts with its pattern", "remove it"));
    }
    if matches!(found, "default" | "else") {
        return Some(Slip::new("the arm for everything else is `_ => …`", "write `_` here"));
    }
    if found == "\"" || found.starts_with(|c: char| c.is_ascii_digit()) || matches!(found, "true" | "false") {
        let slip =
            Slip::new("`match` tells variants apart, not texts and numbers", "a pattern is wanted here");
        return Some(slip.help(
            "patterns are `.variant`, `some(x)`, `none` and `_`; for other values write `if x == … { }`",
        ));
    }
    if found.starts_with(|c: char| c.is_ascii_alphabetic()) {
        let slip = Slip::new("a variant is written with a dot", "a pattern is wanted here");
        let behind = place.behind().strip_prefix('.').unwrap_or_default();
        let variant = &behind[..behind.find(|c: char| !is_word(c)).unwrap_or(behind.len())];
        if !variant.is_empty() {
            let end = place.at + found.len() + 1 + variant.len();
            return Some(slip.at(place.at, end).help(format!("write `.{variant}`")));
        }
        return Some(slip.help(format!("write `.{found}`")));
    }
    None
}

/// Comprehensions and what other languages have for them.
fn loops(place: &Place<'_>) -> Option<Slip> {
    let found = place.found;
    let in_list = place.wants("]") || place.wants("}");
    if found == "for" && place.wants(",") && in_list {
        let slip = Slip::new("the `for` of a list comes first", "not here");
        return Some(slip.help("write `[for x in xs: f(x)]`"));
    }
    if place.could_be(Rule::kw_in) && matches!(found, "of" | "=" | ":") {
        return Some(Slip::new("a loop is written `for x in xs`", "write `in` here"));
    }
    if place.wants(":")
        && !place.wants(")")
        && !place.wants("}")
        && !place.wants("=")
        && !place.wants("]")
        && place.before().contains("for")
        && found.starts_with(|c: char| is_word(c) || matches!(c, '"' | '.' | '#' | '{' | '='))
    {
        // The bracket that is still open says which loop this is.
        let before = place.before();
        let in_map =
            before.rfind("{for").max(before.rfind("{ for")) > before.rfind("[for").max(before.rfind("[ for"));
        let gives = before[before.rfind("for").unwrap_or(0)..].contains(':');
        if in_map && gives {
            let slip = Slip::new("a `:` stands between key and value", "`:` is wanted here");
            return Some(slip.help("write `{for x in xs: key: value}`"));
        }
        let slip =
            Slip::new("a `:` stands between the loop and what it gives", "`:` is missing in front of this");
        let form = if in_map { "{for x in xs: key: value}" } else { "[for x in xs: f(x)]" };
        return Some(slip.help(format!("write `{form}`")));
    }
    if place.wants("=>") || found != "=>" && found != "->" {
        return None;
    }
    let slip = Slip::new("bkl has no functions as values", "no operator of bkl");
    Some(slip.help("loop over the list: `[for x in xs: …]`"))
}

/// `1.5`, `xs[0:1]`
fn numbers(place: &Place<'_>) -> Option<Slip> {
    let before = &place.text[..place.at];
    let fraction = before.strip_suffix('.').is_some_and(|it| it.ends_with(|c: char| c.is_ascii_digit()));
    if fraction && place.found.starts_with(|c: char| c.is_ascii_digit()) {
        let whole = before.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let slip = Slip::new("numbers are whole", "a number with a fraction")
            .at(whole, place.at + place.found.len());
        return Some(
            slip.help("choose a smaller unit, as in `1500ms` or `512MiB`; a version is text: `\"1.5\"`"),
        );
    }
    if place.found == ":" && place.wants("]") && !place.wants("}") {
        let slip = Slip::new("a list has no slices", "one index is wanted");
        return Some(slip.help("write `[for i, x in xs if i < 2: x]`"));
    }
    None
}

/// `=` where `:` or `==` is meant, and `:` that is missing.
fn equals(place: &Place<'_>) -> Option<Slip> {
    if place.found == "=" && place.before().ends_with("==") {
        let slip = Slip::new("`===` is written `==`", "no operator of bkl").at(place.at - 2, place.at + 1);
        return Some(slip.help("write `==`"));
    }
    if place.found == "="
        && let Some(name) = place.reassigned()
    {
        let start = place.item + place.before().len() - name.len();
        let slip = Slip::new("a name keeps the value it is declared with", "values do not change");
        let value = place.behind().trim();
        let opens_line = place.text[..start].lines().next_back().is_some_and(|line| line.trim().is_empty());
        let value = if value.is_empty() || !opens_line { "…" } else { value };
        return Some(
            slip.at(start, place.at + 1)
                .help(format!("give the new value a name of its own: `let {name}2 = {value}`")),
        );
    }
    let named = !place.last_word().is_empty() || place.before().ends_with(['"', ']']);
    if place.found == "=" && place.wants("}") && named {
        return Some(
            Slip::new("fields are given with `:`, not `=`", "write `:` here").help("as in `{ name: value }`"),
        );
    }
    if place.found == "=" && place.wants("{") {
        return Some(Slip::new("`=` declares, `==` compares", "write `==` here"));
    }
    None
}

/// Commas and colons between the elements of calls, lists and records.
fn elements(place: &Place<'_>) -> Option<Slip> {
    let found = place.found;
    if found == "," && place.wants_expression() && place.before().ends_with([',', '(', '[', '{']) {
        return Some(Slip::new("a comma stands between two elements", "one too many"));
    }
    if found == "." && place.before().ends_with('.') {
        let start = place.item + place.before().len() - 1;
        let dots = place.text[..start + 1].trim_end_matches('.').len();
        if place.text[dots..].starts_with("...") {
            let slip = Slip::new("arguments cannot be spread", "not in a call");
            return Some(slip.help("give each by its name: `user: c.user`").at(dots, dots + 3));
        }
        return Some(
            Slip::new("`...` spreads a list or a record", "write three dots").at(start, place.at + 1),
        );
    }
    if found == "*" && place.wants_expression() {
        return Some(Slip::new("`...` spreads a list or a record", "write `...` here"));
    }
    let starts = found.starts_with(|c: char| is_word(c) || matches!(c, '"' | '[' | '{' | '.' | '#'));
    if found == "#" {
        return Some(Slip::new("a comment starts with `//`", "not a comment of bkl"));
    }
    if !starts || !place.wants(",") {
        return None;
    }
    if place.wants(":") && place.wants(")") && !place.starts_line() && !place.last_word().is_empty() {
        let name = place.last_word();
        let slip = Slip::new("a `:` or a `,` is missing", "in front of this");
        return Some(slip.help(format!("a named argument is written `{name}: …`")));
    }
    if place.could_be(Rule::kw_in)
        || place.could_be(Rule::for_clause)
        || !["]", ")", "}"].iter().any(|it| place.wants(it))
    {
        return None;
    }
    Some(
        Slip::new("a `,` is missing", "in front of this")
            .help("elements are separated by commas, also where each has its own line"),
    )
}
