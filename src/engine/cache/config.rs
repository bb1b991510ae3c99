//! A cache's config: the JSON document, read strictly and written with the bytes BuildKit writes
//! (cache/remotecache/v1: spec.go, utils.go `sortConfig`, parse.go).

use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::base::Digest;
use crate::base::time::{parse_rfc3339, rfc3339};
use crate::engine::export::json;

/// A config above this size is refused. BuildKit reads 1 MiB; its own exporter writes more.
pub const MAX_BYTES: u64 = 16 << 20;

/// BuildKit refuses to import configs above this size.
pub const BUILDKIT_MAX_BYTES: u64 = 1 << 20;

/// Records and layers above this number, each, are refused.
const MAX_ENTRIES: usize = 200_000;

/// Layers of one result above this number are refused.
pub const MAX_CHAIN: usize = 10_000;

/// What stands for what, and the layers of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheConfig {
    /// The layers of all results.
    pub layers: Vec<CacheLayer>,
    /// The edges.
    pub records: Vec<CacheRecord>,
}

/// A layer, on others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheLayer {
    /// Digest of its blob.
    pub blob: Digest,
    /// Index of the layer below, if there is one.
    pub parent: Option<usize>,
    /// How it came to be, as far as that is known. No part of the document: the layer's own descriptor says it.
    pub made: Arc<Made>,
}

/// How a layer came to be: what an image's history says of it. It is no matter of the blob, as steps may make layers of
/// equal bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Made {
    /// What made it; empty when nobody says.
    pub by: String,
    /// When.
    pub at: Option<SystemTime>,
}

/// An edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheRecord {
    /// [`edge_digest`](super::edge_digest) or [`content_digest`](super::content_digest).
    pub digest: Digest,
    /// For each input, what may stand there.
    pub inputs: Vec<Vec<CacheInput>>,
    /// Results that are a layer with all that it is on.
    pub results: Vec<CacheResult>,
    /// Results that are a list of layers.
    pub chains: Vec<CacheChain>,
}

/// What may stand for an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CacheInput {
    /// Which part of it is used.
    pub selector: Option<Digest>,
    /// Index of its record.
    pub link: usize,
}

/// A result, by its topmost layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheResult {
    /// Index of the layer.
    pub layer: usize,
    /// When it was made.
    pub created_at: SystemTime,
}

/// A result, by all its layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheChain {
    /// Indexes, bottom first.
    pub layers: Vec<usize>,
    /// When it was made.
    pub created_at: SystemTime,
}

/// Why a text is no config that can be used; reads after "is refused: ".
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON, or not of the form.
    #[error("it is not valid: {0}")]
    Json(#[from] serde_json::Error),
    /// Larger than anything sensible.
    #[error("it has {found} {what}, more than the {limit} allowed")]
    TooMany {
        /// Of what: `bytes`, `records`, `layers`.
        what: &'static str,
        /// How many.
        found: u64,
        /// How many may be.
        limit: u64,
    },
    /// An index that points nowhere.
    #[error("its {what} {index} does not exist")]
    Dangling {
        /// `record` or `layer`.
        what: &'static str,
        /// As written.
        index: i64,
    },
    /// Something that is no time.
    #[error("its time `{text}` is not valid")]
    Time {
        /// As written, as far as it is shown.
        text: String,
    },
    /// Something that is made of itself.
    #[error("its {what} {index} is made of itself")]
    Loop {
        /// `record` or `layer`.
        what: &'static str,
        /// Index of one on the loop.
        index: usize,
    },
}

// ---- the wire -------------------------------------------------------------------------------------------------------

#[derive(Serialize, Deserialize)]
struct WireConfig {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    layers: Option<Vec<WireLayer>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    records: Option<Vec<WireRecord>>,
}

#[derive(Serialize, Deserialize)]
struct WireLayer {
    blob: Digest,
    /// Go leaves 0 out, and so reads 0 where nothing is.
    #[serde(default, skip_serializing_if = "is_zero")]
    parent: i64,
}

#[derive(Serialize, Deserialize)]
struct WireRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    layers: Option<Vec<WireResult>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chains: Option<Vec<WireChain>>,
    digest: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    inputs: Option<Vec<Option<Vec<WireInput>>>>,
}

#[derive(Serialize, Deserialize)]
struct WireResult {
    #[serde(default)]
    layer: i64,
    #[serde(default, rename = "createdAt")]
    created_at: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct WireChain {
    #[serde(default)]
    layers: Option<Vec<i64>>,
    #[serde(default, rename = "createdAt")]
    created_at: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct WireInput {
    #[serde(default, skip_serializing_if = "Selector::is_none")]
    selector: Selector,
    #[serde(default)]
    link: i64,
}

/// Go's empty string is no selector.
#[derive(Default)]
struct Selector(Option<Digest>);

impl Selector {
    fn is_none(&self) -> bool {
        self.0.is_none()
    }
}

impl Serialize for Selector {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Selector, D::Error> {
        let text = <Option<std::borrow::Cow<'de, str>>>::deserialize(deserializer)?;
        match text.as_deref() {
            None | Some("") => Ok(Selector(None)),
            Some(text) => text.parse().map(|it| Selector(Some(it))).map_err(serde::de::Error::custom),
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// What Go's zero time is written as: what stands for none.
const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// Where a time cannot be read BuildKit refuses the whole config, too.
fn time(text: Option<&String>) -> Result<SystemTime, ConfigError> {
    let text = text.map_or(ZERO_TIME, String::as_str);
    parse_rfc3339(text).ok_or_else(|| ConfigError::Time { text: shown(text) })
}

/// What is shown of a text that should have been a time.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 40;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}

// ---- reading --------------------------------------------------------------------------------------------------------

impl CacheConfig {
    /// Reads a config.
    ///
    /// # Errors
    /// Every index is in range and nothing is made of itself; see [`ConfigError`].
    pub fn parse(bytes: &[u8]) -> Result<CacheConfig, ConfigError> {
        check_count("bytes", bytes.len(), MAX_BYTES as usize)?;
        let wire: WireConfig = serde_json::from_slice(bytes)?;
        read(wire)
    }

    /// Reads the records that an image's config has for its own `layers`, bottom first.
    ///
    /// # Errors
    /// As [`CacheConfig::parse`].
    pub fn parse_inline(bytes: &[u8], layers: &[Digest]) -> Result<CacheConfig, ConfigError> {
        check_count("bytes", bytes.len(), MAX_BYTES as usize)?;
        let records: Vec<WireRecord> = serde_json::from_slice(bytes)?;
        let layer = |(idx, blob): (usize, &Digest)| WireLayer { blob: *blob, parent: idx as i64 - 1 };
        let layers = layers.iter().enumerate().map(layer).collect();
        read(WireConfig { layers: Some(layers), records: Some(records) })
    }

    /// The layers of a result, bottom first.
    pub fn chain(&self, top: usize) -> Vec<usize> {
        let mut chain: Vec<usize> =
            std::iter::successors(Some(top), |&layer| self.layers[layer].parent).collect();
        chain.reverse();
        chain
    }

    /// The bytes of the document. What is in it is brought into BuildKit's order first.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.sorted().to_bytes_as_it_is()
    }

    /// The bytes of what is in BuildKit's order already.
    pub fn to_bytes_as_it_is(&self) -> Vec<u8> {
        let layer =
            |it: &CacheLayer| WireLayer { blob: it.blob, parent: it.parent.map_or(-1, |it| it as i64) };
        let layers = self.layers.iter().map(layer).collect();
        let records = self.records.iter().map(wire_record).collect();
        json::compact(&WireConfig { layers: some(layers), records: some(records) })
    }

    /// The bytes of the records alone, in BuildKit's order; layer indexes stay as they are.
    pub fn to_inline_bytes(&self) -> Vec<u8> {
        let order: Vec<usize> = (0..self.layers.len()).collect();
        let records: Vec<WireRecord> = self.sorted_records(&order).iter().map(wire_record).collect();
        json::compact(&records)
    }

    /// The same in BuildKit's order, which does not depend on the one things were found in.
    pub fn sorted(&self) -> CacheConfig {
        let mut order: Vec<usize> = (0..self.layers.len()).collect();
        order.sort_by(|&a, &b| self.compare(a, b).then_with(|| self.compare_made(a, b)));
        let mut place = vec![0; order.len()];
        order.iter().enumerate().for_each(|(new, &old)| place[old] = new);
        let layer = |&old: &usize| {
            let layer = self.layers[old].clone();
            CacheLayer { parent: layer.parent.map(|parent| place[parent]), ..layer }
        };
        CacheConfig { layers: order.iter().map(layer).collect(), records: self.sorted_records(&place) }
    }

    /// By blob, then by what is below. Go compares the indexes that parents had before, which is the order they happened
    /// to be found in.
    fn compare(&self, a: usize, b: usize) -> std::cmp::Ordering {
        let mut at = (Some(a), Some(b));
        loop {
            let (Some(a), Some(b)) = at else { return at.0.is_some().cmp(&at.1.is_some()) };
            let (a, b) = (&self.layers[a], &self.layers[b]);
            let by_blob = a.blob.cmp(&b.blob);
            if by_blob.is_ne() || a.parent == b.parent {
                return by_blob;
            }
            at = (a.parent, b.parent);
        }
    }

    /// Of layers that [`CacheConfig::compare`] finds equal, with all that is below: by what is said of them.
    fn compare_made(&self, a: usize, b: usize) -> std::cmp::Ordering {
        let mut at = (Some(a), Some(b));
        while let (Some(a), Some(b)) = at
            && a != b
        {
            let (a, b) = (&self.layers[a], &self.layers[b]);
            let by_made = a.made.cmp(&b.made);
            if by_made.is_ne() {
                return by_made;
            }
            at = (a.parent, b.parent);
        }
        std::cmp::Ordering::Equal
    }

    fn sorted_records(&self, layer_place: &[usize]) -> Vec<CacheRecord> {
        let named = |input: &CacheInput| (input.selector, self.records[input.link].digest);
        let shape = |&record: &usize| {
            let record = &self.records[record];
            let sorted = |input: &Vec<CacheInput>| {
                // Go compares them as its maps give them; here that is an order too.
                let mut input: Vec<_> = input.iter().map(named).collect();
                input.sort_unstable();
                (input.len(), input)
            };
            let inputs: Vec<_> = record.inputs.iter().map(sorted).collect();
            (record.digest, record.inputs.len(), inputs)
        };
        let mut order: Vec<usize> = (0..self.records.len()).collect();
        order.sort_by_cached_key(shape);
        let mut place = vec![0; order.len()];
        order.iter().enumerate().for_each(|(new, &old)| place[old] = new);
        let record = |&old: &usize| {
            let record = &self.records[old];
            let input = |input: &Vec<CacheInput>| {
                let mut input: Vec<CacheInput> =
                    input.iter().map(|it| CacheInput { link: place[it.link], ..*it }).collect();
                input.sort_by_key(|it| (it.link, it.selector));
                input
            };
            let result = |it: &CacheResult| CacheResult { layer: layer_place[it.layer], ..*it };
            let chain = |it: &CacheChain| CacheChain {
                layers: it.layers.iter().map(|&it| layer_place[it]).collect(),
                ..*it
            };
            CacheRecord {
                digest: record.digest,
                inputs: record.inputs.iter().map(input).collect(),
                results: record.results.iter().map(result).collect(),
                chains: record.chains.iter().map(chain).collect(),
            }
        };
        order.iter().map(record).collect()
    }
}

fn check_count(what: &'static str, found: usize, limit: usize) -> Result<(), ConfigError> {
    match found <= limit {
        true => Ok(()),
        false => Err(ConfigError::TooMany { what, found: found as u64, limit: limit as u64 }),
    }
}

fn read(wire: WireConfig) -> Result<CacheConfig, ConfigError> {
    let (layers, records) = (wire.layers.unwrap_or_default(), wire.records.unwrap_or_default());
    check_count("layers", layers.len(), MAX_ENTRIES)?;
    check_count("records", records.len(), MAX_ENTRIES)?;
    let index = |what: &'static str, index: i64, len: usize| {
        let found = usize::try_from(index).ok().filter(|&it| it < len);
        found.ok_or(ConfigError::Dangling { what, index })
    };
    let (n_layers, n_records) = (layers.len(), records.len());
    let mut config = CacheConfig::default();
    for layer in layers {
        let parent = match layer.parent {
            -1 => None,
            parent => Some(index("layer", parent, n_layers)?),
        };
        config.layers.push(CacheLayer { blob: layer.blob, parent, made: Arc::default() });
    }
    for record in records {
        let mut read = CacheRecord {
            digest: record.digest,
            inputs: Vec::new(),
            results: Vec::new(),
            chains: Vec::new(),
        };
        for input in record.inputs.unwrap_or_default() {
            let link = |it: WireInput| {
                Ok(CacheInput { selector: it.selector.0, link: index("record", it.link, n_records)? })
            };
            read.inputs
                .push(input.unwrap_or_default().into_iter().map(link).collect::<Result<_, ConfigError>>()?);
        }
        for result in record.layers.unwrap_or_default() {
            let layer = index("layer", result.layer, n_layers)?;
            read.results.push(CacheResult { layer, created_at: time(result.created_at.as_ref())? });
        }
        for chain in record.chains.unwrap_or_default() {
            let layers = chain.layers.unwrap_or_default();
            let layers = layers.into_iter().map(|it| index("layer", it, n_layers)).collect::<Result<_, _>>();
            read.chains.push(CacheChain { layers: layers?, created_at: time(chain.created_at.as_ref())? });
        }
        config.records.push(read);
    }
    config.check_loops()?;
    Ok(config)
}

impl CacheConfig {
    fn check_loops(&self) -> Result<(), ConfigError> {
        let parents: Vec<Vec<usize>> = self.layers.iter().map(|it| it.parent.into_iter().collect()).collect();
        if let Some(index) = on_loop(&parents) {
            return Err(ConfigError::Loop { what: "layer", index });
        }
        let links: Vec<Vec<usize>> =
            self.records.iter().map(|it| it.inputs.iter().flatten().map(|it| it.link).collect()).collect();
        match on_loop(&links) {
            Some(index) => Err(ConfigError::Loop { what: "record", index }),
            None => Ok(()),
        }
    }
}

/// A vertex from which one comes back to it, if there is one.
fn on_loop(below: &[Vec<usize>]) -> Option<usize> {
    let mut n_users = vec![0_usize; below.len()];
    below.iter().flatten().for_each(|&it| n_users[it] += 1);
    let mut free: Vec<usize> = (0..below.len()).filter(|&it| n_users[it] == 0).collect();
    let mut n_free = 0;
    while let Some(it) = free.pop() {
        n_free += 1;
        for &below in &below[it] {
            n_users[below] -= 1;
            if n_users[below] == 0 {
                free.push(below);
            }
        }
    }
    if n_free == below.len() { None } else { n_users.iter().position(|&it| 0 < it) }
}

fn wire_record(record: &CacheRecord) -> WireRecord {
    let input = |input: &Vec<CacheInput>| {
        Some(
            input
                .iter()
                .map(|it| WireInput { selector: Selector(it.selector), link: it.link as i64 })
                .collect::<Vec<_>>(),
        )
    };
    let result =
        |it: &CacheResult| WireResult { layer: it.layer as i64, created_at: Some(rfc3339(it.created_at)) };
    let chain = |it: &CacheChain| WireChain {
        layers: Some(it.layers.iter().map(|&it| it as i64).collect()),
        created_at: Some(rfc3339(it.created_at)),
    };
    WireRecord {
        layers: some(record.results.iter().map(result).collect()),
        chains: some(record.chains.iter().map(chain).collect()),
        digest: record.digest,
        inputs: some(record.inputs.iter().map(input).collect()),
    }
}

#[cfg(test)]
mod tests;
