//! Which of the kept runs is the nearest earlier one of a step.
//!
//! A step has no name of its own that outlives every change of a program, so the runs of the program are ranked. What
//! another step of the program does to the letter is that step's run and no other's. Of the rest, a run of the same
//! kind counts if it has the step's name, does the same, was written at the same place, or does something similar; the
//! one that has most of these in common wins, and of equal ones the latest. Where the program has no such run, those of
//! others are ranked: a step may have been cached from a run in another checkout.

use std::collections::{BTreeSet, HashSet};

use super::differ::uses;
use super::manifest::Manifest;
use crate::base::Digest;
use crate::graph::ir::{FileActionOp, Op};

/// How much of what two steps do must be the same, in percent, if nothing else says that they are one.
const SIMILAR: usize = 50;

/// Ranks of what two runs of one step have in common; what both read and do breaks ties.
const SAME_NAME: usize = 1_000;
const SAME_WORK: usize = 800;
const SAME_PLACE: usize = 400;
const SAME_INPUT: usize = 20;

/// The index of the nearest run in `pool`, the latest first. `taken` are the digests of what other steps of the program
/// do.
pub fn nearest<'a>(
    now: &Manifest,
    pool: impl IntoIterator<Item = &'a Manifest>,
    taken: &HashSet<Digest>,
) -> Option<usize> {
    let mut best: Option<(usize, usize)> = None;
    for (idx, then) in pool.into_iter().enumerate() {
        if then.digest != now.digest && taken.contains(&then.digest) {
            continue;
        }
        if let Some(rank) = rank(now, then)
            && best.is_none_or(|(most, _)| most < rank)
        {
            best = Some((rank, idx));
        }
    }
    best.map(|(_, idx)| idx)
}

/// As [`nearest`], among the runs of other programs: places say nothing there, unless both work on the same.
pub fn nearest_elsewhere<'a>(
    now: &Manifest,
    pool: impl IntoIterator<Item = &'a Manifest>,
    taken: &HashSet<Digest>,
) -> Option<usize> {
    let (indexes, pool): (Vec<usize>, Vec<&Manifest>) =
        pool.into_iter().enumerate().filter(|(_, then)| is_like(now, then)).unzip();
    nearest(now, pool, taken).map(|idx| indexes[idx])
}

/// Whether more than their place says that two runs are of one step.
fn is_like(now: &Manifest, then: &Manifest) -> bool {
    let same_name = now.named && then.named && now.name == then.name;
    let same_work = now.digest == then.digest && !now.is_source();
    same_name || same_work || SIMILAR <= similarity(&now.op, &then.op) || 0 < n_shared(now, then)
}

/// On how many results of the same runs they work.
fn n_shared(now: &Manifest, then: &Manifest) -> usize {
    let runs = |it: &Manifest| it.inputs.iter().filter_map(|it| it.made_by).collect::<BTreeSet<Digest>>();
    runs(now).intersection(&runs(then)).count()
}

/// Whether two runs are of one step, as far as can be told.
pub fn is_same_step(a: &Manifest, b: &Manifest) -> bool {
    rank(a, b).is_some()
}

/// What two runs have in common; `None` when they are not of one step.
fn rank(now: &Manifest, then: &Manifest) -> Option<usize> {
    if std::mem::discriminant(&now.op) != std::mem::discriminant(&then.op) {
        return None;
    }
    if let (Op::Source(now), Op::Source(then)) = (&now.op, &then.op)
        && now.scheme() != then.scheme()
    {
        return None;
    }
    let is_named = now.named && then.named;
    if is_named && now.name != then.name && now.digest != then.digest {
        return None;
    }
    let same_name = is_named && now.name == then.name;
    let same_work = now.digest == then.digest && !now.is_source();
    let same_place = now.places.iter().any(|place| then.places.contains(place));
    let similar = similarity(&now.op, &then.op);
    if !(same_name || same_work || same_place || SIMILAR <= similar) {
        return None;
    }
    let shared = uses(&now.op).len().min(uses(&then.op).len());
    let inputs = n_shared(now, then) + usize::from(0 < shared);
    let points = [(same_name, SAME_NAME), (same_work, SAME_WORK), (same_place, SAME_PLACE)];
    let points = points.iter().filter(|(holds, _)| *holds).map(|(_, points)| points).sum::<usize>();
    Some(points + similar + inputs * SAME_INPUT)
}

/// How much of what two ops do is the same, in percent: words of commands, mount points, file actions.
fn similarity(a: &Op, b: &Op) -> usize {
    let (a, b) = (words(a), words(b));
    let common = a.intersection(&b).count();
    (2 * 100 * common).checked_div(a.len() + b.len()).unwrap_or(100)
}

fn words(op: &Op) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    match op {
        Op::Exec(exec) => {
            // `/bin/sh -c` says nothing.
            let shell = exec.args.iter().position(|arg| arg == "-c").map_or(0, |at| at + 1);
            for arg in &exec.args[shell.min(exec.args.len())..] {
                let has_letters = |word: &&str| word.contains(char::is_alphanumeric);
                words.extend(arg.split_whitespace().filter(has_letters).map(str::to_owned));
            }
            words.extend(exec.mounts.iter().filter(|it| it.dest != "/").map(|it| format!("at {}", it.dest)));
        }
        Op::File(file) => {
            for action in &file.actions {
                match &action.op {
                    FileActionOp::Copy(copy) => words.extend([
                        "copy".to_owned(),
                        format!("from {}", copy.src),
                        format!("to {}", copy.dest),
                    ]),
                    other => words.extend(other.name().split(' ').map(str::to_owned)),
                }
            }
        }
        Op::Source(source) => {
            words.extend([source.locator().split('@').next().unwrap_or_default().to_owned()]);
        }
        Op::Merge(_) => words.extend(["merge".to_owned()]),
        Op::Diff(_) => words.extend(["diff".to_owned()]),
        Op::Passthrough(_) => words.extend(["passthrough".to_owned()]),
        Op::Build(_) => words.extend(["build".to_owned()]),
    }
    words
}
