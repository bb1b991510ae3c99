//! Text around bytes: `-----BEGIN …-----`, headers, base64 (RFC 9580 §6.2; ssh's has no headers and no checksum).

/// Name of the block of an OpenPGP signature.
pub(super) const PGP_SIGNATURE: &str = "PGP SIGNATURE";
/// Name of the block of an ssh signature.
pub(super) const SSH_SIGNATURE: &str = "SSH SIGNATURE";

/// The bytes of the only block of `text`, which must have this name; nothing but space may stand around it. The error is
/// what is wrong, for people.
pub(super) fn block(text: &str, name: &str) -> Result<Vec<u8>, String> {
    match blocks(text, name)?.as_mut_slice() {
        [block] => Ok(std::mem::take(block)),
        _ => Err(format!("it is more than one block `{name}`")),
    }
}

/// The bytes of all blocks of `text`, at least one, each with this name.
pub(super) fn blocks(text: &str, name: &str) -> Result<Vec<Vec<u8>>, String> {
    let (begin, end) = (format!("-----BEGIN {name}-----"), format!("-----END {name}-----"));
    let mut blocks = Vec::new();
    let mut lines = text.lines().map(str::trim_end);
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        if line != begin {
            return Err(format!("it is no block `{name}`"));
        }
        let mut encoded = String::new();
        loop {
            let line = lines.next().ok_or_else(|| format!("its block `{name}` does not end"))?;
            if line == end {
                break;
            }
            // Headers have a colon, which base64 has not; the checksum, which nobody has to look at, begins with `=`.
            if !line.contains(':') && !line.starts_with('=') {
                encoded += line.trim();
            }
        }
        blocks.push(base64(&encoded).ok_or_else(|| format!("its block `{name}` is not base64"))?);
    }
    if blocks.is_empty() { Err("it is empty".to_owned()) } else { Ok(blocks) }
}

/// Bytes of base64 with padding; `None` when it is none.
pub(in crate::engine) fn base64(text: &str) -> Option<Vec<u8>> {
    let unpadded = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || 2 < text.len() - unpadded.len() {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut n_bits) = (0_u32, 0);
    for byte in unpadded.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xfff_ffff;
        n_bits += 6;
        if 8 <= n_bits {
            n_bits -= 8;
            bytes.push((bits >> n_bits) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks() {
        #[track_caller]
        fn check(text: &str, expected: Result<&[u8], &str>) {
            let found = block(text, "X");
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{text:?}");
        }
        check("-----BEGIN X-----\n\nYWJj\nZA==\n=abcd\n-----END X-----\n", Ok(b"abcd"));
        check("\n-----BEGIN X-----\r\nVersion: 1\r\n\r\nYWJj\r\n-----END X-----", Ok(b"abc"));
        check("-----BEGIN X-----\nYW\nJj\n-----END X-----", Ok(b"abc"));
        check("", Err("it is empty"));
        check("YWJj", Err("it is no block `X`"));
        check("-----BEGIN Y-----\n\nYWJj\n-----END Y-----", Err("it is no block `X`"));
        check("-----BEGIN X-----\n\nYWJj", Err("its block `X` does not end"));
        check("-----BEGIN X-----\n\nYW?j\n-----END X-----", Err("its block `X` is not base64"));
        check("-----BEGIN X-----\n\nYWJ\n-----END X-----", Err("its block `X` is not base64"));
        let one = "-----BEGIN X-----\n\nYWJj\n-----END X-----\n";
        check(&format!("{one}{one}"), Err("it is more than one block `X`"));
        check(&format!("{one}more"), Err("it is no block `X`"));
    }
}
