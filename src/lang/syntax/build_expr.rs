//! From the grammar's pairs to expressions: precedence, chains, strings, numbers.

use std::sync::Arc;

use super::MAX_DEPTH;
use super::ast::{
    Arg, Arm, BinaryOp, Call, Element, Entry, Expr, ExprKind, Fold, ForClause, Loops, Pattern, TextPart,
};
use super::build::{Builder, Inner};
use super::error::SyntaxError;
use super::grammar::{Pair, Rule};
use super::words::{DURATION_UNITS, SIZE_UNITS};
use crate::base::Span;

/// An operator as written, lowest binding first.
#[derive(Clone, Copy, PartialEq)]
enum Infix {
    Pipe,
    Binary(BinaryOp),
}

impl Infix {
    fn of(symbol: &str) -> Infix {
        Infix::Binary(match symbol {
            "|>" => return Infix::Pipe,
            "??" => BinaryOp::Coalesce,
            "||" => BinaryOp::Or,
            "&&" => BinaryOp::And,
            "==" => BinaryOp::Eq,
            "!=" => BinaryOp::Ne,
            "<=" => BinaryOp::Le,
            ">=" => BinaryOp::Ge,
            "<" => BinaryOp::Lt,
            ">" => BinaryOp::Gt,
            "+" => BinaryOp::Add,
            "-" => BinaryOp::Sub,
            _ => BinaryOp::Mul,
        })
    }

    /// All operators group to the left.
    fn binding(self) -> u8 {
        match self {
            Infix::Pipe => 0,
            Infix::Binary(op) => match op {
                BinaryOp::Or => 1,
                BinaryOp::And => 2,
                BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge => 3,
                // `a ?? b == c` compares the value that `??` makes sure of.
                BinaryOp::Coalesce => 4,
                BinaryOp::Add | BinaryOp::Sub => 5,
                BinaryOp::Mul => 6,
            },
        }
    }
}

impl Builder<'_> {
    /// Builds something that lies `levels` deeper; gives up where that is too deep.
    fn deeper(&mut self, levels: u32, at: Span, build: impl FnOnce(&mut Self) -> Expr) -> Expr {
        if MAX_DEPTH < self.depth + levels {
            if !self.errors.iter().any(|error| matches!(error, SyntaxError::TooDeep { .. })) {
                let at = Span { end: (at.start + 1).min(at.end), ..at };
                self.errors.push(SyntaxError::TooDeep { at });
            }
            self.n_too_deep += 1;
            return Expr { kind: ExprKind::None, span: at };
        }
        self.depth += levels;
        let built = build(self);
        self.depth -= levels;
        built
    }

    pub(super) fn expr(&mut self, pair: Pair<'_>) -> Expr {
        let span = self.span(&pair);
        let levels = pair.clone().into_inner().filter(|part| part.as_rule() == Rule::infix).count() as u32;
        self.deeper(levels + 1, span, |builder| builder.operators(pair))
    }

    /// Operands and operators, put together by how strongly the operators bind.
    fn operators(&mut self, pair: Pair<'_>) -> Expr {
        let mut inner = Inner::of(pair);
        let mut operands = vec![self.unary(inner.part())];
        let mut operators: Vec<Infix> = Vec::new();
        while let Some(infix) = inner.part_if(Rule::infix) {
            let infix = Infix::of(infix.as_str());
            while let Some(top) = operators.pop_if(|top| infix.binding() <= top.binding()) {
                self.reduce(&mut operands, top);
            }
            operators.push(infix);
            operands.push(self.unary(inner.part()));
        }
        while let Some(top) = operators.pop() {
            self.reduce(&mut operands, top);
        }
        operands.pop().expect("every operator has taken two operands and left one")
    }

    fn reduce(&mut self, operands: &mut Vec<Expr>, infix: Infix) {
        let right = operands.pop().expect("an operator has a right side");
        let left = operands.pop().expect("an operator has a left side");
        let span = left.span.to(right.span);
        operands.push(match infix {
            Infix::Binary(op) => Expr { kind: ExprKind::Binary(op, Box::new(left), Box::new(right)), span },
            Infix::Pipe => self.pipe(left, right),
        });
    }

    /// `x |> f(y)` is `f(x, y)`; behind the call a chain may go on: `x |> f(y).run("…")`.
    fn pipe(&mut self, left: Expr, mut right: Expr) -> Expr {
        let whole = left.span.to(right.span);
        match receiving_call(&mut right, left.span) {
            Some(call) => {
                call.args.insert(0, Arg { name: None, value: left });
                call.piped = true;
                right
            }
            None => {
                self.errors.push(SyntaxError::PipeIntoValue { at: right.span });
                Expr { span: whole, ..left }
            }
        }
    }

    fn unary(&mut self, pair: Pair<'_>) -> Expr {
        let parts: Vec<Pair<'_>> = pair.into_inner().collect();
        let (term, signs) = parts.split_last().expect("the last part is a term");
        let span = self.span(term);
        self.deeper(signs.len() as u32, span, |builder| {
            let mut value = builder.term(term.clone());
            for sign in signs.iter().rev() {
                let span = builder.span(sign).to(value.span);
                let kind = match (sign.as_rule(), value.kind) {
                    (Rule::neg, ExprKind::Int(number)) if number > 0 => ExprKind::Int(-number),
                    (Rule::neg, kind) => ExprKind::Neg(Box::new(Expr { kind, span: value.span })),
                    (_, kind) => ExprKind::Not(Box::new(Expr { kind, span: value.span })),
                };
                value = Expr { kind, span };
            }
            value
        })
    }

    fn term(&mut self, pair: Pair<'_>) -> Expr {
        let span = self.span(&pair);
        let mut parts = pair.into_inner();
        let atom = parts.next().expect("a term starts with an atom");
        let links: Vec<Pair<'_>> = parts.collect();
        self.deeper(links.len() as u32, span, |builder| {
            let mut value = builder.atom(Inner::of(atom).part());
            for link in links {
                let link_span = builder.span(&link);
                let span = value.span.to(link_span);
                let rule = link.as_rule();
                let mut inner = Inner::of(link);
                let kind = match rule {
                    Rule::call => {
                        let args = inner.map(|arg| builder.arg(arg)).collect();
                        ExprKind::Call(Box::new(Call {
                            callee: value,
                            args,
                            piped: false,
                            parens: link_span,
                        }))
                    }
                    Rule::index => ExprKind::Index(Box::new(value), Box::new(builder.expr(inner.part()))),
                    _ => ExprKind::Field(Box::new(value), builder.ident(&inner.part())),
                };
                value = Expr { kind, span };
            }
            value
        })
    }

    fn arg(&mut self, pair: Pair<'_>) -> Arg {
        let mut inner = Inner::of(pair);
        let name = inner.part_if(Rule::name).map(|name| self.ident(&name));
        Arg { name, value: self.expr(inner.part()) }
    }

    fn atom(&mut self, pair: Pair<'_>) -> Expr {
        let span = self.span(&pair);
        let rule = pair.as_rule();
        let text = pair.as_str();
        let kind = match rule {
            Rule::string => return self.text(pair),
            Rule::mode_lit => ExprKind::Mode(u32::from_str_radix(&text[2..], 8).expect("four octal digits")),
            Rule::size_lit => ExprKind::Size(self.scaled(text, SIZE_UNITS, span)),
            Rule::duration_lit => ExprKind::Duration(self.scaled(text, DURATION_UNITS, span)),
            Rule::int_lit => ExprKind::Int(text.replace('_', "").parse().unwrap_or_else(|_| {
                self.errors.push(SyntaxError::NumberTooLarge { at: span });
                0
            })),
            Rule::bool_lit => ExprKind::Bool(text == "true"),
            Rule::none_lit => ExprKind::None,
            Rule::ident => ExprKind::Name(Arc::from(text)),
            Rule::variant => ExprKind::Variant(self.ident(&Inner::of(pair).part())),
            Rule::list_lit => ExprKind::List(
                Inner::of(pair)
                    .map(|element| match element.as_rule() {
                        Rule::spread => Element::Spread(self.expr(Inner::of(element).part())),
                        _ => Element::Item(self.expr(element)),
                    })
                    .collect(),
            ),
            Rule::list_comp => {
                let mut inner = Inner::of(pair);
                let loops = self.loops(inner.part());
                ExprKind::ListComp(Box::new(loops), Box::new(self.expr(inner.part())))
            }
            Rule::map_comp => {
                let mut inner = Inner::of(pair);
                let loops = self.loops(inner.part());
                let key = self.expr(inner.part());
                ExprKind::MapComp(Box::new(loops), Box::new(key), Box::new(self.expr(inner.part())))
            }
            Rule::record_lit => ExprKind::Record(Inner::of(pair).map(|entry| self.entry(entry)).collect()),
            Rule::block_expr => self.block(pair).kind,
            Rule::paren => return self.expr(Inner::of(pair).part()),
            Rule::if_expr => self.if_expr(pair).kind,
            Rule::match_expr => {
                let mut inner = Inner::of(pair);
                let scrutinee = self.expr(inner.part());
                ExprKind::Match(Box::new(scrutinee), inner.map(|arm| self.arm(arm)).collect())
            }
            Rule::on_expr => {
                let mut inner = Inner::of(pair);
                let platform = self.expr(inner.part());
                ExprKind::On(Box::new(platform), Box::new(self.block(inner.part())))
            }
            _ => {
                let mut inner = Inner::of(pair);
                let acc = self.ident(&inner.part());
                let init = self.expr(inner.part());
                let clause = self.for_clause(inner.part());
                ExprKind::Fold(Box::new(Fold { acc, init, clause, body: self.block(inner.part()) }))
            }
        };
        Expr { kind, span }
    }

    /// `{ let … e }`; without lets it is the expression itself.
    pub(super) fn block(&mut self, pair: Pair<'_>) -> Expr {
        let span = self.span(&pair);
        let mut inner = Inner::of(pair);
        let mut lets = Vec::new();
        while let Some(decl) = inner.part_if(Rule::let_decl) {
            lets.push(self.let_decl(decl));
        }
        let value = self.expr(inner.part());
        if lets.is_empty() {
            return value;
        }
        Expr { kind: ExprKind::Block(lets, Box::new(value)), span }
    }

    /// `if a {} else if b {} else {}`, the later ones nested into the earlier.
    fn if_expr(&mut self, pair: Pair<'_>) -> Expr {
        let span = self.span(&pair);
        let mut branches: Vec<Pair<'_>> = Inner::of(pair).collect();
        let otherwise = branches.pop().expect("the last part is the block behind `else`");
        self.deeper(branches.len() as u32, span, |builder| {
            let mut value = builder.block(otherwise);
            for branch in branches.into_iter().rev() {
                let span = builder.span(&branch).to(value.span);
                let mut inner = Inner::of(branch);
                let condition = Box::new(builder.expr(inner.part()));
                let then = Box::new(builder.block(inner.part()));
                value = Expr { kind: ExprKind::If(condition, then, Box::new(value)), span };
            }
            Expr { span, ..value }
        })
    }

    fn loops(&mut self, pair: Pair<'_>) -> Loops {
        let mut inner = Inner::of(pair);
        let mut clauses = Vec::new();
        while let Some(clause) = inner.part_if(Rule::for_clause) {
            clauses.push(self.for_clause(clause));
        }
        let condition = inner.next().map(|condition| self.expr(Inner::of(condition).part()));
        Loops { clauses, condition }
    }

    fn for_clause(&mut self, pair: Pair<'_>) -> ForClause {
        let mut inner = Inner::of(pair);
        let first = self.ident(&inner.part());
        let second = inner.part_if(Rule::ident).map(|name| self.ident(&name));
        ForClause { first, second, over: self.expr(inner.part()) }
    }

    fn entry(&mut self, pair: Pair<'_>) -> Entry {
        let mut inner = Inner::of(pair);
        let first = inner.part();
        match first.as_rule() {
            Rule::spread => Entry::Spread(self.expr(Inner::of(first).part())),
            Rule::string => Entry::Keyed(self.text(first), self.expr(inner.part())),
            Rule::computed => {
                let key = self.expr(Inner::of(first).part());
                Entry::Keyed(key, self.expr(inner.part()))
            }
            _ => {
                let name = self.ident(&first);
                let value = match inner.next() {
                    Some(value) => self.expr(value),
                    None => Expr { kind: ExprKind::Name(name.text.clone()), span: name.span },
                };
                Entry::Field(name, value)
            }
        }
    }

    fn arm(&mut self, pair: Pair<'_>) -> Arm {
        let mut inner = Inner::of(pair);
        let pattern_pair = Inner::of(inner.part()).part();
        let span = self.span(&pattern_pair);
        let pattern = match pattern_pair.as_rule() {
            Rule::variant => Pattern::Variant(self.ident(&Inner::of(pattern_pair).part())),
            Rule::none_lit => Pattern::None,
            Rule::some_pat => Pattern::Some(self.ident(&Inner::of(pattern_pair).part())),
            _ => Pattern::Wildcard,
        };
        Arm { pattern, span, body: self.expr(inner.part()) }
    }

    /// A literal in quotes, of any of the four kinds.
    pub(super) fn text(&mut self, pair: Pair<'_>) -> Expr {
        let span = self.span(&pair);
        let literal = Inner::of(pair).part();
        let file = span.file;
        let parts = match literal.as_rule() {
            Rule::raw_str => {
                let text = &literal.as_str()[2..literal.as_str().len() - 1];
                vec![TextPart::Text(Arc::from(text), Span::new(file, span.start + 2, span.end - 1))]
            }
            Rule::raw_multi => {
                let text = &literal.as_str()[4..literal.as_str().len() - 3];
                let at = Span::new(file, span.start + 4, span.end - 3);
                super::dedent::dedent(vec![TextPart::Text(Arc::from(text), at)])
            }
            rule => {
                let multi = rule == Rule::multi_str;
                let mut parts: Vec<TextPart> = Vec::new();
                for part in Inner::of(literal) {
                    let at = self.span_verbatim(&part);
                    let text = match part.as_rule() {
                        Rule::interp => {
                            parts.push(TextPart::Expr(self.expr(Inner::of(part).part())));
                            continue;
                        }
                        Rule::escape => self.escape(&part),
                        _ => part.as_str().to_owned(),
                    };
                    match parts.last_mut() {
                        Some(TextPart::Text(before, span)) => {
                            *before = Arc::from(format!("{before}{text}"));
                            *span = span.to(at);
                        }
                        _ => parts.push(TextPart::Text(Arc::from(text), at)),
                    }
                }
                if multi { super::dedent::dedent(parts) } else { parts }
            }
        };
        Expr { kind: ExprKind::Text(parts), span }
    }

    /// What an escape stands for.
    pub(super) fn escape(&mut self, pair: &Pair<'_>) -> String {
        let escape = &pair.as_str()[1..];
        let stands_for = match escape {
            "n" => '\n',
            "t" => '\t',
            "r" => '\r',
            "0" => '\0',
            code if code.starts_with("u{") => {
                let number = u32::from_str_radix(&code[2..code.len() - 1], 16).unwrap_or(u32::MAX);
                char::from_u32(number).unwrap_or_else(|| {
                    let (escape, at) = (pair.as_str().to_owned(), self.span(pair));
                    self.errors.push(SyntaxError::BadEscape { escape, at });
                    char::REPLACEMENT_CHARACTER
                })
            }
            itself => return itself.to_owned(),
        };
        stands_for.to_string()
    }

    /// A whole number and a unit, in the smallest unit.
    fn scaled(&mut self, text: &str, units: &[(&str, u64)], at: Span) -> u64 {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let unit = units.iter().find(|(unit, _)| *unit == &text[digits..]);
        let factor = unit.expect("the grammar knows the same units").1;
        let value = text[..digits].parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
        value.filter(|&value| i64::try_from(value).is_ok()).unwrap_or_else(|| {
            self.errors.push(SyntaxError::NumberTooLarge { at });
            0
        })
    }
}

/// The innermost call of a chain: `f(y)` of `f(y).run("…")`, also `lib.f(y)`. All that contains it starts at `start`.
fn receiving_call(chain: &mut Expr, start: Span) -> Option<&mut Call> {
    let span = start.to(chain.span);
    match &mut chain.kind {
        ExprKind::Call(call) => {
            let innermost = match &call.callee.kind {
                ExprKind::Field(base, _) => matches!(base.kind, ExprKind::Name(_)),
                _ => true,
            };
            chain.span = span;
            if innermost {
                return Some(call);
            }
            match &mut call.callee.kind {
                ExprKind::Field(base, _) => receiving_call(base, start),
                _ => None,
            }
        }
        ExprKind::Field(base, _) | ExprKind::Index(base, _) => {
            chain.span = span;
            receiving_call(base, start)
        }
        _ => None,
    }
}
