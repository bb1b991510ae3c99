//! Each budget ends with its own name.

use super::*;

#[test]
fn every_budget_has_an_end() {
    let full = |what: Budget| Spent {
        steps: if what == Budget::Steps { what.limit() } else { 0 },
        values: if what == Budget::Values { what.limit() } else { 0 },
        bytes: if what == Budget::Bytes { what.limit() } else { 0 },
        depth: if what == Budget::Depth { what.limit() } else { 0 },
    };
    assert_eq!(full(Budget::Steps).enter(), Err(Budget::Steps));
    assert_eq!(full(Budget::Depth).enter(), Err(Budget::Depth));
    assert_eq!(full(Budget::Values).values(1), Err(Budget::Values));
    assert_eq!(full(Budget::Values).values(0), Ok(()));
    assert_eq!(full(Budget::Bytes).bytes(usize::MAX), Err(Budget::Bytes));
    assert_eq!(Spent::default().enter(), Ok(()));
}
