//! Syntax to a typed program: what each name means, what each expression is.

pub mod builtin;
pub mod hir;
pub mod literal;
pub mod signatures;
pub mod ty;

pub use builtin::Builtin;
pub use ty::{EnumType, FieldType, RecordType, Type};
