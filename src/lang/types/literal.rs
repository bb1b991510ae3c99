//! What a text must look like to be a path, a reference, a port.

use super::hir::LiteralKind;
use super::ty::Type;
use crate::base::{Digest, ImageRef, Platform};

impl LiteralKind {
    /// What a literal is where `ty` is wanted; `None`: a literal in quotes cannot be a `ty`.
    pub fn of(ty: &Type) -> Option<LiteralKind> {
        Some(match ty {
            Type::Str => LiteralKind::Str,
            Type::Path => LiteralKind::Path,
            Type::Glob => LiteralKind::Glob,
            Type::Ref => LiteralKind::Ref,
            Type::Url => LiteralKind::Url,
            Type::Port => LiteralKind::Port,
            Type::Platform => LiteralKind::Platform,
            Type::Digest => LiteralKind::Digest,
            Type::Signal => LiteralKind::Signal,
            Type::Cmd => LiteralKind::Cmd,
            Type::Argv => LiteralKind::Argv,
            _ => return None,
        })
    }

    /// Name of the type, as in "this is not a valid port".
    pub fn name(self) -> &'static str {
        match self {
            LiteralKind::Str => "str",
            LiteralKind::Path => "path",
            LiteralKind::Glob => "glob",
            LiteralKind::Ref => "ref",
            LiteralKind::Url => "url",
            LiteralKind::Port => "port",
            LiteralKind::Platform => "platform",
            LiteralKind::Digest => "digest",
            LiteralKind::Signal => "signal",
            LiteralKind::Cmd => "cmd",
            LiteralKind::Argv => "argv",
        }
    }
}

/// Whether `text` is a literal of `kind`; the error says why not and reads after "this is not a valid port: ".
///
/// A `cmd` is only looked at for being empty: what is in it is the shell's business. For an `argv` with values in it,
/// pass the text with any plain word in their places.
pub fn validate(kind: LiteralKind, text: &str) -> Result<(), String> {
    match kind {
        LiteralKind::Str => Ok(()),
        LiteralKind::Path => path(text),
        LiteralKind::Glob => glob(text),
        LiteralKind::Ref => text.parse::<ImageRef>().map(drop).map_err(|error| error.to_string()),
        LiteralKind::Url => url(text),
        LiteralKind::Port => port(text),
        LiteralKind::Platform => text.parse::<Platform>().map(drop).map_err(|error| error.to_string()),
        LiteralKind::Digest => text
            .parse::<Digest>()
            .map(drop)
            .map_err(|_| "a digest is `sha256:` and 64 lower-case hex digits".to_owned()),
        LiteralKind::Signal => signal(text),
        LiteralKind::Cmd if text.trim().is_empty() => Err("the command is empty".to_owned()),
        LiteralKind::Cmd => Ok(()),
        LiteralKind::Argv => argv(text),
    }
}

fn path(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("the path is empty; `.` is the current directory".to_owned());
    }
    if text.contains('\0') {
        return Err("a path cannot contain a NUL byte".to_owned());
    }
    Ok(())
}

fn glob(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("the pattern is empty; `.` means everything".to_owned());
    }
    let mut chars = text.chars();
    let mut in_class = false;
    while let Some(c) = chars.next() {
        match c {
            '\0' => return Err("a path cannot contain a NUL byte".to_owned()),
            '\\' if chars.next().is_none() => return Err("the `\\` at the end escapes nothing".to_owned()),
            '[' if !in_class => in_class = true,
            ']' => in_class = false,
            _ => {}
        }
    }
    if in_class { Err("this `[` is never closed".to_owned()) } else { Ok(()) }
}

/// `scheme://…`, or git's `user@host:path`.
fn url(text: &str) -> Result<(), String> {
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("a URL contains no white space".to_owned());
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let scheme_ok = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
        if !scheme_ok {
            return Err(format!("`{scheme}` is no scheme; use https"));
        }
        if rest.is_empty() || (rest.starts_with('/') && scheme != "file") {
            return Err("the host is missing".to_owned());
        }
        return Ok(());
    }
    let scp_like = text.split_once('@').and_then(|(user, rest)| Some((user, rest.split_once(':')?)));
    match scp_like {
        Some((user, (host, path))) if !user.is_empty() && !host.is_empty() && !path.is_empty() => Ok(()),
        _ => Err("a URL starts with its scheme, as in https://example.com".to_owned()),
    }
}

/// `8080`, `8080/tcp`, `8000-8010/udp`.
fn port(text: &str) -> Result<(), String> {
    let (numbers, protocol) = match text.split_once('/') {
        Some((numbers, protocol)) => (numbers, Some(protocol)),
        None => (text, None),
    };
    let number = |digits: &str| {
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let value = plain.then(|| digits.parse::<u16>().ok()).flatten().filter(|&value| value != 0);
        value.ok_or_else(|| "a port is a number from 1 to 65535".to_owned())
    };
    match numbers.split_once('-') {
        Some((first, last)) => {
            if number(last)? < number(first)? {
                return Err("this range of ports ends before it starts".to_owned());
            }
        }
        None => drop(number(numbers)?),
    }
    match protocol {
        None | Some("tcp" | "udp" | "sctp") => Ok(()),
        Some(other) => Err(format!("`{other}` is no protocol; use tcp, udp or sctp")),
    }
}

/// Names of Linux signals without `SIG`.
const SIGNALS: &[&str] = &[
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE",
    "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU",
    "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
];

/// A name with or without `SIG`, a real-time signal, or a number from 1 to 64.
fn signal(text: &str) -> Result<(), String> {
    let why = || Err("a signal is a name such as SIGTERM, or a number from 1 to 64".to_owned());
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return match text.parse::<u8>() {
            Ok(1..=64) => Ok(()),
            _ => why(),
        };
    }
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let real_time = name
        .strip_prefix("RTMIN+")
        .or_else(|| name.strip_prefix("RTMAX-"))
        .is_some_and(|n| n.parse::<u8>().is_ok_and(|n| n <= 15));
    if SIGNALS.contains(&name) || real_time || matches!(name, "RTMIN" | "RTMAX") { Ok(()) } else { why() }
}

/// Words without a shell: what only a shell would understand is refused, as long as it is not quoted.
fn argv(text: &str) -> Result<(), String> {
    let mut chars = text.chars().peekable();
    let mut words = 0;
    let mut in_word = false;
    while let Some(c) = chars.next() {
        let starts_word = !in_word;
        in_word = !matches!(c, ' ' | '\t' | '\n' | '\r');
        words += usize::from(starts_word && in_word);
        match c {
            '\'' | '"' => loop {
                match chars.next() {
                    Some('\\') if c == '"' => drop(chars.next()),
                    Some(end) if end == c => break,
                    Some(_) => {}
                    None => return Err(format!("this `{c}` is never closed")),
                }
            },
            '\\' if chars.next().is_none() => return Err("the `\\` at the end escapes nothing".to_owned()),
            '&' | '|' | ';' | '<' | '>' | '(' | ')' | '$' | '`' | '*' => return Err(shell_only(c)),
            '~' if starts_word => return Err(shell_only(c)),
            _ => {}
        }
    }
    if words == 0 { Err("the command is empty".to_owned()) } else { Ok(()) }
}

fn shell_only(c: char) -> String {
    format!("`{c}` means something only to a shell, and `exec` starts none; use `run`")
}

#[cfg(test)]
mod tests;
