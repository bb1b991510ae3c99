//! Who asks a remote: tokens and headers from secrets, keys from agents, and which hosts are who they say.

use super::command::Access;
use super::error::GitError;
use crate::base::url::UrlParts;
use crate::engine::source::program::MemoryFile;
use crate::graph::llb::json::base64;
use crate::session::Session;

/// Names of secrets that are asked for when nobody names others; then they may be missing.
pub(super) const DEFAULT_TOKEN: &str = "GIT_AUTH_TOKEN";
pub(super) const DEFAULT_HEADER: &str = "GIT_AUTH_HEADER";

/// What an op says about credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    /// Id of the secret with a token; empty is none.
    pub(super) token: String,
    /// Id of the secret with a whole header; empty is none.
    pub(super) header: String,
    /// Id of the agent; `None` is none.
    pub(super) agent: Option<String>,
    /// Lines of known_hosts; empty is the session's.
    pub(super) known_hosts: String,
}

impl Credentials {
    /// Gets what is needed for `url` from the session.
    pub(super) fn access(&self, url: &str, session: &dyn Session) -> Result<Access, GitError> {
        let Some(parts) = UrlParts::of(url) else { return Ok(Access::default()) };
        if parts.is("ssh") {
            let hosts = match self.known_hosts.as_str() {
                "" => session.known_hosts(),
                lines => lines.to_owned(),
            };
            let agent = match &self.agent {
                None => None,
                Some(id) => {
                    let socket = session.ssh_agent(id)?;
                    Some(socket.ok_or_else(|| GitError::NoAgent { id: id.clone() })?)
                }
            };
            return Ok(Access { known_hosts: Some(memory_file(hosts.as_bytes())?), agent, config: None });
        }
        if !parts.is("https") && !parts.is("http") {
            return Ok(Access::default());
        }
        let Some((id, header)) = self.authorization(&parts, session)? else { return Ok(Access::default()) };
        let is_here = matches!(parts.hostname(), "localhost" | "127.0.0.1" | "::1");
        if !parts.is("https") && !is_here {
            return Err(GitError::Cleartext { id, url: url.to_owned() });
        }
        // Git sends the header to wherever the first answer redirects it: nothing is followed with one.
        let config = format!(
            "[http]\n\tfollowRedirects = false\n[http \"{}\"]\n\textraHeader = \"Authorization: {}\"\n",
            quoted(scope(url)),
            quoted(&header)
        );
        Ok(Access { config: Some(memory_file(config.as_bytes())?), ..Access::default() })
    }

    /// The id of the secret that is found first and the header it makes.
    fn authorization(
        &self,
        parts: &UrlParts<'_>,
        session: &dyn Session,
    ) -> Result<Option<(String, String)>, GitError> {
        let host = parts.host;
        let candidates = [
            (!self.header.is_empty(), format!("{}.{host}", self.header), false),
            (!self.token.is_empty(), format!("{}.{host}", self.token), true),
            (!self.header.is_empty(), self.header.clone(), false),
            (!self.token.is_empty(), self.token.clone(), true),
        ];
        for (_, id, is_token) in candidates.into_iter().filter(|(is_named, ..)| *is_named) {
            let Some(bytes) = session.secret(&id)? else { continue };
            let bad = || GitError::BadSecret { id: id.clone() };
            let text = std::str::from_utf8(bytes.trim_ascii()).map_err(|_| bad())?;
            if text.is_empty() || text.contains(|c: char| c.is_control()) {
                return Err(bad());
            }
            let header = if is_token {
                format!("basic {}", base64(format!("x-access-token:{text}").as_bytes()))
            } else {
                text.to_owned()
            };
            return Ok(Some((id, header)));
        }
        let named = [(&self.token, DEFAULT_TOKEN), (&self.header, DEFAULT_HEADER)];
        match named.iter().find(|(id, default)| !id.is_empty() && id != default) {
            Some((id, _)) => Err(GitError::NoSecret { id: (*id).clone() }),
            None => Ok(None),
        }
    }
}

fn memory_file(content: &[u8]) -> Result<MemoryFile, GitError> {
    MemoryFile::new(content).map_err(|source| GitError::Start { source })
}

/// What a token is good for: the repository. For GitHub all of them, as its own tools take it.
fn scope(url: &str) -> &str {
    for prefix in ["https://github.com/", "https://www.github.com/"] {
        if url.starts_with(prefix) {
            return prefix;
        }
    }
    url
}

/// A text between quotes of a git configuration.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::SessionError;

    struct Given(&'static [(&'static str, &'static str)]);

    impl Session for Given {
        fn local_dir(&self, _name: &str) -> Option<std::path::PathBuf> {
            None
        }

        fn secret(&self, id: &str) -> Result<Option<Vec<u8>>, SessionError> {
            Ok(self.0.iter().find(|(name, _)| *name == id).map(|(_, value)| value.as_bytes().to_vec()))
        }
    }

    #[track_caller]
    fn check(
        url: &str,
        (token, header): (&str, &str),
        secrets: &'static [(&'static str, &'static str)],
        expected: &str,
    ) {
        let credentials = Credentials {
            token: token.to_owned(),
            header: header.to_owned(),
            agent: None,
            known_hosts: String::new(),
        };
        let found = match credentials.access(url, &Given(secrets)) {
            Ok(access) => {
                let config = access.config.map(|it| std::fs::read_to_string(it.path()).unwrap());
                config.map_or_else(String::new, |it| it.replace("[http]\n\tfollowRedirects = false\n", ""))
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected);
    }

    const DEFAULTS: (&str, &str) = (DEFAULT_TOKEN, DEFAULT_HEADER);

    #[test]
    fn headers() {
        check("https://h/x", DEFAULTS, &[], "");
        check(
            "https://h/x",
            DEFAULTS,
            &[("GIT_AUTH_TOKEN", "t\n")],
            "[http \"https://h/x\"]\n\textraHeader = \"Authorization: basic eC1hY2Nlc3MtdG9rZW46dA==\"\n",
        );
        check(
            "https://github.com/a/b",
            ("mine", DEFAULT_HEADER),
            &[("mine", "t"), ("GIT_AUTH_HEADER.github.com", "Bearer \"q\"")],
            "[http \"https://github.com/\"]\n\textraHeader = \"Authorization: Bearer \\\"q\\\"\"\n",
        );
        check(
            "http://h/x",
            DEFAULTS,
            &[("GIT_AUTH_TOKEN", "t")],
            "the secret `GIT_AUTH_TOKEN` is not sent to `http://h/x`, which is not encrypted",
        );
        check("https://h/x", ("mine", DEFAULT_HEADER), &[], "the secret `mine` is not given to this build");
        check(
            "https://h/x",
            ("mine", ""),
            &[("mine", "a\nhelper = x")],
            "the secret `mine` cannot be sent: it is empty, or has line breaks or bytes that are no text",
        );
    }
}
