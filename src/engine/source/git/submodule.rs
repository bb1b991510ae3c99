//! Submodules, fetched by the rules of the repository itself: git's own command would follow what a repository says.
//!
//! They come without `.git`, also where the repository keeps its own.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;

use super::Fetcher;
use super::checkout::{directory, files, path_of};
use super::command::{CallError, Git, Place, Reach};
use super::error::GitError;
use super::mirror::Held;
use crate::base::url::{git_objection, is_commit, redacted};

/// Submodules of submodules, and so on.
const MAX_DEPTH: usize = 10;

/// Writes the files of all submodules of `commit` below `root`.
pub(super) fn check_out(
    fetcher: &Fetcher<'_>,
    git: &Git<'_>,
    held: &Held,
    commit: &str,
    root: BorrowedFd<'_>,
    depth: usize,
) -> Result<(), GitError> {
    let links = links(git, held, commit)?;
    if links.is_empty() {
        return Ok(());
    }
    let urls = urls(git, held, commit)?;
    for (path, commit) in links {
        let shown = String::from_utf8_lossy(&path).into_owned();
        let refused = |why: String| GitError::Submodule { path: shown.clone(), why };
        // A link without an entry is only a directory, as for git.
        let Some(url) = urls.get(&path) else { continue };
        if MAX_DEPTH <= depth {
            return Err(refused(format!("submodules lie more than {MAX_DEPTH} deep")));
        }
        let url =
            resolve(git.url, url).ok_or_else(|| refused(format!("`{}` leads nowhere", redacted(url))))?;
        if let Some(why) = git_objection(&url) {
            return Err(refused(format!("its URL `{}` is not used: {why}", redacted(&url))));
        }
        let target = directory(root, OsStr::from_bytes(&path))
            .ok_or_else(|| refused("there is no directory in its place".to_owned()))?;
        let below = fetcher.of(&url)?;
        let fill = || {
            let git = below.git();
            let held = below.held(&commit)?;
            let work = fetcher.ctx.store.work_dir()?;
            files(&git, &held, &commit, &path_of(target.as_fd()), &work.path().join("index"))?;
            check_out(&below, &git, &held, &commit, target.as_fd(), depth + 1)
        };
        fill().map_err(|error| match error {
            GitError::Cancelled => GitError::Cancelled,
            error => GitError::InSubmodule { path: shown.clone(), source: Box::new(error) },
        })?;
    }
    Ok(())
}

/// Paths and commits of the links in a commit's tree.
fn links(git: &Git<'_>, held: &Held, commit: &str) -> Result<Vec<(Vec<u8>, String)>, GitError> {
    let output = git.must(Reach::Nothing, held.place(), &["ls-tree", "-r", "-z", "--full-tree", commit])?;
    Ok(output.split(|&byte| byte == 0).filter_map(link).collect())
}

/// `160000 commit <id>\t<path>`.
fn link(line: &[u8]) -> Option<(Vec<u8>, String)> {
    let rest = line.strip_prefix(b"160000 commit ")?;
    let at = rest.iter().position(|&byte| byte == b'\t')?;
    let id = std::str::from_utf8(&rest[..at]).ok().filter(|id| is_commit(id))?;
    Some((rest[at + 1..].to_vec(), id.to_owned()))
}

/// URLs by path, from `.gitmodules`.
fn urls(git: &Git<'_>, held: &Held, commit: &str) -> Result<BTreeMap<Vec<u8>, String>, GitError> {
    let blob = format!("--blob={commit}:.gitmodules");
    let args = ["config", "--null", &blob, "--get-regexp", r"^submodule\..*\.(path|url)$"];
    match git.call(Reach::Nothing, Place { ..held.place() }, &args) {
        Ok(output) => Ok(read_urls(&output)),
        Err(CallError::Refused(_)) => Ok(BTreeMap::new()),
        Err(CallError::Broken(error)) => Err(error),
    }
}

/// Reads `submodule.<name>.path\n<value>\0…`.
fn read_urls(output: &[u8]) -> BTreeMap<Vec<u8>, String> {
    let (mut paths, mut urls) = (BTreeMap::new(), BTreeMap::new());
    for entry in output.split(|&byte| byte == 0) {
        let Some(at) = entry.iter().position(|&byte| byte == b'\n') else { continue };
        let (key, value) = (&entry[..at], &entry[at + 1..]);
        if let Some(name) = key.strip_suffix(b".path") {
            paths.insert(name.to_vec(), value.to_vec());
        } else if let Some(name) = key.strip_suffix(b".url") {
            urls.insert(name.to_vec(), String::from_utf8_lossy(value).into_owned());
        }
    }
    paths.into_iter().filter_map(|(name, path)| Some((path, urls.get(&name)?.clone()))).collect()
}

/// A submodule's URL, which may be relative to that of its repository (git-submodule(1)).
fn resolve(parent: &str, url: &str) -> Option<String> {
    if !url.starts_with("./") && !url.starts_with("../") {
        return Some(url.to_owned());
    }
    // The host, and whatever stands before it, cannot be left.
    let start = match parent.find("://") {
        Some(at) => at + 3 + parent[at + 3..].find('/')?,
        None => parent.find(':')?,
    };
    let (host, path) = parent.split_at(start + 1);
    let mut parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    for part in url.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(format!("{host}{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_urls() {
        #[track_caller]
        fn check(parent: &str, url: &str, expected: Option<&str>) {
            assert_eq!(resolve(parent, url).as_deref(), expected);
        }
        check("https://h/a/b.git", "../c.git", Some("https://h/a/c.git"));
        check("https://h/a/b.git/", "../../c/d", Some("https://h/c/d"));
        check("https://h/a/b.git", "./sub", Some("https://h/a/b.git/sub"));
        check("https://h/a/b.git", "../../../etc", None);
        check("git@h:a/b.git", "../c.git", Some("git@h:a/c.git"));
        check("git@h:a/b.git", "../../../c", None);
        check("https://h/a", "https://other/x", Some("https://other/x"));
        check("https://h/a", "/etc", Some("/etc"));
    }

    #[test]
    fn what_gitmodules_says() {
        let output = b"submodule.a.b.path\nlib/x\0submodule.a.b.url\n../x\0submodule.odd.url\n/etc\0";
        assert_eq!(read_urls(output), BTreeMap::from([(b"lib/x".to_vec(), "../x".to_owned())]));
    }

    #[test]
    fn what_a_tree_says() {
        let id = "a".repeat(40);
        assert_eq!(
            link(format!("160000 commit {id}\tlib/a b").as_bytes()),
            Some((b"lib/a b".to_vec(), id.clone()))
        );
        assert_eq!(link(format!("100644 blob {id}\tx").as_bytes()), None);
        assert_eq!(link(b"160000 commit --x\ty"), None);
    }
}
