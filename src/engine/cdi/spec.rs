//! A CDI specification as it stands in its file. What is unknown in it is refused: a device with half of its edits is none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde::Deserialize;

/// What is wrong with a specification in YAML.
pub(super) const ONLY_JSON: &str = "it is YAML, and only JSON is understood";

/// Larger files are refused: those of drivers have some hundred kilobytes at most.
const MAX_BYTES: u64 = 16 << 20;

/// A file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Spec {
    #[serde(rename = "cdiVersion")]
    _version: String,
    /// `vendor.com/class`.
    pub(super) kind: String,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) devices: Vec<Device>,
    /// For whoever gets any of its devices.
    #[serde(default)]
    pub(super) container_edits: Edits,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Device {
    pub(super) name: String,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) container_edits: Edits,
}

/// What becomes of a container.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Edits {
    pub(super) env: Vec<String>,
    pub(super) device_nodes: Vec<DeviceNode>,
    pub(super) net_devices: Vec<serde_json::Value>,
    pub(super) hooks: Vec<Hook>,
    pub(super) mounts: Vec<Mount>,
    pub(super) intel_rdt: Option<serde_json::Value>,
    #[serde(rename = "additionalGids")]
    pub(super) additional_gids: Vec<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct DeviceNode {
    pub(super) path: String,
    /// Where it is on the host, if not there.
    pub(super) host_path: String,
    /// `c`, `u`, `b`, `p`; empty is what the host has.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// 0 is what the host has.
    pub(super) major: u32,
    pub(super) minor: u32,
    pub(super) file_mode: Option<u32>,
    /// Of `rwm`; empty is all.
    pub(super) permissions: String,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Mount {
    pub(super) host_path: String,
    pub(super) container_path: String,
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) options: Vec<String>,
}

/// Never run: only its name matters.
#[derive(Debug, Deserialize)]
pub(super) struct Hook {
    #[serde(default)]
    pub(super) path: String,
}

impl Spec {
    /// The specification in a file, or what is wrong with it.
    pub(super) fn read(path: &Path) -> Result<Spec, String> {
        let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
        if !metadata.is_file() || MAX_BYTES < metadata.len() {
            return Err("it is no file, or larger than 16 MiB".to_owned());
        }
        let text = fs::read(path).map_err(|error| error.to_string())?;
        let is_json = path.extension().is_some_and(|it| it == "json");
        // JSON is YAML, too.
        let spec: Spec = serde_json::from_slice(&text).map_err(|error| match is_json {
            true => error.to_string(),
            false => ONLY_JSON.to_owned(),
        })?;
        spec.check()?;
        Ok(spec)
    }

    fn check(&self) -> Result<(), String> {
        let (vendor, class) = self.kind.split_once('/').unwrap_or_default();
        if !is_vendor(vendor) || !is_class(class) {
            return Err(format!("`{}` is no kind: `vendor.com/class`", self.kind));
        }
        let mut names = BTreeSet::new();
        for device in &self.devices {
            if !is_device(&device.name) {
                return Err(format!("`{}` is no name of a device", device.name));
            }
            if !names.insert(&device.name) {
                return Err(format!("`{}` is there twice", device.name));
            }
        }
        let edits = self.devices.iter().map(|it| &it.container_edits).chain([&self.container_edits]);
        for edits in edits {
            if let Some(entry) = edits.env.iter().find(|it| !it.contains('=') || it.starts_with('=')) {
                return Err(format!("`{entry}` is no variable"));
            }
            let is_absolute = |path: &str| path.starts_with('/');
            let wrong = edits.mounts.iter().find(|it| {
                !is_absolute(&it.container_path) || (it.kind != "tmpfs" && !is_absolute(&it.host_path))
            });
            if let Some(mount) = wrong {
                return Err(format!("the paths of the mount `{}` are not absolute", mount.container_path));
            }
        }
        Ok(())
    }
}

/// Letters, digits and what of `more` may stand within; begins with a letter, or a digit if `digits` says so, ends with either.
fn is_name(text: &str, more: &str, may_begin_with_digit: bool) -> bool {
    let is_inner = |it: char| it.is_ascii_alphanumeric() || more.contains(it);
    text.chars().all(is_inner)
        && text
            .chars()
            .next()
            .is_some_and(|it| it.is_ascii_alphabetic() || (may_begin_with_digit && it.is_ascii_digit()))
        && text.chars().last().is_some_and(|it| it.is_ascii_alphanumeric())
}

/// Whether it names a vendor: `vendor.com`.
pub(super) fn is_vendor(text: &str) -> bool {
    is_name(text, "_-.", false)
}

/// Whether it names a class: `gpu`.
pub(super) fn is_class(text: &str) -> bool {
    is_name(text, "_-.", false)
}

/// Whether it names a device of a class.
pub(super) fn is_device(text: &str) -> bool {
    is_name(text, "_-.:", true)
}
