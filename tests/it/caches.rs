//! Caches between machines: each store here is a machine, each machine builds the same or nearly the same, and what one
//! exported the next imports. All need root, overlayfs and /bin/busybox (static); registries are docker's own.

mod history;
mod others;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bkl::base::Digest;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::build::Project;
use crate::images::has_tools;
use crate::registry::served::Served;

const TOOLS: &[&str] = &["docker-registry", "skopeo"];

pub fn trials() -> Vec<Trial> {
    let trial = |name: &str, run: fn()| crate::trial(format!("caches::root::{name}"), run);
    let served = |name: &str, run: fn()| trial(name, run).with_ignored_flag(!has_tools(TOOLS));
    let mut trials = others::trials();
    trials.extend(history::trials());
    trials.extend([
        trial("an_empty_store_runs_nothing", an_empty_store_runs_nothing),
        trial("a_change_runs_what_it_changes", a_change_runs_what_it_changes),
        trial("only_what_is_needed_is_fetched", only_what_is_needed_is_fetched),
        trial("min_has_the_results_only", min_has_the_results_only),
        trial("what_was_imported_is_exported", what_was_imported_is_exported),
        trial("several_caches", several_caches),
        trial("bad_caches_are_misses", bad_caches_are_misses),
        trial("definitions", definitions),
        trial("directories", directories),
        served("registries", registries),
        served("images", images),
        served("a_registry_that_does_not_take_it", a_registry_that_does_not_take_it),
    ]);
    trials
}

/// Several stages, a copy between them, a command with two results, a cache mount, a merge, a diff; two targets.
const PROGRAM: &str = r#"
let deps = base.run("mkdir /deps; echo deps > /deps/d", mounts: [cache("/c")])
let built = deps
  .copy(local("src"), ".", "/src")
  .run("cat /src/a > /one/app; cat /deps/d >> /one/app; echo doc > /two/doc",
    outs: { bin: out("/one"), doc: out("/two") })
let packed = base.copy(built.bin, "app", "/usr/app").run("cat /usr/app > /final")
target app = packed.tag(["example.com/app:1"])
target doc = built.doc
"#;

/// A project whose `src/a` says so.
fn project() -> Project {
    let project = Project::new(PROGRAM);
    change(&project, "code");
    project
}

fn change(project: &Project, text: &str) {
    let src = project.path().join("src");
    fs::create_dir_all(&src).unwrap();
    fs::write(src.join("a"), text).unwrap();
}

/// What a build said.
struct Built(String);

impl Built {
    /// The commands and file actions that ran.
    fn ran(&self) -> Vec<String> {
        let mut ran = Vec::new();
        for block in self.0.split("\n\n") {
            let name = block.lines().next().and_then(|it| it.split_once(' ')).map(|(_, name)| name);
            let is_done = block.lines().any(|it| it.contains(" DONE "));
            if let Some(name) = name.filter(|it| is_done && *it != "...")
                && !name.starts_with("local://")
                && !name.contains("porting cache")
            {
                ran.push(name.lines().next().unwrap_or_default().chars().take(30).collect());
            }
        }
        ran.sort();
        ran
    }

    /// The lines of targets: names, digests.
    fn results(&self) -> Vec<&str> {
        self.0.lines().filter(|it| ["app  ", "doc  "].iter().any(|name| it.starts_with(name))).collect()
    }

    /// The digest of the exported cache.
    fn cache(&self) -> &str {
        let line =
            self.0.lines().find(|it| it.starts_with("cache  ")).unwrap_or_else(|| panic!("{}", self.0));
        line.split_whitespace().nth(1).unwrap()
    }
}

fn build(project: &Project, store: &str, args: &[&str]) -> Built {
    let store = ["--store", store, "--network", "none", "--progress", "plain"];
    Built(project.build(&[&store, args].concat()))
}

/// The blobs that a store has.
fn blobs(project: &Project, store: &str) -> Vec<String> {
    files(&project.path().join(store).join("content/sha256"))
}

fn files(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = names.map(|it| it.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Manifest and config of a layout's only entry.
fn documents(dir: &Path) -> (Value, Value) {
    let read = |path: PathBuf| -> Value { serde_json::from_slice(&fs::read(&path).unwrap()).unwrap() };
    let blob = |digest: &Value| {
        dir.join("blobs/sha256").join(digest.as_str().unwrap().trim_start_matches("sha256:"))
    };
    let index = read(dir.join("index.json"));
    let manifest = read(blob(&index["manifests"][0]["digest"]));
    let entries = manifest["manifests"].as_array().and_then(|it| it.last());
    let config = read(blob(&entries.unwrap_or(&manifest["config"])["digest"]));
    (manifest, config)
}

fn an_empty_store_runs_nothing() {
    let project = project();
    let first = build(&project, "one", &["--cache-to", "type=local,dest=cache,mode=max"]);
    assert!(!first.ran().is_empty());
    let second = build(&project, "two", &["--cache-from", "type=local,src=cache"]);
    assert_eq!(second.ran(), Vec::<String>::new(), "{}", second.0);
    assert_eq!(second.results(), first.results());
    assert!(second.0.contains("importing cache from cache") && second.0.contains("CACHED"), "{}", second.0);
    // It is kept: no import is needed any more.
    let third = build(&project, "two", &[]);
    assert_eq!(third.ran(), Vec::<String>::new(), "{}", third.0);
    assert!(third.0.contains(" 0 run"), "{}", third.0);
    let why = project.bkl(&["why", "doc", "--store", "two"]).output().unwrap();
    let said = String::from_utf8_lossy(&why.stdout);
    assert!(
        said.contains("doc: nothing would run; its result was imported from the cache `cache`, at "),
        "{said}"
    );
    // The manifest says what BuildKit's importer needs to know of each layer.
    let (manifest, config) = documents(&project.path().join("cache"));
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.buildkit.cacheconfig.v0");
    for layer in manifest["layers"].as_array().unwrap() {
        let annotations = &layer["annotations"];
        assert!(annotations["containerd.io/uncompressed"].as_str().unwrap().starts_with("sha256:"));
        assert!(annotations["buildkit/createdat"].as_str().unwrap().ends_with('Z'));
    }
    // No record names what only this machine calls so: content stands for directories.
    let leaves = config["records"].as_array().unwrap().iter().filter(|it| it["inputs"].is_null());
    assert_eq!(leaves.filter(|it| it["layers"].is_array()).count(), 0);
}

fn a_change_runs_what_it_changes() {
    let project = project();
    build(&project, "one", &["--cache-to", "type=local,dest=cache,mode=max"]);
    change(&project, "other code");
    let imported = build(&project, "two", &["--cache-from", "type=local,src=cache"]);
    let here = build(&project, "one", &[]);
    assert_eq!(imported.ran(), here.ran(), "{}\n{}", imported.0, here.0);
    assert!(!imported.ran().iter().any(|it| it.contains("mkdir /deps")), "{}", imported.0);
    // A file that nothing reads is none that counts: it is copied, and what is behind the copy has the result.
    let program = fs::read_to_string(project.path().join("build.bkl")).unwrap();
    fs::write(project.path().join("build.bkl"), program.replace("echo doc", "echo docs")).unwrap();
    let command = build(&project, "three", &["--cache-from", "type=local,src=cache", "doc"]);
    assert_eq!(command.ran().len(), 2, "the copy of what changed before, and the command: {}", command.0);
}

fn only_what_is_needed_is_fetched() {
    let project = project();
    build(&project, "one", &["--cache-to", "type=local,dest=cache,mode=max"]);
    build(&project, "two", &["--cache-from", "type=local,src=cache", "doc"]);
    let (manifest, config) = documents(&project.path().join("cache"));
    let layers = manifest["layers"].as_array().unwrap();
    let fetched = blobs(&project, "two");
    let digest = |it: &Value| it["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    let n_fetched = layers.iter().filter(|it| fetched.contains(&digest(it))).count();
    // `doc` is one layer on nothing; neither the stage it was made in nor the other result came.
    assert_eq!((n_fetched, layers.len() > 4), (1, true), "{config:#}");
}

fn min_has_the_results_only() {
    let project = project();
    let max = build(&project, "one", &["--cache-to", "type=local,dest=max,mode=max"]);
    let min =
        build(&project, "one", &["--cache-to", "type=local,dest=min", "--cache-to", "type=local,dest=again"]);
    assert_eq!(min.ran(), Vec::<String>::new());
    assert_ne!(max.cache(), min.cache());
    let (_, of_max) = documents(&project.path().join("max"));
    let (_, of_min) = documents(&project.path().join("min"));
    let n = |config: &Value, of: &str| config[of].as_array().unwrap().len();
    assert_eq!(n(&of_max, "records"), n(&of_min, "records"), "all chains are there");
    assert!(n(&of_min, "layers") < n(&of_max, "layers"));
    assert_eq!(documents(&project.path().join("again")), documents(&project.path().join("min")));
    let built = build(&project, "two", &["--cache-from", "type=local,src=min"]);
    assert_eq!(built.ran(), Vec::<String>::new(), "{}", built.0);
    assert_eq!(built.results(), max.results());
}

/// A machine that ran nothing exports what it imported: a cache that every build refreshes loses nothing.
fn what_was_imported_is_exported() {
    let project = project();
    let first = build(&project, "one", &["--cache-to", "type=local,dest=cache,mode=max"]);
    let from = ["--cache-from", "type=local,src=cache"];
    let second =
        build(&project, "two", &[&from[..], &["--cache-to", "type=local,dest=copy,mode=max"]].concat());
    assert_eq!(second.ran(), Vec::<String>::new(), "{}", second.0);
    assert_eq!(first.cache(), second.cache());
    assert_eq!(
        files(&project.path().join("cache/blobs/sha256")),
        files(&project.path().join("copy/blobs/sha256"))
    );
    // And what is new is in it beside the old.
    change(&project, "other code");
    let third =
        build(&project, "three", &[&from[..], &["--cache-to", "type=local,dest=cache,mode=max"]].concat());
    let built = build(&project, "four", &from);
    assert_eq!((built.ran(), built.results()), (Vec::new(), third.results()), "{}", built.0);
    // In the place of the old.
    assert_eq!(third.0.matches("exporting cache to").count(), 1);
    let index = fs::read_to_string(project.path().join("cache/index.json")).unwrap();
    assert!(index.contains(third.cache()) && !index.contains(first.cache()), "{index}");
}

fn several_caches() {
    let project = project();
    let app = build(&project, "one", &["app", "--cache-to", "type=local,dest=app,mode=max,compression=zstd"]);
    let doc =
        build(&project, "two", &["doc", "--cache-to", "type=local,dest=doc,tag=v1,image-manifest=false"]);
    let from = ["type=local,src=app", "type=local,src=doc,tag=v1"];
    let both = build(&project, "three", &["--cache-from", from[0], "--cache-from", from[1]]);
    assert_eq!(both.ran(), Vec::<String>::new(), "{}", both.0);
    assert_eq!(both.results(), [app.results(), doc.results()].concat());
    // By digest, and with one that is not there.
    let digest = format!("type=local,src=doc,digest={}", doc.cache());
    let from = ["doc", "--cache-from", "type=local,src=missing", "--cache-from", &digest];
    let built = build(&project, "four", &from);
    assert_eq!(built.ran(), Vec::<String>::new(), "{}", built.0);
    assert!(built.0.contains("WARNING: the cache `missing` is not used"), "{}", built.0);
    let (manifest, _) = documents(&project.path().join("app"));
    let first = &manifest["layers"][0]["mediaType"];
    assert_eq!(*first, "application/vnd.oci.image.layer.v1.tar+zstd");
}

/// Whatever is wrong with a cache, the build is the one it would have been without.
fn bad_caches_are_misses() {
    let project = project();
    build(&project, "one", &["--cache-to", "type=local,dest=cache,mode=max"]);
    let cache = project.path().join("cache");
    let (manifest, config) = documents(&cache);
    let mut n_stores = 0;
    let mut check = |what: &str, damage: &dyn Fn(&Path), warned: Option<&str>| {
        let dir = project.path().join("bad");
        let _ = fs::remove_dir_all(&dir);
        let copied = Command::new("cp").arg("-a").arg(&cache).arg(&dir).status().unwrap();
        assert!(copied.success());
        damage(&dir);
        n_stores += 1;
        let store = format!("bad-{n_stores}");
        let args = ["doc", "-o", "out", "--cache-from", "type=local,src=bad"];
        let built = build(&project, &store, &args);
        // What is made anew has other times.
        let doc = fs::read_to_string(project.path().join("out/doc")).unwrap();
        assert_eq!(doc, "doc\n", "{what}: {}", built.0);
        fs::remove_dir_all(project.path().join("out")).unwrap();
        if let Some(warned) = warned {
            assert!(built.0.contains(warned), "{what}: {}", built.0);
        }
        fs::remove_dir_all(project.path().join(&store)).unwrap();
    };
    let blob = |dir: &Path, name: &str| dir.join("blobs/sha256").join(name);
    let write = |path: &Path, bytes: &[u8]| {
        let _ = fs::remove_file(path);
        fs::write(path, bytes).unwrap();
    };
    check(
        "no layer",
        &|dir| {
            for layer in manifest["layers"].as_array().unwrap() {
                let name = layer["digest"].as_str().unwrap().trim_start_matches("sha256:");
                fs::remove_file(blob(dir, name)).unwrap();
            }
        },
        Some("not taken from the cache `bad`"),
    );
    check(
        "damaged layers",
        &|dir| {
            for layer in manifest["layers"].as_array().unwrap() {
                let name = layer["digest"].as_str().unwrap().trim_start_matches("sha256:");
                let path = blob(dir, name);
                let mut bytes = fs::read(&path).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                write(&path, &bytes);
            }
        },
        Some("not taken from the cache `bad`"),
    );
    check("an index that is none", &|dir| write(&dir.join("index.json"), b"{"), Some("is not used"));
    check("an empty directory", &|dir| fs::remove_dir_all(dir).unwrap(), Some("is not used"));
    // Documents that are whole, and lie.
    let replace = |dir: &Path, manifest: &Value, config: &[u8]| {
        let put = |bytes: &[u8]| {
            let digest = Digest::of(bytes);
            write(&blob(dir, &digest.hex()), bytes);
            (digest.to_string(), bytes.len())
        };
        let mut manifest = manifest.clone();
        let (digest, size) = put(config);
        manifest["config"]["digest"] = json!(digest);
        manifest["config"]["size"] = json!(size);
        let (digest, size) = put(&serde_json::to_vec(&manifest).unwrap());
        let index = json!({ "schemaVersion": 2, "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": size,
            "annotations": { "org.opencontainers.image.ref.name": "latest" },
        }] });
        write(&dir.join("index.json"), index.to_string().as_bytes());
    };
    let text = |config: &Value| serde_json::to_vec(config).unwrap();
    let refused = Some("the cache config of `bad` is refused");
    check("no JSON", &|dir| replace(dir, &manifest, b"{\"records\":"), refused);
    check(
        "a loop",
        &|dir| {
            let mut config = config.clone();
            for record in config["records"].as_array_mut().unwrap() {
                if record["inputs"].is_array() {
                    record["inputs"] = json!([[{ "link": 0 }]]);
                }
            }
            config["records"][0]["inputs"] = json!([[{ "link": 0 }]]);
            replace(dir, &manifest, &text(&config));
        },
        refused,
    );
    check(
        "a dangling link",
        &|dir| {
            let mut config = config.clone();
            config["records"][0]["inputs"] = json!([[{ "link": 99_999 }]]);
            replace(dir, &manifest, &text(&config));
        },
        refused,
    );
    check(
        "a time that is none",
        &|dir| {
            let mut config = config.clone();
            let records = config["records"].as_array_mut().unwrap().iter_mut();
            let with_result = records.into_iter().find(|it| it["layers"].is_array()).unwrap();
            with_result["layers"][0]["createdAt"] = json!("2026-02-30T00:00:00Z");
            replace(dir, &manifest, &text(&config));
        },
        Some("is refused: its time `2026-02-30T00:00:00Z` is not valid"),
    );
    check(
        "layers that the manifest has not",
        &|dir| {
            let mut manifest = manifest.clone();
            manifest["layers"] = json!([]);
            replace(dir, &manifest, &text(&config));
        },
        None,
    );
    check(
        "diff ids that are others'",
        &|dir| {
            let mut manifest = manifest.clone();
            for layer in manifest["layers"].as_array_mut().unwrap() {
                layer["annotations"]["containerd.io/uncompressed"] = json!(Digest::of("other").to_string());
            }
            replace(dir, &manifest, &text(&config));
        },
        Some("not taken from the cache `bad`"),
    );
    check(
        "no diff ids",
        &|dir| {
            let mut manifest = manifest.clone();
            for layer in manifest["layers"].as_array_mut().unwrap() {
                layer["annotations"] = json!({});
            }
            replace(dir, &manifest, &text(&config));
        },
        None,
    );
    check(
        "an artifact of another kind",
        &|dir| {
            let mut manifest = manifest.clone();
            manifest["config"]["mediaType"] = json!("application/x");
            replace(dir, &manifest, &text(&config));
        },
        Some("has no cache"),
    );
    check(
        "a config that is said to be huge",
        &|dir| {
            replace(dir, &manifest, &text(&config));
            let (mut manifest, _) = documents(dir);
            manifest["config"]["size"] = json!(1_u64 << 40);
            let bytes = serde_json::to_vec(&manifest).unwrap();
            write(&blob(dir, &Digest::of(&bytes).hex()), &bytes);
            let mut index: Value =
                serde_json::from_slice(&fs::read(dir.join("index.json")).unwrap()).unwrap();
            index["manifests"][0]["digest"] = json!(Digest::of(&bytes));
            index["manifests"][0]["size"] = json!(bytes.len());
            write(&dir.join("index.json"), index.to_string().as_bytes());
        },
        refused,
    );
}

/// A definition has its cache as a program has, and both the same: their steps are the same.
fn definitions() {
    let project = project();
    let lowered = project.bkl(&["lower", "--emit", "llb", "app", "-o", "app.pb"]).output().unwrap();
    assert!(lowered.status.success(), "{}", String::from_utf8_lossy(&lowered.stderr));
    let args = ["--llb", "app.pb", "--local", "src=src", "--local", "busybox=busybox"];
    let to = ["--cache-to", "type=local,dest=cache,mode=max"];
    let first = build(&project, "one", &[&args[..], &to].concat());
    assert!(first.ran().len() >= 4, "{}", first.0);
    let from = ["--cache-from", "type=local,src=cache"];
    let second = build(&project, "two", &[&args[..], &from].concat());
    assert_eq!(second.ran(), Vec::<String>::new(), "{}", second.0);
    assert_eq!(second.results(), first.results());
    let program = build(&project, "three", &[&["app"][..], &from].concat());
    assert_eq!(program.ran(), Vec::<String>::new(), "{}", program.0);
}

fn directories() {
    let project = project();
    let to = |more: &str| format!("type=local,dest=cache{more}");
    build(&project, "one", &["app", "--cache-to", &to(",tag=app"), "--metadata-file", "meta.json"]);
    build(&project, "one", &["doc", "--cache-to", &to(",tag=doc")]);
    let index = || -> Value {
        serde_json::from_slice(&fs::read(project.path().join("cache/index.json")).unwrap()).unwrap()
    };
    assert_eq!(index()["manifests"].as_array().unwrap().len(), 2, "names beside each other");
    let metadata: Value =
        serde_json::from_slice(&fs::read(project.path().join("meta.json")).unwrap()).unwrap();
    assert_eq!(metadata["app"]["cache.manifest"]["digest"], index()["manifests"][0]["digest"]);
    let n_before = files(&project.path().join("cache/blobs/sha256")).len();
    build(&project, "one", &["doc", "--cache-to", &to(",reset=true")]);
    let left = index();
    let left = left["manifests"].as_array().unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["annotations"]["org.opencontainers.image.ref.name"], "latest");
    let blobs = files(&project.path().join("cache/blobs/sha256"));
    assert!(blobs.len() == 3 && blobs.len() < n_before, "{blobs:?}");
    // A directory that is something else is left alone.
    fs::create_dir(project.path().join("mine")).unwrap();
    fs::write(project.path().join("mine/file"), "mine").unwrap();
    let to = "type=local,dest=mine,reset=true";
    let refused = project.bkl(&["build", "doc", "--store", "one", "--cache-to", to]).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("it holds something else than an OCI layout"),
        "{said}"
    );
    assert!(project.path().join("mine/file").exists());
    let ignored = build(&project, "one", &["doc", "--cache-to", &format!("{to},ignore-error=true")]);
    assert!(ignored.0.contains("bkl::cache_export"), "{}", ignored.0);
}

/// A registry of docker's, with what is wanted of it.
fn registries() {
    let project = project();
    let served = Served::start(project.path(), false);
    let name = |tag: &str| format!("{}/team/cache:{tag}", served.address);
    let forms = ["", ",image-manifest=false", ",oci-mediatypes=false"];
    let mut results = Vec::new();
    for (at, form) in forms.into_iter().enumerate() {
        let tag = name(&format!("form{at}"));
        let to = format!("type=registry,ref={tag},mode=max{form}");
        let first = build(&project, "one", &["--cache-to", &to]);
        let from = format!("type=registry,ref={tag}");
        let second = build(&project, &format!("two-{at}"), &["--cache-from", &from]);
        assert_eq!(second.ran(), Vec::<String>::new(), "{form}: {}", second.0);
        assert_eq!(first.results(), second.results());
        results.push(first.cache().to_owned());
    }
    assert!(results[0] != results[1] && results[1] != results[2]);
    // As buildx takes it, from a copy that another tool made.
    let copy = name("copy");
    let skopeo = |args: &[&str]| {
        let output = Command::new("skopeo").args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let docker = |name: &str| format!("docker://{name}");
    let tls = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    skopeo(&[&["copy"][..], &tls, &[&docker(&name("form0")), &docker(&copy)]].concat());
    let raw = skopeo(&["inspect", "--raw", "--tls-verify=false", &docker(&copy)]);
    let manifest: Value = serde_json::from_str(&raw).unwrap();
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.buildkit.cacheconfig.v0");
    let built = build(&project, "three", &["--cache-from", &copy]);
    assert_eq!(built.ran(), Vec::<String>::new(), "{}", built.0);
    // Nothing is pushed twice, and what one repository has serves another cache of the same.
    let again = build(&project, "three", &["--cache-to", &copy, "--cache-from", &copy]);
    assert!(again.0.contains("exporting cache to registry"), "{}", again.0);
    // A registry that is gone costs a warning.
    drop(served);
    let args = ["doc", "--cache-from", &copy];
    let built = build(&project, "four", &args);
    assert!(!built.ran().is_empty() && built.0.contains("is not used"), "{}", built.0);
}

/// An image that is its own cache.
fn images() {
    let project = project();
    let served = Served::start(project.path(), false);
    let image = format!("{}/team/app:1", served.address);
    let args = ["app", "-o", "type=oci,dest=app.tar", "--cache-to", "type=inline"];
    let first = build(&project, "one", &args);
    let push = |file: &str| {
        let to = format!("docker://{image}");
        let from = format!("oci-archive:{}", project.path().join(file).display());
        let output =
            Command::new("skopeo").args(["copy", "--dest-tls-verify=false", &from, &to]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    push("app.tar");
    let second = build(&project, "two", &["app", "--cache-from", &image, "-o", "type=oci,dest=second.tar"]);
    assert_eq!(second.ran(), Vec::<String>::new(), "{}", second.0);
    // The stage is in no layer of the image: a change makes it run, what is in the image does not.
    change(&project, "other code");
    let third = build(&project, "three", &["app", "--cache-from", &image]);
    assert!(third.ran().iter().any(|it| it.contains("mkdir /deps")), "{}", third.0);
    assert!(!third.ran().iter().any(|it| it == "copy / /"), "{}", third.0);
    // The image that was found is the one that was pushed, but for what it says of itself.
    let digest = |built: &Built| built.results()[0].split_whitespace().nth(1).unwrap().to_owned();
    assert_ne!(digest(&first), digest(&second));
    change(&project, "code");
    let again = [
        &["app", "--cache-from", &image, "-o", "type=oci,dest=again.tar"][..],
        &["--cache-to", "type=inline"],
    ];
    let again = build(&project, "four", &again.concat());
    assert_eq!(digest(&first), digest(&again), "{}", again.0);
    // An image without one is said to have none.
    push("second.tar");
    let built = build(&project, "five", &["doc", "--cache-from", &image]);
    assert!(built.0.contains("has no cache: it is an image that was built without"), "{}", built.0);
}

fn a_registry_that_does_not_take_it() {
    let project = project();
    let served = Served::start(project.path(), true);
    let to = format!("type=registry,ref={}/team/cache:1", served.address);
    let refused = project.bkl(&["build", "doc", "--cache-to", &to, "--network", "none"]).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success(), "{said}");
    assert!(said.contains("bkl::cache_export") && said.contains("does not allow it"), "{said}");
    assert!(said.contains("docker login"), "{said}");
    let ignored = build(&project, "store", &["doc", "--cache-to", &format!("{to},ignore-error=true")]);
    assert!(ignored.0.contains("does not allow it"), "{}", ignored.0);
}
