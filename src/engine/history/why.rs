//! Why a step runs, or ran when it last did.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashSet};
use std::time::SystemTime;

use super::differ::{self, Change, Role, Subject, uses};
use super::files;
use super::manifest::{Forced, Input, Manifest};
use super::nearest::{is_same_step, nearest, nearest_elsewhere};
use crate::base::{Digest, ImageRef};
use crate::engine::cache::Origin;
use crate::engine::content_hash::Selector;
use crate::engine::solver::Standing;
use crate::graph::ir::{self, Edge, Op, Vertex, VertexId};
use crate::graph::llb::key::input_rules;
use crate::store::{Store, StoreError};

/// How many earlier runs are looked at.
const POOL: usize = 4_000;
/// How far changes are followed from input to input.
const MAX_DEPTH: usize = 64;

/// The answer.
#[derive(Debug, Clone)]
pub struct Why {
    /// Whether it is about the next build or an earlier one.
    pub when: When,
    /// The steps that run whatever their inputs come to, with the reason of each: inputs before users. Empty when
    /// nothing runs.
    pub reasons: Vec<Reason>,
    /// The steps behind them: they run unless what they read comes out as before.
    pub behind: Vec<VertexId>,
    /// The same of an earlier build, by their names.
    pub behind_then: Vec<String>,
}

/// Which build an answer is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// The next one.
    Now,
    /// The last one that ran something of what is asked about: nothing would run now.
    Then(SystemTime),
    /// Nothing would run now: the result came from another cache.
    Imported(Origin),
    /// Nothing would run now, and nothing is known of when it ran.
    Unknown,
}

/// The answer about steps whose results came from elsewhere, if one that is asked about did, and later than `why` knows
/// of.
pub(crate) fn imported(store: &Store, current: &[Current], why: Why) -> Result<Why, StoreError> {
    let since = match why.when {
        When::Unknown => None,
        When::Then(at) => Some(at),
        When::Now | When::Imported(_) => return Ok(why),
    };
    let mut newest: Option<Origin> = None;
    for run in current.iter().filter(|it| it.is_root).filter_map(|it| it.run.as_ref()) {
        let origin = Origin::of(store, run)?.filter(|it| since.is_none_or(|since| since < it.at));
        newest = newest.into_iter().chain(origin).max_by_key(|it| it.at);
    }
    let Some(origin) = newest else { return Ok(why) };
    let (reasons, behind, behind_then) = Default::default();
    Ok(Why { when: When::Imported(origin), reasons, behind, behind_then })
}

/// Why a step runs.
#[derive(Debug, Clone)]
pub struct Reason {
    /// The step's name, for people.
    pub name: String,
    /// Where it was written.
    pub places: Vec<String>,
    /// It, when the program as it is has it.
    pub vertex: Option<VertexId>,
    /// Why.
    pub because: Because,
    /// When the run ended that it is compared with.
    pub since: Option<SystemTime>,
}

/// The first thing that is not as it was.
#[derive(Debug, Clone)]
pub enum Because {
    /// Results that exist are not used.
    Forced(Forced),
    /// Nothing like it ran before, as far as is known.
    Never,
    /// It ran and all is as it was, but its result is no longer in the store.
    Gone,
    /// It ran and failed, and all is as it was.
    Failed,
    /// It began to run and its build was killed, and all is as it was.
    Stopped,
    /// What it does.
    Own(Subject, Change),
    /// What it works on.
    Input(Role, Cause),
    /// Nothing that is known of it.
    Unknown,
}

/// Why an input is another one.
#[derive(Debug, Clone)]
pub enum Cause {
    /// A file of a directory; with what about the source's patterns made it so.
    File {
        /// The source, as the program writes it.
        source: String,
        /// Which file.
        subject: Subject,
        /// What became of it.
        change: Change,
        /// The patterns of the source, if they differ.
        patterns: Option<(Subject, Change)>,
    },
    /// An image is another one; its name and the digest of its manifest, each time.
    Image {
        /// Before.
        then: (String, Option<Digest>),
        /// Now.
        now: (String, Option<Digest>),
    },
    /// Something about where it comes from.
    Source(String, Subject, Change),
    /// Another thing stands there; their names.
    Other {
        /// Before.
        then: String,
        /// Now.
        now: String,
    },
    /// A step that did not exist stands between.
    Inserted(String),
    /// A step that stood between does not exist any more.
    Dropped(String),
    /// The same step ran again with another result.
    Again(Box<Reason>),
    /// What it was is no longer known; what it is.
    Forgotten(String),
}

/// A vertex as the program has it now.
pub(crate) struct Current {
    pub(crate) vertex: VertexId,
    pub(crate) manifest: Manifest,
    /// Names its run.
    pub(crate) run: Option<Digest>,
    pub(crate) standing: Standing,
    /// Indexes of its inputs, all before it.
    pub(crate) inputs: Vec<usize>,
    pub(crate) is_root: bool,
}

/// A run that is known.
pub struct Known {
    batch: i64,
    /// When it was kept.
    pub at: SystemTime,
    /// Names it, and its log.
    pub key: Digest,
    /// What it was.
    pub manifest: Manifest,
}

/// A run with its inputs: one side of a comparison.
#[derive(Clone, Copy)]
struct Side<'a> {
    manifest: &'a Manifest,
    run: Option<Digest>,
    vertex: Option<VertexId>,
}

pub(crate) struct Asked<'a> {
    store: &'a Store,
    current: &'a [Current],
    /// What is known of the program's runs, the latest first.
    pool: Vec<Known>,
    /// The same of all other programs, once it is asked for.
    elsewhere: OnceCell<Vec<Known>>,
}

/// Whether anything would run.
pub(crate) fn runs(current: &[Current]) -> bool {
    current.iter().any(|it| matches!(it.standing, Standing::Ran | Standing::Waits))
}

/// Answers for `current`, what is asked about with all that it is built from, inputs before users. When nothing would
/// run, `made` names the runs behind the results of all of it, in the same order.
pub(crate) fn why(
    store: &Store,
    program: &Digest,
    current: &[Current],
    made: &[Digest],
) -> Result<Why, StoreError> {
    let asked = Asked { store, current, pool: pool(store, program)?, elsewhere: OnceCell::new() };
    let (certain, behind) = asked.would_run();
    if certain.is_empty() {
        return Ok(asked.ran(made));
    }
    let reasons = certain.iter().map(|&idx| asked.reason_now(idx)).collect();
    let behind = behind.iter().map(|&idx| asked.current[idx].vertex).collect();
    Ok(Why { when: When::Now, reasons, behind, behind_then: Vec::new() })
}

/// The runs of a program that are known, or of all; the latest first.
///
/// # Errors
/// When the history cannot be read.
pub fn known(store: &Store, program: Option<&Digest>) -> Result<Vec<Known>, StoreError> {
    Ok(store.runs(program, POOL)?.iter().filter_map(kept).collect())
}

/// For each of `wanted`, the run that made its result, else its nearest earlier run.
pub(crate) fn behind(
    store: &Store,
    program: &Digest,
    current: &[Current],
    wanted: &[VertexId],
) -> Result<Vec<Option<Known>>, StoreError> {
    let mut asked = Asked { store, current, pool: pool(store, program)?, elsewhere: OnceCell::new() };
    let mut found = Vec::with_capacity(wanted.len());
    for &vertex in wanted {
        let Some(it) = current.iter().find(|it| it.vertex == vertex) else {
            found.push(None);
            continue;
        };
        let own = it.run.and_then(|run| asked.by_key(&run));
        found.push(match own {
            Some(own) => Some(own),
            None => {
                let taken = asked.taken(it.vertex);
                let nearest = nearest(&it.manifest, asked.pool.iter().map(|it| &it.manifest), &taken);
                match nearest {
                    Some(idx) => Some(asked.pool.remove(idx)),
                    None => asked
                        .nearest_elsewhere(&it.manifest, i64::MAX, &taken)
                        .and_then(|there| asked.by_key(&there.key)),
                }
            }
        });
    }
    Ok(found)
}

fn pool(store: &Store, program: &Digest) -> Result<Vec<Known>, StoreError> {
    let own = known(store, Some(program))?;
    // The same program may lie elsewhere today.
    if own.is_empty() { known(store, None) } else { Ok(own) }
}

fn kept(run: &crate::store::Run) -> Option<Known> {
    let manifest = Manifest::decode(&run.body)?;
    Some(Known { batch: run.batch, at: run.at, key: run.key, manifest })
}

impl Asked<'_> {
    /// The vertices that run for certain, and those that wait for them.
    fn would_run(&self) -> (Vec<usize>, Vec<usize>) {
        let runs = |it: &Current| matches!(it.standing, Standing::Ran | Standing::Waits);
        let (mut certain, mut behind) = (Vec::new(), Vec::new());
        for (idx, it) in self.current.iter().enumerate().filter(|(_, it)| runs(it)) {
            if it.manifest.is_source() {
                // Who uses it has the reason.
                if it.is_root {
                    certain.push(idx);
                }
            } else if it.inputs.iter().all(|&input| {
                let input = &self.current[input];
                input.manifest.is_source() || !runs(input)
            }) {
                certain.push(idx);
            } else {
                behind.push(idx);
            }
        }
        (certain, behind)
    }

    fn reason_now(&self, idx: usize) -> Reason {
        let it = &self.current[idx];
        let side = Side { manifest: &it.manifest, run: it.run, vertex: Some(it.vertex) };
        // Runs of another program count if they are of the very same step.
        let same = it.run.and_then(|run| self.by_key(&run));
        let same = same.filter(|_| !it.manifest.is_source());
        let pool: Vec<&Known> = self.pool.iter().collect();
        self.reason(side, same.as_ref(), &pool, i64::MAX, &self.taken(it.vertex))
    }

    /// The nearest run of other programs before batch `before`: what the program never ran may have been cached from
    /// another checkout of it.
    fn nearest_elsewhere(&self, now: &Manifest, before: i64, taken: &HashSet<Digest>) -> Option<&Known> {
        let elsewhere = self.elsewhere.get_or_init(|| {
            // A batch is one program's. What cannot be read is not known.
            let own: HashSet<i64> = self.pool.iter().map(|it| it.batch).collect();
            let mut all = known(self.store, None).unwrap_or_default();
            all.retain(|it| !own.contains(&it.batch));
            all
        });
        let earlier: Vec<&Known> = elsewhere.iter().filter(|it| it.batch < before).collect();
        let found = nearest_elsewhere(now, earlier.iter().map(|it| &it.manifest), taken);
        found.map(|idx| earlier[idx])
    }

    /// What the other steps of the program do.
    fn taken(&self, vertex: VertexId) -> HashSet<Digest> {
        let others = self.current.iter().filter(|other| other.vertex != vertex);
        others.map(|other| other.manifest.digest).collect()
    }

    /// The last build that ran something of what the roots are made of; `made` are the runs behind each of the steps.
    fn ran(&self, made: &[Digest]) -> Why {
        let mut by_batch: BTreeMap<i64, Vec<Known>> = BTreeMap::new();
        for run in made.iter().filter_map(|key| self.by_key(key)) {
            by_batch.entry(run.batch).or_default().push(run);
        }
        let Some((batch, last)) = by_batch.pop_last() else {
            return Why {
                when: When::Unknown,
                reasons: Vec::new(),
                behind: Vec::new(),
                behind_then: Vec::new(),
            };
        };
        let ran: HashSet<Digest> = last.iter().map(|run| run.key).collect();
        let depends = |run: &Known| {
            let mut inputs = run.manifest.inputs.iter().filter_map(Input::key);
            inputs.any(|key| ran.contains(&key))
        };
        let (behind, certain): (Vec<Known>, Vec<Known>) = last.into_iter().partition(depends);
        let earlier: Vec<&Known> = self.pool.iter().filter(|it| it.batch < batch).collect();
        let taken: HashSet<Digest> = self.current.iter().map(|it| it.manifest.digest).collect();
        let reasons = certain.iter().map(|run| {
            let now = self.current.iter().find(|it| it.manifest.vertex == run.manifest.vertex);
            let side = Side { manifest: &run.manifest, run: Some(run.key), vertex: now.map(|it| it.vertex) };
            let taken = taken.iter().copied().filter(|digest| *digest != run.manifest.digest).collect();
            let same = earlier.iter().find(|it| it.key == run.key).copied();
            self.reason(side, same, &earlier, batch, &taken)
        });
        let at = certain.first().map_or(SystemTime::UNIX_EPOCH, |run| run.at);
        Why {
            when: When::Then(at),
            reasons: reasons.collect(),
            behind: Vec::new(),
            behind_then: behind.into_iter().map(|run| run.manifest.name).collect(),
        }
    }

    /// Why `now` runs: `same` is an earlier run of the same name, `pool` are the program's runs before it, which was in
    /// batch `before`.
    fn reason(
        &self,
        now: Side<'_>,
        same: Option<&Known>,
        pool: &[&Known],
        before: i64,
        taken: &HashSet<Digest>,
    ) -> Reason {
        let told = |because, then: Option<&Known>| told(now, because, then.map(|it| it.at));
        if let Some(forced) = now.manifest.forced {
            return told(Because::Forced(forced), same);
        }
        if let Some(then) = same {
            let because = self.input_difference(&then.manifest, now, 0);
            let as_before = match (then.manifest.stopped, then.manifest.failed) {
                (true, _) => Because::Stopped,
                (false, true) => Because::Failed,
                (false, false) => Because::Gone,
            };
            return told(because.unwrap_or(as_before), Some(then));
        }
        let found = nearest(now.manifest, pool.iter().map(|it| &it.manifest), taken);
        match found.map(|idx| pool[idx]).or_else(|| self.nearest_elsewhere(now.manifest, before, taken)) {
            Some(then) => told(self.difference(&then.manifest, now, 0), Some(then)),
            None => told(Because::Never, None),
        }
    }

    fn difference(&self, then: &Manifest, now: Side<'_>, depth: usize) -> Because {
        let own = differ::first_difference(then, now.manifest);
        if let (Op::Source(_), Op::Source(_)) = (&then.op, &now.manifest.op) {
            return match source_cause(then, now.manifest, None) {
                Some(cause) => Because::Input(Role::Base, cause),
                None => own.map_or(Because::Unknown, |(subject, change)| Because::Own(subject, change)),
            };
        }
        match own {
            Some((Subject::Mount(dest), Change::Added(Some(kind)))) => {
                let kind = self.mounted(now.manifest, &dest, &kind);
                Because::Own(Subject::Mount(dest), Change::Added(Some(kind)))
            }
            Some((Subject::Mount(dest), Change::Removed(Some(kind)))) => {
                let kind = self.mounted(then, &dest, &kind);
                Because::Own(Subject::Mount(dest), Change::Removed(Some(kind)))
            }
            Some((subject, change)) => Because::Own(subject, change),
            None => self.input_difference(then, now, depth).unwrap_or(Because::Unknown),
        }
    }

    /// The kind of a mount with what is behind it, if that is known.
    fn mounted(&self, manifest: &Manifest, dest: &str, kind: &str) -> String {
        let at = |(role, input): (Role, Option<u32>)| match role {
            Role::Mount(at) if at == dest => input,
            _ => None,
        };
        let input = uses(&manifest.op).into_iter().find_map(at);
        let key = input.and_then(|input| manifest.inputs.get(input as usize)?.key());
        let current = self.current.iter().find(|it| key.is_some() && it.key() == key);
        let tree = match current {
            Some(current) => Some(words(&current.manifest)),
            None => key.and_then(|key| Some(words(&self.by_key(&key)?.manifest))),
        };
        tree.map_or_else(|| kind.to_owned(), |tree| format!("{kind} of `{tree}`"))
    }

    /// The first input that is another one; the steps do the same.
    fn input_difference(&self, then: &Manifest, now: Side<'_>, depth: usize) -> Option<Because> {
        let rules = selectors(now.manifest);
        let by_use: Vec<(Role, usize, usize)> = match &now.manifest.op {
            Op::Passthrough(_) | Op::Build(_) => {
                (0..now.manifest.inputs.len()).map(|idx| (Role::Needed(idx), idx, idx)).collect()
            }
            op => uses(&then.op)
                .into_iter()
                .zip(uses(op))
                .filter_map(|((_, then), (role, now))| Some((role, then? as usize, now? as usize)))
                .collect(),
        };
        for (role, old, new) in by_use {
            let (Some(old), Some(input)) = (then.inputs.get(old), now.manifest.inputs.get(new)) else {
                continue;
            };
            if old.is_same(input) {
                continue;
            }
            let selectors = rules.get(new).and_then(Option::as_deref);
            return Some(Because::Input(role, self.cause(old, input, selectors, depth)));
        }
        None
    }

    fn cause(&self, then: &Input, now: &Input, selectors: Option<&[Selector]>, depth: usize) -> Cause {
        let (old, new) = (then.key().and_then(|key| self.by_key(&key)), now.key());
        // The run that made it knows more than the program as it is, which may not have looked below it.
        let kept = new.and_then(|key| self.by_key(&key));
        let current = self.current.iter().find(|it| it.key() == new && new.is_some());
        let new = match (&kept, current) {
            (Some(kept), _) if !kept.manifest.is_source() => {
                Side { manifest: &kept.manifest, run: Some(kept.key), vertex: current.map(|it| it.vertex) }
            }
            (_, Some(current)) => {
                Side { manifest: &current.manifest, run: current.run, vertex: Some(current.vertex) }
            }
            (Some(kept), None) => Side { manifest: &kept.manifest, run: Some(kept.key), vertex: None },
            (None, None) => return Cause::Forgotten("another tree".to_owned()),
        };
        let Some(old) = old else { return Cause::Forgotten(words(new.manifest)) };
        if old.manifest.is_source() && new.manifest.is_source() {
            let cause = source_cause(&old.manifest, new.manifest, selectors);
            return cause.unwrap_or_else(|| Cause::Forgotten(words(new.manifest)));
        }
        // Whatever the new steps look like: what stands between is not the step that was there.
        let is_unmoved = new.manifest.digest == old.manifest.digest;
        if !is_unmoved && let Some(step) = self.step_above(new.manifest, then) {
            return Cause::Inserted(step);
        }
        if !is_unmoved && let Some(step) = self.step_above(&old.manifest, now) {
            return Cause::Dropped(step);
        }
        if (is_unmoved || is_same_step(new.manifest, &old.manifest)) && depth < MAX_DEPTH {
            let because = if new.run == Some(old.key) {
                // One key, two results.
                let again = self.input_difference(&old.manifest, new, depth + 1);
                again.or(new.manifest.forced.map(Because::Forced)).unwrap_or(Because::Unknown)
            } else {
                self.difference(&old.manifest, new, depth + 1)
            };
            return Cause::Again(Box::new(told(new, because, Some(old.at))));
        }
        Cause::Other { then: words(&old.manifest), now: words(new.manifest) }
    }

    /// The step that works on `input` and on which, over any number of others, `top` is built.
    fn step_above(&self, top: &Manifest, input: &Input) -> Option<String> {
        let mut at = top.clone();
        for _ in 0..MAX_DEPTH {
            let (_, base) = uses(&at.op).into_iter().next()?;
            let base = at.inputs.get(base? as usize)?.clone();
            if base.is_same(input) {
                return Some(at.name);
            }
            at = match self.by_key(&base.key()?) {
                Some(kept) => kept.manifest,
                None => self.current.iter().find(|it| it.key() == base.key())?.manifest.clone(),
            };
        }
        None
    }

    fn by_key(&self, key: &Digest) -> Option<Known> {
        self.store.run(key).ok().flatten().as_ref().and_then(kept)
    }
}

impl Current {
    /// What its run is kept by.
    fn key(&self) -> Option<Digest> {
        if self.manifest.is_source() {
            self.run.map(|run| source_key(&run, &self.manifest.vertex))
        } else {
            self.run
        }
    }
}

impl Input {
    /// What its run is kept by.
    pub(super) fn key(&self) -> Option<Digest> {
        match (self.made_by, self.source) {
            (Some(run), Some(source)) => Some(source_key(&run, &source)),
            (run, _) => run,
        }
    }

    /// Whether it is the same for who reads it.
    fn is_same(&self, other: &Input) -> bool {
        // A tree that was brought in again is the same, whatever it is called in the store.
        if self.source.is_some() && other.source.is_some() && self.made_by == other.made_by {
            return true;
        }
        match (self, other) {
            (Input { content: Some(a), .. }, Input { content: Some(b), .. }) => a == b,
            (Input { result: Some(a), .. }, Input { result: Some(b), .. }) => a == b,
            _ => self.made_by == other.made_by && self.output == other.output,
        }
    }
}

fn told(now: Side<'_>, because: Because, since: Option<SystemTime>) -> Reason {
    let action = match &because {
        // What is gone is written nowhere.
        Because::Own(Subject::Action(..), Change::Removed(_)) => None,
        Because::Own(Subject::Action(_, at) | Subject::ActionSetting(_, at, _), _) => Some(*at),
        _ => None,
    };
    let places = now.manifest.places_of(action);
    let places = if places.is_empty() { now.manifest.places.clone() } else { places };
    Reason { name: now.manifest.name.clone(), places, vertex: now.vertex, because, since }
}

/// What the run of a source is kept by: equal trees may come from different places.
pub(super) fn source_key(run: &Digest, vertex: &Digest) -> Digest {
    Digest::of(format!("bkl.source-run.v1:{run}:{vertex}"))
}

/// What of each input a step reads, where that is what counts.
fn selectors(manifest: &Manifest) -> Vec<Option<Vec<Selector>>> {
    let edges = (0..manifest.inputs.len() as u32).map(|idx| Edge { vertex: VertexId(idx), output: 0 });
    let vertex = Vertex::new(manifest.op.clone(), edges.collect::<ir::Inputs>(), None);
    input_rules(&vertex).map(|rules| rules.into_iter().map(|rule| rule.content).collect()).unwrap_or_default()
}

fn source_cause(then: &Manifest, now: &Manifest, selectors: Option<&[Selector]>) -> Option<Cause> {
    let (Op::Source(old), Op::Source(new)) = (&then.op, &now.op) else { return None };
    if old.scheme() != new.scheme() {
        return Some(Cause::Other { then: words(then), now: words(now) });
    }
    let own = differ::first_difference(then, now);
    if let (Some(before), Some(after)) = (&then.files, &now.files) {
        if old.identifier != new.identifier {
            return Some(Cause::Other { then: words(then), now: words(now) });
        }
        let (subject, change) = files::first_difference(before, after, selectors)?;
        return Some(Cause::File { source: words(now), subject, change, patterns: own });
    }
    let is_image = then.image.is_some() || now.image.is_some();
    if is_image && (then.image != now.image || old.identifier != new.identifier) {
        let side = |it: &Manifest| (words(it), it.image);
        return Some(Cause::Image { then: side(then), now: side(now) });
    }
    own.map(|(subject, change)| Cause::Source(words(now), subject, change))
}

/// A step or source as people call it; of a source, as the program writes it.
pub fn words(manifest: &Manifest) -> String {
    let Op::Source(source) = &manifest.op else { return manifest.name.clone() };
    let locator = source.locator();
    match source.scheme() {
        "local" => format!("local(\"{locator}\")"),
        "docker-image" => {
            format!("image(\"{}\")", familiar(locator))
        }
        "oci-layout" => {
            let dir = source.attrs.get(crate::graph::ir::attr::OCI_STORE);
            let dir = dir.map_or_else(String::new, |dir| format!("\"{dir}\", "));
            format!("oci_layout({dir}\"{}\")", familiar(locator))
        }
        _ => source.identifier.clone(),
    }
}

/// A reference as people write it, without its digest.
fn familiar(locator: &str) -> String {
    match locator.parse::<ImageRef>() {
        Ok(reference) => ImageRef { digest: None, ..reference }.familiar(),
        Err(_) => locator.to_owned(),
    }
}
