//! What of a source is in its key: every attribute, or it is on a list of those that may not be (security.md, S7.1), as with
//! the fields of ops (`graph::llb::key`).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use bkl::base::Digest;
use bkl::engine::cancel::Cancel;
use bkl::engine::registry::RegistryOptions;
use bkl::engine::source::blob::BlobSource;
use bkl::engine::source::git::GitSource;
use bkl::engine::source::http::HttpSource;
use bkl::engine::source::image::ImageSource;
use bkl::engine::source::local::LocalSource;
use bkl::engine::source::oci_layout::OciLayoutSource;
use bkl::engine::source::{Source, SourceCtx};
use bkl::graph::ir::{SourceOp, attr};
use bkl::store::{Options, Store};
use libtest_mimic::Trial;
use tempfile::TempDir;

use super::signatures::Keys;
use super::{Bench, Given};
use crate::images::{TestImage, has_tools};
use crate::registry::fake::Fake;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        crate::trial("sources::keys::every_attribute_is_in_the_key", every_attribute_is_in_the_key),
        crate::trial("sources::keys::who_signed_is_in_no_key", who_signed_is_in_no_key)
            .with_ignored_flag(!has_tools(&["git", "gpg", "gpgv"])),
    ]
}

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const SUM: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A name for it here, an identifier, and attributes.
type Described<'a> = (&'static str, String, Vec<(&'static str, &'a str)>);

/// Identifiers with attributes that mean something, so that each can be changed alone.
fn sources<'a>(image: &'a Image) -> Vec<Described<'a>> {
    vec![
        (
            "local",
            "local://ctx".into(),
            vec![
                (attr::LOCAL_INCLUDE, r#"["a","b","c"]"#),
                (attr::LOCAL_EXCLUDE, r#"["b"]"#),
                (attr::LOCAL_FOLLOW, r#"["link"]"#),
                (attr::LOCAL_DIFFER, "metadata"),
                (attr::LOCAL_SHARED_KEY_HINT, "hint"),
                (attr::LOCAL_SESSION, "session"),
                (attr::LOCAL_UNIQUE, "unique"),
            ],
        ),
        (
            "list",
            "local://ctx".into(),
            vec![(attr::LOCAL_METADATA_TRANSFER, "true"), (attr::LOCAL_METADATA_EXCLUDE, r#"["a"]"#)],
        ),
        (
            "oci",
            "oci-layout://store:one".into(),
            vec![(attr::OCI_STORE, "store"), (attr::OCI_SESSION, "session"), (attr::OCI_LAYER_LIMIT, "1")],
        ),
        (
            "http",
            "https://invalid.invalid/file".into(),
            vec![
                (attr::HTTP_CHECKSUM, SUM),
                (attr::HTTP_FILENAME, "name"),
                (attr::HTTP_PERM, "0644"),
                (attr::HTTP_UID, "1"),
                (attr::HTTP_GID, "1"),
                (attr::HTTP_AUTH_HEADER_SECRET, "token"),
                (attr::HTTP_HEADER_ACCEPT, "text/plain"),
                (attr::HTTP_HEADER_USER_AGENT, "agent"),
            ],
        ),
        (
            "git",
            format!("git://invalid.invalid/repo#{COMMIT}"),
            vec![
                (attr::GIT_FULL_URL, "https://invalid.invalid/repo"),
                (attr::GIT_KEEP_GIT_DIR, "true"),
                (attr::GIT_SKIP_SUBMODULES, "true"),
                (attr::GIT_FETCH_BY_COMMIT, "true"),
                (attr::GIT_AUTH_TOKEN_SECRET, "token"),
                (attr::GIT_AUTH_HEADER_SECRET, "token"),
                (attr::GIT_KNOWN_SSH_HOSTS, "host key"),
                (attr::GIT_MOUNT_SSH_SOCK, "default"),
                (attr::GIT_CHECKSUM, COMMIT),
                (attr::GIT_MTIME, "commit"),
            ],
        ),
        ("bundle", format!("git://invalid.invalid/repo#{COMMIT}"), vec![(attr::GIT_CHECKOUT_BUNDLE, "true")]),
        (
            "bundled",
            format!("git://invalid.invalid/repo#{COMMIT}"),
            vec![(attr::GIT_CHECKSUM, COMMIT), (attr::GIT_BUNDLE, BUNDLES[0])],
        ),
        (
            "image",
            format!("docker-image://{}", image.reference),
            vec![
                (attr::IMAGE_RESOLVE_MODE, "pull"),
                (attr::IMAGE_RECORD_TYPE, "internal"),
                (attr::IMAGE_LAYER_LIMIT, "1"),
                (attr::IMAGE_CHECKSUM, &image.root),
            ],
        ),
    ]
}

const BUNDLES: [&str; 2] = [
    "docker-image+blob://invalid.invalid/repo@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "docker-image+blob://invalid.invalid/repo@sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
];

/// What may change without the key, with why.
const FREE: &[(&str, &str)] = &[
    // Who fetches it, how, and whom we trust to be asked: a commit is what it is wherever it comes from.
    ("git", attr::GIT_AUTH_HEADER_SECRET),
    ("git", attr::GIT_AUTH_TOKEN_SECRET),
    ("git", attr::GIT_FETCH_BY_COMMIT),
    ("git", attr::GIT_FULL_URL),
    ("git", attr::GIT_KNOWN_SSH_HOSTS),
    ("git", attr::GIT_MOUNT_SSH_SOCK),
    // A commit that is asked for by its own name is checked by it: with another sum it is refused.
    ("git", attr::GIT_CHECKSUM),
    // It brings the commit, which is checked; without the whole commit's id it is refused.
    ("bundled", attr::GIT_BUNDLE),
    ("bundled", attr::GIT_CHECKSUM),
    // Where and when an image is looked up, and when it may be removed; with another sum it is refused.
    ("image", attr::IMAGE_CHECKSUM),
    ("image", attr::IMAGE_RECORD_TYPE),
    ("image", attr::IMAGE_RESOLVE_MODE),
    // How a directory is looked at, and by whom; what was seen is the key.
    ("local", attr::LOCAL_DIFFER),
    ("local", attr::LOCAL_SESSION),
    ("local", attr::LOCAL_SHARED_KEY_HINT),
    ("local", attr::LOCAL_UNIQUE),
    // Where an image lies; its layers are the key.
    ("oci", attr::OCI_SESSION),
    ("oci", attr::OCI_STORE),
];

/// Who signed what. It is verified whenever the source is resolved, so before a result is looked for.
const SIGNED: &[(&str, &str)] = &[
    ("commit", attr::GIT_SIG_IGNORE_SIGNED_TAG),
    ("commit", attr::GIT_SIG_PUBKEY),
    ("commit", attr::GIT_SIG_REJECT_EXPIRED),
    ("file", attr::HTTP_SIG_PUBKEY),
    ("file", attr::HTTP_SIG_SIGNATURE),
    ("tag", attr::GIT_SIG_PUBKEY),
    ("tag", attr::GIT_SIG_REJECT_EXPIRED),
    ("tag", attr::GIT_SIG_REQUIRE_SIGNED_TAG),
];

/// What else could stand there; some of it is refused.
fn others(value: &str) -> Vec<Option<String>> {
    let words = [
        "true",
        "false",
        "0",
        "2",
        "0600",
        "checkout",
        "content",
        "none",
        "other",
        r#"["b"]"#,
        r#"["a"]"#,
        "89abcdef0123456789abcdef0123456701234567",
        "default",
        "frontend",
        "regular",
        BUNDLES[1],
        "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ];
    let other = words.into_iter().filter(|it| *it != value).map(|it| Some(it.to_owned()));
    std::iter::once(None).chain(other).collect()
}

struct Asked {
    ctx: SourceCtx,
    sources: Vec<Box<dyn Source>>,
    runtime: tokio::runtime::Runtime,
    image: Image,
    _dir: TempDir,
}

/// An image in a registry.
struct Image {
    reference: String,
    root: String,
    _registry: Fake,
}

impl Asked {
    fn new() -> Asked {
        let dir = TempDir::new_in("/var/tmp").unwrap();
        let ctx = dir.path().join("ctx");
        fs::create_dir(&ctx).unwrap();
        for name in ["a", "b", "c", "d"] {
            fs::write(ctx.join(name), name).unwrap();
        }
        std::os::unix::fs::symlink("d", ctx.join("link")).unwrap();
        let image = TestImage::new("linux/amd64", &[&[("one", "1")], &[("two", "2")], &[("three", "3")]]);
        let registry = Fake::start();
        registry.push("one", &image);
        let served = Image {
            reference: registry.reference("repo:one"),
            root: image.root.to_string(),
            _registry: registry,
        };
        let layout = dir.path().join("layout");
        image.write_layout(&layout, "one");
        let mut given = Given::default();
        given.dirs.insert("ctx".into(), ctx);
        for name in ["store", "other"] {
            given.layouts.insert(name.into(), layout.clone());
        }
        let store = Arc::new(Store::open(&dir.path().join("kept"), &Options::default()).unwrap());
        let images = Arc::new(ImageSource::new(RegistryOptions::default()));
        let sources: Vec<Box<dyn Source>> = vec![
            Box::new(LocalSource),
            Box::new(OciLayoutSource),
            Box::new(HttpSource::new(RegistryOptions::default())),
            Box::new(GitSource::new(BlobSource::new(images))),
            Box::new(ImageSource::new(RegistryOptions::default())),
        ];
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (session, progress) = (Arc::new(given), Arc::new(|_| {}));
        Asked {
            ctx: SourceCtx { store, session, cancel: Cancel::new(), progress },
            sources,
            runtime,
            image: served,
            _dir: dir,
        }
    }

    /// The key of a source; `None` when it is refused.
    fn key(&self, identifier: &str, attrs: &BTreeMap<String, String>) -> Option<Digest> {
        let op = SourceOp { identifier: identifier.to_owned(), attrs: attrs.clone() };
        let source = self.sources.iter().find(|it| it.schemes().contains(&op.scheme())).unwrap();
        let platform = "linux/amd64".parse().unwrap();
        let answer = self.runtime.block_on(source.resolve(&self.ctx, &op, Some(&platform)));
        answer.ok().map(|it| it.key())
    }
}

/// Which of the attributes change no key, and all that there are. Each is changed to all that `others` says, and to `more`.
fn free(
    asked: &Asked,
    sources: &[Described<'_>],
    fixed: &[(&str, &str)],
    more: &[&str],
) -> (Vec<(&'static str, &'static str)>, Vec<&'static str>) {
    let (mut free, mut known) = (Vec::new(), Vec::new());
    for (name, identifier, attrs) in sources {
        let whole: BTreeMap<String, String> =
            fixed.iter().chain(attrs).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let before = asked.key(identifier, &whole).unwrap_or_else(|| panic!("{name} is refused"));
        assert_eq!(asked.key(identifier, &whole), Some(before), "{name}");
        for (key, value) in attrs {
            known.push(*key);
            let more = more.iter().map(|it| Some((*it).to_owned()));
            let changed = others(value).into_iter().chain(more).filter_map(|other| {
                let mut attrs = whole.clone();
                match other {
                    Some(other) => attrs.insert((*key).to_owned(), other),
                    None => attrs.remove(*key),
                };
                // Without its sum a file would have to be fetched.
                if *key == attr::HTTP_CHECKSUM && !attrs.contains_key(*key) {
                    None
                } else {
                    asked.key(identifier, &attrs)
                }
            });
            if changed.into_iter().all(|it| it == before) {
                free.push((*name, *key));
            }
        }
    }
    free.sort_unstable();
    (free, known)
}

fn every_attribute_is_in_the_key() {
    let asked = Asked::new();
    let (free, known) = free(&asked, &sources(&asked.image), &[], &[]);
    let mut allowed = FREE.to_vec();
    allowed.sort_unstable();
    assert_eq!(free, allowed);
    // All that there are.
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/graph/ir/op/source.rs")).unwrap();
    let constants = text.lines().filter_map(|it| it.trim().strip_prefix("pub const ")?.split('"').nth(1));
    let is_signed = |key: &str| SIGNED.iter().any(|(_, it)| *it == key);
    let missing: Vec<&str> = constants.filter(|it| !known.contains(it) && !is_signed(it)).collect();
    assert_eq!(missing, [""; 0]);
}

/// What is signed is what its digest says. A policy that does not hold is no key at all, also for what was fetched before.
fn who_signed_is_in_no_key() {
    let (asked, bench, keys) = (Asked::new(), Bench::new(), Keys::new());
    let (mine, others) =
        (keys.key("mine", &[], "ed25519", "never"), keys.key("others", &[], "ed25519", "never"));
    let both = format!("{mine}{others}");
    let file = bench.www().join("tool");
    fs::write(&file, "tool").unwrap();
    let (by_mine, by_others) = (keys.sign("mine", &[], &file), keys.sign("others", &[], &file));
    keys.signed_repository(&bench, "mine");
    let (url, sum) = (bench.url("git/app.git"), Digest::of("tool").to_string());
    let git = |tag: &str| format!("git://{}#{tag}", url.split_once("://").unwrap().1);
    let files: [Described<'_>; 1] = [(
        "file",
        bench.url("plain/tool"),
        vec![(attr::HTTP_SIG_PUBKEY, both.as_str()), (attr::HTTP_SIG_SIGNATURE, by_mine.as_str())],
    )];
    let repositories: [Described<'_>; 2] = [
        (
            "tag",
            git("v2"),
            vec![
                (attr::GIT_SIG_PUBKEY, both.as_str()),
                (attr::GIT_SIG_REJECT_EXPIRED, "true"),
                (attr::GIT_SIG_REQUIRE_SIGNED_TAG, "true"),
            ],
        ),
        (
            "commit",
            git("v1"),
            vec![
                (attr::GIT_SIG_PUBKEY, both.as_str()),
                (attr::GIT_SIG_REJECT_EXPIRED, "true"),
                (attr::GIT_SIG_IGNORE_SIGNED_TAG, "true"),
            ],
        ),
    ];
    let more = [mine.as_str(), by_others.as_str()];
    let (mut found, _) = free(&asked, &files, &[(attr::HTTP_CHECKSUM, sum.as_str())], &more);
    found.extend(free(&asked, &repositories, &[(attr::GIT_FULL_URL, url.as_str())], &more).0);
    found.sort_unstable();
    assert_eq!(found, SIGNED);
    for (sources, fixed, key) in [
        (&files[..], (attr::HTTP_CHECKSUM, sum.as_str()), attr::HTTP_SIG_PUBKEY),
        (&repositories[..], (attr::GIT_FULL_URL, url.as_str()), attr::GIT_SIG_PUBKEY),
    ] {
        for (name, identifier, attrs) in sources {
            let with = |value: &str| {
                let all = [fixed].into_iter().chain(attrs.iter().copied());
                let mut all: BTreeMap<String, String> =
                    all.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
                all.insert(key.to_owned(), value.to_owned());
                asked.key(identifier, &all)
            };
            assert!(with(&mine).is_some() && with(&others).is_none(), "{name}");
        }
    }
}
