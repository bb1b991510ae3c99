//! The copy of a remote that all builds of a store share: commits are fetched into it once.
//!
//! A commit counts as there when `refs/bkl/<commit>` names it: git sets that after it has seen that nothing is missing.

use std::fs;
use std::time::{Duration, Instant};

use super::command::{CallError, Git, Place, Reach, Refusal};
use super::error::GitError;
use crate::base::url::UrlParts;
use crate::store::{Mirror, Store};

/// Tries of one fetch in all.
const MAX_TRIES: u32 = 3;
/// A repository with more packs than this is packed anew: each one is looked into for each object.
const MAX_PACKS: usize = 50;

/// A mirror that holds a commit, as long as it is there nobody else changes it.
pub(super) struct Held {
    mirror: Mirror,
}

impl Held {
    pub(super) fn place(&self) -> Place<'_> {
        Place { git_dir: Some(self.mirror.path()), ..Place::default() }
    }

    pub(super) fn path(&self) -> &std::path::Path {
        self.mirror.path()
    }

    /// Empties it: what is in it is damaged.
    pub(super) fn reset(&self) -> Result<(), GitError> {
        Ok(self.mirror.reset()?)
    }
}

/// Whether the mirror of the remote has the object already.
pub(super) fn is_there(git: &Git<'_>, held: &Held, object: &str) -> Result<bool, GitError> {
    let name = format!("refs/bkl/{object}");
    match git.call(Reach::Nothing, held.place(), &["rev-parse", "--quiet", "--verify", &name]) {
        Ok(_) => Ok(true),
        Err(CallError::Refused(_)) => Ok(false),
        Err(CallError::Broken(error)) => Err(error),
    }
}

/// The mirror of the remote, made if there is none.
pub(super) fn open(git: &Git<'_>, store: &Store, object: &str) -> Result<Held, GitError> {
    let mirror = store.mirror(git.url, &|| git.cancel.is_cancelled())?;
    let held = Held { mirror };
    let is_whole = held.path().join("HEAD").is_file()
        && git.call(Reach::Nothing, held.place(), &["rev-parse", "--git-dir"]).is_ok();
    if is_whole {
        remove_locks(&held);
        return Ok(held);
    }
    init(git, &held, object)?;
    Ok(held)
}

fn init(git: &Git<'_>, held: &Held, object: &str) -> Result<(), GitError> {
    held.mirror.reset()?;
    let format = if object.len() == 64 { "--object-format=sha256" } else { "--object-format=sha1" };
    let path = held.path().to_string_lossy();
    // Named as an argument: `--git-dir` of what is no repository yet is refused by some versions.
    let args = ["init", "--quiet", "--bare", "--template=", format, "--", &path];
    git.must(Reach::Nothing, Place::default(), &args).map(drop)
}

/// Brings `object`, a commit or an annotated tag, into the mirror.
pub(super) fn fetch(git: &Git<'_>, held: &Held, object: &str) -> Result<(), GitError> {
    let name = format!("{object}:refs/bkl/{object}");
    let shallow = [
        "fetch",
        "--quiet",
        "--no-tags",
        "--no-write-fetch-head",
        "--depth=1",
        "--force",
        "--",
        git.url,
        &name,
    ];
    let whole = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--force", "--", git.url, &name];
    let refused = match attempt(git, held, &shallow)? {
        None => return settle(git, held),
        Some(refused) => refused,
    };
    let said = &refused.said;
    // Servers of plain files know no depth; others give only what a branch or tag names.
    if ["shallow", "--depth", "dumb http"].iter().any(|it| said.contains(it)) {
        if attempt(git, held, &whole)?.is_none() {
            return settle(git, held);
        }
    } else if !is_about_object(said) {
        return Err(network_error(git, &refused.what, refused.said));
    }
    let all = [
        "fetch",
        "--quiet",
        "--no-tags",
        "--no-write-fetch-head",
        "--force",
        "--prune",
        "--",
        git.url,
        "refs/heads/*:refs/remote/heads/*",
        "refs/tags/*:refs/remote/tags/*",
    ];
    if let Some(refused) = attempt(git, held, &all)? {
        return Err(network_error(git, &refused.what, refused.said));
    }
    let commit = format!("{object}^{{commit}}");
    let update = ["update-ref", &format!("refs/bkl/{object}"), object];
    let is_there = git.call(Reach::Nothing, held.place(), &["cat-file", "-e", &commit]).is_ok();
    if !is_there {
        return Err(GitError::NoCommit { url: git.url.to_owned(), commit: object.to_owned() });
    }
    git.must(Reach::Nothing, held.place(), &update)?;
    settle(git, held)
}

/// Brings in all that `object`, which is in the mirror, descends from.
pub(super) fn complete(git: &Git<'_>, held: &Held, object: &str) -> Result<(), GitError> {
    let whole = format!("refs/bkl-whole/{object}");
    if git.call(Reach::Nothing, held.place(), &["rev-parse", "--quiet", "--verify", &whole]).is_ok() {
        return Ok(());
    }
    if held.path().join("shallow").exists() {
        let name = format!("{object}:refs/bkl/{object}");
        let deepen = [
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--unshallow",
            "--force",
            "--",
            git.url,
            &name,
        ];
        if let Some(refused) = attempt(git, held, &deepen)? {
            return Err(network_error(git, &refused.what, refused.said));
        }
    }
    git.must(Reach::Nothing, held.place(), &["update-ref", &whole, object]).map(drop)
}

/// Whether the server will not give this object, which is no failure of the line.
fn is_about_object(said: &str) -> bool {
    [
        "not our ref",
        "unadvertised object",
        "couldn't find remote ref",
        "no such remote ref",
        "bad object",
        "unable to find",
        "cannot obtain needed object",
    ]
    .iter()
    .any(|it| said.to_lowercase().contains(&it.to_lowercase()))
}

/// Calls git, again after failures of the line. `Some` is what it refused.
fn attempt(git: &Git<'_>, held: &Held, args: &[&str]) -> Result<Option<Refusal>, GitError> {
    let mut n_tries = 0;
    loop {
        n_tries += 1;
        match git.call(Reach::Remotes, held.place(), args) {
            Ok(_) => return Ok(None),
            Err(CallError::Broken(error)) => return Err(error),
            Err(CallError::Refused(refused)) => {
                remove_locks(held);
                match network_error(git, &refused.what, refused.said.clone()) {
                    error @ GitError::Unreachable { .. } => wait_to_retry(git, error, n_tries)?,
                    _ => return Ok(Some(refused)),
                }
            }
        }
    }
}

/// Waits before another try; gives the error back where there is to be none.
pub(super) fn wait_to_retry(git: &Git<'_>, error: GitError, n_tries: u32) -> Result<(), GitError> {
    if n_tries >= MAX_TRIES || !matches!(error, GitError::Unreachable { .. }) {
        return Err(error);
    }
    let until = Instant::now() + Duration::from_millis(500) * n_tries;
    while Instant::now() < until {
        if git.cancel.is_cancelled() {
            return Err(GitError::Cancelled);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// After a fetch: few packs.
fn settle(git: &Git<'_>, held: &Held) -> Result<(), GitError> {
    let packs = fs::read_dir(held.path().join("objects/pack")).into_iter().flatten().flatten();
    let n_packs = packs.filter(|entry| entry.path().extension().is_some_and(|it| it == "pack")).count();
    if MAX_PACKS < n_packs {
        git.must(Reach::Nothing, held.place(), &["repack", "--quiet", "-a", "-d", "--threads=1"])?;
    }
    Ok(())
}

/// Removes what a git that was killed has left: nobody else works here.
fn remove_locks(held: &Held) {
    for name in ["shallow.lock", "HEAD.lock", "packed-refs.lock", "config.lock", "index.lock"] {
        let _ = fs::remove_file(held.path().join(name));
    }
    for folder in ["refs/bkl", "refs/remote/heads", "refs/remote/tags"] {
        for entry in fs::read_dir(held.path().join(folder)).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|it| it == "lock") {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
    for entry in fs::read_dir(held.path().join("objects/pack")).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("tmp_") {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// What a remote that refused means, by what git says of it (LC_ALL=C).
pub(super) fn network_error(git: &Git<'_>, what: &str, said: String) -> GitError {
    let url = git.url.to_owned();
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if says(&["Host key verification failed", "No ED25519 host key is known", "host key is known for"]) {
        let host = UrlParts::of(&url).map_or_else(String::new, |parts| parts.hostname().to_owned());
        return GitError::HostKey { url, host };
    }
    let redirects = ["error: 301", "error: 302", "error: 303", "error: 307", "error: 308"];
    if git.access.config.is_some() && says(&redirects) {
        return GitError::Redirected { url };
    }
    if says(&[
        "Authentication failed",
        "could not read Username",
        "could not read Password",
        "Permission denied",
        "returned error: 401",
        "returned error: 403",
        "Access denied",
        "terminal prompts disabled",
    ]) {
        let with_credentials = git.access.config.is_some() || git.access.agent.is_some();
        return GitError::Denied { url, with_credentials, said };
    }
    if says(&[
        "Could not resolve host",
        "Couldn't connect",
        "Failed to connect",
        "Connection refused",
        "Connection reset",
        "Connection timed out",
        "Could not resolve hostname",
        "Network is unreachable",
        "No route to host",
        "Operation timed out",
        "timed out",
        "early EOF",
        "Empty reply from server",
        "the remote end hung up",
        "unexpected disconnect",
        "Recv failure",
        "transfer closed",
        "returned error: 5",
        "returned error: 429",
        "SSL",
        "certificate",
        "unable to connect to",
        "invalid index-pack output",
    ]) && !says(&["not our ref", "unadvertised", "shallow"])
    {
        return GitError::Unreachable { url, said };
    }
    if says(&[
        "not found",
        "does not exist",
        "does not appear to be a git repository",
        "returned error: 404",
        "Repository not found",
        "access denied or repository not exported",
    ]) {
        return GitError::NoRepository { url, said };
    }
    GitError::Failed { what: what.to_owned(), url, said }
}
