//! What can be lowered apart: a target, or one platform of a target that has several.

use crate::base::{Platform, Report};
use crate::cli::args::Emit;
use crate::graph::ir::outputs::ImageOutput;
use crate::graph::ir::{Output, OutputKind, Tree};

/// One tree to build, with what is said about it.
pub(super) struct Piece<'a> {
    pub(super) output: &'a Output,
    /// Its config and tags, when it is an image.
    pub(super) image: Option<&'a ImageOutput>,
    /// The platform of an image of an index; what an op without one is marshalled for.
    pub(super) platform: Platform,
    /// Whether it is one of the images of an index.
    pub(super) of_index: bool,
    pub(super) root: Tree,
}

/// The pieces of the outputs, in order; `roots` are their trees.
pub(super) fn pieces<'a>(outputs: &'a [Output], roots: &[Tree], platforms: &[String]) -> Vec<Piece<'a>> {
    let default = platforms.first().and_then(|text| text.parse().ok()).unwrap_or_else(Platform::host);
    let mut roots = roots.iter();
    let mut pieces = Vec::new();
    for output in outputs {
        let mut add = |image: Option<&'a ImageOutput>, of_index: bool| {
            let root = *roots.next().expect("there is a root per tree of the outputs");
            let platform = image.map_or_else(|| default.clone(), |image| image.config.platform.clone());
            pieces.push(Piece { output, image, platform, of_index, root });
        };
        match &output.kind {
            OutputKind::Fs(_) | OutputKind::Check(_) => add(None, false),
            OutputKind::Image(image) => add(Some(image), false),
            OutputKind::Index { images, .. } => images.iter().for_each(|image| add(Some(image), true)),
        }
    }
    pieces
}

/// The outputs of the pieces: of an index, the images that are left.
pub(super) fn outputs(pieces: &[Piece<'_>]) -> Vec<Output> {
    let mut outputs: Vec<Output> = Vec::new();
    for group in pieces.chunk_by(|one, next| std::ptr::eq(one.output, next.output)) {
        let mut output = group[0].output.clone();
        if let OutputKind::Index { images, .. } = &mut output.kind {
            *images = group.iter().filter_map(|piece| piece.image.cloned()).collect();
        }
        outputs.push(output);
    }
    outputs
}

/// The pieces for one platform. What belongs to no index stays: it has no other version.
pub(super) fn only<'a>(pieces: Vec<Piece<'a>>, text: &str) -> Result<Vec<Piece<'a>>, Report> {
    let wanted = match text.parse::<Platform>() {
        Ok(platform) => platform.normalize(),
        Err(error) => {
            let report = Report::error("bkl::usage", format!("`--only {text}` is not a platform: {error}"));
            return Err(report.help("write it as in `--only linux/arm64`"));
        }
    };
    let have: Vec<String> =
        pieces.iter().filter(|piece| piece.of_index).map(|piece| piece.platform.to_string()).collect();
    let left: Vec<Piece<'a>> =
        pieces.into_iter().filter(|piece| !piece.of_index || piece.platform.normalize() == wanted).collect();
    if have.is_empty() || left.is_empty() {
        let message = format!("nothing has a version of its own for {wanted}");
        let help = match have.as_slice() {
            [] => "`--only` chooses among the platforms of an index; `--platform` says what to build for"
                .to_owned(),
            have => format!("there are {}", have.join(", ")),
        };
        return Err(Report::error("bkl::usage", message).help(help));
    }
    Ok(left)
}

/// An output and its platforms, for people.
pub(super) fn described(output: &Output) -> String {
    match &output.kind {
        OutputKind::Index { images, .. } => {
            let each: Vec<String> = images.iter().map(|image| image.config.platform.to_string()).collect();
            format!("`{}` for {}", output.name, each.join(" and "))
        }
        OutputKind::Fs(_) | OutputKind::Image(_) | OutputKind::Check(_) => format!("`{}`", output.name),
    }
}

impl Piece<'_> {
    /// `linux-arm64`.
    pub(super) fn platform_word(&self) -> String {
        self.platform.to_string().replace('/', "-")
    }

    /// Name of the piece's files, without an extension: `images.api` or `app.linux-arm64`. What is no letter, digit,
    /// dot, dash or underscore is `%` and its bytes' digits, so that different names stay different.
    pub(super) fn stem(&self) -> String {
        let mut stem = String::new();
        for (at, byte) in self.output.name.bytes().enumerate() {
            match byte {
                b'.' if at == 0 => stem += "%2e",
                b'.' | b'-' | b'_' => stem.push(byte.into()),
                byte if byte.is_ascii_alphanumeric() => stem.push(byte.into()),
                byte => stem += &format!("%{byte:02x}"),
            }
        }
        if self.of_index {
            stem += &format!(".{}", self.platform_word());
        }
        stem
    }

    /// Name of the file that `emit` writes for the piece.
    pub(super) fn file(&self, emit: Emit) -> String {
        let extension = match emit {
            Emit::Llb | Emit::Buildctl => "pb",
            Emit::Json => "json",
            Emit::Dot => "dot",
            Emit::Config => "config.json",
        };
        format!("{}.{extension}", self.stem())
    }
}
