//! LLB against definitions made by BuildKit's own Go client: `tests/golden/llb`, or the folder that `BKL_LLB_VECTORS`
//! names.

use std::fs;
use std::path::{Path, PathBuf};

use bkl::graph::llb::{MarshalOptions, Order, marshal, unmarshal};
use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for file in files("pb") {
        let name = name(&file);
        trials.push(crate::trial(format!("vectors::reread::{name}"), move || reread(&file)));
    }
    trials
}

/// A definition that is read and written again is the same file.
fn reread(file: &Path) {
    let bytes = fs::read(file).unwrap();
    let (graph, root) = unmarshal(&bytes).unwrap();
    bkl::graph::ir::verify::verify(&graph).unwrap();
    let options = MarshalOptions { order: Order::Arena, ..MarshalOptions::default() };
    let again = marshal(&graph, root, &options).to_bytes();
    assert!(bytes == again, "{} bytes were read, {} others written", bytes.len(), again.len());
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
