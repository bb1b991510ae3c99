//! Words everyone shares: content addresses, source positions, reports, platforms, image references, times. No IO, no async.
#![deny(clippy::disallowed_methods)]

pub mod digest;
pub mod glob;
#[cfg(test)]
pub(crate) mod heap;
pub mod ignore;
pub mod path;
pub mod platform;
pub mod reference;
pub mod report;
pub mod shared;
pub mod stack;
pub mod suggest;
pub mod text;
pub mod time;
pub mod url;

pub use digest::Digest;
pub use platform::Platform;
pub use reference::ImageRef;
pub use report::{Edit, Fix, Label, Report, Severity};
pub use shared::Shared;
pub use text::{FileId, SourceFile, SourceMap, Span};
