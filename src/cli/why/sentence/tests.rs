//! Values on one line.

use super::{values, whole};

#[test]
fn values_show_what_differs() {
    let check = |then: &str, now: &str, expected: (&str, &str)| {
        let (then, now) = values(then, now);
        assert_eq!((then.as_str(), now.as_str()), expected);
    };
    check("a", "b", ("a", "b"));
    check("a\nb", "a\n", ("a\\nb", "a\\n"));
    let (before, after) = ("x".repeat(100), "y".repeat(100));
    let around = ("x".repeat(24), "y".repeat(24));
    let (then, now) = (format!("{before}-O2{after}"), format!("{before}-O3{after}"));
    let shown = |value: &str| format!("…{}{value}{}…", &around.0[1..], around.1);
    check(
        &then,
        &now,
        (&format!("…{}-O2{}…", around.0, &around.1), &format!("…{}-O3{}…", around.0, &around.1)),
    );
    let _ = shown;
    // One is the beginning of the other.
    check(&before, &format!("{before}z"), (&format!("…{}", around.0), &format!("…{}z", around.0)));
}

#[test]
fn long_values_lose_their_middle() {
    assert_eq!(whole("short"), "short");
    assert_eq!(whole(&"ä".repeat(100)), format!("{}…{}", "ä".repeat(32), "ä".repeat(32)));
}
