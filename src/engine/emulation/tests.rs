//! What a machine runs: natively, by interpreters that are registered, through emulators in its PATH.

use super::*;

/// `found` are programs in the second directory of PATH.
fn check(host: &str, registered: &[(&str, &str)], found: &[&str], platform: &str, expected: &str) {
    let place = tempfile::tempdir().unwrap();
    let [binfmt, first, second] = ["binfmt", "first", "second"].map(|it| place.path().join(it));
    for dir in [&binfmt, &first, &second] {
        fs::create_dir(dir).unwrap();
    }
    for (name, text) in registered {
        fs::write(binfmt.join(name), text).unwrap();
    }
    for name in found {
        // Not executable, so not the one.
        fs::write(first.join(name), "").unwrap();
        fs::write(second.join(name), "").unwrap();
        fs::set_permissions(second.join(name), fs::Permissions::from_mode(0o700)).unwrap();
    }
    let path = std::env::join_paths([Path::new("."), &first, &second]).unwrap();
    let machine = Machine::with(&host.parse().unwrap(), &binfmt, path);
    let way = match machine.way(&platform.parse().unwrap()) {
        Way::Kernel => "kernel".to_owned(),
        Way::Unknown => "unknown".to_owned(),
        Way::Through(path) => path.strip_prefix(&second).unwrap().display().to_string(),
    };
    assert_eq!(way, expected, "{platform} on {host}");
}

const ON: &str = "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: OCF\noffset 0\n";

#[test]
fn natively() {
    check("linux/amd64", &[], &[], "linux/amd64", "kernel");
    check("linux/amd64", &[], &[], "linux/386", "kernel");
    check("linux/amd64", &[], &[], "linux/arm64", "unknown");
    check("linux/arm64", &[], &[], "linux/arm/v7", "kernel");
    check("linux/arm64", &[], &[], "linux/amd64", "unknown");
    check("linux/amd64", &[], &[], "windows/amd64", "unknown");
}

#[test]
fn registered() {
    check("linux/amd64", &[("qemu-aarch64", ON)], &[], "linux/arm64", "kernel");
    check("linux/amd64", &[("qemu-aarch64", ON)], &[], "linux/arm/v7", "unknown");
    let off = ON.replace("enabled", "disabled");
    check("linux/amd64", &[("qemu-aarch64", &off)], &[], "linux/arm64", "unknown");
    // Not there inside of the container.
    let late = ON.replace("OCF", "OC");
    check("linux/amd64", &[("qemu-aarch64", &late)], &[], "linux/arm64", "unknown");
}

#[test]
fn emulators() {
    for (arch, name) in [
        ("arm64", "aarch64"),
        ("amd64", "x86_64"),
        ("riscv64", "riscv64"),
        ("arm/v7", "arm"),
        ("s390x", "s390x"),
        ("ppc64le", "ppc64le"),
        ("386", "i386"),
        ("mips64", "mips64"),
    ] {
        let name = format!("buildkit-qemu-{name}");
        check("linux/loong64", &[], &[&name], &format!("linux/{arch}"), &name);
    }
    check("linux/amd64", &[], &["buildkit-qemu-x86_64"], "linux/amd64", "kernel");
    check("linux/amd64", &[("qemu-aarch64", ON)], &["buildkit-qemu-aarch64"], "linux/arm64", "kernel");
    check("linux/amd64", &[], &["buildkit-qemu-amd64"], "windows/amd64", "unknown");
}
