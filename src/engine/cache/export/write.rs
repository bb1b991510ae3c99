//! A draft into a registry or a directory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::{Blob, Draft, Known};
use crate::base::time::rfc3339;
use crate::base::{Digest, ImageRef, Report};
use crate::engine::blocking::blocking;
use crate::engine::cache::CONFIG_TYPE;
use crate::engine::cache::config::{BUILDKIT_MAX_BYTES, MAX_BYTES};
use crate::engine::cache::import::{ANNOTATION_CREATED, ANNOTATION_DESCRIPTION};
use crate::engine::cache::spec::{CacheTo, Form, ToPlace};
use crate::engine::cancel::Cancel;
use crate::engine::event::{Event, EventSink, Unit};
use crate::engine::export::image::layer_type;
use crate::engine::export::layout::{self, Rest};
use crate::engine::export::{ExportError, MediaTypes, json};
use crate::engine::registry::document::{ANNOTATION_REF_NAME, Descriptor, Index, Manifest, media};
use crate::engine::registry::provider::Provider;
use crate::engine::registry::{ImageError, LocalBlob, Registry, RegistryError};
use crate::store::{ContentStore, Store, StoreError};

/// Blobs that are pushed at once.
const N_PARALLEL: usize = 4;

/// What was exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheReport {
    /// The manifest or index; `None` when there was nothing to export.
    pub manifest: Option<Descriptor>,
    /// Records.
    pub n_records: usize,
    /// Layers, each once.
    pub n_layers: usize,
}

/// Why a cache was not exported.
#[derive(Debug, thiserror::Error)]
pub enum CacheExportError {
    /// A layer or record cannot be read or made.
    #[error("cannot read the cache from the store: {0}")]
    Store(#[source] Box<StoreError>),
    /// The registry did not take it.
    #[error("cannot push the cache to `{to}`: {}", refusal(source))]
    Push {
        /// Repository and tag.
        to: String,
        /// Why.
        source: RegistryError,
    },
    /// A layer that only another cache has could not be kept. One that did not come is left out instead.
    #[error("cannot copy a layer from the cache it is in: {0}")]
    Fetch(#[source] ImageError),
    /// The directory cannot be written.
    #[error("cannot write the cache: {0}")]
    Write(#[source] ExportError),
    /// More records than anyone reads.
    #[error("the cache has {found} bytes of records, more than the {limit} that can be imported")]
    TooBig {
        /// Bytes.
        found: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The build was stopped.
    #[error("cancelled")]
    Cancelled,
}

/// What a registry said to a push, in words that fit.
fn refusal(error: &RegistryError) -> String {
    match error {
        RegistryError::Unreachable { host, reason, .. } => format!("`{host}` cannot be reached: {reason}"),
        RegistryError::Status { host, status, detail, .. } => format!("`{host}` answered {status}{detail}"),
        RegistryError::NotFound { host, .. } => format!("`{host}` has no such repository"),
        RegistryError::Redirect { host, reason, .. } => format!("`{host}` redirects {reason}"),
        RegistryError::Denied { host, with_credentials: true, .. } => {
            format!("`{host}` does not allow it for the configured user")
        }
        RegistryError::Denied { host, .. } => format!("`{host}` does not allow it without credentials"),
        error => error.to_string(),
    }
}

impl CacheExportError {
    /// The way out, when there is one to name.
    pub fn help(&self) -> Option<String> {
        match self {
            CacheExportError::Push { source: RegistryError::Unreachable { host, .. }, .. } => {
                Some(format!("check that `{host}` can be reached from here; it was tried several times"))
            }
            CacheExportError::Push { source, .. } => source.help(),
            CacheExportError::Fetch(error) => error.help(),
            CacheExportError::Write(error) => error.help(),
            CacheExportError::TooBig { .. } => {
                Some("export with `mode=min`, or fewer targets at once".to_owned())
            }
            CacheExportError::Store(_) | CacheExportError::Cancelled => None,
        }
    }

    /// The diagnostic for people, without a place.
    pub fn report(&self) -> Report {
        Report::error("bkl::cache_export", self.to_string()).maybe_help(self.help())
    }
}

impl From<StoreError> for CacheExportError {
    fn from(error: StoreError) -> CacheExportError {
        CacheExportError::Store(Box::new(error))
    }
}

/// Says how an export goes, as of a step.
struct Teller {
    vertex: Digest,
    events: EventSink,
}

impl Teller {
    fn tell(&self, event: impl FnOnce(Digest, SystemTime) -> Event) {
        (self.events)(event(self.vertex, SystemTime::now()));
    }

    fn warn(&self, message: String) {
        self.tell(|vertex, _| Event::Warning { vertex, message });
    }

    fn wrote(&self, blob: &Descriptor) {
        let (id, size) = (blob.digest.short(), blob.size);
        self.tell(|vertex, _| Event::Progress {
            vertex,
            id,
            current: size,
            total: Some(size),
            unit: Unit::Bytes,
        });
    }
}

/// Exports what is known of a build. `registry` speaks for its session. Not for [`ToPlace::Inline`]: that is a part of an
/// image.
///
/// # Errors
/// See [`CacheExportError`]. A cache that was at the place is there as it was.
pub(in crate::engine) async fn export(
    known: &Known,
    to: &CacheTo,
    registry: &Registry,
    store: &Store,
    events: EventSink,
    cancel: &Cancel,
) -> Result<CacheReport, CacheExportError> {
    let name = format!("exporting cache to {}", to.shown());
    let teller = Teller { vertex: Digest::of(&name), events };
    teller.tell(|vertex, at| Event::Started { vertex, name, inputs: Vec::new(), at });
    let exporting = run(known, to, registry, store, &teller, cancel);
    let exported = tokio::select! {
        exported = exporting => exported,
        () = cancel.cancelled() => Err(CacheExportError::Cancelled),
    };
    let error = exported.as_ref().err().map(ToString::to_string);
    teller.tell(|vertex, at| Event::Completed { vertex, at, error, cached: false });
    exported
}

async fn run(
    known: &Known,
    to: &CacheTo,
    registry: &Registry,
    store: &Store,
    teller: &Teller,
    cancel: &Cancel,
) -> Result<CacheReport, CacheExportError> {
    let (from, mode, options, on) = (known.clone(), to.mode, to.image.clone(), store.clone());
    let mut draft =
        blocking(CacheExportError::Cancelled, move || Ok(from.draft(mode, &options, &on)?)).await?;
    let form = match &to.place {
        ToPlace::Registry { form, .. } | ToPlace::Local { form, .. } => *form,
        ToPlace::Inline => unreachable!("the image's exporter does these"),
    };
    let mut documents = Documents::checked(&draft, form)?;
    let content = store.content();
    let insecure;
    let push = match &to.place {
        ToPlace::Registry { image, insecure: is_insecure, .. } => {
            insecure = is_insecure.then(|| registry.insecure(image));
            let registry = insecure.as_ref().unwrap_or(registry);
            Some(Push { registry, image, content: &content, teller })
        }
        ToPlace::Local { .. } | ToPlace::Inline => None,
    };
    // The layers first: some may be where nobody has them any more.
    let missing = match &push {
        Some(push) => push.layers(&draft, &documents).await?,
        None => bring(&draft, &documents, &content, cancel).await?,
    };
    if let Some((_, first)) = missing.first_key_value() {
        let n_missing = missing.len();
        let n_results = draft.chains.remove_layers(&missing.keys().copied().collect::<BTreeSet<Digest>>());
        let (s, are) = if n_missing == 1 { ("", "is") } else { ("s", "are") };
        teller.warn(format!(
            "the cache is exported without {n_results} of its results: {n_missing} layer{s} of other caches {are} not to be had: {first}"
        ));
        documents = Documents::checked(&draft, form)?;
    }
    let n_records = documents.n_records;
    let mut report = CacheReport { manifest: None, n_records, n_layers: documents.layers.len() };
    if documents.layers.is_empty() {
        teller.warn(
            "nothing is exported: no step that was built can be found by others and has layers".to_owned(),
        );
        return Ok(report);
    }
    let size = documents.config.len() as u64;
    if BUILDKIT_MAX_BYTES < size {
        teller.warn(format!("the cache's config has {size} bytes: bkl imports it, BuildKit does not"));
    }
    match &to.place {
        ToPlace::Registry { .. } => {
            if let Some(push) = push {
                push.documents(&documents).await?;
            }
        }
        ToPlace::Local { dir, tag, reset, .. } => {
            let rest = if *reset { Rest::Remove } else { Rest::Keep };
            let dir = dir.clone();
            let blobs: Vec<(Digest, u64)> = documents.layers.iter().map(|it| (it.digest, it.size)).collect();
            let mut root = documents.root.clone();
            root.annotations.insert(ANNOTATION_REF_NAME.to_owned(), tag.clone());
            let texts = documents.texts();
            let cancel = cancel.clone();
            let writing = move || {
                let written = layout::write_one(&content, &dir, &blobs, &texts, root, rest, &cancel);
                written.map_err(|error| match error {
                    ExportError::Cancelled => CacheExportError::Cancelled,
                    error => CacheExportError::Write(error),
                })
            };
            blocking(CacheExportError::Cancelled, writing).await?;
            documents.layers.iter().for_each(|it| teller.wrote(it));
        }
        ToPlace::Inline => {}
    }
    report.manifest = Some(documents.root.clone());
    Ok(report)
}

fn cancelled(cancel: &Cancel) -> Result<(), CacheExportError> {
    if cancel.is_cancelled() { Err(CacheExportError::Cancelled) } else { Ok(()) }
}

/// The documents of a cache.
struct Documents {
    config: Vec<u8>,
    manifest: Vec<u8>,
    /// Of the manifest.
    root: Descriptor,
    /// The layers' blobs, each once.
    layers: Vec<Descriptor>,
    n_records: usize,
}

impl Documents {
    /// As [`Documents::new`]; refused when nobody would read it.
    fn checked(draft: &Draft, form: Form) -> Result<Documents, CacheExportError> {
        let documents = Documents::new(draft, form);
        let size = documents.config.len() as u64;
        if MAX_BYTES < size {
            return Err(CacheExportError::TooBig { found: size, limit: MAX_BYTES });
        }
        Ok(documents)
    }

    fn new(draft: &Draft, form: Form) -> Documents {
        let config = draft.chains.to_config().sorted();
        let types = match form {
            Form::Image => MediaTypes::Oci,
            Form::Index(types) => types,
        };
        // One for each layer, in their order, as BuildKit writes them. Importers who look for a blob's take any; by its place
        // a layer has its own, which says what made it.
        let descriptors = config.layers.iter().map(|layer| {
            let kept = &draft.blobs[&layer.blob].descriptor;
            let media_type = layer_type(&kept.media_type, types);
            let mut descriptor = Descriptor { media_type, ..kept.clone() };
            let said = [
                (ANNOTATION_CREATED, layer.made.at.map(rfc3339).unwrap_or_default()),
                (ANNOTATION_DESCRIPTION, layer.made.by.clone()),
            ];
            let said = said.into_iter().filter(|(_, text)| !text.is_empty());
            descriptor.annotations.extend(said.map(|(key, text)| (key.to_owned(), text)));
            descriptor
        });
        let all: Vec<Descriptor> = descriptors.collect();
        // The order is that of digests.
        let mut layers = all.clone();
        layers.dedup_by_key(|it| it.digest);
        let n_records = config.records.len();
        let config = config.to_bytes_as_it_is();
        let described = Descriptor::of(CONFIG_TYPE, &config);
        let (media_type, manifest) = match form {
            Form::Image => {
                let manifest = Manifest {
                    schema_version: 2,
                    media_type: media::OCI_MANIFEST.to_owned(),
                    config: described,
                    layers: Some(all),
                    annotations: BTreeMap::new(),
                };
                (media::OCI_MANIFEST, json::compact(&manifest))
            }
            Form::Index(types) => {
                let media_type = match types {
                    MediaTypes::Oci => media::OCI_INDEX,
                    MediaTypes::Docker => media::DOCKER_INDEX,
                };
                let index = Index {
                    schema_version: 2,
                    media_type: media_type.to_owned(),
                    manifests: all.into_iter().chain([described]).collect(),
                    annotations: BTreeMap::new(),
                };
                (media_type, json::compact(&index))
            }
        };
        let root = Descriptor::of(media_type, &manifest);
        Documents { config, manifest, root, layers, n_records }
    }

    fn texts(&self) -> BTreeMap<Digest, Vec<u8>> {
        let texts = [&self.config, &self.manifest];
        texts.into_iter().map(|it| (Digest::of(it), it.clone())).collect()
    }
}

/// Layers that cannot be had, and why.
type Missing = BTreeMap<Digest, String>;

/// Registries that could not be reached, and for how many layers on end. One that has gone is not asked for each layer; one
/// that has lost the end of a layer may have the others.
type Silent = Mutex<BTreeMap<String, usize>>;

/// Layers that a registry may fail to give on end.
const MAX_FAILED: usize = 2;

/// Brings all layers into the store.
async fn bring(
    draft: &Draft,
    documents: &Documents,
    content: &ContentStore,
    cancel: &Cancel,
) -> Result<Missing, CacheExportError> {
    let (mut missing, silent) = (Missing::new(), Silent::default());
    for layer in &documents.layers {
        cancelled(cancel)?;
        if let Some(error) = fetch(&draft.blobs[&layer.digest], content, &silent).await? {
            missing.insert(layer.digest, error);
        }
    }
    Ok(missing)
}

/// Brings a blob that is in other caches into the store. `Some` is why none of them gave it.
async fn fetch(
    blob: &Blob,
    content: &ContentStore,
    silent: &Silent,
) -> Result<Option<String>, CacheExportError> {
    if content.has(&blob.descriptor.digest) {
        return Ok(None);
    }
    let silent = || silent.lock().unwrap_or_else(PoisonError::into_inner);
    let mut failed = None;
    for provider in &blob.elsewhere {
        let reference = provider.reference();
        if silent().get(&reference).is_some_and(|n_failed| MAX_FAILED <= *n_failed) {
            failed = failed.or_else(|| Some(format!("`{reference}` cannot be reached")));
            continue;
        }
        let what = format!("layer `{}` of `{reference}`", blob.descriptor.digest);
        let error = match provider.blob(content, &blob.descriptor, &what, &|_| {}).await {
            Ok(()) => {
                silent().remove(&reference);
                return Ok(None);
            }
            Err(ImageError::Fetch(error)) => error,
            Err(error) => return Err(CacheExportError::Fetch(error)),
        };
        let is_registry = matches!(provider, Provider::Registry { .. });
        if is_registry && matches!(error, RegistryError::Unreachable { .. }) {
            *silent().entry(reference).or_default() += 1;
        }
        failed = failed.or(Some(error.to_string()));
    }
    Ok(failed)
}

struct Push<'a> {
    registry: &'a Registry,
    image: &'a ImageRef,
    content: &'a ContentStore,
    teller: &'a Teller,
}

impl Push<'_> {
    /// All layers but those that cannot be had.
    async fn layers(&self, draft: &Draft, documents: &Documents) -> Result<Missing, CacheExportError> {
        let silent = Silent::default();
        let pushes = documents.layers.iter().map(|it| self.layer(&draft.blobs[&it.digest], &silent));
        let pushed = stream::iter(pushes).buffer_unordered(N_PARALLEL);
        pushed.try_filter_map(async |missing| Ok(missing)).try_collect().await
    }

    /// The config, and last what names all.
    async fn documents(&self, documents: &Documents) -> Result<(), CacheExportError> {
        let config = Descriptor::of(CONFIG_TYPE, &documents.config);
        if !self.has(&config.digest).await? {
            // Through the store: a blob is pushed from a file.
            let (content, bytes) = (self.content.clone(), documents.config.clone());
            blocking(CacheExportError::Cancelled, move || Ok(content.put(&bytes)?)).await?;
            self.push(&config).await?;
        }
        let pushed = self.registry.push_manifest(self.image, &documents.root.media_type, &documents.manifest);
        pushed.await.map_err(|source| self.failed(source))
    }

    /// Pushes a layer unless it is there. `Some` is one that cannot be had.
    async fn layer(
        &self,
        blob: &Blob,
        silent: &Silent,
    ) -> Result<Option<(Digest, String)>, CacheExportError> {
        let digest = blob.descriptor.digest;
        if !self.has(&digest).await? {
            if let Some(error) = fetch(blob, self.content, silent).await? {
                return Ok(Some((digest, error)));
            }
            self.push(&blob.descriptor).await?;
        }
        self.teller.wrote(&blob.descriptor);
        Ok(None)
    }

    async fn has(&self, digest: &Digest) -> Result<bool, CacheExportError> {
        self.registry.has_blob(self.image, digest).await.map_err(|source| self.failed(source))
    }

    async fn push(&self, blob: &Descriptor) -> Result<(), CacheExportError> {
        let path: PathBuf = self.content.path(&blob.digest);
        let path: &Path = &path;
        let pushed =
            self.registry.push_blob(self.image, LocalBlob { digest: blob.digest, size: blob.size, path });
        pushed.await.map_err(|source| self.failed(source))
    }

    fn failed(&self, source: RegistryError) -> CacheExportError {
        CacheExportError::Push { to: self.image.familiar(), source }
    }
}
