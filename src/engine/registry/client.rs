//! The registry client: requests with authorization, redirects, retries; manifests and blobs by name.
//!
//! Nothing is set up before the first request: a build whose images are all in the store never loads certificates.
//! Pushing ([`super::push`]) goes through the same [`Registry::send_with`] with other methods and scopes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Client, Method, Response, StatusCode, Url};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::auth::{Authorization, realm_may_see_credentials};
use super::challenge::{self, Challenge};
use super::document::{ACCEPT_MANIFEST, DocumentError, MAX_MANIFEST_BYTES};
use super::error::RegistryError;
use super::push::Upload;
use super::retry::{Backoff, RetryPolicy};
use crate::base::{Digest, ImageRef};
use crate::session::{Credentials, Session};

/// Where images of `docker.io` really are.
pub const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

const MAX_REDIRECTS: usize = 10;
/// Token answers and error bodies are small; more than this is not read.
const MAX_ANSWER_BYTES: u64 = 1 << 20;
const USER_AGENT: &str = concat!("bkl/", env!("CARGO_PKG_VERSION"));

/// How to talk to registries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryOptions {
    /// How stubbornly fetches are tried again.
    pub retry: RetryPolicy,
    /// Pairs (registry host, token server host) that share credentials although their names are unrelated.
    pub trusted_realms: Vec<(String, String)>,
    /// How long a connection may take to come about, TLS included.
    pub connect_timeout: Duration,
    /// How long a connection may be silent; then it counts as broken off.
    pub idle_timeout: Duration,
    /// Hosts that plain HTTP is spoken with though they are not this machine: somebody said so.
    pub plain_http: Vec<String>,
}

impl Default for RegistryOptions {
    /// The standard retries, ten and thirty seconds; no pairs.
    fn default() -> RegistryOptions {
        RegistryOptions {
            retry: RetryPolicy::STANDARD,
            trusted_realms: Vec::new(),
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            plain_http: Vec::new(),
        }
    }
}

/// A client for all registries; connections and tokens are shared by its clones.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    session: Arc<dyn Session>,
    options: RegistryOptions,
    /// For plain HTTP on this machine: no proxy, no certificates loaded.
    loopback: OnceLock<Result<Client, String>>,
    /// For everything else.
    secure: OnceLock<Result<Client, String>>,
    /// By origin and scope. The lock is held while a token is fetched, so that parallel layers ask for one.
    authorizations: Mutex<BTreeMap<(String, String), Authorization>>,
}

/// One thing to ask a registry for.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    /// Repository and actions the token must allow: `repository:library/debian:pull`.
    pub(super) scope: &'a str,
    pub(super) accept: Option<&'static str>,
    /// First byte wanted.
    pub(super) offset: u64,
    /// For messages.
    pub(super) what: &'a str,
}

/// A manifest or index as a registry gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawManifest {
    /// Exactly the bytes that were sent.
    pub bytes: Vec<u8>,
    /// `Content-Type`, empty when there was none.
    pub content_type: String,
    /// Digest of the bytes.
    pub digest: Digest,
}

impl Registry {
    /// A client that shows `session`'s credentials; opens nothing.
    pub fn new(session: Arc<dyn Session>, options: RegistryOptions) -> Registry {
        let inner = Inner {
            session,
            options,
            loopback: OnceLock::new(),
            secure: OnceLock::new(),
            authorizations: Mutex::new(BTreeMap::new()),
        };
        Registry { inner: Arc::new(inner) }
    }

    /// A client for the same session that speaks plain HTTP with the registry of `image`.
    pub fn insecure(&self, image: &ImageRef) -> Registry {
        let mut options = self.inner.options.clone();
        options.plain_http.push(image.domain.clone());
        Registry::new(self.inner.session.clone(), options)
    }

    /// A client for the same session that tries so stubbornly.
    pub fn retrying(&self, retry: RetryPolicy) -> Registry {
        let options = RegistryOptions { retry, ..self.inner.options.clone() };
        Registry::new(self.inner.session.clone(), options)
    }

    /// How stubbornly it tries.
    pub fn retry(&self) -> &RetryPolicy {
        &self.inner.options.retry
    }

    /// Whose credentials it shows.
    pub fn session(&self) -> &Arc<dyn Session> {
        &self.inner.session
    }

    /// The manifest or index that `image` names: by its digest when it has one, else by its tag.
    ///
    /// The bytes have the digest that was asked for and the one the registry announced.
    pub async fn manifest(&self, image: &ImageRef) -> Result<RawManifest, RegistryError> {
        let name = match (&image.digest, &image.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        };
        let what = match &image.digest {
            Some(digest) => format!("manifest `{digest}` of `{}`", image.familiar()),
            None => format!("image `{}`", image.familiar()),
        };
        let url = self.url(image, "manifests", &name)?;
        let scope = pull_scope(image);
        let mut backoff = Backoff::new(&self.inner.options.retry);
        loop {
            let request = Request {
                method: Method::GET,
                url: url.clone(),
                scope: &scope,
                accept: Some(ACCEPT_MANIFEST),
                offset: 0,
                what: &what,
            };
            match self.try_manifest(request, image.digest).await {
                Ok(manifest) => return Ok(manifest),
                Err(error) => backoff.wait(error).await?,
            }
        }
    }

    async fn try_manifest(
        &self,
        request: Request<'_>,
        wanted: Option<Digest>,
    ) -> Result<RawManifest, RegistryError> {
        let what = request.what;
        let host = host_of(&request.url);
        let response = self.send(&request).await?;
        let text = |name: header::HeaderName| header_text(response.headers(), &name);
        let content_type = text(header::CONTENT_TYPE);
        let announced = text(header::HeaderName::from_static("docker-content-digest"));
        let bytes = read_capped(response, MAX_MANIFEST_BYTES, what, &host).await?;
        let digest = Digest::of(&bytes);
        // A registry may announce a digest of another algorithm; only one we can compare counts.
        let announced = announced.parse::<Digest>().ok();
        if wanted.or(announced).is_some_and(|wanted| wanted != digest) {
            return Err(RegistryError::Digest { what: what.to_owned(), host, found: digest });
        }
        Ok(RawManifest { bytes, content_type, digest })
    }

    /// How many bytes a blob has.
    pub(super) async fn blob_size(
        &self,
        image: &ImageRef,
        digest: &Digest,
        what: &str,
    ) -> Result<u64, RegistryError> {
        let url = self.url(image, "blobs", &digest.to_string())?;
        let scope = pull_scope(image);
        let request = Request { method: Method::HEAD, url, scope: &scope, accept: None, offset: 0, what };
        let mut backoff = Backoff::new(self.retry());
        loop {
            let error = match self.send(&request).await {
                Ok(response) => {
                    let length = header_text(response.headers(), &header::CONTENT_LENGTH);
                    let (what, host) = (what.to_owned(), host_of(&request.url));
                    return length.parse().map_err(|_| RegistryError::Unreachable {
                        what,
                        host,
                        reason: "it does not say how large it is".to_owned(),
                    });
                }
                Err(error) => error,
            };
            backoff.wait(error).await?;
        }
    }

    /// Starts reading a blob at `offset`. The answer's body begins at the byte it returns beside it: at `offset`, or
    /// at 0 when the registry cannot do ranges. Not retried here: the caller knows what it has.
    pub(super) async fn open_blob(
        &self,
        image: &ImageRef,
        digest: &Digest,
        offset: u64,
        what: &str,
    ) -> Result<(Response, u64), RegistryError> {
        let url = self.url(image, "blobs", &digest.to_string())?;
        let scope = pull_scope(image);
        let request = Request { method: Method::GET, url, scope: &scope, accept: None, offset, what };
        let response = self.send(&request).await?;
        let start = match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                // `bytes 5-9/10`; a server that starts elsewhere than asked would shift the blob.
                let range = header_text(response.headers(), &header::CONTENT_RANGE);
                let start = range
                    .strip_prefix("bytes ")
                    .and_then(|range| range.split_once('-'))
                    .and_then(|(start, _)| start.trim().parse::<u64>().ok());
                if start != Some(offset) {
                    return Err(RegistryError::Unreachable {
                        what: what.to_owned(),
                        host: host_of(&request.url),
                        reason: format!("it sent the range `{range}` when asked for byte {offset}"),
                    });
                }
                offset
            }
            _ => 0,
        };
        Ok((response, start))
    }

    /// Sends one request: authorization is added and renewed, redirects are followed. `Ok` is a 2xx answer.
    pub(super) async fn send(&self, request: &Request<'_>) -> Result<Response, RegistryError> {
        self.send_with(request, None).await
    }

    /// As [`Registry::send`], with something to carry.
    pub(super) async fn send_with(
        &self,
        request: &Request<'_>,
        upload: Option<&Upload<'_>>,
    ) -> Result<Response, RegistryError> {
        let origin = request.url.origin().ascii_serialization();
        let key = (origin, request.scope.to_owned());
        let host = host_of(&request.url);
        let mut authorization = self.inner.authorizations.lock().await.get(&key).cloned();
        // A token may have run out, so the second answer is the one that counts.
        for is_last in [false, true] {
            let response = self.send_once(request, authorization.as_ref(), upload).await?;
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            let headers = response.headers().clone();
            let from_registry = response.url().origin() == request.url.origin();
            if status == StatusCode::UNAUTHORIZED && !is_last && from_registry {
                let stale = authorization.take();
                authorization = self.authorize(&key, request, &headers, stale).await?;
                if authorization.is_some() {
                    continue;
                }
            }
            let (what, host) = (request.what.to_owned(), host.clone());
            return Err(match status {
                StatusCode::NOT_FOUND => RegistryError::NotFound { what, host },
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if from_registry => {
                    let with_credentials = self.credentials(&host).await?.is_some();
                    RegistryError::Denied { what, host, with_credentials }
                }
                _ => {
                    let retry_after = retry_after(&headers);
                    let body =
                        read_capped(response, MAX_ANSWER_BYTES, &what, &host).await.unwrap_or_default();
                    let detail = error_detail(&body);
                    RegistryError::Status { what, host, status: status.as_u16(), detail, retry_after }
                }
            });
        }
        unreachable!("the second round returns")
    }

    /// Sends one request and follows redirects; other hosts than the registry's see no authorization.
    async fn send_once(
        &self,
        request: &Request<'_>,
        authorization: Option<&Authorization>,
        upload: Option<&Upload<'_>>,
    ) -> Result<Response, RegistryError> {
        let host = host_of(&request.url);
        let refused = |reason: String| RegistryError::Redirect {
            what: request.what.to_owned(),
            host: host.clone(),
            reason,
        };
        let mut url = request.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut builder = self.client(&url)?.request(request.method.clone(), url.clone());
            if let Some(accept) = request.accept {
                builder = builder.header(header::ACCEPT, accept);
            }
            // Bytes are hashed as they come: none may be encoded on the way.
            builder = builder.header(header::ACCEPT_ENCODING, "identity");
            if 0 < request.offset {
                builder = builder.header(header::RANGE, format!("bytes={}-", request.offset));
            }
            if url.origin() == request.url.origin() {
                builder = match authorization {
                    Some(Authorization::Basic { user, password }) => builder.basic_auth(user, Some(password)),
                    Some(Authorization::Bearer(token)) => builder.bearer_auth(token),
                    None => builder,
                };
            }
            if let Some(upload) = upload {
                builder = upload.attach(builder, request.what).await?;
            }
            let response = builder.send().await.map_err(|error| unreachable(error, request.what, &host))?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let location = header_text(response.headers(), &header::LOCATION);
            let next = url.join(&location).map_err(|_| refused("to no readable address".to_owned()))?;
            let next = without_user(next);
            if !is_allowed(&next) {
                let shown = format!("{}://{}", next.scheme(), host_of(&next));
                return Err(refused(format!("to `{shown}`, which is not encrypted")));
            }
            url = next;
        }
        Err(refused(format!("more than {MAX_REDIRECTS} times")))
    }

    /// A new authorization after a 401, or the one that somebody else fetched since `stale` was used.
    ///
    /// `None` when there is nothing to answer the challenge with.
    async fn authorize(
        &self,
        key: &(String, String),
        request: &Request<'_>,
        headers: &HeaderMap,
        stale: Option<Authorization>,
    ) -> Result<Option<Authorization>, RegistryError> {
        let mut authorizations = self.inner.authorizations.lock().await;
        if let Some(current) = authorizations.get(key)
            && stale.as_ref() != Some(current)
        {
            return Ok(Some(current.clone()));
        }
        authorizations.remove(key);
        let challenges: Vec<Challenge> = headers
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(challenge::parse)
            .collect();
        let host = host_of(&request.url);
        let credentials = self.credentials(&host).await?;
        for challenge in challenges {
            let authorization = match (challenge, &credentials) {
                (Challenge::Basic, Some(Credentials::Basic { user, password }))
                    if !matches!(stale, Some(Authorization::Basic { .. })) =>
                {
                    Authorization::Basic { user: user.clone(), password: password.clone() }
                }
                (Challenge::Basic, _) => continue,
                (Challenge::Bearer { realm, service, scope }, _) => {
                    let scope = scope.unwrap_or_else(|| request.scope.to_owned());
                    let ask = TokenRequest { realm, service, scope, what: request.what };
                    Authorization::Bearer(self.token(&request.url, ask, credentials.as_ref()).await?)
                }
            };
            authorizations.insert(key.clone(), authorization.clone());
            return Ok(Some(authorization));
        }
        Ok(None)
    }

    /// Asks the token server (distribution docs, spec/auth/token.md and oauth.md).
    async fn token(
        &self,
        registry: &Url,
        ask: TokenRequest<'_>,
        credentials: Option<&Credentials>,
    ) -> Result<Arc<str>, RegistryError> {
        let host = host_of(registry);
        let realm = Url::parse(&ask.realm).ok().map(without_user).filter(is_allowed);
        let realm =
            realm.ok_or_else(|| RegistryError::Realm { host: host.clone(), realm: ask.realm.clone() })?;
        let trusted = &self.inner.options.trusted_realms;
        let credentials = credentials.filter(|_| realm_may_see_credentials(registry, &realm, trusted));
        let mut query = reqwest::Url::parse("http://query.invalid").expect("a constant URL");
        if let Some(service) = &ask.service {
            query.query_pairs_mut().append_pair("service", service);
        }
        for scope in ask.scope.split(' ').filter(|scope| !scope.is_empty()) {
            query.query_pairs_mut().append_pair("scope", scope);
        }
        let client = self.client(&realm)?;
        let builder = match credentials {
            Some(Credentials::IdentityToken(token)) => {
                query
                    .query_pairs_mut()
                    .append_pair("grant_type", "refresh_token")
                    .append_pair("client_id", "bkl")
                    .append_pair("refresh_token", token);
                client
                    .post(realm.clone())
                    .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(query.query().unwrap_or_default().to_owned())
            }
            Some(Credentials::Basic { user, password }) => {
                client.get(with_query(&realm, &query)).basic_auth(user, Some(password))
            }
            None => client.get(with_query(&realm, &query)),
        };
        let what = format!("a token for {}", ask.what);
        let server = host_of(&realm);
        let response = builder.send().await.map_err(|error| unreachable(error, &what, &server))?;
        let status = response.status();
        let retry_after = retry_after(response.headers());
        let body = read_capped(response, MAX_ANSWER_BYTES, &what, &server).await?;
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let what = ask.what.to_owned();
            return Err(RegistryError::Denied { what, host, with_credentials: credentials.is_some() });
        }
        if !status.is_success() {
            let (status, detail) = (status.as_u16(), error_detail(&body));
            return Err(RegistryError::Status { what, host: server, status, detail, retry_after });
        }
        let answer: Option<TokenAnswer> = serde_json::from_slice(&body).ok();
        answer
            .and_then(|answer| answer.token.or(answer.access_token))
            .filter(|token| HeaderValue::from_str(token).is_ok() && !token.is_empty())
            .map(Arc::from)
            .ok_or_else(|| RegistryError::Unreachable {
                what,
                host: server,
                reason: "the answer has no token".to_owned(),
            })
    }

    /// Who the session is at a registry.
    async fn credentials(&self, host: &str) -> Result<Option<Credentials>, RegistryError> {
        let session = self.inner.session.clone();
        let asked = if host == DOCKER_HUB_HOST { "docker.io" } else { host }.to_owned();
        // A credential helper is a process: waiting for it must not hold up the others.
        let answer = tokio::task::spawn_blocking(move || session.credentials(&asked)).await;
        match answer {
            Ok(answer) => answer.map_err(|error| RegistryError::Credentials(error.to_string())),
            Err(error) => Err(RegistryError::Credentials(error.to_string())),
        }
    }

    /// `<base>/v2/<repository>/<kind>/<name>`.
    pub(super) fn url(&self, image: &ImageRef, kind: &str, name: &str) -> Result<Url, RegistryError> {
        let host = match image.domain.as_str() {
            "docker.io" => DOCKER_HUB_HOST,
            domain => domain,
        };
        let is_plain = is_loopback_host(host) || self.inner.options.plain_http.iter().any(|it| it == host);
        let scheme = if is_plain { "http" } else { "https" };
        let text = format!("{scheme}://{host}/v2/{}/{kind}/{name}", image.path);
        Url::parse(&text).map_err(|error| RegistryError::Unreachable {
            what: format!("`{}`", image.familiar()),
            host: host.to_owned(),
            reason: error.to_string(),
        })
    }

    /// The client for a URL, made when it is first needed.
    fn client(&self, url: &Url) -> Result<&Client, RegistryError> {
        let options = &self.inner.options;
        let client = if url.scheme() == "http" {
            self.inner.loopback.get_or_init(|| {
                build_client(options, |builder| builder.no_proxy().tls_certs_only(std::iter::empty()))
            })
        } else {
            self.inner.secure.get_or_init(|| build_client(options, |builder| builder.https_only(true)))
        };
        client.as_ref().map_err(|error| RegistryError::Client(error.clone()))
    }
}

/// A question to a token server.
struct TokenRequest<'a> {
    realm: String,
    service: Option<String>,
    scope: String,
    what: &'a str,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
}

/// Sets up TLS and HTTP: the one place that knows which crypto provider there is.
pub(in crate::engine) fn build_client(
    options: &RegistryOptions,
    configure: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
) -> Result<Client, String> {
    // An error means that one is installed already, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder()
        .user_agent(USER_AGENT)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(options.connect_timeout)
        .read_timeout(options.idle_timeout);
    configure(builder).build().map_err(|error| reasons(&error))
}

/// Reads a whole body that may not be larger than `limit`.
async fn read_capped(
    mut response: Response,
    limit: u64,
    what: &str,
    host: &str,
) -> Result<Vec<u8>, RegistryError> {
    let too_big = |size| RegistryError::Document {
        what: what.to_owned(),
        source: DocumentError::TooBig { size, limit },
    };
    if let Some(size) = response.content_length().filter(|size| limit < *size) {
        return Err(too_big(size));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(error, what, host))? {
        bytes.extend_from_slice(&chunk);
        let size = bytes.len() as u64;
        if limit < size {
            return Err(too_big(size));
        }
    }
    Ok(bytes)
}

/// The error of a connection that failed or broke off.
pub(super) fn unreachable(error: reqwest::Error, what: &str, host: &str) -> RegistryError {
    let host = host.to_owned();
    if let Some(rustls::Error::InvalidCertificate(reason)) = tls_error(&error) {
        return RegistryError::Certificate { host, reason: rustls::Error::from(reason.clone()).to_string() };
    }
    // The URL of a redirect may carry a signature.
    let reason = reasons(&error.without_url());
    RegistryError::Unreachable { what: what.to_owned(), host, reason }
}

/// What TLS said, if it was TLS that failed; hyper wraps it in IO errors.
pub(in crate::engine) fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        source = match cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => cause.source(),
        };
    }
    None
}

/// An error and its causes in one line, repeated texts left out.
pub(in crate::engine) fn reasons(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// `: <message>` from an error body (distribution-spec, error codes), or nothing.
fn error_detail(body: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let message = value["errors"][0]["message"].as_str().or(value["details"].as_str()).unwrap_or_default();
    let shown: String = message.chars().filter(|c| !c.is_control()).take(200).collect();
    if shown.is_empty() { String::new() } else { format!(": {shown}") }
}

/// Seconds or an HTTP date.
pub(in crate::engine) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = header_text(headers, &header::RETRY_AFTER);
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = crate::base::time::parse_http_date(&text)?;
    Some(at.duration_since(SystemTime::now()).unwrap_or_default())
}

/// A header's text; empty when it is absent or not text.
pub(in crate::engine) fn header_text(headers: &HeaderMap, name: &header::HeaderName) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

fn with_query(url: &Url, query: &Url) -> Url {
    let mut url = url.clone();
    let pairs: Vec<(String, String)> = query.query_pairs().into_owned().collect();
    url.query_pairs_mut().extend_pairs(pairs);
    url
}

/// `host[:port]` of a URL, for people and as the name of its credentials.
pub(in crate::engine) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The URL without credentials: a server may not choose as whom we come.
pub(in crate::engine) fn without_user(mut url: Url) -> Url {
    // Only URLs without a host refuse, which have no user.
    let _ = (url.set_username(""), url.set_password(None));
    url
}

/// Encrypted, or on this machine.
pub(super) fn is_allowed(url: &Url) -> bool {
    match url.scheme() {
        "https" => true,
        "http" => is_loopback_host(&host_of(url)),
        _ => false,
    }
}

/// Whether `host[:port]` is this machine: there, plain HTTP is spoken.
pub(in crate::engine) fn is_loopback_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn pull_scope(image: &ImageRef) -> String {
    format!("repository:{}:pull", image.path)
}
