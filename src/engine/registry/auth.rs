//! Who we are to a registry: docker's configured credentials, the tokens made from them, and who may see them.
//!
//! Rules of security.md S6: credentials belong to one registry host; a token server gets them only over TLS (or
//! loopback) and only when it is plainly the same party; what a redirect leads to gets none.

use std::fmt;
use std::sync::Arc;

use docker_credential::{CredentialRetrievalError, DockerCredential};
use reqwest::Url;

use super::DOCKER_HUB_HOST;

/// What a person configured for a registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// User name and password.
    Password {
        /// User name.
        username: String,
        /// Password, or a personal access token.
        password: String,
    },
    /// An OAuth2 refresh token, exchanged for access tokens.
    IdentityToken(String),
}

/// Never shows the secret part.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credentials::Password { username, .. } => write!(f, "Password({username})"),
            Credentials::IdentityToken(_) => f.write_str("IdentityToken"),
        }
    }
}

/// Where credentials come from. May block: asked on a blocking thread, once per registry.
pub trait CredentialSource: Send + Sync {
    /// The credentials for a registry host (with its port); `Ok(None)`: none are configured; `Err`: could not look,
    /// in words that name the place.
    fn credentials(&self, host: &str) -> Result<Option<Credentials>, String>;
}

/// Docker's own configuration: `$DOCKER_CONFIG/config.json` or `~/.docker/config.json` with its helpers.
#[derive(Debug, Clone, Copy, Default)]
pub struct DockerConfig;

impl CredentialSource for DockerConfig {
    fn credentials(&self, host: &str) -> Result<Option<Credentials>, String> {
        let server = if host == DOCKER_HUB_HOST { "https://index.docker.io/v1/" } else { host };
        match docker_credential::get_credential(server) {
            Ok(DockerCredential::UsernamePassword(username, password)) if username.is_empty() => {
                // `docker logout` with a credential store leaves an empty entry behind.
                debug_assert!(password.is_empty() || username.is_empty());
                Ok(None)
            }
            Ok(DockerCredential::UsernamePassword(username, password)) => {
                Ok(Some(Credentials::Password { username, password }))
            }
            Ok(DockerCredential::IdentityToken(token)) => Ok(Some(Credentials::IdentityToken(token))),
            Err(
                CredentialRetrievalError::NoCredentialConfigured | CredentialRetrievalError::ConfigNotFound,
            ) => Ok(None),
            // The protocol's fixed words for "I have none" (docker-credential-helpers, credentials/error.go).
            Err(CredentialRetrievalError::HelperFailure { stdout, stderr, .. })
                if stdout.contains("credentials not found") || stderr.contains("credentials not found") =>
            {
                Ok(None)
            }
            Err(CredentialRetrievalError::HelperFailure { helper, stderr, .. }) => {
                Err(format!("`{helper}` failed: {}", stderr.trim()))
            }
            Err(error) => Err(lower_first(&error.to_string())),
        }
    }
}

/// No credentials for anyone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anonymous;

impl CredentialSource for Anonymous {
    fn credentials(&self, _host: &str) -> Result<Option<Credentials>, String> {
        Ok(None)
    }
}

/// What goes into `Authorization`.
#[derive(Clone)]
pub(super) enum Authorization {
    Basic { username: String, password: String },
    Bearer(Arc<str>),
}

impl PartialEq for Authorization {
    fn eq(&self, other: &Authorization) -> bool {
        match (self, other) {
            (Authorization::Bearer(a), Authorization::Bearer(b)) => a == b,
            (
                Authorization::Basic { username: a, password: b },
                Authorization::Basic { username: c, password: d },
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
