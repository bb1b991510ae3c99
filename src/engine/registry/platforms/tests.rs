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

/// Windows: the build of the system counts, and features that an image asks for.
#[test]
fn versions_and_features() {
    #[track_caller]
    fn check(machine: (&str, &str, &[&str]), image: (&str, &str, &[&str]), fits: bool) {
        let platform = |(os, version, features): (&str, &str, &[&str])| Platform {
            os: os.to_owned(),
            arch: "amd64".to_owned(),
            os_version: version.to_owned(),
            os_features: features.iter().map(|&it| it.to_owned()).collect(),
            ..Platform::default()
        };
        let (machine, image) = (platform(machine), platform(image));
        assert_eq!(rank(&machine, &image).is_some(), fits, "{image:?} on {machine:?}");
    }
    check(("windows", "10.0.17763.1", &[]), ("windows", "10.0.17763.1", &[]), true);
    check(("windows", "10.0.17763.1", &[]), ("windows", "10.0.20348.1", &[]), false);
    check(("windows", "", &[]), ("windows", "10.0.20348.1", &[]), true);
    check(("windows", "", &["win32k"]), ("windows", "", &["win32k"]), true);
    check(("windows", "", &[]), ("windows", "", &["win32k"]), false);
    check(("windows", "", &["win32k"]), ("windows", "", &[]), true);
    // Elsewhere a version says nothing.
    check(("linux", "1", &[]), ("linux", "2", &[]), true);
}

#[test]
fn variants_that_are_written_otherwise() {
    let check = |wanted: &str, candidate: &str, expected: Option<usize>| {
        let (wanted, candidate): (Platform, Platform) = (wanted.parse().unwrap(), candidate.parse().unwrap());
        assert_eq!(rank(&wanted, &candidate), expected, "{candidate} on {wanted}");
    };
    check("linux/arm64", "linux/arm64/v8", Some(0));
    check("linux/arm64/v8", "linux/arm64", Some(0));
    check("linux/arm", "linux/arm/v7", Some(0));
    check("linux/amd64/v1", "linux/amd64", Some(0));
    check("linux/amd64", "linux/amd64/v1", Some(0));
    check("linux/amd64", "linux/amd64/v2", None);
    check("linux/amd64/v2", "linux/amd64", Some(1));
    check("linux/arm64/v9", "linux/arm64", Some(1));
    check("linux/arm/v6", "linux/arm/v7", None);
    check("linux/amd64", "linux/386", Some(1));
}
