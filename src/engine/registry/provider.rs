//! Where an image's content comes from: a registry or an OCI layout. One interface, so that choosing a platform,
//! checking digests and unpacking are written once.

use std::io::{Read, Write};

use super::client::{Registry, unreachable};
use super::document::{Descriptor, Document};
use super::error::RegistryError;
use super::image_error::ImageError;
use super::layout::Layout;
use super::retry::Backoff;
use crate::base::{Digest, ImageRef};
use crate::store::{ContentStore, Ingest, StoreError};

/// Where an image's content comes from.
#[derive(Clone)]
pub(in crate::engine) enum Provider {
    /// A repository of a registry.
    Registry {
        /// Who asks.
        registry: Registry,
        /// The repository; its tag and digest say what was asked for.
        image: ImageRef,
    },
    /// A directory.
    Layout(Layout),
}

/// Told how far a blob is: bytes so far.
pub(in crate::engine) type BlobProgress<'a> = &'a (dyn Fn(u64) + Send + Sync);

impl Provider {
    /// The image, as people write it.
    pub(in crate::engine) fn reference(&self) -> String {
        match self {
            Provider::Registry { image, .. } => image.familiar(),
            Provider::Layout(layout) => layout.reference(),
        }
    }

    /// The host or the directory.
    fn place(&self) -> String {
        match self {
            Provider::Registry { image, .. } => image.domain.clone(),
            Provider::Layout(layout) => layout.dir().display().to_string(),
        }
    }

    /// A manifest or index by digest: from the store when it is there, else fetched and kept.
    pub(in crate::engine) async fn document(
        &self,
        content: &ContentStore,
        descriptor: &Descriptor,
    ) -> Result<Document, ImageError> {
        let digest = descriptor.digest;
        let what = format!("manifest `{digest}` of `{}`", self.reference());
        let bytes = match read_if_there(content, &digest, &what)? {
            Some(bytes) => bytes,
            None => {
                let (bytes, content_type) = self.fetch_document(descriptor, &what).await?;
                // Checked before it is kept: what the type says may differ in the next answer.
                parse(&bytes, &content_type, &what)?;
                content
                    .put(&bytes)
                    .map_err(|source| ImageError::Store { what: what.clone(), source: Box::new(source) })?;
                bytes
            }
        };
        Ok(parse(&bytes, &descriptor.media_type, &what)?)
    }

    async fn fetch_document(
        &self,
        descriptor: &Descriptor,
        what: &str,
    ) -> Result<(Vec<u8>, String), ImageError> {
        match self {
            Provider::Registry { registry, image } => {
                let image = ImageRef { digest: Some(descriptor.digest), ..image.clone() };
                let manifest = registry.manifest(&image).await?;
                Ok((manifest.bytes, manifest.content_type))
            }
            Provider::Layout(layout) => {
                Ok((layout.read(descriptor, super::document::MAX_MANIFEST_BYTES, what)?, String::new()))
            }
        }
    }

    /// Brings a blob that no manifest describes into the store, unless it is there.
    pub(in crate::engine) async fn lone_blob(
        &self,
        content: &ContentStore,
        digest: Digest,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<(), ImageError> {
        if content.has(&digest) {
            return Ok(());
        }
        let what = format!("blob `{digest}` of `{}`", self.reference());
        let size = match self {
            Provider::Registry { registry, image } => registry.blob_size(image, &digest, &what).await?,
            Provider::Layout(layout) => layout.size(&digest, &what)?,
        };
        let descriptor = Descriptor::new("", digest, size);
        self.blob(content, &descriptor, &what, &|current| progress(current, size)).await
    }

    /// Brings a blob into the store, unless it is there. Nothing of a damaged or unfinished one stays.
    pub(in crate::engine) async fn blob(
        &self,
        content: &ContentStore,
        descriptor: &Descriptor,
        what: &str,
        progress: BlobProgress<'_>,
    ) -> Result<(), ImageError> {
        if content.has(&descriptor.digest) {
            return Ok(());
        }
        let fetch = Fetch { content, descriptor, what, place: self.place(), progress };
        match self {
            Provider::Registry { registry, image } => fetch.registry_blob(registry, image).await,
            Provider::Layout(layout) => fetch.layout_blob(layout),
        }
    }
}

fn parse(bytes: &[u8], announced: &str, what: &str) -> Result<Document, RegistryError> {
    Document::parse(bytes, announced)
        .map_err(|source| RegistryError::Document { what: what.to_owned(), source })
}

/// A blob's bytes from the store; `None` when it is not there, or was damaged and is gone now.
pub(in crate::engine) fn read_if_there(
    content: &ContentStore,
    digest: &Digest,
    what: &str,
) -> Result<Option<Vec<u8>>, ImageError> {
    match content.read(digest) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(StoreError::NoBlob { .. } | StoreError::Corrupt { .. }) => Ok(None),
        Err(source) => Err(ImageError::Store { what: what.to_owned(), source: Box::new(source) }),
    }
}

/// One blob on its way into the store.
struct Fetch<'a> {
    content: &'a ContentStore,
    descriptor: &'a Descriptor,
    what: &'a str,
    place: String,
    progress: BlobProgress<'a>,
}

impl Fetch<'_> {
    /// What breaks off is taken up where it was, with the hash state it had; what turns out damaged starts anew.
    async fn registry_blob(&self, registry: &Registry, image: &ImageRef) -> Result<(), ImageError> {
        let mut backoff = Backoff::new(registry.retry());
        let mut ingest = self.ingest()?;
        loop {
            let before = ingest.n_bytes();
            let error = match self.read_on(registry, image, &mut ingest).await {
                Ok(()) => match self.commit(ingest) {
                    Ok(()) => return Ok(()),
                    Err(ImageError::Fetch(error)) => {
                        ingest = self.ingest()?;
                        error
                    }
                    Err(error) => return Err(error),
                },
                // 416: the blob there is shorter than what we have of it.
                Err(ImageError::Fetch(
                    error @ (RegistryError::Size { .. } | RegistryError::Status { status: 416, .. }),
                )) => {
                    ingest = self.ingest()?;
                    error
                }
                Err(ImageError::Fetch(error)) => {
                    if before < ingest.n_bytes() {
                        backoff.progressed();
                    }
                    error
                }
                Err(error) => return Err(error),
            };
            backoff.wait(error).await?;
        }
    }

    /// Reads from where `ingest` is to the end of the blob.
    async fn read_on(
        &self,
        registry: &Registry,
        image: &ImageRef,
        ingest: &mut Ingest,
    ) -> Result<(), ImageError> {
        let offset = ingest.n_bytes();
        if 0 < offset && offset == self.descriptor.size {
            return Ok(());
        }
        let (mut response, start) =
            registry.open_blob(image, &self.descriptor.digest, offset, self.what).await?;
        // A registry without ranges sends all of it again: what we have already is passed over.
        let mut skip = offset - start;
        while let Some(chunk) =
            response.chunk().await.map_err(|error| unreachable(error, self.what, &self.place))?
        {
            let n_skipped = skip.min(chunk.len() as u64);
            skip -= n_skipped;
            self.write(ingest, &chunk[n_skipped as usize..])?;
        }
        if ingest.n_bytes() < self.descriptor.size {
            let reason = format!("it ended after {} of {} bytes", ingest.n_bytes(), self.descriptor.size);
            let (what, host) = (self.what.to_owned(), self.place.clone());
            return Err(RegistryError::Unreachable { what, host, reason }.into());
        }
        Ok(())
    }

    fn layout_blob(&self, layout: &Layout) -> Result<(), ImageError> {
        let mut file = layout.open(self.descriptor, self.what)?;
        let mut ingest = self.ingest()?;
        let mut buffer = vec![0; 256 << 10];
        loop {
            let n_read = file.read(&mut buffer).map_err(|error| layout.unreadable(self.what, &error))?;
            if n_read == 0 {
                return self.commit(ingest);
            }
            self.write(&mut ingest, &buffer[..n_read])?;
        }
    }

    fn ingest(&self) -> Result<Ingest, ImageError> {
        self.content.ingest().map_err(|source| self.store_error(source))
    }

    fn write(&self, ingest: &mut Ingest, bytes: &[u8]) -> Result<(), ImageError> {
        let found = ingest.n_bytes() + bytes.len() as u64;
        if self.descriptor.size < found {
            return Err(self.wrong_size(found));
        }
        ingest.write_all(bytes).map_err(|error| {
            self.store_error(StoreError::io("write", self.content.path(&self.descriptor.digest), error))
        })?;
        (self.progress)(found);
        Ok(())
    }

    fn commit(&self, ingest: Ingest) -> Result<(), ImageError> {
        let found = ingest.n_bytes();
        if found != self.descriptor.size {
            return Err(self.wrong_size(found));
        }
        match ingest.commit(Some(&self.descriptor.digest)) {
            Ok(_) => Ok(()),
            Err(StoreError::Mismatch { found, .. }) => {
                let (what, host) = (self.what.to_owned(), self.place.clone());
                Err(RegistryError::Digest { what, host, found }.into())
            }
            Err(source) => Err(self.store_error(source)),
        }
    }

    fn wrong_size(&self, found: u64) -> ImageError {
        let (what, host) = (self.what.to_owned(), self.place.clone());
        RegistryError::Size { what, host, expected: self.descriptor.size, found }.into()
    }

    fn store_error(&self, source: StoreError) -> ImageError {
        ImageError::Store { what: self.what.to_owned(), source: Box::new(source) }
    }
}
