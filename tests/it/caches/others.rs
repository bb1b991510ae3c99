//! Caches that others wrote, or write at the same time: what is missing in them, what is no file, what speaks to terminals.

use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{Built, build, documents, files, has_tools, project};
use crate::build::Project;
use crate::registry::served::Served;
use bkl::base::Digest;

pub(super) fn trials() -> Vec<Trial> {
    let trial = |name: &str, run: fn()| crate::trial(format!("caches::root::{name}"), run);
    vec![
        trial("a_missing_layer_is_left_out", a_missing_layer_is_left_out),
        trial("another_cache_has_the_layer", another_cache_has_the_layer),
        trial("a_missing_layer_is_not_pushed", a_missing_layer_is_not_pushed)
            .with_ignored_flag(!has_tools(super::TOOLS)),
        trial("exports_side_by_side", exports_side_by_side),
        trial("what_a_cache_says_is_not_for_the_terminal", what_a_cache_says_is_not_for_the_terminal),
        trial("layers_are_as_old_as_a_cache_says", layers_are_as_old_as_a_cache_says),
        trial("pipes_are_no_files", pipes_are_no_files),
        trial("a_tag_that_is_not_there", a_tag_that_is_not_there),
        trial("a_build_that_waits_can_be_stopped", a_build_that_waits_can_be_stopped),
        trial("leftovers_are_removed", leftovers_are_removed),
        trial("a_registry_that_goes_away", a_registry_that_goes_away)
            .with_ignored_flag(!has_tools(super::TOOLS)),
        trial("a_registry_that_never_answers", a_registry_that_never_answers),
    ]
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

/// The blob of a descriptor of a layout.
fn blob(dir: &Path, descriptor: &Value) -> PathBuf {
    dir.join("blobs/sha256").join(descriptor["digest"].as_str().unwrap().trim_start_matches("sha256:"))
}

/// A cache `cache` with all layers, and `bad` without the one of the first command.
fn without_a_layer(project: &Project) -> usize {
    build(project, "one", &["--cache-to", "type=local,dest=cache,mode=max"]);
    let (cache, bad) = (project.path().join("cache"), project.path().join("bad"));
    copy(&cache, &bad);
    let (manifest, _) = documents(&bad);
    let layers = manifest["layers"].as_array().unwrap();
    let made =
        |it: &&Value| it["annotations"]["buildkit/description"].as_str().unwrap().contains("mkdir /deps");
    fs::remove_file(blob(&bad, layers.iter().find(made).unwrap())).unwrap();
    layers.len()
}

/// A layer that cannot be had is left out with the results that are made of it; the rest is a cache.
fn a_missing_layer_is_left_out() {
    let project = project();
    let n_layers = without_a_layer(&project);
    let args = ["app", "--cache-from", "type=local,src=bad", "--cache-to", "type=local,dest=new,mode=max"];
    let copied = build(&project, "two", &args);
    assert_eq!(copied.ran(), Vec::<String>::new(), "{}", copied.0);
    assert!(copied.0.contains("WARNING") && copied.0.contains("is exported without"), "{}", copied.0);
    let (manifest, config) = documents(&project.path().join("new"));
    let n_copied = manifest["layers"].as_array().unwrap().len();
    assert!(0 < n_copied && n_copied < n_layers, "{config:#}");
    assert_eq!(config["layers"].as_array().unwrap().len(), n_copied);
    // All that is left is there, and serves.
    for layer in manifest["layers"].as_array().unwrap() {
        assert!(blob(&project.path().join("new"), layer).exists());
    }
    let built = build(&project, "three", &["app", "--cache-from", "type=local,src=new"]);
    assert_eq!(built.ran(), Vec::<String>::new(), "{}", built.0);
}

fn another_cache_has_the_layer() {
    let project = project();
    let n_layers = without_a_layer(&project);
    let from = ["--cache-from", "type=local,src=bad", "--cache-from", "type=local,src=cache"];
    let copied =
        build(&project, "two", &[&from[..], &["--cache-to", "type=local,dest=new,mode=max"]].concat());
    assert!(!copied.0.contains("WARNING"), "{}", copied.0);
    let (manifest, _) = documents(&project.path().join("new"));
    assert_eq!(manifest["layers"].as_array().unwrap().len(), n_layers);
}

fn a_missing_layer_is_not_pushed() {
    let project = project();
    without_a_layer(&project);
    let served = Served::start(project.path(), false);
    let at = format!("type=registry,ref={}/team/cache:1", served.address);
    let to = format!("{at},mode=max");
    let copied = build(&project, "two", &["app", "--cache-from", "type=local,src=bad", "--cache-to", &to]);
    assert!(copied.0.contains("is exported without"), "{}", copied.0);
    let built = build(&project, "three", &["app", "--cache-from", &at]);
    assert_eq!(built.ran(), Vec::<String>::new(), "{}", built.0);
}

/// Each export has its entry when all are over, whatever else was going on.
fn exports_side_by_side() {
    let project = project();
    build(&project, "store", &[]);
    // Into a directory that is not there yet, and into one that is.
    for round in ["abcdef", "ghijkl"] {
        let mut running = Vec::new();
        for tag in round.chars() {
            let to = format!("type=local,dest=caches,mode=max,tag={tag}");
            let args = ["build", "--store", "store", "--network", "none", "--cache-to", &to];
            running.push(project.bkl(&args).spawn().unwrap());
        }
        for child in running {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
    let index: Value =
        serde_json::from_slice(&fs::read(project.path().join("caches/index.json")).unwrap()).unwrap();
    let name =
        |it: &Value| it["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap().to_owned();
    let mut names: Vec<String> = index["manifests"].as_array().unwrap().iter().map(name).collect();
    names.sort();
    assert_eq!(names.concat(), "abcdefghijkl");
    assert_eq!(files(&project.path().join("caches")), ["blobs", "index.json", "oci-layout"], "nothing else");
    let litter = files(project.path()).into_iter().filter(|it| it.contains(".bkl-")).collect::<Vec<_>>();
    assert_eq!(litter, Vec::<String>::new());
}

/// Says something else of each layer of the cache in `dir`.
fn annotate(dir: &Path, key: &str, text: &str) {
    let (mut manifest, _) = documents(dir);
    for layer in manifest["layers"].as_array_mut().unwrap() {
        layer["annotations"][key] = json!(text);
    }
    let bytes = serde_json::to_vec(&manifest).unwrap();
    fs::write(dir.join("blobs/sha256").join(Digest::of(&bytes).hex()), &bytes).unwrap();
    let mut index: Value = serde_json::from_slice(&fs::read(dir.join("index.json")).unwrap()).unwrap();
    index["manifests"][0]["digest"] = json!(Digest::of(&bytes));
    index["manifests"][0]["size"] = json!(bytes.len());
    fs::write(dir.join("index.json"), index.to_string()).unwrap();
}

/// Go's zero time, one before 1970 and one with an offset are what they are. What is no time is said, and the layer is taken.
fn layers_are_as_old_as_a_cache_says() {
    let project = project();
    build(&project, "one", &["--cache-to", "type=local,dest=cache,mode=max"]);
    let bad = project.path().join("bad");
    let said_of = |text: &str| {
        copy(&project.path().join("cache"), &bad);
        annotate(&bad, "buildkit/createdat", text);
        let _ = fs::remove_dir_all(project.path().join("two"));
        let _ = fs::remove_dir_all(project.path().join("image"));
        let to = "type=oci,tar=false,dest=image";
        let built = build(&project, "two", &["app", "--cache-from", "type=local,src=bad", "-o", to]);
        assert_eq!(built.ran(), Vec::<String>::new(), "{}", built.0);
        let (_, config) = documents(&project.path().join("image"));
        let history = config["history"].as_array().unwrap().iter().filter(|it| it["empty_layer"] != true);
        let created: Vec<String> = history.map(|it| it["created"].as_str().unwrap().to_owned()).collect();
        // What comes of this machine is as old as it is.
        (built.0, created.into_iter().filter(|it| !it.starts_with("20")).collect::<Vec<_>>())
    };
    for (text, expected) in [
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("1955-11-05T06:15:00.25Z", "1955-11-05T06:15:00.25Z"),
        ("1955-11-05T06:15:00-08:00", "1955-11-05T14:15:00Z"),
    ] {
        let (said, created) = said_of(text);
        assert!(!said.contains("WARNING"), "{said}");
        assert!(2 <= created.len() && created.iter().all(|it| it == expected), "{text}: {created:?}");
    }
    for text in ["yesterday", "1955-11-05T06:15:00-99:00"] {
        let (said, created) = said_of(text);
        assert!(said.contains("WARNING: the cache `bad` does not say in a valid form when"), "{said}");
        assert!(said.contains(&format!("layers were made (`{text}`): that counts as now")), "{said}");
        assert_eq!(created, Vec::<String>::new());
    }
}

fn what_a_cache_says_is_not_for_the_terminal() {
    let project = project();
    build(&project, "one", &["--cache-to", "type=local,dest=cache,mode=max"]);
    let dir = project.path().join("cache");
    let text = "made\u{1b}]0;PWN\u{7}\u{1b}[2J\u{9b}2J by\u{202e}others\u{2066}\n\u{200f}x";
    annotate(&dir, "buildkit/description", text);
    build(&project, "two", &["--cache-from", "type=local,src=cache", "-o", "out"]);
    for args in [&["du"][..], &["du", "-v"], &["prune", "-v"]] {
        let output = project.bkl(&[args, &["--store", "two"]].concat()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("made") && said.contains("by"), "{args:?}: {said}");
        let hidden = |c: char| (c.is_control() && c != '\n') || "\u{202e}\u{2066}\u{200f}".contains(c);
        assert!(!said.contains(hidden), "{args:?}: {said:?}");
    }
}

/// What a command said, if it was over in time.
fn in_time(project: &Project, args: &[&str], limit: Duration) -> Output {
    let mut child = project.bkl(args).spawn().unwrap();
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if limit < started.elapsed() {
            child.kill().unwrap();
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            let _ = child.wait();
            panic!("bkl {args:?} took too long:\n{said}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    child.wait_with_output().unwrap()
}

/// A pipe that nobody writes to, in the place of each file in turn.
fn pipes_are_no_files() {
    let project = project();
    build(&project, "one", &["--cache-to", "type=local,dest=cache,mode=max"]);
    let (cache, bad) = (project.path().join("cache"), project.path().join("bad"));
    let (manifest, _) = documents(&cache);
    let check = |what: &str, pipe: &dyn Fn() -> Vec<PathBuf>, args: &[&str], fails: bool| {
        copy(&cache, &bad);
        for path in pipe() {
            fs::remove_file(&path).unwrap();
            assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        }
        // One that is removed may still be synced by a process that nobody waits for.
        let store = format!("store-{}", what.replace(' ', "-"));
        let common = ["build", "doc", "--store", &store, "--network", "none", "--progress", "plain"];
        let output = in_time(&project, &[&common[..], args].concat(), Duration::from_secs(60));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), !fails, "{what}: {said}");
        assert!(said.contains("not a regular file"), "{what}: {said}");
    };
    let from = ["--cache-from", "type=local,src=bad"];
    check("index", &|| vec![bad.join("index.json")], &from, false);
    check("config", &|| vec![blob(&bad, &manifest["config"])], &from, false);
    let layers = || manifest["layers"].as_array().unwrap().iter().map(|it| blob(&bad, it)).collect();
    check("layers", &layers, &from, false);
    let to = ["--cache-to", "type=local,dest=bad"];
    check("index that is added to", &|| vec![bad.join("index.json")], &to, true);
}

/// A tag is no name of an image: what is there under another one is not meant.
fn a_tag_that_is_not_there() {
    let project = project();
    build(&project, "one", &["--cache-to", "type=local,dest=cache,mode=max"]);
    let built = build(&project, "two", &["doc", "--cache-from", "type=local,src=cache,tag=nope"]);
    assert!(built.0.contains("the cache `cache` is not used") && built.0.contains("`nope`"), "{}", built.0);
    let Built(said) = build(&project, "three", &["doc", "--cache-from", "type=local,src=cache,tag=latest"]);
    assert!(!said.contains("WARNING"), "{said}");
}

/// A listener that takes connections and says nothing: after half a minute the build goes on without.
fn a_registry_that_never_answers() {
    let project = project();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let from = format!("type=registry,ref={address}/team/cache:1");
    let args = ["build", "doc", "--network", "none", "--progress", "plain", "--cache-from", &from];
    let output = in_time(&project, &args, Duration::from_secs(75));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("is not used"), "{said}");
}

/// A registry that has gone by the time of the export is asked once, not for each layer.
fn a_registry_that_goes_away() {
    let project = project();
    let served = Served::start(project.path(), false);
    let at = format!("type=registry,ref={}/team/cache:1", served.address);
    build(&project, "one", &["--cache-to", &format!("{at},mode=max")]);
    let wait = "target last = packed.run(\"sleep 4; echo last > /last\")\n";
    let program = fs::read_to_string(project.path().join("build.bkl")).unwrap();
    fs::write(project.path().join("build.bkl"), program + wait).unwrap();
    let args = ["build", "last", "doc", "--network", "none", "--progress", "plain", "--cache-from", &at];
    let to = ["--cache-to", "type=local,dest=new,mode=max"];
    let child = project.bkl(&[&args[..], &to].concat()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    drop(served);
    let started = Instant::now();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("is exported without"), "{said}");
    assert!(started.elapsed() < Duration::from_secs(45), "{:?}: {said}", started.elapsed());
}

/// What a killed build left beside its output goes when the output is written again; what another build writes stays.
fn leftovers_are_removed() {
    let project = project();
    for dest in ["out", "type=oci,tar=false,dest=out"] {
        let beside = |random: &str| {
            let dir = project.path().join(format!(".out.bkl-{random}"));
            fs::create_dir_all(dir.join("sub")).unwrap();
            fs::write(dir.join("sub/file"), "x").unwrap();
            dir
        };
        let left = beside("0123456789abcdef");
        let held = beside("fedcba9876543210");
        let others = beside("somebody");
        let lock = fs::File::open(&held).unwrap();
        lock.lock().unwrap();
        build(&project, "one", &["app", "-o", dest]);
        assert!(!left.exists() && held.exists() && others.exists(), "{dest}");
        fs::remove_dir_all(project.path().join("out")).unwrap();
    }
}

/// A build that waits for another's export can be stopped.
fn a_build_that_waits_can_be_stopped() {
    let project = project();
    let to = ["--cache-to", "type=local,dest=cache"];
    build(&project, "one", &to);
    let lock = fs::File::open(project.path().join("cache")).unwrap();
    lock.lock().unwrap();
    let args = [&["build", "--store", "one", "--network", "none"][..], &to].concat();
    let child = project.bkl(&args).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let pid = child.id().to_string();
    let started = Instant::now();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    // So that a failure ends as well.
    let unlock = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(10));
        drop(lock);
    });
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && started.elapsed() < Duration::from_secs(5), "{said}");
    unlock.join().unwrap();
}
