//! Answers what evaluation needs to know of images: from the lock, the store, a layout on disk, a registry.

use std::sync::{Arc, OnceLock};

use futures_util::future::join_all;

use crate::base::{Digest, ImageRef, Platform, Report};
use crate::cli::lock::Lock;
use crate::cli::session::LocalSession;
use crate::engine::registry::{ImageError, Layout, Registry, RegistryOptions, ResolveMode, ResolvedImage, resolve_image, resolve_layout};
use crate::lang::eval::{ImageAnswer, Need, Pull, Request};
use crate::session::Session;
use crate::store::{Options, Store, StoreError};

/// The store and the registries, opened when they are first needed.
pub struct Resolver {
    store_root: std::path::PathBuf,
    store: OnceLock<Store>,
    session: Arc<LocalSession>,
    runtime: tokio::runtime::Handle,
}

impl Resolver {
    /// Opens nothing.
    pub fn new(store_root: std::path::PathBuf, session: Arc<LocalSession>, runtime: tokio::runtime::Handle) -> Resolver {
        Resolver { store_root, store: OnceLock::new(), session, runtime }
    }

    /// The store of this run.
    pub fn store(&self) -> Result<&Store, StoreError> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let store = Store::open(&self.store_root, &Options::default())?;
        Ok(self.store.get_or_init(|| store))
    }

    /// One answer per need, in order. Pins what was not in the lock, unless `locked`, which refuses it.
    ///
    /// What has to be fetched is fetched at the same time.
    pub fn answer(&self, needs: &[Need], lock: &mut Lock, locked: bool) -> Vec<Result<ImageAnswer, Report>> {
        let known: Vec<Option<ImageAnswer>> = needs.iter().map(|need| from_lock(&need.request, lock)).collect();
        if known.iter().all(Option::is_some) {
            return known.into_iter().flatten().map(Ok).collect();
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
                (Some(answer), _) => Ok(answer),
                (None, Some(Ok(image))) => Ok(take(&need.request, &image, lock)),
                (None, Some(Err(report))) => Err(report),
                (None, None) => unreachable!("what is not known was fetched"),
            });
        }
        answers
    }

    async fn fetch(&self, request: &Request, pinned: Option<Digest>, locked: bool) -> Result<ResolvedImage, Report> {
        let store = self.store().map_err(|error| store_report(&error))?;
        match request {
            Request::Image { reference, platform, pull } => {
                let always = *pull == Pull::Always;
                if locked && pinned.is_none() && reference.digest.is_none() && !always {
                    return Err(Report::error("bkl::not_locked", format!("`{}` is not in the lock file", reference.familiar()))
                        .help("build once without `--locked`, which writes bkl.lock, and commit that file"));
                }
                let registry = Registry::new(self.session.clone() as Arc<dyn Session>, RegistryOptions::default());
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
                resolve_image(&registry, store, &exact, &platform, mode).await.map_err(|error| match (&error, pinned) {
                    (ImageError::Fetch(_), Some(digest)) if !always && is_gone(&error) => Report::error(
                        "bkl::lock_mismatch",
                        format!("{} no longer has the digest in the lock file, {digest}", reference.familiar()),
                    )
                    .help("remove its entry from bkl.lock to take the new one"),
                    _ => error.report(),
                })
            }
            Request::OciLayout { dir, reference, platform } => {
                let path = self.session.oci_layout(dir).unwrap_or_default();
                let layout = Layout::new(path, reference.to_string());
                resolve_layout(&layout, store, &platform.normalize()).await.map_err(|error| error.report())
            }
        }
    }
}

/// Whether the registry answered that there is no such manifest.
fn is_gone(error: &ImageError) -> bool {
    error.code() == "bkl::image_not_found"
}

fn from_lock(request: &Request, lock: &Lock) -> Option<ImageAnswer> {
    let Request::Image { reference, platform, pull: Pull::Auto | Pull::Local } = request else { return None };
    let (image, manifest) = lock.manifest(reference, platform)?;
    let config = serde_json::from_str(&manifest.config).ok()?;
    Some(ImageAnswer { digest: image.digest, config })
}

/// The digest a reference is pinned to, whatever the platform.
fn pinned_root(request: &Request, lock: &Lock) -> Option<Digest> {
    match request {
        Request::Image { reference, .. } => lock.image(reference).map(|image| image.digest),
        Request::OciLayout { .. } => None,
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

/// What to say when the store cannot be used.
pub fn store_report(error: &StoreError) -> Report {
    let report = Report::error(if error.is_no_space() { "bkl::no_space" } else { "bkl::store" }, error.to_string());
    match error {
        StoreError::NoSpace { .. } => report.help("free some space, or use a store on another disk: `--store DIR` or BKL_STORE"),
        StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            report.help("bkl keeps its store in /var/lib/bkl and needs root; another place is chosen with `--store DIR` or BKL_STORE")
        }
        _ => report,
    }
}
