//! The library: every module checks without a word, says what it is for, and its tests hold without a network.

use bkl::base::report::{Style, render};
use bkl::base::{Report, SourceMap};
use bkl::lang::eval::{EvalError, Need, TestOutcome, evaluate_test};
use bkl::lang::examples::{self, Subject, Trial as Trying};
use bkl::lang::hir::{Item, Origin, Program};
use bkl::lang::resolve::stdlib;
use bkl::lang::syntax::{self, ast::ItemKind};
use bkl::lang::{Entry, ModuleSource, ModuleText, load_and_check};
use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    stdlib::MODULES
        .iter()
        .flat_map(|&(name, text)| {
            [
                crate::trial(format!("stdlib::{name}"), move || check(name, text)),
                crate::trial(format!("stdlib::{name} examples"), move || examples_work(name, text)),
            ]
        })
        .collect()
}

struct Only(&'static str);

impl ModuleSource for Only {
    fn module(&self, path: &str) -> ModuleText {
        ModuleText::Text { name: path.into(), text: self.0.into() }
    }
}

fn check(name: &str, text: &'static str) {
    let mut sources = SourceMap::default();
    let path = format!("{}.bkl", name.trim_start_matches("std/"));
    let entry = Entry { path: &path, origin: Origin::Root };
    let checked = load_and_check(&mut sources, entry, &Only(text));
    let shown = |reports: &[Report]| -> String {
        reports.iter().map(|report| render(report, &sources, Style::PLAIN)).collect()
    };
    assert!(checked.reports.is_empty(), "{}", shown(&checked.reports));
    let program = checked.program.expect("without reports there is a program");
    assert!(program.modules[0].doc.is_some(), "{name} does not say what it is for");
    for item in public_items(&program) {
        assert!(item.doc.is_some(), "{name}: `{}` has no doc comment", item.name);
    }
    let inputs = crate::eval::inputs();
    let tests: Vec<_> = program.tests.iter().filter(|test| test.module == Program::ENTRY).collect();
    assert!(!tests.is_empty(), "{name} has no tests");
    for test in tests {
        match evaluate_test(&program, &sources, &inputs, test) {
            TestOutcome::Done(tested) => {
                let reports: Vec<Report> = tested.errors.iter().map(EvalError::report).collect();
                assert!(reports.is_empty(), "{}", shown(&reports));
            }
            TestOutcome::Needs(needs) => panic!("the test {:?} asks for {needs:?}", test.name),
        }
    }
}

/// Every function of the library has an example, and they work: with stand-ins for images and empty files.
fn examples_work(name: &'static str, text: &'static str) {
    let mut sources = SourceMap::default();
    let file = sources.add(name, text);
    let module = syntax::parse(sources.file(file)).module;
    let examples = examples::of_module(sources.file(file), &module);
    for item in module.items.iter().filter(|item| item.public) {
        if let ItemKind::Fn { name: function, .. } = &item.kind {
            let has_one = examples.iter().any(|example| example.of.as_ref() == Some(&function.text));
            assert!(has_one, "{name}: `{}` has no example", function.text);
        }
    }
    let stem = name.trim_start_matches("std/").to_owned();
    let subject = Subject { name: stem, path: name.to_owned() };
    let inputs = crate::eval::inputs();
    let answer = |need: &Need| panic!("{name}: an example asks for {need:?}");
    let trial =
        Trying { dir: "", subject: Some(&subject), texts: &Only(""), inputs: &inputs, answer: &answer };
    for example in &examples {
        let reports = example.run(&mut sources, &trial);
        let shown: String = reports.iter().map(|report| render(report, &sources, Style::PLAIN)).collect();
        assert!(reports.is_empty(), "{}\n{shown}", example.title(sources.file(file)));
    }
}

fn public_items(program: &Program) -> impl Iterator<Item = &Item> {
    let functions = program.functions.iter().map(|it| &it.item);
    let lets = program.lets.iter().map(|it| &it.item);
    functions.chain(lets).filter(|item| item.public)
}
