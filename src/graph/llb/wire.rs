//! A walk over protobuf bytes before anything is made of them: what they would become is counted, and what this version
//! does not know is found.
//!
//! A mount of two bytes is three hundred once it is read, so how much memory a definition takes is told from its
//! bytes, not from their number. The tables say what [`pb`] has; a unit test holds them to it.
#![deny(clippy::indexing_slicing)]

use super::pb;

/// The fields of a message.
pub(super) type Schema = [Field];

/// A field that is known.
pub(super) struct Field {
    number: u32,
    kind: Kind,
    /// What one takes in memory, beside what it holds.
    cost: usize,
    /// It is a list.
    repeated: bool,
}

/// What a field holds.
#[derive(Clone, Copy)]
enum Kind {
    /// A number; a list of them may be packed.
    Int,
    Text,
    Bytes,
    Message(&'static Schema),
}

/// What becomes of fields that are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    /// They could change the meaning.
    Refused,
    /// They are skipped.
    Skipped,
}

/// How much there may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    /// Bytes of memory that are left.
    pub(super) memory: usize,
    /// Entries of one list.
    pub(super) list: usize,
    /// Bytes of one text.
    pub(super) text: usize,
}

/// What is wrong with bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WireError {
    /// They are no protobuf message.
    Malformed(&'static str),
    /// A field is not known.
    Unknown,
    /// It would take more memory than the budget has.
    Memory,
    /// A list or text is longer than the budget says.
    TooMuch { what: &'static str, most: usize },
}

/// Walks over a message.
///
/// # Errors
/// See [`WireError`]; what the budget had is gone.
pub(super) fn walk(
    bytes: &[u8],
    schema: &Schema,
    unknown: Unknown,
    budget: &mut Budget,
) -> Result<(), WireError> {
    let mut rest = Reader { bytes };
    // Lists are short and few: their lengths stand beside the schema.
    let mut lens: Vec<(u32, usize)> = Vec::new();
    while let Some((number, value)) = rest.field()? {
        let Some(field) = schema.iter().find(|field| field.number == number) else {
            match unknown {
                Unknown::Refused => return Err(WireError::Unknown),
                Unknown::Skipped => continue,
            }
        };
        let mut n_entries = 1;
        let held = match (field.kind, value) {
            (Kind::Int, Value::Varint) => 0,
            (Kind::Int, Value::Bytes(packed)) if field.repeated => {
                n_entries = packed.len();
                0
            }
            (Kind::Text, Value::Bytes(text)) => {
                if budget.text < text.len() {
                    return Err(WireError::TooMuch { what: "bytes in a text", most: budget.text });
                }
                text.len()
            }
            (Kind::Bytes, Value::Bytes(bytes)) => bytes.len(),
            (Kind::Message(schema), Value::Bytes(bytes)) => {
                walk(bytes, schema, unknown, budget)?;
                0
            }
            (_, Value::Varint | Value::Fixed | Value::Bytes(_)) => {
                return Err(WireError::Malformed("a field has the wrong type"));
            }
        };
        if field.repeated {
            let at = lens.iter().position(|(known, _)| *known == number).unwrap_or(lens.len());
            if at == lens.len() {
                lens.push((number, 0));
            }
            let len = lens.get_mut(at).map_or(0, |(_, len)| {
                *len += n_entries;
                *len
            });
            if budget.list < len {
                return Err(WireError::TooMuch { what: "entries in a list", most: budget.list });
            }
        }
        let cost = field.cost.saturating_mul(n_entries).saturating_add(held);
        budget.memory = budget.memory.checked_sub(cost).ok_or(WireError::Memory)?;
    }
    Ok(())
}

/// The messages, texts or bytes in the fields `number` of a message that was walked over, in order.
pub(super) fn fields(message: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    let mut rest = Reader { bytes: message };
    let fields = std::iter::from_fn(move || rest.field().ok().flatten());
    fields.filter_map(move |(found, value)| match value {
        Value::Bytes(bytes) if found == number => Some(bytes),
        Value::Bytes(_) | Value::Varint | Value::Fixed => None,
    })
}

/// A field's value, as the wire has it.
enum Value<'a> {
    Varint,
    Fixed,
    Bytes(&'a [u8]),
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// The next field; `None` at the end.
    fn field(&mut self) -> Result<Option<(u32, Value<'a>)>, WireError> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = u32::try_from(key).ok().map(|key| key >> 3).filter(|number| *number != 0);
        let number = number.ok_or(WireError::Malformed("a field has no number"))?;
        let value = match key & 7 {
            0 => {
                self.varint()?;
                Value::Varint
            }
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let len = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                Value::Bytes(self.take(len)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            // Groups, which proto3 does not have.
            _ => return Err(WireError::Malformed("a field has a type that does not exist")),
        };
        Ok(Some((number, value)))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) =
            self.bytes.split_at_checked(len).ok_or(WireError::Malformed("a field goes beyond the end"))?;
        self.bytes = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) =
                self.bytes.split_first().ok_or(WireError::Malformed("a number goes beyond the end"))?;
            self.bytes = rest;
            if shift == 63 && 1 < byte {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(WireError::Malformed("a number has more than ten bytes"))
    }
}

const fn int(number: u32) -> Field {
    Field { number, kind: Kind::Int, cost: 0, repeated: false }
}

const fn ints(number: u32) -> Field {
    Field { number, kind: Kind::Int, cost: 8, repeated: true }
}

const fn text(number: u32) -> Field {
    Field { number, kind: Kind::Text, cost: 0, repeated: false }
}

const fn texts(number: u32) -> Field {
    Field { number, kind: Kind::Text, cost: size_of::<String>(), repeated: true }
}

const fn bytes(number: u32) -> Field {
    Field { number, kind: Kind::Bytes, cost: 0, repeated: false }
}

const fn one<T>(number: u32, schema: &'static Schema) -> Field {
    Field { number, kind: Kind::Message(schema), cost: size_of::<T>(), repeated: false }
}

const fn many<T>(number: u32, schema: &'static Schema) -> Field {
    Field { number, kind: Kind::Message(schema), cost: size_of::<T>(), repeated: true }
}

/// [`pb::Definition`]; its ops are bytes.
pub(super) const DEFINITION: &Schema = &[
    Field { number: 1, kind: Kind::Bytes, cost: size_of::<Vec<u8>>() + size_of::<pb::Op>(), repeated: true },
    many::<pb::MetadataEntry>(2, &[text(1), one::<pb::OpMetadata>(2, METADATA)]),
    one::<pb::Source>(3, SOURCES),
];

const METADATA: &Schema = &[
    int(1),
    many::<pb::StrEntry>(2, STR_ENTRY),
    one::<pb::ExportCache>(4, &[int(1)]),
    many::<pb::CapEntry>(5, &[text(1), int(2)]),
    one::<pb::ProgressGroup>(6, &[text(1), text(2), int(3)]),
    one::<pb::LinuxResources>(7, &[int(1), int(2), int(3), int(4), int(5), text(6), text(7)]),
];

const SOURCES: &Schema = &[
    many::<pb::LocationsEntry>(1, &[text(1), one::<pb::Locations>(2, &[many::<pb::Location>(1, LOCATION)])]),
    many::<pb::SourceInfo>(2, &[text(1), bytes(2), bytes(3), text(4)]),
];

const LOCATION: &Schema =
    &[int(1), many::<pb::Range>(2, &[one::<pb::Position>(1, POSITION), one::<pb::Position>(2, POSITION)])];

const POSITION: &Schema = &[int(1), int(2)];

/// [`pb::Op`].
pub(super) const OP: &Schema = &[
    many::<pb::Input>(1, &[text(1), int(2)]),
    one::<pb::ExecOp>(2, EXEC),
    one::<pb::SourceOp>(3, &[text(1), many::<pb::StrEntry>(2, STR_ENTRY)]),
    one::<pb::FileOp>(4, &[many::<pb::FileAction>(2, FILE_ACTION)]),
    one::<pb::BuildOp>(
        5,
        &[
            int(1),
            many::<pb::BuildInputEntry>(2, &[text(1), one::<pb::BuildInput>(2, &[int(1)])]),
            bytes(3),
            many::<pb::StrEntry>(4, STR_ENTRY),
        ],
    ),
    one::<pb::MergeOp>(6, &[many::<pb::MergeInput>(1, &[int(1)])]),
    one::<pb::DiffOp>(7, &[one::<pb::DiffInput>(1, &[int(1)]), one::<pb::DiffInput>(2, &[int(1)])]),
    one::<pb::PassthroughOp>(8, &[text(1), ints(2)]),
    one::<pb::Platform>(10, &[text(1), text(2), text(3), text(4), texts(5)]),
    one::<pb::WorkerConstraints>(11, &[texts(1)]),
];

const STR_ENTRY: &Schema = &[text(1), text(2)];

const EXEC: &Schema = &[
    one::<pb::Meta>(1, META),
    many::<pb::Mount>(2, MOUNT),
    int(3),
    int(4),
    many::<pb::SecretEnv>(5, &[text(1), text(2), int(3)]),
    many::<pb::CdiDevice>(6, &[text(1), int(2)]),
];

const META: &Schema = &[
    texts(1),
    texts(2),
    text(3),
    text(4),
    one::<pb::ProxyEnv>(5, &[text(1), text(2), text(3), text(4), text(5)]),
    many::<pb::HostIp>(6, &[text(1), text(2)]),
    text(7),
    many::<pb::Ulimit>(9, &[text(1), int(2), int(3)]),
    text(10),
    int(11),
    ints(12),
];

const MOUNT: &Schema = &[
    int(1),
    text(2),
    text(3),
    int(4),
    int(5),
    int(6),
    one::<pb::TmpfsOpt>(19, &[int(1)]),
    one::<pb::CacheOpt>(20, &[text(1), int(2)]),
    one::<pb::CredentialOpt>(21, CREDENTIAL),
    one::<pb::CredentialOpt>(22, CREDENTIAL),
    text(23),
    int(24),
];

const CREDENTIAL: &Schema = &[text(1), int(2), int(3), int(4), int(5)];

const FILE_ACTION: &Schema = &[
    int(1),
    int(2),
    int(3),
    one::<pb::FileActionCopy>(
        4,
        &[
            text(1),
            text(2),
            one::<pb::ChownOpt>(3, CHOWN),
            int(4),
            int(5),
            int(6),
            int(7),
            int(8),
            int(9),
            int(10),
            int(11),
            texts(12),
            texts(13),
            int(14),
            text(15),
            texts(16),
        ],
    ),
    one::<pb::FileActionMkFile>(5, &[text(1), int(2), bytes(3), one::<pb::ChownOpt>(4, CHOWN), int(5)]),
    one::<pb::FileActionMkDir>(6, &[text(1), int(2), int(3), one::<pb::ChownOpt>(4, CHOWN), int(5)]),
    one::<pb::FileActionRm>(7, &[text(1), int(2), int(3)]),
    one::<pb::FileActionSymlink>(8, &[text(1), text(2), one::<pb::ChownOpt>(3, CHOWN), int(4)]),
];

const CHOWN: &Schema = &[one::<pb::UserOpt>(1, USER), one::<pb::UserOpt>(2, USER)];

const USER: &Schema = &[one::<pb::NamedUserOpt>(1, &[text(1), int(2)]), int(2)];
