//! Results that caches of other machines offer: which of them stand for an edge, and bringing one in.
//!
//! An edge has offers when every input is accounted for: by an offer for it, or by the digest of what is read of it. So
//! they are found in the order of the plan, without building anything; an edge gets more of them when the content of its
//! inputs becomes known.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};

use super::flight::ExecCtx;
use super::run::{Answer, Purpose, Run};
use super::vertex::{Stage, distinct};
use super::{CacheStore, InputRule, Op, Record, Slot};
use crate::base::Digest;

/// A record of an imported cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offer(pub u32);

/// What is known of an input when offers for a step are looked for.
#[derive(Debug, Clone, Copy)]
pub struct InputOffers<'a> {
    /// What stands for the input's edge.
    pub edge: &'a [Offer],
    /// Which part of it the op uses.
    pub selector: Option<Digest>,
    /// Digest of what is read of it.
    pub content: Option<Digest>,
}

/// What other machines have exported.
pub trait Imports<R>: Send + Sync {
    /// What stands for output `output` of an op that is called any of `names`.
    fn matching(&self, names: &[Digest], output: usize, inputs: &[InputOffers<'_>]) -> Vec<Offer>;

    /// Those of `offers` whose result can be had, the best first.
    fn with_results(&self, offers: &[Offer]) -> Vec<Offer>;

    /// Brings in the result of the first of `offers` that is whole. `None` when there is none: that is told to `ctx`, whose
    /// `run` is the name that the result's run has from now on.
    fn load<'a>(&'a self, ctx: &'a ExecCtx, offers: Vec<Offer>) -> BoxFuture<'a, Option<R>>;
}

/// What is offered for an edge.
#[derive(Debug, Clone, Default)]
pub(super) struct Offered {
    /// Everything that stands for it.
    pub(super) all: Vec<Offer>,
    /// How far the result is.
    pub(super) state: OfferState,
}

/// How far the result of an edge that is offered is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum OfferState {
    /// It is not counted on.
    #[default]
    Unused,
    /// The edge's key stands; the result is brought in when it is needed.
    Ready,
    /// It is being brought in.
    Loading,
    /// It could not be brought in.
    Failed,
}

impl<O: Op, C: CacheStore<Output = O::Output>> Run<'_, O, C> {
    /// Finds out what is read of inputs where that is known before anything is built. So a step that reads what only this
    /// build has is found with all that is behind it, and nothing in between has to be brought in to be looked at.
    pub(super) async fn learn_contents(&mut self) {
        let plan = self.plan;
        let mut asked = FuturesUnordered::new();
        for (vertex, node) in plan.nodes.iter().enumerate().filter(|(it, _)| self.vertices[*it].is_some()) {
            for input in 0..node.inputs.len() {
                let by_content = self.at(vertex).is_by_content(input);
                if let Some(asking) = node.op.content_without(input).filter(|_| by_content) {
                    asked.push(asking.map(move |content| (vertex, input, content)));
                }
            }
        }
        let stop = self.stop.clone();
        let mut stopped = std::pin::pin!(stop.cancelled().fuse());
        loop {
            tokio::select! {
                biased;
                () = &mut stopped => return,
                answer = asked.next() => match answer {
                    // What is wrong with it is said when it is needed.
                    Some((vertex, input, content)) => self.set_content_of(vertex, input, content.ok()),
                    None => return,
                },
            }
        }
    }

    /// Finds the offers for all edges of a vertex, as far as can be told now.
    pub(super) fn find_offers(&mut self, vertex: usize) {
        let node = &self.plan.nodes[vertex];
        // What an op that ignores the cache makes is not what is offered.
        if self.purpose != Purpose::Build || node.op.ignore_cache() {
            return;
        }
        let cache = self.cache.clone();
        let Some(imports) = cache.imports() else { return };
        let state = self.at(vertex);
        let inputs: Vec<InputOffers<'_>> = node
            .inputs
            .iter()
            .enumerate()
            .map(|(input, &(from, output))| {
                let (InputRule::Key { selector } | InputRule::Content { selector }) = state.rule(input);
                let content = state.content_of(input);
                InputOffers { edge: &self.at(from).offered(output).all, selector, content }
            })
            .collect();
        let found: Vec<Vec<Offer>> =
            (0..state.outputs.len()).map(|output| imports.matching(state.names(), output, &inputs)).collect();
        for (output, found) in found.into_iter().enumerate() {
            if !found.is_empty() || !self.at(vertex).offered(output).all.is_empty() {
                self.at_mut(vertex).offered_mut(output).all = found;
            }
        }
    }

    /// Whether the result of an edge that was not found here can be had from elsewhere; then its key stands.
    pub(super) fn offer(&mut self, vertex: usize, output: usize) -> bool {
        let cache = self.cache.clone();
        if !self.plan.nodes[vertex].op.takes_offers() {
            return false;
        }
        let Some(imports) = cache.imports() else { return false };
        let offered = self.at(vertex).offered(output);
        match offered.state {
            OfferState::Ready | OfferState::Loading => return true,
            OfferState::Failed => return false,
            OfferState::Unused => {}
        }
        if imports.with_results(&offered.all).is_empty() {
            return false;
        }
        self.at_mut(vertex).offered_mut(output).state = OfferState::Ready;
        true
    }

    /// Brings in the result of an edge that is offered.
    pub(super) fn load(&mut self, vertex: usize, output: usize) {
        let offers = self.at(vertex).offered(output).all.clone();
        self.at_mut(vertex).offered_mut(output).state = OfferState::Loading;
        let run = Some(self.run_offered(vertex));
        let ctx = ExecCtx { run, ..ExecCtx::new(self.stop.clone(), self.listener(vertex)) };
        let (cache, permits) = (self.cache.clone(), self.scheduler.slot(Slot::Network));
        self.answers.push(
            async move {
                let _permit = match permits {
                    Some(permits) => Some(permits.acquire_owned().await.expect("never closed")),
                    None => None,
                };
                let imports = cache.imports().expect("what offered something is there");
                let offers = imports.with_results(&offers);
                if ctx.cancel.is_cancelled() {
                    return Answer::Loaded { vertex, output, result: None };
                }
                ctx.started();
                let result = imports.load(&ctx, offers).await;
                Answer::Loaded { vertex, output, result }
            }
            .boxed(),
        );
    }

    /// Names the run that made what is offered, as far as it has a name here.
    fn run_offered(&self, vertex: usize) -> Digest {
        let state = self.at(vertex);
        state.content().map_or(state.def, |content| content.plain)
    }

    /// The result of an edge was brought in, or cannot be.
    pub(super) fn loaded(&mut self, vertex: usize, output: usize, result: Option<O::Output>) {
        let keys = self.at(vertex).keys(output).expect("what is offered has a key");
        let Some(result) = result else {
            self.at_mut(vertex).offered_mut(output).state = OfferState::Failed;
            // An op that ran meanwhile gave all its outputs.
            if self.at(vertex).outputs[output].result.is_none() {
                match self.at(vertex).stage {
                    Stage::Idle => self.begin_keying(vertex),
                    Stage::Keyed => self.doom(vertex),
                    Stage::Keying | Stage::Gathering | Stage::Running | Stage::Done => {}
                }
                self.pursue(vertex, output);
            }
            return;
        };
        let state = self.at(vertex);
        if state.outputs[output].result.is_some() {
            return;
        }
        let record = Record { key: keys.plain, output: result, made_by: self.run_offered(vertex) };
        let def = super::key::edge(&state.def, output);
        let mut all = distinct([def, keys.plain], keys.used);
        all.push(keys.used);
        self.cache.put(&all, &record);
        let is_started = self.is_started(vertex);
        let state = self.at_mut(vertex);
        if is_started && !std::mem::replace(&mut state.announced, true) {
            // Of an op that runs for another output its end is told.
            let runs = matches!(state.stage, Stage::Gathering | Stage::Running | Stage::Done);
            if !runs {
                self.tell_completed(vertex, None, true);
            }
        }
        self.found(vertex, output, keys, record);
    }
}
