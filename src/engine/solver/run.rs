//! One solve: the work list that turns a plan into results.
//!
//! A vertex is asked for the *key* of one of its edges (what its users' keys are made of) or for the *result*. It moves
//! through [`Stage`]s as answers come in; every move is a [`Step`] on a list, so the depth of the graph is nobody's
//! recursion, and every edge causes a bounded number of steps.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::SystemTime;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::account::account;
use super::flight::{ExecCtx, Flights, Landing, Listener};
use super::key::{self, Part};
use super::steps::Step;
use super::vertex::{Stage, Vertex, Wanted};
use super::{
    Account, Aftermath, CacheMap, CacheStore, Failure, InputRule, Ledger, Limits, Op, OpError, Outcome,
    Output, Plan, Scheduler, Slot, Solved,
};
use crate::base::Digest;
use crate::engine::cancel::{Cancel, Hold};
use crate::engine::event::{Event, EventSink};

/// An answer from outside of the loop.
pub(super) enum Answer<O: Op> {
    Content { vertex: usize, input: usize, digest: Result<Digest, O::Error> },
    Landed { vertex: usize, landing: Landing<O>, started: bool },
    Loaded { vertex: usize, output: usize, result: Option<O::Output> },
}

/// What a solve is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To have the results.
    Build,
    /// To know what would have to be run for them; nothing is.
    Survey,
}

/// A solve under way.
pub(super) struct Run<'a, O: Op, C> {
    pub(super) scheduler: &'a Arc<Scheduler<O>>,
    pub(super) plan: &'a Plan<O>,
    pub(super) purpose: Purpose,
    pub(super) cache: Arc<C>,
    pub(super) events: EventSink,
    /// On when this solve is over, for whatever reason.
    pub(super) stop: Cancel,
    /// On when nothing may begin any more, though what runs goes on.
    pub(super) hold: Hold,
    pub(super) vertices: Vec<Option<Vertex<O::Output>>>,
    pub(super) steps: VecDeque<Step>,
    pub(super) answers: FuturesUnordered<BoxFuture<'a, Answer<O>>>,
    /// What says whether a `Started` event was sent, for those that may send one.
    started: HashMap<usize, Arc<AtomicBool>>,
    /// Executions among them.
    pub(super) n_flying: Arc<AtomicUsize>,
    pub(super) executed: Vec<usize>,
    pub(super) failures: Vec<(usize, Arc<O::Error>)>,
    /// The turns of what failed, kept until everything has stopped.
    turns: Vec<Arc<OwnedSemaphorePermit>>,
    /// The caller's switch was turned on before anything failed: what fails afterwards fails because of it.
    pub(super) cancelled: bool,
}

impl<O: Op> Scheduler<O> {
    /// A scheduler with nothing running.
    pub fn new(limits: Limits) -> Scheduler<O> {
        let permits = |n: usize| Arc::new(Semaphore::new(n.max(1)));
        Scheduler {
            commands: permits(limits.commands),
            network: permits(limits.network),
            disk: permits(limits.disk),
            flights: Arc::new(Flights::new()),
        }
    }

    /// Makes the results of the plan's roots, or finds them.
    ///
    /// Returns when nothing of this solve runs any more: after the first failure, and after `cancel` was turned on, the
    /// rest is stopped and waited for. Executions that other solves wait for go on. With `hold` on nothing begins: who
    /// turned it on fails in the end, and is the first failure that is told.
    pub async fn solve<'p, C: CacheStore<Output = O::Output>>(
        self: &Arc<Self>,
        plan: &'p Plan<O>,
        cache: Arc<C>,
        events: EventSink,
        cancel: &Cancel,
        hold: &Hold,
    ) -> Outcome<'p, O> {
        self.solve_and(plan, cache, events, cancel, hold, Aftermath::Nothing).await
    }

    /// As [`Scheduler::solve`]; with [`Aftermath::Trace`], a success has [`Outcome::trace`].
    #[allow(clippy::too_many_arguments, reason = "as there")]
    pub async fn solve_and<'p, C: CacheStore<Output = O::Output>>(
        self: &Arc<Self>,
        plan: &'p Plan<O>,
        cache: Arc<C>,
        events: EventSink,
        cancel: &Cancel,
        hold: &Hold,
        aftermath: Aftermath,
    ) -> Outcome<'p, O> {
        let mut run = Run::new(self, plan, Purpose::Build, cache, events, cancel);
        run.hold = hold.clone();
        let n_reachable = match run.define().await {
            Ok(n_reachable) => n_reachable,
            Err(failure) => {
                let ledger = Ledger { plan, vertices: Vec::new() };
                return Outcome {
                    result: Err(failure),
                    ran: Vec::new(),
                    sources: Vec::new(),
                    ledger,
                    trace: None,
                };
            }
        };
        run.drive().await;
        run.wind_down().await;
        let trace = match aftermath {
            Aftermath::Trace if run.failures.is_empty() && !run.cancelled => Some(run.trace(cancel).await),
            Aftermath::Trace | Aftermath::Nothing => None,
        };
        let ended = run.executed.iter().copied();
        let mut ran: Vec<usize> = ended.chain(run.failures.iter().map(|(vertex, _)| *vertex)).collect();
        // What failed before it could run has no account.
        ran.retain(|&vertex| run.at(vertex).content().is_some());
        ran.sort_unstable();
        ran.dedup();
        let inputs = |&vertex: &usize| plan.nodes[vertex].inputs.iter().map(|&(input, _)| input);
        let all = ran.iter().flat_map(inputs).chain(ran.iter().copied());
        let mut sources: Vec<usize> = all.filter(|&vertex| plan.nodes[vertex].inputs.is_empty()).collect();
        sources.sort_unstable();
        sources.dedup();
        let result = run.finish(n_reachable);
        let ledger = Ledger { plan, vertices: run.vertices };
        Outcome { result, ran, sources, ledger, trace }
    }

    /// Finds out what [`Scheduler::solve`] would do now, as far as can be told without running or fetching anything: an
    /// account of each vertex, `None` where no root needs it.
    pub async fn survey<C: CacheStore<Output = O::Output>>(
        self: &Arc<Self>,
        plan: &Plan<O>,
        cache: Arc<C>,
        cancel: &Cancel,
    ) -> Result<Vec<Option<Account>>, Failure<O::Error>> {
        let mut run = Run::new(self, plan, Purpose::Survey, cache, Arc::new(|_| {}), cancel);
        run.define().await?;
        run.drive().await;
        run.wind_down().await;
        if !run.failures.is_empty() || run.cancelled {
            return Err(run.failure());
        }
        let accounts = (0..plan.nodes.len()).map(|vertex| {
            let is_needed = run.vertices[vertex].is_some();
            is_needed.then(|| account(plan, &run.vertices, vertex))
        });
        Ok(accounts.collect())
    }

    pub(super) fn slot(&self, slot: Slot) -> Option<Arc<Semaphore>> {
        match slot {
            Slot::Command => Some(self.commands.clone()),
            Slot::Network => Some(self.network.clone()),
            Slot::Disk => Some(self.disk.clone()),
            Slot::Free => None,
        }
    }
}

impl<'a, O: Op, C: CacheStore<Output = O::Output>> Run<'a, O, C> {
    fn new(
        scheduler: &'a Arc<Scheduler<O>>,
        plan: &'a Plan<O>,
        purpose: Purpose,
        cache: Arc<C>,
        events: EventSink,
        cancel: &Cancel,
    ) -> Run<'a, O, C> {
        Run {
            scheduler,
            plan,
            purpose,
            cache,
            events,
            stop: cancel.child(),
            hold: Hold::default(),
            vertices: Vec::new(),
            steps: VecDeque::new(),
            answers: FuturesUnordered::new(),
            started: HashMap::new(),
            n_flying: Arc::default(),
            executed: Vec::new(),
            failures: Vec::new(),
            turns: Vec::new(),
            cancelled: false,
        }
    }

    /// Asks every vertex that a root needs for its cache map and computes the definition keys; gives their number.
    async fn define(&mut self) -> Result<usize, Failure<O::Error>> {
        let n_nodes = self.plan.nodes.len();
        let mut needed = vec![false; n_nodes];
        self.plan.roots.iter().for_each(|&(vertex, _)| needed[vertex] = true);
        for vertex in (0..n_nodes).rev() {
            if needed[vertex] {
                self.plan.nodes[vertex].inputs.iter().for_each(|&(input, _)| needed[input] = true);
            }
        }
        self.vertices = (0..n_nodes).map(|_| None).collect();
        let ctx = ExecCtx::detached(self.stop.clone());
        let mut asked = FuturesUnordered::new();
        for vertex in (0..n_nodes).filter(|&vertex| needed[vertex]) {
            let mut asking = self.plan.nodes[vertex].op.cache_map(&ctx);
            // All but sources answer at once.
            match asking.as_mut().now_or_never() {
                Some(map) => self.keep_map(vertex, map),
                None => asked.push(asking.map(move |map| (vertex, map))),
            }
        }
        let stop = self.stop.clone();
        let mut stopped = std::pin::pin!(stop.cancelled().fuse());
        while self.failures.is_empty() && !self.cancelled && !asked.is_empty() {
            tokio::select! {
                biased;
                () = &mut stopped => self.cancelled = true,
                Some((vertex, map)) = asked.next() => self.keep_map(vertex, map),
            }
        }
        drop(asked);
        if !self.failures.is_empty() || self.cancelled {
            return Err(self.failure());
        }
        let mut n_reachable = 0;
        for vertex in (0..n_nodes).filter(|&vertex| needed[vertex]) {
            self.derive(vertex);
            n_reachable += 1;
        }
        if self.cache.imports().is_some() && self.purpose == Purpose::Build {
            self.learn_contents().await;
            (0..n_nodes).filter(|&it| needed[it]).for_each(|it| self.find_offers(it));
        }
        Ok(n_reachable)
    }

    fn keep_map(&mut self, vertex: usize, map: Result<CacheMap, O::Error>) {
        match map {
            Ok(map) => {
                let node = &self.plan.nodes[vertex];
                assert_eq!(map.inputs.len(), node.inputs.len(), "a rule for every input");
                self.vertices[vertex] = Some(Vertex::new(map, node.op.n_outputs()));
            }
            Err(error) => self.unstarted(vertex, error),
        }
    }

    /// Finds out what a vertex has from those below, which have it.
    fn derive(&mut self, vertex: usize) {
        let (node, state) = (&self.plan.nodes[vertex], self.at(vertex));
        let parts = node.inputs.iter().enumerate().map(|(idx, &(input, output))| {
            let (InputRule::Key { selector } | InputRule::Content { selector }) = state.rule(idx);
            Part::Key { edge: key::edge(&self.at(input).def, output), selector }
        });
        let def = key::vertex(&state.digest, parts);
        let tainted = node
            .inputs
            .iter()
            .any(|&(input, _)| self.at(input).tainted || self.plan.nodes[input].op.ignore_cache());
        let state = self.at_mut(vertex);
        (state.def, state.tainted) = (def, tainted);
    }

    /// Works until all roots have results, something failed, or the solve is stopped.
    async fn drive(&mut self) {
        let stop = self.stop.clone();
        let mut stopped = std::pin::pin!(stop.cancelled().fuse());
        for &(vertex, output) in &self.plan.roots {
            self.steps.push_back(Step::WantResult(vertex, output));
        }
        loop {
            while let Some(step) = self.steps.pop_front() {
                self.act(step);
            }
            let is_solved = self
                .plan
                .roots
                .iter()
                .all(|&(vertex, output)| self.at(vertex).outputs[output].result.is_some());
            if is_solved || !self.failures.is_empty() {
                return;
            }
            let answer = tokio::select! {
                biased;
                () = &mut stopped => {
                    self.cancelled = true;
                    return;
                }
                answer = self.answers.next() => answer,
            };
            match (answer, self.purpose) {
                (Some(answer), _) => self.take(answer),
                // What is left waits for what would run.
                (None, Purpose::Survey) => return,
                (None, Purpose::Build) => unreachable!("a solve without results waits for something"),
            }
        }
    }

    /// Stops what still runs and waits for its end; failures on the way are kept.
    async fn wind_down(&mut self) {
        self.stop.cancel();
        while let Some(answer) = self.answers.next().await {
            match answer {
                Answer::Content { vertex, digest: Err(error), .. } => self.unstarted(vertex, error),
                Answer::Content { digest: Ok(_), .. } => {}
                Answer::Loaded { vertex, .. } => {
                    if self.is_started(vertex) {
                        self.tell_completed(vertex, Some("cancelled".to_owned()), false);
                    }
                }
                Answer::Landed { vertex, landing, started } => self.completed(vertex, &landing, started),
            }
        }
        self.turns.clear();
    }

    fn finish(&mut self, n_reachable: usize) -> Result<Solved<O::Output>, Failure<O::Error>> {
        let root = |&(vertex, output): &(usize, usize)| self.at(vertex).outputs[output].result.clone();
        match self.plan.roots.iter().map(root).collect::<Option<Vec<_>>>() {
            Some(roots) => {
                self.executed.sort_unstable();
                Ok(Solved { roots, executed: std::mem::take(&mut self.executed), n_reachable })
            }
            None => Err(self.failure()),
        }
    }

    fn failure(&mut self) -> Failure<O::Error> {
        let mut failures = std::mem::take(&mut self.failures);
        // It ends later than it failed.
        failures.sort_by_key(|&(vertex, _)| self.hold.by() != Some(&self.plan.nodes[vertex].op.vertex()));
        let mut failures = failures.into_iter();
        match failures.next() {
            Some((vertex, error)) if !self.cancelled => {
                Failure::Op { vertex, error, others: failures.collect() }
            }
            Some(_) | None => Failure::Cancelled,
        }
    }

    // ---- answers ---------------------------------------------------------------------------------------------

    fn take(&mut self, answer: Answer<O>) {
        match answer {
            Answer::Content { vertex, input, digest: Ok(digest) } => {
                self.set_content_of(vertex, input, Some(digest));
                self.one_less(vertex);
            }
            Answer::Content { vertex, digest: Err(error), .. } => self.unstarted(vertex, error),
            Answer::Loaded { vertex, output, result } => self.loaded(vertex, output, result),
            Answer::Landed { vertex, landing, started } => {
                self.completed(vertex, &landing, started);
                if let Landing::Found(outputs) = &landing {
                    outputs.iter().for_each(|it| self.cache.joined(it));
                }
                if let Landing::Ran(outputs) | Landing::Found(outputs) = landing {
                    self.landed(vertex, outputs);
                }
            }
        }
    }

    fn landed(&mut self, vertex: usize, outputs: Vec<O::Output>) {
        let ignores = self.plan.nodes[vertex].op.ignore_cache();
        let state = self.at_mut(vertex);
        state.stage = Stage::Done;
        let content = state.content().expect("a vertex that ran has a content key");
        assert_eq!(outputs.len(), state.outputs.len(), "an op gives all its outputs");
        for (output, result) in outputs.into_iter().enumerate() {
            let state = self.at_mut(vertex);
            let mut keys = content.of(output);
            if ignores {
                keys.used = key::rerun(&keys.used, &result.identity());
            }
            if !state.has_keys(output) {
                state.set_keys(output, keys);
            }
            if state.made_by(output).is_none() {
                state.set_made_by(output, content.plain);
            }
            state.outputs[output].result.get_or_insert(result);
            self.key_there(vertex, output);
            self.result_there(vertex, output);
        }
    }

    /// Tells how an execution ended, keeps its failure, counts it.
    fn completed(&mut self, vertex: usize, landing: &Landing<O>, started: bool) {
        // Its execution is over: nobody sends events any more.
        self.at_mut(vertex).was_started = self.is_started(vertex);
        self.started.remove(&vertex);
        match landing {
            Landing::Ran(_) => {
                self.executed.push(vertex);
                self.tell_completed(vertex, None, false);
            }
            Landing::Found(_) if started => self.tell_completed(vertex, None, true),
            Landing::Found(_) => self.tell_cached(vertex),
            Landing::Failed(error, turn) => {
                self.tell_completed(vertex, Some(error.to_string()), false);
                self.failures.push((vertex, error.clone()));
                self.turns.extend(turn.clone());
            }
            Landing::Cancelled if started => self.tell_completed(vertex, Some("cancelled".to_owned()), false),
            Landing::Cancelled => {}
            Landing::Panicked(_) => unreachable!("panics are passed on where they are seen"),
        }
    }

    /// A vertex failed before it ran.
    fn unstarted(&mut self, vertex: usize, error: O::Error) {
        if !error.is_cancelled() {
            self.listener(vertex).start();
            self.tell_completed(vertex, Some(error.to_string()), false);
            self.failures.push((vertex, Arc::new(error)));
        }
    }

    // ---- helpers ---------------------------------------------------------------------------------------------

    pub(super) fn at(&self, vertex: usize) -> &Vertex<O::Output> {
        self.vertices[vertex].as_ref().expect("only vertices that a root needs are touched")
    }

    pub(super) fn at_mut(&mut self, vertex: usize) -> &mut Vertex<O::Output> {
        self.vertices[vertex].as_mut().expect("as in `at`")
    }

    pub(super) fn set_content_of(&mut self, vertex: usize, input: usize, content: Option<Digest>) {
        let n_inputs = self.plan.nodes[vertex].inputs.len();
        self.at_mut(vertex).set_content_of(input, n_inputs, content);
    }

    pub(super) fn key_there(&mut self, vertex: usize, output: usize) {
        let plan = self.plan;
        let state = self.vertices[vertex].as_mut().expect("as in `at`");
        let steps = &mut self.steps;
        state.meet(Wanted::Key, |user, input| {
            let is_met = plan.nodes[user].inputs[input].1 == output;
            if is_met {
                steps.push_back(Step::KeyCame(user));
            }
            is_met
        });
    }

    pub(super) fn result_there(&mut self, vertex: usize, output: usize) {
        let plan = self.plan;
        let state = self.vertices[vertex].as_mut().expect("as in `at`");
        let steps = &mut self.steps;
        state.meet(Wanted::Result, |user, input| {
            let is_met = plan.nodes[user].inputs[input].1 == output;
            if is_met {
                steps.push_back(Step::ResultCame(user, input));
            }
            is_met
        });
    }

    fn inputs(&self, vertex: usize) -> Vec<Digest> {
        self.plan.nodes[vertex].inputs.iter().map(|&(input, _)| self.plan.nodes[input].op.vertex()).collect()
    }

    /// Whether a `Started` event was sent.
    pub(super) fn is_started(&self, vertex: usize) -> bool {
        let was_started = self.vertices[vertex].as_ref().is_some_and(|it| it.was_started);
        was_started || self.started.get(&vertex).is_some_and(|it| it.load(Ordering::Relaxed))
    }

    pub(super) fn listener(&mut self, vertex: usize) -> Listener {
        let was_started = self.is_started(vertex);
        let started = self.started.entry(vertex).or_insert_with(|| Arc::new(AtomicBool::new(was_started)));
        let op = &self.plan.nodes[vertex].op;
        Listener {
            vertex: op.vertex(),
            name: op.name(),
            started: started.clone(),
            inputs: self.inputs(vertex),
            events: self.events.clone(),
        }
    }

    pub(super) fn tell_completed(&self, vertex: usize, error: Option<String>, cached: bool) {
        let vertex = self.plan.nodes[vertex].op.vertex();
        (self.events)(Event::Completed { vertex, at: SystemTime::now(), error, cached });
    }

    /// Told once per vertex.
    pub(super) fn tell_cached(&mut self, vertex: usize) {
        if !std::mem::replace(&mut self.at_mut(vertex).announced, true) {
            let op = &self.plan.nodes[vertex].op;
            let (inputs, at) = (self.inputs(vertex), SystemTime::now());
            (self.events)(Event::Cached { vertex: op.vertex(), name: op.name(), inputs, at });
        }
    }
}
