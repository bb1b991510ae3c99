//! What we tell people about their input: a code, a message, labelled spans, a way out.
//!
//! Every phase has its own error type and turns it into a [`Report`]; rendering is the only place that knows miette.

use std::fmt::Write as _;

use crate::base::text::{SourceMap, Span};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The run goes on.
    Warning,
    /// The run cannot give what was asked for.
    Error,
}

/// A span and what is to be said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// What, in a few words; lower case, no full stop.
    pub text: String,
}

/// One change of a text: `replacement` in the place of `span`, which may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// What is taken out.
    pub span: Span,
    /// What is put there.
    pub replacement: String,
}

/// A way out that a tool can take: all its edits together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fix {
    /// What it does, as an order: "write `.copy`"; lower case, no full stop.
    pub title: String,
    /// In source order, without overlaps; all in the file of the primary label.
    pub edits: Vec<Edit>,
}

impl Fix {
    /// Puts `replacement` in the place of `span`.
    pub fn replace(title: impl Into<String>, span: Span, replacement: impl Into<String>) -> Fix {
        Fix { title: title.into(), edits: vec![Edit { span, replacement: replacement.into() }] }
    }

    /// Puts `replacement` behind `span`.
    pub fn append(title: impl Into<String>, span: Span, replacement: impl Into<String>) -> Fix {
        Fix::replace(title, Span { start: span.end, ..span }, replacement)
    }

    /// Puts `before` and `after` around `span`.
    pub fn wrap(title: impl Into<String>, span: Span, before: &str, after: &str) -> Fix {
        let at = |start: u32, replacement: &str| Edit {
            span: Span { start, end: start, ..span },
            replacement: replacement.to_owned(),
        };
        Fix { title: title.into(), edits: vec![at(span.start, before), at(span.end, after)] }
    }
}

/// One diagnostic.
///
/// `message` is one line that can be understood alone: lower case, no full stop, user text in backticks. The first
/// label is the primary one. `help` says the way out and names only things that exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Stable name, `bkl::type_mismatch`.
    pub code: &'static str,
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// Where, the primary place first. Labels of other files are shown as snippets of their own.
    pub labels: Vec<Label>,
    /// What to do about it.
    pub help: Option<String>,
    /// Ways out that tools can take, the likeliest first; `help` says the same in words.
    pub fixes: Vec<Fix>,
    /// Text shown under the report as it is: the last lines of a command's output, say.
    pub details: Option<String>,
}

impl Report {
    /// An error without labels.
    pub fn error(code: &'static str, message: impl Into<String>) -> Report {
        let (severity, message) = (Severity::Error, message.into());
        Report { code, severity, message, labels: Vec::new(), help: None, fixes: Vec::new(), details: None }
    }

    /// A warning without labels.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Report {
        Report { severity: Severity::Warning, ..Report::error(code, message) }
    }

    /// Adds a label; the first one added is the primary one.
    #[must_use]
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Report {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    /// Sets the way out.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Report {
        self.help = Some(text.into());
        self
    }

    /// Sets the way out when there is one.
    #[must_use]
    pub fn maybe_help(mut self, text: Option<String>) -> Report {
        self.help = text.or(self.help);
        self
    }

    /// Adds ways out that tools can take.
    #[must_use]
    pub fn fixes(mut self, fixes: impl IntoIterator<Item = Fix>) -> Report {
        self.fixes.extend(fixes);
        self
    }

    /// Sets the text shown under the report.
    #[must_use]
    pub fn details(mut self, text: impl Into<String>) -> Report {
        self.details = Some(text.into());
        self
    }

    /// Where the primary label starts; reports are sorted by it.
    pub fn primary(&self) -> Option<Span> {
        self.labels.first().map(|label| label.span)
    }
}

/// How a report is drawn for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// ANSI colours.
    pub color: bool,
    /// Columns to wrap at.
    pub width: usize,
}

impl Style {
    /// What golden files use: no colour, 110 columns.
    pub const PLAIN: Style = Style { color: false, width: 110 };
}

/// The report as people read it, ending in a newline.
pub fn render(report: &Report, sources: &SourceMap, style: Style) -> String {
    let theme = if style.color {
        miette::GraphicalTheme::unicode()
    } else {
        miette::GraphicalTheme::unicode_nocolor()
    };
    let handler = miette::GraphicalReportHandler::new_themed(theme)
        .with_links(false)
        .with_width(style.width)
        .with_context_lines(1)
        .with_wrap_lines(true);
    let mut out = String::new();
    let shown = Shown::new(report, sources);
    // Writing to a `String` fails only when a label lies outside its text, and labels come from our own spans.
    if handler.render_report(&mut out, &shown).is_err() {
        let _ = writeln!(out, "{}: {}", report.code, report.message);
    }
    // miette puts a blank line after the code, which only takes room.
    let blank_after_code = |(i, line): &(usize, &str)| *i == 1 && line.trim_end().is_empty();
    let lines = out.lines().enumerate().filter(|it| !blank_after_code(it));
    let mut out: String = lines.map(|(_, line)| line.trim_end().to_owned() + "\n").collect();
    if let Some(details) = &report.details {
        out.push_str(details);
        if !details.ends_with('\n') {
            out.push('\n');
        }
    }
    out
}

/// One line: `file:line:col: error[code]: message`.
pub fn render_short(report: &Report, sources: &SourceMap) -> String {
    let severity = match report.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let place = report.primary().map(|span| sources.locate(span) + ": ").unwrap_or_default();
    quiet(&format!("{place}{severity}[{}]: {}", report.code, report.message))
}

/// The report as one JSON object, for tools: lines and columns are one-based, ends exclusive.
pub fn to_json(report: &Report, sources: &SourceMap) -> serde_json::Value {
    let placed = |span: Span, key: &str, text: &str| {
        let file = sources.file(span.file);
        let (start, end) = (file.line_col(span.start), file.line_col(span.end));
        serde_json::json!({
            "file": &*file.name,
            "start": { "line": start.line + 1, "column": start.col + 1, "offset": span.start },
            "end": { "line": end.line + 1, "column": end.col + 1, "offset": span.end },
            key: text,
        })
    };
    let labels: Vec<_> = report.labels.iter().map(|label| placed(label.span, "text", &label.text)).collect();
    let fixes: Vec<_> = report
        .fixes
        .iter()
        .map(|fix| {
            let edits = fix.edits.iter().map(|edit| placed(edit.span, "replacement", &edit.replacement));
            serde_json::json!({ "title": fix.title, "edits": edits.collect::<Vec<_>>() })
        })
        .collect();
    serde_json::json!({
        "code": report.code,
        "severity": match report.severity { Severity::Error => "error", Severity::Warning => "warning" },
        "message": report.message,
        "labels": labels,
        "help": report.help,
        "fixes": fixes,
        "details": report.details,
    })
}

/// A report in the shape miette draws: one snippet with the labels of the primary file, the others as related ones.
#[derive(Debug)]
struct Shown {
    message: String,
    code: Option<&'static str>,
    severity: miette::Severity,
    help: Option<String>,
    source: Option<miette::NamedSource<String>>,
    labels: Vec<miette::LabeledSpan>,
    related: Vec<Shown>,
}

impl Shown {
    fn new(report: &Report, sources: &SourceMap) -> Shown {
        let severity = match report.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        };
        let mut shown = Shown {
            message: quiet(&report.message),
            code: Some(report.code),
            severity,
            help: report.help.as_deref().map(quiet),
            source: None,
            labels: Vec::new(),
            related: Vec::new(),
        };
        let Some(primary) = report.primary() else { return shown };
        shown.source = Some(named_source(sources, primary));
        for label in &report.labels {
            let span = miette::SourceSpan::from(label.span.start as usize..label.span.end as usize);
            if label.span.file == primary.file {
                let text = Some(quiet(&label.text));
                // The primary label is the one whose place stands above the snippet.
                shown.labels.push(match shown.labels.is_empty() {
                    true => miette::LabeledSpan::new_primary_with_span(text, span),
                    false => miette::LabeledSpan::new_with_span(text, span),
                });
            } else {
                shown.related.push(Shown {
                    message: quiet(&label.text),
                    code: None,
                    severity: miette::Severity::Advice,
                    help: None,
                    source: Some(named_source(sources, label.span)),
                    labels: vec![miette::LabeledSpan::new_with_span(Some("here".to_owned()), span)],
                    related: Vec::new(),
                });
            }
        }
        shown
    }
}

fn named_source(sources: &SourceMap, span: Span) -> miette::NamedSource<String> {
    let file = sources.file(span.file);
    miette::NamedSource::new(quiet(&file.name), quiet(&file.text))
}

/// What a text holds must not speak to the terminal: names and texts come with definitions from anyone. Each character
/// gives way to one of as many bytes, so offsets stay.
fn quiet(text: &str) -> String {
    let quiet = |c: char| match c {
        '\n' | '\t' => c,
        '\r' => ' ',
        c if c.is_ascii_control() => '?',
        c if c.is_control() => '¿',
        c => c,
    };
    text.chars().map(quiet).collect()
}

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Shown {}

impl miette::Diagnostic for Shown {
    fn code<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.code.map(|code| Box::new(code) as Box<dyn std::fmt::Display>)
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(self.severity)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn std::fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        self.source.as_ref().map(|source| source as &dyn miette::SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = miette::LabeledSpan> + '_>> {
        (!self.labels.is_empty()).then(|| Box::new(self.labels.iter().cloned()) as _)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn miette::Diagnostic> + 'a>> {
        (!self.related.is_empty())
            .then(|| Box::new(self.related.iter().map(|it| it as &dyn miette::Diagnostic)) as _)
    }
}
