//! A `.bkl` program to a build graph: syntax, names, types, values. Pure: the outside comes in through `World`.
#![deny(clippy::disallowed_methods)]

pub mod eval;
pub mod syntax;
pub mod types;

pub use types::hir;
