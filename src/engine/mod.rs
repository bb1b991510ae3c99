//! engine

pub mod cancel;
pub mod exec;
