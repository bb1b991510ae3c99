//! Registries: asking for manifests and blobs (OCI distribution-spec), and reading what they are.
//!
//! - [`client`]: requests, with authorization ([`auth`], [`challenge`]), redirects and retries ([`retry`]);
//! - [`document`]: manifests, indexes, descriptors; [`platforms`]: which entry of an index a platform takes.
//!
//! What an image means, and how its layers get into the store, is `engine::source::image`'s business.

pub mod auth;
mod challenge;
pub mod client;
pub mod document;
pub mod error;
pub mod platforms;
pub mod retry;

pub use auth::docker_credentials;
pub use client::{DOCKER_HUB_HOST, RawManifest, Registry, RegistryOptions};
pub use document::{Descriptor, Document, DocumentError, Index, Manifest, OciPlatform};
pub use error::RegistryError;
pub use retry::RetryPolicy;
