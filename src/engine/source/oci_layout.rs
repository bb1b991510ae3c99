//! `oci-layout://` sources: an entry of an OCI layout directory of the session to a tree.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::blob::store_of;
use super::image::{PulledImage, layer_limit, source_error};
use super::{Resolved, Source, SourceCtx, SourceError};
use crate::base::Platform;
use crate::engine::registry::{ImageError, Layout, resolve_layout};
use crate::graph::ir::{SourceOp, attr};

/// Images of OCI layout directories.
#[derive(Debug, Clone, Copy, Default)]
pub struct OciLayoutSource;

impl OciLayoutSource {
    async fn resolve_op(
        self,
        ctx: &SourceCtx,
        op: &SourceOp,
        platform: Option<&Platform>,
    ) -> Result<PulledImage, ImageError> {
        let store_id = match op.attrs.get(attr::OCI_STORE).filter(|store| !store.is_empty()) {
            Some(store) => store.as_str(),
            None => store_of(op.locator()),
        };
        let not_given =
            || ImageError::NotGiven { identifier: op.identifier.clone(), name: store_id.to_owned() };
        let dir = ctx.session.oci_layout(store_id).ok_or_else(not_given)?;
        let limit = layer_limit(op, attr::OCI_LAYER_LIMIT)?;
        let platform = platform.map_or_else(Platform::host, Platform::normalize);
        let layout = Layout::new(dir, op.locator());
        let image = tokio::select! {
            resolved = resolve_layout(&layout, &ctx.store, &platform) => resolved?,
            () = ctx.cancel.cancelled() => return Err(ImageError::Cancelled),
        };
        Ok(PulledImage::new(image, limit, platform))
    }
}

impl Source for OciLayoutSource {
    fn schemes(&self) -> &'static [&'static str] {
        &["oci-layout"]
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
