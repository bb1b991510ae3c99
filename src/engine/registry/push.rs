//! Pushing: blobs and documents into a repository (OCI distribution-spec, "Push").

use std::path::Path;
use std::sync::Arc;

use reqwest::header::{self, HeaderValue};
use reqwest::{Body, Method, RequestBuilder, Response, Url};

use super::client::{Registry, Request, header_text, host_of, is_allowed, unreachable, without_user};
use super::error::RegistryError;
use super::retry::Backoff;
use crate::base::{Digest, ImageRef};

/// What a request carries.
pub(super) enum Upload<'a> {
    /// A document.
    Bytes {
        /// `Content-Type`.
        media_type: &'a str,
        /// All of it.
        bytes: Arc<[u8]>,
    },
    /// A blob on disk.
    File {
        /// Where it lies.
        path: &'a Path,
        /// How long it is.
        size: u64,
    },
    /// Nothing, and that is said.
    Nothing,
}

impl Upload<'_> {
    /// `builder` with it.
    pub(super) async fn attach(
        &self,
        builder: RequestBuilder,
        what: &str,
    ) -> Result<RequestBuilder, RegistryError> {
        let (media_type, size, body) = match self {
            Upload::Nothing => return Ok(builder.header(header::CONTENT_LENGTH, 0)),
            Upload::Bytes { media_type, bytes } => {
                (*media_type, bytes.len() as u64, Body::from(bytes.to_vec()))
            }
            Upload::File { path, size } => {
                let file = tokio::fs::File::open(path).await.map_err(|error| RegistryError::Unreachable {
                    what: what.to_owned(),
                    host: path.display().to_string(),
                    reason: error.to_string(),
                })?;
                ("application/octet-stream", *size, Body::from(file))
            }
        };
        Ok(builder
            .header(header::CONTENT_TYPE, media_type)
            .header(header::CONTENT_LENGTH, HeaderValue::from(size))
            .body(body))
    }
}

/// A blob on disk.
#[derive(Debug, Clone, Copy)]
pub struct LocalBlob<'a> {
    /// What it should hash to.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// Where it lies.
    pub path: &'a Path,
}

impl Registry {
    /// Whether the repository of `image` has a blob, as somebody who may push sees it.
    ///
    /// # Errors
    /// When the registry does not answer.
    pub async fn has_blob(&self, image: &ImageRef, digest: &Digest) -> Result<bool, RegistryError> {
        let what = format!("blob `{digest}` of `{}`", image.familiar());
        let url = self.url(image, "blobs", &digest.to_string())?;
        match self.ask(Method::HEAD, url, image, &what, None).await {
            Ok(_) => Ok(true),
            Err(RegistryError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Pushes a blob, whether it is there or not.
    ///
    /// # Errors
    /// When the registry does not take it.
    pub async fn push_blob(&self, image: &ImageRef, blob: LocalBlob<'_>) -> Result<(), RegistryError> {
        let what = format!("blob `{}` of `{}`", blob.digest, image.familiar());
        let start = self.url(image, "blobs", "uploads/")?;
        let mut backoff = Backoff::new(self.retry());
        loop {
            // An upload that broke off is begun again: few registries know how to go on.
            let pushing = async {
                let begun =
                    self.once(Method::POST, start.clone(), image, &what, Some(&Upload::Nothing)).await?;
                let mut place = place(&begun, &start, &what)?;
                place.query_pairs_mut().append_pair("digest", &blob.digest.to_string());
                let upload = Upload::File { path: blob.path, size: blob.size };
                self.once(Method::PUT, place, image, &what, Some(&upload)).await
            };
            match pushing.await {
                Ok(_) => return Ok(()),
                Err(error) => backoff.wait(error).await?,
            }
        }
    }

    /// Pushes a manifest or an index under the tag of `image`.
    ///
    /// # Errors
    /// When the registry does not take it.
    pub async fn push_manifest(
        &self,
        image: &ImageRef,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<(), RegistryError> {
        let what = format!("manifest of `{}`", image.familiar());
        let tag = image.tag.as_deref().unwrap_or("latest");
        let url = self.url(image, "manifests", tag)?;
        let upload = Upload::Bytes { media_type, bytes: bytes.into() };
        self.ask(Method::PUT, url, image, &what, Some(&upload)).await.map(drop)
    }

    /// Sends a request as often as it is worth it.
    async fn ask(
        &self,
        method: Method,
        url: Url,
        image: &ImageRef,
        what: &str,
        upload: Option<&Upload<'_>>,
    ) -> Result<Response, RegistryError> {
        let mut backoff = Backoff::new(self.retry());
        loop {
            match self.once(method.clone(), url.clone(), image, what, upload).await {
                Ok(response) => return Ok(response),
                Err(error) => backoff.wait(error).await?,
            }
        }
    }

    async fn once(
        &self,
        method: Method,
        url: Url,
        image: &ImageRef,
        what: &str,
        upload: Option<&Upload<'_>>,
    ) -> Result<Response, RegistryError> {
        let scope = format!("repository:{}:pull,push", image.path);
        let host = host_of(&url);
        let request = Request { method, url, scope: &scope, accept: None, offset: 0, what };
        let mut response = self.send_with(&request, upload).await?;
        // What is left unread keeps the connection busy.
        while response.chunk().await.map_err(|error| unreachable(error, what, &host))?.is_some() {}
        Ok(response)
    }
}

/// Where an upload goes on.
fn place(begun: &Response, start: &Url, what: &str) -> Result<Url, RegistryError> {
    let refused =
        |reason: String| RegistryError::Redirect { what: what.to_owned(), host: host_of(start), reason };
    let location = header_text(begun.headers(), &header::LOCATION);
    let place = start.join(&location).ok().filter(|_| !location.is_empty());
    let place = without_user(place.ok_or_else(|| refused("an upload to no readable address".to_owned()))?);
    if place.origin() == start.origin() || is_allowed(&place) {
        Ok(place)
    } else {
        Err(refused(format!("an upload to `{}`, which is not encrypted", host_of(&place))))
    }
}
