//! Small images for the tests: layers and documents made here, and what the tests run as a judge.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use bkl::base::Digest;
use serde_json::{Value, json};

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An image or index with everything it points to.
#[derive(Clone)]
pub(crate) struct TestImage {
    pub(crate) root: Digest,
    pub(crate) media_type: &'static str,
    /// Manifests, configs, layers.
    pub(crate) blobs: BTreeMap<Digest, Vec<u8>>,
    pub(crate) config: Digest,
    /// Blobs of the layers.
    pub(crate) layers: Vec<Digest>,
    pub(crate) platform: String,
}

impl TestImage {
    /// An image whose layers hold these files, (path, content).
    pub(crate) fn new(platform: &str, layers: &[&[(&str, &str)]]) -> TestImage {
        let tars: Vec<Vec<u8>> = layers.iter().map(|files| tar(files)).collect();
        TestImage::of_tars(platform, &tars)
    }

    /// An image of these uncompressed layers.
    pub(crate) fn of_tars(platform: &str, tars: &[Vec<u8>]) -> TestImage {
        let mut blobs = BTreeMap::new();
        let mut keep = |bytes: Vec<u8>| {
            let digest = Digest::of(&bytes);
            blobs.insert(digest, bytes);
            digest
        };
        let mut parts = platform.split('/');
        let mut config = json!({
            "architecture": parts.nth(1),
            "os": "linux",
            "created": "2020-01-02T03:04:05Z",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"]},
            "rootfs": {"type": "layers", "diff_ids": tars.iter().map(|tar| Digest::of(tar).to_string()).collect::<Vec<_>>()},
            "history": (0..tars.len()).map(|at| json!({"created": "2020-01-02T03:04:05Z", "created_by": format!("layer {at}")}))
                .chain([json!({"created": "2020-01-02T03:04:05Z", "created_by": "CMD", "empty_layer": true})]).collect::<Vec<_>>(),
        });
        if let Some(variant) = parts.next() {
            config["variant"] = variant.into();
        }
        let config_bytes = config.to_string().into_bytes();
        let config_size = config_bytes.len();
        let config = keep(config_bytes);
        let layers: Vec<(Digest, usize)> = tars
            .iter()
            .map(|tar| {
                let blob = gzip(tar);
                let size = blob.len();
                (keep(blob), size)
            })
            .collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config.to_string(), "size": config_size},
            "layers": layers.iter().map(|(digest, size)| json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest.to_string(), "size": size
            })).collect::<Vec<_>>(),
        });
        let root = keep(manifest.to_string().into_bytes());
        let layers = layers.into_iter().map(|(digest, _)| digest).collect();
        TestImage { root, media_type: OCI_MANIFEST, blobs, config, layers, platform: platform.to_owned() }
    }

    /// An index of images.
    pub(crate) fn index(images: &[TestImage]) -> TestImage {
        let mut blobs: BTreeMap<Digest, Vec<u8>> =
            images.iter().flat_map(|image| image.blobs.clone()).collect();
        let manifests: Vec<Value> = images
            .iter()
            .map(|image| {
                let mut entry = image.descriptor();
                if image.platform.is_empty() {
                    return entry;
                }
                let mut parts = image.platform.split('/');
                entry["platform"] = json!({"os": parts.next(), "architecture": parts.next()});
                if let Some(variant) = parts.next() {
                    entry["platform"]["variant"] = variant.into();
                }
                entry
            })
            .collect();
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests});
        let bytes = index.to_string().into_bytes();
        let root = Digest::of(&bytes);
        blobs.insert(root, bytes);
        TestImage { root, media_type: OCI_INDEX, blobs, ..images[0].clone() }
    }

    pub(crate) fn descriptor(&self) -> Value {
        let size = self.blobs[&self.root].len();
        json!({"mediaType": self.media_type, "digest": self.root.to_string(), "size": size})
    }

    /// Writes an OCI layout directory with this image under `name`.
    pub(crate) fn write_layout(&self, dir: &Path, name: &str) {
        std::fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
        for (digest, bytes) in &self.blobs {
            std::fs::write(dir.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        }
        let mut entry = self.descriptor();
        if !name.is_empty() {
            entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        }
        let index = json!({"schemaVersion": 2, "manifests": [entry]});
        std::fs::write(dir.join("index.json"), index.to_string()).unwrap();
        std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    }
}

pub(crate) fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(if path.contains("bin/") { 0o755 } else { 0o644 });
        header.set_mtime(1_600_000_000);
        builder.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Whether every one of these programs is there.
pub(crate) fn has_tools(tools: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    tools.iter().all(|tool| std::env::split_paths(&path).any(|dir| dir.join(tool).is_file()))
}

/// Runs a program that must succeed; gives its standard output.
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let output =
        Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {}: {}\n{}{}",
        args.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    String::from_utf8(output.stdout).unwrap()
}
