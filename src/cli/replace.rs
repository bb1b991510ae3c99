//! `--image REF=SOURCE`: what stands in for an image of the program, for one run. The forms are those of buildx's
//! `--build-context name=source`.

use std::collections::BTreeMap;
use std::path::Path;

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
    /// The words of the command line, as they were written: image and source.
    words: Vec<(ImageRef, String)>,
}

impl Replacements {
    /// Reads the words behind `--image`. Folders are relative to the working directory, and are looked into here: a
    /// path that is wrong is said before anything else happens.
    pub(crate) fn read(words: &[String]) -> Result<Replacements, Report> {
        let mut read = Replacements { images: BTreeMap::new(), words: Vec::new() };
        for word in words {
            let Some((name, source)) = word.split_once('=') else {
                return Err(bad(word, "it has no `=`"));
            };
            let image = reference(word, name)?;
            let replacement = match (source.strip_prefix(LAYOUT), source.strip_prefix(IMAGE)) {
                (Some(place), _) => layout(word, place, &image)?,
                (_, Some(other)) => Replacement::Image(reference(word, other)?),
                _ => return Err(bad(word, &format!("`{source}` is neither `{LAYOUT}` nor `{IMAGE}`"))),
            };
            if read.images.insert(image.clone(), replacement).is_some() {
                return Err(bad(word, &format!("`{}` is replaced twice", image.familiar())));
            }
            read.words.push((image, source.to_owned()));
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
        let told = |(image, source): &&(ImageRef, String)| {
            replaced.contains(image).then(|| format!("`{}` by `{source}`", image.familiar()))
        };
        let told: Vec<String> = self.words.iter().filter_map(|word| told(&word)).collect();
        if !told.is_empty() {
            let note = format!("not what bkl.lock says: `--image` replaces {}", told.join(", "));
            notes.push(Report::warning("bkl::image_replaced", note));
        }
        for (image, _) in self.words.iter().filter(|(image, _)| !replaced.contains(image)) {
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
    let path = Path::new(dir)
        .canonicalize()
        .map_err(|error| bad(word, &format!("cannot open the layout `{dir}`: {}", io_reason(&error))))?;
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
    let dir = path.to_str().map(str::to_owned);
    let dir = dir.ok_or_else(|| bad(word, &format!("`{}` is not UTF-8", path.display())))?;
    Ok(Replacement::OciLayout { dir, reference: entry })
}

const HELP: &str = "write it as in `--image alpine:3.20=oci-layout://DIR[:TAG]`, or `=docker-image://REF`";

fn bad(word: &str, why: &str) -> Report {
    Report::error("bkl::bad_image", format!("`--image {word}`: {why}")).help(HELP)
}
