//! Images from outside: registries (OCI distribution-spec) and OCI layout directories.
//!
//! - [`client`]: requests, with authorization ([`auth`]), redirects and retries ([`retry`]);
//! - [`document`]: manifests, indexes, descriptors; [`platforms`]: which entry of an index a platform takes;
//! - [`layout`]: OCI layout directories, which give the same content as a registry does;
//! - [`resolve`]: from a reference and a platform to one image; [`pull()`]: its layers into the store;
//! - [`push`]: blobs and documents out;
//! - [`blob`]: blobs by themselves.

pub mod auth;
pub mod blob;
mod challenge;
pub mod client;
pub mod document;
pub mod error;
pub mod image_error;
pub mod layout;
pub mod platforms;
pub(in crate::engine) mod provider;
pub mod pull;
pub mod push;
pub mod resolve;
pub mod retry;

pub use auth::docker_credentials;
pub use blob::{BlobPlace, fetch_blob};
pub use client::{DOCKER_HUB_HOST, RawManifest, Registry, RegistryOptions};
pub use document::{Descriptor, Document, DocumentError, Index, Manifest, OciPlatform};
pub use error::RegistryError;
pub use image_error::ImageError;
pub use layout::Layout;
pub use pull::{LayerProgress, OnProgress, pull};
pub use push::LocalBlob;
pub use resolve::{ImageLayer, ResolveMode, ResolvedImage, chain_id, resolve_image, resolve_layout};
pub use retry::RetryPolicy;
