//! Tests of stacks, without directories.

use super::*;

/// Pushes small layers 0, 1, …, but large ones where `is_large` says so; levels of the slots, bottom first.
fn check(n: usize, is_large: impl Fn(usize) -> bool) -> Vec<Option<u32>> {
    let mut stack = Stack::default();
    for n in 0..n {
        stack.push(LayerId::from_bytes((n as u128).to_be_bytes()), !is_large(n));
        assert!(stack.slots.len() <= MAX_STACK);
    }
    stack.slots.iter().map(Slot::level).collect()
}

#[test]
fn long_lists_of_small_layers_are_short_stacks() {
    assert_eq!(check(MAX_PLAIN, |_| false), vec![Some(0); MAX_PLAIN]);
    let after = |blocks: &[(u32, usize)]| -> Vec<Option<u32>> {
        blocks.iter().flat_map(|&(level, n)| vec![Some(level); n]).collect()
    };
    assert_eq!(check(MAX_PLAIN + 1, |_| false), after(&[(1, 4), (0, 1)]));
    assert_eq!(check(256, |_| false), after(&[(2, 1)]));
    assert_eq!(check(100_000, |_| false), after(&[(4, 1), (3, 8), (2, 6), (1, 10)]));
}

#[test]
fn large_layers_stay_as_they_are_unless_there_are_many() {
    let levels = check(150, |n| n == 0 || n == 60);
    assert_eq!((levels[0], levels.iter().filter(|it| it.is_none()).count()), (None, 2));
    assert_eq!(levels.len(), 2 + (3 + 59 % FANOUT) + (5 + 89 % FANOUT));
    assert_eq!(check(400, |_| true), vec![None; 400]);
    assert_eq!(check(401, |_| true).len(), 401 - LARGE_BLOCK + 1);
}

#[test]
fn the_lower_of_two_equal_layers_is_left_out() {
    let mut stack = Stack::default();
    let ids: Vec<LayerId> = (0..3_u128).map(|n| LayerId::from_bytes(n.to_be_bytes())).collect();
    [0, 1, 0, 2, 1].iter().for_each(|&n| stack.push(ids[n], true));
    let shown: Vec<LayerId> = stack.slots.iter().map(|it| LayerId::from_bytes(*it.key())).collect();
    assert_eq!(shown, [ids[0], ids[2], ids[1]]);
}
