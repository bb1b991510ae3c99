//! `http://` and `https://`: a URL to a tree with one file.
//!
//! With a checksum the key needs no request, and neither does a file that is in the store: pinned content builds offline.
//! Without, the server is asked each time whether what we have is still what it has (`ETag`, else `Last-Modified`).

mod client;
mod error;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::file::{FileAttrs, OneFile};
use super::signature::{Expired, Policy, SignatureError, Signed, verify_pgp};
use super::{Progress, Resolved, Source, SourceCtx, SourceError};
use crate::base::url::{file_name_of, http_objection, safe_file_name};
use crate::base::{Digest, Platform, time};
use crate::engine::blocking::blocking;
use crate::engine::cancel::Cancel;
use crate::engine::event::Unit;
use crate::engine::registry::RegistryOptions;
use crate::engine::registry::client::{host_of, is_loopback_host};
use crate::graph::ir::{SourceOp, attr};
use crate::session::Session;
use crate::store::{Snapshot, Store, StoreError, Table};
use client::{Body, Clients, Fetch, Fetched, OnBytes, shown};

pub use error::HttpError;

/// Files of the web.
pub struct HttpSource {
    clients: Arc<Clients>,
}

/// What a URL stands for: what is remembered of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    digest: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    etag: String,
    #[serde(default)]
    last_modified: String,
    #[serde(default)]
    disposition: String,
}

/// An op, read.
#[derive(Debug, Clone)]
struct Wanted {
    url: Url,
    /// As written, which names the file.
    text: String,
    checksum: Option<Digest>,
    file: FileAttrs,
    auth_secret: String,
    signature: Option<Signature>,
    /// Canonical names and values, sorted.
    headers: BTreeMap<&'static str, String>,
}

/// What the file must be signed with.
#[derive(Debug, Clone)]
struct Signature {
    policy: Policy,
    /// Armored and detached.
    signature: String,
}

/// A file that is known by its digest.
struct HttpFile {
    clients: Arc<Clients>,
    wanted: Wanted,
    digest: Digest,
    /// As the server said; empty when it was not asked or did not say.
    last_modified: String,
    filename: String,
}

impl HttpSource {
    /// Opens nothing. Timeouts and retries are those of registries.
    pub fn new(options: RegistryOptions) -> HttpSource {
        HttpSource { clients: Arc::new(Clients::new(options)) }
    }

    /// Digest and size of what lies at `url` now; it is kept in the store. `secret` authorizes.
    pub async fn resolve_url(
        &self,
        store: &Arc<Store>,
        session: &Arc<dyn Session>,
        url: &str,
        secret: Option<&str>,
    ) -> Result<(Digest, u64), HttpError> {
        let mut op = SourceOp { identifier: url.to_owned(), ..SourceOp::default() };
        if let Some(secret) = secret {
            op.attrs.insert(attr::HTTP_AUTH_HEADER_SECRET.to_owned(), secret.to_owned());
        }
        let wanted = Wanted::read(&op)?;
        let cancel = Cancel::new();
        let context = Context { store, session, cancel: &cancel, on_bytes: &|_, _| {} };
        let known = now(&self.clients, &context, &wanted).await?;
        Ok((known.digest()?, known.size))
    }
}

impl Source for HttpSource {
    fn schemes(&self) -> &'static [&'static str] {
        &["http", "https"]
    }

    fn resolve<'a>(
        &'a self,
        ctx: &'a SourceCtx,
        op: &'a SourceOp,
        _platform: Option<&'a Platform>,
    ) -> BoxFuture<'a, Result<Arc<dyn Resolved>, SourceError>> {
        Box::pin(async move {
            let file = self.resolve_op(ctx, op).await.map_err(source_error)?;
            Ok(Arc::new(file) as Arc<dyn Resolved>)
        })
    }
}

impl HttpSource {
    async fn resolve_op(&self, ctx: &SourceCtx, op: &SourceOp) -> Result<HttpFile, HttpError> {
        let wanted = Wanted::read(op)?;
        let clients = self.clients.clone();
        if let Some(digest) = wanted.checksum {
            // No server may decide the name of what is pinned.
            let filename = wanted.file_name("");
            if wanted.signature.is_some() {
                bring(&clients, ctx, &wanted).await?;
                verify(ctx, &wanted, digest).await?;
            }
            return Ok(HttpFile { clients, wanted, digest, last_modified: String::new(), filename });
        }
        let on_bytes = progress(ctx, &wanted);
        let context =
            Context { store: &ctx.store, session: &ctx.session, cancel: &ctx.cancel, on_bytes: &on_bytes };
        let known = now(&clients, &context, &wanted).await?;
        let (digest, filename) = (known.digest()?, wanted.file_name(&known.disposition));
        verify(ctx, &wanted, digest).await?;
        Ok(HttpFile { clients, wanted, digest, last_modified: known.last_modified, filename })
    }
}

/// Verifies the signature that the op wants on the file `digest`, which is in the store.
async fn verify(ctx: &SourceCtx, wanted: &Wanted, digest: Digest) -> Result<(), HttpError> {
    let Some(Signature { policy, signature }) = wanted.signature.clone() else { return Ok(()) };
    let (path, cancel, url) = (ctx.store.content().path(&digest), ctx.cancel.clone(), shown(&wanted.url));
    blocking(HttpError::Cancelled, move || {
        verify_pgp(Signed::File(&path), &signature, &policy, &cancel).map_err(|source| match source {
            SignatureError::Cancelled => HttpError::Cancelled,
            source => HttpError::Signature { url, source },
        })
    })
    .await
}

impl Resolved for HttpFile {
    /// As BuildKit's (source/http/source.go, `formatCacheKey`).
    fn key(&self) -> Digest {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Field<'a> {
            name: &'a str,
            value: &'a str,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Key<'a> {
            filename: &'a str,
            perm: u32,
            #[serde(rename = "UID")]
            uid: u32,
            #[serde(rename = "GID")]
            gid: u32,
            checksum: &'a Digest,
            #[serde(skip_serializing_if = "str::is_empty")]
            last_mod_time: &'a str,
            #[serde(skip_serializing_if = "str::is_empty")]
            auth_header_secret: &'a str,
            #[serde(skip_serializing_if = "<[Field<'_>]>::is_empty")]
            header: &'a [Field<'a>],
        }
        let header: Vec<Field<'_>> =
            self.wanted.headers.iter().map(|(name, value)| Field { name, value }).collect();
        let readable = time::parse_http_date(&self.last_modified).is_some();
        let key = Key {
            filename: &self.filename,
            perm: self.wanted.file.mode.unwrap_or(0),
            uid: self.wanted.file.uid,
            gid: self.wanted.file.gid,
            checksum: &self.digest,
            last_mod_time: if readable { &self.last_modified } else { "" },
            auth_header_secret: &self.wanted.auth_secret,
            header: &header,
        };
        let json = serde_json::to_string(&key).expect("texts and numbers are JSON");
        Digest::of(crate::graph::ir::build::go_escape(&json))
    }

    fn fetch<'a>(&'a self, ctx: &'a SourceCtx) -> BoxFuture<'a, Result<Snapshot, SourceError>> {
        Box::pin(async move { self.fetch_file(ctx).await.map_err(source_error) })
    }
}

impl HttpFile {
    async fn fetch_file(&self, ctx: &SourceCtx) -> Result<Snapshot, HttpError> {
        let store = &ctx.store;
        let pinned = Wanted { checksum: Some(self.digest), ..self.wanted.clone() };
        let known = bring(&self.clients, ctx, &pinned).await?;
        let modified = time::parse_http_date(&known.last_modified);
        let since = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let file = OneFile {
            digest: self.digest,
            name: self.filename.clone(),
            attrs: self.wanted.file.clone(),
            mtime: modified.map_or(0, |at| since(at).as_secs().cast_signed()),
            description: format!("http {}", shown(&self.wanted.url)),
        };
        let store = store.clone();
        blocking(HttpError::Cancelled, move || Ok(file.write(&store)?)).await
    }
}

/// The file with the digest that is wanted, from the store or from the server.
async fn bring(clients: &Clients, ctx: &SourceCtx, pinned: &Wanted) -> Result<Known, HttpError> {
    let store = &ctx.store;
    let is_it = |known: &Known| known.digest().is_ok_and(|it| Some(it) == pinned.checksum);
    let is_there = pinned.checksum.is_some_and(|digest| store.content().has(&digest));
    match pinned.known(store).filter(is_it).filter(|_| is_there) {
        Some(known) => Ok(known),
        None => {
            let on_bytes = progress(ctx, pinned);
            let context = Context { store, session: &ctx.session, cancel: &ctx.cancel, on_bytes: &on_bytes };
            download(clients, &context, pinned, None).await
        }
    }
}

/// What a fetch may use.
struct Context<'a> {
    store: &'a Arc<Store>,
    session: &'a Arc<dyn Session>,
    cancel: &'a Cancel,
    on_bytes: OnBytes<'a>,
}

/// What the URL stands for now: what we have, if the server says so, else what it sends.
async fn now(clients: &Clients, context: &Context<'_>, wanted: &Wanted) -> Result<Known, HttpError> {
    let content = context.store.content();
    let known = wanted.known(context.store);
    let known = known.filter(|known| known.digest().is_ok_and(|digest| content.has(&digest)));
    download(clients, context, wanted, known).await
}

/// Asks the server; `known` is what we have of it.
async fn download(
    clients: &Clients,
    context: &Context<'_>,
    wanted: &Wanted,
    known: Option<Known>,
) -> Result<Known, HttpError> {
    let validators = known.as_ref().map(|known| (known.etag.clone(), known.last_modified.clone()));
    let mut headers = HeaderMap::new();
    for (name, value) in &wanted.headers {
        let bad = |_| wanted.bad(format!("`{value}` cannot be a header"));
        let value = HeaderValue::from_str(value).map_err(bad)?;
        headers.insert(HeaderName::from_bytes(name.as_bytes()).expect("one of two constants"), value);
    }
    let fetch = Fetch {
        url: wanted.url.clone(),
        authorization: authorization(context.session, wanted).await?,
        headers,
        validators: validators.unwrap_or_default(),
        expected: wanted.checksum,
    };
    let content = context.store.content();
    let fetched = clients.fetch(&fetch, &content, context.cancel, context.on_bytes).await?;
    match (fetched, known) {
        (Fetched::Unchanged, Some(known)) => Ok(known),
        (Fetched::Unchanged, None) => {
            Err(HttpError::Status { url: shown(&wanted.url), status: 304, retry_after: None })
        }
        (Fetched::Body(body), _) => {
            let Body { digest, size, etag, last_modified, disposition } = body;
            let known = Known { digest: digest.to_string(), size, etag, last_modified, disposition };
            let value = serde_json::to_vec(&known).expect("texts and numbers are JSON");
            // Not remembering it costs a download.
            let _ = context.store.put_value(Table::Sources, &wanted.table_key(), &value);
            Ok(known)
        }
    }
}

/// The `Authorization` header, from the secret that the op names, else from those that are named after the host.
async fn authorization(
    session: &Arc<dyn Session>,
    wanted: &Wanted,
) -> Result<Option<HeaderValue>, HttpError> {
    let candidates = if wanted.auth_secret.is_empty() {
        let host = wanted.url.host_str().unwrap_or_default();
        vec![(format!("HTTP_AUTH_TOKEN_{host}"), "Bearer "), (format!("HTTP_AUTH_HEADER_{host}"), "")]
    } else {
        vec![(wanted.auth_secret.clone(), "")]
    };
    for (id, prefix) in candidates {
        let session = session.clone();
        let asked = id.clone();
        let Ok(secret) = tokio::task::spawn_blocking(move || session.secret(&asked)).await else {
            return Err(HttpError::Cancelled);
        };
        let Some(bytes) = secret? else { continue };
        let is_private = wanted.url.scheme() == "https" || is_loopback_host(&host_of(&wanted.url));
        if !is_private {
            return Err(HttpError::Cleartext { id, url: shown(&wanted.url) });
        }
        let header = [prefix.as_bytes(), bytes.trim_ascii_end()].concat();
        let mut header = match HeaderValue::from_bytes(&header) {
            Ok(header) if !bytes.trim_ascii().is_empty() => header,
            _ => return Err(HttpError::BadSecret { id }),
        };
        header.set_sensitive(true);
        return Ok(Some(header));
    }
    if wanted.auth_secret.is_empty() {
        return Ok(None);
    }
    Err(HttpError::NoSecret { id: wanted.auth_secret.clone() })
}

impl Known {
    fn digest(&self) -> Result<Digest, HttpError> {
        self.digest.parse().map_err(|_| {
            HttpError::Store(Box::new(StoreError::Corrupt {
                what: "what is remembered of a URL".to_owned(),
                way_out: "use another store".to_owned(),
            }))
        })
    }
}

impl Wanted {
    fn read(op: &SourceOp) -> Result<Wanted, HttpError> {
        let bad =
            |reason: String| HttpError::Op { identifier: crate::base::url::redacted(&op.identifier), reason };
        let text = |key: &str| op.attrs.get(key).cloned().unwrap_or_default();
        if let Some(why) = http_objection(&op.identifier) {
            return Err(bad(why));
        }
        let url = Url::parse(&op.identifier).map_err(|error| bad(error.to_string()))?;
        let checksum = match text(attr::HTTP_CHECKSUM).as_str() {
            "" => None,
            value => Some(value.parse().map_err(|error| bad(format!("{error}")))?),
        };
        let signature = match (text(attr::HTTP_SIG_PUBKEY), text(attr::HTTP_SIG_SIGNATURE)) {
            (keys, signature) if keys.is_empty() && signature.is_empty() => None,
            (keys, signature) if !keys.is_empty() && !signature.is_empty() => {
                Some(Signature { policy: Policy { keys, expired: Expired::Accepted }, signature })
            }
            _ => return Err(bad("a signature needs a public key, and a public key a signature".to_owned())),
        };
        let headers = [("Accept", attr::HTTP_HEADER_ACCEPT), ("User-Agent", attr::HTTP_HEADER_USER_AGENT)];
        let headers = headers.into_iter().filter_map(|(name, key)| Some((name, op.attrs.get(key)?.clone())));
        Ok(Wanted {
            checksum,
            file: FileAttrs::read(op).map_err(bad)?,
            signature,
            auth_secret: text(attr::HTTP_AUTH_HEADER_SECRET),
            headers: headers.collect(),
            text: op.identifier.clone(),
            url,
        })
    }

    fn bad(&self, reason: String) -> HttpError {
        HttpError::Op { identifier: shown(&self.url), reason }
    }

    /// The name of the file: what the op says, else what the server says, else the end of the URL.
    fn file_name(&self, disposition: &str) -> String {
        if !self.file.name.is_empty() {
            return safe_file_name(&self.file.name);
        }
        disposition_name(disposition).unwrap_or_else(|| file_name_of(&self.text))
    }

    /// Where what is known of it is kept: everything that may make the server answer differently.
    fn table_key(&self) -> Vec<u8> {
        let asked = format!("{}\0{}\0{:?}", self.text, self.auth_secret, self.headers);
        [b"http:", Digest::of(asked).as_bytes().as_slice()].concat()
    }

    fn known(&self, store: &Store) -> Option<Known> {
        let value = store.get_value(Table::Sources, &self.table_key()).ok().flatten()?;
        serde_json::from_slice(&value).ok()
    }
}

/// `filename` of a `Content-Disposition` header (RFC 6266), made safe; without directories of its own.
fn disposition_name(header: &str) -> Option<String> {
    let mut plain = None;
    for part in header.split(';').skip(1) {
        let (name, value) = part.split_once('=')?;
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "filename*" => {
                let (_, text) = value.split_once("''")?;
                return Some(safe_file_name(&crate::base::url::percent_decoded(text)));
            }
            "filename" if !value.is_empty() && !value.ends_with('/') => plain = Some(safe_file_name(value)),
            _ => {}
        }
    }
    plain
}

fn progress(ctx: &SourceCtx, wanted: &Wanted) -> impl Fn(u64, Option<u64>) + Send + Sync + use<> {
    let (report, id) = (ctx.progress.clone(), wanted.file_name(""));
    move |current, total| report(Progress { id: id.clone(), current, total, unit: Unit::Bytes })
}

fn source_error(error: HttpError) -> SourceError {
    match error {
        HttpError::Cancelled => SourceError::Cancelled,
        error => SourceError::Source(Box::new(error)),
    }
}

#[cfg(test)]
mod tests;
