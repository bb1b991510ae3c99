//! Bundles: repositories in one file, taken instead of a remote and made instead of a worktree (BuildKit
//! source/git/bundle.go).

use std::fs;
use std::path::{Path, PathBuf};

use super::Fetcher;
use super::command::{Git, Place, Reach};
use super::error::GitError;
use super::mirror::{self, Held};
use super::refs::{self, Found};
use crate::base::url::is_commit;
use crate::engine::registry::ImageError;
use crate::store::{StoreError, WorkDir};

/// Name of the file that is made.
const FILE_NAME: &str = "bundle";
/// The branch in a bundle of what has no other name.
const FALLBACK: &str = "refs/heads/main";

/// Where a bundle is taken from.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// `docker-image+blob://…@sha256:…` or `oci-layout+blob://…@sha256:…`.
    pub(super) locator: String,
    /// The id of the layout; empty when the locator says it.
    pub(super) store: String,
}

/// A bundle as a repository of its own; gone when dropped.
pub(super) struct Opened {
    _work: WorkDir,
    repository: PathBuf,
}

impl Source {
    /// Brings the bundle in, which its digest names, and unpacks it where nothing else is.
    pub(super) fn open(&self, fetcher: &Fetcher<'_>) -> Result<Opened, GitError> {
        let failed = |source: ImageError| match source {
            ImageError::Cancelled => GitError::Cancelled,
            source => GitError::Bundle { url: fetcher.url.clone(), source: Box::new(source) },
        };
        let (ctx, blobs) = (fetcher.ctx, fetcher.blobs);
        let blob = blobs.locate(ctx, &self.locator, &self.store).map_err(failed)?;
        // This runs on a thread for work that may block.
        tokio::runtime::Handle::current().block_on(blobs.bring(ctx, &blob)).map_err(failed)?;
        let bundle = ctx.store.content().path(&blob.digest);
        let git = fetcher.git();
        let work = ctx.store.work_dir()?;
        let repository = work.path().join("repository.git");
        let bundle = bundle.to_string_lossy();
        let listed = git.must(Reach::Files, Place::default(), &["ls-remote", "--", &bundle])?;
        let length = listed.split(|&byte| byte == b'\t').next().map_or(40, <[u8]>::len);
        init(&git, &repository, length)?;
        let place = Place { git_dir: Some(&repository), ..Place::default() };
        let fetch = ["fetch", "--quiet", "--no-write-fetch-head", "--", &bundle, "+refs/*:refs/*"];
        git.must(Reach::Files, place, &fetch)?;
        Ok(Opened { _work: work, repository })
    }
}

impl Opened {
    fn url(&self) -> String {
        format!("file://{}", self.repository.display())
    }

    /// What `reference` is in the bundle.
    pub(super) fn ask(&self, fetcher: &Fetcher<'_>, reference: &str) -> Result<Found, GitError> {
        let url = self.url();
        let git = Git { url: &url, ..fetcher.git() };
        refs::ask(&git, Reach::Files, reference).map_err(|error| match error {
            GitError::NoRef { reference, near, .. } => {
                GitError::NoRef { url: fetcher.url.clone(), reference, near }
            }
            error => error,
        })
    }

    /// Takes an object over into the mirror.
    pub(super) fn take(&self, git: &Git<'_>, held: &Held, object: &str) -> Result<(), GitError> {
        let place = Place { git_dir: Some(&self.repository), ..Place::default() };
        let commit = format!("{object}^{{commit}}");
        if git.call(Reach::Nothing, place, &["cat-file", "-e", &commit]).is_err() {
            return Err(GitError::NoCommit { url: git.url.to_owned(), commit: object.to_owned() });
        }
        let name = format!("refs/bkl/{object}");
        git.must(Reach::Nothing, place, &["update-ref", &name, object])?;
        let (url, spec) = (self.url(), format!("{name}:{name}"));
        let fetch = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--force", "--", &url, &spec];
        git.must(Reach::Files, held.place(), &fetch).map(drop)
    }
}

/// Makes a bundle of `object` with all it descends from, and puts it into the directory `tree`. `name` is what it was found
/// by; empty when it was asked for by its commit.
pub(super) fn write(
    fetcher: &Fetcher<'_>,
    held: &Held,
    object: &str,
    name: &str,
    work: &WorkDir,
    tree: &Path,
) -> Result<(), GitError> {
    let git = fetcher.git();
    // A bundle of a commit whose ancestors are missing could be read by nobody.
    mirror::complete(&git, held, object)?;
    let repository = work.path().join("repository.git");
    init(&git, &repository, object.len())?;
    let place = Place { git_dir: Some(&repository), ..Place::default() };
    let target = target(name);
    let (mirror, spec) = (format!("file://{}", held.path().display()), format!("refs/bkl/{object}:{target}"));
    git.must(
        Reach::Files,
        place,
        &["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--", &mirror, &spec],
    )?;
    let file = tree.join(FILE_NAME);
    let create = ["bundle", "create", "--quiet", &file.to_string_lossy(), &target];
    git.must(Reach::Nothing, place, &create)?;
    // Not read again: what is made is for others.
    fs::remove_dir_all(&repository).map_err(|error| StoreError::io("remove", &repository, error))?;
    Ok(())
}

fn init(git: &Git<'_>, repository: &Path, id_length: usize) -> Result<(), GitError> {
    let format = if id_length == 64 { "--object-format=sha256" } else { "--object-format=sha1" };
    let path = repository.to_string_lossy();
    let args = ["init", "--quiet", "--bare", "--template=", format, "--", &path];
    git.must(Reach::Nothing, Place::default(), &args).map(drop)
}

/// The full name that the commit has in the bundle: a tag keeps its own, everything else is a branch.
fn target(name: &str) -> String {
    if name.is_empty() || name == "HEAD" || is_commit(name) {
        return FALLBACK.to_owned();
    }
    if name.starts_with("refs/tags/") {
        return name.to_owned();
    }
    let short = name.strip_prefix("refs/").unwrap_or(name);
    format!("refs/heads/{}", short.strip_prefix("heads/").unwrap_or(short))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_bundles() {
        #[track_caller]
        fn check(name: &str, expected: &str) {
            assert_eq!(target(name), expected);
        }
        check("", "refs/heads/main");
        check("HEAD", "refs/heads/main");
        check(&"a".repeat(40), "refs/heads/main");
        check("refs/tags/v1", "refs/tags/v1");
        check("refs/heads/topic/x", "refs/heads/topic/x");
        check("refs/pull/1/head", "refs/heads/pull/1/head");
    }
}
