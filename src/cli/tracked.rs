//! Files that a program takes values from (`read`, `read_json`, `files`): only ever from below the program's folder,
//! whatever links there are.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::base::Report;
use crate::base::glob::PathGlob;
use crate::cli::program::io_reason;

/// Largest file that is taken into a program.
const MAX_BYTES: u64 = 16 << 20;

/// The text of the file `path`, relative to `root`.
pub(super) fn read(root: &Path, path: &str) -> Result<Arc<str>, Report> {
    let mut file =
        open(root, path, OFlags::RDONLY | OFlags::NONBLOCK).map_err(|error| refused(path, error))?;
    let failed = |error: &io::Error| cannot_read(path, &io_reason(error));
    let meta = file.metadata().map_err(|error| failed(&error))?;
    if meta.is_dir() {
        return Err(
            cannot_read(path, "it is a directory").help("`files(\"…/*\")` lists what a directory holds")
        );
    }
    if !meta.is_file() {
        return Err(cannot_read(path, "it is no regular file"));
    }
    let mut bytes = Vec::new();
    // One more than allowed, so that a file that grows meanwhile is noticed.
    (&mut file).take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    if MAX_BYTES < bytes.len() as u64 {
        return Err(cannot_read(path, "it is larger than 16 MiB")
            .help("values come from small files; a command reads large ones through a mount"));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text.into()),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            Err(cannot_read(path, &format!("byte {at} is not UTF-8")))
        }
    }
}

/// What below `dir` matches `pattern`, relative to `dir`, sorted bytewise: files, directories and links, which are not
/// followed. `dir` and the folders in `except` are relative to `root`.
pub(super) fn files(root: &Path, dir: &str, pattern: &str, except: &[String]) -> Result<Vec<String>, Report> {
    let glob =
        PathGlob::new(pattern).map_err(|error| Report::error("bkl::bad_pattern", error.to_string()))?;
    // The folder of a module, which was read from there; opened only to see that it is below the root.
    open(root, dir, OFlags::RDONLY | OFlags::DIRECTORY).map_err(|error| refused(dir, error))?;
    let walk = Walk { root, dir, glob: &glob, except };
    let mut found = Vec::new();
    walk.below("", &mut found)?;
    found.sort_unstable();
    Ok(found)
}

struct Walk<'a> {
    root: &'a Path,
    dir: &'a str,
    glob: &'a PathGlob,
    except: &'a [String],
}

impl Walk<'_> {
    /// Adds what matches in the directory `at`, relative to the folder.
    fn below(&self, at: &str, found: &mut Vec<String>) -> Result<(), Report> {
        let folder = self.root.join(self.dir).join(at);
        let failed = |error: io::Error| {
            let shown = if at.is_empty() { self.dir } else { at };
            cannot_read(shown, &io_reason(&error))
        };
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let is_dir = entry.file_type().map_err(failed)?.is_dir();
            // A `path` is text: other names cannot be said in a program.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = if at.is_empty() { name } else { format!("{at}/{name}") };
            let from_root = if self.dir == "." { path.clone() } else { format!("{}/{path}", self.dir) };
            if self.except.contains(&from_root) {
                continue;
            }
            if is_dir && self.glob.may_match_below(&path) {
                self.below(&path, found)?;
            }
            if self.glob.matches(&path) {
                found.push(path);
            }
        }
        Ok(())
    }
}

/// The report of a path below `root` that a link leads out of it; also when what it leads to is not there.
pub(super) fn leads_out(root: &Path, path: &str) -> Option<Report> {
    let mut rest = Path::new(path);
    loop {
        match open(root, rest.to_str()?, OFlags::PATH) {
            Err(Errno::XDEV) => return Some(refused(path, Errno::XDEV)),
            // The last part is still to be made: what is above it counts.
            Err(Errno::NOENT) => match rest.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => rest = parent,
                _ => return None,
            },
            _ => return None,
        }
    }
}

/// Opens what lies below `root`; links may not lead out of it.
fn open(root: &Path, path: &str, flags: OFlags) -> Result<File, Errno> {
    let root = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let fd = rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), inside)?;
    Ok(File::from(fd))
}

fn refused(path: &str, error: Errno) -> Report {
    match error {
        Errno::XDEV => {
            Report::error("bkl::outside_root", format!("`{path}` leads out of the program's folder"))
                .help("a link on the way points outside; a program sees only what lies below its folder")
        }
        Errno::LOOP => cannot_read(path, "its links lead in a circle"),
        error => cannot_read(path, &io_reason(&error.into())),
    }
}

fn cannot_read(path: &str, why: &str) -> Report {
    Report::error("bkl::read", format!("cannot read `{path}`: {why}"))
}
