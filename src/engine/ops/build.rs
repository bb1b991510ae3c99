//! A definition that another step made, built where it is asked for (BuildKit solver/llbsolver/ops/build.go).
//!
//! The definition may come from anyone: it is validated as one from the command line is. It is built in the same store, for
//! the same session and with the same grants as the step, by the same scheduler; what it is given beyond that is nothing.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags};

use super::file::FileError;
use super::root::{Last, Root, kind};
use super::{Build, OpError, StoreCache, blocking};
use crate::base::Digest;
use crate::engine::entitlement::{self, Grants};
use crate::engine::plan::Prepared;
use crate::engine::request::{FailedVertex, SolveError};
use crate::engine::solver::{ExecCtx, Failure, Outcome};
use crate::graph::ir::{BuildOp, Graph, Location};
use crate::graph::llb::unmarshal::Limits;
use crate::graph::llb::{DecodeError, unmarshal_within};
use crate::store::{Snapshot, Store};

/// How deep definitions may be nested.
const MAX_DEPTH: usize = 16;

/// Most bytes of a definition that a step made.
const MAX_BYTES: usize = 64 << 20;

/// Why a definition that a step made was not built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Builders other than the LLB builder were never made.
    #[error("definitions are built by the LLB builder, and the operation names another")]
    Builder,
    /// Nothing holds the definition.
    #[error("the operation has no input `{}`", BuildOp::DEFINITION)]
    NoInput,
    /// There is no such file.
    #[error("there is no definition: `{path}` does not exist in the tree that should hold it")]
    NoFile {
        /// In the input's tree.
        path: String,
    },
    /// It is something that nobody reads.
    #[error("`{path}` cannot be read as a definition: {why}")]
    Unfit {
        /// In the input's tree.
        path: String,
        /// Why.
        why: &'static str,
    },
    /// The file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is no definition that can be built.
    #[error("`{path}` is not a definition that can be built: {error}")]
    Definition {
        /// In the input's tree.
        path: String,
        /// What is wrong with it.
        error: DecodeError,
    },
    /// A definition asks to be built itself, perhaps by way of others.
    #[error("the definition in `{path}` builds itself")]
    Itself {
        /// In the input's tree.
        path: String,
    },
    /// Definitions in definitions.
    #[error("definitions are nested more than {MAX_DEPTH} deep")]
    Depth,
    /// A step of it failed.
    #[error("{failed}")]
    Failed {
        /// The first one that did; its vertex is one of the nested graph.
        failed: Box<FailedVertex>,
        /// Where it was written, for people.
        places: Vec<String>,
    },
}

/// The key of a build op. Below another definition it is one of its own: so an op never waits for one that it is a part
/// of, whoever runs that.
pub(super) fn key(op: Digest, within: &[Digest], grants: &Grants) -> Digest {
    // Its commands are unknown until it runs: what they made with more rights must not be found by a build with fewer.
    let op = match grants.to_string() {
        none if none.is_empty() => op,
        some => Digest::of(format!("bkl.granted.v1:{op}:{some}")),
    };
    if within.is_empty() {
        return op;
    }
    let all = std::iter::once(&op).chain(within).flat_map(|digest| *digest.as_bytes());
    Digest::of(b"bkl.nested.v1\0".iter().copied().chain(all).collect::<Vec<u8>>())
}

/// Builds the definition that `op` finds in its input; gives its result.
pub(super) async fn run(
    build: &Arc<Build>,
    op: &BuildOp,
    ctx: &ExecCtx,
    inputs: Vec<Snapshot>,
) -> Result<Snapshot, OpError> {
    if op.builder != BuildOp::LLB_BUILDER {
        return Err(BuildError::Builder.into());
    }
    if MAX_DEPTH <= build.within.len() {
        return Err(BuildError::Depth.into());
    }
    let input = op.inputs.get(BuildOp::DEFINITION).and_then(|&input| usize::try_from(input).ok());
    let tree = input.and_then(|input| inputs.get(input)).ok_or(BuildError::NoInput)?.clone();
    let path = op.attrs.get(BuildOp::FILENAME).map_or(BuildOp::DEFINITION, String::as_str).to_owned();
    let (store, within) = (build.store.clone(), build.within.clone());
    let (graph, root, digest) = blocking(move || {
        let bytes = read(&store, &tree, &path)?;
        let digest = Digest::of(&bytes);
        if within.contains(&digest) {
            return Err(BuildError::Itself { path }.into());
        }
        let limits = Limits { max_bytes: MAX_BYTES, ..Limits::default() };
        match unmarshal_within(&bytes, &limits) {
            Ok((graph, root)) => Ok((graph, root, digest)),
            Err(error) => Err(BuildError::Definition { path, error }.into()),
        }
    })
    .await?;
    let Some(root) = root else { return Ok(Snapshot::scratch()) };
    let within = build.within.iter().copied().chain([digest]).collect();
    let nested = Arc::new(Build { within, files: graph.files(), ..Build::clone(build) });
    let prepared = Prepared::new(&nested, &graph, &[root], &BTreeSet::new());
    if let Err(denied) = prepared.check_entitlements(&graph, &[root]) {
        return Err(nested_error(&graph, denied));
    }
    for line in entitlement::granted(&graph, &[Some(root)], &build.grants, &one_line) {
        ctx.warn(&line);
    }
    prepared.prune_caches(&graph).await;
    let cache = StoreCache::new(build.store.clone(), build.unstored.clone());
    let cache = Arc::new(cache.with_imports(build.imports.clone()));
    let Outcome { result, ran, sources, ledger, trace: _ } =
        build.scheduler.solve(&prepared.plan, cache, ctx.events(), &ctx.cancel, &build.hold).await;
    let failed = result.as_ref().err().map(Failure::vertices).unwrap_or_default();
    let runs = prepared.keep(&graph, &ledger, &ran, &sources, &failed);
    drop(ledger);
    match result {
        Ok(solved) => {
            let tree = solved.roots.into_iter().next().expect("a tree per root");
            Ok(tree.stored(&ctx.cancel).await?)
        }
        Err(failure) => Err(nested_error(&graph, prepared.error(&graph, failure, &runs))),
    }
}

/// A name of a step on one line, cut where it gets long.
fn one_line(name: &str) -> String {
    const MAX_CHARS: usize = 60;
    let line = name.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// A failure of the definition `graph`, as one of the step that made it.
fn nested_error(graph: &Graph, error: SolveError) -> OpError {
    match error {
        SolveError::Cancelled => OpError::Cancelled,
        SolveError::Store(error) => OpError::Store(error),
        SolveError::Vertex { failed, .. } => {
            let place = |location: &Location| location.place(graph);
            let places = failed.locations.iter().filter_map(place).collect();
            BuildError::Failed { failed, places }.into()
        }
    }
}

/// The bytes of the regular file that `path` leads to in `tree`.
fn read(store: &Store, tree: &Snapshot, path: &str) -> Result<Vec<u8>, OpError> {
    let unfit = |why| BuildError::Unfit { path: path.to_owned(), why };
    let root = Root::new(store.read(tree)?);
    let place = root.resolve(path.as_bytes(), Last::Follow).map_err(BuildError::File)?;
    let stat = root.stat(&place).map_err(BuildError::File)?;
    let stat = stat.ok_or_else(|| BuildError::NoFile { path: path.to_owned() })?;
    // Looked at before it is opened: a FIFO or device is not even touched.
    if kind(&stat) != FileType::RegularFile {
        return Err(unfit("it is no regular file").into());
    }
    if MAX_BYTES as u64 <= stat.st_size as u64 {
        return Err(unfit("it is larger than 64 MiB").into());
    }
    let failed = |source| BuildError::File(FileError::io("read", &place, source));
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    let fd = root.open(&place, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
    let mut bytes = Vec::new();
    File::from(fd).take(MAX_BYTES as u64).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
