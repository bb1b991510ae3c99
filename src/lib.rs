//! bkl: a typed, declarative language for container builds, with its own solver.
//!
//! The house in one line:
//!
//! > source text -> syntax -> types -> values -> build graph -> optimized graph -> LLB | solver -> snapshots -> exports
//!
//! The modules below are listed in the order in which data meets them. Each layer may import the layers before its
//! own and never a later one; `tests/it/tidy.rs` holds that rule. `ARCHITECTURE.md` is the map.
//!
//! - [`base`]: words everyone shares: digests, spans, reports, platforms, references. No IO.
//! - [`lang`]: a `.bkl` program to a build graph. Pure: the outside comes in through `World`.
//! - [`graph`]: the build graph, its passes, and LLB bytes both ways. Pure.
//! - [`store`]: bytes and trees on disk, by digest; crash-safe, shared by processes.
//! - [`session`]: what the person who asks provides: directories, secrets, credentials.
//! - [`engine`]: a build graph to results: scheduler, sources, commands, file operations, exports.
//! - [`lsp`]: what editors ask of programs. Pure.
//! - [`cli`]: the command line. The only place that prints.

pub mod base;
pub mod cli;
pub mod engine;
pub mod graph;
pub mod lang;
pub mod lsp;
pub mod session;
pub mod store;
