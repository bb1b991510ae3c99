//! `--secret`, as docker reads it: `id=ID[,src=FILE][,env=VARIABLE][,type=file|env]`.
//!
//! A secret is read when a step asks for it, and is neither kept nor shown: what is printed is only ever its id and
//! where it comes from.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use crate::base::Report;
use crate::cli::program::io_reason;
use crate::session::SessionError;

/// Largest secret (BuildKit session/secrets, MaxSecretSize).
const MAX_BYTES: u64 = 500 * 1024;

/// The secrets of a build by their ids.
#[derive(Debug, Default)]
pub(super) struct Secrets(BTreeMap<String, Source>);

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    File(PathBuf),
    Variable(OsString),
}

impl Secrets {
    /// Reads the texts of all `--secret`, and sees that what they name is there.
    pub(super) fn read(texts: &[String]) -> Result<Secrets, Report> {
        let mut secrets = BTreeMap::new();
        for text in texts {
            let (id, source) = parse(text).map_err(|why| {
                Report::error("bkl::usage", format!("`--secret {text}`: {why}"))
                    .help("write `--secret id=token,src=FILE` or `--secret id=token,env=VARIABLE`")
            })?;
            source.check(&id)?;
            if secrets.insert(id.clone(), source).is_some() {
                return Err(Report::error("bkl::usage", format!("the secret `{id}` is given twice")));
            }
        }
        Ok(Secrets(secrets))
    }

    /// The bytes of a secret, if it was given.
    pub(super) fn get(&self, id: &str) -> Result<Option<Vec<u8>>, SessionError> {
        match self.0.get(id) {
            None => Ok(None),
            Some(Source::Variable(name)) => Ok(std::env::var_os(name).map(OsString::into_vec)),
            Some(Source::File(path)) => match fs::read(path) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(source) => Err(SessionError::Secret { id: id.to_owned(), source }),
            },
        }
    }
}

impl Source {
    /// A step that asks for the secret may come late in a build: what is missing is said before.
    fn check(&self, id: &str) -> Result<(), Report> {
        let wrong =
            |why: String| Report::error("bkl::secret", format!("cannot read the secret `{id}`: {why}"));
        let length = match self {
            Source::Variable(name) => match std::env::var_os(name) {
                Some(value) => value.len() as u64,
                None => {
                    return Err(wrong(format!("the variable `{}` is not set", name.to_string_lossy())));
                }
            },
            Source::File(path) => match fs::metadata(path) {
                Ok(meta) if meta.is_dir() => {
                    return Err(wrong(format!("`{}` is a directory", path.display())));
                }
                Ok(meta) => meta.len(),
                Err(error) => return Err(wrong(format!("`{}`: {}", path.display(), io_reason(&error)))),
            },
        };
        if MAX_BYTES < length {
            return Err(wrong("it is larger than 500 KiB".to_owned()));
        }
        Ok(())
    }
}

/// An id and where it is (docker/buildx build/secrets.go; BuildKit session/secrets/secretsprovider/store.go).
fn parse(text: &str) -> Result<(String, Source), String> {
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for field in text.split(',') {
        let Some((key, value)) = field.split_once('=') else {
            return Err(format!("`{field}` has no value"));
        };
        match key.to_ascii_lowercase().as_str() {
            "id" => id = Some(value),
            "src" | "source" => file = Some(value),
            "env" => variable = Some(value),
            "type" if matches!(value, "file" | "env") => kind = Some(value),
            "type" => return Err(format!("`{value}` is no type; use file or env")),
            _ => return Err(format!("`{key}` means nothing here")),
        }
    }
    let id = id.filter(|id| !id.is_empty()).ok_or("it has no id")?;
    let source = match (file, variable, kind) {
        (Some(_), Some(_), _) => return Err("it is either a file or a variable".to_owned()),
        // Docker's: `type=env` makes a variable's name of `src`.
        (Some(name), None, Some("env")) | (None, Some(name), _) => Source::Variable(name.into()),
        (Some(path), None, _) => Source::File(path.into()),
        (None, None, Some("env")) => Source::Variable(id.into()),
        (None, None, Some(_)) => Source::File(id.into()),
        (None, None, None) if std::env::var_os(id).is_some() => Source::Variable(id.into()),
        (None, None, None) => Source::File(id.into()),
    };
    Ok((id.to_owned(), source))
}

#[cfg(test)]
mod tests;
