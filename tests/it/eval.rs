//! Evaluation: `tests/golden/eval/<case>/build.bkl` with `args` gives `expected.txt`: the graph and its outputs, or the
//! diagnostics. `BKL_UPDATE=1` rewrites the expectations.
//!
//! `args` holds one argument per line: a target, `-p name=value`, `--platform a,b`, `--ignore pattern`, `--unanswered`
//! (nothing is known of any image: the needs are shown). Images have the config that `config.json` of the case says, or
//! the one below, and a digest made from their name.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use bkl::base::report::{Style, render};
use bkl::base::{Digest, Platform, Report, SourceMap};
use bkl::graph::ir::outputs::ImageOutput;
use bkl::graph::ir::{
    FileActionOp, FileCopy, FileInput, Graph, MountKind, Op, Output, OutputKind, Tree, Vertex, VertexId,
};
use bkl::graph::llb::{MarshalOptions, marshal};
use bkl::lang::eval::{
    self, Answer, Evaluated, ImageAnswer, Inputs, Outcome, Params, PlatformChoice, Request,
};
use bkl::lang::{Entry, ModuleSource, ModuleText, hir, load_and_check};
use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    let mut cases: Vec<PathBuf> = fs::read_dir(golden())
        .expect("the golden folder is there")
        .map(|entry| entry.expect("its entries are readable").path())
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    for case in cases {
        let name = case.file_name().expect("a case has a name").to_string_lossy().into_owned();
        trials.push(crate::trial(format!("eval::{name}"), move || run_case(&case)));
    }
    for name in ["go-multistage", "istio", "matrix", "states"] {
        trials.push(crate::trial(format!("eval::samples::{name}"), move || sample(name)));
    }
    trials.push(crate::trial("eval::parity::buildkit0", buildkit0_is_the_go_example));
    trials.push(crate::trial("eval::parity::buildkit0_without_containerd", buildkit0_without_containerd));
    trials
}

/// The example program and the Go program it was written after give the same definition; ours knows its lines, too.
fn buildkit0_is_the_go_example() {
    let vector = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/llb/187-example-buildkit0.pb");
    let expected = fs::read(vector).expect("the recorded definition is there");
    let (mut graph, root) = buildkit0(&[]);
    let options = MarshalOptions {
        platform: Some("linux/amd64".parse().expect("a platform")),
        ..MarshalOptions::default()
    };
    let located = marshal(&graph, root, &options);
    let n_vertices = graph.len() as u32;
    for id in (0..n_vertices).map(VertexId) {
        assert!(!graph.vertex(id).locations.is_empty(), "vertex {} has no line", id.0);
        graph.vertex_mut(id).locations.clear();
    }
    let bare = marshal(&graph, root, &options);
    assert_eq!(bare.def.len(), 20);
    assert!(bare.to_bytes() == expected, "the definition differs from the Go client's");
    assert_eq!(located.def, bare.def);
    let infos = located.source.expect("lines have a text").infos;
    assert_eq!(infos.len(), 1);
    assert_eq!(infos[0].language, "bkl");
}

fn buildkit0_without_containerd() {
    let (graph, root) = buildkit0(&["with_containerd=false"]);
    let definition = marshal(&graph, root, &MarshalOptions::default());
    assert_eq!(definition.def.len(), 15);
    let uses = graph.vertices().any(|(_, vertex)| vertex.name().contains("containerd"));
    assert!(!uses, "a step is about containerd");
}

fn buildkit0(params: &[&str]) -> (Graph, Tree) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/buildkit0");
    let mut sources = SourceMap::default();
    let program = compile(&folder, "build.bkl", &mut sources)
        .unwrap_or_else(|reports| panic!("{}", show_reports(&reports, &sources)));
    let params: Vec<String> = params.iter().map(|&text| text.to_owned()).collect();
    let params = Params::read(&program, &mut sources, &params).expect("the params are right");
    let inputs = Inputs { params, ..inputs() };
    let Ok(Outcome::Done(done)) = eval::evaluate(&program, &sources, &inputs) else {
        panic!("the example evaluates without asking for anything")
    };
    let OutputKind::Image(image) = &done.outputs[0].kind else { panic!("its target is an image") };
    (done.graph, image.tree)
}

/// The design's own programs evaluate to valid graphs.
fn sample(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/check");
    let mut sources = SourceMap::default();
    let path = format!("{name}.bkl");
    let entry = Entry { path: &path, origin: hir::Origin::Root };
    let program =
        load_and_check(&mut sources, entry, &Folder(folder)).program.expect("the sample is checked");
    let mut inputs = inputs();
    let done = loop {
        match eval::evaluate(&program, &sources, &inputs) {
            Err(errors) => panic!("{}", show_errors(&errors, &sources)),
            Ok(Outcome::Done(done)) => break done,
            Ok(Outcome::Needs(needs)) => {
                for need in needs {
                    inputs.answers.insert(need.request.clone(), answer(&need.request, CONFIG));
                }
            }
        }
    };
    bkl::graph::ir::verify::verify(&done.graph).expect("the graph is valid");
    assert!(!done.outputs.is_empty());
    for output in &done.outputs {
        for edge in output.edges() {
            assert!((edge.vertex.0 as usize) < done.graph.len(), "{} is in the graph", output.name);
        }
    }
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/eval")
}

fn run_case(case: &Path) {
    let args = fs::read_to_string(case.join("args")).unwrap_or_default();
    let got = evaluate_case(case, "build.bkl", &args);
    assert_eq!(got, evaluate_case(case, "build.bkl", &args), "two evaluations differ");
    let expected = case.join("expected.txt");
    if std::env::var_os("BKL_UPDATE").is_some() {
        fs::write(&expected, &got).expect("the expectation is writable");
        return;
    }
    let wanted = fs::read_to_string(&expected).unwrap_or_default();
    assert!(got == wanted, "{}: expected\n{wanted}\ngot\n{got}", expected.display());
}

/// Modules of a folder.
struct Folder(PathBuf);

impl ModuleSource for Folder {
    fn module(&self, path: &str) -> ModuleText {
        match fs::read_to_string(self.0.join(path)) {
            Ok(text) => ModuleText::Text { name: path.into(), text: text.into() },
            Err(_) => ModuleText::Missing,
        }
    }
}

fn compile(folder: &Path, path: &str, sources: &mut SourceMap) -> Result<hir::Program, Vec<Report>> {
    let entry = Entry { path, origin: hir::Origin::Root };
    let checked = load_and_check(sources, entry, &Folder(folder.to_owned()));
    checked.program.ok_or(checked.reports)
}

/// What the program `entry` of a folder evaluates to, or what is wrong with it; `args` as in the file of that name.
pub(crate) fn evaluate_case(case: &Path, entry: &str, args: &str) -> String {
    let mut sources = SourceMap::default();
    let program = match compile(case, entry, &mut sources) {
        Ok(program) => program,
        Err(reports) => return show_reports(&reports, &sources),
    };
    let mut inputs = inputs();
    let mut params = Vec::new();
    let mut answered = true;
    for arg in args.lines().filter(|arg| !arg.is_empty()) {
        match arg.split_once(' ') {
            Some(("-p", text)) => params.push(text.to_owned()),
            Some(("--platform", list)) => {
                inputs.platforms =
                    list.split(',').map(|text| text.parse().expect("args name platforms")).collect();
                inputs.platform_choice = PlatformChoice::Explicit;
            }
            Some(("--ignore", pattern)) => inputs.ignore.push(pattern.to_owned()),
            None if arg == "--unanswered" => answered = false,
            _ => inputs.targets.push(arg.to_owned()),
        }
    }
    match Params::read(&program, &mut sources, &params) {
        Ok(params) => inputs.params = params,
        Err(errors) => return show_errors(&errors, &sources),
    }
    let config = fs::read_to_string(case.join("config.json")).unwrap_or_else(|_| CONFIG.to_owned());
    let mut out = String::new();
    for round in 0.. {
        assert!(round < 20, "every round answers all needs of the one before");
        match eval::evaluate(&program, &sources, &inputs) {
            Err(errors) => return show_errors(&errors, &sources),
            Ok(Outcome::Done(done)) => {
                bkl::graph::ir::verify::verify(&done.graph).expect("the graph is valid");
                out.push_str(&show(&done, &sources));
                return out;
            }
            Ok(Outcome::Needs(needs)) => {
                for need in needs {
                    let _ = writeln!(
                        out,
                        "need {} at {}",
                        show_request(&need.request),
                        sources.locate(need.span)
                    );
                    inputs.answers.insert(need.request.clone(), answer(&need.request, &config));
                }
                if !answered {
                    return out;
                }
                out.clear();
            }
        }
    }
    out
}

/// What does not hold of what the tests of a program claim. They ask for nothing from outside.
pub(crate) fn claims(folder: &Path, entry: &str) -> String {
    let mut sources = SourceMap::default();
    let program = match compile(folder, entry, &mut sources) {
        Ok(program) => program,
        Err(reports) => return show_reports(&reports, &sources),
    };
    let outcomes = program.tests.iter().map(|test| eval::evaluate_test(&program, &sources, &inputs(), test));
    let errors = outcomes.flat_map(|outcome| match outcome {
        eval::TestOutcome::Done(tested) => tested.errors,
        eval::TestOutcome::Needs(needs) => panic!("{needs:?}"),
    });
    show_errors(&errors.collect::<Vec<_>>(), &sources)
}

/// What a real image says, as far as these tests care.
const CONFIG: &str = r#"{
    "config": {
        "Env": ["PATH=/usr/bin:/bin", "LANG=C"], "WorkingDir": "/root", "Cmd": ["sh"],
        "Labels": { "vendor": "acme" }
    }
}"#;

/// Every file has the same text, which says enough of JSON for the cases; every pattern matches two paths.
fn answer(request: &Request, config: &str) -> Answer {
    let (reference, platform) = match request {
        Request::Image { reference, platform, .. } | Request::OciLayout { reference, platform, .. } => {
            (reference, platform)
        }
        Request::Git { url, reference, .. } => {
            return Answer::Commit(Digest::of(format!("{url}#{reference}")).hex()[..40].to_owned());
        }
        Request::Http { url, .. } => return Answer::Digest(Digest::of(url)),
        Request::Read { path } => return Answer::Text(file_text(path).into()),
        Request::Files { pattern, .. } => {
            return Answer::Paths(vec![pattern.replace('*', "a"), pattern.replace('*', "b")]);
        }
    };
    let mut config: serde_json::Value = serde_json::from_str(config).expect("config.json is JSON");
    config["os"] = platform.os.clone().into();
    config["architecture"] = platform.arch.clone().into();
    if !platform.variant.is_empty() {
        config["variant"] = platform.variant.clone().into();
    }
    Answer::Image(ImageAnswer { digest: Digest::of(reference.to_string().as_bytes()), config })
}

/// What the files of these tests hold, by their names.
fn file_text(path: &str) -> &'static str {
    match path.rsplit('/').next().unwrap_or(path) {
        "services.json" => {
            r#"[{ "name": "api", "port": 8080, "more": [1] }, { "name": "web", "port": "81/udp", "replicas": 3 }]"#
        }
        "wrong.json" => {
            r#"[{ "name": "api", "port": 8080 }, { "name": "web", "port": 80, "replicas": "3" }]"#
        }
        "broken.json" => "[1,\n",
        _ => "text of a file\n",
    }
}

/// An AMD machine that builds for itself, and nothing given.
pub fn inputs() -> Inputs {
    let amd64: Platform = "linux/amd64".parse().expect("a platform");
    Inputs {
        targets: Vec::new(),
        params: Params::default(),
        platforms: vec![amd64.clone()],
        platform_choice: PlatformChoice::Default,
        confinement: Default::default(),
        build_platform: amd64,
        ignore: Vec::new(),
        replacements: BTreeMap::new(),
        answers: BTreeMap::new(),
    }
}

fn show_errors(errors: &[eval::EvalError], sources: &SourceMap) -> String {
    let reports: Vec<Report> = errors.iter().map(eval::EvalError::report).collect();
    show_reports(&reports, sources)
}

fn show_reports(reports: &[Report], sources: &SourceMap) -> String {
    reports.iter().map(|report| render(report, sources, Style::PLAIN)).collect()
}

fn show_request(request: &Request) -> String {
    match request {
        Request::Image { reference, platform, pull } => format!("image {reference} for {platform}, {pull:?}"),
        Request::OciLayout { dir, reference, platform } => {
            format!("image {reference} of layout {dir} for {platform}")
        }
        Request::Git { url, reference, token, ssh } => {
            format!("git {url}#{reference}{}", show_access([("token", token), ("ssh", ssh)]))
        }
        Request::Http { url, token } => format!("http {url}{}", show_access([("token", token), ("", &None)])),
        Request::Read { path } => format!("file {path}"),
        Request::Files { dir, pattern, except } => format!("files {pattern} in {dir} except {except:?}"),
    }
}

fn show_access(access: [(&str, &Option<String>); 2]) -> String {
    let given = access.iter().filter_map(|(name, id)| Some(format!(" {name} {}", id.as_ref()?)));
    given.collect()
}

fn show(done: &Evaluated, _sources: &SourceMap) -> String {
    let mut out = String::new();
    for (id, vertex) in done.graph.vertices() {
        show_vertex(&mut out, id, vertex, &done.graph);
    }
    for output in &done.outputs {
        show_output(&mut out, output);
    }
    for request in &done.used {
        let _ = writeln!(out, "used {}", show_request(request));
    }
    for (reference, _) in &done.unpinned {
        let _ = writeln!(out, "unpinned {reference}");
    }
    out
}

fn tree(tree: Tree) -> String {
    tree.map_or("scratch".to_owned(), |edge| format!("{}.{}", edge.vertex.0, edge.output))
}

fn show_vertex(out: &mut String, id: VertexId, vertex: &Vertex, graph: &Graph) {
    let input = |idx: u32| tree(Some(vertex.inputs[idx as usize]));
    let platform = vertex.platform.as_ref().map_or(String::new(), |platform| format!(" for {platform}"));
    let _ = write!(out, "{}: ", id.0);
    match &vertex.op {
        Op::Source(source) => {
            let _ = writeln!(out, "source {}{platform}", source.identifier);
            for (key, value) in &source.attrs {
                let _ = writeln!(out, "   {key} = {value}");
            }
        }
        Op::Exec(exec) => {
            let _ = writeln!(out, "exec {:?}{platform}", exec.args);
            let _ = writeln!(out, "   cwd {} user {:?} env {:?}", exec.cwd, exec.user, exec.env);
            for mount in &exec.mounts {
                let from = mount.input.map_or("scratch".to_owned(), input);
                let kind = match &mount.kind {
                    MountKind::Bind => String::new(),
                    other => format!(" {other:?}"),
                };
                let selector =
                    if mount.selector.is_empty() { "" } else { &format!(" at {}", mount.selector) };
                let readonly = if mount.readonly { " ro" } else { "" };
                let output = mount.output.map_or(String::new(), |output| format!(" -> {}.{output}", id.0));
                let _ = writeln!(out, "   mount {}{readonly}{kind} = {from}{selector}{output}", mount.dest);
            }
            let more = [
                (format!("network {:?}", exec.network), exec.network != Default::default()),
                (format!("security {:?}", exec.security), exec.security != Default::default()),
                (format!("hosts {:?}", exec.extra_hosts), !exec.extra_hosts.is_empty()),
                (format!("devices {:?}", exec.cdi_devices), !exec.cdi_devices.is_empty()),
                (format!("secrets {:?}", exec.secret_env), !exec.secret_env.is_empty()),
                (format!("exit codes {:?}", exec.valid_exit_codes), !exec.valid_exit_codes.is_empty()),
            ];
            for (text, _) in more.iter().filter(|(_, shown)| *shown) {
                let _ = writeln!(out, "   {text}");
            }
        }
        Op::File(file) => {
            let _ = writeln!(out, "file");
            let show_input = |place: FileInput| match place {
                FileInput::Scratch => "scratch".to_owned(),
                FileInput::Input(idx) => input(idx),
                FileInput::Action(idx) => format!("action {idx}"),
            };
            for action in &file.actions {
                let op = match &action.op {
                    FileActionOp::Copy(copy) => show_copy(copy, &show_input(action.secondary)),
                    FileActionOp::Mkfile(file) => {
                        let owner = file.owner.as_ref().map_or(String::new(), |owner| format!(" {owner:?}"));
                        let data = String::from_utf8_lossy(&file.data);
                        format!("write {:?} mode {:o}{owner} {data:?}", file.path, file.mode)
                    }
                    other => format!("{other:?}"),
                };
                let _ = writeln!(out, "   on {}: {op}", show_input(action.input));
            }
        }
        Op::Merge(_) | Op::Diff(_) | Op::Passthrough(_) | Op::Build(_) => {
            let inputs: Vec<_> = vertex.inputs.iter().map(|edge| tree(Some(*edge))).collect();
            let _ = writeln!(out, "{} {}", vertex.op.name(), inputs.join(" "));
        }
    }
    let metadata = &vertex.metadata;
    if metadata.ignore_cache {
        let _ = writeln!(out, "   ignore cache");
    }
    for (key, value) in &metadata.description {
        let _ = writeln!(out, "   {key}: {value}");
    }
    if let Some(limits) = &metadata.linux_resources {
        let _ = writeln!(out, "   memory {} cpu {}/{}", limits.memory, limits.cpu_quota, limits.cpu_period);
    }
    let places: Vec<String> = vertex
        .locations
        .iter()
        .flat_map(|location| location.ranges.iter().map(|range| (location.source, range)))
        .map(|(source, range)| {
            let name = &graph.sources[source as usize].filename;
            format!("{name}:{}:{}-{}:{}", range.start.0, range.start.1, range.end.0, range.end.1)
        })
        .collect();
    let _ = writeln!(out, "   @ {}", places.join(" "));
}

/// A copy with the settings that are not those of every copy.
fn show_copy(copy: &FileCopy, from: &str) -> String {
    let flags = [
        ("symbolic", !copy.mode_str.is_empty()),
        ("follow", copy.follow_symlink),
        ("not contents", !copy.dir_copy_contents),
        ("unpack", copy.attempt_unpack),
        ("no parents", !copy.create_dest_path),
        ("wildcard", copy.allow_wildcard),
        ("optional", copy.allow_empty_wildcard),
        ("timestamp", copy.timestamp != -1),
        ("replace", copy.always_replace_existing),
    ];
    let mut text = format!("copy {:?} of {from} to {:?}", copy.src, copy.dest);
    for (flag, _) in flags.iter().filter(|(_, on)| *on) {
        let _ = write!(text, " {flag}");
    }
    if copy.mode != -1 {
        let _ = write!(text, " mode {:o}", copy.mode);
    }
    if let Some(owner) = &copy.owner {
        let _ = write!(text, " {owner:?}");
    }
    let lists = [
        ("include", &copy.include_patterns),
        ("exclude", &copy.exclude_patterns),
        ("required", &copy.required_paths),
    ];
    for (name, list) in lists.iter().filter(|(_, list)| !list.is_empty()) {
        let _ = write!(text, " {name} {list:?}");
    }
    text
}

fn show_output(out: &mut String, output: &Output) {
    let dest = output.dest.as_ref().map_or(String::new(), |dest| format!(" -> {dest}"));
    let _ = write!(out, "output {}{dest} = ", output.name);
    match &output.kind {
        OutputKind::Fs(files) => {
            let _ = writeln!(out, "fs {}", tree(*files));
        }
        OutputKind::Image(image) => {
            out.push_str("image ");
            show_image(out, image);
        }
        OutputKind::Index { images, tags } => {
            let _ = writeln!(out, "index {tags:?}");
            for image in images {
                out.push_str("   ");
                show_image(out, image);
            }
        }
        OutputKind::Check(edge) => {
            let _ = writeln!(out, "check {}", tree(Some(*edge)));
        }
    }
}

fn show_image(out: &mut String, image: &ImageOutput) {
    let _ = writeln!(out, "{} for {} tags {:?}", tree(image.tree), image.config.platform, image.tags);
    let config = image.config.to_oci();
    let _ = writeln!(out, "   {}", config["config"]);
}
