//! What is remembered of a directory between builds: its entries, their digest, and the tree that was made of them.
//!
//! A value is a version, the digest, the tree's layers and the entries, all numbers little-endian, texts with their
//! length before them. What does not decode is not there.

use super::scan::{Entry, Scan};
use crate::base::Digest;
use crate::engine::content_hash::FileKind;
use crate::store::{LayerId, Snapshot};

/// A remembered state.
#[derive(Default)]
pub(super) struct Known {
    pub(super) scan: Scan,
    /// Digest of all of it.
    pub(super) key: Option<Digest>,
    /// The tree that holds it.
    pub(super) tree: Option<Snapshot>,
}

const VERSION: u32 = 1;

/// Where the last look at a directory is kept.
pub(super) fn scan_key(id: &Digest) -> Vec<u8> {
    [b"scan:", id.as_bytes().as_slice()].concat()
}

/// Where the last tree of a directory is kept.
pub(super) fn tree_key(id: &Digest) -> Vec<u8> {
    [b"tree:", id.as_bytes().as_slice()].concat()
}

pub(super) fn encode(scan: &Scan, key: Option<Digest>, tree: Option<&Snapshot>) -> Vec<u8> {
    let mut out = Vec::with_capacity(scan.entries.len() * 160);
    put_u32(&mut out, VERSION);
    put_digest(&mut out, key);
    match tree {
        None => out.push(0),
        Some(tree) => {
            out.push(1);
            put_u32(&mut out, tree.layers.len() as u32);
            tree.layers.iter().for_each(|layer| out.extend_from_slice(layer.as_bytes()));
        }
    }
    put_u32(&mut out, scan.entries.len() as u32);
    for entry in &scan.entries {
        put_bytes(&mut out, &entry.path);
        out.push(entry.kind.code());
        put_u32(&mut out, entry.mode);
        for number in [entry.size, entry.dev, entry.ino, entry.n_links, entry.rdev] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for (seconds, nanoseconds) in [entry.mtime, entry.ctime] {
            out.extend_from_slice(&seconds.to_le_bytes());
            put_u32(&mut out, nanoseconds);
        }
        put_bytes(&mut out, &entry.target);
        put_u32(&mut out, entry.xattrs.len() as u32);
        for (name, value) in &entry.xattrs {
            put_bytes(&mut out, name);
            put_bytes(&mut out, value);
        }
        put_digest(&mut out, entry.digest);
        out.push(u8::from(entry.settled));
    }
    out
}

/// `None` for what another version wrote, and for what is damaged.
pub(super) fn decode(bytes: &[u8]) -> Option<Known> {
    let mut input = Input(bytes);
    if input.u32()? != VERSION {
        return None;
    }
    let key = input.digest()?;
    let tree = match input.byte()? {
        0 => None,
        _ => {
            let n_layers = input.u32()?;
            let layer = |input: &mut Input<'_>| Some(LayerId::from_bytes(input.take(16)?.try_into().ok()?));
            Some((0..n_layers).map(|_| layer(&mut input)).collect::<Option<Snapshot>>()?)
        }
    };
    let n_entries = input.u32()? as usize;
    let mut entries = Vec::with_capacity(n_entries.min(bytes.len() / 64));
    for _ in 0..n_entries {
        entries.push(input.entry()?);
    }
    Some(Known { scan: Scan { entries }, key, tree })
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|it| it[0])
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        let length = self.u32()? as usize;
        self.take(length).map(<[u8]>::to_vec)
    }

    fn digest(&mut self) -> Option<Option<Digest>> {
        match self.byte()? {
            0 => Some(None),
            _ => Some(Some(Digest::from_bytes(self.take(32)?.try_into().ok()?))),
        }
    }

    fn time(&mut self) -> Option<(i64, u32)> {
        Some((self.u64()? as i64, self.u32()?))
    }

    fn entry(&mut self) -> Option<Entry> {
        Some(Entry {
            path: self.bytes()?,
            kind: FileKind::of_code(self.byte()?)?,
            mode: self.u32()?,
            size: self.u64()?,
            dev: self.u64()?,
            ino: self.u64()?,
            n_links: self.u64()?,
            rdev: self.u64()?,
            mtime: self.time()?,
            ctime: self.time()?,
            target: self.bytes()?,
            xattrs: {
                let n_xattrs = self.u32()?;
                (0..n_xattrs).map(|_| Some((self.bytes()?, self.bytes()?))).collect::<Option<_>>()?
            },
            digest: self.digest()?,
            settled: self.byte()? != 0,
        })
    }
}

fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u32(out, bytes.len() as u32);
    out.extend_from_slice(bytes);
}

fn put_digest(out: &mut Vec<u8>, digest: Option<Digest>) {
    out.push(u8::from(digest.is_some()));
    if let Some(digest) = digest {
        out.extend_from_slice(digest.as_bytes());
    }
}
