//! Which items go, in which order: what is wanted least first, and nothing before what needs it.

use std::collections::BTreeSet;

use super::clock::Clock;
use super::inventory::{Inventory, sum};
use super::policy::{Disk, Policy};
use crate::store::Usage;

/// A choice being made. Nothing is removed yet.
pub(super) struct Choice<'a> {
    inventory: &'a Inventory,
    /// In the order in which they go.
    pub(super) chosen: Vec<usize>,
    is_chosen: Vec<bool>,
    /// How many items that stay need each.
    n_users: Vec<usize>,
    n_blob_users: Vec<usize>,
    left: Usage,
}

impl<'a> Choice<'a> {
    pub(super) fn new(inventory: &'a Inventory) -> Choice<'a> {
        let mut n_users = vec![0; inventory.items.len()];
        inventory.known.iter().flat_map(|it| &it.needs).for_each(|need| n_users[*need] += 1);
        Choice {
            inventory,
            chosen: Vec::new(),
            is_chosen: vec![false; n_users.len()],
            n_users,
            n_blob_users: inventory.blobs.iter().map(|it| it.users.len()).collect(),
            left: inventory.total(),
        }
    }

    fn is_free(&self, place: usize) -> bool {
        !self.is_chosen[place] && self.n_users[place] == 0 && !self.inventory.items[place].in_use
    }

    /// Chooses what is of no use to anybody.
    pub(super) fn garbage(&mut self) {
        let known = &self.inventory.known;
        let mut open: Vec<usize> = (0..known.len()).filter(|place| known[*place].is_garbage).collect();
        while let Some(place) = open.pop() {
            if known[place].is_garbage && self.is_free(place) {
                self.take(place);
                open.extend(&known[place].needs);
            }
        }
    }

    /// Chooses what `policy` means, given the disk as it is before anything is removed.
    pub(super) fn add(&mut self, policy: &Policy, (bytes, inodes): (Disk, Disk), clock: &Clock) {
        // What was chosen will be free.
        let gained = |disk: Disk, before: u64, now: u64| Disk { free: disk.free + (before - now), ..disk };
        let before = self.inventory.total();
        let bytes = gained(bytes, before.bytes, self.left.bytes);
        let inodes = gained(inodes, before.inodes, self.left.inodes);
        let keep = policy.has_caps().then(|| {
            let keep = |caps: &super::Caps, total, disk| caps.keep(total, disk).unwrap_or(u64::MAX);
            (keep(&policy.bytes, self.left.bytes, bytes), keep(&policy.inodes, self.left.inodes, inodes))
        });
        let is_enough = |left: Usage| keep.is_some_and(|(b, i)| left.bytes <= b && left.inodes <= i);
        if is_enough(self.left) {
            return;
        }
        let items = &self.inventory.items;
        let meant: Vec<bool> =
            items.iter().map(|it| !it.in_use && policy.means(it, clock.age(it.last_used))).collect();
        let wanted = self.wanted(&meant, clock);
        let mut open: BTreeSet<(u64, usize)> = (0..items.len())
            .filter(|it| meant[*it] && self.is_free(*it))
            .map(|it| (wanted[it], it))
            .collect();
        while let Some((_, place)) = open.pop_first() {
            if !self.is_free(place) {
                continue;
            }
            self.take(place);
            if is_enough(self.left) {
                return;
            }
            let needs = &self.inventory.known[place].needs;
            open.extend(
                needs.iter().filter(|it| meant[**it] && self.is_free(**it)).map(|it| (wanted[*it], *it)),
            );
        }
    }

    /// How much each item is wanted: its rank by last use and its rank by number of uses, both between 0 and 1 (BuildKit
    /// cache/manager.go, `sortDeleteRecords`).
    fn wanted(&self, meant: &[bool], clock: &Clock) -> Vec<u64> {
        let items = &self.inventory.items;
        let rank = |of: &dyn Fn(usize) -> u128| {
            let mut values: Vec<u128> = (0..items.len()).filter(|it| meant[*it]).map(of).collect();
            values.sort_unstable();
            values.dedup();
            let n_steps = values.len().saturating_sub(1).max(1) as u64;
            move |place: usize, value: u128| match meant[place] {
                true => values.partition_point(|it| *it < value) as u64 * (1 << 32) / n_steps,
                false => 0,
            }
        };
        let used = |place: usize| u128::MAX - clock.age(items[place].last_used).as_millis();
        let uses = |place: usize| u128::from(items[place].uses);
        let (by_time, by_uses) = (rank(&used), rank(&uses));
        (0..items.len()).map(|it| by_time(it, used(it)) + by_uses(it, uses(it))).collect()
    }

    fn take(&mut self, place: usize) {
        let known = &self.inventory.known[place];
        self.is_chosen[place] = true;
        self.chosen.push(place);
        self.left = less(self.left, known.own);
        for &blob in &known.blobs {
            self.n_blob_users[blob] -= 1;
            if self.n_blob_users[blob] == 0 {
                self.left = less(self.left, self.inventory.blobs[blob].usage);
            }
        }
        known.needs.iter().for_each(|need| self.n_users[*need] -= 1);
        for &carried in &known.carries {
            if self.is_free(carried) {
                self.take(carried);
            }
        }
    }
}

pub(super) fn less(all: Usage, part: Usage) -> Usage {
    Usage { bytes: all.bytes.saturating_sub(part.bytes), inodes: all.inodes.saturating_sub(part.inodes) }
}

/// The items that went, in that order, each with what was gained: a blob that others still need was not.
pub(super) fn gains(inventory: &Inventory, gone: &[usize]) -> Vec<Usage> {
    let mut n_users: Vec<usize> = inventory.blobs.iter().map(|it| it.users.len()).collect();
    let gain = |place: &usize| {
        let known = &inventory.known[*place];
        known.blobs.iter().fold(known.own, |gain, &blob| {
            n_users[blob] -= 1;
            if n_users[blob] == 0 { sum(gain, inventory.blobs[blob].usage) } else { gain }
        })
    };
    gone.iter().map(gain).collect()
}
