//! Positions along the ranks.
//!
//! Each sweep asks every item where it would like to be, the weighted mean of its neighbours, and gives the rank the
//! positions that differ least from those wishes (in squares, by weight) while keeping order and distance: an isotonic
//! regression, solved exactly by pooling neighbours that get in each other's way. Lanes are placed apart and then set
//! side by side, so that a frame around one holds nothing of another.

use super::Layers;

/// Sweeps, alternating; the last ones look both ways.
const SWEEPS: usize = 60;
/// The last sweeps, which straighten.
const LAST: usize = 30;
/// How much a line wants to be straight.
const STRAIGHT: f64 = 24.0;

/// The middle of every item along its rank.
pub(super) fn place(layers: &Layers) -> Vec<f64> {
    let mut along = vec![0.0; layers.items.len()];
    let mut start = 0.0;
    for lane in 0..layers.n_lanes {
        let rows: Vec<Vec<usize>> = layers
            .ranks
            .iter()
            .map(|rank| rank.iter().copied().filter(|&id| layers.items[id].lane == lane).collect())
            .collect();
        place_lane(layers, &rows, &mut along);
        let members = || rows.iter().flatten().copied();
        let half = |id: usize| layers.items[id].extent.0 / 2.0;
        let low = members().map(|id| along[id] - half(id)).fold(f64::MAX, f64::min);
        let high = members().map(|id| along[id] + half(id)).fold(f64::MIN, f64::max);
        if high < low {
            continue;
        }
        members().for_each(|id| along[id] += start - low);
        start += high - low + layers.lane_gap;
    }
    along
}

fn place_lane(layers: &Layers, rows: &[Vec<usize>], along: &mut [f64]) {
    for row in rows {
        let wishes: Vec<(f64, f64)> = row.iter().map(|_| (0.0, 1.0)).collect();
        settle(layers, row, &wishes, along);
    }
    for sweep in 0..SWEEPS {
        let both = sweep + LAST >= SWEEPS;
        // Where each line is on the whole.
        let middles: Vec<f64> = layers
            .paths
            .iter()
            .map(|path| {
                let bends = || path.iter().filter(|id| !layers.items[**id].node);
                bends().map(|id| along[*id]).sum::<f64>() / bends().count().max(1) as f64
            })
            .collect();
        let wish = |along: &[f64], id: usize, forward: bool| -> (f64, f64) {
            let item = &layers.items[id];
            let before = item.before.iter().filter(|_| forward || both);
            let behind = item.behind.iter().filter(|_| !forward || both);
            let (mut sum, mut weight) = (0.0, 0.0);
            for &(other, tie) in before.chain(behind).filter(|(it, _)| layers.items[*it].lane == item.lane) {
                sum += along[other] * tie;
                weight += tie;
            }
            if let Some(line) = item.line.filter(|_| both) {
                sum += middles[line] * STRAIGHT;
                weight += STRAIGHT;
            }
            // What nothing pulls stays, but gives way.
            if weight == 0.0 { (along[id], 0.05) } else { (sum / weight, weight) }
        };
        let forward = sweep % 2 == 0;
        let order: Box<dyn Iterator<Item = &Vec<usize>>> =
            if forward { Box::new(rows.iter()) } else { Box::new(rows.iter().rev()) };
        for row in order {
            let wishes: Vec<(f64, f64)> = row.iter().map(|&id| wish(along, id, forward)).collect();
            settle(layers, row, &wishes, along);
        }
    }
}

/// Gives the items of a row the positions nearest to their wishes (position and weight) that do not overlap.
fn settle(layers: &Layers, row: &[usize], wishes: &[(f64, f64)], along: &mut [f64]) {
    // Offsets at which all items stand as close as they may: then only the order is left to keep.
    let mut offsets = Vec::with_capacity(row.len());
    let mut offset = 0.0;
    for (at, &id) in row.iter().enumerate() {
        if let Some(&left) = at.checked_sub(1).and_then(|at| row.get(at)) {
            let (left, right) = (&layers.items[left], &layers.items[id]);
            offset += (left.extent.0 + right.extent.0) / 2.0 + left.gap().max(right.gap());
        }
        offsets.push(offset);
    }
    /// Items that stand as close as they may: where the first would be, by weight.
    struct Block {
        sum: f64,
        weight: f64,
        len: usize,
    }
    let mut blocks: Vec<Block> = Vec::new();
    for (&(position, weight), offset) in wishes.iter().zip(&offsets) {
        let mut block = Block { sum: (position - offset) * weight, weight, len: 1 };
        while let Some(left) = blocks.pop_if(|left| block.sum / block.weight <= left.sum / left.weight) {
            block = Block {
                sum: left.sum + block.sum,
                weight: left.weight + block.weight,
                len: left.len + block.len,
            };
        }
        blocks.push(block);
    }
    let mut at = 0;
    for block in blocks {
        for _ in 0..block.len {
            along[row[at]] = block.sum / block.weight + offsets[at];
            at += 1;
        }
    }
}
