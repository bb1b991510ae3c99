//! `docker-image+blob://` and `oci-layout+blob://`: a blob of a registry or of an OCI layout, as a tree with one file
//! (BuildKit source/containerblob).
//!
//! A blob is named by its digest, so its key needs no request, and a blob that is in the store none at all.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::file::{FileAttrs, OneFile};
use super::image::{ImageSource, source_error};
use super::{Progress, Resolved, Source, SourceCtx, SourceError};
use crate::base::url::safe_file_name;
use crate::base::{Digest, ImageRef, Platform};
use crate::engine::blocking::blocking;
use crate::engine::event::Unit;
use crate::engine::registry::{BlobPlace, ImageError, fetch_blob};
use crate::graph::ir::{SourceOp, attr};
use crate::store::Snapshot;

/// The scheme of blobs of registries.
const REGISTRY: &str = "docker-image+blob";
/// The scheme of blobs of OCI layouts.
const LAYOUT: &str = "oci-layout+blob";

/// Blobs by their digest.
#[derive(Clone)]
pub struct BlobSource {
    images: Arc<ImageSource>,
}

/// A blob and where it lies.
#[derive(Clone)]
pub(super) struct Blob {
    pub(super) digest: Digest,
    place: BlobPlace,
}

/// A blob as an op wants it.
struct BlobFile {
    source: BlobSource,
    blob: Blob,
    attrs: FileAttrs,
    /// The identifier.
    shown: String,
}

impl BlobSource {
    /// With the registries of `images`.
    pub fn new(images: Arc<ImageSource>) -> BlobSource {
        BlobSource { images }
    }

    /// The blob that `<scheme>://<reference>@<digest>` names; `store` is the layout's id, empty when the reference is it.
    pub(super) fn locate(&self, ctx: &SourceCtx, identifier: &str, store: &str) -> Result<Blob, ImageError> {
        let bad = |reason: String| ImageError::Identifier { identifier: identifier.to_owned(), reason };
        let not_given =
            |id: &str| ImageError::NotGiven { identifier: identifier.to_owned(), name: id.to_owned() };
        let (scheme, locator) = identifier.split_once("://").unwrap_or_default();
        let reference: ImageRef = locator.parse().map_err(|error| bad(format!("{error}")))?;
        let digest = match (&reference.tag, reference.digest) {
            (Some(_), _) => return Err(bad("a blob is named by its digest only, not by a tag".to_owned())),
            (None, None) => return Err(bad("the reference of a blob needs a digest".to_owned())),
            (None, Some(digest)) => digest,
        };
        let place = match scheme {
            REGISTRY => BlobPlace::registry(self.images.registry(&ctx.session), reference),
            LAYOUT => {
                let id = if store.is_empty() { store_of(locator) } else { store };
                let dir = ctx.session.oci_layout(id);
                let dir = dir.ok_or_else(|| not_given(id))?;
                BlobPlace::layout(dir)
            }
            _ => return Err(bad(format!("`{scheme}` is not {REGISTRY} or {LAYOUT}"))),
        };
        Ok(Blob { digest, place })
    }

    /// Brings a blob into the store, unless it is there.
    pub(super) async fn bring(&self, ctx: &SourceCtx, blob: &Blob) -> Result<(), ImageError> {
        let (content, id) = (ctx.store.content(), blob.digest.short());
        let on_bytes = |current, total| {
            (ctx.progress)(Progress { id: id.clone(), current, total: Some(total), unit: Unit::Bytes });
        };
        tokio::select! {
            fetched = fetch_blob(&blob.place, &content, blob.digest, &on_bytes) => fetched,
            () = ctx.cancel.cancelled() => Err(ImageError::Cancelled),
        }
    }
}

/// The id of the layout when nothing else says it: the reference up to its tag or digest.
pub(super) fn store_of(locator: &str) -> &str {
    let host_end = locator.find('/').unwrap_or(0);
    let end = locator[host_end..].find([':', '@']).map_or(locator.len(), |at| host_end + at);
    &locator[..end]
}

impl Source for BlobSource {
    fn schemes(&self) -> &'static [&'static str] {
        &[REGISTRY, LAYOUT]
    }

    fn resolve<'a>(
        &'a self,
        ctx: &'a SourceCtx,
        op: &'a SourceOp,
        _platform: Option<&'a Platform>,
    ) -> BoxFuture<'a, Result<Arc<dyn Resolved>, SourceError>> {
        Box::pin(async move {
            let file = || -> Result<BlobFile, ImageError> {
                let store = op.attrs.get(attr::OCI_STORE).map_or("", String::as_str);
                let blob = self.locate(ctx, &op.identifier, store)?;
                let bad = |reason| ImageError::Identifier { identifier: op.identifier.clone(), reason };
                let attrs = FileAttrs::read(op).map_err(bad)?;
                Ok(BlobFile { source: self.clone(), blob, attrs, shown: op.identifier.clone() })
            };
            Ok(Arc::new(file().map_err(source_error)?) as Arc<dyn Resolved>)
        })
    }
}

impl Resolved for BlobFile {
    /// As BuildKit's (source/containerblob/pull.go, `hash`).
    fn key(&self) -> Digest {
        #[derive(serde::Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Key<'a> {
            digest: &'a Digest,
            filename: &'a str,
            perm: u32,
            #[serde(rename = "UID")]
            uid: u32,
            #[serde(rename = "GID")]
            gid: u32,
        }
        let FileAttrs { name, mode, uid, gid } = &self.attrs;
        let digest = &self.blob.digest;
        let key = Key { digest, filename: name, perm: mode.unwrap_or(0), uid: *uid, gid: *gid };
        let json = serde_json::to_string(&key).expect("texts and numbers are JSON");
        Digest::of(crate::graph::ir::build::go_escape(&json))
    }

    fn fetch<'a>(&'a self, ctx: &'a SourceCtx) -> BoxFuture<'a, Result<Snapshot, SourceError>> {
        Box::pin(async move {
            let BlobFile { source, blob, attrs, shown } = self;
            source.bring(ctx, blob).await.map_err(source_error)?;
            let name = match attrs.name.as_str() {
                "" => blob.digest.hex().to_owned(),
                name => safe_file_name(name),
            };
            let file = OneFile {
                digest: blob.digest,
                name,
                attrs: attrs.clone(),
                mtime: 0,
                description: shown.clone(),
            };
            let (store, what) = (ctx.store.clone(), format!("`{shown}`"));
            let written = blocking(ImageError::Cancelled, move || {
                file.write(&store).map_err(|source| ImageError::Store { what, source: Box::new(source) })
            });
            written.await.map_err(source_error)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As BuildKit's (source/containerblob/pull.go, `hash`).
    #[test]
    fn keys() {
        use crate::engine::registry::RegistryOptions;
        let digest = Digest::of("blob");
        let source = BlobSource::new(Arc::new(ImageSource::new(RegistryOptions::default())));
        let check = |attrs: FileAttrs, expected: &str| {
            let blob = Blob { digest, place: BlobPlace::layout("/layout".into()) };
            let file = BlobFile { source: source.clone(), blob, attrs, shown: String::new() };
            assert_eq!(file.key(), Digest::of(format!("{{\"Digest\":\"{digest}\",{expected}}}")));
        };
        check(FileAttrs::default(), r#""Filename":"","Perm":0,"UID":0,"GID":0"#);
        let attrs = FileAttrs { name: "a<b".to_owned(), mode: Some(0o640), uid: 5, gid: 6 };
        check(attrs, r#""Filename":"a\u003cb","Perm":416,"UID":5,"GID":6"#);
    }

    #[test]
    fn ids_of_layouts() {
        #[track_caller]
        fn check(locator: &str, expected: &str) {
            assert_eq!(store_of(locator), expected);
        }
        check("local/bundle@sha256:aa", "local/bundle");
        check("local/bundle:v1@sha256:aa", "local/bundle");
        check("h:5000/x/y:v1", "h:5000/x/y");
        check("name@sha256:aa", "name");
        check("name:v1", "name");
        check("name", "name");
    }
}
