//! `bkl explain`: a page about a diagnostic's code.

use crate::base::Report;
use crate::base::suggest;
use crate::cli::Failure;
use crate::cli::args;
use crate::cli::lower::write_stdout;

/// One page per code: a heading `# name`, what it means, a wrong program and a right one.
const PAGES: &str = include_str!("../../docs/diagnostics.md");

/// A page.
struct Page<'a> {
    /// The code without `bkl::`.
    name: &'a str,
    text: &'a str,
}

fn pages() -> impl Iterator<Item = Page<'static>> {
    PAGES.split("\n## ").skip(1).map(|page| {
        let (name, text) = page.split_once('\n').unwrap_or((page, ""));
        Page { name: name.trim().trim_matches('`').trim_start_matches("bkl::"), text: text.trim() }
    })
}

/// Runs the verb.
pub(super) fn run(args: &args::Explain) -> Result<(), Failure> {
    let Some(code) = &args.code else {
        let width = pages().map(|page| page.name.len()).max().unwrap_or(0);
        let list: String =
            pages().map(|page| format!("{:width$}  {}\n", page.name, first_sentence(page.text))).collect();
        return write_stdout(list.as_bytes());
    };
    let name = code.trim_start_matches("bkl::");
    match pages().find(|page| page.name == name) {
        Some(page) => write_stdout(format!("bkl::{name}\n\n{}\n", page.text).as_bytes()),
        None => {
            let names: Vec<&str> = pages().map(|page| page.name).collect();
            let help = match suggest::nearest(name, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`bkl explain` lists all codes".to_owned(),
            };
            Err(Report::error("bkl::unknown_code", format!("there is no diagnostic `{code}`"))
                .help(help)
                .into())
        }
    }
}

fn first_sentence(text: &str) -> String {
    let first = text.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    match first.find(". ") {
        Some(end) => first[..end].to_owned(),
        None => first.trim_end_matches('.').to_owned(),
    }
}
