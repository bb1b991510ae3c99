//! Names and mount tables.

use super::*;

#[test]
fn hierarchies_of_both_versions() {
    let text = "25 22 0:22 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
        26 22 0:23 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
        27 22 0:24 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
        28 22 0:25 / /tmp rw - tmpfs tmpfs rw\n";
    let found = parse_hierarchies(text);
    let legacy = |path: &str, options: &[&str]| Hierarchy {
        path: path.into(),
        kind: Kind::Legacy(options.iter().map(|it| (*it).to_owned()).collect()),
    };
    let expected = [
        legacy("/sys/fs/cgroup/memory", &["rw", "memory"]),
        legacy("/sys/fs/cgroup/cpu", &["rw", "cpu", "cpuacct"]),
        Hierarchy { path: "/sys/fs/cgroup/unified".into(), kind: Kind::Unified },
    ];
    assert_eq!(found, expected);
}

#[test]
fn only_dead_helpers_are_swept() {
    let namespace = pid_namespace().expect("/proc is mounted");
    let own = own_name().expect("/proc is mounted");
    assert!(!is_dead(&own, namespace), "a living process");
    assert!(!is_dead(&own, namespace + 1), "another namespace's process");
    let mut parts = own.split('.').skip(1);
    let (pid, start) = (parts.next().expect("a pid"), parts.next().expect("a start"));
    assert!(is_dead(&format!("bkl.{pid}.{start}9.{namespace}"), namespace), "the pid is another process now");
    assert!(is_dead(&format!("bkl.{pid}.{start}9.{namespace}.7"), namespace), "a command's own");
    assert!(!is_dead(&format!("{own}.7"), namespace), "a command's own, of a living helper");
    assert!(!is_dead("something-else", namespace));
    assert!(!is_dead(&format!("{pid}.{start}9.{namespace}"), namespace), "another program's cgroup");
}

#[test]
fn limits_need_their_controllers() {
    let memory = Hierarchy { path: "/none".into(), kind: Kind::Legacy(vec!["rw".into(), "memory".into()]) };
    let wanted = |limits: Limits| check(std::slice::from_ref(&memory), &limits).map_err(|it| it.to_string());
    assert_eq!(wanted(Limits::default()), Ok(()));
    assert_eq!(wanted(Limits { memory: Some(1), ..Limits::default() }), Ok(()));
    let refused = "this machine cannot run commands: the step's `cpu` cannot be limited: no hierarchy has the controller";
    assert_eq!(wanted(Limits { cpu_shares: Some(2), ..Limits::default() }), Err(refused.to_owned()));
}
