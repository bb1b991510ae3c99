//! What can be said without starting one.

use super::*;

const HEAD: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

#[track_caller]
fn check(routes: &[(&str, &str)], expected: &str) {
    let hex = |it: &str| format!("{:08X}", u32::from_ne_bytes(it.parse::<Ipv4Addr>().unwrap().octets()));
    let line = |(to, mask): &(&str, &str)| {
        format!("e0\t{}\t00000000\t0001\t0\t0\t0\t{}\t0\t0\t0\n", hex(to), hex(mask))
    };
    let table: String = [HEAD.to_owned()].into_iter().chain(routes.iter().map(line)).collect();
    assert_eq!(first_free(&table).to_string(), expected, "{table}");
}

#[test]
fn a_network_that_the_host_does_not_use() {
    check(&[], "10.0.2.0");
    check(&[("0.0.0.0", "0.0.0.0"), ("192.0.2.0", "255.255.255.0")], "10.0.2.0");
    check(&[("10.0.2.0", "255.255.255.0")], "172.30.254.0");
    check(&[("10.0.0.0", "255.0.0.0")], "172.30.254.0");
    check(&[("10.0.2.7", "255.255.255.255")], "172.30.254.0");
    check(&[("10.0.0.0", "255.0.0.0"), ("172.16.0.0", "255.240.0.0")], "192.168.254.0");
    check(
        &[("10.0.0.0", "255.0.0.0"), ("172.16.0.0", "255.240.0.0"), ("192.168.0.0", "255.255.0.0")],
        "10.0.2.0",
    );
}

#[test]
fn programs_are_found_by_absolute_path() {
    assert_eq!(find("sh", OsStr::new("/nowhere:bin:/bin")), Some("/bin/sh".into()));
    assert_eq!(find("sh", OsStr::new("bin::.")), None);
    assert_eq!(find("passwd", OsStr::new("/etc")), None, "no program");
}

#[test]
fn what_it_complains_of() {
    let text = "Failed to send 47 bytes to syslog\nDon't run as root. Changing to nobody...\n\
        Couldn't open user namespace\nFailed to send 74 bytes to syslog\n\n";
    assert_eq!(complaint(text), Some("Couldn't open user namespace"));
    assert_eq!(complaint("\n"), None);
}
