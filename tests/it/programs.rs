//! The example programs, built as they are: unmodified, from stand-ins of their images
//! (tests/golden/programs/stand-ins), and judged by skopeo and umoci. All need root and overlayfs.

mod lower;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use libtest_mimic::Trial;
use serde_json::Value;

use crate::cli::copy_folder;
use crate::images::{has_tools, run};

pub fn trials() -> Vec<Trial> {
    let judged = has_tools(&["skopeo", "umoci"]);
    let trial = |name: &str, run: fn()| {
        crate::trial(format!("programs::root::{name}"), run).with_ignored_flag(!judged)
    };
    let mut trials = vec![
        trial("bake_istio", bake_istio),
        trial("buildkit0", buildkit0),
        trial("dockerfile_values", dockerfile_values),
        trial("fm", fm),
        trial("matrix", matrix),
        trial("multistage_go", multistage_go),
        trial("release", release),
        trial("state_ops", state_ops),
    ];
    trials.extend(lower::trials());
    trials
}

/// A copy of an example, and a layout of the images it uses under their own names.
struct Example {
    temp: tempfile::TempDir,
    folder: PathBuf,
}

impl Example {
    /// `stand_ins` are targets of the program that makes them.
    fn new(name: &str, stand_ins: &[&str]) -> Example {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join(name);
        copy_folder(&root.join("examples").join(name), &folder);
        let images = temp.path().join("stand-ins");
        copy_folder(&root.join("tests/golden/programs/stand-ins"), &images);
        fs::create_dir(images.join("busybox")).unwrap();
        fs::copy("/bin/busybox", images.join("busybox/busybox")).expect("busybox-static is installed");
        let mut args = vec!["build", "-o", "type=oci,dest=../images/", "--progress", "quiet"];
        args.extend(stand_ins);
        let example = Example { temp, folder };
        let made = example.command(&images, "store-of-stand-ins", &args).output().unwrap();
        assert!(made.status.success(), "the stand-ins:\n{}", text(&made));
        example
    }

    fn command(&self, folder: &Path, store: &str, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bkl"));
        command.args(args).current_dir(folder).env("BKL_STORE", self.temp.path().join(store));
        command.env("NO_COLOR", "1").env_remove("BUILDKIT_PROGRESS");
        command
    }

    fn bkl(&self, args: &[&str]) -> Output {
        let args = [args, &["--image", "oci-layout://../images"]].concat();
        self.command(&self.folder, "store", &args).output().unwrap()
    }

    /// Builds; gives the names of the steps that were not cached.
    fn build(&self, args: &[&str]) -> Vec<String> {
        let output = self.bkl(&[&["build", "--progress", "plain"], args].concat());
        assert!(output.status.success(), "bkl build {args:?}:\n{}", text(&output));
        steps_run(&text(&output))
    }

    /// A second build has nothing to do, and all tests of the program pass.
    fn is_settled(&self, args: &[&str]) {
        assert_eq!(self.build(args), Vec::<String>::new());
        assert!(!self.folder.join("bkl.lock").exists(), "what stands in is not pinned");
    }

    fn tests_pass(&self) {
        let output = self.bkl(&["test"]);
        assert!(output.status.success() && text(&output).contains("tests passed"), "{}", text(&output));
    }

    /// An image of an exported layout.
    fn image(&self, layout: &str, name: &str, platform: &str) -> Image {
        let source = format!("oci:{}:{name}", self.temp.path().join(layout).display());
        let mut parts = platform.split('/').skip(1);
        let mut args = vec![format!("--override-arch={}", parts.next().unwrap())];
        args.extend(parts.next().map(|variant| format!("--override-variant={variant}")));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let config = run("skopeo", &[&args[..], &["inspect", "--config", "--raw", &source]].concat());
        let temp = tempfile::tempdir_in(self.temp.path()).unwrap();
        let one = format!("{}:one", temp.path().join("one").display());
        run("skopeo", &[&args[..], &["copy", "-q", &source, &format!("oci:{one}")]].concat());
        let bundle = temp.path().join("bundle");
        run("umoci", &["unpack", "--image", &one, bundle.to_str().unwrap()]);
        let config: Value = serde_json::from_str(&config).unwrap();
        let variant = config["variant"].as_str().map_or_else(String::new, |it| format!("/{it}"));
        assert_eq!(format!("linux/{}{variant}", config["architecture"].as_str().unwrap()), platform);
        Image { config, rootfs: bundle.join("rootfs"), _temp: temp }
    }

    /// The entries of a layout: the short name (the tag, or the target's path among several) to full name and platforms.
    fn entries(&self, layout: &str) -> BTreeMap<String, (String, Vec<String>)> {
        let layout = self.temp.path().join(layout);
        let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
        let entry = |entry: &Value| {
            let name = |key: &str| entry["annotations"][key].as_str().unwrap_or_default().to_owned();
            let short = name("org.opencontainers.image.ref.name");
            let raw = run("skopeo", &["inspect", "--raw", &format!("oci:{}:{short}", layout.display())]);
            let raw: Value = serde_json::from_str(&raw).unwrap();
            let platforms = raw["manifests"].as_array().into_iter().flatten().map(|image| {
                let part = |key: &str| image["platform"][key].as_str();
                let parts: Vec<&str> =
                    ["os", "architecture", "variant"].into_iter().filter_map(part).collect();
                parts.join("/")
            });
            (short, (name("io.containerd.image.name"), platforms.collect()))
        };
        index["manifests"].as_array().unwrap().iter().map(entry).collect()
    }

    fn read(&self, path: &str) -> String {
        read(&self.folder.join(path))
    }

    fn change(&self, path: &str, text: &str) {
        fs::write(self.folder.join(path), text).unwrap();
    }
}

struct Image {
    config: Value,
    rootfs: PathBuf,
    _temp: tempfile::TempDir,
}

impl Image {
    fn read(&self, path: &str) -> String {
        read(&self.rootfs.join(path))
    }

    fn mode(&self, path: &str) -> u32 {
        fs::symlink_metadata(self.rootfs.join(path)).unwrap().permissions().mode() & 0o7777
    }

    fn has(&self, path: &str) -> bool {
        fs::symlink_metadata(self.rootfs.join(path)).is_ok()
    }

    fn is(&self, key: &str, value: impl Into<Value>) {
        assert_eq!(self.config["config"][key], value.into(), "{key}");
    }

    fn n_layers(&self) -> usize {
        self.config["rootfs"]["diff_ids"].as_array().unwrap().len()
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

/// The steps of a plain log that ended otherwise than cached, in the order of their numbers.
fn steps_run(log: &str) -> Vec<String> {
    let mut names: BTreeMap<u32, &str> = BTreeMap::new();
    let mut run = Vec::new();
    for line in log.lines() {
        let Some((number, rest)) = line.strip_prefix('#').and_then(|line| line.split_once(' ')) else {
            continue;
        };
        let Ok(number) = number.parse() else { continue };
        let name = *names.entry(number).or_insert(rest);
        if rest.starts_with("DONE") {
            run.push((number, name.to_owned()));
        }
    }
    run.sort();
    run.into_iter().map(|(_, name)| name).collect()
}

fn host() -> String {
    bkl::base::Platform::host().to_string()
}

fn buildkit0() {
    let example = Example::new("buildkit0", &["golang.go_alpine", "alpine.latest"]);
    let built = example.build(&["-o", "type=oci,dest=../out/"]);
    assert_eq!(built.iter().filter(|name| name.starts_with("git clone")).count(), 3, "{built:#?}");
    let image = example.image("out", "buildkit0", &host());
    assert!(image.read("bin/buildctl").contains("# go build -o /bin/buildctl ./cmd/buildctl\n"));
    assert!(image.read("bin/buildkitd").contains("# GOPATH=/go\n"));
    assert!(image.read("bin/runc").contains("./HEAD\n"), "built from what was checked out");
    assert_eq!(
        image.read("bin/containerd"),
        "make bin/containerd of https://github.com/containerd/containerd.git at v1.7.2, with g++ linux-headers git \
         libseccomp-dev make btrfs-progs-dev \n"
    );
    assert!(image.has("bin/ls") && !image.has("go"), "alpine with four more files");
    example.is_settled(&[]);
    let again = example.build(&["-p", "runc_version=v1.2.0"]);
    let is_new = |part: &str| again.iter().filter(|name| name.contains(part)).count();
    assert_eq!((is_new("git checkout -q v1.2.0"), is_new("go build -o /usr/bin/runc")), (1, 1), "{again:#?}");
    assert_eq!(is_new("git clone") + is_new("make bin") + is_new("buildkitd ./cmd"), 0, "{again:#?}");
    example.build(&["-p", "with_containerd=false", "-o", "type=oci,dest=../without/"]);
    assert!(!example.image("without", "buildkit0", &host()).has("bin/containerd"));
}

fn fm() {
    let example = Example::new("fm", &["golang.go_1_14", "alpine.latest"]);
    example.tests_pass();
    example.build(&["-o", "type=oci,dest=../out/", "--platform", "linux/amd64,linux/arm64"]);
    let entries = example.entries("out");
    assert_eq!(entries["latest"].0, "registry.local/fm:latest");
    assert_eq!(entries["latest"].1, ["linux/amd64", "linux/arm64"]);
    for arch in ["amd64", "arm64"] {
        let image = example.image("out", "latest", &format!("linux/{arch}"));
        image.is("Entrypoint", ["./app"].as_slice());
        image.is("Cmd", Value::Null);
        image.is("WorkingDir", "/root");
        let app = image.read("root/app");
        assert!(app.contains("# go build -ldflags=-s -w -o /out/app ./cmd/main.go\n"), "{app}");
        assert!(app.contains(&format!("# GOARCH={arch}\n# GOOS=linux\n")), "{app}");
        assert_eq!(image.read("etc/localtime"), "TZif2: CST-8\n");
        assert_eq!(image.read("root/conf/config.yaml"), example.read("conf/config.yaml"));
        assert_eq!(image.mode("root/app"), 0o755);
        assert!(!image.has("17x"), "no sources are shipped");
    }
    example.is_settled(&["--platform", "linux/amd64,linux/arm64"]);
    // Modules are fetched again when go.mod changes, and only then.
    example.change("cmd/main.go", "package main\n");
    let again = example.build(&[]);
    assert!(again.iter().any(|name| name.contains("go build")), "{again:#?}");
    assert!(!again.iter().any(|name| name.contains("go mod download")), "{again:#?}");
}

fn multistage_go() {
    let example = Example::new("multistage-go", &["golang.go_1_26", "distroless.static_debian12"]);
    example.build(&[
        "runtime",
        "-p",
        "version=1.4.0",
        "--platform",
        "linux/arm64",
        "-o",
        "type=oci,dest=../out/",
    ]);
    let image = example.image("out", "1.4.0", "linux/arm64");
    image.is("User", "nonroot");
    assert!(image.read("usr/bin/app").contains("-X main.version=1.4.0"));
    example.build(&["binary"]);
    assert!(example.read("dist/app").contains("-X main.version=dev"));
}

fn bake_istio() {
    let example = Example::new("bake-istio", &["istio"]);
    run(example.folder.join("make-out").to_str().unwrap(), &["amd64", "arm64"]);
    example.tests_pass();
    example.build(&["-o", "type=oci,dest=../img/"]);
    let entries = example.entries("img");
    assert_eq!(entries.len(), 8);
    for (target, (name, platforms)) in &entries {
        let short = target.strip_prefix("images.").unwrap();
        assert_eq!(*name, format!("docker.io/istio/{short}:latest"));
        assert_eq!(platforms, &["linux/amd64"]);
    }
    let pilot = example.image("img", "images.pilot", "linux/amd64");
    assert_eq!(pilot.read("usr/local/bin/pilot-discovery"), "#!/bin/sh\necho pilot-discovery for amd64\n");
    assert_eq!(pilot.mode("usr/local/bin/pilot-discovery"), 0o755);
    assert!(pilot.read("var/lib/istio/envoy/gcp_envoy_bootstrap_tmpl.json").contains("opencensus"));
    pilot.is("Entrypoint", ["/usr/local/bin/pilot-discovery"].as_slice());
    pilot.is("User", "65532");
    let cni = example.image("img", "images.install-cni", "linux/amd64");
    cni.is("WorkingDir", "/opt/cni/bin");
    assert_eq!(cni.mode("opt/cni/bin/istio-cni"), 0o755);
    let operator = example.image("img", "images.operator", "linux/amd64");
    assert!(operator.read("var/lib/istio/manifests/charts/base/Chart.yaml").contains("name: base"));
    let app = example.image("img", "images.app", "linux/amd64");
    assert!(app.has("cert.crt") && app.has("cert.key") && app.has("etc/istio-base"));
    example.is_settled(&[]);

    // A new envoy is in one image.
    example.change("out/linux_amd64/envoy", "#!/bin/sh\necho new\n");
    let again = example.build(&[]);
    let work: Vec<&str> =
        again.iter().map(String::as_str).filter(|name| !name.starts_with("local://")).collect();
    assert_eq!(work, ["copy /envoy /usr/local/bin/envoy", "merge 3 trees", "copy / /"]);

    // The sidecars are only copied together: other platforms need no emulator.
    example.build(&[
        "-p",
        "qemu=true",
        "-p",
        "arches=linux/amd64,linux/arm64",
        "-o",
        "type=oci,dest=../all/",
    ]);
    let entries = example.entries("all");
    assert_eq!(entries.len(), 12);
    assert!(
        entries.values().all(|(_, platforms)| *platforms == ["linux/amd64", "linux/arm64"]),
        "{entries:#?}"
    );
    let sidecar = example.image("all", "images.app_sidecar_debian_11", "linux/arm64");
    assert_eq!(sidecar.read("etc/os"), "debian_11\n");
    assert!(sidecar.read("usr/local/bin/client").contains("for arm64"));
    example.build(&["images.ztunnel", "-p", "variant=debug", "-o", "type=oci,dest=../debug/"]);
    assert!(example.image("debug", "latest", "linux/amd64").has("etc/istio-base"));
}

fn state_ops() {
    let example = Example::new("state-ops", &["debian", "alpine.alpine_3_20", "node.node_22", "app"]);
    example.tests_pass();
    let rebased = example.build(&["rebased", "-o", "type=oci,dest=../out/"]);
    assert!(!rebased.iter().any(|name| name.contains("/bin/sh")), "no command: {rebased:#?}");
    let image = example.image("out", "rebased", &host());
    assert_eq!(image.read("etc/debian_version"), "12.8\n", "the new base");
    assert_eq!(image.read("usr/bin/app"), "#!/bin/sh\necho app\n");
    image.is("Entrypoint", ["/usr/bin/app"].as_slice());
    image.is("Cmd", ["--serve"].as_slice());
    assert!(image.config["config"]["Env"].as_array().unwrap().contains(&"APP_HOME=/srv".into()));

    example.build(&["toolbox", "patched", "-o", "type=oci,dest=../out/"]);
    assert_eq!(example.entries("out")["toolbox"].0, "docker.io/library/toolbox:dev");
    let toolbox = example.image("out", "toolbox", &host());
    for tool in ["git", "python3", "curl"] {
        assert_eq!(toolbox.read(&format!("usr/bin/{tool}")), format!("#!/bin/sh\necho {tool}\n"));
    }
    assert!(!toolbox.has("var/lib/apt/lists/index"), "only what the installation added");
    let base = example.image("images", "debian.bookworm", &host());
    assert_eq!(toolbox.n_layers(), base.n_layers() + 3);
    let patched = example.image("out", "patched", &host());
    assert_eq!(patched.read("etc/app.json"), "{ \"name\": \"app\", \"feature\": true }\n");
    assert!(!patched.has("usr/bin/jq"), "the tools stay where they are");

    example.build(&["site", "index"]);
    assert_eq!(example.read("dist/site/states.html"), "<p>A state is a tree that never changes.</p>\n");
    assert_eq!(example.read("dist/index/words.json"), "layers\nstates\n");
    example.is_settled(&[]);
    example.change("docs/pages/new.md", "# New\n\nIt is new.\n");
    let again = example.build(&[]);
    let commands: Vec<_> = again.iter().filter(|name| name.starts_with("/bin/sh")).collect();
    assert!(commands.len() == 1 && commands[0].contains("npm ci"), "{again:#?}");
    assert!(example.read("dist/index/words.json").contains("new"));
}

fn matrix() {
    let stand_ins = ["golang.go_1_26", "debian.slim", "distroless.static"];
    let example = Example::new("matrix", &stand_ins);
    example.tests_pass();
    let built = example.build(&["images", "-o", "type=oci,dest=../out/"]);
    let compiled = |steps: &[String]| steps.iter().filter(|name| name.contains("go build")).count();
    assert_eq!(compiled(&built), 9, "each binary once: {built:#?}");
    let entries = example.entries("out");
    assert_eq!(entries.len(), 6);
    let all = ["linux/amd64", "linux/arm64", "linux/arm/v7"];
    assert!(entries.values().all(|(_, platforms)| platforms == &all), "{entries:#?}");
    assert_eq!(entries["images.migrate.static"].0, "ghcr.io/acme/migrate:dev-static");
    let worker = example.image("out", "images.worker.slim", "linux/arm/v7");
    assert!(worker.read("usr/bin/worker").contains("# GOARCH=arm\n# GOARM=7\n"));
    worker.is("Labels", serde_json::json!({ "org.opencontainers.image.version": "dev" }));
    let api = example.image("out", "images.api.static", "linux/amd64");
    api.is("User", "65532");
    assert!(!api.has("bin"));

    assert_eq!(compiled(&example.build(&["binaries"])), 0, "they were compiled for the images");
    let mut names: Vec<String> = fs::read_dir(example.folder.join("dist"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names.len(), 9, "{names:?}");
    assert!(example.read("dist/migrate-linux-arm64").contains("GOARCH=arm64"));
    example.is_settled(&[]);
    let one = example.build(&["images.api.static", "-p", "platforms=linux/amd64", "-p", "version=1.4.0"]);
    assert_eq!(compiled(&one), 1, "{one:#?}");
}

fn release() {
    let example = Example::new("release", &["node.bookworm", "distroless.node", "cosign"]);
    fs::write(example.temp.path().join("token"), "the-token").unwrap();
    fs::write(example.temp.path().join("key"), "the-key\n").unwrap();
    let _agent = std::os::unix::net::UnixListener::bind(example.temp.path().join("agent")).unwrap();
    let given = ["--secret", "id=npm_token,src=../token", "--ssh", "github=../agent"];
    let with = |args: &[&'static str]| -> Vec<&'static str> { [args, &given].concat() };

    // The checks come first, and what is checked was installed with the token and the agent.
    let checked = example.bkl(&with(&["build", "--progress", "plain"]));
    let log = text(&checked);
    assert!(checked.status.success() && log.contains("lint  ok\nunit  ok\n"), "{log}");
    assert!(log.contains("installed with token given, agent yes"), "{log}");
    assert!(!log.contains("the-token"), "{log}");

    let to = ["release", "-p", "version=1.4.0", "-o", "type=oci,dest=../out/"];
    let built = example.build(&with(&to));
    assert!(!built.iter().any(|name| name.contains("npm ci") || name.contains("npm run lint")), "{built:#?}");
    let entries = example.entries("out");
    let names: Vec<&str> = entries.values().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["ghcr.io/acme/web:1.4.0", "ghcr.io/acme/web:latest"]);
    assert!(
        entries.values().all(|(_, platforms)| *platforms == ["linux/amd64", "linux/arm64"]),
        "{entries:#?}"
    );
    let image = example.image("out", "1.4.0", "linux/arm64");
    assert!(image.read("srv/answer.js").contains("\"1.4.0\""));
    assert_eq!(fs::metadata(image.rootfs.join("srv/main.js")).unwrap().uid(), 65532);
    image.is("Entrypoint", ["/nodejs/bin/node"].as_slice());
    image.is("Cmd", ["/srv/main.js"].as_slice());
    image.is("User", "nonroot");
    image.is("ExposedPorts", serde_json::json!({ "8080/tcp": {} }));
    let test = ["CMD", "/nodejs/bin/node", "/srv/health.js"];
    let half_a_minute = 30_000_000_000_u64;
    let check = serde_json::json!({ "Test": test, "Interval": half_a_minute, "Timeout": half_a_minute, "Retries": 3 });
    image.is("Healthcheck", check);
    image.is("Labels", serde_json::json!({ "org.opencontainers.image.version": "1.4.0" }));
    example.is_settled(&with(&["release", "-p", "version=1.4.0"]));
    example.tests_pass();

    // The report is there although the command ended with 1.
    example.build(&with(&["coverage"]));
    assert_eq!(example.read("coverage/report.txt"), "lines 71 %, wanted 80 %\n");

    // A signature is made each time; a key that only its owner can read is the user's own.
    for _ in 0..2 {
        let signed =
            example.bkl(&["build", "signed", "--progress", "plain", "--secret", "id=cosign.key,src=../key"]);
        assert!(signed.status.success(), "{}", text(&signed));
        assert!(text(&signed).contains("signed ghcr.io/acme/web:0.0.0 with the-key"), "{}", text(&signed));
    }

    // No release without lint.
    example.change("src/main.js", "\tlet x\n");
    let refused = example.bkl(&with(&["build", "release", "-o", "type=oci,dest=../refused/"]));
    assert!(
        !refused.status.success() && text(&refused).contains("`/bin/sh -c npm run lint` ended with 1"),
        "{}",
        text(&refused)
    );
    assert!(!example.temp.path().join("refused").exists());
}

fn dockerfile_values() {
    let example = Example::new("dockerfile-values", &["golang.go_1_26"]);
    let checked = example.command(&example.folder, "store", &["check"]).output().unwrap();
    assert!(checked.status.success() && text(&checked).is_empty(), "{}", text(&checked));
    example.tests_pass();
    example.build(&["tools.lint", "-o", "../out"]);
    assert!(example.read("../out/tool").contains("# go build -o /out/tool ./cmd/lint\n"));
}
