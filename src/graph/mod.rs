//! The build graph: its intermediate representation, the passes over it, and LLB bytes both ways.
//!
//! Bytes in, bytes out: no IO, no clock, no environment. Everything is insertion-ordered or sorted, because order
//! reaches bytes.
#![deny(clippy::disallowed_methods)]

pub mod ir;
pub mod llb;
pub mod passes;
