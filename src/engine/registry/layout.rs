//! OCI layout directories (OCI image-spec image-layout.md): what is in one, and which entry a name means.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::document::{ANNOTATION_REF_NAME, Descriptor, Document, MAX_MANIFEST_BYTES};
use super::error::RegistryError;
use super::image_error::ImageError;
use crate::base::{Digest, ImageRef};

/// Annotation with the full name, as containerd and BuildKit write it.
pub const ANNOTATION_IMAGE_NAME: &str = "io.containerd.image.name";

/// An OCI layout directory and what is wanted of it.
#[derive(Debug, Clone)]
pub struct Layout {
    dir: PathBuf,
    name: String,
}

impl Layout {
    /// The layout at `dir`; `name` is a reference or the name of an entry as it was written, empty for "the only one".
    pub fn new(dir: impl Into<PathBuf>, name: impl Into<String>) -> Layout {
        Layout { dir: dir.into(), name: name.into() }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// `<dir>:<name>`, for people.
    pub(super) fn reference(&self) -> String {
        let name = self.shown_name();
        if name.is_empty() {
            self.dir.display().to_string()
        } else {
            format!("{}:{name}", self.dir.display())
        }
    }

    /// The wanted name as it was written: a bare name was given the tag `latest` when it was normalised, and a digest
    /// when it was resolved.
    fn shown_name(&self) -> String {
        let shown = |image: ImageRef| {
            let name = ImageRef { digest: None, ..image }.familiar();
            name.strip_suffix(":latest").unwrap_or(&name).to_owned()
        };
        self.name.parse().map_or_else(|_| self.name.clone(), shown)
    }

    /// The names of all entries, as they are written in the index: each entry's full name, else its short one.
    pub fn names(&self) -> Result<Vec<String>, ImageError> {
        let entries = self.entries()?;
        let names =
            entries.iter().filter_map(|entry| entry_names(entry).first().map(|&name| name.to_owned()));
        Ok(names.collect())
    }

    /// The entries that are called exactly so, as a tag alone or with a name before it. What has no name may be `latest`.
    ///
    /// # Errors
    /// As [`Layout::select`].
    pub fn select_tag(&self, tag: &str) -> Result<Vec<Descriptor>, ImageError> {
        let entries = self.entries()?;
        let is_called = |name: &str| {
            let image: Option<ImageRef> = name.parse().ok();
            name == tag || image.and_then(|it| it.tag).as_deref() == Some(tag)
        };
        let found: Vec<Descriptor> =
            entries.iter().filter(|entry| entry_names(entry).into_iter().any(is_called)).cloned().collect();
        match entries.as_slice() {
            [only] if tag == "latest" && entry_names(only).is_empty() => Ok(vec![only.clone()]),
            _ if found.is_empty() => Err(self.no_entry(&entries)),
            _ => Ok(found),
        }
    }

    /// The entries that the wanted name means: more than one only when the layout lists an image once per platform.
    pub fn select(&self) -> Result<Vec<Descriptor>, ImageError> {
        let entries = self.entries()?;
        let image: Option<ImageRef> = self.name.parse().ok();
        if let Some(digest) = image.as_ref().and_then(|image| image.digest) {
            return self.by_digest(&entries, digest);
        }
        let named = |names: &[String]| -> Vec<Descriptor> {
            entries
                .iter()
                .filter(|entry| {
                    [ANNOTATION_REF_NAME, ANNOTATION_IMAGE_NAME]
                        .iter()
                        .filter_map(|key| entry.annotations.get(*key))
                        .any(|name| names.contains(name))
                })
                .cloned()
                .collect()
        };
        if self.name.is_empty() {
            return match entries.as_slice() {
                [only] => Ok(vec![only.clone()]),
                _ => Err(self.no_entry(&entries)),
            };
        }
        // The whole name first; docker's and umoci's layouts have only the tag.
        let mut ladder = vec![vec![self.name.clone()]];
        if let Some(image) = image {
            let tagged = image.clone().with_default_tag();
            let bare = ImageRef { tag: None, ..tagged.clone() };
            let is_latest = tagged.tag.as_deref() == Some("latest");
            ladder.push(vec![image.familiar(), image.to_string(), tagged.familiar(), tagged.to_string()]);
            // What umoci and skopeo call a tag was taken for an image without one: `base` came here as `base:latest`. Before
            // the tag `latest`, which is some other entry then.
            if is_latest {
                ladder.push(vec![bare.familiar(), bare.to_string()]);
            }
            ladder.push(tagged.tag.into_iter().collect());
        }
        if let Some(found) = ladder.iter().map(|names| named(names)).find(|found| !found.is_empty()) {
            return Ok(found);
        }
        match entries.as_slice() {
            [only] if entry_names(only).is_empty() => Ok(vec![only.clone()]),
            _ => Err(self.no_entry(&entries)),
        }
    }

    fn by_digest(&self, entries: &[Descriptor], digest: Digest) -> Result<Vec<Descriptor>, ImageError> {
        if let Some(entry) = entries.iter().find(|entry| entry.digest == digest) {
            return Ok(vec![entry.clone()]);
        }
        // An image of a listed index may be meant: it is a blob like any other.
        match self.path(&digest).metadata() {
            Ok(metadata) if metadata.is_file() => Ok(vec![Descriptor::new("", digest, metadata.len())]),
            _ => Err(self.no_entry(entries)),
        }
    }

    fn entries(&self) -> Result<Vec<Descriptor>, ImageError> {
        let broken = |reason: String| ImageError::Layout { path: self.dir.clone(), reason };
        if !self.dir.is_dir() {
            return Err(broken("there is no such directory".to_owned()));
        }
        let path = self.dir.join("index.json");
        let file = open_regular(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => broken("it has no `index.json`".to_owned()),
            _ => broken(format!("cannot open its `index.json`: {error}")),
        })?;
        let mut bytes = Vec::new();
        file.take(MAX_MANIFEST_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| broken(format!("cannot read its `index.json`: {error}")))?;
        match Document::parse(&bytes, "") {
            Ok(Document::Index(index)) => Ok(index.manifests),
            Ok(Document::Manifest(_)) => Err(broken("its `index.json` is no index".to_owned())),
            Err(error) => Err(broken(format!("its `index.json` is refused: {error}"))),
        }
    }

    fn no_entry(&self, entries: &[Descriptor]) -> ImageError {
        let shown = |entry: &Descriptor| {
            entry_names(entry).first().map_or_else(|| entry.digest.to_string(), |name| (*name).to_owned())
        };
        let name = self.shown_name();
        let mut there: Vec<String> = entries.iter().map(shown).collect();
        there.dedup();
        ImageError::NoEntry { path: self.dir.clone(), name, there }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join("blobs/sha256").join(digest.hex())
    }

    /// How many bytes a blob has.
    pub(super) fn size(&self, digest: &Digest, what: &str) -> Result<u64, RegistryError> {
        let file = self.open(&Descriptor::new("", *digest, 0), what)?;
        let metadata = file.metadata().map_err(|error| self.unreadable(what, &error))?;
        Ok(metadata.len())
    }

    /// Opens a blob. Its digest is not checked here.
    pub(super) fn open(&self, descriptor: &Descriptor, what: &str) -> Result<File, RegistryError> {
        open_regular(&self.path(&descriptor.digest)).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                RegistryError::NotFound { what: what.to_owned(), host: self.dir.display().to_string() }
            }
            _ => self.unreadable(what, &error),
        })
    }

    /// A small blob's bytes, its size and digest checked.
    pub(super) fn read(
        &self,
        descriptor: &Descriptor,
        limit: u64,
        what: &str,
    ) -> Result<Vec<u8>, RegistryError> {
        let mut bytes = Vec::new();
        self.open(descriptor, what)?
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| self.unreadable(what, &error))?;
        let found = Digest::of(&bytes);
        if found != descriptor.digest {
            let host = self.dir.display().to_string();
            return Err(RegistryError::Digest { what: what.to_owned(), host, found });
        }
        Ok(bytes)
    }

    /// The error of a blob that cannot be read.
    pub(super) fn unreadable(&self, what: &str, error: &std::io::Error) -> RegistryError {
        RegistryError::Unreachable {
            what: what.to_owned(),
            host: self.dir.display().to_string(),
            reason: error.to_string(),
        }
    }
}

/// Opens a file of a directory that somebody else may have written. What is no regular file is refused and not waited for:
/// a pipe has nobody who writes into it. Symbolic links are followed; some tools make layouts of them.
pub(in crate::engine) fn open_regular(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok(file)
}

fn entry_names(entry: &Descriptor) -> Vec<&str> {
    [ANNOTATION_IMAGE_NAME, ANNOTATION_REF_NAME]
        .iter()
        .filter_map(|key| entry.annotations.get(*key).map(String::as_str))
        .collect()
}
