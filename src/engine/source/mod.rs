//! Where trees come from: one [`Source`] per kind of identifier.
//!
//! A source is used in two steps. [`Source::resolve`] finds out *what* an identifier stands for now (a manifest digest,
//! the digest of what a directory holds): this is asked in every build and must be cheap. [`Resolved::fetch`] brings
//! exactly that into the store: it is only asked when no cached result makes it unnecessary.

pub mod blob;
mod file;
pub mod git;
pub mod http;
pub mod image;
pub mod local;
pub mod oci_layout;
mod program;
pub(in crate::engine) mod signature;

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::base::{Digest, Platform};
use crate::graph::ir::SourceOp;
use crate::session::Session;
use crate::store::{Snapshot, Store, StoreError};

use super::cancel::Cancel;
use super::content_hash::FileKind;
use super::event::Unit;
use super::registry::ImageError;
use super::tree::Tree;
use git::GitError;
use http::HttpError;
use local::LocalError;

/// Brings trees of some schemes in.
pub trait Source: Send + Sync {
    /// The schemes it answers for: `docker-image`, `local`.
    fn schemes(&self) -> &'static [&'static str];

    /// What `op` stands for now. `platform` is the vertex's, `None` is the machine's own.
    fn resolve<'a>(
        &'a self,
        ctx: &'a SourceCtx,
        op: &'a SourceOp,
        platform: Option<&'a Platform>,
    ) -> BoxFuture<'a, Result<Arc<dyn Resolved>, SourceError>>;
}

/// A source's answer: a tree that is known by its content but perhaps not in the store yet.
pub trait Resolved: Send + Sync {
    /// Digest of what will be fetched: equal keys are equal trees. Becomes part of every cache key above.
    fn key(&self) -> Digest;

    /// What BuildKit calls it (llb reference 3.2, K), where it has a name that means the same on other machines; the
    /// first is the one it knows before it asked for all.
    fn shared_keys(&self) -> Vec<String> {
        vec![self.key().to_string()]
    }

    /// Brings the tree into the store. Called at most once at a time for a key, in all processes.
    fn fetch<'a>(&'a self, ctx: &'a SourceCtx) -> BoxFuture<'a, Result<Snapshot, SourceError>>;

    /// The tree, where whoever uses it can do without having it in the store.
    fn unfetched(&self) -> Option<Tree> {
        None
    }

    /// What it stands for, for people who ask why a step runs.
    fn stands_for(&self) -> StandsFor {
        StandsFor::Other
    }

    /// Content hashes of the tree, when they are known without looking at the fetched tree.
    fn hashes(&self) -> Option<Arc<super::content_hash::HashTree>> {
        None
    }
}

/// What a source stands for at a moment, as far as it can be told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StandsFor {
    /// Files: every directory before what it holds, names sorted.
    Files(Vec<KnownFile>),
    /// An image with this root manifest or index.
    Image(Digest),
    /// Nothing that could be said in words.
    Other,
}

/// A file of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownFile {
    /// Relative, components separated by `/`.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: FileKind,
    /// Permission bits.
    pub mode: u32,
    /// Bytes of a regular file.
    pub size: u64,
    /// Of a symbolic link.
    pub target: Vec<u8>,
    /// Beginning of the digest of its record: attributes and content.
    pub digest: [u8; 8],
}

/// What a source may use.
#[derive(Clone)]
pub struct SourceCtx {
    /// Where it goes.
    pub store: Arc<Store>,
    /// Whose build it is.
    pub session: Arc<dyn Session>,
    /// When it is on, stop soon and return [`SourceError::Cancelled`].
    pub cancel: Cancel,
    /// Takes progress.
    pub progress: Arc<dyn Fn(Progress) + Send + Sync>,
}

/// How far a part of a fetch is; see [`Event::Progress`](super::event::Event::Progress).
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "as in Event::Progress")]
pub struct Progress {
    pub id: String,
    pub current: u64,
    pub total: Option<u64>,
    pub unit: Unit,
}

/// Why a source could not be brought in.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No source answers for this scheme.
    #[error("{}", no_scheme(identifier, scheme))]
    Scheme {
        /// As written in the graph, without a password.
        identifier: String,
        /// What stands before `://`; empty when there is none.
        scheme: String,
        /// Schemes that there are sources for.
        known: Vec<&'static str>,
    },
    /// A source failed in its own way; the cause is its own error type.
    #[error(transparent)]
    Source(Box<dyn std::error::Error + Send + Sync>),
    /// The build was stopped.
    #[error("cancelled")]
    Cancelled,
}

impl SourceError {
    /// Whether the disk that holds the store is full.
    pub(crate) fn is_no_space(&self) -> bool {
        let SourceError::Source(error) = self else { return false };
        let store = match (error.downcast_ref(), error.downcast_ref(), error.downcast_ref()) {
            (Some(ImageError::Store { source, .. } | ImageError::Unpack { source, .. }), ..) => {
                Some(&**source)
            }
            (_, Some(HttpError::Store(error)), _) => Some(&**error),
            (_, _, Some(GitError::Store(error))) => Some(&**error),
            _ => match error.downcast_ref() {
                Some(LocalError::Store(error)) => Some(error),
                _ => None,
            },
        };
        store.is_some_and(StoreError::is_no_space)
    }
}

fn no_scheme(identifier: &str, scheme: &str) -> String {
    match scheme {
        "" => format!("`{identifier}` is not a source: it does not begin with a scheme and `://`"),
        scheme => format!("there is no source for `{scheme}://`"),
    }
}
