//! Source text to a syntax tree.

/// How deep expressions may nest, counting each method of a chain as one level.
///
/// Checker and evaluator recurse over expressions; their callers give them a stack that this depth fits in.
pub const MAX_DEPTH: u32 = 2_000;
