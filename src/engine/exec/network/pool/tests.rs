//! What the kernel's tables say.

use super::*;

#[test]
fn sockets_in_use() {
    let mut usage = Usage::default();
    usage.add(
        "sockets: used 66\nTCP: inuse 1 orphan 5 tw 2 alloc 130 mem 26\nUDP: inuse 3 mem 9\nUDPLITE: inuse 0\n\
         RAW: inuse 4\nFRAG: inuse 0 memory 0\n",
    );
    assert_eq!(usage, Usage { n_sockets: 66, n_bound: 10, n_datagrams: 0 });
    usage.add("TCP6: inuse 1\nUDP6: inuse 0\nUDPLITE6: inuse 0\nRAW6: inuse 0\nFRAG6: inuse 0 memory 0\n");
    assert_eq!(usage, Usage { n_sockets: 66, n_bound: 11, n_datagrams: 0 });
    usage.add("TCP: inuse much\n");
    assert_eq!(usage.n_bound, u64::MAX, "what is not understood is not free");
}

#[test]
fn datagrams_that_were_sent() {
    let mut usage = Usage::default();
    usage.add(
        "Ip: Forwarding OutRequests\nIp: 1 9\nUdp: InDatagrams NoPorts InErrors OutDatagrams\nUdp: 5 0 0 7\n\
         UdpLite: InDatagrams NoPorts InErrors OutDatagrams\nUdpLite: 0 0 0 0\n",
    );
    usage.add("Ip6OutRequests                  \t4\nUdp6OutDatagrams                \t2\n");
    assert_eq!(usage, Usage { n_datagrams: 9, ..Usage::default() });
    usage.add("Udp: InDatagrams\nUdp: 1\n");
    assert_eq!(usage.n_datagrams, u64::MAX, "what is not understood is not unused");
}
