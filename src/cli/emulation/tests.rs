//! What a machine runs, natively and by the interpreters that are registered.

use super::Machine;

fn check(host: &str, registered: &[(&str, &str)], platform: &str, expected: bool) {
    let binfmt = tempfile::tempdir().unwrap();
    for (name, text) in registered {
        std::fs::write(binfmt.path().join(name), text).unwrap();
    }
    let machine = Machine::with(&host.parse().unwrap(), binfmt.path());
    assert_eq!(machine.runs(&platform.parse().unwrap()), expected, "{platform} on {host}");
}

#[test]
fn natively() {
    check("linux/amd64", &[], "linux/amd64", true);
    check("linux/amd64", &[], "linux/386", true);
    check("linux/amd64", &[], "linux/arm64", false);
    check("linux/arm64", &[], "linux/arm/v7", true);
    check("linux/arm64", &[], "linux/amd64", false);
    check("linux/amd64", &[], "windows/amd64", false);
}

#[test]
fn emulated() {
    let on = "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: OCF\noffset 0\n";
    check("linux/amd64", &[("qemu-aarch64", on)], "linux/arm64", true);
    check("linux/amd64", &[("qemu-aarch64", on)], "linux/arm/v7", false);
    check("linux/amd64", &[("qemu-aarch64", &on.replace("enabled", "disabled"))], "linux/arm64", false);
    // Not there inside of the container.
    check("linux/amd64", &[("qemu-aarch64", &on.replace("OCF", "OC"))], "linux/arm64", false);
}
