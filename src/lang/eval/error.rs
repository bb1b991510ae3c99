//! What can go wrong while a checked program is evaluated, before anything runs.

use std::sync::Arc;

use super::quote::Unquotable;
use crate::base::{Platform, Report, Span, suggest};
use crate::lang::hir::LiteralKind;

/// An error of evaluation, with the place it is about and the calls that led there.
#[derive(Debug, Clone, PartialEq)]
pub struct EvalError {
    /// What is wrong.
    pub cause: Box<Cause>,
    /// Where; `None` for what was asked for on the command line.
    pub span: Option<Span>,
    /// Calls of functions on the way, the innermost first.
    pub calls: Vec<Frame>,
}

/// A call of a function.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// Whom.
    pub function: Arc<str>,
    /// The call.
    pub span: Span,
}

/// A side of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Side {
    /// Where it stands.
    pub span: Span,
    /// What it is.
    pub value: String,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are the words of the message")]
pub enum Cause {
    /// A text with `#{…}` in it is not what it has to be.
    #[error("`{text}` is not a valid {}", .kind.name())]
    BadLiteral { kind: LiteralKind, text: String, why: String },
    /// A value cannot be put into a command where it stands.
    #[error("this value cannot be quoted here")]
    UnsafeInterpolation(Unquotable),
    /// The words of `exec` do not split.
    #[error("these are not the words of a command")]
    BadWords { why: String },
    /// No words at all.
    #[error("a command needs at least one word")]
    EmptyCommand,
    /// Two mounts at one place.
    #[error("two mounts at `{path}`")]
    DuplicateMount { path: String, first: Span },
    /// A mount that would need a directory made in a read-only tree.
    #[error("`{path}` lies below `{below}`, which is mounted read-only")]
    MountBelowReadonly { path: String, below: String, first: Span },
    /// A mount over everything.
    #[error("nothing can be mounted at `/`: it is the image itself")]
    MountAtRoot,
    /// `m["k"]` without such a key.
    #[error("the map has no key `{key}`")]
    MissingKey { key: String, near: Option<String>, have: Vec<String> },
    /// `xs[i]` behind the end.
    #[error("the list has no element {index}: it has {len}")]
    OutOfRange { index: i64, len: usize },
    /// A map comprehension made a key twice.
    #[error("the key `{key}` comes twice")]
    DuplicateKey { key: String },
    /// A number left its range.
    #[error("this number does not fit")]
    Overflow,
    /// Text of a pattern that is no pattern.
    #[error("`{text}` is not a regular expression")]
    BadRegex { text: String, why: String },
    /// A variable's name that no environment can hold.
    #[error("`{name}` cannot be the name of a variable")]
    BadVariable { name: String },
    /// An address that is none.
    #[error("`{address}` is not an IP address")]
    BadAddress { address: String },
    /// An exit code outside 0 to 255.
    #[error("{code} is not an exit code")]
    BadExitCode { code: i64 },
    /// `.config` of an image whose config was not asked for.
    #[error("the config of this image is not known")]
    UnknownConfig,
    /// `include` and `parents` of a copy at once.
    #[error("`include` and `parents` cannot be combined")]
    IncludeWithParents,
    /// Bits of a mode that LLB's `mkdir` and `mkfile` do not set.
    #[error("`mkdir` and `write` cannot set the set-id and sticky bits of {mode:#o}")]
    SpecialModeBits { mode: u32 },
    /// A path that leaves the root directory.
    #[error("`{path}` lies outside the root directory")]
    OutsideRoot { path: String },
    /// A repository's URL that is not used; without the password it holds.
    #[error("`{url}` is not the URL of a git source")]
    GitUrl { url: String, why: String },
    /// Neither a branch, a tag nor a commit can be called so.
    #[error("`{reference}` is not the name of a branch, tag or commit")]
    GitRef { reference: String, why: String },
    /// A commit that is shortened, or no commit.
    #[error("`{commit}` is not a commit")]
    GitCommit { commit: String, why: String },
    /// A file's URL that is not used; without the password it holds.
    #[error("`{url}` is not the URL of an http source")]
    HttpUrl { url: String, why: String },
    /// A name with directories.
    #[error("`{name}` is not the name of a file")]
    HttpName { name: String },
    /// Bits of a mode that LLB does not write, or none at all, which it takes for absent.
    #[error("`http` cannot give a file the mode {mode:#o}")]
    HttpMode { mode: u32 },
    /// Credentials for a protocol that does not use them.
    #[error("`{what}` is of no use for `{url}`")]
    UselessAccess { what: &'static str, url: String, why: &'static str },
    /// The owner of a secret's file, given by name.
    #[error("`{owner}` is not a user's number")]
    BadOwner { owner: String },
    /// `.require` of no files at all: there is nothing that could wait.
    #[error("`scratch` cannot require a check")]
    RequireOnScratch,
    /// `->` of a target that is or holds a check.
    #[error("`{target}` is a check and has no files for `{dest}`")]
    CheckDest { target: String, dest: String },
    /// An `assert` that does not hold; of a comparison, what stands on its sides.
    #[error("this claim does not hold")]
    AssertFailed { sides: Option<(Side, Side)> },
    /// A file that is not JSON.
    #[error("`{file}` is not JSON")]
    BadJson { file: String, why: String },
    /// JSON that is not of the type that the program takes it for; `path` leads to the place in it.
    #[error("`{file}` is not a {ty}")]
    JsonMismatch { file: String, ty: String, path: String, why: String },
    /// Part of the language that is not in yet.
    #[error("{what} is not implemented yet")]
    NotYet { what: String },
    /// `where` of a param is false.
    #[error("`{param}` may not be `{value}`")]
    Rejected { param: String, value: String, message: Option<String>, declared: Span },
    /// A param without default that was not given.
    #[error("`{target}` needs the parameter `{param}`")]
    MissingParam { param: String, ty: String, target: String, declared: Span },
    /// `-p` with a text that is not of the param's type.
    #[error("`-p {param}={text}` is not {ty}")]
    BadParam { param: String, text: String, ty: String, why: String, declared: Span },
    /// `-p` of a name that is no param.
    #[error("there is no parameter `{param}`")]
    UnknownParam { param: String, near: Option<String>, have: Vec<String> },
    /// `-p` without `=`.
    #[error("`-p {text}` has no value")]
    ParamWithoutValue { text: String },
    /// A target that does not exist.
    #[error("there is no target `{target}`")]
    UnknownTarget { target: String, near: Option<String>, have: Vec<String> },
    /// A program without targets.
    #[error("this program has no targets")]
    NoTargets,
    /// A key of a target with `->` that cannot be a folder's name.
    #[error("the key `{key}` cannot be the name of a folder")]
    BadFolder { key: String },
    /// The result is for another platform than `--platform` says.
    #[error("`{target}` is built for {have}, and `--platform` asks for {want}")]
    PlatformConflict { target: String, have: String, want: String },
    /// An image that is not for the platform it is taken for.
    #[error("`{image}` is for {have}, and {want} is wanted")]
    WrongPlatform { image: String, have: String, want: String },
    /// A list of platforms that makes no index.
    #[error("an index has one image per platform, {}", match twice { Some(it) => format!("and `{it}` stands twice"), None => "and there is none".to_owned() })]
    BadPlatforms { twice: Option<String> },
    /// Files for several platforms at once.
    #[error("`{target}` differs between {}, and is not an image", platform_list(.platforms))]
    SeveralPlatforms { target: String, platforms: Vec<Platform> },
    /// The program does too much.
    #[error("this program is too large: more than {limit} {what}")]
    TooLarge { what: Budget, limit: u64, inside: Option<Span> },
}

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Budget {
    /// Expressions evaluated.
    #[error("steps of evaluation")]
    Steps,
    /// Elements of lists, maps and records.
    #[error("values")]
    Values,
    /// Text made.
    #[error("bytes of text")]
    Bytes,
    /// Expressions inside each other.
    #[error("expressions inside each other")]
    Depth,
    /// Ops of the build graph.
    #[error("steps to build")]
    Ops,
}

/// How many calls are shown under an error.
const SHOWN_CALLS: usize = 4;

impl Cause {
    /// The diagnostic's code.
    pub fn code(&self) -> &'static str {
        match self {
            Cause::BadLiteral { .. } | Cause::BadWords { .. } => "bkl::bad_literal",
            Cause::UnsafeInterpolation(_) => "bkl::unsafe_interpolation",
            Cause::EmptyCommand => "bkl::empty_command",
            Cause::DuplicateMount { .. } => "bkl::duplicate_mount",
            Cause::MountBelowReadonly { .. } => "bkl::mount_below_ro",
            Cause::MountAtRoot => "bkl::mount_at_root",
            Cause::MissingKey { .. } => "bkl::missing_key",
            Cause::OutOfRange { .. } => "bkl::out_of_range",
            Cause::DuplicateKey { .. } => "bkl::duplicate_key",
            Cause::Overflow => "bkl::overflow",
            Cause::BadRegex { .. } => "bkl::bad_regex",
            Cause::BadVariable { .. } => "bkl::bad_variable",
            Cause::BadAddress { .. } => "bkl::bad_address",
            Cause::BadExitCode { .. } => "bkl::bad_exit_code",
            Cause::UnknownConfig => "bkl::unknown_config",
            Cause::IncludeWithParents => "bkl::include_with_parents",
            Cause::SpecialModeBits { .. } => "bkl::special_mode_bits",
            Cause::OutsideRoot { .. } => "bkl::outside_root",
            Cause::GitUrl { .. } | Cause::GitRef { .. } | Cause::GitCommit { .. } => "bkl::bad_git",
            Cause::HttpUrl { .. } | Cause::HttpName { .. } | Cause::HttpMode { .. } => "bkl::bad_http",
            Cause::UselessAccess { .. } => "bkl::useless_access",
            Cause::BadOwner { .. } => "bkl::bad_owner",
            Cause::RequireOnScratch => "bkl::require_scratch",
            Cause::CheckDest { .. } => "bkl::bad_output",
            Cause::AssertFailed { .. } => "bkl::assert_failed",
            Cause::BadJson { .. } => "bkl::bad_json",
            Cause::JsonMismatch { .. } => "bkl::json_mismatch",
            Cause::NotYet { .. } => "bkl::not_yet",
            Cause::Rejected { .. } => "bkl::param_rejected",
            Cause::MissingParam { .. } => "bkl::param_missing",
            Cause::BadParam { .. } | Cause::ParamWithoutValue { .. } => "bkl::param_value",
            Cause::UnknownParam { .. } => "bkl::unknown_param",
            Cause::UnknownTarget { .. } => "bkl::unknown_target",
            Cause::NoTargets => "bkl::no_targets",
            Cause::BadFolder { .. } => "bkl::bad_folder",
            Cause::PlatformConflict { .. } => "bkl::platform_conflict",
            Cause::WrongPlatform { .. } => "bkl::wrong_platform",
            Cause::BadPlatforms { .. } => "bkl::bad_platforms",
            Cause::SeveralPlatforms { .. } => "bkl::several_platforms",
            Cause::TooLarge { .. } => "bkl::too_large",
        }
    }

    /// What is said at the primary place.
    fn label(&self) -> String {
        match self {
            Cause::BadLiteral { why, .. } | Cause::BadWords { why } | Cause::BadRegex { why, .. } => {
                why.clone()
            }
            Cause::BadParam { why, .. } | Cause::BadJson { why, .. } => why.clone(),
            Cause::JsonMismatch { path, why, .. } => format!("at `{path}`: {why}"),
            Cause::UnsafeInterpolation(why) => why.to_string(),
            Cause::EmptyCommand => "nothing to run".to_owned(),
            Cause::DuplicateMount { .. } => "and here again".to_owned(),
            Cause::MountBelowReadonly { .. } => "its mount point cannot be made".to_owned(),
            Cause::MountAtRoot => "mounted here".to_owned(),
            Cause::MissingKey { .. } => "no such key".to_owned(),
            Cause::OutOfRange { .. } => "elements count from 0".to_owned(),
            Cause::DuplicateKey { .. } => "made here".to_owned(),
            Cause::Overflow => "the result is out of range".to_owned(),
            Cause::BadVariable { .. } => "a name is not empty and has no `=`".to_owned(),
            Cause::BadAddress { .. } => "not an address".to_owned(),
            Cause::BadExitCode { .. } => "exit codes go from 0 to 255".to_owned(),
            Cause::UnknownConfig => "made with `config: false`".to_owned(),
            Cause::IncludeWithParents => "`parents` selects by `from` already".to_owned(),
            Cause::SpecialModeBits { .. } => "has more than the nine permission bits".to_owned(),
            Cause::OutsideRoot { .. } => "leaves the root directory".to_owned(),
            Cause::GitUrl { why, .. }
            | Cause::GitRef { why, .. }
            | Cause::GitCommit { why, .. }
            | Cause::HttpUrl { why, .. } => why.clone(),
            Cause::HttpName { .. } => "a name has no directories".to_owned(),
            Cause::HttpMode { .. } => "not of the nine permission bits, or none of them".to_owned(),
            Cause::UselessAccess { why, .. } => (*why).to_owned(),
            Cause::BadOwner { .. } => "names are not looked up for a secret".to_owned(),
            Cause::AssertFailed { .. } => "this is false".to_owned(),
            Cause::RequireOnScratch => "this has no files that could wait for it".to_owned(),
            Cause::CheckDest { .. } => "a check only succeeds or fails".to_owned(),
            Cause::NotYet { .. } => "used here".to_owned(),
            Cause::Rejected { message, .. } => message.clone().unwrap_or_else(|| "this is false".to_owned()),
            Cause::MissingParam { .. } => "needed here".to_owned(),
            Cause::BadFolder { .. } => "each element of this target goes into a folder of its own".to_owned(),
            Cause::PlatformConflict { .. } | Cause::SeveralPlatforms { .. } => "this target".to_owned(),
            Cause::WrongPlatform { .. } => "its config says so".to_owned(),
            Cause::BadPlatforms { .. } => "these platforms".to_owned(),
            Cause::TooLarge { .. } => "reached here".to_owned(),
            Cause::UnknownParam { .. }
            | Cause::ParamWithoutValue { .. }
            | Cause::UnknownTarget { .. }
            | Cause::NoTargets => String::new(),
        }
    }

    fn help(&self) -> Option<String> {
        Some(match self {
            Cause::SpecialModeBits { .. } => {
                "a copy with `mode:` sets them, as does `chmod` in a command".to_owned()
            }
            Cause::UnsafeInterpolation(Unquotable::ListInQuotes) => {
                "put the list outside the quotes: each element becomes one word".to_owned()
            }
            Cause::UnsafeInterpolation(Unquotable::AfterDollar) => {
                "insert the value without the `$`, or put braces around the shell variable before it"
                    .to_owned()
            }
            Cause::UnsafeInterpolation(_) => {
                "pass it as a variable: `env: { NAME: … }`, and `\"$NAME\"` in the command".to_owned()
            }
            Cause::MountBelowReadonly { .. } => "mount the outer one with `rw`".to_owned(),
            Cause::TooLarge { .. } => {
                "loops inside of each other multiply: go through shorter lists".to_owned()
            }
            Cause::MissingKey { near: Some(near), .. } => format!("did you mean `{near}`?"),
            Cause::MissingKey { have, .. } if !have.is_empty() => format!("it has: {}", list(have)),
            Cause::UnknownConfig => "leave `config: false` away to have it read".to_owned(),
            Cause::OutsideRoot { .. } => "a program sees only what lies below its root directory".to_owned(),
            Cause::GitUrl { why, .. } if why.starts_with("`file`") => {
                "files beside the program are `local(\"dir\")`; serve a repository with `git daemon` or over ssh"
                    .to_owned()
            }
            Cause::GitUrl { why, .. } if why.starts_with("`#") => "the branch or tag is an argument of its own: `git(url, \"main\", subdir: \"dir\")`".to_owned(),
            Cause::GitUrl { why, .. } | Cause::HttpUrl { why, .. } if why.starts_with("credentials") => {
                "declare a secret and give it as `token:`: what is in a URL ends in locks, logs and cache keys".to_owned()
            }
            Cause::HttpName { .. } => "put the file into a directory with `scratch.copy(http(…), \"name\", \"/dir/name\")`".to_owned(),
            Cause::HttpMode { .. } => "a copy with `mode:` sets any".to_owned(),
            Cause::BadOwner { .. } => "write numbers, `1000` or `1000:1000`".to_owned(),
            Cause::RequireOnScratch => "say `.require` where the first files are in".to_owned(),
            Cause::CheckDest { .. } => "leave the `->` away".to_owned(),
            Cause::MissingParam { param, target, ty, .. } => {
                format!("bkl build {target} -p {param}=…, a value of type {ty}")
            }
            Cause::UnknownParam { near: Some(near), .. } => format!("did you mean `{near}`?"),
            Cause::UnknownParam { have, .. } if have.is_empty() => {
                "this program has no parameters".to_owned()
            }
            Cause::UnknownParam { have, .. } => format!("it has: {}", list(have)),
            Cause::ParamWithoutValue { .. } => "write `-p name=value`".to_owned(),
            Cause::UnknownTarget { near: Some(near), .. } => format!("did you mean `{near}`?"),
            Cause::UnknownTarget { have, .. } if !have.is_empty() => format!("it has: {}", list(have)),
            Cause::NoTargets => "declare one: `target app = …`".to_owned(),
            Cause::WrongPlatform { have, .. } => format!(
                "take an image that is built for it, or say `platform: \"{have}\"` if that one is meant"
            ),
            Cause::PlatformConflict { .. } => {
                "leave `--platform` away, or the `on` in the program".to_owned()
            }
            Cause::SeveralPlatforms { .. } => "give `--platform` one platform".to_owned(),
            _ => return None,
        })
    }
}

/// The names, at most twenty.
fn list(names: &[String]) -> String {
    match names.len() {
        0..=20 => names.join(", "),
        more => format!("{} and {} more", names[..20].join(", "), more - 20),
    }
}

fn platform_list(platforms: &[Platform]) -> String {
    platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

/// The name nearest to `typed`, for [`Cause::UnknownTarget`] and its like.
pub(super) fn near(typed: &str, have: &[String]) -> Option<String> {
    suggest::nearest(typed, have.iter().map(String::as_str)).map(str::to_owned)
}

impl EvalError {
    /// An error without a place in a text.
    pub fn unplaced(cause: Cause) -> EvalError {
        EvalError { cause: Box::new(cause), span: None, calls: Vec::new() }
    }

    /// An error at `span`.
    pub fn at(span: Span, cause: Cause) -> EvalError {
        EvalError { cause: Box::new(cause), span: Some(span), calls: Vec::new() }
    }

    /// The diagnostic.
    pub fn report(&self) -> Report {
        let mut report = Report::error(self.cause.code(), self.cause.to_string());
        match (&*self.cause, self.span) {
            (Cause::AssertFailed { sides: Some((left, right)) }, _) => {
                report = report.label(left.span, format!("this is {}", left.value));
                report = report.label(right.span, format!("and this {}", right.value));
            }
            (cause, Some(span)) => report = report.label(span, cause.label()),
            (_, None) => {}
        }
        let other = match &*self.cause {
            Cause::DuplicateMount { first, .. } => Some((*first, "mounted here")),
            Cause::MountBelowReadonly { first, .. } => Some((*first, "mounted read-only here")),
            Cause::TooLarge { inside: Some(inside), .. } => Some((*inside, "in this loop")),
            Cause::Rejected { declared, .. }
            | Cause::MissingParam { declared, .. }
            | Cause::BadParam { declared, .. } => Some((*declared, "declared here")),
            _ => None,
        };
        if let Some((span, text)) = other {
            report = report.label(span, text);
        }
        for call in self.calls.iter().take(SHOWN_CALLS) {
            report = report.label(call.span, format!("in this call of `{}`", call.function));
        }
        report.maybe_help(self.cause.help())
    }
}
