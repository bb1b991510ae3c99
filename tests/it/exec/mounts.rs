//! What is mounted for a command and what that leaves behind.

use super::*;

pub(super) fn cases() -> Vec<Case> {
    vec![
        ("mounts_are_what_they_say", mounts_are_what_they_say),
        ("mount_paths_stay_in_their_trees", mount_paths_stay_in_their_trees),
        ("mounts_that_are_refused", mounts_that_are_refused),
        ("hundreds_of_mounts", hundreds_of_mounts),
        ("root_can_be_read_only", root_can_be_read_only),
        ("hosts_and_hostname", hosts_and_hostname),
        ("mount_points_leave_no_trace", mount_points_leave_no_trace),
        ("mount_points_are_not_removed_elsewhere", mount_points_are_not_removed_elsewhere),
        ("overlay_gets_only_what_the_command_did", overlay_gets_only_what_the_command_did),
        ("dangling_resolv_conf_is_a_mount_point", dangling_resolv_conf_is_a_mount_point),
    ]
}

fn mounts_are_what_they_say() {
    let tree = Tree::new();
    let cache = TempDir::new_in("/var/tmp").unwrap();
    let other = Tree::new();
    other.write("sub/dir/file", "selected\n");
    let mut spec = script(
        &tree,
        "cat /in/file /one; touch /in/x 2>&1; echo kept > /cache/k; touch /mem/y; cat /secret; stat -c %a:%u /secret; \
         touch rel/z; grep -c ' /mem ' /proc/self/mounts; grep ' /mem ' /proc/self/mounts; cat /cache/deep/file",
    );
    spec.cwd = "/work".into();
    spec.mounts = vec![
        mount(
            "/cache/deep",
            MountSource::Tree { fd: other.mount(), selector: "sub/dir".into() },
            Access::ReadOnly,
        ),
        mount("/in", MountSource::Tree { fd: other.mount(), selector: "/sub/dir".into() }, Access::ReadOnly),
        mount(
            "/one",
            MountSource::Tree { fd: other.mount(), selector: "sub/dir/file".into() },
            Access::ReadOnly,
        ),
        mount(
            "/cache",
            MountSource::Dir { path: cache.path().into(), selector: String::new() },
            Access::ReadWrite,
        ),
        mount("/mem", MountSource::Tmpfs { size: Some(65536) }, Access::ReadWrite),
        mount(
            "/secret",
            MountSource::File { bytes: b"hush\n".to_vec(), uid: 5, gid: 6, mode: 0o440 },
            Access::ReadOnly,
        ),
        mount("rel", MountSource::Tmpfs { size: None }, Access::ReadWrite),
    ];
    let text = output(spec);
    let expected = "selected\nselected\ntouch: /in/x: Read-only file system\nhush\n440:5\n1\n";
    assert!(text.starts_with(expected), "{text}");
    assert!(text.contains("tmpfs /mem tmpfs rw,nosuid,relatime,size=64k"), "{text}");
    assert!(text.ends_with("selected\n"), "{text}");
    assert_eq!(fs::read_to_string(cache.path().join("k")).unwrap(), "kept\n");
    assert!(!other.exists("sub/dir/x"));
    for it in ["in", "one", "mem", "secret", "work/rel"] {
        assert!(!tree.exists(it), "{it} is left in the tree");
    }
}

fn mount_paths_stay_in_their_trees() {
    let tree = Tree::new();
    let other = Tree::new();
    symlink("/", other.join("out")).unwrap();
    symlink("../../../../..", other.join("up")).unwrap();
    symlink("/", tree.join("l")).unwrap();
    let canary = TempDir::new_in("/var/tmp").unwrap();
    let name = canary.path().file_name().unwrap().to_str().unwrap();
    for selector in ["out/etc", "up/etc", "../../etc", "out/../../etc"] {
        let mut spec = script(&tree, "ls /l/m; touch /m/made");
        let source = MountSource::Tree { fd: other.mount(), selector: selector.into() };
        spec.mounts = vec![mount("/l/m", source, Access::ReadWrite)];
        assert_eq!(output(spec), "", "{selector}");
        fs::remove_file(other.join("etc/made")).unwrap();
    }
    let mut spec = script(&tree, "true");
    let source = MountSource::Tree { fd: other.mount(), selector: format!("out/var/tmp/{name}") };
    spec.mounts = vec![mount("/m", source, Access::ReadWrite)];
    assert!(matches!(try_run(spec), Err(RunError::Step { .. })));
}

fn mounts_that_are_refused() {
    let tree = Tree::new();
    for dest in ["/dev", "/proc/x", "/sys/../dev/null", "/", "/x/.."] {
        let mut spec = script(&tree, "true");
        spec.mounts = vec![mount(dest, MountSource::Tmpfs { size: None }, Access::ReadWrite)];
        let result = try_run(spec);
        assert!(matches!(result, Err(RunError::Step { .. })), "{dest}: {:?}", result.err());
    }
    let mut spec = script(&tree, "true");
    let other = Tree::new();
    spec.mounts = vec![
        mount("/a", MountSource::Tree { fd: other.mount(), selector: String::new() }, Access::ReadOnly),
        mount("/a/new", MountSource::Tmpfs { size: None }, Access::ReadWrite),
    ];
    let err = try_run(spec).err().unwrap().to_string();
    assert_eq!(
        err,
        "cannot set up the command: there is no `/a/new` to mount on, and it lies in a read-only mount"
    );
}

fn root_can_be_read_only() {
    let tree = Tree::new();
    let mut spec = script(&tree, "touch /x 2>&1; touch /w/y; mkdir /tmp/z 2>&1; true");
    spec.root_access = Access::ReadOnly;
    spec.mounts = vec![mount("/w", MountSource::Tmpfs { size: None }, Access::ReadWrite)];
    let expected =
        "touch: /x: Read-only file system\nmkdir: can't create directory '/tmp/z': Read-only file system\n";
    assert_eq!(output(spec), expected);
    assert!(!tree.exists("w"));
}

fn hosts_and_hostname() {
    let tree = Tree::new();
    let mut spec = script(&tree, "hostname; cat /etc/hosts; echo no 2>&1 > /etc/hosts; true");
    spec.extra_hosts = vec![HostLine { host: "db".into(), ip: "10.0.0.7".parse().unwrap() }];
    let text = output(spec);
    let expected = "buildkitsandbox\n127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost \
        ip6-loopback\n10.0.0.7\tdb\n";
    assert!(text.starts_with(expected), "{text}");
    let mut spec = script(&tree, "hostname");
    spec.hostname = "mine".into();
    assert_eq!(output(spec), "mine\n");
    assert!(!tree.exists("etc/hosts") && !tree.exists("etc/resolv.conf"));
}

fn mount_points_leave_no_trace() {
    let tree = Tree::new();
    for it in ["proc", "dev", "sys"] {
        fs::create_dir(tree.join(it)).unwrap();
    }
    let old = (1_000_000_000, 0);
    let tmp = |dest: &str| mount(dest, MountSource::Tmpfs { size: None }, Access::ReadWrite);
    for (parents, left) in [(StubParents::Remove, false), (StubParents::Keep, true)] {
        for it in ["etc", "tmp", ""] {
            age(&tree.join(it));
        }
        let mut spec = script(&tree, "ls /etc /tmp/a/b");
        spec.mounts = vec![tmp("/tmp/a/b/c"), tmp("/tmp/d"), tmp("/top")];
        spec.stub_parents = parents;
        assert_eq!(output(spec), "/etc:\nhosts\nresolv.conf\n\n/tmp/a/b:\nc\n");
        assert!(!tree.exists("tmp/d") && !tree.exists("top") && !tree.exists("tmp/a/b/c"));
        assert_eq!(tree.exists("tmp/a/b"), left, "{parents:?}");
        assert_eq!(mtime(&tree.join("etc")), old);
        assert_eq!(mtime(&tree.join("")), old);
        if !left {
            assert_eq!(mtime(&tree.join("tmp")), old);
        }
    }
    // What the command does itself stays, with its time.
    fs::remove_dir_all(tree.join("tmp/a")).unwrap();
    age(&tree.join("tmp"));
    let mut spec = script(&tree, "touch /tmp/result");
    spec.mounts = vec![tmp("/tmp/d")];
    output(spec);
    assert!(tree.exists("tmp/result") && !tree.exists("tmp/d"));
    assert!(mtime(&tree.join("tmp")).0 > old.0);
}

fn mount_points_are_not_removed_elsewhere() {
    let tree = Tree::new();
    let canary = TempDir::new_in("/var/tmp").unwrap();
    let precious = canary.path().join("stub");
    fs::write(&precious, "").unwrap();
    fs::create_dir(tree.join("d")).unwrap();
    tree.write("e/stub", "");
    let link = canary.path().to_str().unwrap();
    let mut spec = script(&tree, &format!("mv /d /moved; ln -s {link} /d; ln -s /e /f"));
    let file = MountSource::File { bytes: Vec::new(), uid: 0, gid: 0, mode: 0o644 };
    spec.mounts = vec![mount("/d/stub", file, Access::ReadOnly)];
    output(spec);
    assert!(precious.exists() && tree.exists("e/stub"));
    assert!(!tree.exists("moved/stub"), "the stub itself is found where it went");
}

/// The root as the store mounts it: what is left in the upper directory is what the layer will hold.
fn overlay_gets_only_what_the_command_did() {
    use rustix::mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
    };
    let tree = Tree::new();
    tree.write("usr/share/doc", "text");
    age(&tree.join("etc"));
    let scratch = TempDir::new_in("/var/tmp").unwrap();
    for it in ["upper", "work"] {
        fs::create_dir(scratch.path().join(it)).unwrap();
    }
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    fsconfig_set_string(&context, "lowerdir+", tree.path()).unwrap();
    fsconfig_set_string(&context, "upperdir", scratch.path().join("upper")).unwrap();
    fsconfig_set_string(&context, "workdir", scratch.path().join("work")).unwrap();
    fsconfig_create(&context).unwrap();
    let root = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap();
    let kept = root.try_clone().unwrap();
    let mut spec = script(
        &tree,
        "echo new > /usr/share/doc; rm -r /tmp; cat /etc/hosts /opt/x/y/file > /dev/null; touch rel",
    );
    spec.root = root;
    spec.cwd = "/work/dir".into();
    let other = Tree::new();
    other.write("file", "");
    spec.stub_parents = StubParents::Remove;
    spec.mounts = vec![mount(
        "/opt/x/y",
        MountSource::Tree { fd: other.mount(), selector: String::new() },
        Access::ReadOnly,
    )];
    output(spec);
    // The descriptor still shows the tree.
    rustix::fs::statat(&kept, "work/dir/rel", rustix::fs::AtFlags::empty()).unwrap();
    drop(kept);
    let upper = scratch.path().join("upper");
    let mut left = Vec::new();
    let mut todo = vec![upper.clone()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                todo.push(entry.path());
            }
            left.push(entry.path().strip_prefix(&upper).unwrap().to_str().unwrap().to_owned());
        }
    }
    left.sort();
    // `etc` was copied up for the mount points and is what it was; the system's directories stay, as with BuildKit.
    let expected = [
        "dev",
        "etc",
        "proc",
        "sys",
        "tmp",
        "usr",
        "usr/share",
        "usr/share/doc",
        "work",
        "work/dir",
        "work/dir/rel",
    ];
    assert_eq!(left, expected);
    assert_eq!(mtime(&upper.join("etc")), (1_000_000_000, 0));
}

fn dangling_resolv_conf_is_a_mount_point() {
    let tree = Tree::new();
    symlink("../run/systemd/resolve/stub-resolv.conf", tree.join("etc/resolv.conf")).unwrap();
    let text = output(script(&tree, "cat /etc/resolv.conf | wc -l"));
    assert_ne!(text, "0\n");
    assert!(fs::symlink_metadata(tree.join("etc/resolv.conf")).unwrap().is_symlink());
    assert!(!tree.exists("run/systemd/resolve/stub-resolv.conf"));
}

/// More descriptors than one message between runner and helper holds.
fn hundreds_of_mounts() {
    let tree = Tree::new();
    let other = Tree::new();
    other.write("sub/file", "");
    let mut spec = script(&tree, "ls /m/*/file | wc -l; ls /proc/self/fd | wc -l");
    let mount = |index| {
        let source = MountSource::Tree { fd: other.mount(), selector: "sub".into() };
        mount(&format!("/m/{index}"), source, Access::ReadOnly)
    };
    spec.mounts = (0..420).map(mount).collect();
    spec.stub_parents = StubParents::Remove;
    assert_eq!(output(spec), "420\n4\n");
    assert!(!tree.exists("m"));
}
