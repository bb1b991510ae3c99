//! URLs as people, programs and attackers write them.

use super::*;

#[test]
fn parts() {
    #[track_caller]
    fn check(url: &str, expected: [&str; 5], hostname: &str) {
        let parts = UrlParts::of(url).unwrap();
        let [scheme, user, host, path, tail] = expected;
        assert_eq!(parts, UrlParts { scheme, user, host, path, tail });
        assert_eq!(parts.hostname(), hostname);
    }
    check("https://h.example/a?b#c", ["https", "", "h.example", "/a", "?b#c"], "h.example");
    check("ssh://git@h:22/a", ["ssh", "git", "h:22", "/a", ""], "h");
    check("http://[::1]:80", ["http", "", "[::1]:80", "", ""], "::1");
    check("git@github.com:a/b.git", ["ssh", "git", "github.com", "a/b.git", ""], "github.com");
    assert_eq!(UrlParts::of("github.com/a"), None);
}

#[test]
fn git_urls() {
    #[track_caller]
    fn check(url: &str, expected: Option<&str>) {
        assert_eq!(git_objection(url).as_deref(), expected, "{url}");
    }
    check("https://github.com/moby/buildkit.git", None);
    check("HTTP://127.0.0.1:8080/x.git", None);
    check("git@github.com:moby/buildkit.git", None);
    check("ssh://git@host:2222/x", None);
    check("file:///srv/x.git", Some("`file` is not https, http, ssh or git"));
    check("ext::sh -c touch% /tmp/x", Some("it is no URL; write `https://host/path`"));
    check("ext://x/y", Some("`ext` is not https, http, ssh or git"));
    check("ssh://-oProxyCommand=touch/x", Some("`-oProxyCommand=touch` is no host"));
    check("ssh://-l@host/x", Some("`-l` is no user"));
    check("git@-oProxyCommand=x:y", Some("`-oProxyCommand=x` is no host"));
    check("git@host:-x", Some("a path does not start with `-`"));
    check("https://me:secret@host/x", Some("credentials are no part of a URL"));
    check("https://token@host/x", Some("credentials are no part of a URL"));
    check("https://host/x#main", Some("`#main` is no part of a repository's URL"));
    check("https://host/", Some("the path is missing"));
    check("https:///x", Some("`` is no host"));
    check("https://host/x\n[core]\n\tsshCommand = x", Some("'\\n' cannot be in a URL"));
    check("https://host\r/x", Some("'\\r' cannot be in a URL"));
    check("git@host:x\0y", Some("'\\0' cannot be in a URL"));
    assert_eq!(http_objection("http://host/a\tb").as_deref(), Some("'\\t' cannot be in a URL"));
}

#[test]
fn refs() {
    #[track_caller]
    fn check(name: &str, is_good: bool) {
        assert_eq!(ref_objection(name).is_none(), is_good, "{name}");
    }
    for name in ["main", "v1.0", "refs/tags/v1.0", "feature/x-1", "HEAD", "a.b", "ü"] {
        check(name, true);
    }
    for name in [
        "",
        "-x",
        "--upload-pack=/tmp/x",
        "a..b",
        "a b",
        "a~1",
        "a^{}",
        "a:b",
        "a?",
        "a*",
        "a[",
        "a\\b",
        "a\n",
        "@",
        "a@{1}",
        "/a",
        "a/",
        "a//b",
        "a.lock",
        "x/.y",
        "a.",
    ] {
        check(name, false);
    }
}

/// The table of BuildKit's own test, and what a terminal must not see.
#[test]
fn file_names() {
    #[track_caller]
    fn check(name: &str, expected: &str) {
        assert_eq!(safe_file_name(name), expected, "{name:?}");
    }
    check("file.txt", "file.txt");
    check("  file.txt ", "file.txt");
    check("../../etc/passwd", "passwd");
    check("/", "download");
    check("", "download");
    check(".", "download");
    check("a/..", "download");
    check("a\nb", "download");
    check("a\u{1b}[31mb", "download");
    check("a\\b", "download");
    check("dir/", "dir");
    check("ünï.txt", "ünï.txt");
    check(&"x".repeat(256), "download");
    assert_eq!(file_name_of("https://h/a%20b/x%2Ey.tgz?z=/q"), "x.y.tgz");
    assert_eq!(file_name_of("https://h"), "download");
    assert_eq!(file_name_of("https://h/a%2F..%2F..%2Fb"), "b");
}

#[test]
fn passwords_are_not_shown() {
    assert_eq!(redacted("https://me:secret@h/x"), "https://me:xxxxx@h/x");
    assert_eq!(redacted("https://h/x"), "https://h/x");
}
