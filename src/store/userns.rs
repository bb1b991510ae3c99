//! Whether this process is in a user namespace, and what the store does otherwise there.
//!
//! Root of a user namespace may mount overlays, but not set `trusted.` attributes: overlayfs then keeps its own as
//! `user.overlay.` (its option `userxattr`). A store is used in one way or the other, by who owns it.

use std::borrow::Cow;
use std::os::unix::fs::MetadataExt as _;
use std::sync::OnceLock;

/// Inode of the first user namespace (linux/proc_ns.h, PROC_USER_INIT_INO).
const FIRST: u64 = 0xEFFF_FFFD;

const TRUSTED: &[u8] = b"trusted.overlay.";
const USER: &[u8] = b"user.overlay.";

/// Whether this process is in a user namespace of somebody's making. Asked once: who enters one does so before.
pub fn in_user_namespace() -> bool {
    static INSIDE: OnceLock<bool> = OnceLock::new();
    // Without /proc nothing can be told, and much else does not work either.
    *INSIDE.get_or_init(|| std::fs::metadata("/proc/self/ns/user").is_ok_and(|it| it.ino() != FIRST))
}

/// How many users there are in this user namespace: with one, nobody else can own a file or run a command.
pub fn n_users() -> u64 {
    let text = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let count = |line: &str| line.split_whitespace().nth(2).and_then(|it| it.parse::<u64>().ok());
    text.lines().filter_map(count).sum()
}

/// The name on disk of the attribute `key`.
pub(super) fn on_disk(key: &[u8]) -> Cow<'_, [u8]> {
    match key.strip_prefix(TRUSTED) {
        Some(rest) if in_user_namespace() => Cow::Owned([USER, rest].concat()),
        _ => Cow::Borrowed(key),
    }
}

/// Inverse of [`on_disk`].
pub(super) fn from_disk(key: &[u8]) -> Vec<u8> {
    match key.strip_prefix(USER) {
        Some(rest) if in_user_namespace() => [TRUSTED, rest].concat(),
        _ => key.to_vec(),
    }
}
