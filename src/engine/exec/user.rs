//! Who a command runs as: `user[:group]` to numbers, by the passwd and group files of its tree.
//!
//! The rules are runc's and BuildKit's (`executor/oci/user.go`, moby/sys/user): no text is root; two numbers are taken as
//! they are; anything else is looked up. A number is never taken for a name.

use super::RunError;

/// What a process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups, the primary group first.
    pub(crate) groups: Vec<u32>,
    /// Home directory; `/` for who has none.
    pub(crate) home: String,
}

/// The largest id that the peer takes (runc, `maxID`); above lie ids that some system calls read as "no change".
const MAX_ID: u32 = i32::MAX as u32;

/// Resolves `text` with the contents of /etc/passwd and /etc/group; a missing file is empty.
pub(crate) fn resolve(text: &str, passwd: &str, group: &str) -> Result<Identity, RunError> {
    let (user, group_text) = match text.split_once(':') {
        Some((user, group)) => (user, (!group.is_empty()).then_some(group)),
        None => (text, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let user_id = number(user, text)?;
    let row = passwd_rows(passwd).find(|row| match user_id {
        Some(id) => row.uid == id,
        None => row.name == user,
    });
    let uid = match (user_id, &row) {
        (Some(id), _) => id,
        (None, Some(row)) => row.uid,
        // Trees without a passwd file have a root too.
        (None, None) if user == "root" => 0,
        (None, None) => return Err(step(format!("there is no user `{user}` in the tree's /etc/passwd"))),
    };
    let home = row.as_ref().map(|it| it.home).filter(|it| !it.is_empty()).unwrap_or("/").to_owned();

    let mut more_groups = Vec::new();
    let gid = match group_text {
        Some(group_text) => match number(group_text, text)? {
            Some(id) => id,
            None => group_rows(group)
                .find(|row| row.name == group_text)
                .map(|row| row.gid)
                .ok_or_else(|| step(format!("there is no group `{group_text}` in the tree's /etc/group")))?,
        },
        None => {
            // No text at all is root with nothing looked up (BuildKit ParseUIDGID).
            if let Some(row) = row.as_ref().filter(|_| !text.is_empty()) {
                let member = |it: &GroupRow| it.members.split(',').any(|name| name == row.name);
                more_groups.extend(group_rows(group).filter(member).map(|it| it.gid));
            }
            row.as_ref().filter(|_| !text.is_empty()).map_or(0, |row| row.gid)
        }
    };
    if uid > MAX_ID || gid > MAX_ID {
        return Err(step(format!("`{text}` leads to an id above {MAX_ID}")));
    }
    let mut groups = vec![gid];
    for id in more_groups.into_iter().filter(|it| *it <= MAX_ID) {
        if !groups.contains(&id) {
            groups.push(id);
        }
    }
    Ok(Identity { uid, gid, groups, home })
}

/// `Some` for digits only; an error for digits that are no id.
fn number(part: &str, whole: &str) -> Result<Option<u32>, RunError> {
    if !part.bytes().all(|it| it.is_ascii_digit()) {
        return Ok(None);
    }
    match part.parse() {
        Ok(id) if id <= MAX_ID => Ok(Some(id)),
        _ => Err(step(format!("`{part}` in the user `{whole}` is above {MAX_ID}, the largest id"))),
    }
}

struct PasswdRow<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct GroupRow<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn passwd_rows(text: &str) -> impl Iterator<Item = PasswdRow<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let (_gecos, home) = (fields.next(), fields.next().unwrap_or(""));
        Some(PasswdRow { name, uid, gid, home })
    })
}

fn group_rows(text: &str) -> impl Iterator<Item = GroupRow<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let gid = fields.next()?.parse().ok()?;
        Some(GroupRow { name, gid, members: fields.next().unwrap_or("") })
    })
}

fn step(what: String) -> RunError {
    RunError::Step { what }
}

#[cfg(test)]
mod tests;
