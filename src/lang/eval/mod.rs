//! A typed program to the build graph: call by value, memoised, total, and without any IO.
//!
//! [`evaluate`] either gives the graph with what the selected targets are made of, or says what it would have to know
//! ([`Need`]: the configs of images, texts of files). The driver finds the answers to all needs at once and evaluates again, until
//! there are none. Nothing else than [`Inputs`] reaches a program.

mod budget;
mod builtins;
mod coerce;
pub mod error;
mod expr;
mod interp;
mod json;
pub mod params;
mod part;
pub mod quote;
mod select;
mod testing;
mod text;
pub mod value;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::{Digest, ImageRef, Platform, SourceMap, Span};
use crate::graph::ir::{Graph, Outputs};
use crate::lang::hir;

pub use error::{Cause, EvalError};
pub use params::Params;
pub use select::{TargetInfo, list_targets, unknown_targets};
pub use testing::{TestOutcome, Tested, evaluate_test};

/// Everything that reaches a program.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// Paths of the requested targets, `images.api`; none: the public ones, else all.
    pub targets: Vec<String>,
    /// What `-p` gave.
    pub params: Params,
    /// What is built for, at least one.
    pub platforms: Vec<Platform>,
    /// Who chose [`Inputs::platforms`].
    pub platform_choice: PlatformChoice,
    /// The machine's platform.
    pub build_platform: Platform,
    /// How commands are confined that do not say so.
    pub confinement: Confinement,
    /// Patterns of `.bklignore`, in order; they apply to `local(".")` of the program's folder.
    pub ignore: Vec<String>,
    /// What stands in for images of registries. Keys have their default tag.
    pub replacements: BTreeMap<ImageRef, Replacement>,
    /// What is known so far.
    pub answers: Answers,
}

/// How a command is confined that has no argument `security`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Confinement {
    /// `.sandbox`.
    #[default]
    Sandbox,
    /// `.strict` (`--strict`).
    Strict,
}

/// Who chose the platforms to build for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlatformChoice {
    /// Nobody: it is the machine's.
    Default,
    /// `--platform`: a target that is an image for another one is an error.
    Explicit,
}

/// What stands in for an image of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replacement {
    /// An image of an OCI layout.
    OciLayout {
        /// Folder of the layout, absolute.
        dir: String,
        /// The image in it, as in [`Request::OciLayout`].
        reference: ImageRef,
    },
    /// Another image of a registry, with a tag or a digest.
    Image(ImageRef),
}

/// Answers to needs.
pub type Answers = BTreeMap<Request, Answer>;

/// What the outside is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Request {
    /// The config of an image of a registry.
    Image {
        /// The image; with a tag or a digest.
        reference: ImageRef,
        /// Which manifest of an index.
        platform: Platform,
        /// Where to look.
        pull: Pull,
    },
    /// The config of an image of an OCI layout.
    OciLayout {
        /// Folder of the layout: relative to the root directory and clean, or absolute when it stands in for an image.
        dir: String,
        /// The image, looked up by `org.opencontainers.image.ref.name`.
        reference: ImageRef,
        /// Which manifest of an index.
        platform: Platform,
    },
    /// The commit that a branch or tag of a repository is.
    Git {
        /// The repository, as written.
        url: String,
        /// Branch or tag, as written; no commit.
        reference: String,
        /// Id of the secret with a token for it.
        token: Option<String>,
        /// Id of the agent that is asked for keys.
        ssh: Option<String>,
    },
    /// The digest of what lies at a URL.
    Http {
        /// As written.
        url: String,
        /// Id of the secret with the header that authorizes.
        token: Option<String>,
    },
    /// The text of a file.
    Read {
        /// From the root directory, clean.
        path: String,
    },
    /// Which files there are.
    Files {
        /// Folder that the pattern and the answer are relative to: from the root directory, clean, `.` for itself.
        dir: String,
        /// A [`PathGlob`](crate::base::glob::PathGlob).
        pattern: String,
        /// Folders that are left out, from the root directory, clean: what targets write is no input.
        except: Vec<String>,
    },
}

/// `Pull` of the prelude.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pull {
    /// The lock, then what is here, then the registry.
    Auto,
    /// The registry, whatever the lock says.
    Always,
    /// What is here first.
    Local,
}

/// The answer to a [`Request`], of the kind it asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// To [`Request::Image`] and [`Request::OciLayout`].
    Image(ImageAnswer),
    /// To [`Request::Git`]: the commit's whole name.
    Commit(String),
    /// To [`Request::Http`].
    Digest(Digest),
    /// To [`Request::Read`].
    Text(Arc<str>),
    /// To [`Request::Files`]: what matches, sorted bytewise.
    Paths(Vec<String>),
}

/// What is known of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageAnswer {
    /// Digest that pins the reference: the index's, or the manifest's when there is no index.
    pub digest: Digest,
    /// The OCI image config for the platform.
    pub config: serde_json::Value,
}

/// Something that has to be known to go on.
#[derive(Debug, Clone, PartialEq)]
pub struct Need {
    /// What.
    pub request: Request,
    /// The call that needs it.
    pub span: Span,
}

/// The result of an evaluation without errors.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// All is known.
    Done(Box<Evaluated>),
    /// These have to be answered first; each once, in the order they came up.
    Needs(Vec<Need>),
}

/// A program's graph and what it declares.
#[derive(Debug, Clone)]
pub struct Evaluated {
    /// Every vertex the selected targets evaluated, with its place in the program.
    pub graph: Graph,
    /// The selected targets.
    pub outputs: Outputs,
    /// The answers that were used, each once: what the lock has to hold.
    pub used: Vec<Request>,
    /// Images taken with `config: false` and without a digest: what `--locked` refuses.
    pub unpinned: Vec<(ImageRef, Span)>,
    /// Images that something else stood in for: keys of [`Inputs::replacements`].
    pub replaced: Vec<ImageRef>,
}

/// Evaluates the targets that `inputs` selects.
///
/// The errors are those of all targets, each once; a program with errors has no needs. `program` must come from the
/// checker without errors, `sources` holds its texts.
pub fn evaluate(
    program: &hir::Program,
    sources: &SourceMap,
    inputs: &Inputs,
) -> Result<Outcome, Vec<EvalError>> {
    super::on_deep_stack(|| select::run(program, sources, inputs))
}
