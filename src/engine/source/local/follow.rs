//! Paths whose links are followed: what they lead to is included too (fsutil/followlinks.go).

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::LocalError;
use crate::base::{glob, path};
use crate::engine::ops::root::{Last, Root, list};

/// How many links are followed for one path: loops end here, without an error.
const MAX_LINKS: usize = 255;

/// The include patterns with what `follow` leads to; as they are when that is the whole directory.
pub(super) fn extend(
    root: &OwnedFd,
    dir: &Path,
    mut include: Vec<String>,
    follow: &[String],
) -> Result<Vec<String>, LocalError> {
    if follow.is_empty() {
        return Ok(include);
    }
    let fd = root.try_clone().map_err(|source| LocalError::read("open", dir, source))?;
    let root = Root::new(fd);
    let mut found = BTreeSet::new();
    for pattern in follow {
        walk(&root, pattern, &mut found)?;
    }
    if !found.contains("") {
        include.extend(found);
    }
    Ok(include)
}

/// Follows one path, adding every link on the way and the end of it.
fn walk(root: &Root, start: &str, found: &mut BTreeSet<String>) -> Result<(), LocalError> {
    let mut todo = vec![(String::new(), rooted(start))];
    let mut n_steps = 0;
    while let Some((done, rest)) = todo.pop() {
        n_steps += 1;
        if MAX_LINKS * 64 < n_steps {
            return Ok(());
        }
        let (name, rest) = rest.split_once('/').unwrap_or((&rest, ""));
        let current = path::join(&[&done, name]);
        let links = links(root, &done, name)?;
        if (rest.is_empty() || links.is_some()) && found.contains(&current) {
            continue;
        }
        match links {
            Some(targets) => {
                found.insert(current);
                todo.extend(
                    targets.into_iter().map(|target| (String::new(), rooted(&format!("{target}/{rest}")))),
                );
            }
            None if rest.is_empty() => drop(found.insert(current)),
            None => todo.push((current, rest.to_owned())),
        }
    }
    Ok(())
}

/// Where the links lead that `name` in `directory` stands for; `None` when it stands for no link.
fn links(root: &Root, directory: &str, name: &str) -> Result<Option<Vec<String>>, LocalError> {
    let read = |name: &str| -> Option<String> {
        let place = format!("/{}", path::join(&[directory, name]));
        let target = root.read_link(place.as_bytes()).ok().flatten()?;
        let target = String::from_utf8_lossy(&target).into_owned();
        Some(if target.starts_with('/') { target } else { path::join(&["/", directory, &target]) })
    };
    if !glob::has_wildcard(name) {
        return Ok(read(name).map(|target| vec![target]));
    }
    let place = root.resolve(directory.as_bytes(), Last::Keep);
    let Some(fd) = place.ok().and_then(|place| root.open_dir(&place).ok()) else { return Ok(None) };
    let names = list(&fd).unwrap_or_default();
    let names = names.iter().filter_map(|(it, _)| std::str::from_utf8(it.as_bytes()).ok());
    let matching = names.filter(|it| glob::matches(name, it).unwrap_or(false));
    Ok(Some(matching.filter_map(read).collect()))
}

/// Relative to the top, clean; `""` for the top.
fn rooted(text: &str) -> String {
    path::clean(&format!("/{text}")).trim_start_matches('/').to_owned()
}
