//! What of OpenPGP is looked at here (RFC 9580): which packets a block has, how long RSA keys are, and what `gpgv` says of a
//! signature (gnupg doc/DETAILS).

use super::armor::{PGP_SIGNATURE, block, blocks};
use super::{Expired, SignatureError};

/// Kinds of packets.
const SIGNATURE: u8 = 2;
const PUBLIC_KEY: u8 = 6;
/// What a public key may consist of besides: trust, user ids, subkeys, attributes, padding.
const IN_KEYS: [u8; 6] = [SIGNATURE, 12, 13, 14, 17, 21];
/// Shorter RSA keys do not count.
const MIN_RSA_BITS: u16 = 2048;
/// RSA, RSA for signatures only, ECDSA, EdDSA of old and new, Ed448.
const KEY_KINDS: [&str; 6] = ["1", "3", "19", "22", "27", "28"];
/// SHA-256, SHA-384, SHA-512.
const HASHES: [&str; 3] = ["8", "9", "10"];
/// How far ahead the signer's clock may be, in seconds.
const CLOCK_SLACK: u64 = 300;

/// What a verification came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Good,
    /// Why it does not count.
    Bad(String),
    /// There was nothing to look at.
    Nothing,
}

/// The packets of an armored, detached signature.
pub(super) fn detached(text: &str) -> Result<Vec<u8>, SignatureError> {
    let form = |reason: String| SignatureError::Form { reason };
    let bytes = block(text, PGP_SIGNATURE).map_err(form)?;
    let packets = packets(&bytes).ok_or_else(|| form("it is damaged".to_owned()))?;
    // A message with its signature would bring its own data along.
    if packets.is_empty() || packets.iter().any(|packet| packet.tag != SIGNATURE) {
        return Err(form("it is not a detached signature".to_owned()));
    }
    Ok(bytes)
}

/// The packets of all armored public keys in `text`.
pub(super) fn keyring(text: &str) -> Result<Vec<u8>, SignatureError> {
    let bad = |reason: String| SignatureError::Key { reason };
    let blocks = blocks(text, "PGP PUBLIC KEY BLOCK").map_err(bad)?;
    let bytes = blocks.concat();
    let packets = packets(&bytes).ok_or_else(|| bad("it is damaged".to_owned()))?;
    if packets.first().is_none_or(|packet| packet.tag != PUBLIC_KEY)
        || packets.iter().any(|packet| packet.tag != PUBLIC_KEY && !IN_KEYS.contains(&packet.tag))
    {
        return Err(bad("it is no public OpenPGP key".to_owned()));
    }
    for packet in packets.iter().filter(|packet| packet.tag == PUBLIC_KEY) {
        // Version, time, algorithm, and for RSA the modulus with its length in bits.
        if let [4, _, _, _, _, 1..=3, high, low, ..] = packet.body
            && u16::from_be_bytes([*high, *low]) < MIN_RSA_BITS
        {
            let bits = u16::from_be_bytes([*high, *low]);
            return Err(bad(format!("its RSA key has {bits} bits, fewer than {MIN_RSA_BITS}")));
        }
    }
    Ok(bytes)
}

struct Packet<'a> {
    tag: u8,
    body: &'a [u8],
}

/// Takes packets apart; `None` when they are damaged or of unknown length.
fn packets(mut bytes: &[u8]) -> Option<Vec<Packet<'_>>> {
    let mut packets = Vec::new();
    while let Some((&first, rest)) = bytes.split_first() {
        let (tag, length, rest) = match first {
            0xc0.. => {
                let (length, rest) = match rest {
                    [n @ 0..=191, rest @ ..] => (usize::from(*n), rest),
                    [n @ 192..=223, low, rest @ ..] => {
                        (((usize::from(*n) - 192) << 8) + usize::from(*low) + 192, rest)
                    }
                    [255, a, b, c, d, rest @ ..] => (u32::from_be_bytes([*a, *b, *c, *d]) as usize, rest),
                    _ => return None,
                };
                (first & 0x3f, length, rest)
            }
            0x80.. => {
                let (length, rest) = match (first & 3, rest) {
                    (0, [n, rest @ ..]) => (usize::from(*n), rest),
                    (1, [a, b, rest @ ..]) => (usize::from(u16::from_be_bytes([*a, *b])), rest),
                    (2, [a, b, c, d, rest @ ..]) => (u32::from_be_bytes([*a, *b, *c, *d]) as usize, rest),
                    _ => return None,
                };
                ((first >> 2) & 0xf, length, rest)
            }
            _ => return None,
        };
        let (body, rest) = rest.split_at_checked(length)?;
        packets.push(Packet { tag, body });
        bytes = rest;
    }
    Some(packets)
}

/// What is said of one signature.
#[derive(Default)]
struct Said {
    /// Whether a key made it that may; else why it does not count.
    good: Option<Result<(), String>>,
    key_has_expired: bool,
    /// When keys that were looked at expired.
    expiries: Vec<u64>,
    /// Time, kind of key, hash.
    valid: Option<(u64, String, String)>,
}

/// Reads the status lines. One good signature is enough: others may be by keys that are not ours to know.
pub(super) fn verdict(status: &str, expired: Expired, now: u64) -> Verdict {
    let mut all: Vec<Said> = Vec::new();
    for line in status.lines().filter_map(|line| line.strip_prefix("[GNUPG:] ")) {
        let words: Vec<&str> = line.split(' ').collect();
        let word = |at: usize| words.get(at).copied().unwrap_or_default();
        if word(0) == "NEWSIG" {
            all.push(Said::default());
            continue;
        }
        let Some(said) = all.last_mut() else { continue };
        let bad = |why: &str| Some(Err(format!("{why} (key {})", word(1))));
        match word(0) {
            "GOODSIG" => said.good = Some(Ok(())),
            "EXPKEYSIG" => {
                said.key_has_expired = true;
                said.good = match expired {
                    Expired::Accepted => Some(Ok(())),
                    Expired::Rejected => bad("its key has expired"),
                };
            }
            "EXPSIG" => said.good = bad("it has expired"),
            "REVKEYSIG" => said.good = bad("its key was revoked"),
            "BADSIG" => said.good = bad("it is of something else"),
            "ERRSIG" if word(6) == "9" => said.good = bad("it is by another key"),
            "ERRSIG" => said.good = bad("it cannot be verified"),
            "KEYEXPIRED" => said.expiries.extend(word(1).parse::<u64>()),
            "VALIDSIG" => {
                let time = word(3).parse().unwrap_or(u64::MAX);
                said.valid = Some((time, word(7).to_owned(), word(8).to_owned()));
            }
            _ => {}
        }
    }
    let mut verdict = Verdict::Nothing;
    for said in all {
        match said.judge(now) {
            Ok(()) => return Verdict::Good,
            Err(reason) if verdict == Verdict::Nothing => verdict = Verdict::Bad(reason),
            Err(_) => {}
        }
    }
    verdict
}

impl Said {
    fn judge(self, now: u64) -> Result<(), String> {
        self.good.unwrap_or_else(|| Err("it cannot be verified".to_owned()))?;
        let Some((time, kind, hash)) = self.valid else { return Err("it cannot be verified".to_owned()) };
        if now + CLOCK_SLACK < time {
            return Err("it is from the future".to_owned());
        }
        if self.key_has_expired && self.expiries.iter().all(|&expiry| expiry < time) {
            return Err("its key had expired before".to_owned());
        }
        if !HASHES.contains(&hash.as_str()) {
            return Err("its hash is too weak".to_owned());
        }
        if !KEY_KINDS.contains(&kind.as_str()) {
            return Err("its kind of key is not trusted".to_owned());
        }
        Ok(())
    }
}
