//! Syntax to a typed program: what each name means, what each expression is.

pub mod builtin;
pub(crate) mod check;
mod error;
pub mod facts;
mod help;
pub mod hir;
pub mod literal;
mod relate;
mod report;
pub mod signatures;
pub mod ty;

pub use builtin::Builtin;
pub use error::TypeError;
pub use signatures::prelude;
pub use ty::{EnumType, FieldType, RecordType, Type};
