//! Answers what evaluation needs to know: of images from the lock, the store, a layout on disk, a registry; of branches,
//! tags and URLs from the lock, else from where they lead; of files from the program's folder.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use futures_util::future::join_all;

use crate::base::{Digest, ImageRef, Platform, Report, SourceMap};
use crate::cli::args::Format;
use crate::cli::lock::Lock;
use crate::cli::{failure, print_reports, tracked};
use crate::engine::exec::SandboxNetwork;
use crate::engine::registry::{
    ImageError, Layout, RegistryError, ResolveMode, ResolvedImage, resolve_image, resolve_layout,
};
use crate::engine::solver::Limits;
use crate::engine::source::git::{GitSource, RefQuery};
use crate::engine::{Engine, EngineConfig};
use crate::lang::eval::{Answer, ImageAnswer, Need, Pull, Request};
use crate::session::Session;

/// What may be done about what the lock does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pinning {
    /// It is looked up and pinned.
    Allowed,
    /// It is refused.
    Refused,
    /// It is looked up where it is kept, whatever is known here of it, and pinned.
    Anew,
}

/// What was looked up.
enum Found {
    Image(Box<ResolvedImage>),
    Commit(String),
    File(Digest, u64),
}

/// How the store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    /// It is made if there is none.
    Making,
    /// It has to be there: a wrong name makes no store.
    Existing,
}

/// The engine, opened when it is first needed, and what images mean.
pub(crate) struct Resolver {
    store_root: PathBuf,
    opening: Opening,
    limits: Option<Limits>,
    sandbox: SandboxNetwork,
    /// Of what is said when the store is opened.
    format: Format,
    engine: OnceLock<Engine>,
    session: Arc<dyn Session>,
    runtime: tokio::runtime::Handle,
}

impl Resolver {
    /// Opens nothing. `limits` are those of the engine.
    pub(crate) fn new(
        store_root: PathBuf,
        limits: Option<Limits>,
        format: Format,
        session: Arc<dyn Session>,
        runtime: tokio::runtime::Handle,
    ) -> Resolver {
        let (sandbox, opening) = (SandboxNetwork::default(), Opening::Making);
        Resolver { store_root, opening, limits, sandbox, format, engine: OnceLock::new(), session, runtime }
    }

    /// The same, with an engine whose commands are connected to `sandbox`.
    pub(crate) fn with_sandbox(self, sandbox: SandboxNetwork) -> Resolver {
        Resolver { sandbox, ..self }
    }

    /// The same, for who only asks: the store has to be there.
    pub(crate) fn with_existing_store(self) -> Resolver {
        Resolver { opening: Opening::Existing, ..self }
    }

    /// The engine of this run.
    pub(crate) fn engine(&self) -> Result<&Engine, Report> {
        if let Some(engine) = self.engine.get() {
            return Ok(engine);
        }
        let config = EngineConfig { limits: self.limits, sandbox: self.sandbox, ..EngineConfig::default() };
        let opened = match self.opening {
            Opening::Making => Engine::open(&self.store_root, config),
            Opening::Existing => Engine::open_existing(&self.store_root, config),
        };
        let engine = opened.map_err(|error| failure::store(&error, &self.store_root))?;
        let notices: Vec<Report> = engine
            .store()
            .notices()
            .iter()
            .map(|it| Report::warning("bkl::store_healed", it.clone()))
            .collect();
        print_reports(&notices, &SourceMap::default(), self.format);
        Ok(self.engine.get_or_init(|| engine))
    }

    /// One answer per need, in order. Pins what was not in the lock, as `pinning` says.
    ///
    /// What has to be fetched is fetched at the same time.
    pub(crate) fn answer(
        &self,
        needs: &[Need],
        lock: &mut Lock,
        pinning: Pinning,
    ) -> Vec<Result<Answer, Report>> {
        let here =
            |need: &Need| self.read_disk(&need.request).or_else(|| from_lock(&need.request, lock).map(Ok));
        let known: Vec<Option<Result<Answer, Report>>> = needs.iter().map(here).collect();
        if known.iter().all(Option::is_some) {
            return known.into_iter().flatten().collect();
        }
        let fetches = needs.iter().zip(&known).map(|(need, known)| {
            let pinned = pinned_root(&need.request, lock);
            async move {
                match known {
                    Some(_) => None,
                    None => Some(self.fetch(&need.request, pinned, pinning).await),
                }
            }
        });
        let fetched = self.runtime.block_on(join_all(fetches));
        let mut answers = Vec::new();
        for ((need, known), fetched) in needs.iter().zip(known).zip(fetched) {
            answers.push(match (known, fetched) {
                (Some(answer), _) => answer,
                (None, Some(Ok(found))) => Ok(take(&need.request, found, lock)),
                (None, Some(Err(report))) => Err(report),
                (None, None) => unreachable!("what is not known was fetched"),
            });
        }
        answers
    }

    /// The answer to what is asked of the program's folder.
    fn read_disk(&self, request: &Request) -> Option<Result<Answer, Report>> {
        let root = || self.session.local_dir(".").unwrap_or_default();
        match request {
            Request::Read { path } => Some(tracked::read(&root(), path).map(Answer::Text)),
            // A layout that stands in for an image may lie anywhere: its place is not the program's.
            Request::OciLayout { dir, .. } if Path::new(dir).is_relative() => {
                tracked::leads_out(&root(), dir).map(Err)
            }
            Request::Files { dir, pattern, except } => {
                Some(tracked::files(&root(), dir, pattern, except).map(Answer::Paths))
            }
            Request::Image { .. }
            | Request::OciLayout { .. }
            | Request::Git { .. }
            | Request::Http { .. } => None,
        }
    }

    async fn fetch(
        &self,
        request: &Request,
        pinned: Option<Digest>,
        pinning: Pinning,
    ) -> Result<Found, Report> {
        match request {
            Request::Image { reference, platform, pull } => {
                let engine = self.engine()?;
                let store = engine.store();
                let always = *pull == Pull::Always;
                if pinning == Pinning::Refused && pinned.is_none() && reference.digest.is_none() && !always {
                    return Err(not_locked(&reference.familiar()));
                }
                let registry = engine.images().registry(&self.session);
                let mode = match pull {
                    Pull::Auto => ResolveMode::Default,
                    Pull::Always => ResolveMode::Pull,
                    Pull::Local if pinning == Pinning::Anew => ResolveMode::Pull,
                    Pull::Local => ResolveMode::Local,
                };
                let exact = match pinned {
                    Some(digest) if !always => ImageRef { digest: Some(digest), ..reference.clone() },
                    _ => reference.clone(),
                };
                let platform = platform.normalize();
                let image = resolve_image(&registry, store, &exact, &platform, mode).await;
                let image = image.map_err(|error| match (&error, pinned) {
                    (ImageError::Fetch(RegistryError::NotFound { .. }), Some(digest)) if !always => {
                        Report::error(
                            "bkl::lock_mismatch",
                            format!(
                                "{} no longer has the digest in the lock file, {digest}",
                                reference.familiar()
                            ),
                        )
                        .help(format!("take the new one: `bkl update {}`", reference.familiar()))
                    }
                    _ => error.report(),
                })?;
                Ok(Found::Image(Box::new(image)))
            }
            Request::OciLayout { dir, reference, platform } => {
                let store = self.engine()?.store();
                let path = self.session.oci_layout(dir).unwrap_or_default();
                let layout = Layout::new(path, reference.to_string());
                let image = resolve_layout(&layout, store, &platform.normalize()).await;
                Ok(Found::Image(Box::new(image.map_err(|error| error.report())?)))
            }
            Request::Git { url, reference, token, ssh } => {
                if pinning == Pinning::Refused {
                    return Err(not_locked(&format!("{url}#{reference}")));
                }
                let (url, reference) = (url.clone(), reference.clone());
                let query = RefQuery { url, reference, token: token.clone(), ssh: ssh.clone() };
                let commit = GitSource::resolve_ref(&self.session, query).await;
                commit.map(Found::Commit).map_err(|error| error.report())
            }
            Request::Http { url, token } => {
                if pinning == Pinning::Refused {
                    return Err(not_locked(url));
                }
                let store = self.engine()?.store();
                let file = self.engine()?.http().resolve_url(store, &self.session, url, token.as_deref());
                let (digest, size) = file.await.map_err(|error| error.report())?;
                Ok(Found::File(digest, size))
            }
            Request::Read { .. } | Request::Files { .. } => unreachable!("files are answered from disk"),
        }
    }
}

fn not_locked(what: &str) -> Report {
    Report::error("bkl::not_locked", format!("`{what}` is not in the lock file"))
        .help("say `bkl lock` once, which writes bkl.lock, and commit that file")
}

fn from_lock(request: &Request, lock: &Lock) -> Option<Answer> {
    match request {
        Request::Image { reference, platform, pull: Pull::Auto | Pull::Local } => {
            let (image, manifest) = lock.manifest(reference, platform)?;
            let config = serde_json::from_str(&manifest.config).ok()?;
            Some(Answer::Image(ImageAnswer { digest: image.digest, config }))
        }
        Request::Git { url, reference, .. } => Some(Answer::Commit(lock.commit(url, reference)?.to_owned())),
        Request::Http { url, .. } => lock.file(url).map(Answer::Digest),
        Request::Image { pull: Pull::Always, .. }
        | Request::OciLayout { .. }
        | Request::Read { .. }
        | Request::Files { .. } => None,
    }
}

/// The digest a reference is pinned to, whatever the platform.
fn pinned_root(request: &Request, lock: &Lock) -> Option<Digest> {
    match request {
        Request::Image { reference, .. } => lock.image(reference).map(|image| image.digest),
        Request::OciLayout { .. }
        | Request::Git { .. }
        | Request::Http { .. }
        | Request::Read { .. }
        | Request::Files { .. } => None,
    }
}

/// The answer that was found; it is pinned, but for what lies on disk and what is asked for each time.
fn take(request: &Request, found: Found, lock: &mut Lock) -> Answer {
    match (request, found) {
        (request, Found::Image(image)) => {
            if let Request::Image { reference, platform, pull: Pull::Auto | Pull::Local } = request {
                // The config was read as JSON, so it is UTF-8.
                let config = String::from_utf8_lossy(&image.config).into_owned();
                let platform: &Platform = platform;
                lock.pin(reference, image.root_digest, platform, image.manifest.digest, config);
            }
            Answer::Image(ImageAnswer { digest: image.root_digest, config: image.config_json() })
        }
        (Request::Git { url, reference, .. }, Found::Commit(commit)) => {
            lock.pin_commit(url, reference, commit.clone());
            Answer::Commit(commit)
        }
        (Request::Http { url, .. }, Found::File(digest, size)) => {
            lock.pin_file(url, digest, size);
            Answer::Digest(digest)
        }
        (request, Found::Commit(_) | Found::File(..)) => unreachable!("not what {request:?} asks for"),
    }
}
