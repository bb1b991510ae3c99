//! Images from registries and layouts: resolving, pulling, and what happens when the other side misbehaves.

mod authority;
pub(crate) mod fake;
pub(crate) mod served;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bkl::base::{Digest, ImageRef, Platform};
use bkl::engine::cancel::Cancel;
use bkl::engine::registry::{
    ImageError, Layout, Registry, RegistryOptions, ResolveMode, ResolvedImage, RetryPolicy, pull,
    resolve_image, resolve_layout,
};
use bkl::engine::source::image::ImageSource;
use bkl::engine::source::oci_layout::OciLayoutSource;
use bkl::engine::source::{Source, SourceCtx};
use bkl::graph::ir::{SourceOp, attr};
use bkl::session::{Credentials, Session, SessionError};
use bkl::store::{Options, Snapshot, Store};
use libtest_mimic::Trial;
use serde_json::Value;

use crate::images::{OCI_MANIFEST, TestImage, gzip, tar};
use fake::{Fake, Fault, Tokens};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        crate::trial("registry::pulls_by_tag_and_digest", pulls_by_tag_and_digest),
        crate::trial("registry::pinned_image_needs_no_network", pinned_image_needs_no_network),
        crate::trial("registry::shared_layers_are_pulled_once", shared_layers_are_pulled_once),
        crate::trial("registry::platforms", platforms),
        crate::trial("registry::survives_passing_faults", survives_passing_faults),
        crate::trial("registry::resumes_where_it_broke_off", resumes_where_it_broke_off),
        crate::trial("registry::refuses_damaged_content", refuses_damaged_content),
        crate::trial("registry::refuses_confusing_manifests", refuses_confusing_manifests),
        crate::trial("registry::heals_a_blob_damaged_on_disk", heals_a_blob_damaged_on_disk),
        crate::trial("registry::tokens", tokens),
        crate::trial("registry::credentials_stay_with_their_host", credentials_stay_with_their_host),
        crate::trial("registry::cancel_stops_a_pull", cancel_stops_a_pull),
        crate::trial("registry::layouts", layouts),
        crate::trial("registry::sources", sources),
    ];
    trials.extend(authority::trials());
    trials.extend(served::trials());
    trials
}

/// A store, a client, and a runtime to wait on.
pub(crate) struct Puller {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) registry: Registry,
    runtime: tokio::runtime::Runtime,
}

/// `me:secret` at every registry, or nobody; layouts by their path.
struct TestSession(bool);

impl Session for TestSession {
    fn local_dir(&self, _name: &str) -> Option<std::path::PathBuf> {
        None
    }

    fn oci_layout(&self, store: &str) -> Option<std::path::PathBuf> {
        Some(store.into())
    }

    fn credentials(&self, _registry: &str) -> Result<Option<Credentials>, SessionError> {
        let login = Credentials::Basic { user: "me".to_owned(), password: "secret".to_owned() };
        Ok(Some(login).filter(|_| self.0))
    }
}

impl Puller {
    pub(crate) fn new() -> Puller {
        Puller::of(TestSession(false))
    }

    pub(crate) fn logged_in() -> Puller {
        Puller::of(TestSession(true))
    }

    pub(crate) fn of(session: impl Session + 'static) -> Puller {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store"), &Options::default()).unwrap();
        let retry = RetryPolicy {
            max_attempts: 4,
            first_delay: Duration::from_millis(5),
            max_delay: Duration::from_millis(20),
            max_retry_after: Duration::from_millis(50),
            budget: Duration::from_secs(20),
        };
        let idle_timeout = Duration::from_millis(300);
        let options = RegistryOptions { retry, idle_timeout, ..RegistryOptions::default() };
        let registry = Registry::new(Arc::new(session), options);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Puller { dir, store, registry, runtime }
    }

    pub(crate) fn resolve(&self, reference: &str, platform: &str) -> Result<ResolvedImage, ImageError> {
        self.resolve_mode(reference, platform, ResolveMode::Default)
    }

    fn resolve_mode(
        &self,
        reference: &str,
        platform: &str,
        mode: ResolveMode,
    ) -> Result<ResolvedImage, ImageError> {
        let reference: ImageRef = reference.parse().unwrap();
        let platform: Platform = platform.parse().unwrap();
        self.runtime.block_on(resolve_image(&self.registry, &self.store, &reference, &platform, mode))
    }

    pub(crate) fn resolve_layout(&self, dir: &Path, name: &str) -> Result<ResolvedImage, ImageError> {
        let platform: Platform = "linux/amd64".parse().unwrap();
        self.runtime.block_on(resolve_layout(&Layout::new(dir, name), &self.store, &platform))
    }

    pub(crate) fn pull(&self, image: &ResolvedImage) -> Result<Snapshot, ImageError> {
        self.runtime.block_on(pull(image, &self.store, &Cancel::new(), Arc::new(|_| {})))
    }

    pub(crate) fn get(&self, reference: &str) -> Result<Snapshot, ImageError> {
        self.pull(&self.resolve(reference, "linux/amd64")?)
    }

    /// A file's text in a tree.
    pub(crate) fn read(&self, tree: &Snapshot, path: &str) -> String {
        use std::os::fd::AsRawFd as _;
        let view = self.store.view(tree).unwrap();
        let path = format!("/proc/self/fd/{}/{path}", view.as_raw_fd());
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Nothing that is not finished is left: no blob half-written, no directory half-unpacked.
    fn is_clean(&self) -> bool {
        let list = |dir: &Path| -> Vec<_> {
            std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
        };
        let root = self.store.root();
        let owners = list(&root.join("staging")).into_iter().filter(|path| path.is_dir());
        let unfinished = owners.flat_map(|owner| list(&owner)).filter(|path| path.is_dir());
        list(&root.join("ingest")).is_empty() && unfinished.count() == 0
    }
}

/// Two layers, the upper one replacing a file of the lower one.
fn sample() -> TestImage {
    TestImage::new(
        "linux/amd64",
        &[&[("etc/name", "lower"), ("etc/keep", "kept")], &[("etc/name", "upper"), ("bin/tool", "#!")]],
    )
}

fn message<T>(result: Result<T, ImageError>) -> String {
    let error = result.err().expect("this must fail");
    match error.help() {
        Some(help) => format!("{error}; {help}"),
        None => error.to_string(),
    }
}

fn pulls_by_tag_and_digest() {
    let (fake, image, puller) = (Fake::start(), sample(), Puller::new());
    fake.push("v1", &image);
    let resolved = puller.resolve(&fake.reference("x:v1"), "linux/amd64").unwrap();
    assert_eq!((resolved.root_digest, resolved.config_digest), (image.root, image.config));
    assert_eq!(resolved.config_json()["config"]["Cmd"][0], "/bin/sh");
    assert_eq!(resolved.layers[1].created_by, "layer 1");
    let tree = puller.pull(&resolved).unwrap();
    assert_eq!(puller.read(&tree, "etc/name"), "upper");
    assert_eq!(puller.read(&tree, "etc/keep"), "kept");
    let by_digest = puller.get(&fake.reference(&format!("x@{}", image.root))).unwrap();
    assert_eq!(by_digest, tree);
    assert!(puller.is_clean());
    let missing = message(puller.resolve(&fake.reference("x:v2"), "linux/amd64"));
    let address = &fake.address;
    assert_eq!(
        missing,
        format!("`{address}` has no image `{address}/x:v2`; check the name, the tag and the digest")
    );
}

fn pinned_image_needs_no_network() {
    let (fake, image, puller) = (Fake::start(), sample(), Puller::new());
    fake.push("v1", &image);
    puller.get(&fake.reference("x:v1")).unwrap();
    let n_asked = fake.asked("").len();
    let pinned = fake.reference(&format!("x:v1@{}", image.root));
    puller.get(&pinned).unwrap();
    let local = puller.resolve_mode(&fake.reference("x:v1"), "linux/amd64", ResolveMode::Local).unwrap();
    assert_eq!(local.root_digest, image.root);
    assert_eq!(fake.asked("").len(), n_asked, "the store has all of it");
    puller.resolve(&fake.reference("x:v1"), "linux/amd64").unwrap();
    assert_eq!(fake.asked("").len(), n_asked + 1, "a tag is asked for again");
}

fn shared_layers_are_pulled_once() {
    let (fake, puller) = (Fake::start(), Puller::new());
    let lower: &[(&str, &str)] = &[("base", "base")];
    let one = TestImage::new("linux/amd64", &[lower, &[("one", "1")]]);
    let two = TestImage::new("linux/amd64", &[lower, &[("two", "2")]]);
    fake.push("one", &one);
    fake.push("two", &two);
    let first = puller.get(&fake.reference("x:one")).unwrap();
    let second = puller.get(&fake.reference("x:two")).unwrap();
    assert_eq!(first.layers()[0], second.layers()[0]);
    assert_eq!(fake.asked(&one.layers[0].to_string()).len(), 1);
    assert_eq!(puller.read(&second, "base"), "base");
}

fn platforms() {
    let (fake, puller) = (Fake::start(), Puller::new());
    let image = |platform: &str| TestImage::new(platform, &[&[("platform", platform)]]);
    let index = TestImage::index(&[image("linux/arm/v6"), image("linux/arm64"), image("linux/amd64")]);
    let nested = TestImage { platform: String::new(), ..index.clone() };
    fake.push("nested", &TestImage::index(&[nested]));
    fake.push("flat", &index);
    let nested = puller.resolve(&fake.reference("x:nested"), "linux/amd64").unwrap();
    assert_eq!(nested.platform.to_string(), "linux/amd64");
    let reference = fake.reference("x:flat");
    for (wanted, found) in
        [("linux/amd64", "linux/amd64"), ("linux/arm/v7", "linux/arm/v6"), ("linux/arm64", "linux/arm64")]
    {
        let resolved = puller.resolve(&reference, wanted).unwrap();
        assert_eq!(resolved.platform.to_string(), found);
        assert_eq!(resolved.root_digest, index.root);
        assert_eq!(puller.read(&puller.pull(&resolved).unwrap(), "platform"), found);
    }
    assert_eq!(
        message(puller.resolve(&reference, "linux/riscv64")),
        format!(
            "`{reference}` has no image for linux/riscv64; it has linux/arm/v6, linux/arm64, linux/amd64"
        )
    );
}

fn survives_passing_faults() {
    let image = sample();
    let layer = image.layers[0].to_string();
    let faults: &[(&str, &str, Fault)] = &[
        ("500", "/manifests/", Fault::Status(500, "")),
        ("429", "/manifests/", Fault::Status(429, "Retry-After: 0\r\n")),
        ("429 long", "/manifests/", Fault::Status(429, "Retry-After: 3600\r\n")),
        ("reset", "/manifests/", Fault::Reset),
        ("truncated manifest", "/manifests/", Fault::Truncate(50)),
        ("flipped manifest", &image.root.to_string(), Fault::Flip),
        ("503 layer", &layer, Fault::Status(503, "")),
        ("reset layer", &layer, Fault::Reset),
        ("truncated layer", &layer, Fault::Truncate(50)),
        ("empty layer", &layer, Fault::Truncate(0)),
        ("stalled layer", &layer, Fault::Stall),
        ("flipped layer", &layer, Fault::Flip),
        ("longer layer", &layer, Fault::Body(vec![0; 10_000])),
        ("shorter layer", &layer, Fault::Body(vec![0; 10])),
        ("flipped config", &image.config.to_string(), Fault::Flip),
    ];
    for (name, part, fault) in faults {
        let (fake, puller) = (Fake::start(), Puller::new());
        fake.push("v1", &image);
        for _ in 0..2 {
            fake.fault(part, fault.clone());
        }
        let tree = puller
            .get(&fake.reference(&format!("x:v1@{}", image.root)))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(puller.read(&tree, "etc/name"), "upper", "{name}");
        assert!(puller.is_clean(), "{name}");
    }
}

fn resumes_where_it_broke_off() {
    let (fake, puller) = (Fake::start(), Puller::new());
    let noise: String = (0..60_000_u32).map(|n| format!("{:x}", n.wrapping_mul(2_654_435_761))).collect();
    let image = TestImage::new("linux/amd64", &[&[("noise", &noise)]]);
    fake.push("v1", &image);
    let layer = image.layers[0].to_string();
    // More breaks than tries: each one gained something.
    for cut in [1000, 2000, 3000, 4000, 5000] {
        fake.fault(&layer, Fault::Truncate(cut));
    }
    let tree = puller.get(&fake.reference("x:v1")).unwrap();
    assert_eq!(puller.read(&tree, "noise"), noise);
    let starts: Vec<Option<String>> =
        fake.asked(&layer).iter().map(|asked| asked.headers.get("range").cloned()).collect();
    assert_eq!(starts[0], None);
    assert_eq!(starts[1].as_deref(), Some("bytes=1000-"));
    assert_eq!(starts[5].as_deref(), Some("bytes=15000-"));

    // A registry without ranges sends all of it again.
    let puller = Puller::new();
    fake.fault(&layer, Fault::Truncate(1000));
    fake.fault(&layer, Fault::NoRange);
    assert_eq!(puller.read(&puller.get(&fake.reference("x:v1")).unwrap(), "noise"), noise);
}

fn refuses_damaged_content() {
    let image = sample();
    let (fake, puller) = (Fake::start(), Puller::new());
    fake.push("v1", &image);
    let (reference, address) = (fake.reference("x:v1"), fake.address.clone());
    let layer = image.layers[1];
    let mut bytes = image.blobs[&layer].clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let found = Digest::of(&bytes);
    fake.damage(&layer, bytes);
    assert_eq!(
        message(puller.get(&reference)),
        format!(
            "layer `{layer}` of `{reference}` is damaged: its digest is {found}; nothing was kept; the copy at \
             `{address}` must be replaced, by pushing the image again, say"
        )
    );
    assert!(puller.is_clean());
    let size = image.blobs[&layer].len();
    fake.damage(&layer, image.blobs[&layer][..size - 7].to_vec());
    let short = message(puller.get(&reference));
    assert!(short.contains(&format!("it ended after {} of {size} bytes", size - 7)), "{short}");

    // Layers that are what they are called, but not what the config says.
    let other = TestImage::of_tars("linux/amd64", &[b"no tar at all".to_vec()]);
    fake.push("garbage", &other);
    let garbage = message(puller.get(&fake.reference("x:garbage")));
    assert!(garbage.contains(&format!("cannot unpack layer `{}`", other.layers[0])), "{garbage}");
    let mut swapped = sample();
    let text = String::from_utf8(swapped.blobs[&swapped.root].clone()).unwrap();
    let upper = gzip(&tar(&[("other", "file")]));
    let manifest = text
        .replace(&swapped.layers[1].to_string(), &Digest::of(&upper).to_string())
        .replace(&format!("\"size\":{size}"), &format!("\"size\":{}", upper.len()));
    swapped.blobs.insert(Digest::of(&upper), upper);
    swapped.root = Digest::of(&manifest);
    swapped.blobs.insert(swapped.root, manifest.into_bytes());
    fake.push("swapped", &swapped);
    let error = message(puller.get(&fake.reference("x:swapped")));
    assert!(error.contains("cannot unpack layer") && error.contains("expected"), "{error}");
    assert!(puller.is_clean());

    // The next build works.
    fake.push("v1", &image);
    assert_eq!(puller.read(&puller.get(&reference).unwrap(), "etc/name"), "upper");
}

fn refuses_confusing_manifests() {
    let (fake, image) = (Fake::start(), sample());
    fake.push("v1", &image);
    let check = |fault: Fault, expected: &str| {
        let puller = Puller::new();
        fake.fault("/manifests/", fault);
        let found = message(puller.resolve(&fake.reference("x:v1"), "linux/amd64"));
        assert!(found.contains(expected), "{found}");
    };
    check(Fault::ContentType("text/html"), "`Content-Type` says `text/html`, but `mediaType` says");
    check(
        Fault::ContentType("application/vnd.oci.image.index.v1+json"),
        "`Content-Type` says `application/vnd.oci.image.index.v1+json`",
    );
    let text = String::from_utf8(image.blobs[&image.root].clone()).unwrap();
    let both = text.replacen('{', "{\"manifests\":[],", 1);
    check(Fault::Body(both.into_bytes()), "it has both `layers` and `manifests`");
    check(Fault::Body(b"<html>".to_vec()), "it is not valid: expected value");
    check(Fault::Body(vec![b' '; 5 << 20]), "more than the 4194304 allowed");
    let typed = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}"}}"#);
    check(Fault::Body(typed.into_bytes()), "it has no `config`");
}

fn heals_a_blob_damaged_on_disk() {
    let (fake, image, puller) = (Fake::start(), sample(), Puller::new());
    fake.push("v1", &image);
    let resolved = puller.resolve(&fake.reference("x:v1"), "linux/amd64").unwrap();
    // What a disk may do to a blob that was fetched and is whole by its size.
    let content = puller.store.content();
    let layer = image.layers[0];
    content.put(&image.blobs[&layer]).unwrap();
    let mut bytes = image.blobs[&layer].clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(content.path(&layer), bytes).unwrap();
    let tree = puller.pull(&resolved).unwrap();
    assert_eq!(puller.read(&tree, "etc/keep"), "kept");
    assert_eq!(content.read(&layer).unwrap(), image.blobs[&layer]);
}

fn tokens() {
    let (fake, image) = (Fake::start(), sample());
    fake.push("v1", &image);
    fake.require(Tokens { uses: 2 });
    let puller = Puller::logged_in();
    let tree = puller.get(&fake.reference("x:v1")).unwrap();
    assert_eq!(puller.read(&tree, "etc/name"), "upper");
    let asked = fake.asked("/token");
    assert!(2 <= asked.len(), "tokens run out and are renewed");
    assert_eq!(asked[0].path, "/token?service=fake&scope=repository%3Ax%3Apull");
    let denied = message(Puller::new().get(&fake.reference("x:v1")));
    assert!(denied.contains("does not allow image") && denied.contains("without credentials"), "{denied}");
    assert!(denied.contains(&format!("`docker login {}`", fake.address)), "{denied}");
}

fn credentials_stay_with_their_host() {
    let (fake, elsewhere, image) = (Fake::start(), Fake::start(), sample());
    fake.push("v1", &image);
    elsewhere.push("v1", &image);
    fake.require(Tokens { uses: 100 });
    let layer = image.layers[0].to_string();
    let location = format!("Location: http://{}/v2/x/blobs/{layer}?sig=1\r\n", elsewhere.address);
    fake.fault(&layer, Fault::Status(307, location.leak()));
    let puller = Puller::logged_in();
    puller.get(&fake.reference("x:v1")).unwrap();
    let followed = elsewhere.asked("");
    assert_eq!(followed.len(), 1, "the redirect was followed");
    assert!(followed.iter().all(|asked| !asked.headers.contains_key("authorization")));
    assert!(fake.asked(&layer).iter().any(|asked| asked.headers.contains_key("authorization")));

    // A token server that is another machine's, and a redirect out of TLS.
    let check = |fault: Fault, expected: &str| {
        let fake = Fake::start();
        fake.push("v1", &image);
        fake.fault("/manifests/", fault);
        let found = message(Puller::logged_in().resolve(&fake.reference("x:v1"), "linux/amd64"));
        assert!(found.contains(expected), "{found}");
    };
    check(
        Fault::Status(401, "WWW-Authenticate: Bearer realm=\"http://192.0.2.1/token\"\r\n"),
        "sends us for a token to `http://192.0.2.1/token`, which is not encrypted",
    );
    check(Fault::Status(302, "Location: http://192.0.2.1/x\r\n"), "redirects to `http://192.0.2.1`");
    check(Fault::Status(302, "Location: file:///etc/shadow\r\n"), "redirects to `file://`");
    let looping = Fake::start();
    for _ in 0..12 {
        looping.fault("/manifests/", Fault::Status(302, "Location: /v2/x/manifests/v1\r\n"));
    }
    let found = message(Puller::new().resolve(&looping.reference("x:v1"), "linux/amd64"));
    assert!(found.contains("redirects more than 10 times"), "{found}");
}

fn cancel_stops_a_pull() {
    let (fake, image, puller) = (Fake::start(), sample(), Puller::new());
    fake.push("v1", &image);
    let resolved = puller.resolve(&fake.reference("x:v1"), "linux/amd64").unwrap();
    let cancel = Cancel::new();
    let switch = cancel.clone();
    let on_progress = Arc::new(move |_| switch.cancel());
    let result = puller.runtime.block_on(pull(&resolved, &puller.store, &cancel, on_progress));
    assert!(matches!(result, Err(ImageError::Cancelled)), "{:?}", result.err());
    assert!(puller.is_clean());
    assert_eq!(puller.read(&puller.pull(&resolved).unwrap(), "etc/name"), "upper");
}

fn layouts() {
    let puller = Puller::new();
    let image = sample();
    let dir = puller.dir.path().join("layout");
    image.write_layout(&dir, "v1");
    for name in ["x:v1", "v1", &format!("x@{}", image.root), ""] {
        let resolved = puller.resolve_layout(&dir, name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(resolved.root_digest, image.root, "{name}");
    }
    let tree = puller.pull(&puller.resolve_layout(&dir, "x:v1").unwrap()).unwrap();
    assert_eq!(puller.read(&tree, "etc/name"), "upper");
    let shown = dir.display();
    assert_eq!(
        message(puller.resolve_layout(&dir, "x:v2")),
        format!("`{shown}` has no image named `x:v2`; it has `v1`")
    );
    // As umoci and skopeo write it: the entry's name is a tag only. A program's `base` comes as `base:latest`.
    let dir = puller.dir.path().join("bare");
    image.write_layout(&dir, "base");
    for name in ["base", "base:latest", "docker.io/library/base:latest"] {
        let resolved = puller.resolve_layout(&dir, name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(resolved.root_digest, image.root, "{name}");
    }
    for (name, said) in [("base:v1", "base:v1"), ("other/base:latest", "other/base"), ("bas:latest", "bas")] {
        let shown = dir.display();
        assert_eq!(
            message(puller.resolve_layout(&dir, name)),
            format!("`{shown}` has no image named `{said}`; it has `base`")
        );
    }
    // Another one has the tag that a bare name was given.
    let other = TestImage::new("linux/amd64", &[&[("etc/name", "another")]]);
    let index = |dir: &Path| -> Value {
        serde_json::from_slice(&std::fs::read(dir.join("index.json")).unwrap()).unwrap()
    };
    let mut both = index(&dir);
    other.write_layout(&dir, "latest");
    both["manifests"].as_array_mut().unwrap().insert(0, index(&dir)["manifests"][0].clone());
    std::fs::write(dir.join("index.json"), both.to_string()).unwrap();
    for (name, root) in [
        ("base", image.root),
        ("base:latest", image.root),
        ("docker.io/library/base:latest", image.root),
        ("latest", other.root),
        ("other/image:latest", other.root),
    ] {
        let resolved = puller.resolve_layout(&dir, name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(resolved.root_digest, root, "{name}");
    }
    let check = |damage: &dyn Fn(&Path), expected: &str| {
        let puller = Puller::new();
        let dir = puller.dir.path().join("layout");
        image.write_layout(&dir, "");
        damage(&dir);
        let found = message(puller.resolve_layout(&dir, "anything").and_then(|image| puller.pull(&image)));
        assert!(found.contains(expected), "{found}");
        assert!(puller.is_clean());
    };
    let blob = |dir: &Path, digest: &Digest| dir.join("blobs/sha256").join(digest.hex());
    check(&|dir| std::fs::remove_dir_all(dir).unwrap(), "is not an OCI layout: there is no such directory");
    check(&|dir| std::fs::remove_file(dir.join("index.json")).unwrap(), "it has no `index.json`");
    check(&|dir| std::fs::write(dir.join("index.json"), "{").unwrap(), "its `index.json` is refused");
    check(
        &|dir| std::fs::remove_file(blob(dir, &image.layers[1])).unwrap(),
        &format!("has no layer `{}`", image.layers[1]),
    );
    check(
        &|dir| std::fs::write(blob(dir, &image.layers[1]), "short").unwrap(),
        &format!("layer `{}`", image.layers[1]),
    );
    check(&|dir| std::fs::write(blob(dir, &image.root), "{}").unwrap(), "is damaged: its digest is");
}

/// The two sources as the solver asks them: keys, attributes, progress.
fn sources() {
    let (fake, image, puller) = (Fake::start(), sample(), Puller::new());
    fake.push("v1", &image);
    let dir = puller.dir.path().join("layout");
    image.write_layout(&dir, "v1");
    let progress = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = progress.clone();
    let ctx = SourceCtx {
        store: Arc::new(puller.store.clone()),
        session: Arc::new(TestSession(false)),
        cancel: Cancel::new(),
        progress: Arc::new(move |it| seen.lock().unwrap().push((it.id, it.current, it.total))),
    };
    let platform: Platform = "linux/amd64".parse().unwrap();
    let ask = |source: &dyn Source, identifier: &str, attrs: &[(&str, &str)]| {
        let attrs = attrs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let op = SourceOp { identifier: identifier.to_owned(), attrs };
        assert!(source.schemes().contains(&op.scheme()));
        puller.runtime.block_on(source.resolve(&ctx, &op, Some(&platform))).map_err(|error| error.to_string())
    };
    let images = ImageSource::new(RegistryOptions::default());
    let reference = format!("docker-image://{}", fake.reference("x:v1"));
    let store = dir.to_str().unwrap();
    let pulled = ask(&images, &reference, &[(attr::IMAGE_CHECKSUM, &image.root.to_string())]).unwrap();
    let laid_out = ask(&OciLayoutSource, "oci-layout://x:v1", &[(attr::OCI_STORE, store)]).unwrap();
    assert_eq!(pulled.key(), laid_out.key(), "equal layers are one result, wherever they come from");
    let tree = puller.runtime.block_on(pulled.fetch(&ctx)).unwrap();
    assert_eq!(puller.runtime.block_on(laid_out.fetch(&ctx)).unwrap(), tree);
    let progress = progress.lock().unwrap().clone();
    for layer in &image.layers {
        let size = image.blobs[layer].len() as u64;
        assert!(progress.contains(&(layer.short(), size, Some(size))), "{progress:?}");
    }
    let limited = ask(&images, &reference, &[(attr::IMAGE_LAYER_LIMIT, "1")]).unwrap();
    assert_ne!(limited.key(), pulled.key());
    assert_eq!(puller.runtime.block_on(limited.fetch(&ctx)).unwrap().layers()[..], tree.layers()[..1]);

    let wrong = Digest::of("another").to_string();
    let check = |source: &dyn Source, identifier: &str, attrs: &[(&str, &str)], expected: &str| {
        let found = ask(source, identifier, attrs).err().expect("this must fail");
        assert!(found.contains(expected), "{found}");
    };
    check(&images, &reference, &[(attr::IMAGE_CHECKSUM, &wrong)], &format!("is {}, not {wrong}", image.root));
    check(&images, &reference, &[(attr::IMAGE_RESOLVE_MODE, "never")], "`never` is no resolve mode");
    check(&images, "docker-image://UPPER", &[], "`docker-image://UPPER` is not a source: ");
    // Without asking anybody.
    let nowhere = "docker-image://127.0.0.1:1/x:v1";
    for text in ["x", "0", "-1", "99999999999999999999"] {
        let expected = format!("`{text}` is no number of layers");
        check(&images, nowhere, &[(attr::IMAGE_LAYER_LIMIT, text)], &expected);
        let limit = [(attr::OCI_STORE, store), (attr::OCI_LAYER_LIMIT, text)];
        check(&OciLayoutSource, "oci-layout://none:v1", &limit, &expected);
    }
    check(&images, nowhere, &[(attr::IMAGE_CHECKSUM, "md5:x")], "`md5:x`");
    check(&images, &reference, &[(attr::IMAGE_RECORD_TYPE, "x")], "`x` is no type of record");
    ask(&images, &reference, &[(attr::IMAGE_RECORD_TYPE, "internal"), (attr::IMAGE_RESOLVE_MODE, "local")])
        .unwrap();
    let one = [(attr::OCI_STORE, store), (attr::OCI_LAYER_LIMIT, "1")];
    let limited_layout = ask(&OciLayoutSource, "oci-layout://x:v1", &one).unwrap();
    assert_eq!(limited_layout.key(), limited.key());
    // BuildKit asks for a digest; here a name that the layout has will do, too.
    let pinned = format!("oci-layout://x@{}", image.root);
    assert_eq!(ask(&OciLayoutSource, &pinned, &[(attr::OCI_STORE, store)]).unwrap().key(), pulled.key());
    let nobody = SourceCtx { session: Arc::new(bkl::session::NoSession), ..ctx.clone() };
    let op = SourceOp { identifier: "oci-layout://team/x:v1".to_owned(), ..SourceOp::default() };
    let refused = puller.runtime.block_on(OciLayoutSource.resolve(&nobody, &op, None)).err().unwrap();
    assert!(refused.to_string().contains("provides no OCI layout named `team/x`"), "{refused}");
    check(&OciLayoutSource, "oci-layout://x:v2", &[(attr::OCI_STORE, store)], "has no image named `x:v2`");
}
