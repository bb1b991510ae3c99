//! One solve: the work list that turns a plan into results.
//!
//! A vertex is asked for the *key* of one of its edges (what its users' keys are made of) or for the *result*. It moves
//! through [`Stage`]s as answers come in; every move is a [`Step`] on a list, so the depth of the graph is nobody's
//! recursion, and every edge causes a bounded number of steps.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::Semaphore;

use super::flight::{ExecCtx, Flights, Landing, Listener};
use super::key::{self, Part};
use super::{
    CacheMap, CacheStore, Failure, InputRule, Limits, Op, OpError, Output, Plan, Record, Scheduler, Slot,
    Solved,
};
use crate::base::Digest;
use crate::engine::cancel::Cancel;
use crate::engine::event::{Event, EventSink};

/// How far a vertex is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing was needed of it but, perhaps, look-ups by definition key.
    Idle,
    /// Its definition key found nothing: what its content key is made of is being collected.
    Keying,
    /// Its content key is known.
    Keyed,
    /// It has to run: its inputs' results are being collected.
    Gathering,
    /// It runs.
    Running,
    /// It ran.
    Done,
}

/// Something that happened to a vertex and has to be acted on.
enum Step {
    /// The key of an edge is needed.
    WantKey(usize, usize),
    /// The result of an edge is needed.
    WantResult(usize, usize),
    /// The key of an input of the vertex is there.
    KeyCame(usize),
    /// The result of input `1` of vertex `0` is there.
    ResultCame(usize, usize),
    /// Input `1` of vertex `0` has no result in the cache and will have to be made, if `0` is.
    Doomed(usize, usize),
}

/// An answer from outside of the loop.
enum Answer<O: Op> {
    Content { vertex: usize, input: usize, digest: Result<Digest, O::Error> },
    Landed { vertex: usize, landing: Landing<O>, started: bool },
}

/// An edge's keys.
#[derive(Clone, Copy)]
struct EdgeKeys {
    /// What this solve's users make their keys of.
    used: Digest,
    /// The same if no vertex below had ignored the cache: what the record is kept by.
    plain: Digest,
}

struct Vertex<R> {
    map: CacheMap,
    /// Definition key.
    def: Digest,
    /// A vertex below ignores the cache: the definition key says nothing about this build's result.
    tainted: bool,
    stage: Stage,
    /// What the stage still waits for.
    n_missing: usize,
    /// Content digests of inputs, where asked.
    contents: Vec<Option<Digest>>,
    /// Content key of the vertex, in both senses of [`EdgeKeys`].
    content: Option<EdgeKeys>,
    /// By output.
    keys: Vec<Option<EdgeKeys>>,
    /// By output.
    results: Vec<Option<R>>,
    /// By output: whether a look-up by content key was made, or will be once there is one.
    wanted: Vec<bool>,
    wants_result: bool,
    /// It has to run, as far as can be told.
    doomed: bool,
    doomed_inputs: Vec<usize>,
    /// Users and their input index, waiting for a key.
    key_waiters: Vec<(usize, usize)>,
    /// Users and their input index, waiting for a result.
    result_waiters: Vec<(usize, usize)>,
    /// A `Cached` event was sent.
    announced: bool,
}

struct Run<'a, O: Op, C> {
    scheduler: &'a Arc<Scheduler<O>>,
    plan: &'a Plan<O>,
    cache: Arc<C>,
    events: EventSink,
    /// On when this solve is over, for whatever reason.
    stop: Cancel,
    vertices: Vec<Option<Vertex<O::Output>>>,
    steps: VecDeque<Step>,
    answers: FuturesUnordered<BoxFuture<'a, Answer<O>>>,
    executed: Vec<usize>,
    failures: Vec<(usize, Arc<O::Error>)>,
    /// The caller's switch was turned on before anything failed: what fails afterwards fails because of it.
    cancelled: bool,
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
    /// rest is stopped and waited for. Executions that other solves wait for go on.
    pub async fn solve<C: CacheStore<Output = O::Output>>(
        self: &Arc<Self>,
        plan: &Plan<O>,
        cache: Arc<C>,
        events: EventSink,
        cancel: &Cancel,
    ) -> Result<Solved<O::Output>, Failure<O::Error>> {
        let mut run = Run {
            scheduler: self,
            plan,
            cache,
            events,
            stop: cancel.child(),
            vertices: Vec::new(),
            steps: VecDeque::new(),
            answers: FuturesUnordered::new(),
            executed: Vec::new(),
            failures: Vec::new(),
            cancelled: false,
        };
        let n_reachable = run.define().await?;
        run.drive().await;
        run.wind_down().await;
        run.finish(n_reachable)
    }

    fn slot(&self, slot: Slot) -> Option<Arc<Semaphore>> {
        match slot {
            Slot::Command => Some(self.commands.clone()),
            Slot::Network => Some(self.network.clone()),
            Slot::Disk => Some(self.disk.clone()),
            Slot::Free => None,
        }
    }
}

impl<'a, O: Op, C: CacheStore<Output = O::Output>> Run<'a, O, C> {
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
        let mut maps: Vec<Option<CacheMap>> = (0..n_nodes).map(|_| None).collect();
        let ctx = ExecCtx::detached(self.stop.clone());
        let mut asked = FuturesUnordered::new();
        for vertex in (0..n_nodes).filter(|&vertex| needed[vertex]) {
            let mut asking = self.plan.nodes[vertex].op.cache_map(&ctx);
            // All but sources answer at once.
            match asking.as_mut().now_or_never() {
                Some(map) => self.keep_map(&mut maps, vertex, map),
                None => asked.push(asking.map(move |map| (vertex, map))),
            }
        }
        let stop = self.stop.clone();
        let mut stopped = std::pin::pin!(stop.cancelled().fuse());
        while self.failures.is_empty() && !self.cancelled && !asked.is_empty() {
            tokio::select! {
                biased;
                () = &mut stopped => self.cancelled = true,
                Some((vertex, map)) = asked.next() => self.keep_map(&mut maps, vertex, map),
            }
        }
        drop(asked);
        if !self.failures.is_empty() || self.cancelled {
            return Err(self.failure());
        }
        self.vertices = (0..n_nodes).map(|_| None).collect();
        let mut n_reachable = 0;
        for (idx, map) in maps.into_iter().enumerate() {
            if let Some(map) = map {
                self.vertices[idx] = Some(self.vertex(idx, map));
                n_reachable += 1;
            }
        }
        Ok(n_reachable)
    }

    fn keep_map(&mut self, maps: &mut [Option<CacheMap>], vertex: usize, map: Result<CacheMap, O::Error>) {
        match map {
            Ok(map) => {
                assert_eq!(map.inputs.len(), self.plan.nodes[vertex].inputs.len(), "a rule for every input");
                maps[vertex] = Some(map);
            }
            Err(error) => self.unstarted(vertex, error),
        }
    }

    /// The state of a vertex whose inputs have theirs.
    fn vertex(&self, idx: usize, map: CacheMap) -> Vertex<O::Output> {
        let node = &self.plan.nodes[idx];
        let below = |input: usize| self.vertices[input].as_ref().expect("inputs come before users");
        let parts = node.inputs.iter().zip(&map.inputs).map(|(&(input, output), rule)| {
            let (InputRule::Key { selector } | InputRule::Content { selector }) = *rule;
            Part::Key { edge: key::edge(&below(input).def, output), selector }
        });
        let def = key::vertex(&map.digest, parts);
        let tainted = node
            .inputs
            .iter()
            .any(|&(input, _)| below(input).tainted || self.plan.nodes[input].op.ignore_cache());
        let n_outputs = node.op.n_outputs();
        Vertex {
            def,
            tainted,
            stage: Stage::Idle,
            n_missing: 0,
            contents: vec![None; node.inputs.len()],
            content: None,
            keys: vec![None; n_outputs],
            results: vec![None; n_outputs],
            wanted: vec![false; n_outputs],
            wants_result: false,
            doomed: false,
            doomed_inputs: Vec::new(),
            key_waiters: Vec::new(),
            result_waiters: Vec::new(),
            announced: false,
            map,
        }
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
            let is_solved =
                self.plan.roots.iter().all(|&(vertex, output)| self.at(vertex).results[output].is_some());
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
            self.take(answer.expect("a solve without results waits for something"));
        }
    }

    /// Stops what still runs and waits for its end; failures on the way are kept.
    async fn wind_down(&mut self) {
        self.stop.cancel();
        while let Some(answer) = self.answers.next().await {
            match answer {
                Answer::Content { vertex, digest, .. } => {
                    drop(digest.map_err(|error| self.unstarted(vertex, error)))
                }
                Answer::Landed { vertex, landing, started } => self.completed(vertex, &landing, started),
            }
        }
    }

    fn finish(mut self, n_reachable: usize) -> Result<Solved<O::Output>, Failure<O::Error>> {
        let root = |&(vertex, output): &(usize, usize)| self.at(vertex).results[output].clone();
        match self.plan.roots.iter().map(root).collect::<Option<Vec<_>>>() {
            Some(roots) => {
                self.executed.sort_unstable();
                Ok(Solved { roots, executed: self.executed, n_reachable })
            }
            None => Err(self.failure()),
        }
    }

    fn failure(&mut self) -> Failure<O::Error> {
        let mut failures = std::mem::take(&mut self.failures).into_iter();
        match failures.next() {
            Some((vertex, error)) if !self.cancelled => {
                Failure::Op { vertex, error, others: failures.collect() }
            }
            Some(_) | None => Failure::Cancelled,
        }
    }

    // ---- steps -----------------------------------------------------------------------------------------------

    fn act(&mut self, step: Step) {
        match step {
            Step::WantKey(vertex, output) => {
                if self.at(vertex).keys[output].is_some() {
                    self.key_there(vertex, output);
                } else {
                    self.approach(vertex, output);
                }
            }
            Step::WantResult(vertex, output) => {
                self.approach(vertex, output);
                if self.at(vertex).results[output].is_some() {
                    self.result_there(vertex, output);
                } else {
                    self.pursue(vertex);
                }
            }
            Step::KeyCame(user) => self.one_less(user),
            Step::ResultCame(user, input) => match self.at(user).stage {
                Stage::Keying if matches!(self.at(user).map.inputs[input], InputRule::Content { .. }) => {
                    self.ask_content(user, input);
                }
                Stage::Keying | Stage::Gathering => self.one_less(user),
                Stage::Idle | Stage::Keyed | Stage::Running | Stage::Done => {}
            },
            Step::Doomed(user, input) => {
                let state = self.at_mut(user);
                if state.stage != Stage::Keying {
                    return;
                }
                state.doomed_inputs.push(input);
                if state.wants_result {
                    let (vertex, output) = self.plan.nodes[user].inputs[input];
                    self.steps.push_back(Step::WantResult(vertex, output));
                }
                self.doom(user);
            }
        }
    }

    /// Looks an edge up as far as its keys allow, and starts to collect its content key if that is what it takes.
    fn approach(&mut self, vertex: usize, output: usize) {
        let ignores = self.plan.nodes[vertex].op.ignore_cache();
        let state = self.at_mut(vertex);
        if std::mem::replace(&mut state.wanted[output], true) {
            return;
        }
        match state.stage {
            Stage::Idle => {
                if !ignores && !state.tainted {
                    let key = key::edge(&state.def, output);
                    if let Some(record) = self.cache.get(&key) {
                        let keys = EdgeKeys { used: record.key, plain: record.key };
                        return self.found(vertex, output, keys, record.output);
                    }
                }
                self.begin_keying(vertex);
            }
            Stage::Keyed => self.look_up(vertex, output),
            // The look-up is made when the key is there; a running op gives all outputs.
            Stage::Keying | Stage::Gathering | Stage::Running | Stage::Done => {}
        }
    }

    fn begin_keying(&mut self, vertex: usize) {
        let ignores = self.plan.nodes[vertex].op.ignore_cache();
        let inputs = &self.plan.nodes[vertex].inputs;
        let state = self.at_mut(vertex);
        state.stage = Stage::Keying;
        state.n_missing = inputs.len();
        if ignores {
            self.doom(vertex);
        }
        for (idx, &(input, output)) in inputs.iter().enumerate() {
            let by_content = matches!(self.at(vertex).map.inputs[idx], InputRule::Content { .. });
            // The key of an op that ran again names its new result.
            if by_content || self.plan.nodes[input].op.ignore_cache() {
                self.at_mut(input).result_waiters.push((vertex, idx));
                self.steps.push_back(Step::WantResult(input, output));
            } else {
                self.at_mut(input).key_waiters.push((vertex, idx));
                if self.at(input).doomed {
                    self.steps.push_back(Step::Doomed(vertex, idx));
                }
                self.steps.push_back(Step::WantKey(input, output));
            }
        }
        if inputs.is_empty() {
            self.keyed(vertex);
        }
    }

    /// One of the things that the vertex's stage waits for has come.
    fn one_less(&mut self, vertex: usize) {
        let state = self.at_mut(vertex);
        state.n_missing -= 1;
        if state.n_missing == 0 {
            match state.stage {
                Stage::Keying => self.keyed(vertex),
                Stage::Gathering => self.launch(vertex),
                Stage::Idle | Stage::Keyed | Stage::Running | Stage::Done => {
                    unreachable!("only these stages wait")
                }
            }
        }
    }

    /// The content key can be computed: looks up what is wanted.
    fn keyed(&mut self, vertex: usize) {
        let ignores = self.plan.nodes[vertex].op.ignore_cache();
        let state = self.at(vertex);
        let part = |input: usize, pick: fn(&EdgeKeys) -> Digest| match (
            state.contents[input],
            state.map.inputs[input],
        ) {
            (Some(content), _) => Part::Content(content),
            (None, InputRule::Key { selector } | InputRule::Content { selector }) => {
                let (from, output) = self.plan.nodes[vertex].inputs[input];
                let keys = self.at(from).keys[output].as_ref().expect("keys of inputs are there");
                Part::Key { edge: pick(keys), selector }
            }
        };
        let n_inputs = state.map.inputs.len();
        let with = |pick: fn(&EdgeKeys) -> Digest| {
            key::vertex(&state.map.digest, (0..n_inputs).map(|input| part(input, pick)))
        };
        let content = EdgeKeys { used: with(|keys| keys.used), plain: with(|keys| keys.plain) };
        let n_outputs = state.keys.len();
        let state = self.at_mut(vertex);
        state.content = Some(content);
        state.stage = Stage::Keyed;
        for output in 0..n_outputs {
            if !ignores && self.at(vertex).keys[output].is_none() {
                self.at_mut(vertex).keys[output] = Some(content.of(output));
            }
            if self.at(vertex).wanted[output] && self.at(vertex).results[output].is_none() {
                self.look_up(vertex, output);
            }
        }
        // Users who only need the key go on, whatever the look-up gave.
        for output in 0..n_outputs {
            if self.at(vertex).keys[output].is_some() {
                self.key_there(vertex, output);
            }
        }
        if self.at(vertex).wants_result {
            self.pursue(vertex);
        }
    }

    /// Looks for a result by content key.
    fn look_up(&mut self, vertex: usize, output: usize) {
        let state = self.at(vertex);
        let content = state.content.expect("a keyed vertex has a content key").of(output);
        if !self.plan.nodes[vertex].op.ignore_cache()
            && let Some(record) = self.cache.get(&content.used)
        {
            let def = key::edge(&state.def, output);
            let record = Record { key: content.plain, output: record.output };
            self.cache.put(&distinct([def, content.plain], content.used), &record);
            self.found(vertex, output, content, record.output);
        } else {
            self.doom(vertex);
        }
    }

    /// The result of an edge was in the cache.
    fn found(&mut self, vertex: usize, output: usize, keys: EdgeKeys, result: O::Output) {
        let state = self.at_mut(vertex);
        state.keys[output] = Some(keys);
        state.results[output] = Some(result);
        self.tell_cached(vertex);
        self.key_there(vertex, output);
        self.result_there(vertex, output);
    }

    /// Tells users that the vertex will have to run if they do.
    fn doom(&mut self, vertex: usize) {
        let state = self.at_mut(vertex);
        if !std::mem::replace(&mut state.doomed, true) {
            let told: Vec<_> =
                state.key_waiters.iter().map(|&(user, input)| Step::Doomed(user, input)).collect();
            self.steps.extend(told);
        }
    }

    /// The result of some output is needed and was not found: goes on with what can be done for it now.
    fn pursue(&mut self, vertex: usize) {
        let state = self.at_mut(vertex);
        let is_first = !std::mem::replace(&mut state.wants_result, true);
        match state.stage {
            Stage::Keying if is_first => {
                for input in state.doomed_inputs.clone() {
                    let (vertex, output) = self.plan.nodes[vertex].inputs[input];
                    self.steps.push_back(Step::WantResult(vertex, output));
                }
            }
            Stage::Keyed
                if state.wanted.iter().zip(&state.results).any(|(&wanted, it)| wanted && it.is_none()) =>
            {
                self.gather(vertex);
            }
            Stage::Idle | Stage::Keying | Stage::Keyed | Stage::Gathering | Stage::Running | Stage::Done => {}
        }
    }

    /// The vertex runs: collects the results of all inputs.
    fn gather(&mut self, vertex: usize) {
        self.at_mut(vertex).stage = Stage::Gathering;
        let mut n_missing = 0;
        for (idx, &(input, output)) in self.plan.nodes[vertex].inputs.iter().enumerate() {
            if self.at(input).results[output].is_none() {
                n_missing += 1;
                self.at_mut(input).result_waiters.push((vertex, idx));
                self.steps.push_back(Step::WantResult(input, output));
            }
        }
        self.at_mut(vertex).n_missing = n_missing;
        if n_missing == 0 {
            self.launch(vertex);
        }
    }

    fn launch(&mut self, vertex: usize) {
        let node = &self.plan.nodes[vertex];
        let state = self.at_mut(vertex);
        state.stage = Stage::Running;
        let (content, def) = (state.content.expect("a vertex that runs has a content key"), state.def);
        let inputs: Vec<O::Output> = node
            .inputs
            .iter()
            .map(|&(input, output)| self.at(input).results[output].clone().expect("gathered"))
            .collect();
        let (op, cache, permits) = (node.op.clone(), self.cache.clone(), self.scheduler.slot(node.op.slot()));
        let execution = if op.ignore_cache() { key::fresh(&content.used) } else { content.used };
        let work = move |ctx: ExecCtx| execute(ctx, op, cache, permits, inputs, content, def, execution);
        let (flights, listener, stop) = (&self.scheduler.flights, self.listener(vertex), self.stop.clone());
        let started = listener.started.clone();
        self.answers.push(Box::pin(async move {
            let landing = flights.join(execution, listener, &stop, work).await;
            Answer::Landed { vertex, landing, started: started.load(Ordering::Relaxed) }
        }));
    }

    fn ask_content(&mut self, vertex: usize, input: usize) {
        let node = &self.plan.nodes[vertex];
        let (from, output) = node.inputs[input];
        let result = self.at(from).results[output].clone().expect("the result has come");
        let ctx = ExecCtx::new(self.stop.clone(), self.listener(vertex));
        self.answers.push(Box::pin(async move {
            let digest = node.op.content_key(&ctx, input, &result).await;
            Answer::Content { vertex, input, digest }
        }));
    }

    // ---- answers ---------------------------------------------------------------------------------------------

    fn take(&mut self, answer: Answer<O>) {
        match answer {
            Answer::Content { vertex, input, digest: Ok(digest) } => {
                self.at_mut(vertex).contents[input] = Some(digest);
                self.one_less(vertex);
            }
            Answer::Content { vertex, digest: Err(error), .. } => self.unstarted(vertex, error),
            Answer::Landed { vertex, landing, started } => {
                self.completed(vertex, &landing, started);
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
        let content = state.content.expect("a vertex that ran has a content key");
        assert_eq!(outputs.len(), state.results.len(), "an op gives all its outputs");
        for (output, result) in outputs.into_iter().enumerate() {
            let state = self.at_mut(vertex);
            let mut keys = content.of(output);
            if ignores {
                keys.used = key::rerun(&keys.used, &result.identity());
            }
            state.keys[output].get_or_insert(keys);
            state.results[output].get_or_insert(result);
            self.key_there(vertex, output);
            self.result_there(vertex, output);
        }
    }

    /// Tells how an execution ended, keeps its failure, counts it.
    fn completed(&mut self, vertex: usize, landing: &Landing<O>, started: bool) {
        match landing {
            Landing::Ran(_) => {
                self.executed.push(vertex);
                self.tell_completed(vertex, None, false);
            }
            Landing::Found(_) if started => self.tell_completed(vertex, None, true),
            Landing::Found(_) => self.tell_cached(vertex),
            Landing::Failed(error) => {
                self.tell_completed(vertex, Some(error.to_string()), false);
                self.failures.push((vertex, error.clone()));
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

    fn at(&self, vertex: usize) -> &Vertex<O::Output> {
        self.vertices[vertex].as_ref().expect("only vertices that a root needs are touched")
    }

    fn at_mut(&mut self, vertex: usize) -> &mut Vertex<O::Output> {
        self.vertices[vertex].as_mut().expect("as in `at`")
    }

    fn key_there(&mut self, vertex: usize, output: usize) {
        let plan = self.plan;
        let state = self.vertices[vertex].as_mut().expect("as in `at`");
        let steps = &mut self.steps;
        state.key_waiters.retain(|&(user, input)| {
            let is_met = plan.nodes[user].inputs[input].1 == output;
            if is_met {
                steps.push_back(Step::KeyCame(user));
            }
            !is_met
        });
    }

    fn result_there(&mut self, vertex: usize, output: usize) {
        let plan = self.plan;
        let state = self.vertices[vertex].as_mut().expect("as in `at`");
        let steps = &mut self.steps;
        state.result_waiters.retain(|&(user, input)| {
            let is_met = plan.nodes[user].inputs[input].1 == output;
            if is_met {
                steps.push_back(Step::ResultCame(user, input));
            }
            !is_met
        });
    }

    fn inputs(&self, vertex: usize) -> Vec<Digest> {
        self.plan.nodes[vertex].inputs.iter().map(|&(input, _)| self.plan.nodes[input].op.vertex()).collect()
    }

    fn listener(&self, vertex: usize) -> Listener {
        let op = &self.plan.nodes[vertex].op;
        Listener {
            vertex: op.vertex(),
            name: op.name(),
            inputs: self.inputs(vertex),
            events: self.events.clone(),
            started: Arc::default(),
        }
    }

    fn tell_completed(&self, vertex: usize, error: Option<String>, cached: bool) {
        let vertex = self.plan.nodes[vertex].op.vertex();
        (self.events)(Event::Completed { vertex, at: SystemTime::now(), error, cached });
    }

    /// Told once per vertex.
    fn tell_cached(&mut self, vertex: usize) {
        if !std::mem::replace(&mut self.at_mut(vertex).announced, true) {
            let op = &self.plan.nodes[vertex].op;
            let (inputs, at) = (self.inputs(vertex), SystemTime::now());
            (self.events)(Event::Cached { vertex: op.vertex(), name: op.name(), inputs, at });
        }
    }
}

impl EdgeKeys {
    /// The keys of output `output` of the vertex with these keys.
    fn of(&self, output: usize) -> EdgeKeys {
        EdgeKeys { used: key::edge(&self.used, output), plain: key::edge(&self.plain, output) }
    }
}

/// Those of `keys` that are not `known`, each once.
fn distinct(keys: [Digest; 2], known: Digest) -> Vec<Digest> {
    let mut kept = Vec::with_capacity(2);
    for key in keys {
        if key != known && !kept.contains(&key) {
            kept.push(key);
        }
    }
    kept
}

/// An execution: waits for its turn, looks whether another process was faster, runs the op and keeps what it gives.
#[allow(clippy::too_many_arguments, reason = "what a task owns; there is one caller")]
async fn execute<O: Op, C: CacheStore<Output = O::Output>>(
    ctx: ExecCtx,
    op: Arc<O>,
    cache: Arc<C>,
    permits: Option<Arc<Semaphore>>,
    inputs: Vec<O::Output>,
    content: EdgeKeys,
    def: Digest,
    execution: Digest,
) -> Landing<O> {
    let waiting = async {
        let lease = cache.lease(&execution).await;
        if !op.ignore_cache() {
            let found: Option<Vec<O::Output>> = (0..op.n_outputs())
                .map(|output| cache.get(&content.of(output).used).map(|it| it.output))
                .collect();
            if let Some(found) = found {
                return Err(found);
            }
        }
        let permit = match permits {
            Some(permits) => Some(permits.acquire_owned().await.expect("never closed")),
            None => None,
        };
        Ok((lease, permit))
    };
    // Waiting is given up at once; a running op is waited for.
    let held = tokio::select! {
        biased;
        () = ctx.cancel.cancelled() => return Landing::Cancelled,
        held = waiting => match held {
            Ok(held) => held,
            Err(found) => return Landing::Found(found),
        },
    };
    ctx.started();
    let landing = match op.exec(&ctx, inputs).await {
        Ok(outputs) => {
            for (output, result) in outputs.iter().enumerate() {
                let keys = content.of(output);
                let record = Record { key: keys.plain, output: result.clone() };
                let mut all = distinct([key::edge(&def, output), keys.plain], keys.used);
                all.push(keys.used);
                cache.put(&all, &record);
            }
            Landing::Ran(outputs)
        }
        Err(error) if error.is_cancelled() => Landing::Cancelled,
        Err(error) => Landing::Failed(Arc::new(error)),
    };
    drop(held);
    landing
}
