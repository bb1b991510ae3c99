//! Small eBPF programs, assembled here: no compiler and no C library is needed for a dozen comparisons.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// An eBPF instruction (linux/bpf.h).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Instruction {
    pub(crate) code: u8,
    /// Destination in the low half, source in the high one.
    pub(crate) registers: u8,
    pub(crate) offset: i16,
    pub(crate) value: i32,
}

// Codes.
pub(crate) const LOAD_WORD: u8 = 0x61;
pub(crate) const SHIFT_RIGHT: u8 = 0x77;
pub(crate) const AND: u8 = 0x57;
pub(crate) const JUMP_EQUAL: u8 = 0x15;
pub(crate) const JUMP_UNEQUAL: u8 = 0x55;
pub(crate) const MOVE: u8 = 0xb7;
pub(crate) const COPY: u8 = 0xbf;
pub(crate) const EXIT: u8 = 0x95;
// Of a packet, in network order, into register 0; beyond the packet the program ends with 0. Register 6 holds the packet.
pub(crate) const PACKET_WORD: u8 = 0x20;
pub(crate) const PACKET_HALF: u8 = 0x28;
pub(crate) const PACKET_BYTE: u8 = 0x30;

/// What a program is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// How much of a packet goes through: BPF_PROG_TYPE_SOCKET_FILTER.
    Packets,
    /// Which devices may be opened: BPF_PROG_TYPE_CGROUP_DEVICE.
    CgroupDevice,
}

/// Loads a program.
///
/// # Errors
/// Those of the system call.
pub(crate) fn load(kind: Kind, program: &[Instruction]) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        program_type: u32,
        n_instructions: u32,
        instructions: u64,
        license: u64,
        log_level: u32,
        log_bytes: u32,
        log: u64,
        kernel_version: u32,
        flags: u32,
    }
    const PROG_LOAD: libc::c_int = 5;
    let attributes = Attributes {
        program_type: match kind {
            Kind::Packets => 1,
            Kind::CgroupDevice => 15,
        },
        n_instructions: u32::try_from(program.len()).map_err(io::Error::other)?,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_bytes: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: the attributes and what they point to outlive the call and are as large as said.
    let fd =
        unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const attributes, size_of::<Attributes>()) };
    match i32::try_from(fd) {
        // SAFETY: the kernel just gave this descriptor to us.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
