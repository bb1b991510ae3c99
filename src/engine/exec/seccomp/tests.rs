//! The filter, run by an interpreter of its few instructions.

use super::*;

const PERM: u32 = ERRNO | libc::EPERM as u32;
const NOSYS: u32 = ERRNO | libc::ENOSYS as u32;

/// What the amd64 + i386 filter answers to a call.
fn check(arch: u32, nr: u32, arg0: u64) -> u32 {
    check_in(Profile::Compat, arch, nr, arg0)
}

fn check_in(profile: Profile, arch: u32, nr: u32, arg0: u64) -> u32 {
    run(&whole(&[(AUDIT_ARCH_X86_64, Arch::Amd64), (AUDIT_ARCH_I386, Arch::I386)], profile), arch, nr, arg0)
}

fn run(program: &[sock_filter], arch: u32, nr: u32, arg0: u64) -> u32 {
    assert!(program.len() <= 4096, "the kernel takes 4096 instructions, not {}", program.len());
    let (mut pc, mut acc) = (0, 0u32);
    loop {
        let it = program[pc];
        pc += 1;
        let mut jump = |yes: bool| pc += usize::from(if yes { it.jt } else { it.jf });
        match u32::from(it.code) {
            code if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS => {
                acc = match it.k {
                    NR => nr,
                    ARCH => arch,
                    ARG0_LOW => arg0 as u32,
                    other => panic!("no field at {other}"),
                }
            }
            code if code == libc::BPF_ALU | libc::BPF_AND => acc &= it.k,
            code if code == libc::BPF_RET => return it.k,
            code if code == libc::BPF_JMP => pc += it.k as usize,
            code if code == libc::BPF_JMP | libc::BPF_JEQ => jump(acc == it.k),
            code if code == libc::BPF_JMP | libc::BPF_JGE => jump(acc >= it.k),
            code if code == libc::BPF_JMP | libc::BPF_JGT => jump(acc > it.k),
            code => panic!("no instruction {code}"),
        }
    }
}

fn amd64(nr: libc::c_long, arg0: u64) -> u32 {
    check(AUDIT_ARCH_X86_64, nr as u32, arg0)
}

#[test]
fn strict_refuses_more_and_allows_nothing_more() {
    let names: Vec<&str> = TABLE.lines().filter_map(|it| it.split(' ').next()).collect();
    assert!(STRICT_REFUSED.iter().all(|it| names.contains(it)), "each is in the table");
    let both = |arch, nr, arg0| [Profile::Compat, Profile::Strict].map(|it| check_in(it, arch, nr, arg0));
    for nr in 0..500 {
        let [compat, strict] = both(AUDIT_ARCH_X86_64, nr, 0);
        assert!(strict == compat || strict == PERM, "{nr}");
    }
    let socket = |family: i32| both(AUDIT_ARCH_X86_64, 41, family as u64);
    for family in [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK] {
        assert_eq!(socket(family), [ALLOW, ALLOW]);
    }
    for family in [libc::AF_PACKET, libc::AF_CAN, libc::AF_BLUETOOTH, libc::AF_XDP] {
        assert_eq!(socket(family), [ALLOW, PERM]);
    }
    assert_eq!(both(AUDIT_ARCH_X86_64, 101, 0), [ALLOW, ALLOW], "ptrace: strace in builds");
    assert_eq!(both(AUDIT_ARCH_X86_64, 303, 0), [ALLOW, PERM], "name_to_handle_at");
    assert_eq!(both(AUDIT_ARCH_I386, 102, 0), [ALLOW, PERM], "socketcall");
}

#[test]
fn the_table_is_whole() {
    for line in TABLE.lines().filter(|it| !it.starts_with('#')) {
        let columns: Vec<_> = line.split(' ').collect();
        assert_eq!(columns.len(), 5, "{line}");
        assert!(columns[1..4].iter().all(|it| *it == "-" || it.parse::<u32>().is_ok()), "{line}");
    }
    for arch in [Arch::Amd64, Arch::I386, Arch::Arm64] {
        assert!(section(arch, &rules(arch, Profile::Compat)).len() > 50);
    }
}

#[test]
fn every_line_counts_and_nothing_else() {
    for (audit, arch) in [(AUDIT_ARCH_X86_64, Arch::Amd64), (AUDIT_ARCH_I386, Arch::I386)] {
        let said: BTreeMap<u32, &str> = TABLE
            .lines()
            .filter(|it| !it.starts_with('#'))
            .map(|it| it.split(' ').collect::<Vec<_>>())
            .filter_map(|it| Some((it[arch as usize].parse().ok()?, it[4])))
            .collect();
        for nr in 0..600 {
            let answer = check(audit, nr, 0);
            match said.get(&nr) {
                Some(&"allow") => assert_eq!(answer, ALLOW, "{nr}"),
                Some(&"enosys") => assert_eq!(answer, NOSYS, "{nr}"),
                Some(_) => assert!(answer == ALLOW || answer == PERM, "{nr}"),
                None => assert_eq!(answer, PERM, "{nr}"),
            }
        }
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn plain_calls_are_allowed_and_the_rest_is_not() {
    for nr in [
        libc::SYS_read,
        libc::SYS_execve,
        libc::SYS_openat,
        libc::SYS_chroot,
        libc::SYS_ptrace,
        libc::SYS_mseal,
    ] {
        assert_eq!(amd64(nr, 0), ALLOW, "{nr}");
    }
    for nr in [
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_bpf,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_init_module,
        libc::SYS_kexec_load,
        libc::SYS_open_by_handle_at,
        libc::SYS_reboot,
        libc::SYS_io_uring_setup,
        libc::SYS_userfaultfd,
        libc::SYS_perf_event_open,
        libc::SYS_pivot_root,
        libc::SYS_move_mount,
        libc::SYS_fsopen,
        libc::SYS_settimeofday,
        libc::SYS_swapon,
    ] {
        assert_eq!(amd64(nr, 0), PERM, "{nr}");
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn arguments_are_looked_at() {
    assert_eq!(amd64(libc::SYS_clone, libc::SIGCHLD as u64), ALLOW);
    assert_eq!(amd64(libc::SYS_clone, libc::CLONE_NEWUSER as u64), PERM);
    assert_eq!(amd64(libc::SYS_clone3, 0), NOSYS);
    assert_eq!(amd64(libc::SYS_socket, libc::AF_INET6 as u64), ALLOW);
    assert_eq!(amd64(libc::SYS_socket, libc::AF_ALG as u64), PERM);
    assert_eq!(amd64(libc::SYS_socket, libc::AF_VSOCK as u64), PERM);
    // The kernel takes an int: what lies above its bits does not hide the family.
    assert_eq!(amd64(libc::SYS_socket, 1 << 32 | libc::AF_ALG as u64), PERM);
    assert_eq!(amd64(libc::SYS_personality, 0xffff_ffff), ALLOW);
    assert_eq!(amd64(libc::SYS_personality, 0x0040_0000), PERM);
}

#[test]
fn other_architectures() {
    const I386_EXECVE: u32 = 11;
    const I386_MOUNT: u32 = 21;
    assert_eq!(check(AUDIT_ARCH_I386, I386_EXECVE, 0), ALLOW);
    assert_eq!(check(AUDIT_ARCH_I386, I386_MOUNT, 0), PERM);
    assert_eq!(check(AUDIT_ARCH_X86_64, X32_BIT | 1, 0), NOSYS);
    assert_eq!(check(AUDIT_ARCH_AARCH64, 0, 0), KILL_PROCESS);
}

/// What is done about a call that two filters look at: the kernel takes the harder answer, which is the smaller number.
#[test]
fn halves_make_a_whole() {
    for profile in [Profile::Compat, Profile::Strict] {
        let (whole, halves) = (program(profile).expect("a filter"), halves(profile).expect("a filter"));
        let arches = [AUDIT_ARCH_X86_64, AUDIT_ARCH_I386, AUDIT_ARCH_AARCH64, 0];
        let numbers = (0..1000).chain(X32_BIT - 2..X32_BIT + 600).chain([u32::MAX]);
        let args = [0, libc::CLONE_NEWUSER as u64, libc::CLONE_NEWNS as u64, 2, 38, 8, u64::MAX];
        for (arch, nr) in numbers.flat_map(|nr| arches.map(|arch| (arch, nr))) {
            for arg0 in args {
                let both = [&halves.inherited, &halves.own].map(|it| run(it, arch, nr, arg0));
                let harder = both.into_iter().min_by_key(|it| it.cast_signed()).expect("two");
                assert_eq!(harder, run(&whole, arch, nr, arg0), "{arch:x} {nr} {arg0:x}: {both:x?}");
            }
        }
        for nr in SETUP {
            assert_eq!(
                run(&halves.inherited, arches[0], *nr as u32, libc::CLONE_NEWNS as u64),
                ALLOW,
                "{nr}"
            );
        }
        assert!(halves.own.len() < 40, "{} instructions are loaded by each container", halves.own.len());
    }
}
