//! Which image of an index a platform takes: containerd's `platforms.Only` (vendor/github.com/containerd/platforms,
//! compare.go).

use super::document::Descriptor;
use crate::base::Platform;

/// The platforms a machine of `platform` can run, best first: its own, then what its architecture is compatible with.
pub fn runnable(platform: &Platform) -> Vec<Platform> {
    let own = platform.normalize();
    let with = |arch: &str, variant: &str| Platform {
        arch: arch.to_owned(),
        variant: variant.to_owned(),
        ..own.clone()
    };
    let version: Option<u32> = own.variant.strip_prefix('v').and_then(|text| text.parse().ok());
    let mut platforms = vec![own.clone()];
    match own.arch.as_str() {
        "amd64" => {
            for lower in (1..version.unwrap_or(1)).rev() {
                // Normalised, v1 is written without a variant.
                platforms.push(with("amd64", &if lower == 1 { String::new() } else { format!("v{lower}") }));
            }
            platforms.push(with("386", ""));
        }
        "arm" => {
            for lower in (5..version.unwrap_or(5)).rev() {
                platforms.push(with("arm", &format!("v{lower}")));
            }
        }
        "arm64" => {
            // Normalised, v8 is written without a variant; its 32-bit half runs arm up to v8.
            if version.is_some_and(|version| 8 < version) {
                platforms.push(with("arm64", ""));
            }
            for lower in (5..=8).rev() {
                platforms.push(with("arm", &format!("v{lower}")));
            }
        }
        _ => {}
    }
    platforms
}

/// How well `candidate` fits, 0 best; `None` when a machine of `platform` cannot run it.
pub fn rank(platform: &Platform, candidate: &Platform) -> Option<usize> {
    let candidate = candidate.normalize();
    runnable(platform).iter().position(|it| {
        it.os == candidate.os
            && it.arch == candidate.arch
            && it.variant == candidate.variant
            && candidate.os_features.iter().all(|feature| it.os_features.contains(feature))
            && (it.os != "windows" || it.os_version.is_empty() || it.os_version == candidate.os_version)
    })
}

/// The entries of an index that `platform` can take, best first; entries that say no platform come last, in order.
///
/// Attestations (`unknown/unknown`) are never among them.
pub fn candidates<'a>(manifests: &'a [Descriptor], platform: &Platform) -> Vec<&'a Descriptor> {
    let mut ranked: Vec<(usize, &Descriptor)> = manifests
        .iter()
        .filter_map(|entry| match &entry.platform {
            Some(oci) => rank(platform, &oci.into()).map(|rank| (rank, entry)),
            None => Some((usize::MAX, entry)),
        })
        .collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, entry)| entry).collect()
}

/// The platforms that an index offers, as people write them, in its order; attestations left out.
pub fn offered(manifests: &[Descriptor]) -> Vec<String> {
    let mut offered = Vec::new();
    for oci in manifests.iter().filter_map(|entry| entry.platform.as_ref()) {
        let text = Platform::from(oci).to_string();
        if oci.os != "unknown" && !offered.contains(&text) {
            offered.push(text);
        }
    }
    offered
}

#[cfg(test)]
mod tests;
