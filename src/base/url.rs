//! URLs of sources as text: their parts, what may be in them, and the names of files they stand for.

/// What git is never given as a part of a reference's name (git-check-ref-format(1)).
const NOT_IN_REFS: &[char] = &[' ', '~', '^', ':', '?', '*', '[', '\\', '\x7f'];

/// A URL taken apart; nothing is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UrlParts<'a> {
    /// Lower case or not, as written; `ssh` for git's `user@host:path`.
    pub scheme: &'a str,
    /// Before the `@`: `user` or `user:password`; empty when there is none.
    pub user: &'a str,
    /// The host with its port, brackets of addresses included.
    pub host: &'a str,
    /// From the first `/` (or behind git's `:`) up to the query or fragment.
    pub path: &'a str,
    /// What stands behind `?` or `#`, with that character; empty when there is neither.
    pub tail: &'a str,
}

impl<'a> UrlParts<'a> {
    /// Takes `scheme://…` or `user@host:path` apart; `None` when it is neither.
    pub fn of(url: &'a str) -> Option<UrlParts<'a>> {
        let (rest, tail) = url.split_at(url.find(['?', '#']).unwrap_or(url.len()));
        if let Some((scheme, rest)) = rest.split_once("://") {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
            return Some(UrlParts { scheme, user, host, path, tail });
        }
        let (user, rest) = rest.split_once('@')?;
        let (host, path) = rest.split_once(':')?;
        Some(UrlParts { scheme: "ssh", user, host, path, tail })
    }

    /// The host without its port and brackets.
    pub fn hostname(&self) -> &'a str {
        match self.host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => self.host.split(':').next().unwrap_or_default(),
        }
    }

    /// Whether the scheme is this one, in any case.
    pub fn is(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }
}

/// The URL without the password it holds, for messages and for what is kept.
pub fn redacted(url: &str) -> String {
    let password = UrlParts::of(url).and_then(|parts| parts.user.split_once(':'));
    match password {
        Some((user, password)) => url.replacen(&format!("{user}:{password}@"), &format!("{user}:xxxxx@"), 1),
        None => url.to_owned(),
    }
}

/// Why git may not be given this URL; it reads after "…: ". `None`: it may.
///
/// Only protocols that lead to other machines: `file` and git's own helpers (`ext::`) would read or run things here.
pub fn git_objection(url: &str) -> Option<String> {
    let Some(parts) = UrlParts::of(url) else {
        return Some("it is no URL; write `https://host/path`".to_owned());
    };
    if let Some(why) = objection(&parts, &["https", "http", "ssh", "git"]) {
        return Some(why);
    }
    if !parts.tail.is_empty() {
        return Some(format!("`{}` is no part of a repository's URL", parts.tail));
    }
    if parts.path.trim_matches('/').is_empty() {
        return Some("the path is missing".to_owned());
    }
    None
}

/// Why a file cannot be fetched from this URL; it reads after "…: ". `None`: it can.
pub fn http_objection(url: &str) -> Option<String> {
    match UrlParts::of(url) {
        Some(parts) => objection(&parts, &["https", "http"]),
        None => Some("it is no URL; write `https://host/path`".to_owned()),
    }
}

fn objection(parts: &UrlParts<'_>, schemes: &[&str]) -> Option<String> {
    // What takes it apart next may leave them out, or end a line of a configuration with them.
    let all = [parts.scheme, parts.user, parts.host, parts.path, parts.tail];
    if let Some(c) = all.iter().flat_map(|part| part.chars()).find(|c| c.is_control()) {
        return Some(format!("{c:?} cannot be in a URL"));
    }
    if !schemes.iter().any(|scheme| parts.is(scheme)) {
        let (last, others) = schemes.split_last().expect("there are some");
        return Some(format!("`{}` is not {} or {last}", parts.scheme, others.join(", ")));
    }
    // What starts with a dash would be an option of the program that makes the connection.
    if parts.hostname().is_empty() || parts.host.starts_with('-') {
        return Some(format!("`{}` is no host", parts.host));
    }
    if parts.user.starts_with('-') {
        return Some(format!("`{}` is no user", parts.user));
    }
    if parts.path.starts_with('-') {
        return Some("a path does not start with `-`".to_owned());
    }
    if parts.user.contains(':') || (!parts.user.is_empty() && !parts.is("ssh")) {
        return Some("credentials are no part of a URL".to_owned());
    }
    None
}

/// Why this cannot be the name of a branch or tag; it reads after "…: ". `None`: it can.
///
/// The rules of git-check-ref-format(1), which also keep it from being an option.
pub fn ref_objection(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("it is empty; `HEAD` is what the repository has as its default".to_owned());
    }
    let bad_char = name.chars().find(|c| c.is_control() || NOT_IN_REFS.contains(c));
    if let Some(c) = bad_char {
        return Some(format!("{c:?} cannot be in it"));
    }
    if name.starts_with('-')
        || name == "@"
        || name.contains("@{")
        || name.contains("..")
        || name.ends_with('.')
    {
        return Some("git does not allow it".to_owned());
    }
    let is_bad = |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with(".lock");
    name.split('/').any(is_bad).then(|| "git does not allow it".to_owned())
}

/// Whether this is the whole name of a commit: 40 or 64 lower-case hex digits.
pub fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// `%41` is `A`; what is no UTF-8 afterwards stays as it was written.
pub fn percent_decoded(text: &str) -> String {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if let (b'%', [high, low, tail @ ..]) = (byte, tail)
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            decoded.push(high << 4 | low);
            rest = tail;
            continue;
        }
        decoded.push(byte);
        rest = tail;
    }
    String::from_utf8(decoded).unwrap_or_else(|_| text.to_owned())
}

/// The name that a file from `url` has: the last component of its path.
pub fn file_name_of(url: &str) -> String {
    safe_file_name(&percent_decoded(UrlParts::of(url).map_or("", |parts| parts.path)))
}

/// The last component of `name` if that can be a file's name, else `download` (BuildKit source/util/pathutil).
///
/// What names a file may come from a server: nothing of it may lead elsewhere or hide in a terminal.
pub fn safe_file_name(name: &str) -> String {
    let base = super::path::base(name).trim();
    let is_fine = !matches!(base, "" | "." | ".." | "/")
        && base.len() <= 255
        && !base.chars().any(|c| c.is_control() || c == '/' || c == '\\');
    if is_fine { base.to_owned() } else { "download".to_owned() }
}

#[cfg(test)]
mod tests;
