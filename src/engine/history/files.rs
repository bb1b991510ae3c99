//! States of a directory: how they are kept, and the first file that differs between two of them.

use std::collections::BTreeMap;

use super::differ::{Change, Subject};
use crate::base::Digest;
use crate::base::stack::deeper;
use crate::engine::content_hash::{FileKind, HashTree, Header, Node, Selector};
use crate::engine::source::KnownFile;

/// Numbers little-endian, texts with their length before them; an empty list has its number, too.
pub(super) fn encode(files: &[KnownFile]) -> Vec<u8> {
    let mut out = Vec::with_capacity(files.len() * 64);
    out.extend_from_slice(&(files.len() as u32).to_le_bytes());
    for file in files {
        out.push(file.kind.code());
        out.extend_from_slice(&file.mode.to_le_bytes());
        out.extend_from_slice(&file.size.to_le_bytes());
        out.extend_from_slice(&file.digest);
        for text in [&file.path, &file.target] {
            out.extend_from_slice(&(text.len() as u32).to_le_bytes());
            out.extend_from_slice(text);
        }
    }
    out
}

pub(super) fn decode(bytes: &[u8]) -> Option<Vec<KnownFile>> {
    fn number<'a, const N: usize>(bytes: &mut &'a [u8]) -> Option<&'a [u8; N]> {
        let (taken, rest) = bytes.split_first_chunk::<N>()?;
        *bytes = rest;
        Some(taken)
    }
    fn text(bytes: &mut &[u8]) -> Option<Vec<u8>> {
        let length = u32::from_le_bytes(*number(bytes)?) as usize;
        let (taken, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        Some(taken.to_vec())
    }
    let mut bytes = bytes;
    let n_files = u32::from_le_bytes(*number(&mut bytes)?);
    let mut files = Vec::new();
    for _ in 0..n_files {
        let [kind] = *number(&mut bytes)?;
        files.push(KnownFile {
            kind: FileKind::of_code(kind)?,
            mode: u32::from_le_bytes(*number(&mut bytes)?),
            size: u64::from_le_bytes(*number(&mut bytes)?),
            digest: *number(&mut bytes)?,
            path: text(&mut bytes)?,
            target: text(&mut bytes)?,
        });
    }
    Some(files)
}

/// The first difference between two states of a directory that counts for who reads `selectors` of it; all of it when
/// there are none. `None` when there is none.
///
/// Which difference counts is asked of the digest itself: the differences are applied one after the other, and the one
/// with which the digest changes is looked for by halving.
pub fn first_difference(
    then: &[KnownFile],
    now: &[KnownFile],
    selectors: Option<&[Selector]>,
) -> Option<(Subject, Change)> {
    let old: BTreeMap<&[u8], &KnownFile> = then.iter().map(|file| (file.path.as_slice(), file)).collect();
    let new: BTreeMap<&[u8], &KnownFile> = now.iter().map(|file| (file.path.as_slice(), file)).collect();
    let mut paths: Vec<&[u8]> = old.keys().chain(new.keys()).copied().collect();
    paths.sort_unstable();
    paths.dedup();
    paths.retain(|path| old.get(path).map(|it| record(it)) != new.get(path).map(|it| record(it)));
    let told = |path: &[u8]| {
        let subject = Subject::File { path: String::from_utf8_lossy(path).into_owned() };
        (subject, describe(old.get(path).copied(), new.get(path).copied()))
    };
    let Some(selectors) = selectors else { return paths.first().map(|path| told(path)) };
    let digest = |n_applied: usize| {
        let mut mixed = old.clone();
        for path in &paths[..n_applied] {
            match new.get(path) {
                Some(file) => drop(mixed.insert(path, file)),
                None => drop(mixed.remove(path)),
            }
        }
        // What cannot be read at all is a state of its own.
        tree(&mixed).digest(selectors).map_err(|error| error.to_string())
    };
    let first = digest(0);
    let (mut same, mut other) = (0, paths.len());
    if digest(other) == first {
        return None;
    }
    while same + 1 < other {
        let middle = same.midpoint(other);
        if digest(middle) == first {
            same = middle;
        } else {
            other = middle;
        }
    }
    Some(told(paths[other - 1]))
}

/// What makes a file another one.
fn record(file: &KnownFile) -> (FileKind, [u8; 8]) {
    (file.kind, file.digest)
}

fn describe(old: Option<&KnownFile>, new: Option<&KnownFile>) -> Change {
    let mode = |file: &KnownFile| format!("{:04o}", file.mode);
    let target = |file: &KnownFile| String::from_utf8_lossy(&file.target).into_owned();
    match (old, new) {
        (None, _) => Change::Added(None),
        (_, None) => Change::Removed(None),
        (Some(old), Some(new)) if old.kind != new.kind => {
            Change::Became { aspect: "kind", then: word(old.kind).to_owned(), now: word(new.kind).to_owned() }
        }
        (Some(old), Some(new)) if old.target != new.target => {
            Change::Became { aspect: "target", then: target(old), now: target(new) }
        }
        (Some(old), Some(new)) if old.mode != new.mode && old.size == new.size => {
            Change::Became { aspect: "mode", then: mode(old), now: mode(new) }
        }
        (Some(_), Some(_)) => Change::Content,
    }
}

fn word(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Regular => "file",
        FileKind::Directory => "directory",
        FileKind::Symlink => "symbolic link",
        FileKind::CharDevice | FileKind::BlockDevice => "device",
        FileKind::Fifo => "fifo",
        FileKind::Socket => "socket",
    }
}

/// The tree of `files`, whose digests only tell records apart: what lies in no directory is left out.
fn tree(files: &BTreeMap<&[u8], &KnownFile>) -> HashTree {
    let mut children: BTreeMap<&[u8], Vec<&KnownFile>> = BTreeMap::new();
    for (path, file) in files {
        let parent = path.iter().rposition(|&byte| byte == b'/').map_or(b"".as_slice(), |at| &path[..at]);
        children.entry(parent).or_default().push(file);
    }
    HashTree::complete(Node::directory(Digest::of(""), nodes(&children, b"")))
}

fn nodes(children: &BTreeMap<&[u8], Vec<&KnownFile>>, directory: &[u8]) -> BTreeMap<Vec<u8>, Node> {
    let mut below = BTreeMap::new();
    for file in children.get(directory).into_iter().flatten() {
        let digest = Digest::of(file.digest);
        let node = match file.kind {
            FileKind::Directory => Node::directory(digest, deeper(|| nodes(children, &file.path))),
            FileKind::Symlink => Node::symlink(&header(file), file.target.clone()),
            _ => Node::file(digest),
        };
        let name = file.path.iter().rposition(|&byte| byte == b'/').map_or(0, |at| at + 1);
        below.insert(file.path[name..].to_vec(), node);
    }
    below
}

fn header(file: &KnownFile) -> Header {
    Header {
        kind: file.kind,
        mode: file.mode,
        uid: 0,
        gid: 0,
        size: file.size,
        target: file.target.clone(),
        device: (0, 0),
        xattrs: Vec::new(),
    }
}
