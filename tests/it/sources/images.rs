//! `bkl lock` and `bkl update` of images: a registry whose tags move, and two platforms.

use std::fs;
use std::process::Command;

use bkl::base::{ImageRef, Platform};
use bkl::graph::ir::build::FileStep;
use bkl::graph::ir::build::ImageOptions;
use bkl::graph::ir::{Edge, FileMkfile, Graph, Tree};
use libtest_mimic::Trial;

use super::Bench;
use crate::images::TestImage;
use crate::registry::fake::{Fake, Fault};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        crate::trial("sources::images::needs_root::tags_that_move", tags_that_move),
        crate::trial("sources::images::needs_root::nothing_is_fetched_in_vain", nothing_is_fetched_in_vain),
        crate::trial(
            "sources::images::needs_root::images_of_no_layers_and_of_old",
            images_of_no_layers_and_of_old,
        ),
    ]
}

fn index(content: &str) -> TestImage {
    let image = |platform: &str| TestImage::new(platform, &[&[("a", content)]]);
    TestImage::index(&[image("linux/amd64"), image("linux/arm64")])
}

fn tags_that_move() {
    let dir = tempfile::TempDir::new_in("/var/tmp").unwrap();
    let registry = Fake::start();
    let (base, tool) = (registry.reference("team/base:1"), registry.reference("team/tool:2"));
    fs::write(
        dir.path().join("build.bkl"),
        format!(
            "target base = image(\"{base}\")\n\
             target only_arm = if target_platform.arch == \"arm64\" {{ image(\"{tool}\") }} else {{ image(\"{base}\") }}\n\
             test \"a test has images, too\" {{ assert image(\"{base}\", platform: \"linux/arm64\").platform.arch == \"arm64\" }}\n"
        ),
    )
    .unwrap();
    let bkl = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_bkl"))
            .args(args)
            .current_dir(dir.path())
            .env("BKL_STORE", dir.path().join("store"))
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let lock = || fs::read_to_string(dir.path().join("bkl.lock")).unwrap_or_default();
    let (first, moved) = (index("1"), index("2"));
    registry.push("1", &first);
    registry.push("2", &first);
    let (code, said) = bkl(&["lock", "--platform", "linux/amd64,linux/arm64"]);
    assert_eq!((code, said.contains("2 references, 2 new")), (Some(0), true), "{said}");
    assert_eq!(lock().matches("[[image.manifest]]").count(), 3, "{}", lock());
    let before = lock();
    assert_eq!(bkl(&["update", "--check"]), (Some(0), "2 references, nothing new\n".to_owned()));

    registry.push("1", &moved);
    let (code, said) = bkl(&["update", "--check"]);
    let line = format!("{base}  sha256:{} -> sha256:{}\n", &first.root.hex()[..12], &moved.root.hex()[..12]);
    assert_eq!((code, said.contains(&line), said.contains("bkl::outdated")), (Some(1), true, true), "{said}");
    assert_eq!(lock(), before, "a check changes nothing");
    // The other one is not looked at, and both platforms of this one are.
    registry.push("2", &moved);
    let (code, said) = bkl(&["update", &base]);
    assert_eq!((code, said), (Some(0), format!("{line}1 reference, 1 changed\n")));
    let after = lock();
    assert_eq!(after.matches("[[image.manifest]]").count(), 3, "{after}");
    assert!(after.contains(&moved.root.to_string()) && after.contains(&first.root.to_string()), "{after}");
    let (code, said) = bkl(&["update", &registry.reference("team/tool")]);
    assert_eq!((code, said.contains("1 changed")), (Some(0), true), "{said}");
    assert!(!lock().contains(&first.root.to_string()));
    let (code, said) = bkl(&["update", &registry.reference("team/tol:2")]);
    assert_eq!((code, said.contains(&format!("did you mean `{tool}`?"))), (Some(1), true), "{said}");
}

fn linux(arch: &str) -> Option<Platform> {
    Some(Platform { os: "linux".to_owned(), arch: arch.to_owned(), ..Platform::default() })
}

/// An image with a file on top.
fn with_file(reference: &str, limit: Option<i64>) -> impl FnOnce(&mut Graph) -> Edge + use<> {
    let reference: ImageRef = reference.parse().unwrap();
    move |graph| {
        let options =
            ImageOptions { platform: linux("amd64"), layer_limit: limit, ..ImageOptions::default() };
        let image = graph.image_with(&reference, options);
        let mkfile = FileMkfile {
            path: "/new".to_owned(),
            mode: 0o644,
            data: b"new".to_vec(),
            owner: None,
            timestamp: 0,
        };
        graph.file(Tree::from(image), vec![FileStep::Mkfile(mkfile)])
    }
}

/// What a registry was asked for: documents and layers.
fn asked(fake: &Fake, image: &TestImage) -> (usize, usize) {
    let is_layer = |path: &str| image.layers.iter().any(|layer| path.contains(&layer.to_string()));
    let all = fake.asked("");
    let n_layers = all.iter().filter(|it| is_layer(&it.path)).count();
    (all.len() - n_layers, n_layers)
}

fn nothing_is_fetched_in_vain() {
    let bench = Bench::new();
    let (one, two) = (Fake::start(), Fake::start());
    let amd64 = TestImage::new("linux/amd64", &[&[("a", "1")], &[("b", "2")], &[("c", "3")]]);
    let arm64 = TestImage::new("linux/arm64", &[&[("other", "4")]]);
    let index = TestImage::index(&[arm64.clone(), amd64.clone()]);
    one.push("v1", &index);
    // The same layers, elsewhere and under another manifest.
    two.push("v2", &amd64);
    let (first, second) = (one.reference("x:v1"), two.reference("y:v2"));

    // Only the first layer, and nothing of the other platform.
    let limited = bench.built(with_file(&first, Some(1)));
    assert_eq!(limited.names(), ["a", "new"]);
    assert_eq!(asked(&one, &amd64), (3, 1), "index, manifest, config; one layer");
    assert_eq!(asked(&one, &arm64).1, 0);
    assert!(one.asked(&arm64.root.to_string()).is_empty());
    // What is there already is not fetched again.
    let whole = bench.built(with_file(&first, None));
    assert_eq!(whole.names(), ["a", "b", "c", "new"]);
    assert_eq!(asked(&one, &amd64), (4, 3), "the tag is asked for again; two layers more");
    // Whoever has the same layers has the same tree: nothing above it runs again, and no layer is fetched.
    let again = bench.built(with_file(&second, None));
    assert_eq!((again.snapshot == whole.snapshot, again.n_fetched), (true, 0));
    assert_eq!(asked(&two, &amd64), (1, 0), "its manifest has the digest of one that is here");
    // In another store, where what was built is not known: documents, then layers.
    let fresh = Bench::new();
    fresh.built(with_file(&second, None));
    assert_eq!(asked(&two, &amd64), (1 + 2, 3), "manifest and config; three layers");
    // And from the second on, the first one's layers are not asked for at all.
    fresh.built(with_file(&first, None));
    assert_eq!(asked(&one, &amd64).1, 3);
}

fn images_of_no_layers_and_of_old() {
    let bench = Bench::new();
    let fake = Fake::start();
    let empty = TestImage::of_tars("linux/amd64", &[]);
    fake.push("empty", &empty);
    let image = |reference: &str| {
        let reference: ImageRef = fake.reference(reference).parse().unwrap();
        move |graph: &mut Graph| -> Edge {
            graph.image_with(&reference, ImageOptions { platform: linux("amd64"), ..ImageOptions::default() })
        }
    };
    let tree = bench.built(image("x:empty"));
    assert!(tree.snapshot.is_scratch());
    assert_eq!(bench.built(with_file(&fake.reference("x:empty"), None)).names(), ["new"]);
    fake.push("old", &empty);
    fake.fault("/manifests/old", Fault::Body(br#"{"schemaVersion":1,"fsLayers":[],"name":"x"}"#.to_vec()));
    bench.fails(image("x:old"), "docker's old format (schema 1)");
    // A type that nobody unpacks, found before anything is fetched.
    let mut strange = TestImage::new("linux/amd64", &[&[("a", "1")]]);
    let manifest = String::from_utf8(strange.blobs[&strange.root].clone()).unwrap();
    let manifest = manifest.replace("layer.v1.tar+gzip", "layer.v1.tar+lz4").into_bytes();
    strange.root = bkl::base::Digest::of(&manifest);
    strange.blobs.insert(strange.root, manifest);
    fake.push("strange", &strange);
    bench.fails(image("x:strange"), "is of the unknown type");
    // A manifest may name other places for a layer: nobody is sent there.
    let elsewhere = Fake::start();
    let mut foreign = TestImage::new("linux/amd64", &[&[("foreign", "1")]]);
    let layer = foreign.layers[0];
    elsewhere.push("v1", &foreign);
    let manifest = String::from_utf8(foreign.blobs[&foreign.root].clone()).unwrap();
    let urls =
        format!("\"urls\":[\"http://{}/v2/x/blobs/{layer}\"],\"digest\":\"{layer}\"", elsewhere.address);
    let manifest = manifest.replace(&format!("\"digest\":\"{layer}\""), &urls).into_bytes();
    assert!(String::from_utf8_lossy(&manifest).contains("urls"));
    foreign.root = bkl::base::Digest::of(&manifest);
    foreign.blobs.insert(foreign.root, manifest);
    foreign.blobs.remove(&layer);
    fake.push("foreign", &foreign);
    bench.fails(image("x:foreign"), "has no layer");
    assert!(elsewhere.asked("").is_empty());
}
