//! Records as a real daemon exported them (llb reference, appendix B), and what is left out.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::base::Platform;
use crate::engine::solver::TracedVertex;
use crate::graph::ir::build::FileStep;
use crate::graph::ir::{
    Edge, ExecBuilder, ExecOp, FileCopy, FileMkdir, FileMkfile, Graph, MountSpec, Op, SourceOp, VertexId,
};
use crate::graph::llb::key::{cache_digest, image_key, input_rules, source_digest};

/// Root manifest of the image that the daemon built on.
const ROOT: &str = "sha256:856750d891e4696e71e86b26c87dcd699153446ba1e556ce4296db2ae31d64a9";
/// What is read of a tree by `/sub`.
const SUB: &str = "sha256:0a83853bc03698cb6752ca7303bb7c0a3a09e41bd1323af099b67d7b41a411da";
/// Selector of a whole tree.
const WHOLE: &str = "sha256:8a5edab282632443219e051e4ade2d1d5bbc671c781051bf1437897cbdfea0f1";

fn linux() -> Platform {
    "linux/amd64".parse().unwrap()
}

fn digest(text: &str) -> Digest {
    text.parse().unwrap()
}

/// All vertices of a graph as a solve would know them; `contents` is what is read of inputs, `local` the sources that are
/// directories.
fn known(
    graph: &Graph,
    roots: &[Edge],
    local: &[VertexId],
    contents: &BTreeMap<(VertexId, usize), Digest>,
) -> Known {
    let mut vertices = Vec::new();
    let mut facts = Vec::new();
    for (id, vertex) in graph.vertices() {
        let is_session = local.contains(&id);
        let names = match &vertex.op {
            Op::Source(_) if is_session => vec![Digest::of("a directory")],
            Op::Source(_) => {
                vec![source_digest(&image_key(&digest(ROOT), &linux(), None).to_string()).unwrap()]
            }
            _ => vec![cache_digest(vertex, &linux()).unwrap()],
        };
        let rules = input_rules(vertex).unwrap();
        let inputs = vertex.inputs.iter().zip(rules).enumerate().map(|(idx, (edge, rule))| TracedInput {
            from: (edge.vertex.0 as usize, edge.output as usize),
            selector: rule.selector,
            by_content: rule.content.is_some(),
            content: contents.get(&(id, idx)).copied(),
        });
        let (node, inputs) = (id.0 as usize, inputs.collect());
        let edges = (0..vertex.op.n_outputs()).map(|_| TracedEdge::unknown()).collect();
        vertices.push(TracedVertex { node, names, inputs, edges });
        facts.push(Facts { export_cache: vertex.metadata.export_cache, is_session });
    }
    let tree = Snapshot::scratch().with(crate::store::LayerId::from_bytes([1; 16]));
    let roots = roots.iter().map(|it| ((it.vertex.0 as usize, it.output as usize), tree.clone()));
    Known::new(Trace { vertices }, facts, roots.collect(), None)
}

fn exported(known: &Known) -> Value {
    let mut chains = Chains::default();
    let roots: Vec<usize> = (0..known.0.roots.len()).collect();
    known.records(&roots, Mode::Max, &mut chains);
    serde_json::from_slice(&chains.to_config().to_bytes()).unwrap()
}

fn command(words: &[&str], env: &[&str]) -> ExecOp {
    let texts = |texts: &[&str]| texts.iter().map(|&it| it.to_owned()).collect();
    ExecOp { args: texts(words), env: texts(env), cwd: "/".to_owned(), ..ExecOp::default() }
}

fn image(graph: &mut Graph) -> Edge {
    let op = SourceOp { identifier: "docker-image://busybox".to_owned(), attrs: Default::default() };
    graph.source(op, &[], None)
}

#[test]
fn records_of_a_real_daemon() {
    let mut graph = Graph::new();
    let base = image(&mut graph);
    let op = command(&["/bin/true"], &["A=b<c"]);
    let run = graph.exec(ExecBuilder { op, base: Some(base), ..ExecBuilder::default() });
    let mkdir =
        FileMkdir { path: "/d".to_owned(), mode: 0o755, make_parents: false, owner: None, timestamp: -1 };
    let mkfile =
        FileMkfile { path: "/d/f".to_owned(), mode: 0o644, data: b"hi".to_vec(), owner: None, timestamp: -1 };
    let file = graph.file(Some(base), vec![FileStep::Mkdir(mkdir), FileStep::Mkfile(mkfile)]);
    let merge = graph.merge(&[run.root, Some(file)]).unwrap();
    let known = known(&graph, &[merge], &[], &BTreeMap::new());
    // In the order of their digests: the command, the merge, the files, the image.
    let merged =
        edge_digest(&digest("sha256:436287a2dc2ce494f564331be9ea3a9f27ebec398567877043da2f618f33d6c8"), 0);
    let mut expected = [
        ("sha256:749cc59abcb195561be25e92dfcbe08c248cde98a8a649e40d83e326a5581158".to_owned(), "run"),
        (merged.to_string(), "merge"),
        ("sha256:e807ad27c4879c7ca3c871828bec60032eae06fc23a8709b0394b800fbeee187".to_owned(), "file"),
        ("sha256:f4e73dee0c21669193a26132ecdbc78ae6a5ce738e82e8ae545966221d254d51".to_owned(), "image"),
    ];
    expected.sort();
    let place = |name: &str| expected.iter().position(|(_, it)| *it == name).unwrap();
    let record = |(digest, name): &(String, &str)| {
        let (run, file, image) = (place("run"), place("file"), place("image"));
        match *name {
            "run" => json!({ "digest": digest, "inputs": [[{ "selector": WHOLE, "link": image }]] }),
            "file" => json!({ "digest": digest, "inputs": [[{ "link": image }]] }),
            "merge" => json!({ "digest": digest, "inputs": [[{ "link": run }], [{ "link": file }]] }),
            _ => json!({ "digest": digest }),
        }
    };
    let records: Vec<Value> = expected.iter().map(record).collect();
    assert_eq!(exported(&known), json!({ "records": records }));
}

/// What a session calls a directory is not said; its content is, as a record of its own.
#[test]
fn directories_by_their_content() {
    let mut graph = Graph::new();
    let base = image(&mut graph);
    let dir = graph.local("ctx", &[], &[], &[]);
    let copy = FileCopy {
        src: "/sub".to_owned(),
        dest: "/x".to_owned(),
        allow_wildcard: false,
        ..FileCopy::default()
    };
    let copied = graph.file(Some(base), vec![FileStep::Copy { from: Some(dir), copy }]);
    let mount = MountSpec { selector: "sub".to_owned(), ..MountSpec::readonly("/m", Some(dir)) };
    let op = command(&["/bin/true", "2"], &[]);
    let run =
        graph.exec(ExecBuilder { op, base: Some(copied), mounts: vec![mount], ..ExecBuilder::default() });
    let sub = digest(SUB);
    let contents = [((copied.vertex, 1), sub), ((run.vertex, 1), sub)].into();
    let roots = [run.root.unwrap()];
    let found = exported(&known(&graph, &roots, &[dir.vertex], &contents));
    let slow = content_digest(&sub).to_string();
    assert!(slow.starts_with("sha256:6067173cb4c1"), "{slow}");
    let records = found["records"].as_array().unwrap();
    let place = |digest: &str| records.iter().position(|it| it["digest"] == *digest).unwrap();
    let of = |vertex: VertexId| {
        let op = cache_digest(graph.vertex(vertex), &linux()).unwrap();
        edge_digest(&op, 0).to_string()
    };
    assert_eq!(
        cache_digest(graph.vertex(run.vertex), &linux()).unwrap(),
        digest("sha256:948bf20a65287e091a2cd84f8268183df16c8f78133add13b26a46f839a1802a")
    );
    assert_eq!(records.len(), 4, "image, content, copy, command: {found:#}");
    assert_eq!(records[place(&of(copied.vertex))]["inputs"][1], json!([{ "link": place(&slow) }]));
    let inputs = &records[place(&of(run.vertex))]["inputs"];
    assert_eq!(inputs[0], json!([{ "selector": WHOLE, "link": place(&of(copied.vertex)) }]));
    assert_eq!(inputs[1], json!([{ "link": place(&slow) }]));
}

/// Where nobody knows what is read, nothing that is built on it can be found, and it is left out.
#[test]
fn what_cannot_be_found_is_left_out() {
    let mut graph = Graph::new();
    let base = image(&mut graph);
    let dir = graph.local("ctx", &[], &[], &[]);
    let copy = FileCopy { src: "/sub".to_owned(), dest: "/x".to_owned(), ..FileCopy::default() };
    let copied = graph.file(Some(base), vec![FileStep::Copy { from: Some(dir), copy }]);
    let run = graph.exec(ExecBuilder {
        op: command(&["/bin/true"], &[]),
        base: Some(copied),
        ..ExecBuilder::default()
    });
    let found = exported(&known(&graph, &[run.root.unwrap()], &[dir.vertex], &BTreeMap::new()));
    let digests: Vec<&str> =
        found["records"].as_array().unwrap().iter().map(|it| it["digest"].as_str().unwrap()).collect();
    assert!(digests.contains(&"sha256:f4e73dee0c21669193a26132ecdbc78ae6a5ce738e82e8ae545966221d254d51"));
    assert_eq!(digests.len(), 1, "the image: {digests:?}");
}

/// What the program says of a step counts more than the mode.
#[test]
fn steps_that_say_so() {
    let check = |said: Option<bool>, mode: Mode, n_expected: usize| {
        let mut graph = Graph::new();
        let base = image(&mut graph);
        let op = command(&["/bin/true"], &[]);
        let run = graph.exec(ExecBuilder { op, base: Some(base), ..ExecBuilder::default() });
        graph.vertex_mut(run.vertex).metadata.export_cache = said;
        let known = known(&graph, &[run.root.unwrap()], &[], &BTreeMap::new());
        let mut chains = Chains::default();
        let found = known.records(&[0], mode, &mut chains);
        assert_eq!(found.len(), n_expected, "{said:?} {mode:?}");
        assert_eq!(chains.to_config().records.len(), 2, "the chain is there in any case");
    };
    for mode in [Mode::Min, Mode::Max] {
        check(None, mode, 1);
        check(Some(true), mode, 1);
        check(Some(false), mode, 0);
    }
}
