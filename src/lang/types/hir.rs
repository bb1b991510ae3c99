//! The typed program: every name is an id, every expression has a type, every implicit step is a node.
//!
//! What the checker promises to the evaluator:
//! - no [`Type::Error`] anywhere; `Tree`, `SelfType`, `Var` and `Outs` occur in no expression's type;
//! - the call graph of functions and the graph of module-level lets and targets have no circle;
//! - an expression's value has exactly the type the node says; where a value of another type was allowed, a
//!   [`ExprKind::Coerce`] stands between;
//! - literals without `#{…}` are valid for their [`LiteralKind`]; those with it are to be checked by
//!   [`super::literal::validate`] when their text is known;
//! - nesting of expressions is at most [`crate::lang::syntax::MAX_DEPTH`].

use std::sync::Arc;

pub use super::builtin::Builtin;
use super::ty::Type;
use crate::base::{FileId, Span};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl $name {
            /// The id as an index into its arena.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}

ids! {
    /// Index into [`Program::modules`].
    ModuleId;
    /// Index into [`Program::params`].
    ParamId;
    /// Index into [`Program::secrets`].
    SecretId;
    /// Index into [`Program::ssh`].
    SshId;
    /// Index into [`Program::lets`].
    LetId;
    /// Index into [`Program::functions`].
    FunctionId;
    /// Index into [`Program::targets`].
    TargetId;
    /// Index into [`Program::records`].
    RecordId;
    /// Index into [`Program::enums`].
    EnumId;
    /// Index into the `locals` of the [`Body`] or [`Function`] the expression belongs to.
    LocalId;
}

/// A whole program: the entry module and everything it imports.
#[derive(Debug, Clone)]
pub struct Program {
    /// Modules in the order they were met; the entry module first.
    pub modules: Vec<Module>,
    /// `param` items of all modules.
    pub params: Vec<Param>,
    /// `secret` items of all modules.
    pub secrets: Vec<Secret>,
    /// `ssh` items of all modules.
    pub ssh: Vec<Ssh>,
    /// Module-level `let` items of all modules.
    pub lets: Vec<Let>,
    /// `fn` items of all modules.
    pub functions: Vec<Function>,
    /// `target` items of all modules, in source order per module; only those of the entry module can be requested.
    pub targets: Vec<Target>,
    /// `test` items of all modules.
    pub tests: Vec<Test>,
    /// Record types that were declared or written, the prelude's first.
    pub records: Vec<RecordDecl>,
    /// Enums, the prelude's first.
    pub enums: Vec<EnumDecl>,
}

impl Program {
    /// The module the program starts at.
    pub const ENTRY: ModuleId = ModuleId(0);

    /// The module whose text is `file`.
    pub fn module_of(&self, file: FileId) -> Option<&Module> {
        self.modules.iter().find(|module| module.file == file)
    }

    /// The entry module's targets in source order.
    pub fn entry_targets(&self) -> impl Iterator<Item = (TargetId, &Target)> {
        let ids = (0..).map(TargetId);
        ids.zip(&self.targets).filter(|(_, target)| target.module == Program::ENTRY)
    }
}

/// One source file of the program.
#[derive(Debug, Clone)]
pub struct Module {
    /// Its text.
    pub file: FileId,
    /// Path from the root directory with `/`, `build.bkl`, `lib/util.bkl`; `std/go` for the library.
    pub path: Arc<str>,
    /// Folder that `local`, `read` and `files` are relative to: relative to the root directory, `/` between parts,
    /// no `.` or `..`; empty for the root directory itself.
    pub dir: Arc<str>,
    /// Whether it lies below the root directory.
    pub origin: Origin,
    /// Its `//!` lines without the marks, joined by newlines.
    pub doc: Option<Arc<str>>,
}

/// Where a module comes from. Only modules of the root may use `local`, `read`, `files`, `param`, `secret`, `ssh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Below the root directory.
    Root,
    /// `std/…`, part of bkl.
    Library,
    /// Another repository.
    Remote,
}

/// What every item has.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its name.
    pub name: Arc<str>,
    /// Where the name stands.
    pub span: Span,
    /// Its `///` lines without the marks, joined by newlines.
    pub doc: Option<Arc<str>>,
    /// `pub`.
    pub public: bool,
}

/// An expression with the local variables it needs.
#[derive(Debug, Clone)]
pub struct Body {
    /// Every local of the body; a [`LocalId`] is an index.
    pub locals: Vec<Local>,
    /// What it evaluates.
    pub expr: Expr,
}

/// A local variable: a parameter, a `let` of a block, a variable of `for`, `fold` or `some(…)`.
#[derive(Debug, Clone)]
pub struct Local {
    /// Its name.
    pub name: Arc<str>,
    /// Its type.
    pub ty: Type,
    /// Where it is introduced.
    pub span: Span,
}

/// `param name: ty = default where …`.
#[derive(Debug, Clone)]
pub struct Param {
    /// Name, doc, visibility.
    pub item: Item,
    /// Module it is declared in.
    pub module: ModuleId,
    /// Its type.
    pub ty: Type,
    /// The value when none is given; uses neither platform.
    pub default: Option<Body>,
    /// What must hold, in order.
    pub wheres: Vec<Where>,
}

/// One `where` clause.
#[derive(Debug, Clone)]
pub struct Where {
    /// A `bool`; may use other params, module-level lets and functions.
    pub condition: Body,
    /// Text of the `else`, a `str`.
    pub message: Option<Body>,
}

/// `secret name = "id"`.
#[derive(Debug, Clone)]
pub struct Secret {
    /// Name, doc, visibility.
    pub item: Item,
    /// Module it is declared in.
    pub module: ModuleId,
    /// The id it is asked for by: the text behind `=`, else the name.
    pub id: Arc<str>,
}

/// `ssh name = "id"`.
#[derive(Debug, Clone)]
pub struct Ssh {
    /// Name, doc, visibility.
    pub item: Item,
    /// Module it is declared in.
    pub module: ModuleId,
    /// The id it is asked for by: the text behind `=`, else the name.
    pub id: Arc<str>,
}

/// `let name = …` of a module.
#[derive(Debug, Clone)]
pub struct Let {
    /// Name, doc, visibility.
    pub item: Item,
    /// Module it is declared in.
    pub module: ModuleId,
    /// Its type.
    pub ty: Type,
    /// Its value.
    pub body: Body,
}

/// `fn name(…) -> ty { … }`.
#[derive(Debug, Clone)]
pub struct Function {
    /// Name, doc, visibility.
    pub item: Item,
    /// Module it is declared in.
    pub module: ModuleId,
    /// Parameters in order; the `i`-th is the local `i`.
    pub params: Vec<FnParam>,
    /// Type of the result.
    pub result: Type,
    /// Locals, the parameters first, and the result's expression. Defaults of parameters use the same locals.
    pub body: Body,
}

/// A parameter of a function.
#[derive(Debug, Clone)]
pub struct FnParam {
    /// Its name.
    pub name: Arc<str>,
    /// Where the name stands.
    pub span: Span,
    /// Its type.
    pub ty: Type,
    /// Its `///` lines.
    pub doc: Option<Arc<str>>,
    /// The value when the call gives none. Evaluated in the callee's frame: it may use the parameters before it, and
    /// items of the function's module.
    pub default: Option<Expr>,
}

/// `target name -> "dir" = …`.
#[derive(Debug, Clone)]
pub struct Target {
    /// Name, doc, visibility.
    pub item: Item,
    /// Module it is declared in.
    pub module: ModuleId,
    /// Its type; [`Type::is_buildable`].
    pub ty: Type,
    /// Folder of the default local output as written, and where it is written.
    pub dest: Option<(Arc<str>, Span)>,
    /// Its value.
    pub body: Body,
}

/// `test "name" { … }`.
#[derive(Debug, Clone)]
pub struct Test {
    /// What it says it tests.
    pub name: Arc<str>,
    /// Where the name stands.
    pub span: Span,
    /// Module it is declared in.
    pub module: ModuleId,
    /// Every local of the test.
    pub locals: Vec<Local>,
    /// Statements in order.
    pub stmts: Vec<TestStmt>,
}

/// A statement of a test.
#[derive(Debug, Clone)]
pub enum TestStmt {
    /// `let x = e`.
    Let(LocalId, Expr),
    /// `assert e`: a `bool` or a `check`.
    Assert(Expr),
}

/// A record type that was declared or written in a type.
#[derive(Debug, Clone)]
pub struct RecordDecl {
    /// Name of the `type` item; `None` for one written in place.
    pub name: Option<Arc<str>>,
    /// Fields in order.
    pub fields: Vec<FieldDecl>,
    /// Where it is written.
    pub span: Span,
}

/// A field of a [`RecordDecl`].
#[derive(Debug, Clone)]
pub struct FieldDecl {
    /// Its name.
    pub name: Arc<str>,
    /// Its type.
    pub ty: Type,
    /// Its `///` lines.
    pub doc: Option<Arc<str>>,
    /// The value when a literal gives none; sees module-level names only.
    pub default: Option<Body>,
    /// Where the name stands.
    pub span: Span,
}

/// An enum.
#[derive(Debug, Clone)]
pub struct EnumDecl {
    /// Its name.
    pub name: Arc<str>,
    /// Names of its variants in order, without the dot.
    pub variants: Vec<Arc<str>>,
    /// Where the name stands.
    pub span: Span,
}

/// A typed expression.
#[derive(Debug, Clone)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Type of its value.
    pub ty: Type,
    /// Where it is written. A coercion has the span of what it converts; a method call spans receiver and arguments.
    pub span: Span,
}

/// What an expression is.
#[derive(Debug, Clone)]
pub enum ExprKind {
    /// `true`, `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// `0o755`.
    Mode(u32),
    /// Bytes.
    Size(u64),
    /// Nanoseconds.
    Duration(u64),
    /// `none`; the type is the option it is none of.
    None,
    /// A literal in quotes, and what it is a literal of.
    Literal(Literal),
    /// `.variant` of the enum that `ty` names: index into [`EnumDecl::variants`].
    Variant(EnumId, u32),

    /// A local variable of the body.
    Local(LocalId),
    /// A module-level `let`, of any module.
    Let(LetId),
    /// A `param`, of any module.
    Param(ParamId),
    /// A target used as a value.
    Target(TargetId),
    /// A `secret`.
    Secret(SecretId),
    /// An `ssh`.
    Ssh(SshId),

    /// `[a, ...b]`: elements and spread lists of the same element type.
    List(Vec<ListItem>),
    /// `{ "k": v, ...m }` where `ty` is a map. A later key replaces the value and keeps the place of the earlier one.
    Map(Vec<MapItem>),
    /// `{ a: x, ...r }` where `ty` is a record. Items in source order, later ones win; fields of `ty` that no item
    /// gives come from the defaults of its declaration (the checker made sure there is one). The value's fields are
    /// in the order of `ty`.
    Record(Vec<RecordItem>),

    /// `[for x in xs, … if c: e]`.
    ListComp(Box<Comprehension>, Box<Expr>),
    /// `{for x in xs, … if c: k: v}`; equal keys are an error of evaluation.
    MapComp(Box<Comprehension>, Box<Expr>, Box<Expr>),
    /// `fold acc = init for x in xs { body }`.
    Fold(Box<Fold>),

    /// `{ let a = …  e }`: lets in order, then the value.
    Block(Vec<(LocalId, Expr)>, Box<Expr>),
    /// `if c { a } else { b }`.
    If(Box<Expr>, Box<Expr>, Box<Expr>),
    /// `match x { … }`: the first arm that fits; one always does.
    Match(Box<Expr>, Vec<Arm>),
    /// `on p { e }`: `e` for the platform `p`.
    On(Box<Expr>, Box<Expr>),
    /// `on [p, q] { image }`: an index of one image per platform, in order.
    OnEach(Box<Expr>, Box<Expr>),
    /// `a ?? b`: the value inside `a`, else `b`. When `ty` is an option, `b` is one too, and `a` is taken as it is.
    Coalesce(Box<Expr>, Box<Expr>),

    /// A two-sided operator; `&&` and `||` do not evaluate their right side needlessly.
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// `-x` of an int.
    Neg(Box<Expr>),
    /// `!x` of a bool.
    Not(Box<Expr>),

    /// `r.name` of a record.
    Field(Box<Expr>, Arc<str>),
    /// `xs[i]` of a list by an int, `m["k"]` of a map by a str, by the type of the first.
    Index(Box<Expr>, Box<Expr>),

    /// A call of a function of the program.
    Call(Call),
    /// A call of a function or method, or a use of a property or constant, of the prelude.
    Builtin(BuiltinCall),
    /// A change of type that was not written.
    Coerce(Coercion, Box<Expr>),
}

/// A literal in quotes.
#[derive(Debug, Clone)]
pub struct Literal {
    /// What its text is a literal of.
    pub kind: LiteralKind,
    /// Its text, escapes resolved and indentation removed; no two texts are neighbours; empty for `""`.
    pub parts: Vec<Part>,
}

impl Literal {
    /// The text, if there is no `#{…}` in it.
    pub fn as_text(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }
}

/// A part of a literal.
#[derive(Debug, Clone)]
pub enum Part {
    /// Text as it will be.
    Text(Arc<str>),
    /// `#{…}`: of a scalar or enum type; in `cmd` and `argv` also a `[str]` or another list of scalars.
    Value(Expr),
}

/// What a literal in quotes can be; the literal's type says the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LiteralKind {
    /// Any text.
    Str,
    /// See [`Type::Path`].
    Path,
    /// See [`Type::Glob`].
    Glob,
    /// See [`Type::Ref`].
    Ref,
    /// See [`Type::Url`].
    Url,
    /// See [`Type::Port`]. An int literal where a port is wanted comes as its digits.
    Port,
    /// See [`Type::Platform`].
    Platform,
    /// See [`Type::Digest`].
    Digest,
    /// See [`Type::Signal`].
    Signal,
    /// Text for the image's shell; values are quoted by the quoting rule.
    Cmd,
    /// Words, split at white space outside quotes; a value is one word or part of one, a list as many as it has.
    Argv,
}

/// An element of a list literal.
#[derive(Debug, Clone)]
pub enum ListItem {
    /// One element.
    Item(Expr),
    /// `...xs`: all elements of a list.
    Spread(Expr),
}

/// An entry of a map literal.
#[derive(Debug, Clone)]
pub enum MapItem {
    /// Key, a `str`, and value.
    Entry(Expr, Expr),
    /// `...m`: all entries of a map.
    Spread(Expr),
}

/// An entry of a record literal.
#[derive(Debug, Clone)]
pub enum RecordItem {
    /// Field and value.
    Field(Arc<str>, Expr),
    /// `...r`: all fields of a record; its fields have the types of `ty`'s.
    Spread(Expr),
}

/// The loops of a comprehension.
#[derive(Debug, Clone)]
pub struct Comprehension {
    /// From the outermost to the innermost; at least one.
    pub clauses: Vec<Clause>,
    /// Elements for which this is false are left out; evaluated inside the innermost loop.
    pub condition: Option<Expr>,
}

/// One `for`.
#[derive(Debug, Clone)]
pub struct Clause {
    /// First of two variables: the key (`str`) of a map, the position (`int`, from 0) in a list.
    pub key: Option<LocalId>,
    /// The element or value.
    pub value: LocalId,
    /// A list or map; may use the variables of the clauses before.
    pub over: Expr,
}

/// `fold acc = init for x in xs { body }`.
#[derive(Debug, Clone)]
pub struct Fold {
    /// Holds `init` first, then each `body` in turn.
    pub acc: LocalId,
    /// First value.
    pub init: Expr,
    /// The loop; `over` does not see `acc`.
    pub clause: Clause,
    /// Next value; of `init`'s type.
    pub body: Expr,
}

/// An arm of a match.
#[derive(Debug, Clone)]
pub struct Arm {
    /// What it takes.
    pub pattern: Pattern,
    /// What it gives.
    pub body: Expr,
}

/// What an arm takes.
#[derive(Debug, Clone)]
pub enum Pattern {
    /// The variant of this index.
    Variant(u32),
    /// `none`.
    None,
    /// `some(x)`: binds the value inside.
    Some(LocalId),
    /// `_`.
    Wildcard,
}

/// Operators with two sides. Both sides have one type, but for `Add` see there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryOp {
    /// `+`: sum of int, size, duration; both texts (of `str`), all elements of two lists, two maps or records (right wins).
    Add,
    /// `-` of int, size, duration.
    Sub,
    /// `*` of int; size or duration by int.
    Mul,
    /// `==` of all but trees, checks, mounts, outs, secrets and agents.
    Eq,
    /// `!=`, as `==`.
    Ne,
    /// `<` of int, str, size, duration.
    Lt,
    /// `<=`, as `<`.
    Le,
    /// `>`, as `<`.
    Gt,
    /// `>=`, as `<`.
    Ge,
    /// `&&`.
    And,
    /// `||`.
    Or,
}

/// A call of a function of the program.
#[derive(Debug, Clone)]
pub struct Call {
    /// Whom.
    pub function: FunctionId,
    /// One slot per parameter, in order; `None`: the call does not give it, its default is to be evaluated.
    pub args: Vec<Option<Expr>>,
}

/// A call of something of the prelude.
///
/// For `image.run` and `image.exec` with `outs`, that slot holds a [`ExprKind::Record`] of `out`s and `ty` is the
/// record `{ root: image, … }`; without, the slot is `None` and `ty` is `image`. For `read_json`, `ty` is the type
/// that is wanted. For `tree.` methods, `ty` is `fs` or `image` like the receiver, which is not coerced.
#[derive(Debug, Clone)]
pub struct BuiltinCall {
    /// Which.
    pub builtin: Builtin,
    /// The receiver first, if it is a method or property; then one slot per parameter, in order of the prelude.
    /// `None`: the call does not give it. Defaults are in [`super::signatures::Signature`].
    pub args: Vec<Option<Expr>>,
    /// Where the name of the function, method or property stands.
    pub name_span: Span,
}

/// A change of type that was not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Coercion {
    /// `T` to `T?`.
    Some,
    /// `image` to `fs`: the config is dropped.
    ImageToFs,
    /// `str` or `path` to `glob`: the text is a pattern, to be validated.
    ToGlob,
    /// `[str]` to `cmd`: the words of a command that no shell reads.
    WordsToCmd,
    /// `[str]` to `argv`.
    WordsToArgv,
    /// `{ a: T, b: U }` to `{str: V}`, each field by its own coercion, if it needs one; in the fields' order.
    RecordToMap(Vec<(Arc<str>, Option<Coercion>)>),
    /// Of each element of a list.
    Each(Box<Coercion>),
    /// Of each value of a map.
    EachValue(Box<Coercion>),
    /// Of the value inside an option.
    Inside(Box<Coercion>),
    /// Of these fields of a record; others stay. The value's fields are put into the order of the new type.
    Fields(Vec<(Arc<str>, Option<Coercion>)>),
    /// The first, then the second: `[image]` to `[fs?]` is `Each(Then(ImageToFs, Some))`.
    Then(Box<Coercion>, Box<Coercion>),
    /// No value changes, only the type: `[_]` to `[T]`, `none` to `T?`.
    Empty,
}
