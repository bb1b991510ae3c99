//! Definitions that nobody should have written.
#![allow(clippy::indexing_slicing, reason = "a test that is wrong may panic")]

use super::*;
use crate::graph::ir::verify::VertexError;

/// Ops on their way into a definition; each may refer to those before it.
#[derive(Default)]
struct Ops {
    def: Vec<Vec<u8>>,
}

impl Ops {
    fn push(&mut self, inputs: Vec<pb::Input>, op: Option<pb::OpKind>) -> &mut Ops {
        let constraints = Some(pb::WorkerConstraints::default());
        let head = pb::OpHead { inputs, platform: None, constraints: constraints.filter(|_| op.is_some()) };
        self.def.push(pb::Op { head, op }.to_bytes());
        self
    }

    fn input(&self, op: usize, index: i64) -> pb::Input {
        pb::Input { digest: Digest::of(&self.def[op]).to_string(), index }
    }

    /// An op over output 0 of the op before, then the terminal.
    fn then(&mut self, op: pb::OpKind) -> &mut Ops {
        let input = self.input(self.def.len() - 1, 0);
        self.push(vec![input], Some(op)).end(0)
    }

    fn end(&mut self, index: i64) -> &mut Ops {
        let input = self.input(self.def.len() - 1, index);
        self.push(vec![input], None)
    }

    fn bytes(&self) -> Vec<u8> {
        pb::Definition { def: self.def.clone(), ..pb::Definition::default() }.to_bytes()
    }

    #[track_caller]
    fn fails(&self, expected: &DecodeError) {
        assert_eq!(unmarshal(&self.bytes()).as_ref().err(), Some(expected), "{expected}");
    }
}

fn source() -> Ops {
    let mut ops = Ops::default();
    let op = pb::SourceOp { identifier: "docker-image://x".to_owned(), attrs: Vec::new() };
    ops.push(Vec::new(), Some(pb::OpKind::Source(op)));
    ops
}

fn root() -> pb::Mount {
    pb::Mount { dest: "/".to_owned(), ..pb::Mount::default() }
}

fn exec(mounts: Vec<pb::Mount>) -> pb::ExecOp {
    let meta = pb::Meta { args: vec!["x".to_owned()], ..pb::Meta::default() };
    pb::ExecOp { meta: Some(meta), mounts, ..pb::ExecOp::default() }
}

fn op_error(op: usize, error: OpError) -> DecodeError {
    DecodeError::Op { op, error }
}

fn invalid(op: usize, error: VertexError) -> DecodeError {
    DecodeError::Invalid { op, error }
}

/// What an exec op over one source is refused for.
#[track_caller]
fn exec_fails(op: pb::ExecOp, error: OpError) {
    source().then(pb::OpKind::Exec(Box::new(op))).fails(&op_error(1, error));
}

#[track_caller]
fn exec_invalid(op: pb::ExecOp, error: VertexError) {
    source().then(pb::OpKind::Exec(Box::new(op))).fails(&invalid(1, error));
}

#[test]
fn a_plain_command_is_read() {
    let mut ops = source();
    let (graph, root) = unmarshal(&ops.then(pb::OpKind::Exec(Box::new(exec(vec![root()])))).bytes()).unwrap();
    assert_eq!(graph.len(), 2);
    assert_eq!(root, Some(Edge { vertex: VertexId(1), output: 0 }));
    assert_eq!(unmarshal(&[]).unwrap(), (Graph::new(), None));
}

#[test]
fn unknown_enum_values() {
    let mount = |mount: pb::Mount| exec(vec![root(), mount]);
    let fails = |op, what, value| exec_fails(op, OpError::Enum { what, value });
    fails(pb::ExecOp { security: 7, ..exec(vec![root()]) }, "security mode", 7);
    fails(pb::ExecOp { network: 9, ..exec(vec![root()]) }, "network mode", 9);
    fails(pb::ExecOp { network: -1, ..exec(vec![root()]) }, "network mode", -1);
    fails(mount(pb::Mount { mount_type: 5, ..root() }), "mount type", 5);
    fails(mount(pb::Mount { content_cache: 3, ..root() }), "content cache mode", 3);
    let cache_opt = Some(pb::CacheOpt { id: "c".to_owned(), sharing: 9 });
    fails(mount(pb::Mount { mount_type: 3, cache_opt, ..root() }), "cache sharing mode", 9);
}

#[test]
fn mounts_that_say_two_things() {
    let with = |mount_type, mount: pb::Mount| exec(vec![root(), pb::Mount { mount_type, ..mount }]);
    let cache_opt = || Some(pb::CacheOpt::default());
    let secret_opt = || Some(pb::CredentialOpt::default());
    for op in [
        with(0, pb::Mount { cache_opt: cache_opt(), ..root() }),
        with(1, root()),
        with(2, pb::Mount { secret_opt: secret_opt(), ..root() }),
        with(3, pb::Mount { cache_opt: cache_opt(), secret_opt: secret_opt(), ..root() }),
    ] {
        exec_fails(op, OpError::MountOptions("/".to_owned()));
    }
}

#[test]
fn indexes_of_a_command() {
    let mount = |input, output| exec(vec![pb::Mount { input, output, ..root() }]);
    let fails = |op, what, value, n| exec_fails(op, OpError::Index { what, value, n });
    fails(mount(1, 0), "mount input", 1, 1);
    fails(mount(-2, 0), "mount input", -2, 1);
    fails(mount(i64::MAX, 0), "mount input", i64::MAX, 1);
    fails(mount(i64::MIN, 0), "mount input", i64::MIN, 1);
    fails(mount(0, 7), "output", 7, 1);
    let second = pb::Mount { dest: "/a".to_owned(), output: 0, ..root() };
    exec_invalid(exec(vec![root(), second]), VertexError::OutputNumbers);
    let tmpfs = pb::Mount { mount_type: 4, ..root() };
    exec_invalid(exec(vec![root(), tmpfs]), VertexError::TmpfsInput("/".to_owned()));
}

#[test]
fn commands_without_the_necessary() {
    exec_fails(pb::ExecOp { meta: None, ..exec(vec![root()]) }, OpError::Missing("meta"));
    exec_invalid(exec(Vec::new()), VertexError::NoRoot);
    let no_args = pb::ExecOp { meta: Some(pb::Meta::default()), ..exec(vec![root()]) };
    exec_invalid(no_args, VertexError::NoArgs);
}

#[test]
fn file_actions() {
    let rm = || Some(pb::FileActionKind::Rm(pb::FileActionRm::default()));
    let file = |actions| pb::OpKind::File(pb::FileOp { actions });
    let action = |input, output| pb::FileAction { input, secondary_input: -1, output, action: rm() };
    // Itself, one behind, and far away.
    for input in [1, 2, 900, -2] {
        let n = 1;
        let error = OpError::Index { what: "action input", value: input, n };
        source().then(file(vec![action(input, 0)])).fails(&op_error(1, error));
    }
    source().then(file(Vec::new())).fails(&invalid(1, VertexError::NoActions));
    source().then(file(vec![action(0, -1)])).fails(&invalid(1, VertexError::NoOutput));
    let twice = vec![action(0, 0), action(1, 0)];
    source().then(file(twice)).fails(&invalid(1, VertexError::OutputNumbers));
    let nothing = pb::FileAction { action: None, ..action(0, 0) };
    source().then(file(vec![nothing])).fails(&op_error(1, OpError::Missing("action")));
    let nobody = pb::ChownOpt { user: Some(pb::UserOpt { user: None }), group: None };
    let mkdir = pb::FileActionMkDir { owner: Some(nobody), ..pb::FileActionMkDir::default() };
    let mkdir = pb::FileAction { action: Some(pb::FileActionKind::Mkdir(mkdir)), ..action(0, 0) };
    source().then(file(vec![mkdir])).fails(&op_error(1, OpError::Missing("user")));
}

#[test]
fn merges_diffs_passthroughs() {
    let no_sides = pb::DiffOp { lower: None, upper: None };
    source().then(pb::OpKind::Diff(no_sides)).fails(&op_error(1, OpError::Missing("lower input")));
    let merge = pb::MergeOp { inputs: Vec::new() };
    source().then(pb::OpKind::Merge(merge)).fails(&invalid(1, VertexError::MergeOfNothing));
    let through =
        |id: &str, outputs| pb::OpKind::Passthrough(pb::PassthroughOp { id: id.to_owned(), outputs });
    source().then(through("", vec![0])).fails(&invalid(1, VertexError::NoId));
    source().then(through("x", Vec::new())).fails(&invalid(1, VertexError::NoOutput));
    let error = OpError::Index { what: "passthrough output", value: -1, n: 1 };
    source().then(through("x", vec![-1])).fails(&op_error(1, error));
}

#[test]
fn edges() {
    let mut ops = source();
    ops.end(1).fails(&DecodeError::MissingOutput { op: 1, index: 1, n_outputs: 1 });
    let mut ops = source();
    ops.end(-1).fails(&DecodeError::MissingOutput { op: 1, index: -1, n_outputs: 1 });
    source().fails(&DecodeError::NoTerminal);
    for digest in ["", "sha256:00", &Digest::of("absent").to_string()] {
        let digest = digest.to_owned();
        let input = pb::Input { digest: digest.clone(), index: 0 };
        source().push(vec![input], None).fails(&DecodeError::MissingInput { op: 1, digest });
    }
    // An op that does nothing, in the middle.
    let mut ops = source();
    ops.end(0).end(0).fails(&op_error(1, OpError::Missing("what the op does")));
}

#[test]
fn fields_of_a_newer_version() {
    let mut ops = source();
    // Field 99 of the op, a varint.
    ops.def[0].extend([0x98, 0x06, 0x01]);
    ops.end(0).fails(&op_error(0, OpError::UnknownFields));
}

#[test]
fn bytes_that_are_no_message() {
    let mut ops = source();
    ops.def[0] = vec![0xff; 9];
    assert!(matches!(
        unmarshal(&ops.end(0).bytes()),
        Err(DecodeError::Op { op: 0, error: OpError::Protobuf(_) })
    ));
    assert!(matches!(unmarshal(&[0x0a, 0xff]), Err(DecodeError::Protobuf(_))));
}

#[test]
fn ops_in_any_order_and_twice() {
    let mut ops = source();
    ops.then(pb::OpKind::Exec(Box::new(exec(vec![root()]))));
    let (graph, _) = unmarshal(&ops.bytes()).unwrap();
    ops.def.swap(0, 1);
    ops.def.insert(0, ops.def[1].clone());
    let (again, _) = unmarshal(&ops.bytes()).unwrap();
    assert_eq!(graph, again);
}

#[test]
fn a_long_chain() {
    let mut ops = source();
    for _ in 0..20_000 {
        let input = ops.input(ops.def.len() - 1, 0);
        let rm = pb::FileActionKind::Rm(pb::FileActionRm::default());
        let action = pb::FileAction { input: 0, secondary_input: -1, output: 0, action: Some(rm) };
        ops.push(vec![input], Some(pb::OpKind::File(pb::FileOp { actions: vec![action] })));
    }
    ops.end(0);
    // Users before their inputs: the worst order.
    let terminal = ops.def.pop().unwrap();
    ops.def.reverse();
    ops.def.push(terminal);
    let (graph, root) = unmarshal(&ops.bytes()).unwrap();
    assert_eq!(graph.len(), 20_001);
    assert_eq!(root.map(|edge| edge.vertex.0), Some(20_000));
}

/// No prefix, no changed byte of a good definition may do worse than give an error.
#[test]
fn damaged_definitions() {
    let mut ops = source();
    let bytes = ops.then(pb::OpKind::Exec(Box::new(exec(vec![root()])))).bytes();
    for end in 0..bytes.len() {
        let _ = unmarshal(&bytes[..end]);
    }
    for place in 0..bytes.len() {
        for flip in [0x01, 0x08, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[place] ^= flip;
            let _ = unmarshal(&damaged);
        }
    }
}

/// Reading a large graph takes little beside the bytes and the graph: it is what the memory of a large build begins with.
#[test]
fn a_large_definition_takes_little_memory() {
    use crate::base::heap::measured;
    use crate::graph::ir::build::FileStep;
    use crate::graph::ir::{FileMkfile, Location, Range, SourceInfo};
    use crate::graph::llb::{MarshalOptions, marshal_bytes};

    const N: usize = 10_000;
    let mut graph = Graph::new();
    let (filename, language) = ("build.bkl".to_owned(), "bkl".to_owned());
    graph.add_source(SourceInfo { filename, data: b"text".to_vec(), language, definition: None });
    let mut tip = None;
    for idx in 0..N {
        let mkfile = FileMkfile { path: format!("/f{idx}"), data: b"text".to_vec(), ..FileMkfile::default() };
        let edge = graph.file(tip, vec![FileStep::Mkfile(mkfile)]);
        let ranges = [Range { start: (idx as i32, 0), end: (idx as i32, 40) }].into();
        graph.vertex_mut(edge.vertex).locations.push(Location { source: 0, ranges, actions: None });
        tip = Some(edge);
    }
    let (bytes, writing) = measured(|| marshal_bytes(&graph, tip, &MarshalOptions::default()));
    let ((read, _), reading) = measured(|| unmarshal(&bytes).unwrap());
    assert_eq!(read.len(), N);
    let each = [reading.kept, reading.most, writing.most].map(|bytes| bytes / N);
    // A vertex with its action is 250, its path and data are 20.
    assert!(each[0] <= 290, "{each:?}");
    assert!(each[1] <= 480, "{each:?}");
    assert!(each[2] <= 800, "{each:?}");
}
