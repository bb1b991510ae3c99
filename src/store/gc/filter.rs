//! Filters of records, in the syntax of containerd (`filters/parser.go`): `field`, `field==value`, `field!=value`,
//! `field~=regex`, several by comma, all of which must hold.

use regex::Regex;

use super::Item;

/// A text that is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// A field that records do not have.
    #[error("`{field}` is no field of records: there are {}", FIELDS.map(|it| format!("`{it}`")).join(", "))]
    Field {
        /// As written.
        field: String,
    },
    /// Something else where an operator is expected.
    #[error("expected `==`, `!=` or `~=` in `{text}`")]
    Operator {
        /// What is there.
        text: String,
    },
    /// A quoted value without its end.
    #[error("the value {text} has no closing quote")]
    Quote {
        /// From the quote on.
        text: String,
    },
    /// A regular expression that is none.
    #[error("`{text}` is no regular expression: {reason}")]
    Regex {
        /// As written.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A type that no record has.
    #[error("`{name}` is no type of record: there are {}", super::RecordType::ALL.map(|it| format!("`{}`", it.name())).join(", "))]
    Type {
        /// As written.
        name: String,
    },
}

/// The fields, as BuildKit has them (cache/manager.go, `adaptUsageInfo`).
const FIELDS: [&str; 9] =
    ["id", "parents", "description", "inuse", "mutable", "immutable", "type", "shared", "private"];

/// Which records are meant: all conditions hold.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone)]
struct Condition {
    field: &'static str,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Present,
    Equal(String),
    Unequal(String),
    Matches(Regex),
}

impl Filter {
    /// Reads a filter. A single `=` is taken for `==`, as docker's commands write it.
    ///
    /// # Errors
    /// [`FilterError`] says what is wrong.
    pub fn parse(text: &str) -> Result<Filter, FilterError> {
        let mut rest = text.trim();
        let mut conditions = Vec::new();
        while !rest.is_empty() {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')));
            let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
            let field = FIELDS.into_iter().find(|it| *it == name);
            let field = field.ok_or_else(|| FilterError::Field { field: name.to_owned() })?;
            let after = after.trim_start();
            let (test, after) = if after.is_empty() || after.starts_with(',') {
                (Test::Present, after)
            } else {
                condition(after)?
            };
            if let (Test::Equal(name) | Test::Unequal(name), "type") = (&test, field)
                && super::RecordType::from_name(name).is_none()
            {
                return Err(FilterError::Type { name: name.clone() });
            }
            conditions.push(Condition { field, test });
            rest = after.trim_start();
            match rest.strip_prefix(',') {
                Some(next) => rest = next.trim_start(),
                None if rest.is_empty() => {}
                None => return Err(FilterError::Operator { text: rest.to_owned() }),
            }
        }
        Ok(Filter { conditions })
    }

    /// Whether the record is meant.
    pub fn matches(&self, item: &Item) -> bool {
        self.conditions.iter().all(|it| it.holds(item))
    }
}

/// An operator with its value, and what follows.
fn condition(text: &str) -> Result<(Test, &str), FilterError> {
    let operators = ["==", "!=", "~=", "="];
    let operator = operators.into_iter().find(|it| text.starts_with(it));
    let operator = operator.ok_or_else(|| FilterError::Operator { text: text.to_owned() })?;
    let (value, rest) = value(text[operator.len()..].trim_start())?;
    let test = match operator {
        "!=" => Test::Unequal(value),
        "~=" => match Regex::new(&value) {
            Ok(regex) => Test::Matches(regex),
            Err(error) => {
                let reason = error.to_string().lines().last().unwrap_or_default().to_owned();
                return Err(FilterError::Regex { text: value, reason });
            }
        },
        _ => Test::Equal(value),
    };
    Ok((test, rest))
}

/// A value up to the next comma, or in quotes with `\` before what is meant as it is.
fn value(text: &str) -> Result<(String, &str), FilterError> {
    let Some(quote) = text.chars().next().filter(|it| matches!(it, '"' | '\'' | '/' | '|')) else {
        let (value, rest) = text.split_at(text.find(',').unwrap_or(text.len()));
        return Ok((value.trim_end().to_owned(), rest));
    };
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            _ if c == quote => return Ok((value, &text[at + c.len_utf8()..])),
            '\\' => match chars.next() {
                Some((_, escaped))
                    if escaped == quote || (escaped == '\\' && quote != '/' && quote != '|') =>
                {
                    value.push(escaped);
                }
                // Regular expressions have escapes of their own.
                Some((_, other)) => value.extend(['\\', other]),
                None => {}
            },
            _ => value.push(c),
        }
    }
    Err(FilterError::Quote { text: text.to_owned() })
}

impl Condition {
    fn holds(&self, item: &Item) -> bool {
        let parents;
        let (value, is_present) = match self.field {
            "id" => (item.id.as_str(), true),
            "parents" => {
                parents = item.parents.join(";");
                (parents.as_str(), !item.parents.is_empty())
            }
            "description" => (item.description.as_str(), !item.description.is_empty()),
            "type" => (item.record_type.name(), true),
            "inuse" => ("", item.in_use),
            "mutable" => ("", item.mutable),
            "immutable" => ("", !item.mutable),
            "shared" => ("", item.shared),
            "private" => ("", !item.shared),
            _ => unreachable!("only fields are parsed"),
        };
        match &self.test {
            Test::Present => is_present,
            Test::Equal(wanted) => is_present && value == wanted,
            Test::Unequal(wanted) => value != wanted,
            Test::Matches(regex) => is_present && regex.is_match(value),
        }
    }
}
