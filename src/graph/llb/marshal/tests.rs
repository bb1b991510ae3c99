//! What the golden definitions do not show: options, sealed vertices, size.

use super::*;
use crate::base::ImageRef;
use crate::graph::ir::build::{ExecBuilder, FileStep, ResolveMode};
use crate::graph::ir::{ExecOp, FileMkdir, FileRm};
use crate::graph::llb::unmarshal;

fn image(graph: &mut Graph) -> Edge {
    let reference: ImageRef = "alpine".parse().unwrap();
    graph.image(&reference, ResolveMode::Default, None)
}

fn run(graph: &mut Graph, base: Edge) -> Edge {
    let op = ExecOp { args: vec!["x".to_owned()], cwd: "/".to_owned(), ..ExecOp::default() };
    graph.exec(ExecBuilder { op, base: Some(base), ..ExecBuilder::default() }).root.unwrap()
}

fn linux() -> MarshalOptions {
    let platform = Platform { os: "linux".to_owned(), arch: "amd64".to_owned(), ..Platform::default() };
    MarshalOptions { platform: Some(platform), ..MarshalOptions::default() }
}

#[test]
fn digests_are_those_of_the_definition() {
    let mut graph = Graph::new();
    let base = image(&mut graph);
    let root = run(&mut graph, base);
    let digests = digests(&graph, &linux());
    // llb reference, appendix A, IMG.
    assert_eq!(digests[0].hex(), "a7f9733e307dd352c82d43053b783dd17bb2ec2c36214908ce393e41545c8b51");
    let definition = marshal(&graph, Some(root), &linux());
    let written: Vec<Digest> = definition.def.iter().map(Digest::of).collect();
    assert_eq!(written[..2], digests);
}

#[test]
fn sealed_ops_do_not_take_options() {
    let mut graph = Graph::new();
    let base = image(&mut graph);
    let root = run(&mut graph, base);
    let bytes = marshal(&graph, Some(root), &linux()).to_bytes();
    let (read, root) = unmarshal(&bytes).unwrap();
    let arm = Platform { os: "linux".to_owned(), arch: "arm64".to_owned(), ..Platform::default() };
    let options = MarshalOptions {
        platform: Some(arm),
        local_unique: Some("u".to_owned()),
        constraints: vec!["f".to_owned()],
        metadata: Metadata { ignore_cache: true, ..Metadata::default() },
        caps: Some(BTreeSet::new()),
        order: Order::Arena,
    };
    assert_eq!(marshal(&read, root, &options).to_bytes(), bytes);
    assert_eq!(marshal_bytes(&read, root, &options), bytes);
}

#[test]
fn scratch_is_the_empty_definition() {
    assert_eq!(marshal(&Graph::new(), None, &linux()).to_bytes(), b"");
    assert_eq!(marshal_bytes(&Graph::new(), None, &linux()), b"");
}

/// Deep and wide graphs take time in proportion and no stack.
#[test]
fn large_graphs() {
    let mut graph = Graph::new();
    let base = image(&mut graph);
    let mut tip = base;
    let mut tips = Vec::new();
    for idx in 0..20_000 {
        let rm = FileRm { path: format!("/{idx}"), ..FileRm::default() };
        tip = graph.file(Some(tip), vec![FileStep::Rm(rm)]);
        let mkdir = FileMkdir { path: format!("/{idx}"), mode: 0o755, ..FileMkdir::default() };
        tips.push(Some(graph.file(Some(base), vec![FileStep::Mkdir(mkdir)])));
    }
    tips.push(Some(tip));
    let root = graph.merge(&tips);
    let definition = marshal(&graph, root, &linux());
    assert_eq!(definition.def.len(), graph.len() + 1);
    assert!(marshal_bytes(&graph, root, &linux()) == definition.to_bytes());
}
