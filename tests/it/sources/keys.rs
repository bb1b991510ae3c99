//! What of a source is in its key: every attribute, or it is on a list of those that may not be (security.md, S7.1), as with
//! the fields of ops (`graph::llb::key`). Asked of sources that nobody has to be connected to for an answer.

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

use super::Given;
use crate::images::TestImage;

pub(super) fn trials() -> Vec<Trial> {
    vec![crate::trial("sources::keys::every_attribute_is_in_the_key", every_attribute_is_in_the_key)]
}

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const SUM: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A name for it here, an identifier, and attributes.
type Described = (&'static str, String, Vec<(&'static str, &'static str)>);

/// Identifiers with attributes that mean something, so that each can be changed alone.
fn sources() -> Vec<Described> {
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
    ]
}

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
    // How a directory is looked at, and by whom; what was seen is the key.
    ("local", attr::LOCAL_DIFFER),
    ("local", attr::LOCAL_SESSION),
    ("local", attr::LOCAL_SHARED_KEY_HINT),
    ("local", attr::LOCAL_UNIQUE),
    // Where an image lies; its layers are the key.
    ("oci", attr::OCI_SESSION),
    ("oci", attr::OCI_STORE),
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
        "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ];
    let other = words.into_iter().filter(|it| *it != value).map(|it| Some(it.to_owned()));
    std::iter::once(None).chain(other).collect()
}

struct Asked {
    ctx: SourceCtx,
    sources: Vec<Box<dyn Source>>,
    runtime: tokio::runtime::Runtime,
    _dir: TempDir,
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
        ];
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (session, progress) = (Arc::new(given), Arc::new(|_| {}));
        Asked {
            ctx: SourceCtx { store, session, cancel: Cancel::new(), progress },
            sources,
            runtime,
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

fn every_attribute_is_in_the_key() {
    let asked = Asked::new();
    let (mut free, mut known) = (Vec::new(), Vec::new());
    for (name, identifier, attrs) in sources() {
        let whole: BTreeMap<String, String> =
            attrs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let before = asked.key(&identifier, &whole).unwrap_or_else(|| panic!("{name} is refused"));
        assert_eq!(asked.key(&identifier, &whole), Some(before), "{name}");
        for (key, value) in attrs {
            known.push(key);
            let changed = others(value).into_iter().filter_map(|other| {
                let mut attrs = whole.clone();
                match other {
                    Some(other) => attrs.insert(key.to_owned(), other),
                    None => attrs.remove(key),
                };
                // Without its sum a file would have to be fetched.
                if key == attr::HTTP_CHECKSUM && !attrs.contains_key(key) {
                    None
                } else {
                    asked.key(&identifier, &attrs)
                }
            });
            if changed.into_iter().all(|it| it == before) {
                free.push((name, key));
            }
        }
    }
    let mut allowed = FREE.to_vec();
    allowed.sort_unstable();
    free.sort_unstable();
    assert_eq!(free, allowed);
    // All that there are, but for those of images in registries, and those that only decide whether a source is refused.
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/graph/ir/op/source.rs")).unwrap();
    let constants = text.lines().filter_map(|it| it.trim().strip_prefix("pub const ")?.split('"').nth(1));
    let missing: Vec<&str> = constants
        .filter(|it| !known.contains(it) && !it.starts_with("image.") && !it.contains(".sig."))
        .collect();
    assert_eq!(missing, [attr::GIT_BUNDLE], "with it the commit comes from a blob, and is checked");
}
