//! Exports, judged by those who take them: skopeo, umoci, docker, GNU tar.

mod docker;

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use bkl::base::{Digest, Platform};
use bkl::engine::cancel::Cancel;
use bkl::engine::export::{
    ExportError, ExportImage, ExportItem, ExportKind, ExportReport, describe, export, parse,
};
use bkl::graph::ir::ImageConfig;
use bkl::store::{LayerMeta, Snapshot, Store};
use libtest_mimic::Trial;
use serde_json::Value;

use crate::images::{TestImage, has_tools, run};
use crate::registry::Puller;

pub(crate) fn trials() -> Vec<Trial> {
    let trial =
        |name, tools: &[&str], run: fn()| crate::trial(name, run).with_ignored_flag(!has_tools(tools));
    let mut trials = vec![
        crate::trial("export::base_layers_are_kept_as_pulled", base_layers_are_kept_as_pulled),
        crate::trial("export::image_of_nothing_has_buildkits_digest", image_of_nothing_has_buildkits_digest),
        crate::trial("export::same_input_same_bytes", same_input_same_bytes),
        crate::trial("export::mistakes", mistakes),
        crate::trial("export::nothing_half_written", nothing_half_written),
        crate::trial("export::local_directory", local_directory),
        crate::trial("export::local_replaces_and_keeps", local_replaces_and_keeps),
        trial("export::tar_of_a_tree", &["tar"], tar_of_a_tree),
        trial("export::skopeo_takes_archives", &["skopeo"], skopeo_takes_archives),
        trial("export::umoci_unpacks_layouts", &["umoci"], umoci_unpacks_layouts),
        trial("export::several_images_in_one_layout", &["skopeo", "umoci"], several_images_in_one_layout),
        trial("export::index_of_platforms", &["skopeo"], index_of_platforms),
        trial("export::compressions", &["skopeo"], compressions),
    ];
    trials.extend(docker::trials());
    trials
}

/// A base that was pulled, with a step on top that adds, replaces and deletes.
pub(crate) struct Built {
    pub(crate) puller: Puller,
    pub(crate) base: TestImage,
    pub(crate) item: ExportItem,
}

impl Built {
    pub(crate) fn new() -> Built {
        let puller = Puller::new();
        let base = TestImage::new(
            "linux/amd64",
            &[&[("etc/name", "base"), ("etc/gone", "x"), ("dir/a", "a")], &[("bin/tool", "#!/bin/sh")]],
        );
        let layout = puller.dir.path().join("base");
        base.write_layout(&layout, "base");
        let resolved = puller.resolve_layout(&layout, "base").unwrap();
        let tree = puller.pull(&resolved).unwrap();
        let snapshot = step(&puller.store, &tree, "mount / from exec sh -c \"make <all>\"", |root| {
            std::fs::write(root.join("etc/name"), "built").unwrap();
            std::fs::remove_file(root.join("etc/gone")).unwrap();
            std::fs::create_dir(root.join("out")).unwrap();
            std::fs::write(root.join("out/file"), "out").unwrap();
            std::fs::hard_link(root.join("out/file"), root.join("out/hard")).unwrap();
            symlink("file", root.join("out/soft")).unwrap();
        });
        let mut config = ImageConfig::from_oci(&resolved.config_json(), &Platform::host());
        config.set_env("NEW", "<1>");
        config.labels = vec![("maintainer".to_owned(), "me & you".to_owned())];
        let tags = vec!["docker.io/library/app:v1".to_owned()];
        let image = ExportImage { snapshot, config, tags, cache: None };
        let item = ExportItem { name: "app".to_owned(), kind: ExportKind::Image(Box::new(image)) };
        Built { puller, base, item }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.puller.store
    }

    pub(crate) fn dir(&self) -> &Path {
        self.puller.dir.path()
    }

    fn snapshot(&self) -> &Snapshot {
        let ExportKind::Image(image) = &self.item.kind else { panic!("an image was built") };
        &image.snapshot
    }

    /// Exports the item to `<dir>/<name>` with more options.
    pub(crate) fn export(&self, kind: &str, name: &str, options: &str) -> ExportReport {
        self.try_export(kind, name, options).unwrap()
    }

    fn try_export(&self, kind: &str, name: &str, options: &str) -> Result<ExportReport, ExportError> {
        let dest = self.dir().join(name);
        let slash = if name.ends_with('/') { "/" } else { "" };
        let spec = format!("type={kind},dest={}{slash}{options}", dest.display());
        export(
            self.store(),
            std::slice::from_ref(&self.item),
            &parse(&spec).unwrap(),
            &mut Vec::new(),
            &Cancel::new(),
        )
    }
}

/// A layer made by changing a mounted tree.
fn step(store: &Store, parents: &Snapshot, description: &str, change: impl FnOnce(&Path)) -> Snapshot {
    use std::os::fd::AsRawFd as _;
    let layer = store.stage(parents).unwrap();
    let mount = layer.mount().unwrap();
    change(Path::new(&format!("/proc/self/fd/{}", mount.as_raw_fd())));
    drop(mount);
    let meta = LayerMeta { description: description.to_owned(), ..LayerMeta::default() };
    parents.with(layer.commit(&meta).unwrap())
}

fn decompress(blob: &[u8]) -> Vec<u8> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    match blob {
        [0x1f, 0x8b, ..] => flate2::read::MultiGzDecoder::new(blob).read_to_end(&mut bytes).unwrap(),
        [0x28, 0xb5, ..] => zstd::Decoder::new(blob).unwrap().read_to_end(&mut bytes).unwrap(),
        _ => return blob.to_vec(),
    };
    bytes
}

fn json(path: impl AsRef<Path>) -> Value {
    let path = path.as_ref();
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap()
}

/// The document a descriptor points to, its digest and size checked.
fn follow(layout: &Path, descriptor: &Value) -> Value {
    let digest: Digest = descriptor["digest"].as_str().unwrap().parse().unwrap();
    let bytes = std::fs::read(layout.join("blobs/sha256").join(digest.hex())).unwrap();
    assert_eq!(Digest::of(&bytes), digest);
    assert_eq!(descriptor["size"], bytes.len());
    serde_json::from_slice(&bytes).unwrap()
}

fn base_layers_are_kept_as_pulled() {
    let built = Built::new();
    let report = built.export("oci", "layout/", "");
    let layout = built.dir().join("layout");
    assert_eq!(report.paths, std::slice::from_ref(&layout));
    let index = json(layout.join("index.json"));
    let entry = &index["manifests"][0];
    assert_eq!(entry["digest"], report.images[0].digest.to_string());
    assert_eq!(entry["annotations"]["org.opencontainers.image.ref.name"], "v1");
    assert_eq!(entry["annotations"]["io.containerd.image.name"], "docker.io/library/app:v1");
    assert_eq!(entry["platform"]["architecture"], "amd64");
    let manifest = follow(&layout, entry);
    let layers: Vec<&str> = manifest["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| layer["digest"].as_str().unwrap())
        .collect();
    assert_eq!(layers.len(), 3);
    assert_eq!(layers[..2], built.base.layers.iter().map(ToString::to_string).collect::<Vec<_>>());
    let config = follow(&layout, &manifest["config"]);
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 3);
    let history = config["history"].as_array().unwrap();
    // Two layers and CMD of the base, one new layer.
    assert_eq!(history.len(), 4);
    assert_eq!(history[1]["created_by"], "layer 1");
    assert_eq!(history[2]["empty_layer"], true);
    assert_eq!(history[3]["created_by"], "mount / from exec sh -c \"make <all>\"");
    assert_eq!(config["created"], history[3]["created"]);
    assert_eq!(config["config"]["Env"][1], "NEW=<1>");
    let raw =
        std::fs::read_to_string(layout.join("blobs/sha256").join(report.images[0].platforms[0].2.hex()))
            .unwrap();
    assert!(raw.contains("NEW=\\u003c1\\u003e") && raw.contains("me \\u0026 you"), "{raw}");
    let keys: Vec<&String> = config.as_object().unwrap().keys().collect();
    assert!(keys.is_sorted(), "{keys:?}");
}

fn image_of_nothing_has_buildkits_digest() {
    let built = Built::new();
    let mut config = ImageConfig::scratch("linux/amd64".parse().unwrap());
    config.set_env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    config.workdir = "/".to_owned();
    let image = ExportImage { snapshot: Snapshot::scratch(), config, tags: Vec::new(), cache: None };
    let item = ExportItem { name: "nothing".to_owned(), kind: ExportKind::Image(Box::new(image)) };
    let spec = parse("type=oci,dest=x").unwrap();
    let described = describe(built.store(), &item, &spec.image).unwrap().unwrap();
    let short = |digest: Digest| digest.hex()[..8].to_owned();
    assert_eq!(short(described.platforms[0].2), "471a1b88", "config");
    assert_eq!(short(described.digest), "6cddc7c2", "manifest");
}

fn same_input_same_bytes() {
    let built = Built::new();
    built.export("oci", "one.tar", ",source-date-epoch=1700000000");
    built.export("oci", "two.tar", ",source-date-epoch=1700000000");
    let read = |name: &str| std::fs::read(built.dir().join(name)).unwrap();
    assert!(read("one.tar") == read("two.tar"));
    let mut bytes = Vec::new();
    let spec = parse("type=oci,dest=-,source-date-epoch=1700000000").unwrap();
    let report =
        export(built.store(), std::slice::from_ref(&built.item), &spec, &mut bytes, &Cancel::new()).unwrap();
    assert!(report.paths.is_empty());
    assert!(bytes == read("one.tar"));
    let plain = built.export("oci", "plain.tar", "");
    assert_ne!(plain.images[0].platforms[0].2, report.images[0].platforms[0].2, "the epoch is in the config");
    assert_eq!(built.export("oci", "plain.tar", "").images, plain.images);
}

fn mistakes() {
    let built = Built::new();
    let files = ExportItem { name: "files".to_owned(), kind: ExportKind::Fs(built.snapshot().clone()) };
    let check = |items: &[ExportItem], spec: &str, expected: &str| {
        let spec = parse(&spec.replace("DIR", built.dir().to_str().unwrap())).unwrap();
        let error = export(built.store(), items, &spec, &mut Vec::new(), &Cancel::new()).unwrap_err();
        let error = error.to_string().replace(built.dir().to_str().unwrap(), "DIR");
        assert_eq!(error, expected);
    };
    check(
        std::slice::from_ref(&files),
        "type=oci,dest=DIR/x.tar",
        "`files` is a tree of files, not an image: it cannot be exported as `type=oci`",
    );
    check(
        &[files.clone(), built.item.clone()],
        "type=tar,dest=DIR/x.tar",
        "`type=tar` holds one tree, and there are 2",
    );
    let index = ExportItem {
        name: "multi".to_owned(),
        kind: ExportKind::Index {
            images: (0..2)
                .map(|_| ExportImage {
                    snapshot: built.snapshot().clone(),
                    config: ImageConfig::scratch("linux/amd64".parse().unwrap()),
                    tags: Vec::new(),
                    cache: None,
                })
                .collect(),
            tags: Vec::new(),
        },
    };
    check(
        &[index],
        "type=docker,dest=DIR/x.tar",
        "`multi` is for several platforms: a docker archive holds one",
    );
    std::fs::create_dir(built.dir().join("taken")).unwrap();
    std::fs::write(built.dir().join("taken/mine"), "").unwrap();
    let item = std::slice::from_ref(&built.item);
    check(
        item,
        "type=oci,dest=DIR/taken",
        "cannot write `DIR/taken`: it is a directory, and a file is to be written",
    );
    check(
        item,
        "type=oci,dest=DIR/taken/",
        "cannot write `DIR/taken/`: it holds something else than an OCI layout",
    );
    check(item, "type=local,dest=DIR/taken/mine", "cannot write `DIR/taken/mine`: it is no directory");
    assert_eq!(std::fs::read_dir(built.dir().join("taken")).unwrap().count(), 1);
}

fn nothing_half_written() {
    let built = Built::new();
    std::fs::write(built.dir().join("old.tar"), "old").unwrap();
    // A layer that goes missing between building and exporting.
    let mut item = built.item.clone();
    if let ExportKind::Image(image) = &mut item.kind {
        image.snapshot = image.snapshot.with(bkl::store::LayerId::random());
    }
    let before = entries(built.dir());
    for spec in [
        "type=oci,dest=DIR/old.tar",
        "type=oci,dest=DIR/new/",
        "type=local,dest=DIR/tree",
        "type=tar,dest=DIR/t.tar",
    ] {
        let spec = parse(&spec.replace("DIR", built.dir().to_str().unwrap())).unwrap();
        export(built.store(), std::slice::from_ref(&item), &spec, &mut Vec::new(), &Cancel::new())
            .unwrap_err();
    }
    assert_eq!(entries(built.dir()), before);
    assert_eq!(std::fs::read_to_string(built.dir().join("old.tar")).unwrap(), "old");

    // A reader that goes away.
    struct Closed(usize);
    impl std::io::Write for Closed {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let spec = parse("type=oci,dest=-").unwrap();
    let error =
        export(built.store(), std::slice::from_ref(&built.item), &spec, &mut Closed(2000), &Cancel::new())
            .unwrap_err();
    assert!(matches!(error, ExportError::Out(_)), "{error}");
}

fn entries(dir: &Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

fn local_directory() {
    let built = Built::new();
    let tree = step(built.store(), built.snapshot(), "more", |root| {
        let file = std::fs::File::create(root.join("sparse")).unwrap();
        file.set_len(64 << 20).unwrap();
        (&file).write_all(b"start").unwrap();
        std::fs::write(root.join("suid"), "x").unwrap();
        std::os::unix::fs::chown(root.join("suid"), Some(12), Some(34)).unwrap();
        std::fs::set_permissions(root.join("suid"), std::fs::Permissions::from_mode(0o4751)).unwrap();
        std::fs::create_dir(root.join("shut")).unwrap();
        std::fs::write(root.join("shut/in"), "in").unwrap();
        std::fs::set_permissions(root.join("shut"), std::fs::Permissions::from_mode(0o500)).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.join("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
    });
    let item = ExportItem { name: "files".to_owned(), kind: ExportKind::Fs(tree) };
    let dest = built.dir().join("made/deep/out");
    let spec = parse(dest.to_str().unwrap()).unwrap();
    let report = export(built.store(), &[item], &spec, &mut Vec::new(), &Cancel::new()).unwrap();
    assert_eq!(report.paths, std::slice::from_ref(&dest));
    let text = |path: &str| std::fs::read_to_string(dest.join(path)).unwrap();
    assert_eq!((text("etc/name").as_str(), text("out/soft").as_str()), ("built", "out"));
    assert!(!dest.join("etc/gone").exists());
    let stat = |path: &str| std::fs::symlink_metadata(dest.join(path)).unwrap();
    assert_eq!(stat("out/file").ino(), stat("out/hard").ino());
    assert_eq!(std::fs::read_link(dest.join("out/soft")).unwrap(), Path::new("file"));
    assert_eq!((stat("suid").uid(), stat("suid").gid(), stat("suid").mode() & 0o7777), (12, 34, 0o4751));
    assert_eq!(stat("shut").mode() & 0o7777, 0o500);
    assert_eq!(stat("dir/a").mtime(), 1_600_000_000);
    assert_eq!(stat("sparse").len(), 64 << 20);
    assert!(stat("sparse").blocks() < 1000, "holes stay holes");
    assert_eq!(entries(&built.dir().join("made/deep")), ["out"], "no temporary is left");
}

fn local_replaces_and_keeps() {
    let built = Built::new();
    let (dest, outside) = (built.dir().join("out"), built.dir().join("outside"));
    std::fs::create_dir_all(dest.join("etc")).unwrap();
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(dest.join("etc/name"), "old").unwrap();
    std::fs::write(dest.join("etc/mine"), "mine").unwrap();
    std::fs::write(outside.join("a"), "outside").unwrap();
    // Where the tree has a directory, a link leads out.
    symlink(&outside, dest.join("dir")).unwrap();
    built.export("local", "out", "");
    let text = |path: &str| std::fs::read_to_string(dest.join(path)).unwrap();
    assert_eq!((text("etc/name").as_str(), text("etc/mine").as_str()), ("built", "mine"));
    assert_eq!(text("dir/a"), "a");
    assert_eq!(std::fs::read_to_string(outside.join("a")).unwrap(), "outside");
    // Again over itself, links and all.
    built.export("local", "out", "");
    assert_eq!(text("out/hard"), "out");

    std::fs::remove_file(dest.join("etc/name")).unwrap();
    std::fs::create_dir(dest.join("etc/name")).unwrap();
    let error = built.try_export("local", "out", "").unwrap_err().to_string();
    assert!(error.ends_with("/out/etc/name`: a directory is in its place"), "{error}");
    assert_eq!(entries(&dest.join("etc")), ["mine", "name"]);
}

fn tar_of_a_tree() {
    let built = Built::new();
    built.export("tar", "tree.tar", "");
    let list = run("tar", &["-tf", built.dir().join("tree.tar").to_str().unwrap()]);
    let mut names: Vec<&str> = list.lines().collect();
    names.sort_unstable();
    let expected =
        ["bin/", "bin/tool", "dir/", "dir/a", "etc/", "etc/name", "out/", "out/file", "out/hard", "out/soft"];
    assert_eq!(names, expected);
}

fn skopeo_takes_archives() {
    let built = Built::new();
    for (kind, transport) in [("oci", "oci-archive"), ("docker", "docker-archive")] {
        let name = format!("{kind}.tar");
        let report = built.export(kind, &name, "");
        let path = built.dir().join(&name);
        let image = format!("{transport}:{}", path.display());
        let config: Value =
            serde_json::from_str(&run("skopeo", &["inspect", "--config", "--raw", &image])).unwrap();
        assert_eq!(config["history"].as_array().unwrap().len(), 4, "{kind}");
        assert_eq!(config["config"]["Labels"]["maintainer"], "me & you");
        let copy = built.dir().join(format!("{kind}-copy"));
        run("skopeo", &["copy", &image, &format!("dir:{}", copy.display())]);
        if kind == "oci" {
            let raw = run("skopeo", &["inspect", "--raw", &image]);
            assert_eq!(Digest::of(raw), report.images[0].digest);
        }
    }
}

fn umoci_unpacks_layouts() {
    let built = Built::new();
    built.export("oci", "layout/", "");
    let bundle = built.dir().join("bundle");
    let image = format!("{}:v1", built.dir().join("layout").display());
    run("umoci", &["unpack", "--image", &image, bundle.to_str().unwrap()]);
    let rootfs = bundle.join("rootfs");
    assert_eq!(std::fs::read_to_string(rootfs.join("etc/name")).unwrap(), "built");
    assert!(!rootfs.join("etc/gone").exists(), "the deletion is in the layer");
    let ino = |path: &str| std::fs::metadata(rootfs.join(path)).unwrap().ino();
    assert_eq!(ino("out/file"), ino("out/hard"));
}

fn several_images_in_one_layout() {
    let built = Built::new();
    let other = ExportItem { name: "images.api".to_owned(), ..built.item.clone() };
    let layout = built.dir().join("layout");
    let spec = parse(&format!("type=oci,dest={}/", layout.display())).unwrap();
    export(built.store(), &[built.item.clone(), other], &spec, &mut Vec::new(), &Cancel::new()).unwrap();
    for name in ["app", "images.api"] {
        run("skopeo", &["inspect", &format!("oci:{}:{name}", layout.display())]);
    }
    // Another export into the same layout keeps what is there.
    let third = ExportItem { name: "third".to_owned(), ..built.item.clone() };
    let spec = parse(&format!("type=oci,dest={}/,name=third:v9", layout.display())).unwrap();
    export(built.store(), &[third], &spec, &mut Vec::new(), &Cancel::new()).unwrap();
    let tags = run("umoci", &["ls", "--layout", layout.to_str().unwrap()]);
    let mut tags: Vec<&str> = tags.lines().collect();
    tags.sort_unstable();
    assert_eq!(tags, ["app", "images.api", "v9"]);
}

fn index_of_platforms() {
    let built = Built::new();
    let image = |platform: &str| ExportImage {
        snapshot: built.snapshot().clone(),
        config: ImageConfig::scratch(platform.parse().unwrap()),
        tags: Vec::new(),
        cache: None,
    };
    let item = ExportItem {
        name: "multi".to_owned(),
        kind: ExportKind::Index {
            images: vec![image("linux/amd64"), image("linux/arm/v7")],
            tags: vec!["docker.io/library/multi:v1".to_owned()],
        },
    };
    let layout = built.dir().join("layout");
    let spec = parse(&format!(
        "type=oci,dest={}/,annotation-index.a=1,annotation[linux/arm/v7].b=2",
        layout.display()
    ))
    .unwrap();
    let report = export(built.store(), &[item], &spec, &mut Vec::new(), &Cancel::new()).unwrap();
    assert_eq!(report.images[0].platforms.len(), 2);
    let index = json(layout.join("index.json"));
    let root = follow(&layout, &index["manifests"][0]);
    assert_eq!(root["annotations"]["a"], "1");
    assert_eq!(root["manifests"][1]["platform"]["variant"], "v7");
    assert_eq!(follow(&layout, &root["manifests"][0])["annotations"], Value::Null);
    assert_eq!(follow(&layout, &root["manifests"][1])["annotations"]["b"], "2");
    let source = format!("oci:{}:v1", layout.display());
    run("skopeo", &["copy", "--all", &source, &format!("dir:{}", built.dir().join("copy").display())]);
    let arm = ["--override-arch=arm", "--override-variant=v7", "inspect", "--config", &source];
    let config: Value = serde_json::from_str(&run("skopeo", &arm)).unwrap();
    assert_eq!(config["architecture"], "arm");
}

fn compressions() {
    let built = Built::new();
    let check = |options: &str, types: [&str; 2]| {
        let name = format!("layout{}/", options.replace(['=', ','], "-"));
        built.export("oci", &name, options);
        let layout = built.dir().join(&name);
        let manifest = follow(&layout, &json(layout.join("index.json"))["manifests"][0]);
        let found: Vec<&str> = [0, 2]
            .iter()
            .map(|at| {
                let media_type = manifest["layers"][*at]["mediaType"].as_str().unwrap();
                media_type.rsplit(['.', '+']).next().unwrap()
            })
            .collect();
        assert_eq!(found, types, "{options}");
        run(
            "skopeo",
            &[
                "copy",
                &format!("oci:{}", layout.display().to_string().trim_end_matches('/')),
                &format!("dir:{}copy", layout.display()),
            ],
        );
        let diff_ids = follow(&layout, &manifest["config"])["rootfs"]["diff_ids"].clone();
        for (layer, diff_id) in
            manifest["layers"].as_array().unwrap().iter().zip(diff_ids.as_array().unwrap())
        {
            let digest: Digest = layer["digest"].as_str().unwrap().parse().unwrap();
            let blob = std::fs::read(layout.join("blobs/sha256").join(digest.hex())).unwrap();
            assert_eq!(Digest::of(&blob), digest);
            assert_eq!(Digest::of(decompress(&blob)).to_string(), *diff_id, "{options}");
        }
        diff_ids
    };
    let gzip = check("", ["gzip", "gzip"]);
    assert_eq!(check(",compression=zstd", ["gzip", "zstd"]), gzip);
    let zstd = check(",compression=zstd,force-compression=true,compression-level=1", ["zstd", "zstd"]);
    assert_eq!(check(",compression=uncompressed,force-compression", ["tar", "tar"]), zstd);
    assert_eq!(check(",oci-mediatypes=false,compression=gzip", ["gzip", "gzip"]), gzip);
}
