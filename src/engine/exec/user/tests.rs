//! User texts against one pair of files.

use super::resolve;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbin:x:1:1:bin:/bin:/sbin/nologin\n\
    app:x:1000:1001:App:/home/app:/bin/sh\n1000:x:77:77:trap:/trap:/bin/sh\nbroken\nhomeless:x:5:5::\n";
const GROUP: &str =
    "root:x:0:root\nbin:x:1:root,bin,daemon\nadm:x:4:root,app\napp:x:1001:\nwheel:x:10:app,root\n";

/// `uid:gid:groups:home`, or the error.
fn check(text: &str, expected: &str) {
    let found = match resolve(text, PASSWD, GROUP) {
        Ok(it) => format!("{}:{}:{:?}:{}", it.uid, it.gid, it.groups, it.home),
        Err(err) => err.to_string(),
    };
    assert_eq!(found, expected, "user `{text}`");
}

#[test]
fn names_and_numbers() {
    check("", "0:0:[0]:/root");
    check("0", "0:0:[0, 1, 4, 10]:/root");
    check("root", "0:0:[0, 1, 4, 10]:/root");
    check("app", "1000:1001:[1001, 4, 10]:/home/app");
    check("1000", "1000:1001:[1001, 4, 10]:/home/app");
    check("app:wheel", "1000:10:[10]:/home/app");
    check("app:5", "1000:5:[5]:/home/app");
    check("1000:1000", "1000:1000:[1000]:/home/app");
    check("4242", "4242:0:[0]:/");
    check("4242:4243", "4242:4243:[4243]:/");
    check(":wheel", "0:10:[10]:/root");
    check("homeless", "5:5:[5]:/");
    check("2147483647", "2147483647:0:[0]:/");
}

#[test]
fn what_is_no_user() {
    let setup = "cannot set up the command: ";
    check("nobody", &format!("{setup}there is no user `nobody` in the tree's /etc/passwd"));
    check("app:nope", &format!("{setup}there is no group `nope` in the tree's /etc/group"));
    for text in ["4294967296", "2147483648"] {
        check(text, &format!("{setup}`{text}` in the user `{text}` is above 2147483647, the largest id"));
    }
    for text in ["-1", "+0", "0x0"] {
        check(text, &format!("{setup}there is no user `{text}` in the tree's /etc/passwd"));
    }
}

#[test]
fn no_files() {
    let root = resolve("", "", "").expect("root needs no files");
    assert_eq!((root.uid, root.gid, root.groups, root.home), (0, 0, vec![0], "/".to_owned()));
    assert!(resolve("root", "", "").is_ok_and(|it| it.uid == 0), "root is root without files");
}
