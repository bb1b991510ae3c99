//! What may go, and how much may stay: the rules of a prune and those that are in force when nobody asks.

use std::time::Duration;

use super::filter::Filter;
use super::{Item, RecordType};

/// What a disk has in all and has free, of one kind: bytes, or inodes. 0 in all: the file system does not count them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Disk {
    /// In all.
    pub total: u64,
    /// For us.
    pub free: u64,
}

/// An amount of space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// This many.
    Exactly(u64),
    /// This much of the disk, in percent.
    Percent(u8),
}

impl Space {
    /// Of this disk.
    pub fn of(self, disk: Disk) -> u64 {
        match self {
            Space::Exactly(amount) => amount,
            Space::Percent(percent) => disk.total / 100 * u64::from(percent),
        }
    }
}

/// How much may stay. 0 is no limit; without limits everything goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Caps {
    /// Stays in any case.
    pub reserved: u64,
    /// The most that stays.
    pub max_used: u64,
    /// What should be free on the disk.
    pub min_free: u64,
}

impl Caps {
    /// How much of `total` may stay; `None` without limits (BuildKit cache/manager.go, `calculateKeepBytes`).
    pub fn keep(&self, total: u64, disk: Disk) -> Option<u64> {
        if *self == Caps::default() {
            return None;
        }
        let missing = self.min_free.saturating_sub(disk.free);
        let mut keep = if self.max_used == 0 { u64::MAX } else { self.max_used };
        if 0 < missing {
            keep = keep.min(total.saturating_sub(missing));
        } else if self.max_used == 0 && self.min_free == 0 {
            keep = self.reserved;
        }
        Some(keep.max(self.reserved))
    }
}

/// One rule: what of the unused records goes.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Also what is kept otherwise: internal records, and images of frontends.
    pub all: bool,
    /// Which records are meant: those that one of these matches; without any, all.
    pub filters: Vec<Filter>,
    /// Only what was not used for this long.
    pub unused_for: Duration,
    /// How many bytes may stay. Without limits everything that is meant goes, else what is wanted least, one by one, until
    /// the rest may stay.
    pub bytes: Caps,
    /// The same of inodes.
    pub inodes: Caps,
}

impl Policy {
    /// Whether the rule means this record, which was not used for `age`.
    pub(super) fn means(&self, item: &Item, age: Duration) -> bool {
        (self.all || !item.record_type.is_kept())
            && self.unused_for <= age
            && (self.filters.is_empty() || self.filters.iter().any(|it| it.matches(item)))
    }

    pub(super) fn has_caps(&self) -> bool {
        self.bytes != Caps::default() || self.inodes != Caps::default()
    }
}

/// What the rules that are in force without being asked for can be told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Stays in any case; 10 % of the disk, at most 10 GB, when not given.
    pub reserved: Option<Space>,
    /// The most that stays; 80 % of the disk, at most 100 GB, when not given.
    pub max_used: Option<Space>,
    /// What should be free on the disk; 20 % of it when not given.
    pub min_free: Option<Space>,
    /// The most inodes that are used; 80 % of the disk's when not given.
    pub max_inodes: Option<Space>,
}

const GB: u64 = 1_000_000_000;
const DAY: Duration = Duration::from_secs(24 * 3600);

impl Limits {
    /// How many bytes may stay.
    pub fn bytes(&self, disk: Disk) -> Caps {
        let part = |percent, most: u64| Space::Percent(percent).of(disk).min(most);
        let max_used = self.max_used.map_or_else(|| part(80, 100 * GB), |it| it.of(disk));
        Caps {
            reserved: self.reserved.map_or_else(|| part(10, 10 * GB).min(max_used), |it| it.of(disk)),
            max_used,
            min_free: self.min_free.unwrap_or(Space::Percent(20)).of(disk),
        }
    }

    /// How many inodes may stay.
    pub fn inodes(&self, disk: Disk) -> Caps {
        if disk.total == 0 && self.max_inodes.is_none() {
            return Caps::default();
        }
        let max_used = self.max_inodes.unwrap_or(Space::Percent(80)).of(disk);
        let reserved = Space::Percent(10).of(disk).min(max_used);
        Caps { reserved, max_used, min_free: Space::Percent(10).of(disk) }
    }

    /// The rules (BuildKit cmd/buildkitd/config/gcpolicy.go, `DefaultGCPolicy`): what is easily made again, when it takes
    /// more than 512 MB; what was not used for 60 days; whatever is wanted least; that and internal records.
    pub fn policies(&self, bytes: Disk, inodes: Disk) -> Vec<Policy> {
        let caps = Policy { bytes: self.bytes(bytes), inodes: self.inodes(inodes), ..Policy::default() };
        let easy =
            [RecordType::SourceLocal, RecordType::ExecCacheMount, RecordType::SourceGitCheckout].map(|it| {
                Filter::parse(&format!("type=={}", it.name())).expect("names of types are values of filters")
            });
        vec![
            Policy {
                filters: easy.into(),
                unused_for: 2 * DAY,
                bytes: Caps { max_used: 512_000_000, ..Caps::default() },
                ..Policy::default()
            },
            Policy { unused_for: 60 * DAY, ..caps.clone() },
            caps.clone(),
            Policy { all: true, ..caps },
        ]
    }
}

/// Frees room for a step that found the disk full: a tenth of the disk, at least 512 MB and a tenth of the inodes.
pub(super) fn emergency(bytes: Disk, inodes: Disk) -> Policy {
    let caps = |disk: Disk, least: u64| Caps { min_free: (disk.total / 10).max(least), ..Caps::default() };
    let inodes = if inodes.total == 0 { Caps::default() } else { caps(inodes, 1000) };
    Policy { all: true, bytes: caps(bytes, 512_000_000), inodes, ..Policy::default() }
}
