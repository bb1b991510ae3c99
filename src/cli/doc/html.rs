//! A reference as one page of HTML that needs no other file.

use std::fmt::Write as _;

use super::Reference;

const STYLE: &str = "\
body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}\
pre,code{font-family:ui-monospace,monospace;font-size:.9em;background:#f3f4f6;border-radius:4px}\
code{padding:.1em .3em}pre{padding:.7em 1em;overflow-x:auto}pre code{padding:0}\
h3{margin:2rem 0 .5rem}nav{columns:12rem;margin:1rem 0}nav a{display:block}a{color:#0b5cad;text-decoration:none}\
@media(prefers-color-scheme:dark){body{color:#e6e6e6;background:#15181c}pre,code{background:#22272e}a{color:#7ab7ff}}";

pub(super) fn page(reference: &Reference) -> String {
    let title = escape(&reference.title);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         <h1>{title}</h1>\n{}<nav>\n",
        prose(&reference.doc)
    );
    for entry in reference.sections.iter().flat_map(|section| &section.entries) {
        let name = escape(&entry.name);
        let _ = writeln!(out, "<a href=\"#{name}\">{name}</a>");
    }
    out.push_str("</nav>\n");
    for section in &reference.sections {
        let _ = writeln!(out, "<h2>{}</h2>", section.title);
        for entry in &section.entries {
            let name = escape(&entry.name);
            let _ = write!(out, "<h3 id=\"{name}\"><a href=\"#{name}\">{name}</a></h3>\n<pre><code>");
            let _ =
                writeln!(out, "{}</code></pre>\n{}", escape(&entry.signature), prose(&entry.doc).trim_end());
            if !entry.parts.is_empty() {
                out.push_str("<dl>\n");
                for (name, doc) in &entry.parts {
                    let _ = writeln!(out, "<dt><code>{}</code></dt><dd>{}</dd>", escape(name), inline(doc));
                }
                out.push_str("</dl>\n");
            }
        }
    }
    out.push_str("</html>\n");
    out
}

/// Paragraphs and fenced programs of a doc comment.
fn prose(text: &str) -> String {
    let mut out = String::new();
    let mut paragraph = String::new();
    let mut code: Option<String> = None;
    for line in text.lines().chain([""]) {
        let fence = line.trim_start().starts_with("```");
        match &mut code {
            Some(program) if fence => {
                let _ = writeln!(out, "<pre><code>{}</code></pre>", escape(program));
                code = None;
            }
            Some(program) => {
                program.push_str(line);
                program.push('\n');
            }
            None if fence || line.trim().is_empty() => {
                if !paragraph.is_empty() {
                    let _ = writeln!(out, "<p>{}</p>", inline(&std::mem::take(&mut paragraph)));
                }
                code = fence.then(String::new);
            }
            None => {
                paragraph.push_str(line);
                paragraph.push('\n');
            }
        }
    }
    out
}

/// Text with `code` in it.
fn inline(text: &str) -> String {
    let parts = text.trim().split('`').enumerate();
    parts
        .map(|(n, part)| if n % 2 == 1 { format!("<code>{}</code>", escape(part)) } else { escape(part) })
        .collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
