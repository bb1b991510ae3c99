//! The order within ranks.

use super::Layers;

/// Sweeps over all ranks; each goes there and back.
const SWEEPS: usize = 12;

/// Orders every rank by lane, and within lanes so that few lines cross.
pub(super) fn order(layers: &mut Layers) {
    seed(layers);
    let mut best = layers.ranks.clone();
    let mut fewest = crossings(layers);
    for _ in 0..SWEEPS {
        if fewest == 0 {
            break;
        }
        for rank in 1..layers.ranks.len() {
            sort(layers, rank, Side::Before);
        }
        for rank in (0..layers.ranks.len().saturating_sub(1)).rev() {
            sort(layers, rank, Side::Behind);
        }
        swap_neighbours(layers);
        let now = crossings(layers);
        if now < fewest {
            fewest = now;
            best.clone_from(&layers.ranks);
        }
    }
    layers.ranks = best;
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    Behind,
}

/// A first order: as a walk from the last items to what they need comes upon them.
fn seed(layers: &mut Layers) {
    let mut seen = vec![false; layers.items.len()];
    let mut place = Vec::with_capacity(layers.items.len());
    let last_first = layers.ranks.iter().rev().flatten().copied();
    for start in last_first.collect::<Vec<_>>() {
        let mut stack = vec![start];
        while let Some(id) = stack.pop() {
            if !std::mem::replace(&mut seen[id], true) {
                place.push(id);
                stack.extend(layers.items[id].before.iter().rev().map(|(other, _)| *other));
            }
        }
    }
    let mut position = vec![0; layers.items.len()];
    for (at, id) in place.iter().enumerate() {
        position[*id] = at;
    }
    for rank in &mut layers.ranks {
        rank.sort_by_key(|&id| (layers.items[id].lane, position[id]));
    }
}

/// Where each item stands in its rank.
fn positions(layers: &Layers) -> Vec<usize> {
    let mut positions = vec![0; layers.items.len()];
    for rank in &layers.ranks {
        for (at, &id) in rank.iter().enumerate() {
            positions[id] = at;
        }
    }
    positions
}

/// Sorts a rank by the middle of each item's neighbours on one side; items without any stay where they are.
fn sort(layers: &mut Layers, rank: usize, side: Side) {
    let positions = positions(layers);
    let items = &layers.items;
    let centre = |id: usize| -> f64 {
        let neighbours = match side {
            Side::Before => &items[id].before,
            Side::Behind => &items[id].behind,
        };
        let weight: f64 = neighbours.iter().map(|(_, weight)| weight).sum();
        if weight == 0.0 {
            return positions[id] as f64;
        }
        neighbours.iter().map(|(other, weight)| positions[*other] as f64 * weight).sum::<f64>() / weight
    };
    let mut keyed: Vec<(usize, f64, usize)> =
        layers.ranks[rank].iter().map(|&id| (items[id].lane, centre(id), id)).collect();
    // A stable sort: equals keep their order.
    keyed.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    layers.ranks[rank] = keyed.into_iter().map(|(_, _, id)| id).collect();
}

/// Exchanges neighbours of a rank where that saves crossings.
fn swap_neighbours(layers: &mut Layers) {
    for rank in 0..layers.ranks.len() {
        let positions = positions(layers);
        let mut row = std::mem::take(&mut layers.ranks[rank]);
        for at in 1..row.len() {
            let (left, right) = (row[at - 1], row[at]);
            let items = &layers.items;
            if items[left].lane != items[right].lane {
                continue;
            }
            let crossed = |a: &[(usize, f64)], b: &[(usize, f64)]| -> usize {
                let below = |x: usize| b.iter().filter(|(y, _)| positions[*y] < positions[x]).count();
                a.iter().map(|(x, _)| below(*x)).sum()
            };
            let (l, r) = (&items[left], &items[right]);
            let now = crossed(&l.before, &r.before) + crossed(&l.behind, &r.behind);
            let then = crossed(&r.before, &l.before) + crossed(&r.behind, &l.behind);
            if then < now {
                row.swap(at - 1, at);
            }
        }
        layers.ranks[rank] = row;
    }
}

/// How many pairs of lines cross.
fn crossings(layers: &Layers) -> usize {
    let positions = positions(layers);
    let mut count = 0;
    for rank in &layers.ranks {
        let n_behind = rank
            .iter()
            .flat_map(|&id| &layers.items[id].behind)
            .map(|(other, _)| positions[*other] + 1)
            .max()
            .unwrap_or(0);
        // How many lines so far end at each place, summed as in a Fenwick tree.
        let mut ends = vec![0_usize; n_behind + 1];
        let mut n_lines = 0;
        for &id in rank {
            let mut targets: Vec<usize> =
                layers.items[id].behind.iter().map(|(other, _)| positions[*other]).collect();
            targets.sort_unstable();
            for &target in &targets {
                count += n_lines - up_to(&ends, target);
            }
            for &target in &targets {
                let mut at = target + 1;
                while at < ends.len() {
                    ends[at] += 1;
                    at += at & at.wrapping_neg();
                }
                n_lines += 1;
            }
        }
    }
    count
}

/// Lines that end at `place` or before it.
fn up_to(ends: &[usize], place: usize) -> usize {
    let mut at = place + 1;
    let mut sum = 0;
    while 0 < at {
        sum += ends[at];
        at &= at - 1;
    }
    sum
}
