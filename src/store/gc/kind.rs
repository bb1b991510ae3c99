//! What a record is of, as BuildKit's clients name it.

/// What a record is of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordType {
    /// A result, or a layer of an image.
    #[default]
    Regular,
    /// Something that only helps: a squashed layer, the output of a command.
    Internal,
    /// An image that a frontend is.
    Frontend,
    /// A copy of a directory of the machine.
    SourceLocal,
    /// A repository, or what was checked out of one.
    SourceGitCheckout,
    /// A cache mount.
    ExecCacheMount,
}

impl RecordType {
    /// All of them.
    pub const ALL: [RecordType; 6] = [
        RecordType::Regular,
        RecordType::Internal,
        RecordType::Frontend,
        RecordType::SourceLocal,
        RecordType::SourceGitCheckout,
        RecordType::ExecCacheMount,
    ];

    /// Its name in filters and lists.
    pub fn name(self) -> &'static str {
        match self {
            RecordType::Regular => "regular",
            RecordType::Internal => "internal",
            RecordType::Frontend => "frontend",
            RecordType::SourceLocal => "source.local",
            RecordType::SourceGitCheckout => "source.git.checkout",
            RecordType::ExecCacheMount => "exec.cachemount",
        }
    }

    /// The type of this name.
    pub fn from_name(name: &str) -> Option<RecordType> {
        RecordType::ALL.into_iter().find(|it| it.name() == name)
    }

    /// How it is written in the database.
    pub(in crate::store) fn code(self) -> i64 {
        RecordType::ALL.iter().position(|it| *it == self).map_or(0, |at| at as i64)
    }

    /// Codes of later versions are regular.
    pub(in crate::store) fn from_code(code: i64) -> RecordType {
        usize::try_from(code).ok().and_then(|at| RecordType::ALL.get(at).copied()).unwrap_or_default()
    }

    /// Whether it only goes when all may go.
    pub(super) fn is_kept(self) -> bool {
        matches!(self, RecordType::Internal | RecordType::Frontend)
    }
}
