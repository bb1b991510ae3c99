//! What other machines offer: what is taken, what is left where it is, and what happens when it is not what it was.

use std::collections::BTreeSet;
use std::sync::Mutex;

use super::graphs::random;
use super::*;
use crate::engine::event::Event;
use fake::Tree;

/// A cache that was made of a [`Trace`].
pub(super) struct Foreign {
    records: Vec<Known>,
    /// Names of the results that were brought in.
    loaded: Mutex<Vec<String>>,
    /// Results that cannot be.
    lost: BTreeSet<usize>,
}

struct Known {
    name: Digest,
    output: usize,
    /// For each input, the records and the content that may stand there.
    inputs: Vec<(Vec<usize>, Option<Digest>)>,
    result: Option<Tree>,
}

impl Foreign {
    /// `is_session` says of which vertices the name means nothing here.
    fn of(trace: &Trace<Tree>, is_session: impl Fn(usize) -> bool) -> Foreign {
        let mut records: Vec<Known> = Vec::new();
        let mut place = std::collections::BTreeMap::new();
        for vertex in &trace.vertices {
            for (output, edge) in vertex.edges.iter().enumerate() {
                let input = |it: &TracedInput| {
                    let is_known = !(it.by_content && is_session(it.from.0));
                    (place.get(&it.from).copied().filter(|_| is_known).into_iter().collect(), it.content)
                };
                let inputs = vertex.inputs.iter().map(input).collect();
                let result = edge.result.clone().filter(|_| !vertex.inputs.is_empty());
                place.insert((vertex.node, output), records.len());
                records.push(Known { name: vertex.names[0], output, inputs, result });
            }
        }
        Foreign { records, loaded: Mutex::default(), lost: BTreeSet::new() }
    }

    fn take_loaded(&self) -> Vec<String> {
        let mut loaded = std::mem::take(&mut *self.loaded.lock().unwrap());
        loaded.sort();
        loaded
    }
}

impl Imports<Tree> for Foreign {
    fn matching(&self, names: &[Digest], output: usize, inputs: &[InputOffers<'_>]) -> Vec<Offer> {
        let stands = |it: &Known| {
            it.output == output
                && names.contains(&it.name)
                && it.inputs.len() == inputs.len()
                && it.inputs.iter().zip(inputs).all(|((records, content), input)| {
                    let is_read = content.is_some() && *content == input.content;
                    is_read || input.edge.iter().any(|Offer(it)| records.contains(&(*it as usize)))
                })
        };
        (0..self.records.len()).filter(|&it| stands(&self.records[it])).map(|it| Offer(it as u32)).collect()
    }

    fn with_results(&self, offers: &[Offer]) -> Vec<Offer> {
        offers.iter().copied().filter(|Offer(it)| self.records[*it as usize].result.is_some()).collect()
    }

    fn load<'a>(&'a self, _ctx: &'a ExecCtx, offers: Vec<Offer>) -> BoxFuture<'a, Option<Tree>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            let offer = offers.iter().map(|Offer(it)| *it as usize).find(|it| !self.lost.contains(it))?;
            let tree = self.records[offer].result.clone()?;
            self.loaded.lock().unwrap().push(tree.content.clone());
            Some(tree)
        })
    }
}

/// A build with an account of everything.
async fn traced(bench: &Bench, plan: &Plan<Fake>) -> Trace<Tree> {
    let events = Arc::new(|_: Event| {});
    let cache = bench.cache.clone();
    let (cancel, hold) = (Cancel::new(), Hold::default());
    let outcome = bench.scheduler.solve_and(plan, cache, events, &cancel, &hold, Aftermath::Trace).await;
    bench.world.take_ran();
    outcome.result.unwrap();
    outcome.trace.unwrap()
}

/// Another machine, which knows what `foreign` offers.
fn elsewhere(foreign: Foreign) -> (Bench, Arc<Foreign>) {
    let foreign = Arc::new(foreign);
    let cache = fake::Cache { foreign: Some(foreign.clone()), ..fake::Cache::default() };
    (Bench { cache: Arc::new(cache), ..Bench::new() }, foreign)
}

fn steps(ran: Vec<String>) -> Vec<String> {
    ran.into_iter().filter(|it| !matches!(it.as_str(), "base" | "src")).collect()
}

#[test]
fn an_empty_store_runs_nothing_and_brings_in_the_result() {
    check(async {
        let here = Bench::new();
        let (_, first) = here.ran(&program(&here, "code")).await;
        // Of a build that found its result at once, all is known as well.
        let trace = traced(&here, &program(&here, "code")).await;
        assert!(trace.vertices.iter().all(|it| it.edges[0].result.is_some()));
        let (there, foreign) = elsewhere(Foreign::of(&trace, |node| node == 1));
        let (ran, second) = there.ran(&program(&there, "code")).await;
        assert_eq!((steps(ran), &second), (names(&[]), &first));
        assert_eq!(foreign.take_loaded(), std::slice::from_ref(&first), "nothing but what was asked for");
        // It is kept: the next build asks nobody.
        let (ran, third) = there.other_process().ran_of(|bench| program(bench, "code")).await;
        assert_eq!((ran, third), (names(&[]), first));
    });
}

#[test]
fn a_change_runs_what_it_would_have_run() {
    check(async {
        let here = Bench::new();
        let trace = traced(&here, &program(&here, "code")).await;
        let (there, foreign) = elsewhere(Foreign::of(&trace, |node| node == 1));
        let (ran, _) = there.ran(&program(&there, "new code")).await;
        assert_eq!(steps(ran), names(&["copy", "make"]));
        assert_eq!(foreign.take_loaded().len(), 1, "apt, on which copy works");
    });
}

/// A cache has no say in what a source is.
#[test]
fn sources_are_brought_in_from_where_they_are() {
    check(async {
        let here = Bench::new();
        let trace = traced(&here, &program(&here, "code")).await;
        let mut foreign = Foreign::of(&trace, |node| node == 1);
        foreign.records[0].result = Some(Tree { content: "another".to_owned(), run: 1 });
        foreign.records[2].result = None;
        let (there, foreign) = elsewhere(foreign);
        let (ran, made) = there.ran(&program(&there, "new code")).await;
        let (_, at_once) = Bench::new().ran_of(|bench| program(bench, "new code")).await;
        assert_eq!((ran, made), (names(&["apt", "base", "copy", "make", "src"]), at_once));
        assert!(foreign.take_loaded().is_empty());
    });
}

#[test]
fn what_does_not_come_is_made() {
    check(async {
        let here = Bench::new();
        let (_, first) = here.ran(&program(&here, "code")).await;
        let trace = traced(&here, &program(&here, "code")).await;
        let n_records = trace.vertices.len();
        for lost in 0_usize..1 << n_records {
            let is_lost = |it: &usize| lost >> it & 1 == 1;
            let mut foreign = Foreign::of(&trace, |node| node == 1);
            foreign.lost = (0..n_records).filter(is_lost).collect();
            let (there, _) = elsewhere(foreign);
            let (_, made) = there.ran(&program(&there, "code")).await;
            assert_eq!(made, first, "{lost:b}");
        }
    });
}

/// Of an op with two outputs only one is in the cache: the other makes it run, once.
#[test]
fn an_output_that_is_not_offered() {
    check(async {
        let program = |bench: &Bench, both: bool| {
            let mut plan = bench.plan();
            let base = plan.source("base", "debian");
            let two = Fake { n_outputs: 2, ..plan.fake("two", &[KEY]) };
            let two = plan.add(two, &[base]);
            let first = plan.add_edges(plan.fake("first", &[CONTENT]), vec![(two, 0)]);
            let second = plan.add_edges(plan.fake("second", &[CONTENT]), vec![(two, 1)]);
            let ends = if both { vec![first, second] } else { vec![first] };
            let all = plan.step("all", &ends);
            plan.root(all)
        };
        let here = Bench::new();
        let trace = traced(&here, &program(&here, false)).await;
        let mut foreign = Foreign::of(&trace, |_| false);
        foreign.records.iter_mut().filter(|it| it.output == 1).for_each(|it| it.result = None);
        let (there, _) = elsewhere(foreign);
        let (ran, made) = there.ran(&program(&there, true)).await;
        let (_, at_once) = Bench::new().ran_of(|bench| program(bench, true)).await;
        assert_eq!(made, at_once);
        assert_eq!(steps(ran), names(&["all", "second", "two"]));
    });
}

/// An op that ignores the cache runs, and so does what has its result by key; what reads its content does not.
#[test]
fn ignoring_the_cache() {
    check(async {
        let program = |bench: &Bench, ignore| {
            let mut plan = bench.plan();
            let base = plan.source("base", "debian");
            let fresh = Fake { ignore, does: Does::Give("same".to_owned()), ..plan.fake("fresh", &[KEY]) };
            let fresh = plan.add(fresh, &[base]);
            let by_key = plan.step("by key", &[fresh]);
            let by_content = plan.copy("by content", base, fresh);
            let all = plan.step("all", &[by_key, by_content]);
            plan.root(all)
        };
        let here = Bench::new();
        let trace = traced(&here, &program(&here, false)).await;
        let (there, _) = elsewhere(Foreign::of(&trace, |_| false));
        let (ran, _) = there.ran(&program(&there, true)).await;
        assert_eq!(steps(ran), names(&["all", "by key", "fresh"]));
    });
}

/// For any graph: an empty store that imports runs nothing for the same, and for a change what the first store would.
#[test]
fn any_graph() {
    check(async {
        const N_STEPS: usize = 12;
        for seed in 0..60 {
            let here = Bench::new();
            let plan = |bench: &Bench, changed: Option<usize>| {
                let mut plan = random(bench, seed, N_STEPS, &[]);
                if let Some(changed) = changed {
                    let op = Arc::get_mut(&mut plan.nodes[changed].op).expect("nobody else has it yet");
                    "changed".clone_into(&mut op.key);
                }
                plan
            };
            let (_, first) = here.ran(&plan(&here, None)).await;
            let trace = traced(&here, &plan(&here, None)).await;
            let is_session = |node| node == 1;
            let (there, foreign) = elsewhere(Foreign::of(&trace, is_session));
            let (ran, second) = there.ran(&plan(&there, None)).await;
            assert_eq!((steps(ran), &second), (names(&[]), &first), "{seed}");
            assert_eq!(foreign.take_loaded(), [first], "{seed}");
            for changed in 2..N_STEPS + 2 {
                let copy = Bench::new();
                copy.cache.records.lock().unwrap().extend(here.cache.records.lock().unwrap().clone());
                let (expected, _) = copy.ran(&plan(&copy, Some(changed))).await;
                let (there, _) = elsewhere(Foreign::of(&trace, is_session));
                let (ran, made) = there.ran(&plan(&there, Some(changed))).await;
                assert_eq!(steps(ran), steps(expected), "{seed}: {changed} changed");
                let (_, at_once) = Bench::new().ran_of(|bench| plan(bench, Some(changed))).await;
                assert_eq!(made, at_once, "{seed}: {changed} changed");
            }
        }
    });
}

/// Stopped at each event, nothing is left, and the next build gives what it would have given.
#[test]
fn stopped_while_it_imports() {
    check(async {
        let here = Bench::new();
        let (_, first) = here.ran(&random(&here, 3, 10, &[])).await;
        let trace = traced(&here, &random(&here, 3, 10, &[])).await;
        for at in 0..8 {
            let (there, _) = elsewhere(Foreign::of(&trace, |node| node == 1));
            let plan = random(&there, 3, 10, &[]);
            let (cancel, n) = (Cancel::new(), Mutex::new(0));
            let stop = cancel.clone();
            let events = Arc::new(move |_: Event| {
                let mut n = n.lock().unwrap();
                if *n == at {
                    stop.cancel();
                }
                *n += 1;
            });
            let cache = there.cache.clone();
            let outcome = there.scheduler.solve(&plan, cache, events, &cancel, &Hold::default()).await;
            assert!(matches!(outcome.result, Ok(_) | Err(Failure::Cancelled)), "{at}");
            there.world.take_ran();
            let (_, after) = there.ran(&plan).await;
            assert_eq!(after, first);
        }
    });
}
