//! What ops say, and the keys that commits have.

use super::*;

fn op(identifier: &str, attrs: &[(&str, &str)]) -> SourceOp {
    let attrs = attrs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    SourceOp { identifier: identifier.to_owned(), attrs }
}

/// Keys as BuildKit has them, of ops that name a commit.
#[test]
fn keys() {
    let id = "0123456789abcdef0123456789abcdef01234567";
    #[track_caller]
    fn check(rest: &str, attrs: &[(&str, &str)], expected: &str) {
        let wanted = Wanted::read(&op(&format!("git://h/x.git#{rest}"), attrs)).unwrap();
        let name = if wanted.by_commit { "refs/heads/main".to_owned() } else { wanted.reference.clone() };
        let object = if wanted.by_commit { wanted.checksum.clone() } else { name.clone() };
        assert_eq!(Commit { wanted, object, name }.text_key(), expected);
    }
    check(id, &[], id);
    check(&format!("{id}:docs/x"), &[], &format!("{id}:docs/x"));
    check(&format!("{id}:/"), &[], id);
    check(id, &[(attr::GIT_KEEP_GIT_DIR, "true")], &format!("{id}.git#{id}"));
    check(id, &[(attr::GIT_SKIP_SUBMODULES, "true")], &format!("{id}(skip-submodules)"));
    check(id, &[(attr::GIT_MTIME, "checkout")], id);
    check(
        &format!("{id}:a"),
        &[(attr::GIT_MTIME, "commit"), (attr::GIT_SKIP_SUBMODULES, "true"), (attr::GIT_KEEP_GIT_DIR, "true")],
        &format!("{id}.git#{id}:a(skip-submodules)(mtime=commit)"),
    );
    let by_commit =
        [(attr::GIT_CHECKSUM, id), (attr::GIT_FETCH_BY_COMMIT, "true"), (attr::GIT_KEEP_GIT_DIR, "true")];
    check("main", &by_commit, &format!("{id}.git#refs/heads/main"));
}

#[test]
fn ops_that_are_refused() {
    #[track_caller]
    fn check(identifier: &str, attrs: &[(&str, &str)], expected: &str) {
        let error = Wanted::read(&op(identifier, attrs)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    check("git://h/x", &[(attr::GIT_FULL_URL, "file:///etc")], "`file` is not https");
    check("git://h/x", &[(attr::GIT_FULL_URL, "ssh://-oProxyCommand=x/y")], "is no host");
    check("git://h/x", &[(attr::GIT_FULL_URL, "https://me:secret@h/x")], "https://me:xxxxx@h/x");
    check("git://h/x", &[(attr::GIT_CHECKSUM, "--x")], "is no commit");
    check("git://h/x", &[(attr::GIT_FETCH_BY_COMMIT, "true")], "needs the whole commit");
    check("git://h/x", &[(attr::GIT_BUNDLE, "docker-image+blob://x")], "bundles are not supported");
    check("git://h/x", &[("git.sig.pubkey", "x")], "signatures are not verified");
}

#[test]
fn directories_stay_inside() {
    #[track_caller]
    fn check(subdir: &str, expected: &str) {
        let wanted = Wanted::read(&op(&format!("git://h/x#main:{subdir}"), &[])).unwrap();
        assert_eq!(wanted.subdir, expected);
    }
    check("", "");
    check("/", "");
    check("a/../b/", "b");
    check("../../etc", "etc");
    check("/a//b", "a/b");
}
