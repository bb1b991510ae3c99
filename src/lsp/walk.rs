//! Trees around a place: nodes that hold an offset, names that can be seen there.

use crate::lang::syntax::ast::{
    Arm, Element, Entry, Expr, ExprKind, Field, ForClause, Ident, Item, ItemKind, LetDecl, Loops, Module,
    Pattern, TestStmt, TextPart, TypeExpr, TypeKind,
};

/// A part of a tree.
#[derive(Debug, Clone, Copy)]
pub(super) enum Node<'a> {
    /// An item.
    Item(&'a Item),
    /// A `let` of a block or test.
    Let(&'a LetDecl),
    /// An expression.
    Expr(&'a Expr),
    /// A written type.
    Type(&'a TypeExpr),
    /// A parameter or a field of a record type.
    Field(&'a Field),
    /// An arm of a match.
    Arm(&'a Arm),
    /// A variable of a loop, or of `some(…)`.
    Variable(&'a Ident),
}

/// Calls `see` for every node of a module, outer ones first.
pub(super) fn module<'a>(module: &'a Module, see: &mut dyn FnMut(Node<'a>)) {
    for item in &module.items {
        visit(Node::Item(item), see);
    }
}

/// Calls `see` for `node` and all nodes in it, outer ones first.
pub(super) fn visit<'a>(node: Node<'a>, see: &mut dyn FnMut(Node<'a>)) {
    see(node);
    parts(node, &mut |part| visit(part, see));
}

/// The nodes directly in `node`, in source order but for piped arguments.
fn parts<'a>(node: Node<'a>, each: &mut dyn FnMut(Node<'a>)) {
    match node {
        Node::Item(item) => item_parts(item, each),
        Node::Let(decl) => {
            decl.ty.iter().for_each(|ty| each(Node::Type(ty)));
            each(Node::Expr(&decl.value));
        }
        Node::Type(ty) => match &ty.kind {
            TypeKind::Name(_) | TypeKind::Qualified(..) => {}
            TypeKind::List(inner) | TypeKind::Map(inner) | TypeKind::Option(inner) => each(Node::Type(inner)),
            TypeKind::Record(fields) => fields.iter().for_each(|field| each(Node::Field(field))),
        },
        Node::Field(field) => {
            each(Node::Type(&field.ty));
            field.default.iter().for_each(|default| each(Node::Expr(default)));
        }
        Node::Arm(arm) => {
            if let Pattern::Some(name) = &arm.pattern {
                each(Node::Variable(name));
            }
            each(Node::Expr(&arm.body));
        }
        Node::Variable(_) => {}
        Node::Expr(expr) => expr_parts(expr, each),
    }
}

fn item_parts<'a>(item: &'a Item, each: &mut dyn FnMut(Node<'a>)) {
    match &item.kind {
        ItemKind::Import { .. }
        | ItemKind::Secret { .. }
        | ItemKind::Ssh { .. }
        | ItemKind::Enum { .. }
        | ItemKind::Broken { .. } => {}
        ItemKind::Param { ty, default, wheres, .. } => {
            each(Node::Type(ty));
            default.iter().for_each(|default| each(Node::Expr(default)));
            for clause in wheres {
                each(Node::Expr(&clause.condition));
                clause.message.iter().for_each(|message| each(Node::Expr(message)));
            }
        }
        ItemKind::Let(decl) => parts(Node::Let(decl), each),
        ItemKind::Fn { params, result, body, .. } => {
            params.iter().for_each(|param| each(Node::Field(param)));
            each(Node::Type(result));
            each(Node::Expr(body));
        }
        ItemKind::Type { ty, .. } => each(Node::Type(ty)),
        ItemKind::Target { ty, value, .. } => {
            ty.iter().for_each(|ty| each(Node::Type(ty)));
            each(Node::Expr(value));
        }
        ItemKind::Test { stmts, .. } => stmts.iter().for_each(|stmt| match stmt {
            TestStmt::Let(decl) => each(Node::Let(decl)),
            TestStmt::Assert(claim) => each(Node::Expr(claim)),
        }),
        ItemKind::Extern(it) => {
            it.receiver.iter().for_each(|ty| each(Node::Type(ty)));
            it.params.iter().flatten().for_each(|param| each(Node::Field(param)));
            each(Node::Type(&it.result));
        }
    }
}

fn expr_parts<'a>(expr: &'a Expr, each: &mut dyn FnMut(Node<'a>)) {
    match &expr.kind {
        ExprKind::Text(parts) => parts.iter().for_each(|part| match part {
            TextPart::Text(..) => {}
            TextPart::Expr(value) => each(Node::Expr(value)),
        }),
        ExprKind::Int(_)
        | ExprKind::Mode(_)
        | ExprKind::Size(_)
        | ExprKind::Duration(_)
        | ExprKind::Bool(_)
        | ExprKind::None
        | ExprKind::Name(_)
        | ExprKind::Variant(_) => {}
        ExprKind::List(elements) => elements.iter().for_each(|element| match element {
            Element::Item(value) | Element::Spread(value) => each(Node::Expr(value)),
        }),
        ExprKind::Record(entries) => entries.iter().for_each(|entry| match entry {
            Entry::Field(_, value) | Entry::Spread(value) => each(Node::Expr(value)),
            Entry::Keyed(key, value) => {
                each(Node::Expr(key));
                each(Node::Expr(value));
            }
        }),
        ExprKind::ListComp(loops, body) => {
            loop_parts(loops, each);
            each(Node::Expr(body));
        }
        ExprKind::MapComp(loops, key, value) => {
            loop_parts(loops, each);
            each(Node::Expr(key));
            each(Node::Expr(value));
        }
        ExprKind::Block(lets, value) => {
            lets.iter().for_each(|decl| each(Node::Let(decl)));
            each(Node::Expr(value));
        }
        ExprKind::If(a, b, c) => [a, b, c].into_iter().for_each(|part| each(Node::Expr(part))),
        ExprKind::Match(scrutinee, arms) => {
            each(Node::Expr(scrutinee));
            arms.iter().for_each(|arm| each(Node::Arm(arm)));
        }
        ExprKind::On(a, b) | ExprKind::Binary(_, a, b) | ExprKind::Index(a, b) => {
            each(Node::Expr(a));
            each(Node::Expr(b));
        }
        ExprKind::Fold(fold) => {
            each(Node::Variable(&fold.acc));
            each(Node::Expr(&fold.init));
            clause_parts(&fold.clause, each);
            each(Node::Expr(&fold.body));
        }
        ExprKind::Neg(inner) | ExprKind::Not(inner) | ExprKind::Field(inner, _) => each(Node::Expr(inner)),
        ExprKind::Call(call) => {
            each(Node::Expr(&call.callee));
            call.args.iter().for_each(|arg| each(Node::Expr(&arg.value)));
        }
    }
}

fn loop_parts<'a>(loops: &'a Loops, each: &mut dyn FnMut(Node<'a>)) {
    loops.clauses.iter().for_each(|clause| clause_parts(clause, each));
    loops.condition.iter().for_each(|condition| each(Node::Expr(condition)));
}

fn clause_parts<'a>(clause: &'a ForClause, each: &mut dyn FnMut(Node<'a>)) {
    each(Node::Variable(&clause.first));
    clause.second.iter().for_each(|second| each(Node::Variable(second)));
    each(Node::Expr(&clause.over));
}

/// The expressions that hold `offset`, outer ones first. A piped argument is no part of its call's text.
pub(super) fn exprs_around(module: &Module, offset: u32) -> Vec<&Expr> {
    let mut found: Vec<&Expr> = Vec::new();
    self::module(module, &mut |node| {
        if let Node::Expr(expr) = node
            && expr.span.file == module.file
            && (expr.span.start..=expr.span.end).contains(&offset)
        {
            found.push(expr);
        }
    });
    found
}

/// The item that holds `offset`.
pub(super) fn item_at(module: &Module, offset: u32) -> Option<&Item> {
    let here =
        |item: &&Item| item.span.file == module.file && (item.span.start..=item.span.end).contains(&offset);
    module.items.iter().find(here)
}

/// Locals that can be seen at `offset`, innermost last.
pub(super) fn locals_at(module: &Module, offset: u32) -> Vec<&Ident> {
    let mut seen: Vec<&Ident> = Vec::new();
    let Some(item) = item_at(module, offset) else { return seen };
    match &item.kind {
        ItemKind::Fn { params, .. } => {
            seen.extend(params.iter().filter(|param| field_end(param) <= offset).map(|param| &param.name));
        }
        ItemKind::Test { stmts, .. } => {
            for stmt in stmts {
                if let TestStmt::Let(decl) = stmt
                    && decl.value.span.end < offset
                {
                    seen.push(&decl.name);
                }
            }
        }
        _ => {}
    }
    for expr in exprs_around(module, offset) {
        match &expr.kind {
            ExprKind::Block(lets, _) => {
                seen.extend(lets.iter().filter(|decl| decl.value.span.end < offset).map(|decl| &decl.name));
            }
            ExprKind::ListComp(loops, _) | ExprKind::MapComp(loops, ..) => {
                loops.clauses.iter().for_each(|clause| add_clause(clause, offset, &mut seen));
            }
            ExprKind::Fold(fold) => {
                add_clause(&fold.clause, offset, &mut seen);
                if fold.body.span.start <= offset {
                    seen.push(&fold.acc);
                }
            }
            ExprKind::Match(_, arms) => seen.extend(arms.iter().filter_map(|arm| match &arm.pattern {
                Pattern::Some(name) if (arm.body.span.start..=arm.body.span.end).contains(&offset) => {
                    Some(name)
                }
                _ => None,
            })),
            _ => {}
        }
    }
    seen
}

fn field_end(field: &Field) -> u32 {
    field.default.as_ref().map_or(field.ty.span.end, |default| default.span.end)
}

fn add_clause<'a>(clause: &'a ForClause, offset: u32, seen: &mut Vec<&'a Ident>) {
    if clause.over.span.end < offset {
        seen.push(&clause.first);
        seen.extend(&clause.second);
    }
}
