//! `--image REF=SOURCE`: what stands in for an image of the program, for one run. The forms are those of buildx's
//! `--build-context name=source`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};

use crate::base::{ImageRef, Report, suggest};
use crate::engine::registry::{ImageError, Layout};
use crate::lang::eval::{Replacement, Request};

use super::program::io_reason;

const LAYOUT: &str = "oci-layout://";
const IMAGE: &str = "docker-image://";

/// The replacements of one command line.
pub(crate) struct Replacements {
    /// What evaluation is given.
    pub(crate) images: BTreeMap<ImageRef, Replacement>,
    words: Vec<Word>,
}

/// One `--image`.
struct Word {
    /// What it may replace.
    images: Vec<ImageRef>,
    /// As it was written.
    source: String,
    scope: Scope,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// One image, by its name: not to use it is a mistake.
    Named,
    /// Whatever the layout holds.
    Layout,
}

impl Replacements {
    /// Reads the words behind `--image`. Folders are relative to the working directory, and are looked into here: a
    /// path that is wrong is said before anything else happens. What is named goes before what a whole layout holds.
    pub(crate) fn read(words: &[String]) -> Result<Replacements, Report> {
        let mut read = Replacements { images: BTreeMap::new(), words: Vec::new() };
        for word in words {
            let Some((name, source)) = word.split_once('=') else { continue };
            let image = reference(word, name)?;
            let replacement = match (source.strip_prefix(LAYOUT), source.strip_prefix(IMAGE)) {
                (Some(place), _) => layout(word, place, &image)?,
                (_, Some(other)) => Replacement::Image(reference(word, other)?),
                _ => return Err(bad(word, &format!("`{source}` is neither `{LAYOUT}` nor `{IMAGE}`"))),
            };
            if read.images.insert(image.clone(), replacement).is_some() {
                return Err(bad(word, &format!("`{}` is replaced twice", image.familiar())));
            }
            read.words.push(Word { images: vec![image], source: source.to_owned(), scope: Scope::Named });
        }
        for word in words.iter().filter(|word| !word.contains('=')) {
            let Some(place) = word.strip_prefix(LAYOUT) else { return Err(bad(word, "it has no `=`")) };
            let mut images = Vec::new();
            for (image, replacement) in whole_layout(word, place)? {
                if let Entry::Vacant(entry) = read.images.entry(image.clone()) {
                    entry.insert(replacement);
                    images.push(image);
                }
            }
            read.words.push(Word { images, source: word.clone(), scope: Scope::Layout });
        }
        Ok(read)
    }

    /// Whether a request is for what stands in for another image: nothing to pin, and nothing the program said.
    pub(crate) fn asked(&self, request: &Request) -> bool {
        let Request::Image { reference, .. } = request else { return false };
        self.images.values().any(|it| matches!(it, Replacement::Image(other) if other == reference))
    }

    /// What to say about a build that used `replaced` of them and knows the images `used`.
    pub(crate) fn notes(&self, replaced: &[ImageRef], used: &[Request]) -> Vec<Report> {
        let mut notes = Vec::new();
        let told = |word: &Word| {
            let images = word.images.iter().filter(|image| replaced.contains(image));
            let images: Vec<String> = images.map(|image| format!("`{}`", image.familiar())).collect();
            (!images.is_empty()).then(|| format!("{} by `{}`", images.join(", "), word.source))
        };
        let told: Vec<String> = self.words.iter().filter_map(told).collect();
        if !told.is_empty() {
            let note = format!("not what bkl.lock says: `--image` replaces {}", told.join(", "));
            notes.push(Report::warning("bkl::image_replaced", note));
        }
        let named = self.words.iter().filter(|word| word.scope == Scope::Named).flat_map(|word| &word.images);
        for image in named.filter(|image| !replaced.contains(image)) {
            let name = image.familiar();
            let note = format!("`--image {name}=…` replaces nothing: what is built does not use that image");
            let known = used.iter().filter_map(familiar).chain(replaced.iter().map(ImageRef::familiar));
            let known: Vec<String> = known.collect();
            let near = suggest::nearest(&name, known.iter().map(String::as_str));
            let note = Report::warning("bkl::image_unused", note);
            notes.push(match near {
                Some(near) => note.help(format!("did you mean `{near}`?")),
                None => note.help("write it as the program does, with its tag, and its digest if it has one"),
            });
        }
        notes
    }
}

fn familiar(request: &Request) -> Option<String> {
    match request {
        Request::Image { reference, .. } => Some(reference.familiar()),
        _ => None,
    }
}

fn reference(word: &str, text: &str) -> Result<ImageRef, Report> {
    let parsed = text.parse::<ImageRef>();
    parsed
        .map(ImageRef::with_default_tag)
        .map_err(|error| bad(word, &format!("`{text}` is not a reference: {error}")))
}

/// `DIR`, `DIR:TAG`, `DIR:REF` or `DIR@DIGEST`. Only `DIR`: the entry of the image's own name, else the only one.
fn layout(word: &str, place: &str, image: &ImageRef) -> Result<Replacement, Report> {
    let (place, digest) = match place.split_once('@') {
        Some((place, digest)) => {
            let digest = digest.parse().map_err(|error| bad(word, &format!("{error}")))?;
            (place, Some(digest))
        }
        None => (place, None),
    };
    // As buildx does: a folder's own name has no colon.
    let (dir, name) = place.split_once(':').map_or((place, None), |(dir, name)| (dir, Some(name)));
    let path = open(word, dir)?;
    let entry = match name {
        None => image.clone(),
        Some(name) if name.contains(['/', ':']) => reference(word, name)?,
        Some(tag) => ImageRef { tag: Some(tag.to_owned()), digest: None, ..image.clone() },
    };
    let mut entry = ImageRef { digest: digest.or(entry.digest), ..entry };
    let unreadable = |error: ImageError| error.report();
    match Layout::new(&path, entry.to_string()).select() {
        Ok(_) => {}
        Err(ImageError::NoEntry { .. }) if name.is_none() && digest.is_none() => {
            let only = Layout::new(&path, "").select().map_err(unreadable)?;
            entry.digest = only.first().map(|found| found.digest);
        }
        Err(error) => return Err(unreadable(error)),
    }
    Ok(Replacement::OciLayout { dir: utf8(word, &path)?, reference: entry })
}

/// Every image of a layout under its own name. A name without a tag or a digest names no image of a registry.
fn whole_layout(word: &str, dir: &str) -> Result<Vec<(ImageRef, Replacement)>, Report> {
    let path = open(word, dir)?;
    let dir = utf8(word, &path)?;
    let names = Layout::new(&path, "").names().map_err(|error| error.report())?;
    let images = names.iter().filter(|name| name.contains([':', '@'])).filter_map(|name| name.parse().ok());
    let images: Vec<(ImageRef, Replacement)> = images
        .map(|image: ImageRef| (image.clone(), Replacement::OciLayout { dir: dir.clone(), reference: image }))
        .collect();
    if images.is_empty() {
        let why = "no image in it has a full name, as in `docker.io/library/alpine:3.20`; say which one it replaces";
        return Err(bad(word, why));
    }
    Ok(images)
}

fn open(word: &str, dir: &str) -> Result<PathBuf, Report> {
    let opened = Path::new(dir).canonicalize();
    opened.map_err(|error| bad(word, &format!("cannot open the layout `{dir}`: {}", io_reason(&error))))
}

fn utf8(word: &str, path: &Path) -> Result<String, Report> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| bad(word, &format!("`{}` is not UTF-8", path.display())))
}

const HELP: &str = "write it as in `--image alpine:3.20=oci-layout://DIR[:TAG]`, or `=docker-image://REF`";

fn bad(word: &str, why: &str) -> Report {
    Report::error("bkl::bad_image", format!("`--image {word}`: {why}")).help(HELP)
}
