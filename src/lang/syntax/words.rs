//! The words of the language, in one place: for the parser's recovery, for highlighting, for editors' grammars.

/// Words that cannot be names. After a `.` and before a `:` they can.
pub const KEYWORDS: &[&str] =
    &["let", "if", "else", "match", "for", "in", "on", "true", "false", "none", "assert", "where"];

/// Words an item can start with; elsewhere they are names.
pub const ITEM_WORDS: &[&str] =
    &["pub", "import", "param", "secret", "ssh", "let", "fn", "type", "enum", "target", "test", "extern"];

/// Those of [`KEYWORDS`] that are values.
pub const CONSTANTS: &[&str] = &["true", "false", "none"];

/// Units of sizes and durations, longer ones before their prefixes.
pub const UNITS: &[&str] = &["KiB", "MiB", "GiB", "kB", "MB", "GB", "ms", "B", "s", "m", "h"];

/// Signs of more than one character, longer ones before their prefixes.
pub const SIGNS: &[&str] = &["...", "|>", "??", "||", "&&", "==", "!=", "<=", ">=", "->", "=>"];
