//! Text between `"""`: the indentation of the source is not part of it.

use std::sync::Arc;

use super::ast::TextPart;
use crate::base::Span;

/// Removes what belongs to the layout of the source and not to the text:
///
/// - the newline behind the opening quotes, if nothing else stands on that line;
/// - from every line, the white space that all lines have in front; empty lines do not count, nor does text on the
///   line of the opening quotes;
/// - the white space in front of the closing quotes, if they stand on a line of their own; the newline before it stays.
///
/// Line ends become `\n`.
pub(super) fn dedent(parts: Vec<TextPart>) -> Vec<TextPart> {
    let mut lines = split_lines(parts);
    if lines.len() < 2 {
        return lines.pop().unwrap_or_default();
    }
    let opens_blank = is_blank(&lines[0]);
    if opens_blank {
        lines.remove(0);
    }
    let indented = if opens_blank { &lines[..] } else { &lines[1..] };
    let indent =
        indented.iter().filter(|line| !is_blank(line)).map(|line| indent_of(line)).min().unwrap_or(0);
    let n_verbatim = usize::from(!opens_blank);
    for line in &mut lines[n_verbatim..] {
        if is_blank(line) {
            line.clear();
        } else if let Some(TextPart::Text(text, _)) = line.first_mut() {
            *text = Arc::from(&text[indent.min(text.len())..]);
        }
    }
    join_lines(lines)
}

/// The lines, without their ends; a text that crosses lines is cut, every piece keeps the place of the whole.
fn split_lines(parts: Vec<TextPart>) -> Vec<Vec<TextPart>> {
    let mut lines = vec![Vec::new()];
    for part in parts {
        match part {
            TextPart::Text(text, span) => {
                for (n, line) in text.split('\n').enumerate() {
                    if 0 < n {
                        lines.push(Vec::new());
                    }
                    let line = line.strip_suffix('\r').unwrap_or(line);
                    if !line.is_empty() {
                        lines
                            .last_mut()
                            .expect("starts with one line")
                            .push(TextPart::Text(Arc::from(line), span));
                    }
                }
            }
            TextPart::Expr(_) => lines.last_mut().expect("starts with one line").push(part),
        }
    }
    lines
}

fn join_lines(lines: Vec<Vec<TextPart>>) -> Vec<TextPart> {
    let mut joined: Vec<TextPart> = Vec::new();
    let n_lines = lines.len();
    // A newline takes its place from the text before it; there is always one, or the text after it.
    let mut pending = String::new();
    let mut last_span = None;
    for (n, line) in lines.into_iter().enumerate() {
        for part in line {
            match part {
                TextPart::Text(text, span) => {
                    pending.push_str(&text);
                    last_span = Some(span);
                }
                TextPart::Expr(expr) => {
                    flush(&mut joined, &mut pending, last_span.unwrap_or(expr.span));
                    last_span = Some(expr.span);
                    joined.push(TextPart::Expr(expr));
                }
            }
        }
        if n + 1 < n_lines {
            pending.push('\n');
        }
    }
    if let Some(span) = last_span {
        flush(&mut joined, &mut pending, span);
    }
    joined
}

fn flush(joined: &mut Vec<TextPart>, pending: &mut String, span: Span) {
    if !pending.is_empty() {
        joined.push(TextPart::Text(Arc::from(std::mem::take(pending)), span));
    }
}

fn is_blank(line: &[TextPart]) -> bool {
    line.iter().all(|part| matches!(part, TextPart::Text(text, _) if text.trim().is_empty()))
}

/// Bytes of white space at the front; spaces and tabs only, so that cutting them is cutting characters.
fn indent_of(line: &[TextPart]) -> usize {
    match line.first() {
        Some(TextPart::Text(text, _)) => text.len() - text.trim_start_matches([' ', '\t']).len(),
        Some(TextPart::Expr(_)) | None => 0,
    }
}
