//! Git URLs as BuildKit reads them (util/gitutil/git_url.go, util/sshutil/scpurl.go).

use crate::base::path;
use crate::base::url::percent_decoded;

/// A git URL taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct GitUrl {
    /// What git is given: without fragment and query.
    pub(super) url: String,
    /// Host, with its port, and cleaned path; `None` for protocols that are not git's.
    pub(super) place: Option<String>,
    /// Reached through ssh.
    pub(super) is_ssh: bool,
}

/// Reads a URL, an scp-like `user@host:path`, or, for everything else, the same with `https://` before it.
pub(super) fn parse(url: &str) -> GitUrl {
    match scheme(url) {
        Some(scheme) => parse_url(url, scheme),
        None => parse_scp(url).unwrap_or_else(|| parse_url(&format!("https://{url}"), "https")),
    }
}

/// The scheme before `://`, if the URL has one.
fn scheme(url: &str) -> Option<&str> {
    let (scheme, _) = url.split_once("://")?;
    (!scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())).then_some(scheme)
}

fn parse_url(url: &str, scheme: &str) -> GitUrl {
    let lower = scheme.to_ascii_lowercase();
    if !matches!(lower.as_str(), "http" | "https" | "ssh" | "git") {
        return GitUrl { url: url.to_owned(), place: None, is_ssh: false };
    }
    let rest = &url[scheme.len() + "://".len()..];
    let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
    let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
    let (authority, raw_path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    GitUrl {
        url: format!("{lower}://{rest}"),
        place: Some(format!("{host}{}", path::join(&["/", &percent_decoded(raw_path)]))),
        is_ssh: lower == "ssh",
    }
}

fn parse_scp(url: &str) -> Option<GitUrl> {
    let (user, rest) = url.split_once('@')?;
    let (host, rest) = rest.split_once(':')?;
    let all = |text: &str, extra: &[char]| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(&c))
    };
    if !all(user, &['-', '_']) || !all(host, &['-', '.']) {
        return None;
    }
    let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
    let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
    Some(GitUrl {
        url: format!("{user}@{host}:{rest}"),
        place: Some(format!("{host}{}", path::join(&["/", rest]))),
        is_ssh: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, expected_url: &str, place: Option<&str>, is_ssh: bool) {
        let place = place.map(str::to_owned);
        assert_eq!(parse(url), GitUrl { url: expected_url.to_owned(), place, is_ssh });
    }

    #[test]
    fn urls() {
        check(
            "https://u:p@h.example:8443/a//b.git?x=1#frag",
            "https://u:p@h.example:8443/a//b.git",
            Some("h.example:8443/a/b.git"),
            false,
        );
        check(
            "github.com/moby/buildkit",
            "https://github.com/moby/buildkit",
            Some("github.com/moby/buildkit"),
            false,
        );
        check(
            "git@github.com:moby/b.git#x",
            "git@github.com:moby/b.git",
            Some("github.com/moby/b.git"),
            true,
        );
        check("SSH://git@h/a%20b", "ssh://git@h/a%20b", Some("h/a b"), true);
        check("file:///srv/repo.git", "file:///srv/repo.git", None, false);
    }
}
