//! What a program declares to be built.

use super::{Edge, ImageConfig, Tree};
use crate::base::Span;

/// The selected targets of a program, in the order they were selected, with lists, maps and records walked into.
pub type Outputs = Vec<Output>;

/// One thing to build.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Path of the target, `images.api.static`; list elements are numbers.
    pub name: String,
    /// Where `target x -> "dir"` says it goes, relative to the program's folder, unless the command line says otherwise.
    pub dest: Option<String>,
    /// What it is.
    pub kind: OutputKind,
    /// The target's name in its declaration.
    pub span: Span,
}

/// What an [`Output`] is made of.
#[derive(Debug, Clone, PartialEq)]
pub enum OutputKind {
    /// Files.
    Fs(Tree),
    /// Files with a config.
    Image(Box<ImageOutput>),
    /// One image per platform.
    Index {
        /// The images, in the order of the platforms.
        images: Vec<ImageOutput>,
        /// Tags of the index: its own and those of its images.
        tags: Vec<String>,
    },
    /// A command that must succeed and gives nothing.
    Check(Edge),
}

/// An image to build.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageOutput {
    /// Its files.
    pub tree: Tree,
    /// Its config.
    pub config: ImageConfig,
    /// Names it is given, normalised references.
    pub tags: Vec<String>,
}

impl Output {
    /// Every tree this output needs, in order; scratch ones left out.
    pub fn edges(&self) -> Vec<Edge> {
        match &self.kind {
            OutputKind::Fs(tree) => tree.iter().copied().collect(),
            OutputKind::Image(image) => image.tree.iter().copied().collect(),
            OutputKind::Index { images, .. } => images.iter().filter_map(|image| image.tree).collect(),
            OutputKind::Check(edge) => vec![*edge],
        }
    }
}
