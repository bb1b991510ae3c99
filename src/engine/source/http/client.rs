//! One GET: credentials, redirects, and the body into the store.

use std::net::IpAddr;
use std::sync::OnceLock;

use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, StatusCode, Url};

use super::error::HttpError;
use crate::base::Digest;
use crate::engine::cancel::Cancel;
use crate::engine::registry::RegistryOptions;
use crate::engine::registry::client::{
    build_client, header_text, host_of, is_loopback_host, reasons, retry_after, tls_error, without_user,
};
use crate::engine::registry::retry::Backoff;
use crate::store::{ContentStore, StoreError};

const MAX_REDIRECTS: usize = 10;
/// Largest file that is fetched.
const MAX_BYTES: u64 = 64 << 30;

/// Clients, set up when they are first used.
pub(super) struct Clients {
    options: RegistryOptions,
    /// For this machine: no proxy, no certificates loaded.
    loopback: OnceLock<Result<Client, String>>,
    /// For all others.
    other: OnceLock<Result<Client, String>>,
}

/// What is asked for.
pub(super) struct Fetch {
    pub(super) url: Url,
    /// `Authorization`, marked as sensitive; it never leaves the origin of `url`.
    pub(super) authorization: Option<HeaderValue>,
    /// Further headers.
    pub(super) headers: HeaderMap,
    /// `ETag` and `Last-Modified` of what we have; empty when there is none.
    pub(super) validators: (String, String),
    /// The digest that the body must have.
    pub(super) expected: Option<Digest>,
}

/// What came.
pub(super) enum Fetched {
    /// What the validators stand for.
    Unchanged,
    /// A body, which is in the store now.
    Body(Body),
}

/// A body in the store, and what its headers said.
pub(super) struct Body {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) etag: String,
    pub(super) last_modified: String,
    pub(super) disposition: String,
}

/// Told how far a body is: bytes so far, and in all when the server said so.
pub(super) type OnBytes<'a> = &'a (dyn Fn(u64, Option<u64>) + Send + Sync);

impl Clients {
    pub(super) fn new(options: RegistryOptions) -> Clients {
        Clients { options, loopback: OnceLock::new(), other: OnceLock::new() }
    }

    fn get(&self, url: &Url) -> Result<&Client, HttpError> {
        let made = if is_loopback_host(&host_of(url)) {
            self.loopback.get_or_init(|| build_client(&self.options, reqwest::ClientBuilder::no_proxy))
        } else {
            self.other.get_or_init(|| build_client(&self.options, |builder| builder))
        };
        made.as_ref().map_err(|error| HttpError::Client(error.clone()))
    }

    /// Fetches into `content`, trying again what may go better. Nothing of an unfinished body stays.
    pub(super) async fn fetch(
        &self,
        fetch: &Fetch,
        content: &ContentStore,
        cancel: &Cancel,
        on_bytes: OnBytes<'_>,
    ) -> Result<Fetched, HttpError> {
        let mut backoff = Backoff::new(&self.options.retry);
        loop {
            let attempt = async {
                match self.attempt(fetch, content, on_bytes).await {
                    Ok(fetched) => Ok(Some(fetched)),
                    Err(error) => backoff.wait(error).await.map(|()| None),
                }
            };
            tokio::select! {
                done = attempt => {
                    if let Some(fetched) = done? {
                        return Ok(fetched);
                    }
                }
                () = cancel.cancelled() => return Err(HttpError::Cancelled),
            }
        }
    }

    async fn attempt(
        &self,
        fetch: &Fetch,
        content: &ContentStore,
        on_bytes: OnBytes<'_>,
    ) -> Result<Fetched, HttpError> {
        let mut response = self.send(fetch).await?;
        let status = response.status();
        if status == StatusCode::NOT_MODIFIED {
            return Ok(Fetched::Unchanged);
        }
        let text = |name: &HeaderName| header_text(response.headers(), name);
        let etag = text(&header::ETAG);
        // Servers that know ETags but not `If-None-Match`.
        if !etag.is_empty() && weak(&etag) == weak(&fetch.validators.0) {
            return Ok(Fetched::Unchanged);
        }
        let (last_modified, disposition) = (text(&header::LAST_MODIFIED), text(&header::CONTENT_DISPOSITION));
        let total = response.content_length();
        let too_large = || HttpError::TooLarge { url: shown(&fetch.url), limit: MAX_BYTES };
        if total.is_some_and(|total| MAX_BYTES < total) {
            return Err(too_large());
        }
        let mut ingest = content.ingest()?;
        while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(error, &fetch.url))? {
            std::io::Write::write_all(&mut ingest, &chunk).map_err(|error| ingest.error(error))?;
            if MAX_BYTES < ingest.n_bytes() {
                return Err(too_large());
            }
            on_bytes(ingest.n_bytes(), total);
        }
        let size = ingest.n_bytes();
        let digest = ingest.commit(fetch.expected.as_ref()).map_err(|error| match error {
            StoreError::Mismatch { expected, found, .. } => {
                HttpError::Checksum { url: shown(&fetch.url), expected, found }
            }
            error => error.into(),
        })?;
        Ok(Fetched::Body(Body { digest, size, etag, last_modified, disposition }))
    }

    /// Sends a GET and follows redirects; `Ok` is a 2xx or 304 answer.
    async fn send(&self, fetch: &Fetch) -> Result<Response, HttpError> {
        let refused = |reason: String| HttpError::Redirect { url: shown(&fetch.url), reason };
        let mut url = fetch.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.get(&url)?.get(url.clone()).headers(fetch.headers.clone());
            // Bytes are hashed as they come: none may be encoded on the way.
            request = request.header(header::ACCEPT_ENCODING, "identity");
            let (etag, last_modified) = &fetch.validators;
            if !etag.is_empty() {
                request = request.header(header::IF_NONE_MATCH, etag);
            } else if !last_modified.is_empty() {
                request = request.header(header::IF_MODIFIED_SINCE, last_modified);
            }
            if let Some(value) = fetch.authorization.as_ref().filter(|_| url.origin() == fetch.url.origin()) {
                request = request.header(header::AUTHORIZATION, value.clone());
            }
            let response = request.send().await.map_err(|error| unreachable(error, &fetch.url))?;
            let status = response.status();
            if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                return checked(response, fetch);
            }
            let location = header_text(response.headers(), &header::LOCATION);
            let next = url.join(&location).map_err(|_| refused("to no readable address".to_owned()))?;
            let next = without_user(next);
            if let Some(why) = redirect_objection(&url, &next) {
                return Err(refused(format!("to `{}://{}`, {why}", next.scheme(), host_of(&next))));
            }
            url = next;
        }
        Err(refused(format!("more than {MAX_REDIRECTS} times")))
    }
}

fn checked(response: Response, fetch: &Fetch) -> Result<Response, HttpError> {
    let status = response.status();
    let url = shown(&fetch.url);
    match status {
        _ if status.is_success() || status == StatusCode::NOT_MODIFIED => Ok(response),
        StatusCode::NOT_FOUND | StatusCode::GONE => Err(HttpError::NotFound { url }),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Err(HttpError::Denied { url, with_secret: fetch.authorization.is_some() })
        }
        _ => {
            let retry_after = retry_after(response.headers());
            Err(HttpError::Status { url, status: status.as_u16(), retry_after })
        }
    }
}

/// Why a redirect is not followed: a server may not send us to where only this machine gets, nor off encryption.
pub(super) fn redirect_objection(from: &Url, to: &Url) -> Option<&'static str> {
    match (from.scheme(), to.scheme()) {
        (_, "https") | ("http", "http") => {}
        ("https", "http") => return Some("which is not encrypted"),
        _ => return Some("which is neither http nor https"),
    }
    (is_inside(to) && !is_inside(from)).then_some("which is inside of this network")
}

/// Whether the URL names this machine or a private network by its address.
fn is_inside(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let name = host.trim_start_matches('[').trim_end_matches(']');
    match name.parse::<IpAddr>() {
        Ok(IpAddr::V4(it)) => {
            it.is_loopback() || it.is_private() || it.is_link_local() || it.is_unspecified()
        }
        Ok(IpAddr::V6(it)) => match it.to_ipv4_mapped() {
            Some(it) => it.is_loopback() || it.is_private() || it.is_link_local() || it.is_unspecified(),
            None => {
                it.is_loopback() || it.is_unspecified() || it.is_unique_local() || it.is_unicast_link_local()
            }
        },
        Err(_) => name == "localhost" || name.ends_with(".localhost"),
    }
}

/// An ETag for comparing: a weak one is as good.
fn weak(etag: &str) -> &str {
    etag.strip_prefix("W/").unwrap_or(etag)
}

/// A URL for people, without query and credentials.
pub(super) fn shown(url: &Url) -> String {
    format!("{}://{}{}", url.scheme(), host_of(url), url.path())
}

fn unreachable(error: reqwest::Error, url: &Url) -> HttpError {
    if let Some(rustls::Error::InvalidCertificate(reason)) = tls_error(&error) {
        let reason = rustls::Error::from(reason.clone()).to_string();
        return HttpError::Certificate { host: host_of(url), reason };
    }
    HttpError::Unreachable { url: shown(url), reason: reasons(&error.without_url()) }
}
