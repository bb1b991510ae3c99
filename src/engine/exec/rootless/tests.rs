//! Who has which range.

use super::*;

#[test]
fn ranges_by_name_or_number() {
    let text = "# comment\nother:100000:65536\nada:200000:10\n1001:300000:20\nempty:1:0\nbroken:x:1\nada:400000:30\n";
    assert_eq!(range(text, Some("ada"), 1000), Some((200_000, 10)));
    assert_eq!(range(text, None, 1001), Some((300_000, 20)));
    for name in ["empty", "broken", "nobody", "# comment"] {
        assert_eq!(range(text, Some(name), 5), None, "{name}");
    }
}

#[test]
fn names_of_users() {
    let passwd = "root:x:0:0::/root:/bin/sh\nbroken\nada:x:1000:1000::/:/bin/sh\n";
    assert_eq!(name_of(1000, passwd).as_deref(), Some("ada"));
    assert_eq!(name_of(1001, passwd), None);
}

#[test]
fn what_forbids_is_said() {
    let err = forbidden(&io::Error::from_raw_os_error(libc::ENOSPC));
    assert!(err.to_string().contains("user namespace, and none can be made: "), "{err}");
    assert!(err.help().is_some_and(|it| it.ends_with("or run the same command as root")));
}
