//! LLB against definitions made by BuildKit's own Go client: `tests/golden/llb`, or the folder that `BKL_LLB_VECTORS`
//! names.

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
    trials
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
