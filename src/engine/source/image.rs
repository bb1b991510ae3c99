//! `docker-image://` sources: a reference to a tree, through a registry.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;

use super::{Progress, Resolved, Source, SourceCtx, SourceError, StandsFor};
use crate::base::{Digest, ImageRef, Platform};
use crate::engine::event::Unit;
use crate::engine::registry::{
    ImageError, LayerProgress, Registry, RegistryOptions, ResolveMode, ResolvedImage, pull, resolve_image,
};
use crate::graph::ir::{SourceOp, attr};
use crate::graph::llb::key::image_key;
use crate::store::RecordType;

/// Images of registries.
pub struct ImageSource {
    options: RegistryOptions,
    /// The client of the session seen last: its connections and tokens serve all images of a build.
    client: Mutex<Option<Registry>>,
}

impl ImageSource {
    /// Opens nothing.
    pub fn new(options: RegistryOptions) -> ImageSource {
        ImageSource { options, client: Mutex::new(None) }
    }

    /// The client for a session.
    pub fn registry(&self, session: &Arc<dyn crate::session::Session>) -> Registry {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        match &*client {
            Some(known) if Arc::ptr_eq(known.session(), session) => known.clone(),
            _ => client.insert(Registry::new(session.clone(), self.options.clone())).clone(),
        }
    }

    async fn resolve_op(
        &self,
        ctx: &SourceCtx,
        op: &SourceOp,
        platform: Option<&Platform>,
    ) -> Result<PulledImage, ImageError> {
        let bad = |reason: String| ImageError::Identifier { identifier: op.identifier.clone(), reason };
        let reference: ImageRef = op.locator().parse().map_err(|error| bad(format!("{error}")))?;
        let mode = op.attrs.get(attr::IMAGE_RESOLVE_MODE).map(String::as_str);
        let mode = ResolveMode::from_attr(mode)
            .ok_or_else(|| bad(format!("`{}` is no resolve mode", mode.unwrap_or_default())))?;
        // When its layers may be removed.
        let record_type = op.attrs.get(attr::IMAGE_RECORD_TYPE).map_or("", String::as_str);
        if !matches!(record_type, "" | "internal" | "frontend" | "regular") {
            return Err(bad(format!("`{record_type}` is no type of record")));
        }
        // Before anybody is asked for anything.
        let expected = match op.attrs.get(attr::IMAGE_CHECKSUM).filter(|text| !text.is_empty()) {
            Some(text) => Some(text.parse::<Digest>().map_err(|error| bad(format!("{error}")))?),
            None => None,
        };
        let limit = layer_limit(op, attr::IMAGE_LAYER_LIMIT)?;
        let platform = platform.map_or_else(Platform::host, Platform::normalize);
        let registry = self.registry(&ctx.session);
        let resolving = resolve_image(&registry, &ctx.store, &reference, &platform, mode);
        let image = tokio::select! {
            resolved = resolving => resolved?,
            () = ctx.cancel.cancelled() => return Err(ImageError::Cancelled),
        };
        if let Some(expected) = expected.filter(|expected| *expected != image.root_digest) {
            let (reference, found) = (image.reference, image.root_digest);
            return Err(ImageError::Checksum { reference, expected, found });
        }
        let image = PulledImage::new(image, limit, platform);
        Ok(PulledImage { record_type: RecordType::from_name(record_type).unwrap_or_default(), ..image })
    }
}

impl Source for ImageSource {
    fn schemes(&self) -> &'static [&'static str] {
        &["docker-image"]
    }

    fn resolve<'a>(
        &'a self,
        ctx: &'a SourceCtx,
        op: &'a SourceOp,
        platform: Option<&'a Platform>,
    ) -> BoxFuture<'a, Result<Arc<dyn Resolved>, SourceError>> {
        Box::pin(async move {
            let image = self.resolve_op(ctx, op, platform).await.map_err(source_error)?;
            Ok(Arc::new(image) as Arc<dyn Resolved>)
        })
    }
}

/// How many layers the attribute `key` of `op` leaves.
pub(super) fn layer_limit(op: &SourceOp, key: &str) -> Result<Option<u32>, ImageError> {
    let Some(text) = op.attrs.get(key).filter(|text| !text.is_empty()) else { return Ok(None) };
    match text.parse() {
        Ok(limit) if 0 < limit => Ok(Some(limit)),
        _ => Err(ImageError::Identifier {
            identifier: op.identifier.clone(),
            reason: format!("`{text}` is no number of layers"),
        }),
    }
}

/// An image that is known and can be brought in.
pub(super) struct PulledImage {
    image: ResolvedImage,
    /// What the op asked for, normalised.
    platform: Platform,
    layer_limit: Option<u32>,
    record_type: RecordType,
}

impl PulledImage {
    /// `image` with its first layers, or all of them.
    pub(super) fn new(mut image: ResolvedImage, layer_limit: Option<u32>, platform: Platform) -> PulledImage {
        if let Some(limit) = layer_limit {
            image.limit_layers(limit as usize);
        }
        PulledImage { image, platform, layer_limit, record_type: RecordType::Regular }
    }
}

impl Resolved for PulledImage {
    /// The chain ID, so that equal layers from two registries are one result; of an image without layers, what
    /// BuildKit keys its manifest by (source/containerimage/pull.go, `mainManifestKey`).
    fn key(&self) -> Digest {
        self.image
            .chain_id()
            .unwrap_or_else(|| image_key(&self.image.root_digest, &self.platform, self.layer_limit))
    }

    fn shared_keys(&self) -> Vec<String> {
        let by_name = image_key(&self.image.root_digest, &self.platform, self.layer_limit);
        let by_layers = self.image.chain_id();
        [Some(by_name), by_layers].iter().flatten().map(Digest::to_string).collect()
    }

    fn stands_for(&self) -> StandsFor {
        StandsFor::Image(self.image.root_digest)
    }

    fn fetch<'a>(&'a self, ctx: &'a SourceCtx) -> BoxFuture<'a, Result<crate::store::Snapshot, SourceError>> {
        Box::pin(async move {
            let progress = ctx.progress.clone();
            let on_progress = Arc::new(move |layer: LayerProgress| {
                progress(Progress {
                    id: layer.blob.short(),
                    current: layer.current,
                    total: Some(layer.total),
                    unit: Unit::Bytes,
                });
            });
            let tree = pull(&self.image, &ctx.store, &ctx.cancel, on_progress).await.map_err(source_error)?;
            // Not known, it only goes sooner.
            let _ = ctx.store.set_record_type(&tree, self.record_type);
            Ok(tree)
        })
    }
}

pub(super) fn source_error(error: ImageError) -> SourceError {
    match error {
        ImageError::Cancelled => SourceError::Cancelled,
        error => SourceError::Source(Box::new(error)),
    }
}
