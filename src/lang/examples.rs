//! Examples in docs: fenced blocks of doc comments and of Markdown are programs, and can be tried.
//!
//! In a doc comment a block without a language is bkl; in Markdown it has to say so. What stands behind the language
//! changes what is expected:
//!
//! - nothing: it checks, and everything in it has a value; a comparison holds;
//! - `no_run`: it checks, no more;
//! - `error[bkl::code]`: it is wrong, in this way.
//!
//! A block is a program, or an expression with the `let`s before it. The module that it documents is imported under its
//! own name, unless the block declares that name. Nothing is run, fetched or pinned: images are stand-ins without a config.
//!
//! Places stay what they are: the block is read at its own offsets, with blanks for everything around it.

use std::sync::Arc;

use crate::base::{Digest, FileId, Platform, Report, Severity, SourceFile, SourceMap, Span};
use crate::lang::eval::{Answer, EvalError, ImageAnswer, Inputs, Need, Request, TestOutcome, evaluate_test};
use crate::lang::syntax::ast::{ItemKind, Module};
use crate::lang::syntax::{self};
use crate::lang::{Checked, Entry, ModuleSource, ModuleText, hir, load_and_check};

/// A fenced block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The item it is an example of; `None` in the doc of a module and in Markdown.
    pub of: Option<Arc<str>>,
    /// From its first line to its last, fences left out.
    pub span: Span,
    /// What is expected of it.
    pub claim: Claim,
    /// What of each line is code: start and end.
    code: Vec<(u32, u32)>,
}

/// What is expected of an example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// It checks, has a value, and its claims hold.
    Works,
    /// It checks.
    Checks,
    /// It is wrong: the code of one of the errors, with `bkl::`.
    Fails(String),
}

/// The module that examples are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The name it is imported under.
    pub name: String,
    /// As an import says it: `std/go`, `./util.bkl`.
    pub path: String,
}

/// What trying an example needs.
pub struct Trial<'a> {
    /// Folder of the documented file, from the root directory; empty is the root directory.
    pub dir: &'a str,
    /// The module that is imported.
    pub subject: Option<&'a Subject>,
    /// Texts of modules.
    pub texts: &'a (dyn ModuleSource + Sync),
    /// Platforms, and nothing that was given for a program.
    pub inputs: &'a Inputs,
    /// Answers what is asked about files; images have stand-ins.
    pub answer: &'a dyn Fn(&Need) -> Result<Answer, Report>,
}

/// The examples in the doc comments of a module, in source order.
pub fn of_module(file: &SourceFile, module: &Module) -> Vec<Example> {
    let text = &*file.text;
    let mut lines: Vec<Line> = Vec::new();
    let mut examples = Vec::new();
    let mut last: Option<(&str, u32)> = None;
    for comment in &module.comments {
        let written = file.slice(*comment);
        let mark = ["///", "//!"].into_iter().find(|mark| written.starts_with(mark));
        let mark = mark.filter(|_| !written.starts_with("////"));
        // A doc goes on as long as only blank space lies between its lines.
        let goes_on = match (last, mark) {
            (Some((known, end)), Some(mark)) => {
                known == mark && text[end as usize..comment.start as usize].trim().is_empty()
            }
            _ => false,
        };
        if !goes_on {
            examples.extend(blocks(file.id, &std::mem::take(&mut lines), Host::Comment));
        }
        last = mark.map(|mark| (mark, comment.end));
        if let Some(mark) = mark {
            let rest = &written[mark.len()..];
            let blank = usize::from(rest.starts_with(' '));
            let start = comment.start + (mark.len() + blank) as u32;
            lines.push(Line { start, end: comment.end, text: &rest[blank..] });
        }
    }
    examples.extend(blocks(file.id, &lines, Host::Comment));
    for example in &mut examples {
        example.of = owner(file, module, example.span);
    }
    examples
}

/// The examples in a text of Markdown.
pub fn of_markdown(file: &SourceFile) -> Vec<Example> {
    let mut start = 0;
    let lines: Vec<Line> = file
        .text
        .split_inclusive('\n')
        .map(|line| {
            let text = line.trim_end_matches(['\n', '\r']);
            let at = start;
            start += line.len() as u32;
            Line { start: at, end: at + text.len() as u32, text }
        })
        .collect();
    blocks(file.id, &lines, Host::Markdown)
}

/// The item that a doc at `span` belongs to: the one it stands in, else the next one. A doc that starts with `//!` has
/// none.
fn owner(file: &SourceFile, module: &Module, span: Span) -> Option<Arc<str>> {
    let line = file.text[..span.start as usize].rfind('\n').map_or(0, |at| at + 1);
    if file.text[line..].trim_start().starts_with("//!") {
        return None;
    }
    let item = module.items.iter().find(|item| span.start < item.span.end)?;
    item.kind.name().map(|name| name.text.clone())
}

/// Where blocks stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Host {
    Comment,
    Markdown,
}

/// A line of prose, at its place in the file.
struct Line<'a> {
    start: u32,
    end: u32,
    text: &'a str,
}

fn blocks(file: FileId, lines: &[Line<'_>], host: Host) -> Vec<Example> {
    let mut examples = Vec::new();
    let mut lines = lines.iter();
    while let Some(line) = lines.next() {
        let Some(info) = fence(line.text) else { continue };
        let body: Vec<&Line<'_>> = lines.by_ref().take_while(|line| fence(line.text).is_none()).collect();
        let (Some(first), Some(last)) = (body.first(), body.last()) else { continue };
        if let Some(claim) = claim(info, host) {
            examples.push(Example {
                of: None,
                span: Span::new(file, first.start, last.end),
                claim,
                code: body.iter().map(|line| (line.start, line.end)).collect(),
            });
        }
    }
    examples
}

/// What stands behind a fence; four blanks in front make it code.
fn fence(line: &str) -> Option<&str> {
    let text = line.trim_start_matches(' ');
    if line.len() - text.len() < 4 { text.strip_prefix("```") } else { None }
}

/// What the words behind a fence ask for; `None`: the block is not ours to try.
fn claim(info: &str, host: Host) -> Option<Claim> {
    let mut words = info.split([' ', ',', '\t']).filter(|word| !word.is_empty()).peekable();
    match words.peek() {
        Some(&"bkl") => drop(words.next()),
        Some(word) if host == Host::Comment && (*word == "no_run" || word.starts_with("error[")) => {}
        None if host == Host::Comment => {}
        _ => return None,
    }
    let mut claim = Claim::Works;
    for word in words {
        match word.strip_prefix("error[").and_then(|code| code.strip_suffix(']')) {
            Some(code) => claim = Claim::Fails(format!("bkl::{}", code.trim_start_matches("bkl::"))),
            None if word == "no_run" => claim = Claim::Checks,
            // For other tools.
            None => {}
        }
    }
    Some(claim)
}

/// An example as a program of its own.
struct Written {
    text: String,
    /// Bytes that stand before the file's own text.
    before: u32,
}

impl Example {
    /// What people call it: `example of build, line 12`.
    pub fn title(&self, file: &SourceFile) -> String {
        let line = file.line_col(self.span.start).line + 1;
        match &self.of {
            Some(name) => format!("example of {name}, line {line}"),
            None => format!("example, line {line}"),
        }
    }

    /// Tries the example of the file `file` of `sources`, where the texts of its modules are added. Gives what is wrong
    /// with it, at its place in the file: nothing when it is as claimed.
    pub fn run(&self, sources: &mut SourceMap, trial: &Trial<'_>) -> Vec<Report> {
        let file = sources.file(self.span.file).clone();
        let mut reports = Vec::new();
        for written in self.writings(&file, trial.subject) {
            let (checks, found) = self.try_as(sources, &file, &written, trial);
            reports = found;
            if checks {
                break;
            }
        }
        let reports = reports.into_iter().filter(|report| report.severity == Severity::Error);
        let reports: Vec<Report> = reports.collect();
        let Claim::Fails(code) = &self.claim else { return reports };
        if reports.iter().any(|report| report.code == *code) {
            return Vec::new();
        }
        let message = match reports.first() {
            None => format!("this example should fail with `{code}`, and nothing is wrong with it"),
            Some(other) => {
                format!("this example should fail with `{code}`, and it fails with `{}`", other.code)
            }
        };
        let wrong = Report::error("bkl::example", message)
            .label(self.span, "said of this block")
            .help("mend the example, or what is behind its fence");
        std::iter::once(wrong).chain(reports).collect()
    }

    /// The programs that the block can be, the likeliest last: it is what the errors are about.
    fn writings(&self, file: &SourceFile, subject: Option<&Subject>) -> Vec<Written> {
        let code = self.masked(&file.text);
        let parsed = |text: &str| {
            let mut alone = SourceMap::default();
            let id = alone.add("example", text);
            crate::lang::on_deep_stack(|| syntax::parse(alone.file(id)))
        };
        let program = parsed(&code);
        let names: Vec<&str> =
            program.module.items.iter().filter_map(|item| item.kind.name()).map(|name| &*name.text).collect();
        let import = match subject {
            Some(subject) if !names.contains(&subject.name.as_str()) => {
                format!("\nimport {} from \"{}\"\n", subject.name, subject.path)
            }
            _ => "\n".to_owned(),
        };
        let expression = |start: &str, end: &str| Written {
            before: start.len() as u32,
            text: format!("{start}{code}\n{end} }}{import}"),
        };
        // Of a comparison in parentheses both sides are shown; braces are a block when a `let` stands in them.
        let claims =
            [("test \"example\" { assert (", ")"), ("test \"example\" { assert { let example = 0 ", "}")];
        let claimed = claims.map(|(start, end)| expression(start, end));
        let claimed = claimed.into_iter().find(|it| parsed(&it.text).errors.is_empty());
        if let (Some(claimed), false) = (claimed, program.errors.is_empty()) {
            // What can be claimed is.
            let valued = expression("test \"example\" { let example = { let example = 0 ", "}");
            return vec![claimed, valued];
        }
        // Values that nothing uses are wanted all the same.
        let values = program.module.items.iter().filter_map(|item| match &item.kind {
            ItemKind::Let(it) => Some(&it.name.text),
            ItemKind::Target { name, .. } => Some(&name.text),
            _ => None,
        });
        let values: String =
            values.enumerate().map(|(n, name)| format!(" let example{n} = {name}")).collect();
        vec![Written { before: 0, text: format!("{code}{import}test \"example\" {{{values} }}\n") }]
    }

    /// The file's text with blanks for all but the code.
    fn masked(&self, text: &str) -> String {
        let mut masked: Vec<u8> = text.bytes().map(|byte| if byte == b'\n' { b'\n' } else { b' ' }).collect();
        for &(start, end) in &self.code {
            let range = start as usize..end as usize;
            masked[range.clone()].copy_from_slice(&text.as_bytes()[range]);
        }
        String::from_utf8(masked).expect("lines of code are whole characters, the rest is ASCII")
    }

    /// Whether the program checks, and what is wrong with it.
    fn try_as(
        &self,
        sources: &mut SourceMap,
        file: &SourceFile,
        written: &Written,
        trial: &Trial<'_>,
    ) -> (bool, Vec<Report>) {
        let slash = if trial.dir.is_empty() { "" } else { "/" };
        let path = format!("{}{slash}example of docs", trial.dir);
        let (name, text) = (file.name.clone(), Arc::from(written.text.as_str()));
        let texts = WithExample { path: &path, name, text, rest: trial.texts };
        let first = sources.files().len();
        let Checked { program, reports, .. } =
            load_and_check(sources, Entry { path: &path, origin: hir::Origin::Root }, &texts);
        let (checks, mut found) = (program.is_some(), reports);
        if let Some(program) = program.filter(|_| self.claim != Claim::Checks) {
            found.extend(evaluated(&program, sources, trial));
        }
        let block = FileId(first as u32);
        for label in found.iter_mut().flat_map(|report| &mut report.labels) {
            label.span = self.place(label.span, block, written.before, file.text.len() as u32);
        }
        (checks, found)
    }

    /// The place in the documented file of what is `span` in the program that was made of it.
    fn place(&self, span: Span, block: FileId, before: u32, len: u32) -> Span {
        if span.file != block {
            return span;
        }
        match (span.start.checked_sub(before), span.end.checked_sub(before)) {
            (Some(start), Some(end)) if end <= len => Span::new(self.span.file, start, end),
            _ => self.span,
        }
    }
}

/// What is wrong with the values of a program.
fn evaluated(program: &hir::Program, sources: &SourceMap, trial: &Trial<'_>) -> Vec<Report> {
    let mut inputs = trial.inputs.clone();
    let mut reports = Vec::new();
    for test in program.tests.iter().filter(|test| test.module == hir::Program::ENTRY) {
        loop {
            let needs = match evaluate_test(program, sources, &inputs, test) {
                TestOutcome::Done(tested) => {
                    reports.extend(tested.errors.iter().map(EvalError::report));
                    break;
                }
                TestOutcome::Needs(needs) => needs,
            };
            let mut failed = Vec::new();
            for need in needs {
                match stand_in(&need.request).map_or_else(|| (trial.answer)(&need), Ok) {
                    Ok(answer) => drop(inputs.answers.insert(need.request, answer)),
                    Err(report) => failed.push(report),
                }
            }
            if !failed.is_empty() {
                reports.extend(failed);
                break;
            }
        }
    }
    reports
}

/// An image without settings, for the platform that is asked for; a commit or a digest like any other.
fn stand_in(request: &Request) -> Option<Answer> {
    let (reference, platform) = match request {
        Request::Image { reference, platform, .. } | Request::OciLayout { reference, platform, .. } => {
            (reference, platform)
        }
        Request::Git { url, reference, .. } => {
            let name = Digest::of(format!("{url}#{reference}")).hex();
            return Some(Answer::Commit(name[..40].to_owned()));
        }
        Request::Http { url, .. } => return Some(Answer::Digest(Digest::of(url))),
        Request::Read { .. } | Request::Files { .. } => return None,
    };
    let Platform { os, arch, variant, .. } = platform;
    let mut config = serde_json::json!({ "os": os, "architecture": arch, "config": {} });
    if !variant.is_empty() {
        config["variant"] = variant.as_str().into();
    }
    Some(Answer::Image(ImageAnswer { digest: Digest::of(reference.to_string().as_bytes()), config }))
}

/// Module texts with an example among them.
struct WithExample<'a> {
    path: &'a str,
    name: Arc<str>,
    text: Arc<str>,
    rest: &'a (dyn ModuleSource + Sync),
}

impl ModuleSource for WithExample<'_> {
    fn module(&self, path: &str) -> ModuleText {
        if path == self.path {
            return ModuleText::Text { name: self.name.clone(), text: self.text.clone() };
        }
        self.rest.module(path)
    }
}
