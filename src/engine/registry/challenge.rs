//! `WWW-Authenticate` as registries send it (RFC 9110 §11.6.1; distribution auth/token).

/// One challenge: how the registry wants to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User name and password with every request.
    Basic,
    /// A token, got from `realm`.
    Bearer {
        /// URL of the token server.
        realm: String,
        /// Name the token server knows the registry by.
        service: Option<String>,
        /// What to ask for; the client's own idea when absent.
        scope: Option<String>,
    },
}

/// The challenges of one header value that we can answer, in order. Broken ones are left out.
pub(super) fn parse(header: &str) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    let mut rest = header.trim();
    while !rest.is_empty() {
        let (scheme, after) = split_token(rest);
        if scheme.is_empty() {
            break;
        }
        rest = after.trim_start();
        let mut params: Vec<(String, String)> = Vec::new();
        // A parameter is `name=value`; a token without `=` starts the next challenge.
        loop {
            let (name, after) = split_token(rest);
            let Some(value) = after.trim_start().strip_prefix('=').filter(|_| !name.is_empty()) else {
                break;
            };
            let Some((value, after)) = value_of(value.trim_start()) else { return challenges };
            params.push((name.to_ascii_lowercase(), value));
            rest = after.trim_start();
            match rest.strip_prefix(',') {
                Some(after) => rest = after.trim_start(),
                None => break,
            }
        }
        rest = rest.trim_start_matches([',', ' ', '\t']);
        let param =
            |name: &str| params.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        match scheme.to_ascii_lowercase().as_str() {
            "basic" => challenges.push(Challenge::Basic),
            "bearer" => {
                if let Some(realm) = param("realm") {
                    challenges.push(Challenge::Bearer {
                        realm,
                        service: param("service"),
                        scope: param("scope"),
                    });
                }
            }
            _ => {}
        }
    }
    challenges
}

/// The leading token (RFC 9110 §5.6.2) and what follows.
fn split_token(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)))
        .unwrap_or(text.len());
    text.split_at(end)
}

/// A token or quoted string and what follows; `None` when a quote is not closed.
fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests;
