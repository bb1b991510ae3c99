//! LLB, the wire form of build graphs: `pb.Definition` both ways, byte for byte what BuildKit's Go client writes.

pub mod caps;
mod decode;
pub mod dump;
mod encode;
pub mod json;
pub mod key;
pub mod marshal;
pub mod pb;
pub mod unmarshal;
mod wire;

pub use decode::OpError;
pub use marshal::{MarshalOptions, Order, digests, marshal, marshal_bytes, name_requirements};
pub use pb::Definition;
pub use unmarshal::{DecodeError, unmarshal, unmarshal_within};
