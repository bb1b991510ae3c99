//! Changes of type that a program does not write.

use std::sync::Arc;

use super::interp::{Eval, Evaluator, as_text, field};
use super::value::{Command, Files, Map, Value};
use crate::base::Span;
use crate::lang::hir::{Coercion, LiteralKind};

impl Evaluator<'_> {
    /// Applies a change of type.
    pub(super) fn coerce(&mut self, coercion: &Coercion, value: Value, span: Span) -> Eval {
        Ok(match (coercion, value) {
            (Coercion::Some | Coercion::Empty, value) => value,
            (Coercion::Then(first, second), value) => {
                let value = self.coerce(first, value, span)?;
                self.coerce(second, value, span)?
            }
            (Coercion::ImageToFs, Value::Image(image)) => Value::Fs(Files::all(image.tree)),
            (Coercion::ToGlob, value) => {
                self.validate(LiteralKind::Glob, as_text(&value), span)?;
                value
            }
            (Coercion::WordsToCmd, Value::List(words)) => {
                let words = words.iter().map(|word| as_text(word).to_string()).collect();
                Value::Command(Arc::new(Command::Words(words)))
            }
            (Coercion::WordsToArgv, value) => value,
            (Coercion::RecordToMap(fields), value) => {
                let mut map = Map::default();
                for (name, inner) in fields {
                    let value = field(&value, name).clone();
                    map.set(name.clone(), self.coerce_maybe(inner.as_ref(), value, span)?);
                }
                Value::Map(Arc::new(map))
            }
            (Coercion::Each(inner), Value::List(items)) => {
                let items: Eval<Vec<Value>> =
                    items.iter().map(|item| self.coerce(inner, item.clone(), span)).collect();
                Value::List(items?.into())
            }
            (Coercion::EachValue(inner), Value::Map(map)) => {
                let mut changed = Map::default();
                for (key, value) in map.entries() {
                    changed.set(key.clone(), self.coerce(inner, value.clone(), span)?);
                }
                Value::Map(Arc::new(changed))
            }
            (Coercion::Inside(_), Value::None) => Value::None,
            (Coercion::Inside(inner), value) => self.coerce(inner, value, span)?,
            (Coercion::Fields(fields), value) => {
                let mut changed = Vec::with_capacity(fields.len());
                for (name, inner) in fields {
                    let value = field(&value, name).clone();
                    changed.push((name.clone(), self.coerce_maybe(inner.as_ref(), value, span)?));
                }
                Value::Record(changed.into())
            }
            (
                Coercion::ImageToFs | Coercion::WordsToCmd | Coercion::Each(_) | Coercion::EachValue(_),
                value,
            ) => panic!("{coercion:?} of {value:?}: the checker knows the types"),
        })
    }

    fn coerce_maybe(&mut self, coercion: Option<&Coercion>, value: Value, span: Span) -> Eval {
        match coercion {
            Some(coercion) => self.coerce(coercion, value, span),
            None => Ok(value),
        }
    }
}
