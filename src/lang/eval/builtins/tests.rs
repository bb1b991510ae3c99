//! What this file's neighbours take for granted about the prelude.

use super::*;
use crate::lang::types::prelude;

/// The table of argument names is the prelude's, for everything that is implemented.
#[test]
fn names_are_those_of_the_prelude() {
    for &builtin in Builtin::ALL {
        let known = names(builtin);
        if known.is_empty() {
            continue;
        }
        let signature = prelude().signature(builtin);
        let mut declared: Vec<&str> = signature.receiver.iter().map(|_| "self").collect();
        declared.extend(signature.params.iter().flatten().map(|param| &*param.name));
        if builtin == Builtin::Copy {
            // `copy(src, dst)` is `dst.copy(src)`.
            assert_eq!(std::mem::replace(&mut declared[1], "self"), "dst");
        }
        if builtin == Builtin::ImageExec {
            // `exec` is `run` with another kind of command.
            assert_eq!(std::mem::replace(&mut declared[1], "cmd"), "argv");
        }
        assert_eq!(known, declared, "{}", builtin.key());
    }
}

/// Variants are told apart by their place.
#[test]
fn variants_stand_in_this_order() {
    let variants = |name: &str| -> Vec<&str> {
        let found = prelude().enums.iter().find(|decl| &*decl.name == name).expect("the prelude has it");
        found.variants.iter().map(|variant| &**variant).collect()
    };
    assert_eq!(variants("Sharing"), ["shared", "private", "locked"]);
    assert_eq!(variants("Net"), ["sandbox", "host", "none"]);
    assert_eq!(variants("Security"), ["sandbox", "strict", "insecure"]);
    assert_eq!(variants("Pull"), ["auto", "always", "local"]);
}

/// Every field of `Config` and `Healthcheck` is filled in by `image.rs`.
#[test]
fn config_has_these_fields() {
    let Type::Record(config) = &prelude().signature(Builtin::ImageConfig).result else {
        panic!("`config` is a record")
    };
    let fields: Vec<&str> = config.fields.iter().map(|field| &*field.name).collect();
    let known = [
        "env",
        "workdir",
        "user",
        "entrypoint",
        "cmd",
        "labels",
        "ports",
        "volumes",
        "stop_signal",
        "shell",
        "healthcheck",
    ];
    assert_eq!(fields, known);
}
