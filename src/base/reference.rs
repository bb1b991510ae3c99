//! Image references, read the way docker reads them (distribution/reference).

use std::fmt;
use std::str::FromStr;

use crate::base::digest::Digest;

/// A normalised image reference: `domain/path[:tag][@digest]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageRef {
    /// Registry host, with its port if there is one; `docker.io` when none was written.
    pub domain: String,
    /// Repository below the registry; `library/` stands before single names of docker.io.
    pub path: String,
    /// Tag, if any was written.
    pub tag: Option<String>,
    /// Digest, if any was written.
    pub digest: Option<Digest>,
}

/// Why a text is not a reference; reads after "this is not a valid ref: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReferenceError(pub String);

impl ImageRef {
    /// The same reference with the tag `latest` when it has neither tag nor digest.
    #[must_use]
    pub fn with_default_tag(mut self) -> ImageRef {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".to_owned());
        }
        self
    }

    /// `domain/path`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The reference as people write it: without `docker.io/` and `library/`.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let short = full.strip_prefix("docker.io/").unwrap_or(&full);
        short.strip_prefix("library/").unwrap_or(short).to_owned()
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for ImageRef {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<ImageRef, ReferenceError> {
        let fail = |why: String| Err(ReferenceError(why));
        if text.is_empty() {
            return fail("a reference needs a name, as in debian:bookworm".to_owned());
        }
        let (name_tag, digest) = match text.split_once('@') {
            Some((name, digest)) => {
                let digest = digest.parse::<Digest>().map_err(|error| ReferenceError(error.to_string()))?;
                (name, Some(digest))
            }
            None => (text, None),
        };
        // A colon behind the last slash starts the tag; one before it belongs to the port.
        let name_end = name_tag.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match name_tag[name_end..].find(':') {
            Some(at) => (&name_tag[..name_end + at], Some(&name_tag[name_end + at + 1..])),
            None => (name_tag, None),
        };
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return fail(format!("`{tag}` is not a tag: letters, digits, `_`, `.` and `-`, at most 128"));
        }
        let (domain, path) = match name.split_once('/') {
            Some((first, rest))
                if first.contains(['.', ':']) || first == "localhost" || first != first.to_lowercase() =>
            {
                (first, rest.to_owned())
            }
            _ => ("docker.io", name.to_owned()),
        };
        let domain = if domain == "index.docker.io" { "docker.io" } else { domain };
        let path =
            if domain == "docker.io" && !path.contains('/') { format!("library/{path}") } else { path };
        if !is_domain(domain) {
            return fail(format!("`{domain}` is not a registry host"));
        }
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return fail("repository names are lower case".to_owned());
        }
        if path.len() > 255 || !path.split('/').all(is_path_component) {
            return fail(format!("`{path}` is not a repository name"));
        }
        if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return fail("64 hex digits are an image id, not a name".to_owned());
        }
        Ok(ImageRef { domain: domain.to_owned(), path, tag: tag.map(str::to_owned), digest })
    }
}

fn is_tag(tag: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.len() <= 128 && tag.starts_with(word) && tag.chars().all(|c| word(c) || c == '.' || c == '-')
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (domain, None),
    };
    let port_ok = port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    let label_ok = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let ipv6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    port_ok
        && match ipv6 {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => host.split('.').all(label_ok),
        }
}

/// Lower-case letters and digits, separated by `.`, `_`, `__` or dashes.
fn is_path_component(part: &str) -> bool {
    let alnum = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    let ends_ok = bytes.first().copied().is_some_and(alnum) && bytes.last().copied().is_some_and(alnum);
    let separators_ok = part
        .split(|c: char| c.is_ascii_alphanumeric())
        .all(|run| matches!(run, "" | "." | "_" | "__") || run.bytes().all(|byte| byte == b'-'));
    ends_ok && separators_ok && bytes.iter().all(|&byte| alnum(byte) || matches!(byte, b'.' | b'_' | b'-'))
}

impl serde::Serialize for ImageRef {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
