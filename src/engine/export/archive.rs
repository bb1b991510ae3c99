//! The tar around an OCI layout: regular files with short names, nothing else.

use std::io::{self, Read, Write};

const BLOCK: usize = 512;
const MAX_BUFFER: usize = 256 << 10;
/// The largest size that eleven octal digits hold.
const MAX_OCTAL_SIZE: u64 = (8 << 30) - 1;

/// Writes entries in the order they come; times, owners and groups are zero.
pub(super) struct Archive<W> {
    out: W,
}

impl<W: Write> Archive<W> {
    pub(super) fn new(out: W) -> Archive<W> {
        Archive { out }
    }

    /// A directory; `name` ends in `/`.
    pub(super) fn directory(&mut self, name: &str) -> io::Result<()> {
        self.out.write_all(&header(name, 0o755, 0, b'5'))
    }

    /// A file of `size` bytes read from `content`; fewer or more is an error.
    pub(super) fn file(
        &mut self,
        name: &str,
        mode: u32,
        size: u64,
        content: &mut dyn Read,
    ) -> io::Result<()> {
        self.out.write_all(&header(name, mode, size, b'0'))?;
        let mut buffer = vec![0; usize::try_from(size).unwrap_or(MAX_BUFFER).clamp(1, MAX_BUFFER)];
        let mut n_copied = 0;
        loop {
            let n_read = content.read(&mut buffer)?;
            n_copied += n_read as u64;
            if size < n_copied || (n_read == 0 && n_copied < size) {
                return Err(io::Error::other(format!("`{name}` is not {size} bytes long")));
            }
            if n_read == 0 {
                break;
            }
            self.out.write_all(&buffer[..n_read])?;
        }
        let padding = (BLOCK - (size % BLOCK as u64) as usize) % BLOCK;
        self.out.write_all(&[0; BLOCK][..padding])
    }

    /// Two empty blocks, the end.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// A ustar header (POSIX pax, "ustar Interchange Format"), fields as Go's `archive/tar` fills them.
fn header(name: &str, mode: u32, size: u64, kind: u8) -> [u8; BLOCK] {
    assert!(name.len() <= 100 && name.is_ascii(), "names of an OCI layout are short");
    let mut block = [0; BLOCK];
    let mut field = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    field(0, name.as_bytes());
    field(100, format!("{mode:07o}").as_bytes());
    field(108, b"0000000");
    field(116, b"0000000");
    if size <= MAX_OCTAL_SIZE {
        field(124, format!("{size:011o}").as_bytes());
    } else {
        // GNU's base-256 form, which every reader of layers that large knows.
        field(124, &[0x80, 0, 0, 0]);
        field(128, &size.to_be_bytes());
    }
    field(136, b"00000000000");
    field(148, b"        ");
    field(156, &[kind]);
    field(257, b"ustar\x0000");
    field(329, b"0000000");
    field(337, b"0000000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}
