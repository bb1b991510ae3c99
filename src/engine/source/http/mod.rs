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
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};
use serde::{Deserialize, Serialize};

use super::{Progress, Resolved, Source, SourceCtx, SourceError};
use crate::base::url::{file_name_of, http_objection, safe_file_name};
use crate::base::{Digest, Platform, time};
use crate::engine::cancel::Cancel;
use crate::engine::event::Unit;
use crate::engine::ops::root::transfer;
use crate::engine::registry::RegistryOptions;
use crate::engine::registry::client::{host_of, is_loopback_host};
use crate::graph::ir::{SourceOp, attr};
use crate::session::Session;
use crate::store::{LayerMeta, Snapshot, Store, StoreError, Table};
use client::{Body, Clients, Fetch, Fetched, OnBytes, shown};

pub use error::HttpError;

/// Mode of a file when the op has none.
const DEFAULT_MODE: u32 = 0o600;

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
    filename: String,
    mode: Option<u32>,
    uid: u32,
    gid: u32,
    auth_secret: String,
    /// Canonical names and values, sorted.
    headers: BTreeMap<&'static str, String>,
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
            return Ok(HttpFile { clients, wanted, digest, last_modified: String::new(), filename });
        }
        let on_bytes = progress(ctx, &wanted);
        let context =
            Context { store: &ctx.store, session: &ctx.session, cancel: &ctx.cancel, on_bytes: &on_bytes };
        let known = now(&clients, &context, &wanted).await?;
        let (digest, filename) = (known.digest()?, wanted.file_name(&known.disposition));
        Ok(HttpFile { clients, wanted, digest, last_modified: known.last_modified, filename })
    }
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
            perm: self.wanted.mode.unwrap_or(0),
            uid: self.wanted.uid,
            gid: self.wanted.gid,
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
        let known = self.wanted.known(store).filter(|known| known.digest().is_ok_and(|it| it == self.digest));
        let known = match known.filter(|_| store.content().has(&self.digest)) {
            Some(known) => known,
            None => {
                let on_bytes = progress(ctx, &self.wanted);
                let context =
                    Context { store, session: &ctx.session, cancel: &ctx.cancel, on_bytes: &on_bytes };
                let wanted = Wanted { checksum: Some(self.digest), ..self.wanted.clone() };
                download(&self.clients, &context, &wanted, None).await?
            }
        };
        let (store, file) = (store.clone(), FileToWrite::of(self, &known.last_modified));
        match tokio::task::spawn_blocking(move || file.write(&store)).await {
            Ok(result) => Ok(result?),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime is being shut down.
            Err(_) => Err(HttpError::Cancelled),
        }
    }
}

/// A blob as the one file of a tree.
struct FileToWrite {
    digest: Digest,
    name: String,
    mode: u32,
    uid: u32,
    gid: u32,
    /// Seconds since 1970.
    mtime: i64,
    description: String,
}

impl FileToWrite {
    fn of(file: &HttpFile, last_modified: &str) -> FileToWrite {
        let modified = time::parse_http_date(last_modified);
        let since = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        FileToWrite {
            digest: file.digest,
            name: file.filename.clone(),
            mode: file.wanted.mode.unwrap_or(DEFAULT_MODE),
            uid: file.wanted.uid,
            gid: file.wanted.gid,
            mtime: modified.map_or(0, |at| since(at).as_secs().cast_signed()),
            description: format!("http {}", shown(&file.wanted.url)),
        }
    }

    fn write(&self, store: &Store) -> Result<Snapshot, StoreError> {
        let layer = store.stage(&Snapshot::scratch())?;
        let failed = |attempt| move |errno| StoreError::io(attempt, &self.name, errno);
        let dir = layer.upper_dir();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target =
            rustix::fs::openat(dir, &self.name, flags, Mode::from_raw_mode(0o600)).map_err(failed("make"))?;
        let source = store.content().open(&self.digest)?.into();
        transfer(&source, &target).map_err(failed("copy"))?;
        let owner = (rustix::fs::Uid::from_raw(self.uid), rustix::fs::Gid::from_raw(self.gid));
        rustix::fs::fchown(&target, Some(owner.0), Some(owner.1)).map_err(failed("give away"))?;
        let mode = Mode::from_raw_mode(self.mode & 0o777);
        rustix::fs::fchmod(&target, mode).map_err(failed("set the mode of"))?;
        let at = Timespec { tv_sec: self.mtime, tv_nsec: 0 };
        let times = Timestamps { last_access: at, last_modification: at };
        rustix::fs::utimensat(dir, &self.name, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed("set the times of"))?;
        // The directory's own time would be that of this moment.
        let epoch = Timespec { tv_sec: 0, tv_nsec: 0 };
        let times = Timestamps { last_access: epoch, last_modification: epoch };
        rustix::fs::utimensat(dir, ".", &times, AtFlags::empty()).map_err(failed("set the times of"))?;
        drop(target);
        let meta = LayerMeta { description: self.description.clone(), ..LayerMeta::default() };
        Ok(Snapshot::scratch().with(layer.commit(&meta)?))
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
        let number = |key: &str| match text(key).as_str() {
            "" => Ok(None),
            value => {
                go_number(value).map(Some).ok_or_else(|| bad(format!("`{key}` is `{value}`, no number")))
            }
        };
        let checksum = match text(attr::HTTP_CHECKSUM).as_str() {
            "" => None,
            value => Some(value.parse().map_err(|error| bad(format!("{error}")))?),
        };
        if op.attrs.contains_key(attr::HTTP_SIG_PUBKEY) || op.attrs.contains_key(attr::HTTP_SIG_SIGNATURE) {
            return Err(bad("signatures are not verified by this engine".to_owned()));
        }
        let headers = [("Accept", attr::HTTP_HEADER_ACCEPT), ("User-Agent", attr::HTTP_HEADER_USER_AGENT)];
        let headers = headers.into_iter().filter_map(|(name, key)| Some((name, op.attrs.get(key)?.clone())));
        Ok(Wanted {
            checksum,
            filename: text(attr::HTTP_FILENAME),
            mode: number(attr::HTTP_PERM)?.filter(|mode| *mode != 0),
            uid: number(attr::HTTP_UID)?.unwrap_or(0),
            gid: number(attr::HTTP_GID)?.unwrap_or(0),
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
        if !self.filename.is_empty() {
            return safe_file_name(&self.filename);
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

/// A number as Go's `strconv.ParseInt(text, 0, 64)` reads it, where it fits.
fn go_number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', b'o' | b'O', ..] => (&text[2..], 8),
        [b'0', b'b' | b'B', ..] => (&text[2..], 2),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    digits
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric())
        .then(|| u32::from_str_radix(digits, radix).ok())?
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
