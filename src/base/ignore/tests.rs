//! Lines as moby reads them.

use super::ignore_patterns;

#[test]
fn lines_become_patterns() {
    let text = "\u{feff}# comment\n\n  test1  \n/test2\n/a/file/here\n\nlastfile\n# done\n! /inverted/abs/path\n!\n! \n./x/../y/\n";
    let expected = ["test1", "test2", "a/file/here", "lastfile", "!inverted/abs/path", "!", "!", "y"];
    assert_eq!(ignore_patterns(text), expected);
}
