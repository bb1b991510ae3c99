//! PAX extended headers (POSIX pax, "pax Header Block"): `"<length> <key>=<value>\n"` records, both ways.

use super::ArchiveError;

/// Keys and values.
pub(super) type Records = Vec<(Vec<u8>, Vec<u8>)>;

/// The records of an extended header, in their order. Anything malformed is an error: skipping a record would read
/// another archive than other readers do.
pub(super) fn parse(mut bytes: &[u8], offset: u64) -> Result<Records, ArchiveError> {
    let malformed = |why| ArchiveError::Pax { offset, why };
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().take(20).position(|it| *it == b' ').ok_or(malformed("no length"))?;
        let n_bytes = decimal(&bytes[..space]).ok_or(malformed("a length that is not a number"))?;
        let n_bytes = usize::try_from(n_bytes).map_err(|_| malformed("a length beyond the header"))?;
        if n_bytes < space + 3 || bytes.len() < n_bytes {
            return Err(malformed("a length beyond the header"));
        }
        let (record, rest) = bytes.split_at(n_bytes);
        let (Some(b'\n'), body) = (record.last(), &record[space + 1..n_bytes - 1]) else {
            return Err(malformed("a record that does not end with a newline"));
        };
        let equals = body.iter().position(|it| *it == b'=').ok_or(malformed("a record without `=`"))?;
        let (key, value) = (&body[..equals], &body[equals + 1..]);
        if !is_valid(key, value) {
            return Err(malformed("an empty key, or a NUL where none may be"));
        }
        records.push((key.to_vec(), value.to_vec()));
        bytes = rest;
    }
    Ok(records)
}

/// Go's `validPAXRecord`: names hold no NUL, other values may.
fn is_valid(key: &[u8], value: &[u8]) -> bool {
    match key {
        b"" => false,
        b"path" | b"linkpath" | b"uname" | b"gname" => !value.contains(&0),
        _ => !key.contains(&0),
    }
}

/// Appends one record.
pub(super) fn push_record(to: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // The length counts its own digits.
    let rest = key.len() + value.len() + 3;
    let mut n_bytes = rest + rest.to_string().len();
    if n_bytes.to_string().len() != rest.to_string().len() {
        n_bytes = rest + n_bytes.to_string().len();
    }
    to.extend_from_slice(n_bytes.to_string().as_bytes());
    to.push(b' ');
    to.extend_from_slice(key);
    to.push(b'=');
    to.extend_from_slice(value);
    to.push(b'\n');
}

/// A number written in decimal digits only.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(text).ok()?.parse().ok()).flatten()
}

/// A time: `[-]<seconds>[.<fraction>]`, as seconds rounded down and nanoseconds (further digits cut off).
pub(super) fn time(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (seconds, fraction) = match text.iter().position(|it| *it == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &b""[..]),
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = i64::try_from(decimal(seconds)?).ok()?;
    let nanoseconds =
        (0..9).fold(0_u32, |sum, at| sum * 10 + fraction.get(at).map_or(0, |digit| u32::from(digit - b'0')));
    match (negative, nanoseconds) {
        (false, _) => Some((seconds, nanoseconds)),
        (true, 0) => Some((-seconds, 0)),
        (true, _) => Some((-seconds - 1, 1_000_000_000 - nanoseconds)),
    }
}
