//! What is wrong, for every file of the programs of open documents.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lsp_types::{
    Diagnostic, DiagnosticRelatedInformation, DiagnosticSeverity, Location, NumberOrString,
    PublishDiagnosticsParams,
};

use super::analysis::Program;
use super::place;
use super::project::Project;
use crate::base::{Report, Severity};

/// What was said last about each file, so that only what changed is said again.
#[derive(Debug, Default)]
pub(super) struct Published(BTreeMap<PathBuf, (Option<i32>, Vec<Diagnostic>)>);

/// Messages for the files about which there is something new to say. Files of which nothing is open any more are cleared.
pub(super) fn diagnose(project: &mut Project, published: &mut Published) -> Vec<PublishDiagnosticsParams> {
    let open: Vec<PathBuf> = project.documents().map(|(path, _)| path.to_owned()).collect();
    let mut found: BTreeMap<PathBuf, Vec<Diagnostic>> = BTreeMap::new();
    let mut seen: BTreeSet<PathBuf> = BTreeSet::new();
    for path in &open {
        found.entry(path.clone()).or_default();
        let program = project.program_of(path);
        let entry = program.loaded.modules.first().and_then(|module| program.module_path(module));
        if !seen.insert(entry.unwrap_or_else(|| path.clone())) {
            continue;
        }
        for report in &program.reports {
            if let Some((path, diagnostic)) = diagnostic(project, &program, report) {
                let known = found.entry(path).or_default();
                if !known.contains(&diagnostic) {
                    known.push(diagnostic);
                }
            }
        }
    }
    for path in published.0.keys() {
        found.entry(path.clone()).or_default();
    }
    let mut messages = Vec::new();
    for (path, diagnostics) in found {
        let document = project.document(&path);
        let version = document.map(|document| document.version);
        let uri = document.map(|document| document.uri.clone()).or_else(|| place::uri_of(&path));
        let news = (version, diagnostics);
        let known = published.0.get(&path);
        if known != Some(&news)
            && let Some(uri) = uri
        {
            let (version, diagnostics) = news.clone();
            messages.push(PublishDiagnosticsParams { uri, diagnostics, version });
        }
        if news.1.is_empty() && document.is_none() {
            published.0.remove(&path);
        } else {
            published.0.insert(path, news);
        }
    }
    messages
}

/// A report as the protocol has it, and the file it is about; nothing for reports without a place outside the library.
pub(super) fn diagnostic(
    project: &Project,
    program: &Program,
    report: &Report,
) -> Option<(PathBuf, Diagnostic)> {
    let primary = report.labels.first()?;
    let path = program.path_of(primary.span.file)?;
    let location = |span: crate::base::Span| -> Option<Location> {
        let path = program.path_of(span.file)?;
        let text = project.text(&path)?;
        let uri = project.document(&path).map(|it| it.uri.clone()).or_else(|| place::uri_of(&path))?;
        // The end of a text is where its last token ends, not where the next item starts.
        let start = if span.start == span.end {
            text.text[..span.start as usize].trim_end().len() as u32
        } else {
            span.start
        };
        let end = if span.start == span.end { start } else { span.end };
        Some(Location { uri, range: text.range(start, end, project.encoding) })
    };
    let related: Vec<DiagnosticRelatedInformation> = report.labels[1..]
        .iter()
        .filter_map(|label| {
            Some(DiagnosticRelatedInformation {
                location: location(label.span)?,
                message: label.text.clone(),
            })
        })
        .collect();
    let help = report.help.as_deref().map(|help| format!("\nhelp: {help}")).unwrap_or_default();
    let label = if primary.text.is_empty() { String::new() } else { format!("\n{}", primary.text) };
    let diagnostic = Diagnostic {
        range: location(primary.span)?.range,
        severity: Some(match report.severity {
            Severity::Error => DiagnosticSeverity::ERROR,
            Severity::Warning => DiagnosticSeverity::WARNING,
        }),
        code: Some(NumberOrString::String(report.code.to_owned())),
        source: Some("bkl".to_owned()),
        message: format!("{}{label}{help}", report.message),
        related_information: (!related.is_empty()).then_some(related),
        ..Diagnostic::default()
    };
    Some((path, diagnostic))
}

/// The reports about a file.
pub(super) fn reports_of<'p>(program: &'p Program, path: &Path) -> impl Iterator<Item = &'p Report> {
    let file = program.module_at(path).map(|module| module.ast.file);
    program
        .reports
        .iter()
        .filter(move |report| report.primary().map(|span| span.file) == file && file.is_some())
}
