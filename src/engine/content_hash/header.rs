//! What of a file's metadata goes into its digest (BuildKit cache/contenthash/tarsum.go, filehash_unix.go).

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::base::Digest;

/// Kind of a file, as tar tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "see the type")]
pub enum FileKind {
    Regular,
    Directory,
    Symlink,
    CharDevice,
    BlockDevice,
    Fifo,
    Socket,
}

/// Metadata of a file, without its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub kind: FileKind,
    /// Permission, set-id and sticky bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes; only counts for regular files.
    pub size: u64,
    /// Target of a symbolic link, else empty.
    pub target: Vec<u8>,
    /// Major and minor number. Only given for files of a local directory: BuildKit's reader of trees on disk leaves
    /// them out.
    pub device: (u32, u32),
    /// Extended attributes, sorted by name; all of them.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl FileKind {
    /// Kind in the type bits of `st_mode`.
    pub fn of_mode(mode: u32) -> FileKind {
        match mode & libc::S_IFMT {
            libc::S_IFDIR => FileKind::Directory,
            libc::S_IFLNK => FileKind::Symlink,
            libc::S_IFCHR => FileKind::CharDevice,
            libc::S_IFBLK => FileKind::BlockDevice,
            libc::S_IFIFO => FileKind::Fifo,
            libc::S_IFSOCK => FileKind::Socket,
            _ => FileKind::Regular,
        }
    }

    /// What is kept of kinds, by their code. Sockets are in no tree.
    const KEPT: [FileKind; 6] = [
        FileKind::Regular,
        FileKind::Directory,
        FileKind::Symlink,
        FileKind::CharDevice,
        FileKind::BlockDevice,
        FileKind::Fifo,
    ];

    /// A number that stands for the kind in what the store keeps.
    ///
    /// # Panics
    /// For sockets: they are left out of trees.
    pub fn code(self) -> u8 {
        FileKind::KEPT.iter().position(|&it| it == self).expect("sockets are left out") as u8
    }

    /// The kind of [`FileKind::code`]; `None` for other numbers.
    pub fn of_code(code: u8) -> Option<FileKind> {
        FileKind::KEPT.get(code as usize).copied()
    }

    fn typeflag(self) -> char {
        match self {
            FileKind::Regular | FileKind::Socket => '0',
            FileKind::Directory => '5',
            FileKind::Symlink => '2',
            FileKind::CharDevice => '3',
            FileKind::BlockDevice => '4',
            FileKind::Fifo => '6',
        }
    }
}

impl Header {
    /// Digest of the record of a file without content.
    pub fn digest(&self) -> Digest {
        Digest::from_bytes(self.begin().finalize().into())
    }

    /// The hash state behind the header; a regular file's content follows.
    pub fn begin(&self) -> Sha256 {
        let mode = if self.kind == FileKind::Symlink { 0o777 } else { self.mode & 0o7777 };
        let size = if self.kind == FileKind::Regular { self.size } else { 0 };
        let mut text = format!(
            "namemode{mode}uid{}gid{}size{size}typeflag{}linkname",
            self.uid,
            self.gid,
            self.kind.typeflag()
        );
        let mut state = Sha256::new();
        state.update(&text);
        state.update(&self.target);
        text.clear();
        let (major, minor) = self.device;
        write!(text, "unamegnamedevmajor{major}devminor{minor}").expect("a string takes everything");
        state.update(&text);
        for (name, value) in self.xattrs.iter().filter(|(name, _)| counts(name)) {
            state.update(name);
            state.update(value);
        }
        state
    }
}

/// Whether an extended attribute is part of digests.
fn counts(name: &[u8]) -> bool {
    name == b"security.capability" || !(name.starts_with(b"security.") || name.starts_with(b"system."))
}
