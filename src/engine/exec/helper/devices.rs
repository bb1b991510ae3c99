//! Which devices a command may open.
//!
//! A command may make any device node (debootstrap and its like do), so opening is what has to be limited. Version 1 of
//! cgroups has a controller for it; version 2 wants an eBPF program attached to the cgroup, which libcontainer has only
//! with a C library. The program is a dozen comparisons and is assembled here.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::engine::exec::bpf::{
    self, AND, EXIT, Instruction, JUMP_EQUAL, JUMP_UNEQUAL, LOAD_WORD, MOVE, SHIFT_RIGHT,
};
use crate::engine::exec::cgroup::{Hierarchy, Kind};
use crate::engine::exec::spec::{NewNode, NodeKind};

/// Character devices to be opened: null zero full random urandom tty console ptmx and what devpts makes (`None`).
const ALLOWED: &[(i32, Option<i32>)] = &[
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(1)),
    (5, Some(2)),
    (136, None),
];

/// Limits the devices of cgroup `name`, to the usual ones and `more`, where there is no controller for it.
///
/// # Errors
/// Those of the system calls. The command must not be started then.
pub(super) fn limit(hierarchies: &[Hierarchy], name: &str, more: &[NewNode]) -> io::Result<()> {
    if hierarchies.iter().any(|it| it.kind.has_legacy("devices")) {
        return Ok(());
    }
    let unified = hierarchies.iter().find(|it| it.kind == Kind::Unified);
    let unified = unified.ok_or_else(|| io::Error::other("no hierarchy has a device controller"))?;
    attach_to(&File::open(unified.path.join(name))?.into(), more)
}

/// Limits the devices of a cgroup of version 2.
///
/// # Errors
/// As [`limit`].
pub(super) fn attach_to(group: &OwnedFd, more: &[NewNode]) -> io::Result<()> {
    attach(&bpf::load(bpf::Kind::CgroupDevice, &program(more))?, group)
}

/// The same as lines for `devices.allow` of version 1, everything having been denied.
pub(super) fn rules(more: &[NewNode]) -> Vec<String> {
    let opened = ALLOWED.iter().map(|(major, minor)| match minor {
        Some(minor) => format!("c {major}:{minor} rwm"),
        None => format!("c {major}:* rwm"),
    });
    let more = more.iter().map(|it| {
        let kind = match it.kind {
            NodeKind::Character => 'c',
            NodeKind::Block => 'b',
        };
        format!("{kind} {}:{} {}", it.major, it.minor, access(it))
    });
    ["c *:* m", "b *:* m"].map(str::to_owned).into_iter().chain(opened).chain(more).collect()
}

/// What a device may be used for, as the kernel's files say it. Making its node is everybody's.
pub(super) fn access(node: &NewNode) -> &'static str {
    match (node.reads, node.writes) {
        (true, true) => "rwm",
        (true, false) => "rm",
        (false, true) => "wm",
        (false, false) => "m",
    }
}

// Registers by what they hold.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const TYPE: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

// `struct bpf_cgroup_dev_ctx`: access and type in one word, major, minor.
const ACCESS_MKNOD: i32 = 1;
const ACCESS_READ: i32 = 2;
const ACCESS_WRITE: i32 = 4;
const TYPE_BLOCK: i32 = 1;
const TYPE_CHAR: i32 = 2;

/// 1 (allowed) for making nodes and for opening what is listed and `more`, else 0.
fn program(more: &[NewNode]) -> Vec<Instruction> {
    let op = |code, register, offset, value| Instruction { code, registers: register, offset, value };
    let load = |register: u8, offset| op(LOAD_WORD, register | CONTEXT << 4, offset, 0);
    let answer = |value| [op(MOVE, RESULT, 0, value), op(EXIT, 0, 0, 0)];
    let mut out = vec![
        load(ACCESS, 0),
        op(SHIFT_RIGHT, ACCESS, 0, 16),
        load(TYPE, 0),
        op(AND, TYPE, 0, 0xffff),
        load(MAJOR, 4),
        load(MINOR, 8),
        op(JUMP_UNEQUAL, ACCESS, 2, ACCESS_MKNOD),
    ];
    out.extend(answer(1));
    for node in more {
        let only = match (node.reads, node.writes) {
            (true, true) => None,
            (true, false) => Some(ACCESS_READ),
            (false, true) => Some(ACCESS_WRITE),
            (false, false) => continue,
        };
        let kind = match node.kind {
            NodeKind::Character => TYPE_CHAR,
            NodeKind::Block => TYPE_BLOCK,
        };
        let n_after = if only.is_some() { 3 } else { 2 };
        out.push(op(JUMP_UNEQUAL, TYPE, n_after + 2, kind));
        out.push(op(JUMP_UNEQUAL, MAJOR, n_after + 1, node.major.cast_signed()));
        out.push(op(JUMP_UNEQUAL, MINOR, n_after, node.minor.cast_signed()));
        out.extend(only.map(|only| op(JUMP_UNEQUAL, ACCESS, 2, only)));
        out.extend(answer(1));
    }
    out.push(op(JUMP_EQUAL, TYPE, 2, TYPE_CHAR));
    out.extend(answer(0));
    for (major, minor) in ALLOWED {
        out.push(op(JUMP_UNEQUAL, MAJOR, if minor.is_some() { 3 } else { 2 }, *major));
        out.extend(minor.map(|minor| op(JUMP_UNEQUAL, MINOR, 2, minor)));
        out.extend(answer(1));
    }
    out.extend(answer(0));
    out
}

/// Attaches a loaded program to a cgroup, beside those that are there: all must allow.
fn attach(program: &OwnedFd, group: &OwnedFd) -> io::Result<()> {
    #[repr(C)]
    struct Attributes {
        target: u32,
        program: u32,
        kind: u32,
        flags: u32,
    }
    const PROG_ATTACH: libc::c_int = 8;
    const CGROUP_DEVICE: u32 = 6;
    const ALLOW_MULTI: u32 = 2;
    let attributes = Attributes {
        target: group.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        kind: CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    // SAFETY: the attributes outlive the call and are as large as said.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, PROG_ATTACH, &raw const attributes, size_of::<Attributes>()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests;
