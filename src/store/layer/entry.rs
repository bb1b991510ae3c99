//! One entry of a layer archive, as read or to be written.

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// Another name for the file named by [`Entry::link`].
    HardLink,
    /// A symbolic link to [`Entry::link`].
    Symlink,
    /// A character device.
    Char,
    /// A block device.
    Block,
    /// A directory.
    Dir,
    /// A named pipe.
    Fifo,
}

/// Major and minor number of a device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Device {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

/// One entry of a layer archive. Names are bytes: no encoding is assumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: EntryKind,
    /// Name as in the archive; a directory's may end with `/`.
    pub name: Vec<u8>,
    /// Target of a hard or symbolic link.
    pub link: Vec<u8>,
    /// Permission, set-id and sticky bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time: seconds (rounded down) and nanoseconds.
    pub mtime: (i64, u32),
    /// Length of a regular file, holes included.
    pub size: u64,
    /// Numbers of a device.
    pub device: Device,
    /// Extended attributes, sorted by name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where a sparse file has data, as (offset, length) in rising order; `None` for a plain file.
    pub sparse: Option<Vec<(u64, u64)>>,
}

impl Entry {
    /// An entry with this name and kind, all else zero.
    pub fn new(kind: EntryKind, name: impl Into<Vec<u8>>) -> Entry {
        Entry {
            kind,
            name: name.into(),
            link: Vec::new(),
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: (0, 0),
            size: 0,
            device: Device::default(),
            xattrs: Vec::new(),
            sparse: None,
        }
    }

    /// The name for people.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }
}
