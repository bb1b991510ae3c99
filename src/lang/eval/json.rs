//! JSON as a value of a type: what `read_json` reads and `-p` takes for records, lists and maps.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::Value as Json;

use super::params::{Given, read_scalar};
use crate::lang::hir::Program;
use crate::lang::types::Type;

/// What to do with fields of an object that the record does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extra {
    /// They are a mistake.
    Refused,
    /// They are nobody's business.
    LeftOut,
}

/// Where JSON is not of the type that is wanted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mismatch {
    /// From the top, `.services[0].port`; `.` is the top itself.
    pub(super) path: String,
    /// What is wrong there.
    pub(super) why: String,
}

/// `json` as a value of type `ty`.
pub(super) fn given(program: &Program, ty: &Type, json: &Json, extra: Extra) -> Result<Given, Mismatch> {
    let reader = Reader { program, extra };
    reader.read(ty, json, &mut Vec::new())
}

/// A step from the top.
enum Step<'j> {
    Key(&'j str),
    Element(usize),
}

struct Reader<'p> {
    program: &'p Program,
    extra: Extra,
}

impl Reader<'_> {
    fn read<'j>(&self, ty: &Type, json: &'j Json, path: &mut Vec<Step<'j>>) -> Result<Given, Mismatch> {
        let found = |path: &[Step<'_>]| wrong(path, format!("expected {ty}, found {}", kind(json)));
        match (ty, json) {
            (Type::Option(_), Json::Null) => Ok(Given::Value(super::value::Value::None)),
            (Type::Option(inner), json) => self.read(inner, json, path),
            (Type::List(element), Json::Array(items)) => {
                let mut all = Vec::with_capacity(items.len());
                for (idx, item) in items.iter().enumerate() {
                    all.push(self.below(Step::Element(idx), element, item, path)?);
                }
                Ok(Given::List(all))
            }
            (Type::Map(value), Json::Object(entries)) => {
                let mut all = Vec::with_capacity(entries.len());
                for (key, item) in entries {
                    all.push((Arc::from(key.as_str()), self.below(Step::Key(key), value, item, path)?));
                }
                Ok(Given::Map(all))
            }
            (Type::Record(record), Json::Object(entries)) => {
                let unknown = entries.keys().find(|key| record.field(key).is_none());
                if let Some(unknown) = unknown.filter(|_| self.extra == Extra::Refused) {
                    return Err(wrong(path, format!("no field `{unknown}` in {ty}")));
                }
                let mut fields = Vec::new();
                for field in &record.fields {
                    match (entries.get_key_value(&*field.name), &field.ty) {
                        (Some((key, item)), ty) => {
                            fields.push((field.name.clone(), self.below(Step::Key(key), ty, item, path)?));
                        }
                        (None, _) if field.has_default => {}
                        (None, Type::Option(_)) if self.extra == Extra::LeftOut => {
                            fields.push((field.name.clone(), Given::Value(super::value::Value::None)));
                        }
                        (None, _) => return Err(wrong(path, format!("missing field `{}`", field.name))),
                    }
                }
                Ok(Given::Record(record.clone(), fields))
            }
            (Type::List(_) | Type::Map(_) | Type::Record(_) | Type::Int | Type::Bool, Json::String(_)) => {
                Err(found(path))
            }
            (scalar, Json::String(text)) => {
                read_scalar(self.program, scalar, text).map(Given::Value).map_err(|why| wrong(path, why))
            }
            (scalar @ (Type::Int | Type::Port), Json::Number(_)) | (scalar @ Type::Bool, Json::Bool(_)) => {
                let text = json.to_string();
                read_scalar(self.program, scalar, &text).map(Given::Value).map_err(|why| wrong(path, why))
            }
            _ => Err(found(path)),
        }
    }

    fn below<'j>(
        &self,
        step: Step<'j>,
        ty: &Type,
        json: &'j Json,
        path: &mut Vec<Step<'j>>,
    ) -> Result<Given, Mismatch> {
        path.push(step);
        let read = self.read(ty, json, path)?;
        path.pop();
        Ok(read)
    }
}

fn wrong(path: &[Step<'_>], why: String) -> Mismatch {
    let mut text = String::new();
    for step in path {
        let plain = |key: &str| !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let written = match step {
            Step::Key(key) if plain(key) => write!(text, ".{key}"),
            Step::Key(key) => write!(text, "[{key:?}]"),
            Step::Element(idx) => write!(text, "[{idx}]"),
        };
        written.expect("a String takes everything");
    }
    if text.is_empty() {
        text.push('.');
    }
    Mismatch { path: text, why }
}

fn kind(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "true or false",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    }
}
