//! An image as documents and blobs: layers from the store, config, manifest, index.

use std::collections::BTreeMap;

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

pub(in crate::engine) use super::config::LayerFacts;
use super::config::config_bytes;
use super::spec::{AnnotationPlace, ImageOptions, MediaTypes};
use super::{ExportError, ExportImage, ExportItem, ExportKind, ExportedImage, json};
use crate::base::{Digest, Platform};
use crate::engine::registry::chain_id;
use crate::engine::registry::document::{Descriptor, Index, Manifest, media};
use crate::graph::ir::ImageConfig;
use crate::store::{BlobDescriptor, Compression, Existing, LayerId, Snapshot, Store, StoreError};

/// What an item is in an OCI layout: its root and all that the root leads to.
pub(super) struct Artifact {
    /// The manifest, or the index.
    pub(super) root: Descriptor,
    /// Names, normalised references.
    pub(super) tags: Vec<String>,
    /// The images of it, in the order of the platforms.
    pub(super) images: Vec<Image>,
    /// The time of an image's config; the latest, for an index.
    pub(super) created: Option<String>,
    /// Documents by digest: configs, manifests, index.
    pub(super) documents: BTreeMap<Digest, Vec<u8>>,
}

/// One image of an artifact.
pub(super) struct Image {
    pub(super) platform: Platform,
    pub(super) manifest: Digest,
    pub(super) config: Digest,
    /// The layers' blobs in the content store, bottom first.
    pub(super) layers: Vec<BlobDescriptor>,
}

/// The digests that exporting an item with these options gives, without writing anything: blobs and documents are
/// made in the store. `None` for files.
pub fn describe(
    store: &Store,
    item: &ExportItem,
    options: &ImageOptions,
) -> Result<Option<ExportedImage>, ExportError> {
    match &item.kind {
        ExportKind::Fs(_) => Ok(None),
        ExportKind::Image(_) | ExportKind::Index { .. } => {
            Artifact::of(store, item, options, "oci").map(|artifact| Some(artifact.exported(&item.name)))
        }
    }
}

/// What a result is called without being exported: for an image the digest of its config (what docker calls the image
/// ID), for an index a digest over those of its images, for files the chain ID of their layers.
///
/// Only hashes what was never hashed before. `None` for a tree without layers.
pub fn identify(store: &Store, item: &ExportItem) -> Result<Option<Digest>, ExportError> {
    let failed = |source| ExportError::Store { item: item.name.clone(), source: Box::new(source) };
    match &item.kind {
        ExportKind::Fs(tree) => {
            let facts = layer_facts(store, tree).map_err(failed)?;
            Ok(chain_id(facts.iter().map(|layer| &layer.diff_id)))
        }
        ExportKind::Image(image) => image_id(store, image).map(Some).map_err(failed),
        ExportKind::Index { images, .. } => {
            let ids = images.iter().map(|image| image_id(store, image)).collect::<Result<Vec<_>, _>>();
            let ids: Vec<String> = ids.map_err(failed)?.iter().map(Digest::to_string).collect();
            Ok(Some(Digest::of(ids.join("\n"))))
        }
    }
}

fn image_id(store: &Store, image: &ExportImage) -> Result<Digest, StoreError> {
    let facts = layer_facts(store, &image.snapshot)?;
    Ok(Digest::of(config_bytes(&image.config, &facts, None, image.cache.as_deref())))
}

fn layer_facts(store: &Store, tree: &Snapshot) -> Result<Vec<LayerFacts>, StoreError> {
    let facts = |layer: &LayerId| {
        let info = store.layer(*layer)?.ok_or(StoreError::NoLayer { layer: *layer })?;
        let (created_at, description) = (info.created_at, info.description);
        Ok(LayerFacts { diff_id: store.diff_id(*layer)?, created_at, description })
    };
    tree.layers().par_iter().map(facts).collect()
}

impl Artifact {
    /// Makes blobs and documents of an item. `format` is for messages.
    pub(super) fn of(
        store: &Store,
        item: &ExportItem,
        options: &ImageOptions,
        format: &'static str,
    ) -> Result<Artifact, ExportError> {
        match &item.kind {
            ExportKind::Fs(_) => Err(ExportError::NotAnImage { item: item.name.clone(), format }),
            ExportKind::Image(image) => {
                let mut documents = BTreeMap::new();
                let mut made = make_image(store, &item.name, image, options, &mut documents)?;
                made.descriptor.platform = Some((&made.image.platform).into());
                add_annotations(
                    &mut made.descriptor.annotations,
                    options,
                    AnnotationPlace::ManifestDescriptor,
                    &made.image.platform,
                );
                Ok(Artifact {
                    root: made.descriptor,
                    tags: names(options, &image.tags),
                    created: made.created,
                    images: vec![made.image],
                    documents,
                })
            }
            ExportKind::Index { images, tags } => make_index(store, &item.name, images, tags, options),
        }
    }

    pub(super) fn exported(&self, name: &str) -> ExportedImage {
        ExportedImage {
            name: name.to_owned(),
            digest: self.root.digest,
            platforms: self
                .images
                .iter()
                .map(|image| (image.platform.clone(), image.manifest, image.config))
                .collect(),
            tags: self.tags.clone(),
        }
    }
}

struct Made {
    image: Image,
    descriptor: Descriptor,
    created: Option<String>,
}

fn make_image(
    store: &Store,
    item: &str,
    image: &ExportImage,
    options: &ImageOptions,
    documents: &mut BTreeMap<Digest, Vec<u8>>,
) -> Result<Made, ExportError> {
    let failed = |source| ExportError::Store { item: item.to_owned(), source: Box::new(source) };
    let layers = image
        .snapshot
        .layers()
        .par_iter()
        .map(|layer| layer_blob(store, *layer, options))
        .collect::<Result<Vec<(BlobDescriptor, LayerFacts)>, StoreError>>()
        .map_err(failed)?;
    let (layers, facts): (Vec<BlobDescriptor>, Vec<LayerFacts>) = layers.into_iter().unzip();
    let types = options.media_types;
    let config = &match &options.config {
        Some(given) => ImageConfig::from_oci(given, &image.config.platform),
        None => image.config.clone(),
    };
    let config_bytes = config_bytes(config, &facts, options.epoch, image.cache.as_deref());
    let (config_type, manifest_type) = match types {
        MediaTypes::Oci => (media::OCI_CONFIG, media::OCI_MANIFEST),
        MediaTypes::Docker => (media::DOCKER_CONFIG, media::DOCKER_MANIFEST),
    };
    let platform = config.platform.normalize();
    let blobs: Vec<Descriptor> = layers
        .iter()
        .map(|blob| Descriptor::new(&layer_type(&blob.media_type, types), blob.digest, blob.size))
        .collect();
    let mut manifest = Manifest {
        schema_version: 2,
        media_type: manifest_type.to_owned(),
        config: Descriptor::of(config_type, &config_bytes),
        layers: Some(blobs).filter(|blobs| !blobs.is_empty()),
        annotations: BTreeMap::new(),
    };
    add_annotations(&mut manifest.annotations, options, AnnotationPlace::Manifest, &platform);
    let manifest_bytes = json::indented(&manifest);
    let descriptor = Descriptor::of(manifest_type, &manifest_bytes);
    let created = serde_json::from_slice::<serde_json::Value>(&config_bytes)
        .ok()
        .and_then(|config| Some(config["created"].as_str()?.to_owned()));
    let image = Image { platform, manifest: descriptor.digest, config: manifest.config.digest, layers };
    documents.insert(manifest.config.digest, config_bytes);
    documents.insert(descriptor.digest, manifest_bytes);
    Ok(Made { image, descriptor, created })
}

fn make_index(
    store: &Store,
    item: &str,
    images: &[ExportImage],
    tags: &[String],
    options: &ImageOptions,
) -> Result<Artifact, ExportError> {
    let mut documents = BTreeMap::new();
    let mut made_images = Vec::new();
    let mut entries = Vec::new();
    let mut created = None;
    for image in images {
        let mut made = make_image(store, item, image, options, &mut documents)?;
        made.descriptor.platform = Some((&made.image.platform).into());
        let place = AnnotationPlace::ManifestDescriptor;
        add_annotations(&mut made.descriptor.annotations, options, place, &made.image.platform);
        entries.push(made.descriptor);
        created = created.max(made.created);
        made_images.push(made.image);
    }
    let index_type = match options.media_types {
        MediaTypes::Oci => media::OCI_INDEX,
        MediaTypes::Docker => media::DOCKER_INDEX,
    };
    let mut index = Index {
        schema_version: 2,
        media_type: index_type.to_owned(),
        manifests: entries,
        annotations: BTreeMap::new(),
    };
    let no_platform = Platform::default();
    add_annotations(&mut index.annotations, options, AnnotationPlace::Index, &no_platform);
    let bytes = json::indented(&index);
    let mut root = Descriptor::of(index_type, &bytes);
    add_annotations(&mut root.annotations, options, AnnotationPlace::IndexDescriptor, &no_platform);
    documents.insert(root.digest, bytes);
    Ok(Artifact { root, tags: names(options, tags), images: made_images, created, documents })
}

/// The blob of a layer, there in the content store.
pub(in crate::engine) fn layer_blob(
    store: &Store,
    layer: LayerId,
    options: &ImageOptions,
) -> Result<(BlobDescriptor, LayerFacts), StoreError> {
    let info = store.layer(layer)?.ok_or(StoreError::NoLayer { layer })?;
    let existing = if options.force_compression { Existing::Recompress } else { Existing::Keep };
    let mut blob = store.blob(layer, options.compression, existing)?;
    // A pulled layer's blob may be gone while the layer is not.
    if !store.content().has(&blob.digest) {
        blob = store.blob(layer, options.compression, Existing::Recompress)?;
    }
    let facts =
        LayerFacts { diff_id: blob.diff_id, created_at: info.created_at, description: info.description };
    Ok((blob, facts))
}

/// A layer's media type in the family wanted; types of no family (non-distributable ones are among them) become the
/// plain ones of their compression.
pub(in crate::engine) fn layer_type(as_kept: &str, types: MediaTypes) -> String {
    let compression = if as_kept.ends_with("gzip") {
        Compression::Gzip(0)
    } else if as_kept.ends_with("zstd") {
        Compression::Zstd(0)
    } else {
        Compression::None
    };
    match (types, compression) {
        (MediaTypes::Oci, Compression::None) => media::OCI_LAYER,
        (MediaTypes::Oci, Compression::Gzip(_)) => media::OCI_LAYER_GZIP,
        (MediaTypes::Oci, Compression::Zstd(_)) => media::OCI_LAYER_ZSTD,
        (MediaTypes::Docker, Compression::None) => media::DOCKER_LAYER,
        (MediaTypes::Docker, Compression::Gzip(_)) => media::DOCKER_LAYER_GZIP,
        (MediaTypes::Docker, Compression::Zstd(_)) => media::DOCKER_LAYER_ZSTD,
    }
    .to_owned()
}

fn add_annotations(
    annotations: &mut BTreeMap<String, String>,
    options: &ImageOptions,
    place: AnnotationPlace,
    platform: &Platform,
) {
    let is_index = matches!(place, AnnotationPlace::Index | AnnotationPlace::IndexDescriptor);
    for it in options.annotations.iter().filter(|it| it.place == place) {
        if is_index || it.platform.as_ref().is_none_or(|wanted| wanted.normalize() == *platform) {
            annotations.insert(it.key.clone(), it.value.clone());
        }
    }
}

/// The names that the options give, else the image's own.
fn names(options: &ImageOptions, tags: &[String]) -> Vec<String> {
    if options.names.is_empty() { tags.to_vec() } else { options.names.clone() }
}
