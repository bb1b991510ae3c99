//! Runs TextMate grammars: line by line, the first rule that matches earliest, a stack of rules with an end.

use regex::Regex;
use serde_json::Value;

/// What a character is, as far as the lexer and the grammar have to agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    Keyword,
    Text,
    Comment,
    Other,
}

impl Group {
    /// `None`: the scope says nothing about it.
    fn of(scope: &str) -> Option<Group> {
        let says = |part: &str| scope.split('.').any(|it| it == part);
        if says("operator") || says("numeric") {
            return Some(Group::Other);
        }
        Some(match scope.split('.').next().unwrap_or_default() {
            "comment" => Group::Comment,
            "string" => Group::Text,
            "storage" => Group::Keyword,
            "meta" | "punctuation" | "variable" | "entity" | "support" => Group::Other,
            _ if says("keyword") || says("language") => Group::Keyword,
            _ if says("escape") => Group::Text,
            _ => return None,
        })
    }
}

/// A rule whose patterns are compiled.
struct Rule {
    /// What it starts with, or all there is.
    begin: Regex,
    /// What ends it.
    end: Option<Regex>,
    group: Option<Group>,
    captures: Vec<(usize, Option<Group>)>,
    /// Names of the lists of rules inside.
    inside: Vec<String>,
}

/// A grammar.
pub(super) struct Grammar {
    lists: Vec<(String, Vec<Rule>)>,
}

impl Grammar {
    pub(super) fn new(grammar: &Value) -> Grammar {
        let mut lists = Vec::new();
        for (name, entry) in grammar["repository"].as_object().unwrap() {
            lists.push((name.clone(), rules(entry, grammar)));
        }
        Grammar { lists }
    }

    fn list(&self, name: &str) -> &[Rule] {
        &self.lists.iter().find(|(known, _)| known == name).expect("the list is in the repository").1
    }

    /// The group of each byte.
    pub(super) fn colours(&self, text: &str) -> Vec<Group> {
        let mut groups = vec![Group::Other; text.len()];
        let mut stack: Vec<&Rule> = Vec::new();
        let mut line_start = 0;
        for line in text.split_inclusive('\n') {
            self.line(line.trim_end_matches(['\n', '\r']), line_start, &mut stack, &mut groups);
            line_start += line.len();
        }
        groups
    }

    fn line<'g>(&'g self, line: &str, start: usize, stack: &mut Vec<&'g Rule>, groups: &mut [Group]) {
        let mut at = 0;
        loop {
            let current = stack.iter().rev().find_map(|rule| rule.group).unwrap_or(Group::Other);
            let names: Vec<&str> = match stack.last() {
                Some(rule) => rule.inside.iter().map(String::as_str).collect(),
                None => vec!["code"],
            };
            let end = stack.last().and_then(|rule| rule.end.as_ref()?.find_at(line, at));
            let mut best: Option<(usize, &Rule)> = None;
            for rule in names.iter().flat_map(|name| self.list(name)) {
                if let Some(found) = rule.begin.find_at(line, at)
                    && best.is_none_or(|(known, _)| found.start() < known)
                {
                    best = Some((found.start(), rule));
                }
            }
            // An end wins over what starts at the same place.
            if let Some(end) = end
                && best.is_none_or(|(begin, _)| end.start() <= begin)
            {
                groups[start + at..start + end.end()].fill(current);
                stack.pop();
                if end.end() == line.len() {
                    return;
                }
                at = end.end();
                continue;
            }
            let Some((_, rule)) = best else {
                groups[start + at..start + line.len()].fill(current);
                return;
            };
            let captures = rule.begin.captures_at(line, at).expect("it was found");
            let whole = captures.get(0).expect("the whole match");
            groups[start + at..start + whole.start()].fill(current);
            groups[start + whole.start()..start + whole.end()].fill(rule.group.unwrap_or(current));
            for (index, group) in &rule.captures {
                if let (Some(found), Some(group)) = (captures.get(*index), group) {
                    groups[start + found.start()..start + found.end()].fill(*group);
                }
            }
            at = whole.end();
            if rule.end.is_some() {
                stack.push(rule);
            }
        }
    }
}

/// The rules of an entry of the repository: its patterns, or itself; includes are resolved but inside of rules.
fn rules(entry: &Value, grammar: &Value) -> Vec<Rule> {
    let compiled = |pattern: &Value| Regex::new(pattern.as_str().unwrap()).unwrap();
    if let Some(include) = entry["include"].as_str() {
        return rules(&grammar["repository"][&include[1..]], grammar);
    }
    let begins = if entry["match"].is_string() { &entry["match"] } else { &entry["begin"] };
    if !begins.is_string() {
        return entry["patterns"].as_array().unwrap().iter().flat_map(|it| rules(it, grammar)).collect();
    }
    let captures = [&entry["captures"], &entry["beginCaptures"]];
    let captures = captures.iter().filter_map(|it| it.as_object()).flatten();
    let inside = entry["patterns"].as_array().into_iter().flatten();
    vec![Rule {
        begin: compiled(begins),
        end: entry["end"].is_string().then(|| compiled(&entry["end"])),
        group: entry["name"].as_str().and_then(Group::of),
        captures: captures
            .map(|(index, it)| (index.parse().unwrap(), it["name"].as_str().and_then(Group::of)))
            .collect(),
        inside: inside.map(|it| it["include"].as_str().unwrap()[1..].to_owned()).collect(),
    }]
}
