//! Reading `.dockerignore` files into patterns (github.com/moby/patternmatcher, ignorefile.ReadAll).

use super::path;

/// The patterns of an ignore file in order, cleaned and relative; comments and blank lines left out.
///
/// A leading `/` is dropped, so that `/dist` means `dist`; a `!` stays in front.
pub fn ignore_patterns(text: &str) -> Vec<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.lines().filter(|line| !line.starts_with('#')).filter_map(pattern).collect()
}

fn pattern(line: &str) -> Option<String> {
    let line = line.trim();
    let (mark, rest) = match line.strip_prefix('!') {
        Some(rest) => ("!", rest.trim()),
        None => ("", line),
    };
    if rest.is_empty() {
        return (!line.is_empty()).then(|| line.to_owned());
    }
    let clean = path::clean(rest);
    let relative = if clean.len() > 1 { clean.strip_prefix('/').unwrap_or(&clean) } else { &clean };
    Some(format!("{mark}{relative}"))
}

#[cfg(test)]
mod tests;
