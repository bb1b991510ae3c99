//! Reasons in words, and as facts for tools.

use serde_json::{Value, json};

use crate::base::Digest;
use crate::engine::history::differ::Role;
use crate::engine::history::why::Cause;
use crate::engine::history::{Because, Change, Forced, Reason, Subject};

/// Characters of a value that are shown around what differs.
const AROUND: usize = 24;
/// Longest value that is shown whole.
const MAX_VALUE: usize = 64;

/// What stands behind "because".
pub(super) fn because(because: &Because) -> String {
    match because {
        Because::Forced(Forced::Program) => "the program says so: `cache: false`".to_owned(),
        Because::Forced(Forced::NoCache) => "the cache is not used: `--no-cache`".to_owned(),
        Because::Forced(Forced::Filter) => "the cache is not used for it: `--no-cache-filter`".to_owned(),
        Because::Never => "nothing like it ran before, as far as the store knows".to_owned(),
        Because::Gone => "its result is gone from the store; nothing else changed".to_owned(),
        Because::Failed => "it failed when it last ran; nothing changed since".to_owned(),
        Because::Stopped => "its build was killed when it last ran; nothing changed since".to_owned(),
        Because::Own(subject, change) => own(subject, change),
        Because::Input(role, cause) => input(role, cause),
        Because::Unknown => "its key is another one; what is kept of it is as before".to_owned(),
    }
}

/// The reason behind the reason.
pub(super) fn deeper(because: &Because) -> Option<&Reason> {
    match because {
        Because::Input(_, Cause::Again(reason)) => Some(reason),
        _ => None,
    }
}

fn own(subject: &Subject, change: &Change) -> String {
    match subject {
        Subject::Command => with_change("the command", change),
        Subject::Argument(idx) => with_change(&format!("word {} of the command", idx + 1), change),
        Subject::Variable(name) => with_change(&format!("the variable `{name}`"), change),
        Subject::VariableOrder => with_change("the order of the variables", change),
        Subject::SecretVariable(name) => with_change(&format!("the secret in the variable `{name}`"), change),
        Subject::Setting(name) => with_change(&format!("the {name}"), change),
        Subject::Mount(dest) => match change {
            Change::Added(Some(kind)) => format!("a mount was added: {kind} at `{dest}`"),
            Change::Removed(Some(kind)) => format!("a mount was removed: {kind} at `{dest}`"),
            change => with_change(&format!("what is mounted at `{dest}`"), change),
        },
        Subject::MountSetting(dest, name) => {
            with_change(&format!("the {name} of the mount at `{dest}`"), change)
        }
        Subject::Action(name, _) => {
            with_change(&format!("the file action `{}`", super::steps::short(name)), change)
        }
        Subject::ActionSetting(name, _, argument) => {
            with_change(&format!("`{argument}` of `{}`", super::steps::short(name)), change)
        }
        Subject::Trees => with_change("the trees it puts together", change),
        Subject::Platform => with_change("the platform", change),
        Subject::File { path } => with_change(&format!("`{path}`"), change),
        Subject::Attribute(name) => with_change(&format!("`{}`", attribute(name)), change),
        Subject::Kind => with_change("what it does", change),
    }
}

/// Attributes of sources as the language calls them.
fn attribute(key: &str) -> &str {
    match key {
        "local.includepattern" => "include",
        "local.excludepatterns" => "exclude",
        "local.followpaths" => "follow",
        key => key,
    }
}

fn with_change(what: &str, change: &Change) -> String {
    match change {
        Change::Added(None) => format!("{what} was added"),
        Change::Added(Some(now)) => format!("{what} was added: `{}`", whole(now)),
        Change::Removed(None) => format!("{what} was removed"),
        Change::Removed(Some(then)) => format!("{what} was removed: `{}`", whole(then)),
        Change::Changed { then, now } => {
            let (then, now) = values(then, now);
            format!("{what} changed: `{then}` → `{now}`")
        }
        Change::Became { aspect: "kind", then, now } => format!("{what} is a {now}, and was a {then}"),
        Change::Became { aspect: "target", then, now } => {
            format!("{what} points to `{now}`, and pointed to `{then}`")
        }
        Change::Became { aspect, then, now } => format!("the {aspect} of {what} changed: `{then}` → `{now}`"),
        Change::Content => format!("{what} changed"),
    }
}

fn input(role: &Role, cause: &Cause) -> String {
    let what = match role {
        Role::Mount(dest) if dest == "/" => "its root".to_owned(),
        Role::Mount(dest) => format!("what is mounted at `{dest}`"),
        Role::Base => "the tree it changes".to_owned(),
        Role::Source(path) => format!("what it copies from `{path}`"),
        Role::Users => "where it looks up owners".to_owned(),
        Role::Tree(idx) => format!("tree {} of the merge", idx + 1),
        Role::Lower => "what it starts from".to_owned(),
        Role::Upper => "what it arrives at".to_owned(),
        Role::Needed(_) => "what it needs".to_owned(),
    };
    match cause {
        Cause::File { source, subject, change, patterns } => {
            let patterns = patterns
                .as_ref()
                .map(|(subject, change)| format!(", by its patterns: {}", own(subject, change)));
            let Subject::File { path } = subject else { return own(subject, change) };
            let file = with_change(&format!("`{path}` of `{source}`"), change);
            format!("{file}{}", patterns.unwrap_or_default())
        }
        Cause::Image { then: (then, old), now: (now, new) } => {
            let digest =
                |it: &Option<Digest>| it.map(|it| it.short()).unwrap_or_else(|| "unknown".to_owned());
            if then == now {
                format!("`{now}` is another image: {} → {}", digest(old), digest(new))
            } else {
                format!("the image changed: `{then}` ({}) → `{now}` ({})", digest(old), digest(new))
            }
        }
        Cause::Source(source, subject, change) => {
            format!("`{source}` is another tree: {}", own(subject, change))
        }
        Cause::Other { then, now } => {
            let (then, now) = (super::steps::short(then), super::steps::short(now));
            format!("{what} comes from another place: `{then}` → `{now}`")
        }
        Cause::Inserted(step) => format!("a new step stands before it: `{}`", super::steps::short(step)),
        Cause::Dropped(step) => format!("a step before it is gone: `{}`", super::steps::short(step)),
        Cause::Again(reason) => {
            format!("{what} is another tree: `{}` gave it", super::steps::short(&reason.name))
        }
        Cause::Forgotten(now) => {
            format!("{what} is another tree, `{}`; what it was is no longer known", super::steps::short(now))
        }
    }
}

/// For tools: what differs, and how.
pub(super) fn facts(because: &Because) -> Value {
    let change = |change: &Change| match change {
        Change::Added(now) => json!({ "change": "added", "now": now }),
        Change::Removed(then) => json!({ "change": "removed", "then": then }),
        Change::Changed { then, now } => json!({ "change": "changed", "then": then, "now": now }),
        Change::Became { aspect, then, now } => {
            json!({ "change": "changed", "aspect": aspect, "then": then, "now": now })
        }
        Change::Content => json!({ "change": "changed" }),
    };
    let with = |kind: &str, name: Value, more: Value| {
        let mut facts = json!({ "kind": kind, "name": name });
        if let (Some(facts), Value::Object(more)) = (facts.as_object_mut(), more) {
            facts.extend(more);
        }
        facts
    };
    let subject = |it: &Subject, how: &Change| {
        let (kind, name) = match it {
            Subject::Command => ("command", Value::Null),
            Subject::Argument(idx) => ("argument", json!(idx)),
            Subject::Variable(name) => ("variable", json!(name)),
            Subject::VariableOrder => ("variable_order", Value::Null),
            Subject::SecretVariable(name) => ("secret_variable", json!(name)),
            Subject::Setting(name) => ("setting", json!(name)),
            Subject::Mount(dest) => ("mount", json!(dest)),
            Subject::MountSetting(dest, name) => ("mount_setting", json!([dest, name])),
            Subject::Action(name, _) => ("action", json!(name)),
            Subject::ActionSetting(name, _, argument) => ("action_argument", json!([name, argument])),
            Subject::Trees => ("trees", Value::Null),
            Subject::Platform => ("platform", Value::Null),
            Subject::File { path } => ("file", json!(path)),
            Subject::Attribute(name) => ("attribute", json!(attribute(name))),
            Subject::Kind => ("op", Value::Null),
        };
        with(kind, name, change(how))
    };
    match because {
        Because::Forced(forced) => json!({ "kind": "forced", "by": forced }),
        Because::Never => json!({ "kind": "never_ran" }),
        Because::Gone => json!({ "kind": "result_gone" }),
        Because::Failed => json!({ "kind": "failed" }),
        Because::Stopped => json!({ "kind": "stopped" }),
        Because::Unknown => json!({ "kind": "unknown" }),
        Because::Own(it, how) => subject(it, how),
        Because::Input(_, cause) => match cause {
            Cause::File { source, subject: it, change: how, .. } => {
                let mut facts = subject(it, how);
                facts["source"] = json!(source);
                facts
            }
            Cause::Image { then, now } => {
                let side =
                    |(name, digest): &(String, Option<Digest>)| json!({ "name": name, "digest": digest });
                json!({ "kind": "image", "then": side(then), "now": side(now) })
            }
            Cause::Source(source, it, how) => {
                let mut facts = subject(it, how);
                facts["source"] = json!(source);
                facts
            }
            Cause::Other { then, now } => json!({ "kind": "input", "then": then, "now": now }),
            Cause::Inserted(step) => json!({ "kind": "step_added", "name": step }),
            Cause::Dropped(step) => json!({ "kind": "step_removed", "name": step }),
            Cause::Again(reason) => json!({ "kind": "step", "name": reason.name }),
            Cause::Forgotten(now) => json!({ "kind": "input", "now": now }),
        },
    }
}

/// Two values with what is around their difference; what they have in common further away is left out.
fn values(then: &str, now: &str) -> (String, String) {
    let (old, new): (Vec<char>, Vec<char>) = (then.chars().collect(), now.chars().collect());
    if old.len().max(new.len()) <= MAX_VALUE {
        return (one_line(&old), one_line(&new));
    }
    let start = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let rest = old.len().min(new.len()) - start;
    let end = old.iter().rev().zip(new.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    let part = |all: &[char]| {
        let from = start.saturating_sub(AROUND);
        let to = (all.len() - end + AROUND).min(all.len());
        let middle = one_line(&all[from..to]);
        let middle = elided(&middle, 2 * MAX_VALUE);
        format!("{}{middle}{}", if from == 0 { "" } else { "…" }, if to == all.len() { "" } else { "…" })
    };
    (part(&old), part(&new))
}

fn whole(value: &str) -> String {
    elided(&one_line(&value.chars().collect::<Vec<_>>()), MAX_VALUE)
}

fn one_line(chars: &[char]) -> String {
    let shown = |&c: &char| match c {
        '\n' => "\\n".to_owned(),
        '\t' => "\\t".to_owned(),
        c if c.is_control() => format!("\\u{{{:x}}}", u32::from(c)),
        c => c.to_string(),
    };
    chars.iter().map(shown).collect()
}

/// A text with its middle left out when it is long.
fn elided(text: &str, most: usize) -> String {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= most {
        return text.to_owned();
    }
    let half = most / 2;
    let (start, end) = (&chars[..half], &chars[chars.len() - half..]);
    format!("{}…{}", start.iter().collect::<String>(), end.iter().collect::<String>())
}

#[cfg(test)]
mod tests;
