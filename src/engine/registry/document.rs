//! Manifests and indexes: their types, their limits, and the rules that keep one from passing for the other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::{Digest, Platform};

/// Manifests and indexes above this size are refused (security.md S1.10; registries refuse them too).
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// Image configs above this size are refused.
pub const MAX_CONFIG_BYTES: u64 = 8 << 20;

/// Media types of what we read and write (OCI image-spec media-types.md, docker distribution manifest v2).
#[allow(missing_docs, reason = "the media types are their own documentation")]
pub mod media {
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    pub const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";
}

/// What a manifest request says it takes, best first.
pub const ACCEPT_MANIFEST: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// Annotation with the tag or name of an entry of an OCI layout.
pub const ANNOTATION_REF_NAME: &str = "org.opencontainers.image.ref.name";

/// A pointer to content (OCI image-spec descriptor.md). Fields are written in the order of Go's struct, so that the
/// bytes are the ones other builders write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is; empty in some very old layouts.
    #[serde(default)]
    pub media_type: String,
    /// Content address.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// Places outside the registry ("foreign layers"). Never followed; kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Free text, sorted by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
    /// What the manifest behind it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<OciPlatform>,
    /// Kind of an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// A descriptor of `bytes`, without annotations or platform.
    pub fn of(media_type: &str, bytes: &[u8]) -> Descriptor {
        Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }

    /// A descriptor without annotations or platform.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Descriptor {
        Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            platform: None,
            artifact_type: None,
        }
    }

    /// Whether it points to an index (a manifest list).
    pub fn is_index(&self) -> bool {
        matches!(self.media_type.as_str(), media::OCI_INDEX | media::DOCKER_INDEX)
    }
}

/// A platform as OCI JSON writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OciPlatform {
    /// GOARCH.
    #[serde(default)]
    pub architecture: String,
    /// GOOS.
    #[serde(default)]
    pub os: String,
    /// Windows build.
    #[serde(default, rename = "os.version", skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// Needed features.
    #[serde(default, rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// `v7`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

impl From<&OciPlatform> for Platform {
    fn from(oci: &OciPlatform) -> Platform {
        Platform {
            os: oci.os.clone(),
            arch: oci.architecture.clone(),
            variant: oci.variant.clone(),
            os_version: oci.os_version.clone(),
            os_features: oci.os_features.clone(),
        }
    }
}

impl From<&Platform> for OciPlatform {
    fn from(platform: &Platform) -> OciPlatform {
        OciPlatform {
            architecture: platform.arch.clone(),
            os: platform.os.clone(),
            os_version: platform.os_version.clone(),
            os_features: platform.os_features.clone(),
            variant: platform.variant.clone(),
        }
    }
}

/// An image manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// May be absent in OCI manifests.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// The image config.
    pub config: Descriptor,
    /// Bottom first. `None` and `null` when there are none, as Go writes an empty image.
    #[serde(default)]
    pub layers: Option<Vec<Descriptor>>,
    /// Free text, sorted by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
}

/// An image index (a manifest list).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// May be absent in OCI indexes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// One per platform, in the order they were written.
    #[serde(default, deserialize_with = "null_is_default")]
    pub manifests: Vec<Descriptor>,
    /// Free text, sorted by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
}

/// What a manifest request can give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Box<Manifest>),
    /// Several.
    Index(Index),
}

/// Why some bytes are neither a manifest nor an index; reads after "is refused: ".
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Too big to be one.
    #[error("it has {size} bytes, more than the {limit} allowed")]
    TooBig {
        /// Bytes found or announced.
        size: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// Not JSON, or not of the form.
    #[error("it is not valid: {0}")]
    Json(#[from] serde_json::Error),
    /// What came is something else, such as the page of a proxy or of a login.
    #[error("what came is no manifest, but of type `{0}`: a web page or a proxy's answer, perhaps")]
    Foreign(String),
    /// A document that two readers could take for two different things (CVE-2021-41190).
    #[error("it has both `layers` and `manifests`, so it could pass for an image and for an index")]
    Ambiguous,
    /// Header and body disagree.
    #[error("`Content-Type` says `{header}`, but `mediaType` says `{body}`")]
    Disagree {
        /// Of the response, or of the descriptor that led here.
        header: String,
        /// Of the document.
        body: String,
    },
    /// The form does not fit the type.
    #[error("its type is `{}`, but it has no `{field}`", if media_type.is_empty() { "image" } else { media_type })]
    Form {
        /// Announced type.
        media_type: String,
        /// Field such a document must have.
        field: &'static str,
    },
    /// Docker's first format.
    #[error("it is in docker's old format (schema 1), which has no content addresses")]
    Schema1,
    /// Not an image.
    #[error("its type `{0}` is neither an image manifest nor an index")]
    Type(String),
}

impl Document {
    /// Reads a manifest or an index.
    ///
    /// `announced` is what led here: the `Content-Type` of the response or the type in the descriptor; empty when
    /// there was none. It and the document's own `mediaType` must agree, and the document must have that form.
    pub fn parse(bytes: &[u8], announced: &str) -> Result<Document, DocumentError> {
        let size = bytes.len() as u64;
        if MAX_MANIFEST_BYTES < size {
            return Err(DocumentError::TooBig { size, limit: MAX_MANIFEST_BYTES });
        }
        let value: Value = serde_json::from_slice(bytes).map_err(|error| {
            let is_foreign = !announced.is_empty() && !announced.contains("json");
            if is_foreign { DocumentError::Foreign(announced.to_owned()) } else { error.into() }
        })?;
        let present = |field: &str| value.get(field).is_some_and(|it| !it.is_null());
        if present("manifests") && (present("layers") || present("config")) {
            return Err(DocumentError::Ambiguous);
        }
        if value["schemaVersion"] == 1 || present("fsLayers") {
            return Err(DocumentError::Schema1);
        }
        let header = announced.split(';').next().unwrap_or_default().trim();
        let body = value["mediaType"].as_str().unwrap_or_default().to_owned();
        if !header.is_empty() && !body.is_empty() && header != body {
            return Err(DocumentError::Disagree { header: header.to_owned(), body });
        }
        let media_type = if body.is_empty() { header } else { &body };
        let has_form = |field: &'static str| {
            let missing = DocumentError::Form { media_type: media_type.to_owned(), field };
            if value.get(field).is_some() { Ok(()) } else { Err(missing) }
        };
        match media_type {
            media::OCI_INDEX | media::DOCKER_INDEX => has_form("manifests")?,
            media::OCI_MANIFEST | media::DOCKER_MANIFEST => has_form("config")?,
            "" => {}
            other => return Err(DocumentError::Type(other.to_owned())),
        }
        if present("manifests") || matches!(media_type, media::OCI_INDEX | media::DOCKER_INDEX) {
            let mut index: Index = serde_json::from_value(value)?;
            index.media_type = media_type.to_owned();
            Ok(Document::Index(index))
        } else {
            has_form("config")?;
            let mut manifest: Box<Manifest> = serde_json::from_value(value)?;
            manifest.media_type = media_type.to_owned();
            Ok(Document::Manifest(manifest))
        }
    }

    /// The document's type; the OCI one when it says none.
    pub fn media_type(&self) -> &str {
        let (media_type, default) = match self {
            Document::Manifest(manifest) => (&manifest.media_type, media::OCI_MANIFEST),
            Document::Index(index) => (&index.media_type, media::OCI_INDEX),
        };
        if media_type.is_empty() { default } else { media_type }
    }
}

/// Go writes absent maps and lists as `null`.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests;
