//! The filter on a namespace's interface.
//!
//! It is attached to the device itself, where frames leave the kernel for the NAT: what a command sends through a raw socket
//! passes it, too, and nothing in the namespace can take it away without CAP_NET_ADMIN.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::engine::exec::bpf::{
    self, COPY, EXIT, Instruction, JUMP_EQUAL, JUMP_UNEQUAL, MOVE, PACKET_BYTE, PACKET_HALF, PACKET_WORD,
};

/// `_IOR('T', 225, int)` of linux/if_tun.h.
const TUNSETFILTEREBPF: libc::c_ulong = 0x8004_54e1;

const ARP: i32 = 0x0806;
const IPV4: i32 = 0x0800;
const IPV6: i32 = 0x86dd;

// Offsets in a frame.
const ETHER_TYPE: i32 = 12;
const IPV4_DESTINATION: i32 = 30;
const IPV6_DESTINATION: i32 = 38;

/// Attaches the filter to the device that `tap` is open on.
///
/// # Errors
/// Those of the system calls.
pub(super) fn attach(tap: &OwnedFd) -> io::Result<()> {
    let program = match bpf::load(bpf::Kind::Packets, &program()) {
        // Root of a user namespace may not load programs of this kind.
        Err(err) if err.raw_os_error() == Some(libc::EPERM) => return attach_classic(tap),
        loaded => loaded?,
    };
    let fd = program.as_raw_fd();
    // SAFETY: the call reads a number that outlives it.
    match unsafe { libc::ioctl(tap.as_raw_fd(), TUNSETFILTEREBPF as _, &raw const fd) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The same as a classic filter, which whoever made the device may attach. The kernel keeps it with the device, and gives it
/// to each program that opens it (drivers/net/tun.c, tun_attach).
fn attach_classic(tap: &OwnedFd) -> io::Result<()> {
    /// `_IOW('T', 213, struct sock_fprog)` of linux/if_tun.h.
    const TUNATTACHFILTER: libc::c_ulong = 0x4010_54d5;
    let mut program = classic(&program());
    let len = u16::try_from(program.len()).expect("the program is short");
    let program = libc::sock_fprog { len, filter: program.as_mut_ptr() };
    // SAFETY: the call copies as many instructions as there are.
    match unsafe { libc::ioctl(tap.as_raw_fd(), TUNATTACHFILTER as _, &raw const program) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Instruction for instruction, but for the first one, which classic filters do without.
fn classic(program: &[Instruction]) -> Vec<libc::sock_filter> {
    let one = |it: &Instruction| {
        let distance = u8::try_from(it.offset).expect("jumps lead forward, and the program is short");
        let (code, jt, jf) = match it.code {
            PACKET_BYTE => (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0),
            PACKET_HALF => (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, 0),
            PACKET_WORD => (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
            JUMP_EQUAL => (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, distance, 0),
            JUMP_UNEQUAL => (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, distance),
            MOVE => (libc::BPF_LD | libc::BPF_IMM, 0, 0),
            // With what was loaded last.
            EXIT => (libc::BPF_RET | libc::BPF_A, 0, 0),
            code => unreachable!("the program has no code {code:#x}: a unit test translates it"),
        };
        libc::sock_filter { code: code as u16, jt, jf, k: it.value.cast_unsigned() }
    };
    program.iter().filter(|it| it.code != COPY).map(one).collect()
}

/// All of a frame goes through, or nothing: ARP does, and IP to any address but those that mean this host to a socket of the
/// NAT's. Those are 0.0.0.0/8 and 127.0.0.0/8, and of IPv6 all that start with ten zero bytes: `::`, `::1`, and IPv4 in
/// disguise.
fn program() -> Vec<Instruction> {
    const CONTEXT: u8 = 1;
    const PACKET: u8 = 6;
    let op = |code, registers, offset, value| Instruction { code, registers, offset, value };
    let packet = |code, at| op(code, 0, 0, at);
    let jump = |code, value, to: Target| (code, value, to);
    // Each step with where it leads, the ends last.
    let steps = [
        Step::Plain(op(COPY, PACKET | CONTEXT << 4, 0, 0)),
        Step::Plain(packet(PACKET_HALF, ETHER_TYPE)),
        Step::Jump(jump(JUMP_EQUAL, ARP, Target::Pass)),
        Step::Jump(jump(JUMP_EQUAL, IPV6, Target::Step(8))),
        Step::Jump(jump(JUMP_UNEQUAL, IPV4, Target::Drop)),
        Step::Plain(packet(PACKET_BYTE, IPV4_DESTINATION)),
        Step::Jump(jump(JUMP_EQUAL, 0, Target::Drop)),
        Step::Jump(jump(JUMP_EQUAL, 127, Target::Drop)),
        // IPv4 that came so far goes on from here: what is compared is a byte of it.
        Step::Jump(jump(JUMP_UNEQUAL, IPV6, Target::Pass)),
        Step::Plain(packet(PACKET_WORD, IPV6_DESTINATION)),
        Step::Jump(jump(JUMP_UNEQUAL, 0, Target::Pass)),
        Step::Plain(packet(PACKET_WORD, IPV6_DESTINATION + 4)),
        Step::Jump(jump(JUMP_UNEQUAL, 0, Target::Pass)),
        Step::Plain(packet(PACKET_HALF, IPV6_DESTINATION + 8)),
        Step::Jump(jump(JUMP_UNEQUAL, 0, Target::Pass)),
    ];
    let (drop, pass) = (steps.len(), steps.len() + 2);
    let mut out: Vec<Instruction> = Vec::with_capacity(steps.len() + 4);
    for (index, step) in steps.into_iter().enumerate() {
        out.push(match step {
            Step::Plain(instruction) => instruction,
            Step::Jump((code, value, to)) => {
                let to = match to {
                    Target::Step(index) => index,
                    Target::Drop => drop,
                    Target::Pass => pass,
                };
                let distance = i16::try_from(to - index - 1).expect("the program is short");
                op(code, 0, distance, value)
            }
        });
    }
    // How many bytes go through: none, and more than any frame has.
    for n_bytes in [0, i32::MAX] {
        out.extend([op(MOVE, 0, 0, n_bytes), op(EXIT, 0, 0, 0)]);
    }
    out
}

enum Step {
    Plain(Instruction),
    /// Code, what register 0 is compared with, where to.
    Jump((u8, i32, Target)),
}

enum Target {
    Step(usize),
    Drop,
    Pass,
}

#[cfg(test)]
mod tests;
