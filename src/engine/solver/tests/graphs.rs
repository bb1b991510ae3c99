//! Graphs of any shape: what holds whatever fails, whenever it is stopped, however large it is.

use std::sync::Mutex;

use super::*;
use crate::engine::event::Event;
use crate::engine::solver::key::N_VERTEX_KEYS;

/// Numbers that look random and are the same every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// A graph of two sources and `n_steps` steps on what comes before them; all that nothing uses is the result. What
/// `failing` are fails.
pub(super) fn random(bench: &Bench, seed: u64, n_steps: usize, failing: &[usize]) -> Plan<Fake> {
    let mut numbers = Numbers(seed);
    let mut plan = bench.plan();
    plan.source("base", "debian");
    plan.source("src", "code");
    for step in 2..n_steps + 2 {
        let mut inputs: Vec<usize> = (0..=numbers.below(3)).map(|_| numbers.below(step)).collect();
        inputs.sort_unstable();
        inputs.dedup();
        let rules: Vec<InputRule> = inputs.iter().map(|_| [KEY, KEY, CONTENT][numbers.below(3)]).collect();
        // Drawn in any case, so that what fails is all that differs.
        let (kind, n_yields, given) = (numbers.below(3), 1 + numbers.below(5), numbers.below(3));
        let does = match kind {
            _ if failing.contains(&step) => Does::Fail,
            0 => Does::Derive,
            1 => Does::Work(n_yields),
            _ => Does::Give(format!("given {given}")),
        };
        let slot = [Slot::Command, Slot::Disk, Slot::Free][numbers.below(3)];
        // Of a directory one knows what is in it.
        let known = |(input, rule): (&usize, &InputRule)| {
            (*input == 1 && *rule == CONTENT).then(|| "code".to_owned())
        };
        let early = inputs.iter().zip(&rules).map(known).collect();
        let fake = Fake { does, slot, early, ..plan.fake(&format!("step {step}"), &rules) };
        plan.add(fake, &inputs);
    }
    let used: Vec<usize> =
        plan.plan.nodes.iter().flat_map(|node| node.inputs.iter().map(|(from, _)| *from)).collect();
    let ends: Vec<usize> = (0..plan.plan.nodes.len()).filter(|it| !used.contains(it)).collect();
    let all = plan.step("all", &ends);
    plan.root(all)
}

/// What `vertex` is made of, with itself.
fn below(plan: &Plan<Fake>, vertex: usize) -> Vec<bool> {
    let mut is_below = vec![false; plan.nodes.len()];
    is_below[vertex] = true;
    for node in (0..plan.nodes.len()).rev() {
        if is_below[node] {
            plan.nodes[node].inputs.iter().for_each(|&(input, _)| is_below[input] = true);
        }
    }
    is_below
}

#[test]
fn whatever_fails_is_named_and_nothing_behind_it_runs() {
    check(async {
        for seed in 0..20 {
            for failing in 2..14 {
                let bench = Bench::comparing();
                let plan = random(&bench, seed, 12, &[failing]);
                let solved = bench.solve(&plan).await;
                let Err(Failure::Op { vertex, error, others }) = solved else { panic!("{seed}: it fails") };
                let name = format!("step {failing}");
                assert_eq!((vertex, &*error, others.len()), (failing, &FakeError::Failed(name), 0), "{seed}");
                assert_eq!(bench.world.n_running.load(Ordering::Relaxed), 0);
                let ran = bench.world.take_ran();
                for (node, it) in plan.nodes.iter().enumerate() {
                    let is_behind = node != failing && below(&plan, node)[failing];
                    assert!(!is_behind || !ran.contains(&it.op.name()), "{seed}: {node} ran");
                }
                assert_eq!(bench.cache.n_held.0.load(Ordering::Relaxed), 0, "a lease is left");
                // Mended, the build goes on where it was, and gives what it would have given at once.
                let (_, mended) = bench.ran(&random(&bench, seed, 12, &[])).await;
                let (_, at_once) = Bench::comparing().ran_of(|bench| random(bench, seed, 12, &[])).await;
                assert_eq!(mended, at_once);
            }
        }
    });
}

#[test]
fn all_that_failed_is_told() {
    check(async {
        for seed in 0..40 {
            let bench = Bench::new();
            let failing: Vec<usize> =
                (2..14).filter(|step| (seed as usize + step).is_multiple_of(3)).collect();
            let plan = random(&bench, seed, 12, &failing);
            let told = Arc::new(Mutex::new(0));
            let counting = told.clone();
            let events = Arc::new(move |event: Event| {
                if matches!(event, Event::Completed { error: Some(error), .. } if error != "cancelled") {
                    *counting.lock().unwrap() += 1;
                }
            });
            let outcome = bench
                .scheduler
                .solve(&plan, bench.cache.clone(), events, &Cancel::new(), &Hold::default())
                .await;
            let Err(failure) = outcome.result else { panic!("it fails") };
            let failed = failure.vertices();
            let ran = bench.world.take_ran();
            let n_ran = failing.iter().filter(|it| ran.contains(&format!("step {it}"))).count();
            assert_eq!(failed.len(), n_ran, "each failure that happened is reported");
            assert_eq!(failed.len(), *told.lock().unwrap());
            assert!(failed.iter().all(|it| failing.contains(it)));
        }
    });
}

#[test]
fn a_failure_lets_nobody_begin() {
    check(async {
        for last in 0..10 {
            let bench = Bench::with(Limits { commands: 1, network: 1, disk: 1 });
            let mut plan = bench.plan();
            let base = plan.source("base", "debian");
            let steps: Vec<usize> = (0..50)
                .map(|idx| {
                    let does = if idx == last { Does::Fail } else { Does::Work(2) };
                    plan.add(Fake { does, ..plan.fake(&format!("{idx}"), &[KEY]) }, &[base])
                })
                .collect();
            let all = plan.step("all", &steps);
            let solved = bench.solve(&plan.root(all)).await;
            assert!(matches!(solved, Err(Failure::Op { .. })));
            // The source, and those before it: turns are taken in order.
            assert_eq!(bench.world.take_ran().len(), last + 2);
        }
    });
}

/// Stops solves of a graph at each of the moments that `arm` can be told, until there are no more.
async fn stopped_everywhere(
    arm: impl Fn(&Bench, usize, &Cancel) -> Arc<dyn Fn(Event) + Send + Sync>,
) -> usize {
    for seed in [1, 2, 3, 4] {
        for at in 0.. {
            let bench = Bench::comparing();
            let plan = random(&bench, seed, 10, &[]);
            let cancel = Cancel::new();
            let events = arm(&bench, at, &cancel);
            let outcome =
                bench.scheduler.solve(&plan, bench.cache.clone(), events, &cancel, &Hold::default()).await;
            assert_eq!(bench.world.n_running.load(Ordering::Relaxed), 0, "moment {at}");
            assert_eq!(bench.cache.n_held.0.load(Ordering::Relaxed), 0, "a lease is left");
            match outcome.result {
                Ok(_) => {}
                Err(Failure::Cancelled) => assert!(cancel.is_cancelled()),
                Err(Failure::Op { error, .. }) => panic!("moment {at}: {error}"),
            }
            if !cancel.is_cancelled() {
                assert!(20 < at, "only {at} moments");
                if seed == 4 {
                    return at;
                }
                break;
            }
            *bench.world.cancel_at.lock().unwrap() = None;
            *bench.cache.cancel_at.lock().unwrap() = None;
            bench.world.take_ran();
            let (_, after) = bench.ran(&plan).await;
            let (_, at_once) = Bench::comparing().ran_of(|bench| random(bench, seed, 10, &[])).await;
            assert_eq!(after, at_once, "moment {at}");
        }
    }
    unreachable!("the last seed returns")
}

#[test]
fn stopped_at_every_event() {
    check(async {
        stopped_everywhere(|_, at, cancel| {
            let (cancel, n) = (cancel.clone(), Mutex::new(0));
            Arc::new(move |_| {
                let mut n = n.lock().unwrap();
                if *n == at {
                    cancel.cancel();
                }
                *n += 1;
            })
        })
        .await;
    });
}

#[test]
fn stopped_at_every_point_of_an_op() {
    check(async {
        stopped_everywhere(|bench, at, cancel| {
            *bench.world.cancel_at.lock().unwrap() = Some((at, cancel.clone()));
            Arc::new(|_| {})
        })
        .await;
    });
}

#[test]
fn stopped_at_every_look_up() {
    check(async {
        stopped_everywhere(|bench, at, cancel| {
            *bench.cache.cancel_at.lock().unwrap() = Some((at, cancel.clone()));
            Arc::new(|_| {})
        })
        .await;
    });
}

#[test]
fn commands_network_and_disk_have_limits_of_their_own() {
    check(async {
        let bench = Bench::with(Limits { commands: 3, network: 2, disk: 4 });
        let mut plan = bench.plan();
        let base = plan.source("base", "debian");
        let mut steps = Vec::new();
        for idx in 0..300 {
            let slot = [Slot::Command, Slot::Network, Slot::Disk][idx % 3];
            let fake = Fake { slot, does: Does::Work(3), ..plan.fake(&format!("{idx}"), &[KEY]) };
            steps.push(plan.add(fake, &[base]));
        }
        let all = Fake { slot: Slot::Free, ..plan.fake("all", &vec![KEY; steps.len()]) };
        let all = plan.add(all, &steps);
        bench.ran(&plan.root(all)).await;
        let most = bench.world.by_slot.each_ref().map(|(_, most)| most.load(Ordering::Relaxed));
        assert_eq!(most, [3, 2, 4, 1]);
        assert_eq!(bench.world.max_running.load(Ordering::Relaxed), 9, "and all of them at once");
    });
}

#[test]
fn a_wide_graph_holds_few_leases() {
    check(async {
        let bench = Bench::with(Limits { commands: 5, network: 1, disk: 1 });
        let mut plan = bench.plan();
        let base = plan.source("base", "debian");
        let steps: Vec<usize> = (0..1000).map(|idx| plan.step(&format!("{idx}"), &[base])).collect();
        let all = plan.step("all", &steps);
        bench.ran(&plan.root(all)).await;
        let most = bench.cache.n_held.1.load(Ordering::Relaxed);
        assert!(most <= 6, "{most} leases at once: each is an open file");
    });
}

/// Look-ups and keys of a solve.
async fn work(bench: &Bench, plan: &Plan<Fake>) -> (usize, usize) {
    let gets = || bench.cache.n_gets.load(Ordering::Relaxed);
    let keys = || N_VERTEX_KEYS.with(std::cell::Cell::get);
    let before = (gets(), keys());
    bench.ran(plan).await;
    (gets() - before.0, keys() - before.1)
}

#[test]
fn twice_the_graph_is_twice_the_work() {
    type Shape = fn(&mut PlanOf, usize) -> usize;
    let chain: Shape = |plan, n| {
        let base = plan.source("base", "debian");
        (0..n).fold(base, |top, idx| plan.step(&format!("{idx}"), &[top]))
    };
    let wide: Shape = |plan, n| {
        let base = plan.source("base", "debian");
        let steps: Vec<usize> = (0..n).map(|idx| plan.step(&format!("{idx}"), &[base])).collect();
        plan.step("all", &steps)
    };
    let ladder: Shape = |plan, n| {
        let base = plan.source("base", "debian");
        let src = plan.source("src", "code");
        (0..n).fold(base, |top, idx| {
            let side = plan.step(&format!("side {idx}"), &[top, src]);
            plan.copy(&format!("{idx}"), top, side)
        })
    };
    for (name, shape) in [("chain", chain), ("wide", wide), ("ladder", ladder)] {
        check(async {
            let mut counts = Vec::new();
            for n in [500, 1000, 2000] {
                let plan = |bench: &Bench, last: &str| {
                    let mut plan = bench.plan();
                    let top = shape(&mut plan, n);
                    let last = plan.step(last, &[top]);
                    plan.root(last)
                };
                let bench = Bench::new();
                let cold = work(&bench, &plan(&bench, "a")).await;
                let cached = work(&bench, &plan(&bench, "a")).await;
                let changed = work(&bench, &plan(&bench, "b")).await;
                assert_eq!(cached.0, 1, "{name}: a cached build looks up its root");
                assert!(changed.0 <= 8, "{name}: {} look-ups for one changed step", changed.0);
                counts.push([cold.0, cold.1, cached.1, changed.1]);
            }
            for (one, two) in counts.iter().zip(&counts[1..]) {
                for (one, two) in one.iter().zip(two) {
                    assert!(*two <= 2 * one + 20, "{name}: {counts:?}");
                }
            }
        });
    }
}
