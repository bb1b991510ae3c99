//! The config blob of an image: what the program said, with the layers and the history that came to be
//! (BuildKit exporter/containerimage/writer.go, `normalizeLayersAndHistory` and `patchImageConfig`).

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json;
use crate::base::Digest;
use crate::base::time::{parse_rfc3339, rfc3339};
use crate::engine::cache::INLINE_KEY;
use crate::graph::ir::ImageConfig;

/// Who writes history entries for layers that the config does not account for yet.
const COMMENT: &str = "bkl";

/// What a config has to know of a layer.
#[derive(Debug, Clone)]
pub(in crate::engine) struct LayerFacts {
    /// Digest of the uncompressed archive.
    pub(in crate::engine) diff_id: Digest,
    /// When it was made here.
    pub(in crate::engine) created_at: SystemTime,
    /// What made it.
    pub(in crate::engine) description: String,
}

/// An entry of a config's history, fields in the order of Go's struct.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct History {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    author: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    empty_layer: bool,
}

/// The bytes of the config of an image with these layers, bottom first.
///
/// `cache` is that of its own layers. Top-level keys are sorted; unknown ones are kept. No time is later than `epoch`, those of an unchanged base apart.
pub(super) fn config_bytes(
    config: &ImageConfig,
    layers: &[LayerFacts],
    epoch: Option<SystemTime>,
    cache: Option<&str>,
) -> Vec<u8> {
    let Value::Object(mut root) = config.to_oci() else { unreachable!("a config is an object") };
    // What a base has there is of its layers only, and counts them.
    root.shift_remove(INLINE_KEY);
    if let Some(cache) = cache {
        root.insert(INLINE_KEY.to_owned(), cache.into());
    }
    let base: Vec<History> =
        root.get("history").and_then(|history| Vec::deserialize(history).ok()).unwrap_or_default();
    let mut history = normalize(base.clone(), layers);
    if let Some(epoch) = epoch {
        for (at, entry) in history.iter_mut().enumerate() {
            if base.get(at) != Some(entry) {
                entry.created = Some(clamp(entry.created.as_deref(), epoch));
            }
        }
    }
    // A base's own time is not that of an image with more layers.
    if base.len() < history.len() {
        root.shift_remove("created");
    }
    let created = match root.get("created").and_then(Value::as_str) {
        Some(created) => Some(created.to_owned()),
        None => history.iter().rev().find_map(|entry| entry.created.clone()),
    };
    let created = match epoch {
        Some(epoch) => Some(clamp(created.as_deref(), epoch)),
        None => created,
    };
    root.insert("created".to_owned(), created.map_or(Value::Null, Value::String));
    let mut sorted: BTreeMap<String, Field<'_>> =
        root.into_iter().map(|(key, value)| (key, Field::Plain(value))).collect();
    let diff_ids = layers.iter().map(|layer| &layer.diff_id).collect();
    sorted.insert("rootfs".to_owned(), Field::Rootfs { kind: "layers", diff_ids: filled(diff_ids) });
    sorted.insert("history".to_owned(), Field::History(filled(history)));
    json::compact(&sorted)
}

/// A list; Go writes an empty one that nothing was ever added to as null.
fn filled<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}

/// A field of a config. Those that grow with the layers are written as they are: there may be a hundred thousand.
#[derive(Serialize)]
#[serde(untagged)]
enum Field<'a> {
    Plain(Value),
    Rootfs {
        #[serde(rename = "type")]
        kind: &'static str,
        diff_ids: Option<Vec<&'a Digest>>,
    },
    History(Option<Vec<History>>),
}

/// As many entries that are not `empty_layer` as there are layers, each with a time if any time is known.
fn normalize(mut history: Vec<History>, layers: &[LayerFacts]) -> Vec<History> {
    let mut n_described = 0;
    for entry in history.iter_mut().filter(|entry| !entry.empty_layer) {
        if n_described == layers.len() {
            // The config came from an image with more layers than this tree has.
            entry.empty_layer = true;
        } else {
            n_described += 1;
        }
    }
    history.extend(layers[n_described..].iter().map(|layer| History {
        created: Some(rfc3339(layer.created_at)),
        created_by: Some(layer.description.clone()).filter(|text| !text.is_empty()),
        comment: Some(COMMENT.to_owned()),
        ..History::default()
    }));
    for (entry, layer) in history.iter_mut().filter(|entry| !entry.empty_layer).zip(layers) {
        entry.created.get_or_insert_with(|| rfc3339(layer.created_at));
    }
    // An entry without a time takes that of the first layer behind it, or else of the last one before it.
    let untimed = history.iter().position(|entry| entry.created.is_none()).unwrap_or(history.len());
    let mut created = history[untimed..]
        .iter()
        .find_map(|entry| entry.created.clone())
        .or_else(|| history[..untimed].iter().rev().find_map(|entry| entry.created.clone()));
    for entry in &mut history[untimed..] {
        match &entry.created {
            Some(known) => created = Some(known.clone()),
            None => entry.created.clone_from(&created),
        }
    }
    history
}

/// The earlier of both; an unreadable or absent time counts as late.
fn clamp(time: Option<&str>, epoch: SystemTime) -> String {
    match time {
        Some(text) if parse_rfc3339(text).is_some_and(|time| time <= epoch) => text.to_owned(),
        _ => rfc3339(epoch),
    }
}

#[cfg(test)]
mod tests;
