//! The capabilities a daemon can announce (BuildKit solver/pb/caps.go), and which of them an op needs.
//!
//! The Go client also uses `exec.meta.removemountstubs.recursive` and `file.copy.modestring`, which no daemon registers
//! and none accepts: they are neither written nor asked for.

mod needs;

use std::collections::BTreeSet;

pub use needs::needs;

/// A capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cap {
    /// Its id, as it stands on the wire.
    pub id: &'static str,
    /// `n` of the first release v0.n that announces it. Where the change was merged close to a release, the later one is
    /// written: a daemon that could do more is a nuisance, one that cannot is a failed build.
    pub since: u16,
}

const fn cap(id: &'static str, since: u16) -> Cap {
    Cap { id, since }
}

/// Every id that daemons know.
pub const KNOWN: &[Cap] = &[
    cap("source.image", 3),
    cap("source.image.resolvemode", 3),
    cap("source.image.layerlimit", 11),
    cap("source.image.checksum", 33),
    cap("source.local", 3),
    cap("source.local.unique", 3),
    cap("source.local.sessionid", 3),
    cap("source.local.includepatterns", 3),
    cap("source.local.followpaths", 3),
    cap("source.local.excludepatterns", 3),
    cap("source.local.sharedkeyhint", 3),
    cap("source.local.differ", 9),
    cap("source.local.metadatatransfer", 21),
    cap("source.git", 3),
    cap("source.git.keepgitdir", 3),
    cap("source.git.fullurl", 3),
    cap("source.git.httpauth", 8),
    cap("source.git.knownsshhosts", 8),
    cap("source.git.mountsshsock", 8),
    cap("source.git.subdir", 10),
    cap("source.git.checksum", 22),
    cap("source.git.skipsubmodules", 24),
    cap("source.git.signatureverify", 33),
    cap("source.git.mtime", 33),
    cap("source.git.fetchbycommit", 33),
    cap("source.git.bundle", 33),
    cap("source.git.checkoutbundle", 33),
    cap("source.http", 3),
    cap("source.http.auth", 21),
    cap("source.http.checksum", 3),
    cap("source.http.perm", 3),
    cap("soruce.http.uidgid", 3),
    cap("source.http.header", 21),
    cap("source.http.signatureverify", 33),
    cap("source.imageblob", 33),
    cap("source.ocilayout", 11),
    cap("source.buildop.llbfilename", 3),
    cap("exec.meta.base", 3),
    cap("exec.meta.cgroup.parent", 10),
    cap("exec.meta.network", 3),
    cap("exec.meta.network.proxy", 33),
    cap("exec.meta.proxyenv", 3),
    cap("exec.meta.security", 6),
    cap("exec.meta.security.devices.v1", 8),
    cap("exec.meta.setsdefaultpath", 3),
    cap("exec.meta.ulimit", 9),
    cap("exec.meta.cdi", 20),
    cap("exec.meta.linux.resources", 31),
    cap("exec.mount.bind", 3),
    cap("exec.mount.bind.readwrite-nooutput", 5),
    cap("exec.mount.cache", 3),
    cap("exec.mount.cache.sharing", 3),
    cap("exec.mount.selector", 3),
    cap("exec.mount.tmpfs", 3),
    cap("exec.mount.tmpfs.size", 10),
    cap("exec.mount.secret", 3),
    cap("exec.mount.ssh", 4),
    cap("exec.mount.cache.content", 14),
    cap("exec.cgroup", 6),
    cap("exec.secretenv", 9),
    cap("exec.validexitcode", 17),
    cap("file.base", 5),
    cap("file.rm.wildcard", 7),
    cap("file.rm.nofollowsymlink", 11),
    cap("file.copy.includeexcludepatterns", 9),
    cap("file.copy.requiredpaths", 26),
    cap("file.copy.alwaysreplaceexistingdestpaths", 14),
    cap("file.symlink.create", 19),
    cap("constraints", 3),
    cap("platform", 3),
    cap("meta.ignorecache", 3),
    cap("meta.description", 3),
    cap("meta.exportcache", 3),
    cap("cache.gha", 10),
    cap("cache.s3", 11),
    cap("cache.azblob", 11),
    cap("mergeop", 10),
    cap("diffop", 10),
    cap("passthroughop", 32),
    cap("exporter.image.annotations", 11),
    cap("exporter.image.attestations", 11),
    cap("exporter.sourcedateepoch", 12),
    cap("exporter.multiple", 13),
    cap("exporter.session", 33),
    cap("source.policy", 11),
    cap("source.policy.session", 33),
    cap("gc.freespacefilter", 17),
    cap("history.filter", 19),
];

/// The newest release whose capabilities are known, and the one before the first whose are.
const RELEASES: std::ops::RangeInclusive<u16> = 3..=33;

/// What a release's name begins with.
const RELEASE_PREFIX: &str = "buildkit-v";

/// What is known of a capability, if it is one.
pub fn known(id: &str) -> Option<&'static Cap> {
    KNOWN.iter().find(|cap| cap.id == id)
}

/// Whether a definition may ask for `id` here. Besides what daemons announce these are the two that the Go client writes
/// although none does.
pub fn can(id: &str) -> bool {
    matches!(id, "exec.meta.removemountstubs.recursive" | "file.copy.modestring") || known(id).is_some()
}

/// The capabilities of a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapSet {
    /// What people called it: `buildkit-v0.12`, or the file it was read from.
    pub name: String,
    /// The ids, sorted.
    pub ids: BTreeSet<String>,
}

/// Why a text names no capabilities.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CapsError {
    /// It begins like a release and is none.
    #[error("`{0}` is not a release of BuildKit")]
    NotARelease(String),
    /// A release of which nothing is known.
    #[error("the capabilities of `{0}` are not known: releases v0.{first} to v0.{last} are", first = RELEASES.start(), last = RELEASES.end())]
    UnknownRelease(String),
    /// A line that is no capability.
    #[error("line {line}: `{id}` is no capability")]
    NotACap {
        /// From 1.
        line: usize,
        /// What stands there.
        id: String,
    },
}

impl CapSet {
    /// The capabilities of the release that `text` names, `buildkit-v0.12` or `buildkit-v0.12.3`; `None` when it names
    /// no release.
    ///
    /// # Errors
    /// When it begins like one, but there is no such release or it is not known.
    pub fn release(text: &str) -> Option<Result<CapSet, CapsError>> {
        let version = text.strip_prefix(RELEASE_PREFIX)?;
        let mut parts = version.split('.');
        let number = |part: Option<&str>| part.and_then(|part| part.parse::<u16>().ok());
        let (major, minor) = (number(parts.next()), number(parts.next()));
        let patch_is_number = parts.next().is_none_or(|patch| patch.parse::<u16>().is_ok());
        let (Some(major), Some(minor), true, None) = (major, minor, patch_is_number, parts.next()) else {
            return Some(Err(CapsError::NotARelease(text.to_owned())));
        };
        if major != 0 || !RELEASES.contains(&minor) {
            return Some(Err(CapsError::UnknownRelease(text.to_owned())));
        }
        let ids = KNOWN.iter().filter(|cap| cap.since <= minor).map(|cap| cap.id.to_owned()).collect();
        Some(Ok(CapSet { name: text.to_owned(), ids }))
    }

    /// The capabilities that a file lists, one id per line; empty lines and lines that begin with `#` mean nothing.
    ///
    /// # Errors
    /// When a line is no id that daemons know.
    pub fn list(name: &str, text: &str) -> Result<CapSet, CapsError> {
        let mut ids = BTreeSet::new();
        for (idx, line) in text.lines().enumerate() {
            let id = line.trim();
            if id.is_empty() || id.starts_with('#') {
                continue;
            }
            if known(id).is_none() {
                return Err(CapsError::NotACap { line: idx + 1, id: id.to_owned() });
            }
            ids.insert(id.to_owned());
        }
        Ok(CapSet { name: name.to_owned(), ids })
    }

    /// Whether the daemon has the capability.
    pub fn has(&self, id: &str) -> bool {
        self.ids.contains(id)
    }
}

#[cfg(test)]
mod tests;
