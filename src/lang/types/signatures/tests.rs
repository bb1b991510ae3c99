//! The prelude's text and the closed set of builtins say the same.

use super::super::builtin::Builtin;
use super::super::ty::Type;
use super::{head, prelude};

#[test]
fn every_builtin_has_its_signature() {
    let prelude = prelude();
    assert_eq!(prelude.signatures.len(), Builtin::ALL.len());
    for (signature, builtin) in prelude.signatures.iter().zip(Builtin::ALL) {
        assert_eq!(signature.builtin, *builtin);
        let key = match &signature.receiver {
            Some(receiver) => format!("{}.{}", head(receiver), signature.name),
            None => signature.name.to_string(),
        };
        assert_eq!(key, builtin.key());
    }
}

#[test]
fn defaults_are_typed() {
    let prelude = prelude();
    for signature in &prelude.signatures {
        for param in signature.params.iter().flatten() {
            if let Some(default) = &param.default {
                assert!(!default.ty.has_error(), "{}({})", signature.name, param.name);
            }
        }
    }
    let default = prelude.default_of(Builtin::TreeMkdir, "mode").expect("it has one");
    assert_eq!(default.ty, Type::Mode);
    let interval = &prelude.records[0].fields[1];
    assert!(interval.default.is_some(), "{}", interval.name);
}
