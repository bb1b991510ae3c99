//! Which capabilities ops need, and which daemons have them.
use super::*;
use crate::graph::ir::parse;

#[track_caller]
fn check(line: &str, expected: &[&str]) {
    let (graph, _) = parse::parse(line).unwrap();
    let (_, vertex) = graph.vertices().last().unwrap();
    assert_eq!(needs(vertex), expected, "{line}");
    for id in needs(vertex) {
        assert!(known(id).is_some(), "{id}");
    }
}

#[test]
fn ops_need_what_their_fields_mean() {
    check(r#"%0 = source identifier="docker-image://a:1""#, &["source.image"]);
    check(
        r#"%0 = source identifier="local://." attrs={"local.includepattern":"[\"a\"]"}"#,
        &["source.local", "source.local.includepatterns"],
    );
    check(
        r#"%0 = source identifier="git://h/r#main:sub" attrs={"git.checksum":"ab"}"#,
        &["source.git", "source.git.checksum", "source.git.subdir"],
    );
    check(
        r#"%0 = source identifier="https://h/f" attrs={"http.uid":"1"}"#,
        &["source.http", "soruce.http.uidgid"],
    );
    check(
        r#"%0 = file actions=[{"input":"-","op":{"symlink":{"oldpath":"a","newpath":"/b"}},"output":0}]"#,
        &["file.base", "file.symlink.create"],
    );
    // A path without a wildcard is removed by every daemon that removes.
    check(
        r#"%0 = file actions=[{"input":"-","op":{"rm":{"path":"/a","allow_wildcard":true}},"output":0}]"#,
        &["file.base"],
    );
    check(
        r#"%0 = exec args=["a"] mounts=[{"dest":"/","output":0},{"dest":"/m"}] valid_exit_codes=[3]"#,
        &["exec.meta.base", "exec.mount.bind.readwrite-nooutput", "exec.validexitcode"],
    );
}

#[test]
fn releases_have_what_they_came_with() {
    let release = |text: &str| CapSet::release(text).unwrap();
    assert!(!release("buildkit-v0.9.3").unwrap().has("mergeop"));
    assert!(release("buildkit-v0.10").unwrap().has("mergeop"));
    assert_eq!(release("buildkit-v0.33").unwrap().ids.len(), KNOWN.len());
    assert_eq!(CapSet::release("caps.txt"), None);
    for bad in ["buildkit-v", "buildkit-v0", "buildkit-v0.x", "buildkit-v0.9.1.2", "buildkit-v0.9.x"] {
        assert_eq!(release(bad), Err(CapsError::NotARelease(bad.to_owned())));
    }
    for unknown in ["buildkit-v0.2", "buildkit-v0.99", "buildkit-v1.0"] {
        assert_eq!(release(unknown), Err(CapsError::UnknownRelease(unknown.to_owned())));
    }
}

#[test]
fn a_list_has_an_id_per_line() {
    let caps = CapSet::list("caps.txt", "# mine\nmergeop\n\n  diffop \n").unwrap();
    assert!(caps.has("mergeop") && caps.has("diffop") && !caps.has("file.base"));
    let error = CapSet::list("caps.txt", "mergeop\nmergeopp\n").unwrap_err();
    assert_eq!(error.to_string(), "line 2: `mergeopp` is no capability");
}
