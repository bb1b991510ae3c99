//! `docker load` takes our archives and runs what is in them: a dockerd of our own, without network.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bkl::base::Platform;
use bkl::engine::export::{ExportImage, ExportItem, ExportKind};
use bkl::graph::ir::ImageConfig;
use libtest_mimic::Trial;
use serde_json::Value;

use super::{Built, step};
use crate::images::{has_tools, run};

pub(crate) fn trials() -> Vec<Trial> {
    let can =
        has_tools(&["dockerd", "docker", "containerd", "busybox"]) && rustix::process::geteuid().is_root();
    vec![crate::trial("export::docker_loads_and_runs_as_root", loads_and_runs).with_ignored_flag(!can)]
}

/// A docker daemon; stopped, with its containerd, when dropped.
struct Dockerd {
    process: Child,
    host: String,
    log: PathBuf,
    /// Of the containers' cgroups.
    parent: String,
}

impl Dockerd {
    fn start(dir: &Path) -> Dockerd {
        let path = |name: &str| dir.join(name).display().to_string();
        let (host, log) = (format!("unix://{}", path("docker.sock")), dir.join("dockerd.log"));
        let parent = format!("bkl-test-{}", std::process::id());
        let process = Command::new("dockerd")
            .args(["-H", &host, "--data-root", &path("data"), "--exec-root", &path("exec")])
            .args(["--pidfile", &path("pid"), "--iptables=false", "--bridge=none"])
            .args(["--cgroup-parent", &format!("/{parent}")])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut dockerd = Dockerd { process, host, log, parent };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !dockerd.command(&["version"]).output().is_ok_and(|output| output.status.success()) {
            let log = || std::fs::read_to_string(&dockerd.log).unwrap_or_default();
            assert!(dockerd.process.try_wait().unwrap().is_none(), "dockerd ended:\n{}", log());
            assert!(Instant::now() < deadline, "dockerd does not answer:\n{}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
        dockerd
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(["-H", &self.host]).args(args);
        command
    }

    fn run(&self, args: &[&str]) -> String {
        run("docker", &[&["-H", &self.host], args].concat())
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        // Asked, not killed: it has a containerd to stop and mounts to undo.
        let pid = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.process.wait();
        // Dockerd leaves these behind: one in every hierarchy of cgroup v1, one in v2's.
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        for dir in hierarchies.map(|entry| entry.path()).chain(["/sys/fs/cgroup".into()]) {
            let _ = std::fs::remove_dir(dir.join(&self.parent));
        }
    }
}

fn loads_and_runs() {
    let mut built = Built::new();
    let tree = super::Snapshot::scratch();
    let tree = step(built.store(), &tree, "copy busybox", |root| {
        std::fs::create_dir(root.join("bin")).unwrap();
        std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    });
    let tree = step(built.store(), &tree, "link sh", |root| {
        std::os::unix::fs::symlink("busybox", root.join("bin/sh")).unwrap();
    });
    let mut config = ImageConfig::scratch(Platform::host());
    config.set_env("GREETING", "hello from bkl");
    config.entrypoint = Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), "echo $GREETING".to_owned()]);
    let tags = vec!["docker.io/library/hello:v1".to_owned(), "example.com/hello:v2".to_owned()];
    let image = ExportImage { snapshot: tree, config, tags, cache: None };
    built.item = ExportItem { name: "hello".to_owned(), kind: ExportKind::Image(Box::new(image)) };

    let dockerd = Dockerd::start(built.dir());
    for (name, options) in
        [("gzip.tar", ""), ("plain.tar", ",compression=uncompressed"), ("oci.tar", ",oci-mediatypes=false")]
    {
        let report = built.export("docker", name, options);
        let loaded = dockerd.run(&["load", "-i", built.dir().join(name).to_str().unwrap()]);
        assert!(loaded.contains("hello:v1") && loaded.contains("example.com/hello:v2"), "{loaded}");
        let inspected: Value = serde_json::from_str(&dockerd.run(&["inspect", "hello:v1"])).unwrap();
        // Docker's image id is the digest of the config: it took our bytes as they are.
        assert_eq!(inspected[0]["Id"], report.images[0].platforms[0].2.to_string(), "{name}");
        assert_eq!(inspected[0]["RootFS"]["Layers"].as_array().unwrap().len(), 2);
        let history = dockerd.run(&["history", "--format={{.CreatedBy}}", "hello:v1"]);
        assert_eq!(history.lines().collect::<Vec<_>>(), ["link sh", "copy busybox"]);
        let said = dockerd.run(&["run", "--rm", "--network=none", "hello:v1"]);
        assert_eq!(said, "hello from bkl\n");
        dockerd.run(&["rmi", "-f", "hello:v1", "example.com/hello:v2"]);
    }
}
