//! Making sources: identifiers, attributes and capabilities (BuildKit client/llb/source.go).

use std::collections::BTreeMap;

use super::go_json_strings;
use crate::base::{Digest, ImageRef, Platform};
use crate::graph::ir::{Edge, Graph, Op, SourceOp, Vertex, attr};

/// `image.resolvemode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ResolveMode {
    /// Not written.
    #[default]
    Default,
    /// Ask the registry.
    Pull,
    /// Prefer what the engine has.
    Local,
}

/// How an image of a registry is taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageOptions {
    /// Whether the registry is asked.
    pub mode: ResolveMode,
    /// Platform, verbatim.
    pub platform: Option<Platform>,
    /// Only the first layers.
    pub layer_limit: Option<i64>,
    /// Digest that the root manifest or index must have.
    pub checksum: Option<Digest>,
    /// Not for people: the cache counts its use as the engine's own.
    pub internal: bool,
}

/// How a directory of the client is taken. Empty texts and lists are not written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LocalOptions {
    /// Session of the client that has the directory.
    pub session: String,
    /// Only these patterns.
    pub include: Vec<String>,
    /// Not these.
    pub exclude: Vec<String>,
    /// These paths, and what symlinks among them lead to.
    pub follow: Vec<String>,
    /// Names the copy that the daemon keeps between builds.
    pub shared_key_hint: String,
    /// How changed files are found.
    pub differ: Option<Differ>,
    /// Only names and modes are sent, but for these patterns.
    pub metadata_only: Option<Vec<String>>,
    /// Keeps directories of different builds apart; `None` takes the definition's.
    pub unique: Option<String>,
}

/// `local.differ`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Differ {
    /// Compare sizes, modes, times and owners; otherwise everything is sent again.
    pub metadata: bool,
    /// The daemon must know the attribute.
    pub required: bool,
}

/// How a git repository is taken. Empty texts are not written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GitOptions {
    /// Branch, tag or commit; wins over the fragment's.
    pub reference: Option<String>,
    /// Directory of the repository; wins over the fragment's.
    pub subdir: Option<String>,
    /// Keep `.git`.
    pub keep_git_dir: bool,
    /// Name of the secret that holds a token; `None` is `GIT_AUTH_TOKEN`.
    pub auth_token_secret: Option<String>,
    /// Name of the secret that holds a header; `None` is `GIT_AUTH_HEADER`.
    pub auth_header_secret: Option<String>,
    /// Lines of known_hosts. Without them the daemon trusts no host: we do not scan the network.
    pub known_ssh_hosts: Vec<String>,
    /// Id of the agent socket; empty is `default`.
    pub ssh_agent: String,
    /// Commit that must be found.
    pub checksum: String,
    /// Leave submodules out.
    pub skip_submodules: bool,
    /// `commit`: files have the commit's time.
    pub mtime: String,
    /// The checksum is fetched rather than the reference.
    pub fetch_by_commit: bool,
    /// Where a bundle lies that is used instead of the remote.
    pub bundle: String,
    /// Session and store of a bundle in an OCI layout.
    pub bundle_store: OciStore,
    /// Give a bundle rather than a worktree.
    pub checkout_bundle: bool,
}

/// An OCI layout that a client holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "see the type")]
pub struct OciStore {
    pub session: String,
    pub store: String,
}

/// Name, mode and owner of a file that is made of something downloaded; zero and empty are not written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "see the type")]
pub struct FileInfo {
    pub filename: String,
    pub mode: u32,
    pub uid: i64,
    pub gid: i64,
}

/// How a URL is taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HttpOptions {
    /// Digest of the content.
    pub checksum: Option<Digest>,
    /// The file that is made.
    pub file: FileInfo,
    /// Name of the secret that holds an authorization header.
    pub auth_header_secret: String,
    /// `Accept` and `User-Agent`; given, though both may be empty.
    pub header: Option<(String, String)>,
    /// Public key and detached signature, armored.
    pub signature: Option<(String, String)>,
}

/// A reference that names no blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlobRefError {
    /// A blob has no tag.
    #[error("a blob is named by its digest only, not by a tag")]
    Tagged,
    /// A blob has a digest.
    #[error("the reference of a blob needs a digest")]
    NoDigest,
}

/// Attributes and capabilities in the making.
#[derive(Default)]
struct Parts {
    attrs: BTreeMap<String, String>,
    caps: Vec<&'static str>,
}

impl Parts {
    fn new(cap: &'static str) -> Parts {
        Parts { attrs: BTreeMap::new(), caps: vec![cap] }
    }

    fn set(&mut self, key: &str, value: impl Into<String>) {
        self.attrs.insert(key.to_owned(), value.into());
    }

    /// Sets what is not empty; then it needs `cap`.
    fn text(&mut self, key: &str, value: &str, cap: Option<&'static str>) {
        if !value.is_empty() {
            self.set(key, value);
            self.caps.extend(cap);
        }
    }

    fn flag(&mut self, key: &str, on: bool, cap: &'static str) {
        self.text(key, if on { "true" } else { "" }, Some(cap));
    }

    fn list(&mut self, key: &str, values: &[String], cap: &'static str) {
        if !values.is_empty() {
            self.set(key, go_json_strings(values));
            self.caps.push(cap);
        }
    }

    fn store(&mut self, store: &OciStore) {
        self.text(attr::OCI_SESSION, &store.session, None);
        self.text(attr::OCI_STORE, &store.store, None);
    }

    fn file(&mut self, file: &FileInfo, caps: FileCaps) {
        let (mode_cap, owner_cap) = match caps {
            // Sic: the capability is spelt so.
            FileCaps::Http => (Some("source.http.perm"), Some("soruce.http.uidgid")),
            FileCaps::Blob => (None, None),
        };
        let number = |value: i64| if value == 0 { String::new() } else { value.to_string() };
        let mode = file.mode & 0o777;
        self.text(attr::HTTP_FILENAME, &file.filename, None);
        let mode = if mode == 0 { String::new() } else { format!("0{mode:o}") };
        self.text(attr::HTTP_PERM, &mode, mode_cap);
        self.text(attr::HTTP_UID, &number(file.uid), owner_cap);
        self.text(attr::HTTP_GID, &number(file.gid), owner_cap);
    }
}

/// Which capabilities the attributes of a downloaded file ask for.
#[derive(Clone, Copy)]
enum FileCaps {
    Http,
    Blob,
}

impl Graph {
    /// A source op as given.
    pub fn source(&mut self, op: SourceOp, caps: &[&str], platform: Option<Platform>) -> Edge {
        let mut vertex = Vertex::new(Op::Source(op.into()), Vec::new(), platform);
        vertex.metadata.caps = caps.iter().map(|&cap| cap.to_owned()).collect();
        Edge { vertex: self.add(vertex), output: 0 }
    }

    fn source_of(&mut self, identifier: String, parts: Parts, platform: Option<Platform>) -> Edge {
        self.source(SourceOp { identifier, attrs: parts.attrs }, &parts.caps, platform)
    }

    /// An image of a registry.
    pub fn image(&mut self, reference: &ImageRef, mode: ResolveMode, platform: Option<Platform>) -> Edge {
        self.image_with(reference, ImageOptions { mode, platform, ..ImageOptions::default() })
    }

    /// An image of a registry; `latest` without tag and digest.
    pub fn image_with(&mut self, reference: &ImageRef, options: ImageOptions) -> Edge {
        let mut parts = Parts::new("source.image");
        match options.mode {
            ResolveMode::Default => {}
            ResolveMode::Pull => {
                parts.text(attr::IMAGE_RESOLVE_MODE, "pull", Some("source.image.resolvemode"));
            }
            // A wish only, so no daemon has to know it.
            ResolveMode::Local => parts.set(attr::IMAGE_RESOLVE_MODE, "local"),
        }
        if options.internal {
            parts.set(attr::IMAGE_RECORD_TYPE, "internal");
        }
        if let Some(limit) = options.layer_limit {
            parts.text(attr::IMAGE_LAYER_LIMIT, &limit.to_string(), Some("source.image.layerlimit"));
        }
        if let Some(checksum) = options.checksum {
            parts.text(attr::IMAGE_CHECKSUM, &checksum.to_string(), Some("source.image.checksum"));
        }
        let identifier = format!("docker-image://{}", reference.clone().with_default_tag());
        self.source_of(identifier, parts, options.platform)
    }

    /// A directory of the client, by its name.
    pub fn local(&mut self, name: &str, include: &[String], exclude: &[String], follow: &[String]) -> Edge {
        let options = LocalOptions {
            include: include.to_vec(),
            exclude: exclude.to_vec(),
            follow: follow.to_vec(),
            ..LocalOptions::default()
        };
        self.local_with(name, &options)
    }

    /// A directory of the client, by its name.
    pub fn local_with(&mut self, name: &str, options: &LocalOptions) -> Edge {
        let mut parts = Parts::new("source.local");
        parts.text(attr::LOCAL_SESSION, &options.session, Some("source.local.sessionid"));
        parts.list(attr::LOCAL_INCLUDE, &options.include, "source.local.includepatterns");
        parts.list(attr::LOCAL_EXCLUDE, &options.exclude, "source.local.excludepatterns");
        parts.list(attr::LOCAL_FOLLOW, &options.follow, "source.local.followpaths");
        let hint_cap = Some("source.local.sharedkeyhint");
        parts.text(attr::LOCAL_SHARED_KEY_HINT, &options.shared_key_hint, hint_cap);
        if let Some(differ) = options.differ {
            let kind = if differ.metadata { "metadata" } else { "none" };
            parts.text(attr::LOCAL_DIFFER, kind, differ.required.then_some("source.local.differ"));
        }
        if let Some(exceptions) = &options.metadata_only {
            parts.flag(attr::LOCAL_METADATA_TRANSFER, true, "source.local.metadatatransfer");
            parts.list(attr::LOCAL_METADATA_EXCLUDE, exceptions, "source.local.metadatatransfer");
        }
        if let Some(unique) = options.unique.as_ref().filter(|_| options.session.is_empty()) {
            parts.set(attr::LOCAL_UNIQUE, unique);
        }
        self.source_of(format!("local://{name}"), parts, None)
    }

    /// An image of an OCI layout that the client holds under the name `store`.
    pub fn oci_layout(&mut self, reference: &str, store: &str, platform: Option<Platform>) -> Edge {
        let store = OciStore { store: store.to_owned(), ..OciStore::default() };
        self.oci_layout_with(reference, &store, None, platform)
    }

    /// An image of an OCI layout, only the first `layer_limit` layers of it when that is given.
    pub fn oci_layout_with(
        &mut self,
        reference: &str,
        store: &OciStore,
        layer_limit: Option<i64>,
        platform: Option<Platform>,
    ) -> Edge {
        let mut parts = Parts::new("source.ocilayout");
        parts.store(store);
        if let Some(limit) = layer_limit {
            parts.set(attr::OCI_LAYER_LIMIT, limit.to_string());
        }
        self.source_of(format!("oci-layout://{reference}"), parts, platform)
    }

    /// A blob of a registry (`store` is `None`) or of an OCI layout, as a file.
    ///
    /// # Errors
    /// When the reference has a tag or lacks a digest.
    pub fn blob(
        &mut self,
        reference: &ImageRef,
        file: &FileInfo,
        store: Option<&OciStore>,
    ) -> Result<Edge, BlobRefError> {
        if reference.tag.is_some() {
            return Err(BlobRefError::Tagged);
        }
        if reference.digest.is_none() {
            return Err(BlobRefError::NoDigest);
        }
        let mut parts = Parts::new("source.imageblob");
        parts.file(file, FileCaps::Blob);
        let scheme = match store {
            Some(store) => {
                parts.store(store);
                "oci-layout+blob"
            }
            None => "docker-image+blob",
        };
        Ok(self.source_of(format!("{scheme}://{reference}"), parts, None))
    }

    /// A file of the web.
    pub fn http(&mut self, url: &str, options: &HttpOptions) -> Edge {
        let mut parts = Parts::new("source.http");
        if let Some(checksum) = options.checksum {
            parts.text(attr::HTTP_CHECKSUM, &checksum.to_string(), Some("source.http.checksum"));
        }
        parts.file(&options.file, FileCaps::Http);
        parts.text(attr::HTTP_AUTH_HEADER_SECRET, &options.auth_header_secret, Some("source.http.auth"));
        if let Some((accept, user_agent)) = &options.header {
            parts.text(attr::HTTP_HEADER_ACCEPT, accept, None);
            parts.text(attr::HTTP_HEADER_USER_AGENT, user_agent, None);
            parts.caps.push("source.http.header");
        }
        if let Some((public_key, signature)) = &options.signature {
            parts.text(attr::HTTP_SIG_PUBKEY, public_key, None);
            parts.text(attr::HTTP_SIG_SIGNATURE, signature, None);
            parts.caps.push("source.http.signatureverify");
        }
        self.source_of(url.to_owned(), parts, None)
    }

    /// A git repository. `fragment` is the old `ref[:subdir]`, empty when the options say it.
    pub fn git(&mut self, url: &str, fragment: &str, options: &GitOptions) -> Edge {
        let remote = super::git_url::parse(url);
        let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
        let subdir = crate::base::path::join(&["/", subdir]);
        let reference = options.reference.as_deref().unwrap_or(reference);
        let subdir = options.subdir.as_deref().unwrap_or(&subdir[1..]);

        let mut parts = Parts::new("source.git");
        parts.flag(attr::GIT_KEEP_GIT_DIR, options.keep_git_dir, "source.git.keepgitdir");
        parts.text(attr::GIT_FULL_URL, &remote.url, Some("source.git.fullurl"));
        // The default names need no capability: a daemon that does not know them builds without.
        let asked = options.auth_token_secret.is_some() || options.auth_header_secret.is_some();
        let auth_cap = asked.then_some("source.git.httpauth");
        let token = options.auth_token_secret.as_deref().unwrap_or("GIT_AUTH_TOKEN");
        parts.text(attr::GIT_AUTH_TOKEN_SECRET, token, auth_cap);
        let header = options.auth_header_secret.as_deref().unwrap_or("GIT_AUTH_HEADER");
        parts.text(attr::GIT_AUTH_HEADER_SECRET, header, auth_cap);
        if remote.is_ssh {
            let hosts: String = options
                .known_ssh_hosts
                .iter()
                .map(|line| format!("{}\n", line.strip_suffix('\n').unwrap_or(line)))
                .collect();
            parts.text(attr::GIT_KNOWN_SSH_HOSTS, &hosts, None);
            let agent = if options.ssh_agent.is_empty() { "default" } else { &options.ssh_agent };
            parts.set(attr::GIT_MOUNT_SSH_SOCK, agent);
            parts.caps.extend(["source.git.knownsshhosts", "source.git.mountsshsock"]);
        }
        parts.text(attr::GIT_CHECKSUM, &options.checksum, Some("source.git.checksum"));
        let submodules_cap = "source.git.skipsubmodules";
        parts.flag(attr::GIT_SKIP_SUBMODULES, options.skip_submodules, submodules_cap);
        parts.text(attr::GIT_MTIME, &options.mtime, Some("source.git.mtime"));
        parts.flag(attr::GIT_FETCH_BY_COMMIT, options.fetch_by_commit, "source.git.fetchbycommit");
        parts.text(attr::GIT_BUNDLE, &options.bundle, Some("source.git.bundle"));
        parts.store(&options.bundle_store);
        parts.flag(attr::GIT_CHECKOUT_BUNDLE, options.checkout_bundle, "source.git.checkoutbundle");

        // One identifier for all protocols that lead to the same repository.
        let identifier = match &remote.place {
            None => format!("git://{}", remote.url),
            Some(place) => match (reference, subdir) {
                ("", "") => format!("git://{place}"),
                (reference, "") => format!("git://{place}#{reference}"),
                (reference, subdir) => format!("git://{place}#{reference}:{subdir}"),
            },
        };
        self.source_of(identifier, parts, None)
    }
}
