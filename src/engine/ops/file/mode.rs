//! Modes as chmod(1) writes them.

use super::error::FileError;

/// The mode that `text` makes of `mode`: octal digits, or clauses `[ugoa]*([-+=]([rwxXst]*|[ugo]))+` separated by commas,
/// without umask.
pub(super) fn apply(text: &str, mode: u32, is_dir: bool) -> Result<u32, FileError> {
    let bad = || FileError::Mode { text: text.to_owned() };
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let mode = u32::from_str_radix(text, 8).ok().filter(|&mode| mode <= 0o7777);
        return mode.ok_or_else(bad);
    }
    let mut mode = mode & 0o7777;
    for clause in text.split(',') {
        let operators = clause.find(['+', '-', '=']).ok_or_else(bad)?;
        let (who, mut rest) = clause.split_at(operators);
        let mut affected = 0;
        for c in who.chars() {
            affected |= match c {
                'u' => 0o4700,
                'g' => 0o2070,
                'o' => 0o1007,
                'a' => 0o7777,
                _ => return Err(bad()),
            };
        }
        if who.is_empty() {
            affected = 0o7777;
        }
        while let Some(operator) = rest.chars().next() {
            let end = rest[1..].find(['+', '-', '=']).map_or(rest.len(), |at| at + 1);
            let bits = permissions(&rest[1..end], mode, is_dir).ok_or_else(bad)? & affected;
            match operator {
                '+' => mode |= bits,
                '-' => mode &= !bits,
                // Assigning does not touch a directory's set-id bits unless they are named (chmod(1)).
                _ => {
                    let kept = if is_dir { 0o6000 & !bits } else { 0 };
                    mode = (mode & (!affected | kept)) | bits;
                }
            }
            rest = &rest[end..];
        }
    }
    Ok(mode)
}

fn permissions(text: &str, mode: u32, is_dir: bool) -> Option<u32> {
    let copied = |bits: u32| bits | (bits << 3) | (bits << 6);
    match text {
        "u" => return Some(copied((mode >> 6) & 7)),
        "g" => return Some(copied((mode >> 3) & 7)),
        "o" => return Some(copied(mode & 7)),
        _ => {}
    }
    text.chars().try_fold(0, |bits, c| {
        Some(
            bits | match c {
                'r' => 0o444,
                'w' => 0o222,
                'x' => 0o111,
                'X' if is_dir || mode & 0o111 != 0 => 0o111,
                'X' => 0,
                's' => 0o6000,
                't' => 0o1000,
                _ => return None,
            },
        )
    })
}
