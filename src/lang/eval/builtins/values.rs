//! Methods of texts, paths, platforms, lists and maps.

use std::collections::HashSet;
use std::sync::Arc;

use super::Args;
use crate::base::path;
use crate::lang::eval::error::{Budget, Cause};
use crate::lang::eval::interp::{Eval, Evaluator, as_list, as_map, as_platform, as_text};
use crate::lang::eval::text::order;
use crate::lang::eval::value::{Command, CommandPart, Value};
use crate::lang::hir::Builtin;

/// `raw(text)`: a command's text as it is.
pub(super) fn raw(text: &Arc<str>) -> Value {
    Value::Command(Arc::new(Command::Shell(vec![CommandPart::Text(text.clone())])))
}

impl Evaluator<'_> {
    pub(super) fn value_method(&mut self, args: &Args<'_>) -> Eval {
        let builtin = args.call.builtin;
        if builtin == Builtin::Range {
            return self.range(args);
        }
        let this = args.required("self");
        Ok(match builtin {
            Builtin::PlatformOs => Value::str(as_platform(this).os.as_str()),
            Builtin::PlatformArch => Value::str(as_platform(this).arch.as_str()),
            Builtin::PlatformVariant => {
                let platform = as_platform(this);
                Value::optional(Some(platform.variant.as_str()).filter(|variant| !variant.is_empty()))
            }
            Builtin::StrTrim => Value::str(as_text(this).trim()),
            Builtin::StrUpper => Value::str(as_text(this).to_uppercase()),
            Builtin::StrLower => Value::str(as_text(this).to_lowercase()),
            Builtin::StrLen => Value::Int(as_text(this).chars().count() as i64),
            Builtin::StrStartsWith => Value::Bool(as_text(this).starts_with(&**args.text("prefix"))),
            Builtin::StrEndsWith => Value::Bool(as_text(this).ends_with(&**args.text("suffix"))),
            Builtin::StrContains => Value::Bool(as_text(this).contains(&**args.text("part"))),
            Builtin::StrMatches => {
                let pattern = args.text("regex");
                match regex::Regex::new(pattern) {
                    Ok(regex) => Value::Bool(regex.is_match(as_text(this))),
                    Err(error) => {
                        let (text, why) = (pattern.to_string(), regex_fault(&error));
                        return self.error(args.span_of("regex"), Cause::BadRegex { text, why });
                    }
                }
            }
            Builtin::StrReplace => {
                let (text, what, by) = (as_text(this), args.text("what"), args.text("by"));
                // Counted before it is made: an empty `what` is found between all characters.
                let found = text.matches(&**what).count();
                self.spend_bytes(text.len().saturating_add(found.saturating_mul(by.len())), args.span)?;
                Value::str(text.replace(&**what, by))
            }
            Builtin::StrSplit => {
                let (text, by) = (as_text(this), args.text("by"));
                let parts: Vec<Value> = if by.is_empty() {
                    text.chars().map(|c| Value::str(c.to_string())).collect()
                } else {
                    text.split(&**by).map(Value::str).collect()
                };
                self.spend_values(parts.len(), args.span)?;
                Value::List(parts.into())
            }
            Builtin::PathBase => Value::str(path::base(as_text(this))),
            Builtin::PathDir => Value::str(path::dir(as_text(this).trim_end_matches('/'))),
            Builtin::ListLen => Value::Int(as_list(this).len() as i64),
            Builtin::ListUnique => {
                let mut seen = HashSet::new();
                Value::List(
                    as_list(this).iter().filter(|item| seen.insert((*item).clone())).cloned().collect(),
                )
            }
            Builtin::ListSort => {
                let mut items = as_list(this).to_vec();
                items.sort_by(order);
                Value::List(items.into())
            }
            Builtin::ListContains => {
                let wanted = args.required("x");
                let mut found = false;
                for item in as_list(this) {
                    found = found || self.equal(item, wanted, args.span)?;
                }
                Value::Bool(found)
            }
            Builtin::ListJoin => {
                let by = args.text("by");
                let texts: Vec<String> = as_list(this).iter().map(|item| self.text_of(item)).collect();
                let len = texts.iter().map(|text| text.len() + by.len()).sum();
                self.spend_bytes(len, args.span)?;
                Value::str(texts.join(by))
            }
            Builtin::MapLen => Value::Int(as_map(this).entries().len() as i64),
            Builtin::MapKeys => {
                Value::List(as_map(this).entries().iter().map(|(key, _)| Value::Str(key.clone())).collect())
            }
            Builtin::MapValues => {
                Value::List(as_map(this).entries().iter().map(|(_, value)| value.clone()).collect())
            }
            Builtin::MapGet => as_map(this).get(args.text("key")).cloned().unwrap_or(Value::None),
            other => panic!("`{}` is no method of a value", other.key()),
        })
    }

    /// `[0, 1, … n - 1]`; empty for a negative `n`.
    fn range(&mut self, args: &Args<'_>) -> Eval {
        let Value::Int(n) = args.required("n") else { panic!("`range` of an int") };
        let n = usize::try_from(*n).unwrap_or(0);
        if n as u64 > Budget::Values.limit() {
            let what = Budget::Values;
            return self.too_large(args.span, what);
        }
        self.spend_values(n, args.span)?;
        Ok(Value::List((0..n).map(|at| Value::Int(at as i64)).collect()))
    }
}

/// The last line of the parser's message says what is wrong; the others draw the pattern.
fn regex_fault(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}
