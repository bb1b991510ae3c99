//! The scheduler on ops that only pretend.

mod fake;
mod graphs;
mod imports;
mod memory;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::*;
use crate::engine::cancel::{Cancel, Hold};
use fake::{Bench, CONTENT, Does, Fake, FakeError, KEY, PlanOf};

/// Runs `test` on a runtime of this thread; a solve that hangs fails.
fn check(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), test).await.expect("it hangs") });
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&it| it.to_owned()).collect()
}

/// base -> apt -> copy(src) -> make, with what `src` holds before and after `#`.
fn program(bench: &Bench, src: &str) -> Plan<Fake> {
    let mut plan = bench.plan();
    let base = plan.source("base", "debian");
    let src = plan.source("src", src);
    let apt = plan.step("apt", &[base]);
    let copy = plan.copy("copy", apt, src);
    let make = plan.step("make", &[copy]);
    plan.root(make)
}

#[test]
fn a_second_build_runs_nothing_and_looks_up_once() {
    check(async {
        let bench = Bench::new();
        let (ran, first) = bench.ran(&program(&bench, "code")).await;
        assert_eq!(ran, names(&["apt", "base", "copy", "make", "src"]));
        let other = bench.other_process();
        let n_before = bench.cache.n_gets.load(Ordering::Relaxed);
        let (ran, second) = other.ran(&program(&other, "code")).await;
        assert_eq!((ran, second), (Vec::new(), first));
        assert_eq!(bench.cache.n_gets.load(Ordering::Relaxed) - n_before, 1);
    });
}

#[test]
fn a_change_that_nobody_reads_runs_nothing() {
    check(async {
        let bench = Bench::new();
        bench.ran(&program(&bench, "code#readme")).await;
        let (ran, _) = bench.ran(&program(&bench, "code#another readme")).await;
        assert_eq!(ran, names(&["src"]), "the source is brought in, nothing else runs");
        // The definition key was recorded as well.
        let (ran, _) = bench.ran(&program(&bench, "code#another readme")).await;
        assert_eq!(ran, names(&[]));
    });
}

#[test]
fn a_change_that_is_read_runs_what_depends_on_it() {
    check(async {
        let bench = Bench::new();
        let (_, before) = bench.ran(&program(&bench, "code")).await;
        let (ran, after) = bench.ran(&program(&bench, "new code")).await;
        assert_eq!(ran, names(&["copy", "make", "src"]));
        assert_ne!(before, after);
        let (ran, back) = bench.ran(&program(&bench, "code")).await;
        assert_eq!((ran, back), (names(&[]), before));
    });
}

#[test]
fn equal_content_made_anew_stops_the_rebuild() {
    check(async {
        let program = |bench: &Bench, flags: &str| {
            let mut plan = bench.plan();
            let base = plan.source("base", "debian");
            let compile = Fake {
                key: flags.to_owned(),
                does: Does::Give("same".to_owned()),
                ..plan.fake("cc", &[KEY])
            };
            let compile = plan.add(compile, &[base]);
            let copy = plan.copy("copy", base, compile);
            let pack = plan.step("pack", &[copy]);
            plan.root(pack)
        };
        let bench = Bench::new();
        bench.ran(&program(&bench, "-O1")).await;
        let (ran, _) = bench.ran(&program(&bench, "-O2")).await;
        assert_eq!(ran, names(&["cc"]));
    });
}

#[test]
fn a_result_that_is_as_before_leaves_everything_behind_it_cached() {
    check(async {
        let program = |bench: &Bench, flags: &str, last: &str| {
            let mut plan = bench.plan();
            let base = plan.source("base", "debian");
            let compile = Fake {
                key: flags.to_owned(),
                does: Does::Give("same".to_owned()),
                ..plan.fake("cc", &[KEY])
            };
            let compile = plan.add(compile, &[base]);
            let strip = plan.step("strip", &[compile]);
            let pack = plan.step("pack", &[strip, base]);
            let last = plan.step(last, &[pack, compile]);
            plan.root(last)
        };
        let bench = Bench::comparing();
        let (_, first) = bench.ran(&program(&bench, "-O1", "push")).await;
        let (ran, second) = bench.ran(&program(&bench, "-O2", "push")).await;
        assert_eq!((ran, second), (names(&["cc"]), first));
        // The earlier result is what counts from now on, also for steps that are new, and in another process.
        let (ran, _) = bench.ran(&program(&bench, "-O2", "sign")).await;
        assert_eq!(ran, names(&["sign"]));
        let other = bench.other_process();
        let (ran, _) = other.ran(&program(&other, "-O1", "sign")).await;
        assert_eq!(ran, names(&[]));
        let (ran, _) = other.ran(&program(&other, "-O3", "sign")).await;
        assert_eq!(ran, names(&["cc"]));
    });
}

#[test]
fn running_again_on_demand_is_cut_off_too() {
    check(async {
        let program = |bench: &Bench, ignore: bool| {
            let mut plan = bench.plan();
            let base = plan.source("base", "debian");
            let update = Fake { ignore, ..plan.fake("update", &[KEY]) };
            let update = plan.add(update, &[base]);
            let install = plan.step("install", &[update]);
            let all = plan.step("all", &[install]);
            plan.root(all)
        };
        let bench = Bench::comparing();
        let first = bench.solve(&program(&bench, false)).await.unwrap().roots;
        bench.world.take_ran();
        let (ran, _) = bench.ran(&program(&bench, true)).await;
        assert_eq!(ran, names(&["update"]));
        let second = bench.solve(&program(&bench, false)).await.unwrap().roots;
        assert_eq!(first, second);
    });
}

#[test]
fn one_of_two_outputs_that_is_as_before_is_used_again() {
    check(async {
        let program = |bench: &Bench, flags: &str| {
            let mut plan = bench.plan();
            let base = plan.source("base", "debian");
            let two = Fake {
                key: flags.to_owned(),
                does: Does::GiveEach(vec![flags.to_owned(), "page".to_owned()]),
                n_outputs: 2,
                ..plan.fake("cc", &[KEY])
            };
            let two = plan.add(two, &[base]);
            let bin = plan.add_edges(plan.fake("bin", &[KEY]), vec![(two, 0)]);
            let man = plan.add_edges(plan.fake("man", &[KEY]), vec![(two, 1)]);
            let all = plan.step("all", &[bin, man]);
            plan.root(all)
        };
        let bench = Bench::comparing();
        bench.ran(&program(&bench, "-O1")).await;
        let (ran, _) = bench.ran(&program(&bench, "-O2")).await;
        assert_eq!(ran, names(&["all", "bin", "cc"]));
        let (ran, _) = bench.ran(&program(&bench, "-O1")).await;
        assert_eq!(ran, names(&[]));
    });
}

#[test]
fn a_diamond_is_run_once() {
    check(async {
        let bench = Bench::new();
        let mut plan = bench.plan();
        let mut top = plan.source("base", "debian");
        for level in 0..20 {
            let left = plan.step(&format!("left {level}"), &[top]);
            let right = plan.copy(&format!("right {level}"), top, top);
            top = plan.step(&format!("join {level}"), &[left, right]);
        }
        let (ran, _) = bench.ran(&plan.root(top)).await;
        assert_eq!(ran.len(), 61);
    });
}

#[test]
fn an_output_of_a_command_is_wanted_after_another_was_found() {
    check(async {
        let program = |bench: &Bench, both: bool| {
            let mut plan = bench.plan();
            let base = plan.source("base", "debian");
            let two = Fake { n_outputs: 2, ..plan.fake("two", &[KEY]) };
            let two = plan.add(two, &[base]);
            let second = plan.add_edges(plan.fake("second", &[KEY]), vec![(two, 1)]);
            let both = if both { plan.step("both", &[two, second]) } else { two };
            (two, plan.root(both))
        };
        let bench = Bench::new();
        let (_, plan) = program(&bench, false);
        bench.ran(&plan).await;
        // Only output 0 is left in the cache.
        bench.cache.records.lock().unwrap().retain(|_, record| !record.output.content.ends_with("#1"));
        let (two, plan) = program(&bench, true);
        let solved = bench.solve(&plan).await.unwrap();
        assert_eq!(solved.executed.iter().filter(|&&it| it == two).count(), 1);
    });
}

#[test]
fn a_thousand_wide_graph_respects_the_limit() {
    check(async {
        let bench = Bench::with(Limits { commands: 7, network: 1, disk: 1 });
        let mut plan = bench.plan();
        let base = plan.source("base", "debian");
        let steps: Vec<usize> = (0..1000).map(|idx| plan.step(&format!("step {idx}"), &[base])).collect();
        let all = plan.step("all", &steps);
        let (ran, _) = bench.ran(&plan.root(all)).await;
        assert_eq!(ran.len(), 1002);
        assert_eq!(bench.world.max_running.load(Ordering::Relaxed), 7);
    });
}

/// A chain of `n` steps is solved cold, then with its last step changed, then unchanged; gives the look-ups of each.
async fn chain(n: usize) -> [usize; 3] {
    let program = |bench: &Bench, last: &str| {
        let mut plan = bench.plan();
        let mut top = plan.source("base", "debian");
        for idx in 0..n {
            top = plan.step(&format!("step {idx}"), &[top]);
        }
        let last = plan.step(last, &[top]);
        plan.root(last)
    };
    let bench = Bench::new();
    let mut lookups = [0; 3];
    for (idx, (last, n_ran)) in [("a", n + 2), ("b", 1), ("b", 0)].into_iter().enumerate() {
        let before = bench.cache.n_gets.load(Ordering::Relaxed);
        assert_eq!(bench.ran(&program(&bench, last)).await.0.len(), n_ran);
        lookups[idx] = bench.cache.n_gets.load(Ordering::Relaxed) - before;
    }
    lookups
}

#[test]
fn a_deep_chain_is_linear_and_needs_no_stack() {
    check(async {
        let [cold, changed, cached] = chain(5000).await;
        let [half_cold, ..] = chain(2500).await;
        assert!(
            cold <= 2 * half_cold + 10,
            "{cold} look-ups for a chain twice as long as one with {half_cold}"
        );
        assert!(changed <= 6, "{changed} look-ups for one changed step");
        assert_eq!(cached, 1);
    });
}

#[test]
fn cold_inputs_by_key_and_by_content_run_side_by_side() {
    check(async {
        let bench = Bench::new();
        let barrier = Arc::new(tokio::sync::Barrier::new(3));
        let mut plan = bench.plan();
        let base = plan.source("base", "debian");
        let meet = |plan: &fake::PlanOf, name: &str| Fake {
            does: Does::Meet(barrier.clone()),
            ..plan.fake(name, &[KEY])
        };
        // `deep` is needed for the key of `root` only through `mid`, which waits for the content of `src`.
        let deep = plan.add(meet(&plan, "deep"), &[base]);
        let src = plan.add(meet(&plan, "src"), &[base]);
        let tool = plan.add(meet(&plan, "tool"), &[base]);
        let mid = plan.copy("mid", deep, src);
        let root = plan.copy("root", mid, tool);
        // Without the look ahead nobody would meet: the test would hang.
        bench.ran(&plan.root(root)).await;
    });
}

#[test]
fn inputs_by_key_are_not_built_when_the_content_is_known() {
    check(async {
        let bench = Bench::new();
        let program = |bench: &Bench, src: &str| {
            let mut plan = bench.plan();
            let base = plan.source("base", "debian");
            let apt = plan.step("apt", &[base]);
            let src = plan.source("src", src);
            let root = plan.copy("copy", apt, src);
            plan.root(root)
        };
        bench.ran(&program(&bench, "code#1")).await;
        let n_before = bench.cache.n_gets.load(Ordering::Relaxed);
        assert_eq!(bench.ran(&program(&bench, "code#2")).await.0, names(&["src"]));
        // copy, apt and src by definition, src by content and under its lease, copy by content.
        assert!(bench.cache.n_gets.load(Ordering::Relaxed) - n_before <= 7);
    });
}

#[test]
fn the_first_error_stops_the_rest_and_names_its_vertex() {
    check(async {
        let bench = Bench::new();
        let mut plan = bench.plan();
        let base = plan.source("base", "debian");
        let does = |plan: &fake::PlanOf, name: &str, does: Does| Fake { does, ..plan.fake(name, &[KEY]) };
        let hang = plan.add(does(&plan, "hang", Does::Hang), &[base]);
        let slow = plan.add(does(&plan, "work", Does::Work(5)), &[base]);
        let fail = plan.add(does(&plan, "bad", Does::Fail), &[slow]);
        let after = plan.step("after", &[fail]);
        let all = plan.step("all", &[hang, after]);
        let plan = plan.root(all);
        let Err(Failure::Op { vertex, error, others }) = bench.solve(&plan).await else { panic!("it fails") };
        assert_eq!((vertex, &*error, others.len()), (fail, &FakeError::Failed("bad".to_owned()), 0));
        assert_eq!(bench.world.n_running.load(Ordering::Relaxed), 0, "the hanging op was waited for");
        assert!(!bench.world.take_ran().contains(&"after".to_owned()));
        // A failure is not remembered.
        let Err(Failure::Op { vertex, .. }) = bench.solve(&plan).await else { panic!("it fails again") };
        assert_eq!(vertex, fail);
        assert_eq!(bench.world.take_ran().iter().filter(|it| *it == "bad").count(), 1);
    });
}

#[test]
fn nothing_begins_while_a_failure_is_looked_at() {
    check(async {
        // All turns are taken when `early` fails, and `queued` waits for one.
        let bench = Bench::with(Limits { commands: 3, network: 4, disk: 4 });
        let mut plan = bench.plan();
        let base = plan.source("base", "debian");
        let does = |plan: &fake::PlanOf, name: &str, does: Does| Fake {
            does,
            slot: Slot::Command,
            ..plan.fake(name, &[KEY])
        };
        let early = plan.add(does(&plan, "early", Does::Linger(bench.hold.clone(), 300)), &[base]);
        let brief = plan.add(does(&plan, "brief", Does::Work(400)), &[base]);
        let work = plan.add(does(&plan, "work", Does::Work(450)), &[base]);
        let before = plan.step("before", &[base]);
        let queued = plan.add(does(&plan, "queued", Does::Derive), &[before]);
        let after = plan.step("after", &[brief]);
        let late = plan.add(Fake { does: Does::Fail, ..plan.fake("late", &[KEY]) }, &[work]);
        let all = plan.step("all", &[early, queued, after, late]);
        let Err(Failure::Op { vertex, others, .. }) = bench.solve(&plan.root(all)).await else {
            panic!("it fails")
        };
        assert_eq!((vertex, others.len()), (early, 0));
        let mut ran = bench.world.take_ran();
        ran.sort();
        assert_eq!(ran, names(&["base", "before", "brief", "early", "work"]));
        assert_eq!(bench.world.n_running.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn what_failed_first_is_told_first_though_it_ended_last() {
    check(async {
        let bench = Bench::new();
        let mut plan = bench.plan();
        let base = plan.source("base", "debian");
        let early = Fake { does: Does::Linger(bench.hold.clone(), 300), ..plan.fake("early", &[KEY]) };
        let early = plan.add(early, &[base]);
        let late = Fake { does: Does::FailAfter(450), ..plan.fake("late", &[KEY]) };
        let late = plan.add(late, &[base]);
        let all = plan.step("all", &[late, early]);
        let Err(Failure::Op { vertex, others, .. }) = bench.solve(&plan.root(all)).await else {
            panic!("it fails")
        };
        let others: Vec<usize> = others.iter().map(|(vertex, _)| *vertex).collect();
        assert_eq!((vertex, others), (early, vec![late]));
    });
}

#[test]
fn errors_of_the_same_moment_are_all_kept() {
    check(async {
        let bench = Bench::new();
        let mut plan = bench.plan();
        let base = plan.source("base", "debian");
        let bad: Vec<usize> = (0..3)
            .map(|idx| {
                plan.add(Fake { does: Does::Fail, ..plan.fake(&format!("bad {idx}"), &[KEY]) }, &[base])
            })
            .collect();
        let all = plan.step("all", &bad);
        let Err(Failure::Op { vertex, others, .. }) = bench.solve(&plan.root(all)).await else {
            panic!("it fails")
        };
        let mut failed: Vec<usize> = others.iter().map(|(vertex, _)| *vertex).collect();
        failed.push(vertex);
        failed.sort_unstable();
        assert_eq!(failed, bad);
    });
}

#[test]
fn a_source_that_cannot_be_resolved_names_itself() {
    check(async {
        let bench = Bench::new();
        let mut plan = bench.plan();
        let base = plan.source("base", "unresolvable");
        let step = plan.step("step", &[base]);
        let Err(Failure::Op { vertex, .. }) = bench.solve(&plan.root(step)).await else { panic!("it fails") };
        assert_eq!(vertex, base);
        assert_eq!(bench.world.take_ran(), names(&[]));
    });
}

#[test]
fn a_solve_can_be_cancelled_at_every_point() {
    check(async {
        for at in 0.. {
            let bench = Bench::new();
            let mut plan = bench.plan();
            let base = plan.source("base", "debian");
            let src = plan.source("src", "code");
            let work = plan.add(Fake { does: Does::Work(3), ..plan.fake("work", &[KEY]) }, &[base]);
            let copy = plan.copy("copy", work, src);
            let side = plan.add(Fake { does: Does::Work(7), ..plan.fake("side", &[CONTENT]) }, &[src]);
            let all = plan.step("all", &[copy, side]);
            let plan = plan.root(all);
            let cancel = Cancel::new();
            *bench.world.cancel_at.lock().unwrap() = Some((at, cancel.clone()));
            let solved = bench.solve_with(&plan, &cancel).await;
            assert_eq!(bench.world.n_running.load(Ordering::Relaxed), 0, "point {at}");
            let n_points = bench.world.n_points.load(Ordering::Relaxed);
            match solved {
                Err(Failure::Cancelled) => assert!(cancel.is_cancelled()),
                Ok(_) => assert!(n_points <= at + 1, "point {at} was passed"),
                Err(Failure::Op { error, .. }) => panic!("point {at}: {error}"),
            }
            // What is half done does not hurt the next one.
            bench.world.take_ran();
            bench.ran(&plan).await;
            if n_points <= at {
                assert!(10 < at, "only {at} points");
                return;
            }
        }
    });
}

#[test]
fn two_solves_share_what_runs() {
    check(async {
        let bench = Bench::new();
        let (one, two) = (program(&bench, "code"), program(&bench, "code"));
        let (one, two) = tokio::join!(bench.solve(&one), bench.solve(&two));
        assert_eq!(one.unwrap().roots, two.unwrap().roots);
        let mut ran = bench.world.take_ran();
        ran.sort();
        assert_eq!(ran, names(&["apt", "base", "copy", "make", "src"]));
    });
}

#[test]
fn two_processes_share_through_the_lease() {
    check(async {
        let bench = Bench::new();
        let other = bench.other_process();
        let (one, two) = (program(&bench, "code"), program(&other, "code"));
        let (one, two) = tokio::join!(bench.solve(&one), other.solve(&two));
        assert_eq!(one.unwrap().roots, two.unwrap().roots);
        assert_eq!(bench.world.take_ran().len() + other.world.take_ran().len(), 5);
    });
}

#[test]
fn a_shared_execution_ends_with_its_last_waiter() {
    check(async {
        let bench = Bench::new();
        let program = || {
            let mut plan = bench.plan();
            let base = plan.source("base", "debian");
            let hang = Fake { does: Does::Hang, ..plan.fake("hang", &[KEY]) };
            let hang = plan.add(hang, &[base]);
            plan.root(hang)
        };
        let (one, two) = (program(), program());
        let (stop_one, stop_two) = (Cancel::new(), Cancel::new());
        let watch = async {
            while bench.world.n_running.load(Ordering::Relaxed) == 0 {
                tokio::task::yield_now().await;
            }
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            stop_one.cancel();
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            assert_eq!(bench.world.n_running.load(Ordering::Relaxed), 1, "the second still wants it");
            stop_two.cancel();
        };
        let (one, two, ()) =
            tokio::join!(bench.solve_with(&one, &stop_one), bench.solve_with(&two, &stop_two), watch);
        assert!(matches!(one, Err(Failure::Cancelled)) && matches!(two, Err(Failure::Cancelled)));
        assert_eq!(bench.world.n_running.load(Ordering::Relaxed), 0);
        assert_eq!(bench.world.take_ran(), names(&["base", "hang"]));
    });
}

#[test]
fn ignoring_the_cache_renews_the_result_for_later_builds() {
    check(async {
        let program = |bench: &Bench, ignore: bool, src: &str| {
            let mut plan = bench.plan();
            let base = plan.source("base", "debian");
            let update = Fake { ignore, ..plan.fake("update", &[KEY]) };
            let update = plan.add(update, &[base]);
            let install = plan.step("install", &[update]);
            let src = plan.source("src", src);
            let by_content = plan.add(plan.fake("by content", &[CONTENT]), &[update]);
            let all = plan.add(plan.fake("all", &[KEY, KEY, CONTENT]), &[install, by_content, src]);
            plan.root(all)
        };
        let bench = Bench::new();
        bench.ran(&program(&bench, false, "x")).await;
        let first = bench.solve(&program(&bench, false, "x")).await.unwrap().roots;
        let (ran, _) = bench.ran(&program(&bench, true, "x")).await;
        assert_eq!(ran, names(&["all", "install", "update"]), "by content nothing has changed");
        let second = bench.solve(&program(&bench, false, "x")).await.unwrap().roots;
        assert_ne!(first[0].run, second[0].run, "a later build takes the renewed result");
        // Also when its definition key is new.
        let (ran, _) = bench.ran(&program(&bench, false, "x#y")).await;
        assert_eq!(ran, names(&["src"]));
        let third = bench.solve(&program(&bench, false, "x#y")).await.unwrap().roots;
        assert_eq!(second, third);
    });
}

#[test]
fn vertices_that_no_root_needs_are_not_touched() {
    check(async {
        let bench = Bench::new();
        let mut plan = bench.plan();
        let base = plan.source("base", "debian");
        let broken = plan.source("broken", "unresolvable");
        plan.step("unneeded", &[broken]);
        let step = plan.step("step", &[base]);
        let (ran, _) = bench.ran(&plan.root(step)).await;
        assert_eq!(ran, names(&["base", "step"]));
    });
}

#[test]
fn a_survey_runs_nothing_and_says_what_would() {
    check(async {
        let bench = Bench::new();
        let survey = async |plan: &Plan<Fake>| {
            let accounts = bench.scheduler.survey(plan, bench.cache.clone(), &Cancel::new()).await.unwrap();
            assert_eq!(bench.world.take_ran(), names(&[]), "nothing is run");
            let named = accounts.iter().zip(&plan.nodes);
            named
                .filter_map(|(it, node)| Some((node.op.name(), it.as_ref()?.standing)))
                .collect::<Vec<(String, Standing)>>()
        };
        let say =
            |all: [(&str, Standing); 5]| all.map(|(name, standing)| (name.to_owned(), standing)).to_vec();
        use Standing::{Found, Ran, Unneeded, Waits};
        let cold = say([("base", Ran), ("src", Ran), ("apt", Waits), ("copy", Waits), ("make", Waits)]);
        assert_eq!(survey(&program(&bench, "a")).await, cold);
        let (_, before) = bench.ran(&program(&bench, "a")).await;
        let warm = say([
            ("base", Unneeded),
            ("src", Unneeded),
            ("apt", Unneeded),
            ("copy", Unneeded),
            ("make", Found),
        ]);
        assert_eq!(survey(&program(&bench, "a")).await, warm);
        // The fakes' sources do not know their content before they are there.
        let changed = survey(&program(&bench, "b")).await;
        assert_eq!(changed[1], ("src".to_owned(), Ran));
        assert_eq!(changed[4], ("make".to_owned(), Waits));
        let (_, after) = bench.ran(&program(&bench, "a")).await;
        assert_eq!(before, after, "a survey changes nothing");
    });
}

#[test]
fn results_name_the_run_that_made_them() {
    check(async {
        let bench = Bench::comparing();
        let ran = async |plan: &Plan<Fake>| {
            let outcome = bench
                .scheduler
                .solve(plan, bench.cache.clone(), Arc::new(|_| {}), &Cancel::new(), &Hold::default())
                .await;
            outcome.result.unwrap();
            let account = |vertex: usize| (plan.nodes[vertex].op.name(), outcome.ledger.account(vertex));
            outcome.ran.iter().map(|&vertex| account(vertex)).collect::<Vec<_>>()
        };
        let first = ran(&program(&bench, "a#1")).await;
        let run = |all: &[(String, Account)], name: &str| all.iter().find(|it| it.0 == name).unwrap().1.run;
        // The same content: only the source is brought in, and nobody is another's run.
        let second = ran(&program(&bench, "a#2")).await;
        assert_eq!(second.iter().map(|it| it.0.as_str()).collect::<Vec<_>>(), ["src"]);
        // Another step on what was found.
        let mut plan = bench.plan();
        let base = plan.source("base", "debian");
        let apt = plan.step("apt", &[base]);
        let other = plan.step("other", &[apt]);
        let third = ran(&plan.root(other)).await;
        assert_eq!(third[0].1.inputs[0].made_by, run(&first, "apt"));
        assert!(third[0].1.inputs[0].result.is_some());
    });
}
