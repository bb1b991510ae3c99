//! What can be wrong with imports.

use super::stdlib;
use crate::base::suggest::nearest;
use crate::base::{Fix, Report, Span};

/// An import, or a program, that cannot be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The entry file.
    #[error("cannot read the program `{path}`: {why}")]
    NoProgram {
        /// As asked for.
        path: String,
        /// The system's reason.
        why: String,
    },
    /// An import of a file that is not there.
    #[error("there is no module `{path}`")]
    Missing {
        /// From the root directory.
        path: String,
        /// The text behind `from`.
        at: Span,
    },
    /// `std/…` that is not there.
    #[error("the library has no module `{path}`")]
    NotInLibrary {
        /// As written.
        path: String,
        /// The text behind `from`.
        at: Span,
    },
    /// An import of a file that cannot be read.
    #[error("cannot read the module `{path}`: {why}")]
    Unreadable {
        /// From the root directory.
        path: String,
        /// The system's reason.
        why: String,
        /// The text behind `from`.
        at: Span,
    },
    /// `./x` instead of `./x.bkl`.
    #[error("`{text}` does not name a .bkl file")]
    NoExtension {
        /// As written.
        text: String,
        /// The text behind `from`.
        at: Span,
    },
    /// Neither a path, nor `std/…`, nor a repository.
    #[error("`{text}` is not a module")]
    Strange {
        /// As written.
        text: String,
        /// The text behind `from`.
        at: Span,
    },
    /// A module of another repository.
    #[error("modules of other repositories are not built yet")]
    RemoteNotYet {
        /// As written.
        text: String,
        /// The text behind `from`.
        at: Span,
    },
    /// Modules that import each other.
    #[error("`{}` imports itself", paths[0])]
    Circle {
        /// Paths along the circle, the first once more at the end.
        paths: Vec<String>,
        /// The import that closes it.
        at: Span,
    },
}

/// `at` is the text behind `from` with its quotes.
fn import_from(at: Span, path: &str) -> Fix {
    Fix::replace(format!("import `{path}`"), at, format!("\"{path}\""))
}

impl ResolveError {
    /// As people get it.
    pub fn report(&self) -> Report {
        let message = self.to_string();
        match self {
            ResolveError::NoProgram { .. } => Report::error("bkl::no_program", message),
            ResolveError::Missing { at, .. } => {
                Report::error("bkl::no_module", message).label(*at, "no such file")
            }
            ResolveError::NotInLibrary { path, at } => {
                let names = stdlib::MODULES.iter().map(|(name, _)| *name);
                let near = nearest(path, names.clone());
                let help = match near {
                    Some(name) => format!("did you mean `{name}`?"),
                    None => format!("it has: {}", names.collect::<Vec<_>>().join(", ")),
                };
                Report::error("bkl::no_module", message)
                    .label(*at, "no such module")
                    .help(help)
                    .fixes(near.map(|name| import_from(*at, name)))
            }
            ResolveError::Unreadable { at, .. } => {
                Report::error("bkl::no_module", message).label(*at, "imported here")
            }
            ResolveError::NoExtension { text, at } => Report::error("bkl::bad_import", message)
                .label(*at, "imported here")
                .help(format!("write `{text}.bkl`"))
                .fixes([import_from(*at, &format!("{text}.bkl"))]),
            ResolveError::Strange { text, at } => {
                let local = text.ends_with(".bkl") && !text.starts_with(['/', '.']);
                let help = if local {
                    format!("a file of this tree is imported by its path: `./{text}`")
                } else {
                    "import \"./file.bkl\" of this tree or \"std/…\" of the library".to_owned()
                };
                Report::error("bkl::bad_import", message)
                    .label(*at, "neither a path nor `std/…`")
                    .help(help)
                    .fixes(local.then(|| import_from(*at, &format!("./{text}"))))
            }
            ResolveError::RemoteNotYet { at, .. } => Report::error("bkl::not_yet", message)
                .label(*at, "another repository")
                .help("copy the module into this tree and import it by its path"),
            ResolveError::Circle { paths, at } => Report::error("bkl::recursion", message)
                .label(*at, "this import closes the circle")
                .help(format!("{}; move what they share into a module of its own", paths.join(" → "))),
        }
    }
}
