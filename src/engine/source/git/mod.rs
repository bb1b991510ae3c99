//! `git://`: a repository at a branch, a tag or a commit, to a tree.
//!
//! A commit is a key by itself: what names one needs no remote to be found in the cache. Branches and tags are asked for
//! each time. Commits are fetched into a copy of the repository that all builds share ([`mirror`]) and checked out from
//! there; every file has the commit's time.

mod auth;
mod checkout;
mod command;
mod error;
mod mirror;
mod refs;
mod submodule;

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{Resolved, Source, SourceCtx, SourceError};
use crate::base::url::{git_objection, is_commit, redacted};
use crate::base::{Digest, Platform, path};
use crate::engine::cancel::Cancel;
use crate::graph::ir::{SourceOp, attr};
use crate::session::Session;
use crate::store::{Snapshot, Store};
use auth::Credentials;
use command::{Access, Git};

pub use error::{GitError, no_agent_help};

/// Git repositories.
#[derive(Debug, Clone, Copy, Default)]
pub struct GitSource;

/// An op, read.
#[derive(Debug, Clone)]
struct Wanted {
    url: String,
    /// Branch, tag or commit; empty is the default branch.
    reference: String,
    /// Clean, without slashes around it; empty is all.
    subdir: String,
    /// As the op wrote it: part of the key.
    raw_subdir: String,
    keep_git_dir: bool,
    submodules: bool,
    /// Commit that must be found, or its beginning.
    checksum: String,
    by_commit: bool,
    mtime: String,
    credentials: Credentials,
}

/// A commit that is known.
struct Commit {
    wanted: Wanted,
    /// What is fetched: the commit, or with `.git` the annotated tag.
    object: String,
    /// The name it was found by; the commit when it was named by that.
    name: String,
}

/// What fetching from a remote may use.
struct Fetcher<'a> {
    store: &'a Store,
    session: &'a dyn Session,
    cancel: &'a Cancel,
    credentials: &'a Credentials,
    url: String,
    access: Access,
}

impl Fetcher<'_> {
    fn git(&self) -> Git<'_> {
        Git { access: &self.access, cancel: self.cancel, url: &self.url }
    }

    /// For another remote, with the same credentials where they are good for it.
    fn of(&self, url: &str) -> Result<Fetcher<'_>, GitError> {
        // A token is only sent where it belongs; what it is missing for may be public.
        let access = match self.credentials.access(url, self.session) {
            Err(GitError::Cleartext { .. }) => Access::default(),
            access => access?,
        };
        let access = if same_host(&self.url, url) { access } else { Access { config: None, ..access } };
        Ok(Fetcher { url: url.to_owned(), access, ..*self })
    }
}

fn same_host(a: &str, b: &str) -> bool {
    use crate::base::url::UrlParts;
    match (UrlParts::of(a), UrlParts::of(b)) {
        (Some(a), Some(b)) => a.host == b.host && a.scheme == b.scheme,
        _ => false,
    }
}

/// How a remote is asked what a name means.
#[derive(Debug, Clone)]
pub struct RefQuery {
    /// The repository.
    pub url: String,
    /// Branch or tag.
    pub reference: String,
    /// Id of the secret with a token; `None` is the one that all repositories share, if it is given.
    pub token: Option<String>,
    /// Id of the agent, for ssh; `None` is the default one.
    pub ssh: Option<String>,
}

impl GitSource {
    /// The commit that a branch or tag is now.
    pub async fn resolve_ref(self, session: &Arc<dyn Session>, query: RefQuery) -> Result<String, GitError> {
        let session = session.clone();
        blocking(move || {
            let credentials = Credentials {
                token: query.token.unwrap_or_else(|| auth::DEFAULT_TOKEN.to_owned()),
                header: auth::DEFAULT_HEADER.to_owned(),
                agent: Some(query.ssh.unwrap_or_default()),
                known_hosts: String::new(),
            };
            let access = credentials.access(&query.url, &*session)?;
            let git = Git { access: &access, cancel: &Cancel::new(), url: &query.url };
            refs::ask(&git, &query.reference).map(|found| found.commit)
        })
        .await
    }
}

impl Source for GitSource {
    fn schemes(&self) -> &'static [&'static str] {
        &["git"]
    }

    fn resolve<'a>(
        &'a self,
        ctx: &'a SourceCtx,
        op: &'a SourceOp,
        _platform: Option<&'a Platform>,
    ) -> BoxFuture<'a, Result<Arc<dyn Resolved>, SourceError>> {
        let (ctx, op) = (ctx.clone(), op.clone());
        Box::pin(async move {
            let commit = blocking(move || {
                let wanted = Wanted::read(&op)?;
                find(&ctx, wanted)
            });
            let commit = commit.await.map_err(source_error)?;
            Ok(Arc::new(commit) as Arc<dyn Resolved>)
        })
    }
}

/// What the op stands for; asks the remote unless it names a commit.
fn find(ctx: &SourceCtx, wanted: Wanted) -> Result<Commit, GitError> {
    let (reference, checksum) = (wanted.reference.clone(), wanted.checksum.clone());
    let mismatch = |found: &str| GitError::Checksum {
        url: wanted.url.clone(),
        reference: reference.clone(),
        expected: checksum.clone(),
        found: found.to_owned(),
    };
    if is_commit(&reference) {
        if !reference.starts_with(&checksum) {
            return Err(mismatch(&reference));
        }
        return Ok(Commit { object: reference.clone(), name: reference, wanted });
    }
    if wanted.by_commit {
        // As BuildKit: a plain name is a branch.
        let name = match reference.as_str() {
            "" => checksum.clone(),
            name if name.starts_with("refs/") => name.to_owned(),
            name => format!("refs/heads/{name}"),
        };
        return Ok(Commit { object: checksum.clone(), name, wanted });
    }
    let found = {
        let access = wanted.credentials.access(&wanted.url, &*ctx.session)?;
        refs::ask(&Git { access: &access, cancel: &ctx.cancel, url: &wanted.url }, &reference)?
    };
    if !found.object.starts_with(&checksum) && !found.commit.starts_with(&checksum) {
        return Err(mismatch(&found.commit));
    }
    let object = if wanted.keep_git_dir { found.object } else { found.commit };
    Ok(Commit { object, name: found.name, wanted })
}

impl Resolved for Commit {
    /// As BuildKit's (source/git/source.go, `shaToCacheKey`).
    fn key(&self) -> Digest {
        Digest::of(self.text_key())
    }

    fn fetch<'a>(&'a self, ctx: &'a SourceCtx) -> BoxFuture<'a, Result<Snapshot, SourceError>> {
        let ctx = ctx.clone();
        let commit =
            Commit { wanted: self.wanted.clone(), object: self.object.clone(), name: self.name.clone() };
        Box::pin(async move { blocking(move || commit.check_out(&ctx)).await.map_err(source_error) })
    }
}

impl Commit {
    fn text_key(&self) -> String {
        let wanted = &self.wanted;
        let mut key = self.object.clone();
        if wanted.keep_git_dir {
            key += ".git";
            if !self.name.is_empty() {
                key = key + "#" + &self.name;
            }
        }
        if !wanted.raw_subdir.is_empty() {
            key = key + ":" + &wanted.raw_subdir;
        }
        if !wanted.submodules {
            key += "(skip-submodules)";
        }
        if !matches!(wanted.mtime.as_str(), "" | "checkout") {
            key = key + "(mtime=" + &wanted.mtime + ")";
        }
        key
    }

    fn check_out(&self, ctx: &SourceCtx) -> Result<Snapshot, GitError> {
        let wanted = &self.wanted;
        let fetcher = Fetcher {
            store: &ctx.store,
            session: &*ctx.session,
            cancel: &ctx.cancel,
            credentials: &wanted.credentials,
            url: wanted.url.clone(),
            access: wanted.credentials.access(&wanted.url, &*ctx.session)?,
        };
        let name = if is_commit(&self.name) { "" } else { &self.name };
        checkout::Checkout { fetcher: &fetcher, wanted, object: &self.object, name }.run()
    }
}

impl Wanted {
    fn read(op: &SourceOp) -> Result<Wanted, GitError> {
        let bad = |reason: String| GitError::Op { identifier: redacted(&op.identifier), reason };
        let text = |key: &str| op.attrs.get(key).cloned().unwrap_or_default();
        let is_on = |key: &str| text(key) == "true";
        let (place, fragment) = op.locator().split_once('#').unwrap_or((op.locator(), ""));
        let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
        let url = match text(attr::GIT_FULL_URL) {
            url if url.is_empty() => format!("https://{place}"),
            url if crate::base::url::UrlParts::of(&url).is_none() => format!("https://{url}"),
            url => url,
        };
        if let Some(why) = git_objection(&url) {
            return Err(bad(format!("`{}`: {why}", redacted(&url))));
        }
        for key in [attr::GIT_BUNDLE, attr::GIT_CHECKOUT_BUNDLE] {
            if op.attrs.contains_key(key) {
                return Err(bad("bundles are not supported by this engine".to_owned()));
            }
        }
        if op.attrs.keys().any(|key| key.starts_with("git.sig.")) {
            return Err(bad("signatures are not verified by this engine".to_owned()));
        }
        let checksum = text(attr::GIT_CHECKSUM);
        if !checksum.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(bad(format!("`{checksum}` is no commit")));
        }
        let by_commit = is_on(attr::GIT_FETCH_BY_COMMIT);
        if by_commit && !is_commit(reference) && !is_commit(&checksum) {
            return Err(bad("fetching by commit needs the whole commit".to_owned()));
        }
        let mtime = text(attr::GIT_MTIME);
        if !matches!(mtime.as_str(), "" | "checkout" | "commit") {
            return Err(bad(format!("`{mtime}` says nothing about times")));
        }
        let raw_subdir = match path::clean(subdir).as_str() {
            "." | "/" => String::new(),
            _ => subdir.to_owned(),
        };
        let credentials = Credentials {
            token: text(attr::GIT_AUTH_TOKEN_SECRET),
            header: text(attr::GIT_AUTH_HEADER_SECRET),
            agent: op.attrs.get(attr::GIT_MOUNT_SSH_SOCK).cloned().filter(|id| !id.is_empty()),
            known_hosts: text(attr::GIT_KNOWN_SSH_HOSTS),
        };
        Ok(Wanted {
            url,
            reference: reference.to_owned(),
            subdir: path::join(&["/", &raw_subdir]).trim_start_matches('/').to_owned(),
            raw_subdir,
            keep_git_dir: is_on(attr::GIT_KEEP_GIT_DIR),
            submodules: !is_on(attr::GIT_SKIP_SUBMODULES),
            checksum,
            by_commit,
            mtime,
            credentials,
        })
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, GitError> + Send + 'static,
) -> Result<T, GitError> {
    crate::engine::blocking::blocking(GitError::Cancelled, work).await
}

fn source_error(error: GitError) -> SourceError {
    match error {
        GitError::Cancelled => SourceError::Cancelled,
        error => SourceError::Source(Box::new(error)),
    }
}

#[cfg(test)]
mod tests;
