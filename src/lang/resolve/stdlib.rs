//! The library that is part of bkl: `import apt from "std/apt"`.

/// Path and text of each module, sorted by path.
pub const MODULES: &[(&str, &str)] = &[
    ("std/apt", include_str!("../../../stdlib/apt.bkl")),
    ("std/go", include_str!("../../../stdlib/go.bkl")),
];

/// The signatures of everything built in.
pub const PRELUDE: &str = include_str!("../../../stdlib/prelude.bkl");

/// The text of the module `path`.
pub fn text(path: &str) -> Option<&'static str> {
    MODULES.iter().find(|(name, _)| *name == path).map(|(_, text)| *text)
}
