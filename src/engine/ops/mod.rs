//! What each kind of op does.

mod file;

pub use file::{FailedAction, FileError};
