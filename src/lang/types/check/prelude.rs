//! Checks the prelude itself: the one file with `extern` items.

use std::sync::Arc;

use super::super::builtin::Builtin;
use super::super::hir::Origin;
use super::super::signatures::{Prelude, Signature, head};
use super::super::ty::Type;
use super::Checker;
use crate::base::SourceMap;
use crate::lang::resolve::{Loaded, LoadedModule, stdlib};
use crate::lang::syntax::ast::{Extern, ItemKind};
use crate::lang::syntax::{self, PRELUDE_NAME};

/// Reads `stdlib/prelude.bkl`. It is part of the program: an error in it is found by every test.
pub(in super::super) fn prelude() -> Prelude {
    let mut sources = SourceMap::default();
    let file = sources.add(PRELUDE_NAME, stdlib::PRELUDE);
    let parsed = syntax::parse(sources.file(file));
    assert!(parsed.errors.is_empty(), "the prelude parses: {:?}", parsed.errors);
    let (path, dir) = (Arc::from(PRELUDE_NAME), Arc::from("std"));
    let module = LoadedModule { ast: parsed.module, path, dir, origin: Origin::Library, imports: Vec::new() };
    let loaded = Loaded { modules: vec![module], ..Loaded::default() };

    // First the types of everything, then the defaults, which use them.
    let nothing = Prelude::default();
    let mut checker = Checker::new(&loaded, &sources, &nothing);
    checker.declare();
    let mut signatures: Vec<Signature> = Vec::new();
    for (item, extern_item) in externs(&loaded) {
        let receiver = extern_item.receiver.as_ref().map(|receiver| checker.resolve_type(receiver));
        let params = extern_item.params.as_ref();
        let params = params.map(|params| params.iter().map(|param| checker.fn_param(param)).collect());
        let result = checker.resolve_type(&extern_item.result);
        let name = extern_item.name.text.clone();
        let key = match &receiver {
            Some(receiver) => format!("{}.{name}", head(receiver)),
            None => name.to_string(),
        };
        let builtin = Builtin::ALL.iter().find(|builtin| builtin.key() == key);
        let builtin = *builtin.unwrap_or_else(|| panic!("`{key}` of the prelude is a builtin"));
        signatures.push(Signature { builtin, receiver, name, params, result, doc: item.doc.clone() });
    }
    signatures.sort_by_key(|signature| signature.builtin as usize);
    let mut typed = Prelude { signatures, ..Prelude::default() };
    typed.records = checker.program.records.clone();
    typed.enums = checker.program.enums.clone();
    assert!(checker.errors.is_empty(), "the prelude has types: {:?}", checker.errors);
    // Fields are known to have defaults before those are checked.
    typed.index();

    let mut checker = Checker::new(&loaded, &sources, &typed);
    checker.program.records.clear();
    checker.program.enums.clear();
    checker.declare();
    checker.check_items();
    let mut defaults = Vec::new();
    for (_, extern_item) in externs(&loaded) {
        for param in extern_item.params.iter().flatten() {
            let ty = checker.resolve_type(&param.ty);
            let default = param.default.as_ref().map(|default| {
                let module = super::ModuleId(0);
                let record = Type::record([]);
                // An absent `outs` is the empty record.
                let ty = if ty == Type::Outs { &record } else { &ty };
                checker.body(module, None, |checker| checker.check(default, ty)).expr
            });
            defaults.push((extern_item.name.span, param.name.text.clone(), default));
        }
    }
    assert!(checker.errors.is_empty(), "the prelude checks: {:?}", checker.errors);
    let records = checker.program.records.clone();
    let mut defaults = defaults.into_iter();
    let mut order: Vec<usize> = Vec::new();
    for (_, extern_item) in externs(&loaded) {
        let same = |it: &Signature| {
            it.name == extern_item.name.text && it.receiver.is_some() == extern_item.receiver.is_some()
        };
        let key_of = |it: &Signature| it.receiver.as_ref().map(head);
        let receiver = extern_item.receiver.as_ref().map(|receiver| checker.resolve_type(receiver));
        let index =
            typed.signatures.iter().position(|it| same(it) && key_of(it) == receiver.as_ref().map(head));
        order.push(index.expect("declared above"));
    }
    for index in order {
        for param in typed.signatures[index].params.iter_mut().flatten() {
            param.default = defaults.next().expect("as many as parameters").2;
        }
    }
    typed.records = records;
    typed.index();
    typed
}

/// The `extern` items in order.
fn externs(loaded: &Loaded) -> impl Iterator<Item = (&crate::lang::syntax::ast::Item, &Extern)> {
    loaded.modules[0].ast.items.iter().filter_map(|item| match &item.kind {
        ItemKind::Extern(extern_item) => Some((item, extern_item)),
        _ => None,
    })
}
