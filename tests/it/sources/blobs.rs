//! Blobs as files, and bundles of repositories that are blobs.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use bkl::base::{Digest, ImageRef};
use bkl::graph::ir::build::{FileInfo, GitOptions, OciStore};
use bkl::graph::ir::{Edge, Graph, SourceOp};
use libtest_mimic::Trial;

use super::server::Repository;
use super::{Bench, Tree};
use crate::images::{TestImage, has_tools};
use crate::registry::fake::{Fake, Fault, Tokens};

pub(super) fn trials() -> Vec<Trial> {
    let trial = |name: &str, run: fn()| crate::trial(format!("sources::blobs::needs_root::{name}"), run);
    let with_git = |name: &str, run: fn()| trial(name, run).with_ignored_flag(!has_tools(&["git"]));
    vec![
        trial("of_a_registry", of_a_registry),
        trial("of_a_layout", of_a_layout),
        with_git("bundles", bundles),
        with_git("bundles_of_tags", bundles_of_tags),
    ]
}

/// A blob by its digest, of a registry or of the layout `store`.
fn of(reference: String, file: FileInfo, store: Option<&str>) -> impl FnOnce(&mut Graph) -> Edge {
    let store = store.map(|store| OciStore { store: store.to_owned(), ..OciStore::default() });
    move |graph| {
        let reference: ImageRef = reference.parse().unwrap();
        graph.blob(&reference, &file, store.as_ref()).unwrap()
    }
}

fn of_a_registry() {
    let mut bench = Bench::new();
    let fake = Fake::start();
    let image = TestImage::new("linux/amd64", &[&[("a", "1")]]);
    fake.push("v1", &image);
    let layer = image.layers[0];
    let reference = || fake.reference(&format!("x@{layer}"));
    let content = &image.blobs[&layer];
    fake.fault(&layer.to_string(), Fault::Reset);
    fake.fault(&layer.to_string(), Fault::Truncate(30));
    let plain = bench.built(of(reference(), FileInfo::default(), None));
    assert_eq!(plain.names(), [layer.hex()]);
    assert_eq!(&fs::read(plain.path(&layer.hex())).unwrap(), content);
    let meta = plain.path(&layer.hex()).metadata().unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid(), meta.mtime()), (0o600, 0, 0, 0));
    assert!(fake.asked("/manifests/").is_empty(), "no manifest speaks of it");
    let n_asked = fake.asked("").len();
    // The store has it: another name is another tree, of the same bytes; names lead nowhere.
    let file = FileInfo { filename: "../../b".to_owned(), mode: 0o755, uid: 7, gid: 8 };
    let other = bench.built(of(reference(), file, None));
    let meta = other.path("b").metadata().unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (0o755, 7, 8));
    assert_eq!(fake.asked("").len(), n_asked);

    let none = Digest::of("none");
    bench.fails(of(fake.reference(&format!("x@{none}")), FileInfo::default(), None), "has no blob");
    let config = image.config;
    fake.damage(&config, b"something else".to_vec());
    bench.fails(of(fake.reference(&format!("x@{config}")), FileInfo::default(), None), "is damaged");
    // A closed registry, for nobody and for somebody.
    fake.require(Tokens { uses: 100 });
    let root = fake.reference(&format!("x@{}", image.root));
    bench.fails(of(root.clone(), FileInfo::default(), None), "does not allow blob");
    bench.given.login = true;
    let file = FileInfo { filename: "manifest.json".to_owned(), ..FileInfo::default() };
    assert_eq!(bench.built(of(root, file, None)).read("manifest.json").as_bytes(), image.blobs[&image.root]);

    let raw = |identifier: &str| {
        let op = SourceOp { identifier: identifier.to_owned(), ..SourceOp::default() };
        move |graph: &mut Graph| graph.source(op, &[], None)
    };
    bench.fails(raw("docker-image+blob://h/x:v1"), "by its digest only, not by a tag");
    bench.fails(raw("docker-image+blob://h/x"), "needs a digest");
    bench.fails(raw(&format!("docker-image+blob://h/x:v1@{none}")), "not by a tag");
    bench.fails(raw("docker-image+blob://H"), "is not a source");
}

fn of_a_layout() {
    let mut bench = Bench::new();
    let dir = bench.dir.path().join("layout");
    let image = TestImage::new("linux/amd64", &[&[("a", "1")]]);
    image.write_layout(&dir, "v1");
    bench.given.layouts.insert("mine".to_owned(), dir.clone());
    bench.given.layouts.insert("docker.io/team/x".to_owned(), dir.clone());
    let file = || FileInfo { filename: "config.json".to_owned(), ..FileInfo::default() };
    let reference = || format!("team/x@{}", image.config);
    let expected = String::from_utf8(image.blobs[&image.config].clone()).unwrap();
    assert_eq!(bench.built(of(reference(), file(), Some("mine"))).read("config.json"), expected);
    // Without an id, the reference is it, as it is written in the op.
    let layer = image.layers[0];
    bench.built(of(format!("team/x@{layer}"), file(), Some("")));
    bench.fails(
        of(format!("team/y@{}", image.root), file(), Some("")),
        "no OCI layout named `docker.io/team/y`",
    );
    bench.fails(of(format!("team/x@{}", Digest::of("none")), file(), Some("mine")), "has no blob");
    fs::write(dir.join("blobs/sha256").join(image.root.hex()), "other").unwrap();
    bench.fails(of(format!("team/x@{}", image.root), file(), Some("mine")), "is damaged");
}

fn repository(bench: &Bench) -> (Repository, String, String) {
    let app = Repository::new(&bench.www().join("app.git"));
    let first = app.commit(&[("a", "one")]);
    let second = app.commit(&[("a", "two"), ("d/b", "b")]);
    (app, first, second)
}

fn git(bench: &Bench, options: GitOptions) -> impl FnOnce(&mut Graph) -> Edge + use<> {
    let url = bench.url("git/app.git");
    move |graph| graph.git(&url, "", &options)
}

/// A tree's bundle in a layout; gives what the op says to have it.
fn into_layout(bench: &mut Bench, tree: &Tree) -> GitOptions {
    let bytes = fs::read(tree.path("bundle")).unwrap();
    let digest = Digest::of(&bytes);
    let dir = bench.dir.path().join("layout");
    fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    fs::write(dir.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
    bench.given.layouts.insert("mine".to_owned(), dir);
    GitOptions {
        bundle: format!("oci-layout+blob://any/name@{digest}"),
        bundle_store: OciStore { store: "mine".to_owned(), ..OciStore::default() },
        ..GitOptions::default()
    }
}

fn bundles() {
    let bench = Bench::new();
    let (app, first, second) = repository(&bench);
    let options =
        |reference: &str| GitOptions { reference: Some(reference.to_owned()), ..GitOptions::default() };
    // First the shallow copy, which a bundle must not be made of.
    let plain = bench.built(git(&bench, options("main")));
    let as_bundle = |reference: &str| GitOptions { checkout_bundle: true, ..options(reference) };
    let made = bench.built(git(&bench, as_bundle("main")));
    assert_eq!(made.names(), ["bundle"]);
    assert_eq!(made.path("bundle").metadata().unwrap().mtime(), 1_577_934_245);
    let by_commit = bench.built(git(&bench, as_bundle(&first)));
    let of_bundle = |tree: &Tree| {
        let path = tree.path("bundle").display().to_string().replace("self", &std::process::id().to_string());
        let output = Command::new("git").args(["ls-remote", &path]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(of_bundle(&made), format!("{second}\trefs/heads/main\n"));
    assert_eq!(of_bundle(&by_commit), format!("{first}\trefs/heads/main\n"));

    // Another machine, without the server: only the bundle.
    let mut other = Bench::new();
    let bundle = into_layout(&mut other, &made);
    other.up(false);
    let url = bench.url("git/app.git");
    let from = |reference: Option<&str>, checksum: &str, more: GitOptions| {
        let reference = reference.map(str::to_owned);
        let options = GitOptions { reference, checksum: checksum.to_owned(), ..more };
        let url = url.replace(&bench.server.url, &other.server.url);
        move |graph: &mut Graph| -> Edge { graph.git(&url, "", &options) }
    };
    for reference in [None, Some("main"), Some("refs/heads/main"), Some(second.as_str())] {
        let tree = other.built(from(reference, &second, bundle.clone()));
        assert_eq!((tree.read("a"), tree.read("d/b")), ("two".to_owned(), "b".to_owned()), "{reference:?}");
        assert_eq!(tree.path("a").metadata().unwrap().mtime(), plain.path("a").metadata().unwrap().mtime());
    }
    assert_eq!(other.built(from(None, &first, bundle.clone())).read("a"), "one");
    let keep = GitOptions { keep_git_dir: true, ..bundle.clone() };
    let kept = other.built(from(Some("main"), &second, keep));
    assert!(kept.has(".git/HEAD") && !kept.has(".git/refs/bkl"));
    let subdir = GitOptions { subdir: Some("d".to_owned()), ..bundle.clone() };
    assert_eq!(other.built(from(Some("main"), &second, subdir)).names(), ["b"]);

    other.fails(from(Some("main"), &first, bundle.clone()), "is expected");
    other.fails(from(Some("none"), &second, bundle.clone()), "has no branch or tag `none`");
    let strange = "0123456789abcdef0123456789abcdef01234567";
    other.fails(from(None, strange, bundle.clone()), &format!("has no commit {strange}"));
    let lost = format!("oci-layout+blob://any/name@{}", Digest::of("lost"));
    // Names are asked of the bundle each time.
    other.fails(from(Some("main"), &second, GitOptions { bundle: lost, ..bundle.clone() }), "has no blob");
    let https = GitOptions { bundle: "https://h/x".to_owned(), ..bundle.clone() };
    other.fails(from(Some("main"), &second, https), "is not a source");
    let no_bundle = Digest::of("no bundle");
    fs::write(other.dir.path().join("layout/blobs/sha256").join(no_bundle.hex()), "no bundle").unwrap();
    let no_bundle = GitOptions { bundle: format!("oci-layout+blob://any/name@{no_bundle}"), ..bundle };
    other.fails(from(Some("main"), &second, no_bundle), "git");
    let _ = app;
}

fn bundles_of_tags() {
    let mut bench = Bench::new();
    let (app, first, _) = repository(&bench);
    app.git(&["tag", "--annotate", "--message", "x", "v1", &first]);
    let tag = GitOptions {
        reference: Some("refs/tags/v1".to_owned()),
        checkout_bundle: true,
        ..GitOptions::default()
    };
    let made = bench.built(git(&bench, tag));
    let more = into_layout(&mut bench, &made);
    fs::remove_dir_all(bench.dir.path().join("store")).unwrap();
    let options = GitOptions { reference: Some("v1".to_owned()), checksum: first, ..more };
    assert_eq!(bench.built(git(&bench, options)).read("a"), "one");
    assert!(Path::new(&bench.www()).exists());
}
