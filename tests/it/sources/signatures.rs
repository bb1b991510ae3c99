//! Signatures on files and on git's objects, by keys that are made here with the machine's own programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bkl::base::Digest;
use bkl::graph::ir::build::{GitOptions, HttpOptions};
use bkl::graph::ir::{Edge, Graph, SourceOp, attr};
use libtest_mimic::Trial;

use super::Bench;
use super::server::{IDENTITY, Repository};
use crate::images::has_tools;

pub(super) fn trials() -> Vec<Trial> {
    let trial = |name: &str, tools: &[&str], run: fn()| {
        crate::trial(format!("sources::signatures::needs_root::{name}"), run)
            .with_ignored_flag(!has_tools(tools))
    };
    vec![
        trial("files", &["gpg", "gpgv"], files),
        trial("commits_and_tags_by_openpgp", &["git", "gpg", "gpgv"], commits_and_tags_by_openpgp),
        trial("commits_and_tags_by_ssh", &["git", "ssh-keygen"], commits_and_tags_by_ssh),
    ]
}

/// A keyring of OpenPGP; its agent ends with it.
pub(super) struct Keys {
    home: tempfile::TempDir,
}

impl Keys {
    pub(super) fn new() -> Keys {
        // Sockets have short names.
        Keys { home: tempfile::Builder::new().prefix("gpg").tempdir_in("/tmp").unwrap() }
    }

    fn gpg(&self, args: &[&str]) -> Vec<u8> {
        let output = Command::new("gpg")
            .args(["--batch", "--quiet", "--homedir", self.home.path().to_str().unwrap()])
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success(), "gpg {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Makes a key for `name`, and gives it as text. `more` goes before the command.
    pub(super) fn key(&self, name: &str, more: &[&str], kind: &str, expires: &str) -> String {
        let make = [more, &["--passphrase", "", "--quick-gen-key", name, kind, "sign", expires]].concat();
        self.gpg(&make);
        self.public(name)
    }

    fn public(&self, name: &str) -> String {
        String::from_utf8(self.gpg(&["--armor", "--export", name])).unwrap()
    }

    /// A detached signature by `name` on a file.
    pub(super) fn sign(&self, name: &str, more: &[&str], file: &Path) -> String {
        let sign = [more, &["--armor", "--local-user", name, "--detach-sign", "--output", "-"]].concat();
        String::from_utf8(self.gpg(&[&sign[..], &[file.to_str().unwrap()]].concat())).unwrap()
    }

    /// A [`signed_repository`] as `app.git` of the server, by `name`.
    pub(super) fn signed_repository(&self, bench: &Bench, name: &str) {
        let wrapper = bench.dir.path().join("gpg");
        let script = format!("#!/bin/sh\nexec gpg --batch --homedir {} \"$@\"\n", self.home.path().display());
        write_program(&wrapper, &script);
        let (program, key) =
            (format!("gpg.program={}", wrapper.display()), format!("user.signingKey={name}"));
        signed_repository(&bench.www().join("app.git"), &["-c", &program, "-c", &key]);
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let _ =
            Command::new("gpgconf").arg("--homedir").arg(self.home.path()).args(["--kill", "all"]).status();
    }
}

fn files() {
    let bench = Bench::new();
    let keys = Keys::new();
    let file = bench.www().join("tool");
    fs::write(&file, "tool").unwrap();
    fs::write(bench.www().join("other"), "other").unwrap();
    let mine = keys.key("mine", &[], "ed25519", "never");
    let others = keys.key("others", &[], "rsa2048", "never");
    let of = |path: &str, key: &str, signature: &str, pin: Option<&str>| {
        let signature = Some((key.to_owned(), signature.to_owned()));
        let options = HttpOptions { signature, checksum: pin.map(Digest::of), ..HttpOptions::default() };
        let url = bench.url(path);
        move |graph: &mut Graph| -> Edge { graph.http(&url, &options) }
    };
    let by_mine = keys.sign("mine", &[], &file);
    let plain = bench.built(|graph| graph.http(&bench.url("files/tool"), &HttpOptions::default()));
    let signed = bench.built(of("files/tool", &mine, &by_mine, None));
    assert_eq!((signed.read("tool"), signed.snapshot == plain.snapshot), ("tool".to_owned(), true));
    // Pinned: it is verified before anything is built on it, and offline the second time.
    assert_eq!(bench.built(of("plain/tool", &mine, &by_mine, Some("tool"))).read("tool"), "tool");
    bench.up(false);
    assert_eq!(bench.built(of("plain/tool", &mine, &by_mine, Some("tool"))).read("tool"), "tool");
    bench.fails(of("plain/tool", &others, &by_mine, Some("tool")), "it is by another key");
    bench.up(true);
    let both = format!("{others}{mine}");
    assert_eq!(bench.built(of("files/tool", &both, &by_mine, None)).read("tool"), "tool");

    bench.fails(
        of("files/tool", &others, &by_mine, None),
        "is not signed as it must be: the signature is not good: it is by another key",
    );
    bench.fails(of("files/other", &mine, &by_mine, None), "it is of something else");
    bench.fails(of("files/tool", &mine, "no signature", None), "the signature cannot be read");
    bench.fails(of("files/tool", "no key", &by_mine, None), "the public key cannot be used");
    bench.fails(of("files/tool", &mine, "", None), "a signature needs a public key");
    // A whole message is no detached signature, whatever file it stands beside.
    let message =
        keys.gpg(&["--armor", "--local-user", "mine", "--sign", "--output", "-", file.to_str().unwrap()]);
    let message = String::from_utf8(message).unwrap().replace("PGP MESSAGE", "PGP SIGNATURE");
    bench.fails(of("files/other", &mine, &message, None), "the signature cannot be read");
    let weak = keys.sign("others", &["--digest-algo", "SHA1"], &file);
    bench.fails(of("files/tool", &others, &weak, None), "its hash is too weak");

    // Keys that are no longer good: signatures from before count, but not when the key was revoked.
    let then = ["--faked-system-time", "20200102T030405!"];
    let old = keys.key("old", &then, "ed25519", "1d");
    let by_old = keys.sign("old", &then, &file);
    assert_eq!(bench.built(of("files/tool", &old, &by_old, None)).read("tool"), "tool");
    let fingerprint = String::from_utf8(keys.gpg(&["--with-colons", "--list-keys", "mine"])).unwrap();
    let fingerprint = fingerprint.lines().find_map(|line| line.strip_prefix("fpr:::::::::")).unwrap();
    let certificate =
        keys.home.path().join(format!("openpgp-revocs.d/{}.rev", fingerprint.trim_end_matches(':')));
    let text = fs::read_to_string(certificate).unwrap().replace(":-----BEGIN", "-----BEGIN");
    let revoked = bench.dir.path().join("revoked");
    fs::write(&revoked, text).unwrap();
    keys.gpg(&["--import", revoked.to_str().unwrap()]);
    bench.fails(of("files/tool", &keys.public("mine"), &by_mine, None), "its key was revoked");
}

/// A repository with a signed commit under the tag `v1`, an unsigned one under the signed tag `v2`, an unsigned tag `v3` of
/// an unsigned commit, and a lightweight tag `v4` of a signed commit.
fn signed_repository(path: &Path, settings: &[&str]) -> Repository {
    let repository = Repository::new(path);
    let git = |args: &[&str]| {
        let output = Command::new("git")
            .args(settings)
            .args(args)
            .current_dir(path)
            .envs(IDENTITY)
            .env("GIT_COMMITTER_DATE", "2026-01-02T03:04:05Z")
            .output()
            .unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    fs::write(path.join("a"), "one").unwrap();
    git(&["add", "a"]);
    git(&["commit", "--quiet", "-S", "--message", "one"]);
    git(&["tag", "--annotate", "--message", "x", "v1"]);
    git(&["tag", "v4"]);
    fs::write(path.join("a"), "two").unwrap();
    git(&["commit", "--quiet", "--all", "--message", "two"]);
    git(&["tag", "--sign", "--message", "x", "v2"]);
    git(&["tag", "--annotate", "--message", "x", "v3"]);
    repository
}

/// What each of the references of [`signed_repository`] must come to for a good key and another one.
fn check_repository(bench: &Bench, good: &str, other: &str) {
    let url = bench.url("git/app.git");
    let of = |reference: &str, key: &str, more: &[&str]| {
        let options = GitOptions { reference: Some(reference.to_owned()), ..GitOptions::default() };
        let attrs: Vec<(String, String)> = std::iter::once((attr::GIT_SIG_PUBKEY.to_owned(), key.to_owned()))
            .chain(more.iter().map(|name| (format!("git.sig.{name}"), "true".to_owned())))
            .collect();
        let url = url.clone();
        move |graph: &mut Graph| -> Edge {
            let plain = graph.git(&url, "", &options);
            let bkl::graph::ir::Op::Source(op) = graph.vertex(plain.vertex).op.clone() else {
                unreachable!()
            };
            let mut op: SourceOp = *op;
            op.attrs.extend(attrs);
            graph.source(op, &[], None)
        }
    };
    for (reference, content) in [("v1", "one"), ("v2", "two"), ("v4", "one")] {
        assert_eq!(bench.built(of(reference, good, &[])).read("a"), content, "{reference}");
        bench.fails(of(reference, other, &[]), "is not signed as it must be");
    }
    bench.fails(of("v3", good, &[]), "there is no signature");
    bench.fails(of("main", good, &[]), "there is no signature");
    // Only tags, or only commits.
    assert_eq!(bench.built(of("v2", good, &["requiresignedtag"])).read("a"), "two");
    bench.fails(of("v1", good, &["requiresignedtag"]), "there is no signature");
    bench.fails(of("v4", good, &["requiresignedtag"]), "there is no signature");
    bench.fails(of("v2", good, &["ignoresignedtag"]), "there is no signature");
    assert_eq!(bench.built(of("v1", good, &["ignoresignedtag", "rejectexpired"])).read("a"), "one");
    bench.fails(of("v1", "no key", &[]), "the public key cannot be used");
    // A commit and a tag by their ids; the copy in the store is enough for them.
    let id = |name: &str| bench.git_id("app.git", name);
    let (commit, tag) = (id("v4"), id("v2"));
    bench.up(false);
    assert_eq!(bench.built(of(&commit, good, &[])).read("a"), "one");
    assert_eq!(bench.built(of(&tag, good, &[])).read("a"), "two");
    bench.fails(of(&commit, other, &[]), "is not signed as it must be");
}

fn commits_and_tags_by_openpgp() {
    let bench = Bench::new();
    let keys = Keys::new();
    let (mine, others) =
        (keys.key("mine", &[], "ed25519", "never"), keys.key("others", &[], "ed25519", "never"));
    keys.signed_repository(&bench, "mine");
    check_repository(&bench, &mine, &others);
}

fn commits_and_tags_by_ssh() {
    let bench = Bench::new();
    let key = |name: &str| -> (PathBuf, String) {
        let path = bench.dir.path().join(name);
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f", path.to_str().unwrap()])
            .status()
            .unwrap();
        assert!(made.success());
        let public = fs::read_to_string(path.with_extension("pub")).unwrap();
        (path, public)
    };
    let ((mine, public), (_, other)) = (key("mine"), key("other"));
    let signing = format!("user.signingKey={}", mine.display());
    signed_repository(&bench.www().join("app.git"), &["-c", "gpg.format=ssh", "-c", &signing]);
    check_repository(&bench, &public, &other);
}

fn write_program(path: &Path, script: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, script).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
