//! What an op says of a directory.

use super::error::LocalError;
use crate::base::glob::Patterns;
use crate::graph::ir::{SourceOp, attr};

/// An op, read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// What the session knows the directory by.
    pub(crate) name: String,
    pub(crate) include: Vec<String>,
    pub(crate) exclude: Vec<String>,
    pub(crate) follow: Vec<String>,
    /// Whether what is known of files that did not change is believed.
    pub(crate) differ: Differ,
    /// Only a list of the files is wanted, and the content of those that these select.
    pub(crate) metadata_only: Option<Vec<String>>,
}

/// How changed files are found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Differ {
    /// By what `stat` says.
    #[default]
    Metadata,
    /// Not at all: everything is read.
    None,
}

impl Wanted {
    /// Reads the attributes. `local.unique` and `local.sharedkeyhint` say which directories a daemon must not take for one
    /// another: here they are told apart by where they are.
    pub(super) fn read(op: &SourceOp) -> Result<Wanted, LocalError> {
        let text = |key: &str| op.attrs.get(key).map_or("", String::as_str);
        // `name:id` is the session `id`, which knows the directory under another name.
        let name = match text(attr::LOCAL_SESSION).split_once(':') {
            Some((prefix, _)) => format!("{prefix}-{}", op.locator()),
            None => op.locator().to_owned(),
        };
        let bad = |key: &'static str| LocalError::Attribute {
            name: name.clone(),
            key,
            value: text(key).to_owned(),
        };
        let list = |key: &'static str| match text(key) {
            "" => Ok(Vec::new()),
            json => serde_json::from_str::<Option<Vec<String>>>(json)
                .map(Option::unwrap_or_default)
                .map_err(|_| bad(key)),
        };
        let differ = match text(attr::LOCAL_DIFFER) {
            "none" => Differ::None,
            "" | "metadata" => Differ::Metadata,
            // BuildKit takes it for the default; here nothing is guessed.
            _ => return Err(bad(attr::LOCAL_DIFFER)),
        };
        let metadata_only = match text(attr::LOCAL_METADATA_TRANSFER) {
            "" => false,
            value => go_bool(value).ok_or_else(|| bad(attr::LOCAL_METADATA_TRANSFER))?,
        };
        let exceptions = list(attr::LOCAL_METADATA_EXCLUDE)?;
        Ok(Wanted {
            include: list(attr::LOCAL_INCLUDE)?,
            exclude: list(attr::LOCAL_EXCLUDE)?,
            follow: list(attr::LOCAL_FOLLOW)?,
            differ,
            metadata_only: metadata_only.then_some(exceptions),
            name,
        })
    }

    /// A list of patterns, compiled.
    pub(super) fn patterns(&self, list: &[String]) -> Result<Patterns, LocalError> {
        Patterns::new(list).map_err(|source| LocalError::Pattern { name: self.name.clone(), source })
    }
}

/// As Go's `strconv.ParseBool` reads it.
fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
