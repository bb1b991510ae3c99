//! What an image is built for: operating system, architecture, variant.

use std::fmt;
use std::str::FromStr;

/// A platform, `os/arch[/variant]`. The three texts are verbatim: nothing is normalised until [`Platform::normalize`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// GOARCH: `amd64`, `arm64`, `arm`.
    pub arch: String,
    /// `v7` for `linux/arm/v7`; empty when there is none.
    pub variant: String,
    /// Windows build number; empty elsewhere.
    pub os_version: String,
    /// Features an image needs of the OS; nearly always empty.
    pub os_features: Vec<String>,
}

impl Platform {
    /// The platform of the machine this binary was built for.
    pub fn host() -> Platform {
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Platform { os: std::env::consts::OS.to_owned(), arch: arch.to_owned(), ..Platform::default() }
            .normalize()
    }

    /// The canonical spelling (containerd `platforms.Normalize`, vendor/github.com/containerd/platforms/database.go).
    #[must_use]
    pub fn normalize(&self) -> Platform {
        let os = match self.os.to_lowercase().as_str() {
            "" => std::env::consts::OS.to_owned(),
            "macos" => "darwin".to_owned(),
            os => os.to_owned(),
        };
        let (arch, variant) = (self.arch.to_lowercase(), self.variant.to_lowercase());
        let (arch, variant) = match (arch.as_str(), variant.as_str()) {
            ("i386", _) => ("386", ""),
            ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
            ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
            ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
            ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
            ("aarch64" | "arm64", variant) => ("arm64", variant),
            ("armhf", _) => ("arm", "v7"),
            ("armel", _) => ("arm", "v6"),
            ("arm", "" | "7") => ("arm", "v7"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "6") => ("arm", "v6"),
            ("arm", "8") => ("arm", "v8"),
            other => other,
        };
        let mut os_features = self.os_features.clone();
        os_features.sort();
        os_features.dedup();
        Platform {
            os,
            arch: arch.to_owned(),
            variant: variant.to_owned(),
            os_version: self.os_version.clone(),
            os_features,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.arch)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

/// Why a text is not a platform; reads after "this is not a valid platform: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PlatformError(pub String);

const KNOWN_ARCHES: &[&str] = &[
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le",
    "riscv64", "s390x", "wasm",
];

const KNOWN_OSES: &[&str] = &["linux", "windows", "darwin", "freebsd", "wasip1"];

impl FromStr for Platform {
    type Err = PlatformError;

    /// Reads `os/arch[/variant]` in its canonical spelling; other spellings of a known architecture are refused with
    /// the right one, so that equal platforms are equal texts.
    fn from_str(text: &str) -> Result<Platform, PlatformError> {
        let parts: Vec<&str> = text.split('/').collect();
        let (&[os, arch] | &[os, arch, _]) = parts.as_slice() else {
            return Err(PlatformError("a platform is written os/arch or os/arch/variant".to_owned()));
        };
        let variant = parts.get(2).copied().unwrap_or_default();
        let as_written = Platform {
            os: os.to_owned(),
            arch: arch.to_owned(),
            variant: variant.to_owned(),
            ..Platform::default()
        };
        if !KNOWN_OSES.contains(&os) {
            return Err(PlatformError(format!(
                "`{os}` is no operating system; use one of {}",
                KNOWN_OSES.join(", ")
            )));
        }
        if !KNOWN_ARCHES.contains(&arch) {
            let normal = as_written.normalize();
            return Err(PlatformError(if KNOWN_ARCHES.contains(&normal.arch.as_str()) {
                format!("the name of this architecture is {}", normal.arch)
            } else {
                format!("`{arch}` is no architecture; use one of {}", KNOWN_ARCHES.join(", "))
            }));
        }
        if parts.len() == 3 && variant.is_empty() {
            return Err(PlatformError("the variant behind the last `/` is missing".to_owned()));
        }
        Ok(as_written)
    }
}
