//! Answers what evaluation needs to know: of images from the lock, the store, a layout on disk, a registry; of files from
//! the program's folder.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use futures_util::future::join_all;

use crate::base::{Digest, ImageRef, Platform, Report, SourceMap};
use crate::cli::args::Format;
use crate::cli::lock::Lock;
use crate::cli::{failure, print_reports, tracked};
use crate::engine::registry::{
    ImageError, Layout, RegistryError, ResolveMode, ResolvedImage, resolve_image, resolve_layout,
};
use crate::engine::solver::Limits;
use crate::engine::{Engine, EngineConfig};
use crate::lang::eval::{Answer, ImageAnswer, Need, Pull, Request};
use crate::session::Session;

/// The engine, opened when it is first needed, and what images mean.
pub(crate) struct Resolver {
    store_root: PathBuf,
    limits: Option<Limits>,
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
        Resolver { store_root, limits, format, engine: OnceLock::new(), session, runtime }
    }

    /// The engine of this run.
    pub(crate) fn engine(&self) -> Result<&Engine, Report> {
        if let Some(engine) = self.engine.get() {
            return Ok(engine);
        }
        let config = EngineConfig { limits: self.limits, ..EngineConfig::default() };
        let engine = Engine::open(&self.store_root, config)
            .map_err(|error| failure::store(&error, &self.store_root))?;
        let notices: Vec<Report> = engine
            .store()
            .notices()
            .iter()
            .map(|it| Report::warning("bkl::store_healed", it.clone()))
            .collect();
        print_reports(&notices, &SourceMap::default(), self.format);
        Ok(self.engine.get_or_init(|| engine))
    }

    /// One answer per need, in order. Pins what was not in the lock, unless `locked`, which refuses it.
    ///
    /// What has to be fetched is fetched at the same time.
    pub(crate) fn answer(
        &self,
        needs: &[Need],
        lock: &mut Lock,
        locked: bool,
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
                    None => Some(self.fetch(&need.request, pinned, locked).await),
                }
            }
        });
        let fetched = self.runtime.block_on(join_all(fetches));
        let mut answers = Vec::new();
        for ((need, known), fetched) in needs.iter().zip(known).zip(fetched) {
            answers.push(match (known, fetched) {
                (Some(answer), _) => answer,
                (None, Some(Ok(image))) => Ok(Answer::Image(take(&need.request, &image, lock))),
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
            Request::Files { dir, pattern, except } => {
                Some(tracked::files(&root(), dir, pattern, except).map(Answer::Paths))
            }
            Request::Image { .. } | Request::OciLayout { .. } => None,
        }
    }

    async fn fetch(
        &self,
        request: &Request,
        pinned: Option<Digest>,
        locked: bool,
    ) -> Result<ResolvedImage, Report> {
        let engine = self.engine()?;
        let store = engine.store();
        match request {
            Request::Image { reference, platform, pull } => {
                let always = *pull == Pull::Always;
                if locked && pinned.is_none() && reference.digest.is_none() && !always {
                    return Err(Report::error(
                        "bkl::not_locked",
                        format!("`{}` is not in the lock file", reference.familiar()),
                    )
                    .help("build once without `--locked`, which writes bkl.lock, and commit that file"));
                }
                let registry = engine.images().registry(&self.session);
                let mode = match pull {
                    Pull::Auto => ResolveMode::Default,
                    Pull::Always => ResolveMode::Pull,
                    Pull::Local => ResolveMode::Local,
                };
                let exact = match pinned {
                    Some(digest) if !always => ImageRef { digest: Some(digest), ..reference.clone() },
                    _ => reference.clone(),
                };
                let platform = platform.normalize();
                resolve_image(&registry, store, &exact, &platform, mode).await.map_err(|error| {
                    match (&error, pinned) {
                        (ImageError::Fetch(RegistryError::NotFound { .. }), Some(digest)) if !always => {
                            Report::error(
                                "bkl::lock_mismatch",
                                format!(
                                    "{} no longer has the digest in the lock file, {digest}",
                                    reference.familiar()
                                ),
                            )
                            .help("remove its entry from bkl.lock to take the new one")
                        }
                        _ => error.report(),
                    }
                })
            }
            Request::OciLayout { dir, reference, platform } => {
                let path = self.session.oci_layout(dir).unwrap_or_default();
                let layout = Layout::new(path, reference.to_string());
                resolve_layout(&layout, store, &platform.normalize()).await.map_err(|error| error.report())
            }
            Request::Read { .. } | Request::Files { .. } => unreachable!("files are answered from disk"),
        }
    }
}

fn from_lock(request: &Request, lock: &Lock) -> Option<Answer> {
    let Request::Image { reference, platform, pull: Pull::Auto | Pull::Local } = request else { return None };
    let (image, manifest) = lock.manifest(reference, platform)?;
    let config = serde_json::from_str(&manifest.config).ok()?;
    Some(Answer::Image(ImageAnswer { digest: image.digest, config }))
}

/// The digest a reference is pinned to, whatever the platform.
fn pinned_root(request: &Request, lock: &Lock) -> Option<Digest> {
    match request {
        Request::Image { reference, .. } => lock.image(reference).map(|image| image.digest),
        Request::OciLayout { .. } | Request::Read { .. } | Request::Files { .. } => None,
    }
}

/// The answer that an image gives; a registry's image is pinned.
fn take(request: &Request, image: &ResolvedImage, lock: &mut Lock) -> ImageAnswer {
    if let Request::Image { reference, platform, pull: Pull::Auto | Pull::Local } = request {
        // The config was read as JSON, so it is UTF-8.
        let config = String::from_utf8_lossy(&image.config).into_owned();
        let platform: &Platform = platform;
        lock.pin(reference, image.root_digest, platform, image.manifest.digest, config);
    }
    ImageAnswer { digest: image.root_digest, config: image.config_json() }
}
