//! The syntax tree: what was written, nothing resolved. Spans run from the first to the last token of a node.

use std::sync::Arc;

use crate::base::{FileId, Span};

/// A name and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ident {
    /// The name.
    pub text: Arc<str>,
    /// Its place.
    pub span: Span,
}

/// One source file.
#[derive(Debug, Clone)]
pub struct Module {
    /// The file.
    pub file: FileId,
    /// Items in source order; those that could not be read are [`ItemKind::Broken`].
    pub items: Vec<Item>,
    /// `//!` lines without the marks, joined by newlines.
    pub doc: Option<Arc<str>>,
    /// Every comment, docs included, in order: what a formatter needs to put them back.
    pub comments: Vec<Span>,
}

/// An item with its doc and visibility.
#[derive(Debug, Clone)]
pub struct Item {
    /// What it declares.
    pub kind: ItemKind,
    /// `pub`.
    pub public: bool,
    /// `///` lines without the marks, joined by newlines.
    pub doc: Option<Arc<str>>,
    /// From its first word to its end.
    pub span: Span,
}

/// What an item declares.
#[derive(Debug, Clone)]
pub enum ItemKind {
    /// `import name from "path"`.
    Import {
        /// The name the module is used by.
        name: Ident,
        /// What stands in the quotes.
        from: Ident,
    },
    /// `param name: ty = default where …`.
    Param {
        /// Its name.
        name: Ident,
        /// Its type.
        ty: TypeExpr,
        /// Its default.
        default: Option<Expr>,
        /// Its conditions.
        wheres: Vec<Where>,
    },
    /// `secret name = "id"`.
    Secret {
        /// Its name.
        name: Ident,
        /// What stands in the quotes.
        id: Option<Ident>,
    },
    /// `ssh name = "id"`.
    Ssh {
        /// Its name.
        name: Ident,
        /// What stands in the quotes.
        id: Option<Ident>,
    },
    /// `let name: ty = value`.
    Let(LetDecl),
    /// `fn name(params) -> result { body }`.
    Fn {
        /// Its name.
        name: Ident,
        /// Its parameters.
        params: Vec<Field>,
        /// Type of the result.
        result: TypeExpr,
        /// The block.
        body: Expr,
    },
    /// `type name = ty`.
    Type {
        /// Its name.
        name: Ident,
        /// What it stands for.
        ty: TypeExpr,
    },
    /// `enum name { a, b }`.
    Enum {
        /// Its name.
        name: Ident,
        /// Its variants.
        variants: Vec<Ident>,
    },
    /// `target name: ty -> "dest" = value`.
    Target {
        /// Its name.
        name: Ident,
        /// Its type, if it is written.
        ty: Option<TypeExpr>,
        /// What stands in the quotes.
        dest: Option<Ident>,
        /// Its value.
        value: Expr,
    },
    /// `test "name" { … }`.
    Test {
        /// What stands in the quotes.
        name: Ident,
        /// Its statements.
        stmts: Vec<TestStmt>,
    },
    /// `extern fn …` or `extern let …`: only the prelude may have them.
    Extern(Extern),
    /// An item that could not be read; its name is known, so that uses of it are no second error.
    Broken {
        /// Its name, if one could be made out.
        name: Option<Ident>,
    },
}

/// A declaration of the prelude.
#[derive(Debug, Clone)]
pub struct Extern {
    /// Type of the receiver.
    pub receiver: Option<TypeExpr>,
    /// Its name.
    pub name: Ident,
    /// Parameters of a function; `None` for `extern let`.
    pub params: Option<Vec<Field>>,
    /// Type of the result.
    pub result: TypeExpr,
}

/// `where condition else message`.
#[derive(Debug, Clone)]
pub struct Where {
    /// What must hold.
    pub condition: Expr,
    /// What is said when it does not.
    pub message: Option<Expr>,
}

/// `let name: ty = value`, of a module or a block.
#[derive(Debug, Clone)]
pub struct LetDecl {
    /// Its name.
    pub name: Ident,
    /// Its type, if it is written.
    pub ty: Option<TypeExpr>,
    /// Its value.
    pub value: Expr,
}

/// A statement of a test.
#[derive(Debug, Clone)]
pub enum TestStmt {
    /// `let x = e`.
    Let(LetDecl),
    /// `assert e`.
    Assert(Expr),
}

/// A parameter of a function, or a field of a record type.
#[derive(Debug, Clone)]
pub struct Field {
    /// Its name.
    pub name: Ident,
    /// Its type.
    pub ty: TypeExpr,
    /// Its default.
    pub default: Option<Expr>,
    /// Its `///` lines.
    pub doc: Option<Arc<str>>,
}

/// A type as written.
#[derive(Debug, Clone)]
pub struct TypeExpr {
    /// What it is.
    pub kind: TypeKind,
    /// Its place.
    pub span: Span,
}

/// What a written type is.
#[derive(Debug, Clone)]
pub enum TypeKind {
    /// `str`, `Service`.
    Name(Ident),
    /// `lib.Service`.
    Qualified(Ident, Ident),
    /// `[T]`.
    List(Box<TypeExpr>),
    /// `{str: T}`.
    Map(Box<TypeExpr>),
    /// `{ a: T, b: U = default }`.
    Record(Vec<Field>),
    /// `T?`.
    Option(Box<TypeExpr>),
}

/// An expression.
#[derive(Debug, Clone)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Its place; parentheses around it do not belong to it.
    pub span: Span,
}

/// What an expression is.
#[derive(Debug, Clone)]
pub enum ExprKind {
    /// A literal in quotes.
    Text(Vec<TextPart>),
    /// `42`.
    Int(i64),
    /// `0o755`.
    Mode(u32),
    /// `64MiB`, in bytes.
    Size(u64),
    /// `30s`, in nanoseconds.
    Duration(u64),
    /// `true`.
    Bool(bool),
    /// `none`.
    None,
    /// A name.
    Name(Arc<str>),
    /// `.name`; the span of the ident leaves the dot out.
    Variant(Ident),
    /// `[a, ...b]`.
    List(Vec<Element>),
    /// `{ a: 1, "b": 2, [c]: 3, d, ...e }`.
    Record(Vec<Entry>),
    /// `[for … : e]`.
    ListComp(Box<Loops>, Box<Expr>),
    /// `{for … : k: v}`.
    MapComp(Box<Loops>, Box<Expr>, Box<Expr>),
    /// `{ let … e }`.
    Block(Vec<LetDecl>, Box<Expr>),
    /// `if c { a } else { b }`.
    If(Box<Expr>, Box<Expr>, Box<Expr>),
    /// `match x { … }`.
    Match(Box<Expr>, Vec<Arm>),
    /// `on p { e }`.
    On(Box<Expr>, Box<Expr>),
    /// `fold acc = init for x in xs { e }`.
    Fold(Box<Fold>),
    /// `a + b`.
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// `-a`.
    Neg(Box<Expr>),
    /// `!a`.
    Not(Box<Expr>),
    /// `f(a, name: b)`, also `x |> f(b)`.
    Call(Box<Call>),
    /// `x.name`.
    Field(Box<Expr>, Ident),
    /// `x[i]`.
    Index(Box<Expr>, Box<Expr>),
}

/// A piece of a literal in quotes.
#[derive(Debug, Clone)]
pub enum TextPart {
    /// Text, escapes resolved, and the place it is written at.
    Text(Arc<str>, Span),
    /// `#{…}`.
    Expr(Expr),
}

/// An element of a list.
#[derive(Debug, Clone)]
pub enum Element {
    /// One element.
    Item(Expr),
    /// `...xs`.
    Spread(Expr),
}

/// An entry between braces.
#[derive(Debug, Clone)]
pub enum Entry {
    /// `name: value`, and `name` for `name: name`.
    Field(Ident, Expr),
    /// `"key": value` and `[key]: value`.
    Keyed(Expr, Expr),
    /// `...r`.
    Spread(Expr),
}

/// The loops of a comprehension.
#[derive(Debug, Clone)]
pub struct Loops {
    /// Outermost first.
    pub clauses: Vec<ForClause>,
    /// `if c`.
    pub condition: Option<Expr>,
}

/// `for k, v in over`.
#[derive(Debug, Clone)]
pub struct ForClause {
    /// The only or first variable.
    pub first: Ident,
    /// The second variable.
    pub second: Option<Ident>,
    /// What is gone through.
    pub over: Expr,
}

/// `fold acc = init for x in xs { body }`.
#[derive(Debug, Clone)]
pub struct Fold {
    /// Name of the accumulator.
    pub acc: Ident,
    /// Its first value.
    pub init: Expr,
    /// The loop.
    pub clause: ForClause,
    /// Its next value.
    pub body: Expr,
}

/// `pattern => body`.
#[derive(Debug, Clone)]
pub struct Arm {
    /// What it takes.
    pub pattern: Pattern,
    /// Where the pattern stands.
    pub span: Span,
    /// What it gives.
    pub body: Expr,
}

/// What an arm takes.
#[derive(Debug, Clone)]
pub enum Pattern {
    /// `.name`.
    Variant(Ident),
    /// `none`.
    None,
    /// `some(x)`.
    Some(Ident),
    /// `_`.
    Wildcard,
}

/// A call.
#[derive(Debug, Clone)]
pub struct Call {
    /// What is called.
    pub callee: Expr,
    /// Arguments in source order.
    pub args: Vec<Arg>,
    /// Whether the first argument came by `|>`.
    pub piped: bool,
    /// The parentheses and what is between them.
    pub parens: Span,
}

/// An argument.
#[derive(Debug, Clone)]
pub struct Arg {
    /// `name:` in front of it.
    pub name: Option<Ident>,
    /// Its value.
    pub value: Expr,
}

/// An operator with two sides; `|>` is a [`Call`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryOp {
    /// `??`
    Coalesce,
    /// `||`
    Or,
    /// `&&`
    And,
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
}

impl BinaryOp {
    /// As written.
    pub fn symbol(self) -> &'static str {
        match self {
            BinaryOp::Coalesce => "??",
            BinaryOp::Or => "||",
            BinaryOp::And => "&&",
            BinaryOp::Eq => "==",
            BinaryOp::Ne => "!=",
            BinaryOp::Lt => "<",
            BinaryOp::Le => "<=",
            BinaryOp::Gt => ">",
            BinaryOp::Ge => ">=",
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
        }
    }
}

impl ItemKind {
    /// The name it declares; tests have none.
    pub fn name(&self) -> Option<&Ident> {
        match self {
            ItemKind::Import { name, .. }
            | ItemKind::Param { name, .. }
            | ItemKind::Secret { name, .. }
            | ItemKind::Ssh { name, .. }
            | ItemKind::Let(LetDecl { name, .. })
            | ItemKind::Fn { name, .. }
            | ItemKind::Type { name, .. }
            | ItemKind::Enum { name, .. }
            | ItemKind::Target { name, .. }
            | ItemKind::Extern(Extern { name, .. }) => Some(name),
            ItemKind::Test { .. } => None,
            ItemKind::Broken { name } => name.as_ref(),
        }
    }
}
