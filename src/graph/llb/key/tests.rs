//! Keys against what a BuildKit daemon exported (llb reference, appendix B).

use super::*;
use crate::graph::ir::build::{ExecBuilder, FileStep, MountSpec};
use crate::graph::ir::{Edge, FileMkdir, FileMkfile, Graph, SourceOp};

fn linux() -> Platform {
    Platform { os: "linux".to_owned(), arch: "amd64".to_owned(), ..Platform::default() }
}

/// A graph with one source per tree asked for.
fn graph_with<const N: usize>() -> (Graph, [Edge; N]) {
    let mut graph = Graph::new();
    let edges = std::array::from_fn(|idx| {
        let op = SourceOp { identifier: format!("docker-image://t{idx}"), attrs: Default::default() };
        graph.source(op, &[], None)
    });
    (graph, edges)
}

#[track_caller]
fn check(graph: &Graph, edge: Edge, expected: &str) {
    let digest = cache_digest(graph.vertex(edge.vertex), &linux()).map(|it| it.to_string());
    assert_eq!(digest.as_deref(), Some(expected));
}

fn command(words: &[&str], env: &[&str]) -> ExecOp {
    let texts = |texts: &[&str]| texts.iter().map(|&it| it.to_owned()).collect();
    ExecOp { args: texts(words), env: texts(env), cwd: "/".to_owned(), ..ExecOp::default() }
}

#[test]
fn image() {
    let root = "sha256:856750d891e4696e71e86b26c87dcd699153446ba1e556ce4296db2ae31d64a9".parse().unwrap();
    let key = image_key(&root, &linux(), None);
    assert_eq!(key.hex(), "6a460109c0c8709973361d9a816f950e0501bbd3e7843a06742383560ed45267");
    let digest = source_digest(&key.to_string()).unwrap();
    assert_eq!(digest.hex(), "7b82c58c85d01bf9887f330e85f01ad1cc065564adc06ddfc5a80dd14e9635a2");
    assert_eq!(source_digest("session:a:b"), None);
}

/// What else is chosen of a root: a layer limit, and all that a platform says.
#[test]
fn images_of_other_platforms() {
    let root: Digest = Digest::of("root");
    let json = |rest: &str| Digest::of(format!("{{\"Digest\":\"{root}\",{rest}}}"));
    assert_eq!(image_key(&root, &linux(), Some(2)), json(r#""OS":"linux","Arch":"amd64","Limit":2"#));
    let windows = Platform {
        os: "windows".to_owned(),
        arch: "arm".to_owned(),
        variant: "v7".to_owned(),
        os_version: "10".to_owned(),
        os_features: vec!["win32k".to_owned()],
    };
    let expected =
        json(r#""OS":"windows","Arch":"arm","Variant":"v7","OSVersion":"10","OSFeatures":["win32k"]"#);
    assert_eq!(image_key(&root, &windows, None), expected);
}

#[test]
fn exec_with_root_only() {
    let (mut graph, [base]) = graph_with();
    let op = command(&["/bin/true"], &["A=b<c"]);
    let run = graph.exec(ExecBuilder { op, base: Some(base), ..ExecBuilder::default() });
    let expected = "sha256:9360cd66f87924f184af28f713ca5c7ebe62a52a0fd084e755f1303d0295328b";
    check(&graph, run.root.unwrap(), expected);
    let rules = input_rules(graph.vertex(run.vertex)).unwrap();
    let whole: Digest =
        "sha256:8a5edab282632443219e051e4ade2d1d5bbc671c781051bf1437897cbdfea0f1".parse().unwrap();
    assert_eq!(rules, [InputKeyRule { selector: Some(whole), content: None }]);
}

#[test]
fn exec_with_a_mount() {
    let (mut graph, [base, tree]) = graph_with();
    let mount = MountSpec { selector: "sub".to_owned(), ..MountSpec::readonly("/m", Some(tree)) };
    let op = command(&["/bin/true", "2"], &[]);
    let run = graph.exec(ExecBuilder { op, base: Some(base), mounts: vec![mount], ..ExecBuilder::default() });
    let expected = "sha256:948bf20a65287e091a2cd84f8268183df16c8f78133add13b26a46f839a1802a";
    check(&graph, run.root.unwrap(), expected);
    let rules = input_rules(graph.vertex(run.vertex)).unwrap();
    assert_eq!(rules[0].content, None);
    let content = Selector { path: "/sub".to_owned(), follow_links: true, ..Selector::default() };
    assert_eq!(rules[1], InputKeyRule { selector: Some(Digest::of("/sub")), content: Some(vec![content]) });
}

#[test]
fn file() {
    let (mut graph, [base]) = graph_with();
    let mkdir =
        FileMkdir { path: "/d".to_owned(), mode: 0o755, make_parents: false, owner: None, timestamp: -1 };
    let mkfile =
        FileMkfile { path: "/d/f".to_owned(), mode: 0o644, data: b"hi".to_vec(), owner: None, timestamp: -1 };
    let edge = graph.file(Some(base), vec![FileStep::Mkdir(mkdir), FileStep::Mkfile(mkfile)]);
    check(&graph, edge, "sha256:d6952b5d5010316f8649134a2b355a24a4ba665ece3e7e59777ffdbfcb3c50cb");
    assert_eq!(input_rules(graph.vertex(edge.vertex)).unwrap(), [InputKeyRule::default()]);
}

#[test]
fn merge() {
    let (mut graph, [a, b]) = graph_with();
    let edge = graph.merge(&[Some(a), Some(b)]).unwrap();
    check(&graph, edge, "sha256:436287a2dc2ce494f564331be9ea3a9f27ebec398567877043da2f618f33d6c8");
}

#[test]
fn copies_name_what_they_read() {
    let (mut graph, [base, tree]) = graph_with();
    let copy = |src: &str, wildcard| FileStep::Copy {
        from: Some(tree),
        copy: crate::graph::ir::FileCopy {
            src: src.to_owned(),
            dest: "/x".to_owned(),
            allow_wildcard: wildcard,
            ..Default::default()
        },
    };
    let chain = vec![copy("/a/b", true), copy("/a", false), copy("/c/*.txt", true), copy("/d\\*", true)];
    let edge = graph.file(Some(base), chain);
    let rules = input_rules(graph.vertex(edge.vertex)).unwrap();
    assert_eq!(rules[0], InputKeyRule::default());
    assert_eq!(rules[1].selector, Some(Digest::of("/d\\*\0/c/*.txt\0/a/b\0/a")));
    let content: Vec<_> =
        rules[1].content.as_ref().unwrap().iter().map(|it| (it.path.as_str(), it.wildcard)).collect();
    assert_eq!(content, [("/a", false), ("/c/*.txt", true), ("/d\\*", false)]);
}

#[test]
fn outermost_paths() {
    let check = |paths: &[&str], expected: &[&str]| {
        let paths = paths.iter().map(|&it| it.to_owned()).collect();
        assert_eq!(outermost(paths), expected);
    };
    check(&["/a", "/a/b", "/ab", "/a"], &["/a", "/ab"]);
    check(&["/", "/a"], &["/"]);
    check(&["/x/y/z", "/x/y"], &["/x/y"]);
    check(&[], &[]);
}

#[test]
fn root_mounts_that_are_not_plain_are_in_the_key() {
    let (mut graph, [base]) = graph_with();
    let op = command(&["x"], &[]);
    let builder = ExecBuilder { op, base: Some(base), readonly_root: true, ..ExecBuilder::default() };
    let run = graph.exec(builder.clone());
    let plain = graph.exec(ExecBuilder { readonly_root: false, ..builder });
    let key = |id| cache_digest(graph.vertex(id), &linux());
    assert_ne!(key(run.vertex), key(plain.vertex));
}
