//! Images to an OCI layout, as a tar file or a directory, and to docker's archive: a layout with a `manifest.json`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use serde::Serialize;

use super::archive::Archive;
use super::error::Context;
use super::image::Artifact;
use super::spec::{Dest, Format, OutputSpec};
use super::target::{NewDir, NewFile, Stoppable};
use super::{ExportError, ExportItem, ExportReport, json};
use crate::base::{Digest, ImageRef};
use crate::engine::cancel::Cancel;
use crate::engine::registry::document::{
    ANNOTATION_REF_NAME, Descriptor, Document, Index, MAX_MANIFEST_BYTES, media,
};
use crate::engine::registry::layout::{ANNOTATION_IMAGE_NAME, open_regular};
use crate::store::{ContentStore, Store};

const ANNOTATION_CREATED: &str = "org.opencontainers.image.created";
/// How long other exports into the same directory are waited for.
const MAX_WAIT: Duration = Duration::from_secs(600);
const WAIT_STEP: Duration = Duration::from_millis(20);
const LAYOUT_FILE: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// Exports images as `spec` says; see [`super::export`].
pub(super) fn export(
    store: &Store,
    items: &[ExportItem],
    spec: &OutputSpec,
    out: &mut dyn Write,
    cancel: &Cancel,
) -> Result<ExportReport, ExportError> {
    if 1 < items.len() && !spec.image.names.is_empty() {
        return Err(ExportError::SeveralNames { n_images: items.len() });
    }
    let format = spec.format.name();
    let artifacts = items
        .iter()
        .map(|item| Artifact::of(store, item, &spec.image, format))
        .collect::<Result<Vec<Artifact>, ExportError>>()?;
    let n_images = artifacts.iter().map(|artifact| artifact.images.len()).sum();
    if 1 < n_images && spec.image.config.is_some() {
        return Err(ExportError::SeveralConfigs { n_images });
    }
    let several = items.iter().zip(&artifacts).find(|(_, artifact)| artifact.images.len() != 1);
    if let (Format::Docker, Some((item, _))) = (spec.format, several) {
        return Err(ExportError::SeveralPlatforms { item: item.name.clone() });
    }
    let images: Vec<_> =
        items.iter().zip(&artifacts).map(|(item, artifact)| artifact.exported(&item.name)).collect();
    let mut files = Files::of(&artifacts);
    let entries = index_entries(items, &artifacts);
    let content = store.content();
    let paths = match &spec.dest {
        Dest::Path(dir) if spec.as_dir => {
            vec![files.write_dir(&content, dir, &entries, Rest::Keep, cancel)?]
        }
        dest => {
            files.add("index.json", 0o644, json::compact(&index(entries)));
            files.add("oci-layout", 0o444, LAYOUT_FILE.to_vec());
            if spec.format == Format::Docker {
                files.add("manifest.json", 0o644, docker_manifest(&artifacts));
            }
            match dest {
                Dest::Stdout => {
                    files.write_tar(&content, out).map_err(|failed| match failed {
                        TarError::Out(error) => ExportError::Out(error),
                        TarError::Store(error) => error,
                    })?;
                    Vec::new()
                }
                Dest::Path(path) => {
                    let mut file = NewFile::create(path)?;
                    let out = &mut Stoppable { out: &mut file, cancel };
                    files.write_tar(&content, out).map_err(|failed| match failed {
                        TarError::Out(source) => {
                            ExportError::Io { attempt: "write", path: path.clone(), source }
                        }
                        TarError::Store(error) => error,
                    })?;
                    vec![file.publish()?]
                }
            }
        }
    };
    Ok(ExportReport { paths, images })
}

/// The files of a layout by name, each once.
struct Files {
    files: BTreeMap<String, (u32, Source)>,
}

enum Source {
    Bytes(Vec<u8>),
    /// In the content store.
    Blob(Digest, u64),
}

/// Who made a directory that was not there.
#[derive(PartialEq, Eq)]
enum Made {
    Here,
    ByAnother,
}

enum TarError {
    Out(io::Error),
    Store(ExportError),
}

impl Files {
    /// The blobs of the artifacts.
    fn of(artifacts: &[Artifact]) -> Files {
        let mut files = Files { files: BTreeMap::new() };
        for artifact in artifacts {
            for layer in artifact.images.iter().flat_map(|image| &image.layers) {
                let source = Source::Blob(layer.digest, layer.size);
                files.files.insert(blob_path(&layer.digest), (0o444, source));
            }
            for (digest, bytes) in &artifact.documents {
                files.add(&blob_path(digest), 0o444, bytes.clone());
            }
        }
        files
    }

    fn add(&mut self, name: &str, mode: u32, bytes: Vec<u8>) {
        self.files.insert(name.to_owned(), (mode, Source::Bytes(bytes)));
    }

    /// Entries sorted by name, directories before what is in them.
    fn write_tar(&self, content: &ContentStore, out: &mut dyn Write) -> Result<(), TarError> {
        let mut archive = Archive::new(out);
        archive.directory("blobs/").map_err(TarError::Out)?;
        archive.directory("blobs/sha256/").map_err(TarError::Out)?;
        for (name, (mode, source)) in &self.files {
            match source {
                Source::Bytes(bytes) => archive
                    .file(name, *mode, bytes.len() as u64, &mut bytes.as_slice())
                    .map_err(TarError::Out)?,
                Source::Blob(digest, size) => {
                    let mut file = open_blob(content, digest).map_err(TarError::Store)?;
                    archive.file(name, *mode, *size, &mut file).map_err(TarError::Out)?;
                }
            }
        }
        archive.finish().map(drop).map_err(TarError::Out)
    }

    /// Adds the images to the layout directory `dir`, which is made if there is none. Entries of the same names are
    /// replaced, others are what `rest` says; `index.json` is written last. Others may do the same at the same time.
    fn write_dir(
        &self,
        content: &ContentStore,
        dir: &Path,
        entries: &[Descriptor],
        rest: Rest,
        cancel: &Cancel,
    ) -> Result<PathBuf, ExportError> {
        let is_new = fs::symlink_metadata(dir).is_err();
        if is_new && self.write_new_dir(content, dir, entries, cancel)? == Made::Here {
            return Ok(dir.to_owned());
        }
        // What the index says, and the blobs that it says nothing of, stay so until they are written.
        let _lock = lock(dir, cancel)?;
        let mut all = existing_entries(dir, entries)?;
        if rest == Rest::Remove {
            all.clear();
        }
        all.extend_from_slice(entries);
        self.fill_dir(content, dir, all, cancel)?;
        if rest == Rest::Remove {
            self.remove_others(dir)?;
        }
        Ok(dir.to_owned())
    }

    /// Makes the layout directory, which appears when all of it is there.
    fn write_new_dir(
        &self,
        content: &ContentStore,
        dir: &Path,
        entries: &[Descriptor],
        cancel: &Cancel,
    ) -> Result<Made, ExportError> {
        let new = NewDir::create(dir)?;
        self.fill_dir(content, new.path(), entries.to_vec(), cancel)?;
        match new.publish(dir) {
            Ok(()) => Ok(Made::Here),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                ) =>
            {
                Ok(Made::ByAnother)
            }
            Err(source) => {
                let attempt = "rename a finished directory to";
                Err(ExportError::Io { attempt, path: dir.to_owned(), source })
            }
        }
    }

    /// Removes the blobs that are not of these files.
    fn remove_others(&self, dir: &Path) -> Result<(), ExportError> {
        let blobs = dir.join("blobs/sha256");
        for entry in fs::read_dir(&blobs).at("read the directory", &blobs)? {
            let entry = entry.at("read the directory", &blobs)?;
            let name = format!("blobs/sha256/{}", entry.file_name().to_string_lossy());
            if !self.files.contains_key(&name) {
                fs::remove_file(entry.path()).at("remove", entry.path())?;
            }
        }
        Ok(())
    }

    fn fill_dir(
        &self,
        content: &ContentStore,
        dir: &Path,
        entries: Vec<Descriptor>,
        cancel: &Cancel,
    ) -> Result<(), ExportError> {
        let blobs = dir.join("blobs/sha256");
        fs::create_dir_all(&blobs).at("create the directory", &blobs)?;
        for (name, (_, source)) in &self.files {
            let path = dir.join(name);
            let size = match source {
                Source::Bytes(bytes) => bytes.len() as u64,
                Source::Blob(_, size) => *size,
            };
            if fs::metadata(&path).is_ok_and(|there| there.is_file() && there.len() == size) {
                continue;
            }
            let mut file = NewFile::create(&path)?;
            let mut out = Stoppable { out: &mut file, cancel };
            match source {
                Source::Bytes(bytes) => out.write_all(bytes).at("write", &path)?,
                Source::Blob(digest, _) => {
                    let mut blob = open_blob(content, digest)?;
                    io::copy(&mut blob, &mut out).at("write", &path)?;
                }
            }
            file.publish()?;
        }
        for (name, bytes) in
            [("oci-layout", LAYOUT_FILE.to_vec()), ("index.json", json::compact(&index(entries)))]
        {
            let path = dir.join(name);
            let mut file = NewFile::create(&path)?;
            file.write_all(&bytes).at("write", &path)?;
            file.publish()?;
        }
        Ok(())
    }
}

/// What becomes of what else is in a layout directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Rest {
    /// It stays.
    Keep,
    /// It is removed when the new is there.
    Remove,
}

/// Adds one entry to the layout directory `dir`, which is made if there is none: blobs of the content store by digest and
/// size, documents, and `root` which leads to them. Others that write there are waited for.
pub(in crate::engine) fn write_one(
    content: &ContentStore,
    dir: &Path,
    blobs: &[(Digest, u64)],
    documents: &BTreeMap<Digest, Vec<u8>>,
    root: Descriptor,
    rest: Rest,
    cancel: &Cancel,
) -> Result<(), ExportError> {
    let mut files = Files { files: BTreeMap::new() };
    for (digest, size) in blobs {
        files.files.insert(blob_path(digest), (0o444, Source::Blob(*digest, *size)));
    }
    for (digest, bytes) in documents {
        files.add(&blob_path(digest), 0o444, bytes.clone());
    }
    files.write_dir(content, dir, &[root], rest, cancel).map(drop)
}

/// Waits until no other export writes to the layout directory, and keeps others waiting as long as the result lives. The
/// lock is on the directory itself: no file is left for others to wonder about.
fn lock(dir: &Path, cancel: &Cancel) -> Result<Option<File>, ExportError> {
    // What is no directory is refused when it is looked into.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::open(dir, flags, Mode::empty()) else { return Ok(None) };
    let started = Instant::now();
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(file.into())),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) if cancel.is_cancelled() => return Err(ExportError::Cancelled),
            // Not `LockExclusive`, which a build that is being stopped would wait for.
            Err(Errno::WOULDBLOCK) if started.elapsed() < MAX_WAIT => std::thread::sleep(WAIT_STEP),
            Err(Errno::WOULDBLOCK) => {
                let reason = "another export is writing to it and did not end in time";
                return Err(ExportError::InTheWay { path: dir.to_owned(), reason });
            }
            // A file system without locks: who exports alone needs none.
            Err(_) => return Ok(None),
        }
    }
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn open_blob(content: &ContentStore, digest: &Digest) -> Result<File, ExportError> {
    content
        .open(digest)
        .map_err(|source| ExportError::Store { item: format!("blob {digest}"), source: Box::new(source) })
}

fn index(manifests: Vec<Descriptor>) -> Index {
    let annotations = BTreeMap::new();
    Index { schema_version: 2, media_type: media::OCI_INDEX.to_owned(), manifests, annotations }
}

/// The entries that a layout directory has beside those to be written. A directory that holds something else is
/// refused.
fn existing_entries(dir: &Path, new: &[Descriptor]) -> Result<Vec<Descriptor>, ExportError> {
    let in_the_way = |reason| ExportError::InTheWay { path: dir.to_owned(), reason };
    match fs::metadata(dir) {
        Err(_) => return Ok(Vec::new()),
        Ok(metadata) if !metadata.is_dir() => return Err(in_the_way("it is no directory")),
        Ok(_) => {}
    }
    let path = dir.join("index.json");
    let read = open_regular(&path).and_then(|file| {
        let mut bytes = Vec::new();
        file.take(MAX_MANIFEST_BYTES + 1).read_to_end(&mut bytes).map(|_| bytes)
    });
    let bytes = match read {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let is_empty = fs::read_dir(dir).at("read the directory", dir)?.next().is_none();
            return if is_empty {
                Ok(Vec::new())
            } else {
                Err(in_the_way("it holds something else than an OCI layout"))
            };
        }
        Err(source) => return Err(ExportError::Io { attempt: "read", path, source }),
    };
    let Ok(Document::Index(index)) = Document::parse(&bytes, "") else {
        return Err(in_the_way("its `index.json` is no OCI index"));
    };
    let name = |entry: &Descriptor| entry.annotations.get(ANNOTATION_REF_NAME).cloned();
    let is_replaced = |old: &Descriptor| match name(old) {
        Some(old_name) => new.iter().any(|new| name(new).as_ref() == Some(&old_name)),
        None => new.iter().any(|new| new.digest == old.digest),
    };
    Ok(index.manifests.into_iter().filter(|old| !is_replaced(old)).collect())
}

/// One entry per image and name. A lone image's `ref.name` is its tag, as docker and containerd expect; several
/// images have the paths of their targets, so that each can be told by it.
fn index_entries(items: &[ExportItem], artifacts: &[Artifact]) -> Vec<Descriptor> {
    let mut entries = Vec::new();
    for (item, artifact) in items.iter().zip(artifacts) {
        let mut root = artifact.root.clone();
        if let Some(created) = &artifact.created {
            root.annotations.insert(ANNOTATION_CREATED.to_owned(), created.clone());
        }
        let mut named: Vec<Descriptor> = Vec::new();
        for tag in &artifact.tags {
            let mut entry = root.clone();
            entry.annotations.insert(ANNOTATION_IMAGE_NAME.to_owned(), tag.clone());
            let reference: Option<ImageRef> = tag.parse().ok();
            let ref_name = match reference.and_then(|reference| reference.tag) {
                Some(tag) if items.len() == 1 => Some(tag),
                // The same name on two entries would be ambiguous.
                _ => Some(item.name.clone()).filter(|_| named.is_empty()),
            };
            if let Some(ref_name) = ref_name {
                entry.annotations.insert(ANNOTATION_REF_NAME.to_owned(), ref_name);
            }
            named.push(entry);
        }
        if named.is_empty() {
            root.annotations.insert(ANNOTATION_REF_NAME.to_owned(), item.name.clone());
            named.push(root);
        }
        entries.extend(named);
    }
    entries
}

/// `manifest.json` (moby image spec v1.2, "Combined Image JSON + Filesystem Changeset Format").
fn docker_manifest(artifacts: &[Artifact]) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Entry {
        config: String,
        repo_tags: Option<Vec<String>>,
        layers: Option<Vec<String>>,
    }
    let some = |list: Vec<String>| Some(list).filter(|list| !list.is_empty());
    let entries: Vec<Entry> = artifacts
        .iter()
        .flat_map(|artifact| artifact.images.iter().map(move |image| (artifact, image)))
        .map(|(artifact, image)| Entry {
            config: blob_path(&image.config),
            repo_tags: some(artifact.tags.iter().map(|tag| familiar(tag)).collect()),
            layers: some(image.layers.iter().map(|layer| blob_path(&layer.digest)).collect()),
        })
        .collect();
    json::compact(&entries)
}

/// The name as docker shows it.
fn familiar(tag: &str) -> String {
    tag.parse().map_or_else(|_| tag.to_owned(), |reference: ImageRef| reference.familiar())
}
