//! What a solve knows of a vertex.

use smallvec::SmallVec;

use super::import::{OfferState, Offered};
use super::{CacheMap, InputRule, key};
use crate::base::Digest;

/// How far a vertex is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
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

/// An edge's keys.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct EdgeKeys {
    /// What this solve's users make their keys of.
    pub(super) used: Digest,
    /// The same if no vertex below had ignored the cache: what the record is kept by.
    pub(super) plain: Digest,
}

/// What is known of a vertex. A large graph has a hundred thousand of them, from the first to the last: what most do not have
/// lies in a box, and what follows from something else is not kept.
pub(super) struct Vertex<R> {
    /// [`CacheMap::digest`].
    pub(super) digest: Digest,
    /// Definition key.
    pub(super) def: Digest,
    /// Content key, if `has_content`: [`EdgeKeys::used`].
    content: Digest,
    /// By output.
    pub(super) outputs: SmallVec<[OutputState<R>; 1]>,
    /// Users that wait for an output.
    waiters: SmallVec<[Waiter; 2]>,
    rare: Option<Box<Rare>>,
    /// What the stage still waits for.
    pub(super) n_missing: u32,
    /// Which of the first inputs are known to have to be made.
    doomed_inputs: u32,
    pub(super) stage: Stage,
    has_content: bool,
    /// A vertex below ignores the cache: the definition key says nothing about this build's result.
    pub(super) tainted: bool,
    pub(super) wants_result: bool,
    /// It has to run, as far as can be told.
    pub(super) doomed: bool,
    /// A `Cached` event was sent.
    pub(super) announced: bool,
    /// A `Started` event was sent by an execution that is over.
    pub(super) was_started: bool,
}

/// What is known of an output.
pub(super) struct OutputState<R> {
    pub(super) result: Option<R>,
    keys: From,
    /// The run that made the result.
    run: From,
    /// Whether a look-up by content key was made, or will be once there is one.
    pub(super) wanted: bool,
    /// Whether the result is needed, not only its key.
    pub(super) needed: bool,
}

/// Where something is known from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Unknown,
    /// It follows from the content key of the vertex.
    Content,
    /// It stands beside.
    Rare,
}

/// What few vertices have.
#[derive(Default)]
struct Rare {
    /// [`CacheMap::names`], where they are not the digest.
    names: Box<[Digest]>,
    /// [`CacheMap::inputs`], where they are not all plain keys.
    rules: Box<[InputRule]>,
    /// Content digests of inputs, once there are any.
    contents: Box<[Option<Digest>]>,
    /// [`EdgeKeys::plain`] of the content key, where it is another one.
    plain: Option<Digest>,
    /// By output, once something is known of any.
    outputs: Box<[RareOutput]>,
    /// As in the vertex, of further inputs.
    doomed_inputs: Vec<usize>,
}

/// What few outputs have.
#[derive(Clone, Default)]
struct RareOutput {
    keys: Option<EdgeKeys>,
    run: Option<Digest>,
    offered: Offered,
}

/// What a user waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Key,
    Result,
}

/// A user, and which of its inputs it waits for.
#[derive(Clone, Copy)]
struct Waiter {
    user: u32,
    /// Twice its index, and one if it waits for the result.
    input: u32,
}

impl Waiter {
    fn new(wanted: Wanted, user: usize, input: usize) -> Waiter {
        Waiter { user: user as u32, input: 2 * input as u32 + u32::from(wanted == Wanted::Result) }
    }

    fn wanted(self) -> Wanted {
        if self.input % 2 == 1 { Wanted::Result } else { Wanted::Key }
    }

    fn place(self) -> (usize, usize) {
        (self.user as usize, self.input as usize / 2)
    }
}

impl<R> Vertex<R> {
    /// A vertex of which nothing is known but what it does; its definition key is still to be computed.
    pub(super) fn new(map: CacheMap, n_outputs: usize) -> Vertex<R> {
        let CacheMap { digest, names, inputs } = map;
        let names = if names == [digest] { Vec::new() } else { names };
        let is_plain = inputs.iter().all(|rule| *rule == InputRule::Key { selector: None });
        let rules = if is_plain { Vec::new() } else { inputs };
        let rare = (!names.is_empty() || !rules.is_empty())
            .then(|| Box::new(Rare { names: names.into(), rules: rules.into(), ..Rare::default() }));
        let output = || OutputState {
            result: None,
            keys: From::Unknown,
            run: From::Unknown,
            wanted: false,
            needed: false,
        };
        Vertex {
            digest,
            def: digest,
            content: digest,
            outputs: std::iter::repeat_with(output).take(n_outputs).collect(),
            waiters: SmallVec::new(),
            rare,
            n_missing: 0,
            doomed_inputs: 0,
            stage: Stage::Idle,
            has_content: false,
            tainted: false,
            wants_result: false,
            doomed: false,
            announced: false,
            was_started: false,
        }
    }

    /// [`CacheMap::names`].
    pub(super) fn names(&self) -> &[Digest] {
        match &self.rare {
            Some(rare) if !rare.names.is_empty() => &rare.names,
            _ => std::slice::from_ref(&self.digest),
        }
    }

    /// How an input takes part in the keys.
    pub(super) fn rule(&self, input: usize) -> InputRule {
        let rules = self.rare.as_ref().map_or(&[][..], |rare| &rare.rules);
        rules.get(input).copied().unwrap_or(InputRule::Key { selector: None })
    }

    /// Whether the content of an input counts.
    pub(super) fn is_by_content(&self, input: usize) -> bool {
        matches!(self.rule(input), InputRule::Content { .. })
    }

    /// Content digest of an input, where asked.
    pub(super) fn content_of(&self, input: usize) -> Option<Digest> {
        self.rare.as_ref()?.contents.get(input).copied().flatten()
    }

    pub(super) fn set_content_of(&mut self, input: usize, n_inputs: usize, content: Option<Digest>) {
        let contents = &mut self.rare.get_or_insert_default().contents;
        if contents.is_empty() {
            *contents = vec![None; n_inputs].into();
        }
        contents[input] = content;
    }

    /// Inputs that are known to have to be made.
    pub(super) fn doomed_inputs(&self) -> Vec<usize> {
        let first = (0..u32::BITS as usize).filter(|input| self.doomed_inputs >> input & 1 == 1);
        first.chain(self.rare.iter().flat_map(|rare| rare.doomed_inputs.iter().copied())).collect()
    }

    pub(super) fn add_doomed_input(&mut self, input: usize) {
        match 1_u32.checked_shl(input as u32) {
            Some(bit) => self.doomed_inputs |= bit,
            None => self.rare.get_or_insert_default().doomed_inputs.push(input),
        }
    }

    /// Content key of the vertex, in both senses of [`EdgeKeys`].
    pub(super) fn content(&self) -> Option<EdgeKeys> {
        let plain = self.rare.as_ref().and_then(|rare| rare.plain).unwrap_or(self.content);
        self.has_content.then_some(EdgeKeys { used: self.content, plain })
    }

    pub(super) fn set_content(&mut self, EdgeKeys { used, plain }: EdgeKeys) {
        self.content = used;
        self.has_content = true;
        if plain != used {
            self.rare.get_or_insert_default().plain = Some(plain);
        }
    }

    fn rare_output(&self, output: usize) -> Option<&RareOutput> {
        self.rare.as_ref()?.outputs.get(output)
    }

    fn rare_output_mut(&mut self, output: usize) -> &mut RareOutput {
        let outputs = &mut self.rare.get_or_insert_default().outputs;
        if outputs.is_empty() {
            *outputs = vec![RareOutput::default(); self.outputs.len()].into();
        }
        &mut outputs[output]
    }

    pub(super) fn has_keys(&self, output: usize) -> bool {
        self.outputs[output].keys != From::Unknown
    }

    pub(super) fn keys(&self, output: usize) -> Option<EdgeKeys> {
        match self.outputs[output].keys {
            From::Unknown => None,
            From::Content => self.content().map(|content| content.of(output)),
            From::Rare => self.rare_output(output)?.keys,
        }
    }

    pub(super) fn set_keys(&mut self, output: usize, keys: EdgeKeys) {
        if self.content().is_some_and(|content| content.of(output) == keys) {
            self.outputs[output].keys = From::Content;
        } else {
            self.outputs[output].keys = From::Rare;
            self.rare_output_mut(output).keys = Some(keys);
        }
    }

    /// The run that made the result of an output.
    pub(super) fn made_by(&self, output: usize) -> Option<Digest> {
        match self.outputs[output].run {
            From::Unknown => None,
            From::Content => self.content().map(|content| content.plain),
            From::Rare => self.rare_output(output)?.run,
        }
    }

    pub(super) fn set_made_by(&mut self, output: usize, run: Digest) {
        if self.content().is_some_and(|content| content.plain == run) {
            self.outputs[output].run = From::Content;
        } else {
            self.outputs[output].run = From::Rare;
            self.rare_output_mut(output).run = Some(run);
        }
    }

    /// What caches of other machines have of an output.
    pub(super) fn offered(&self, output: usize) -> &Offered {
        static NOTHING: Offered = Offered { all: Vec::new(), state: OfferState::Unused };
        self.rare_output(output).map_or(&NOTHING, |it| &it.offered)
    }

    pub(super) fn offered_mut(&mut self, output: usize) -> &mut Offered {
        &mut self.rare_output_mut(output).offered
    }

    /// Whether the op is what will give an output whose result is not there, when it is wanted.
    pub(super) fn needs_run_for(&self, output: usize) -> bool {
        let is_offered = matches!(self.offered(output).state, OfferState::Ready | OfferState::Loading);
        let state = &self.outputs[output];
        state.wanted && state.result.is_none() && !is_offered
    }

    pub(super) fn add_waiter(&mut self, wanted: Wanted, user: usize, input: usize) {
        self.waiters.push(Waiter::new(wanted, user, input));
    }

    /// Users that wait, with the index of their input, in the order in which they came.
    pub(super) fn waiters(&self, wanted: Wanted) -> impl Iterator<Item = (usize, usize)> {
        self.waiters.iter().filter(move |it| it.wanted() == wanted).map(|it| it.place())
    }

    /// Tells `met` of those who wait; those of whom it says yes wait no more.
    pub(super) fn meet(&mut self, wanted: Wanted, mut met: impl FnMut(usize, usize) -> bool) {
        self.waiters.retain(|waiter| {
            let (user, input) = waiter.place();
            waiter.wanted() != wanted || !met(user, input)
        });
    }
}

impl EdgeKeys {
    /// The keys of output `output` of the vertex with these keys.
    pub(super) fn of(&self, output: usize) -> EdgeKeys {
        let used = key::edge(&self.used, output);
        let plain = if self.plain == self.used { used } else { key::edge(&self.plain, output) };
        EdgeKeys { used, plain }
    }

    /// What the record of an edge with these keys and the definition key `def` is kept by, each once.
    pub(super) fn all(&self, def: Digest) -> Vec<Digest> {
        let mut all = distinct([def, self.plain], self.used);
        all.push(self.used);
        all
    }
}

/// Those of `keys` that are not `known`, each once.
pub(super) fn distinct(keys: [Digest; 2], known: Digest) -> Vec<Digest> {
    let mut kept = Vec::with_capacity(2);
    for key in keys {
        if key != known && !kept.contains(&key) {
            kept.push(key);
        }
    }
    kept
}
