//! Literals with values in them, the texts of values, and operators.

use std::sync::Arc;

use super::error::{Cause, near};
use super::interp::{Env, Eval, Evaluator, Gather, as_list, as_text};
use super::quote::Piece;
use super::value::{Command, CommandPart, Map, Value};
use super::words;
use crate::base::Span;
use crate::lang::hir::{BinaryOp, Expr, Literal, LiteralKind, Part};
use crate::lang::types::{Type, literal};

/// A part of a literal whose values are known.
enum Known {
    Text(Arc<str>),
    Word(Arc<str>, Span),
    Words(Vec<String>, Span),
}

impl Evaluator<'_> {
    /// The value of a literal in quotes.
    pub(super) fn literal(&mut self, literal: &Literal, span: Span, env: &mut Env) -> Eval {
        let parts = self.parts(literal, env)?;
        let has_values = literal.as_text().is_none();
        match literal.kind {
            LiteralKind::Cmd => {
                let parts = parts.into_iter().map(|part| match part {
                    Known::Text(text) => CommandPart::Text(text),
                    Known::Word(text, span) => CommandPart::Word(text, span),
                    Known::Words(words, span) => CommandPart::Words(words, span),
                });
                Ok(Value::Command(Arc::new(Command::Shell(parts.collect()))))
            }
            LiteralKind::Argv => self.argv(&parts, span),
            kind => {
                let mut text = String::new();
                for part in &parts {
                    match part {
                        Known::Text(part) | Known::Word(part, _) => text.push_str(part),
                        Known::Words(words, _) => text.push_str(&words.join(" ")),
                    }
                }
                self.spend_bytes(text.len(), span)?;
                if has_values {
                    self.validate(kind, &text, span)?;
                }
                if kind == LiteralKind::Platform {
                    return match text.parse() {
                        Ok(platform) => Ok(Value::Platform(Arc::new(platform))),
                        Err(why) => {
                            let why = format!("{why}");
                            self.error(span, Cause::BadLiteral { kind, text, why })
                        }
                    };
                }
                Ok(Value::str(text))
            }
        }
    }

    fn parts(&mut self, literal: &Literal, env: &mut Env) -> Eval<Vec<Known>> {
        let mut parts = Vec::with_capacity(literal.parts.len());
        let mut gather = Gather::default();
        for part in &literal.parts {
            match part {
                Part::Text(text) => parts.push(Known::Text(text.clone())),
                Part::Value(expr) => {
                    let Some(value) = gather.take(self.expr(expr, env))? else { continue };
                    parts.push(match &value {
                        Value::List(items) => {
                            Known::Words(items.iter().map(|item| self.text_of(item)).collect(), expr.span)
                        }
                        value => Known::Word(self.text_of(value).into(), expr.span),
                    });
                }
            }
        }
        gather.finish()?;
        Ok(parts)
    }

    fn argv(&mut self, parts: &[Known], span: Span) -> Eval {
        // The written parts are held to the rules that the checker has for texts without values.
        let written: String = parts
            .iter()
            .map(|part| match part {
                Known::Text(text) => text,
                Known::Word(..) | Known::Words(..) => "x",
            })
            .collect();
        self.validate(LiteralKind::Argv, &written, span)?;
        let pieces: Vec<Piece<'_>> = parts
            .iter()
            .map(|part| match part {
                Known::Text(text) => Piece::Text(text),
                Known::Word(text, _) => Piece::Word(text),
                Known::Words(words, _) => Piece::Words(words),
            })
            .collect();
        match words::split(&pieces) {
            Ok(words) => {
                self.spend_bytes(words.iter().map(String::len).sum(), span)?;
                Ok(Value::strs(words))
            }
            Err(error) => self.error(span, Cause::BadWords { why: error.to_string() }),
        }
    }

    /// Checks a text that is known only now.
    pub(super) fn validate(&self, kind: LiteralKind, text: &str, span: Span) -> Eval<()> {
        match literal::validate(kind, text) {
            Ok(()) => Ok(()),
            Err(why) => self.error(span, Cause::BadLiteral { kind, text: text.to_owned(), why }),
        }
    }

    /// The text of a scalar, as `#{…}` inserts it.
    ///
    /// Sizes are bytes, durations their largest whole unit, modes octal as chmod reads them.
    pub(super) fn text_of(&self, value: &Value) -> String {
        match value {
            Value::Bool(value) => value.to_string(),
            Value::Int(value) => value.to_string(),
            Value::Mode(mode) => format!("{mode:04o}"),
            Value::Size(bytes) => bytes.to_string(),
            Value::Duration(nanos) => duration_text(*nanos),
            Value::Str(text) => text.to_string(),
            Value::Platform(platform) => platform.to_string(),
            Value::Variant(id, idx) => self.program.enums[id.index()].variants[*idx as usize].to_string(),
            other => panic!("{other:?} has no text: the checker lets only scalars through"),
        }
    }

    /// A value for messages; unlike [`Evaluator::text_of`] every value has one.
    pub(super) fn show(&self, value: &Value) -> String {
        match value {
            Value::None => "none".to_owned(),
            Value::List(items) => {
                format!("[{}]", items.iter().map(|item| self.show(item)).collect::<Vec<_>>().join(", "))
            }
            Value::Map(map) => self.show_fields(map.entries()),
            Value::Record(fields) => self.show_fields(fields),
            Value::Command(_)
            | Value::Fs(_)
            | Value::Image(_)
            | Value::Index(_)
            | Value::Check(_)
            | Value::Mount(_)
            | Value::Out(_)
            | Value::Secret(_)
            | Value::Ssh(_) => "…".to_owned(),
            scalar => self.text_of(scalar),
        }
    }

    /// As [`Evaluator::show`], texts in quotes.
    pub(super) fn show_quoted(&self, value: &Value) -> String {
        match value {
            Value::Str(text) => format!("{text:?}"),
            Value::List(items) => {
                let items: Vec<String> = items.iter().map(|item| self.show_quoted(item)).collect();
                format!("[{}]", items.join(", "))
            }
            Value::Map(map) => self.show_fields_quoted(map.entries()),
            Value::Record(fields) => self.show_fields_quoted(fields),
            Value::Variant(..) => format!(".{}", self.text_of(value)),
            other => self.show(other),
        }
    }

    fn show_fields_quoted(&self, fields: &[(Arc<str>, Value)]) -> String {
        let fields: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name}: {}", self.show_quoted(value))).collect();
        format!("{{ {} }}", fields.join(", "))
    }

    fn show_fields(&self, fields: &[(Arc<str>, Value)]) -> String {
        let fields: Vec<_> =
            fields.iter().map(|(name, value)| format!("{name}: {}", self.show(value))).collect();
        format!("{{ {} }}", fields.join(", "))
    }

    /// `xs[i]` and `m["k"]`.
    pub(super) fn index(&mut self, subject: &Value, position: &Value, span: Span) -> Eval {
        match (subject, position) {
            (Value::List(items), Value::Int(index)) => {
                match usize::try_from(*index).ok().and_then(|at| items.get(at)) {
                    Some(item) => Ok(item.clone()),
                    None => self.error(span, Cause::OutOfRange { index: *index, len: items.len() }),
                }
            }
            (Value::Map(map), Value::Str(key)) => match map.get(key) {
                Some(value) => Ok(value.clone()),
                None => {
                    let have: Vec<String> = map.entries().iter().map(|(key, _)| key.to_string()).collect();
                    let cause = Cause::MissingKey { key: key.to_string(), near: near(key, &have), have };
                    self.error(span, cause)
                }
            },
            _ => panic!("{subject:?} at {position:?}: the checker knows the types"),
        }
    }

    /// The operators that evaluate both sides.
    /// Whether two values are equal; their parts count as steps, for values may share them.
    pub(super) fn equal(&mut self, left: &Value, right: &Value, span: Span) -> Eval<bool> {
        self.spent.step().or_else(|what| self.too_large(span, what))?;
        let pairs: Vec<(&Value, &Value)> = match (left, right) {
            (Value::List(a), Value::List(b)) if !Arc::ptr_eq(a, b) && a.len() == b.len() => {
                a.iter().zip(b.iter()).collect()
            }
            (Value::Record(a), Value::Record(b)) if !Arc::ptr_eq(a, b) && a.len() == b.len() => {
                a.iter().zip(b.iter()).map(|((_, a), (_, b))| (a, b)).collect()
            }
            (Value::Map(a), Value::Map(b))
                if !Arc::ptr_eq(a, b)
                    && a.entries().iter().map(|it| &it.0).eq(b.entries().iter().map(|it| &it.0)) =>
            {
                a.entries().iter().zip(b.entries().iter()).map(|((_, a), (_, b))| (a, b)).collect()
            }
            _ => return Ok(left == right),
        };
        for (a, b) in pairs {
            if !self.equal(a, b, span)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn operate(&mut self, op: BinaryOp, left: &Value, right: &Value, expr: &Expr) -> Eval {
        let span = expr.span;
        match op {
            BinaryOp::Add => self.add(left, right, expr),
            BinaryOp::Sub | BinaryOp::Mul => {
                let value = match (op, left, right) {
                    (BinaryOp::Sub, Value::Int(a), Value::Int(b)) => a.checked_sub(*b).map(Value::Int),
                    (BinaryOp::Sub, Value::Size(a), Value::Size(b)) => a.checked_sub(*b).map(Value::Size),
                    (BinaryOp::Sub, Value::Duration(a), Value::Duration(b)) => {
                        a.checked_sub(*b).map(Value::Duration)
                    }
                    (_, Value::Int(a), Value::Int(b)) => a.checked_mul(*b).map(Value::Int),
                    (_, Value::Size(a), Value::Int(b)) | (_, Value::Int(b), Value::Size(a)) => {
                        u64::try_from(*b).ok().and_then(|b| a.checked_mul(b)).map(Value::Size)
                    }
                    (_, Value::Duration(a), Value::Int(b)) | (_, Value::Int(b), Value::Duration(a)) => {
                        u64::try_from(*b).ok().and_then(|b| a.checked_mul(b)).map(Value::Duration)
                    }
                    _ => panic!("{op:?} of {left:?} and {right:?}: the checker knows the types"),
                };
                value.map_or_else(|| self.error(span, Cause::Overflow), Ok)
            }
            BinaryOp::Eq => Ok(Value::Bool(self.equal(left, right, span)?)),
            BinaryOp::Ne => Ok(Value::Bool(!self.equal(left, right, span)?)),
            BinaryOp::Lt => Ok(Value::Bool(order(left, right).is_lt())),
            BinaryOp::Le => Ok(Value::Bool(order(left, right).is_le())),
            BinaryOp::Gt => Ok(Value::Bool(order(left, right).is_gt())),
            BinaryOp::Ge => Ok(Value::Bool(order(left, right).is_ge())),
            BinaryOp::And | BinaryOp::Or => panic!("`&&` and `||` do not evaluate both sides"),
        }
    }

    fn add(&mut self, left: &Value, right: &Value, expr: &Expr) -> Eval {
        let span = expr.span;
        let number = match (left, right) {
            (Value::Int(a), Value::Int(b)) => a.checked_add(*b).map(Value::Int),
            (Value::Size(a), Value::Size(b)) => a.checked_add(*b).map(Value::Size),
            (Value::Duration(a), Value::Duration(b)) => a.checked_add(*b).map(Value::Duration),
            (Value::Str(a), Value::Str(b)) => {
                self.spend_bytes(a.len() + b.len(), span)?;
                return Ok(Value::str(format!("{a}{b}")));
            }
            (Value::List(a), Value::List(b)) => {
                self.spend_values(a.len() + b.len(), span)?;
                return Ok(Value::List(a.iter().chain(b.iter()).cloned().collect()));
            }
            (Value::Map(a), Value::Map(b)) => {
                self.spend_values(a.entries().len() + b.entries().len(), span)?;
                let map: Map = a.entries().iter().chain(b.entries()).cloned().collect();
                return Ok(Value::Map(Arc::new(map)));
            }
            (Value::Record(a), Value::Record(b)) => {
                let Type::Record(ty) = &expr.ty else { panic!("the sum of two records is a record") };
                let given = a.iter().chain(b.iter()).cloned().collect();
                return self.complete(&ty.clone(), given, span);
            }
            _ => panic!("{left:?} + {right:?}: the checker knows the types"),
        };
        number.map_or_else(|| self.error(span, Cause::Overflow), Ok)
    }

    /// The texts of a list of `str`.
    pub(super) fn strings(list: &Value) -> Vec<String> {
        as_list(list).iter().map(|item| as_text(item).to_string()).collect()
    }
}

/// The order of two ints, texts, sizes or durations.
pub(super) fn order(left: &Value, right: &Value) -> std::cmp::Ordering {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Str(a), Value::Str(b)) => a.cmp(b),
        (Value::Mode(a), Value::Mode(b)) => a.cmp(b),
        (Value::Size(a), Value::Size(b)) | (Value::Duration(a), Value::Duration(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Platform(a), Value::Platform(b)) => a.cmp(b),
        (Value::Variant(_, a), Value::Variant(_, b)) => a.cmp(b),
        _ => panic!("{left:?} and {right:?} have no order: the checker knows the types"),
    }
}

/// A duration in its largest whole unit: `90s`, `2h`, `1500ms`; below a millisecond it is a fraction of one.
fn duration_text(nanos: u64) -> String {
    const UNITS: &[(u64, &str)] =
        &[(3_600_000_000_000, "h"), (60_000_000_000, "m"), (1_000_000_000, "s"), (1_000_000, "ms")];
    let unit = UNITS.iter().find(|(unit, _)| nanos != 0 && nanos.is_multiple_of(*unit));
    match unit {
        Some((unit, name)) => format!("{}{name}", nanos / unit),
        None if nanos == 0 => "0s".to_owned(),
        None => format!("{}ms", nanos as f64 / 1e6),
    }
}
