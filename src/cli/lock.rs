//! bkl.lock: what every image, branch, tag and URL meant when it was first used.
//!
//! An image is pinned to its root digest (the index, or the manifest when there is no index) and, for each platform
//! that was used, to a manifest and its whole config, so that evaluation needs no network. A new platform under a
//! pinned index is not a change of the pin: the index digest already fixes it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::url::is_commit;
use crate::base::{Digest, ImageRef, Platform, Report};
use crate::cli::program::io_reason;

/// The version this binary reads and writes.
const VERSION: u32 = 1;

/// What stands above the entries.
const HEADER: &str =
    "# What the sources of this program meant when they were first used. Commit this file.\n";

/// All pins of a program, in the order they were made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lock {
    version: u32,
    #[serde(default, rename = "image", skip_serializing_if = "Vec::is_empty")]
    images: Vec<PinnedImage>,
    #[serde(default, rename = "git", skip_serializing_if = "Vec::is_empty")]
    git: Vec<PinnedGit>,
    #[serde(default, rename = "http", skip_serializing_if = "Vec::is_empty")]
    http: Vec<PinnedHttp>,
    /// What counts as not pinned until it is pinned again, at its place.
    #[serde(skip)]
    stale: BTreeSet<PinName>,
}

/// What a pin is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PinName {
    /// An image: normalised, with its tag.
    Image(String),
    /// A branch or tag of a repository, as written.
    Git(String, String),
    /// A URL, as written.
    Http(String),
}

/// A pin: what for, and what to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pin {
    pub(crate) name: PinName,
    /// A digest or a commit.
    pub(crate) value: String,
}

impl PinName {
    /// As people write it.
    pub(crate) fn familiar(&self) -> String {
        match self {
            PinName::Image(reference) => match reference.parse::<ImageRef>() {
                Ok(reference) => reference.familiar(),
                Err(_) => reference.clone(),
            },
            PinName::Git(url, reference) => format!("{url}#{reference}"),
            PinName::Http(url) => url.clone(),
        }
    }

    /// Whether `word` means this: the whole name, or what it has without tag or branch.
    pub(crate) fn is_meant_by(&self, word: &str) -> bool {
        match self {
            PinName::Image(reference) => {
                let is_same =
                    word.parse::<ImageRef>().is_ok_and(|it| it.with_default_tag().to_string() == *reference);
                let Ok(mine) = reference.parse::<ImageRef>() else { return is_same };
                let bare = ImageRef { tag: None, digest: None, ..mine };
                is_same || word == bare.to_string() || word == bare.familiar()
            }
            PinName::Git(url, _) => word == url || word == self.familiar(),
            PinName::Http(url) => word == url,
        }
    }
}

/// A branch or tag.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PinnedGit {
    url: String,
    #[serde(rename = "ref")]
    reference: String,
    /// The whole commit.
    commit: String,
}

/// A file of the web.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PinnedHttp {
    url: String,
    digest: Digest,
    /// Bytes.
    size: u64,
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
        Lock {
            version: VERSION,
            images: Vec::new(),
            git: Vec::new(),
            http: Vec::new(),
            stale: BTreeSet::new(),
        }
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
        if let Some(git) = lock.git.iter().find(|git| !is_commit(&git.commit)) {
            return Err(invalid(format!("`{}` is not a commit", git.commit)));
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
        let image = self.images.iter().find(|image| image.reference == key)?;
        (!self.stale.contains(&PinName::Image(key))).then_some(image)
    }

    /// The commit that a branch or tag is pinned to.
    pub(crate) fn commit(&self, url: &str, reference: &str) -> Option<&str> {
        let git = self.git.iter().find(|git| git.url == url && git.reference == reference)?;
        let name = PinName::Git(url.to_owned(), reference.to_owned());
        (!self.stale.contains(&name)).then_some(&git.commit)
    }

    /// The digest that a URL is pinned to.
    pub(crate) fn file(&self, url: &str) -> Option<Digest> {
        let http = self.http.iter().find(|http| http.url == url)?;
        (!self.stale.contains(&PinName::Http(url.to_owned()))).then_some(http.digest)
    }

    /// Pins a branch or tag.
    pub(crate) fn pin_commit(&mut self, url: &str, reference: &str, commit: String) {
        self.stale.remove(&PinName::Git(url.to_owned(), reference.to_owned()));
        match self.git.iter_mut().find(|git| git.url == url && git.reference == reference) {
            Some(git) => git.commit = commit,
            None => self.git.push(PinnedGit { url: url.to_owned(), reference: reference.to_owned(), commit }),
        }
    }

    /// Pins a URL.
    pub(crate) fn pin_file(&mut self, url: &str, digest: Digest, size: u64) {
        self.stale.remove(&PinName::Http(url.to_owned()));
        match self.http.iter_mut().find(|http| http.url == url) {
            Some(http) => (http.digest, http.size) = (digest, size),
            None => self.http.push(PinnedHttp { url: url.to_owned(), digest, size }),
        }
    }

    /// All pins, in the order of the file.
    pub(crate) fn pins(&self) -> Vec<Pin> {
        let images = self.images.iter().map(|image| Pin {
            name: PinName::Image(image.reference.clone()),
            value: image.digest.to_string(),
        });
        let git = self.git.iter().map(|git| Pin {
            name: PinName::Git(git.url.clone(), git.reference.clone()),
            value: git.commit.clone(),
        });
        let http = self
            .http
            .iter()
            .map(|http| Pin { name: PinName::Http(http.url.clone()), value: http.digest.to_string() });
        images.chain(git).chain(http).collect()
    }

    /// The platforms that images were used for.
    pub(crate) fn platforms(&self) -> Vec<Platform> {
        let mut platforms: Vec<Platform> = Vec::new();
        for manifest in self.images.iter().flat_map(|image| &image.manifests) {
            if let Ok(platform) = manifest.platform.parse::<Platform>()
                && !platforms.contains(&platform)
            {
                platforms.push(platform);
            }
        }
        platforms
    }

    /// Takes what is pinned under this name as not pinned: it is asked for again when the program needs it.
    pub(crate) fn doubt(&mut self, name: PinName) {
        self.stale.insert(name);
    }

    /// What was doubted and not pinned again counts as before.
    pub(crate) fn settle(&mut self) {
        self.stale.clear();
    }

    /// Removes a pin.
    pub(crate) fn remove(&mut self, name: &PinName) {
        self.images.retain(|image| *name != PinName::Image(image.reference.clone()));
        self.git.retain(|git| *name != PinName::Git(git.url.clone(), git.reference.clone()));
        self.http.retain(|http| *name != PinName::Http(http.url.clone()));
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
                self.stale.remove(&PinName::Image(key));
                image.manifests.retain(|known| known.platform != pinned.platform);
                image.manifests.push(pinned);
            }
            Some(image) => {
                self.stale.remove(&PinName::Image(key.clone()));
                *image = PinnedImage { reference: key, digest, manifests: vec![pinned] };
            }
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
