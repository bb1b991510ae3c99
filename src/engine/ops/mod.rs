//! What each kind of op does: the graph's vertices as the scheduler wants them.

mod agent;
mod build;
mod cache;
mod error;
mod exec;
mod file;
mod inspect;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures_util::future::BoxFuture;

use super::cache::ImportedCaches;
use super::cancel::{Cancel, Hold};
use super::content_hash::{HashError, HashTree};
use super::emulation::Emulators;
use super::entitlement::{self, Denied, Grants};
use super::exec::{Emulation, Runner};
use super::history::{Forced, Manifest, record};
use super::request::CacheMode;
use super::solver::{self, Account, CacheMap, ExecCtx, InputRule, Scheduler, Slot};
use super::source::{Progress, Resolved, Source, SourceCtx, SourceError, StandsFor};
use super::tree::{Tree, Unstored};
use crate::base::url::redacted;
use crate::base::{Digest, Platform};
use crate::graph::ir::{Location, Op, Vertex};
use crate::graph::llb::key::{self, InputKeyRule, Selector};
use crate::session::Session;
use crate::store::gc::Room;
use crate::store::{LayerMeta, Snapshot, Store, Table};

use inspect::Looking;

pub use build::BuildError;
pub use cache::StoreCache;
pub use error::OpError;
pub use exec::ExecError;
pub use file::{FailedAction, FileError};
pub(crate) use file::{files, local_tree, root};
pub use inspect::{FailedCommand, Inspector, Terminal};

/// What the ops of one build share.
#[derive(Clone)]
pub struct Build {
    /// Where results are kept.
    pub store: Arc<Store>,
    /// Whose build it is.
    pub session: Arc<dyn Session>,
    /// Runs commands.
    pub runner: Arc<dyn Runner>,
    /// Bring trees in; the first that answers for a scheme does.
    pub sources: Vec<Arc<dyn Source>>,
    /// The machine's own platform.
    pub machine: Platform,
    /// Who may look at commands that failed.
    pub inspector: Option<Arc<dyn Inspector>>,
    /// Turned on while one is looked at.
    pub hold: Hold,
    /// What who asked for the build stops it by; that is also what ends looking around.
    pub cancel: Cancel,
    /// Where devices are specified.
    pub cdi: Arc<[PathBuf]>,
    /// What commands for other machines are run through.
    pub emulators: Arc<Emulators>,
    /// Trees that are not in the store.
    pub unstored: Arc<Unstored>,
    /// What commands may have beyond the usual.
    pub grants: Grants,
    /// What was said about the machine: once is enough.
    pub said: Arc<Said>,
    /// Runs the ops: also those of definitions that steps make.
    pub scheduler: Arc<Scheduler<GraphOp>>,
    /// Whether results that exist may be used.
    pub cache: CacheMode,
    /// Results of other machines.
    pub imports: Option<Arc<ImportedCaches>>,
    /// Names the program in the history.
    pub program: Digest,
    /// Names of the texts that the graph's places are in.
    pub files: Arc<[String]>,
    /// Digests of the definitions that this one is built for, the outermost first; none for what was asked for.
    pub within: Vec<Digest>,
}

/// Which time something is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    First,
    /// After room was made on a full disk.
    Second,
}

/// What a build was told already.
#[derive(Debug, Default)]
pub struct Said(Mutex<BTreeSet<String>>);

impl Said {
    /// Whether `notice` is new.
    fn is_new(&self, notice: &str) -> bool {
        // A panic while it is held leaves a set of texts all the same.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(notice.to_owned())
    }
}

/// What a source's identifier stands for, once that is known; shared with the ops that read it.
type Answer = Arc<OnceLock<Arc<dyn Resolved>>>;

/// A vertex of the graph. Most are no sources and work on none: a large graph has few [`Outside`]s.
pub struct GraphOp {
    digest: Digest,
    vertex: Arc<Vertex>,
    /// Why results that exist are not used.
    forced: Option<Forced>,
    build: Arc<Build>,
    outside: Option<Box<Outside>>,
    /// How the inputs take part in keys, where the content of any does; set with the cache map.
    rules: OnceLock<Box<[InputKeyRule]>>,
}

/// What a source, or what works on one, has of sources.
#[derive(Default)]
struct Outside {
    /// Of a source.
    answer: Answer,
    /// For each input, the answer of the source that it is.
    answers: Vec<Option<Answer>>,
    /// For each input that is a source, the digest of its marshalled vertex.
    sources: Vec<Option<Digest>>,
}

impl GraphOp {
    /// `inputs` are the ops the vertex works on, in order; `digest` is that of the marshalled vertex.
    pub fn new(
        digest: Digest,
        vertex: Arc<Vertex>,
        forced: Option<Forced>,
        inputs: &[&GraphOp],
        build: Arc<Build>,
    ) -> GraphOp {
        let has_outside = matches!(vertex.op, Op::Source(_)) || inputs.iter().any(|input| input.is_source());
        let answer = |input: &&GraphOp| {
            let outside = input.outside.as_ref().filter(|_| input.is_source());
            outside.map(|it| it.answer.clone())
        };
        let source = |input: &&GraphOp| input.is_source().then_some(input.digest);
        let outside = has_outside.then(|| {
            Box::new(Outside {
                answer: Answer::default(),
                answers: inputs.iter().map(answer).collect(),
                sources: inputs.iter().map(source).collect(),
            })
        });
        GraphOp { digest, vertex, forced, build, outside, rules: OnceLock::new() }
    }

    /// Of a source whose cache map was asked for.
    fn answer(&self) -> Option<&Arc<dyn Resolved>> {
        self.outside.as_ref()?.answer.get()
    }

    /// The answer of the source that an input is.
    fn answer_of(&self, input: usize) -> Option<&Arc<dyn Resolved>> {
        self.outside.as_ref()?.answers.get(input)?.as_ref()?.get()
    }

    /// Whether it brings a tree in from outside.
    pub fn is_source(&self) -> bool {
        matches!(self.vertex.op, Op::Source(_))
    }

    /// Whether what it is called means something in one build only: a directory of who asked for it.
    pub fn is_session(&self) -> bool {
        matches!(&self.vertex.op, Op::Source(op) if op.scheme() == "local")
    }

    /// What the program says about exporting its results.
    pub fn export_cache(&self) -> Option<bool> {
        self.vertex.metadata.export_cache
    }

    /// Whether it may run at all: a command must have been granted what it requests.
    ///
    /// # Errors
    /// [`Denied`] with what is missing.
    pub fn check_entitlements(&self) -> Result<(), Denied> {
        match &self.vertex.op {
            Op::Exec(op) => entitlement::authorize(op, &self.build.grants).map(|_| ()),
            Op::Source(_) | Op::File(_) | Op::Merge(_) | Op::Diff(_) | Op::Passthrough(_) | Op::Build(_) => {
                Ok(())
            }
        }
    }

    /// Of a source whose cache map was asked for: what it stands for.
    pub fn stands_for(&self) -> StandsFor {
        self.answer().map_or(StandsFor::Other, |answer| answer.stands_for())
    }

    fn source_ctx(&self, ctx: &ExecCtx) -> SourceCtx {
        let progress = ctx.clone();
        SourceCtx {
            store: self.build.store.clone(),
            session: self.build.session.clone(),
            cancel: ctx.cancel.clone(),
            progress: Arc::new(move |it: Progress| progress.progress(&it.id, it.current, it.total, it.unit)),
        }
    }

    async fn define(&self, ctx: &ExecCtx) -> Result<CacheMap, OpError> {
        if let Op::Source(op) = &self.vertex.op {
            let scheme = op.scheme();
            let source = self.build.sources.iter().find(|it| it.schemes().contains(&scheme));
            let source = source.ok_or_else(|| SourceError::Scheme {
                identifier: redacted(&op.identifier),
                scheme: scheme.to_owned(),
                known: self.build.sources.iter().flat_map(|it| it.schemes().iter().copied()).collect(),
            })?;
            let ctx = self.source_ctx(ctx);
            let answer = source.resolve(&ctx, op, self.vertex.platform.as_deref()).await?;
            let digest = Digest::of(format!("bkl.source.v1:{}", answer.key()));
            let names: Vec<Digest> =
                answer.shared_keys().iter().filter_map(|key| key::source_digest(key)).collect();
            // What only one build has is called what no other tool calls it.
            let names = if names.is_empty() { vec![digest] } else { names };
            if let Some(tree) = answer.unfetched() {
                self.build.unstored.add(tree);
            }
            let outside = self.outside.as_ref().expect("made for a source");
            // A second answer of one solve would be a second question: there is none.
            let _ = outside.answer.set(answer);
            return Ok(CacheMap { digest, names, inputs: Vec::new() });
        }
        let digest = key::cache_digest(&self.vertex, &self.build.machine).expect("only sources have none");
        let digest = match &self.vertex.op {
            Op::Build(_) => build::key(digest, &self.build.within, &self.build.grants),
            // What a command did with more rights is no result of this one. Others have BuildKit's digest.
            Op::Exec(_) if self.vertex.metadata.is_strict() => {
                Digest::of(format!("bkl.exec.strict.v1:{digest}"))
            }
            _ => digest,
        };
        let rules = key::input_rules(&self.vertex)?;
        let inputs = rules
            .iter()
            .map(|rule| match rule.content {
                Some(_) => InputRule::Content { selector: rule.selector },
                None => InputRule::Key { selector: rule.selector },
            })
            .collect();
        if rules.iter().any(|rule| rule.content.is_some()) {
            let _ = self.rules.set(rules.into());
        }
        Ok(CacheMap { digest, names: vec![digest], inputs })
    }

    async fn content(&self, ctx: &ExecCtx, input: usize, tree: &Tree) -> Result<Digest, OpError> {
        let rules = self.rules.get().expect("only asked of inputs by content, after the cache map");
        let selectors = rules[input].content.clone().expect("only asked of inputs by content");
        let hashes = self.answer_of(input).and_then(|answer| answer.hashes());
        let (store, tree, cancel) = (self.build.store.clone(), tree.clone(), ctx.cancel.clone());
        let digest = blocking(move || match (hashes, &tree) {
            (Some(hashes), _) => Ok(hashes.digest(&selectors)?),
            (None, Tree::Local(tree)) => Ok(tree.hashes().digest(&selectors)?),
            (None, Tree::Stored(_)) => remembered(&store, &tree.snapshot(&cancel)?, &selectors),
        });
        digest.await.map_err(|error| match (error, &self.vertex.op) {
            (OpError::Hash(HashError::NotFound { path }), Op::Exec(_)) => OpError::Mount { path },
            (error, _) => error,
        })
    }

    /// How the machine runs this command: no part of its key, as with BuildKit.
    async fn emulation(&self) -> Result<Emulation, OpError> {
        let platform = self.vertex.platform.as_deref().map(Platform::normalize);
        let Some(platform) = platform.filter(|it| *it != self.build.machine) else {
            return Ok(Emulation::Kernel);
        };
        let build = self.build.clone();
        let find = move || build.emulators.emulation(&platform, &build.store).map_err(ExecError::from);
        blocking(move || Ok(find()?)).await
    }

    /// Runs it; on a full disk, once more when there is some room.
    async fn try_run(&self, ctx: &ExecCtx, inputs: Vec<Tree>) -> Result<Vec<Tree>, OpError> {
        let again = inputs.clone();
        let before = self.build.store.room();
        // What it had written is gone by now.
        let error = match self.run(ctx, inputs, Attempt::First, before).await {
            Err(error) if error.is_no_space() => error,
            done => return done,
        };
        let (store, cancel) = (self.build.store.clone(), ctx.cancel.clone());
        let making = blocking(move || Ok(store.make_room(&|| cancel.is_cancelled())?));
        // Should it fail, another step may have made room all the same.
        let gained = making.await.unwrap_or_default();
        if ctx.cancel.is_cancelled() || !self.build.store.room().is_more_than(&before) {
            return Err(error);
        }
        ctx.warn(&match gained.bytes / 1_000_000 {
            0 => "the disk was full: there is more room by now, and this step runs again".to_owned(),
            gained => format!("the disk was full: {gained} MB that nobody used were removed from the cache, and this step runs again"),
        });
        self.run(ctx, again, Attempt::Second, before).await
    }

    async fn run(
        &self,
        ctx: &ExecCtx,
        inputs: Vec<Tree>,
        attempt: Attempt,
        before: Room,
    ) -> Result<Vec<Tree>, OpError> {
        let stored = match &self.vertex.op {
            Op::Source(_) => {
                let answer = self.answer().expect("the cache map was asked for first");
                if let Some(tree) = answer.unfetched() {
                    return Ok(vec![tree]);
                }
                Ok(vec![answer.fetch(&self.source_ctx(ctx)).await?])
            }
            Op::Exec(op) => {
                let emulation = self.emulation().await?;
                let run = exec::Run {
                    store: &self.build.store,
                    session: &*self.build.session,
                    runner: &*self.build.runner,
                    op,
                    metadata: &self.vertex.metadata,
                    vertex: self.digest,
                    description: self.vertex.name(),
                    ctx,
                    looking: self.build.inspector.as_ref().map(|inspector| Looking {
                        inspector,
                        hold: &self.build.hold,
                        cancel: &self.build.cancel,
                    }),
                    attempt,
                    before,
                    grants: &self.build.grants,
                    said: &self.build.said,
                    cdi: &self.build.cdi,
                    emulation,
                };
                Ok(run.run(snapshots(inputs, ctx).await?).await?)
            }
            Op::File(op) => {
                let (store, vertex, ctx) = (self.build.store.clone(), self.vertex.clone(), ctx.clone());
                let description = self.vertex.name();
                let digest = key::cache_digest(&self.vertex, &self.build.machine).expect("it is no source");
                // Who asks for no cache doubts what is there.
                let reuse = if self.forced.is_some() { file::Reuse::Nothing } else { file::Reuse::Earlier };
                let pace = std::cell::Cell::default();
                if let Some(done) = {
                    let (description, cancel) = (&description, &ctx.cancel);
                    let (store, inputs) = (&*store, &inputs);
                    file::Run { store, op, inputs, digest, description, reuse, cancel, pace }.at_once()
                } {
                    return Ok(done?.into_iter().map(Tree::Stored).collect());
                }
                blocking(move || {
                    let (description, cancel) = (&description, &ctx.cancel);
                    let Op::File(op) = &vertex.op else { unreachable!("just seen") };
                    let (store, inputs, pace) = (&*store, &inputs, std::cell::Cell::default());
                    Ok(file::Run { store, op, inputs, digest, description, reuse, cancel, pace }.run()?)
                })
                .await
            }
            Op::Merge(op) => {
                let inputs = snapshots(inputs, ctx).await?;
                Ok(vec![Snapshot::merge(op.inputs.iter().flatten().map(|&input| &inputs[input as usize]))])
            }
            Op::Diff(op) => {
                let inputs = snapshots(inputs, ctx).await?;
                let side =
                    |input: Option<u32>| input.map(|it| inputs[it as usize].clone()).unwrap_or_default();
                let (lower, upper) = (side(op.lower), side(op.upper));
                if lower.is_scratch() {
                    return Ok(vec![Tree::Stored(upper)]);
                }
                let store = self.build.store.clone();
                let meta = LayerMeta { description: self.vertex.name(), ..LayerMeta::default() };
                blocking(move || Ok(vec![store.diff_snapshots(&lower, &upper, &meta)?])).await
            }
            Op::Passthrough(op) => {
                return Ok(op.outputs.iter().map(|&input| inputs[input as usize].clone()).collect());
            }
            Op::Build(op) => {
                let inputs = snapshots(inputs, ctx).await?;
                Ok(vec![build::run(&self.build, op, ctx, inputs).await?])
            }
        };
        Ok(stored?.into_iter().map(Tree::Stored).collect())
    }
}

impl solver::Op for GraphOp {
    type Output = Tree;
    type Error = OpError;

    fn vertex(&self) -> Digest {
        self.digest
    }

    fn name(&self) -> String {
        self.vertex.name()
    }

    fn n_outputs(&self) -> usize {
        self.vertex.op.n_outputs()
    }

    fn ignore_cache(&self) -> bool {
        self.forced.is_some()
    }

    fn cache_map<'a>(&'a self, ctx: &'a ExecCtx) -> BoxFuture<'a, Result<CacheMap, OpError>> {
        Box::pin(self.define(ctx))
    }

    fn content_key<'a>(
        &'a self,
        ctx: &'a ExecCtx,
        input: usize,
        output: &'a Tree,
    ) -> BoxFuture<'a, Result<Digest, OpError>> {
        Box::pin(self.content(ctx, input, output))
    }

    fn content_without<'a>(&'a self, input: usize) -> Option<BoxFuture<'a, Result<Digest, OpError>>> {
        let hashes = self.answer_of(input).and_then(|answer| answer.hashes())?;
        let selectors = self.rules.get()?[input].content.clone()?;
        Some(Box::pin(blocking(move || Ok(hashes.digest(&selectors)?))))
    }

    fn begins(&self, account: &Account, result: &Digest) {
        let (Op::Exec(_), Some(key)) = (&self.vertex.op, account.run) else { return };
        let place = |it: &Location| it.place_in(|source| self.build.files.get(source).map(String::as_str));
        let places = self.vertex.locations.iter().filter_map(place).collect();
        let none = vec![None; self.vertex.inputs.len()];
        let (sources, forced) = (self.outside.as_ref().map_or(&none, |it| &it.sources), self.forced);
        let other = StandsFor::Other;
        let manifest = Manifest::of(&self.vertex, self.digest, places, sources, account, forced, other);
        record::note(&self.build.store, self.build.program, key, &manifest, result);
    }

    fn exec<'a>(&'a self, ctx: &'a ExecCtx, inputs: Vec<Tree>) -> BoxFuture<'a, Result<Vec<Tree>, OpError>> {
        Box::pin(self.try_run(ctx, inputs))
    }

    /// An image is what its digest says, wherever a cache says that it lies.
    fn takes_offers(&self) -> bool {
        !self.is_source()
    }

    fn slot(&self) -> Slot {
        match &self.vertex.op {
            Op::Source(op) if op.scheme() == "local" => Slot::Disk,
            Op::Source(_) => Slot::Network,
            Op::Exec(_) => Slot::Command,
            Op::File(_) | Op::Diff(_) => Slot::Disk,
            Op::Merge(_) | Op::Passthrough(_) | Op::Build(_) => Slot::Free,
        }
    }

    fn may_block(&self) -> bool {
        // File ops are one piece of work each, which a small one does where it is asked for.
        self.slot() == Slot::Command
    }
}

/// The trees in the store.
async fn snapshots(trees: Vec<Tree>, ctx: &ExecCtx) -> Result<Vec<Snapshot>, OpError> {
    let all_stored = trees.iter().all(|tree| matches!(tree, Tree::Stored(_)));
    let cancel = ctx.cancel.clone();
    let write = move || trees.iter().map(|tree| Ok(tree.snapshot(&cancel)?)).collect();
    if all_stored { write() } else { blocking(write).await }
}

/// Reading less than this takes no longer than a write to the database.
const LITTLE: u64 = 64 << 10;

/// Content digest of a tree in the store: the tree never changes, so it is computed once.
fn remembered(store: &Store, tree: &Snapshot, selectors: &[Selector]) -> Result<Digest, OpError> {
    let key = Digest::of(format!("{}{selectors:?}", tree.digest()));
    if let Ok(Some(known)) = store.get_value(Table::ContentDigests, key.as_bytes())
        && let Ok(bytes) = known.try_into()
    {
        return Ok(Digest::from_bytes(bytes));
    }
    let hashes = match tree.is_scratch() {
        true => HashTree::of_nothing(),
        false => HashTree::of_view(store.read(tree)?)?,
    };
    let digest = hashes.digest(selectors)?;
    // Of one small layer it is as quickly computed as kept.
    if tree.n_layers() < 2 && hashes.n_read() < LITTLE {
        return Ok(digest);
    }
    // Forgetting it only costs doing it again.
    let _ = store.put_value(Table::ContentDigests, key.as_bytes(), digest.as_bytes());
    Ok(digest)
}

/// Runs `work` where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OpError> + Send + 'static,
) -> Result<T, OpError> {
    crate::engine::blocking::blocking(OpError::Cancelled, work).await
}
