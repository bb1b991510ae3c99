//! LLB against definitions made by BuildKit's own Go client: `tests/golden/llb`, or the folder that `BKL_LLB_VECTORS`
//! names. And definitions of our own, beside what they look like as JSON: `tests/golden/llb-text`.

use std::fs;
use std::path::{Path, PathBuf};

use bkl::graph::ir::{parse, print, verify};
use bkl::graph::llb::{Definition, MarshalOptions, Order, dump, marshal, pb, unmarshal};
use libtest_mimic::Trial;
use prost::Message;

use crate::vecprog;

pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for file in files("pb") {
        let name = name(&file);
        let dump = file.with_extension("json");
        if dump.exists() {
            let file = file.clone();
            let trial = move || dumped(&file, &dump);
            trials.push(crate::trial(format!("vectors::dump::{name}"), trial));
        }
        let text_of = file.clone();
        trials.push(crate::trial(format!("vectors::text::{name}"), move || text(&text_of)));
        trials.push(crate::trial(format!("vectors::reread::{name}"), move || reread(&file)));
    }
    for file in files("md") {
        let name = name(&file);
        if fs::read_to_string(&file).unwrap().contains("```vecprog\n") && name != "README" {
            trials.push(crate::trial(format!("vectors::program::{name}"), move || program(&file)));
        }
    }
    // A folder without vectors would pass for one whose vectors hold.
    trials.push(crate::trial("vectors::there_are_some", || {
        for extension in ["pb", "md"] {
            assert!(!files(extension).is_empty(), "`{}` has no .{extension} files", folder().display());
        }
    }));
    for file in own() {
        trials.push(crate::trial(format!("vectors::own::{}", name(&file)), move || written(&file)));
    }
    trials.push(crate::trial("vectors::own::every_field_is_shown", every_field_is_shown));
    trials
}

/// Definitions of our own: a graph as text, `----`, its definition as JSON. `BKL_UPDATE=1` rewrites the JSON.
fn own() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/llb-text");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// A graph of our own is written, looks as it did, and is read back as the same graph.
fn written(file: &Path) {
    const RULE: &str = "----\n";
    let text = fs::read_to_string(file).unwrap();
    let (before, expected) = text.split_once(RULE).unwrap();
    let (graph, roots) = parse::parse(before).unwrap();
    let options = MarshalOptions { order: Order::Arena, ..MarshalOptions::default() };
    let definition = marshal(&graph, roots[0], &options);
    let dump = dump::to_text(&dump::dump(&definition).unwrap());
    if std::env::var_os("BKL_UPDATE").is_some_and(|it| it == "1") {
        fs::write(file, format!("{before}{RULE}{dump}\n")).unwrap();
    } else {
        assert!(dump == expected.trim_end(), "`{}` is\n{dump}", file.display());
    }
    let (again, root) = unmarshal(&definition.to_bytes()).unwrap();
    assert_eq!(print::print(&again, &[root]).replace(" sealed=true", ""), print::print(&graph, &roots));
    assert_eq!(marshal(&again, root, &options).to_bytes(), definition.to_bytes());
}

/// The fields of `pb`, but for a source text's own definition, which graphs as text do not have.
const FIELDS: &str = "inputs exec source file build merge diff passthrough platform constraints Architecture OS Variant \
    OSVersion OSFeatures digest index meta mounts network security secretenv cdiDevices args env cwd user proxy_env \
    extraHosts hostname ulimit cgroupParent removeMountStubsRecursive validExitCodes Host IP Name Soft Hard ID name \
    optional http_proxy https_proxy ftp_proxy no_proxy all_proxy input selector dest output readonly mountType TmpfsOpt \
    cacheOpt secretOpt SSHOpt resultID contentCache size sharing uid gid mode identifier attrs builder def actions \
    secondaryInput copy mkfile mkdir rm symlink src owner followSymlink dirCopyContents \
    attemptUnpackDockerCompatibility createDestPath allowWildcard allowEmptyWildcard timestamp include_patterns \
    exclude_patterns alwaysReplaceExistingDestPaths modeStr required_paths path data makeParents oldpath newpath \
    allowNotFound group byName byID lower upper id outputs filter metadata ignore_cache description export_cache caps \
    progress_group linux_resources Value weak memory memorySwap cpuShares cpuPeriod cpuQuota cpusetCpus cpusetMems \
    locations infos filename language sourceIndex ranges start end line character";

/// No field of LLB is left out when a definition is shown.
fn every_field_is_shown() {
    let file = own().into_iter().find(|file| name(file) == "every-field").unwrap();
    let text = fs::read_to_string(file).unwrap();
    let (_, dump) = text.split_once("----\n").unwrap();
    let missing: Vec<&str> =
        FIELDS.split_whitespace().filter(|field| !dump.contains(&format!("\"{field}\":"))).collect();
    assert_eq!(missing, Vec::<&str>::new());
}

/// The program of a case makes the definition beside it; without one it fails.
fn program(file: &Path) {
    let definition = vecprog::run(&fs::read_to_string(file).unwrap());
    let expected = file.with_extension("pb");
    if !expected.exists() {
        let definition = definition.map(|it| it.def.len());
        assert!(definition.is_err(), "the program must fail, but makes {definition:?} ops");
        return;
    }
    let expected = Definition::decode(fs::read(expected).unwrap().as_slice()).unwrap();
    let definition = definition.unwrap();
    for (idx, (op, expected)) in definition.def.iter().zip(&expected.def).enumerate() {
        let read = |bytes: &[u8]| pb::Op::from_bytes(bytes).unwrap();
        assert!(op == expected, "op {idx}\nis     {:?}\nnot    {:?}", read(op), read(expected));
    }
    assert_eq!(definition.def.len(), expected.def.len(), "number of ops");
    assert_eq!(definition.metadata, expected.metadata, "metadata");
    assert_eq!(definition.source, expected.source, "source map");
    assert_eq!(definition.to_bytes(), expected.to_bytes());
}

/// A definition that is read and written again is the same file.
fn reread(file: &Path) {
    let bytes = fs::read(file).unwrap();
    let (graph, root) = unmarshal(&bytes).unwrap();
    verify::verify(&graph).unwrap();
    let options = MarshalOptions { order: Order::Arena, ..MarshalOptions::default() };
    let again = marshal(&graph, root, &options).to_bytes();
    assert!(bytes == again, "{} bytes were read, {} others written", bytes.len(), again.len());
}

/// The text of a graph says all of it but capabilities and source texts.
fn text(file: &Path) {
    let (mut graph, root) = unmarshal(&fs::read(file).unwrap()).unwrap();
    let text = print::print(&graph, &[root]);
    let (again, roots) = parse::parse(&text).unwrap();
    let ids: Vec<_> = graph.vertices().map(|(id, _)| id).collect();
    ids.into_iter().for_each(|id| graph.vertex_mut(id).metadata.caps.clear());
    for info in &mut graph.sources {
        info.data.clear();
        info.definition = None;
    }
    assert_eq!(graph, again);
    assert_eq!(roots, [root]);
    assert_eq!(print::print(&again, &roots), text);
}

/// The dump of a definition is the file beside it.
fn dumped(file: &Path, expected: &Path) {
    let definition = Definition::decode(fs::read(file).unwrap().as_slice()).unwrap();
    let text = dump::to_text(&dump::dump(&definition).unwrap());
    let expected = fs::read_to_string(expected).unwrap();
    for (idx, (line, expected)) in text.lines().zip(expected.lines()).enumerate() {
        assert_eq!(line, expected, "line {}", idx + 1);
    }
    assert_eq!(text.trim_end(), expected.trim_end());
}

fn folder() -> PathBuf {
    let given = std::env::var_os("BKL_LLB_VECTORS").filter(|given| !given.is_empty());
    given.map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/llb"), PathBuf::from)
}

/// The files of the folder with this extension, by name.
fn files(extension: &str) -> Vec<PathBuf> {
    let folder = folder();
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("`{}`: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == extension))
        .collect();
    files.sort();
    files
}

fn name(file: &Path) -> String {
    file.file_stem().unwrap().to_string_lossy().into_owned()
}
