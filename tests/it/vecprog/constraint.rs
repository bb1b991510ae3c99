//! Constraint options: what can be said about any op, and about all ops when a program is marshalled.

use std::collections::{BTreeMap, BTreeSet};

use bkl::base::Platform;
use bkl::graph::ir::{CUSTOM_NAME, LinuxResources, Location, Metadata, ProgressGroup, Range};
use bkl::graph::llb::caps;
use serde::Deserialize;

use super::{Bound, Interpreter, Result};

/// Options put together.
#[derive(Default)]
pub(super) struct Constraints {
    pub(super) platform: Option<Platform>,
    pub(super) metadata: Metadata,
    pub(super) filters: Vec<String>,
    pub(super) unique: Option<String>,
    pub(super) caps: Option<BTreeSet<String>>,
    pub(super) locations: Vec<Location>,
}

#[derive(Deserialize, Clone)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum ConstraintOpt {
    Platform(PlatformArg),
    Name(String),
    Description(BTreeMap<String, String>),
    IgnoreCache(bool),
    ExportCache(Option<bool>),
    ProgressGroup(GroupArg),
    Require(Vec<String>),
    Unique(String),
    Caps(CapsArg),
    Location(LocationArg),
    LinuxResources(ResourcesArg),
    MemoryLimit(i64),
    CpuShares(u64),
    CpusetCpus(String),
}

/// Names of the options, which tell them from the other options of a command.
pub(super) const CONSTRAINTS: &[&str] = &[
    "platform",
    "name",
    "description",
    "ignore-cache",
    "export-cache",
    "progress-group",
    "require",
    "unique",
    "caps",
    "location",
    "linux-resources",
    "memory-limit",
    "cpu-shares",
    "cpuset-cpus",
];

#[derive(Deserialize, Clone)]
#[serde(untagged)]
pub(super) enum PlatformArg {
    Text(String),
    Parts(PlatformParts),
}

#[derive(Deserialize, Clone)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct PlatformParts {
    #[serde(default)]
    os: String,
    #[serde(default)]
    arch: String,
    #[serde(default)]
    variant: String,
    #[serde(default)]
    os_version: String,
    #[serde(default)]
    os_features: Vec<String>,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupArg {
    #[serde(default)]
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    weak: bool,
}

#[derive(Deserialize, Clone)]
#[serde(rename_all = "kebab-case")]
pub(super) enum CapsArg {
    All,
    Only(Vec<String>),
    AllExcept(Vec<String>),
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub(super) struct LocationArg {
    map: String,
    ranges: Vec<[i32; 4]>,
}

#[derive(Deserialize, Clone)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct ResourcesArg {
    #[serde(default)]
    memory: i64,
    #[serde(default)]
    memory_swap: i64,
    #[serde(default)]
    cpu_shares: u64,
    #[serde(default)]
    cpu_period: u64,
    #[serde(default)]
    cpu_quota: i64,
    #[serde(default)]
    cpuset_cpus: String,
    #[serde(default)]
    cpuset_mems: String,
}

impl PlatformArg {
    pub(super) fn platform(&self) -> Platform {
        match self {
            PlatformArg::Text(text) => {
                let mut parts = text.splitn(3, '/').map(str::to_owned);
                let mut next = || parts.next().unwrap_or_default();
                Platform { os: next(), arch: next(), variant: next(), ..Platform::default() }
            }
            PlatformArg::Parts(parts) => Platform {
                os: parts.os.clone(),
                arch: parts.arch.clone(),
                variant: parts.variant.clone(),
                os_version: parts.os_version.clone(),
                os_features: parts.os_features.clone(),
            },
        }
    }
}

impl Interpreter<'_> {
    pub(super) fn constraints(&self, opts: &[ConstraintOpt]) -> Result<Constraints> {
        let mut constraints = Constraints::default();
        opts.iter().try_for_each(|opt| self.add_constraint(&mut constraints, opt))?;
        Ok(constraints)
    }

    pub(super) fn add_constraint(&self, to: &mut Constraints, opt: &ConstraintOpt) -> Result<()> {
        let metadata = &mut to.metadata;
        match opt {
            ConstraintOpt::Platform(platform) => to.platform = Some(platform.platform()),
            ConstraintOpt::Name(name) => {
                metadata.description.insert(CUSTOM_NAME.to_owned(), name.clone());
            }
            ConstraintOpt::Description(entries) => metadata.description.extend(entries.clone()),
            ConstraintOpt::IgnoreCache(on) => metadata.ignore_cache = *on,
            ConstraintOpt::ExportCache(export) => metadata.export_cache = *export,
            ConstraintOpt::ProgressGroup(group) => {
                let GroupArg { id, name, weak } = group.clone();
                metadata.progress_group = Some(ProgressGroup { id, name, weak });
            }
            ConstraintOpt::Require(filters) => to.filters.extend(filters.iter().cloned()),
            ConstraintOpt::Unique(unique) => to.unique = Some(unique.clone()),
            ConstraintOpt::Caps(announced) => {
                let known = caps::KNOWN.iter().map(|cap| cap.id.to_owned());
                to.caps = Some(match announced {
                    CapsArg::All => known.collect(),
                    CapsArg::Only(only) => only.iter().cloned().collect(),
                    CapsArg::AllExcept(except) => known.filter(|cap| !except.contains(cap)).collect(),
                });
            }
            ConstraintOpt::Location(LocationArg { map, ranges }) => {
                let Bound::SourceMap(source) = self.bound(map)? else {
                    return Err(format!("`{map}` is no source map"));
                };
                let range = |&[line, char, end_line, end_char]: &[i32; 4]| Range {
                    start: (line, char),
                    end: (end_line, end_char),
                };
                let ranges = ranges.iter().map(range).collect();
                to.locations.push(Location { source, ranges, actions: None });
            }
            ConstraintOpt::LinuxResources(all) => {
                let all = all.clone();
                metadata.linux_resources = Some(LinuxResources {
                    memory: all.memory,
                    memory_swap: all.memory_swap,
                    cpu_shares: all.cpu_shares,
                    cpu_period: all.cpu_period,
                    cpu_quota: all.cpu_quota,
                    cpuset_cpus: all.cpuset_cpus,
                    cpuset_mems: all.cpuset_mems,
                });
            }
            ConstraintOpt::MemoryLimit(limit) => {
                metadata.linux_resources.get_or_insert_default().memory = *limit;
            }
            ConstraintOpt::CpuShares(shares) => {
                metadata.linux_resources.get_or_insert_default().cpu_shares = *shares;
            }
            ConstraintOpt::CpusetCpus(cpus) => {
                metadata.linux_resources.get_or_insert_default().cpuset_cpus.clone_from(cpus);
            }
        }
        Ok(())
    }
}
