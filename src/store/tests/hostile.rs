//! Archives made to escape, to poison, or to be read differently: a canary outside must not change.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::{entries, list, meta, store, tree};
use crate::store::layer::{ArchiveError, ArchiveReader, ArchiveWriter, Entry, EntryKind, Limits};
use crate::store::{Options, Snapshot, Store, StoreError};

fn entry(kind: EntryKind, name: &str, link: &str) -> Entry {
    let mut entry = Entry::new(kind, name);
    entry.link = link.as_bytes().to_vec();
    entry.mode = 0o777;
    entry
}

fn file(name: &str) -> Entry {
    entry(EntryKind::File, name, "")
}

fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut writer = ArchiveWriter::new(Vec::new());
    for entry in entries {
        let mut entry = entry.clone();
        if entry.kind == EntryKind::File {
            entry.size = 4;
            writer.write_file(&entry, &mut &b"evil"[..]).unwrap();
        } else {
            writer.write(&entry).unwrap();
        }
    }
    writer.finish().unwrap()
}

fn unpack(store: &Store, parents: &Snapshot, archive: &[u8]) -> Result<Snapshot, StoreError> {
    let mut reader = archive;
    Ok(parents.with(store.unpack(&mut reader)?.commit(parents, None, &meta("evil"))?))
}

/// What must not change: bytes, mode, number of names, number of neighbours.
fn canary(dir: &Path) -> (Vec<u8>, u32, u64, u32, usize) {
    let file = fs::metadata(dir.join("canary/file")).unwrap();
    let there = fs::metadata(dir.join("canary")).unwrap();
    let n_entries = fs::read_dir(dir.join("canary")).unwrap().count();
    (fs::read(dir.join("canary/file")).unwrap(), file.mode(), file.nlink(), there.mode(), n_entries)
}

enum Wanted {
    /// Unpacked, inside of the tree.
    Contained,
    Refused,
}

fn check(name: &str, make: impl Fn(&str) -> Vec<Entry>, wanted: &Wanted) {
    check_bytes(name, |out| archive(&make(out)), wanted);
}

fn check_bytes(name: &str, make: impl Fn(&str) -> Vec<u8>, wanted: &Wanted) {
    let (dir, store) = store();
    let outside = dir.path().join("canary");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "alive").unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o711)).unwrap();
    let before = canary(dir.path());
    let base = tree(&store, &Snapshot::scratch(), |root| fs::write(root.join("base"), "base").unwrap());
    let result = unpack(&store, &base, &make(outside.to_str().unwrap()));
    assert_eq!(canary(dir.path()), before, "{name}: the canary changed");
    match (wanted, result) {
        (Wanted::Contained, Ok(tree)) => drop(list(&store, &tree)),
        (Wanted::Refused, Err(StoreError::Archive(_))) => {}
        (_, result) => panic!("{name}: {result:?}"),
    }
    assert_eq!(canary(dir.path()), before, "{name}: the canary changed by looking");
}

#[test]
fn nothing_leaves_the_tree_as_root() {
    use EntryKind::{Dir, HardLink, Symlink};
    use Wanted::{Contained, Refused};
    let up = |rest: &str| format!("{}{rest}", "../".repeat(20));
    let below = |outside: &str| outside.trim_start_matches('/').to_owned();
    check("dotdot", |out| vec![file(&up(&format!("{}/new", below(out))))], &Contained);
    check("absolute", |out| vec![file(&format!("{out}/file"))], &Contained);
    check("symlink_abs_write", |out| vec![entry(Symlink, "l", out), file("l/file")], &Contained);
    check("symlink_rel_write", |out| vec![entry(Symlink, "l", &up(&below(out))), file("l/file")], &Contained);
    check(
        "symlink_chain",
        |out| vec![entry(Symlink, "a", "b"), entry(Symlink, "b", out), file("a/file"), file("a/../a/new")],
        &Contained,
    );
    check(
        "symlink_loop",
        |_| vec![entry(Symlink, "a", "b"), entry(Symlink, "b", "a"), file("a/x")],
        &Refused,
    );
    check(
        "file_over_symlink",
        |out| vec![entry(Symlink, "l", &format!("{out}/file")), file("l")],
        &Contained,
    );
    check("dir_over_symlink_chmod", |out| vec![entry(Symlink, "l", out), entry(Dir, "l/", "")], &Contained);
    check("dir_dot_over_symlink", |out| vec![entry(Symlink, "l", out), entry(Dir, "l/.", "")], &Contained);
    check(
        "dir_time_through_symlink",
        |out| {
            vec![
                entry(Dir, "d/canary/", ""),
                entry(Symlink, "d", Path::new(out).parent().unwrap().to_str().unwrap()),
            ]
        },
        &Contained,
    );
    check("hardlink_abs", |out| vec![entry(HardLink, "h", &format!("{out}/file"))], &Refused);
    check(
        "hardlink_rel_out",
        |out| vec![entry(HardLink, "h", &up(&format!("{}/file", below(out))))],
        &Refused,
    );
    check(
        "hardlink_through_symlink",
        |out| vec![entry(Symlink, "l", out), entry(HardLink, "h", "l/file"), file("h")],
        &Refused,
    );
    check(
        "hardlink_to_symlink_write",
        |out| vec![entry(Symlink, "l", &format!("{out}/file")), entry(HardLink, "h", "l"), file("h")],
        &Contained,
    );
    check("hardlink_itself", |_| vec![file("h"), entry(HardLink, "h", "h")], &Refused);
    check("hardlink_dir", |_| vec![entry(Dir, "d", ""), entry(HardLink, "h", "d")], &Refused);
    check("through_a_file", |_| vec![file("f"), file("f/x")], &Refused);
    for name in ["wh_empty", "wh_dot", "wh_dotdot"] {
        let mark =
            name.replace("wh_", ".wh.").replace("empty", "").replace("dotdot", "..").replace("dot", ".");
        check(name, |_| vec![file(&format!("d/{mark}"))], &Refused);
    }
    check("wh_through_symlink", |out| vec![entry(Symlink, "l", out), file("l/.wh.file")], &Contained);
    check("opq_through_symlink", |out| vec![entry(Symlink, "l", out), file("l/.wh..wh..opq")], &Contained);
    check("name_256", |_| vec![file(&"n".repeat(256))], &Refused);
    check("deep_path", |_| vec![file(&"d/".repeat(2500))], &Refused);
    check(
        "the_root",
        |_| vec![entry(Dir, "./", ""), entry(Symlink, "..", "x"), entry(Dir, "/", "")],
        &Contained,
    );
    check("aufs", |_| vec![entry(Dir, ".wh..wh.plnk/", ""), file(".wh..wh.aufs")], &Contained);
}

/// Marks of removal that meet what they remove, links, or nothing.
#[test]
fn whiteouts_stay_in_the_tree_as_root() {
    use EntryKind::{Char, Dir, Symlink};
    use Wanted::Contained;
    check("wh_file_and_target", |_| vec![file("d/f"), file("d/.wh.f")], &Contained);
    check("wh_before_target", |_| vec![file("d/.wh.f"), file("d/f")], &Contained);
    check("wh_of_nothing", |_| vec![file("none/.wh.f")], &Contained);
    check("wh_of_base", |_| vec![file(".wh.base")], &Contained);
    check("wh_of_link", |out| vec![entry(Symlink, "l", out), file(".wh.l")], &Contained);
    check(
        "wh_of_link_to_file",
        |out| vec![entry(Symlink, "l", &format!("{out}/file")), file(".wh.l")],
        &Contained,
    );
    check("wh_as_directory", |_| vec![entry(Dir, ".wh.base/", ""), file(".wh.base/x")], &Contained);
    check("wh_as_link", |out| vec![entry(Symlink, ".wh.base", out)], &Contained);
    check("wh_absolute", |out| vec![file(&format!("{out}/.wh.file"))], &Contained);
    check("wh_above", |out| vec![file(&format!("{}{out}/.wh.file", "../".repeat(20)))], &Contained);
    check("opq_root", |_| vec![file(".wh..wh..opq"), file("new")], &Contained);
    check("opq_after_content", |_| vec![file("d/f"), file("d/.wh..wh..opq")], &Contained);
    check("opq_twice", |_| vec![file("d/.wh..wh..opq"), file("d/.wh..wh..opq"), file("d/f")], &Contained);
    check(
        "opq_of_chain",
        |out| vec![entry(Symlink, "a", "b"), entry(Symlink, "b", out), file("a/.wh..wh..opq")],
        &Contained,
    );
    // What overlayfs takes for a whiteout, as an entry like any other.
    check("hidden_whiteout", |_| vec![entry(Char, "base", "")], &Contained);
    check(
        "hidden_whiteout_behind_link",
        |out| vec![entry(Symlink, "l", out), entry(Char, "l/file", "")],
        &Contained,
    );
}

/// Nodes and directories in the way of each other and of links.
#[test]
fn entries_replace_each_other_inside_the_tree_as_root() {
    use EntryKind::{Block, Dir, Fifo, HardLink, Symlink};
    use Wanted::{Contained, Refused};
    check("file_over_dir", |_| vec![entry(Dir, "x", ""), file("x/y"), file("x")], &Contained);
    check("dir_over_file", |_| vec![file("x"), entry(Dir, "x/", ""), file("x/y")], &Contained);
    check(
        "symlink_over_dir",
        |out| vec![entry(Dir, "x", ""), file("x/y"), entry(Symlink, "x", out), file("x/file")],
        &Contained,
    );
    check("symlink_over_base", |out| vec![entry(Symlink, "base", out), file("base/file")], &Contained);
    check("fifo_behind_link", |out| vec![entry(Symlink, "l", out), entry(Fifo, "l/file", "")], &Contained);
    check("fifo_then_file", |_| vec![entry(Fifo, "p", ""), file("p")], &Contained);
    check("fifo_as_dir", |_| vec![entry(Fifo, "p", ""), file("p/x")], &Refused);
    check("disk_behind_link", |out| vec![entry(Symlink, "l", out), entry(Block, "l/file", "")], &Contained);
    check("hardlink_overwrite", |_| vec![file("f"), entry(HardLink, "h", "f"), file("h")], &Contained);
    check("hardlink_over_base", |_| vec![file("f"), entry(HardLink, "base", "f")], &Contained);
    check("hardlink_to_base", |_| vec![entry(HardLink, "h", "base"), file("h")], &Contained);
    check(
        "hardlink_to_base_twice",
        |_| vec![entry(HardLink, "h", "base"), entry(HardLink, "h", "base")],
        &Contained,
    );
    check("hardlink_to_base_as_dir", |_| vec![entry(HardLink, "h", "base"), file("h/x")], &Refused);
    check(
        "hardlink_to_base_then_dir",
        |_| vec![entry(HardLink, "h", "base"), entry(Dir, "h/", ""), file("h/x")],
        &Contained,
    );
    check("hardlink_to_base_removed", |_| vec![entry(HardLink, "h", "base"), file(".wh.h")], &Contained);
    check(
        "hardlink_chain",
        |_| vec![file("f"), entry(HardLink, "g", "f"), entry(HardLink, "h", "./g")],
        &Contained,
    );
    check("hardlink_to_nothing", |_| vec![entry(HardLink, "h", "nothing")], &Refused);
    check("hardlink_dotdot_inside", |_| vec![file("d/f"), entry(HardLink, "d/h", "d/../d/f")], &Contained);
    check("devdir_symlink", |out| vec![entry(Symlink, "dev", out), file("dev/file")], &Contained);
    check("proc_symlink", |_| vec![entry(Symlink, "proc", "/proc/self/root"), file("proc/x")], &Refused);
    check("passwd_fifo", |_| vec![entry(Dir, "etc", ""), entry(Fifo, "etc/passwd", "")], &Contained);
    check("magic_link", |_| vec![entry(Symlink, "l", "/proc/self/cwd"), file("l/x")], &Contained);
    check(
        "many_levels_up",
        |out| vec![file(&format!("{}{}", "a/../".repeat(400), out.trim_start_matches('/')))],
        &Contained,
    );
}

/// Names that only extended headers give.
#[test]
fn long_names_stay_in_the_tree_as_root() {
    use Wanted::{Contained, Refused};
    let end = vec![0; 1024];
    let record = |key: &str, value: &str| {
        let rest = format!(" {key}={value}\n");
        let mut len = rest.len() + 1;
        while len != rest.len() + len.to_string().len() {
            len = rest.len() + len.to_string().len();
        }
        format!("{len}{rest}")
    };
    let up = |out: &str| format!("{}{}/new", "../".repeat(20), out.trim_start_matches('/'));
    let with = |records: &str, flag: u8| [pax(records), header("f", flag, 0), end.clone()].concat();
    check_bytes("pax_path_override", |out| with(&record("path", &up(out)), b'0'), &Contained);
    check_bytes("pax_path_absolute", |out| with(&record("path", &format!("{out}/file")), b'0'), &Contained);
    check_bytes(
        "pax_linkpath_override",
        |out| with(&record("linkpath", &format!("{out}/file")), b'1'),
        &Refused,
    );
    check_bytes("pax_symlink_override", |out| with(&record("linkpath", out), b'2'), &Contained);
    let long = |flag: u8, name: &str| {
        let name = format!("{name}\0");
        [header("././@LongLink", flag, name.len()), padded(name.as_bytes())].concat()
    };
    check_bytes(
        "longlink_dotdot",
        |out| [long(b'L', &up(out)), header("f", b'0', 0), end.clone()].concat(),
        &Contained,
    );
    check_bytes(
        "longlink_target",
        |out| [long(b'K', &format!("{out}/file")), header("h", b'1', 0), end.clone()].concat(),
        &Refused,
    );
    check_bytes("pax_path_zero_byte", |_| with(&record("path", "a\0b"), b'0'), &Refused);
    check_bytes("pax_huge_owner", |_| with(&record("uid", "4294967296"), b'0'), &Refused);
    check_bytes("pax_negative_owner", |_| with(&record("uid", "-1"), b'0'), &Refused);
    check_bytes("pax_huge_time", |_| with(&record("mtime", "99999999999999999999"), b'0'), &Refused);
    check_bytes("pax_path_is_the_root", |_| with(&record("path", ".."), b'5'), &Contained);
}

#[test]
fn overlay_attributes_in_archives_are_dropped_as_root() {
    let (_dir, store) = store();
    let base = tree(&store, &Snapshot::scratch(), |root| {
        fs::create_dir(root.join("bin")).unwrap();
        fs::write(root.join("bin/sh"), "sh").unwrap();
    });
    let mut dir = entry(EntryKind::Dir, "bin/", "");
    for (key, value) in [("opaque", "y"), ("redirect", "/etc"), ("metacopy", "")] {
        dir.xattrs.push((format!("trusted.overlay.{key}").into_bytes(), value.into()));
        dir.xattrs.push((format!("user.overlay.{key}").into_bytes(), value.into()));
    }
    let top = unpack(&store, &base, &archive(&[dir, file("bin/new")])).unwrap();
    let wanted = entries(&[("bin", "/"), ("bin/sh", "sh"), ("bin/new", "evil")]);
    assert_eq!(list(&store, &top), wanted);
}

/// One header block of a file named `name`, with a right checksum.
fn header(name: &str, flag: u8, size: usize) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..108].copy_from_slice(b"0000644\0");
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[136..148].copy_from_slice(b"00000000000\0");
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|it| u32::from(*it)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn padded(content: &[u8]) -> Vec<u8> {
    let mut bytes = content.to_vec();
    bytes.resize(content.len().next_multiple_of(512), 0);
    bytes
}

fn pax(records: &str) -> Vec<u8> {
    [header("x", b'x', records.len()), padded(records.as_bytes())].concat()
}

fn read(bytes: &[u8]) -> Result<Vec<(String, u64)>, ArchiveError> {
    let mut reader = ArchiveReader::new(bytes, Limits::default());
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        found.push((entry.shown(), entry.size));
    }
    Ok(found)
}

#[test]
fn archives_are_read_in_one_way_only() {
    let smuggled = [header("smuggled", b'0', 0), vec![0; 512]].concat();
    let end = vec![0; 1024];
    // The PAX size wins over the header's, whatever that says.
    for size in [0, 512] {
        let bytes = [pax("13 size=1024\n"), header("f", b'0', size), smuggled.clone(), end.clone()].concat();
        assert_eq!(read(&bytes).unwrap(), [("f".to_owned(), 1024)]);
    }
    // It is about the entry, not about a long name between.
    let long = [header("././@LongLink", b'L', 5), padded(b"long\0")].concat();
    let bytes = [pax("13 size=1024\n"), long, header("f", b'0', 0), smuggled.clone(), end.clone()].concat();
    assert_eq!(read(&bytes).unwrap(), [("long".to_owned(), 1024)]);
    // Kinds without content have none, whatever their size says.
    let bytes = [header("l", b'2', 512), header("f", b'0', 0), end.clone()].concat();
    assert_eq!(read(&bytes).unwrap().len(), 2);
    // A global header names nothing.
    let global = [header("g", b'g', 15), padded(b"15 path=global\n")].concat();
    let bytes = [global, header("f", b'0', 0), end.clone()].concat();
    assert_eq!(read(&bytes).unwrap(), [("f".to_owned(), 0)]);
    for malformed in [
        "99 size=1\n",
        "x size=1\n",
        "8 size=1\n",
        "10 size=1x\n",
        "8 =abcd\n",
        "7 a b\n\n",
        "11 size=-1\n\n",
    ] {
        let bytes = [pax(malformed), header("f", b'0', 0), end.clone()].concat();
        assert!(matches!(read(&bytes), Err(ArchiveError::Pax { .. })), "{malformed:?}: {:?}", read(&bytes));
    }
    let mut bad = header("f", b'0', 0);
    bad[0] = b'g';
    assert!(matches!(read(&bad), Err(ArchiveError::Header { .. })));
    assert!(matches!(
        read(&[header("f", b'0', 600), vec![1; 512]].concat()),
        Err(ArchiveError::Truncated { .. })
    ));
    assert!(matches!(read(&header("f", b'0', 0)[..100]), Err(ArchiveError::Truncated { .. })));
    // What may be missing is the end mark and the padding before it, as in Go.
    let content = [header("f", b'0', 600), vec![1; 600]].concat();
    for n_padding in [0, 1, 423, 424, 424 + 512] {
        let bytes = [content.clone(), vec![0; n_padding]].concat();
        assert_eq!(read(&bytes).unwrap().len(), 1, "{n_padding}");
    }
    assert!(matches!(read(&content[..512 + 599]), Err(ArchiveError::Truncated { .. })));
    let special = pax("20 comment=abcdefgh\n");
    assert!(matches!(read(&special[..512 + 10]), Err(ArchiveError::Truncated { .. })));
    let inside = [vec![0; 512], header("f", b'0', 0), end].concat();
    assert!(matches!(read(&inside), Err(ArchiveError::Header { .. })));
}

#[test]
fn limits_stop_bombs_as_root() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { entries: 10, bytes: 100, xattr_bytes: 64 };
    let store = Store::open(&dir.path().join("store"), &Options { limits, ..Options::default() }).unwrap();
    let many: Vec<Entry> = (0..11).map(|it| entry(EntryKind::Dir, &format!("d{it}"), "")).collect();
    let mut big = file("big");
    big.size = 101;
    let mut writer = ArchiveWriter::new(Vec::new());
    writer.write_file(&big, &mut &[0; 101][..]).unwrap();
    let mut wordy = entry(EntryKind::Dir, "d", "");
    wordy.xattrs.push((b"user.x".to_vec(), vec![1; 64]));
    for bytes in [archive(&many), writer.finish().unwrap(), archive(&[wordy])] {
        let error = unpack(&store, &Snapshot::scratch(), &bytes).unwrap_err();
        assert!(matches!(error, StoreError::Archive(ArchiveError::TooLarge { .. })), "{error}");
    }
    assert_eq!(fs::read_dir(store.root().join("layers")).unwrap().count(), 0);
}

/// Any bytes at all: an answer or an error, never a panic, and nothing outside.
#[test]
fn noise_is_an_error_as_root() {
    let (_dir, store) = store();
    let whole = archive(&[
        file("a"),
        entry(EntryKind::Dir, "d", ""),
        file("d/b"),
        entry(EntryKind::Symlink, "s", "a"),
    ]);
    let mut state = 7_u64;
    for _ in 0..300 {
        let mut bytes = whole.clone();
        for _ in 0..3 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (state >> 33) as usize % bytes.len();
            bytes[at] ^= 1 << (state >> 61);
        }
        bytes.truncate(bytes.len() - (state >> 50) as usize % 600);
        drop(unpack(&store, &Snapshot::scratch(), &bytes));
    }
}
