//! What goes, what stays, and what it takes.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use super::{list, open, store, tree};
use crate::base::Digest;
use crate::store::gc::{Caps, Contents, Disk, Filter, Item, Limits, Policy, Sizes, Space};
use crate::store::layer::Compression;
use crate::store::{Existing, Record, RecordType, Seed, Sharing, Snapshot, Store};

/// Keeps `tree` as the result of `key`.
fn keep(store: &Store, key: &str, tree: &Snapshot) {
    let record = Record { outputs: vec![tree.clone()], meta: Vec::new(), created_at: SystemTime::now() };
    store.put_record(&Digest::of(key), &record).unwrap();
}

/// The result of `key`, if it is whole: then it is in use.
fn found(store: &Store, key: &str) -> Option<Snapshot> {
    let record = store.get_record(&Digest::of(key)).unwrap()?;
    let tree = record.outputs.into_iter().next().unwrap();
    store.check(&tree).then_some(tree)
}

fn file(store: &Store, below: &Snapshot, name: &str, n_bytes: usize) -> Snapshot {
    tree(store, below, |root| fs::write(root.join(name), vec![7; n_bytes]).unwrap())
}

fn all() -> Policy {
    Policy { all: true, ..Policy::default() }
}

fn at_most(bytes: u64) -> Policy {
    Policy { all: true, bytes: Caps { max_used: bytes, ..Caps::default() }, ..Policy::default() }
}

fn ids(items: &[Item]) -> Vec<String> {
    let mut ids: Vec<String> = items.iter().map(|it| it.id.clone()).collect();
    ids.sort();
    ids
}

/// What `du` says of the store, without the corner of who asks.
fn du(store: &Store) -> u64 {
    let mut du = Command::new("du");
    du.args(["-s", "--block-size=1", "--exclude"]).arg(store.inner.owner.dir()).arg(store.root());
    let out = du.output().unwrap();
    String::from_utf8(out.stdout).unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

fn exact(store: &Store) -> Contents {
    store.contents(Sizes::Looked).unwrap()
}

#[test]
fn every_byte_is_counted_once_as_root() {
    let (dir, first) = store();
    let base = file(&first, &Snapshot::scratch(), "base", 300_000);
    let next = file(&first, &base, "next", 100_000);
    keep(&first, "next", &next);
    // A part of a layer, and a layer put together of parts.
    let part = first.stage_part(base.layers()[0]).unwrap().unwrap();
    let mount = part.mount().unwrap();
    fs::write(super::path_of(&mount).join("more"), vec![1; 50_000]).unwrap();
    drop(mount);
    let part = Snapshot::scratch().with(part.commit(&super::meta("part")).unwrap());
    keep(&first, "part", &part);
    // More than the kernel stacks.
    let mut chain = Snapshot::scratch();
    for n in 0..410 {
        chain = file(&first, &chain, &format!("f{n}"), 10);
    }
    drop(first.view(&chain).unwrap());
    keep(&first, "chain", &chain);
    first.blob(next.layers()[1], Compression::Gzip(6), Existing::Keep).unwrap();
    first.content().put(b"a manifest").unwrap();
    let cache = first.cache_dir("cache", None, Sharing::Private, &|| false).unwrap();
    fs::write(cache.path().join("big"), vec![1; 200_000]).unwrap();
    let seed = Seed { tree: &base, path: "/" };
    drop(first.cache_dir("cache", Some(seed), Sharing::Shared, &|| false).unwrap());
    let mirror = first.mirror("https://user:secret@example.com/x.git", &|| false).unwrap();
    fs::write(mirror.path().join("pack"), vec![1; 100_000]).unwrap();
    drop((cache, mirror));
    fs::write(first.log_path(&Digest::of("run")), "said").unwrap();
    first.sync().unwrap();
    drop(first);

    let store = open(dir.path());
    let contents = exact(&store);
    assert_eq!(contents.total().bytes, du(&store));
    let believed = store.contents(Sizes::Believed).unwrap();
    // A squashed layer's directories are not looked at.
    let off = contents.total().bytes.abs_diff(believed.total().bytes);
    assert!(off < 600 * 4096, "{off}");
    let of =
        |text: &str| contents.items.iter().filter(|it| it.description.contains(text)).collect::<Vec<_>>();
    let squashed = of("squashed");
    assert!(
        !squashed.is_empty() && squashed.iter().all(|it| it.record_type == RecordType::Internal && it.shared)
    );
    assert!(of("part")[0].parents.is_empty());
    assert!(of("cache mount").iter().all(|it| it.mutable && it.record_type == RecordType::ExecCacheMount));
    let repository = of("repository")[0];
    assert!(200_000 > repository.usage.bytes && repository.usage.bytes >= 100_000);
    assert!(!repository.description.contains("secret"), "{}", repository.description);

    // All of it goes, and what is said to go goes.
    let before = contents.total().bytes - contents.database.bytes;
    let pruned = store.prune(&[all()]).unwrap();
    assert!(pruned.failed.is_none());
    let after = exact(&store);
    assert_eq!(ids(&after.items), Vec::<String>::new());
    assert_eq!(after.total().bytes, du(&store));
    let gained = before - (after.total().bytes - after.database.bytes);
    assert!(gained.abs_diff(pruned.reclaimed().bytes) < 700 * 4096, "{gained} {:?}", pruned.reclaimed());
    for dir in ["layers", "content/sha256", "cache-mounts", "git", "logs"] {
        assert_eq!(fs::read_dir(store.root().join(dir)).unwrap().count(), 0, "{dir}");
    }
    assert_eq!(found(&store, "next"), None);
}

#[test]
fn what_is_needed_stays_as_root() {
    let (dir, store) = store();
    let base = file(&store, &Snapshot::scratch(), "base", 10);
    let left = file(&store, &base, "left", 10);
    let right = file(&store, &base, "right", 10);
    let merged = Snapshot::merge([&left, &right]);
    for (key, tree) in [("left", &left), ("right", &right), ("merged", &merged)] {
        keep(&store, key, tree);
    }
    // Made by this process: nothing goes.
    assert_eq!(store.prune(&[all()]).unwrap().removed, []);
    drop(store);
    let user = open(dir.path());
    assert_eq!(found(&user, "right").as_ref(), Some(&right));
    let store = open(dir.path());
    let pruned = store.prune(&[all()]).unwrap();
    assert_eq!(ids(&pruned.removed), [left.layers()[1].to_string()]);
    assert_eq!(found(&user, "right").as_ref(), Some(&right));
    assert!(list(&user, &right).contains_key("right"));
    assert_eq!(found(&user, "left"), None);
    assert_eq!(found(&user, "merged"), None);
    // By the row of the result that named it, not by chance.
    assert_eq!(store.get_record(&Digest::of("merged")).unwrap(), None);
    drop(user);
    drop(store);
    let store = open(dir.path());
    let only = |text: &str| Policy { filters: vec![Filter::parse(text).unwrap()], ..all() };
    // What another one needs does not go by its name.
    let base_id = base.layers()[0].to_string();
    assert_eq!(store.prune(&[only(&format!("id=={base_id}"))]).unwrap().removed, []);
    assert_eq!(store.prune(&[only("id~=^none$,immutable")]).unwrap().removed, []);
    assert_eq!(store.prune(&[only("immutable,type==regular")]).unwrap().removed.len(), 2);
}

#[test]
fn what_is_wanted_least_goes_first_as_root() {
    let (dir, first) = store();
    let names = ["a", "b", "c", "d"];
    for name in names {
        keep(&first, name, &file(&first, &Snapshot::scratch(), name, 1 << 20));
        std::thread::sleep(Duration::from_millis(3));
    }
    drop(first);
    let store = open(dir.path());
    // The oldest is the one that is used: twice, hours ago and now.
    let set = "UPDATE records SET created = created - 36000000, used = 0";
    store.inner.database.with("test", |it| it.execute(set, [])).unwrap();
    assert!(store.get_record(&Digest::of("a")).unwrap().is_some());
    store.note_uses().unwrap();
    assert!(store.get_record(&Digest::of("a")).unwrap().is_some());
    store.note_uses().unwrap();
    let uses = "SELECT uses FROM records WHERE used <> 0";
    let uses: i64 = store.inner.database.with("test", |it| it.query_row(uses, [], |row| row.get(0))).unwrap();
    assert_eq!(uses, 1, "what was noted less than an hour ago is not noted again");
    let total = store.contents(Sizes::Believed).unwrap().total().bytes;
    let pruned = store.prune(&[at_most(total - (3 << 19))]).unwrap();
    let left: Vec<&str> = names.into_iter().filter(|it| found(&store, it).is_some()).collect();
    assert_eq!(left, ["a", "d"], "{pruned:?}");
    assert!(pruned.left.bytes <= total - (3 << 19));
}

#[test]
fn limits_are_shares_of_the_disk() {
    let disk = Disk { total: 1_000_000_000_000, free: 500_000_000_000 };
    let caps = Limits::default().bytes(disk);
    assert_eq!(
        (caps.reserved, caps.max_used, caps.min_free),
        (10_000_000_000, 100_000_000_000, 200_000_000_000)
    );
    let small = Disk { total: 10_000_000_000, free: 1_000_000_000 };
    let caps = Limits::default().bytes(small);
    assert_eq!((caps.reserved, caps.max_used, caps.min_free), (1_000_000_000, 8_000_000_000, 2_000_000_000));
    let keep = |caps: Caps, total| caps.keep(total, small);
    assert_eq!(keep(caps, 5_000_000_000), Some(4_000_000_000), "another gigabyte has to be free");
    assert_eq!(keep(caps, 1_200_000_000), Some(1_000_000_000), "so much stays in any case");
    assert_eq!(keep(Caps { max_used: 7, ..Caps::default() }, 9), Some(7));
    assert_eq!(keep(Caps { reserved: 7, ..Caps::default() }, 9), Some(7));
    assert_eq!(keep(Caps { min_free: 7, ..Caps::default() }, 9), Some(u64::MAX));
    assert_eq!(keep(Caps::default(), 9), None);
    let limits = Limits { max_used: Some(Space::Percent(5)), ..Limits::default() };
    assert_eq!(limits.bytes(small).max_used, 500_000_000);
    assert_eq!(limits.bytes(small).reserved, 500_000_000, "no more stays than may be used");
    assert_eq!(Limits::default().inodes(Disk::default()), Caps::default());
}

/// A generator of numbers: the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// Builds and prunes by several processes, at random; what a process holds is always whole, and the limit is kept.
fn history(seed: u64) {
    let (dir, first) = store();
    drop(first);
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) + 1);
    // Each process with the trees that it holds; a tree's files are its keys.
    let mut processes: Vec<(Store, Vec<(String, Snapshot)>)> = Vec::new();
    let mut keys: Vec<String> = Vec::new();
    for step in 0..40 {
        match random.below(8) {
            0 if processes.len() < 4 => processes.push((open(dir.path()), Vec::new())),
            1 if !processes.is_empty() => {
                let at = random.below(processes.len() as u64) as usize;
                processes.swap_remove(at);
            }
            2..=5 if !processes.is_empty() => {
                let at = random.below(processes.len() as u64) as usize;
                let (store, held) = &mut processes[at];
                let below = match keys.len() as u64 {
                    0 => None,
                    n => found(store, &keys[random.below(n) as usize]),
                };
                let other = match held.len() as u64 {
                    0 => None,
                    n => Some(held[random.below(n) as usize].1.clone()),
                };
                let key = format!("k{step}");
                let made = match (below, other, random.below(4)) {
                    (Some(below), Some(other), 0) => Snapshot::merge([&below, &other]),
                    (Some(below), _, 1) if !below.is_scratch() => {
                        let top = below.top().unwrap();
                        match store.stage_part(top).unwrap() {
                            Some(part) => {
                                let mount = part.mount().unwrap();
                                fs::write(super::path_of(&mount).join(&key), &key).unwrap();
                                drop(mount);
                                let lower = store.layer(top).unwrap().unwrap().parents;
                                lower.with(part.commit(&super::meta("part")).unwrap())
                            }
                            None => file(store, &below, &key, 100),
                        }
                    }
                    (below, ..) => file(store, &below.unwrap_or_default(), &key, 20_000),
                };
                keep(store, &key, &made);
                if random.below(4) == 0 {
                    let top = made.top().unwrap();
                    store.blob(top, Compression::Gzip(6), Existing::Keep).unwrap();
                }
                keys.push(key.clone());
                held.push((key, made));
            }
            _ => {
                let store = open(dir.path());
                let total = store.contents(Sizes::Believed).unwrap();
                let in_use: u64 = total.items.iter().filter(|it| it.in_use).map(|it| it.usage.bytes).sum();
                let cap = total.total().bytes * random.below(11) / 10;
                let pruned = store.prune(&[at_most(cap.max(1))]).unwrap();
                let fixed = total.total().bytes - total.items.iter().map(|it| it.usage.bytes).sum::<u64>();
                assert!(pruned.left.bytes <= cap.max(in_use + fixed), "seed {seed} step {step}: {pruned:?}");
                assert!(pruned.removed.iter().all(|it| !it.in_use));
                let looked = exact(&store);
                assert!(looked.items.iter().all(|it| !it.description.contains("died")), "{looked:?}");
            }
        }
        for (store, held) in &processes {
            for (key, tree) in held {
                assert!(store.check(tree), "seed {seed} step {step}: {key}");
                assert_eq!(found(store, key).as_ref(), Some(tree), "seed {seed} step {step}: {key}");
                for layer in tree.layers() {
                    assert!(store.layer(layer).unwrap().is_some());
                }
            }
        }
        // Whatever is found is whole.
        let store = open(dir.path());
        for key in &keys {
            if let Some(tree) = found(&store, key) {
                let files = list(&store, &tree);
                assert!(!files.is_empty(), "seed {seed} step {step}: {key}");
            }
        }
    }
}

#[test]
fn random_histories_keep_what_is_held_as_root() {
    (0..12).for_each(history);
}

/// The part of a process that is killed while it prunes, again and again.
#[test]
#[ignore = "run by killed_prunes_leave_a_whole_store_as_root"]
fn pruner() {
    let store = open(Path::new(&std::env::var("BKL_VICTIM").unwrap()));
    loop {
        store.prune(&[at_most(1)]).unwrap();
    }
}

#[test]
fn killed_prunes_leave_a_whole_store_as_root() {
    let (dir, first) = store();
    drop(first);
    let mut random = Random(11);
    for round in 0..12 {
        let builder = open(dir.path());
        let mut below = Snapshot::scratch();
        let mut held = Vec::new();
        for n in 0..30 {
            let key = format!("{round} {n}");
            below = if n % 10 == 0 { Snapshot::scratch() } else { below };
            below = file(&builder, &below, &key, 3000);
            keep(&builder, &key, &below);
            builder.blob(below.top().unwrap(), Compression::None, Existing::Keep).unwrap();
            held.push((key, below.clone()));
        }
        drop(builder);
        let user = open(dir.path());
        let used = found(&user, &held[15].0).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::tests::gc::pruner", "--ignored", "--nocapture"])
            .env("BKL_VICTIM", dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(20 + random.below(120)));
        child.kill().unwrap();
        child.wait().unwrap();
        // Who opens it finds what is whole, and nothing else.
        let store = open(dir.path());
        assert!(user.check(&used) && list(&user, &used).len() == used.n_layers());
        for (key, tree) in &held {
            if let Some(found) = found(&store, key) {
                assert_eq!(list(&store, &found).len(), tree.n_layers());
                let blob = store.blob(tree.layers()[0], Compression::None, Existing::Keep).unwrap();
                store.content().verify(&blob.digest).unwrap();
            }
        }
        let rows = "SELECT count(*) FROM layers WHERE doomed IS NOT NULL";
        let rows: i64 =
            store.inner.database.with("test", |it| it.query_row(rows, [], |row| row.get(0))).unwrap();
        assert_eq!(rows, 0, "round {round}");
        let orphans = exact(&store).items.into_iter().filter(|it| it.description.contains("died")).count();
        assert_eq!(orphans, 0, "round {round}");
        drop((user, store));
        let store = open(dir.path());
        store.prune(&[all()]).unwrap();
        assert_eq!(ids(&exact(&store).items), Vec::<String>::new());
    }
}

#[test]
fn builds_beside_prunes_lose_nothing_as_root() {
    let (dir, first) = store();
    drop(first);
    let path = dir.path().to_owned();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let pruners: Vec<_> = (0..2)
        .map(|_| {
            let (path, stop) = (path.clone(), stop.clone());
            std::thread::spawn(move || {
                let mut n_removed = 0;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let store = open(&path);
                    n_removed += store.prune(&[at_most(1)]).unwrap().removed.len();
                }
                n_removed
            })
        })
        .collect();
    let builders: Vec<_> = (0..3)
        .map(|n| {
            let path = path.clone();
            std::thread::spawn(move || {
                let mut random = Random(n + 5);
                for _ in 0..12 {
                    let store = open(&path);
                    let mut tree = Snapshot::scratch();
                    for step in 0..6 {
                        let key = format!("{step} {}", random.below(2));
                        tree = match found(&store, &key) {
                            Some(tree) => tree,
                            None => {
                                let next = file(&store, &tree, &key.replace(' ', "-"), 2000);
                                keep(&store, &key, &next);
                                next
                            }
                        };
                        // Whatever is found stays as it is: an error here is half a record.
                        assert!(!list(&store, &tree).is_empty());
                        let top = tree.top().unwrap();
                        let blob = store.blob(top, Compression::None, Existing::Keep).unwrap();
                        store.content().read(&blob.digest).unwrap();
                        let cache = store.cache_dir("shared", None, Sharing::Locked, &|| false).unwrap();
                        fs::write(cache.path().join("x"), "x").unwrap();
                        fs::read(cache.path().join("x")).unwrap();
                    }
                }
            })
        })
        .collect();
    let built: Vec<_> = builders.into_iter().map(std::thread::JoinHandle::join).collect();
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let n_removed: usize = pruners.into_iter().map(|it| it.join().unwrap()).sum();
    built.into_iter().for_each(Result::unwrap);
    assert!(0 < n_removed);
}

/// Sets all times of the database back by so many days.
fn age(store: &Store, days: i64) {
    let millis = days * 24 * 3_600_000;
    for sql in [
        "UPDATE records SET created = created - ?1, used = CASE used WHEN 0 THEN 0 ELSE used - ?1 END",
        "UPDATE layers SET created = created - ?1",
    ] {
        store.inner.database.with("test", |it| it.execute(sql, [millis])).unwrap();
    }
}

#[test]
fn a_clock_that_jumps_removes_nothing_and_keeps_nothing_for_ever_as_root() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let (dir, first) = store();
    keep(&first, "a", &file(&first, &Snapshot::scratch(), "a", 100_000));
    drop(first);
    let store = open(dir.path());
    // A store that is over its limits: then the ages count.
    let n_left = |at: SystemTime, unused_for: Duration| {
        let rule = Policy { unused_for, ..all() };
        let lock = std::fs::File::create(store.root().join("gc.lock")).unwrap();
        let pruned = store.remove_by(&lock, &[rule], super::super::gc::Ages::Active, at).unwrap();
        (pruned.removed.len(), store.contents(Sizes::Believed).unwrap().items.len())
    };
    let now = SystemTime::now();
    assert_eq!(n_left(now, 60 * DAY), (0, 1));
    // Ten years ahead, and on from there: all was used yesterday.
    let ahead = now + 3650 * DAY;
    assert_eq!(n_left(ahead, 2 * DAY), (0, 1));
    assert_eq!(n_left(ahead + DAY / 2, 60 * DAY), (0, 1));
    // What was made there ...
    let record = Record { outputs: Vec::new(), meta: Vec::new(), created_at: ahead };
    store.put_record(&Digest::of("ahead"), &record).unwrap();
    // ... and back: it grows old from now on, and so does what was there before.
    assert_eq!(n_left(now, 60 * DAY), (0, 1));
    let created = "SELECT max(created) FROM records";
    let created: i64 =
        store.inner.database.with("test", |it| it.query_row(created, [], |row| row.get(0))).unwrap();
    assert!(created <= super::super::records::to_millis(now));
    // Ten years back.
    let back = now - 3650 * DAY;
    assert_eq!(n_left(back, DAY), (0, 1));
    age(&store, 0);
    // Day by day it does grow old.
    let mut at = back;
    let mut removed = 0;
    for _ in 0..63 {
        at += DAY;
        removed += n_left(at, 60 * DAY).0;
    }
    assert_eq!(removed, 1);
    assert_eq!(store.get_record(&Digest::of("ahead")).unwrap(), None);
}

#[test]
fn a_full_disk_makes_room_as_root() {
    super::faults::with_small_disk(|disk| {
        let first = open(disk);
        keep(&first, "old", &file(&first, &Snapshot::scratch(), "old", 3 << 20));
        drop(first);
        let store = open(disk);
        let active = store.stage(&Snapshot::scratch()).unwrap();
        let mount = active.mount().unwrap();
        let write = fs::write(super::path_of(&mount).join("new"), vec![1; 6 << 20]);
        assert_eq!(write.unwrap_err().raw_os_error(), Some(libc::ENOSPC));
        // Filled to the last byte, even for the database.
        let rest: Vec<u8> = vec![1; 8 << 20];
        let _ = fs::write(disk.join("rest"), rest);
        drop(mount);
        drop(active);
        fs::remove_file(disk.join("rest")).unwrap();
        let gained = store.make_room(&|| false).unwrap();
        assert!(3 << 20 <= gained.bytes, "{gained:?}");
        let new = file(&store, &Snapshot::scratch(), "new", 6 << 20);
        assert!(store.check(&new));
        assert_eq!(store.make_room(&|| false).unwrap().bytes, 0, "what is in use stays");
        let noted = crate::store::gc::noted_size(store.root()).unwrap();
        assert!((6 << 20..7 << 20).contains(&noted.bytes) && noted.inodes == 1, "{noted:?}");
    });
}

#[test]
fn it_is_time_for_a_collection_when_much_was_added_as_root() {
    let (dir, first) = store();
    assert!(first.is_collection_due().unwrap(), "there never was one");
    let limits = Limits { max_used: Some(Space::Exactly(2 << 20)), ..Limits::default() };
    let limits = Limits { reserved: Some(Space::Exactly(0)), min_free: Some(Space::Exactly(0)), ..limits };
    assert!(first.collect(&limits).unwrap().unwrap().removed.is_empty());
    assert!(!first.is_collection_due().unwrap());
    let past = |seconds| {
        let lock = fs::File::open(first.root().join("gc.lock")).unwrap();
        lock.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
    };
    past(10);
    keep(&first, "a", &file(&first, &Snapshot::scratch(), "a", 1 << 20));
    assert!(!first.is_collection_due().unwrap());
    keep(&first, "b", &file(&first, &Snapshot::scratch(), "b", 3 << 20));
    assert!(first.is_collection_due().unwrap(), "more than there is room for");
    past(61);
    assert!(!first.is_collection_due().unwrap(), "nothing was added since it was asked");
    file(&first, &Snapshot::scratch(), "c", 10);
    assert!(first.is_collection_due().unwrap());
    past(3601);
    assert!(first.is_collection_due().unwrap(), "things grow old");
    drop(first);
    let store = open(dir.path());
    let pruned = store.collect(&limits).unwrap().unwrap();
    assert!(pruned.left.bytes <= 2 << 20);
    assert!(found(&store, "a").is_none() && found(&store, "b").is_none());
}

#[test]
fn filters_are_those_of_containerd() {
    let item = Item {
        id: "abc".to_owned(),
        description: "run, \"a\" b".to_owned(),
        record_type: RecordType::SourceLocal,
        parents: vec!["p1".to_owned(), "p2".to_owned()],
        in_use: true,
        ..Item::default()
    };
    let matches = |text: &str| Filter::parse(text).unwrap().matches(&item);
    let yes = [
        "",
        "id==abc",
        "id=abc",
        "id!=x",
        "id~=^a",
        "inuse",
        "immutable",
        "private",
        "type==source.local",
        "parents==p1;p2",
        "description==\"run, \\\"a\\\" b\"",
        "description~='^run,'",
        "description~=/\\bb$/",
        "id==abc,inuse",
        "id == abc , inuse",
    ];
    let no = [
        "id==b",
        "id!=abc",
        "mutable",
        "shared",
        "type!=source.local",
        "inuse==x",
        "id==abc,shared",
        "inuse==yes",
    ];
    assert_eq!(yes.map(|it| (it, matches(it))), yes.map(|it| (it, true)));
    assert_eq!(no.map(|it| (it, matches(it))), no.map(|it| (it, false)));
    for wrong in ["size==1", "id>2", "id==\"a", "id~=(", "type==none", "id==a b c==d", ",", "id=="] {
        let found = Filter::parse(wrong);
        if wrong != "id==a b c==d" && wrong != "id==" {
            assert!(found.is_err(), "{wrong}: {found:?}");
        }
    }
}

#[test]
fn types_decide_what_goes_without_all_as_root() {
    let (dir, first) = store();
    let frontend = file(&first, &Snapshot::scratch(), "frontend", 10);
    let regular = file(&first, &Snapshot::scratch(), "regular", 10);
    first.set_record_type(&frontend, RecordType::Frontend).unwrap();
    first.set_record_type(&frontend, RecordType::Internal).unwrap();
    first.set_record_type(&regular, RecordType::Regular).unwrap();
    keep(&first, "frontend", &frontend);
    keep(&first, "regular", &regular);
    drop(first);
    let store = open(dir.path());
    let types: Vec<_> = exact(&store).items.iter().map(|it| it.record_type).collect();
    // Both were used at one moment: which stands first is chance.
    let both = [RecordType::Frontend, RecordType::Regular];
    assert!(
        types.len() == 2 && both.iter().all(|it| types.contains(it)),
        "what is said first counts: {types:?}"
    );
    assert_eq!(store.prune(&[Policy::default()]).unwrap().removed.len(), 1);
    assert!(found(&store, "frontend").is_some() && found(&store, "regular").is_none());
    for kind in RecordType::ALL {
        assert_eq!(RecordType::from_code(kind.code()), kind);
        assert_eq!(RecordType::from_name(kind.name()), Some(kind));
    }
}

#[test]
fn inodes_have_a_limit_as_root() {
    let (dir, first) = store();
    for name in ["a", "b", "c"] {
        let many = tree(&first, &Snapshot::scratch(), |root| {
            (0..200).for_each(|n| fs::write(root.join(format!("{name}{n}")), "").unwrap());
        });
        keep(&first, name, &many);
        std::thread::sleep(Duration::from_millis(3));
    }
    drop(first);
    let store = open(dir.path());
    let inodes = Caps { max_used: 500, ..Caps::default() };
    let pruned = store.prune(&[Policy { inodes, ..Policy::default() }]).unwrap();
    assert_eq!(pruned.removed.len(), 1);
    assert!(pruned.left.inodes <= 500, "{:?}", pruned.left);
    assert!(found(&store, "a").is_none() && found(&store, "b").is_some() && found(&store, "c").is_some());
}

#[test]
fn the_database_stays_small() {
    let (dir, first) = store();
    for n in 0..3000_u32 {
        let record = Record { outputs: Vec::new(), meta: vec![1; 6000], created_at: SystemTime::now() };
        first.put_record(&Digest::of(n.to_le_bytes()), &record).unwrap();
    }
    drop(first);
    let store = open(dir.path());
    let before = exact(&store).database.bytes;
    // Nobody asked for them in two months, of which every day somebody asked for something.
    age(&store, 61);
    let pruned = store.collect(&Limits::default()).unwrap().unwrap();
    assert!(pruned.failed.is_none());
    let after = exact(&store).database.bytes;
    assert!(18 << 20 < before && after < 2 << 20, "{before} {after}");
    assert_eq!(store.get_record(&Digest::of(7_u32.to_le_bytes())).unwrap(), None);
}

/// What is in use, as another process sees it.
fn used(dir: &Path) -> Vec<String> {
    let items = exact(&open(dir)).items;
    let mut used: Vec<String> = items.into_iter().filter(|it| it.in_use).map(|it| it.id).collect();
    used.sort();
    used
}

fn top(tree: &Snapshot) -> Vec<String> {
    tree.top().into_iter().map(|it| it.to_string()).collect()
}

#[test]
fn builds_of_one_process_use_things_as_long_as_they_live_as_root() {
    let (dir, store) = store();
    let made = |key: &str| {
        let tree = file(&store, &Snapshot::scratch(), key, 10);
        keep(&store, key, &tree);
        tree
    };
    // One after the other.
    let build = store.begin_build();
    let (one, manifest) = (made("one"), store.content().put(b"a manifest").unwrap());
    assert_eq!(used(dir.path()).len(), 2);
    drop(build);
    assert_eq!(used(dir.path()), [""; 0]);
    let build = store.begin_build();
    assert!(found(&store, "one").is_some() && store.content().has(&manifest));
    assert_eq!(used(dir.path()).len(), 2);
    drop(build);
    assert_eq!(used(dir.path()), [""; 0]);
    // What was found before it begins is there for it.
    assert!(found(&store, "one").is_some());
    let first = store.begin_build();
    assert_eq!(used(dir.path()), top(&one));
    // At once: what both may use stays for the last of them, what was made before the second began for the first.
    let two = made("two");
    let second = store.begin_build();
    assert!(found(&store, "one").is_some());
    drop(first);
    assert_eq!(used(dir.path()), top(&one));
    drop(second);
    assert_eq!(used(dir.path()), [""; 0]);
    // Others remove it, and this process sees that it is gone, whatever it had seen.
    open(dir.path()).prune(&[all()]).unwrap();
    assert!(
        found(&store, "one").is_none() && store.layered(&two).is_err() && !store.content().has(&manifest)
    );
}

#[test]
fn blocks_that_an_earlier_build_made_are_used_again_or_made_again_as_root() {
    let (dir, store) = store();
    let build = store.begin_build();
    let mut chain = Snapshot::scratch();
    for n in 0..100 {
        chain = file(&store, &chain, &format!("f{n}"), 10);
    }
    keep(&store, "chain", &chain);
    drop(store.view(&chain).unwrap());
    drop(build);
    assert_eq!(used(dir.path()), [""; 0]);
    let build = store.begin_build();
    let chain = found(&store, "chain").unwrap();
    let view = store.view(&chain).unwrap();
    // The blocks are in use, too.
    assert!(open(dir.path()).prune(&[all()]).unwrap().removed.is_empty());
    assert_eq!(fs::read_dir(super::path_of(&view)).unwrap().count(), 100);
    drop(view);
    drop(build);
    assert!(100 < open(dir.path()).prune(&[all()]).unwrap().removed.len());
}

#[test]
fn statements_are_compiled_once() {
    let (_dir, store) = store();
    store
        .inner
        .database
        .with("look", |connection| {
            let mut statement =
                connection.prepare("SELECT id FROM layers WHERE outline = ?1 ORDER BY created LIMIT 8")?;
            for outline in 0..4 {
                assert!(!statement.exists([outline])?);
            }
            assert_eq!(statement.get_status(rusqlite::StatementStatus::RePrepare), 0);
            Ok(())
        })
        .unwrap();
}
