//! Which files of a tree an op reads (BuildKit cache/contenthash/checksum.go).

use sha2::{Digest as _, Sha256};

use super::{HashError, HashTree, Node, NodeKind};
use crate::base::Digest;
use crate::base::glob::{self, Matched, Patterns};
use crate::base::stack::deeper;
use crate::graph::llb::key::Selector;

/// How many links a path may go through.
const MAX_LINKS: usize = 255;

/// A file whose digest is part of the answer, or a directory that is if something below it is.
struct Candidate<'a> {
    /// The path as asked for: a resolved link at its beginning is undone.
    path: Vec<u8>,
    /// Where it really is.
    real: Vec<u8>,
    node: &'a Node,
    included: bool,
    include: Matched,
    exclude: Matched,
}

/// A walk over the candidates.
struct Walk<'a> {
    tree: &'a HashTree,
    /// The asked-for path, absolute, `""` for the top.
    path: String,
    wildcard: bool,
    skips_own_record: bool,
    include: Option<Patterns>,
    exclude: Option<Patterns>,
    /// The last path that matched the wildcard: patterns are relative to it.
    matched_root: Option<String>,
    parents: Vec<usize>,
    candidates: Vec<Candidate<'a>>,
    /// Indexes of candidates, in the order in which they count.
    included: Vec<usize>,
}

impl HashTree {
    /// Digest of what `selector` selects.
    pub(super) fn select(&self, selector: &Selector) -> Result<Digest, HashError> {
        if !selector.wildcard && selector.include.is_empty() && selector.exclude.is_empty() {
            return self.plain(&selector.path, selector.follow_links);
        }
        let path = key_path(&selector.path);
        let some = |patterns: &[String]| -> Result<Option<Patterns>, HashError> {
            Ok(if patterns.is_empty() { None } else { Some(Patterns::new(patterns)?) })
        };
        // What stands before the first wildcard is resolved, links included; matching uses the text as written.
        let prefix = if selector.wildcard { wildcard_prefix(&path) } else { path.clone() };
        let mut walk = Walk {
            tree: self,
            wildcard: selector.wildcard,
            skips_own_record: selector.path.ends_with('/'),
            include: some(&selector.include)?,
            exclude: some(&selector.exclude)?,
            matched_root: None,
            parents: Vec::new(),
            candidates: Vec::new(),
            included: Vec::new(),
            path,
        };
        if let Some((real, node)) = self.lookup(prefix.as_bytes(), true, &selector.path)? {
            walk.visit(prefix.as_bytes(), &real, node)?;
        }
        let Walk { mut candidates, included, path, .. } = walk;
        for required in &selector.required {
            let required = key_path(required);
            let below = |candidate: &Candidate<'_>| {
                let relative = candidate.path.strip_prefix(prefix.as_bytes()).unwrap_or(&candidate.path);
                candidate.path.starts_with(required.as_bytes()) || relative.starts_with(required.as_bytes())
            };
            if !included.iter().any(|&idx| below(&candidates[idx])) {
                return Err(HashError::NotFound { path: required });
            }
        }
        let unread: Vec<_> = included
            .iter()
            .map(|&idx| (candidates[idx].real.clone(), candidates[idx].node))
            .filter(|(_, node)| node.digest.get().is_none())
            .collect();
        self.read_files(&unread)?;
        let mut state = Sha256::new();
        for &idx in &included {
            let Candidate { path: asked, real, node, .. } = &mut candidates[idx];
            let is_link = matches!(node.kind, NodeKind::Symlink { .. });
            let digest = if is_link && selector.follow_links {
                self.plain(&String::from_utf8_lossy(asked), true)?
            } else {
                self.own_digest(node, real)?
            };
            if included.len() == 1 && base(asked) == base(path.as_bytes()) {
                return Ok(digest);
            }
            let relative = asked.strip_prefix(prefix.as_bytes()).unwrap_or(asked);
            let key: Vec<u8> = relative.iter().map(|&byte| if byte == b'/' { 0 } else { byte }).collect();
            state.update(if key.is_empty() { b"\0" } else { key.as_slice() });
            state.update(digest.to_string());
        }
        Ok(Digest::from_bytes(state.finalize().into()))
    }

    /// Digest of one path with all below it.
    fn plain(&self, path: &str, follow: bool) -> Result<Digest, HashError> {
        match self.lookup(key_path(path).as_bytes(), follow, path)? {
            Some((mut real, node)) => self.node_digest(node, &mut real),
            None => Err(HashError::NotFound { path: path.to_owned() }),
        }
    }

    /// Follows `path` from the top, through links; where it ends, and what is there.
    fn lookup(
        &self,
        path: &[u8],
        follow_last: bool,
        asked: &str,
    ) -> Result<Option<(Vec<u8>, &Node)>, HashError> {
        let mut todo: Vec<Vec<u8>> = split(path).rev().map(<[u8]>::to_vec).collect();
        let mut way: Vec<(Vec<u8>, &Node)> = vec![(Vec::new(), &self.root)];
        let mut n_links = 0;
        while let Some(name) = todo.pop() {
            if name == b".." {
                if 1 < way.len() {
                    way.pop();
                }
                continue;
            }
            let (path, node) = way.last().expect("the top is never left");
            let Some(child) = self.children(node, path)?.get(&name) else { return Ok(None) };
            if let NodeKind::Symlink { target } = &child.kind
                && (follow_last || !todo.is_empty())
            {
                n_links += 1;
                if MAX_LINKS < n_links {
                    return Err(HashError::Links { path: asked.to_owned() });
                }
                if target.starts_with(b"/") {
                    way.truncate(1);
                }
                todo.extend(split(target).rev().map(<[u8]>::to_vec));
                continue;
            }
            let below = [path.as_slice(), b"/", &name].concat();
            way.push((below, child));
        }
        Ok(way.pop())
    }
}

impl<'a> Walk<'a> {
    /// Takes `node` and all below it, in the order of keys.
    fn visit(&mut self, path: &[u8], real: &[u8], node: &'a Node) -> Result<(), HashError> {
        while let Some(&parent) = self.parents.last()
            && !is_below(path, &self.candidates[parent].path)
        {
            self.parents.pop();
        }
        self.consider(path, real, node)?;
        for (name, child) in self.tree.children(node, real)? {
            let below = |path: &[u8]| [path, b"/", name].concat();
            deeper(|| self.visit(&below(path), &below(real), child))?;
        }
        Ok(())
    }

    fn consider(&mut self, path: &[u8], real: &[u8], node: &'a Node) -> Result<(), HashError> {
        let text = String::from_utf8_lossy(path).into_owned();
        if node.is_directory() && self.skips_own_record && text == self.path {
            return Ok(());
        }
        let candidate = if self.wildcard {
            let is_in_match = self.matched_root.as_ref().is_some_and(|root| is_below(path, root.as_bytes()));
            if !self.path.is_empty() && !is_in_match {
                if !glob::matches(&self.path, &text)? {
                    return Ok(());
                }
                self.matched_root = Some(text.clone());
            }
            let root = self.matched_root.as_deref().unwrap_or_default();
            text[root.len()..].trim_start_matches('/').to_owned()
        } else {
            text[self.path.len()..].trim_start_matches('/').to_owned()
        };
        let parent = self.parents.last().map(|&idx| &self.candidates[idx]);
        let verdict = |patterns: &Option<Patterns>, of_parent: Option<&Matched>| match patterns {
            Some(patterns) => {
                let (selects, matched) =
                    patterns.verdict(&candidate, of_parent.unwrap_or(&Matched::default()));
                (Some(selects), matched)
            }
            None => (None, Matched::default()),
        };
        let (includes, include) = verdict(&self.include, parent.map(|it| &it.include));
        let (excludes, exclude) = match includes {
            Some(false) => (None, Matched::default()),
            Some(true) | None => verdict(&self.exclude, parent.map(|it| &it.exclude)),
        };
        let selected = includes != Some(false) && excludes != Some(true);
        if !selected && !node.is_directory() {
            return Ok(());
        }
        let idx = self.candidates.len();
        self.candidates.push(Candidate {
            path: path.to_vec(),
            real: real.to_vec(),
            node,
            included: false,
            include,
            exclude,
        });
        if selected {
            for parent in self.parents.clone().into_iter().chain([idx]) {
                if !std::mem::replace(&mut self.candidates[parent].included, true) {
                    self.included.push(parent);
                }
            }
        }
        if node.is_directory() {
            self.parents.push(idx);
        }
        Ok(())
    }
}

/// The path absolute and clean; `""` for the top.
fn key_path(path: &str) -> String {
    let path = crate::base::path::clean(&format!("/{path}"));
    if path == "/" { String::new() } else { path }
}

/// The directory before the first component with a wildcard; `""` for the top.
fn wildcard_prefix(path: &str) -> String {
    let (before, _) = glob::split_wildcard(path);
    before.trim_end_matches('/').to_owned()
}

fn split(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".")
}

fn is_below(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}

fn base(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
}
