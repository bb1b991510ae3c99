//! Cases of Go's `path.Match` and of moby's patternmatcher.

use super::*;

#[test]
fn go_match() {
    let check = |pattern: &str, name: &str, expected: Option<bool>| {
        assert_eq!(matches(pattern, name).ok(), expected, "{pattern} on {name}");
    };
    // Go path/match_test.go.
    check("abc", "abc", Some(true));
    check("*", "abc", Some(true));
    check("*c", "abc", Some(true));
    check("a*", "a", Some(true));
    check("a*", "ab/c", Some(false));
    check("a*/b", "abc/b", Some(true));
    check("a*/b", "a/c/b", Some(false));
    check("a*b*c*d*e*/f", "axbxcxdxe/f", Some(true));
    check("a*b*c*d*e*/f", "axbxcxdxexxx/f", Some(true));
    check("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", Some(false));
    check("a*b?c*x", "abxbbxdbxebxczzx", Some(true));
    check("a*b?c*x", "abxbbxdbxebxczzy", Some(false));
    check("ab[c]", "abc", Some(true));
    check("ab[b-d]", "abc", Some(true));
    check("ab[^e-g]", "abc", Some(true));
    check("ab[^c]", "abc", Some(false));
    check("a\\*b", "a*b", Some(true));
    check("a\\*b", "ab", Some(false));
    check("a?b", "a☺b", Some(true));
    check("a[^a]b", "a☺b", Some(true));
    check("a???b", "a☺b", Some(false));
    check("[a-ζ]*", "α", Some(true));
    check("a?b", "a/b", Some(false));
    check("[\\]a]", "]", Some(true));
    check("[x\\-]", "-", Some(true));
    check("[]a]", "]", None);
    check("[-]", "-", None);
    check("[x-]", "x", None);
    check("[a-b-c]", "a", None);
    check("[", "a", None);
    check("[^", "a", None);
    check("a[", "ab", None);
    check("\\", "a", None);
    check("*x", "xxx", Some(true));
    check("", "", Some(true));
    check("*", "", Some(true));
}

#[test]
fn moby_patterns() {
    let check = |patterns: &[&str], path: &str, expected: bool| {
        let list = Patterns::new(patterns).unwrap();
        assert_eq!(list.selects(path), expected, "{patterns:?} on {path}");
        // The same, going down from the top.
        let mut parent = Matched::default();
        let mut verdict = false;
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            (verdict, parent) = list.verdict(&path[..end], &parent);
        }
        assert_eq!(verdict, expected, "{patterns:?} down to {path}");
    };
    // patternmatcher_test.go.
    check(&["**"], "file", true);
    check(&["**/"], "dir/file", true);
    check(&["**/**"], "dir/file", true);
    check(&["dir/**"], "dir/dir2/file", true);
    check(&["**/file"], "file", true);
    check(&["**/dir2/*"], "dir/dir2/file", true);
    check(&["**/dir2/**"], "dir/dir2/dir2/file", true);
    check(&["**file"], "dir/file", true);
    check(&["**/file*txt"], "dir/dir/file.txt", true);
    check(&["**/file*.txt*"], "dir/dir/file.txt", true);
    check(&["**/**/*.txt2"], "dir/dir/file.txt", false);
    check(&["a**/*.txt"], "a/dir/file.txt", true);
    check(&["a/*.txt"], "a/dir/file.txt", false);
    check(&["a[b-d]e"], "ae", false);
    check(&["a[b-d]e"], "ace", true);
    check(&["abc.def"], "abcZdef", false);
    check(&["abc?def"], "abcZdef", true);
    check(&["a\\\\"], "a\\", true);
    check(&["**/foo/bar"], "foo/bar", true);
    check(&["**/foo/bar"], "dir/dir2/foo/bar", true);
    check(&["abc/**"], "abc", false);
    check(&["abc/**"], "abc/def/ghi", true);
    check(&["**/.foo"], ".foo", true);
    check(&["**/.foo"], "bar.foo", false);
    check(&["./file"], "file", true);
    check(&["file", "!file"], "file", false);
    check(&["*", "!*.md"], "README.md", false);
    check(&["*", "!docs/x"], "docs/x", false);
    check(&["docs", "!docs/README.md"], "docs/README.md", false);
    check(&["docs", "!docs/README.md"], "docs/other", true);
    check(&["docs/", "!docs/**/a", "docs/b/a"], "docs/b/a", true);
    check(&[" a ", ""], "a", true);
    check(&["/a"], "a", false);
    check(&["a(b)+", "c{1}"], "a(b)+", true);
    check(&["[[&~]x"], "&x", true);
    assert!(Patterns::new(&["!"]).is_err());
    assert!(Patterns::new(&["a["]).is_err());
}

#[test]
fn whole_directories_are_passed_by_only_when_nothing_below_can_be_meant() {
    let check = |patterns: &[&str], dir: &str, kind: Kind, expected: bool| {
        let list = Patterns::new(patterns).unwrap();
        assert_eq!(list.selects_nothing_below(dir, kind), expected, "{patterns:?} {dir}");
    };
    check(&["src/a"], "lib", Kind::Plain, true);
    check(&["src/a"], "src", Kind::Plain, false);
    check(&["src/a"], "sr", Kind::Plain, true);
    check(&["src/**"], "src", Kind::Plain, false);
    check(&["src/**"], "lib", Kind::Plain, true);
    check(&["a/b/**"], "a/b", Kind::Plain, false);
    check(&["a", "!a/**"], "a", Kind::Exceptions, false);
    check(&["**/a"], "lib", Kind::Plain, false);
    check(&["node_modules"], "node_modules", Kind::Exceptions, true);
    check(&["a", "!a/b/**"], "a", Kind::Exceptions, false);
    check(&["a", "!b"], "a", Kind::Exceptions, true);
}

#[test]
fn wildcards_split_paths() {
    assert_eq!(split_wildcard("/a/b*/c"), ("/a/", "b*/c"));
    assert_eq!(split_wildcard("/a/b"), ("/a/b", ""));
    assert_eq!(split_wildcard("/a\\*/b?"), ("/a\\*/", "b?"));
    assert_eq!(split_wildcard("*"), ("", "*"));
}
