//! What `gpgv` says of signatures, and keys that are none.

use super::openpgp::{Verdict, keyring, verdict};
use super::*;

const VALID: &str = "[GNUPG:] VALIDSIG F 2017-07-14 1500000200 0 4 0 22 8 00 F\n";
const GOOD: &str = "[GNUPG:] NEWSIG a@example.com\n[GNUPG:] GOODSIG F A <a@example.com>\n";
const EXPIRED: &str = "[GNUPG:] NEWSIG\n[GNUPG:] KEYEXPIRED 1500086400\n[GNUPG:] EXPKEYSIG F A\n";

#[track_caller]
fn check(status: &str, expired: Expired, expected: &str) {
    let found = match verdict(status, expired, 1_600_000_000) {
        Verdict::Good => "good".to_owned(),
        Verdict::Bad(reason) => reason,
        Verdict::Nothing => "nothing".to_owned(),
    };
    assert_eq!(found, expected, "{status}");
}

#[test]
fn verdicts() {
    let good = format!("{GOOD}{VALID}");
    check(&good, Expired::Rejected, "good");
    check("", Expired::Accepted, "nothing");
    // What is not of the program itself does not count.
    check(&good.replace("[GNUPG:] ", ""), Expired::Accepted, "nothing");
    check(GOOD, Expired::Accepted, "it cannot be verified");
    check(&format!("[GNUPG:] NEWSIG\n{VALID}"), Expired::Accepted, "it cannot be verified");
    let of = |verdict: &str| good.replace("GOODSIG", verdict);
    check(&of("REVKEYSIG"), Expired::Accepted, "its key was revoked (key F)");
    check(&of("EXPSIG"), Expired::Accepted, "it has expired (key F)");
    check(&of("BADSIG"), Expired::Accepted, "it is of something else (key F)");
    let other = "[GNUPG:] NEWSIG\n[GNUPG:] ERRSIG F 1 10 00 1500000200 9 F\n[GNUPG:] NO_PUBKEY F\n";
    check(other, Expired::Accepted, "it is by another key (key F)");
    check(&other.replace(" 9 ", " 4 "), Expired::Accepted, "it cannot be verified (key F)");
    // Several people may sign: one whom we know is enough.
    check(&format!("{other}{good}"), Expired::Accepted, "good");
    check(&format!("{good}{other}"), Expired::Accepted, "good");
}

#[test]
fn keys_that_have_expired() {
    let status = format!("{EXPIRED}{VALID}");
    check(&status, Expired::Accepted, "good");
    check(&status, Expired::Rejected, "its key has expired (key F)");
    check(&status.replace("1500000200", "1500086401"), Expired::Accepted, "its key had expired before");
    check(
        &status.replace("[GNUPG:] KEYEXPIRED 1500086400\n", ""),
        Expired::Accepted,
        "its key had expired before",
    );
}

#[test]
fn algorithms() {
    let with = |from: &str, to: &str| format!("{GOOD}{}", VALID.replace(from, to));
    check(&with(" 22 8 ", " 1 10 "), Expired::Accepted, "good");
    check(&with(" 22 8 ", " 1 2 "), Expired::Accepted, "its hash is too weak");
    check(&with(" 22 8 ", " 17 8 "), Expired::Accepted, "its kind of key is not trusted");
    check(&with("1500000200", "1600000300"), Expired::Accepted, "good");
    check(&with("1500000200", "1600000301"), Expired::Accepted, "it is from the future");
}

fn armored(bytes: &[u8]) -> String {
    let encoded = crate::graph::llb::json::base64(bytes);
    format!("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{encoded}\n-----END PGP PUBLIC KEY BLOCK-----\n")
}

#[test]
fn openpgp_keys() {
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let found = keyring(text).map_or_else(|error| error.to_string(), |bytes| format!("{bytes:02x?}"));
        assert!(found.contains(expected), "{found}");
    }
    // RSA of 2048 and of 1024 bits (only the beginning of the number), by packets of the new and the old format.
    check(&armored(&[0xc6, 8, 4, 0, 0, 0, 0, 1, 8, 0]), "[c6, 08,");
    check(&armored(&[0xc6, 8, 4, 0, 0, 0, 0, 1, 4, 0]), "has 1024 bits, fewer than 2048");
    check(&armored(&[0x98, 8, 4, 0, 0, 0, 0, 3, 4, 0]), "has 1024 bits");
    check(&armored(&[0x99, 0, 8, 4, 0, 0, 0, 0, 22, 4, 0]), "[99,");
    // A secret key, a signature alone, half a packet.
    check(&armored(&[0xc5, 1, 4]), "it is no public OpenPGP key");
    check(&armored(&[0xc2, 1, 4]), "it is no public OpenPGP key");
    check(&armored(&[0xc6, 9, 4]), "it is damaged");
    check(&armored(&[0xc6, 0xe1, 4]), "it is damaged");
    check("", "it is empty");
    check("ssh-ed25519 AAAA", "it is no block `PGP PUBLIC KEY BLOCK`");
    let two = format!("{}{}", armored(&[0xc6, 1, 4]), armored(&[0xc6, 1, 5]));
    check(&two, "[c6, 01, 04, c6, 01, 05]");
}

#[test]
fn ssh_keys() {
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let found = ssh_signers(text).unwrap_or_else(|error| error.to_string());
        assert_eq!(found, expected);
    }
    let refused = "the public key cannot be used: it is no public ssh key, as in a `.pub` file";
    check("ssh-ed25519 AAAA= me@here\n", "signer namespaces=\"git\" ssh-ed25519 AAAA=\n");
    check(
        "# mine\n\necdsa-sha2-nistp256 AA\nsk-ssh-ed25519@openssh.com BB x",
        "signer namespaces=\"git\" ecdsa-sha2-nistp256 AA\nsigner namespaces=\"git\" sk-ssh-ed25519@openssh.com BB\n",
    );
    check("cert-authority ssh-ed25519 AAAA", refused);
    check("* ssh-ed25519 AAAA", refused);
    check("ssh-ed25519-cert-v01@openssh.com AAAA", refused);
    check("ssh-ed25519", refused);
    check("ssh-ed25519 AA,AA", refused);
    check("\n# nothing\n", "the public key cannot be used: it is empty");
}
