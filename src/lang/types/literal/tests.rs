//! Which texts are literals of what.

use super::super::hir::LiteralKind;
use super::validate;

/// Each line is a text that must be valid, or `text !! part of the reason`.
fn check(kind: LiteralKind, cases: &[&str]) {
    for case in cases {
        match (case.split_once(" !! "), validate(kind, case)) {
            (None, result) => assert_eq!(result, Ok(()), "{kind:?} {case:?}"),
            (Some((text, reason)), _) => {
                let error = validate(kind, text).expect_err(text);
                assert!(error.contains(reason), "{kind:?} {text:?}: {error}");
            }
        }
    }
}

#[test]
fn ports() {
    let cases = &[
        "1",
        "8080",
        "65535",
        "8080/tcp",
        "53/udp",
        "9/sctp",
        "8000-8010/tcp",
        "80800 !! 1 to 65535",
        "0 !! 1 to 65535",
        " !! 1 to 65535",
        "http !! 1 to 65535",
        "+80 !! 1 to 65535",
        "8081/tpc !! `tpc` is no protocol",
        "9000-8000 !! ends before it starts",
        "80/ !! is no protocol",
    ];
    check(LiteralKind::Port, cases);
}

#[test]
fn platforms() {
    let cases = &[
        "linux/amd64",
        "linux/arm/v7",
        "windows/amd64",
        "linux/aarch64 !! is arm64",
        "linux/x86_64 !! is amd64",
        "linux !! os/arch",
        "amd64/linux !! no operating system",
        "linux/arm/ !! variant",
        "linux/z80 !! no architecture",
    ];
    check(LiteralKind::Platform, cases);
}

#[test]
fn references() {
    let cases = &[
        "alpine",
        "alpine:3.20",
        "docker.io/library/golang:1.26",
        "localhost:5000/x/y:z",
        "ghcr.io/acme/web",
        " !! needs a name",
        "Alpine !! lower case",
        "alpine: !! not a tag",
        "a b !! not a repository name",
        "alpine@sha256:12 !! digest",
    ];
    check(LiteralKind::Ref, cases);
}

#[test]
fn words() {
    let cases = &[
        "ls -l /bin",
        "go build -ldflags='-s -w' ./...",
        "sh -c \"echo $HOME && true\"",
        "echo a\\&b",
        "a~b",
        "apk add git && rm x !! `&` means",
        "ls | wc !! `|` means",
        "echo $HOME !! `$` means",
        "cat < x !! `<` means",
        "ls *.c !! `*` means",
        "ls ~/x !! `~` means",
        "echo 'x !! never closed",
        " !! empty",
        "x \\ !! escapes nothing",
    ];
    check(LiteralKind::Argv, &cases[..cases.len() - 1]);
}

#[test]
fn others() {
    check(LiteralKind::Str, &["", "anything"]);
    check(LiteralKind::Path, &["/", ".", "a/b", "a b", " !! empty", "a\0b !! NUL"]);
    check(LiteralKind::Glob, &["*", "**/*.go", "[a-z]x", " !! empty", "[a !! never closed"]);
    let urls = &[
        "https://x",
        "git@github.com:a/b.git",
        "ssh://git@x/y",
        "file:///x",
        "github.com/a !! scheme",
        "https:// !! host",
        "https://a b !! white space",
    ];
    check(LiteralKind::Url, urls);
    check(LiteralKind::Signal, &["SIGTERM", "TERM", "9", "SIGRTMIN+3", "SIGFOO !! SIGTERM", "0 !! 1 to 64"]);
    let digest = format!("sha256:{}", "0".repeat(64));
    check(LiteralKind::Digest, &[&digest, "sha256:0 !! 64 lower-case", "md5:0 !! 64 lower-case"]);
    check(LiteralKind::Cmd, &["a && b", " !! empty"]);
}
