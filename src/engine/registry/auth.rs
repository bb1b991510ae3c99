//! Who we are to a registry: docker's configured credentials, the tokens made from them, and who may see them.
//!
//! Rules of security.md S6: credentials belong to one registry host; a token server gets them only over TLS (or
//! loopback) and only when it is plainly the same party; what a redirect leads to gets none.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use docker_credential::{CredentialRetrievalError, DockerCredential};
use reqwest::Url;

use crate::session::{Credentials, SessionError};

/// Docker's own configuration: `$DOCKER_CONFIG/config.json` or `~/.docker/config.json` with its helpers.
///
/// For sessions that act for a person at a terminal. `registry` is a host with its port, or `docker.io`. May run a
/// credential helper and wait for it.
pub fn docker_credentials(registry: &str) -> Result<Option<Credentials>, SessionError> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".docker"));
    match std::env::var_os("DOCKER_CONFIG").map(PathBuf::from).or_else(home) {
        Some(dir) => credentials_in(&dir.join("config.json"), registry),
        None => Ok(None),
    }
}

/// What the configuration file says about a registry; a file that is not there says nothing.
fn credentials_in(path: &Path, registry: &str) -> Result<Option<Credentials>, SessionError> {
    let failed = |reason| SessionError::Credentials { registry: registry.to_owned(), reason };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(format!("cannot open `{}`: {error}", path.display()))),
    };
    let server = if registry == "docker.io" { "https://index.docker.io/v1/" } else { registry };
    match docker_credential::get_credential_from_reader(BufReader::new(file), server) {
        // `docker logout` with a credential store leaves an empty entry behind.
        Ok(DockerCredential::UsernamePassword(user, _)) if user.is_empty() => Ok(None),
        Ok(DockerCredential::UsernamePassword(user, password)) => {
            Ok(Some(Credentials::Basic { user, password }))
        }
        Ok(DockerCredential::IdentityToken(token)) => Ok(Some(Credentials::IdentityToken(token))),
        Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(None),
        // The protocol's fixed words for "I have none" (docker-credential-helpers, credentials/error.go).
        Err(CredentialRetrievalError::HelperFailure { stdout, stderr, .. })
            if stdout.contains("credentials not found") || stderr.contains("credentials not found") =>
        {
            Ok(None)
        }
        Err(CredentialRetrievalError::HelperFailure { helper, stderr, .. }) => {
            Err(failed(format!("`{helper}` failed: {}", stderr.trim())))
        }
        Err(CredentialRetrievalError::ConfigReadError) => {
            Err(failed(format!("`{}` is not valid JSON of docker's form", path.display())))
        }
        Err(error) => Err(failed(format!("`{}`: {}", path.display(), lower_first(&error.to_string())))),
    }
}

/// What goes into `Authorization`.
#[derive(Clone)]
pub(super) enum Authorization {
    Basic { user: String, password: String },
    Bearer(Arc<str>),
}

impl PartialEq for Authorization {
    fn eq(&self, other: &Authorization) -> bool {
        match (self, other) {
            (Authorization::Bearer(a), Authorization::Bearer(b)) => a == b,
            (
                Authorization::Basic { user: a, password: b },
                Authorization::Basic { user: c, password: d },
            ) => a == c && b == d,
            (Authorization::Bearer(_) | Authorization::Basic { .. }, _) => false,
        }
    }
}

/// Whether the token server `realm` may see the credentials of `registry`.
///
/// The same host may; so may a relative: one host below the other, or both below one domain that a single party
/// owns (`registry-1.docker.io`, `auth.docker.io`). `trusted` lists (registry host, realm host) pairs beyond that.
pub(super) fn realm_may_see_credentials(registry: &Url, realm: &Url, trusted: &[(String, String)]) -> bool {
    let (Some(registry), Some(realm)) = (registry.host_str(), realm.host_str()) else { return false };
    if registry == realm {
        return true;
    }
    if trusted.iter().any(|(a, b)| a == registry && b == realm) {
        return true;
    }
    let is_address = |host: &str| host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok();
    if is_address(registry) || is_address(realm) {
        return false;
    }
    let below = |child: &str, parent: &str| {
        child.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.')) && is_owned(parent)
    };
    let parent = |host: &str| host.split_once('.').map(|(_, parent)| parent.to_owned());
    below(registry, realm)
        || below(realm, registry)
        || parent(registry).is_some_and(|it| Some(&it) == parent(realm).as_ref() && is_owned(&it))
}

/// Whether a domain belongs to one party, as far as its name shows: not a top-level domain, not one of the second
/// level where countries register names, not one where a provider gives names to its customers. The public suffix
/// list knows this better, but weighs more than the rest of this client; a wrong "no" here only means that the token
/// is asked for without credentials.
fn is_owned(domain: &str) -> bool {
    const SHARED: &[&str] = &[
        "amazonaws.com",
        "azurecr.io",
        "azurewebsites.net",
        "cloudapp.net",
        "cloudfront.net",
        "digitaloceanspaces.com",
        "fly.dev",
        "github.io",
        "gitlab.io",
        "herokuapp.com",
        "netlify.app",
        "ngrok.app",
        "ngrok.io",
        "ngrok-free.app",
        "onrender.com",
        "pages.dev",
        "pkg.dev",
        "run.app",
        "appspot.com",
        "trycloudflare.com",
        "vercel.app",
        "web.app",
        "windows.net",
        "workers.dev",
    ];
    let labels: Vec<&str> = domain.split('.').collect();
    match labels.as_slice() {
        [] | [_] => false,
        [second, top] if top.len() == 2 => {
            !matches!(*second, "ac" | "co" | "com" | "edu" | "gov" | "ne" | "net" | "or" | "org")
                && !SHARED.contains(&domain)
        }
        // Regions of the providers above: `eu-west-1.amazonaws.com`.
        _ => !SHARED.iter().any(|it| domain == *it || domain.ends_with(&format!(".{it}"))),
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_lowercase().chain(chars).collect())
}

#[cfg(test)]
mod tests;
