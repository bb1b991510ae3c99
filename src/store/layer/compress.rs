//! Compression of layer archives. What is written depends on the input alone: chunks have a fixed size, so the number
//! of threads changes no byte.

use std::io::{self, BufReader, Read, Write};

use flate2::{Compress, Crc, FlushCompress, Status};
use rayon::prelude::*;

/// Compression of a layer archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Compression {
    /// Plain tar.
    None,
    /// gzip, level 0 to 9.
    Gzip(u8),
    /// zstd, level 1 to 19.
    Zstd(u8),
}

impl Compression {
    /// OCI media type of a layer compressed so (image-spec, media-types.md).
    pub fn media_type(self) -> &'static str {
        match self {
            Compression::None => "application/vnd.oci.image.layer.v1.tar",
            Compression::Gzip(_) => "application/vnd.oci.image.layer.v1.tar+gzip",
            Compression::Zstd(_) => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }

    /// Name of this compression in the database; bytes of one name are always the same for the same archive.
    pub(in crate::store) fn key(self) -> String {
        match self {
            Compression::None => "none".to_owned(),
            Compression::Gzip(level) => format!("gzip-{level}"),
            Compression::Zstd(level) => format!("zstd-{level}"),
        }
    }
}

/// The bytes inside of `archive`: gzip (any number of members), zstd (any number of frames) or plain, told by the
/// first bytes.
pub(in crate::store) fn decompress<'a>(mut archive: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut magic = [0; 4];
    let mut n_read = 0;
    while n_read < magic.len() {
        match archive.read(&mut magic[n_read..]) {
            Ok(0) => break,
            Ok(n) => n_read += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let all = io::Cursor::new(magic).take(n_read as u64).chain(archive);
    // The third kind of frame is skippable metadata, which zstd:chunked layers may begin with.
    let is_zstd =
        magic == [0x28, 0xb5, 0x2f, 0xfd] || (magic[0] & 0xf0 == 0x50 && magic[1..] == [0x2a, 0x4d, 0x18]);
    Ok(if magic[..2] == [0x1f, 0x8b] {
        Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(128 << 10, all)))
    } else if is_zstd {
        Box::new(zstd::stream::read::Decoder::new(all)?)
    } else {
        Box::new(all)
    })
}

/// Compresses what is written.
pub(in crate::store) enum Compressor<W: Write> {
    None(W),
    Gzip(Box<ParallelGzip<W>>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> Compressor<W> {
    pub(in crate::store) fn new(compression: Compression, inner: W) -> io::Result<Compressor<W>> {
        Ok(match compression {
            Compression::None => Compressor::None(inner),
            Compression::Gzip(level) => Compressor::Gzip(Box::new(ParallelGzip::new(level.min(9), inner)?)),
            Compression::Zstd(level) => {
                let mut encoder = zstd::stream::write::Encoder::new(inner, i32::from(level.clamp(1, 19)))?;
                // Any number of workers gives the same bytes; none at all gives others.
                let n_threads = std::thread::available_parallelism().map_or(1, |it| it.get().min(8));
                encoder.multithread(u32::try_from(n_threads).unwrap_or(1))?;
                encoder.include_checksum(true)?;
                Compressor::Zstd(encoder)
            }
        })
    }

    /// Writes the end.
    pub(in crate::store) fn finish(self) -> io::Result<W> {
        match self {
            Compressor::None(inner) => Ok(inner),
            Compressor::Gzip(gzip) => gzip.finish(),
            Compressor::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Compressor::None(inner) => inner.write(bytes),
            Compressor::Gzip(gzip) => gzip.write(bytes),
            Compressor::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Input per deflate call.
const CHUNK: usize = 512 << 10;
/// Chunks compressed at once.
const BATCH: usize = 8;
/// How far deflate looks back.
const WINDOW: usize = 32 << 10;

/// One gzip member whose chunks are deflated side by side, each primed with the 32 KiB before it, as pigz does.
pub(in crate::store) struct ParallelGzip<W> {
    inner: W,
    level: flate2::Compression,
    /// The window before the batch, then the batch.
    buffer: Vec<u8>,
    /// Length of the window at the front of `buffer`.
    n_window: usize,
    crc: Crc,
}

impl<W: Write> ParallelGzip<W> {
    fn new(level: u8, mut inner: W) -> io::Result<ParallelGzip<W>> {
        // No name, no time, unknown system: nothing of this machine.
        inner.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255])?;
        let level = flate2::Compression::new(level.into());
        Ok(ParallelGzip { inner, level, buffer: Vec::new(), n_window: 0, crc: Crc::new() })
    }

    /// Compresses the batch; the last one ends the deflate stream.
    fn batch(&mut self, is_last: bool) -> io::Result<()> {
        let (buffer, n_window, level) = (&self.buffer, self.n_window, self.level);
        let n_chunks = (buffer.len() - n_window).div_ceil(CHUNK).max(usize::from(is_last));
        let deflate_chunk = |at: usize| {
            let start = n_window + at * CHUNK;
            let chunk = &buffer[start..buffer.len().min(start + CHUNK)];
            let flush =
                if is_last && at + 1 == n_chunks { FlushCompress::Finish } else { FlushCompress::Sync };
            let mut crc = Crc::new();
            crc.update(chunk);
            deflate(level, &buffer[start.saturating_sub(WINDOW)..start], chunk, flush)
                .map(|bytes| (bytes, crc))
        };
        let parts: Vec<io::Result<(Vec<u8>, Crc)>> =
            (0..n_chunks).into_par_iter().map(deflate_chunk).collect();
        for part in parts {
            let (bytes, crc) = part?;
            self.inner.write_all(&bytes)?;
            self.crc.combine(&crc);
        }
        let n_kept = self.buffer.len().min(WINDOW);
        self.buffer.drain(..self.buffer.len() - n_kept);
        self.n_window = n_kept;
        Ok(())
    }

    fn finish(mut self) -> io::Result<W> {
        self.batch(true)?;
        self.inner.write_all(&self.crc.sum().to_le_bytes())?;
        self.inner.write_all(&self.crc.amount().to_le_bytes())?;
        Ok(self.inner)
    }
}

impl<W: Write> Write for ParallelGzip<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n_free = CHUNK * BATCH - (self.buffer.len() - self.n_window);
        let n_taken = n_free.min(bytes.len());
        self.buffer.extend_from_slice(&bytes[..n_taken]);
        if n_taken == n_free {
            self.batch(false)?;
        }
        Ok(n_taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn deflate(
    level: flate2::Compression,
    window: &[u8],
    chunk: &[u8],
    flush: FlushCompress,
) -> io::Result<Vec<u8>> {
    let mut state = Compress::new(level, false);
    if !window.is_empty() {
        state.set_dictionary(window).map_err(io::Error::other)?;
    }
    let mut bytes = Vec::with_capacity(chunk.len() / 2 + 1024);
    loop {
        if bytes.capacity() - bytes.len() < 1024 {
            bytes.reserve(chunk.len() / 2 + 4096);
        }
        let n_used = usize::try_from(state.total_in()).expect("a chunk's length");
        let status = state.compress_vec(&chunk[n_used..], &mut bytes, flush).map_err(io::Error::other)?;
        let has_room = bytes.len() < bytes.capacity();
        let all_in = state.total_in() == chunk.len() as u64;
        match (flush, status) {
            (_, Status::StreamEnd) => return Ok(bytes),
            // With room left over, the flush is complete.
            (FlushCompress::Sync, _) if all_in && has_room => return Ok(bytes),
            _ => {}
        }
    }
}
