//! The steps of a solve: how a vertex moves from stage to stage.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::FutureExt as _;
use tokio::sync::Semaphore;

use super::account::{Account, account};
use super::flight::{Begin, ExecCtx, Landing, Under};
use super::import::OfferState;
use super::key::{self, Part};
use super::run::{Answer, Purpose, Run};
use super::vertex::{EdgeKeys, Stage, Wanted, distinct};
use super::{CacheStore, InputRule, Op, OpError as _, Output as _, Record};
use crate::base::Digest;

/// Something that happened to a vertex and has to be acted on.
#[derive(Clone, Copy)]
pub(super) enum Step {
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

impl<O: Op, C: CacheStore<Output = O::Output>> Run<'_, O, C> {
    pub(super) fn act(&mut self, step: Step) {
        match step {
            Step::WantKey(vertex, output) => {
                if self.at(vertex).has_keys(output) {
                    self.key_there(vertex, output);
                } else {
                    self.approach(vertex, output);
                }
            }
            Step::WantResult(vertex, output) => {
                self.approach(vertex, output);
                if self.at(vertex).outputs[output].result.is_some() {
                    self.result_there(vertex, output);
                } else {
                    self.pursue(vertex, output);
                }
            }
            Step::KeyCame(user) => self.one_less(user),
            Step::ResultCame(user, input) => match self.at(user).stage {
                Stage::Keying if self.at(user).is_by_content(input) => {
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
                state.add_doomed_input(input);
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
        if std::mem::replace(&mut state.outputs[output].wanted, true) {
            return;
        }
        match state.stage {
            Stage::Idle => {
                if !ignores && !state.tainted {
                    let key = key::edge(&state.def, output);
                    if let Some(record) = self.cache.get(&key) {
                        let keys = EdgeKeys { used: record.key, plain: record.key };
                        return self.found(vertex, output, keys, record);
                    }
                    if self.offer(vertex, output) {
                        // The definition names what is offered as well as any other key would.
                        if !self.at(vertex).has_keys(output) {
                            self.at_mut(vertex).set_keys(output, EdgeKeys { used: key, plain: key });
                        }
                        return self.key_there(vertex, output);
                    }
                }
                self.begin_keying(vertex);
            }
            Stage::Keyed => self.look_up(vertex, output),
            // The look-up is made when the key is there; a running op gives all outputs.
            Stage::Keying | Stage::Gathering | Stage::Running | Stage::Done => {}
        }
    }

    pub(super) fn begin_keying(&mut self, vertex: usize) {
        let ignores = self.plan.nodes[vertex].op.ignore_cache();
        let inputs = &self.plan.nodes[vertex].inputs;
        let state = self.at_mut(vertex);
        state.stage = Stage::Keying;
        state.n_missing = inputs.len() as u32;
        if ignores {
            self.doom(vertex);
        }
        for (idx, &(input, output)) in inputs.iter().enumerate() {
            let by_content = self.at(vertex).is_by_content(idx);
            if by_content && self.at(vertex).content_of(idx).is_some() {
                self.at_mut(vertex).n_missing -= 1;
                continue;
            }
            if by_content && self.purpose == Purpose::Survey && self.ask_content_early(vertex, idx) {
                continue;
            }
            // The key of an op that ran again names its new result.
            if by_content || self.plan.nodes[input].op.ignore_cache() {
                self.at_mut(input).add_waiter(Wanted::Result, vertex, idx);
                self.steps.push_back(Step::WantResult(input, output));
            } else {
                self.at_mut(input).add_waiter(Wanted::Key, vertex, idx);
                if self.at(input).doomed {
                    self.steps.push_back(Step::Doomed(vertex, idx));
                }
                self.steps.push_back(Step::WantKey(input, output));
            }
        }
        // Nobody has had the time to answer: what is left are inputs that are known.
        if self.at(vertex).n_missing == 0 {
            self.keyed(vertex);
        }
    }

    /// One of the things that the vertex's stage waits for has come.
    pub(super) fn one_less(&mut self, vertex: usize) {
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
        // More is known of its inputs now.
        self.find_offers(vertex);
        let ignores = self.plan.nodes[vertex].op.ignore_cache();
        let state = self.at(vertex);
        let part = |input: usize, pick: fn(&EdgeKeys) -> Digest| match (
            state.content_of(input),
            state.rule(input),
        ) {
            (Some(content), _) => Part::Content(content),
            (None, InputRule::Key { selector } | InputRule::Content { selector }) => {
                let (from, output) = self.plan.nodes[vertex].inputs[input];
                let keys = self.at(from).keys(output).expect("keys of inputs are there");
                Part::Key { edge: pick(&keys), selector }
            }
        };
        let n_inputs = self.plan.nodes[vertex].inputs.len();
        let with = |pick: fn(&EdgeKeys) -> Digest| {
            key::vertex(&state.digest, (0..n_inputs).map(|input| part(input, pick)))
        };
        let content = EdgeKeys { used: with(|keys| keys.used), plain: with(|keys| keys.plain) };
        let n_outputs = state.outputs.len();
        let state = self.at_mut(vertex);
        state.set_content(content);
        state.stage = Stage::Keyed;
        for output in 0..n_outputs {
            if !ignores && !self.at(vertex).has_keys(output) {
                self.at_mut(vertex).set_keys(output, content.of(output));
            }
            if self.at(vertex).needs_run_for(output) {
                self.look_up(vertex, output);
            }
        }
        // Users who only need the key go on, whatever the look-up gave.
        for output in 0..n_outputs {
            if self.at(vertex).has_keys(output) {
                self.key_there(vertex, output);
            }
        }
        if self.at(vertex).wants_result {
            for output in 0..n_outputs {
                if self.at(vertex).outputs[output].needed && self.at(vertex).outputs[output].result.is_none()
                {
                    self.pursue(vertex, output);
                }
            }
        }
    }

    /// Looks for a result by content key.
    fn look_up(&mut self, vertex: usize, output: usize) {
        let state = self.at(vertex);
        let content = state.content().expect("a keyed vertex has a content key").of(output);
        if !self.plan.nodes[vertex].op.ignore_cache()
            && let Some(record) = self.cache.get(&content.used)
        {
            let def = key::edge(&state.def, output);
            let record = Record { key: content.plain, ..record };
            self.cache.put(&distinct([def, content.plain], content.used), &record);
            self.found(vertex, output, content, record);
        } else if self.plan.nodes[vertex].op.ignore_cache() || !self.offer(vertex, output) {
            self.doom(vertex);
        }
    }

    /// The result of an edge was in the cache.
    pub(super) fn found(&mut self, vertex: usize, output: usize, keys: EdgeKeys, record: Record<O::Output>) {
        let state = self.at_mut(vertex);
        state.set_keys(output, keys);
        state.outputs[output].result = Some(record.output);
        state.set_made_by(output, record.made_by);
        self.tell_cached(vertex);
        self.key_there(vertex, output);
        self.result_there(vertex, output);
    }

    /// Tells users that the vertex will have to run if they do.
    pub(super) fn doom(&mut self, vertex: usize) {
        let state = self.at_mut(vertex);
        if !std::mem::replace(&mut state.doomed, true) {
            let told: Vec<_> =
                state.waiters(Wanted::Key).map(|(user, input)| Step::Doomed(user, input)).collect();
            self.steps.extend(told);
        }
    }

    /// The result of some output is needed and was not found: goes on with what can be done for it now.
    pub(super) fn pursue(&mut self, vertex: usize, output: usize) {
        self.at_mut(vertex).outputs[output].needed = true;
        match self.at(vertex).offered(output).state {
            OfferState::Ready => return self.load(vertex, output),
            OfferState::Loading => return,
            OfferState::Unused | OfferState::Failed => {}
        }
        let state = self.at_mut(vertex);
        let is_first = !std::mem::replace(&mut state.wants_result, true);
        match state.stage {
            Stage::Keying if is_first => {
                for input in state.doomed_inputs() {
                    let (vertex, output) = self.plan.nodes[vertex].inputs[input];
                    self.steps.push_back(Step::WantResult(vertex, output));
                }
            }
            Stage::Keyed if (0..state.outputs.len()).any(|output| state.needs_run_for(output)) => {
                self.gather(vertex);
            }
            Stage::Idle | Stage::Keying | Stage::Keyed | Stage::Gathering | Stage::Running | Stage::Done => {}
        }
    }

    /// The vertex runs: collects the results of all inputs.
    fn gather(&mut self, vertex: usize) {
        self.at_mut(vertex).stage = Stage::Gathering;
        let mut n_missing: u32 = 0;
        for (idx, &(input, output)) in self.plan.nodes[vertex].inputs.iter().enumerate() {
            if self.at(input).outputs[output].result.is_none() {
                n_missing += 1;
                self.at_mut(input).add_waiter(Wanted::Result, vertex, idx);
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
        let exact = self.exact_key(vertex);
        if !node.op.ignore_cache() && self.look_up_exact(vertex, &exact) {
            return;
        }
        let purpose = self.purpose;
        let state = self.at_mut(vertex);
        state.stage = Stage::Running;
        if purpose == Purpose::Survey || self.hold.by().is_some() {
            return;
        }
        let state = self.at(vertex);
        let content = state.content().expect("a vertex that runs has a content key");
        let names = Names { def: state.def, content, exact };
        let account = account(self.plan, &self.vertices, vertex);
        let inputs: Vec<O::Output> = node
            .inputs
            .iter()
            .map(|&(input, output)| self.at(input).outputs[output].result.clone().expect("gathered"))
            .collect();
        let (op, cache, permits) = (node.op.clone(), self.cache.clone(), self.scheduler.slot(node.op.slot()));
        let execution = if op.ignore_cache() { key::fresh(&content.used) } else { content.used };
        let work = move |ctx: ExecCtx| execute(ctx, op, cache, permits, inputs, names, account, execution);
        let (may_block, n_flying) = (node.op.may_block(), self.n_flying.clone());
        n_flying.fetch_add(1, Ordering::Relaxed);
        let (flights, listener) = (&self.scheduler.flights, self.listener(vertex));
        let (stop, hold) = (self.stop.clone(), self.hold.clone());
        let started = listener.started.clone();
        self.answers.push(Box::pin(async move {
            // With no other under way there is nobody to keep from working: in a chain of small ops, handing each to another
            // thread would take as long as many of them do.
            let is_alone = n_flying.load(Ordering::Relaxed) == 1;
            let begin = if may_block || is_alone { Begin::Here } else { Begin::Task };
            let landing = flights.join(execution, listener, &stop, &hold, begin, work).await;
            n_flying.fetch_sub(1, Ordering::Relaxed);
            Answer::Landed { vertex, landing, started: started.load(Ordering::Relaxed) }
        }));
    }

    /// The vertex' key by the results of its inputs, which are made.
    fn exact_key(&self, vertex: usize) -> Digest {
        let (node, state) = (&self.plan.nodes[vertex], self.at(vertex));
        let inputs = node.inputs.iter().enumerate().map(|(input, &(from, output))| {
            let (InputRule::Key { selector } | InputRule::Content { selector }) = state.rule(input);
            let result = self.at(from).outputs[output].result.as_ref().expect("gathered");
            let content = state.content_of(input);
            content.map_or_else(|| (result.identity(), selector), |content| (content, None))
        });
        key::exact(&state.digest, inputs)
    }

    /// Looks for results of the same op on the same inputs; whether all that is wanted was found.
    fn look_up_exact(&mut self, vertex: usize, exact: &Digest) -> bool {
        let content = self.at(vertex).content().expect("a vertex that runs has a content key");
        let n_outputs = self.at(vertex).outputs.len();
        self.at_mut(vertex).stage = Stage::Keyed;
        for output in 0..n_outputs {
            let state = self.at(vertex);
            if !state.needs_run_for(output) {
                continue;
            }
            let Some(record) = self.cache.get(&key::edge(exact, output)) else { return false };
            let keys = content.of(output);
            let record = Record { key: keys.plain, ..record };
            self.cache.put(&keys.all(key::edge(&state.def, output)), &record);
            self.found(vertex, output, keys, record);
        }
        true
    }

    /// Asks for what an input contributes before it is there; whether that can be known.
    fn ask_content_early(&mut self, vertex: usize, input: usize) -> bool {
        let Some(asking) = self.plan.nodes[vertex].op.content_without(input) else { return false };
        self.answers.push(Box::pin(async move { Answer::Content { vertex, input, digest: asking.await } }));
        true
    }

    pub(super) fn ask_content(&mut self, vertex: usize, input: usize) {
        let node = &self.plan.nodes[vertex];
        let (from, output) = node.inputs[input];
        let result = self.at(from).outputs[output].result.clone().expect("the result has come");
        let ctx = ExecCtx::new(self.stop.clone(), self.listener(vertex));
        self.answers.push(Box::pin(async move {
            let digest = node.op.content_key(&ctx, input, &result).await;
            Answer::Content { vertex, input, digest }
        }));
    }
}

/// What the results of a vertex are kept by.
struct Names {
    /// Definition key.
    def: Digest,
    /// Content key.
    content: EdgeKeys,
    /// Key by the results of the inputs.
    exact: Digest,
}

/// An execution: waits for its turn, looks whether another process was faster, runs the op and keeps what it gives.
#[allow(clippy::too_many_arguments, reason = "what a task owns; there is one caller")]
async fn execute<O: Op, C: CacheStore<Output = O::Output>>(
    ctx: ExecCtx,
    op: Arc<O>,
    cache: Arc<C>,
    permits: Option<Arc<Semaphore>>,
    inputs: Vec<O::Output>,
    names: Names,
    account: Account,
    execution: Digest,
) -> Under<O> {
    let turn = || async {
        match &permits {
            Some(permits) => Some(permits.clone().acquire_owned().await.expect("never closed")),
            None => None,
        }
    };
    let waiting = async {
        // The turn first: a wide graph would have a lease open for each vertex. But who has to wait for another process
        // lets others work meanwhile.
        let mut permit = turn().await;
        let lease = match cache.lease(&execution).now_or_never() {
            Some(lease) => lease,
            None => {
                drop(permit.take());
                let lease = cache.lease(&execution).await;
                permit = turn().await;
                lease
            }
        };
        if !op.ignore_cache() {
            let found: Option<Vec<O::Output>> = (0..op.n_outputs())
                .map(|output| cache.get(&names.content.of(output).used).map(|it| it.output))
                .collect();
            if let Some(found) = found {
                return Err(found);
            }
        }
        Ok((lease, permit))
    };
    // Waiting is given up at once; a running op is waited for.
    let (lease, permit) = tokio::select! {
        biased;
        () = ctx.cancel.cancelled() => return Under::Landed(Landing::Cancelled),
        held = waiting => match held {
            Ok(held) => held,
            Err(found) => return Under::Landed(Landing::Found(found)),
        },
    };
    ctx.started();
    op.begins(&account, &names.content.of(0).plain);
    let ctx = ExecCtx { run: Some(names.content.plain), ..ctx };
    let may_block = op.may_block();
    let work = async move {
        let landing = match op.exec(&ctx, inputs).await {
            Ok(outputs) => {
                let mut kept = Vec::with_capacity(outputs.len());
                for (output, result) in outputs.into_iter().enumerate() {
                    let keys = names.content.of(output);
                    let result = cache.adopt(result).await;
                    let made_by = names.content.plain;
                    let record = Record { key: keys.plain, output: result.clone(), made_by };
                    let mut all = keys.all(key::edge(&names.def, output));
                    all.push(key::edge(&names.exact, output));
                    cache.put(&all, &record);
                    kept.push(result);
                }
                Landing::Ran(kept)
            }
            Err(error) if error.is_cancelled() => Landing::Cancelled,
            // Its turn is over when those who wait have stopped: nobody begins in the meantime.
            Err(error) => Landing::Failed(Arc::new(error), permit.map(Arc::new)),
        };
        drop(lease);
        landing
    };
    match may_block {
        true => Under::Way(work.boxed()),
        false => Under::Landed(work.await),
    }
}
