//! What lies on the disk, block by block.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;

use crate::base::stack::deeper;
use crate::store::{Usage, tree};

/// Inodes with several names that were counted, and for whom.
pub(super) type Seen = HashMap<u64, usize>;

/// A walk that counts each inode once, for the first one who has it.
pub(super) struct Measure<'a> {
    pub(super) seen: &'a mut Seen,
    /// For whom is counted.
    pub(super) item: usize,
    /// Others who have some of it, too.
    pub(super) sharers: Vec<usize>,
    pub(super) usage: Usage,
}

impl<'a> Measure<'a> {
    pub(super) fn new(seen: &'a mut Seen, item: usize) -> Measure<'a> {
        Measure { seen, item, sharers: Vec::new(), usage: Usage::default() }
    }

    /// Adds what is at `path`, with all below it. What is not there, or cannot be read, is nothing.
    pub(super) fn add(&mut self, path: &Path) {
        let Ok(Some(meta)) = tree::stat(CWD, path.as_os_str().as_encoded_bytes()) else { return };
        self.count(&meta);
        if meta.is_dir()
            && let Ok(dir) = File::open(path).map(OwnedFd::from)
        {
            self.below(dir.as_fd());
        }
    }

    fn below(&mut self, dir: BorrowedFd<'_>) {
        for name in tree::names(dir).unwrap_or_default() {
            let Ok(Some(meta)) = tree::stat(dir, &name) else { continue };
            self.count(&meta);
            if meta.is_dir()
                && let Ok(child) = tree::open_dir(dir, &name)
            {
                deeper(|| self.below(child.as_fd()));
            }
        }
    }

    fn count(&mut self, meta: &tree::Meta) {
        if !meta.is_dir() && 1 < meta.nlink {
            match self.seen.get(&meta.ino) {
                Some(&other) => {
                    // Whiteouts are links of one another everywhere, and take nothing.
                    if other != self.item && !meta.is_whiteout() && !self.sharers.contains(&other) {
                        self.sharers.push(other);
                    }
                    return;
                }
                None => self.seen.insert(meta.ino, self.item),
            };
        }
        self.usage.bytes += meta.n_blocks * 512;
        self.usage.inodes += 1;
    }
}

/// What `path` and all below it takes; a file with several names counts once.
pub(super) fn measure(path: &Path) -> Usage {
    let mut seen = Seen::new();
    let mut walk = Measure::new(&mut seen, 0);
    walk.add(path);
    walk.usage
}

/// What only the entry at `path` itself takes.
pub(super) fn single(path: &Path) -> Usage {
    match tree::stat(CWD, path.as_os_str().as_encoded_bytes()) {
        Ok(Some(meta)) => Usage { bytes: meta.n_blocks * 512, inodes: 1 },
        Ok(None) | Err(_) => Usage::default(),
    }
}
