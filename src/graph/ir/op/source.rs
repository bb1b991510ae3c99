//! Sources: identifiers and attributes exactly as LLB writes them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Brings a tree in from outside (`pb.SourceOp`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
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
    pub const HTTP_CHECKSUM: &str = "http.checksum";
    pub const HTTP_FILENAME: &str = "http.filename";
    pub const HTTP_PERM: &str = "http.perm";
    pub const HTTP_UID: &str = "http.uid";
    pub const HTTP_GID: &str = "http.gid";
    pub const HTTP_AUTH_HEADER_SECRET: &str = "http.authheadersecret";
    pub const HTTP_HEADER_ACCEPT: &str = "http.header.accept";
    pub const HTTP_HEADER_USER_AGENT: &str = "http.header.user-agent";
    pub const HTTP_SIG_PUBKEY: &str = "http.sig.pubkey";
    pub const HTTP_SIG_SIGNATURE: &str = "http.sig.signature";
    pub const GIT_FULL_URL: &str = "git.fullurl";
    pub const GIT_KEEP_GIT_DIR: &str = "git.keepgitdir";
    pub const GIT_SKIP_SUBMODULES: &str = "git.skipsubmodules";
    pub const GIT_FETCH_BY_COMMIT: &str = "git.fetchbycommit";
    pub const GIT_CHECKOUT_BUNDLE: &str = "git.checkoutbundle";
    pub const GIT_AUTH_TOKEN_SECRET: &str = "git.authtokensecret";
    pub const GIT_AUTH_HEADER_SECRET: &str = "git.authheadersecret";
    pub const GIT_KNOWN_SSH_HOSTS: &str = "git.knownsshhosts";
    pub const GIT_MOUNT_SSH_SOCK: &str = "git.mountsshsock";
    pub const GIT_CHECKSUM: &str = "git.checksum";
    pub const GIT_MTIME: &str = "git.mtime";
    pub const GIT_BUNDLE: &str = "git.bundle";
    pub const GIT_SIG_PUBKEY: &str = "git.sig.pubkey";
    pub const GIT_SIG_REJECT_EXPIRED: &str = "git.sig.rejectexpired";
    pub const GIT_SIG_REQUIRE_SIGNED_TAG: &str = "git.sig.requiresignedtag";
    pub const GIT_SIG_IGNORE_SIGNED_TAG: &str = "git.sig.ignoresignedtag";
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
