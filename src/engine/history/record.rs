//! Keeps the runs of a build.

use super::manifest::{Manifest, Packer, STOPPED};
use super::why::source_key;
use crate::base::Digest;
use crate::engine::solver::Account;
use crate::store::{NewRun, Store};

/// So many runs are written at once: of a large build not all are held.
const CHUNK: usize = 512;

/// What of a build is to be kept; the last of it is written by [`Book::keep`].
pub(crate) struct Book<'a> {
    store: &'a Store,
    program: Digest,
    packer: Packer,
    runs: Vec<NewRun>,
    /// Of those that are written.
    batch: Option<i64>,
}

impl Book<'_> {
    /// Nothing yet.
    pub(crate) fn new(store: &Store, program: Digest) -> Book<'_> {
        Book { store, program, packer: Packer::default(), runs: Vec::new(), batch: None }
    }

    /// A step ran.
    pub(crate) fn ran(&mut self, account: &Account, manifest: &Manifest) {
        if let Some(key) = account.run {
            self.add(key, manifest, false);
        }
    }

    /// A step used the source with this digest; `manifest` is only asked for when that state of it is not known.
    pub(crate) fn source(&mut self, account: &Account, digest: &Digest, manifest: impl FnOnce() -> Manifest) {
        let Some(run) = account.run else { return };
        let key = source_key(&run, digest);
        if !matches!(self.store.run(&key), Ok(Some(_))) {
            self.add(key, &manifest(), true);
        }
    }

    fn add(&mut self, key: Digest, manifest: &Manifest, once: bool) {
        let body = manifest.encode(&mut self.packer);
        let line = line(&self.program, manifest);
        self.runs.push(NewRun { group: self.program, line, key, once, body });
        if CHUNK <= self.runs.len() {
            self.write();
        }
    }

    /// Writes it. A failure costs nothing but answers to later questions.
    pub(crate) fn keep(mut self) {
        self.write();
    }

    fn write(&mut self) {
        if !self.runs.is_empty() {
            let runs = std::mem::take(&mut self.runs);
            self.batch = self.store.add_runs(&runs, self.batch).ok().or(self.batch);
        }
    }
}

/// Notes that a run begins: should this process be killed, the next one keeps it, as what came of it.
pub(crate) fn note(store: &Store, program: Digest, key: Digest, manifest: &Manifest, result: &Digest) {
    let body = manifest.encode_plain();
    let run = NewRun { group: program, line: line(&program, manifest), key, once: true, body };
    // A failure costs nothing but answers to later questions.
    let _ = store.note_run(&run, result, STOPPED);
}

fn line(program: &Digest, manifest: &Manifest) -> Digest {
    Digest::of(format!("bkl.line.v1:{program}:{}", manifest.name))
}
