//! What `-o` says: docker's CSV form, and the short forms `-o dir` and `-o -`.

use std::path::PathBuf;
use std::time::SystemTime;

use crate::base::suggest::nearest;
use crate::base::time::{from_epoch, parse_rfc3339};
use crate::base::{ImageRef, Platform, Report};
use crate::store::Compression;

/// Where results go and in what form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputSpec {
    /// The form.
    pub format: Format,
    /// The place.
    pub dest: Dest,
    /// An OCI layout as a directory rather than a tar file.
    pub as_dir: bool,
    /// What images are made like.
    pub image: ImageOptions,
}

/// The form of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OCI layout.
    Oci,
    /// What `docker load` takes.
    Docker,
    /// One tree as a tar.
    Tar,
    /// Files in a directory.
    Local,
}

impl Format {
    /// As written behind `type=`.
    pub fn name(self) -> &'static str {
        match self {
            Format::Oci => "oci",
            Format::Docker => "docker",
            Format::Tar => "tar",
            Format::Local => "local",
        }
    }
}

/// The place of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dest {
    /// `-`.
    Stdout,
    /// A file or directory.
    Path(PathBuf),
}

/// What images are made like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageOptions {
    /// Names that replace the image's own, normalised references.
    pub names: Vec<String>,
    /// Of layers that were made here; with `force_compression`, of all.
    pub compression: Compression,
    /// Layers of base images are compressed anew as well.
    pub force_compression: bool,
    /// Which family of types the documents have.
    pub media_types: MediaTypes,
    /// Texts for manifests and indexes, in the order they were written.
    pub annotations: Vec<Annotation>,
    /// No time in config and history is later than this (SOURCE_DATE_EPOCH).
    pub epoch: Option<SystemTime>,
    /// The config of the one image, in the place of its own: an object.
    pub config: Option<serde_json::Value>,
}

impl Default for ImageOptions {
    /// gzip, OCI types, nothing else.
    fn default() -> ImageOptions {
        ImageOptions {
            names: Vec::new(),
            compression: GZIP,
            force_compression: false,
            media_types: MediaTypes::Oci,
            annotations: Vec::new(),
            epoch: None,
            config: None,
        }
    }
}

const GZIP: Compression = Compression::Gzip(6);
const ZSTD: Compression = Compression::Zstd(3);

/// A family of media types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaTypes {
    /// `application/vnd.oci.…`.
    Oci,
    /// `application/vnd.docker.…`.
    Docker,
}

/// A text on a manifest, an index, or a descriptor of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// Where it goes.
    pub place: AnnotationPlace,
    /// Only on images of this platform.
    pub platform: Option<Platform>,
    /// Key.
    pub key: String,
    /// Text.
    pub value: String,
}

/// Where an annotation goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named after the documents")]
pub enum AnnotationPlace {
    Manifest,
    ManifestDescriptor,
    Index,
    IndexDescriptor,
}

/// What is wrong with the text behind `-o`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// A quote in the CSV is not closed, or stands in the middle of a field.
    #[error("`{0}` has a stray quote")]
    Quote(String),
    /// A field without `=`.
    #[error("`{0}` is not of the form key=value")]
    Field(String),
    /// A `type` that is none, or that comes later.
    #[error("there is no output type `{0}`")]
    Type(String),
    /// An option that is none, or none of this type.
    #[error("`type={format}` has no option `{key}`")]
    Key {
        /// Of the output.
        format: &'static str,
        /// As written.
        key: String,
        /// One that is near.
        near: Option<&'static str>,
    },
    /// A value that does not fit its key.
    #[error("`{key}={value}` is not valid: expected {expected}")]
    Value {
        /// Key.
        key: String,
        /// As written.
        value: String,
        /// What fits.
        expected: &'static str,
    },
    /// No destination.
    #[error("`type={0}` needs a destination")]
    NoDest(&'static str),
    /// Docker's documents have no place for annotations.
    #[error("annotations need OCI media types")]
    DockerAnnotations,
    /// A directory cannot be standard output.
    #[error("a directory cannot be written to standard output")]
    DirToStdout,
}

impl SpecError {
    /// The way out, when there is one to name.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            SpecError::Type(name) if matches!(name.as_str(), "image" | "registry") => {
                "pushing is not supported yet: export `type=oci` and copy it with `skopeo copy`".to_owned()
            }
            SpecError::Type(_) => "the types are `oci`, `docker`, `tar` and `local`".to_owned(),
            SpecError::Key { near: Some(near), .. } => format!("did you mean `{near}`?"),
            SpecError::Quote(_) => "a field with a comma is quoted as a whole: `\"name=a,b\"`".to_owned(),
            SpecError::NoDest(_) => "add `dest=PATH`, or `dest=-` for standard output".to_owned(),
            SpecError::DockerAnnotations => "drop `oci-mediatypes=false`".to_owned(),
            SpecError::DirToStdout => "use `type=tar`, or drop `tar=false`".to_owned(),
            SpecError::Field(_) | SpecError::Key { near: None, .. } | SpecError::Value { .. } => return None,
        })
    }

    /// The diagnostic for people, without a place.
    pub fn report(&self) -> Report {
        Report::error("bkl::bad_output", self.to_string()).maybe_help(self.help())
    }
}

const COMMON_KEYS: &[&str] = &["type", "dest"];
const IMAGE_KEYS: &[&str] = &[
    "name",
    "tar",
    "compression",
    "compression-level",
    "force-compression",
    "oci-mediatypes",
    "source-date-epoch",
    "annotation",
    CONFIG_KEY,
];
/// Names an image's config, as clients of BuildKit say it.
const CONFIG_KEY: &str = "containerimage.config";

/// Reads the text behind `-o`.
///
/// `type=oci,dest=x.tar` as docker reads it: one CSV record, keys in any case. A text without `=` is short for
/// `type=local,dest=<text>`, and `-` for `type=tar,dest=-`. `type=oci` with a `dest` that ends in `/` is a directory.
pub fn parse(text: &str) -> Result<OutputSpec, SpecError> {
    let fields = csv_fields(text)?;
    if let [only] = fields.as_slice()
        && !only.contains('=')
    {
        let (format, dest) = match only.as_str() {
            "" => return Err(SpecError::Field(String::new())),
            "-" => (Format::Tar, Dest::Stdout),
            path => (Format::Local, Dest::Path(path.into())),
        };
        return Ok(OutputSpec { format, dest, as_dir: false, image: ImageOptions::default() });
    }
    let pairs: Vec<(String, &str)> = fields
        .iter()
        .map(|field| match field.split_once('=') {
            Some((key, value)) if key.to_lowercase().starts_with("annotation") => (key.to_owned(), value),
            Some((key, value)) => (key.trim().to_lowercase(), value),
            // A flag alone is on, as in `force-compression`.
            None => (field.trim().to_lowercase(), ""),
        })
        .collect();
    let last = |wanted: &str| pairs.iter().rev().find(|(key, _)| key == wanted).map(|(_, value)| *value);
    let format = match last("type") {
        Some("oci") => Format::Oci,
        Some("docker") => Format::Docker,
        Some("tar") => Format::Tar,
        Some("local") => Format::Local,
        Some(other) => return Err(SpecError::Type(other.to_owned())),
        None => return Err(SpecError::Field(text.to_owned())),
    };
    let dest = last("dest").unwrap_or_default();
    let mut spec = OutputSpec {
        format,
        as_dir: format == Format::Oci && dest.ends_with('/'),
        dest: match dest {
            "" => return Err(SpecError::NoDest(format.name())),
            "-" => Dest::Stdout,
            path => Dest::Path(path.into()),
        },
        image: ImageOptions::default(),
    };
    let mut level = None;
    for (key, value) in &pairs {
        spec.option(key, value, &mut level)?;
    }
    if let Some((value, number)) = level {
        spec.image.compression = spec.image.compression_at(&value, number)?;
    }
    if spec.image.media_types == MediaTypes::Docker && !spec.image.annotations.is_empty() {
        return Err(SpecError::DockerAnnotations);
    }
    let writes_dir = spec.as_dir || format == Format::Local;
    if writes_dir && spec.dest == Dest::Stdout { Err(SpecError::DirToStdout) } else { Ok(spec) }
}

impl OutputSpec {
    /// Whether bytes go to standard output: not to be done to a terminal.
    pub fn writes_stdout(&self) -> bool {
        self.dest == Dest::Stdout
    }

    fn option(&mut self, key: &str, value: &str, level: &mut Option<(String, i32)>) -> Result<(), SpecError> {
        let is_image = matches!(self.format, Format::Oci | Format::Docker);
        let wrong = |expected| SpecError::Value { key: key.to_owned(), value: value.to_owned(), expected };
        match key {
            "type" | "dest" => {}
            "source-date-epoch" if is_image => {
                self.image.epoch = Some(read_epoch(value).ok_or_else(|| wrong("seconds since 1970"))?);
            }
            "tar" if self.format == Format::Oci => {
                self.as_dir = !flag(value).ok_or_else(|| wrong("true or false"))?;
            }
            "name" if is_image => {
                for name in value.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                    let name: ImageRef = name.parse().map_err(|_| wrong("image references"))?;
                    self.image.names.push(name.with_default_tag().to_string());
                }
            }
            "compression" if is_image => {
                let compression = compression(value).ok_or_else(|| wrong(COMPRESSIONS))?;
                self.image.compression = compression;
            }
            "compression-level" if is_image => {
                let number = value.parse().map_err(|_| wrong("a number"))?;
                *level = Some((value.to_owned(), number));
            }
            "force-compression" if is_image => {
                self.image.force_compression = flag(value).ok_or_else(|| wrong("true or false"))?;
            }
            "oci-mediatypes" if is_image => {
                let oci = flag(value).ok_or_else(|| wrong("true or false"))?;
                self.image.media_types = if oci { MediaTypes::Oci } else { MediaTypes::Docker };
            }
            CONFIG_KEY if is_image => {
                let config = serde_json::from_str(value).ok().filter(serde_json::Value::is_object);
                self.image.config = Some(config.ok_or_else(|| wrong("an image config, as JSON"))?);
            }
            key if is_image && key.starts_with("annotation") => {
                self.image.annotations.push(annotation(key, value).ok_or_else(|| {
                    wrong(
                        "annotation[-manifest|-index|-manifest-descriptor|-index-descriptor][[platform]].KEY",
                    )
                })?);
            }
            key => {
                let known = COMMON_KEYS.iter().chain(if is_image { IMAGE_KEYS } else { &[] });
                let near = nearest(key, known.copied());
                let near = near.and_then(|near| IMAGE_KEYS.iter().chain(COMMON_KEYS).find(|it| **it == near));
                return Err(SpecError::Key {
                    format: self.format.name(),
                    key: key.to_owned(),
                    near: near.copied(),
                });
            }
        }
        Ok(())
    }
}

/// What [`compression`] reads.
pub(in crate::engine) const COMPRESSIONS: &str = "gzip, zstd or uncompressed";

/// A compression by its name, at its usual level.
pub(in crate::engine) fn compression(name: &str) -> Option<Compression> {
    match name {
        "gzip" => Some(GZIP),
        "zstd" => Some(ZSTD),
        "uncompressed" => Some(Compression::None),
        _ => None,
    }
}

impl ImageOptions {
    /// Its compression at another level, which was written as `value`.
    pub(in crate::engine) fn compression_at(
        &self,
        value: &str,
        level: i32,
    ) -> Result<Compression, SpecError> {
        let wrong = |expected| SpecError::Value {
            key: "compression-level".to_owned(),
            value: value.to_owned(),
            expected,
        };
        match self.compression {
            Compression::None => Err(wrong("no level, as nothing is compressed")),
            Compression::Gzip(_) => match u8::try_from(level) {
                Ok(level @ 0..=9) => Ok(Compression::Gzip(level)),
                _ => Err(wrong("0 to 9")),
            },
            Compression::Zstd(_) => match u8::try_from(level) {
                Ok(level @ 1..=19) => Ok(Compression::Zstd(level)),
                _ => Err(wrong("1 to 19")),
            },
        }
    }
}

/// Seconds since 1970, or RFC 3339, as SOURCE_DATE_EPOCH and `source-date-epoch=` are written.
pub fn read_epoch(text: &str) -> Option<SystemTime> {
    text.parse().ok().and_then(from_epoch).or_else(|| parse_rfc3339(text))
}

/// `annotation-index[linux/amd64].key`.
fn annotation(text: &str, value: &str) -> Option<Annotation> {
    let rest = text.strip_prefix("annotation")?;
    let head_end = rest.find(['.', '['])?;
    let place = match &rest[..head_end] {
        "" | "-manifest" => AnnotationPlace::Manifest,
        "-manifest-descriptor" => AnnotationPlace::ManifestDescriptor,
        "-index" => AnnotationPlace::Index,
        "-index-descriptor" => AnnotationPlace::IndexDescriptor,
        _ => return None,
    };
    let rest = &rest[head_end..];
    let (platform, rest) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (platform, rest) = rest.split_once(']')?;
            (Some(platform.parse().ok()?), rest)
        }
        None => (None, rest),
    };
    let key = rest.strip_prefix('.').filter(|key| !key.is_empty())?;
    Some(Annotation { place, platform, key: key.to_owned(), value: value.to_owned() })
}

/// Go's `strconv.ParseBool`; a flag without a value is on.
pub(in crate::engine) fn flag(text: &str) -> Option<bool> {
    match text {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// The fields of one CSV record (RFC 4180, as Go's `encoding/csv` reads it).
pub(in crate::engine) fn csv_fields(text: &str) -> Result<Vec<String>, SpecError> {
    let stray = || SpecError::Quote(text.to_owned());
    let mut fields = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        let mut field = String::new();
        if chars.next_if_eq(&'"').is_some() {
            loop {
                match chars.next().ok_or_else(stray)? {
                    '"' if chars.next_if_eq(&'"').is_some() => field.push('"'),
                    '"' => break,
                    c => field.push(c),
                }
            }
        } else {
            while let Some(c) = chars.next_if(|c| *c != ',') {
                if c == '"' {
                    return Err(stray());
                }
                field.push(c);
            }
        }
        fields.push(field);
        match chars.next() {
            None => return Ok(fields),
            Some(',') => {}
            Some(_) => return Err(stray()),
        }
    }
}

#[cfg(test)]
mod tests;
