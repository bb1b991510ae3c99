//! What is in the store, and what holds what: see the text of `gc`.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::SystemTime;

use super::measure::{Measure, Seen, single};
use super::rows::{BlobRow, LayerRow, RecordRow, RowId, Rows, Squashed};
use super::{Item, RecordType, Sizes, places, rows};
use crate::base::Digest;
use crate::store::{LayerId, Result, Store, Usage, layer_dir, sweep};

/// What an item is on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// A layer, with the blobs that only it needs.
    Layer(LayerId),
    /// A blob that no layer is made of.
    Blob(Digest),
    /// Something that has no row.
    Place(places::Place),
}

/// What is known of an item beside what people are shown.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) what: What,
    /// What it takes without its blobs.
    pub(super) own: Usage,
    /// Items that it cannot be without: they stay as long as it does.
    pub(super) needs: Vec<usize>,
    /// Items that are of no use without it: they go when it does.
    pub(super) carries: Vec<usize>,
    /// Blobs that it needs, by place in [`Inventory::blobs`].
    pub(super) blobs: Vec<usize>,
    /// Results that name it, and nothing that needs it.
    pub(super) records: Vec<RowId>,
    /// Nothing leads to it.
    pub(super) is_garbage: bool,
}

/// A result.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) row: RowId,
    pub(super) used: SystemTime,
    /// It has no layers.
    pub(super) names_nothing: bool,
}

/// A blob that layers need.
#[derive(Debug)]
pub(super) struct NeededBlob {
    pub(super) digest: Digest,
    pub(super) usage: Usage,
    /// Items that need it; the first one's usage has it.
    pub(super) users: Vec<usize>,
}

/// Everything in the store.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    pub(super) items: Vec<Item>,
    /// Beside the items.
    pub(super) known: Vec<Known>,
    pub(super) blobs: Vec<NeededBlob>,
    /// Results that name layers which are not there.
    pub(super) dangling: Vec<RowId>,
    /// The other results.
    pub(super) records: Vec<Found>,
    /// The database.
    pub(super) database: Usage,
    /// What is being made, and what everything else takes.
    pub(super) other: Usage,
}

impl Inventory {
    /// What is in the store. `sizes` says whether all of it is looked at, or what is known is believed.
    pub(super) fn take(store: &Store, sizes: Sizes) -> Result<Inventory> {
        let root = store.root();
        // Before the rows: what gets its row in between is announced, or has it.
        let dirs = places::names(&root.join("layers"))?;
        let files = places::names(&root.join("content/sha256"))?;
        let used = Used::read(root)?;
        let rows = Rows::read(store)?;
        let mut taking = Taking {
            store,
            sizes,
            used,
            inventory: Inventory::default(),
            places: HashMap::new(),
            seen: Seen::new(),
            measured: rows.measured,
            newly_measured: Vec::new(),
        };
        taking.layers(&rows.layers, &rows.squashed, &rows.blobs);
        taking.records(&rows.layers, rows.records);
        taking.without_layers(&dirs, &files, &rows.blobs);
        places::add(&mut taking)?;
        // Not kept, it is measured again; a full disk must not be in the way.
        let _ = rows::keep_measures(store, &taking.newly_measured);
        // Last, as the database is not written to any more.
        places::rest(&mut taking)?;
        Ok(taking.inventory)
    }

    /// What everything takes together.
    pub(super) fn total(&self) -> Usage {
        self.items.iter().map(|it| it.usage).fold(sum(self.database, self.other), sum)
    }
}

/// Both together.
pub(super) fn sum(one: Usage, other: Usage) -> Usage {
    Usage { bytes: one.bytes + other.bytes, inodes: one.inodes + other.inodes }
}

/// What living processes say that they use.
#[derive(Debug, Default)]
pub(in crate::store) struct Used {
    pub(in crate::store) layers: HashSet<LayerId>,
    pub(in crate::store) blobs: HashSet<Digest>,
}

impl Used {
    /// As of now.
    pub(in crate::store) fn read(root: &Path) -> Result<Used> {
        let mut used = Used::default();
        for notes in sweep::living_notes(root)? {
            let mut own = Used::default();
            for note in notes.lines() {
                match note.split_once(' ') {
                    Some(("layer" | "uses", id)) => own.layers.extend(id.parse::<LayerId>()),
                    Some(("blob" | "uses-blob", hex)) => {
                        own.blobs.extend(format!("sha256:{hex}").parse::<Digest>());
                    }
                    // What this process says further up.
                    Some(("frees", id)) => {
                        let _ = id.parse().map(|it| own.layers.remove(&it));
                    }
                    Some(("frees-blob", hex)) => {
                        let _ = format!("sha256:{hex}").parse().map(|it| own.blobs.remove(&it));
                    }
                    _ => {}
                }
            }
            used.layers.extend(own.layers);
            used.blobs.extend(own.blobs);
        }
        Ok(used)
    }
}

/// An inventory being taken.
pub(super) struct Taking<'a> {
    pub(super) store: &'a Store,
    pub(super) sizes: Sizes,
    pub(super) inventory: Inventory,
    pub(super) seen: Seen,
    pub(super) measured: HashMap<String, (i64, Usage)>,
    pub(super) newly_measured: Vec<(String, i64, Usage)>,
    used: Used,
    /// Place of each layer's item.
    places: HashMap<LayerId, usize>,
}

impl Taking<'_> {
    /// Adds an item whose files are at `paths`: of `known` usage, or looked at.
    pub(super) fn add(&mut self, mut item: Item, what: What, paths: &[&Path], known: Option<Usage>) -> usize {
        let place = self.inventory.items.len();
        if let Some(known) = known {
            item.usage = known;
        } else {
            let mut walk = Measure::new(&mut self.seen, place);
            paths.iter().for_each(|path| walk.add(path));
            item.usage = walk.usage;
            item.shared |= !walk.sharers.is_empty();
            for sharer in walk.sharers {
                self.inventory.items[sharer].shared = true;
            }
        }
        let own = item.usage;
        self.inventory.items.push(item);
        self.inventory.known.push(Known {
            what,
            own,
            needs: Vec::new(),
            carries: Vec::new(),
            blobs: Vec::new(),
            records: Vec::new(),
            is_garbage: false,
        });
        place
    }

    fn layers(&mut self, rows: &[LayerRow], squashed: &[Squashed], blobs: &[BlobRow]) {
        self.places = rows.iter().enumerate().map(|(place, row)| (row.id, place)).collect();
        let sizes: HashMap<Digest, u64> = blobs.iter().map(|it| (it.digest, it.size)).collect();
        let mut blob_places: HashMap<Digest, usize> = HashMap::new();
        for row in rows {
            let dir = layer_dir(self.store.root(), row.id);
            let known = match self.sizes {
                Sizes::Looked => None,
                Sizes::Believed => Some(self.believed(row, rows, &dir)),
            };
            let item = Item {
                id: row.id.to_string(),
                record_type: row.record_type,
                created_at: row.created,
                last_used: row.used.max(row.created),
                parents: row.parents.iter().map(LayerId::to_string).collect(),
                description: row.description.clone(),
                ..Item::default()
            };
            let place = self.add(item, What::Layer(row.id), &[&dir], known);
            for digest in &row.blobs {
                let Some(&size) = sizes.get(digest) else { continue };
                let blob = *blob_places.entry(*digest).or_insert_with(|| {
                    let usage = self.blob_usage(digest, size);
                    self.inventory.blobs.push(NeededBlob { digest: *digest, usage, users: Vec::new() });
                    self.inventory.blobs.len() - 1
                });
                if !self.inventory.known[place].blobs.contains(&blob) {
                    self.inventory.known[place].blobs.push(blob);
                    self.inventory.blobs[blob].users.push(place);
                }
            }
            // Its directory is gone: it is of no use, and cannot come back.
            self.inventory.known[place].is_garbage = !dir.join("fs").is_dir();
        }
        for (place, row) in rows.iter().enumerate() {
            let needs = row.parents.iter().chain(&row.parts).filter_map(|it| self.places.get(it).copied());
            self.inventory.known[place].needs = needs.collect();
            for part in row.parts.iter().filter_map(|it| self.places.get(it)) {
                self.inventory.items[*part].shared = true;
            }
        }
        for blob in &self.inventory.blobs {
            let [first, others @ ..] = blob.users.as_slice() else { continue };
            let item = &mut self.inventory.items[*first];
            item.usage = sum(item.usage, blob.usage);
            if !others.is_empty() {
                blob.users.iter().for_each(|user| self.inventory.items[*user].shared = true);
            }
        }
        for Squashed { layer, members } in squashed {
            let Some(&place) = self.places.get(layer) else { continue };
            let of = |it: &LayerId| self.places.get(it).copied();
            match members.as_ref().and_then(|it| it.iter().map(of).collect::<Option<Vec<usize>>>()) {
                Some(members) => {
                    for member in members {
                        self.inventory.known[member].carries.push(place);
                        self.inventory.items[member].shared = true;
                    }
                    self.inventory.items[place].shared = true;
                }
                // What it stands for is gone, or not known.
                None => self.inventory.known[place].is_garbage = true,
            }
        }
        self.pin();
    }

    /// Marks what living processes use, and what that needs.
    fn pin(&mut self) {
        let layers = self.used.layers.iter().filter_map(|it| self.places.get(it).copied());
        let mut open: Vec<usize> = layers.collect();
        for blob in self.inventory.blobs.iter().filter(|it| self.used.blobs.contains(&it.digest)) {
            open.extend(&blob.users);
        }
        while let Some(place) = open.pop() {
            if !std::mem::replace(&mut self.inventory.items[place].in_use, true) {
                open.extend(&self.inventory.known[place].needs);
            }
        }
    }

    /// What a layer takes by its row, with the two directories that every layer has.
    fn believed(&self, row: &LayerRow, rows: &[LayerRow], dir: &Path) -> Usage {
        // A layer of several parts is as large as all of them.
        let below = row.parts.last().and_then(|it| self.places.get(it)).map(|place| rows[*place].usage);
        let below = below.unwrap_or_default();
        let own = Usage {
            bytes: row.usage.bytes.saturating_sub(below.bytes),
            inodes: row.usage.inodes.saturating_sub(below.inodes),
        };
        sum(own, sum(single(dir), single(&dir.join("fs"))))
    }

    fn blob_usage(&self, digest: &Digest, size: u64) -> Usage {
        match self.sizes {
            Sizes::Looked => single(&self.store.content().path(digest)),
            Sizes::Believed => Usage { bytes: size.next_multiple_of(4096), inodes: 1 },
        }
    }

    /// Adds what results say of the layers that they name.
    fn records(&mut self, layers: &[LayerRow], records: Vec<RecordRow>) {
        let inventory = &mut self.inventory;
        for RecordRow { row, used, uses, tops } in records {
            let places: Option<Vec<usize>> = tops.iter().map(|it| self.places.get(it).copied()).collect();
            let Some(places) = places else {
                inventory.dangling.push(row);
                continue;
            };
            inventory.records.push(Found { row, used, names_nothing: places.is_empty() });
            for place in places {
                inventory.known[place].records.push(row);
                let item = &mut inventory.items[place];
                item.last_used = item.last_used.max(used);
                item.uses += uses;
            }
        }
        let mut is_needed = vec![false; layers.len()];
        for known in &inventory.known {
            known.needs.iter().for_each(|need| is_needed[*need] = true);
        }
        for (place, row) in layers.iter().enumerate() {
            let known = &mut inventory.known[place];
            let is_found = !known.records.is_empty() || is_needed[place];
            // What was pulled, or copied from a directory, is found without a result.
            known.is_garbage |= !is_found && row.is_step && row.record_type == RecordType::Regular;
        }
        self.pass_on_uses();
    }

    /// Whatever is needed was used when that was which needs it.
    fn pass_on_uses(&mut self) {
        let (items, known) = (&mut self.inventory.items, &self.inventory.known);
        let mut n_users = vec![0_usize; items.len()];
        known.iter().flat_map(|it| &it.needs).for_each(|need| n_users[*need] += 1);
        let mut open: Vec<usize> = (0..items.len()).filter(|place| n_users[*place] == 0).collect();
        while let Some(place) = open.pop() {
            let (last_used, uses) = (items[place].last_used, items[place].uses);
            for &need in &known[place].needs {
                items[need].last_used = items[need].last_used.max(last_used);
                items[need].uses = items[need].uses.max(uses);
                n_users[need] -= 1;
                if n_users[need] == 0 {
                    open.push(need);
                }
            }
        }
    }

    /// Adds blobs that are no layers, and what has no row: of a process that died.
    fn without_layers(&mut self, dirs: &[String], files: &[String], blobs: &[BlobRow]) {
        let root = self.store.root().to_owned();
        for id in dirs.iter().filter_map(|it| it.parse::<LayerId>().ok()) {
            if self.places.contains_key(&id) || self.used.layers.contains(&id) {
                continue;
            }
            let item = Item {
                id: id.to_string(),
                description: "left by a process that died".to_owned(),
                ..Item::default()
            };
            let place = self.add(item, What::Layer(id), &[&layer_dir(&root, id)], None);
            self.inventory.known[place].is_garbage = true;
        }
        let needed: HashSet<Digest> = self.inventory.blobs.iter().map(|it| it.digest).collect();
        let rows: HashMap<Digest, u64> = blobs.iter().map(|it| (it.digest, it.size)).collect();
        let found = files.iter().filter_map(|hex| format!("sha256:{hex}").parse::<Digest>().ok());
        let mut all: Vec<Digest> = found.chain(blobs.iter().map(|it| it.digest)).collect();
        all.sort_unstable();
        all.dedup();
        for digest in all.into_iter().filter(|it| !needed.contains(it)) {
            let path = self.store.content().path(&digest);
            let is_known = rows.contains_key(&digest);
            let in_use = self.used.blobs.contains(&digest);
            if !is_known && in_use {
                continue;
            }
            let changed = places::changed(&path);
            let item = Item {
                id: digest.hex()[..32].to_owned(),
                created_at: changed.unwrap_or(SystemTime::UNIX_EPOCH),
                last_used: changed.unwrap_or(SystemTime::UNIX_EPOCH),
                in_use,
                description: format!("blob {digest}"),
                ..Item::default()
            };
            let place = self.add(item, What::Blob(digest), &[&path], None);
            self.inventory.known[place].is_garbage = !is_known || changed.is_none();
        }
    }
}
