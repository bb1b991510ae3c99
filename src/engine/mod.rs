//! A build graph to results.
//!
//! - [`Engine`]: what callers use; [`request`]: what they ask and are answered.
//! - [`solver`]: the scheduler; generic, knows neither graph nor store.
//! - [`ops`]: what each kind of op does.
//! - [`source`]: where trees come from; [`tree`]: how ops hand them on.
//! - [`content_hash`]: digests of what an op reads of a tree.
//! - [`exec`]: running one command; [`emulation`]: for another machine; [`cdi`]: with devices;
//!   [`entitlement`]: what a command has to be granted.
//! - [`registry`]: talking to registries.
//! - [`export`]: results to files and images.
//! - [`history`]: what ran before, and why something has to run again.
//! - [`event`], [`cancel`]: what is told, and the switch that stops everything.

mod blocking;
pub mod cancel;
pub mod cdi;
pub mod content_hash;
pub mod emulation;
pub mod entitlement;
pub mod event;
pub mod exec;

pub mod export;
pub mod history;
pub mod ops;
mod plan;
pub mod registry;
pub mod request;
mod solve;
pub mod solver;
pub mod source;
pub mod tree;

pub use request::{CacheMode, FailedVertex, SolveError, SolveRequest, SolveResult, SolveStats};
pub use solve::{Engine, EngineConfig};
