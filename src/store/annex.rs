//! A second corner for notes of what this process uses, once those in its own are mostly of what it does not use any more.
//! When it is so with the second one, another takes its place: what lives long must not say everything it ever used.
//!
//! It is a corner like any other (`sweep`): a locked file in a directory of `staging`. Who wants to know what is used sees the
//! old one or the new one, or both: he has opened all that he reads by the time that a new one gets its place.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::Result;
use super::error::Context as _;
use super::id::random_name;
use super::sweep::{Owner, remove_dir};

/// Notes of fewer bytes stay as they are.
pub(super) const SMALL: usize = 64 * 1024;

/// How much was noted in a place, and how much of that still says something.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fill {
    n_bytes: usize,
    n_live: usize,
}

impl Fill {
    /// Something was noted.
    pub(super) fn says(&mut self, note: usize) {
        self.n_bytes += note;
        self.n_live += note;
    }

    /// Something was noted that says the end of something: of one note that is one byte shorter.
    pub(super) fn frees(&mut self, note: usize) {
        self.n_bytes += note;
        self.n_live = self.n_live.saturating_sub(note - 1);
    }

    /// Whether most of it is of no use.
    pub(super) fn is_stale(self) -> bool {
        SMALL < self.n_bytes && 2 * self.n_live < self.n_bytes
    }
}

/// Such a corner; removed when dropped, and by the next to open the store if this process does not get to it.
pub(super) struct Annex {
    dir: PathBuf,
    /// `staging/<name>/owner`, locked as long as it is open.
    notes: File,
    pub(super) fill: Fill,
}

impl Annex {
    /// Opens one beside the corner of `owner` that says `notes` from the start.
    pub(super) fn open(owner: &Owner, notes: &str) -> Result<Annex> {
        let staging = owner.dir().parent().expect("a corner lies in a directory");
        let guard = staging.with_extension("lock");
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(&guard).at("open", &guard)?;
        // Nobody looks who lives before it says all that it has to say.
        flock(&lock, FlockOperation::LockExclusive).at("lock", &guard)?;
        let dir = staging.join(random_name());
        fs::create_dir(&dir).at("create", &dir)?;
        match Annex::fill(&dir, notes) {
            Ok(file) => {
                let mut fill = Fill::default();
                fill.says(notes.len());
                Ok(Annex { dir, notes: file, fill })
            }
            Err(error) => {
                let _ = remove_dir(&dir);
                Err(error)
            }
        }
    }

    fn fill(dir: &Path, notes: &str) -> Result<File> {
        let path = dir.join("owner");
        let mut file = OpenOptions::new().create_new(true).append(true).open(&path).at("create", &path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).at("lock", &path)?;
        file.write_all(notes.as_bytes()).at("write to", &path)?;
        Ok(file)
    }

    /// Adds lines to the notes, all at once. The caller counts them.
    pub(super) fn note(&self, notes: &str) -> Result<()> {
        (&self.notes).write_all(notes.as_bytes()).at("write to", self.dir.join("owner"))
    }
}

impl Drop for Annex {
    fn drop(&mut self) {
        // Before the lock is gone. Who has opened it reads on.
        let _ = remove_dir(&self.dir);
    }
}
