//! Answers as people can read and compare them. Lines and columns are one-based, as in diagnostics.

use serde_json::{Value, json};

/// How many completions are shown.
const MAX_COMPLETIONS: usize = 12;

/// Texts of files, and how columns are counted.
pub(super) struct View<'a> {
    /// Name and text of a URI.
    pub text: &'a dyn Fn(&str) -> (String, String),
    pub utf8: bool,
}

/// The position of an offset, as the protocol has it.
pub(super) fn position(text: &str, at: usize, utf8: bool) -> Value {
    let before = &text[..at];
    let line = before[before.rfind('\n').map_or(0, |newline| newline + 1)..].to_owned();
    let column = if utf8 { line.len() } else { line.encode_utf16().count() };
    json!({ "line": before.matches('\n').count(), "character": column })
}

/// The offset of a position.
fn offset(text: &str, position: &Value, utf8: bool) -> usize {
    let (line, column) = (number(&position["line"]), number(&position["character"]));
    let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1));
    let Some(start) = { starts }.nth(line) else { return text.len() };
    let (mut at, mut seen) = (start, 0);
    for c in text[start..].chars() {
        if column <= seen || c == '\n' {
            break;
        }
        seen += if utf8 { c.len_utf8() } else { c.len_utf16() };
        at += c.len_utf8();
    }
    at
}

fn number(value: &Value) -> usize {
    value.as_u64().unwrap_or_default() as usize
}

fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn place(position: &Value) -> String {
    format!("{}:{}", number(&position["line"]) + 1, number(&position["character"]) + 1)
}

fn range(range: &Value) -> String {
    format!("{}-{}", place(&range["start"]), place(&range["end"]))
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}").trim_end().to_owned() + "\n").collect()
}

/// An answer as JSON; of errors code and message.
pub(super) fn plain(answer: &Value) -> String {
    match answer.get("error") {
        Some(error) => format!("error {}: {}\n", error["code"], string(&error["message"])),
        None => format!("{}\n", answer["result"]),
    }
}

pub(super) fn diagnostics(messages: &[Value]) -> String {
    let mut out = String::new();
    for message in messages {
        let uri = string(&message["uri"]);
        let name = uri.rsplit('/').next().unwrap_or(uri);
        let found = list(&message["diagnostics"]);
        if found.is_empty() {
            out += &format!("{name}: nothing is wrong\n");
        }
        for it in found {
            let kind = if it["severity"] == 1 { "error" } else { "warning" };
            out += &format!("{name}:{} {kind} {}\n", range(&it["range"]), string(&it["code"]));
            out += &indented(string(&it["message"]));
            for related in list(&it["relatedInformation"]) {
                let at = range(&related["location"]["range"]);
                out += &format!("  see {at}: {}\n", string(&related["message"]));
            }
        }
    }
    if out.is_empty() { "(nothing new)\n".to_owned() } else { out }
}

pub(super) fn hover(result: &Value) -> String {
    if result.is_null() {
        return "(nothing)\n".to_owned();
    }
    range(&result["range"]) + "\n" + &indented(string(&result["contents"]["value"]))
}

/// The first completions; with an argument only those that start with it.
pub(super) fn completion(result: &Value, only: &str) -> String {
    let mut items: Vec<&Value> = list(result).iter().collect();
    items.sort_by_key(|item| string(&item["sortText"]));
    items.retain(|item| string(&item["label"]).starts_with(only));
    let mut out = String::new();
    for item in items.iter().take(MAX_COMPLETIONS) {
        let edit = &item["textEdit"];
        let (label, new) = (string(&item["label"]), string(&edit["newText"]));
        let written = if new == label { String::new() } else { format!(" => {new:?}") };
        let detail = item["detail"].as_str().map(|detail| format!(" | {detail}")).unwrap_or_default();
        out += &format!("{label}{detail}{written}\n");
    }
    if let Some(first) = items.first() {
        out += &format!("in the place of {}", range(&first["textEdit"]["range"]));
        let more = items.len().saturating_sub(MAX_COMPLETIONS);
        out += &if more == 0 { "\n".to_owned() } else { format!(", and {more} more\n") };
    }
    if out.is_empty() { "(nothing)\n".to_owned() } else { out }
}

pub(super) fn signature(result: &Value) -> String {
    let Some(signature) = list(&result["signatures"]).first() else { return "(nothing)\n".to_owned() };
    let parameters = list(&signature["parameters"]);
    let active = parameters.get(number(&result["activeParameter"]));
    let active = active.map_or("none", |parameter| string(&parameter["label"]));
    format!("{}\nactive: {active}\n", string(&signature["label"]))
}

/// Each action and the lines it changes.
pub(super) fn actions(result: &Value, view: &View<'_>) -> String {
    let mut out = String::new();
    for action in list(result) {
        let preferred = if action["isPreferred"] == true { " (preferred)" } else { "" };
        out += &format!("{}{preferred}\n", string(&action["title"]));
        out += &edits(&action["edit"], view);
    }
    if out.is_empty() { "(nothing)\n".to_owned() } else { out }
}

/// A workspace edit as the lines it changes.
pub(super) fn edits(result: &Value, view: &View<'_>) -> String {
    let mut changes: Vec<(&String, &Value)> = result["changes"].as_object().into_iter().flatten().collect();
    changes.sort_by_key(|(uri, _)| *uri);
    let mut out = String::new();
    for (uri, edits) in changes {
        let (name, text) = (view.text)(uri);
        out += &format!("  {name}\n");
        out += &changed_lines(&text, edits, view.utf8);
    }
    if out.is_empty() { "(no edits)\n".to_owned() } else { out }
}

fn apply(text: &str, edits: &Value, utf8: bool) -> String {
    let mut edits: Vec<(usize, usize, &str)> = list(edits)
        .iter()
        .map(|edit| {
            let at = |end: &str| offset(text, &edit["range"][end], utf8);
            (at("start"), at("end"), string(&edit["newText"]))
        })
        .collect();
    edits.sort_by_key(|edit| (edit.0, edit.1));
    let mut new = text.to_owned();
    for (start, end, replacement) in edits.into_iter().rev() {
        new.replace_range(start..end, replacement);
    }
    new
}

/// What differs between a text and itself after edits.
fn changed_lines(text: &str, edits: &Value, utf8: bool) -> String {
    let new = apply(text, edits, utf8);
    let (old, new): (Vec<&str>, Vec<&str>) = (text.lines().collect(), new.lines().collect());
    if old.len() == new.len() {
        let pairs = old.iter().zip(&new).filter(|(a, b)| a != b);
        return pairs.map(|(a, b)| format!("  - {a}\n  + {b}\n")).collect();
    }
    let front = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let rest = old.len().min(new.len()) - front;
    let back = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count().min(rest);
    let mut out: String = old[front..old.len() - back].iter().map(|line| format!("  - {line}\n")).collect();
    out += &new[front..new.len() - back].iter().map(|line| format!("  + {line}\n")).collect::<String>();
    out
}

/// The text after a list of edits; how many lines they leave alone at the start.
pub(super) fn text_edits(result: &Value, text: &str, utf8: bool) -> String {
    match result {
        Value::Null => "(nothing)\n".to_owned(),
        edits if list(edits).is_empty() => "(no edits)\n".to_owned(),
        edits => {
            let places: Vec<String> = list(edits).iter().map(|edit| range(&edit["range"])).collect();
            format!("edits {}\n{}", places.join(", "), indented(&apply(text, edits, utf8)))
        }
    }
}

pub(super) fn locations(result: &Value, view: &View<'_>) -> String {
    let one = [result.clone()];
    let found = if result.is_object() { &one } else { list(result) };
    let mut out = String::new();
    for location in found {
        let (name, text) = (view.text)(string(&location["uri"]));
        let line = text.lines().nth(number(&location["range"]["start"]["line"])).unwrap_or_default();
        out += &format!("{name}:{}  {}\n", range(&location["range"]), line.trim());
    }
    if out.is_empty() { "(nothing)\n".to_owned() } else { out }
}

pub(super) fn symbols(result: &Value, depth: usize) -> String {
    let mut out = String::new();
    for symbol in list(result) {
        let detail = symbol["detail"].as_str().map(|detail| format!(" | {detail}")).unwrap_or_default();
        let at = format!("{} in {}", range(&symbol["selectionRange"]), range(&symbol["range"]));
        let indent = "  ".repeat(depth);
        out += &format!("{indent}{} kind {} {at}{detail}\n", string(&symbol["name"]), symbol["kind"]);
        out += &symbols(&symbol["children"], depth + 1);
    }
    out
}

pub(super) fn lenses(result: &Value) -> String {
    let lens = |it: &Value| {
        let command = &it["command"];
        let name = &command["arguments"][1];
        format!(
            "{} {}: {} {name}\n",
            range(&it["range"]),
            string(&command["title"]),
            string(&command["command"])
        )
    };
    list(result).iter().map(lens).collect()
}

/// The text with its hints.
pub(super) fn inlays(result: &Value, text: &str, utf8: bool) -> String {
    let at = |it: &Value| offset(text, &it["position"], utf8);
    let mut hints: Vec<(usize, &str)> =
        list(result).iter().map(|it| (at(it), string(&it["label"]))).collect();
    hints.sort();
    let mut shown = text.to_owned();
    for (at, label) in hints.into_iter().rev() {
        shown.insert_str(at, &format!("‹{label}›"));
    }
    indented(&shown)
}

/// The text with the kind of each token behind it: `word‹type.modifiers›`.
pub(super) fn tokens(result: &Value, text: &str, utf8: bool) -> String {
    const TYPES: [&str; 16] = [
        "keyword",
        "comment",
        "string",
        "number",
        "operator",
        "namespace",
        "type",
        "enum",
        "enumMember",
        "function",
        "method",
        "property",
        "variable",
        "parameter",
        "macro",
        "regexp",
    ];
    const MODIFIERS: [&str; 4] = ["declaration", "readonly", "defaultLibrary", "documentation"];
    let numbers: Vec<usize> = list(&result["data"]).iter().map(number).collect();
    let (mut line, mut column) = (0, 0);
    let mut out = String::new();
    for token in numbers.chunks_exact(5) {
        let &[delta_line, delta, length, kind, modifiers] = token else { unreachable!("chunks of five") };
        column = if delta_line == 0 { column + delta } else { delta };
        line += delta_line;
        let start = offset(text, &json!({ "line": line, "character": column }), utf8);
        let end = offset(text, &json!({ "line": line, "character": column + length }), utf8);
        let names = MODIFIERS.iter().enumerate().filter(|(bit, _)| modifiers & (1 << bit) != 0);
        let names: String = names.map(|(_, name)| format!(".{name}")).collect();
        out += &format!("{}:{} {}{names} {}\n", line + 1, column + 1, TYPES[kind], &text[start..end]);
    }
    out
}
