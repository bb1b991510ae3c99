//! Keys against what a BuildKit daemon exported (llb reference, appendix B).

use serde_json::json;

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

/// What a cache export calls the records of these ops: only their digests are ours, but all of the recorded bytes are
/// to be right.
#[test]
fn record_digests() {
    let record = |digest: &str| Digest::of(format!("sha256:{digest}@0")).hex();
    let check = |digest, expected: &str| assert_eq!(record(digest), expected);
    check(
        "7b82c58c85d01bf9887f330e85f01ad1cc065564adc06ddfc5a80dd14e9635a2",
        "f4e73dee0c21669193a26132ecdbc78ae6a5ce738e82e8ae545966221d254d51",
    );
    check(
        "9360cd66f87924f184af28f713ca5c7ebe62a52a0fd084e755f1303d0295328b",
        "749cc59abcb195561be25e92dfcbe08c248cde98a8a649e40d83e326a5581158",
    );
    check(
        "d6952b5d5010316f8649134a2b355a24a4ba665ece3e7e59777ffdbfcb3c50cb",
        "e807ad27c4879c7ca3c871828bec60032eae06fc23a8709b0394b800fbeee187",
    );
}

/// The last mount of an input decides whether its content counts, whatever the others say.
#[test]
fn the_last_mount_of_an_input_decides() {
    let (mut graph, [base, tree]) = graph_with();
    let mut rule = |caches: [ContentCache; 2]| {
        let mount =
            |dest: &str, content_cache| MountSpec { content_cache, ..MountSpec::readonly(dest, Some(tree)) };
        let mounts = vec![mount("/a", caches[0]), mount("/b", caches[1])];
        let op = command(&["x"], &[]);
        let run = graph.exec(ExecBuilder { op, base: Some(base), mounts, ..ExecBuilder::default() });
        input_rules(graph.vertex(run.vertex)).unwrap()[1].content.is_some()
    };
    use ContentCache::{Default, Off, On};
    assert!(rule([Default, Default]) && rule([Off, Default]) && rule([Off, On]) && rule([On, On]));
    assert!(!rule([Default, Off]) && !rule([On, Off]));
}

/// Every field of an op is in its key, or on a list of those that may not be (security.md, S7.1): a cache that gives the
/// result of another command is an attack. The graph of tests/golden/llb-text has every field of every message.
mod every_field {
    use super::*;
    use crate::graph::ir::{Op, VertexId, parse};

    /// What may change without the key, by op, with why.
    const FREE: &[(&str, &str)] = &[
        // How a command reaches the network is no part of what it does; BuildKit leaves it out.
        ("exec", "/proxy_env/http_proxy"),
        ("exec", "/proxy_env/https_proxy"),
        ("exec", "/proxy_env/ftp_proxy"),
        ("exec", "/proxy_env/no_proxy"),
        ("exec", "/proxy_env/all_proxy"),
        // Names of hosts count, where they are today does not; BuildKit leaves it out.
        ("exec", "/extra_hosts/0/ip"),
        // What is in a cache is in no result's promise: neither which it is nor who else writes to it.
        ("exec", "/mounts/1/kind/cache/id"),
        ("exec", "/mounts/1/kind/cache/sharing"),
        ("exec", "/mounts/2/kind/cache/id"),
        ("exec", "/mounts/2/kind/cache/sharing"),
        // A plain root: its result is told apart by the output it is asked for, which is in the edge's key.
        ("exec", "/mounts/0/output"),
        // Nothing is selected where there is no tree: in caches, in memory, and in an empty tree, where nothing is that
        // could be.
        ("exec", "/mounts/1/selector"),
        ("exec", "/mounts/2/selector"),
        ("exec", "/mounts/4/selector"),
        ("exec", "/mounts/5/selector"),
        ("exec", "/mounts/6/selector"),
        ("exec", "/mounts/7/selector"),
    ];

    /// Texts that stand for something other than themselves, to be put in the place of another.
    const WORDS: &[&str] = &[
        "host", "none", "sandbox", "insecure", "shared", "private", "locked", "on", "off", "input 1",
        "action 0", "-", "hex:01",
    ];

    fn graph() -> Graph {
        let text = include_str!("../../../../tests/golden/llb-text/every-field.txt");
        parse::parse(text.split_once("----\n").unwrap().0).unwrap().0
    }

    /// All that decides a hit.
    fn key(vertex: &Vertex) -> (Option<Digest>, Option<Vec<InputKeyRule>>) {
        (cache_digest(vertex, &linux()), input_rules(vertex).ok())
    }

    /// Paths of all values that have no parts.
    fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                map.iter().for_each(|(key, value)| leaves(value, &format!("{path}/{key}"), found));
            }
            Value::Array(list) => {
                list.iter().enumerate().for_each(|(at, value)| leaves(value, &format!("{path}/{at}"), found));
            }
            _ => found.push(path.to_owned()),
        }
    }

    /// What else could stand there.
    fn others(value: &Value) -> Vec<Value> {
        match value {
            Value::Bool(is) => vec![(!is).into()],
            Value::Number(n) => vec![(n.as_i64().unwrap() + 1).into()],
            Value::String(text) => {
                let words = WORDS.iter().filter(|word| *word != text).map(|&word| word.into());
                let kind = json!({ "tmpfs": { "size": 1 } });
                std::iter::once(format!("{text}x").into()).chain(words).chain([kind]).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The op with something else at `path`, if that is an op.
    fn changed(op: &Op, whole: &Value, path: &str, other: Value) -> Option<Op> {
        let mut whole = whole.clone();
        *whole.pointer_mut(path).unwrap() = other;
        Some(match op {
            Op::Source(_) => return None,
            Op::Exec(_) => Op::Exec(serde_json::from_value(whole).ok()?),
            Op::File(_) => Op::File(serde_json::from_value(whole).ok()?),
            Op::Merge(_) => Op::Merge(serde_json::from_value(whole).ok()?),
            Op::Diff(_) => Op::Diff(serde_json::from_value(whole).ok()?),
            Op::Build(_) => Op::Build(serde_json::from_value(whole).ok()?),
            Op::Passthrough(_) => Op::Passthrough(serde_json::from_value(whole).ok()?),
        })
    }

    #[test]
    fn is_in_the_key() {
        let graph = graph();
        let mut free = Vec::new();
        let mut n_leaves = 0;
        for (_, vertex) in graph.vertices() {
            let (name, whole) = match &vertex.op {
                // What a source stands for is found out by the engine.
                Op::Source(_) => continue,
                Op::Exec(op) => ("exec", serde_json::to_value(op)),
                Op::File(op) => ("file", serde_json::to_value(op)),
                Op::Merge(op) => ("merge", serde_json::to_value(op)),
                Op::Diff(op) => ("diff", serde_json::to_value(op)),
                Op::Build(op) => ("build", serde_json::to_value(op)),
                Op::Passthrough(op) => ("passthrough", serde_json::to_value(op)),
            };
            // One more than the op uses, so that an index can be another.
            let mut vertex = vertex.clone();
            vertex.inputs.extend(vertex.inputs.last().copied());
            let (whole, before) = (whole.unwrap(), key(&vertex));
            let mut paths = Vec::new();
            leaves(&whole, "", &mut paths);
            n_leaves += paths.len();
            for path in paths {
                let options = others(whole.pointer(&path).unwrap());
                let mut ops =
                    options.into_iter().filter_map(|other| changed(&vertex.op, &whole, &path, other));
                let Some(op) = ops.next() else {
                    assert!(whole.pointer(&path).unwrap().is_null(), "{name} {path} cannot be changed");
                    continue;
                };
                if key(&Vertex { op, ..vertex.clone() }) == before {
                    free.push((name, path));
                }
            }
        }
        assert!(100 < n_leaves, "{n_leaves}");
        free.sort();
        free.dedup();
        let free: Vec<(&str, &str)> = free.iter().map(|(name, path)| (*name, path.as_str())).collect();
        let mut allowed = FREE.to_vec();
        allowed.sort_unstable();
        assert_eq!(free, allowed);
    }

    /// A command's platform is in its key; for the other ops it is not, as they do the same everywhere.
    #[test]
    fn platforms() {
        let graph = graph();
        let platform = |change: fn(&mut Platform)| {
            let mut vertex = graph.vertex(VertexId(2)).clone();
            assert!(matches!(vertex.op, Op::Exec(_)));
            change(vertex.platform.as_mut().unwrap());
            key(&vertex)
        };
        let before = platform(|_| {});
        assert_ne!(platform(|it| it.os.push('x')), before);
        assert_ne!(platform(|it| "arm64".clone_into(&mut it.arch)), before);
        assert_ne!(platform(|it| "v9".clone_into(&mut it.variant)), before);
        assert_ne!(platform(|it| it.os_version.push('x')), before);
        assert_ne!(platform(|it| it.os_features.push("f".to_owned())), before);
    }
}
