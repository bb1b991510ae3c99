//! `git` and `http`: sources that are pinned. A branch, a tag or a URL means what the lock file says it meant when it was
//! first used; the graph only ever holds the commit or digest.

use super::Args;
use crate::base::url::{
    UrlParts, file_name_of, git_objection, http_objection, is_commit, redacted, ref_objection, safe_file_name,
};
use crate::base::{Digest, path};
use crate::graph::ir::build::{FileInfo, GitOptions, HttpOptions};
use crate::lang::eval::error::Cause;
use crate::lang::eval::interp::{Eval, Evaluator};
use crate::lang::eval::value::{Files, Value};
use crate::lang::eval::{Answer, Request};
use crate::lang::hir::LiteralKind;

impl Evaluator<'_> {
    /// Files of a repository at a commit. The commit takes the reference's place in the graph: every daemon can fetch it,
    /// wherever the branch has moved since.
    pub(super) fn git(&mut self, args: &Args<'_>) -> Eval {
        let (url, reference) = (args.text("url").to_string(), args.text("ref").to_string());
        if let Some(why) = git_objection(&url) {
            return self.error(args.span_of("url"), Cause::GitUrl { url: redacted(&url), why });
        }
        if let Some(why) = ref_objection(&reference) {
            return self.error(args.span_of("ref"), Cause::GitRef { reference, why });
        }
        let token = self.token(args);
        let ssh = args.get("ssh").and_then(Value::option).map(|ssh| self.ssh_id(ssh));
        let by_ssh = UrlParts::of(&url).is_some_and(|parts| parts.is("ssh"));
        let by_http = UrlParts::of(&url).is_some_and(|parts| parts.is("https") || parts.is("http"));
        if ssh.is_some() && !by_ssh {
            let why = "keys are only asked for over ssh";
            return self.error(args.span_of("ssh"), Cause::UselessAccess { what: "ssh", url, why });
        }
        if token.is_some() && !by_http {
            let why = "tokens are only sent over https";
            return self.error(args.span_of("token"), Cause::UselessAccess { what: "token", url, why });
        }
        let commit = match args.maybe_text("commit").map(|commit| commit.to_string()) {
            Some(commit) if !is_commit(&commit) => {
                let why = "a commit is all of its 40 or 64 lower-case hex digits".to_owned();
                return self.error(args.span_of("commit"), Cause::GitCommit { commit, why });
            }
            Some(commit) if is_commit(&reference) && reference != commit => {
                let why = format!("`ref` is the commit {reference}");
                return self.error(args.span_of("commit"), Cause::GitCommit { commit, why });
            }
            Some(commit) => commit,
            None if is_commit(&reference) => reference,
            None => {
                let (url, token, ssh) = (url.clone(), token.clone(), ssh.clone());
                match self.answer(Request::Git { url, reference, token, ssh }, args)? {
                    Answer::Commit(commit) => commit,
                    other => panic!("a reference is answered with {other:?}"),
                }
            }
        };
        let subdir = args.maybe_text("subdir").map_or_else(String::new, |dir| path::join(&["/", dir]));
        let options = GitOptions {
            reference: Some(commit),
            subdir: Some(subdir.trim_start_matches('/').to_owned()),
            keep_git_dir: args.flag("keep_git_dir", false),
            skip_submodules: !args.flag("submodules", true),
            auth_token_secret: token,
            ssh_agent: ssh.unwrap_or_default(),
            ..GitOptions::default()
        };
        let edge = self.add_edge(args.span, |graph| graph.git(&url, "", &options));
        Ok(Value::Fs(Files::all(Some(edge))))
    }

    /// One file. Its name is always written, so that no server decides it.
    pub(super) fn http(&mut self, args: &Args<'_>) -> Eval {
        let url = args.text("url").to_string();
        if let Some(why) = http_objection(&url) {
            return self.error(args.span_of("url"), Cause::HttpUrl { url: redacted(&url), why });
        }
        let filename = match args.maybe_text("name") {
            Some(name) if safe_file_name(name) != **name => {
                return self.error(args.span_of("name"), Cause::HttpName { name: name.to_string() });
            }
            Some(name) => name.to_string(),
            None => file_name_of(&url),
        };
        let mode = match args.get("mode") {
            Some(Value::Mode(mode)) => *mode,
            _ => 0o644,
        };
        if mode == 0 || 0o777 < mode {
            return self.error(args.span_of("mode"), Cause::HttpMode { mode });
        }
        let token = self.token(args);
        let checksum = match args.maybe_text("digest") {
            Some(text) => match text.parse::<Digest>() {
                Ok(digest) => digest,
                Err(why) => {
                    let (kind, text, why) = (LiteralKind::Digest, text.to_string(), format!("{why}"));
                    return self.error(args.span_of("digest"), Cause::BadLiteral { kind, text, why });
                }
            },
            None => match self.answer(Request::Http { url: url.clone(), token: token.clone() }, args)? {
                Answer::Digest(digest) => digest,
                other => panic!("a URL is answered with {other:?}"),
            },
        };
        let options = HttpOptions {
            checksum: Some(checksum),
            file: FileInfo { filename, mode, ..FileInfo::default() },
            auth_header_secret: token.unwrap_or_default(),
            ..HttpOptions::default()
        };
        let edge = self.add_edge(args.span, |graph| graph.http(&url, &options));
        Ok(Value::Fs(Files::all(Some(edge))))
    }

    /// The id of the secret behind `token`.
    fn token(&self, args: &Args<'_>) -> Option<String> {
        args.get("token").and_then(Value::option).map(|token| self.secret_id(token))
    }
}
