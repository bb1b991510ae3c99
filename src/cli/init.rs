//! `bkl init`: a first program to change, for what the folder holds.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use crate::base::{Report, SourceMap};
use crate::cli::Failure;
use crate::cli::args;
use crate::cli::lower::write_stdout;
use crate::cli::program::io_reason;
use crate::lang::on_deep_stack;
use crate::lang::syntax::format;

const PROGRAM: &str = "build.bkl";
const IGNORE: &str = ".bklignore";

/// Runs the verb; when one of the files is there already, none is written.
pub(super) fn run(args: &args::Init) -> Result<(), Failure> {
    let cannot = |name: &str, error: &io::Error| {
        let path = args.folder.join(name);
        Report::error("bkl::output", format!("cannot write `{}`: {}", path.display(), io_reason(error)))
    };
    fs::create_dir_all(&args.folder).map_err(|error| cannot("", &error))?;
    let is_there = |name: &str| args.folder.join(name).symlink_metadata().is_ok();
    let mut files = vec![(PROGRAM, formatted(program(&args.folder)))];
    // A .bklignore would take the place of the patterns that the project has already.
    if !is_there(".dockerignore") {
        files.push((IGNORE, include_str!("init/bklignore").to_owned()));
    }
    if let Some((name, _)) = files.iter().find(|(name, _)| is_there(name)) {
        let path = args.folder.join(name);
        return Err(Report::error("bkl::exists", format!("`{}` is there already", path.display()))
            .help("`bkl init` changes no file; choose another folder: `bkl init FOLDER`")
            .into());
    }
    for (name, text) in files {
        let path = args.folder.join(name);
        let written = fs::File::create_new(&path).and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|error| cannot(name, &error))?;
        let shown = path.strip_prefix(".").unwrap_or(&path);
        write_stdout(format!("{}\n", shown.display()).as_bytes())?;
    }
    Ok(())
}

/// The program that fits best to the files of a folder.
fn program(folder: &Path) -> String {
    let text = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let has = |name: &str| folder.join(name).is_file();
    if let Some(module) = text("go.mod") {
        let (name, package) = go_binary(folder, &module);
        return include_str!("init/go.bkl").replace("PACKAGE", &package).replace("NAME", &name);
    }
    if let Some(manifest) = text("Cargo.toml") {
        let package = manifest.parse::<toml::Table>().ok();
        let name = package.as_ref().and_then(|it| it.get("package")?.get("name")?.as_str());
        return include_str!("init/rust.bkl").replace("NAME", &plain(name.unwrap_or_default(), "app"));
    }
    if let Some(manifest) = text("package.json") {
        let package: serde_json::Value = serde_json::from_str(&manifest).unwrap_or_default();
        let manager = match () {
            () if has("pnpm-lock.yaml") => "pnpm",
            () if has("yarn.lock") => "yarn",
            () => "npm",
        };
        let main = plain(package["main"].as_str().unwrap_or_default(), "index.js");
        return include_str!("init/node.bkl").replace("MANAGER", manager).replace("NAME", &main);
    }
    if has("requirements.txt") {
        return include_str!("init/python.bkl").to_owned();
    }
    include_str!("init/build.bkl").to_owned()
}

/// Names of a project differ in length, and so does the layout they need.
fn formatted(program: String) -> String {
    let mut sources = SourceMap::default();
    let file = sources.add(PROGRAM, program.as_str());
    on_deep_stack(|| format::format(sources.file(file))).unwrap_or(program)
}

/// Name of a Go module's binary, and the package it is made of: the root's, else the first below cmd.
fn go_binary(folder: &Path, module: &str) -> (String, String) {
    let commands = fs::read_dir(folder.join("cmd")).into_iter().flatten().flatten();
    let commands = commands.filter(|entry| entry.path().is_dir());
    let first = commands.map(|entry| entry.file_name().to_string_lossy().into_owned()).min();
    if let Some(name) = first.filter(|name| !folder.join("main.go").is_file() && plain(name, "") == *name) {
        let package = format!("./cmd/{name}");
        return (name, package);
    }
    let path = module.lines().find_map(|line| line.strip_prefix("module ")).unwrap_or_default().trim();
    // `example.com/app/v2` is a version of `app`.
    let is_version = |part: &&str| part.strip_prefix('v').is_some_and(|rest| rest.parse::<u32>().is_ok());
    let name = path.rsplit('/').find(|part| !is_version(part)).unwrap_or_default();
    (plain(name, "app"), ".".to_owned())
}

/// A name that can stand in a program as it is, else `other`.
fn plain(name: &str, other: &str) -> String {
    let is_plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
    if is_plain { name.to_owned() } else { other.to_owned() }
}
