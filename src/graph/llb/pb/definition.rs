//! `pb.Definition`: ops, what is said about them, and where they were written.

use prost::Message;

use super::StrEntry;

/// A marshalled graph. The last of `def` is the terminal op, whose only input is the result; none at all is scratch.
#[derive(Clone, PartialEq, Message)]
pub struct Definition {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub def: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "2")]
    pub metadata: Vec<MetadataEntry>,
    #[prost(message, optional, tag = "3")]
    pub source: Option<Source>,
}

impl Definition {
    /// The canonical bytes: Go's own are in random map order, ours are sorted.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.encode_to_vec()
    }
}

/// An entry of `map<digest, OpMetadata>`.
#[derive(Clone, PartialEq, Message)]
pub struct MetadataEntry {
    #[prost(string, optional, tag = "1")]
    pub key: Option<String>,
    #[prost(message, optional, tag = "2")]
    pub value: Option<OpMetadata>,
}

#[derive(Clone, PartialEq, Message)]
pub struct OpMetadata {
    #[prost(bool, tag = "1")]
    pub ignore_cache: bool,
    #[prost(message, repeated, tag = "2")]
    pub description: Vec<StrEntry>,
    #[prost(message, optional, tag = "4")]
    pub export_cache: Option<ExportCache>,
    #[prost(message, repeated, tag = "5")]
    pub caps: Vec<CapEntry>,
    #[prost(message, optional, tag = "6")]
    pub progress_group: Option<ProgressGroup>,
    #[prost(message, optional, tag = "7")]
    pub linux_resources: Option<LinuxResources>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ExportCache {
    #[prost(bool, tag = "1")]
    pub value: bool,
}

/// An entry of `map<string, bool>`.
#[derive(Clone, PartialEq, Message)]
pub struct CapEntry {
    #[prost(string, optional, tag = "1")]
    pub key: Option<String>,
    #[prost(bool, optional, tag = "2")]
    pub value: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ProgressGroup {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(bool, tag = "3")]
    pub weak: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct LinuxResources {
    #[prost(int64, tag = "1")]
    pub memory: i64,
    #[prost(int64, tag = "2")]
    pub memory_swap: i64,
    #[prost(uint64, tag = "3")]
    pub cpu_shares: u64,
    #[prost(uint64, tag = "4")]
    pub cpu_period: u64,
    #[prost(int64, tag = "5")]
    pub cpu_quota: i64,
    #[prost(string, tag = "6")]
    pub cpuset_cpus: String,
    #[prost(string, tag = "7")]
    pub cpuset_mems: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Source {
    #[prost(message, repeated, tag = "1")]
    pub locations: Vec<LocationsEntry>,
    #[prost(message, repeated, tag = "2")]
    pub infos: Vec<SourceInfo>,
}

/// An entry of `map<digest, Locations>`.
#[derive(Clone, PartialEq, Message)]
pub struct LocationsEntry {
    #[prost(string, optional, tag = "1")]
    pub key: Option<String>,
    #[prost(message, optional, tag = "2")]
    pub value: Option<Locations>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Locations {
    #[prost(message, repeated, tag = "1")]
    pub locations: Vec<Location>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SourceInfo {
    #[prost(string, tag = "1")]
    pub filename: String,
    #[prost(bytes = "vec", tag = "2")]
    pub data: Vec<u8>,
    /// A [`Definition`]; kept as bytes.
    #[prost(bytes = "vec", optional, tag = "3")]
    pub definition: Option<Vec<u8>>,
    #[prost(string, tag = "4")]
    pub language: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Location {
    #[prost(int32, tag = "1")]
    pub source_index: i32,
    #[prost(message, repeated, tag = "2")]
    pub ranges: Vec<Range>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Range {
    #[prost(message, optional, tag = "1")]
    pub start: Option<Position>,
    #[prost(message, optional, tag = "2")]
    pub end: Option<Position>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct Position {
    #[prost(int32, tag = "1")]
    pub line: i32,
    #[prost(int32, tag = "2")]
    pub character: i32,
}
