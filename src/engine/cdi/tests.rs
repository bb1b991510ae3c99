//! Which devices a name stands for, and what a command gets with them.

use super::*;

const ONE: &str = r#"{
  "cdiVersion": "0.6.0",
  "kind": "vendor.com/gpu",
  "annotations": { "org.mobyproject.buildkit.device.class": "all" },
  "containerEdits": { "env": ["SHARED=1"], "additionalGids": [0, 44] },
  "devices": [
    { "name": "a", "annotations": { "org.mobyproject.buildkit.device.class": "fast" },
      "containerEdits": { "env": ["A=1"], "deviceNodes": [{ "path": "/dev/gpu/a", "hostPath": "/dev/null" }] } },
    { "name": "b", "containerEdits": {
      "env": ["A=2"],
      "deviceNodes": [{ "path": "/dev/gpu/b", "type": "b", "major": 7, "minor": 9, "permissions": "r", "fileMode": 416,
                        "uid": 5 }],
      "mounts": [{ "hostPath": "/usr/lib/x", "containerPath": "/x", "options": ["ro", "bind"] },
                 { "hostPath": "", "containerPath": "/t", "type": "tmpfs" }] } },
    { "name": "c", "containerEdits": {} }
  ]
}"#;

/// What `names` stand for with these files: what is given as text, or why not.
fn check(files: &[(&str, &str)], names: &[&str], expected: &str) {
    let place = tempfile::tempdir().unwrap();
    let directories = ["etc", "run"].map(|it| place.path().join(it));
    for (path, text) in files {
        let path = place.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let wanted: Vec<CdiDevice> = names
        .iter()
        .map(|it| match it.strip_suffix('?') {
            Some(name) => CdiDevice { name: name.to_owned(), optional: true },
            None => CdiDevice { name: (*it).to_owned(), optional: false },
        })
        .collect();
    let found = match given(&wanted, &directories) {
        Ok(given) => {
            let node = |it: &NewNode| {
                let NewNode { path, kind, major, minor, mode, uid, reads, writes, .. } = it;
                let access = format!("{}{}", if *reads { "r" } else { "" }, if *writes { "w" } else { "" });
                format!("{path} {kind:?} {major}:{minor} {mode:o} {uid:?} {access}")
            };
            let mount = |it: &ExecMount| format!("{} {:?} {:?}", it.dest, it.source, it.access);
            let mut parts = given.env.clone();
            parts.extend(given.groups.iter().map(|it| format!("group {it}")));
            parts.extend(given.nodes.iter().map(node));
            parts.extend(given.mounts.iter().map(mount));
            parts.join("\n")
        }
        Err(error) => error.to_string(),
    };
    assert_eq!(found.replace(&place.path().display().to_string(), ""), expected, "{names:?}");
}

const A: &str = "SHARED=1\nA=1\ngroup 44\ngpu/a Character 1:3 666 None rw";

#[test]
fn names() {
    let check = |name: &str, expected: &str| check(&[("etc/one.json", ONE)], &[name], expected);
    check("vendor.com/gpu=a", A);
    check("vendor.com/gpu", A);
    check("vendor.com/gpu=fast", A);
    check("vendor.com/gpu=c", "SHARED=1\ngroup 44");
    // A device's own class counts, not that of its specification.
    let b = "gpu/b Block 7:9 640 Some(5) r\n/x Dir { path: \"/usr/lib/x\", selector: \"\" } ReadOnly\n/t Tmpfs { size: None } \
        ReadWrite";
    check("vendor.com/gpu=all", &format!("SHARED=1\nA=2\ngroup 44\n{b}"));
    check("vendor.com/gpu=*", &format!("SHARED=1\nA=1\nA=2\ngroup 44\ngpu/a Character 1:3 666 None rw\n{b}"));
    check("vendor.com/gpu=d", "there is no device `vendor.com/gpu=d` on this machine");
    check("vendor.com/gpu=d?", "");
    check("other.com/gpu=*?", "");
    for bad in ["gpu", "=a", "vendor.com/=a", "1vendor/gpu", "vendor.com/gpu.", "vendor.com/g/u=a?"] {
        let name = bad.trim_end_matches('?');
        check(bad, &format!("`{name}` does not name a device: `vendor.com/class=device`"));
    }
}

#[test]
fn several() {
    // Once each, in the order they are asked for.
    check(&[("etc/one.json", ONE)], &["vendor.com/gpu=c", "vendor.com/gpu=a", "vendor.com/gpu=fast"], A);
    let other = ONE.replace("A=1", "A=other");
    let expected = A.replace("A=1", "A=other");
    check(&[("etc/one.json", ONE), ("run/two.json", &other)], &["vendor.com/gpu=a"], &expected);
    let twice = "there is no device `vendor.com/gpu=a` on this machine; `vendor.com/gpu=a` is there several times in `/etc`; \
        `vendor.com/gpu=b` is there several times in `/etc`; `vendor.com/gpu=c` is there several times in `/etc`";
    check(&[("etc/one.json", ONE), ("etc/two.json", &other)], &["vendor.com/gpu=a"], twice);
}

#[test]
fn files() {
    let missing = |file: &str, text: &str, why: &str| {
        let expected =
            format!("there is no device `v.com/c=x` on this machine; `/{file}` is not read: {why}");
        check(&[(file, text)], &["v.com/c=x"], &expected);
    };
    let spec = |kind: &str, edits: &str| {
        format!(
            r#"{{"cdiVersion":"0.3.0","kind":"{kind}","devices":[{{"name":"x","containerEdits":{edits}}}]}}"#
        )
    };
    missing("etc/a.yaml", "cdiVersion: 0.5.0\n", "it is YAML, and only JSON is understood");
    let problems = vec![format!("`/etc/a.yaml` is not read: {}", super::spec::ONLY_JSON)];
    let error = CdiError::Missing { name: "v.com/c=x".to_owned(), problems };
    assert!(error.help().is_some_and(|help| help.contains("`nvidia-ctk cdi generate --format=json`")));
    check(&[("etc/a.yaml", &spec("v.com/c", r#"{"env":["B=1"]}"#))], &["v.com/c=x"], "B=1");
    check(
        &[("etc/a.txt", "no specification")],
        &["v.com/c=x"],
        "there is no device `v.com/c=x` on this machine",
    );
    missing("run/a.json", &spec("v.com", "{}"), "`v.com` is no kind: `vendor.com/class`");
    missing("run/a.json", &spec("v.com/c", r#"{"env":["B"]}"#), "`B` is no variable");
    let mount = r#"{"mounts":[{"hostPath":"x","containerPath":"/x"}]}"#;
    missing("run/a.json", &spec("v.com/c", mount), "the paths of the mount `/x` are not absolute");
    let fails = |edits: &str, why: &str| {
        check(
            &[("etc/a.json", &spec("v.com/c", edits))],
            &["v.com/c=x"],
            &format!("the device `v.com/c=x` {why}"),
        );
    };
    let needs = |edits: &str, what: &str| {
        fails(edits, &format!("needs {what}, which this engine does not do"));
    };
    needs(r#"{"hooks":[{"hookName":"createContainer","path":"/bin/h","args":["h"]}]}"#, "a hook (`/bin/h`)");
    needs(r#"{"intelRdt":{}}"#, "a class of Intel's RDT");
    needs(r#"{"netDevices":[{"hostInterfaceName":"eth1","name":"x"}]}"#, "a network device");
    needs(r#"{"deviceNodes":[{"path":"/dev/../etc/x"}]}"#, "a node outside of /dev (`/dev/../etc/x`)");
    needs(r#"{"deviceNodes":[{"path":"/dev/x","type":"p"}]}"#, "a node of type `p`");
    let instead = |path: &str| format!(r#"{{"deviceNodes":[{{"path":"{path}","hostPath":"/dev/full"}}]}}"#);
    for path in ["/dev/null", "/dev/tty", "/dev/pts/0"] {
        needs(&instead(path), &format!("a node in place of what every command has (`{path}`)"));
    }
    let mount = r#"{"mounts":[{"hostPath":"/x","containerPath":"/x","type":"nfs"}]}"#;
    needs(mount, "a mount of type `nfs` on `/x`");
    let not_as = "is not as its specification says: ";
    let block = r#"{"deviceNodes":[{"path":"/dev/null","type":"b"}]}"#;
    fails(block, &format!("{not_as}`/dev/null` is not of type `b`"));
    let file = r#"{"deviceNodes":[{"path":"/dev/x","hostPath":"/etc/passwd"}]}"#;
    fails(file, &format!("{not_as}`/etc/passwd` is no device"));
}

#[test]
fn variables() {
    let check = |env: &[&str], more: &[&str], expected: &[&str]| {
        let texts = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        assert_eq!(with_variables(texts(env), &texts(more)), texts(expected));
    };
    check(&["A=1", "AB=2"], &["A=x", "C=3"], &["A=x", "AB=2", "C=3"]);
    check(&["A=1", "A=2"], &["A=", "A=y=z"], &["A=1", "A=y=z"]);
}
