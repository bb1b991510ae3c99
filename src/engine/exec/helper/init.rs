//! The last steps inside the container, up to execve.
//!
//! Both runners end here, in the container's first process: namespaces entered, root changed, user and groups set, all
//! capabilities still held. Everything is prepared before: in [`Program::execute`] there are only system calls.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::io::{PipeReader, Read};
use std::os::fd::BorrowedFd;

use super::defaults::environment;
use crate::engine::exec::error::RunError;
use crate::engine::exec::rootless::MORE_USERS;
use crate::engine::exec::spec::{Profile, Ulimit};
use crate::engine::exec::wire::{Answer, Confinement, Request, WireEmulation};
use crate::store::in_user_namespace;

/// CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL
/// AUDIT_WRITE: containerd's defaults (`pkg/oci`, defaultUnixCaps).
const CAPABILITIES: u64 = 0xa804_25fb;

/// Those without SETPCAP (8), NET_BIND_SERVICE (10), NET_RAW (13), MKNOD (27) and AUDIT_WRITE (29).
const STRICT_CAPABILITIES: u64 = CAPABILITIES & !(1 << 8 | 1 << 10 | 1 << 13 | 1 << 27 | 1 << 29);

/// Files a process may have open: the same everywhere, so that a build does not depend on how the engine was started.
const DEFAULT_NOFILE: (u64, u64) = (1024, 524_288);

/// What to execute, and what holds it back.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) args: Vec<String>,
    /// Final.
    pub(super) env: Vec<String>,
    pub(super) ulimits: Vec<Ulimit>,
    pub(super) confinement: Confinement,
    pub(super) profile: Profile,
}

impl Command {
    /// That of a request, of a user with this home directory.
    pub(super) fn of(request: &Request, home: &str) -> Command {
        Command {
            args: request.args.clone(),
            env: environment(&request.env, home),
            ulimits: request.ulimits.clone(),
            confinement: request.confinement,
            profile: request.profile,
        }
    }
}

/// A [`Command`] with everything in the form that system calls take.
pub(super) struct Program {
    args: Pointers,
    env: Pointers,
    /// Paths to try, in order.
    candidates: Vec<CString>,
    limits: Vec<(u32, libc::rlimit)>,
    confinement: Confinement,
    profile: Profile,
}

impl Program {
    /// # Errors
    /// [`RunError::Step`] for what cannot be executed anywhere: no command, a zero byte, an unknown limit.
    pub(super) fn new(command: &Command) -> Result<Program, RunError> {
        let text = |it: &str| {
            CString::new(it)
                .map_err(|_| RunError::Step { what: format!("a zero byte in `{}`", it.replace('\0', "\\0")) })
        };
        let texts =
            |list: &[String]| list.iter().map(|it| text(it)).collect::<Result<Vec<CString>, RunError>>();
        let program = command.args.first().filter(|it| !it.is_empty());
        let program = program.ok_or_else(|| RunError::Step { what: "there is no command".into() })?;
        let candidates = texts(&candidates(program, &command.env))?;
        let limits = limits(&command.ulimits)?;
        let (args, env) = (Pointers::to(texts(&command.args)?), Pointers::to(texts(&command.env)?));
        let (confinement, profile) = (command.confinement, command.profile);
        Ok(Program { args, env, candidates, limits, confinement, profile })
    }

    /// Becomes the command, in a process that has called [`confine`] if it is to be; returns only to say why not.
    pub(super) fn execute(&self) -> Complaint {
        let Err(complaint) = self.exec();
        complaint
    }

    fn exec(&self) -> Result<Infallible, Complaint> {
        reset_signals();
        take_terminal();
        for (resource, limit) in &self.limits {
            set_limit(*resource, *limit);
        }
        match self.confinement {
            Confinement::Full => restrict(self.profile),
            Confinement::Namespaces { .. } => keep_all_capabilities(),
        }
        .map_err(|errno| Complaint { stage: Stage::Capabilities, errno, candidate: 0 })?;
        Err(self.execve())
    }

    /// Tries the candidates like execvp(3), but for running what has no known format with a shell; returns only to
    /// say why not.
    fn execve(&self) -> Complaint {
        let mut worst = Complaint { stage: Stage::NotFound, errno: libc::ENOENT, candidate: 0 };
        for (index, path) in self.candidates.iter().enumerate() {
            // SAFETY: the path is a C string; both lists are of C strings that outlive the call and end with null.
            unsafe { libc::execve(path.as_ptr(), self.args.list.as_ptr(), self.env.list.as_ptr()) };
            let errno = last_errno();
            let stage = match errno {
                // It is there: what is missing is its interpreter.
                libc::ENOENT if exists(path) => Stage::NoInterpreter,
                libc::ENOENT | libc::ENOTDIR => continue,
                _ => Stage::NotRun,
            };
            let candidate = u16::try_from(index).unwrap_or(u16::MAX);
            let complaint = Complaint { stage, errno, candidate };
            match errno {
                libc::EACCES => worst = complaint,
                _ => return complaint,
            }
        }
        worst
    }
}

/// C strings with the list of pointers to them that execve takes.
struct Pointers {
    _texts: Vec<CString>,
    list: Vec<*const libc::c_char>,
}

// SAFETY: what is pointed to is on the heap, owned by the same value and changed by nobody.
unsafe impl Send for Pointers {}
// SAFETY: as above.
unsafe impl Sync for Pointers {}

impl Pointers {
    fn to(texts: Vec<CString>) -> Pointers {
        let list = texts.iter().map(|it| it.as_ptr()).chain([std::ptr::null()]).collect();
        Pointers { _texts: texts, list }
    }
}

/// Where a program may be: itself when it has a slash, else in the directories of PATH; an empty one is here.
fn candidates(program: &str, env: &[String]) -> Vec<String> {
    if program.contains('/') {
        return vec![program.to_owned()];
    }
    let path = env.iter().rev().find_map(|it| it.strip_prefix("PATH=")).unwrap_or("");
    let dir = |dir: &str| if dir.is_empty() { format!("./{program}") } else { format!("{dir}/{program}") };
    path.split(':').map(dir).collect()
}

/// How far it got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Stage {
    Filter = 1,
    Capabilities,
    NotFound,
    NoInterpreter,
    NotRun,
    /// Before the payload: the number is a [`Step`]'s.
    Setup,
}

/// Steps of the direct runner's container, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Step {
    Order,
    Session,
    Network,
    CgroupNamespace,
    Root,
    Devices,
    Terminals,
    SharedMemory,
    MessageQueues,
    Proc,
    Sys,
    Cgroup,
    Pivot,
    Mask,
    Protect,
    Hostname,
    ReadOnlyRoot,
    Streams,
    Directory,
    Groups,
    User,
    Parent,
    Descriptors,
    Enter,
    Group,
}

impl Step {
    /// The error of a step that the helper took.
    pub(super) fn failed(self) -> impl Fn(rustix::io::Errno) -> RunError {
        move |errno| Complaint::step(self, errno.raw_os_error()).setup_error()
    }

    /// All, in the order of their numbers, with what is tried.
    const ALL: [(Step, &str); 25] = [
        (Step::Order, "take the command"),
        (Step::Session, "start a session"),
        (Step::Network, "set up the network"),
        (Step::CgroupNamespace, "make a cgroup namespace"),
        (Step::Root, "enter the root"),
        (Step::Devices, "mount /dev"),
        (Step::Terminals, "mount /dev/pts"),
        (Step::SharedMemory, "mount /dev/shm"),
        (Step::MessageQueues, "mount /dev/mqueue"),
        (Step::Proc, "mount /proc"),
        (Step::Sys, "mount /sys"),
        (Step::Cgroup, "mount /sys/fs/cgroup"),
        (Step::Pivot, "change the root"),
        (Step::Mask, "hide kernel files"),
        (Step::Protect, "make kernel files read-only"),
        (Step::Hostname, "set the host name"),
        (Step::ReadOnlyRoot, "make the root read-only"),
        (Step::Streams, "connect the standard streams"),
        (Step::Directory, "enter the working directory"),
        (Step::Groups, "set the groups"),
        (Step::User, "set the user"),
        (Step::Parent, "follow its helper"),
        (Step::Descriptors, "close descriptors"),
        (Step::Enter, "enter the mount namespace"),
        (Step::Group, "join the cgroup"),
    ];
}

/// Why there was no execve.
#[derive(Debug, Clone, Copy)]
pub(super) struct Complaint {
    stage: Stage,
    errno: i32,
    /// Which of the paths, or which step.
    candidate: u16,
}

impl Complaint {
    /// A step of the container failed.
    pub(super) fn step(step: Step, errno: i32) -> Complaint {
        Complaint { stage: Stage::Setup, errno, candidate: step as u16 }
    }

    /// The exit code that goes with it.
    pub(super) fn code(self) -> i32 {
        match self.stage {
            Stage::NotFound | Stage::NoInterpreter => 127,
            Stage::Filter | Stage::Capabilities | Stage::NotRun | Stage::Setup => 126,
        }
    }

    /// One write of eight bytes: a pipe takes it whole.
    pub(super) fn send(self, to: BorrowedFd<'_>) {
        let _ = rustix::io::write(to, &self.to_bits().to_ne_bytes());
    }

    /// It as a number, which is not 0.
    pub(super) fn to_bits(self) -> u64 {
        let (stage, candidate) = (self.stage as u64, u64::from(self.candidate));
        stage << 48 | candidate << 32 | u64::from(self.errno.cast_unsigned())
    }

    /// Inverse of [`Complaint::to_bits`]; `None` for other numbers.
    pub(super) fn from_bits(bits: u64) -> Option<Complaint> {
        let stages = [
            Stage::Filter,
            Stage::Capabilities,
            Stage::NotFound,
            Stage::NoInterpreter,
            Stage::NotRun,
            Stage::Setup,
        ];
        Some(Complaint {
            stage: stages.into_iter().find(|it| *it as u64 == bits >> 48)?,
            errno: (bits as u32).cast_signed(),
            candidate: (bits >> 32) as u16,
        })
    }

    /// Whether it may have been for want of memory: execve says of arguments that there is no room for that they are too long.
    pub(super) fn may_lack_memory(self) -> bool {
        matches!(self.errno, libc::ENOMEM | libc::E2BIG)
    }

    /// As the error of a container that was not told what to execute.
    pub(super) fn error(self) -> RunError {
        let said = self.answer("", &WireEmulation::Kernel).err();
        said.unwrap_or_else(|| RunError::Bug { what: "a container speaks of a command".into() })
    }

    /// What the caller is told of a step.
    fn setup_error(self) -> RunError {
        let why = std::io::Error::from_raw_os_error(self.errno);
        let step = Step::ALL.get(usize::from(self.candidate));
        let (step, attempt) = step.copied().unwrap_or((Step::Order, "do an unknown step"));
        match step {
            Step::User | Step::Groups if in_user_namespace() => RunError::Environment {
                what: format!("cannot {attempt} of a command in this user namespace: {why}"),
                help: MORE_USERS.into(),
            },
            Step::Proc if in_user_namespace() => RunError::Environment {
                what: format!("cannot {attempt} of a container in this user namespace: {why}"),
                help: "parts of this machine's own /proc are hidden, as in a container: run it outside, or with an \
                    unmasked /proc (`--security-opt systempaths=unconfined`)"
                    .into(),
            },
            Step::Directory => RunError::Step { what: format!("cannot {attempt}: {why}") },
            _ if self.errno == libc::ENOMEM => RunError::Step {
                what: format!("cannot {attempt} of its container: the machine, or its memory limit, has no room for it"),
            },
            Step::Group => RunError::Io { attempt: "move a process to", path: "its cgroup".into(), source: why },
            _ => RunError::Environment {
                what: format!("cannot {attempt} of a container: {why}"),
                help: "run it as root, outside a container or in a privileged one; BKL_RUNNER=libcontainer makes \
                    containers another way"
                    .into(),
            },
        }
    }

    /// What the caller is told; `program` is the first word of the command, as it was run.
    pub(super) fn answer(self, program: &str, emulation: &WireEmulation) -> Result<Answer, RunError> {
        let why = std::io::Error::from_raw_os_error(self.errno);
        let reason = match self.stage {
            Stage::Filter => {
                return Err(RunError::Environment {
                    what: format!("the kernel does not take the system call filter: {why}"),
                    help: "use a kernel with CONFIG_SECCOMP_FILTER".into(),
                });
            }
            Stage::Capabilities => {
                return Err(RunError::Environment {
                    what: format!("capabilities cannot be set: {why}"),
                    help: "run it as root, outside a container or in a privileged one".into(),
                });
            }
            Stage::Setup => return Err(self.setup_error()),
            Stage::NotFound | Stage::NoInterpreter | Stage::NotRun
                if let WireEmulation::Program { name, .. } = emulation =>
            {
                return Err(RunError::Environment {
                    what: format!("the emulator `{name}` does not run in a container: {why}"),
                    help: "it has to be a static program, for this machine".into(),
                });
            }
            Stage::NotFound if program.contains('/') => format!("`{program}` was not found in the image"),
            Stage::NotFound => format!("`{program}` was not found in the image's PATH"),
            Stage::NoInterpreter => format!(
                "`{program}` is in the image, but what runs it is not: the loader of a dynamically linked program, or \
                 the program that the first line of a script names"
            ),
            Stage::NotRun
                if self.errno == libc::ENOEXEC
                    && let WireEmulation::Missing { platform, name } = emulation =>
            {
                format!(
                    "`{program}` is no program for this machine: the step is for {platform}; install an emulator, \
                     qemu-user-static with binfmt or a static `{name}` in PATH"
                )
            }
            Stage::NotRun if self.errno == libc::ENOEXEC => {
                format!(
                    "`{program}` is no program for this machine: it is for another architecture, or a script without `#!` line"
                )
            }
            Stage::NotRun => format!("`{program}` cannot be run: {why}"),
        };
        Ok(Answer::Exited { code: self.code(), reason: Some(reason), warnings: Vec::new() })
    }
}

/// What a container's first process said through a pipe, if it did not become the command. It has ended.
pub(super) fn read_complaint(mut from: &PipeReader) -> Option<Complaint> {
    let mut bytes = [0; 8];
    from.read_exact(&mut bytes).ok()?;
    Complaint::from_bits(u64::from_ne_bytes(bytes))
}

/// Resource limits as numbers, the engine's own first.
fn limits(ulimits: &[Ulimit]) -> Result<Vec<(u32, libc::rlimit)>, RunError> {
    let (soft, hard) = DEFAULT_NOFILE;
    let mut out = vec![(libc::RLIMIT_NOFILE, libc::rlimit { rlim_cur: soft, rlim_max: hard })];
    for it in ulimits {
        out.push(limit(it)?);
    }
    Ok(out)
}

/// A resource limit as numbers.
fn limit(it: &Ulimit) -> Result<(u32, libc::rlimit), RunError> {
    let resource = match it.name.to_ascii_lowercase().as_str() {
        "as" => libc::RLIMIT_AS,
        "core" => libc::RLIMIT_CORE,
        "cpu" => libc::RLIMIT_CPU,
        "data" => libc::RLIMIT_DATA,
        "fsize" => libc::RLIMIT_FSIZE,
        "locks" => libc::RLIMIT_LOCKS,
        "memlock" => libc::RLIMIT_MEMLOCK,
        "msgqueue" => libc::RLIMIT_MSGQUEUE,
        "nice" => libc::RLIMIT_NICE,
        "nofile" => libc::RLIMIT_NOFILE,
        "nproc" => libc::RLIMIT_NPROC,
        "rss" => libc::RLIMIT_RSS,
        "rtprio" => libc::RLIMIT_RTPRIO,
        "rttime" => libc::RLIMIT_RTTIME,
        "sigpending" => libc::RLIMIT_SIGPENDING,
        "stack" => libc::RLIMIT_STACK,
        _ => return Err(RunError::Step { what: format!("there is no resource limit `{}`", it.name) }),
    };
    let value = |it: i64| u64::try_from(it).unwrap_or(libc::RLIM_INFINITY);
    if value(it.hard) < value(it.soft) {
        let what =
            format!("the limit `{}` is {}, which is above its hard limit, {}", it.name, it.soft, it.hard);
        return Err(RunError::Step { what });
    }
    Ok((resource, libc::rlimit { rlim_cur: value(it.soft), rlim_max: value(it.hard) }))
}

/// A warning for each limit that is above what this process may set: those of commands are lowered to that.
///
/// Found out by trying: a capability does not tell, as a kernel may forbid more than it.
pub(super) fn clamped(ulimits: &[Ulimit]) -> Result<Vec<String>, RunError> {
    let mut warnings = Vec::new();
    for it in ulimits {
        let (resource, wanted) = limit(it)?;
        let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: all calls take a pointer to a structure that outlives them.
        let is_forbidden = unsafe {
            libc::getrlimit(resource as _, &raw mut now) == 0
                && now.rlim_max < wanted.rlim_max
                && (libc::setrlimit(resource as _, &raw const wanted) != 0
                    // It could be raised: the helper's own goes back.
                    || libc::setrlimit(resource as _, &raw const now) != 0)
        };
        if is_forbidden {
            warnings.push(format!(
                "the limit `{}` is {} here: this machine does not let it be raised to {}",
                it.name,
                now.rlim_max,
                if wanted.rlim_max == libc::RLIM_INFINITY { "unlimited".into() } else { it.hard.to_string() },
            ));
        }
    }
    Ok(warnings)
}

/// Sets a limit, no higher than this process may: some machines let nobody raise them.
fn set_limit(resource: u32, mut limit: libc::rlimit) {
    // SAFETY: both calls take a pointer to a structure that outlives them.
    unsafe {
        if libc::setrlimit(resource as _, &raw const limit) == 0 {
            return;
        }
        let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        if libc::getrlimit(resource as _, &raw mut now) == 0 {
            limit.rlim_max = limit.rlim_max.min(now.rlim_max);
            limit.rlim_cur = limit.rlim_cur.min(limit.rlim_max);
            libc::setrlimit(resource as _, &raw const limit);
        }
    }
}

/// A command whose output is a terminal reads from it, too, and is interrupted from it. Errors show by themselves: no
/// job control, no input.
fn take_terminal() {
    // SAFETY: calls on numbers of descriptors; a terminal's size, asked only to know whether it is one, outlives the
    // call.
    unsafe {
        let mut size: libc::winsize = std::mem::zeroed();
        if libc::ioctl(1, libc::TIOCGWINSZ, &raw mut size) == 0 {
            libc::setsid();
            libc::ioctl(1, libc::TIOCSCTTY, 0);
            libc::dup2(1, 0);
        }
    }
}

/// Makes what who started the engine ignores or blocks no business of commands. Once in a helper: what is made default or
/// handled is default in what it starts.
pub(super) fn heed_signals() {
    (1..=64).filter(|it| *it != libc::SIGPIPE).for_each(set_default);
    unblock_signals();
}

/// The one signal that a helper ignores itself, and with it what it starts.
fn reset_signals() {
    set_default(libc::SIGPIPE);
    unblock_signals();
}

/// Called directly because libc refuses its own two signals, which may be ignored too. Signals that cannot be set fail.
fn set_default(signal: libc::c_int) {
    // The kernel's `struct sigaction` with no handler, no flags and an empty mask: all zero, 32 bytes.
    let default = [0u64; 4];
    const SET_BYTES: usize = 8;
    // SAFETY: no handler is installed; what is pointed to is as large as the kernel reads.
    unsafe {
        let none = std::ptr::null::<u64>();
        libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), none, SET_BYTES);
    }
}

fn unblock_signals() {
    // SAFETY: an empty set is made and outlives the call.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Loads the filter. CAP_SYS_ADMIN, still held, is what lets this work without no_new_privs, which would break sudo.
fn load(filter: &[libc::sock_filter]) -> Result<(), i32> {
    const SET_MODE_FILTER: libc::c_uint = 1;
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| libc::EINVAL)?,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the program's pointer and length are those of the slice; the kernel copies it.
    match unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, 0, &raw const program) } {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// This process's capabilities: those up to 31, and the rest.
fn capabilities() -> Result<[CapabilityData; 2], i32> {
    let header = CapabilityHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let mut data = [CapabilityData { effective: 0, permitted: 0, inheritable: 0 }; 2];
    // SAFETY: takes a header and two data blocks (version 3) that outlive the call.
    match unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) } {
        0 => Ok(data),
        _ => Err(last_errno()),
    }
}

fn set_capabilities(data: &[CapabilityData; 2]) -> Result<(), i32> {
    let header = CapabilityHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    // SAFETY: takes a header and two data blocks (version 3) that outlive the call.
    match unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) } {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}

/// Makes what is permitted effective again, which a change of user took away.
pub(super) fn raise_capabilities() -> Result<(), i32> {
    let raised = |it: CapabilityData| CapabilityData { effective: it.permitted, inheritable: 0, ..it };
    set_capabilities(&capabilities()?.map(raised))
}

/// Loads the filter and sees to it that nothing that this process executes gets more than the capabilities of the profile.
/// What it has itself it keeps until [`Program::execute`].
pub(super) fn confine(profile: Profile, filter: &[libc::sock_filter]) -> Result<(), Complaint> {
    filtered(filter)?;
    let bounded = bound_capabilities(kept(profile));
    bounded.map_err(|errno| Complaint { stage: Stage::Capabilities, errno, candidate: 0 })
}

/// Loads a filter, after others if there are any.
pub(super) fn filtered(filter: &[libc::sock_filter]) -> Result<(), Complaint> {
    load(filter).map_err(|errno| Complaint { stage: Stage::Filter, errno, candidate: 0 })
}

/// The capabilities of a profile.
fn kept(profile: Profile) -> u64 {
    match profile {
        Profile::Compat => CAPABILITIES,
        Profile::Strict => STRICT_CAPABILITIES,
    }
}

/// Leaves the capabilities of the profile, and with the strict one no way to more.
fn restrict(profile: Profile) -> Result<(), i32> {
    keep_capabilities(kept(profile))?;
    match profile {
        Profile::Compat => Ok(()),
        // SAFETY: takes numbers only.
        Profile::Strict => match unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } {
            0 => Ok(()),
            _ => Err(last_errno()),
        },
    }
}

/// Takes all but `kept` out of the bounding set.
fn bound_capabilities(kept: u64) -> Result<(), i32> {
    // SAFETY: takes numbers only.
    let give_up =
        |capability: libc::c_ulong| unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    for capability in 0..64 {
        if kept & (1 << capability) == 0 && give_up(capability) != 0 {
            match last_errno() {
                // Beyond the last one that the kernel knows.
                libc::EINVAL => break,
                errno => return Err(errno),
            }
        }
    }
    Ok(())
}

/// Permitted and effective to `kept`, inheritable and ambient to nothing (CVE-2022-24769).
fn keep_capabilities(kept: u64) -> Result<(), i32> {
    // SAFETY: takes numbers only.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    let half = |bits: u32| CapabilityData { effective: bits, permitted: bits, inheritable: 0 };
    set_capabilities(&[half(kept as u32), half(0)])
}

/// Inheritable and ambient to all that is permitted, so that they outlive execve, as any user. What is not in the bounding
/// set this process never had.
fn keep_all_capabilities() -> Result<(), i32> {
    let all =
        |it: CapabilityData| CapabilityData { effective: it.permitted, inheritable: it.permitted, ..it };
    let data = capabilities()?.map(all);
    set_capabilities(&data)?;
    for capability in 0..64 {
        let is_permitted = data[capability / 32].permitted & (1 << (capability % 32)) != 0;
        let capability = capability as libc::c_ulong;
        let raise = libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong;
        // SAFETY: takes numbers only.
        if is_permitted && unsafe { libc::prctl(libc::PR_CAP_AMBIENT, raise, capability, 0, 0) } != 0 {
            return Err(last_errno());
        }
    }
    Ok(())
}

fn exists(path: &CStr) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXISTS).is_ok()
}

pub(super) fn last_errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

#[cfg(test)]
mod tests;
