//! Blobs by themselves: bytes that a registry or a layout holds by their digest, without a manifest that speaks of them.

use std::path::PathBuf;

use super::client::Registry;
use super::image_error::ImageError;
use super::layout::Layout;
use super::provider::Provider;
use crate::base::{Digest, ImageRef};
use crate::store::ContentStore;

/// Where a blob lies.
#[derive(Clone)]
pub struct BlobPlace(Provider);

impl BlobPlace {
    /// A repository of a registry.
    pub fn registry(registry: Registry, repository: ImageRef) -> BlobPlace {
        BlobPlace(Provider::Registry { registry, image: repository })
    }

    /// An OCI layout directory.
    pub fn layout(dir: PathBuf) -> BlobPlace {
        BlobPlace(Provider::Layout(Layout::new(dir, "")))
    }
}

/// Brings the blob `digest` into `content`, unless it is there already. `on_bytes` is told bytes so far and in all. Nothing
/// of a damaged or unfinished one stays.
pub async fn fetch_blob(
    place: &BlobPlace,
    content: &ContentStore,
    digest: Digest,
    on_bytes: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<(), ImageError> {
    place.0.lone_blob(content, digest, on_bytes).await
}
