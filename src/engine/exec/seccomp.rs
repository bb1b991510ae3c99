//! The system call filter of a command: Docker's default profile as a BPF program.
//!
//! Which calls are allowed is a table (`seccomp/syscalls.txt`); the program is assembled from it here, because the
//! profile needs what filter libraries in Rust do not offer at once: two architectures (32-bit programs run on amd64), two
//! kinds of refusal (`clone3` must say "not implemented" so that libc falls back to `clone`, whose flags can be
//! inspected), and no `no_new_privs`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use libc::sock_filter;

use super::spec::Profile;

const TABLE: &str = include_str!("seccomp/syscalls.txt");

// Offsets in `struct seccomp_data` (linux/seccomp.h), little endian.
const NR: u32 = 0;
const ARCH: u32 = 4;
const ARG0_LOW: u32 = 16;

// linux/seccomp.h and linux/audit.h.
const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const AUDIT_ARCH_I386: u32 = 0x4000_0003;
const AUDIT_ARCH_AARCH64: u32 = 0xc000_00b7;
/// Calls of the x32 ABI carry this bit; no distribution builds for it.
const X32_BIT: u32 = 0x4000_0000;

/// Every flag of clone(2) that makes a namespace.
const CLONE_NAMESPACES: u32 = 0x7e02_0000;
/// Address families a socket may have: all that the profile names, which leaves out AF_ALG, AF_VSOCK and other
/// ways into rarely used kernel code.
const FAMILIES: &[RangeInclusive<u32>] =
    &[0..=11, 13..=18, 21..=22, 24..=24, 26..=33, 35..=36, 39..=39, 41..=45];
/// Those of the strict profile: AF_UNIX, AF_INET, AF_INET6, AF_NETLINK (libc lists interfaces with it).
const STRICT_FAMILIES: &[RangeInclusive<u32>] = &[1..=2, 10..=10, 16..=16];
/// What the strict profile refuses of what the table allows: calls that no build needs, or that go round the families.
const STRICT_REFUSED: &[&str] = &[
    "fanotify_mark",
    "memfd_secret",
    "modify_ldt",
    "name_to_handle_at",
    "remap_file_pages",
    "socketcall",
    "vmsplice",
];
/// PER_LINUX, PER_LINUX32, both with UNAME26, and "only tell me".
const PERSONALITIES: &[RangeInclusive<u32>] =
    &[0..=0, 8..=8, 0x2_0000..=0x2_0000, 0x2_0008..=0x2_0008, u32::MAX..=u32::MAX];

/// Columns of the table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Arch {
    Amd64 = 1,
    I386 = 2,
    Arm64 = 3,
}

/// Calls that are made between the making of a container's first process and its last filter, and that commands are refused.
const SETUP: &[libc::c_long] = &[
    libc::SYS_clone3,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_unshare,
];

/// The filter in two parts, of which a call has to pass both. The kernel compiles a filter for every process that loads it,
/// but none that a process inherits.
#[derive(Debug)]
pub(crate) struct Halves {
    /// The whole, but that what [`SETUP`] names is allowed: for who makes containers.
    pub(crate) inherited: Vec<sock_filter>,
    /// What is then to be refused, a few instructions: for each container.
    pub(crate) own: Vec<sock_filter>,
}

/// This machine's architecture, first, and those that its kernel runs too; `None` where the table has no numbers.
fn arches() -> Option<&'static [(u32, Arch)]> {
    if cfg!(target_arch = "x86_64") {
        Some(&[(AUDIT_ARCH_X86_64, Arch::Amd64), (AUDIT_ARCH_I386, Arch::I386)])
    } else if cfg!(target_arch = "aarch64") {
        Some(&[(AUDIT_ARCH_AARCH64, Arch::Arm64)])
    } else {
        None
    }
}

/// The filter for commands on this machine; `None` where the table has no numbers for its architecture.
pub(crate) fn program(profile: Profile) -> Option<Vec<sock_filter>> {
    arches().map(|it| whole(it, profile))
}

fn whole(arches: &[(u32, Arch)], profile: Profile) -> Vec<sock_filter> {
    assemble(arches, |arch| Some(section(arch, &rules(arch, profile))), KILL_PROCESS)
}

/// [`program`] in two parts.
pub(crate) fn halves(profile: Profile) -> Option<Halves> {
    let arches = arches()?;
    let native = arches.first()?.1;
    let (mut inherited, mut own) = (rules(native, profile), Rules::new());
    for nr in SETUP.iter().filter_map(|it| u32::try_from(*it).ok()) {
        own.insert(nr, inherited.insert(nr, Rule::Return(ALLOW)).unwrap_or(REFUSED));
    }
    let rules = |arch| if arch == native { inherited.clone() } else { rules(arch, profile) };
    let own = numbered(tree(&stretches(&own, &Rule::Return(ALLOW))));
    Some(Halves {
        inherited: assemble(arches, |arch| Some(section(arch, &rules(arch))), KILL_PROCESS),
        own: assemble(arches, |arch| (arch == native).then(|| own.clone()), ALLOW),
    })
}

/// The sections of the architectures that have one, and what is done about calls of others.
fn assemble(
    arches: &[(u32, Arch)],
    section: impl Fn(Arch) -> Option<Vec<sock_filter>>,
    otherwise: u32,
) -> Vec<sock_filter> {
    let mut out = vec![load(ARCH)];
    for &(audit, arch) in arches {
        let Some(section) = section(arch) else { continue };
        // Jump offsets of comparisons are eight bits: skip a section by a long jump.
        out.push(jump_eq(audit, 1, 0));
        out.push(skip(len(&section)));
        out.extend(section);
    }
    out.push(ret(otherwise));
    out
}

/// What is done about a call.
#[derive(Clone, PartialEq)]
enum Rule {
    Return(u32),
    /// Instructions that look at the arguments; every path returns.
    Look(Vec<sock_filter>),
}

/// What is done about calls that nothing is said of.
const REFUSED: Rule = Rule::Return(ERRNO | libc::EPERM as u32);

/// Rules by number.
type Rules = BTreeMap<u32, Rule>;

/// Those of one architecture.
fn rules(arch: Arch, profile: Profile) -> Rules {
    let mut rules = Rules::new();
    for line in TABLE.lines().filter(|it| !it.starts_with('#')) {
        let columns: Vec<&str> = line.split(' ').collect();
        if profile == Profile::Strict && STRICT_REFUSED.contains(&columns[0]) {
            continue;
        }
        if let Ok(nr) = columns[arch as usize].parse::<u32>() {
            rules.insert(nr, rule(columns[4], profile));
        }
    }
    rules
}

/// Where a stretch of numbers with one rule begins; each goes up to the next, the last one to the end. There is at least one.
fn stretches(rules: &Rules, otherwise: &Rule) -> Vec<(u32, Rule)> {
    let mut out: Vec<(u32, Rule)> = vec![(0, otherwise.clone())];
    for (&nr, rule) in rules {
        out.extend([(nr, rule.clone()), (nr + 1, otherwise.clone())]);
    }
    // Of those that begin at one number the last one counts.
    out.reverse();
    out.dedup_by_key(|it| it.0);
    out.reverse();
    out.dedup_by(|next, before| next.1 == before.1);
    out
}

/// One architecture; every path returns.
///
/// A search tree over the numbers, not a list of comparisons: when a filter is loaded the kernel runs it for every number
/// there is, to know which calls are allowed whatever their arguments.
fn section(arch: Arch, rules: &Rules) -> Vec<sock_filter> {
    let mut rules = tree(&stretches(rules, &REFUSED));
    if arch == Arch::Amd64 {
        rules.splice(..0, [jump_ge(X32_BIT, 0, 1), ret(ERRNO | libc::ENOSYS as u32)]);
    }
    numbered(rules)
}

/// With the call's number in the accumulator.
fn numbered(mut rules: Vec<sock_filter>) -> Vec<sock_filter> {
    rules.insert(0, load(NR));
    rules
}

fn rule(name: &str, profile: Profile) -> Rule {
    match name {
        "allow" => Rule::Return(ALLOW),
        "enosys" => Rule::Return(ERRNO | libc::ENOSYS as u32),
        "family" => Rule::Look(if_arg_in(match profile {
            Profile::Compat => FAMILIES,
            Profile::Strict => STRICT_FAMILIES,
        })),
        "persona" => Rule::Look(if_arg_in(PERSONALITIES)),
        "no-namespaces" => Rule::Look(vec![
            load(ARG0_LOW),
            sock_filter { code: (libc::BPF_ALU | libc::BPF_AND) as u16, jt: 0, jf: 0, k: CLONE_NAMESPACES },
            jump_eq(0, 0, 1),
            ret(ALLOW),
            ret(ERRNO | libc::EPERM as u32),
        ]),
        other => unreachable!("the table names no rule `{other}`: a unit test reads it whole"),
    }
}

/// Finds the stretch that the accumulator is in, by halves. There is at least one.
fn tree(stretches: &[(u32, Rule)]) -> Vec<sock_filter> {
    if let [(_, rule)] = stretches {
        return match rule {
            Rule::Return(action) => vec![ret(*action)],
            Rule::Look(body) => body.clone(),
        };
    }
    let (below, above) = stretches.split_at(stretches.len() / 2);
    let (first, below, above) = (above[0].0, tree(below), tree(above));
    let mut out = match u8::try_from(below.len()) {
        Ok(skip) => vec![jump_ge(first, skip, 0)],
        Err(_) => vec![jump_ge(first, 0, 1), skip(len(&below))],
    };
    out.extend(below);
    out.extend(above);
    out
}

/// Allows when the first argument is in one of `ranges`, refuses else.
///
/// Only its low half is looked at: these arguments are 32 bits wide in the kernel.
fn if_arg_in(ranges: &[RangeInclusive<u32>]) -> Vec<sock_filter> {
    let mut out = vec![load(ARG0_LOW)];
    for range in ranges {
        out.extend(if_in(range, &[ret(ALLOW)]));
    }
    out.push(ret(ERRNO | libc::EPERM as u32));
    out
}

/// Runs `body`, which must return, when the accumulator is in `range`.
fn if_in(range: &RangeInclusive<u32>, body: &[sock_filter]) -> Vec<sock_filter> {
    let skip = u8::try_from(body.len()).expect("bodies are a few instructions");
    let mut out = if range.start() == range.end() {
        vec![jump_eq(*range.start(), 0, skip)]
    } else {
        vec![jump_ge(*range.start(), 0, skip + 1), jump_gt(*range.end(), skip, 0)]
    };
    out.extend_from_slice(body);
    out
}

fn len(section: &[sock_filter]) -> u32 {
    u32::try_from(section.len()).expect("a filter has at most 4096 instructions")
}

fn load(offset: u32) -> sock_filter {
    sock_filter { code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, jt: 0, jf: 0, k: offset }
}

/// A jump over `n` instructions.
fn skip(n: u32) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | libc::BPF_JA) as u16, jt: 0, jf: 0, k: n }
}

fn ret(action: u32) -> sock_filter {
    sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: action }
}

fn jump_eq(k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, jt, jf, k }
}

fn jump_ge(k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16, jt, jf, k }
}

fn jump_gt(k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16, jt, jf, k }
}

#[cfg(test)]
mod tests;
