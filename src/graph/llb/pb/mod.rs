//! The protobuf messages of LLB, written by hand (BuildKit solver/pb/ops.proto), and the two places where prost's bytes
//! would differ from Go's: the order of `Op`'s fields, and map entries.
//!
//! Go writes ordinary fields in ascending order and the oneof member last, so an op is two messages here, [`OpHead`]
//! and [`OpTail`], whose bytes follow each other. Go writes both fields of every map entry, prost only those that
//! are not default, so maps are repeated entries here; whoever fills them sorts them by key.
#![allow(missing_docs, reason = "the fields are those of ops.proto, which documents them")]

mod definition;
mod exec;
mod file;

pub use definition::*;
pub use exec::*;
pub use file::*;

use prost::Message;

/// All of `pb.Op` but what it does.
#[derive(Clone, PartialEq, Message)]
pub struct OpHead {
    #[prost(message, repeated, tag = "1")]
    pub inputs: Vec<Input>,
    #[prost(message, optional, tag = "10")]
    pub platform: Option<Platform>,
    #[prost(message, optional, tag = "11")]
    pub constraints: Option<WorkerConstraints>,
}

/// The oneof of `pb.Op`.
#[derive(Clone, PartialEq, Message)]
pub struct OpTail {
    #[prost(oneof = "OpKind", tags = "2, 3, 4, 5, 6, 7, 8")]
    pub op: Option<OpKind>,
}

/// What an op does; absent in the terminal op.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum OpKind {
    #[prost(message, boxed, tag = "2")]
    Exec(Box<ExecOp>),
    #[prost(message, tag = "3")]
    Source(SourceOp),
    #[prost(message, tag = "4")]
    File(FileOp),
    #[prost(message, tag = "5")]
    Build(BuildOp),
    #[prost(message, tag = "6")]
    Merge(MergeOp),
    #[prost(message, tag = "7")]
    Diff(DiffOp),
    #[prost(message, tag = "8")]
    Passthrough(PassthroughOp),
}

/// A whole `pb.Op`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Op {
    pub head: OpHead,
    pub op: Option<OpKind>,
}

impl Op {
    /// The bytes Go's client makes of this op; the op's digest is theirs.
    pub fn to_bytes(&self) -> Vec<u8> {
        // The tail is encoded from a reference: ops can carry megabytes of file data.
        let tail_len = self.op.as_ref().map_or(0, |op| op.encoded_len());
        let mut bytes = Vec::with_capacity(self.head.encoded_len() + tail_len);
        self.head.encode_raw(&mut bytes);
        if let Some(op) = &self.op {
            op.encode(&mut bytes);
        }
        bytes
    }

    /// Reads an op whose fields may come in any order. Unknown fields are skipped.
    ///
    /// # Errors
    /// When the bytes are not a protobuf message or a known field has the wrong type.
    pub fn from_bytes(bytes: &[u8]) -> Result<Op, prost::DecodeError> {
        Ok(Op { head: OpHead::decode(bytes)?, op: OpTail::decode(bytes)?.op })
    }
}

#[derive(Clone, PartialEq, Message)]
pub struct Platform {
    #[prost(string, tag = "1")]
    pub architecture: String,
    #[prost(string, tag = "2")]
    pub os: String,
    #[prost(string, tag = "3")]
    pub variant: String,
    #[prost(string, tag = "4")]
    pub os_version: String,
    #[prost(string, repeated, tag = "5")]
    pub os_features: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Input {
    #[prost(string, tag = "1")]
    pub digest: String,
    #[prost(int64, tag = "2")]
    pub index: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct WorkerConstraints {
    #[prost(string, repeated, tag = "1")]
    pub filter: Vec<String>,
}

/// An entry of a `map<string, string>`. Both fields are always `Some` in what we write.
#[derive(Clone, PartialEq, Message)]
pub struct StrEntry {
    #[prost(string, optional, tag = "1")]
    pub key: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub value: Option<String>,
}

impl StrEntry {
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> StrEntry {
        StrEntry { key: Some(key.into()), value: Some(value.into()) }
    }
}

#[derive(Clone, PartialEq, Message)]
pub struct SourceOp {
    #[prost(string, tag = "1")]
    pub identifier: String,
    #[prost(message, repeated, tag = "2")]
    pub attrs: Vec<StrEntry>,
}

#[derive(Clone, PartialEq, Message)]
pub struct BuildOp {
    #[prost(int64, tag = "1")]
    pub builder: i64,
    #[prost(message, repeated, tag = "2")]
    pub inputs: Vec<BuildInputEntry>,
    /// A [`Definition`]; kept as bytes, so that nesting costs no recursion and nothing in it changes.
    #[prost(bytes = "vec", optional, tag = "3")]
    pub def: Option<Vec<u8>>,
    #[prost(message, repeated, tag = "4")]
    pub attrs: Vec<StrEntry>,
}

/// An entry of `map<string, BuildInput>`.
#[derive(Clone, PartialEq, Message)]
pub struct BuildInputEntry {
    #[prost(string, optional, tag = "1")]
    pub key: Option<String>,
    #[prost(message, optional, tag = "2")]
    pub value: Option<BuildInput>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct BuildInput {
    #[prost(int64, tag = "1")]
    pub input: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct MergeOp {
    #[prost(message, repeated, tag = "1")]
    pub inputs: Vec<MergeInput>,
}

#[derive(Clone, PartialEq, Message)]
pub struct MergeInput {
    #[prost(int64, tag = "1")]
    pub input: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct DiffOp {
    #[prost(message, optional, tag = "1")]
    pub lower: Option<DiffInput>,
    #[prost(message, optional, tag = "2")]
    pub upper: Option<DiffInput>,
}

/// `pb.LowerDiffInput` and `pb.UpperDiffInput`.
#[derive(Clone, PartialEq, Message)]
pub struct DiffInput {
    #[prost(int64, tag = "1")]
    pub input: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct PassthroughOp {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(int64, repeated, tag = "2")]
    pub outputs: Vec<i64>,
}
