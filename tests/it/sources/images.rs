//! `bkl lock` and `bkl update` of images: a registry whose tags move, and two platforms.

use std::fs;
use std::process::Command;

use libtest_mimic::Trial;

use crate::images::TestImage;
use crate::registry::fake::Fake;

pub(super) fn trials() -> Vec<Trial> {
    vec![crate::trial("sources::images::needs_root::tags_that_move", tags_that_move)]
}

fn index(content: &str) -> TestImage {
    let image = |platform: &str| TestImage::new(platform, &[&[("a", content)]]);
    TestImage::index(&[image("linux/amd64"), image("linux/arm64")])
}

fn tags_that_move() {
    let dir = tempfile::TempDir::new_in("/var/tmp").unwrap();
    let registry = Fake::start();
    let (base, tool) = (registry.reference("team/base:1"), registry.reference("team/tool:2"));
    fs::write(
        dir.path().join("build.bkl"),
        format!(
            "target base = image(\"{base}\")\n\
             target only_arm = if target_platform.arch == \"arm64\" {{ image(\"{tool}\") }} else {{ image(\"{base}\") }}\n\
             test \"a test has images, too\" {{ assert image(\"{base}\", platform: \"linux/arm64\").platform.arch == \"arm64\" }}\n"
        ),
    )
    .unwrap();
    let bkl = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_bkl"))
            .args(args)
            .current_dir(dir.path())
            .env("BKL_STORE", dir.path().join("store"))
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let lock = || fs::read_to_string(dir.path().join("bkl.lock")).unwrap_or_default();
    let (first, moved) = (index("1"), index("2"));
    registry.push("1", &first);
    registry.push("2", &first);
    let (code, said) = bkl(&["lock", "--platform", "linux/amd64,linux/arm64"]);
    assert_eq!((code, said.contains("2 references, 2 new")), (Some(0), true), "{said}");
    assert_eq!(lock().matches("[[image.manifest]]").count(), 3, "{}", lock());
    let before = lock();
    assert_eq!(bkl(&["update", "--check"]), (Some(0), "2 references, nothing new\n".to_owned()));

    registry.push("1", &moved);
    let (code, said) = bkl(&["update", "--check"]);
    let line = format!("{base}  sha256:{} -> sha256:{}\n", &first.root.hex()[..12], &moved.root.hex()[..12]);
    assert_eq!((code, said.contains(&line), said.contains("bkl::outdated")), (Some(1), true, true), "{said}");
    assert_eq!(lock(), before, "a check changes nothing");
    // The other one is not looked at, and both platforms of this one are.
    registry.push("2", &moved);
    let (code, said) = bkl(&["update", &base]);
    assert_eq!((code, said), (Some(0), format!("{line}1 reference, 1 changed\n")));
    let after = lock();
    assert_eq!(after.matches("[[image.manifest]]").count(), 3, "{after}");
    assert!(after.contains(&moved.root.to_string()) && after.contains(&first.root.to_string()), "{after}");
    let (code, said) = bkl(&["update", &registry.reference("team/tool")]);
    assert_eq!((code, said.contains("1 changed")), (Some(0), true), "{said}");
    assert!(!lock().contains(&first.root.to_string()));
    let (code, said) = bkl(&["update", &registry.reference("team/tol:2")]);
    assert_eq!((code, said.contains(&format!("did you mean `{tool}`?"))), (Some(1), true), "{said}");
}
