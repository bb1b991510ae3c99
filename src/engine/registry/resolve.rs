//! From a reference and a platform to one image: root, manifest, config, layers.

use std::time::SystemTime;

use futures_util::future::BoxFuture;
use serde_json::Value;

use super::client::Registry;
use super::document::{Descriptor, Document, MAX_CONFIG_BYTES, Manifest, media};
use super::error::RegistryError;
use super::image_error::ImageError;
use super::layout::Layout;
use super::platforms;
use super::provider::{Provider, read_if_there};
use crate::base::{Digest, ImageRef, Platform};
use crate::store::{ContentStore, Store, Table};

/// Indexes may point to indexes; deeper than this is a trap.
const MAX_NESTED_INDEXES: usize = 4;

/// Where a tag's meaning comes from (LLB's `image.resolvemode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResolveMode {
    /// The registry.
    #[default]
    Default,
    /// The registry, always.
    Pull,
    /// What the tag meant when it was last resolved here, if all of that is still in the store; else the registry.
    Local,
}

impl ResolveMode {
    /// Reads the attribute; absent and empty are the default. `None` when it is no mode.
    pub fn from_attr(text: Option<&str>) -> Option<ResolveMode> {
        match text.unwrap_or_default() {
            "" | "default" => Some(ResolveMode::Default),
            "pull" => Some(ResolveMode::Pull),
            "local" => Some(ResolveMode::Local),
            _ => None,
        }
    }
}

/// One image, known by its content; its layers need not be in the store.
#[derive(Clone)]
pub struct ResolvedImage {
    /// The image as people write it.
    pub reference: String,
    /// Digest of what the name stands for: an index or a manifest. This is what a lock pins.
    pub root_digest: Digest,
    /// The manifest that was chosen; the root itself when that is no index.
    pub manifest: Descriptor,
    /// Exactly the config's bytes.
    pub config: Vec<u8>,
    /// Digest of the config.
    pub config_digest: Digest,
    /// What the config says the image is for, normalised.
    pub platform: Platform,
    /// The layers, bottom first.
    pub layers: Vec<ImageLayer>,
    pub(in crate::engine) provider: Provider,
}

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageLayer {
    /// The blob as it is fetched.
    pub blob: Descriptor,
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
    /// What made it, from the config's history; empty when that does not say.
    pub created_by: String,
    /// When it was made, where that is to count rather than when it came here.
    pub created_at: Option<SystemTime>,
}

impl ResolvedImage {
    /// The config as JSON, keys in their order.
    pub fn config_json(&self) -> Value {
        serde_json::from_slice(&self.config).expect("the config was read when the image was resolved")
    }

    /// Chain ID of the layers; `None` when there are none.
    pub fn chain_id(&self) -> Option<Digest> {
        chain_id(self.layers.iter().map(|layer| &layer.diff_id))
    }

    /// Keeps only the first `n_layers` layers.
    pub fn limit_layers(&mut self, n_layers: usize) {
        self.layers.truncate(n_layers);
    }
}

/// Chain ID of layers: the digest that names the tree they add up to.
///
/// `diff_ids` are uncompressed-layer digests, base first. One layer's chain ID is its diff ID; each further one is
/// the SHA-256 of `"<previous> <diff id>"`, both written `sha256:<hex>`, one space between (OCI image-spec,
/// config.md, "ChainID"). `None` for no layers: the empty tree has no chain ID.
pub fn chain_id<'a>(diff_ids: impl IntoIterator<Item = &'a Digest>) -> Option<Digest> {
    diff_ids.into_iter().fold(None, |chain, diff_id| match chain {
        None => Some(*diff_id),
        Some(chain) => Some(Digest::of(format!("{chain} {diff_id}"))),
    })
}

/// What `reference` stands for on `platform`.
///
/// Manifests and configs are kept in the store by digest: a reference with a digest whose documents are there is
/// resolved without any request. An index gives the image that a machine of `platform` runs best; a tag that leads
/// to one image without an index gives that, whatever platform it is for.
pub async fn resolve_image(
    registry: &Registry,
    store: &Store,
    reference: &ImageRef,
    platform: &Platform,
    mode: ResolveMode,
) -> Result<ResolvedImage, ImageError> {
    let image = reference.clone().with_default_tag();
    let provider = Provider::Registry { registry: registry.clone(), image: image.clone() };
    let content = store.content();
    let resolver = Resolver { provider, content: &content, platform };
    let key = ImageRef { digest: None, ..image.clone() }.to_string();
    let remembered = || -> Option<Digest> {
        let value = store.get_value(Table::ImageRefs, key.as_bytes()).ok()??;
        std::str::from_utf8(&value).ok()?.parse().ok()
    };
    if let Some(digest) = image.digest {
        return resolver.root(digest).await;
    }
    if mode == ResolveMode::Local
        && let Some(digest) = remembered().filter(|digest| content.has(digest))
        && let Ok(resolved) = resolver.root(digest).await
    {
        return Ok(resolved);
    }
    let manifest = registry.manifest(&image).await?;
    let what = format!("image `{}`", image.familiar());
    // Checked before it is kept.
    Document::parse(&manifest.bytes, &manifest.content_type)
        .map_err(|source| RegistryError::Document { what: what.clone(), source })?;
    content.put(&manifest.bytes).map_err(|source| ImageError::Store { what, source: Box::new(source) })?;
    let resolved = resolver.root(manifest.digest).await?;
    // Only remembered to be asked less often: not being able to is no error.
    let _ = store.put_value(Table::ImageRefs, key.as_bytes(), manifest.digest.to_string().as_bytes());
    Ok(resolved)
}

/// What an entry of an OCI layout directory stands for on `platform`.
pub async fn resolve_layout(
    layout: &Layout,
    store: &Store,
    platform: &Platform,
) -> Result<ResolvedImage, ImageError> {
    let content = store.content();
    let resolver = Resolver { provider: Provider::Layout(layout.clone()), content: &content, platform };
    let selected = layout.select()?;
    match selected.as_slice() {
        [root] => {
            let found = resolver.descend(root, 0).await?;
            resolver.finish(root.digest, found.ok_or_else(|| resolver.no_platform(Vec::new()))?)
        }
        entries => {
            let found = resolver.choose(entries, 0).await?;
            let found = found.ok_or_else(|| resolver.no_platform(platforms::offered(entries)))?;
            resolver.finish(found.descriptor.digest, found)
        }
    }
}

struct Resolver<'a> {
    provider: Provider,
    content: &'a ContentStore,
    platform: &'a Platform,
}

/// A manifest with its config.
struct Found {
    descriptor: Descriptor,
    manifest: Manifest,
    config: Vec<u8>,
}

impl Resolver<'_> {
    async fn root(&self, digest: Digest) -> Result<ResolvedImage, ImageError> {
        let root = Descriptor::new("", digest, 0);
        let found = self.descend(&root, 0).await?.ok_or_else(|| self.no_platform(Vec::new()))?;
        self.finish(digest, found)
    }

    /// The image that `descriptor` leads to. The `depth`-th index is being looked at; the root's own image is taken
    /// whatever its platform.
    fn descend<'a>(
        &'a self,
        descriptor: &'a Descriptor,
        depth: usize,
    ) -> BoxFuture<'a, Result<Option<Found>, ImageError>> {
        Box::pin(async move {
            let document = self.provider.document(self.content, descriptor).await?;
            let media_type = document.media_type().to_owned();
            match document {
                Document::Index(_) if MAX_NESTED_INDEXES <= depth => {
                    Err(self.broken("its indexes are nested too deeply".to_owned()))
                }
                Document::Index(index) => {
                    let found = self.choose(&index.manifests, depth + 1).await?;
                    match found {
                        None if depth == 0 => Err(self.no_platform(platforms::offered(&index.manifests))),
                        found => Ok(found),
                    }
                }
                Document::Manifest(manifest) => {
                    let config = self.config(&manifest).await?;
                    // `Descriptor::size` of a root is not known beforehand.
                    let size = match descriptor.size {
                        0 => self.content.size(&descriptor.digest).ok().flatten().unwrap_or_default(),
                        size => size,
                    };
                    let descriptor = Descriptor { media_type, size, ..descriptor.clone() };
                    Ok(Some(Found { descriptor, manifest: *manifest, config }))
                }
            }
        })
    }

    /// The best of several entries; `None` when none fits.
    async fn choose(&self, entries: &[Descriptor], depth: usize) -> Result<Option<Found>, ImageError> {
        for entry in platforms::candidates(entries, self.platform) {
            let Some(found) = self.descend(entry, depth).await? else { continue };
            // An entry that does not say what it is for is known by its config.
            let fits = entry.platform.is_some()
                || platforms::rank(self.platform, &config_platform(&found.config, self.platform)).is_some();
            if fits {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    async fn config(&self, manifest: &Manifest) -> Result<Vec<u8>, ImageError> {
        let descriptor = &manifest.config;
        if !matches!(descriptor.media_type.as_str(), media::OCI_CONFIG | media::DOCKER_CONFIG) {
            return Err(self.broken(format!(
                "its config is of the type `{}`: it is an artifact, not a container image",
                descriptor.media_type
            )));
        }
        if MAX_CONFIG_BYTES < descriptor.size {
            let size = descriptor.size;
            return Err(self.broken(format!("its config has {size} bytes, more than {MAX_CONFIG_BYTES}")));
        }
        let what = format!("config `{}` of `{}`", descriptor.digest, self.provider.reference());
        for _ in 0..2 {
            self.provider.blob(self.content, descriptor, &what, &|_| {}).await?;
            // A config that was damaged on disk is gone after it was read: the second round fetches it again.
            if let Some(bytes) = read_if_there(self.content, &descriptor.digest, &what)? {
                return Ok(bytes);
            }
        }
        Err(self.broken(format!("{what} does not stay in the store")))
    }

    fn finish(&self, root_digest: Digest, found: Found) -> Result<ResolvedImage, ImageError> {
        let Found { descriptor, manifest, config } = found;
        let json: Value = serde_json::from_slice(&config)
            .map_err(|error| self.broken(format!("its config is not valid: {error}")))?;
        if !json.is_object() {
            return Err(self.broken("its config is no JSON object".to_owned()));
        }
        let diff_ids = match &json["rootfs"]["diff_ids"] {
            Value::Null => Vec::new(),
            Value::Array(texts) => texts
                .iter()
                .map(|text| text.as_str().unwrap_or_default().parse::<Digest>())
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| self.broken(format!("its config lists a bad layer: {error}")))?,
            _ => return Err(self.broken("`rootfs.diff_ids` of its config is no list".to_owned())),
        };
        let blobs = manifest.layers.unwrap_or_default();
        if blobs.len() != diff_ids.len() {
            let (n_blobs, n_ids) = (blobs.len(), diff_ids.len());
            return Err(
                self.broken(format!("its manifest has {n_blobs} layers, but its config lists {n_ids}"))
            );
        }
        if let Some(blob) = blobs.iter().find(|blob| !is_layer(&blob.media_type)) {
            let (digest, media_type) = (blob.digest, &blob.media_type);
            return Err(self.broken(format!("its layer `{digest}` is of the unknown type `{media_type}`")));
        }
        let mut created_by = json["history"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|entry| entry["empty_layer"] != true)
            .map(|entry| entry["created_by"].as_str().unwrap_or_default().to_owned());
        let layers = blobs
            .into_iter()
            .zip(diff_ids)
            .map(|(blob, diff_id)| ImageLayer {
                blob,
                diff_id,
                created_by: created_by.next().unwrap_or_default(),
                created_at: None,
            })
            .collect();
        Ok(ResolvedImage {
            reference: self.provider.reference(),
            root_digest,
            manifest: descriptor,
            config_digest: manifest.config.digest,
            platform: config_platform(&config, self.platform),
            config,
            layers,
            provider: self.provider.clone(),
        })
    }

    fn no_platform(&self, offered: Vec<String>) -> ImageError {
        let (reference, platform) = (self.provider.reference(), self.platform.to_string());
        ImageError::NoPlatform { reference, platform, offered }
    }

    fn broken(&self, reason: String) -> ImageError {
        ImageError::Broken { reference: self.provider.reference(), reason }
    }
}

/// What a config says it is for, normalised; `fallback` when it does not.
fn config_platform(config: &[u8], fallback: &Platform) -> Platform {
    let json: Value = serde_json::from_slice(config).unwrap_or_default();
    crate::graph::ir::ImageConfig::from_oci(&json, fallback).platform.normalize()
}

/// Whether a media type is one of a layer archive we can read.
pub(in crate::engine) fn is_layer(media_type: &str) -> bool {
    let media_type = media_type.replace(".nondistributable", "").replace(".foreign", "");
    matches!(
        media_type.as_str(),
        media::OCI_LAYER
            | media::OCI_LAYER_GZIP
            | media::OCI_LAYER_ZSTD
            | media::DOCKER_LAYER
            | media::DOCKER_LAYER_GZIP
            | media::DOCKER_LAYER_ZSTD
    )
}

#[cfg(test)]
mod tests;
