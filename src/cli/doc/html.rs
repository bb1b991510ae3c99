//! A reference as one page of HTML that needs no other file.

use std::fmt::Write as _;

use super::Reference;

/// Whether there are other pages beside this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// None that are known.
    Alone,
    /// Those of the library, with their index.
    Library,
}

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b2430;--dim:#566173;--ground:#fff;--code:#f4f6f9;--rule:#dde3ea;--link:#1d4ed8}\
@media(prefers-color-scheme:dark){:root{--ink:#e4e9f0;--dim:#9aa6b6;--ground:#0f141b;--code:#1a222d;--rule:#2b3644;\
--link:#7aa7ff}}\
body{font:16px/1.55 system-ui,-apple-system,\"Segoe UI\",sans-serif;max-width:52rem;margin:2.2rem auto;padding:0 1.2rem 3rem;\
color:var(--ink);background:var(--ground)}\
h1{font-size:1.8rem;margin:.2rem 0 .6rem}h2{margin:2.6rem 0 0;padding-bottom:.3rem;border-bottom:1px solid var(--rule);\
font-size:1.25rem}h3{margin:2rem 0 .5rem;font-size:1.05rem;scroll-margin-top:1rem}\
h3:target{outline:2px solid var(--link);outline-offset:5px;border-radius:3px}\
pre,code{font-family:ui-monospace,\"DejaVu Sans Mono\",Menlo,Consolas,monospace;font-size:.88em;background:var(--code);\
border-radius:5px}code{padding:.12em .32em;overflow-wrap:anywhere}\
pre{padding:.75em 1em;white-space:pre-wrap;overflow-wrap:anywhere;border:1px solid var(--rule)}pre code{padding:0;background:none;overflow-wrap:normal}\
nav{columns:11rem;margin:1.2rem 0;font-size:.95em}nav a{display:block;overflow-wrap:anywhere}a{color:var(--link);text-decoration:none}\
a:hover{text-decoration:underline}h3 a{color:inherit}.up{margin:0;color:var(--dim)}\
dl{display:grid;grid-template-columns:minmax(7rem,max-content) 1fr;gap:.35rem 1.1rem}dd{margin:0}\
.modules dt{font-weight:600}@media(max-width:36rem){dl{grid-template-columns:1fr}dd{margin-bottom:.6rem}}";

pub(super) fn page(reference: &Reference, place: Place) -> String {
    let title = escape(&reference.title);
    let mut out = head(&title);
    if place == Place::Library {
        out.push_str("<p class=\"up\"><a href=\"index.html\">The library</a></p>\n");
    }
    let _ = write!(out, "<h1>{title}</h1>\n{}", prose(&reference.doc));
    if title.starts_with("std/") && title != "std/prelude" {
        let name = title.trim_start_matches("std/");
        let _ = writeln!(out, "<pre><code>import {name} from &quot;{title}&quot;</code></pre>");
    }
    out.push_str("<nav aria-label=\"Contents\">\n");
    for entry in reference.sections.iter().flat_map(|section| &section.entries) {
        let name = escape(&entry.name);
        let anchor = anchor(&entry.name);
        let _ = writeln!(out, "<a href=\"#{anchor}\">{name}</a>");
    }
    out.push_str("</nav>\n");
    for section in &reference.sections {
        let _ = writeln!(out, "<h2>{}</h2>", section.title);
        for entry in &section.entries {
            let name = escape(&entry.name);
            let anchor = anchor(&entry.name);
            let _ = write!(out, "<h3 id=\"{anchor}\"><a href=\"#{anchor}\">{name}</a></h3>\n<pre><code>");
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

/// Modules with the files of their pages.
pub(super) fn index(modules: &[(String, &Reference)]) -> String {
    let mut out = head("The library");
    out.push_str("<h1>The library</h1>\n<dl class=\"modules\">\n");
    for (file, module) in modules {
        let (title, summary) = (escape(&module.title), inline(module.summary()));
        let _ = writeln!(out, "<dt><a href=\"{}\">{title}</a></dt><dd>{summary}</dd>", escape(file));
    }
    out.push_str("</dl>\n</html>\n");
    out
}

fn head(title: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n<style>{STYLE}</style>\n"
    )
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

/// A name as a fragment of an address: `{str: T}.len` is `str-T.len`.
fn anchor(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric() && !"_.".contains(c));
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-").replace("-.", ".")
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
