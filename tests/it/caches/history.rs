//! What an image says of its layers, built from a cache: the same as where the cache was made, whatever bytes the layers have.

use std::fs;
use std::process::Command;

use libtest_mimic::Trial;
use serde_json::Value;

use super::{Built, TOOLS, build, documents, has_tools};
use crate::build::Project;
use crate::registry::served::Served;

pub(super) fn trials() -> Vec<Trial> {
    let trial = |name: &str, run: fn()| crate::trial(format!("caches::root::history::{name}"), run);
    vec![
        trial("layers_of_equal_bytes", layers_of_equal_bytes),
        trial("equal_bytes_on_one_tree", equal_bytes_on_one_tree),
        trial("one_descriptor_for_all", one_descriptor_for_all),
        trial("layers_that_are_here", layers_that_are_here),
        trial("an_image_as_cache", an_image_as_cache).with_ignored_flag(!has_tools(TOOLS)),
    ]
}

/// Steps of which several give the same bytes: nothing, or a file with its time set.
const PROGRAM: &str = r#"
let nothing = base.run("true").run(": again").run("true").run(": at last")
target app = nothing.run("touch -d @1000000000 /same /").run(": behind").tag(["example.com/app:1"])
target doc = nothing.run(": aside").tag(["example.com/doc:1"])
"#;

/// What made each layer of the image in `file`, bottom first, without what all commands begin with; then its times.
fn history(project: &Project, file: &str) -> (Vec<String>, Vec<String>) {
    let dir = project.path().join("unpacked");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir(&dir).unwrap();
    let untar = Command::new("tar").arg("-xf").arg(project.path().join(file)).arg("-C").arg(&dir).status();
    assert!(untar.unwrap().success());
    let (_, config) = documents(&dir);
    let said = |key: &str| -> Vec<String> {
        let entries = config["history"].as_array().unwrap().iter();
        entries.map(|it| it[key].as_str().unwrap_or_default().replace("/bin/sh -c ", "")).collect()
    };
    (said("created_by"), said("created"))
}

fn digest(built: &Built) -> &str {
    built.results()[0].split_whitespace().nth(1).unwrap()
}

/// Builds `target` into an archive that is called as the store.
fn image(project: &Project, store: &str, target: &str, args: &[&str]) -> Built {
    let archive = format!("type=oci,dest={store}.tar");
    build(project, store, &[&[target, "-o", &archive], args].concat())
}

const NAMES: [&str; 7] =
    ["copy / /", "true", ": again", "true", ": at last", "touch -d @1000000000 /same /", ": behind"];

fn layers_of_equal_bytes() {
    let project = Project::new(PROGRAM);
    for (at, options) in ["mode=max", "mode=min", "mode=max,image-manifest=false"].into_iter().enumerate() {
        let dir = format!("cache{at}");
        let to = format!("type=local,dest={dir},{options}");
        let first = image(&project, "one", "app", &["--cache-to", &to]);
        assert_eq!(history(&project, "one.tar").0, NAMES, "{options}");
        let from = format!("type=local,src={dir}");
        let store = format!("two-{at}");
        let copy = format!("type=local,dest=copy{at},{options}");
        let args = ["--cache-from", &from, "--cache-to", &copy];
        let second = image(&project, &store, "app", &args);
        assert_eq!(second.ran(), Vec::<String>::new(), "{}", second.0);
        assert_eq!(history(&project, "one.tar"), history(&project, &format!("{store}.tar")), "{options}");
        assert_eq!(digest(&first), digest(&second), "{options}");
        // A cache of it is the same cache.
        assert_eq!(first.cache(), second.cache(), "{options}");
        // Each layer has a descriptor, at its place; each blob is there once.
        let (manifest, config) = documents(&project.path().join(&dir));
        let list = manifest["manifests"].as_array().or_else(|| manifest["layers"].as_array()).unwrap();
        let digests = |list: &[Value], key: &str| -> Vec<String> {
            list.iter().filter_map(|it| Some(it[key].as_str()?.to_owned())).collect()
        };
        let layers = digests(config["layers"].as_array().unwrap(), "blob");
        assert_eq!(digests(list, "digest")[..layers.len()], layers, "{options}");
    }
    // What runs here on what was imported is the same as where all of it ran.
    let from = ["--cache-from", "type=local,src=cache0"];
    let program = fs::read_to_string(project.path().join("build.bkl")).unwrap();
    fs::write(project.path().join("build.bkl"), program.replace(": behind", ": ahead")).unwrap();
    let changed = image(&project, "three", "app", &from);
    assert_eq!(changed.ran(), [": ahead"].map(|it| format!("/bin/sh -c {it}")), "{}", changed.0);
    let (names, _) = history(&project, "three.tar");
    assert_eq!(names[..6], NAMES[..6]);
    assert_eq!(names[6], ": ahead");
}

/// Two images with a layer of the same bytes at the same place: each keeps the name of its own step.
fn equal_bytes_on_one_tree() {
    let program = r#"
let one = base.run("echo one > /one")
let two = base.run("echo two > /two")
target app = base.layer(diff(one, one.run("touch -d @1000000000 /same /"))).tag(["example.com/app:1"])
target doc = base.layer(diff(two, two.run("touch -d @1000000000 / /same"))).tag(["example.com/doc:1"])
"#;
    let project = Project::new(program);
    let first = build(&project, "one", &["--cache-to", "type=local,dest=cache,mode=max"]);
    let from = ["--cache-from", "type=local,src=cache"];
    let second = build(&project, "two", &from);
    assert_eq!((second.ran(), second.results()), (Vec::new(), first.results()), "{}", second.0);
    // One after the other.
    let mut bytes = Vec::new();
    for target in ["doc", "app"] {
        let built = image(&project, "three", target, &from);
        assert_eq!(built.ran(), Vec::<String>::new(), "{}", built.0);
        let step =
            if target == "doc" { "touch -d @1000000000 / /same" } else { "touch -d @1000000000 /same /" };
        assert_eq!(history(&project, "three.tar").0, ["copy / /", step]);
        bytes.push(documents(&project.path().join("unpacked")).1["rootfs"]["diff_ids"].clone());
    }
    assert_eq!(bytes[0], bytes[1]);
}

/// A cache whose manifest has a descriptor for each blob only says one thing of all layers of the same bytes, as those of
/// BuildKit do; the others have their own names.
fn one_descriptor_for_all() {
    let project = Project::new(PROGRAM);
    image(&project, "one", "app", &["--cache-to", "type=local,dest=cache,mode=max"]);
    let dir = project.path().join("cache");
    let (mut manifest, _) = documents(&dir);
    let layers = manifest["layers"].as_array_mut().unwrap();
    let n_layers = layers.len();
    layers.dedup_by_key(|it| it["digest"].clone());
    assert!(layers.len() < n_layers);
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let digest = bkl::base::Digest::of(&bytes);
    fs::write(dir.join("blobs/sha256").join(digest.hex()), &bytes).unwrap();
    let mut index: Value = serde_json::from_slice(&fs::read(dir.join("index.json")).unwrap()).unwrap();
    index["manifests"][0]["digest"] = digest.to_string().into();
    index["manifests"][0]["size"] = bytes.len().into();
    fs::remove_file(dir.join("index.json")).unwrap();
    fs::write(dir.join("index.json"), index.to_string()).unwrap();
    let built = image(&project, "two", "app", &["--cache-from", "type=local,src=cache"]);
    assert_eq!(built.ran(), Vec::<String>::new(), "{}", built.0);
    let (names, _) = history(&project, "two.tar");
    assert_eq!((names[0].as_str(), names[5].as_str()), (NAMES[0], NAMES[5]));
    assert!(names[2] == names[3] && names[3] == names[4], "{names:?}");
}

/// What is imported stands on the layers that another import brought, and is named as well.
fn layers_that_are_here() {
    let project = Project::new(PROGRAM);
    build(&project, "one", &["--cache-to", "type=local,dest=cache,mode=max"]);
    let from = ["--cache-from", "type=local,src=cache"];
    image(&project, "two", "app", &from);
    let n_layers = || fs::read_dir(project.path().join("two/layers")).unwrap().count();
    let n_before = n_layers();
    let doc = image(&project, "two", "doc", &from);
    assert_eq!(doc.ran(), Vec::<String>::new(), "{}", doc.0);
    assert_eq!(n_layers(), n_before + 1);
    let (names, _) = history(&project, "two.tar");
    assert_eq!(names[..5], NAMES[..5]);
    assert_eq!(names[5..], [": aside"]);
}

/// An image's history says what made each of its layers; which one a record means is known though others are the same.
fn an_image_as_cache() {
    let project = Project::new(PROGRAM);
    let served = Served::start(project.path(), false);
    let name = format!("{}/team/app:1", served.address);
    let inline = ["--cache-to", "type=inline"];
    let first = image(&project, "one", "app", &inline);
    let from = format!("oci-archive:{}", project.path().join("one.tar").display());
    let to = format!("docker://{name}");
    let pushed =
        Command::new("skopeo").args(["copy", "--dest-tls-verify=false", &from, &to]).output().unwrap();
    assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));
    let second = image(&project, "two", "app", &[&["--cache-from", &name][..], &inline].concat());
    assert_eq!(second.ran(), Vec::<String>::new(), "{}", second.0);
    assert_eq!(history(&project, "two.tar").0, NAMES);
    assert_eq!(digest(&first), digest(&second), "{}", second.0);
}
