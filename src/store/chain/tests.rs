//! Tests of lists of layers.

use super::*;

fn ids(n: usize) -> Vec<LayerId> {
    (0..n).map(|n| LayerId::from_bytes((n as u128 * 0x0123_4567_89ab_cdef).to_be_bytes())).collect()
}

#[test]
fn a_list_has_the_digest_of_its_ids() {
    for n in 0..70 {
        let ids = ids(n);
        let tree: Snapshot = ids.iter().copied().collect();
        let bytes: Vec<u8> = ids.iter().flat_map(|it| *it.as_bytes()).collect();
        assert_eq!(tree.digest(), Digest::of(&bytes), "{n}");
        assert_eq!((tree.layers(), tree.n_layers()), (ids.clone(), n));
        assert_eq!(tree.top(), ids.last().copied());
    }
}

#[test]
fn lists_are_stacked_and_cut() {
    let ids = ids(9);
    let tree = |range: std::ops::Range<usize>| ids[range].iter().copied().collect::<Snapshot>();
    let (lower, upper) = (tree(0..4), tree(4..9));
    let whole = Snapshot::merge([&Snapshot::scratch(), &lower, &Snapshot::scratch(), &upper]);
    assert_eq!(whole, tree(0..9));
    assert_ne!(whole, Snapshot::merge([&upper, &lower]));
    assert_eq!(whole.above(&lower), Some(upper.clone()));
    assert_eq!(whole.above(&Snapshot::scratch()), Some(whole.clone()));
    assert_eq!(whole.above(&whole), Some(Snapshot::scratch()));
    assert_eq!(whole.above(&upper), None);
    assert_eq!(lower.above(&whole), None);
    assert_eq!(lower.above(&tree(1..3)), None);
}

/// Neither dropping nor comparing goes deep into the stack.
#[test]
fn a_list_may_be_long() {
    let tree: Snapshot = ids(200_000).into_iter().collect();
    let copy = tree.clone();
    let weak = tree.downgrade().unwrap();
    drop(tree);
    assert_eq!(weak.get(), Some(copy.clone()));
    drop(copy);
    assert!(weak.is_gone());
}

/// A definition of a hundred merges must not stand for 2^100 layers.
#[test]
fn merging_with_itself_stays_short() {
    let tree = |ids: &[LayerId]| ids.iter().copied().collect::<Snapshot>();
    let (ids, others) = (ids(600), ids(5000));
    let mut doubled = tree(&ids[..3]);
    for _ in 0..100 {
        doubled = Snapshot::merge([&doubled, &doubled]);
        assert!(doubled.n_layers() <= MAX_REPEATED);
    }
    // Up to there nothing is left out: images have what was merged.
    let few = tree(&ids[..3]);
    assert_eq!(Snapshot::merge([&few, &few]).layers(), [&ids[..3], &ids[..3]].concat());
    // Of what is there twice the upper one counts.
    let (all, again) = (tree(&ids), tree(&ids[..500]));
    assert_eq!(Snapshot::merge([&all, &again]).layers(), [&ids[500..], &ids[..500]].concat());
    let many = std::iter::repeat_n(&all, 50);
    assert_eq!(Snapshot::merge(many), all);
    // Long lists of different layers stay, with what they share.
    let long = tree(&others[600..]);
    assert_eq!(Snapshot::merge([&all, &long]).n_layers(), 5000);
}
