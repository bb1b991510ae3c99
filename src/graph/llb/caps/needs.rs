//! Which capabilities an op needs, read from the op itself.
//!
//! What the Go client writes beside an op is less (it says `file.base` for every file op): a daemon that does not know a
//! field skips it and builds something else. So what is asked here is what the fields mean.

use crate::base::glob::has_wildcard;
use crate::graph::ir::{
    ContentCache, ExecOp, FileActionOp, FileOp, MountKind, NetMode, Op, SecurityMode, SourceOp, Vertex, attr,
};

/// Sources by the scheme of their identifier.
const SCHEMES: &[(&str, &str)] = &[
    ("docker-image", "source.image"),
    ("local", "source.local"),
    ("git", "source.git"),
    ("http", "source.http"),
    ("https", "source.http"),
    ("oci-layout", "source.ocilayout"),
    ("docker-image+blob", "source.imageblob"),
    ("oci-layout+blob", "source.imageblob"),
];

/// Source attributes, with the schemes that read them (BuildKit client/llb/source.go). Attributes without a capability
/// of their own are as old as their scheme.
const ATTRS: &[(&str, &str, &str)] = &[
    ("docker-image", attr::IMAGE_RESOLVE_MODE, "source.image.resolvemode"),
    ("docker-image", attr::IMAGE_LAYER_LIMIT, "source.image.layerlimit"),
    ("docker-image", attr::IMAGE_CHECKSUM, "source.image.checksum"),
    ("local", attr::LOCAL_SESSION, "source.local.sessionid"),
    ("local", attr::LOCAL_UNIQUE, "source.local.unique"),
    ("local", attr::LOCAL_INCLUDE, "source.local.includepatterns"),
    ("local", attr::LOCAL_EXCLUDE, "source.local.excludepatterns"),
    ("local", attr::LOCAL_FOLLOW, "source.local.followpaths"),
    ("local", attr::LOCAL_SHARED_KEY_HINT, "source.local.sharedkeyhint"),
    ("local", attr::LOCAL_METADATA_TRANSFER, "source.local.metadatatransfer"),
    ("git", attr::GIT_KEEP_GIT_DIR, "source.git.keepgitdir"),
    ("git", attr::GIT_FULL_URL, "source.git.fullurl"),
    ("git", attr::GIT_KNOWN_SSH_HOSTS, "source.git.knownsshhosts"),
    ("git", attr::GIT_MOUNT_SSH_SOCK, "source.git.mountsshsock"),
    ("git", attr::GIT_CHECKSUM, "source.git.checksum"),
    ("git", attr::GIT_SKIP_SUBMODULES, "source.git.skipsubmodules"),
    ("git", attr::GIT_MTIME, "source.git.mtime"),
    ("git", attr::GIT_FETCH_BY_COMMIT, "source.git.fetchbycommit"),
    ("git", attr::GIT_BUNDLE, "source.git.bundle"),
    ("git", attr::GIT_CHECKOUT_BUNDLE, "source.git.checkoutbundle"),
    ("git", attr::GIT_SIG_PUBKEY, "source.git.signatureverify"),
    ("http", attr::HTTP_CHECKSUM, "source.http.checksum"),
    ("http", attr::HTTP_PERM, "source.http.perm"),
    ("http", attr::HTTP_UID, "soruce.http.uidgid"),
    ("http", attr::HTTP_GID, "soruce.http.uidgid"),
    ("http", attr::HTTP_AUTH_HEADER_SECRET, "source.http.auth"),
    ("http", attr::HTTP_HEADER_ACCEPT, "source.http.header"),
    ("http", attr::HTTP_HEADER_USER_AGENT, "source.http.header"),
    ("http", attr::HTTP_SIG_SIGNATURE, "source.http.signatureverify"),
];

/// The capabilities that the op needs, each once, the most basic first.
///
/// What only the marshalling adds (`local.unique`, the default `PATH`) is not among them.
pub fn needs(vertex: &Vertex) -> Vec<&'static str> {
    let mut needs = Needs(Vec::new());
    match &vertex.op {
        Op::Source(source) => needs.source(source),
        Op::Exec(exec) => needs.exec(exec),
        Op::File(file) => needs.file(file),
        Op::Merge(_) => needs.add("mergeop"),
        Op::Diff(_) => needs.add("diffop"),
        Op::Passthrough(_) => needs.add("passthroughop"),
        Op::Build(_) => needs.add("source.buildop.llbfilename"),
    }
    let metadata = &vertex.metadata;
    needs.when(metadata.linux_resources.is_some(), "exec.meta.linux.resources");
    needs.when(metadata.ignore_cache, "meta.ignorecache");
    needs.when(!metadata.description.is_empty(), "meta.description");
    needs.when(metadata.export_cache.is_some(), "meta.exportcache");
    needs.0
}

struct Needs(Vec<&'static str>);

impl Needs {
    fn add(&mut self, cap: &'static str) {
        if !self.0.contains(&cap) {
            self.0.push(cap);
        }
    }

    fn when(&mut self, is_needed: bool, cap: &'static str) {
        if is_needed {
            self.add(cap);
        }
    }

    fn source(&mut self, source: &SourceOp) {
        let scheme = source.scheme();
        for (_, cap) in SCHEMES.iter().filter(|(known, _)| *known == scheme) {
            self.add(cap);
        }
        let scheme = if scheme == "https" { "http" } else { scheme };
        for (_, attr, cap) in ATTRS.iter().filter(|(known, ..)| *known == scheme) {
            self.when(source.attrs.contains_key(*attr), cap);
        }
        let has_subdir = source.locator().split_once('#').is_some_and(|(_, of)| of.contains(':'));
        self.when(scheme == "git" && has_subdir, "source.git.subdir");
    }

    fn exec(&mut self, exec: &ExecOp) {
        self.add("exec.meta.base");
        for mount in &exec.mounts {
            match &mount.kind {
                MountKind::Bind => {
                    self.when(mount.input.is_some(), "exec.mount.bind");
                    let is_kept = mount.output.is_some() || mount.readonly;
                    self.when(!is_kept, "exec.mount.bind.readwrite-nooutput");
                }
                MountKind::Cache { .. } => {
                    self.add("exec.mount.cache");
                    self.add("exec.mount.cache.sharing");
                }
                MountKind::Tmpfs { size } => {
                    self.add("exec.mount.tmpfs");
                    self.when(size.is_some_and(|size| 0 < size), "exec.mount.tmpfs.size");
                }
                MountKind::Secret(_) => self.add("exec.mount.secret"),
                MountKind::Ssh(_) => self.add("exec.mount.ssh"),
            }
            self.when(!mount.selector.is_empty(), "exec.mount.selector");
            self.when(mount.content_cache != ContentCache::Default, "exec.mount.cache.content");
        }
        self.when(!exec.secret_env.is_empty(), "exec.secretenv");
        self.when(exec.network != NetMode::Sandbox, "exec.meta.network");
        self.when(exec.security != SecurityMode::Sandbox, "exec.meta.security");
        self.when(exec.proxy_env.is_some(), "exec.meta.proxyenv");
        self.when(!exec.ulimits.is_empty(), "exec.meta.ulimit");
        self.when(!exec.cgroup_parent.is_empty(), "exec.meta.cgroup.parent");
        self.when(!exec.cdi_devices.is_empty(), "exec.meta.cdi");
        self.when(!exec.valid_exit_codes.is_empty(), "exec.validexitcode");
    }

    fn file(&mut self, file: &FileOp) {
        self.add("file.base");
        for action in &file.actions {
            match &action.op {
                FileActionOp::Copy(copy) => {
                    let has_patterns = !copy.include_patterns.is_empty() || !copy.exclude_patterns.is_empty();
                    self.when(has_patterns, "file.copy.includeexcludepatterns");
                    self.when(!copy.required_paths.is_empty(), "file.copy.requiredpaths");
                    self.when(copy.always_replace_existing, "file.copy.alwaysreplaceexistingdestpaths");
                }
                FileActionOp::Rm(rm) => {
                    self.when(rm.allow_wildcard && has_wildcard(&rm.path), "file.rm.wildcard");
                }
                FileActionOp::Symlink(_) => self.add("file.symlink.create"),
                FileActionOp::Mkfile(_) | FileActionOp::Mkdir(_) => {}
            }
        }
    }
}
