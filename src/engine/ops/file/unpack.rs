//! Archives that a copy unpacks (`attempt_unpack`).
//!
//! Only what comes from [`ArchiveReader`] is believed; every name is resolved inside the tree, component by component,
//! and attributes are set without following links. There are no whiteouts here: a file called `.wh.x` is a file.

use std::fs::File;
use std::io::{BufReader, Read, Seek as _, SeekFrom};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec};
use rustix::io::Errno;

use super::error::FileError;
use super::root::{
    Last, Owner, Place, Root, chmod_at, chown_at, join, kind, set_times_at, set_xattrs, split,
};
use crate::engine::cancel::Cancel;
use crate::store::layer::{ArchiveReader, Entry, EntryKind, Limits};

/// Memory that an xz archive may ask for: `xz -9` asks for 64 MiB, the format allows 4 GiB.
const MAX_XZ_KIB: u32 = 256 << 10;

/// A file that is an archive.
pub(super) struct Archive {
    reader: ArchiveReader<Box<dyn Read>>,
    first: Entry,
    name: String,
}

impl Archive {
    /// The archive in `file`, if it is one: what decompresses and begins with an entry. `place` is for messages.
    pub(super) fn detect(mut file: File, place: &[u8]) -> Result<Option<Archive>, FileError> {
        let name = String::from_utf8_lossy(place).into_owned();
        let mut magic = [0; 6];
        let n_read =
            read_up_to(&mut file, &mut magic).map_err(|source| FileError::io("read", place, source))?;
        file.seek(SeekFrom::Start(0)).map_err(|source| FileError::io("read", place, source))?;
        let file = BufReader::with_capacity(128 << 10, file);
        // In this process only: a program of that name might be the tree's own (security.md, S1.7).
        let plain: Box<dyn Read> = match &magic[..n_read] {
            [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => match zstd::stream::read::Decoder::with_buffer(file) {
                Ok(decoder) => Box::new(decoder),
                Err(_) => return Ok(None),
            },
            [b'B', b'Z', b'h', ..] => Box::new(bzip2::bufread::MultiBzDecoder::new(file)),
            [0xfd, b'7', b'z', b'X', b'Z', 0] => {
                Box::new(lzma_rust2::XzReader::new_mem_limit(file, true, MAX_XZ_KIB))
            }
            _ => Box::new(file),
        };
        let mut reader = ArchiveReader::new(plain, Limits::default());
        match reader.next_entry() {
            Ok(Some(first)) => Ok(Some(Archive { reader, first, name })),
            // No archive: it is copied as it is.
            Ok(None) | Err(_) => Ok(None),
        }
    }

    /// Unpacks below the directory `dest`.
    pub(super) fn unpack(
        self,
        root: &Root,
        dest: &[u8],
        owner: Option<Owner>,
        cancel: &Cancel,
    ) -> Result<(), FileError> {
        let Archive { mut reader, first, name } = self;
        let mut next = Some(first);
        // Children change the times of their directories: those are set last.
        let mut directories: Vec<(Place, Timespec)> = Vec::new();
        while let Some(entry) = next {
            if cancel.is_cancelled() {
                return Err(FileError::Cancelled);
            }
            let place = place_of(root, dest, &entry, &name)?;
            let target = Target { root, dest, owner, archive: &name };
            target.put(&entry, &place, &mut reader)?;
            if entry.kind == EntryKind::Dir {
                directories.push((place, time(&entry)));
            }
            next = reader.next_entry().map_err(|error| refuse(&name, error.to_string()))?;
        }
        for (place, time) in directories.iter().rev() {
            root.set_times(place, *time, *time)?;
        }
        Ok(())
    }
}

/// Where an archive goes.
struct Target<'a> {
    root: &'a Root,
    dest: &'a [u8],
    owner: Option<Owner>,
    archive: &'a str,
}

impl Target<'_> {
    fn put(&self, entry: &Entry, place: &[u8], content: &mut dyn Read) -> Result<(), FileError> {
        let root = self.root;
        let failed = |attempt| move |errno: Errno| FileError::io(attempt, place, errno.into());
        root.make_dirs(split(place).0, 0o755, self.owner, None)?;
        let there = root.stat(place)?;
        let is_dir = there.is_some_and(|stat| kind(&stat) == FileType::Directory);
        if there.is_some() && !(is_dir && entry.kind == EntryKind::Dir) {
            if place == self.dest {
                return Err(refuse(
                    self.archive,
                    "an entry would replace the directory it is unpacked to".to_owned(),
                ));
            }
            root.remove_all(place)?;
        }
        let (parent, name) = root.parent_of(place)?;
        match entry.kind {
            EntryKind::File => {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o600))
                    .map_err(failed("make"))?;
                write(&File::from(file), entry, content)
                    .map_err(|source| FileError::io("write", place, source))?;
            }
            EntryKind::HardLink => {
                let linked = Entry { name: entry.link.clone(), ..entry.clone() };
                let first = place_of(root, self.dest, &linked, self.archive)?;
                let (first_parent, first_name) = root.parent_of(&first)?;
                return rustix::fs::linkat(&first_parent, first_name, &parent, name, AtFlags::empty())
                    .map_err(failed("link"));
            }
            EntryKind::Symlink => {
                rustix::fs::symlinkat(entry.link.as_slice(), &parent, name).map_err(failed("link"))?;
            }
            EntryKind::Dir if is_dir => {}
            EntryKind::Dir => root.make_dir(place, 0o700)?,
            EntryKind::Char | EntryKind::Block | EntryKind::Fifo => {
                let file_type = match entry.kind {
                    EntryKind::Char => FileType::CharacterDevice,
                    EntryKind::Block => FileType::BlockDevice,
                    _ => FileType::Fifo,
                };
                let device = rustix::fs::makedev(entry.device.major, entry.device.minor);
                rustix::fs::mknodat(&parent, name, file_type, Mode::from_raw_mode(0o600), device)
                    .map_err(failed("make the node"))?;
            }
        }
        let owner = self.owner.unwrap_or(Owner { uid: entry.uid, gid: entry.gid });
        chown_at(parent.as_fd(), name, owner).map_err(failed("set the owner of"))?;
        if entry.kind != EntryKind::Symlink {
            chmod_at(parent.as_fd(), name, entry.mode).map_err(failed("set the mode of"))?;
        }
        set_xattrs(&entry.xattrs, parent.as_fd(), name).map_err(failed("set the attributes of"))?;
        let time = time(entry);
        set_times_at(parent.as_fd(), name, time, time).map_err(failed("set the times of"))
    }
}

/// Where an entry goes: its name below `dest`, links of the tree followed but for the last component; never outside of
/// `dest`.
fn place_of(root: &Root, dest: &[u8], entry: &Entry, archive: &str) -> Result<Place, FileError> {
    let mut place = dest.to_vec();
    let mut components =
        entry.name.split(|&byte| byte == b'/').filter(|it| !it.is_empty() && *it != b".").peekable();
    while let Some(component) = components.next() {
        if component == b".." {
            return Err(refuse(archive, format!("the entry `{}` leads out of it", entry.shown())));
        }
        let below = join(&place, component);
        place = if components.peek().is_none() { below } else { root.resolve(&below, Last::Follow)? };
    }
    if place != dest && !place.starts_with(&[dest, b"/"].concat()) {
        return Err(refuse(archive, format!("the entry `{}` leads out of it through a link", entry.shown())));
    }
    Ok(place)
}

/// Writes a file's content, holes left out.
fn write(file: &File, entry: &Entry, content: &mut dyn Read) -> std::io::Result<()> {
    let whole = [(0, entry.size)];
    let pieces = entry.sparse.as_deref().unwrap_or(&whole);
    let mut buffer = vec![0; 128 << 10];
    for &(offset, length) in pieces {
        let mut n_done = 0;
        while n_done < length {
            let wanted = buffer.len().min(usize::try_from(length - n_done).unwrap_or(usize::MAX));
            let n_read = content.read(&mut buffer[..wanted])?;
            if n_read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            file.write_all_at(&buffer[..n_read], offset + n_done)?;
            n_done += n_read as u64;
        }
    }
    file.set_len(entry.size)
}

fn time(entry: &Entry) -> Timespec {
    Timespec { tv_sec: entry.mtime.0, tv_nsec: entry.mtime.1.into() }
}

fn refuse(archive: &str, why: String) -> FileError {
    FileError::Unpack { path: archive.to_owned(), why }
}

fn read_up_to(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut n_read = 0;
    while n_read < buffer.len() {
        match file.read(&mut buffer[n_read..])? {
            0 => break,
            n => n_read += n,
        }
    }
    Ok(n_read)
}
