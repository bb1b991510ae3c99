//! The head of an item: names, types, `=`, arrows.

use super::{Place, Slip, is_word, last_word, module_name, quoted};
use crate::lang::syntax::grammar::Rule;

pub(super) fn slip(place: &Place<'_>) -> Option<Slip> {
    let (word, head) = place.declared();
    let found = place.found;
    match word {
        "import" => return import(place, head),
        "let" | "param" | "secret" | "ssh" | "fn" | "type" | "enum" | "target" | "test" => {}
        _ => return None,
    }
    if head.is_empty() && found == "\"" && word != "test" {
        return quoted_name(place, word);
    }
    if let Some(slip) = misplaced(place, word, head) {
        return Some(slip);
    }
    // In the name itself, or right behind it.
    if head.chars().all(is_word)
        && let Some(slip) = name(place, word, head)
    {
        return Some(slip);
    }
    match (word, found) {
        ("test", "{") if head.is_empty() => Some(
            Slip::new("a test says in words what holds", "its name is missing")
                .help("write `test \"what holds\" { … }`"),
        ),
        ("test", "=") if claims(head) => {
            Some(Slip::new("`=` declares, `==` compares", "write `==` here"))
        }
        ("test", ",") if claims(head) => Some(
            Slip::new("an `assert` has no message", "not here")
                .help("it shows both sides when it fails; say what holds in the test's name: `test \"what holds\" { … }`"),
        ),
        ("test", _) if place.wants("assert") || place.could_be(Rule::kw_assert) => Some(
            Slip::new("a test is made of `let`s and `assert`s", "neither of them")
                .help("write `assert …` in front of a claim"),
        ),
        ("param", "=") if head.chars().all(is_word) => {
            let ty = literal_type(place.behind().trim());
            Some(
                Slip::new("a param says its type", "the type is missing")
                    .help(format!("write `param {head}: {ty} = …`")),
            )
        }
        ("let", "=") if head.strip_suffix('=').is_some_and(|name| name.trim_end().chars().all(is_word)) => {
            Some(Slip::new("`==` compares", "write one `=`").at(place.at - 1, place.at + 1))
        }
        ("target", "{") if head.chars().all(is_word) => Some(
            Slip::new("a target is a value, not a block", "a `=` is missing")
                .help(format!("write `target {head} = …`")),
        ),
        ("target", "(") if head.contains(':') => {
            let ty = last_word(head);
            Some(
                Slip::new("behind `:` stands a type; the value comes behind `=`", "unexpected")
                    .help(format!("write `= {ty}(…)`")),
            )
        }
        ("fn", "{") if head.ends_with(')') => Some(
            Slip::new("a function says what it gives", "`-> type` is missing in front of this")
                .help("as in `fn name(base: image) -> image { … }`"),
        ),
        ("fn", ":") if head.ends_with(')') => {
            Some(Slip::new("the type of a result stands behind `->`", "write `->` here"))
        }
        ("fn", "=" | "=>") if head.contains("->") && place.wants("{") => {
            Some(Slip::new("the body of a function stands in braces", "write `{ … }`"))
        }
        ("fn" | "type", _) if place.wants(":") && !head.ends_with(':') && found != ":" => {
            field_type(place, head)
        }
        ("enum", "=") => Some(
            Slip::new("the variants of an enum stand in braces", "no `=` here")
                .help("write `enum Mode { debug, release }`"),
        ),
        ("enum", "\"") => Some(
            Slip::new("a variant is a name without quotes", "a name is wanted here")
                .help(format!("write `{}`", quoted(place.rest()).unwrap_or("name"))),
        ),
        ("let" | "type" | "target", _)
            if place.wants("=")
                && !place.wants("[")
                && !head.is_empty()
                && head.chars().all(is_word)
                && starts_value(found) =>
        {
            Some(Slip::new("a `=` is missing", "in front of this").help(format!("write `{word} {head} = …`")))
        }
        _ => generic(place).or_else(|| map_type(place)),
    }
}

/// Words of other languages around a name: `let mut x`, `target pub x`, `fn (x: T) f()`.
fn misplaced(place: &Place<'_>, word: &str, head: &str) -> Option<Slip> {
    let found = place.found;
    let last = place.item + place.before().len();
    match (word, head) {
        ("let" | "param", "mut" | "var" | "const") if found.starts_with(is_word) => Some(
            Slip::new(format!("bkl has no `{head}`"), "remove it")
                .at(last - head.len(), last)
                .help(format!("values do not change: write `{word} {found} = …`")),
        ),
        (_, "pub") if found.starts_with(is_word) => Some(
            Slip::new("`pub` stands in front of the item", "not here")
                .at(last - head.len(), last)
                .help(format!("write `pub {word} {found}`")),
        ),
        ("fn", "") if found == "(" => {
            let (receiver, behind) = place.rest()[1..].lines().next()?.split_once(')')?;
            let behind = behind.trim_start();
            let name = &behind[..behind.find(|c: char| !is_word(c)).unwrap_or(behind.len())];
            if name.is_empty() {
                return None;
            }
            let subject = receiver.split(':').next().unwrap_or_default().trim();
            Some(Slip::new("a function has no receiver", "a name is wanted here").help(format!(
                "write `fn {name}({receiver}, …)`, and `{subject} |> {name}(…)` to call it like a method"
            )))
        }
        _ => None,
    }
}

/// Whether the last statement of a test's body, as far as it is read, is an `assert`.
fn claims(head: &str) -> bool {
    let last = |word: &str| {
        let found = head.rmatch_indices(word).find(|(at, _)| {
            !head[..*at].ends_with(is_word) && head[at + word.len()..].starts_with([' ', '(', '!'])
        });
        found.map(|(at, _)| at)
    };
    last("assert").is_some_and(|at| last("let").is_none_or(|other| other < at))
}

fn import(place: &Place<'_>, head: &str) -> Option<Slip> {
    Some(match (head, place.found) {
        ("", "\"") => {
            let path = quoted(place.rest())?;
            let name = module_name(path);
            Slip::new("an import gives the module a name", "the name is missing")
                .help(format!("write `import {name} from \"{path}\"`"))
        }
        ("", "{" | "*" | "(") => Slip::new("a module is imported as a whole", "a name is wanted here")
            .help("write `import name from \"…\"`, and use what it exports as `name.x`"),
        (name, "\"") if name.chars().all(is_word) => {
            Slip::new("`from` stands between name and module", "`from` is missing")
                .help(format!("write `import {name} from \"{}\"`", quoted(place.rest())?))
        }
        _ => return None,
    })
}

/// `target "app"`, `target "app" {`
fn quoted_name(place: &Place<'_>, word: &str) -> Option<Slip> {
    let text = quoted(place.rest())?;
    let slip =
        Slip::new("a name has no quotes", "a name is wanted here").at(place.at, place.at + text.len() + 2);
    let name: String = text.chars().map(|c| if is_word(c) { c } else { '_' }).collect();
    Some(match word {
        "secret" | "ssh" => {
            slip.help(format!("write `{word} {name} = \"{text}\"`; the text is the id it is given by"))
        }
        _ => slip.help(format!("write `{word} {name}`")),
    })
}

/// Characters that a name cannot have.
fn name(place: &Place<'_>, word: &str, head: &str) -> Option<Slip> {
    let found = place.found;
    let joined = place.text[..place.at].ends_with(is_word);
    let starts = place.at - last_word(&place.text[..place.at]).len();
    let tail = &place.text[starts..];
    let len = tail
        .find(|c: char| c.is_whitespace() || matches!(c, '=' | ':' | '(' | '{' | '"'))
        .unwrap_or(tail.len());
    let whole = starts..starts + len;
    if !head.is_empty() && joined && matches!(found, "-" | ".") && !place.rest().starts_with("->") {
        let better = tail[..len].replace(['-', '.'], "_");
        let slip = Slip::new(format!("a name has no `{found}`"), "letters, digits and `_` only")
            .at(whole.start, whole.end);
        return Some(slip.help(format!("write `{word} {better}`")));
    }
    if !found.is_ascii() && found.chars().all(char::is_alphanumeric) {
        let slip = Slip::new("a name is made of ASCII letters, digits and `_`", "another letter");
        return Some(slip.at(whole.start, whole.end));
    }
    if head.is_empty() && found.starts_with(|c: char| c.is_ascii_digit()) {
        return Some(Slip::new("a name starts with a letter or `_`", "starts with a digit"));
    }
    if head.is_empty() && found == "$" {
        return Some(Slip::new("a name has no `$`", "a name is wanted here"));
    }
    None
}

/// `fn f(x int)`, `fn f(x)`, `type S = { name str }`
fn field_type(place: &Place<'_>, head: &str) -> Option<Slip> {
    let name = last_word(head);
    let inside = head.contains(['(', '{']) && !name.is_empty();
    if !inside || !(is_word(place.found.chars().next()?) || matches!(place.found, "," | ")" | "}" | "=")) {
        return None;
    }
    let ty = if place.found.starts_with(is_word) { place.found } else { "type" };
    Some(
        Slip::new(format!("`{name}` needs its type"), "`:` and a type are wanted here")
            .help(format!("write `{name}: {ty}`")),
    )
}

/// `List<int>`, `map[str]int`
fn generic(place: &Place<'_>) -> Option<Slip> {
    let name = place.last_word();
    let opens = matches!(place.found, "<" | "[");
    let list = matches!(name, "List" | "list" | "Array" | "array" | "Vec" | "Set");
    let map = matches!(name, "Map" | "map" | "Dict" | "dict" | "HashMap" | "object");
    if opens && list {
        return Some(Slip::new("the type of a list is written `[T]`", "unexpected").help("as in `[str]`"));
    }
    if opens && map {
        return Some(
            Slip::new("the type of a map is written `{str: T}`", "unexpected").help("as in `{str: int}`"),
        );
    }
    if place.rest().starts_with("[]") && place.wants("=") {
        return Some(
            Slip::new("the type of a list is written `[T]`", "unexpected").help(format!("write `[{name}]`")),
        );
    }
    None
}

fn starts_value(found: &str) -> bool {
    found.starts_with(|c: char| is_word(c) || matches!(c, '"' | '[' | '{'))
}

/// `{str, int}`, `{str -> int}`
fn map_type(place: &Place<'_>) -> Option<Slip> {
    let before = place.before().trim_end_matches(is_word).trim_end();
    let in_type =
        before.ends_with('{') && place.last_word() == "str" && place.wants(":") && !place.wants(")");
    (in_type && matches!(place.found, "," | "-" | "=" | "->" | "=>"))
        .then(|| Slip::new("the type of a map is written `{str: T}`", "write `:` here"))
}

/// The type of a literal, for an example.
fn literal_type(text: &str) -> &'static str {
    match text.chars().next() {
        Some('0'..='9' | '-') => "int",
        Some('[') => "[str]",
        Some('{') => "{str: str}",
        _ if text.starts_with("true") || text.starts_with("false") => "bool",
        _ => "str",
    }
}
