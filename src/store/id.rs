//! Names of trees: layer ids and the lists of them that are snapshots.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

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

/// A tree: committed layers, bottom first. The empty list is the empty tree, `scratch`.
///
/// Merging trees is concatenating their lists: a layer can be stacked on any other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Snapshot {
    /// The layers, bottom first; may hold an id twice (then the lower one changes nothing).
    pub layers: Vec<LayerId>,
}

impl Snapshot {
    /// The empty tree.
    pub fn scratch() -> Snapshot {
        Snapshot::default()
    }

    /// Whether this is the empty list.
    pub fn is_scratch(&self) -> bool {
        self.layers.is_empty()
    }

    /// This tree with `layer` on top.
    pub fn with(&self, layer: LayerId) -> Snapshot {
        let mut layers = Vec::with_capacity(self.layers.len() + 1);
        layers.extend_from_slice(&self.layers);
        layers.push(layer);
        Snapshot { layers }
    }

    /// The trees stacked, first at the bottom.
    pub fn merge<'a>(trees: impl IntoIterator<Item = &'a Snapshot>) -> Snapshot {
        Snapshot { layers: trees.into_iter().flat_map(|it| it.layers.iter().copied()).collect() }
    }

    /// The layers above `lower` when its list is a prefix of this one's.
    pub fn above(&self, lower: &Snapshot) -> Option<Snapshot> {
        let rest = self.layers.strip_prefix(lower.layers.as_slice())?;
        Some(Snapshot { layers: rest.to_vec() })
    }

    /// 16 bytes that name this list of layers.
    pub(crate) fn key(&self) -> [u8; 16] {
        let mut state = Sha256::new();
        self.layers.iter().for_each(|it| state.update(it.0));
        let digest: [u8; 32] = state.finalize().into();
        digest[..16].try_into().expect("a digest has 32 bytes")
    }
}

impl FromIterator<LayerId> for Snapshot {
    fn from_iter<I: IntoIterator<Item = LayerId>>(layers: I) -> Snapshot {
        Snapshot { layers: layers.into_iter().collect() }
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
