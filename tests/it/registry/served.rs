//! Against the real thing: docker's `registry`, filled by skopeo from a layout that umoci made.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use super::{Puller, message};
use crate::images::{TestImage, has_tools, run};

const TOOLS: &[&str] = &["docker-registry", "skopeo", "umoci", "busybox"];
/// bcrypt of `secret`.
const HTPASSWD: &str = "me:$2b$04$QXMNhVvylYNmqwERaTAnL.KI3zmhAyKMnjS.W0/GtK0obC5dIO5sm\n";

pub(crate) fn trials() -> Vec<Trial> {
    let trial = |name, run: fn()| crate::trial(name, run).with_ignored_flag(!has_tools(TOOLS));
    vec![
        trial("registry::served::pulls_what_skopeo_pushed", pulls_what_skopeo_pushed),
        trial("registry::served::basic_auth", basic_auth),
    ]
}

/// A registry process; killed when dropped.
struct Served {
    process: Child,
    address: String,
}

impl Served {
    fn start(dir: &Path, htpasswd: bool) -> Served {
        // Somebody else may take the port before the registry does; then it ends at once and we try another.
        for _ in 0..5 {
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
            let mut config = format!(
                "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
                 storage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{address}'}}\n",
                dir.join("registry").display()
            );
            if htpasswd {
                let path = dir.join("htpasswd");
                std::fs::write(&path, HTPASSWD).unwrap();
                config += &format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", path.display());
            }
            let path = dir.join("config.yml");
            std::fs::write(&path, config).unwrap();
            let mut process = Command::new("docker-registry")
                .args(["serve".as_ref(), path.as_os_str()])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let deadline = Instant::now() + Duration::from_secs(20);
            while process.try_wait().unwrap().is_none() && Instant::now() < deadline {
                if TcpStream::connect(&address).is_ok() {
                    return Served { process, address };
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = process.kill();
            process.wait().unwrap();
        }
        panic!("docker-registry does not start");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A layout with busybox in one layer, its links in the next.
pub(crate) fn busybox_layout(dir: &Path) -> String {
    let (layout, bundle) = (dir.join("layout"), dir.join("bundle"));
    let image = format!("{}:base", layout.display());
    let bundle_arg = bundle.to_str().unwrap();
    run("umoci", &["init", "--layout", layout.to_str().unwrap()]);
    run("umoci", &["new", "--image", &image]);
    run("umoci", &["unpack", "--image", &image, bundle_arg]);
    std::fs::create_dir_all(bundle.join("rootfs/bin")).unwrap();
    std::fs::copy("/bin/busybox", bundle.join("rootfs/bin/busybox")).unwrap();
    run("umoci", &["repack", "--refresh-bundle", "--image", &image, bundle_arg]);
    std::os::unix::fs::symlink("busybox", bundle.join("rootfs/bin/sh")).unwrap();
    std::fs::hard_link(bundle.join("rootfs/bin/busybox"), bundle.join("rootfs/bin/ls")).unwrap();
    run("umoci", &["repack", "--image", &image, bundle_arg]);
    run("umoci", &["config", "--image", &image, "--config.cmd", "/bin/sh", "--config.env", "A=1"]);
    image
}

fn pulls_what_skopeo_pushed() {
    let puller = Puller::new();
    let dir = puller.dir.path();
    let served = Served::start(dir, false);
    let image = busybox_layout(dir);
    let destination = format!("docker://{}/deep/name/box:v1", served.address);
    run("skopeo", &["copy", "--dest-tls-verify=false", &format!("oci:{image}"), &destination]);
    let reference = format!("{}/deep/name/box:v1", served.address);
    let resolved = puller.resolve(&reference, "linux/amd64").unwrap();
    let digest = run("skopeo", &["inspect", "--tls-verify=false", "--format={{.Digest}}", &destination]);
    assert_eq!(resolved.root_digest.to_string(), digest.trim());
    let tree = puller.pull(&resolved).unwrap();
    assert_eq!(tree.n_layers(), 2);
    assert_eq!(resolved.config_json()["config"]["Env"][0], "A=1");
    let pinned = format!("{}/deep/name/box@{}", served.address, resolved.root_digest);
    assert_eq!(puller.get(&pinned).unwrap(), tree);

    // An index, as skopeo copies it whole.
    let index = TestImage::index(&[
        TestImage::new("linux/amd64", &[&[("a", "amd64")]]),
        TestImage::new("linux/arm64", &[&[("a", "arm64")]]),
    ]);
    let layout = dir.join("index");
    index.write_layout(&layout, "v1");
    let destination = format!("docker://{}/multi:v1", served.address);
    let source = format!("oci:{}:v1", layout.display());
    run("skopeo", &["copy", "--all", "--dest-tls-verify=false", &source, &destination]);
    let reference = format!("{}/multi:v1", served.address);
    let resolved = puller.resolve(&reference, "linux/arm64").unwrap();
    assert_eq!(resolved.root_digest, index.root);
    assert_eq!(puller.read(&puller.pull(&resolved).unwrap(), "a"), "arm64");
    assert!(message(puller.resolve(&reference, "linux/s390x")).contains("it has linux/amd64, linux/arm64"));
    assert!(message(puller.resolve(&reference.replace("v1", "v2"), "linux/amd64")).contains("has no image"));

    // Docker's media types.
    let destination = format!("docker://{}/v2s2:v1", served.address);
    run(
        "skopeo",
        &["copy", "--format=v2s2", "--dest-tls-verify=false", &format!("oci:{image}"), &destination],
    );
    let resolved = puller.resolve(&format!("{}/v2s2:v1", served.address), "linux/amd64").unwrap();
    assert!(resolved.manifest.media_type.contains("docker"));
    assert_eq!(puller.pull(&resolved).unwrap(), tree);
}

fn basic_auth() {
    let puller = Puller::logged_in();
    let dir = puller.dir.path();
    let served = Served::start(dir, true);
    let layout = dir.join("layout");
    TestImage::new("linux/amd64", &[&[("a", "1")]]).write_layout(&layout, "v1");
    let source = format!("oci:{}:v1", layout.display());
    let destination = format!("docker://{}/x:v1", served.address);
    run("skopeo", &["copy", "--dest-tls-verify=false", "--dest-creds=me:secret", &source, &destination]);
    let reference = format!("{}/x:v1", served.address);
    assert_eq!(puller.read(&puller.get(&reference).unwrap(), "a"), "1");
    let denied = message(Puller::new().get(&reference));
    assert!(denied.contains("without credentials"), "{denied}");
}
