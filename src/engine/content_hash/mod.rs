//! Digests of what an op reads of a tree, as BuildKit computes them (cache/contenthash).
//!
//! A [`HashTree`] knows a digest for every file and, by need, for every directory with all it holds. Times are not
//! part of any digest; names, modes, owners, link targets and extended attributes are. The tree is either given (a
//! directory that was just scanned) or read bit by bit from a mounted tree: only what a [`Selector`] touches is looked
//! at.

mod header;
mod read;
mod select;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};

use crate::base::Digest;
use crate::base::glob::GlobError;
use crate::base::stack::deeper;

pub use crate::graph::llb::key::Selector;
pub use header::{FileKind, Header};
pub(crate) use read::{xattrs, xattrs_of};

/// Looking at an entry takes as long as reading so many bytes.
const PER_ENTRY: u64 = 4096;

/// Digests of a tree's files.
pub struct HashTree {
    root: Node,
    /// What the tree is read from; `None` when it is complete.
    view: Option<OwnedFd>,
    /// See [`HashTree::n_read`].
    n_read: AtomicU64,
}

/// A file of any kind.
#[derive(Debug)]
pub struct Node {
    /// Of a regular file that was not read yet: what its digest begins with.
    header: Option<Header>,
    /// Digest of the file's own record: header and, for regular files, content.
    digest: OnceLock<Digest>,
    kind: NodeKind,
}

#[derive(Debug)]
enum NodeKind {
    Directory { children: OnceLock<BTreeMap<Vec<u8>, Node>>, recursive: OnceLock<Digest> },
    Symlink { target: Vec<u8> },
    Other,
}

/// Why a digest could not be computed.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// The op names a path that the tree does not have.
    #[error("`{path}` does not exist")]
    NotFound {
        /// As the op names it.
        path: String,
    },
    /// A path leads through more symbolic links than the kernel would follow.
    #[error("`{path}` goes through too many symbolic links")]
    Links {
        /// As the op names it.
        path: String,
    },
    /// A pattern of the op is none.
    #[error(transparent)]
    Pattern(#[from] GlobError),
    /// The tree cannot be read.
    #[error("cannot {attempt} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        attempt: &'static str,
        /// Path in the tree.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
}

impl Node {
    /// A file that is no directory and no link; `digest` covers header and content.
    pub fn file(digest: Digest) -> Node {
        Node { header: None, digest: digest.into(), kind: NodeKind::Other }
    }

    /// A symbolic link.
    pub fn symlink(header: &Header, target: Vec<u8>) -> Node {
        Node { header: None, digest: header.digest().into(), kind: NodeKind::Symlink { target } }
    }

    /// A directory whose record has digest `header`, with all it holds by name.
    pub fn directory(header: Digest, children: BTreeMap<Vec<u8>, Node>) -> Node {
        let kind = NodeKind::Directory { children: children.into(), recursive: OnceLock::new() };
        Node { header: None, digest: header.into(), kind }
    }

    fn is_directory(&self) -> bool {
        matches!(self.kind, NodeKind::Directory { .. })
    }
}

impl Drop for HashTree {
    /// Node by node: a tree may be deeper than the stack.
    fn drop(&mut self) {
        let mut todo = Vec::new();
        let mut next = Some(&mut self.root);
        let mut node;
        while let Some(it) = next {
            if let NodeKind::Directory { children, .. } = &mut it.kind {
                todo.extend(children.take().into_iter().flat_map(BTreeMap::into_values));
            }
            node = todo.pop();
            next = node.as_mut();
        }
    }
}

impl HashTree {
    /// A tree of which everything is known; `root` is a directory.
    pub fn complete(root: Node) -> HashTree {
        HashTree { root, view: None, n_read: AtomicU64::new(0) }
    }

    /// The tree that is none: where nothing was ever put, there is a top, of the digest of nothing, and nothing else.
    pub fn of_nothing() -> HashTree {
        HashTree::complete(Node::file(Digest::of("")))
    }

    /// The tree behind a mount or directory, read by need.
    pub fn of_view(view: OwnedFd) -> Result<HashTree, HashError> {
        let root = read::root(&view)?;
        Ok(HashTree { root, view: Some(view), n_read: AtomicU64::new(0) })
    }

    /// Digest of what all `selectors` read: in their order, as BuildKit combines them.
    pub fn digest(&self, selectors: &[Selector]) -> Result<Digest, HashError> {
        let mut texts = Vec::with_capacity(selectors.len());
        for selector in selectors {
            texts.push(self.select(selector)?.to_string());
        }
        Ok(Digest::of(texts.join("\0")))
    }

    /// How much was read so far: bytes of files, and some for each entry of a directory.
    pub fn n_read(&self) -> u64 {
        self.n_read.load(Ordering::Relaxed)
    }

    /// Digest of all of a complete tree.
    pub fn whole(&self) -> Digest {
        self.node_digest(&self.root, &mut Vec::new()).expect("a complete tree needs no IO")
    }

    /// What a directory holds, by name.
    fn children<'a>(&'a self, node: &'a Node, path: &[u8]) -> Result<&'a BTreeMap<Vec<u8>, Node>, HashError> {
        static NONE: BTreeMap<Vec<u8>, Node> = BTreeMap::new();
        let NodeKind::Directory { children, .. } = &node.kind else { return Ok(&NONE) };
        if children.get().is_none() {
            let view = self.view.as_ref().expect("a complete tree has all its children");
            let found = read::children(view, path)?;
            self.n_read.fetch_add(found.len() as u64 * PER_ENTRY, Ordering::Relaxed);
            // Of two readers the first wins; both read the same.
            let _ = children.set(found);
        }
        Ok(children.get().expect("set above"))
    }

    /// Digest of the record of `node`: for a directory with all it holds.
    fn node_digest(&self, node: &Node, path: &mut Vec<u8>) -> Result<Digest, HashError> {
        let NodeKind::Directory { recursive, .. } = &node.kind else {
            return self.own_digest(node, path);
        };
        if let Some(&known) = recursive.get() {
            return Ok(known);
        }
        self.read_files_below(node, path)?;
        let mut state = Sha256::new();
        state.update(b"\0");
        state.update(self.own_digest(node, path)?.to_string());
        for (name, child) in self.children(node, path)? {
            let length = path.len();
            path.push(b'/');
            path.extend_from_slice(name);
            let digest = deeper(|| self.node_digest(child, path));
            path.truncate(length);
            state.update(b"\0");
            state.update(name);
            state.update(digest?.to_string());
        }
        let digest = Digest::from_bytes(state.finalize().into());
        Ok(*recursive.get_or_init(|| digest))
    }

    /// Digest of a file's own record, reading the file if that was not done before.
    fn own_digest(&self, node: &Node, path: &[u8]) -> Result<Digest, HashError> {
        if let Some(&known) = node.digest.get() {
            return Ok(known);
        }
        let header = node.header.as_ref().expect("a node without digest has a header");
        let view = self.view.as_ref().expect("a complete tree has all its digests");
        let digest = read::file(view, path, header)?;
        self.n_read.fetch_add(header.size, Ordering::Relaxed);
        Ok(*node.digest.get_or_init(|| digest))
    }

    /// Reads all files below a directory that were not read before, several at once.
    fn read_files_below(&self, node: &Node, path: &[u8]) -> Result<(), HashError> {
        if self.view.is_none() {
            return Ok(());
        }
        let mut unread = Vec::new();
        let mut directories = vec![(path.to_vec(), node)];
        while let Some((path, directory)) = directories.pop() {
            for (name, child) in self.children(directory, &path)? {
                let below = [&path, b"/".as_slice(), name].concat();
                if child.is_directory() {
                    directories.push((below, child));
                } else if child.digest.get().is_none() {
                    unread.push((below, child));
                }
            }
        }
        self.read_files(&unread)
    }

    /// Reads files, several at once.
    fn read_files(&self, unread: &[(Vec<u8>, &Node)]) -> Result<(), HashError> {
        use rayon::prelude::*;
        if unread.len() < 2 {
            return unread.iter().try_for_each(|(path, node)| self.own_digest(node, path).map(drop));
        }
        unread.par_iter().try_for_each(|(path, node)| self.own_digest(node, path).map(drop))
    }
}

#[cfg(test)]
mod tests;
