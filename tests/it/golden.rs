//! Text cases under `tests/golden`, found on disk. `BKL_UPDATE=1` writes the expectations anew; read them in the diff.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use bkl::base::{Severity, SourceMap, report};
use bkl::lang::hir::Origin;
use bkl::lang::syntax::format;
use bkl::lang::{Entry, ModuleSource, ModuleText, load_and_check};
use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for case in cases("check") {
        let name = case.file_stem().and_then(|it| it.to_str()).expect("case names are text");
        let name = format!("golden::check::{name}");
        trials.push(crate::trial(name, move || sound(&case)));
    }
    for code in codes() {
        for case in cases(&format!("diagnostics/{code}")) {
            let name = case.file_stem().and_then(|it| it.to_str()).expect("case names are text");
            let name = format!("golden::diagnostics::{code}::{name}");
            let code = code.clone();
            trials.push(crate::trial(name, move || diagnosed(&code, &case)));
        }
    }
    for case in cases("format") {
        let name = case.file_stem().and_then(|it| it.to_str()).expect("case names are text");
        let name = format!("golden::format::{name}");
        trials.push(crate::trial(name, move || formatted(&case)));
    }
    trials.push(crate::trial("golden::diagnostics::complete", every_expectation_has_its_case));
    trials
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The `.bkl` files of an area; those of folders below it belong to cases that import them.
fn cases(area: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(golden().join(area)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|it| it == "bkl")).collect();
    cases.sort();
    assert!(!cases.is_empty(), "no cases in {area}");
    cases
}

/// The folders of `diagnostics`, one per code; `lib` holds modules that cases import.
fn codes() -> Vec<String> {
    let entries = fs::read_dir(golden().join("diagnostics")).unwrap().map(|entry| entry.unwrap());
    let names = entries.map(|entry| (entry.file_type().unwrap(), entry.file_name().into_string().unwrap()));
    let mut codes = Vec::new();
    for (kind, name) in names {
        assert!(kind.is_dir(), "{name}: a case of diagnostics lies in the folder of its code");
        codes.push(name);
    }
    codes.retain(|name| name != "lib");
    codes.sort();
    codes
}

/// Modules below a folder.
struct Folder(PathBuf);

impl ModuleSource for Folder {
    fn module(&self, path: &str) -> ModuleText {
        match fs::read_to_string(self.0.join(path)) {
            Ok(text) => ModuleText::Text { name: path.into(), text: text.into() },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => ModuleText::Missing,
            Err(error) => ModuleText::Unreadable(error.to_string()),
        }
    }
}

/// What is said about a program below `root`. A case `x.remote.bkl` is checked as a module that others import from
/// elsewhere.
fn reports(root: &Path, case: &Path) -> (String, bool) {
    let folder = Folder(root.to_owned());
    let path = case.strip_prefix(root).unwrap().to_str().unwrap();
    let origin = if path.ends_with(".remote.bkl") { Origin::Remote } else { Origin::Root };
    let mut sources = SourceMap::default();
    let checked = load_and_check(&mut sources, Entry { path, origin }, &folder);
    assert!(checked.needs.is_empty());
    let rendered = checked.reports.iter().map(|it| report::render(it, &sources, report::Style::PLAIN));
    let has_errors = checked.reports.iter().any(|it| it.severity == Severity::Error);
    assert_eq!(checked.program.is_none(), has_errors, "a program is given exactly when there are no errors");
    (rendered.collect(), has_errors)
}

/// A program of `check/` has nothing wrong with it.
fn sound(case: &Path) {
    let (rendered, _) = reports(&golden().join("check"), case);
    assert!(rendered.is_empty(), "\n{rendered}");
}

/// A program of `diagnostics/<code>/` gets exactly what stands beside it, the code among it. When its first line is
/// `// $ bkl build …` with targets, `-p` and `--platform`, it is evaluated, too; with `// $ bkl test` its tests are.
fn diagnosed(code: &str, case: &Path) {
    let root = golden().join("diagnostics");
    let text = fs::read_to_string(case).unwrap_or_default();
    let command = text.lines().next().and_then(|line| line.strip_prefix("// $ bkl build"));
    let rendered = match command {
        Some(args) => {
            let entry = case.strip_prefix(&root).unwrap().to_str().unwrap();
            let args =
                args.trim().replace(' ', "\n").replace("-p\n", "-p ").replace("--platform\n", "--platform ");
            crate::eval::evaluate_case(&root, entry, &args)
        }
        None if text.starts_with("// $ bkl test\n") => {
            crate::eval::claims(&root, case.strip_prefix(&root).unwrap().to_str().unwrap())
        }
        None => reports(&root, case).0,
    };
    let expected = case.with_extension("out");
    if std::env::var_os("BKL_UPDATE").is_some() {
        fs::write(&expected, &rendered).unwrap();
    }
    let text =
        fs::read_to_string(&expected).unwrap_or_else(|error| panic!("{}: {error}", expected.display()));
    let named = rendered.lines().any(|line| line.strip_prefix("bkl::") == Some(code));
    assert!(named, "{} is not among what is said:\n{rendered}", code);
    assert!(rendered == text, "expected:\n{text}\nfound:\n{rendered}");
}

/// A program of `format/` is laid out as the text beside it.
fn formatted(case: &Path) {
    let mut sources = SourceMap::default();
    let file = sources.add("case.bkl", fs::read_to_string(case).unwrap());
    let found =
        format::format(sources.file(file)).unwrap_or_else(|error| panic!("{error}: {:?}", error.reports()));
    let expected = case.with_extension("out");
    if std::env::var_os("BKL_UPDATE").is_some() {
        fs::write(&expected, &found).unwrap();
    }
    let text =
        fs::read_to_string(&expected).unwrap_or_else(|error| panic!("{}: {error}", expected.display()));
    assert!(found == text, "expected:\n{text}\nfound:\n{found}");
}

/// No expectation without a case, and no code of the language without one.
fn every_expectation_has_its_case() {
    let root = golden().join("diagnostics");
    for code in codes() {
        let stems = |extension: &str| -> BTreeSet<String> {
            let paths = fs::read_dir(root.join(&code)).unwrap().map(|entry| entry.unwrap().path());
            let wanted = paths.filter(|path| path.extension().is_some_and(|it| it == extension));
            wanted.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
        };
        let lonely: Vec<String> = stems("out").difference(&stems("bkl")).cloned().collect();
        assert!(lonely.is_empty(), "expectations of {code} without a case: {lonely:?}");
    }
    let raised = crate::explain::codes_raised(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lang"));
    // What only the driver can meet, what would be a bug of ours; examples in docs and images of layouts have sessions.
    let elsewhere = ["no_program", "format_bug", "example", "wrong_platform"];
    let raised: BTreeSet<String> = raised.into_iter().filter(|it| !elsewhere.contains(&&**it)).collect();
    let missing: Vec<String> = raised.difference(&codes().into_iter().collect()).cloned().collect();
    assert!(missing.is_empty(), "codes of the language without a case: {missing:?}");
}
