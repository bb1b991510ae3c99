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

/// Units of sizes, in bytes.
pub const SIZE_UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// Units of durations, in nanoseconds.
pub const DURATION_UNITS: &[(&str, u64)] =
    &[("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000), ("h", 3_600_000_000_000)];
