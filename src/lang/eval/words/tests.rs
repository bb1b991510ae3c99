//! The rules of google/shlex, and values that stay whole.

use super::*;

#[track_caller]
fn check(pieces: &[Piece<'_>], expected: Result<&[&str], SplitError>) {
    let expected = expected.map(|words| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
    assert_eq!(split(pieces), expected);
}

#[test]
fn splits_as_shlex() {
    use Piece::Text;
    check(&[Text("apk add  g++\tmake\n")], Ok(&["apk", "add", "g++", "make"]));
    check(&[Text("")], Ok(&[]));
    check(&[Text(r#"a 'b c' "d \"e\" f" g\ h"#)], Ok(&["a", "b c", "d \"e\" f", "g h"]));
    check(&[Text(r#"x'y'"z" '' """#)], Ok(&["xyz", "", ""]));
    check(&[Text("a #comment\nb c#d")], Ok(&["a", "b", "c#d"]));
    check(&[Text(r"'a\b' \#c")], Ok(&[r"a\b", "#c"]));
    check(&[Text("'a")], Err(SplitError::OpenQuote('\'')));
    check(&[Text("a\\")], Err(SplitError::TrailingBackslash));
}

#[test]
fn values_stay_whole() {
    use Piece::{Text, Word, Words};
    check(&[Text("a "), Word("b 'c'\n"), Text(" d")], Ok(&["a", "b 'c'\n", "d"]));
    check(&[Text("--x="), Word(""), Text(" "), Word("")], Ok(&["--x=", ""]));
    check(&[Word("#no comment")], Ok(&["#no comment"]));
    let list = ["x".to_owned(), "y z".to_owned()];
    check(&[Text("a "), Words(&list), Text(" b")], Ok(&["a", "x", "y z", "b"]));
    check(&[Text("a "), Words(&[]), Text(" b")], Ok(&["a", "b"]));
    check(&[Text("p="), Words(&list), Text("!")], Ok(&["p=x", "y z!"]));
    check(&[Text("'"), Words(&list), Text("'")], Err(SplitError::ListInQuotes));
    check(&[Text("a # "), Word("b"), Text("\nc")], Ok(&["a", "c"]));
}
