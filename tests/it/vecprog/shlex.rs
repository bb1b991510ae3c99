//! Word splitting as by the Go package google/shlex, which is not quite a shell's.

/// The words of `line`; what stands behind an open quote is lost.
pub(super) fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '#' if word.is_none() => drop(chars.by_ref().find(|&c| c == '\n')),
            '\\' => match chars.next() {
                Some(c) => word.get_or_insert_default().push(c),
                None => return words,
            },
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        None => return words,
                        Some(quote) if quote == c => break,
                        // Between double quotes a backslash takes any character, unlike in a shell.
                        Some('\\') if c == '"' => match chars.next() {
                            Some(c) => word.push(c),
                            None => return words,
                        },
                        Some(c) => word.push(c),
                    }
                }
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}
