//! Layer archives, both ways, against other programs: Go's archive/tar (through umoci), GNU tar, Python, the tar crate.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Command;

use super::{entries, list, meta, path_of, store, tree};
use crate::base::Digest;
use crate::store::layer::{ArchiveReader, ArchiveWriter, Compression, Entry, EntryKind, Limits};
use crate::store::tree::{self as files, Kind};
use crate::store::{BlobDescriptor, Existing, LayerMeta, Snapshot, Store, StoreError};

/// Everything a layer may hold that archives tend to lose. Times are whole seconds unless `nanoseconds`.
const ZOO: &str = r#"
set -e
umask 022
mkdir -p dir/sub
name() { printf "$1%.0s" $(seq $2); }
mkdir -p "$(name d 60)/$(name e 60)" "dir/$(printf 'sub\303\251')"
echo x > "$(name d 60)/$(name e 60)/file"
echo hi > dir/f
ln dir/f dir/g
ln -s f dir/s
: > "dir/$(name l 130)"
echo u > "dir/$(printf '\303\251t')"
echo b > "dir/$(printf 'bad\377')"
chown 3000000:2097152 dir/f
chmod 4755 dir/f
mknod dir/dev c 5 9
mknod dir/block b 7 300
mkfifo dir/fifo
ln -s "$(name x 140)" dir/longlink
chmod 1777 dir/sub
find . -exec touch -h -d @1700000000 {} +
touch -d @-5 dir/sub
"#;

const ZOO_MORE: &str = r#"
set -e
truncate -s 3M sparse
printf start | dd of=sparse conv=notrunc status=none
printf middle | dd of=sparse bs=1 seek=1500000 conv=notrunc status=none
echo cap > capable
/usr/sbin/setcap cap_net_raw+ep capable
python3 -c '
import os
os.setxattr("dir", "user.on_a_dir", b"1")
os.setxattr("capable", "user.lines", b"a\n\nb=c\n")
os.setxattr("capable", "user.binary", bytes(range(256)))
'
deep=$(printf 'p%.0s' $(seq 120)); mkdir -p "$deep/$deep/$deep"; echo deep > "$deep/$deep/$deep/file"
touch -h -d @1700000000.123456789 capable sparse "$deep/$deep/$deep/file"
touch -d @-1.5 "$deep/$deep"
touch -d @1600000000.000000001 dir
"#;

fn shell(dir: &Path, script: &str) -> bool {
    // Entered by the shell: a detached mount is no place to be in before that.
    let script = format!("cd {dir:?} || exit 1; {script}");
    Command::new("bash").arg("-c").arg(script).status().unwrap().success()
}

fn has(program: &str) -> bool {
    Command::new("which").arg(program).output().is_ok_and(|it| it.status.success())
}

/// Writes the layer's archive.
fn tar_of(store: &Store, tree: &Snapshot) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.write_layer_tar(*tree.layers().last().unwrap(), &mut bytes).unwrap();
    bytes
}

/// Unpacks an archive on `parents`.
fn unpack(store: &Store, parents: &Snapshot, mut archive: &[u8]) -> Result<Snapshot, StoreError> {
    let layer = store.unpack(&mut archive)?.commit(parents, None, &meta("unpacked"))?;
    Ok(parents.with(layer))
}

/// All there is to know about each entry of a tree, by path.
fn facts(root: BorrowedFd<'_>) -> BTreeMap<String, String> {
    fn below(
        dir: BorrowedFd<'_>,
        prefix: &str,
        found: &mut BTreeMap<String, String>,
        inodes: &mut BTreeMap<u64, String>,
    ) {
        for name in files::names(dir).unwrap() {
            let it = files::stat(dir, &name).unwrap().unwrap();
            let path = format!("{prefix}{}", name.escape_ascii());
            let content = match it.kind {
                Kind::File => {
                    let mut bytes = Vec::new();
                    fs::File::from(files::open_file(dir, &name).unwrap()).read_to_end(&mut bytes).unwrap();
                    Digest::of(bytes).short()
                }
                Kind::Symlink => {
                    rustix::fs::readlinkat(dir, name.as_slice(), Vec::new()).unwrap().into_string().unwrap()
                }
                _ => String::new(),
            };
            let first = inodes.entry(it.ino).or_insert_with(|| path.clone()).clone();
            let size = if it.is_dir() { 0 } else { it.size };
            let xattrs = files::xattrs(dir, &name).unwrap();
            let xattrs: Vec<_> =
                xattrs.iter().map(|(k, v)| (k.escape_ascii().to_string(), Digest::of(v).short())).collect();
            let text = format!(
                "{:?} {:o} {}:{} {size} {:?} {:?} {content} {first} {xattrs:?}",
                it.kind, it.mode, it.uid, it.gid, it.mtime, it.rdev
            );
            found.insert(path.clone(), text);
            if it.is_dir() {
                below(files::open_dir(dir, &name).unwrap().as_fd(), &format!("{path}/"), found, inodes);
            }
        }
    }
    let mut found = BTreeMap::new();
    below(root, "", &mut found, &mut BTreeMap::new());
    found
}

fn facts_of_dir(dir: &Path) -> BTreeMap<String, String> {
    let fd: OwnedFd = fs::File::open(dir).unwrap().into();
    facts(fd.as_fd())
}

fn assert_same(found: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) {
    for (path, text) in wanted {
        assert_eq!(found.get(path), Some(text), "{path}");
    }
    assert_eq!(
        found.len(),
        wanted.len(),
        "{:?}",
        found.keys().filter(|it| !wanted.contains_key(*it)).collect::<Vec<_>>()
    );
}

#[test]
fn the_empty_layer_has_its_well_known_digest() {
    let bytes = ArchiveWriter::new(Vec::new()).finish().unwrap();
    let known = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";
    assert_eq!(Digest::of(bytes).to_string(), known);
}

#[test]
fn an_unchanged_step_writes_the_empty_archive_as_root() {
    let (_dir, store) = store();
    let base = tree(&store, &Snapshot::scratch(), |root| {
        fs::create_dir(root.join("d")).unwrap();
        fs::write(root.join("d/f"), "1").unwrap();
    });
    // Copied up, not changed.
    let top = tree(&store, &base, |root| {
        let mode = fs::metadata(root.join("d/f")).unwrap().permissions();
        fs::set_permissions(root.join("d/f"), mode).unwrap();
    });
    assert!(tar_of(&store, &top) == [0; 1024]);
}

#[test]
fn our_bytes_are_gos_as_root() {
    if !has("umoci") {
        writeln!(std::io::stderr(), "skipped: no umoci").unwrap();
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let prepare = "umoci init --layout oci && umoci new --image oci:t && umoci unpack --image oci:t b";
    assert!(shell(dir.path(), &format!("({prepare}) >/dev/null 2>&1")));
    assert!(shell(&dir.path().join("b/rootfs"), ZOO));
    let repack = "umoci repack --image oci:t b >/dev/null 2>&1
        for f in oci/blobs/sha256/*; do gzip -t $f 2>/dev/null && gzip -dc $f > layer.tar || true; done";
    assert!(shell(dir.path(), repack));
    let gos = fs::read(dir.path().join("layer.tar")).unwrap();
    let (_dir, store) = store();
    let ours = tree(&store, &Snapshot::scratch(), |root| assert!(shell(root, ZOO)));
    // umoci writes the root directory first, BuildKit never does.
    assert!(gos.starts_with(b".") && gos[512..] == tar_of(&store, &ours)[..], "different bytes");
}

/// Entries as Python sees them.
const PYTHON: &str = r#"
import sys, tarfile
for m in tarfile.open(sys.argv[1], errors="surrogateescape"):
    x = {k: v for k, v in m.pax_headers.items() if k.startswith("SCHILY")}
    print(m.type, ascii(m.name), oct(m.mode), m.uid, m.gid, m.size, int(m.mtime), ascii(m.linkname), m.devmajor, m.devminor, ascii(x))
"#;

#[test]
fn other_readers_agree_on_what_we_write_as_root() {
    let (dir, store) = store();
    let ours = tree(&store, &Snapshot::scratch(), |root| assert!(shell(root, ZOO) && shell(root, ZOO_MORE)));
    let bytes = tar_of(&store, &ours);
    let file = dir.path().join("layer.tar");
    fs::write(&file, &bytes).unwrap();
    // GNU tar unpacks it to the same tree, as far as layer archives go: whole seconds, no user attributes.
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    let extract = "tar --xattrs --xattrs-include='*' --numeric-owner -xpf ../layer.tar";
    assert!(shell(&out, extract));
    let view = store.view(&unpack(&store, &Snapshot::scratch(), &bytes).unwrap()).unwrap();
    assert_same(&facts_of_dir(&out), &facts(view.as_fd()));
    // Our reader sees what Python's and the tar crate see.
    let mut reader = ArchiveReader::new(bytes.as_slice(), Limits::default());
    let mut seen = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        seen.push(entry);
    }
    let python = Command::new("python3").args(["-c", PYTHON, file.to_str().unwrap()]).output().unwrap();
    assert_eq!(String::from_utf8(python.stdout).unwrap().lines().count(), seen.len());
    let mut oracle = tar::Archive::new(bytes.as_slice());
    for (entry, ours) in oracle.entries().unwrap().zip(&seen) {
        let entry = entry.unwrap();
        assert_eq!(entry.path_bytes().as_ref(), ours.name.as_slice());
        assert_eq!(entry.link_name_bytes().as_deref().unwrap_or_default(), ours.link);
        assert_eq!(entry.header().mode().unwrap() & 0o7777, ours.mode);
        assert_eq!(entry.size(), ours.size);
    }
    // Written again from what was unpacked, it is the same archive.
    let again = unpack(&store, &Snapshot::scratch(), &bytes).unwrap();
    assert_eq!(Digest::of(tar_of(&store, &again)), Digest::of(&bytes));
}

#[test]
fn everything_survives_unpacking_as_root() {
    let dir = tempfile::tempdir().unwrap();
    let zoo = dir.path().join("zoo");
    fs::create_dir(&zoo).unwrap();
    assert!(shell(&zoo, ZOO) && shell(&zoo, ZOO_MORE));
    let wanted = facts_of_dir(&zoo);
    let attributes = "--xattrs --xattrs-include='*' --numeric-owner";
    for how in [
        "--format=posix",
        "--format=posix --sparse --sparse-version=1.0",
        "--format=posix --sparse --sparse-version=0.1",
        "--format=posix --sparse --sparse-version=0.0",
        "--format=posix --sparse --sparse-version=1.0 -z",
    ] {
        assert!(shell(&zoo, &format!("tar {attributes} {how} -cf ../zoo.tar .")), "{how}");
        let (_dir, store) = store();
        let tree =
            unpack(&store, &Snapshot::scratch(), &fs::read(dir.path().join("zoo.tar")).unwrap()).unwrap();
        assert_same(&facts(store.view(&tree).unwrap().as_fd()), &wanted);
        let sparse = fs::metadata(path_of(&store.view(&tree).unwrap()).join("sparse")).unwrap();
        use std::os::unix::fs::MetadataExt as _;
        assert!(!how.contains("sparse") || sparse.blocks() * 512 < 1 << 20, "{how} filled the holes");
    }
}

#[test]
fn gnus_own_format_is_read_as_root() {
    let dir = tempfile::tempdir().unwrap();
    let zoo = dir.path().join("zoo");
    fs::create_dir(&zoo).unwrap();
    assert!(shell(&zoo, ZOO) && shell(&zoo, ZOO_MORE));
    // That format has no attributes and no fractions of seconds.
    assert!(shell(&zoo, "setfattr -x user.x . 2>/dev/null; find . -exec touch -h -d @1700000000 {} +"));
    assert!(shell(&zoo, "tar --numeric-owner --format=gnu --sparse -cf ../zoo.tar ."));
    let (_dir, store) = store();
    let tree = unpack(&store, &Snapshot::scratch(), &fs::read(dir.path().join("zoo.tar")).unwrap()).unwrap();
    let without_xattrs = |facts: BTreeMap<String, String>| -> BTreeMap<String, String> {
        facts.into_iter().map(|(path, it)| (path, it[..it.find(" [").unwrap()].to_owned())).collect()
    };
    let found = without_xattrs(facts(store.view(&tree).unwrap().as_fd()));
    assert_same(&found, &without_xattrs(facts_of_dir(&zoo)));
}

#[test]
fn a_whole_tree_as_an_archive_as_root() {
    let (dir, store) = store();
    let base = tree(&store, &Snapshot::scratch(), |root| assert!(shell(root, ZOO) && shell(root, ZOO_MORE)));
    let top = tree(&store, &base, |root| fs::remove_file(root.join("dir/fifo")).unwrap());
    let file = dir.path().join("tree.tar");
    store.write_tree_tar(&top, &mut fs::File::create(&file).unwrap()).unwrap();
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    assert!(shell(&out, "tar --xattrs --xattrs-include='*' --numeric-owner -xpf ../tree.tar"));
    let floor = |facts: BTreeMap<String, String>| -> BTreeMap<String, String> {
        // The archive has whole seconds.
        let cut = regex::Regex::new(r"\((-?\d+), \d+\) \(").unwrap();
        facts.into_iter().map(|(path, it)| (path, cut.replace(&it, "$1 (").into_owned())).collect()
    };
    let view = store.view(&top).unwrap();
    assert_same(&floor(facts_of_dir(&out)), &floor(facts(view.as_fd())));
}

/// The names in a layer's archive.
fn names(bytes: &[u8]) -> Vec<String> {
    let mut reader = ArchiveReader::new(bytes, Limits::default());
    let mut names = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        names.push(entry.shown());
    }
    names
}

#[test]
fn archives_name_changes_as_buildkit_does_as_root() {
    let (_dir, store) = store();
    let base = tree(&store, &Snapshot::scratch(), |root| {
        for path in ["a/b", "opaque/in", "still"] {
            fs::create_dir_all(root.join(path)).unwrap();
            fs::write(root.join(path).join("f"), path).unwrap();
        }
        fs::create_dir(root.join("same_but_new")).unwrap();
    });
    let top = tree(&store, &base, |root| {
        fs::write(root.join("a/b/new"), "1").unwrap();
        fs::remove_file(root.join("a/b/f")).unwrap();
        fs::remove_dir_all(root.join("opaque")).unwrap();
        fs::create_dir(root.join("opaque")).unwrap();
        fs::write(root.join("opaque/g"), "1").unwrap();
        fs::remove_dir(root.join("same_but_new")).unwrap();
        fs::create_dir(root.join("same_but_new")).unwrap();
        fs::remove_dir_all(root.join("still")).unwrap();
        fs::write(root.join("still"), "now a file").unwrap();
    });
    let wanted = [
        "a/",
        "a/b/",
        "a/b/.wh.f",
        "a/b/new",
        "opaque/",
        "opaque/g",
        "opaque/.wh.in",
        "same_but_new/",
        "still",
    ];
    let bytes = tar_of(&store, &top);
    assert_eq!(names(&bytes), wanted);
    // Another store that has only the archives ends up with the same tree.
    let (_dir, other) = super::store();
    let again =
        unpack(&other, &unpack(&other, &Snapshot::scratch(), &tar_of(&store, &base)).unwrap(), &bytes)
            .unwrap();
    assert_eq!(list(&other, &again), list(&store, &top));
    // An entry that repeats what is below is not written again: the archive does not say why it was there.
    let without: Vec<_> = wanted.iter().filter(|it| **it != "same_but_new/").collect();
    assert_eq!(names(&tar_of(&other, &again)).iter().collect::<Vec<_>>(), without);
}

fn archive(entries: &[(Entry, &[u8])]) -> Vec<u8> {
    let mut writer = ArchiveWriter::new(Vec::new());
    for (entry, content) in entries {
        let mut entry = entry.clone();
        entry.size = content.len() as u64;
        if entry.mode == 0 {
            entry.mode = 0o755;
        }
        writer.write_file(&entry, &mut &**content).unwrap();
    }
    writer.finish().unwrap()
}

fn file(name: &str) -> Entry {
    Entry::new(EntryKind::File, name)
}

#[test]
fn opaque_marks_and_links_meet_the_tree_below_as_root() {
    let (_dir, store) = store();
    let base = tree(&store, &Snapshot::scratch(), |root| {
        fs::create_dir_all(root.join("d/sub")).unwrap();
        fs::create_dir_all(root.join("owned/deep")).unwrap();
        std::os::unix::fs::chown(root.join("owned"), Some(7), Some(8)).unwrap();
        fs::write(root.join("d/old"), "old").unwrap();
        fs::write(root.join("d/sub/old"), "old").unwrap();
        fs::write(root.join("target"), "linked").unwrap();
    });
    let mut link = Entry::new(EntryKind::HardLink, "linked/here");
    link.link = b"target".to_vec();
    link.mode = 0o640;
    let bytes = archive(&[
        (file("d/.wh..wh..opq"), b""),
        (file("d/sub/new"), b"new"),
        (link, b""),
        (file("owned/deep/f"), b"1"),
    ]);
    let top = unpack(&store, &base, &bytes).unwrap();
    let wanted = entries(&[
        ("d", "/"),
        ("d/sub", "/"),
        ("d/sub/new", "new"),
        ("linked", "/"),
        ("linked/here", "linked"),
        ("owned", "/"),
        ("owned/deep", "/"),
        ("owned/deep/f", "1"),
        ("target", "linked"),
    ]);
    assert_eq!(list(&store, &top), wanted);
    let view = store.view(&top).unwrap();
    assert_eq!(files::stat(&view, b"owned").unwrap().unwrap().uid, 7);
    assert_eq!(
        store.find_layer(&base, &Digest::of(&bytes), &|_| true).unwrap(),
        top.layers().last().copied()
    );
    assert_eq!(store.find_layer(&Snapshot::scratch(), &Digest::of(&bytes), &|_| true).unwrap(), None);
    assert_eq!(store.find_layer(&base, &Digest::of(&bytes), &|_| false).unwrap(), None, "of another name");
}

#[test]
fn a_directory_after_its_whiteout_is_new_as_root() {
    let (_dir, store) = store();
    let base = tree(&store, &Snapshot::scratch(), |root| {
        fs::create_dir(root.join("d")).unwrap();
        fs::write(root.join("d/old"), "old").unwrap();
    });
    for order in [[".wh.d", "d/new"], ["d/new", ".wh.d"]] {
        let bytes = archive(&[(file(order[0]), b""), (file(order[1]), b"")]);
        let top = unpack(&store, &base, &bytes).unwrap();
        assert_eq!(list(&store, &top), entries(&[("d", "/"), ("d/new", "")]), "{order:?}");
    }
}

#[test]
fn blobs_are_made_once_and_read_back_as_root() {
    let (_dir, store) = store();
    let mut noise = vec![0; 9 << 20];
    let mut state = 1_u32;
    for byte in &mut noise {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (state >> 24) as u8 & 0x3f;
    }
    let tree = tree(&store, &Snapshot::scratch(), |root| fs::write(root.join("noise"), &noise).unwrap());
    let layer = tree.layers()[0];
    let tar = tar_of(&store, &tree);
    for compression in [Compression::None, Compression::Gzip(6), Compression::Zstd(3)] {
        let blob = store.blob(layer, compression, Existing::Keep).unwrap();
        assert_eq!(blob.diff_id, Digest::of(&tar));
        assert_eq!(store.blob(layer, compression, Existing::Keep).unwrap(), blob);
        store.content().forget(&blob.digest).unwrap();
        assert_eq!(store.blob(layer, compression, Existing::Keep).unwrap(), blob, "not the same bytes again");
        let bytes = store.content().read(&blob.digest).unwrap();
        assert_eq!(bytes.len() as u64, blob.size);
        let again = unpack(&store, &Snapshot::scratch(), &bytes).unwrap();
        assert_eq!(store.layer(again.layers()[0]).unwrap().unwrap().diff_id, Some(blob.diff_id));
        assert_eq!(store.write_layer_tar(again.layers()[0], &mut std::io::sink()).ok(), Some(()));
    }
    assert_eq!(store.layer(layer).unwrap().unwrap().diff_id, Some(Digest::of(&tar)));
    let gzip = store
        .content()
        .open(&store.blob(layer, Compression::Gzip(6), Existing::Keep).unwrap().digest)
        .unwrap();
    let mut plain = Command::new("gzip").arg("-dc").stdin(gzip).output().unwrap().stdout;
    assert!(plain == tar, "gzip reads other bytes");
    plain.clear();
}

#[test]
fn a_pulled_layer_keeps_its_blob_as_root() {
    let (_dir, store) = store();
    let bytes = archive(&[(file("f"), b"1")]);
    let digest = Digest::of(&bytes);
    let pulled = BlobDescriptor { media_type: "as/pulled".to_owned(), digest, size: 7, diff_id: digest };
    let meta =
        LayerMeta { description: "pulled".to_owned(), blob: Some(pulled.clone()), ..LayerMeta::default() };
    let layer = store.apply(&Snapshot::scratch(), &mut bytes.as_slice(), &digest, &meta).unwrap();
    assert_eq!(store.blob(layer, Compression::Zstd(3), Existing::Keep).unwrap(), pulled);
    assert_ne!(store.blob(layer, Compression::Zstd(3), Existing::Recompress).unwrap(), pulled);
    let error =
        store.apply(&Snapshot::scratch(), &mut bytes.as_slice(), &Digest::of(b"no"), &meta).unwrap_err();
    assert!(matches!(error, StoreError::Mismatch { .. }), "{error}");
}

#[test]
fn a_recompressed_base_keeps_its_diff_id_as_root() {
    let (_dir, store) = store();
    // Another writer's archive: ours has no entry for `./`, and an end mark.
    let mut other = Entry::new(EntryKind::Dir, b"./");
    other.mode = 0o755;
    let mut bytes = archive(&[(other, b""), (file("./f"), b"1")]);
    bytes.truncate(bytes.len() - 1024);
    let diff_id = Digest::of(&bytes);
    let packed = zstd::encode_all(bytes.as_slice(), 1).unwrap();
    let digest = store.content().put(&packed).unwrap();
    let pulled = BlobDescriptor { media_type: "zstd".to_owned(), digest, size: packed.len() as u64, diff_id };
    let meta = LayerMeta { description: "pulled".to_owned(), blob: Some(pulled), ..LayerMeta::default() };
    let layer = store.apply(&Snapshot::scratch(), &mut bytes.as_slice(), &diff_id, &meta).unwrap();
    let gzip = store.blob(layer, Compression::Gzip(6), Existing::Recompress).unwrap();
    assert_eq!(gzip.diff_id, diff_id);
    assert_eq!(store.blob(layer, Compression::Gzip(6), Existing::Recompress).unwrap(), gzip);
    // Without the blob the layer is written anew, which is another archive of the same tree.
    store.content().forget(&digest).unwrap();
    let anew = store.blob(layer, Compression::Zstd(3), Existing::Recompress).unwrap();
    assert_ne!(anew.diff_id, diff_id);
    // A blob that is damaged is found out, and goes.
    for at in [0, packed.len() / 2] {
        store.content().put(&packed).unwrap();
        let mut wrong = packed.clone();
        wrong[at] ^= 0xff;
        fs::write(store.content().path(&digest), wrong).unwrap();
        let error = store.blob(layer, Compression::Zstd(7), Existing::Recompress).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        assert!(!store.content().has(&digest));
    }
}

#[test]
fn any_number_of_gzip_members_and_zstd_frames_is_one_archive_as_root() {
    let (dir, store) = store();
    let bytes = archive(&[(file("a"), b"1"), (file("b"), b"2")]);
    fs::write(dir.path().join("tar"), &bytes).unwrap();
    let split = "(head -c 700 tar | gzip; tail -c +701 tar | gzip) > tar.gz";
    assert!(shell(dir.path(), split));
    let frames =
        [zstd::encode_all(&bytes[..700], 3).unwrap(), zstd::encode_all(&bytes[700..], 3).unwrap()].concat();
    for packed in [fs::read(dir.path().join("tar.gz")).unwrap(), frames] {
        let tree = unpack(&store, &Snapshot::scratch(), &packed).unwrap();
        assert_eq!(list(&store, &tree), entries(&[("a", "1"), ("b", "2")]));
        // Cut anywhere, it is an error and leaves nothing.
        for n_bytes in [20, packed.len() / 2, packed.len() - 3] {
            let error = unpack(&store, &Snapshot::scratch(), &packed[..n_bytes]).unwrap_err();
            assert!(matches!(error, StoreError::Archive(_)), "{n_bytes}: {error:?}");
        }
    }
    let staging = store.inner.owner.new_dir().unwrap();
    let left: Vec<_> =
        fs::read_dir(staging.parent().unwrap()).unwrap().map(|it| it.unwrap().path()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn a_file_that_shrinks_is_an_error() {
    let mut entry = file("f");
    entry.size = 10;
    let error = ArchiveWriter::new(Vec::new()).write_file(&entry, &mut &b"short"[..]).unwrap_err();
    assert!(error.to_string().contains("shrank"), "{error}");
}

#[test]
fn huge_sparse_files_unpack_at_once_as_root() {
    let dir = tempfile::tempdir().unwrap();
    let mut sparse = fs::File::create(dir.path().join("sparse")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    sparse.seek(std::io::SeekFrom::Start(1 << 39)).unwrap();
    sparse.write_all(b"middle").unwrap();
    assert!(shell(dir.path(), "tar --format=posix --sparse -cf tar sparse"));
    let (_dir, store) = store();
    let tree = unpack(&store, &Snapshot::scratch(), &fs::read(dir.path().join("tar")).unwrap()).unwrap();
    let view = store.view(&tree).unwrap();
    assert_eq!(files::stat(&view, std::ffi::OsStr::new("sparse").as_bytes()).unwrap().unwrap().size, 1 << 40);
}
