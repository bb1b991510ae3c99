//! bkl.lock: what every image reference meant when it was first used.
//!
//! A reference is pinned to its root digest (the index, or the manifest when there is no index) and, for each platform
//! that was used, to a manifest and its whole config, so that evaluation needs no network. A new platform under a
//! pinned index is not a change of the pin: the index digest already fixes it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::{Digest, ImageRef, Platform, Report};
use crate::cli::program::io_reason;

/// The version this binary reads and writes.
const VERSION: u32 = 1;

/// What stands above the entries.
const HEADER: &str =
    "# What the image references of this program meant when they were first used. Commit this file.\n";

/// All pins of a program, in the order they were made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lock {
    version: u32,
    #[serde(default, rename = "image")]
    images: Vec<PinnedImage>,
}

/// One reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PinnedImage {
    /// Normalised, with its tag.
    #[serde(rename = "ref")]
    pub(crate) reference: String,
    /// Digest of the index, or of the manifest when there is none.
    pub(crate) digest: Digest,
    /// The platforms that were used, in that order.
    #[serde(default, rename = "manifest")]
    pub(crate) manifests: Vec<PinnedManifest>,
}

/// One platform of a reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PinnedManifest {
    /// `os/arch[/variant]`.
    pub(crate) platform: String,
    /// Digest of the manifest.
    pub(crate) digest: Digest,
    /// Digest of `config`.
    pub(crate) config_digest: Digest,
    /// The whole OCI config, byte for byte.
    pub(crate) config: String,
}

/// Why a lock file cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages are the documentation")]
pub(crate) enum LockError {
    #[error("cannot read the lock file `{}`: {}", path.display(), io_reason(source))]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write the lock file `{}`: {}", path.display(), io_reason(source))]
    Write { path: PathBuf, source: io::Error },
    #[error("the lock file `{}` is not valid: {why}", path.display())]
    Invalid { path: PathBuf, why: String },
}

impl Default for Lock {
    fn default() -> Lock {
        Lock { version: VERSION, images: Vec::new() }
    }
}

impl Lock {
    /// Reads a lock file; an absent one is an empty lock.
    pub(crate) fn read(path: &Path) -> Result<Lock, LockError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Lock::default()),
            Err(source) => return Err(LockError::Read { path: path.to_owned(), source }),
        };
        let invalid = |why: String| LockError::Invalid { path: path.to_owned(), why };
        let lock: Lock = toml::from_str(&text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            invalid(format!("line {}: {}", 1 + before.matches('\n').count(), error.message()))
        })?;
        if lock.version != VERSION {
            return Err(invalid(format!(
                "version {} is not one this bkl knows (it knows {VERSION})",
                lock.version
            )));
        }
        for manifest in lock.images.iter().flat_map(|image| &image.manifests) {
            if Digest::of(&manifest.config) != manifest.config_digest {
                return Err(invalid(format!("the config of {} does not have its digest", manifest.digest)));
            }
        }
        Ok(lock)
    }

    /// Writes the lock in one step: the old file or the new one is there, never a part.
    pub(crate) fn write(&self, path: &Path) -> Result<(), LockError> {
        let text = HEADER.to_owned() + &toml::to_string(self).expect("a lock is plain text and lists");
        let temp = path.with_extension(format!("lock.{}", std::process::id()));
        let write = || {
            let mut file = fs::File::create(&temp)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temp, path)
        };
        write().map_err(|source| {
            let _ = fs::remove_file(&temp);
            LockError::Write { path: path.to_owned(), source }
        })
    }

    /// The pin of a reference, whatever its platform.
    pub(crate) fn image(&self, reference: &ImageRef) -> Option<&PinnedImage> {
        let key = reference.clone().with_default_tag().to_string();
        self.images.iter().find(|image| image.reference == key)
    }

    /// The pin of a reference for a platform.
    pub(crate) fn manifest(
        &self,
        reference: &ImageRef,
        platform: &Platform,
    ) -> Option<(&PinnedImage, &PinnedManifest)> {
        let image = self.image(reference)?;
        let platform = platform.normalize().to_string();
        let manifest = image.manifests.iter().find(|manifest| manifest.platform == platform)?;
        Some((image, manifest))
    }

    /// Pins a reference for a platform; another digest than the pinned one replaces the whole pin.
    pub(crate) fn pin(
        &mut self,
        reference: &ImageRef,
        digest: Digest,
        platform: &Platform,
        manifest: Digest,
        config: String,
    ) {
        let key = reference.clone().with_default_tag().to_string();
        let pinned = PinnedManifest {
            platform: platform.normalize().to_string(),
            digest: manifest,
            config_digest: Digest::of(&config),
            config,
        };
        match self.images.iter_mut().find(|image| image.reference == key) {
            Some(image) if image.digest == digest => {
                image.manifests.retain(|known| known.platform != pinned.platform);
                image.manifests.push(pinned);
            }
            Some(image) => *image = PinnedImage { reference: key, digest, manifests: vec![pinned] },
            None => self.images.push(PinnedImage { reference: key, digest, manifests: vec![pinned] }),
        }
    }
}

impl LockError {
    /// What to tell people.
    pub(crate) fn report(&self) -> Report {
        let help = match self {
            LockError::Read { .. } => "check its permissions, or name another one with `--lock FILE`",
            LockError::Write { .. } => "make its folder writable, or name another one with `--lock FILE`",
            LockError::Invalid { .. } => {
                "restore it from version control, or remove it: the next build writes a new one"
            }
        };
        Report::error("bkl::bad_lock", self.to_string()).help(help)
    }
}
