//! Names of layers.

use std::fmt;
use std::str::FromStr;

/// Name of a committed layer: 128 random bits, written as 32 hex digits, never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerId([u8; 16]);

impl LayerId {
    /// A name nothing has had before.
    pub fn random() -> LayerId {
        LayerId(random_bytes())
    }

    /// The id whose raw value is `bytes`.
    pub fn from_bytes(bytes: [u8; 16]) -> LayerId {
        LayerId(bytes)
    }

    /// The 16 raw bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a layer id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a layer id: expected 32 hex digits")]
pub struct LayerIdError(pub String);

impl FromStr for LayerId {
    type Err = LayerIdError;

    fn from_str(text: &str) -> Result<LayerId, LayerIdError> {
        let digits = text.len() == 32 && text.bytes().all(|it| it.is_ascii_hexdigit());
        let value = digits.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        value.map(|it| LayerId(it.to_be_bytes())).ok_or_else(|| LayerIdError(text.to_owned()))
    }
}

impl serde::Serialize for LayerId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for LayerId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<LayerId, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// 16 bytes from the kernel's generator.
pub(crate) fn random_bytes() -> [u8; 16] {
    let mut bytes = [0_u8; 16];
    // SAFETY: the pointer and the length are those of `bytes`, which outlives the call.
    let n_read = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    assert_eq!(n_read, 16, "getrandom gives up to 256 bytes at once");
    bytes
}

/// 32 hex digits from the kernel's generator.
pub(crate) fn random_name() -> String {
    LayerId::random().to_string()
}
