//! Files that appear under their names only when they are whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::ExportError;
use super::error::Context;

/// A file being written beside its final place. Dropped without [`NewFile::publish`], it is removed.
pub(super) struct NewFile {
    file: BufWriter<File>,
    temporary: Option<PathBuf>,
    path: PathBuf,
}

impl NewFile {
    /// Starts a file that will be `path`. Missing directories above are made. Something that is no regular file
    /// (a pipe, `/dev/null`) is written to directly; a directory is refused.
    pub(super) fn create(path: &Path) -> Result<NewFile, ExportError> {
        // A symbolic link is followed: the file it points to is replaced, not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {
                let reason = "it is a directory, and a file is to be written";
                return Err(ExportError::InTheWay { path, reason });
            }
            Ok(metadata) if !metadata.is_file() => {
                let file = OpenOptions::new().write(true).open(&path).at("open", &path)?;
                return Ok(NewFile { file: buffered(file), temporary: None, path });
            }
            _ => {}
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent).at("create the directory", parent)?;
        }
        let temporary = temporary_path(&path);
        let file =
            OpenOptions::new().write(true).create_new(true).open(&temporary).at("create", &temporary)?;
        Ok(NewFile { file: buffered(file), temporary: Some(temporary), path })
    }

    /// Gives the file its name.
    pub(super) fn publish(mut self) -> Result<PathBuf, ExportError> {
        self.file.flush().at("write", &self.path)?;
        if let Some(temporary) = &self.temporary {
            fs::rename(temporary, &self.path).at("rename a finished file to", &self.path)?;
        }
        self.temporary = None;
        Ok(self.path.clone())
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // The error that led here is the one to tell.
            let _ = fs::remove_file(temporary);
        }
    }
}

fn buffered(file: File) -> BufWriter<File> {
    BufWriter::with_capacity(256 << 10, file)
}

/// A name beside `path` that nothing has yet: hidden, recognisable, random.
pub(super) fn temporary_path(path: &Path) -> PathBuf {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let random = RandomState::new().build_hasher().finish();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Names are at most 255 bytes long.
    let name: String = name.chars().take(60).collect();
    path.with_file_name(format!(".{name}.bkl-{random:016x}"))
}
