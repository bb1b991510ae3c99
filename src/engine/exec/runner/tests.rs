//! What can be seen of the runner without a container.

use super::*;

/// A command that gets hold of its engine's program must not be able to change it (CVE-2019-5736).
#[test]
fn the_program_of_helpers_is_read_only() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let copy = tempfile::NamedTempFile::new().expect("a file");
    let runner =
        HelperRunner::with_program(RunnerKind::Direct, copy.path()).expect("root on a machine with cgroups");
    let path = format!("/proc/self/fd/{}", runner.program.as_raw_fd());
    let err = std::fs::OpenOptions::new().write(true).open(path).expect_err("it is mounted read-only");
    assert_eq!(err.kind(), io::ErrorKind::ReadOnlyFilesystem);
    std::fs::OpenOptions::new().write(true).open(copy.path()).expect("the file itself is as it was");
}

#[test]
fn a_helper_that_is_none_is_a_bug_that_is_told() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let runner = HelperRunner::with_program(RunnerKind::Direct, Path::new("/bin/true"))
        .expect("root on a machine with cgroups");
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let spec = ExecSpec {
        args: vec!["true".into()],
        env: Vec::new(),
        cwd: String::new(),
        user: String::new(),
        hostname: String::new(),
        extra_hosts: Vec::new(),
        profile: Profile::Compat,
        network: Network::None,
        security: Security::Sandbox,
        root: open_tree(rustix::fs::CWD, "/tmp", flags).expect("a mount"),
        root_access: Access::ReadOnly,
        mounts: Vec::new(),
        ulimits: Vec::new(),
        limits: crate::engine::exec::Limits::default(),
        cgroup_parent: String::new(),
        devices: None,
        emulation: crate::engine::exec::Emulation::Kernel,
        stub_parents: crate::engine::exec::StubParents::Keep,
        terminal: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let sink = |_: Stream, _: &[u8]| {};
    let result = runtime.block_on(runner.run(spec, &sink, &Cancel::new()));
    assert!(matches!(result, Err(RunError::Bug { .. } | RunError::Io { .. })), "{result:?}");
}
