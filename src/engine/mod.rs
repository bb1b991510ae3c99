//! A build graph to results.
//!
//! - [`solver`]: the scheduler; generic, knows neither graph nor store.
//! - [`ops`]: what each kind of op does.
//! - [`source`]: where trees come from.
//! - [`content_hash`]: digests of what an op reads of a tree.
//! - [`exec`]: running one command.
//! - [`event`], [`cancel`]: what is told, and the switch that stops everything.

pub mod cancel;
pub mod content_hash;
pub mod event;
pub mod exec;
pub mod ops;
pub mod solver;
pub mod source;
