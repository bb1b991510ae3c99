//! What is fuzzed: one function per target, which takes any bytes and panics when something that must hold does not.
//!
//! libFuzzer runs them (`fuzz_targets/`), and so do the trials of tests/it/fuzz.rs, which include this file and mutate the
//! goldens: what they find in seconds needs no campaign. See README.md.

use std::collections::BTreeMap;

use bkl::base::{Digest, FileId, Platform, Severity, SourceMap, report};
use bkl::graph::ir::{Graph, Tree, parse, print, verify};
use bkl::graph::llb::caps::CapSet;
use bkl::graph::llb::{MarshalOptions, Order, dump, marshal, marshal_bytes, unmarshal};
use bkl::graph::passes::downgrade::downgrade;
use bkl::graph::passes::optimize;
use bkl::lang::eval::{
    self, Answer, ImageAnswer, Inputs, Need, Outcome, Params, PlatformChoice, Request, TestOutcome,
};
use bkl::lang::hir::{Origin, Program};
use bkl::lang::syntax;
use bkl::lang::{Checked, Entry, ModuleSource, ModuleText, load_and_check};

/// Rounds of answers after which a program that still asks is left.
const MAX_ROUNDS: usize = 6;

/// Any text is parsed; errors stand where they can be shown.
pub fn parser(data: &[u8]) {
    let Some((sources, id)) = source(data) else { return };
    let parsed = syntax::parse(sources.file(id));
    for error in &parsed.errors {
        shown(&error.report(), &sources);
    }
}

/// A text that parses is formatted: the result parses, says the same (the formatter looks itself) and stays as it is.
pub fn formatter(data: &[u8]) {
    let Some((sources, id)) = source(data) else { return };
    let formatted = match syntax::format::format(sources.file(id)) {
        Ok(formatted) => formatted,
        Err(syntax::format::FormatError::Syntax(errors)) => {
            assert!(!errors.is_empty(), "refused without a reason");
            return;
        }
        Err(error @ syntax::format::FormatError::Changed { .. }) => panic!("{error}"),
    };
    let Some((sources, id)) = source(formatted.as_bytes()) else { return };
    let file = sources.file(id);
    assert!(syntax::parse(file).errors.is_empty(), "the result does not parse:\n{formatted}");
    let again = syntax::format::format(file).expect("what was formatted can be formatted");
    assert_eq!(again, formatted);
}

/// Any text is checked, and every report can be drawn. Gives the messages of the errors.
pub fn checker(data: &[u8]) -> Vec<String> {
    let Ok(text) = std::str::from_utf8(data) else { return Vec::new() };
    let (sources, checked) = check(text);
    checked.reports.iter().for_each(|report| shown(report, &sources));
    let errors = checked.reports.iter().filter(|report| report.severity == Severity::Error);
    errors.map(|report| report.message.clone()).collect()
}

/// A program without errors is evaluated, within its budgets, and its tests are; what it makes is a valid graph.
pub fn evaluator(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (sources, checked) = check(text);
    let Some(program) = checked.program else { return };
    let mut inputs = inputs();
    for _ in 0..MAX_ROUNDS {
        match eval::evaluate(&program, &sources, &inputs) {
            Err(errors) => {
                assert!(!errors.is_empty(), "failed without a reason");
                errors.iter().for_each(|error| shown(&error.report(), &sources));
                break;
            }
            Ok(Outcome::Needs(needs)) => answer(&needs, &mut inputs),
            Ok(Outcome::Done(evaluated)) => {
                let edges = evaluated.outputs.iter().flat_map(|output| output.edges());
                whole(&evaluated.graph, &edges.map(Some).collect::<Vec<Tree>>());
                break;
            }
        }
    }
    tests(&program, &sources, &mut inputs);
}

/// Bytes that are a definition are written again as they came, and everything that reads graphs can read it.
pub fn llb_decode(data: &[u8]) {
    let Ok((graph, root)) = unmarshal(data) else { return };
    let options = MarshalOptions { order: Order::Arena, ..MarshalOptions::default() };
    let definition = marshal(&graph, root, &options);
    let bytes = definition.to_bytes();
    let (again, root_again) = unmarshal(&bytes).expect("what was written can be read");
    assert_eq!(marshal(&again, root_again, &options).to_bytes(), bytes, "it is written otherwise");
    assert_eq!(marshal_bytes(&again, root_again, &options), bytes, "its bytes are others");
    // Texts that no place is in are not written.
    assert_eq!((unplaced(&again), root_again), (unplaced(&graph), root), "it is read as something else");
    dump::dump(&definition).expect("what was written can be shown");
    whole(&graph, &[root]);
}

/// The graph with nothing said about where it was written.
fn unplaced(graph: &Graph) -> Graph {
    let mut graph = graph.clone();
    graph.sources.clear();
    let ids: Vec<_> = graph.vertices().map(|(id, _)| id).collect();
    ids.into_iter().for_each(|id| graph.vertex_mut(id).locations.clear());
    graph
}

/// A text that is a graph is printed as a text that is the same graph.
pub fn graph_text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok((graph, roots)) = parse::parse(text) else { return };
    let printed = print::print(&graph, &roots);
    let (again, roots_again) = parse::parse(&printed).expect("what was printed can be read");
    assert_eq!((&again, &roots_again), (&graph, &roots), "it is read as something else");
    assert_eq!(print::print(&again, &roots_again), printed);
    whole(&graph, &roots);
}

/// What holds of every valid graph: the passes leave a valid one in which they find nothing, and all of it can be
/// marshalled.
fn whole(graph: &Graph, roots: &[Tree]) {
    verify::verify(graph).expect("the graph is valid");
    for &root in roots {
        marshal(graph, root, &MarshalOptions::default());
    }
    let (better, moved, _) = optimize(graph, roots);
    verify::verify(&better).expect("the passes leave a valid graph");
    assert!(better.len() <= graph.len());
    for &root in &moved {
        let bytes = marshal(&better, root, &MarshalOptions::default()).to_bytes();
        unmarshal(&bytes).expect("what was written can be read");
    }
    let (settled, roots_settled, _) = optimize(&better, &moved);
    assert_eq!((&settled, &roots_settled), (&better, &moved), "the passes find something in what they made");
    let old = CapSet::release("buildkit-v0.12").expect("a release").expect("a known one");
    if let Ok(fitted) = downgrade(&better, &moved, &old) {
        verify::verify(&fitted.graph).expect("a substitute is valid");
    }
}

/// One file, if it is text.
fn source(data: &[u8]) -> Option<(SourceMap, FileId)> {
    let text = std::str::from_utf8(data).ok()?;
    let mut sources = SourceMap::default();
    let id = sources.add("build.bkl", text);
    Some((sources, id))
}

/// One module, which also every import gives.
struct Always<'a>(&'a str);

impl ModuleSource for Always<'_> {
    fn module(&self, path: &str) -> ModuleText {
        match path {
            "build.bkl" => ModuleText::Text { name: path.into(), text: self.0.into() },
            _ => ModuleText::Missing,
        }
    }
}

fn check(text: &str) -> (SourceMap, Checked) {
    let mut sources = SourceMap::default();
    let entry = Entry { path: "build.bkl", origin: Origin::Root };
    let checked = load_and_check(&mut sources, entry, &Always(text));
    let is_sound = checked.reports.iter().all(|report| report.severity < Severity::Error);
    assert_eq!(checked.program.is_some(), is_sound);
    (sources, checked)
}

/// A report can be drawn, and its labels stand in the text.
fn shown(report: &report::Report, sources: &SourceMap) {
    assert!(!report::render(report, sources, report::Style::PLAIN).is_empty());
    for label in &report.labels {
        let (text, span) = (&sources.file(label.span.file).text, label.span);
        assert!(span.start <= span.end && span.end as usize <= text.len(), "{report:?}");
        assert!(text.is_char_boundary(span.start as usize), "{report:?}");
        assert!(text.is_char_boundary(span.end as usize), "{report:?}");
    }
}

fn inputs() -> Inputs {
    let platform: Platform = "linux/amd64".parse().expect("a platform");
    Inputs {
        targets: Vec::new(),
        params: Params::default(),
        platforms: vec![platform.clone()],
        platform_choice: PlatformChoice::Default,
        confinement: Default::default(),
        build_platform: platform,
        ignore: Vec::new(),
        replacements: BTreeMap::new(),
        answers: BTreeMap::new(),
    }
}

/// Every image is the same but for its platform, every file holds the same.
fn answer(needs: &[Need], inputs: &mut Inputs) {
    for need in needs {
        let answer = match &need.request {
            Request::Image { reference, platform, .. } | Request::OciLayout { reference, platform, .. } => {
                let text = format!(
                    r#"{{"os":"{}","architecture":"{}","config":{{"Env":["PATH=/bin","A=b c"],"WorkingDir":"/w"}}}}"#,
                    platform.os, platform.arch
                );
                let digest = Digest::of(reference.to_string().as_bytes());
                Answer::Image(ImageAnswer { digest, config: text.parse().expect("JSON") })
            }
            Request::Git { .. } => Answer::Commit("1".repeat(40)),
            Request::Http { .. } => Answer::Digest(Digest::of("a file")),
            Request::Read { .. } => Answer::Text(r#"[{"name":"a","port":80}]"#.into()),
            Request::Files { .. } => Answer::Paths(vec!["a".to_owned(), "b/c".to_owned()]),
        };
        inputs.answers.insert(need.request.clone(), answer);
    }
}

fn tests(program: &Program, sources: &SourceMap, inputs: &mut Inputs) {
    for test in &program.tests {
        for _ in 0..MAX_ROUNDS {
            match eval::evaluate_test(program, sources, inputs, test) {
                TestOutcome::Needs(needs) => answer(&needs, inputs),
                TestOutcome::Done(tested) => {
                    tested.errors.iter().for_each(|error| shown(&error.report(), sources));
                    let checks: Vec<Tree> = tested.checks.iter().map(|(edge, _)| Some(*edge)).collect();
                    whole(&tested.graph, &checks);
                    break;
                }
            }
        }
    }
}

/// A cache's config, from whoever wrote it: it is refused, or all its indexes lead somewhere and it is written as it was read.
pub fn cache_config(data: &[u8]) {
    let Ok(config) = bkl::engine::cache::config::CacheConfig::parse(data) else { return };
    for layer in 0..config.layers.len() {
        assert!(!config.chain(layer).is_empty());
    }
    let bytes = config.to_bytes();
    let read = bkl::engine::cache::config::CacheConfig::parse(&bytes).expect("what is written can be read");
    assert_eq!(read.to_bytes(), bytes);
}
