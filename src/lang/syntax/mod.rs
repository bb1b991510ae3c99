//! Source text to a syntax tree.

pub mod ast;
mod build;
mod build_expr;
mod dedent;
mod error;
pub mod format;
mod grammar;
pub mod lex;
mod parse;
mod scan;
mod slip;
pub mod words;

pub use error::{Expected, SyntaxError};
pub use parse::{Parsed, item_starts, parse, parses};

/// How deep expressions may nest, counting each method of a chain as one level.
///
/// Checker and evaluator recurse over expressions; their callers give them a stack that this depth fits in.
pub const MAX_DEPTH: u32 = 2_000;

/// Name of the one file that may say `extern`.
pub const PRELUDE_NAME: &str = "std/prelude";
