//! Writes archives with the bytes of Go's `archive/tar` (`Writer.WriteHeader` of a header whose format is PAX, as
//! containerd's differ sets it): ustar where the entry fits, one PAX header before it where it does not.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use super::pax;
use super::{ArchiveError, Entry, EntryKind};

const BLOCK: usize = 512;
const ZEROS: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// A streaming writer. Times are written in whole seconds; owners by number only.
pub struct ArchiveWriter<W> {
    inner: W,
}

impl<W: Write> ArchiveWriter<W> {
    /// Writes to `inner`.
    pub fn new(inner: W) -> ArchiveWriter<W> {
        ArchiveWriter { inner }
    }

    /// Writes an entry without content (a file of length 0 included).
    pub fn write(&mut self, entry: &Entry) -> io::Result<()> {
        debug_assert!(entry.kind != EntryKind::File || entry.size == 0, "content goes with `write_file`");
        self.header(entry)
    }

    /// Writes a file with its content; `content` must yield exactly [`Entry::size`] bytes.
    pub fn write_file(&mut self, entry: &Entry, content: &mut dyn Read) -> io::Result<()> {
        self.header(entry)?;
        let n_copied = io::copy(&mut content.take(entry.size), &mut self.inner)?;
        if n_copied != entry.size {
            let name = entry.shown();
            return Err(io::Error::other(format!(
                "`{name}` shrank while it was read: {n_copied} of {}",
                entry.size
            )));
        }
        let n_padding =
            usize::try_from(entry.size.next_multiple_of(BLOCK as u64) - entry.size).expect("below 512");
        self.inner.write_all(&ZEROS[..n_padding])
    }

    /// Writes the end mark: two blocks of zeros.
    pub fn finish(mut self) -> io::Result<W> {
        self.inner.write_all(&ZEROS)?;
        Ok(self.inner)
    }

    fn header(&mut self, entry: &Entry) -> io::Result<()> {
        let (major, minor) = match entry.kind {
            EntryKind::Char | EntryKind::Block => {
                (i64::from(entry.device.major), i64::from(entry.device.minor))
            }
            EntryKind::File | EntryKind::HardLink | EntryKind::Symlink | EntryKind::Dir | EntryKind::Fifo => {
                (0, 0)
            }
        };
        if !fits_octal(8, major) || !fits_octal(8, minor) {
            let why = "its device number fits no field of the format";
            return Err(io::Error::other(ArchiveError::Refused { name: entry.shown(), why }));
        }
        let (seconds, _) = entry.mtime;
        let size =
            if entry.kind == EntryKind::File { i64::try_from(entry.size).unwrap_or(i64::MAX) } else { 0 };
        let mut records: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let mut needs_pax = !entry.xattrs.is_empty();
        for (key, value) in &entry.xattrs {
            records.insert([b"SCHILY.xattr.", key.as_slice()].concat(), value.clone());
        }
        let prefix = split(&entry.name);
        if !entry.name.is_ascii() || entry.name.len() > 100 {
            needs_pax |= prefix.is_none();
            // Go adds the record for a name that a ustar prefix could carry as well, if there is a header anyway.
            records.insert(b"path".to_vec(), entry.name.clone());
        }
        if !entry.link.is_ascii() || entry.link.len() > 100 {
            needs_pax = true;
            records.insert(b"linkpath".to_vec(), entry.link.clone());
        }
        let mut numeric = |key: &[u8], width, value: i64| {
            if !fits_octal(width, value) {
                needs_pax = true;
                records.insert(key.to_vec(), value.to_string().into_bytes());
            }
        };
        numeric(b"uid", 8, entry.uid.into());
        numeric(b"gid", 8, entry.gid.into());
        numeric(b"size", 12, size);
        numeric(b"mtime", 12, seconds);

        let mut block = [0; BLOCK];
        if needs_pax {
            self.extended(&entry.name, &records)?;
            put_text(&mut block[..100], &ascii(&entry.name));
        } else if let Some((prefix, rest)) = prefix {
            put_text(&mut block[..100], rest);
            put_text(&mut block[345..500], prefix);
        } else {
            put_text(&mut block[..100], &entry.name);
        }
        put_text(&mut block[157..257], &ascii(&entry.link));
        put_octal(&mut block[100..108], entry.mode.into());
        put_octal(&mut block[108..116], entry.uid.into());
        put_octal(&mut block[116..124], entry.gid.into());
        put_octal(&mut block[124..136], size);
        put_octal(&mut block[136..148], seconds);
        put_octal(&mut block[329..337], major);
        put_octal(&mut block[337..345], minor);
        block[156] = match entry.kind {
            EntryKind::File => b'0',
            EntryKind::HardLink => b'1',
            EntryKind::Symlink => b'2',
            EntryKind::Char => b'3',
            EntryKind::Block => b'4',
            EntryKind::Dir => b'5',
            EntryKind::Fifo => b'6',
        };
        seal(&mut block);
        self.inner.write_all(&block)
    }

    /// Writes a PAX header; its own name is made of the entry's, as Go does.
    fn extended(&mut self, name: &[u8], records: &BTreeMap<Vec<u8>, Vec<u8>>) -> io::Result<()> {
        let mut body = Vec::new();
        for (key, value) in records {
            pax::push_record(&mut body, key, value);
        }
        let (dir, file) = name.split_at(name.iter().rposition(|it| *it == b'/').map_or(0, |it| it + 1));
        let shown = clean(&[dir, b"/PaxHeaders.0/", file].concat(), name.starts_with(b"/"));
        let mut shown = ascii(&shown);
        shown.truncate(100);
        while shown.last() == Some(&b'/') {
            shown.pop();
        }
        let mut block = [0; BLOCK];
        put_text(&mut block[..100], &shown);
        for field in [100..108, 108..116, 116..124, 136..148] {
            put_octal(&mut block[field], 0);
        }
        put_octal(&mut block[124..136], i64::try_from(body.len()).unwrap_or(i64::MAX));
        block[156] = b'x';
        seal(&mut block);
        self.inner.write_all(&block)?;
        self.inner.write_all(&body)?;
        self.inner.write_all(&ZEROS[..body.len().next_multiple_of(BLOCK) - body.len()])
    }
}

/// Go's `path.Join` on bytes: empty and `.` components dropped, `..` resolved where it can be.
fn clean(path: &[u8], rooted: bool) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|it| *it == b'/') {
        match (part, parts.last()) {
            (b"" | b".", _) => {}
            (b"..", Some(last)) if *last != b".." => drop(parts.pop()),
            (b"..", None) if rooted => {}
            _ => parts.push(part),
        }
    }
    let joined = parts.join(&b'/');
    if rooted { [b"/", joined.as_slice()].concat() } else { joined }
}

/// Go's `splitUSTARPath`: prefix and rest of an ASCII name that is too long for the name field alone.
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= 100 || !name.is_ascii() || name.contains(&0) {
        return None;
    }
    let length = if name.len() > 156 { 156 } else { name.len() - usize::from(name.ends_with(b"/")) };
    let slash = name[..length].iter().rposition(|it| *it == b'/')?;
    let (prefix, rest) = (&name[..slash], &name[slash + 1..]);
    let fits = slash > 0 && !rest.is_empty() && rest.len() <= 100 && prefix.len() <= 155;
    fits.then_some((prefix, rest))
}

fn ascii(text: &[u8]) -> Vec<u8> {
    if text.is_ascii() {
        return text.to_vec();
    }
    text.iter().copied().filter(|it| it.is_ascii() && *it != 0).collect()
}

fn fits_octal(width: u32, value: i64) -> bool {
    let bits = (width - 1) * 3;
    value >= 0 && value < 1_i64 << bits
}

/// Go's `formatString`: cut to the field; a slash at the cut is dropped, for readers that see a directory in it.
fn put_text(field: &mut [u8], text: &[u8]) {
    let n_bytes = text.len().min(field.len());
    field[..n_bytes].copy_from_slice(&text[..n_bytes]);
    if text.len() > field.len() && field[field.len() - 1] == b'/' {
        let kept = field[..field.len() - 1].iter().rposition(|it| *it != b'/').map_or(0, |it| it + 1);
        field[kept] = 0;
    }
}

/// Zero-padded octal digits and a NUL; 0 for what does not fit (a PAX record then has it).
fn put_octal(field: &mut [u8], value: i64) {
    let n_digits = field.len() - 1;
    let width = u32::try_from(field.len()).expect("fields have 8 or 12 bytes");
    let mut value = if fits_octal(width, value) { value } else { 0 };
    for digit in field[..n_digits].iter_mut().rev() {
        *digit = b'0' + u8::try_from(value & 7).expect("three bits");
        value >>= 3;
    }
    field[n_digits] = 0;
}

/// Sets magic, version and checksum.
fn seal(block: &mut [u8; BLOCK]) {
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: i64 = block.iter().map(|it| i64::from(*it)).sum();
    put_octal(&mut block[148..155], sum);
}
