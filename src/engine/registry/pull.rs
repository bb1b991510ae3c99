//! An image's layers into the store: what is missing is fetched and unpacked in parallel, then stacked in order.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::image_error::ImageError;
use super::provider::Provider;
use super::resolve::{ImageLayer, ResolvedImage};
use crate::base::Digest;
use crate::base::digest::DigestWriter;
use crate::engine::cancel::Cancel;
use crate::store::{BlobDescriptor, LayerMeta, Snapshot, Store, StoreError, UnpackedLayer};

/// Layers of one image that are fetched or unpacked at once.
const N_PARALLEL: usize = 4;

/// How far a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerProgress {
    /// The layer's blob.
    pub blob: Digest,
    /// Bytes fetched.
    pub current: u64,
    /// Bytes in all.
    pub total: u64,
}

/// What layers are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Naming {
    /// Nobody looks: a layer may be one that has another name here.
    Free,
    /// Steps made them: a layer of equal bytes that another step made is another one.
    Kept,
}

impl Naming {
    /// Whether a layer that is described so is `layer`, if it has its bytes.
    fn allows(self, layer: &ImageLayer, described: &str) -> bool {
        // BuildKit names an image's layers after the image, everyone else after what made them.
        let is_image = |text: &str| text.is_empty() || text.starts_with("pulled from ");
        let name = layer.created_by.as_str();
        self == Naming::Free || name == described || is_image(name) || is_image(described)
    }
}

/// Takes progress; called from any thread.
pub type OnProgress = Arc<dyn Fn(LayerProgress) + Send + Sync>;

/// The tree of an image.
///
/// Layers that were unpacked before on the same layers below are used again, without a request. The others' diff IDs
/// are checked against the config. After an error or when `cancel` is turned on, whole layers that were finished stay
/// in the store and nothing else does.
pub async fn pull(
    image: &ResolvedImage,
    store: &Store,
    cancel: &Cancel,
    on_progress: OnProgress,
) -> Result<Snapshot, ImageError> {
    let ResolvedImage { provider, reference, layers, .. } = image;
    pull_layers(provider, reference, layers, Naming::Free, store, cancel, on_progress).await
}

/// As [`pull()`], of layers that come from `provider`; `reference` is for messages.
pub(in crate::engine) async fn pull_layers(
    provider: &Provider,
    reference: &str,
    layers: &[ImageLayer],
    naming: Naming,
    store: &Store,
    cancel: &Cancel,
    on_progress: OnProgress,
) -> Result<Snapshot, ImageError> {
    let mut tree = Snapshot::scratch();
    let mut layers = layers.iter();
    let mut missing: Vec<ImageLayer> = Vec::new();
    for layer in layers.by_ref() {
        match store.find_layer(&tree, &layer.diff_id, &|it| naming.allows(layer, it)) {
            Ok(Some(id)) => tree = tree.with(id),
            Ok(None) => {
                missing.push(layer.clone());
                break;
            }
            Err(source) => {
                let what = format!("`{reference}`");
                return Err(ImageError::Store { what, source: Box::new(source) });
            }
        }
    }
    missing.extend(layers.cloned());
    if missing.is_empty() {
        return Ok(tree);
    }
    let pull = Arc::new(Pull {
        provider: provider.clone(),
        reference: reference.to_owned(),
        naming,
        store: store.clone(),
        // The first failure stops the other layers without stopping the build.
        cancel: cancel.child(),
        on_progress,
        slots: Semaphore::new(N_PARALLEL),
    });
    let unpacked = pull.clone().unpack_all(&missing).await?;
    let stacking = tokio::task::spawn_blocking(move || {
        missing.into_iter().zip(unpacked).try_fold(tree, |tree, (layer, unpacked)| {
            if pull.cancel.is_cancelled() {
                return Err(ImageError::Cancelled);
            }
            pull.stack(&tree, &layer, unpacked)
        })
    });
    stacking.await.expect("stacking layers does not panic")
}

struct Pull {
    provider: Provider,
    reference: String,
    naming: Naming,
    store: Store,
    cancel: Cancel,
    on_progress: OnProgress,
    slots: Semaphore,
}

impl Pull {
    /// The archives of `layers`, unpacked, in order. Returns when everything it started has ended.
    async fn unpack_all(self: Arc<Pull>, layers: &[ImageLayer]) -> Result<Vec<UnpackedLayer>, ImageError> {
        let mut tasks = JoinSet::new();
        for (at, layer) in layers.iter().cloned().enumerate() {
            let pull = self.clone();
            tasks.spawn(async move {
                let _slot = pull.slots.acquire().await.expect("the semaphore is never closed");
                (at, pull.unpack(&layer).await)
            });
        }
        let mut unpacked: Vec<Option<UnpackedLayer>> = layers.iter().map(|_| None).collect();
        let mut failed: Option<ImageError> = None;
        while let Some(joined) = tasks.join_next().await {
            match joined.expect("fetching a layer does not panic") {
                (at, Ok(layer)) => unpacked[at] = Some(layer),
                (_, Err(error)) => {
                    self.cancel.cancel();
                    // What the switch stopped says nothing about the cause.
                    if matches!(failed, None | Some(ImageError::Cancelled)) {
                        failed = Some(error);
                    }
                }
            }
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(unpacked.into_iter().flatten().collect()),
        }
    }

    async fn unpack(self: &Arc<Pull>, layer: &ImageLayer) -> Result<UnpackedLayer, ImageError> {
        let mut second_try = false;
        loop {
            self.fetch(&layer.blob.digest, layer).await?;
            let (pull, unpacked_layer) = (self.clone(), layer.clone());
            let unpacking = tokio::task::spawn_blocking(move || pull.unpack_blob(&unpacked_layer));
            let error = match unpacking.await.expect("unpacking does not panic") {
                Ok(unpacked) => return Ok(unpacked),
                Err(error) => error,
            };
            // A blob that was damaged on our disk is fetched again, once; one that is as it was pushed is the
            // image's fault.
            let damaged = matches!(error, ImageError::Unpack { .. }) && !second_try && {
                let (pull, digest) = (self.clone(), layer.blob.digest);
                let checking = tokio::task::spawn_blocking(move || pull.forget_if_damaged(&digest));
                checking.await.expect("hashing does not panic")
            };
            if !damaged {
                return Err(error);
            }
            second_try = true;
        }
    }

    /// Brings the blob in; one process and task at a time does it, the others wait and find it.
    async fn fetch(self: &Arc<Pull>, digest: &Digest, layer: &ImageLayer) -> Result<(), ImageError> {
        let content = self.store.content();
        let total = layer.blob.size;
        let report = |current| (self.on_progress)(LayerProgress { blob: *digest, current, total });
        if content.has(digest) {
            report(total);
            return Ok(());
        }
        let what = format!("layer `{digest}` of `{}`", self.reference);
        let (pull, key) = (self.clone(), Digest::of(format!("fetch {digest}")));
        let waiting =
            tokio::task::spawn_blocking(move || pull.store.lease(&key, &|| pull.cancel.is_cancelled()));
        let _lease = match waiting.await.expect("waiting for a lease does not panic") {
            Ok(lease) => lease,
            Err(StoreError::Cancelled) => return Err(ImageError::Cancelled),
            Err(source) => return Err(ImageError::Store { what, source: Box::new(source) }),
        };
        tokio::select! {
            fetched = self.provider.blob(&content, &layer.blob, &what, &report) => fetched,
            () = self.cancel.cancelled() => Err(ImageError::Cancelled),
        }
    }

    fn unpack_blob(&self, layer: &ImageLayer) -> Result<UnpackedLayer, ImageError> {
        let unpack_error = |source| match source {
            _ if self.cancel.is_cancelled() => ImageError::Cancelled,
            source => ImageError::Unpack {
                reference: self.reference.clone(),
                layer: layer.blob.digest,
                source: Box::new(source),
            },
        };
        let file = self.store.content().open(&layer.blob.digest).map_err(unpack_error)?;
        let mut archive = CancelRead { file, cancel: &self.cancel };
        let unpacked = self.store.unpack(&mut archive).map_err(unpack_error)?;
        let found = unpacked.diff_id();
        if found == layer.diff_id {
            return Ok(unpacked);
        }
        let expected = layer.diff_id;
        Err(unpack_error(StoreError::Mismatch { what: "the unpacked archive", expected, found }))
    }

    /// Whether the blob on disk is not what its name says; it is removed then.
    fn forget_if_damaged(&self, digest: &Digest) -> bool {
        let content = self.store.content();
        let mut hashing = DigestWriter::new(io::sink());
        let whole = content
            .open(digest)
            .is_ok_and(|mut file| io::copy(&mut file, &mut hashing).is_ok() && hashing.finish().1 == *digest);
        !whole && content.forget(digest).is_ok()
    }

    /// `tree` with the layer on top.
    fn stack(
        &self,
        tree: &Snapshot,
        layer: &ImageLayer,
        unpacked: UnpackedLayer,
    ) -> Result<Snapshot, ImageError> {
        let failed = |source| ImageError::Unpack {
            reference: self.reference.clone(),
            layer: layer.blob.digest,
            source: Box::new(source),
        };
        // Another pull may have been quicker; then this copy is dropped.
        let is_it = |described: &str| self.naming.allows(layer, described);
        if let Some(id) = self.store.find_layer(tree, &layer.diff_id, &is_it).map_err(failed)? {
            return Ok(tree.with(id));
        }
        let blob = BlobDescriptor {
            media_type: layer.blob.media_type.clone(),
            digest: layer.blob.digest,
            size: layer.blob.size,
            diff_id: layer.diff_id,
        };
        let meta = LayerMeta {
            description: layer.created_by.clone(),
            blob: Some(blob),
            created_at: layer.created_at,
            ..LayerMeta::default()
        };
        let id = unpacked.commit(tree, Some(&layer.diff_id), &meta).map_err(failed)?;
        Ok(tree.with(id))
    }
}

/// A file that cannot be read on once the switch is on: unpacking stops at the next block.
struct CancelRead<'a> {
    file: File,
    cancel: &'a Cancel,
}

impl Read for CancelRead<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        self.file.read(buffer)
    }
}

#[cfg(test)]
mod tests;
