//! Reads ustar, PAX and GNU archives as a stream. Accepts and refuses what Go's `archive/tar` does where readers differ:
//! a PAX size beats the header's, a malformed record is an error, kinds without content are followed by none, the end
//! mark and the padding before it may be missing.

use std::io::{self, Read};

use super::pax;
use super::{ArchiveError, Device, Entry, EntryKind};

const BLOCK: usize = 512;
/// Longest extended header or GNU long name (Go: `maxSpecialFileSize`).
const MAX_SPECIAL: u64 = 1 << 20;
/// Most pieces of a sparse file.
const MAX_PIECES: usize = 1 << 20;

/// What an archive may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Entries.
    pub entries: u64,
    /// Bytes of file content, holes not counted.
    pub bytes: u64,
    /// Bytes of extended attributes of one entry.
    pub xattr_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { entries: 5_000_000, bytes: u64::MAX, xattr_bytes: 1 << 20 }
    }
}

/// A streaming reader: [`ArchiveReader::next_entry`], then [`Read`] for the entry's stored bytes.
pub struct ArchiveReader<R> {
    inner: R,
    limits: Limits,
    /// Position in the archive.
    offset: u64,
    /// Bytes of the current entry not yet read.
    n_left: u64,
    /// Zeros after them that fill the block.
    n_padding: u64,
    n_entries: u64,
    n_content: u64,
    ended: bool,
}

/// What extended headers said about the entry that follows.
#[derive(Default)]
struct Extended {
    records: Vec<(Vec<u8>, Vec<u8>)>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: Read> ArchiveReader<R> {
    /// Reads the archive `inner` yields, uncompressed.
    pub fn new(inner: R, limits: Limits) -> ArchiveReader<R> {
        ArchiveReader {
            inner,
            limits,
            offset: 0,
            n_left: 0,
            n_padding: 0,
            n_entries: 0,
            n_content: 0,
            ended: false,
        }
    }

    /// The next entry; what was left of the current one is skipped. `None` at the end mark or the end of the stream.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ArchiveError> {
        let mut extended = Extended::default();
        loop {
            self.skip_rest()?;
            let at = self.offset;
            let Some(block) = self.header_block()? else { return Ok(None) };
            self.n_entries += 1;
            if self.n_entries > self.limits.entries {
                return Err(ArchiveError::TooLarge { limit: self.limits.entries, unit: "entries" });
            }
            let size =
                number(&block[124..136]).ok_or(ArchiveError::Header { offset: at, why: "bad size" })?;
            let size =
                u64::try_from(size).map_err(|_| ArchiveError::Header { offset: at, why: "negative size" })?;
            match block[156] {
                b'x' => {
                    let bytes = self.special(size, at)?;
                    extended.records = pax::parse(&bytes, at)?;
                }
                // A global header changes nothing, as in Go; it must parse, though.
                b'g' => drop(pax::parse(&self.special(size, at)?, at)?),
                b'L' => extended.long_name = Some(until_nul(&self.special(size, at)?).to_vec()),
                b'K' => extended.long_link = Some(until_nul(&self.special(size, at)?).to_vec()),
                flag => {
                    if let Some(entry) = self.entry(&block, flag, size, extended, at)? {
                        return Ok(Some(entry));
                    }
                    extended = Extended::default();
                }
            }
        }
    }

    /// Reads the stream to its end, so that its digest covers all of it.
    pub fn drain(mut self) -> Result<(), ArchiveError> {
        self.skip_rest()?;
        io::copy(&mut self.inner, &mut io::sink()).map_err(ArchiveError::Read)?;
        Ok(())
    }

    /// The next header block; `None` at the end.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK]>, ArchiveError> {
        if self.ended {
            return Ok(None);
        }
        let at = self.offset;
        let Some(block) = self.block()? else {
            // Some writers leave the end mark out.
            self.ended = true;
            return Ok(None);
        };
        if block.iter().all(|it| *it == 0) {
            self.ended = true;
            return match self.block()? {
                Some(second) if second.iter().any(|it| *it != 0) => {
                    Err(ArchiveError::Header { offset: at, why: "one block of zeros inside the archive" })
                }
                Some(_) | None => Ok(None),
            };
        }
        let recorded = number(&block[148..156]);
        let sum = |of: fn(u8) -> i64| -> i64 {
            let outside = block[..148].iter().chain(&block[156..]);
            outside.map(|it| of(*it)).sum::<i64>() + 8 * i64::from(b' ')
        };
        // Old writers summed signed bytes.
        if recorded != Some(sum(i64::from)) && recorded != Some(sum(|it| i64::from(it.cast_signed()))) {
            return Err(ArchiveError::Header { offset: at, why: "wrong checksum" });
        }
        Ok(Some(block))
    }

    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, ArchiveError> {
        let mut block = [0; BLOCK];
        match self.read_up_to(&mut block)? {
            0 => Ok(None),
            BLOCK => Ok(Some(block)),
            _ => Err(ArchiveError::Truncated { offset: self.offset }),
        }
    }

    /// Fills as much of `buffer` as the stream has.
    fn read_up_to(&mut self, buffer: &mut [u8]) -> Result<usize, ArchiveError> {
        let mut n_read = 0;
        while n_read < buffer.len() {
            match self.inner.read(&mut buffer[n_read..]) {
                Ok(0) => break,
                Ok(n) => n_read += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(read_error(error, self.offset)),
            }
        }
        self.offset += n_read as u64;
        Ok(n_read)
    }

    fn read_all(&mut self, buffer: &mut [u8]) -> Result<(), ArchiveError> {
        let n_read = self.read_up_to(buffer)?;
        if n_read < buffer.len() { Err(ArchiveError::Truncated { offset: self.offset }) } else { Ok(()) }
    }

    fn skip_rest(&mut self) -> Result<(), ArchiveError> {
        let mut buffer = [0; 16 * BLOCK];
        while self.n_left > 0 {
            let n = usize::try_from(self.n_left).unwrap_or(buffer.len()).min(buffer.len());
            self.read_all(&mut buffer[..n])?;
            self.n_left -= n as u64;
        }
        let n_padding = usize::try_from(std::mem::take(&mut self.n_padding)).expect("less than a block");
        if self.read_up_to(&mut buffer[..n_padding])? < n_padding {
            // Some writers end with the last byte of the last file (umoci insert); nothing is missing.
            self.ended = true;
        }
        Ok(())
    }

    /// The content of an extended header or long name.
    fn special(&mut self, size: u64, at: u64) -> Result<Vec<u8>, ArchiveError> {
        if size > MAX_SPECIAL {
            return Err(ArchiveError::Header { offset: at, why: "an extended header of more than 1 MiB" });
        }
        let mut bytes = vec![0; usize::try_from(size).expect("at most 1 MiB")];
        self.set_content(size);
        self.read_all(&mut bytes)?;
        self.n_left = 0;
        Ok(bytes)
    }

    fn set_content(&mut self, size: u64) {
        self.n_left = size;
        self.n_padding = size.next_multiple_of(BLOCK as u64) - size;
    }

    /// The entry of this header; `None` for kinds that are no files (volume labels, ..).
    fn entry(
        &mut self,
        block: &[u8; BLOCK],
        flag: u8,
        size: u64,
        extended: Extended,
        at: u64,
    ) -> Result<Option<Entry>, ArchiveError> {
        let bad = |why| ArchiveError::Header { offset: at, why };
        let is_ustar = &block[257..263] == b"ustar\0";
        let is_gnu = &block[257..265] == b"ustar  \0";
        let mut name = until_nul(&block[..100]).to_vec();
        if is_ustar && block[345] != 0 {
            name = [until_nul(&block[345..500]), b"/", &name].concat();
        }
        let field = |range: std::ops::Range<usize>, why| number(&block[range]).ok_or(bad(why));
        let id = |value: i64| u32::try_from(value).map_err(|_| bad("an owner outside of 0 to 4294967295"));
        let mut entry = Entry::new(EntryKind::File, name);
        entry.mode = u32::try_from(field(100..108, "bad mode")? & 0o7777).expect("masked");
        entry.link = until_nul(&block[157..257]).to_vec();
        entry.mtime = (field(136..148, "bad modification time")?, 0);
        if is_ustar || is_gnu {
            let part = |value: i64| u32::try_from(value).map_err(|_| bad("bad device number"));
            if matches!(flag, b'3' | b'4') {
                let (major, minor) =
                    (field(329..337, "bad device number")?, field(337..345, "bad device number")?);
                entry.device = Device { major: part(major)?, minor: part(minor)? };
            }
        }
        let mut raw = Raw {
            size,
            uid: field(108..116, "bad uid")?,
            gid: field(116..124, "bad gid")?,
            sparse: Sparse::default(),
        };
        if let Some(long) = extended.long_name {
            entry.name = long;
        }
        if let Some(long) = extended.long_link {
            entry.link = long;
        }
        self.apply_records(&mut entry, &mut raw, extended.records, at)?;
        (entry.uid, entry.gid) = (id(raw.uid)?, id(raw.gid)?);
        entry.kind = match flag {
            // Before POSIX a directory was a file whose name ends with a slash.
            b'0' | 0 | b'7' | b'S' if entry.name.ends_with(b"/") && flag != b'S' => EntryKind::Dir,
            b'0' | 0 | b'7' | b'S' => EntryKind::File,
            b'1' => EntryKind::HardLink,
            b'2' => EntryKind::Symlink,
            b'3' => EntryKind::Char,
            b'4' => EntryKind::Block,
            b'5' => EntryKind::Dir,
            b'6' => EntryKind::Fifo,
            _ => {
                self.set_content(raw.size);
                return Ok(None);
            }
        };
        if entry.kind != EntryKind::File {
            return Ok(Some(entry));
        }
        self.n_content = self.n_content.saturating_add(raw.size);
        if self.n_content > self.limits.bytes {
            return Err(ArchiveError::TooLarge { limit: self.limits.bytes, unit: "bytes" });
        }
        self.set_content(raw.size);
        entry.size = raw.size;
        if flag == b'S' && is_gnu {
            self.old_sparse(block, &mut entry, at)?;
        } else {
            self.pax_sparse(&mut entry, raw.sparse, at)?;
        }
        Ok(Some(entry))
    }

    fn apply_records(
        &self,
        entry: &mut Entry,
        raw: &mut Raw,
        records: Vec<(Vec<u8>, Vec<u8>)>,
        at: u64,
    ) -> Result<(), ArchiveError> {
        let bad = |why| ArchiveError::Pax { offset: at, why };
        let mut n_xattr_bytes = 0;
        for (key, value) in records {
            if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                n_xattr_bytes += name.len() + value.len();
                if n_xattr_bytes > self.limits.xattr_bytes {
                    let limit = self.limits.xattr_bytes as u64;
                    return Err(ArchiveError::TooLarge { limit, unit: "bytes of extended attributes" });
                }
                entry.xattrs.retain(|(known, _)| known != name);
                entry.xattrs.push((name.to_vec(), value));
                continue;
            }
            if key.starts_with(b"GNU.sparse.") {
                raw.sparse.add(&key, value).ok_or(bad("a sparse map that does not parse"))?;
                continue;
            }
            if value.is_empty() {
                // An empty value takes back an earlier one: the header's stands.
                continue;
            }
            let as_number = || pax::decimal(&value).and_then(|it| i64::try_from(it).ok());
            match key.as_slice() {
                b"path" => entry.name = value,
                b"linkpath" => entry.link = value,
                b"size" => raw.size = pax::decimal(&value).ok_or(bad("a size that is not a number"))?,
                b"uid" => raw.uid = as_number().ok_or(bad("a uid that is not a number"))?,
                b"gid" => raw.gid = as_number().ok_or(bad("a gid that is not a number"))?,
                b"mtime" => entry.mtime = pax::time(&value).ok_or(bad("an mtime that is not a time"))?,
                _ => {}
            }
        }
        entry.xattrs.sort_unstable();
        Ok(())
    }

    /// GNU's old sparse format: four pieces in the header, more in blocks after it.
    fn old_sparse(&mut self, block: &[u8; BLOCK], entry: &mut Entry, at: u64) -> Result<(), ArchiveError> {
        let bad = || ArchiveError::Header { offset: at, why: "a sparse map that does not parse" };
        let mut pieces = Vec::new();
        let mut push = |bytes: &[u8]| -> Option<()> {
            for piece in bytes.chunks_exact(24).take_while(|it| it[0] != 0) {
                pieces.push((number(&piece[..12])?.try_into().ok()?, number(&piece[12..])?.try_into().ok()?));
            }
            (pieces.len() <= MAX_PIECES).then_some(())
        };
        push(&block[386..482]).ok_or_else(bad)?;
        let mut is_extended = block[482] != 0;
        while is_extended {
            let mut more = [0; BLOCK];
            self.read_all(&mut more)?;
            push(&more[..504]).ok_or_else(bad)?;
            is_extended = more[504] != 0;
        }
        let real_size = number(&block[483..495]).and_then(|it| u64::try_from(it).ok()).ok_or_else(bad)?;
        entry.sparse = Some(checked(pieces, real_size, entry.size).ok_or_else(bad)?);
        entry.size = real_size;
        Ok(())
    }

    /// The sparse formats 0.0, 0.1 and 1.0 that PAX records announce.
    fn pax_sparse(&mut self, entry: &mut Entry, sparse: Sparse, at: u64) -> Result<(), ArchiveError> {
        let bad = || ArchiveError::Pax { offset: at, why: "a sparse map that does not parse" };
        if let Some(name) = sparse.name {
            entry.name = name;
        }
        let pieces = match (sparse.version, sparse.pieces.is_empty()) {
            ((Some(1), Some(0)), _) => self.sparse_map_block(at)?,
            (_, false) => sparse.pieces,
            (_, true) => return Ok(()),
        };
        let real_size = sparse.real_size.ok_or_else(bad)?;
        entry.sparse = Some(checked(pieces, real_size, self.n_left).ok_or_else(bad)?);
        entry.size = real_size;
        Ok(())
    }

    /// Format 1.0: the map is at the front of the content, numbers on lines, filled up to whole blocks.
    fn sparse_map_block(&mut self, at: u64) -> Result<Vec<(u64, u64)>, ArchiveError> {
        let bad = || ArchiveError::Header { offset: at, why: "a sparse map that does not parse" };
        let mut text = Vec::new();
        let mut numbers = Vec::new();
        loop {
            let mut block = [0; BLOCK];
            if self.n_left < BLOCK as u64 {
                return Err(bad());
            }
            self.read_all(&mut block)?;
            self.n_left -= BLOCK as u64;
            text.extend_from_slice(&block);
            while let Some(end) = text.iter().position(|it| *it == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                numbers.push(pax::decimal(&line[..end]).ok_or_else(bad)?);
                let n_wanted =
                    usize::try_from(numbers[0]).ok().filter(|it| *it <= MAX_PIECES).ok_or_else(bad)? * 2 + 1;
                if numbers.len() == n_wanted {
                    return Ok(numbers[1..].chunks_exact(2).map(|it| (it[0], it[1])).collect());
                }
            }
            if text.len() > BLOCK {
                return Err(bad());
            }
        }
    }
}

impl<R: Read> Read for ArchiveReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_wanted = usize::try_from(self.n_left).unwrap_or(usize::MAX).min(buffer.len());
        if n_wanted == 0 {
            return Ok(0);
        }
        let n_read = self.inner.read(&mut buffer[..n_wanted])?;
        if n_read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset += n_read as u64;
        self.n_left -= n_read as u64;
        Ok(n_read)
    }
}

/// Numbers that records may change before they are checked.
struct Raw {
    size: u64,
    uid: i64,
    gid: i64,
    sparse: Sparse,
}

/// The `GNU.sparse.*` records of one entry.
#[derive(Default)]
struct Sparse {
    version: (Option<u64>, Option<u64>),
    name: Option<Vec<u8>>,
    real_size: Option<u64>,
    pieces: Vec<(u64, u64)>,
    /// Format 0.0 gives the pieces by records, offset first.
    offset: Option<u64>,
}

impl Sparse {
    /// Takes one record in; `None` when its value makes no sense.
    fn add(&mut self, key: &[u8], value: Vec<u8>) -> Option<()> {
        match &key[b"GNU.sparse.".len()..] {
            b"major" => self.version.0 = Some(pax::decimal(&value)?),
            b"minor" => self.version.1 = Some(pax::decimal(&value)?),
            b"name" => self.name = Some(value),
            b"realsize" | b"size" => self.real_size = Some(pax::decimal(&value)?),
            b"offset" => self.offset = Some(pax::decimal(&value)?),
            b"numbytes" => self.pieces.push((self.offset.take()?, pax::decimal(&value)?)),
            b"map" => {
                let numbers: Option<Vec<u64>> = value.split(|it| *it == b',').map(pax::decimal).collect();
                let numbers = numbers.filter(|it| it.len() % 2 == 0)?;
                self.pieces = numbers.chunks_exact(2).map(|it| (it[0], it[1])).collect();
            }
            _ => {}
        }
        (self.pieces.len() <= MAX_PIECES).then_some(())
    }
}

/// The pieces if they rise, stay inside the file, and add up to what is stored.
fn checked(pieces: Vec<(u64, u64)>, real_size: u64, stored: u64) -> Option<Vec<(u64, u64)>> {
    let mut end = 0_u64;
    let mut sum = 0_u64;
    for (offset, n_bytes) in &pieces {
        if *offset < end {
            return None;
        }
        end = offset.checked_add(*n_bytes)?;
        sum = sum.checked_add(*n_bytes)?;
    }
    (end <= real_size && sum == stored && real_size <= i64::MAX.cast_unsigned()).then_some(pieces)
}

/// A header number: octal text, or base 256 when the first bit is set. Blank is 0.
fn number(field: &[u8]) -> Option<i64> {
    if field[0] & 0x80 != 0 {
        let negative = field[0] & 0x40 != 0;
        let first = i128::from(if negative { field[0] | 0x80 } else { field[0] & 0x7f });
        let first = if negative { first - 256 } else { first };
        let value = field[1..]
            .iter()
            .try_fold(first, |sum, byte| sum.checked_mul(256)?.checked_add((*byte).into()))?;
        return i64::try_from(value).ok();
    }
    let blank = |it: &u8| *it == b' ' || *it == 0;
    let start = field.iter().position(|it| !blank(it)).unwrap_or(field.len());
    let end = field.iter().rposition(|it| !blank(it)).map_or(start, |it| it + 1);
    let digits = until_nul(&field[start..end]);
    digits.iter().try_fold(0_i64, |sum, digit| match digit {
        b'0'..=b'7' => sum.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|it| *it == 0).next().unwrap_or_default()
}

/// A stream that ends inside its compression format is a truncated archive too.
pub(super) fn read_error(error: io::Error, offset: u64) -> ArchiveError {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        ArchiveError::Truncated { offset }
    } else {
        ArchiveError::Read(error)
    }
}
