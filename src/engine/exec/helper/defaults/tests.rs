//! The environment of a command.

use super::environment;

fn check(given: &[&str], expected: &[&str]) {
    let given: Vec<String> = given.iter().map(|it| (*it).to_owned()).collect();
    assert_eq!(environment(&given, "/root"), expected);
}

#[test]
fn the_last_of_a_key_counts_and_order_is_kept() {
    check(
        &["B=1", "PATH=/bin", "A=1", "B=2", "junk", "HOME=/h", "C=a=b"],
        &["PATH=/bin", "A=1", "B=2", "HOME=/h", "C=a=b"],
    );
}

#[test]
fn path_and_home_are_filled_in() {
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    check(&[], &[path, "HOME=/root"]);
    check(&["HOME="], &[path, "HOME=/root"]);
}
