//! Sources: identifiers and attributes exactly as LLB writes them.

use std::collections::BTreeMap;

/// Brings a tree in from outside (`pb.SourceOp`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceOp {
    /// `<scheme>://<rest>`.
    pub identifier: String,
    /// Options by key (`attr` below), sorted by key; an empty value is a value.
    pub attrs: BTreeMap<String, String>,
}

/// Attribute keys (BuildKit solver/pb/attr.go).
#[allow(
    missing_docs,
    reason = "the keys are the documentation: llb reference, source schemes and attributes"
)]
pub mod attr {
    pub const IMAGE_RESOLVE_MODE: &str = "image.resolvemode";
    pub const IMAGE_RECORD_TYPE: &str = "image.recordtype";
    pub const IMAGE_LAYER_LIMIT: &str = "image.layerlimit";
    pub const IMAGE_CHECKSUM: &str = "image.checksum";
    pub const LOCAL_SESSION: &str = "local.session";
    pub const LOCAL_UNIQUE: &str = "local.unique";
    pub const LOCAL_INCLUDE: &str = "local.includepattern";
    pub const LOCAL_EXCLUDE: &str = "local.excludepatterns";
    pub const LOCAL_FOLLOW: &str = "local.followpaths";
    pub const LOCAL_SHARED_KEY_HINT: &str = "local.sharedkeyhint";
    pub const LOCAL_DIFFER: &str = "local.differ";
    pub const LOCAL_METADATA_TRANSFER: &str = "local.metadatatransfer";
    pub const LOCAL_METADATA_EXCLUDE: &str = "local.metadatatransferexclude";
    pub const OCI_SESSION: &str = "oci.session";
    pub const OCI_STORE: &str = "oci.store";
    pub const OCI_LAYER_LIMIT: &str = "oci.layerlimit";
}

impl SourceOp {
    /// The part of the identifier before `://`; empty when there is none.
    pub fn scheme(&self) -> &str {
        self.identifier.split_once("://").map_or("", |(scheme, _)| scheme)
    }

    /// The part of the identifier behind `://`.
    pub fn locator(&self) -> &str {
        self.identifier.split_once("://").map_or(&self.identifier, |(_, rest)| rest)
    }

    /// The patterns of a list-valued attribute (a JSON array of strings); none when it is absent or not such a list.
    pub fn patterns(&self, key: &str) -> Vec<String> {
        self.attrs.get(key).and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
    }
}
