//! File actions.

use serde::{Deserialize, Serialize};

use super::InputIdx;

/// Changes trees by a list of actions (`pb.FileOp`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileOp {
    /// In order; never empty in a valid graph.
    pub actions: Vec<FileAction>,
}

/// What an action works on. On the wire: -1, the input's index, or the number of inputs plus the action's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum FileInput {
    /// The empty tree.
    #[default]
    Scratch,
    /// An input of the op.
    Input(InputIdx),
    /// The result of an earlier action of the same op.
    Action(u32),
}

/// Written `-`, `input 0` and `action 0` in the text form of graphs.
impl From<FileInput> for String {
    fn from(input: FileInput) -> String {
        match input {
            FileInput::Scratch => "-".to_owned(),
            FileInput::Input(input) => format!("input {input}"),
            FileInput::Action(action) => format!("action {action}"),
        }
    }
}

impl TryFrom<String> for FileInput {
    type Error = String;

    fn try_from(text: String) -> Result<FileInput, String> {
        let number = |text: &str| text.parse().map_err(|_| format!("`{text}` is no index"));
        match text.split_once(' ') {
            None if text == "-" => Ok(FileInput::Scratch),
            Some(("input", index)) => Ok(FileInput::Input(number(index)?)),
            Some(("action", index)) => Ok(FileInput::Action(number(index)?)),
            _ => Err(format!("`{text}` is neither `-`, `input N` nor `action N`")),
        }
    }
}

/// One action (`pb.FileAction`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileAction {
    /// The tree that is changed.
    pub input: FileInput,
    /// The tree that is read: the source of a copy; `Scratch` (-1) elsewhere.
    #[serde(default)]
    pub secondary: FileInput,
    /// Output index of the result; `None` (-1) when only other actions use it.
    pub output: Option<u32>,
    /// What is done.
    pub op: FileActionOp,
}

/// The five actions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "named as in pb")]
#[serde(rename_all = "snake_case")]
pub enum FileActionOp {
    Copy(Box<FileCopy>),
    Mkfile(FileMkfile),
    Mkdir(FileMkdir),
    Rm(FileRm),
    Symlink(FileSymlink),
}

/// `pb.FileActionCopy`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FileCopy {
    /// Absolute path in the secondary input; may hold wildcards.
    pub src: String,
    /// Absolute path; a trailing `/` or `/.` means a directory.
    pub dest: String,
    /// New owner; `None` keeps the source's.
    pub owner: Option<Box<Chown>>,
    /// Permission bits for everything copied; -1 keeps the source's.
    pub mode: i32,
    /// Symbolic mode such as `u+x`; wins over `mode` when not empty.
    pub mode_str: String,
    /// Follow `src` when it is a symlink.
    pub follow_symlink: bool,
    /// Copy what a directory holds rather than the directory.
    pub dir_copy_contents: bool,
    /// Unpack `src` when it is an archive.
    pub attempt_unpack: bool,
    /// Make missing parents of `dest`.
    pub create_dest_path: bool,
    /// `src` may hold wildcards.
    pub allow_wildcard: bool,
    /// No match is no error.
    pub allow_empty_wildcard: bool,
    /// Nanoseconds since the epoch for everything made; -1 keeps the source's times.
    pub timestamp: i64,
    /// Only these, relative to the copied root (moby patternmatcher).
    pub include_patterns: Vec<String>,
    /// Not these.
    pub exclude_patterns: Vec<String>,
    /// Replace what is in the way, whatever it is.
    pub always_replace_existing: bool,
    /// Paths that must be there.
    pub required_paths: Vec<String>,
}

impl Default for FileCopy {
    /// What the Go client writes for a copy without options.
    fn default() -> FileCopy {
        FileCopy {
            src: String::new(),
            dest: String::new(),
            owner: None,
            mode: -1,
            mode_str: String::new(),
            follow_symlink: false,
            dir_copy_contents: false,
            attempt_unpack: false,
            create_dest_path: false,
            allow_wildcard: false,
            allow_empty_wildcard: false,
            timestamp: -1,
            include_patterns: Vec::new(),
            exclude_patterns: Vec::new(),
            always_replace_existing: false,
            required_paths: Vec::new(),
        }
    }
}

/// `pb.FileActionMkFile`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "as in FileCopy")]
#[serde(default, deny_unknown_fields)]
pub struct FileMkfile {
    pub path: String,
    pub mode: i32,
    #[serde(with = "super::bytes_text")]
    pub data: Vec<u8>,
    pub owner: Option<Box<Chown>>,
    pub timestamp: i64,
}

/// `pb.FileActionMkDir`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "as in FileCopy")]
#[serde(default, deny_unknown_fields)]
pub struct FileMkdir {
    pub path: String,
    pub mode: i32,
    pub make_parents: bool,
    pub owner: Option<Box<Chown>>,
    pub timestamp: i64,
}

/// `pb.FileActionRm`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[allow(missing_docs, reason = "as in FileCopy")]
#[serde(default, deny_unknown_fields)]
pub struct FileRm {
    pub path: String,
    pub allow_not_found: bool,
    pub allow_wildcard: bool,
}

/// `pb.FileActionSymlink`: `newpath` is made and points to `oldpath`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "as in FileCopy")]
#[serde(default, deny_unknown_fields)]
pub struct FileSymlink {
    pub oldpath: String,
    pub newpath: String,
    pub owner: Option<Box<Chown>>,
    pub timestamp: i64,
}

impl Default for FileMkfile {
    /// No time is given.
    fn default() -> FileMkfile {
        FileMkfile { path: String::new(), mode: 0, data: Vec::new(), owner: None, timestamp: -1 }
    }
}

impl Default for FileMkdir {
    /// No time is given.
    fn default() -> FileMkdir {
        FileMkdir { path: String::new(), mode: 0, make_parents: false, owner: None, timestamp: -1 }
    }
}

impl Default for FileSymlink {
    /// No time is given.
    fn default() -> FileSymlink {
        FileSymlink { oldpath: String::new(), newpath: String::new(), owner: None, timestamp: -1 }
    }
}

/// `pb.ChownOpt`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[allow(missing_docs, reason = "see the type")]
#[serde(default, deny_unknown_fields)]
pub struct Chown {
    pub user: Option<User>,
    pub group: Option<User>,
}

/// `pb.UserOpt`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum User {
    /// A name, looked up in /etc/passwd or /etc/group of `input`.
    Name {
        /// The name.
        name: String,
        /// Where it is looked up.
        input: FileInput,
    },
    /// A number.
    Id(u32),
}

impl FileActionOp {
    /// Text for people (BuildKit solver/llbsolver/vertex.go, fileOpName).
    pub fn name(&self) -> String {
        match self {
            FileActionOp::Copy(copy) => format!("copy {} {}", copy.src, copy.dest),
            FileActionOp::Mkfile(mkfile) => format!("mkfile {}", mkfile.path),
            FileActionOp::Mkdir(mkdir) => format!("mkdir {}", mkdir.path),
            FileActionOp::Rm(rm) => format!("rm {}", rm.path),
            FileActionOp::Symlink(symlink) => format!("symlink {} -> {}", symlink.newpath, symlink.oldpath),
        }
    }
}
