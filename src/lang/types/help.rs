//! Ways out of type errors: what people usually meant when two types do not fit.

use super::hir::LiteralKind;
use super::ty::{RecordType, Type};

/// The names there are, when they are few enough to be read.
pub(super) fn it_has<'n>(names: impl Iterator<Item = &'n str>) -> Option<String> {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    (1..=12).contains(&names.len()).then(|| format!("it has {}", names.join(", ")))
}

/// For a target that is nothing to build.
pub(super) fn buildable_help(found: &Type) -> Option<String> {
    Some(match found {
        Type::Option(inner) if inner.is_buildable() => {
            "it may be none; give it a default: `x ?? scratch`".to_owned()
        }
        Type::Str | Type::Ref => "an image is made of its name with `image(\"name\")`".to_owned(),
        Type::Path => "files beside the program are `local(\"dir\")`".to_owned(),
        Type::Record(record) => {
            let field = record.fields.iter().find(|field| !field.ty.is_buildable())?;
            format!("its field `{}` is {}", field.name, field.ty)
        }
        _ => return None,
    })
}

/// The names of a command's results, if this is what a command with `outs` gives: `.root`, `.bin`.
pub(super) fn outs_of(ty: &Type) -> Option<String> {
    let Type::Record(record) = ty else { return None };
    let RecordType { name: None, decl: None, fields, .. } = &**record else { return None };
    let first = fields.first()?;
    (&*first.name == "root" && first.ty == Type::Image)
        .then(|| fields.iter().map(|field| format!("`.{}`", field.name)).collect::<Vec<_>>().join(", "))
}

/// The way out for a value of the wrong type, where there is a usual one.
pub(super) fn mismatch_help(expected: &Type, found: &Type) -> Option<String> {
    if let (Type::Option(expected), false) = (expected, matches!(found, Type::Option(_))) {
        return mismatch_help(expected, found);
    }
    Some(match (expected, found) {
        (Type::Mount, Type::Secret) => "say where it is mounted: `.file(\"/path\")`".to_owned(),
        (_, Type::Secret) => {
            "a secret can only be mounted (`token.file(\"/run/x\")`) or given to one command with `secret_env:`"
                .to_owned()
        }
        (Type::Fs | Type::Image | Type::Tree, Type::Record(_)) => {
            let trees = outs_of(found)?;
            format!("this command has `outs`, so it gives a record; pick one of its trees: {trees}")
        }
        (Type::Fs | Type::Tree, Type::Str | Type::Path) => {
            "a path is not files: those beside the program are `local(\"dir\")`".to_owned()
        }
        (Type::Image, Type::Str | Type::Ref) => "an image is made of its name with `image(\"name\")`".to_owned(),
        (Type::Image, Type::Fs) => "`.image()` makes an image of a tree".to_owned(),
        (Type::Image, Type::Index) => "an index is one image per platform: `.images[0]`".to_owned(),
        (Type::Fs | Type::Image, Type::Check) => {
            "a check has no result; `.run(…)` gives the changed image".to_owned()
        }
        (Type::Mount, Type::Fs | Type::Image) => "say where it is mounted: `ro(tree, \"/path\")`".to_owned(),
        (Type::Mount, Type::Ssh) => "say where it is mounted: `.agent()`".to_owned(),
        (Type::Mount, Type::Str | Type::Path) => {
            "say what is mounted there: `cache(\"/path\")`, `ro(tree, \"/path\")`".to_owned()
        }
        (Type::Out, Type::Str | Type::Path) => "a result is declared with `out(\"/dir\")`".to_owned(),
        (Type::Cmd, Type::Str) => {
            "only a literal is a command: say `let c: cmd = \"…\"` where it is written, or `raw(text)`".to_owned()
        }
        (Type::Argv, Type::Str) => "only a literal is split into words; give a list of words".to_owned(),
        (
            Type::Path | Type::Ref | Type::Url | Type::Port | Type::Platform | Type::Digest | Type::Signal,
            Type::Str,
        ) => format!("only a literal takes the type that is wanted; say `\"#{{…}}\"`, or declare it as {expected}"),
        (Type::Str, _) if found.is_scalar() => "make it text: `\"#{…}\"`".to_owned(),
        (Type::Mode, Type::Int | Type::Str) => "modes are octal: `0o644`".to_owned(),
        (Type::Size, Type::Int) => "sizes have a unit: `64MiB`".to_owned(),
        (Type::Duration, Type::Int) => "durations have a unit: `30s`".to_owned(),
        (Type::List(element), found) if super::relate::coercion(found, element).is_some() => {
            "make it a list: `[…]`".to_owned()
        }
        (Type::List(element), Type::Str) if LiteralKind::of(element).is_some() => {
            "make it a list: `[…]`".to_owned()
        }
        (Type::Record(expected), Type::Record(found)) => return record_help(expected, found),
        (Type::Map(_), Type::Option(inner)) if **inner == Type::Never => "`{}` clears it".to_owned(),
        (Type::List(_), Type::Option(inner)) if **inner == Type::Never => "`[]` clears it".to_owned(),
        (Type::Enum(decl), Type::Option(inner))
            if **inner == Type::Never && decl.variants.iter().any(|it| &**it == "none") =>
        {
            "a variant has a dot: write `.none`".to_owned()
        }
        (expected, Type::Option(inner)) if **inner == Type::Never => {
            format!("only an optional value can be none: {expected}?")
        }
        (Type::List(mount), Type::Map(_) | Type::Record(_)) if **mount == Type::Mount => {
            "mounts are a list, each with its place: `[ro(tree, \"/path\")]`".to_owned()
        }
        (Type::Map(_), Type::List(_)) => "a map is written `{ KEY: \"value\" }`".to_owned(),
        (Type::Outs, Type::List(_)) => "results have names: `outs: { bin: out(\"/out\") }`".to_owned(),
        (Type::Check, Type::Image | Type::Fs) => "a check is made by `.check(…)`, where `.run(…)` makes an image".to_owned(),
        (Type::Bool, Type::Image | Type::Fs) => {
            "claim something of it, `x.config.user == …`, or run a check in it, `x.check(…)`".to_owned()
        }
        (Type::Bool, Type::Int) => "compare it: `x != 0`".to_owned(),
        (Type::Bool, Type::Str) => "compare it: `x != \"\"`".to_owned(),
        (Type::Bool, Type::List(_) | Type::Map(_)) => "compare its length: `x.len() > 0`".to_owned(),
        (Type::Secret, Type::Ssh) => "an agent is mounted: `mounts: [x.agent()]`".to_owned(),
        (Type::Fs, Type::List(tree)) if matches!(**tree, Type::Fs | Type::Image) => {
            "several trees are laid over each other with `merge([a, b])`".to_owned()
        }
        (Type::Platform, Type::List(text)) if **text == Type::Str => "declare it as [platform]".to_owned(),
        (Type::Bool, Type::Option(_)) => "compare it: `x != none`".to_owned(),
        (expected, Type::Option(inner)) if *expected == **inner => {
            "it may be none; give it a default first: `x ?? …`".to_owned()
        }
        (Type::Map(_), Type::Record(_)) => "every field must have the type of the map's values".to_owned(),
        _ => return None,
    })
}

/// The first field that keeps a record from being another.
fn record_help(expected: &RecordType, found: &RecordType) -> Option<String> {
    if let Some(field) = expected.fields.iter().find(|field| found.field(&field.name).is_none()) {
        return Some(format!("it has no field `{}`", field.name));
    }
    if let Some(field) = found.fields.iter().find(|field| expected.field(&field.name).is_none()) {
        return Some(format!("the field `{}` is too much", field.name));
    }
    expected.fields.iter().find_map(|field| {
        let given = found.field(&field.name)?;
        let fits = super::relate::coercion(&given.ty, &field.ty).is_some();
        (!fits).then(|| format!("its field `{}` is {}, not {}", field.name, given.ty, field.ty))
    })
}

pub(super) fn operator_help(op: &str, left: &Type, right: &Type) -> Option<String> {
    let text = |ty: &Type| ty.is_scalar();
    match (op, left, right) {
        (_, Type::Option(_), _) | (_, _, Type::Option(_)) => {
            Some("it may be none; give it a default first: `x ?? …`".to_owned())
        }
        ("+", left, right) if text(left) && text(right) => {
            Some("join text by insertion: `\"#{a}#{b}\"`".to_owned())
        }
        ("+", Type::Fs | Type::Image, Type::Fs | Type::Image) => {
            Some("trees are joined with `merge([a, b])`".to_owned())
        }
        ("==" | "!=", Type::Fs | Type::Image, _) => {
            Some("trees cannot be compared before they are built".to_owned())
        }
        (_, Type::Secret, _) | (_, _, Type::Secret) if op == "+" => {
            "a secret can only be mounted (`token.file(\"/run/x\")`) or given to one command with `secret_env:`".to_owned().into()
        }
        ("+", Type::List(_), Type::List(_)) | ("+", Type::Map(_), Type::Map(_)) => {
            Some("both sides have values of one type".to_owned())
        }
        ("<" | "<=" | ">" | ">=", _, _) => Some("only int, str, size and duration have an order".to_owned()),
        ("==" | "!=", Type::Secret, _) => Some("a secret cannot be looked at".to_owned()),
        _ => None,
    }
}

pub(super) fn text_help(found: &Type, command: bool) -> Option<String> {
    Some(match found {
        Type::Option(_) => "give it a default first: `#{x ?? \"\"}`".to_owned(),
        Type::List(element) if element.is_scalar() && !command => {
            "join it: `#{xs.join(\" \")}`; in a command a list becomes its words".to_owned()
        }
        Type::Fs | Type::Image if command => "mount it: `mounts: [ro(tree, \"/path\")]`".to_owned(),
        Type::Record(_) if outs_of(found).is_none() => "insert its fields one by one".to_owned(),
        Type::Ssh => "mount it: `mounts: [agent.agent()]`".to_owned(),
        _ => return None,
    })
}
