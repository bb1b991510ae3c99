//! What `--cache-to` and `--cache-from` say, in buildctl's and buildx' CSV form.

use std::path::PathBuf;

use crate::base::suggest::nearest;
use crate::base::{Digest, ImageRef, Report};
use crate::engine::export::spec::{COMPRESSIONS, SpecError, compression, csv_fields, flag};
use crate::engine::export::{ImageOptions, MediaTypes};

/// Where a build's cache goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheTo {
    /// The place.
    pub place: ToPlace,
    /// Whose results are in it.
    pub mode: Mode,
    /// A failure is only warned of.
    pub ignore_error: bool,
    /// How layers are compressed; nothing else of it counts.
    pub image: ImageOptions,
}

/// The place a cache goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToPlace {
    /// A repository.
    Registry {
        /// Its name and tag.
        image: ImageRef,
        /// Without encryption.
        insecure: bool,
        /// The document around it.
        form: Form,
    },
    /// An OCI layout directory.
    Local {
        /// The directory.
        dir: PathBuf,
        /// The name in it.
        tag: String,
        /// What else is in it is removed.
        reset: bool,
        /// The document around it.
        form: Form,
    },
    /// The configs of the images that are built.
    Inline,
}

/// The document around a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// An OCI image manifest.
    Image,
    /// An index whose entries are the layers.
    Index(MediaTypes),
}

/// Whose results are in a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Those that were asked for.
    Min,
    /// Those of all steps.
    Max,
}

/// Where a cache comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheFrom {
    /// A repository: of a cache, or of an image with one.
    Registry {
        /// Its name and tag.
        image: ImageRef,
        /// Without encryption.
        insecure: bool,
    },
    /// An OCI layout directory.
    Local {
        /// The directory.
        dir: PathBuf,
        /// The name in it, or the digest of what is meant.
        name: LocalName,
    },
}

/// What is meant in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalName {
    /// By name.
    Tag(String),
    /// By digest.
    Digest(Digest),
}

/// The name that a cache has in a directory when none is said.
const LATEST: &str = "latest";

impl CacheTo {
    /// For people: `registry example.com/app:cache`.
    pub fn shown(&self) -> String {
        match &self.place {
            ToPlace::Registry { image, .. } => format!("registry {}", image.familiar()),
            ToPlace::Local { dir, .. } => format!("directory {}", dir.display()),
            ToPlace::Inline => "image".to_owned(),
        }
    }
}

impl CacheFrom {
    /// For people: the reference, or the directory.
    pub fn shown(&self) -> String {
        match self {
            CacheFrom::Registry { image, .. } => image.familiar(),
            CacheFrom::Local { dir, .. } => dir.display().to_string(),
        }
    }
}

/// What is wrong with the text behind a flag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`--{flag} {text}`: {reason}")]
pub struct CacheSpecError {
    /// `cache-to` or `cache-from`.
    pub flag: &'static str,
    /// As written.
    pub text: String,
    /// What is wrong.
    pub reason: Reason,
}

/// What is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// No CSV, or a value that does not fit.
    #[error(transparent)]
    Field(#[from] SpecError),
    /// A `type` that is none.
    #[error("there is no cache type `{0}`")]
    Type(String),
    /// A type that BuildKit has and bkl has not.
    #[error("caches of `type={0}` are not supported")]
    Unsupported(String),
    /// Nothing of this type can be imported.
    #[error("`type=inline` is for exporting: what it wrote is imported from the image")]
    InlineFrom,
    /// An attribute that is none, or none of this type.
    #[error("`type={of}` has no attribute `{key}`")]
    Key {
        /// The type.
        of: &'static str,
        /// As written.
        key: String,
        /// One that is near.
        near: Option<&'static str>,
    },
    /// Written twice.
    #[error("`{0}` is given twice")]
    Twice(String),
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
    /// Something that has to be said is not.
    #[error("`type={of}` needs `{key}`")]
    Missing {
        /// The type.
        of: &'static str,
        /// The attribute.
        key: &'static str,
    },
    /// An image manifest is an OCI document.
    #[error("`image-manifest=true` needs OCI media types")]
    DockerManifest,
    /// Two flags say the same.
    #[error("the same place is given twice")]
    Duplicate,
}

impl CacheSpecError {
    /// The way out, when there is one to name.
    pub fn help(&self) -> Option<String> {
        let is_to = self.flag == "cache-to";
        Some(match &self.reason {
            Reason::Type(_) if is_to => "the types are `registry`, `local` and `inline`".to_owned(),
            Reason::Type(_) => "the types are `registry` and `local`".to_owned(),
            Reason::Unsupported(_) => {
                "use `type=registry`, or `type=local` and copy the directory".to_owned()
            }
            Reason::InlineFrom => "name the image: `type=registry,ref=REF`".to_owned(),
            Reason::Key { near: Some(near), .. } => format!("did you mean `{near}`?"),
            Reason::Missing { key: "ref", .. } => "add `ref=REPOSITORY:TAG`".to_owned(),
            Reason::Missing { key, .. } => format!("add `{key}=DIR`"),
            Reason::DockerManifest => "drop `oci-mediatypes=false`, or say `image-manifest=false`".to_owned(),
            Reason::Field(error) => return error.help(),
            Reason::Duplicate => "leave one of them away".to_owned(),
            Reason::Key { near: None, .. } | Reason::Twice(_) | Reason::Value { .. } => return None,
        })
    }

    /// The diagnostic for people, without a place.
    pub fn report(&self) -> Report {
        Report::error("bkl::bad_cache", self.to_string()).maybe_help(self.help())
    }
}

/// The types of BuildKit that there is no code for.
const UNSUPPORTED: &[&str] = &["gha", "s3", "azblob"];

const COMMON_TO: &[&str] = &["type", "mode", "ignore-error"];
const LAYERS: &[&str] =
    &["compression", "compression-level", "force-compression", "oci-mediatypes", "image-manifest"];

/// The attributes of a text, keys in lower case, each once.
struct Fields {
    of: &'static str,
    pairs: Vec<(String, String)>,
}

impl Fields {
    fn read(text: &str, types: &[&'static str]) -> Result<Fields, Reason> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for field in csv_fields(text)? {
            let (key, value) = field.split_once('=').ok_or_else(|| SpecError::Field(field.clone()))?;
            let key = key.trim().to_lowercase();
            if pairs.iter().any(|(known, _)| *known == key) {
                return Err(Reason::Twice(key));
            }
            pairs.push((key, value.to_owned()));
        }
        let kind = pairs.iter().find(|(key, _)| key == "type").map(|(_, value)| value.clone());
        let kind = kind.ok_or_else(|| SpecError::Field(text.to_owned()))?;
        match types.iter().find(|it| **it == kind) {
            Some(of) => Ok(Fields { of, pairs }),
            None if UNSUPPORTED.contains(&kind.as_str()) => Err(Reason::Unsupported(kind)),
            None => Err(Reason::Type(kind)),
        }
    }

    fn check(&self, known: &[&[&'static str]]) -> Result<(), Reason> {
        let known: Vec<&'static str> = known.iter().flat_map(|it| it.iter().copied()).collect();
        match self.pairs.iter().find(|(key, _)| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some((key, _)) => {
                let near = nearest(key, known.iter().copied());
                let near = near.and_then(|near| known.iter().find(|it| **it == near).copied());
                Err(Reason::Key { of: self.of, key: key.clone(), near })
            }
        }
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(it, _)| it == key).map(|(_, value)| value.as_str())
    }

    fn wrong(&self, key: &str, expected: &'static str) -> Reason {
        let value = self.get(key).unwrap_or_default().to_owned();
        Reason::Value { key: key.to_owned(), value, expected }
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool, Reason> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => flag(value).ok_or_else(|| self.wrong(key, "true or false")),
        }
    }

    fn needed(&self, key: &'static str) -> Result<&str, Reason> {
        self.get(key).filter(|it| !it.is_empty()).ok_or(Reason::Missing { of: self.of, key })
    }

    fn reference(&self) -> Result<ImageRef, Reason> {
        let text = self.needed("ref")?;
        let image: ImageRef = text.parse().map_err(|_| self.wrong("ref", "an image reference"))?;
        Ok(image.with_default_tag())
    }

    fn image(&self) -> Result<ImageOptions, Reason> {
        let mut image = ImageOptions::default();
        if let Some(name) = self.get("compression") {
            image.compression = compression(name).ok_or_else(|| self.wrong("compression", COMPRESSIONS))?;
        }
        if let Some(level) = self.get("compression-level") {
            let number = level.parse().map_err(|_| self.wrong("compression-level", "a number"))?;
            image.compression = image.compression_at(level, number)?;
        }
        image.force_compression = self.flag("force-compression", false)?;
        Ok(image)
    }

    fn form(&self) -> Result<Form, Reason> {
        let is_oci = self.flag("oci-mediatypes", true)?;
        // Docker's types have no place for it: who asks for them and says nothing else gets a list.
        match (self.flag("image-manifest", is_oci)?, is_oci) {
            (true, true) => Ok(Form::Image),
            (true, false) => Err(Reason::DockerManifest),
            (false, true) => Ok(Form::Index(MediaTypes::Oci)),
            (false, false) => Ok(Form::Index(MediaTypes::Docker)),
        }
    }
}

/// Reads the texts of all `--cache-to`. Several `type=inline` are one.
///
/// # Errors
/// See [`CacheSpecError`].
pub fn parse_to(texts: &[String]) -> Result<Vec<CacheTo>, CacheSpecError> {
    let mut all: Vec<CacheTo> = Vec::new();
    for text in texts {
        let failed = |reason| CacheSpecError { flag: "cache-to", text: text.clone(), reason };
        let to = read_to(text).map_err(failed)?;
        let is_known = all.iter().any(|it| match (&it.place, &to.place) {
            (ToPlace::Registry { image: a, .. }, ToPlace::Registry { image: b, .. }) => a == b,
            (ToPlace::Local { dir: a, tag: c, .. }, ToPlace::Local { dir: b, tag: d, .. }) => {
                a == b && c == d
            }
            (ToPlace::Inline, ToPlace::Inline) => true,
            _ => false,
        });
        match (is_known, &to.place) {
            (false, _) => all.push(to),
            (true, ToPlace::Inline) => {}
            (true, _) => return Err(failed(Reason::Duplicate)),
        }
    }
    Ok(all)
}

fn read_to(text: &str) -> Result<CacheTo, Reason> {
    // buildx: a reference is short for a registry's.
    let text = match csv_fields(text)?.as_slice() {
        [only] if !only.contains('=') && !only.is_empty() => format!("type=registry,ref={only}"),
        _ => text.to_owned(),
    };
    let fields = Fields::read(&text, &["registry", "local", "inline"])?;
    let place = match fields.of {
        "registry" => {
            fields.check(&[COMMON_TO, LAYERS, &["ref", "registry.insecure"]])?;
            let insecure = fields.flag("registry.insecure", false)?;
            ToPlace::Registry { image: fields.reference()?, insecure, form: fields.form()? }
        }
        "local" => {
            fields.check(&[COMMON_TO, LAYERS, &["dest", "reset", "tag"]])?;
            let dir = PathBuf::from(fields.needed("dest")?);
            let tag = fields.get("tag").filter(|it| !it.is_empty()).unwrap_or(LATEST).to_owned();
            ToPlace::Local { dir, tag, reset: fields.flag("reset", false)?, form: fields.form()? }
        }
        _ => {
            fields.check(&[COMMON_TO])?;
            ToPlace::Inline
        }
    };
    let mode = match fields.get("mode") {
        None | Some("min" | "") => Mode::Min,
        Some("max") if place == ToPlace::Inline => {
            return Err(fields.wrong("mode", "min: an image has no layers but its own"));
        }
        Some("max") => Mode::Max,
        Some(_) => return Err(fields.wrong("mode", "min or max")),
    };
    let ignore_error = fields.flag("ignore-error", false)?;
    Ok(CacheTo { place, mode, ignore_error, image: fields.image()? })
}

/// Reads the texts of all `--cache-from`. A text without `=` is a reference, as buildx takes it.
///
/// # Errors
/// See [`CacheSpecError`].
pub fn parse_from(texts: &[String]) -> Result<Vec<CacheFrom>, CacheSpecError> {
    let mut all = Vec::new();
    for text in texts {
        let failed = |reason| CacheSpecError { flag: "cache-from", text: text.clone(), reason };
        for from in read_from(text).map_err(failed)? {
            // To ask twice is to ask once.
            if !all.contains(&from) {
                all.push(from);
            }
        }
    }
    Ok(all)
}

fn read_from(text: &str) -> Result<Vec<CacheFrom>, Reason> {
    let fields = csv_fields(text)?;
    if fields.iter().all(|field| !field.contains('=') && !field.is_empty()) {
        let image = |field: &String| {
            let image: Option<ImageRef> = field.parse().ok();
            let image = image.ok_or_else(|| Reason::Value {
                key: "ref".to_owned(),
                value: field.clone(),
                expected: "an image reference",
            })?;
            Ok(CacheFrom::Registry { image: image.with_default_tag(), insecure: false })
        };
        return fields.iter().map(image).collect();
    }
    if fields.iter().any(|field| field == "type=inline") {
        return Err(Reason::InlineFrom);
    }
    let fields = Fields::read(text, &["registry", "local"])?;
    let from = match fields.of {
        "registry" => {
            fields.check(&[&["type", "ref", "registry.insecure"]])?;
            let insecure = fields.flag("registry.insecure", false)?;
            CacheFrom::Registry { image: fields.reference()?, insecure }
        }
        _ => {
            fields.check(&[&["type", "src", "tag", "digest"]])?;
            let dir = PathBuf::from(fields.needed("src")?);
            let given = |key: &str| fields.get(key).filter(|it| !it.is_empty());
            let name = match given("digest") {
                None => LocalName::Tag(given("tag").unwrap_or(LATEST).to_owned()),
                Some(_) if given("tag").is_some() => {
                    return Err(fields.wrong("tag", "either a tag or a digest"));
                }
                Some(digest) => {
                    let digest = digest.parse().map_err(|_| fields.wrong("digest", "a digest, sha256:…"))?;
                    LocalName::Digest(digest)
                }
            };
            CacheFrom::Local { dir, name }
        }
    };
    Ok(vec![from])
}

#[cfg(test)]
mod tests;
