//! The library that is part of bkl: `import apt from "std/apt"`.

/// Path and text of each module, sorted by path.
pub const MODULES: &[(&str, &str)] = &[
    ("std/apk", include_str!("../../../stdlib/apk.bkl")),
    ("std/apt", include_str!("../../../stdlib/apt.bkl")),
    ("std/go", include_str!("../../../stdlib/go.bkl")),
    ("std/node", include_str!("../../../stdlib/node.bkl")),
    ("std/oci", include_str!("../../../stdlib/oci.bkl")),
    ("std/python", include_str!("../../../stdlib/python.bkl")),
    ("std/rust", include_str!("../../../stdlib/rust.bkl")),
    ("std/test", include_str!("../../../stdlib/test.bkl")),
];

/// The signatures of everything built in.
pub const PRELUDE: &str = include_str!("../../../stdlib/prelude.bkl");

/// The text of the module `path`.
pub fn text(path: &str) -> Option<&'static str> {
    MODULES.iter().find(|(name, _)| *name == path).map(|(_, text)| *text)
}
