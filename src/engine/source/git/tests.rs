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
        let commit = Commit { object, tag: None, name };
        assert_eq!(wanted.text_key(&commit), expected);
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
    check(id, &[(attr::GIT_CHECKOUT_BUNDLE, "true")], &format!("{id}(bundle)"));
    // Where a commit comes from, and who signed it, changes nothing of what it is.
    let bundle = format!("oci-layout+blob://x/y@sha256:{}", "1".repeat(64));
    check(id, &[(attr::GIT_CHECKSUM, id), (attr::GIT_BUNDLE, &bundle), (attr::OCI_STORE, "s")], id);
    check(id, &[(attr::GIT_SIG_PUBKEY, "key"), (attr::GIT_SIG_REQUIRE_SIGNED_TAG, "true")], id);
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
    check("git://h/x", &[(attr::GIT_MTIME, "now")], "says nothing about times");
    let bundle = (attr::GIT_BUNDLE, "docker-image+blob://x");
    check("git://h/x", &[bundle], "a bundle needs the commit");
    check("git://h/x", &[bundle, (attr::GIT_CHECKSUM, "abc")], "a bundle needs the whole commit");
    let as_bundle = (attr::GIT_CHECKOUT_BUNDLE, "true");
    check("git://h/x", &[as_bundle, (attr::GIT_KEEP_GIT_DIR, "true")], "a bundle has no `.git`");
    check("git://h/x#main:docs", &[as_bundle], "no directory of its own");
    check("git://h/x", &[(attr::GIT_SIG_REJECT_EXPIRED, "true")], "a public key is needed");
    check("git://h/x", &[(attr::GIT_SIG_PUBKEY, "")], "a public key is needed");
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
