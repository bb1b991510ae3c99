//! What the checker promises about a program it gives.

use crate::base::{Severity, SourceMap};
use crate::lang::hir::{ExprKind, Origin, Program};
use crate::lang::types::{Builtin, Type};
use crate::lang::{Entry, ModuleSource, ModuleText, load_and_check};

struct One<'a>(&'a str);

impl ModuleSource for One<'_> {
    fn module(&self, path: &str) -> ModuleText {
        ModuleText::Text { name: path.into(), text: self.0.into() }
    }
}

/// The program of a text without errors.
fn check(text: &str) -> Program {
    let mut sources = SourceMap::default();
    let checked = load_and_check(&mut sources, Entry { path: "build.bkl", origin: Origin::Root }, &One(text));
    let errors: Vec<_> = checked.reports.iter().filter(|it| it.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{text}: {errors:?}");
    checked.program.expect("there are no errors")
}

#[test]
fn every_default_of_a_record_is_there() {
    let text = "type A = { n: int = 1, m: {x: int = 2} = {} }\n\
        let written: { a: int, b: str = \"x\" } = { a: 1 }\n\
        let used = written.b\n\
        fn f(r: { c: int = 3 }) -> int { let s: { d: int = 4 } = {} r.c + s.d }\n\
        let g = f({})\n";
    let program = check(text);
    let mut n_defaults = 0;
    for record in &program.records {
        n_defaults += record.fields.iter().filter(|field| field.default.is_some()).count();
    }
    // Those of the prelude's `Healthcheck` are four; the annotation of `written` is resolved twice.
    assert!(4 + 5 <= n_defaults, "{n_defaults}");
    for declared in &program.lets {
        if let Type::Record(record) = &declared.ty {
            let decl = record.decl.expect("it is written");
            let fields = program.records[decl.index()].fields.iter().zip(&record.fields);
            assert!(fields.into_iter().all(|(decl, field)| decl.default.is_some() == field.has_default));
        }
    }
}

#[test]
fn parameters_are_the_first_locals() {
    let program = check("fn f(a: [int], b: [int] = [for x in a: x + 1], c: int = b.len()) -> int { c }\n");
    let function = &program.functions[0];
    let names: Vec<&str> = function.body.locals.iter().map(|local| &*local.name).collect();
    assert_eq!(names, ["a", "b", "c", "x"]);
}

#[test]
fn absent_arguments_stay_absent() {
    let program = check("let a = image(\"x\").with(user: none)\n");
    let ExprKind::Builtin(call) = &program.lets[0].body.expr.kind else { panic!("not a call") };
    assert_eq!(call.builtin, Builtin::ImageWith);
    let given: Vec<usize> = (0..call.args.len()).filter(|&slot| call.args[slot].is_some()).collect();
    // The receiver, and `user`, the third parameter.
    assert_eq!(given, [0, 3]);
}
