//! `git://`: a repository at a branch, a tag or a commit, to a tree.
//!
//! A commit is a key by itself: what names one needs no remote to be found in the cache. Branches and tags are asked for
//! each time. Commits are fetched into a copy of the repository that all builds share ([`mirror`]) and checked out from
//! there; every file has the commit's time.

mod auth;
mod bundle;
mod checkout;
mod command;
mod error;
mod mirror;
mod refs;
mod signature;
mod submodule;

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::blob::BlobSource;
use super::{Resolved, Source, SourceCtx, SourceError};
use crate::base::url::{git_objection, is_commit, redacted};
use crate::base::{Digest, Platform, path};
use crate::engine::cancel::Cancel;
use crate::graph::ir::{SourceOp, attr};
use crate::session::Session;
use crate::store::Snapshot;
use auth::Credentials;
use command::{Access, Git, Reach};
use mirror::Held;

pub use error::{GitError, no_agent_help};

/// Git repositories.
pub struct GitSource {
    /// Where bundles come from.
    blobs: BlobSource,
}

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
    signature: Option<signature::Wanted>,
    /// Comes instead of the remote.
    bundle: Option<bundle::Source>,
    /// A bundle is made rather than a worktree.
    as_bundle: bool,
}

/// A commit that is known.
#[derive(Debug, Clone)]
struct Commit {
    /// What is fetched: the commit, or with `.git` the annotated tag.
    object: String,
    /// The annotated tag that led to the commit.
    tag: Option<String>,
    /// The name it was found by; the commit when it was named by that.
    name: String,
}

/// What fetching from a remote may use.
struct Fetcher<'a> {
    ctx: &'a SourceCtx,
    blobs: &'a BlobSource,
    credentials: &'a Credentials,
    /// Comes instead of the remote.
    bundle: Option<&'a bundle::Source>,
    url: String,
    access: Access,
}

impl Fetcher<'_> {
    fn git(&self) -> Git<'_> {
        Git { access: &self.access, cancel: &self.ctx.cancel, url: &self.url }
    }

    /// The mirror with the object in it.
    fn held(&self, object: &str) -> Result<Held, GitError> {
        let git = self.git();
        let held = mirror::open(&git, &self.ctx.store, object)?;
        if !mirror::is_there(&git, &held, object)? {
            match self.bundle {
                Some(bundle) => bundle.open(self)?.take(&git, &held, object)?,
                None => mirror::fetch(&git, &held, object)?,
            }
        }
        Ok(held)
    }

    /// What git prints about what the mirror holds, in one line.
    fn line(&self, held: &Held, args: &[&str]) -> Result<String, GitError> {
        let output = self.git().must(Reach::Nothing, held.place(), args)?;
        Ok(String::from_utf8_lossy(&output).trim().to_owned())
    }

    /// For another remote, with the same credentials where they are good for it.
    fn of(&self, url: &str) -> Result<Fetcher<'_>, GitError> {
        // A token is only sent where it belongs; what it is missing for may be public.
        let access = match self.credentials.access(url, &*self.ctx.session) {
            Err(GitError::Cleartext { .. }) => Access::default(),
            access => access?,
        };
        let access = if same_host(&self.url, url) { access } else { Access { config: None, ..access } };
        Ok(Fetcher { url: url.to_owned(), access, bundle: None, ..*self })
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
    /// Bundles come from `blobs`.
    pub fn new(blobs: BlobSource) -> GitSource {
        GitSource { blobs }
    }

    /// The commit that a branch or tag is now.
    pub async fn resolve_ref(session: &Arc<dyn Session>, query: RefQuery) -> Result<String, GitError> {
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
            refs::ask(&git, Reach::Remotes, &query.reference).map(|found| found.commit)
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
        let (ctx, op, blobs) = (ctx.clone(), op.clone(), self.blobs.clone());
        Box::pin(async move {
            let commit = blocking(move || {
                let finder = Finder { ctx: &ctx, blobs: &blobs, wanted: Wanted::read(&op)? };
                let commit = finder.find()?;
                finder.verify(&commit)?;
                Ok(Pinned { commit, wanted: finder.wanted, blobs: blobs.clone() })
            });
            let commit = commit.await.map_err(source_error)?;
            Ok(Arc::new(commit) as Arc<dyn Resolved>)
        })
    }
}

/// Finds out what an op stands for.
struct Finder<'a> {
    ctx: &'a SourceCtx,
    blobs: &'a BlobSource,
    wanted: Wanted,
}

impl Finder<'_> {
    /// Asks the remote, or looks into the bundle, unless the op names a commit.
    fn find(&self) -> Result<Commit, GitError> {
        let wanted = &self.wanted;
        let (reference, checksum) = (wanted.reference.as_str(), wanted.checksum.as_str());
        let mismatch = |found: &str| GitError::Checksum {
            url: wanted.url.clone(),
            reference: reference.to_owned(),
            expected: checksum.to_owned(),
            found: found.to_owned(),
        };
        if is_commit(reference) {
            if !reference.starts_with(checksum) {
                return Err(mismatch(reference));
            }
            return Ok(Commit { object: reference.to_owned(), tag: None, name: reference.to_owned() });
        }
        if wanted.by_commit || (wanted.bundle.is_some() && reference.is_empty()) {
            // As BuildKit: a plain name is a branch.
            let name = match reference {
                "" => checksum.to_owned(),
                name if name.starts_with("refs/") => name.to_owned(),
                name => format!("refs/heads/{name}"),
            };
            return Ok(Commit { object: checksum.to_owned(), tag: None, name });
        }
        let found = match &wanted.bundle {
            Some(bundle) => {
                let fetcher = wanted.fetcher(self.ctx, self.blobs, Access::default());
                bundle.open(&fetcher)?.ask(&fetcher, reference)?
            }
            None => {
                let access = wanted.credentials.access(&wanted.url, &*self.ctx.session)?;
                let git = Git { access: &access, cancel: &self.ctx.cancel, url: &wanted.url };
                refs::ask(&git, Reach::Remotes, reference)?
            }
        };
        if !found.object.starts_with(checksum) && !found.commit.starts_with(checksum) {
            return Err(mismatch(&found.commit));
        }
        let tag = Some(found.object.clone()).filter(|object| *object != found.commit);
        let object = if wanted.keep_git_dir { found.object } else { found.commit };
        Ok(Commit { object, tag, name: found.name })
    }

    /// Verifies the signature that the op wants.
    fn verify(&self, commit: &Commit) -> Result<(), GitError> {
        let Some(signature) = &self.wanted.signature else { return Ok(()) };
        let access = self.wanted.credentials.access(&self.wanted.url, &*self.ctx.session)?;
        let fetcher = self.wanted.fetcher(self.ctx, self.blobs, access);
        signature.verify(&fetcher, commit.tag.as_ref().unwrap_or(&commit.object))
    }
}

/// An op whose commit is known.
struct Pinned {
    commit: Commit,
    wanted: Wanted,
    blobs: BlobSource,
}

impl Resolved for Pinned {
    /// As BuildKit's (source/git/source.go, `shaToCacheKey`).
    fn key(&self) -> Digest {
        Digest::of(self.wanted.text_key(&self.commit))
    }

    fn shared_keys(&self) -> Vec<String> {
        vec![self.wanted.text_key(&self.commit)]
    }

    fn fetch<'a>(&'a self, ctx: &'a SourceCtx) -> BoxFuture<'a, Result<Snapshot, SourceError>> {
        let (ctx, blobs) = (ctx.clone(), self.blobs.clone());
        let (wanted, commit) = (self.wanted.clone(), self.commit.clone());
        Box::pin(async move {
            let work = move || wanted.check_out(&ctx, &blobs, &commit);
            blocking(work).await.map_err(source_error)
        })
    }
}

impl Wanted {
    fn text_key(&self, commit: &Commit) -> String {
        let mut key = commit.object.clone();
        if self.keep_git_dir {
            key += ".git";
            if !commit.name.is_empty() {
                key = key + "#" + &commit.name;
            }
        }
        if !self.raw_subdir.is_empty() {
            key = key + ":" + &self.raw_subdir;
        }
        if !self.submodules {
            key += "(skip-submodules)";
        }
        if !matches!(self.mtime.as_str(), "" | "checkout") {
            key = key + "(mtime=" + &self.mtime + ")";
        }
        if self.as_bundle {
            key += "(bundle)";
        }
        key
    }

    fn fetcher<'a>(&'a self, ctx: &'a SourceCtx, blobs: &'a BlobSource, access: Access) -> Fetcher<'a> {
        let (credentials, bundle) = (&self.credentials, self.bundle.as_ref());
        Fetcher { ctx, blobs, credentials, bundle, url: self.url.clone(), access }
    }

    fn check_out(&self, ctx: &SourceCtx, blobs: &BlobSource, commit: &Commit) -> Result<Snapshot, GitError> {
        let access = self.credentials.access(&self.url, &*ctx.session)?;
        let fetcher = self.fetcher(ctx, blobs, access);
        let name = if is_commit(&commit.name) { "" } else { &commit.name };
        checkout::Checkout { fetcher: &fetcher, wanted: self, object: &commit.object, name }.run()
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
        let checksum = text(attr::GIT_CHECKSUM);
        if !checksum.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(bad(format!("`{checksum}` is no commit")));
        }
        let by_commit = is_on(attr::GIT_FETCH_BY_COMMIT);
        if by_commit && !is_commit(reference) && !is_commit(&checksum) {
            return Err(bad("fetching by commit needs the whole commit".to_owned()));
        }
        let bundle = Some(text(attr::GIT_BUNDLE)).filter(|locator| !locator.is_empty());
        let bundle = bundle.map(|locator| bundle::Source { locator, store: text(attr::OCI_STORE) });
        if bundle.is_some() && checksum.is_empty() {
            return Err(bad("a bundle needs the commit that it is to have".to_owned()));
        }
        if bundle.is_some() && reference.is_empty() && !is_commit(&checksum) {
            return Err(bad("a bundle needs the whole commit, or a branch or tag".to_owned()));
        }
        let as_bundle = is_on(attr::GIT_CHECKOUT_BUNDLE);
        if as_bundle && (is_on(attr::GIT_KEEP_GIT_DIR) || !subdir.is_empty()) {
            return Err(bad("a bundle has no `.git` and no directory of its own".to_owned()));
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
            signature: signature::Wanted::read(op).map_err(bad)?,
            bundle,
            as_bundle,
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
