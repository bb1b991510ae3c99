//! Which of git's objects must be signed (BuildKit source/git/source.go, `verifyGitSignature`).

use super::Fetcher;
use super::command::Reach;
use super::error::GitError;
use crate::engine::source::signature::{Expired, Policy, SignatureError, verify_object};
use crate::graph::ir::{SourceOp, attr};

/// Lines that begin the signature at the end of a tag.
const SIGNATURES: [&str; 2] = ["-----BEGIN PGP SIGNATURE-----", "-----BEGIN SSH SIGNATURE-----"];

/// What must be signed, by whom.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    policy: Policy,
    /// A signed commit is not enough.
    requires_tag: bool,
    /// A signed tag is not enough.
    ignores_tag: bool,
}

impl Wanted {
    /// Reads the attributes; the error is what is wrong, for people.
    pub(super) fn read(op: &SourceOp) -> Result<Option<Wanted>, String> {
        let text = |key: &str| op.attrs.get(key).map_or("", String::as_str);
        if !op.attrs.keys().any(|key| key.starts_with("git.sig.")) {
            return Ok(None);
        }
        let keys = text(attr::GIT_SIG_PUBKEY).to_owned();
        if keys.trim().is_empty() {
            return Err("to verify signatures, a public key is needed".to_owned());
        }
        let is_on = |key: &str| text(key) == "true";
        let expired = match is_on(attr::GIT_SIG_REJECT_EXPIRED) {
            true => Expired::Rejected,
            false => Expired::Accepted,
        };
        let (requires_tag, ignores_tag) =
            (is_on(attr::GIT_SIG_REQUIRE_SIGNED_TAG), is_on(attr::GIT_SIG_IGNORE_SIGNED_TAG));
        Ok(Some(Wanted { policy: Policy { keys, expired }, requires_tag, ignores_tag }))
    }

    /// Verifies `object`, a commit or an annotated tag: the tag's signature counts for the commit, else the commit's own.
    pub(super) fn verify(&self, fetcher: &Fetcher<'_>, object: &str) -> Result<(), GitError> {
        let git = fetcher.git();
        let held = fetcher.held(object)?;
        let bad = |what: &str, source: SignatureError| match source {
            SignatureError::Cancelled => GitError::Cancelled,
            source => {
                GitError::Signature { url: fetcher.url.clone(), what: format!("the {what} {object}"), source }
            }
        };
        let kind = fetcher.line(&held, &["cat-file", "-t", object])?;
        let commit = fetcher.line(&held, &["rev-parse", "--verify", &format!("{object}^{{commit}}")])?;
        // What was fetched for this is what is checked out.
        let name = format!("refs/bkl/{commit}");
        git.must(Reach::Nothing, held.place(), &["update-ref", &name, &commit])?;
        let mut of_tag = None;
        if kind == "tag" && !self.ignores_tag {
            let raw = git.must(Reach::Nothing, held.place(), &["cat-file", "tag", object])?;
            match self.check(tag_parts(&raw), fetcher) {
                Ok(()) => return Ok(()),
                Err(SignatureError::Cancelled) => return Err(GitError::Cancelled),
                Err(error) => of_tag = Some(error),
            }
        }
        if self.requires_tag {
            return Err(bad("tag", of_tag.unwrap_or(SignatureError::Missing)));
        }
        let raw = git.must(Reach::Nothing, held.place(), &["cat-file", "commit", &commit])?;
        self.check(commit_parts(&raw, commit.len()), fetcher).map_err(|error| bad("commit", error))
    }

    fn check(&self, parts: Option<Parts>, fetcher: &Fetcher<'_>) -> Result<(), SignatureError> {
        let Parts { signed, signature } = parts.ok_or(SignatureError::Missing)?;
        verify_object(&signed, &signature, &self.policy, &fetcher.ctx.cancel)
    }
}

/// An object taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Parts {
    signed: Vec<u8>,
    signature: String,
}

/// A tag: all before its signature, and that.
fn tag_parts(raw: &[u8]) -> Option<Parts> {
    let mut at = 0;
    for line in raw.split_inclusive(|&byte| byte == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        if SIGNATURES.iter().any(|it| it.as_bytes() == text) {
            let signature = std::str::from_utf8(&raw[at..]).ok()?.to_owned();
            return Some(Parts { signed: raw[..at].to_vec(), signature });
        }
        at += line.len();
    }
    None
}

/// A commit: all but the headers that hold signatures, and the signature for names of this length.
fn commit_parts(raw: &[u8], id_length: usize) -> Option<Parts> {
    let own: &[u8] = if id_length == 64 { b"gpgsig-sha256 " } else { b"gpgsig " };
    let mut signed = Vec::with_capacity(raw.len());
    let mut signature = Vec::new();
    // Whether the last header was a signature, and the one that counts.
    let (mut in_signature, mut in_own, mut in_headers) = (false, false, true);
    for line in raw.split_inclusive(|&byte| byte == b'\n') {
        if in_headers {
            if line == b"\n" {
                in_headers = false;
            } else if line.starts_with(b"gpgsig ") || line.starts_with(b"gpgsig-sha256 ") {
                in_signature = true;
                in_own = line.starts_with(own);
                if in_own {
                    signature.extend_from_slice(&line[own.len()..]);
                }
                continue;
            } else if in_signature && let Some(rest) = line.strip_prefix(b" ") {
                if in_own {
                    signature.extend_from_slice(rest);
                }
                continue;
            }
            in_signature = false;
        }
        signed.extend_from_slice(line);
    }
    if signature.is_empty() {
        return None;
    }
    Some(Parts { signed, signature: String::from_utf8(signature).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(signed: &str, signature: &str) -> Option<Parts> {
        Some(Parts { signed: signed.as_bytes().to_vec(), signature: signature.to_owned() })
    }

    #[test]
    fn tags() {
        let begin = SIGNATURES[0];
        let raw = format!("object a\n\nmessage\n{begin}\nx\n-----END PGP SIGNATURE-----\n");
        let signature = format!("{begin}\nx\n-----END PGP SIGNATURE-----\n");
        assert_eq!(tag_parts(raw.as_bytes()), parts("object a\n\nmessage\n", &signature));
        assert_eq!(tag_parts(b"object a\n\nmessage\n"), None);
        // In the middle of a line it is text.
        assert_eq!(tag_parts(format!("object a\n\n> {begin}\n").as_bytes()), None);
    }

    #[test]
    fn commits() {
        let raw =
            b"tree t\ngpgsig one\n two\n \n three\nencoding x\ngpgsig-sha256 other\n more\n\ngpgsig text\n";
        let signed = "tree t\nencoding x\n\ngpgsig text\n";
        assert_eq!(commit_parts(raw, 40), parts(signed, "one\ntwo\n\nthree\n"));
        assert_eq!(commit_parts(raw, 64), parts(signed, "other\nmore\n"));
        assert_eq!(commit_parts(b"tree t\n\ngpgsig text\n", 40), None);
    }
}
