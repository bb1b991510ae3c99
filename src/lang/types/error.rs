//! What the checker can find wrong; [`super::report`] says it to people.

use crate::base::{Edit, Span};

use super::ty::Type;

/// A value of another type than the one that is wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct Mismatch {
    /// What is wanted.
    pub expected: Type,
    /// What there is.
    pub found: Type,
    /// The value.
    pub at: Span,
    /// What wants the type, where the program itself says so.
    pub cause: Option<(Span, String)>,
    /// The way out when the value's own text shows it.
    pub hint: Option<String>,
}

/// What was probably meant by a name that nothing has.
#[derive(Debug, Clone, PartialEq)]
pub struct Guess {
    /// For people.
    pub text: String,
    /// What to write in the place of the name, where that is all.
    pub replacement: Option<String>,
}

impl Guess {
    /// Another name.
    pub(super) fn instead(name: impl Into<String>) -> Guess {
        let name = name.into();
        Guess { text: format!("did you mean `{name}`?"), replacement: Some(name) }
    }

    /// Words only.
    pub(super) fn says(text: impl Into<String>) -> Guess {
        Guess { text: text.into(), replacement: None }
    }
}

/// A wanted type in words; one whose parts are open is named by its kind.
fn wanted(ty: &Type) -> String {
    match ty {
        Type::Never => "no value".to_owned(),
        Type::List(inner) if **inner == Type::Never => "a list".to_owned(),
        Type::Map(inner) if **inner == Type::Never => "a map or a record".to_owned(),
        ty => ty.to_string(),
    }
}

/// A program that reads well and cannot mean anything, or will not do what it seems to.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[allow(missing_docs)] // fields say what they hold
pub enum TypeError {
    // ---- names
    /// A name that nothing has.
    #[error("there is no `{name}`")]
    UnknownName { name: String, help: Option<Guess>, at: Span },
    /// A type that nothing declares.
    #[error("there is no type `{name}`")]
    UnknownType { name: String, help: Option<Guess>, at: Span },
    /// `lib.x` where `lib` has no `x`.
    #[error("`{module}` has no `{name}`")]
    NotInModule { module: String, name: String, near: Option<String>, at: Span },
    /// `lib.x` where `x` is not `pub`.
    #[error("`{name}` is private to `{module}`")]
    Private { module: String, name: String, at: Span, declared: Span },
    /// A second item or local of the same name.
    #[error("`{name}` is declared twice")]
    Duplicate { name: String, at: Span, first: Span },
    /// A type with the name of a built-in one.
    #[error("`{name}` is a built-in type")]
    BuiltinTypeName { name: String, at: Span },
    /// A type or module where a value is wanted.
    #[error("`{name}` is {what}, not a value")]
    NotAValue { name: String, what: &'static str, help: Option<String>, at: Span },
    /// A function or value called that is none.
    #[error("{what} cannot be called")]
    NotCallable { what: String, declared: Option<Span>, hides: Option<String>, at: Span },

    // ---- circles
    /// Functions or lets that need themselves; `through` are the other uses along the circle.
    #[error("{}", if *function { format!("`{name}` calls itself") } else { format!("`{name}` needs itself") })]
    Recursion { name: String, function: bool, at: Span, declared: Span, through: Vec<(String, Span)> },
    /// A type that contains itself.
    #[error("the type `{name}` contains itself")]
    RecursiveType { name: String, at: Span },

    // ---- types
    /// A value of the wrong type.
    #[error("expected {}, found {}", wanted(&.0.expected), .0.found)]
    Mismatch(Box<Mismatch>),
    /// `.variant`, `none`, … whose type nothing says.
    #[error("the type of {what} is not known here")]
    Untyped { what: String, help: String, at: Span },
    /// `a.b` of something without a `b`.
    #[error("{receiver} has no method `{name}`")]
    UnknownMethod { receiver: Type, name: String, near: Option<String>, help: Option<String>, at: Span },
    /// `a.b` of something without a `b`.
    #[error("{receiver} has no property `{name}`")]
    UnknownProperty { receiver: Type, name: String, near: Option<String>, help: Option<String>, at: Span },
    /// A field that a record does not have.
    #[error("no field `{name}` in {record}")]
    UnknownField { record: Type, name: String, near: Option<String>, at: Span },
    /// Fields without a default that a record literal does not give; `add` gives them.
    #[error("missing field{} {}", if names.len() == 1 { "" } else { "s" }, names.join(", "))]
    MissingField { names: Vec<String>, add: Edit, at: Span },
    /// A field or argument given twice.
    #[error("`{name}` is given twice")]
    GivenTwice { name: String, at: Span, first: Span },
    /// A variant that an enum does not have.
    #[error("`{enum_name}` has no variant `.{name}`")]
    UnknownVariant {
        enum_name: String,
        name: String,
        variants: Vec<String>,
        near: Option<String>,
        pattern: bool,
        at: Span,
    },
    /// A match that leaves something out; `add` are arms for it.
    #[error("this match does not cover {}", missing.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", "))]
    NotExhaustive { missing: Vec<String>, found: Type, add: Edit, at: Span },
    /// An arm that the arms before it leave nothing for.
    #[error("this arm is never reached")]
    Unreachable { at: Span },
    /// A match on what has no variants.
    #[error("{found} has no variants to match")]
    NotMatchable { found: Type, at: Span },
    /// A pattern of another kind than what is matched.
    #[error("this pattern does not fit {found}")]
    WrongPattern { found: Type, at: Span },
    /// An operator on types it does not work on.
    #[error("`{op}` does not work on {left} and {right}")]
    Operator { op: &'static str, left: Type, right: Type, at: Span },
    /// `a ?? b` where `a` always has a value; `rest` is what is too much.
    #[error("the left side of `??` always has a value")]
    NotOptional { found: Type, rest: Span, at: Span },
    /// `for x in e` where `e` is nothing to go through.
    #[error("cannot loop over {found}")]
    NotIterable { found: Type, at: Span },
    /// One variable for a map.
    #[error("a map is looped over with two names")]
    MapNeedsTwoNames { at: Span },
    /// `e[i]` where `e` is neither list nor map.
    #[error("{found} cannot be indexed")]
    NotIndexable { found: Type, at: Span },

    /// A type made of so many others that no message could say it.
    #[error("this type is too large")]
    TooLarge { at: Span },

    // ---- calls
    /// An argument that a function does not have.
    #[error("`{function}` has no argument `{name}`")]
    UnknownArg { function: String, name: String, near: Option<String>, have: Vec<String>, at: Span },
    /// Arguments without a default that a call does not give; `add` gives them.
    #[error("`{function}` needs {}", names.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", "))]
    MissingArg {
        function: String,
        names: Vec<String>,
        all: Vec<String>,
        add: Edit,
        declared: Option<Span>,
        at: Span,
    },
    /// More positional arguments than required parameters.
    #[error("`{function}` takes {allowed} by position")]
    TooManyArgs { function: String, allowed: String, help: Option<String>, name_it: Option<String>, at: Span },
    /// A positional argument behind a named one.
    #[error("positional arguments come first")]
    PositionalAfterNamed { at: Span },
    /// `x |> y.method()`
    #[error("`|>` gives its left side to a function, and `{name}` is a method")]
    PipeIntoMethod { name: String, at: Span },
    /// `x.method` without a call.
    #[error("`{name}` is {what}")]
    NotCalled { name: String, what: &'static str, at: Span },
    /// A name without a call where a function stands.
    #[error("`{name}` is a function, not a value")]
    FunctionAsValue { name: String, at: Span },

    // ---- literals and text
    /// A text that is no literal of its type.
    #[error("this is not a valid {kind}")]
    BadLiteral { kind: &'static str, why: String, help: Option<String>, at: Span },
    /// A secret in a text.
    #[error("the secret {}cannot become text", match name { Some(name) => format!("`{name}` "), None => String::new() })]
    SecretInText { name: Option<String>, declared: Option<Span>, command: bool, at: Span },
    /// Something else in a text.
    #[error("{found} cannot become text")]
    NotText { found: Type, command: bool, at: Span },
    /// `${x}` of a command where `x` is a bkl value.
    #[error("`${{{name}}}` is a shell variable, and `{name}` is a bkl value")]
    ShellVariable { name: String, at: Span },

    /// A name that nothing uses.
    #[error("{what} `{name}` is never used")]
    Unused { name: String, what: &'static str, at: Span },
    /// A local name that hides another.
    #[error("`{name}` hides another `{name}`")]
    Shadowed { name: String, at: Span, first: Span },

    // ---- commands, targets, modules
    /// A mount where an `out` is wanted.
    #[error("this mount gives no tree back")]
    MountAsOut { at: Span },
    /// `outs: { root: … }`
    #[error("`root` is the command's own tree")]
    RootInOuts { at: Span },
    /// `read_only: true` without `outs`.
    #[error("this command has no result")]
    ReadOnlyWithoutOuts { at: Span },
    /// A target of another type than trees.
    #[error("a target is something to build, and this is {found}")]
    NotBuildable { found: Type, at: Span },
    /// A param of a type that the command line cannot give.
    #[error("a param cannot be {found}")]
    ParamType { found: Type, at: Span },
    /// `target_platform` in the default of a param, or in what that uses.
    #[error("a param's default cannot depend on the platform")]
    PlatformInDefault { through: Option<Span>, at: Span },
    /// `local` and the like in a module from elsewhere.
    #[error("an imported module cannot use `{name}`")]
    RemoteLocal { name: String, reads: &'static str, help: Option<String>, at: Span },
    /// `test`s, `target`s, … are no values through a module's name.
    #[error("{what} is not visible through a module")]
    NotImportable { what: String, at: Span },
}
