//! A line that starts like no item.

use super::{Place, Slip, is_word, module_name, quoted};
use crate::base::suggest::nearest;
use crate::lang::syntax::words::ITEM_WORDS;

/// Instructions of Dockerfiles, and what they are in bkl.
const INSTRUCTIONS: &[(&str, &str)] = &[
    ("FROM", "`image(\"name\")`"),
    ("RUN", "`.run(\"command\")`"),
    ("COPY", "`.copy(src, from, to)`"),
    ("ADD", "`.copy(src, from, to, unpack: true)`, and `http(\"https://…\")` for what is elsewhere"),
    ("ARG", "`param name: str = \"value\"`"),
    ("ENV", "`.with(env: { NAME: \"value\" })`"),
    ("WORKDIR", "`.with(workdir: \"/dir\")`"),
    ("USER", "`.with(user: \"name\")`"),
    ("ENTRYPOINT", "`.with(entrypoint: [\"word\"])`"),
    ("CMD", "`.with(cmd: [\"word\"])`"),
    ("LABEL", "`.with(labels: { key: \"value\" })`"),
    ("EXPOSE", "`.with(ports: [8080])`"),
    ("VOLUME", "`.with(volumes: [\"/dir\"])`"),
    ("STOPSIGNAL", "`.with(stop_signal: \"SIGTERM\")`"),
    ("SHELL", "`.with(shell: [\"/bin/sh\", \"-c\"])`"),
    ("HEALTHCHECK", "`.with(healthcheck: { test: [\"CMD\", \"…\"] })`"),
];

/// Words that other languages declare things with.
const FOREIGN: &[(&str, &str)] = &[
    ("var", "let"),
    ("const", "let"),
    ("val", "let"),
    ("local", "let"),
    ("def", "fn"),
    ("func", "fn"),
    ("fun", "fn"),
    ("function", "fn"),
    ("proc", "fn"),
    ("struct", "type"),
    ("record", "type"),
    ("class", "type"),
    ("typedef", "type"),
    ("use", "import"),
    ("include", "import"),
    ("load", "import"),
    ("require", "import"),
    ("export", "pub"),
    ("public", "pub"),
    ("stage", "target"),
    ("task", "target"),
    ("job", "target"),
    ("arg", "param"),
    ("input", "param"),
];

pub(super) fn slip(place: &Place<'_>) -> Option<Slip> {
    let (found, behind) = (place.found, place.behind());
    let next = behind.trim_start();
    if found == "#" || place.rest().starts_with("/*") {
        return Some(Slip::new("a comment starts with `//`", "not a comment of bkl"));
    }
    if matches!(found, ")" | "]" | "}") {
        return Some(closes_nothing(found));
    }
    if let Some((_, means)) = INSTRUCTIONS.iter().find(|(name, _)| *name == found) {
        let slip = Slip::new(format!("`{found}` is an instruction of Dockerfiles"), "no item of bkl");
        return Some(slip.help(format!("in bkl it is {means}")));
    }
    if found == "from" && quoted(next).is_some() {
        let slip = Slip::new("an import says its name first", "not here");
        let path = quoted(next)?;
        return Some(slip.help(format!("write `import {} from \"{path}\"`", module_name(path))));
    }
    if found == "(" {
        let slip = Slip::new("the `(` of a call stands on the line of its function", "on a line of its own");
        return Some(slip.help("write `f(…)`; only `.name` and `|>` may start a line"));
    }
    if found == "for" {
        let slip = Slip::new("a loop is an expression, not an item", "gives nothing a name");
        return Some(slip.help("write `let xs = [for x in …: …]`"));
    }
    if matches!(found, "if" | "match" | "on" | "fold" | "assert" | "return") {
        let what = if found == "assert" {
            "in a `test \"…\" { }`"
        } else {
            "behind the `=` of a `let` or `target`"
        };
        return Some(
            Slip::new(format!("`{found}` cannot start an item"), "not an item")
                .help(format!("it stands {what}")),
        );
    }
    if next.starts_with('=') && !next.starts_with("==") || next.starts_with("+=") {
        let slip = Slip::new("a name keeps the value it is declared with", "not an item");
        return Some(slip.help(format!("write `let {found} = …`; for changed copies choose new names")));
    }
    if let Some((_, meant)) = FOREIGN.iter().find(|(word, _)| *word == found) {
        return Some(not_an_item(found).help(format!("did you mean `{meant}`?")));
    }
    let declares = next.starts_with(|c: char| is_word(c) || c == '"');
    if let Some(meant) = nearest(found, ITEM_WORDS.iter().copied()).filter(|_| declares) {
        return Some(not_an_item(found).help(format!("did you mean `{meant}`?")));
    }
    if behind.starts_with(['(', '.', '[']) || found == "\"" {
        let slip = Slip::new("an expression alone is nothing to build", "not an item");
        return Some(slip.help("write `target name = …` to build it, or `let name = …` to use it"));
    }
    None
}

fn not_an_item(found: &str) -> Slip {
    Slip::new(format!("no item starts with `{found}`"), "not an item")
}

pub(super) fn closes_nothing(bracket: &str) -> Slip {
    Slip::new(format!("this `{bracket}` closes nothing"), "nothing is open here")
}
