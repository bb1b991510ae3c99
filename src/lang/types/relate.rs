//! The relation `≤` between types, and the step a value takes along it.

use super::hir::Coercion;
use super::ty::{RecordType, Type};

/// How a value of type `from` becomes one of type `to`: `Some(None)` when it is one already, `None` when it cannot.
pub(super) fn coercion(from: &Type, to: &Type) -> Option<Option<Coercion>> {
    if from == to || matches!(from, Type::Error) || matches!(to, Type::Error) {
        return Some(None);
    }
    let step = match (from, to) {
        (Type::Never, _) => Coercion::Empty,
        (Type::Option(a), Type::Option(b)) => match coercion(a, b)? {
            None => return Some(None),
            Some(Coercion::Empty) => Coercion::Empty,
            Some(step) => Coercion::Inside(Box::new(step)),
        },
        (from, Type::Option(to)) => match coercion(from, to)? {
            None => Coercion::Some,
            Some(step) => Coercion::Then(Box::new(step), Box::new(Coercion::Some)),
        },
        (Type::Image, Type::Fs) => Coercion::ImageToFs,
        (Type::Str | Type::Path, Type::Glob) => Coercion::ToGlob,
        (Type::List(word), Type::Cmd) if matches!(**word, Type::Str | Type::Never) => Coercion::WordsToCmd,
        (Type::List(word), Type::Argv) if matches!(**word, Type::Str | Type::Never) => Coercion::WordsToArgv,
        (Type::List(a), Type::List(b)) => match coercion(a, b)? {
            None => return Some(None),
            Some(Coercion::Empty) => Coercion::Empty,
            Some(step) => Coercion::Each(Box::new(step)),
        },
        (Type::Map(a), Type::Map(b)) => match coercion(a, b)? {
            None => return Some(None),
            Some(Coercion::Empty) => Coercion::Empty,
            Some(step) => Coercion::EachValue(Box::new(step)),
        },
        (Type::Record(record), Type::Map(value)) => {
            let fields =
                record.fields.iter().map(|field| Some((field.name.clone(), coercion(&field.ty, value)?)));
            Coercion::RecordToMap(fields.collect::<Option<_>>()?)
        }
        (Type::Record(a), Type::Record(b)) => fields(a, b)?,
        _ => return None,
    };
    Some(Some(step))
}

/// Field by field, by name; both have the same names.
fn fields(from: &RecordType, to: &RecordType) -> Option<Coercion> {
    if from.fields.len() != to.fields.len() {
        return None;
    }
    let steps = to.fields.iter().map(|field| {
        let given = from.field(&field.name)?;
        Some((field.name.clone(), coercion(&given.ty, &field.ty)?))
    });
    Some(Coercion::Fields(steps.collect::<Option<_>>()?))
}

/// The smallest of the two types' common upper types that bkl has a name for.
pub(super) fn join(a: &Type, b: &Type) -> Option<Type> {
    if coercion(a, b).is_some() {
        return Some(if matches!(b, Type::Error) { a.clone() } else { b.clone() });
    }
    if coercion(b, a).is_some() {
        return Some(a.clone());
    }
    match (a, b) {
        (Type::Option(a), Type::Option(b)) => Some(Type::option(join(a, b)?)),
        (Type::Option(a), b) => Some(Type::option(join(a, b)?)),
        (a, Type::Option(b)) => Some(Type::option(join(a, b)?)),
        (Type::List(a), Type::List(b)) => Some(Type::list(join(a, b)?)),
        (Type::Map(a), Type::Map(b)) => Some(Type::map(join(a, b)?)),
        _ => None,
    }
}

impl Type {
    /// Whether a value of this type can stand where a `wanted` is.
    pub fn fits(&self, wanted: &Type) -> bool {
        coercion(self, wanted).is_some()
    }
}
