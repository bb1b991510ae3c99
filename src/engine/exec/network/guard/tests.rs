//! The program, interpreted.

use super::*;

/// What the program makes of a frame of this type whose destination is `address`.
fn passes(ether_type: u16, at: usize, address: &[u8]) -> bool {
    let mut frame = [0xee; 60];
    frame[12..14].copy_from_slice(&ether_type.to_be_bytes());
    frame[at..at + address.len()].copy_from_slice(address);
    let program = program();
    let (mut at, mut value) = (0, 0i64);
    loop {
        let it = program[at];
        let offset = usize::try_from(it.value).unwrap_or(0);
        at += 1;
        match it.code {
            COPY => {}
            PACKET_BYTE => value = frame[offset].into(),
            PACKET_HALF => value = u16::from_be_bytes([frame[offset], frame[offset + 1]]).into(),
            PACKET_WORD => value = u32::from_be_bytes(frame[offset..offset + 4].try_into().unwrap()).into(),
            JUMP_EQUAL if value == i64::from(it.value) => at += it.offset as usize,
            JUMP_UNEQUAL if value != i64::from(it.value) => at += it.offset as usize,
            JUMP_EQUAL | JUMP_UNEQUAL => {}
            MOVE => value = it.value.into(),
            EXIT => return value != 0,
            code => panic!("no such code: {code:#x}"),
        }
    }
}

/// The same of the classic one.
fn passes_classic(ether_type: u16, at: usize, address: &[u8]) -> bool {
    let mut frame = [0xee; 60];
    frame[12..14].copy_from_slice(&ether_type.to_be_bytes());
    frame[at..at + address.len()].copy_from_slice(address);
    let program = classic(&program());
    let (mut at, mut value) = (0, 0u32);
    loop {
        let it = program[at];
        let offset = it.k as usize;
        at += 1;
        match u32::from(it.code) {
            0x30 => value = frame[offset].into(),
            0x28 => value = u16::from_be_bytes([frame[offset], frame[offset + 1]]).into(),
            0x20 => value = u32::from_be_bytes(frame[offset..offset + 4].try_into().unwrap()),
            0x15 => at += usize::from(if value == it.k { it.jt } else { it.jf }),
            0x00 => value = it.k,
            0x16 => return value != 0,
            code => panic!("no such code: {code:#x}"),
        }
    }
}

#[track_caller]
fn check(address: &str, expected: bool) {
    let got = match address.parse::<std::net::IpAddr>().expect("an address") {
        std::net::IpAddr::V4(ip) => passes(0x0800, 30, &ip.octets()),
        std::net::IpAddr::V6(ip) => passes(0x86dd, 38, &ip.octets()),
    };
    assert_eq!(got, expected, "{address}");
    let got = match address.parse::<std::net::IpAddr>().expect("an address") {
        std::net::IpAddr::V4(ip) => passes_classic(0x0800, 30, &ip.octets()),
        std::net::IpAddr::V6(ip) => passes_classic(0x86dd, 38, &ip.octets()),
    };
    assert_eq!(got, expected, "{address}, classic");
}

#[test]
fn nothing_goes_to_the_host_s_loopback() {
    for address in ["127.0.0.1", "127.255.255.255", "0.0.0.0", "0.1.2.3"] {
        check(address, false);
    }
    for address in ["::", "::1", "::ffff:127.0.0.1", "::ffff:0.0.0.0", "::127.0.0.1", "::ffff:8.8.8.8"] {
        check(address, false);
    }
}

#[test]
fn everything_else_goes_through() {
    for address in ["1.1.1.1", "10.0.2.3", "126.255.255.255", "128.0.0.1", "192.168.0.1", "255.255.255.255"] {
        check(address, true);
    }
    for address in ["2001:db8::1", "fe80::1", "ff02::1", "0:0:1::", "0:0:0:0:1::", "64:ff9b::7f00:1"] {
        check(address, true);
    }
    assert!(passes(0x0806, 30, &[127, 0, 0, 1]), "ARP knows no destination there");
}

#[test]
fn other_protocols_do_not() {
    for ether_type in [0x8100, 0x88a8, 0x8847, 0x0000] {
        assert!(!passes(ether_type, 30, &[1, 1, 1, 1]), "{ether_type:#x}");
    }
}
