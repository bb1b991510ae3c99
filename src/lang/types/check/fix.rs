//! Edits that mend what the checker reports: what is missing between brackets, with a value of the right type.

use super::super::ty::Type;
use super::Checker;
use crate::base::{Edit, Span};

impl Checker<'_> {
    /// Adds entries to a list between brackets: arguments, fields, arms.
    ///
    /// `whole` ends with the closing bracket; `last` is where the last entry ends, if there is one. Where that entry
    /// stands on a line of its own, each new one does, too.
    pub(super) fn add_entries(&self, whole: Span, last: Option<u32>, entries: &[String]) -> Edit {
        let file = self.sources.file(whole.file);
        let close = whole.end.saturating_sub(1).max(whole.start);
        // Parentheses around the last entry do not belong to its span.
        let parens = |at: u32| {
            let behind = file.text[at as usize..close.max(at) as usize].bytes();
            let skipped = behind.take_while(|byte| matches!(byte, b')' | b' '));
            let skipped: Vec<u8> = skipped.collect();
            at + skipped.iter().rposition(|&byte| byte == b')').map_or(0, |last| last as u32 + 1)
        };
        let at = last.map_or(close, parens);
        let behind = &file.text[at as usize..close.max(at) as usize];
        let line_start = file.text[..at as usize].rfind('\n').map_or(0, |newline| newline + 1);
        let on_own_line = behind.contains('\n') && (whole.start as usize) < line_start;
        let line = &file.text[line_start..at as usize];
        let indent = &line[..line.len() - line.trim_start().len()];
        let separator = if on_own_line { format!(",\n{indent}") } else { ", ".to_owned() };
        let joined = entries.join(&separator);
        let braces = file.text[close as usize..].starts_with('}');
        let replacement = match last {
            // A comma that is there already stays behind what is added.
            Some(_) => separator + &joined,
            None if braces => format!(" {joined} "),
            None => joined,
        };
        // Between empty braces there may be a space already.
        let blank = last.is_none() && braces && file.text[..at as usize].ends_with(' ');
        let span = Span { file: whole.file, start: if blank { at - 1 } else { at }, end: at };
        Edit { span, replacement }
    }
}

/// A value of type `ty` as written, to be replaced by a better one: the simplest that checks, where there is one.
pub(super) fn sample(ty: &Type) -> String {
    match ty {
        Type::Str => "\"\"",
        Type::Int => "0",
        Type::Bool => "false",
        Type::Path => "\"/\"",
        Type::Glob => "\".\"",
        Type::Ref => "\"alpine\"",
        Type::Url => "\"https://example.com\"",
        Type::Port => "8080",
        Type::Platform => "target_platform",
        Type::Mode => "0o644",
        Type::Size => "64MiB",
        Type::Duration => "30s",
        Type::Signal => "\"SIGTERM\"",
        Type::Cmd | Type::Argv => "\"true\"",
        Type::Fs | Type::Tree => "scratch",
        Type::Image => "scratch.image()",
        Type::Mount => "tmpfs(\"/tmp\")",
        Type::Out => "out(\"/out\")",
        Type::List(_) => "[]",
        Type::Map(_) | Type::Outs => "{}",
        Type::Enum(decl) => {
            return decl.variants.first().map_or_else(|| "none".to_owned(), |first| format!(".{first}"));
        }
        Type::Record(record) => {
            let required = record.fields.iter().filter(|field| !field.has_default);
            let fields: Vec<String> =
                required.map(|field| format!("{}: {}", field.name, sample(&field.ty))).collect();
            return if fields.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", fields.join(", ")) };
        }
        Type::Digest
        | Type::Index
        | Type::Check
        | Type::Secret
        | Type::Ssh
        | Type::Option(_)
        | Type::SelfType
        | Type::Var
        | Type::Never
        | Type::Error => "none",
    }
    .to_owned()
}
