//! Ops, results and a cache that only pretend, and count.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use tokio::sync::Barrier;

use super::super::*;
use crate::engine::cancel::{Cancel, Hold};
use crate::engine::event::Event;

/// A result: what it holds, and which run made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tree {
    pub(super) content: String,
    pub(super) run: usize,
}

impl Output for Tree {
    fn identity(&self) -> Digest {
        Digest::of(format!("run {}", self.run))
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum FakeError {
    #[error("{0} failed")]
    Failed(String),
    #[error("cancelled")]
    Cancelled,
}

impl OpError for FakeError {
    fn is_cancelled(&self) -> bool {
        *self == FakeError::Cancelled
    }
}

/// What a fake op does when it runs.
#[derive(Clone)]
pub(super) enum Does {
    /// Its name and what its inputs hold.
    Derive,
    /// Always the same.
    Give(String),
    /// The same for each output.
    GiveEach(Vec<String>),
    Fail,
    /// Yields this often, then fails.
    FailAfter(usize),
    /// Until it is cancelled; takes some time to stop.
    Hang,
    /// Yields this often, fails, lets nothing begin, and ends when it has yielded so often again, whatever is cancelled.
    Linger(Hold, usize),
    /// Waits for others, then derives.
    Meet(Arc<Barrier>),
    /// Yields this often, then derives.
    Work(usize),
}

pub(super) struct Fake {
    pub(super) name: String,
    /// Besides the name, what its key is made of: the "content" of a source.
    pub(super) key: String,
    pub(super) rules: Vec<InputRule>,
    /// What a content-ruled input contributes: the part of its content before this character.
    pub(super) reads_until: char,
    /// By input: what is read of it, where that is known early.
    pub(super) early: Vec<Option<String>>,
    pub(super) n_outputs: usize,
    pub(super) ignore: bool,
    pub(super) does: Does,
    pub(super) slot: Slot,
    pub(super) world: Arc<World>,
}

/// What the fakes share: counts of everything that happened.
#[derive(Default)]
pub(super) struct World {
    pub(super) ran: Mutex<Vec<String>>,
    pub(super) n_running: AtomicUsize,
    pub(super) max_running: AtomicUsize,
    /// Now and at most, of commands, downloads, file operations and others.
    pub(super) by_slot: [(AtomicUsize, AtomicUsize); 4],
    pub(super) n_runs: AtomicUsize,
    pub(super) cancel_at: Mutex<Option<(usize, Cancel)>>,
    pub(super) n_points: AtomicUsize,
}

impl World {
    /// A point where a test may cancel.
    fn point(&self) {
        let n = self.n_points.fetch_add(1, Ordering::Relaxed);
        if let Some((at, cancel)) = &*self.cancel_at.lock().unwrap()
            && *at == n
        {
            cancel.cancel();
        }
    }

    pub(super) fn take_ran(&self) -> Vec<String> {
        std::mem::take(&mut *self.ran.lock().unwrap())
    }
}

struct Running<'a>(&'a World, Slot);

impl Running<'_> {
    fn begin(world: &World, slot: Slot) -> Running<'_> {
        let n_running = world.n_running.fetch_add(1, Ordering::Relaxed) + 1;
        world.max_running.fetch_max(n_running, Ordering::Relaxed);
        let (now, most) = &world.by_slot[slot as usize];
        most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        Running(world, slot)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.n_running.fetch_sub(1, Ordering::Relaxed);
        self.0.by_slot[self.1 as usize].0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Op for Fake {
    type Output = Tree;
    type Error = FakeError;

    fn vertex(&self) -> Digest {
        Digest::of(&self.name)
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn n_outputs(&self) -> usize {
        self.n_outputs
    }

    fn ignore_cache(&self) -> bool {
        self.ignore
    }

    fn cache_map<'a>(&'a self, _ctx: &'a ExecCtx) -> BoxFuture<'a, Result<CacheMap, FakeError>> {
        Box::pin(async move {
            if self.rules.is_empty() {
                // Sources take a moment.
                tokio::task::yield_now().await;
                self.world.point();
            }
            if self.key == "unresolvable" {
                return Err(FakeError::Failed(self.name.clone()));
            }
            let digest = Digest::of(format!("{} {}", self.name, self.key));
            Ok(CacheMap { digest, names: vec![digest], inputs: self.rules.clone() })
        })
    }

    fn content_key<'a>(
        &'a self,
        _ctx: &'a ExecCtx,
        _input: usize,
        output: &'a Tree,
    ) -> BoxFuture<'a, Result<Digest, FakeError>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            self.world.point();
            Ok(Digest::of(output.content.split(self.reads_until).next().unwrap_or_default()))
        })
    }

    fn content_without<'a>(&'a self, input: usize) -> Option<BoxFuture<'a, Result<Digest, FakeError>>> {
        let content = Digest::of(self.early.get(input)?.as_ref()?);
        Some(Box::pin(async move { Ok(content) }))
    }

    fn exec<'a>(
        &'a self,
        ctx: &'a ExecCtx,
        inputs: Vec<Tree>,
    ) -> BoxFuture<'a, Result<Vec<Tree>, FakeError>> {
        Box::pin(async move {
            self.world.ran.lock().unwrap().push(self.name.clone());
            let _running = Running::begin(&self.world, self.slot);
            self.world.point();
            let mut content = format!("{}{}", self.name, self.key);
            match &self.does {
                Does::Derive => tokio::task::yield_now().await,
                Does::Give(given) => content = given.clone(),
                Does::GiveEach(_) => {}
                Does::Fail => return Err(FakeError::Failed(self.name.clone())),
                Does::FailAfter(n_yields) => {
                    for _ in 0..*n_yields {
                        tokio::task::yield_now().await;
                    }
                    return Err(FakeError::Failed(self.name.clone()));
                }
                Does::Hang => {
                    ctx.cancel.cancelled().await;
                    for _ in 0..10 {
                        tokio::task::yield_now().await;
                    }
                    return Err(FakeError::Cancelled);
                }
                Does::Linger(hold, n_yields) => {
                    for idx in 0..2 * n_yields {
                        if idx == *n_yields {
                            hold.hold(Op::vertex(self));
                        }
                        tokio::task::yield_now().await;
                    }
                    return Err(FakeError::Failed(self.name.clone()));
                }
                Does::Meet(barrier) => {
                    barrier.wait().await;
                }
                Does::Work(n_yields) => {
                    for _ in 0..*n_yields {
                        tokio::task::yield_now().await;
                        self.world.point();
                        if ctx.cancel.is_cancelled() {
                            return Err(FakeError::Cancelled);
                        }
                    }
                }
            }
            if !matches!(self.does, Does::Give(_) | Does::GiveEach(_)) {
                inputs
                    .iter()
                    .for_each(|input| content = format!("{content}({})", Digest::of(&input.content).short()));
            }
            self.world.point();
            let run = self.world.n_runs.fetch_add(1, Ordering::Relaxed);
            let tree = |output| {
                let content = match &self.does {
                    Does::GiveEach(given) => &given[output],
                    _ => &content,
                };
                Tree { content: format!("{content}#{output}"), run: run * 100 + output }
            };
            Ok((0..self.n_outputs).map(tree).collect())
        })
    }

    /// What has no inputs is a source.
    fn takes_offers(&self) -> bool {
        !self.rules.is_empty()
    }

    fn slot(&self) -> Slot {
        self.slot
    }
}

/// A cache in memory.
#[derive(Default)]
pub(super) struct Cache {
    pub(super) records: Mutex<HashMap<Digest, Record<Tree>>>,
    pub(super) n_gets: AtomicUsize,
    /// Whether results of equal content are told to be equal.
    pub(super) compares: bool,
    pub(super) leases: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
    /// Leases that are held, now and at most.
    pub(super) n_held: Arc<(AtomicUsize, AtomicUsize)>,
    /// Turned on at that look-up.
    pub(super) cancel_at: Mutex<Option<(usize, Cancel)>>,
    /// What other machines have.
    pub(super) foreign: Option<Arc<super::imports::Foreign>>,
}

/// A lease that is counted.
pub(super) struct Held {
    _guard: tokio::sync::OwnedMutexGuard<()>,
    n_held: Arc<(AtomicUsize, AtomicUsize)>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.n_held.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl CacheStore for Cache {
    type Output = Tree;
    type Lease = Held;

    fn get(&self, key: &Digest) -> Option<Record<Tree>> {
        let n_gets = self.n_gets.fetch_add(1, Ordering::Relaxed);
        if let Some((at, cancel)) = &*self.cancel_at.lock().unwrap()
            && *at == n_gets
        {
            cancel.cancel();
        }
        self.records.lock().unwrap().get(key).cloned()
    }

    fn adopt(&self, output: Tree) -> BoxFuture<'_, Tree> {
        if !self.compares {
            return Box::pin(async move { output });
        }
        let records = self.records.lock().unwrap();
        let equal = records.values().filter(|it| it.output.content == output.content);
        let oldest = equal.map(|it| it.output.clone()).min_by_key(|it| it.run);
        Box::pin(async move { oldest.unwrap_or(output) })
    }

    fn put(&self, keys: &[Digest], record: &Record<Tree>) {
        for key in keys {
            self.records.lock().unwrap().insert(*key, record.clone());
        }
    }

    fn imports(&self) -> Option<&dyn Imports<Tree>> {
        self.foreign.as_deref().map(|it| it as &dyn Imports<Tree>)
    }

    fn lease<'a>(&'a self, key: &'a Digest) -> BoxFuture<'a, Self::Lease> {
        let lock = self.leases.lock().unwrap().entry(*key).or_default().clone();
        let n_held = self.n_held.clone();
        Box::pin(async move {
            let _guard = lock.lock_owned().await;
            n_held.1.fetch_max(n_held.0.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            Held { _guard, n_held }
        })
    }
}

/// A plan being written, and everything it runs against.
pub(super) struct Bench {
    pub(super) world: Arc<World>,
    pub(super) cache: Arc<Cache>,
    pub(super) scheduler: Arc<Scheduler<Fake>>,
    pub(super) hold: Hold,
}

pub(super) const KEY: InputRule = InputRule::Key { selector: None };
pub(super) const CONTENT: InputRule = InputRule::Content { selector: None };

impl Bench {
    pub(super) fn new() -> Bench {
        Bench::with(Limits { commands: 4, network: 4, disk: 4 })
    }

    pub(super) fn with(limits: Limits) -> Bench {
        Bench {
            world: Arc::default(),
            cache: Arc::default(),
            scheduler: Arc::new(Scheduler::new(limits)),
            hold: Hold::default(),
        }
    }

    /// With a cache that finds equal results.
    pub(super) fn comparing() -> Bench {
        Bench { cache: Arc::new(Cache { compares: true, ..Cache::default() }), ..Bench::new() }
    }

    /// What another process would see: the same cache, nothing else.
    pub(super) fn other_process(&self) -> Bench {
        Bench { cache: self.cache.clone(), ..Bench::new() }
    }

    pub(super) fn plan(&self) -> PlanOf {
        PlanOf { world: self.world.clone(), plan: Plan { nodes: Vec::new(), roots: Vec::new() } }
    }

    pub(super) async fn solve(&self, plan: &Plan<Fake>) -> Result<Solved<Tree>, Failure<FakeError>> {
        self.solve_with(plan, &Cancel::new()).await
    }

    pub(super) async fn solve_with(
        &self,
        plan: &Plan<Fake>,
        cancel: &Cancel,
    ) -> Result<Solved<Tree>, Failure<FakeError>> {
        self.scheduler
            .solve(plan, self.cache.clone(), Arc::new(|_: Event| {}), cancel, &self.hold)
            .await
            .result
    }

    /// Solves and gives the names of the ops that ran, sorted, with the first root's content.
    pub(super) async fn ran(&self, plan: &Plan<Fake>) -> (Vec<String>, String) {
        let solved = self.solve(plan).await.expect("the plan can be solved");
        assert_eq!(self.world.n_running.load(Ordering::Relaxed), 0);
        let mut ran = self.world.take_ran();
        ran.sort();
        let mut executed: Vec<_> = solved.executed.iter().map(|&it| plan.nodes[it].op.name()).collect();
        executed.sort();
        assert_eq!(ran, executed, "what ran is what is reported");
        (ran, solved.roots[0].content.clone())
    }
}

impl Bench {
    /// [`Bench::ran`] of a plan for this bench.
    pub(super) async fn ran_of(self, plan: impl FnOnce(&Bench) -> Plan<Fake>) -> (Vec<String>, String) {
        let plan = plan(&self);
        self.ran(&plan).await
    }
}

pub(super) struct PlanOf {
    world: Arc<World>,
    pub(super) plan: Plan<Fake>,
}

impl PlanOf {
    pub(super) fn fake(&self, name: &str, rules: &[InputRule]) -> Fake {
        Fake {
            name: name.to_owned(),
            key: String::new(),
            rules: rules.to_vec(),
            reads_until: '#',
            early: Vec::new(),
            n_outputs: 1,
            ignore: false,
            does: Does::Derive,
            slot: Slot::Command,
            world: self.world.clone(),
        }
    }

    pub(super) fn add(&mut self, fake: Fake, inputs: &[usize]) -> usize {
        self.add_edges(fake, inputs.iter().map(|&it| (it, 0)).collect())
    }

    pub(super) fn add_edges(&mut self, fake: Fake, inputs: Vec<(usize, usize)>) -> usize {
        self.plan.nodes.push(Node { op: Arc::new(fake), inputs: inputs.into() });
        self.plan.nodes.len() - 1
    }

    /// A source that stands for `content` now.
    pub(super) fn source(&mut self, name: &str, content: &str) -> usize {
        let fake = Fake {
            key: content.to_owned(),
            does: Does::Give(content.to_owned()),
            slot: Slot::Network,
            ..self.fake(name, &[])
        };
        self.add(fake, &[])
    }

    /// An op that uses its inputs by their keys.
    pub(super) fn step(&mut self, name: &str, inputs: &[usize]) -> usize {
        self.add(self.fake(name, &vec![KEY; inputs.len()]), inputs)
    }

    /// An op with a base by key and a source by content.
    pub(super) fn copy(&mut self, name: &str, base: usize, from: usize) -> usize {
        self.add(self.fake(name, &[KEY, CONTENT]), &[base, from])
    }

    pub(super) fn root(mut self, vertex: usize) -> Plan<Fake> {
        self.plan.roots.push((vertex, 0));
        self.plan
    }
}
