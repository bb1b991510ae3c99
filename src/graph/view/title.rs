//! Short names of steps: what a person would call them.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::base::ImageRef;
use crate::graph::ir::{CUSTOM_NAME, FileActionOp, Op, Vertex};

/// Columns of a line of a name.
pub(super) const WIDTH: usize = 38;
/// Lines of a name.
const LINES: usize = 2;

/// The name of a step, in parts: a file op has one per action. At least one; without line breaks and other characters
/// that cannot be seen.
pub(super) fn of(vertex: &Vertex) -> Vec<String> {
    if let Some(name) = vertex.metadata.description.get(CUSTOM_NAME) {
        return vec![one_line(name)];
    }
    match &vertex.op {
        Op::Source(source) => vec![one_line(&source_name(source.scheme(), source.locator()))],
        Op::Exec(exec) => vec![one_line(&command(&exec.args))],
        Op::File(file) => file.actions.iter().map(|action| one_line(&action_name(&action.op))).collect(),
        op @ (Op::Merge(_) | Op::Diff(_) | Op::Passthrough(_) | Op::Build(_)) => vec![one_line(&op.name())],
    }
}

/// `alpine:3.20`, `local src`, `git github.com/acme/x.git#v1`.
fn source_name(scheme: &str, locator: &str) -> String {
    match scheme {
        "docker-image" => image_name(locator),
        "oci-layout" => format!("oci_layout {}", image_name(locator)),
        "local" => format!("local {locator}"),
        "git" => format!("git {locator}"),
        _ => format!("{scheme}://{locator}"),
    }
}

/// As people write it, without the digest that pins it.
fn image_name(locator: &str) -> String {
    match locator.parse::<ImageRef>() {
        Ok(mut reference) if reference.tag.is_some() => {
            reference.digest = None;
            reference.familiar()
        }
        Ok(reference) => reference.familiar(),
        Err(_) => locator.to_owned(),
    }
}

/// The text that a shell is given, else the words.
pub(super) fn command(args: &[String]) -> String {
    match args {
        [shell, flag, text] if shell.ends_with("sh") && flag.starts_with('-') && flag.ends_with('c') => {
            let text = text.strip_prefix("set -e\n").unwrap_or(text);
            text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
        }
        _ => args.join(" "),
    }
}

pub(super) fn action_name(action: &FileActionOp) -> String {
    match action {
        FileActionOp::Copy(copy) => format!("copy {} → {}", copy.src, copy.dest),
        FileActionOp::Mkfile(mkfile) => format!("write {}", mkfile.path),
        FileActionOp::Mkdir(mkdir) => format!("mkdir {}", mkdir.path),
        FileActionOp::Rm(rm) => format!("remove {}", rm.path),
        FileActionOp::Symlink(symlink) => format!("symlink {} → {}", symlink.newpath, symlink.oldpath),
    }
}

/// Blank space is one blank; what cannot be seen is left out.
fn one_line(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text: String = text.chars().filter(|c| c.width().is_some() && !is_direction(*c)).collect();
    if text.is_empty() { "–".to_owned() } else { text }
}

/// Marks that turn the direction of the text around them.
pub(super) fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{061c}')
}

/// The name as it is drawn. One part is wrapped at blanks; of several there is a line each, the last says how many more.
pub(super) fn wrapped(parts: &[String]) -> Vec<String> {
    match parts {
        [one] => wrap(one),
        [first, second] => vec![clipped(first, WIDTH), clipped(second, WIDTH)],
        [first, rest @ ..] => vec![clipped(first, WIDTH), format!("+{} more", rest.len())],
        [] => vec!["–".to_owned()],
    }
}

fn wrap(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = text;
    while lines.len() + 1 < LINES && rest.width() > WIDTH {
        // The last blank that leaves the line not too short, else behind a sign, else in the middle of a word.
        let fits = fitting(rest, WIDTH);
        let line = &rest[..fits];
        let long_enough = |at: &usize| *at * 2 > fits;
        let blank = line.rfind(' ').filter(long_enough);
        let sign = line.rfind(['/', '=', ':', ',', '-', '_', '.']).map(|at| at + 1).filter(long_enough);
        let at = if rest[fits..].starts_with(' ') { fits } else { blank.or(sign).unwrap_or(fits) };
        lines.push(rest[..at].trim_end().to_owned());
        rest = rest[at..].trim_start();
    }
    lines.push(clipped(rest, WIDTH));
    lines
}

/// At most `width` columns of `text`; an ellipsis stands for the rest.
pub(super) fn clipped(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    format!("{}…", text[..fitting(text, width - 1)].trim_end())
}

/// Bytes of `text` that fit into `width` columns.
fn fitting(text: &str, width: usize) -> usize {
    let mut columns = 0;
    let too_wide = |&(_, c): &(usize, char)| {
        columns += c.width().unwrap_or(0);
        columns > width
    };
    text.char_indices().find(too_wide).map_or(text.len(), |(at, _)| at)
}
