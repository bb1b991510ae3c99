//! What the checker finds out about places of the texts: what editors ask for.
//!
//! The typed program does not hold it, because evaluation does not want it: names of arguments, written types, the
//! parts of expressions that are wrong.

use super::builtin::Builtin;
use super::hir::{EnumId, FunctionId, ModuleId, RecordId};
use super::ty::Type;
use crate::base::Span;

/// What a name means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// An item, a local or a parameter whose name is declared at this place.
    Declared(Span),
    /// A module that is imported; the place is the import's name.
    Import(ModuleId, Span),
    /// A function, method, property or constant of the prelude.
    Builtin(Builtin),
    /// The parameter of this index.
    Param(Callee, usize),
    /// The field of this index.
    Field(RecordId, usize),
    /// The variant of this index.
    Variant(EnumId, usize),
    /// A type that is built in: a name of [`Type::BUILTIN_NAMES`] or of the prelude.
    BuiltinType(Type),
}

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callee {
    /// A function of the program.
    Function(FunctionId),
    /// A function or method of the prelude.
    Builtin(Builtin),
}

/// A call whose callee is known.
#[derive(Debug, Clone)]
pub struct CallFact {
    /// The parentheses.
    pub parens: Span,
    /// Who is called.
    pub callee: Callee,
    /// Type of what a method is called on.
    pub receiver: Option<Type>,
    /// For each argument as written, a piped one first: the index of its parameter.
    pub slots: Vec<Option<usize>>,
}

/// Everything that was found out, in the order it was; some of it more than once.
#[derive(Debug, Default)]
pub struct Facts {
    /// Names where they are used.
    pub names: Vec<(Span, Meaning)>,
    /// Types of expressions, and of locals where they are declared.
    pub types: Vec<(Span, Type)>,
    /// Types that were wanted of expressions and patterns.
    pub wanted: Vec<(Span, Type)>,
    /// Calls.
    pub calls: Vec<CallFact>,
}
