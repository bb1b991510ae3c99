//! What the kernel's tables say.

use super::*;

#[test]
fn sockets_in_use() {
    let mut usage = Usage { n_sockets: 0, n_bound: 0 };
    usage.add(
        "sockets: used 66\nTCP: inuse 1 orphan 5 tw 2 alloc 130 mem 26\nUDP: inuse 3 mem 9\nUDPLITE: inuse 0\n\
         RAW: inuse 4\nFRAG: inuse 0 memory 0\n",
    );
    assert_eq!(usage, Usage { n_sockets: 66, n_bound: 10 });
    usage.add("TCP6: inuse 1\nUDP6: inuse 0\nUDPLITE6: inuse 0\nRAW6: inuse 0\nFRAG6: inuse 0 memory 0\n");
    assert_eq!(usage, Usage { n_sockets: 66, n_bound: 11 });
    usage.add("TCP: inuse much\n");
    assert_eq!(usage.n_bound, u64::MAX, "what is not understood is not free");
}
