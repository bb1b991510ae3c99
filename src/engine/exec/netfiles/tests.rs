//! The texts, byte for byte.

use super::*;

#[test]
fn hosts_text() {
    let extra = [HostLine { host: "db".into(), ip: "10.0.0.7".parse().expect("an address") }];
    let expected = "127.0.0.1\tlocalhost box\n::1\tlocalhost ip6-localhost ip6-loopback\n10.0.0.7\tdb\n";
    assert_eq!(hosts("box", &extra), expected);
}

fn check(text: &str, reach: Reach, expected: &str) {
    assert_eq!(filter_servers(text, reach), expected);
}

#[test]
fn servers_that_can_be_reached() {
    let local = "search lan\nnameserver 127.0.0.53\nnameserver 10.1.1.1\n";
    check(local, Reach::Host, local);
    check(local, Reach::Isolated, "search lan\nnameserver 10.1.1.1\n");
    let google = "nameserver 8.8.8.8\nnameserver 8.8.4.4\nnameserver 2001:4860:4860::8888\n\
        nameserver 2001:4860:4860::8844\n";
    check("nameserver ::1\noptions edns0\n", Reach::Isolated, &format!("options edns0\n{google}"));
    check("", Reach::Host, google);

    let nat = Reach::Forwarded("10.0.2.3".parse().expect("an address"));
    check(local, nat, "search lan\nnameserver 10.1.1.1\n");
    check("search lan\nnameserver 127.0.0.1\n", nat, "search lan\nnameserver 10.0.2.3\n");
    check("", nat, google);
}
