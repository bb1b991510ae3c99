//! A tree of one file, made of a blob in the store.

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid};

use crate::base::Digest;
use crate::engine::ops::root::transfer;
use crate::graph::ir::{SourceOp, attr};
use crate::store::{LayerMeta, Snapshot, Store, StoreError};

/// Mode of a file when the op has none.
const DEFAULT_MODE: u32 = 0o600;

/// What an op says of the file (`http.filename`, `http.perm`, `http.uid`, `http.gid`, for all schemes that make one).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FileAttrs {
    /// As written; empty is the source's own choice.
    pub(super) name: String,
    /// `None` is the default.
    pub(super) mode: Option<u32>,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl FileAttrs {
    /// Reads them; the error is what is wrong, for people.
    pub(super) fn read(op: &SourceOp) -> Result<FileAttrs, String> {
        let text = |key: &str| op.attrs.get(key).cloned().unwrap_or_default();
        let number = |key: &str| match text(key).as_str() {
            "" => Ok(None),
            value => go_number(value).map(Some).ok_or_else(|| format!("`{key}` is `{value}`, no number")),
        };
        Ok(FileAttrs {
            name: text(attr::HTTP_FILENAME),
            mode: number(attr::HTTP_PERM)?.filter(|mode| *mode != 0),
            uid: number(attr::HTTP_UID)?.unwrap_or(0),
            gid: number(attr::HTTP_GID)?.unwrap_or(0),
        })
    }
}

/// The file.
pub(super) struct OneFile {
    /// Its content.
    pub(super) digest: Digest,
    /// A plain name.
    pub(super) name: String,
    /// Mode and owner.
    pub(super) attrs: FileAttrs,
    /// Seconds since 1970.
    pub(super) mtime: i64,
    /// What is said of the layer.
    pub(super) description: String,
}

impl OneFile {
    /// The tree that holds it.
    pub(super) fn write(&self, store: &Store) -> Result<Snapshot, StoreError> {
        let layer = store.stage(&Snapshot::scratch())?;
        let failed = |attempt| move |errno| StoreError::io(attempt, &self.name, errno);
        let dir = layer.upper_dir();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target =
            rustix::fs::openat(dir, &self.name, flags, Mode::from_raw_mode(0o600)).map_err(failed("make"))?;
        let source = store.content().open(&self.digest)?.into();
        transfer(&source, &target).map_err(failed("copy"))?;
        let owner = (Uid::from_raw(self.attrs.uid), Gid::from_raw(self.attrs.gid));
        rustix::fs::fchown(&target, Some(owner.0), Some(owner.1)).map_err(failed("give away"))?;
        let mode = Mode::from_raw_mode(self.attrs.mode.unwrap_or(DEFAULT_MODE) & 0o777);
        rustix::fs::fchmod(&target, mode).map_err(failed("set the mode of"))?;
        let at = Timespec { tv_sec: self.mtime, tv_nsec: 0 };
        let times = Timestamps { last_access: at, last_modification: at };
        rustix::fs::utimensat(dir, &self.name, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed("set the times of"))?;
        // The directory's own time would be that of this moment.
        let epoch = Timespec { tv_sec: 0, tv_nsec: 0 };
        let times = Timestamps { last_access: epoch, last_modification: epoch };
        rustix::fs::utimensat(dir, ".", &times, AtFlags::empty()).map_err(failed("set the times of"))?;
        drop(target);
        let meta = LayerMeta { description: self.description.clone(), ..LayerMeta::default() };
        Ok(Snapshot::scratch().with(layer.commit(&meta)?))
    }
}

/// A number as Go's `strconv.ParseInt(text, 0, 64)` reads it, where it fits an id.
fn go_number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', b'o' | b'O', ..] => (&text[2..], 8),
        [b'0', b'b' | b'B', ..] => (&text[2..], 2),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    let number = digits
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric())
        .then(|| u32::from_str_radix(digits, radix).ok())?;
    // The kernel takes the last one for "leave it as it is".
    number.filter(|&number| number != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_go_reads_them() {
        #[track_caller]
        fn check(text: &str, expected: Option<u32>) {
            assert_eq!(go_number(text), expected, "{text}");
        }
        check("0644", Some(0o644));
        check("0o644", Some(0o644));
        check("420", Some(420));
        check("0x1f", Some(31));
        check("0", Some(0));
        check("-1", None);
        check("+1", None);
        check("", None);
        check("08", None);
        check("99999999999", None);
        check("4294967294", Some(4_294_967_294));
        check("4294967295", None);
    }
}
