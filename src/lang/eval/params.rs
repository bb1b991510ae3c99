//! Reading what `-p name=value` gives, by the type of the param.
//!
//! Scalars are written as in source without quotes, lists with commas (or by repeating `-p`), records and maps as
//! JSON. `@file` is the command line's business: it replaces the text before it comes here.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::error::{Cause, EvalError, near};
use super::interp::{Eval, Evaluator};
use super::json::{self, Extra, Mismatch};
use super::value::Value;
use crate::base::{FileId, SourceMap, Span};
use crate::lang::hir::{LiteralKind, Param, ParamId, Program};
use crate::lang::syntax::words::{DURATION_UNITS, SIZE_UNITS};
use crate::lang::types::{RecordType, Type, literal};

/// The params that were given.
#[derive(Debug, Clone, Default)]
pub struct Params {
    given: BTreeMap<ParamId, Given>,
}

/// A given value; fields that were left out still have to be evaluated.
#[derive(Debug, Clone)]
pub(super) enum Given {
    Value(Value),
    List(Vec<Given>),
    Map(Vec<(Arc<str>, Given)>),
    Record(Arc<RecordType>, Vec<(Arc<str>, Given)>),
}

/// Why a text is not of a type, and which part of it.
struct Wrong {
    /// Byte range in the text.
    range: std::ops::Range<usize>,
    why: String,
}

impl Params {
    /// What was given for `param`.
    pub(super) fn get(&self, param: ParamId) -> Option<&Given> {
        self.given.get(&param)
    }

    /// Reads the texts `name=value` of all `-p`, in order. Only params of the entry module and of modules below the
    /// root can be given; a name that several modules declare means the entry module's, else the first.
    ///
    /// Adds each wrong text to `sources`, as `-p name`, so that the error can point into it.
    pub fn read(
        program: &Program,
        sources: &mut SourceMap,
        texts: &[String],
    ) -> Result<Params, Vec<EvalError>> {
        let mut by_param: Vec<(ParamId, Vec<&str>)> = Vec::new();
        let mut errors = Vec::new();
        for text in texts {
            let Some((name, value)) = text.split_once('=') else {
                errors.push(EvalError::unplaced(Cause::ParamWithoutValue { text: text.clone() }));
                continue;
            };
            match find(program, name) {
                Some(id) => match by_param.iter_mut().find(|(known, _)| *known == id) {
                    Some((_, values)) => values.push(value),
                    None => by_param.push((id, vec![value])),
                },
                None => {
                    let mut have: Vec<String> = Vec::new();
                    for param in &program.params {
                        if !have.contains(&param.item.name.to_string()) {
                            have.push(param.item.name.to_string());
                        }
                    }
                    let near = near(name, &have);
                    let cause = Cause::UnknownParam { param: name.to_owned(), near, have };
                    errors.push(EvalError::unplaced(cause));
                }
            }
        }
        let mut given = BTreeMap::new();
        for (id, values) in by_param {
            let param = &program.params[id.index()];
            match read_values(program, param, &values) {
                Ok(value) => drop(given.insert(id, value)),
                Err((text, wrong)) => errors.push(wrong_param(param, text, &wrong, sources)),
            }
        }
        if errors.is_empty() { Ok(Params { given }) } else { Err(errors) }
    }
}

fn find(program: &Program, name: &str) -> Option<ParamId> {
    let named = || {
        let ids = (0..).map(ParamId);
        ids.zip(&program.params).filter(|(_, param)| &*param.item.name == name)
    };
    let entry = named().find(|(_, param)| param.module == Program::ENTRY);
    entry.or_else(|| named().next()).map(|(id, _)| id)
}

fn wrong_param(param: &Param, text: &str, wrong: &Wrong, sources: &mut SourceMap) -> EvalError {
    let file: FileId = sources.add(format!("-p {}", param.item.name), text);
    let span = Span::new(file, wrong.range.start as u32, wrong.range.end as u32);
    // `T?` is given as a `T` is.
    let given = match &param.ty {
        Type::Option(inner) => inner,
        ty => ty,
    };
    let ty = match given {
        ty @ (Type::Int | Type::Image | Type::Index) => format!("an {ty}"),
        ty => format!("a {ty}"),
    };
    let cause = Cause::BadParam {
        param: param.item.name.to_string(),
        text: text.to_owned(),
        ty,
        why: wrong.why.clone(),
        declared: param.item.span,
    };
    EvalError::at(span, cause)
}

/// The last text counts, but for lists, where all do.
fn read_values<'t>(program: &Program, param: &Param, texts: &[&'t str]) -> Result<Given, (&'t str, Wrong)> {
    let inner = match &param.ty {
        Type::Option(inner) => inner.as_ref(),
        ty => ty,
    };
    if let Type::List(element) = inner {
        let mut all = Vec::new();
        for &text in texts {
            if text.trim_start().starts_with('[') {
                match read_text(program, inner, text, 0).map_err(|wrong| (text, wrong))? {
                    Given::List(items) => all.extend(items),
                    other => all.push(other),
                }
                continue;
            }
            let mut start = 0;
            for part in text.split(',').filter(|_| !text.is_empty()) {
                all.push(read_text(program, element, part, start).map_err(|wrong| (text, wrong))?);
                start += part.len() + 1;
            }
        }
        return Ok(Given::List(all));
    }
    let text = texts.last().copied().unwrap_or_default();
    read_text(program, &param.ty, text, 0).map_err(|wrong| (text, wrong))
}

/// Reads `text`, which starts at byte `start` of what was given.
fn read_text(program: &Program, ty: &Type, text: &str, start: usize) -> Result<Given, Wrong> {
    let range = start..start + text.len();
    let wrong = |why: String| Wrong { range: range.clone(), why };
    let json_text = |text: &str| {
        serde_json::from_str::<serde_json::Value>(text)
            .map_err(|_| wrong(format!("this is not JSON, in which a {ty} is given: {}", example(ty))))
    };
    match ty {
        Type::Option(_) if text == "none" => Ok(Given::Value(Value::None)),
        Type::Option(inner) => read_text(program, inner, text, start),
        Type::List(_) | Type::Map(_) | Type::Record(_) => {
            let Mismatch { path, why } = match json::given(program, ty, &json_text(text)?, Extra::Refused) {
                Ok(given) => return Ok(given),
                Err(mismatch) => mismatch,
            };
            Err(wrong(if path == "." { why } else { format!("{path}: {why}") }))
        }
        scalar => read_scalar(program, scalar, text).map(Given::Value).map_err(wrong),
    }
}

/// The shape of the JSON that gives a value of `ty`.
fn example(ty: &Type) -> &'static str {
    match ty {
        Type::List(_) => "[…, …]",
        _ => r#"{ "name": … }"#,
    }
}

pub(super) fn read_scalar(program: &Program, ty: &Type, text: &str) -> Result<Value, String> {
    let kind = match ty {
        Type::Str => return Ok(Value::str(text)),
        Type::Int => {
            use std::num::IntErrorKind::{NegOverflow, PosOverflow};
            let digits = text.replace('_', "");
            return digits.parse().map(Value::Int).map_err(|error: std::num::ParseIntError| {
                match error.kind() {
                    PosOverflow | NegOverflow => "an int has 64 bits".to_owned(),
                    _ => "not a whole number".to_owned(),
                }
            });
        }
        Type::Bool => {
            return match text {
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                _ => Err("write true or false".to_owned()),
            };
        }
        Type::Mode => {
            let digits = text.strip_prefix("0o").filter(|digits| (3..=4).contains(&digits.len()));
            let mode = digits.and_then(|digits| u32::from_str_radix(digits, 8).ok());
            return mode.map(Value::Mode).ok_or_else(|| "a mode is written 0o755".to_owned());
        }
        Type::Size => return scaled(text, SIZE_UNITS, "a size is written 64MiB").map(Value::Size),
        Type::Duration => {
            return scaled(text, DURATION_UNITS, "a duration is written 30s").map(Value::Duration);
        }
        Type::Enum(decl) => {
            let name = text.strip_prefix('.').unwrap_or(text);
            let variants = &program.enums[decl.id.index()].variants;
            return match variants.iter().position(|variant| &**variant == name) {
                Some(idx) => Ok(Value::Variant(decl.id, idx as u32)),
                None => Err(format!("use one of {}", variants.join(", "))),
            };
        }
        Type::Path => LiteralKind::Path,
        Type::Glob => LiteralKind::Glob,
        Type::Ref => LiteralKind::Ref,
        Type::Url => LiteralKind::Url,
        Type::Port => LiteralKind::Port,
        Type::Platform => LiteralKind::Platform,
        Type::Digest => LiteralKind::Digest,
        Type::Signal => LiteralKind::Signal,
        other => return Err(format!("a value of type {other} cannot be given on the command line")),
    };
    literal::validate(kind, text)?;
    match kind {
        LiteralKind::Platform => text
            .parse()
            .map(|platform| Value::Platform(Arc::new(platform)))
            .map_err(|error| format!("{error}")),
        _ => Ok(Value::str(text)),
    }
}

/// A whole number and a unit, in the smallest unit; `form` says how such a text is written.
fn scaled(text: &str, units: &[(&str, u64)], form: &str) -> Result<u64, String> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = units.iter().find(|(unit_name, _)| *unit_name == unit && !digits.is_empty());
    let &(_, factor) = unit.ok_or_else(|| form.to_owned())?;
    let value = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    value.filter(|&value| i64::try_from(value).is_ok()).ok_or_else(|| format!("{text} is too large"))
}

impl Evaluator<'_> {
    /// The value of what was given for the param `declared`; fields that were left out come from their defaults.
    pub(super) fn given(&mut self, given: &Given, declared: Span) -> Eval {
        match given {
            Given::Value(value) => Ok(value.clone()),
            Given::List(items) => {
                let items: Eval<Vec<Value>> = items.iter().map(|item| self.given(item, declared)).collect();
                Ok(Value::List(items?.into()))
            }
            Given::Map(entries) => {
                let entries: Eval<Vec<_>> = entries
                    .iter()
                    .map(|(key, item)| Ok((key.clone(), self.given(item, declared)?)))
                    .collect();
                Ok(Value::Map(Arc::new(entries?.into_iter().collect())))
            }
            Given::Record(ty, fields) => {
                let mut values = HashMap::new();
                for (name, item) in fields {
                    values.insert(name.clone(), self.given(item, declared)?);
                }
                self.complete(ty, values, declared)
            }
        }
    }
}
