//! The build graph: its intermediate representation, the passes over it, LLB bytes both ways, and pictures of it.
//!
//! Bytes in, bytes out: no IO, no clock, no environment. Everything is insertion-ordered or sorted, because order
//! reaches bytes.
#![deny(clippy::disallowed_methods)]

pub mod ir;
pub mod llb;
pub mod passes;
pub mod view;
