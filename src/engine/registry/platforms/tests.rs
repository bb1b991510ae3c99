//! The order in which an index's entries are tried.

use super::*;
use crate::base::Digest;
use crate::engine::registry::document::media;

fn check(wanted: &str, offered: &[&str], expected: &[&str]) {
    let platform: Platform = wanted.parse().unwrap();
    let manifests: Vec<Descriptor> = offered
        .iter()
        .map(|text| {
            let mut entry = Descriptor::new(media::OCI_MANIFEST, Digest::of(text), 1);
            let mut parts = text.split('/');
            let (os, arch) = (parts.next().unwrap(), parts.next().unwrap_or_default());
            entry.platform = (!text.is_empty()).then(|| {
                (&Platform {
                    os: os.to_owned(),
                    arch: arch.to_owned(),
                    variant: parts.next().unwrap_or_default().to_owned(),
                    ..Platform::default()
                })
                    .into()
            });
            entry
        })
        .collect();
    let found: Vec<String> = candidates(&manifests, &platform)
        .iter()
        .map(|entry| entry.platform.as_ref().map_or(String::new(), |oci| Platform::from(oci).to_string()))
        .collect();
    assert_eq!(found, expected, "{wanted} of {offered:?}");
}

#[test]
fn only() {
    check("linux/amd64", &["linux/arm64", "linux/amd64"], &["linux/amd64"]);
    check("linux/amd64", &["linux/386", "linux/amd64"], &["linux/amd64", "linux/386"]);
    check("linux/amd64", &["linux/amd64/v2", "windows/amd64", "unknown/unknown"], &[]);
    check(
        "linux/amd64/v3",
        &["linux/amd64", "linux/amd64/v4", "linux/amd64/v2"],
        &["linux/amd64/v2", "linux/amd64"],
    );
    check(
        "linux/arm/v7",
        &["linux/arm/v5", "linux/arm/v6", "linux/arm/v8", "linux/arm64"],
        &["linux/arm/v6", "linux/arm/v5"],
    );
    check("linux/arm", &["linux/arm/v6", "linux/arm/v7"], &["linux/arm/v7", "linux/arm/v6"]);
    check("linux/arm64", &["linux/arm/v7", "linux/arm64/v8"], &["linux/arm64/v8", "linux/arm/v7"]);
    check("linux/riscv64", &["", "linux/riscv64"], &["linux/riscv64", ""]);
}
