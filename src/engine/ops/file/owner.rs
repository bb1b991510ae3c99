//! Who owns what is made: names are looked up in the tree's own passwd and group files.

use std::fs::File;
use std::io::Read as _;

use rustix::fs::{FileType, Mode, OFlags};

use super::error::FileError;
use super::root::{Last, Owner, Root, kind};
use crate::graph::ir::{Chown, User};

/// Account files larger than this are refused.
const MAX_BYTES: u64 = 10 << 20;

/// Where a name is looked up: gives the tree of the name's input.
pub(super) type Lookup<'a> = &'a dyn Fn(crate::graph::ir::FileInput) -> Result<Root, FileError>;

/// Owner and group that `chown` stands for (BuildKit solver/llbsolver/ops/user_linux.go): a user gives its group too, a
/// numeric user the group of its number; unknown users are root, unknown groups change nothing.
pub(super) fn owner(chown: &Chown, lookup: Lookup<'_>) -> Result<Owner, FileError> {
    let mut owner = Owner { uid: 0, gid: 0 };
    match &chown.user {
        None => {}
        Some(User::Id(id)) => owner = Owner { uid: *id, gid: *id },
        Some(User::Name { name, input }) => {
            if let Some(found) = user(&lookup(*input)?, name)? {
                owner = found;
            }
        }
    }
    match &chown.group {
        None => {}
        Some(User::Id(id)) => owner.gid = *id,
        Some(User::Name { name, input }) => {
            if let Some(gid) = group(&lookup(*input)?, name)? {
                owner.gid = gid;
            }
        }
    }
    Ok(owner)
}

fn user(root: &Root, name: &str) -> Result<Option<Owner>, FileError> {
    let text = read(root, "/etc/passwd")?;
    Ok(text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let is_it = fields.next()? == name;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        is_it.then_some(Owner { uid, gid })
    }))
}

fn group(root: &Root, name: &str) -> Result<Option<u32>, FileError> {
    let text = read(root, "/etc/group")?;
    Ok(text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let is_it = fields.next()? == name;
        let gid = fields.nth(1)?.parse().ok()?;
        is_it.then_some(gid)
    }))
}

/// The file's text; empty when there is none.
fn read(root: &Root, path: &str) -> Result<String, FileError> {
    let place = root.resolve(path.as_bytes(), Last::Follow)?;
    let Some(stat) = root.stat(&place)? else { return Ok(String::new()) };
    let refuse = |why| FileError::Accounts { path: path.to_owned(), why };
    // Looked at before it is opened: a FIFO or device is not even touched.
    if kind(&stat) != FileType::RegularFile {
        return Err(refuse("it is no regular file"));
    }
    if MAX_BYTES < stat.st_size as u64 {
        return Err(refuse("it is larger than 10 MiB"));
    }
    let failed = |source| FileError::io("read", &place, source);
    let fd = root
        .open(&place, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())
        .map_err(|errno| failed(errno.into()))?;
    let mut bytes = Vec::new();
    File::from(fd).take(MAX_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
