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
    // Of long ones, what is around the difference.
    let (before, after) = ("x".repeat(100), "y".repeat(100));
    let (start, end) = ("x".repeat(24), "y".repeat(24));
    let long = |value: &str| format!("{before}{value}{after}");
    let short = |value: &str| format!("…{start}{value}{end}…");
    check(&long("2"), &long("3"), (&short("2"), &short("3")));
    // One is the beginning of the other.
    check(&before, &format!("{before}z"), (&format!("…{start}"), &format!("…{start}z")));
}

#[test]
fn long_values_lose_their_middle() {
    assert_eq!(whole("short"), "short");
    assert_eq!(whole(&"ä".repeat(100)), format!("{}…{}", "ä".repeat(32), "ä".repeat(32)));
}
