//! Builds whose directories change while they are built: looked at and solved again, what ran is kept.
//!
//! Directories are looked at when a build starts, and files are copied when their step's turn comes. A file that is another
//! one by then must not be mixed into what was seen of the others; but who saved it in his editor wants a build of it, not an
//! error.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::Digest;
use crate::cli::args::Progress;
use crate::cli::build::{Build, SolvedTrees, Stopped};
use crate::cli::ui::Ui;
use crate::engine::event::{Event, EventSink};
use crate::engine::ops::{BuildError, FileError, OpError};
use crate::engine::source::SourceError;
use crate::engine::source::local::LocalError;
use crate::engine::{CacheMode, FailedVertex, SolveError};
use crate::graph::ir::{Op, VertexId};
use crate::graph::llb::{self, MarshalOptions};

/// How often a build is solved. What changes all the time is an error.
const MAX_SOLVES: usize = 3;

/// Solves; again when files changed meanwhile, which is said.
pub(super) fn solve(
    mut build: Build<'_>,
    mut cache: CacheMode,
    progress: Progress,
    runtime: &tokio::runtime::Runtime,
) -> Result<SolvedTrees, Stopped> {
    let ran: Arc<Mutex<BTreeSet<Digest>>> = Arc::default();
    for n_solves in 1.. {
        let ui = Ui::start(progress, build.engine.store().root());
        if let Some(inspector) = &build.inspector {
            inspector.let_show(ui.pending());
        }
        // Asked of steps that run although they have results: of others nothing has to be noted.
        let is_asked = cache == CacheMode::Ignore || !build.rerun.is_empty();
        let sink = if is_asked { noting(ui.sink(), ran.clone()) } else { ui.sink() };
        let solved = runtime.block_on(build.solve(cache, sink));
        ui.finish();
        let path = match &solved {
            Err(Stopped::Error(error)) if n_solves < MAX_SOLVES => {
                changed(error, build.engine.store().root())
            }
            _ => None,
        };
        let Some(path) = path else { return solved };
        if progress != Progress::Quiet && progress != Progress::Rawjson {
            // There is nowhere left to say that the output is closed.
            let _ = writeln!(io::stderr(), "`{}` changed during the build: building again", path.display());
        }
        let ran = ran.lock().unwrap_or_else(PoisonError::into_inner);
        build.rerun = left(&build, cache, &ran);
        cache = CacheMode::Use;
    }
    unreachable!("the last solve is returned")
}

/// Passes events on, and notes what ended well.
fn noting(sink: EventSink, ran: Arc<Mutex<BTreeSet<Digest>>>) -> EventSink {
    Arc::new(move |event| {
        if let Event::Completed { vertex, error: None, .. } = &event {
            ran.lock().unwrap_or_else(PoisonError::into_inner).insert(*vertex);
        }
        sink(event);
    })
}

/// The steps that are still to run although they have results: those that were to and did not.
fn left(build: &Build<'_>, cache: CacheMode, ran: &BTreeSet<Digest>) -> BTreeSet<VertexId> {
    let digests = llb::digests(build.graph, &MarshalOptions::default());
    let is_meant = |id: VertexId, op: &Op| match cache {
        CacheMode::Use => build.rerun.contains(&id),
        CacheMode::Ignore => !matches!(op, Op::Source(_)),
    };
    let vertices = build.graph.vertices().filter(|(id, vertex)| is_meant(*id, &vertex.op));
    vertices.map(|(id, _)| id).filter(|id| !ran.contains(&digests[id.0 as usize])).collect()
}

/// A file that changed, if that is all that went wrong. In the store it would again.
fn changed<'a>(error: &'a SolveError, store: &Path) -> Option<&'a Path> {
    let SolveError::Vertex { failed, others } = error else { return None };
    let mut paths = std::iter::once(&**failed).chain(others).map(|it| changed_file(it));
    let first = paths.next()??;
    (paths.all(|it| it.is_some()) && !first.starts_with(store)).then_some(first)
}

fn changed_file(failed: &FailedVertex) -> Option<&Path> {
    let error = match &*failed.cause {
        OpError::Source(SourceError::Source(error)) => error.downcast_ref::<LocalError>()?,
        OpError::File(failed) => match &failed.error {
            FileError::Local(error) => error,
            _ => return None,
        },
        OpError::Build(error) => match &**error {
            BuildError::Failed { failed, .. } => return changed_file(failed),
            _ => return None,
        },
        _ => return None,
    };
    match error {
        LocalError::Changed { path } | LocalError::Vanished { path } => Some(path),
        _ => None,
    }
}
