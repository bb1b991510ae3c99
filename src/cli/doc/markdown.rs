//! A reference as Markdown.

use std::fmt::Write as _;

use super::Reference;

pub(super) fn page(reference: &Reference) -> String {
    let mut out = format!("# {}\n", reference.title);
    paragraph(&mut out, &reference.doc);
    for section in &reference.sections {
        let _ = write!(out, "\n## {}\n", section.title);
        for entry in &section.entries {
            let _ = write!(out, "\n### {}\n\n```bkl\n{}\n```\n", entry.name, entry.signature);
            paragraph(&mut out, &entry.doc);
            if !entry.parts.is_empty() {
                out.push('\n');
            }
            for (name, doc) in &entry.parts {
                let _ = writeln!(out, "- `{name}`: {}", doc.replace('\n', "\n  "));
            }
        }
    }
    out
}

/// A list of modules with the files of their pages.
pub(super) fn index(modules: &[(String, &Reference)]) -> String {
    let mut out = "# The library\n\n".to_owned();
    for (file, module) in modules {
        let _ = writeln!(out, "- [`{}`]({file}): {}", module.title, module.summary());
    }
    out
}

fn paragraph(out: &mut String, text: &str) {
    if !text.trim().is_empty() {
        let _ = write!(out, "\n{}\n", text.trim());
    }
}
