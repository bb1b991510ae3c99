//! Caches of elsewhere as the scheduler asks them: documents are read when a build begins, layers when a result is needed.
//!
//! What cannot be read, or is not what it should be, is warned of and counts as not there: a build never fails because
//! of a cache.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use serde_json::Value;

use super::chains::ResultLayer;
use super::config::{CacheConfig, CacheLayer, ConfigError, MAX_BYTES, MAX_CHAIN, Made, shown};
use super::spec::{CacheFrom, LocalName};
use super::{CONFIG_TYPE, INLINE_KEY, content_digest, edge_digest};
use crate::base::time::{parse_rfc3339, rfc3339};
use crate::base::{Digest, ImageRef};
use crate::engine::event::Unit;
use crate::engine::registry::document::{Descriptor, Document, MAX_CONFIG_BYTES, Manifest, media};
use crate::engine::registry::provider::{Provider, read_if_there};
use crate::engine::registry::pull::{Naming, pull_layers};
use crate::engine::registry::resolve::is_layer;
use crate::engine::registry::{
    ImageError, ImageLayer, LayerProgress, Layout, Registry, RegistryError, RetryPolicy,
};
use crate::engine::solver::{ExecCtx, Imports, InputOffers, Offer};
use crate::engine::source::signature::armor::base64;
use crate::engine::tree::Tree;
use crate::store::{ContentStore, Store, StoreError, Table};

/// Annotation of a layer's descriptor: digest of the uncompressed archive.
pub(super) const ANNOTATION_DIFF_ID: &str = "containerd.io/uncompressed";
/// Annotation of a layer's descriptor: when it was made.
pub(super) const ANNOTATION_CREATED: &str = "buildkit/createdat";
/// Annotation of a layer's descriptor: what made it.
pub(super) const ANNOTATION_DESCRIPTION: &str = "buildkit/description";

/// Images of one index whose caches are read.
const MAX_IMAGES: usize = 64;

/// How long a registry may give nothing until the build goes on without its cache.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a cache cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum CacheImportError {
    /// It did not come.
    #[error(transparent)]
    Fetch(#[from] ImageError),
    /// Its config is none that can be used.
    #[error("the cache config of `{from}` is refused: {source}")]
    Config {
        /// Registry or directory.
        from: String,
        /// Why.
        source: ConfigError,
    },
    /// An image, and nothing in it.
    #[error("`{from}` has no cache: it is an image that was built without `--cache-to type=inline`")]
    NoCache {
        /// Reference or directory.
        from: String,
    },
}

impl From<RegistryError> for CacheImportError {
    fn from(error: RegistryError) -> CacheImportError {
        CacheImportError::Fetch(error.into())
    }
}

/// Where a result came from that no run here made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Registry or directory, for people.
    pub from: String,
    /// When it came.
    pub at: SystemTime,
}

impl Origin {
    fn key(run: &Digest) -> Vec<u8> {
        format!("import {run}").into_bytes()
    }

    /// Forgetting it costs only the answer to a question.
    fn keep(store: &Store, run: &Digest, from: &str) {
        let value = format!("{} {from}", rfc3339(SystemTime::now()));
        let _ = store.put_value(Table::Sources, &Origin::key(run), value.as_bytes());
    }

    /// Where the result came from that is named as if `run` had made it here.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn of(store: &Store, run: &Digest) -> Result<Option<Origin>, StoreError> {
        let value = store.get_value(Table::Sources, &Origin::key(run))?;
        let text = value.and_then(|value| String::from_utf8(value).ok()).unwrap_or_default();
        Ok(text
            .split_once(' ')
            .and_then(|(at, from)| Some(Origin { from: from.to_owned(), at: parse_rfc3339(at)? })))
    }
}

/// A cache whose documents were read.
pub(in crate::engine) struct Imported {
    /// For people.
    shown: String,
    pub(super) provider: Provider,
    pub(super) config: CacheConfig,
    /// What is known of the layers' blobs.
    pub(super) blobs: HashMap<Digest, ImageLayer>,
    /// What was taken although it is not as it should be, for people.
    pub(in crate::engine) notice: Option<String>,
    /// By layer of the config: how many layers the chain that ends in it has; `None` when a blob of it is not there.
    depth: Vec<Option<usize>>,
}

/// All caches of a build.
#[derive(Default)]
pub struct ImportedCaches {
    store: Option<Store>,
    caches: Vec<Imported>,
    /// Index of each cache's first record among those of all.
    first: Vec<u32>,
    by_digest: HashMap<Digest, Vec<Offer>>,
}

/// The layers of a record's result.
pub(super) struct Layers<'a> {
    /// Whose they are.
    pub(super) cache: &'a Imported,
    /// Indexes in its config, bottom first.
    indexes: Vec<usize>,
    /// When the result was made.
    pub(super) created_at: SystemTime,
}

impl Layers<'_> {
    fn layers(&self) -> impl Iterator<Item = &CacheLayer> {
        self.indexes.iter().map(|&it| &self.cache.config.layers[it])
    }

    /// As they are exported again, bottom first.
    pub(super) fn results(&self) -> Vec<ResultLayer> {
        self.layers().map(|it| ResultLayer { blob: it.blob, made: it.made.clone() }).collect()
    }

    /// As they are fetched, bottom first: each called what its own step called it, whatever else is of the same bytes.
    fn images(&self) -> Vec<ImageLayer> {
        let image = |it: &CacheLayer| {
            let Made { by, at } = &*it.made;
            let blob = self.cache.blobs[&it.blob].clone();
            ImageLayer { created_by: by.clone(), created_at: *at, ..blob }
        };
        self.layers().map(image).collect()
    }
}

impl ImportedCaches {
    /// No caches yet; results go to `store`.
    pub fn new(store: Store) -> ImportedCaches {
        ImportedCaches { store: Some(store), ..ImportedCaches::default() }
    }

    /// Whether nothing can be found.
    pub fn is_empty(&self) -> bool {
        self.by_digest.is_empty()
    }

    /// Records in all.
    pub fn n_records(&self) -> usize {
        self.caches.iter().map(|it| it.config.records.len()).sum()
    }

    pub(in crate::engine) fn add(&mut self, cache: Imported) {
        let first = self.n_records() as u32;
        for (idx, record) in cache.config.records.iter().enumerate() {
            self.by_digest.entry(record.digest).or_default().push(Offer(first + idx as u32));
        }
        self.first.push(first);
        self.caches.push(cache);
    }

    fn find(&self, Offer(offer): Offer) -> (usize, usize) {
        let cache = self.first.partition_point(|&first| first <= offer) - 1;
        (cache, (offer - self.first[cache]) as usize)
    }

    /// Where an offer comes from, for people.
    pub fn origin(&self, offer: Offer) -> &str {
        &self.caches[self.find(offer).0].shown
    }

    /// Digests of the content that records of these say may be read of an input: those of records without inputs.
    pub(super) fn contents(&self, offer: Offer, input: usize) -> Vec<Digest> {
        let (cache, record) = self.find(offer);
        let records = &self.caches[cache].config.records;
        let Some(links) = records[record].inputs.get(input) else { return Vec::new() };
        let plain = links.iter().filter(|it| it.selector.is_none()).map(|it| &records[it.link]);
        plain.filter(|it| it.inputs.is_empty() && it.results.is_empty()).map(|it| it.digest).collect()
    }

    /// The newest result of a record that is whole.
    pub(super) fn layers(&self, offer: Offer) -> Option<Layers<'_>> {
        let (cache, record) = self.find(offer);
        let cache = &self.caches[cache];
        let record = &cache.config.records[record];
        let result = record
            .results
            .iter()
            .filter(|it| cache.depth[it.layer].is_some())
            .max_by_key(|it| it.created_at)
            .map(|it| (cache.config.chain(it.layer), it.created_at));
        let is_whole = |chain: &[usize]| {
            let layer = |&it: &usize| cache.blobs.contains_key(&cache.config.layers[it].blob);
            !chain.is_empty() && chain.len() <= MAX_CHAIN && chain.iter().all(layer)
        };
        let chain = record.chains.iter().filter(|it| is_whole(&it.layers)).max_by_key(|it| it.created_at);
        let (indexes, created_at) = result.or(chain.map(|it| (it.layers.clone(), it.created_at)))?;
        Some(Layers { cache, indexes, created_at })
    }

    /// A layer's blob as each cache that has it describes it, and where it can be had.
    pub(super) fn blobs(&self, digest: &Digest) -> Vec<(&ImageLayer, &Provider)> {
        self.caches.iter().filter_map(|it| Some((it.blobs.get(digest)?, &it.provider))).collect()
    }

    fn created_at(&self, offer: Offer) -> Option<SystemTime> {
        let (cache, record) = self.find(offer);
        let cache = &self.caches[cache];
        let record = &cache.config.records[record];
        let results = record.results.iter().filter(|it| cache.depth[it.layer].is_some());
        let chains = record.chains.iter().filter(|it| {
            let is_there = |&it: &usize| cache.blobs.contains_key(&cache.config.layers[it].blob);
            !it.layers.is_empty() && it.layers.len() <= MAX_CHAIN && it.layers.iter().all(is_there)
        });
        results.map(|it| it.created_at).chain(chains.map(|it| it.created_at)).max()
    }

    fn stands_for(&self, cache: usize, record: usize, inputs: &[InputOffers<'_>]) -> bool {
        let config = &self.caches[cache].config;
        let record = &config.records[record];
        let first = self.first[cache];
        record.inputs.len() == inputs.len()
            && record.inputs.iter().zip(inputs).all(|(links, input)| {
                let content = input.content.map(|it| content_digest(&it));
                links.iter().any(|link| {
                    let linked = &config.records[link.link];
                    let is_read = link.selector.is_none()
                        && linked.inputs.is_empty()
                        && content.as_ref() == Some(&linked.digest);
                    let offer = Offer(first + link.link as u32);
                    is_read || (link.selector == input.selector && input.edge.contains(&offer))
                })
            })
    }
}

impl Imports<Tree> for ImportedCaches {
    fn matching(&self, names: &[Digest], output: usize, inputs: &[InputOffers<'_>]) -> Vec<Offer> {
        let named = names.iter().filter_map(|name| self.by_digest.get(&edge_digest(name, output))).flatten();
        named
            .copied()
            .filter(|&offer| {
                let (cache, record) = self.find(offer);
                self.stands_for(cache, record, inputs)
            })
            .collect()
    }

    fn with_results(&self, offers: &[Offer]) -> Vec<Offer> {
        let mut found: Vec<(SystemTime, Offer)> =
            offers.iter().filter_map(|&it| Some((self.created_at(it)?, it))).collect();
        found.sort_by_key(|&(created_at, offer)| (std::cmp::Reverse(created_at), offer));
        found.into_iter().map(|(_, offer)| offer).collect()
    }

    fn load<'a>(&'a self, ctx: &'a ExecCtx, offers: Vec<Offer>) -> BoxFuture<'a, Option<Tree>> {
        Box::pin(async move {
            let store = self.store.as_ref()?;
            for layers in offers.into_iter().filter_map(|it| self.layers(it)) {
                let progress = ctx.clone();
                let on_progress = Arc::new(move |it: LayerProgress| {
                    progress.progress(&it.blob.short(), it.current, Some(it.total), Unit::Bytes);
                });
                let (wanted, cache) = (layers.images(), layers.cache);
                let (shown, naming) = (&cache.shown, Naming::Kept);
                let pulling =
                    pull_layers(&cache.provider, shown, &wanted, naming, store, &ctx.cancel, on_progress);
                match pulling.await {
                    Ok(tree) => {
                        if let Some(run) = &ctx.run {
                            Origin::keep(store, run, &cache.shown);
                        }
                        return Some(Tree::Stored(tree));
                    }
                    Err(ImageError::Cancelled) => return None,
                    Err(error) => ctx.warn(&format!("not taken from the cache `{}`: {error}", cache.shown)),
                }
            }
            None
        })
    }
}

/// Reads the documents of a cache. `registry` speaks for the build's session.
///
/// # Errors
/// See [`CacheImportError`].
pub(in crate::engine) async fn read(
    from: &CacheFrom,
    registry: &Registry,
    store: &Store,
) -> Result<Vec<Imported>, CacheImportError> {
    let content = store.content();
    match from {
        CacheFrom::Registry { image, insecure } => {
            let registry = if *insecure { registry.insecure(image) } else { registry.clone() };
            let registry = registry.retrying(RetryPolicy { budget: PATIENCE, ..registry.retry().clone() });
            let answer = registry.manifest(image).await?;
            let what = format!("cache `{}`", image.familiar());
            let document = Document::parse(&answer.bytes, &answer.content_type)
                .map_err(|source| RegistryError::Document { what, source })?;
            let repository = ImageRef { digest: Some(answer.digest), ..image.clone() };
            let reader = Reader {
                shown: from.shown(),
                provider: Provider::Registry { registry, image: repository },
                content: &content,
            };
            reader.read(document).await
        }
        CacheFrom::Local { dir, name } => {
            let (layout, selected) = match name {
                // No name of an image: `Layout::select` would look for the `latest` of one that is called so.
                LocalName::Tag(tag) => {
                    let layout = Layout::new(dir, tag.as_str());
                    let selected = layout.select_tag(tag)?;
                    (layout, selected)
                }
                LocalName::Digest(digest) => {
                    let layout = Layout::new(dir, format!("cache@{digest}"));
                    let selected = layout.select()?;
                    (layout, selected)
                }
            };
            let reader =
                Reader { shown: from.shown(), provider: Provider::Layout(layout), content: &content };
            let mut all = Vec::new();
            for root in selected {
                let document = reader.provider.document(&content, &root).await?;
                all.extend(reader.read(document).await?);
            }
            Ok(all)
        }
    }
}

struct Reader<'a> {
    shown: String,
    provider: Provider,
    content: &'a ContentStore,
}

impl Reader<'_> {
    async fn read(&self, document: Document) -> Result<Vec<Imported>, CacheImportError> {
        match document {
            Document::Manifest(manifest) if manifest.config.media_type == CONFIG_TYPE => {
                let layers = manifest.layers.unwrap_or_default();
                Ok(vec![self.cache(&manifest.config, layers).await?])
            }
            Document::Manifest(manifest) => {
                let found = self.inline(&manifest).await?;
                found.map(|it| vec![it]).ok_or_else(|| self.no_cache())
            }
            Document::Index(index) => {
                if let Some(config) = index.manifests.iter().find(|it| it.media_type == CONFIG_TYPE).cloned()
                {
                    return Ok(vec![self.cache(&config, index.manifests).await?]);
                }
                let mut found = Vec::new();
                let is_image = |it: &&Descriptor| {
                    matches!(it.media_type.as_str(), media::OCI_MANIFEST | media::DOCKER_MANIFEST)
                };
                for entry in index.manifests.iter().filter(is_image).take(MAX_IMAGES) {
                    let document = self.provider.document(self.content, entry).await?;
                    if let Document::Manifest(manifest) = document {
                        found.extend(self.inline(&manifest).await?);
                    }
                }
                if found.is_empty() { Err(self.no_cache()) } else { Ok(found) }
            }
        }
    }

    fn no_cache(&self) -> CacheImportError {
        CacheImportError::NoCache { from: self.shown.clone() }
    }

    fn refused(&self) -> impl Fn(ConfigError) -> CacheImportError + '_ {
        |source| CacheImportError::Config { from: self.shown.clone(), source }
    }

    async fn bytes(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, CacheImportError> {
        if limit < descriptor.size {
            let source = ConfigError::TooMany { what: "bytes", found: descriptor.size, limit };
            return Err(self.refused()(source));
        }
        let what = format!("cache config `{}` of `{}`", descriptor.digest, self.shown);
        for _ in 0..2 {
            self.provider.blob(self.content, descriptor, &what, &|_| {}).await?;
            // What was damaged on disk is gone after it was read: the second round fetches it again.
            if let Some(bytes) = read_if_there(self.content, &descriptor.digest, &what)? {
                return Ok(bytes);
            }
        }
        let host = self.shown.clone();
        Err(RegistryError::NotFound { what, host }.into())
    }

    /// A cache that is a document of its own.
    async fn cache(
        &self,
        config: &Descriptor,
        layers: Vec<Descriptor>,
    ) -> Result<Imported, CacheImportError> {
        let bytes = self.bytes(config, MAX_BYTES).await?;
        let mut config = CacheConfig::parse(&bytes).map_err(self.refused())?;
        let layers: Vec<Descriptor> = layers.into_iter().filter(|it| is_layer(&it.media_type)).collect();
        let mut times = Times::default();
        say_made(&mut config.layers, &layers, &mut times);
        let blobs = layers.into_iter().filter_map(|blob| {
            // Without it nobody could say whether the layer is what it should be.
            let diff_id = blob.annotations.get(ANNOTATION_DIFF_ID)?.parse().ok()?;
            Some((blob.digest, nameless(blob, diff_id)))
        });
        Ok(Imported::new(self, config, blobs.collect(), &times))
    }

    /// The cache of an image's own layers, if its config has one.
    async fn inline(&self, manifest: &Manifest) -> Result<Option<Imported>, CacheImportError> {
        if !matches!(manifest.config.media_type.as_str(), media::OCI_CONFIG | media::DOCKER_CONFIG) {
            return Ok(None);
        }
        let bytes = self.bytes(&manifest.config, MAX_CONFIG_BYTES).await?;
        let config: Value = serde_json::from_slice(&bytes).map_err(|error| self.refused()(error.into()))?;
        let Some(text) = config[INLINE_KEY].as_str() else { return Ok(None) };
        let Some(records) = base64(text) else {
            let error = serde::de::Error::custom(format!("`{INLINE_KEY}` is not base64"));
            return Err(self.refused()(ConfigError::Json(error)));
        };
        let blobs = manifest.layers.clone().unwrap_or_default();
        let diff_ids: Vec<Option<Digest>> = config["rootfs"]["diff_ids"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|it| it.as_str().and_then(|it| it.parse().ok()))
            .collect();
        let digests: Vec<Digest> = blobs.iter().map(|it| it.digest).collect();
        let mut read = CacheConfig::parse_inline(&records, &digests).map_err(self.refused())?;
        let history =
            config["history"].as_array().into_iter().flatten().filter(|it| it["empty_layer"] != true);
        let mut times = Times::default();
        for (layer, said) in read.layers.iter_mut().zip(history) {
            let at = match &said["created"] {
                Value::Null => None,
                Value::String(text) => times.read(text),
                other => times.read(&other.to_string()),
            };
            let by = said["created_by"].as_str().unwrap_or_default().to_owned();
            layer.made = Arc::new(Made { by, at });
        }
        let known = blobs.into_iter().zip(diff_ids).filter_map(|(blob, diff_id)| {
            let diff_id = diff_id.filter(|_| is_layer(&blob.media_type))?;
            Some((blob.digest, nameless(blob, diff_id)))
        });
        Ok(Some(Imported::new(self, read, known.collect(), &times)))
    }
}

/// A blob and what it unpacks to; what made it is said of each layer that it is.
fn nameless(blob: Descriptor, diff_id: Digest) -> ImageLayer {
    ImageLayer { blob, diff_id, created_by: String::new(), created_at: None }
}

/// Notes how layers came to be as their descriptors say. There is one for each layer, in their order (bkl, BuildKit); where
/// there is not, each says it of all layers of its bytes.
fn say_made(layers: &mut [CacheLayer], descriptors: &[Descriptor], times: &mut Times) {
    let mut made = |it: &Descriptor| {
        let at = it.annotations.get(ANNOTATION_CREATED).and_then(|text| times.read(text));
        let by = it.annotations.get(ANNOTATION_DESCRIPTION).cloned().unwrap_or_default();
        Arc::new(Made { by, at })
    };
    if layers.iter().map(|it| it.blob).eq(descriptors.iter().map(|it| it.digest)) {
        layers.iter_mut().zip(descriptors).for_each(|(layer, it)| layer.made = made(it));
        return;
    }
    let known: HashMap<Digest, Arc<Made>> = descriptors.iter().map(|it| (it.digest, made(it))).collect();
    for layer in layers {
        layer.made = known.get(&layer.blob).cloned().unwrap_or_default();
    }
}

/// When layers were made. A layer of which that cannot be read is as good as others: it counts as made when it came.
#[derive(Debug, Default)]
struct Times {
    /// The first text that is no time.
    bad: Option<String>,
    n_bad: usize,
}

impl Times {
    fn read(&mut self, text: &str) -> Option<SystemTime> {
        let at = parse_rfc3339(text);
        if at.is_none() {
            self.bad.get_or_insert_with(|| shown(text));
            self.n_bad += 1;
        }
        at
    }

    /// What to say of `cache`.
    fn notice(&self, cache: &str) -> Option<String> {
        let text = self.bad.as_ref()?;
        let layers =
            if self.n_bad == 1 { "a layer was".to_owned() } else { format!("{} layers were", self.n_bad) };
        Some(format!(
            "the cache `{cache}` does not say in a valid form when {layers} made (`{text}`): that counts as now"
        ))
    }
}

impl Imported {
    fn new(
        reader: &Reader<'_>,
        config: CacheConfig,
        blobs: HashMap<Digest, ImageLayer>,
        times: &Times,
    ) -> Imported {
        let Reader { shown, provider, .. } = reader;
        let (depth, notice) = (depths(&config, &blobs), times.notice(shown));
        Imported { shown: shown.clone(), provider: provider.clone(), config, blobs, notice, depth }
    }
}

/// By layer: how many layers its chain has, if all of them are there and they are not too many.
fn depths(config: &CacheConfig, blobs: &HashMap<Digest, ImageLayer>) -> Vec<Option<usize>> {
    let mut known: BTreeMap<usize, Option<usize>> = BTreeMap::new();
    for start in 0..config.layers.len() {
        let mut path = Vec::new();
        let mut at = Some(start);
        let mut below = Some(0);
        while let Some(layer) = at {
            if let Some(depth) = known.get(&layer) {
                below = *depth;
                break;
            }
            path.push(layer);
            at = config.layers[layer].parent;
        }
        for layer in path.into_iter().rev() {
            let is_there = blobs.contains_key(&config.layers[layer].blob);
            below = below.filter(|_| is_there).map(|n| n + 1).filter(|n| *n <= MAX_CHAIN);
            known.insert(layer, below);
        }
    }
    known.into_values().collect()
}

#[cfg(test)]
mod tests;
