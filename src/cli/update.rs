//! `bkl lock` and `bkl update`: what the program refers to, pinned without building anything.
//!
//! Evaluation is total, so everything that a program can refer to is known by evaluating all of its targets and tests, for
//! the platforms of `--platform`, else for this machine's and those that the lock already has.

use serde_json::json;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::base::{Platform, Report, suggest};
use crate::cli::args::{self, Format};
use crate::cli::lock::{Lock, Pin, PinName};
use crate::cli::lower::write_stdout;
use crate::cli::program::{Checked, Driver, Program, Round, reports};
use crate::cli::resolver::{Pinning, Resolver};
use crate::cli::session::{Given, LocalSession};
use crate::cli::{Failure, print_reports};
use crate::lang::eval::{self, Outcome, Request, TestOutcome, evaluate_test, list_targets};
use crate::lang::hir;

/// How much of a digest or commit is shown.
const SHOWN_DIGITS: usize = 12;

/// Runs `bkl lock`.
pub(super) fn lock(args: &args::Lock) -> Result<(), Failure> {
    let selection = args::Selection { words: args.words.clone(), file: args.file.clone() };
    let program = Program::find(&selection)?;
    if let Some(word) = program.targets.first() {
        let report = Report::error("bkl::usage", format!("`{word}` is no program"));
        return Err(report
            .help("all targets are locked; `bkl update REFERENCE` looks at one reference")
            .into());
    }
    let run = Run { program: &program, inputs: &args.inputs, secrets: &args.secrets, format: args.format };
    run.with(|driver, gather| {
        let before = driver.lock.clone();
        gather(driver)?;
        driver.keep_lock()?;
        Ok(changes(&before, &driver.lock, &used(driver)))
    })
    .and_then(|changes| print(&changes, args.format, Verb::Lock))
}

/// Runs `bkl update`.
pub(super) fn update(args: &args::Update) -> Result<(), Failure> {
    if args.inputs.locked {
        let report = Report::error("bkl::usage", "`--locked` allows no update");
        return Err(report.help("`bkl update --check` says what is newer and changes nothing").into());
    }
    let selection = args::Selection { words: args.words.clone(), file: args.file.clone() };
    let program = Program::find(&selection)?;
    let run = Run { program: &program, inputs: &args.inputs, secrets: &args.secrets, format: args.format };
    let changes = run.with(|driver, gather| {
        let before = driver.lock.clone();
        driver.pinning = Pinning::Anew;
        let words = &program.targets;
        for pin in before.pins() {
            if words.is_empty() || words.iter().any(|word| pin.name.is_meant_by(word)) {
                driver.lock.doubt(pin.name);
            }
        }
        gather(driver)?;
        driver.lock.settle();
        unknown(words, &driver.lock)?;
        let mut changes = changes(&before, &driver.lock, &used(driver));
        if !words.is_empty() {
            changes.retain(|it| words.iter().any(|word| it.name.is_meant_by(word)));
        }
        if args.prune {
            for change in changes.iter_mut().filter(|it| it.status == Status::Unused) {
                driver.lock.remove(&change.name);
                change.status = Status::Removed;
            }
        }
        if !args.check {
            driver.keep_lock()?;
        }
        Ok(changes)
    })?;
    let verb = if args.check { Verb::Check } else { Verb::Update };
    print(&changes, args.format, verb)?;
    let n_newer = changes.iter().filter(|it| matches!(it.status, Status::Changed | Status::New)).count();
    if args.check && 0 < n_newer {
        let is = if n_newer == 1 { "1 reference is" } else { &format!("{n_newer} references are") };
        let report = Report::error("bkl::outdated", format!("{is} not what bkl.lock says"));
        return Err(report.help("`bkl update` takes what they mean now").into());
    }
    Ok(())
}

/// What became of a pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Same,
    Changed,
    New,
    /// The program does not refer to it.
    Unused,
    /// It was not used, and is gone.
    Removed,
}

/// A pin before and after.
struct Change {
    name: PinName,
    old: Option<String>,
    new: Option<String>,
    status: Status,
}

/// A program and how it is evaluated.
struct Run<'a> {
    program: &'a Program,
    inputs: &'a args::Inputs,
    secrets: &'a args::Secrets,
    format: Format,
}

impl Run<'_> {
    /// Checks the program, and hands over what evaluates all of it.
    fn with<T>(
        &self,
        work: impl FnOnce(
            &mut Driver<'_>,
            &dyn Fn(&mut Driver<'_>) -> Result<(), Vec<Report>>,
        ) -> Result<T, Vec<Report>>,
    ) -> Result<T, Failure> {
        let given = Given::read(self.secrets)?;
        let mut checked = self.program.check();
        let Some(hir) = checked.program.take() else {
            return Err(Failure::new(checked.sources, checked.reports));
        };
        print_reports(&checked.reports, &checked.sources, self.format);
        let runtime = super::build::runtime()?;
        let session = Arc::new(LocalSession::new(&self.program.root, given));
        let store = self.inputs.store.clone();
        let resolver = Resolver::new(store, None, self.format, session, runtime.handle().clone());
        let mut driver = match Driver::new(self.program, &mut checked, &hir, self.inputs, &resolver) {
            Ok(driver) => driver,
            Err(reports) => return Err(Failure::new(checked.sources, reports)),
        };
        let done = work(&mut driver, &|driver| gather(driver, &hir, &checked, self.inputs));
        done.map_err(|reports| Failure::new(checked.sources, reports))
    }
}

/// Evaluates all targets and tests for all platforms, answering what they ask for.
fn gather(
    driver: &mut Driver<'_>,
    hir: &hir::Program,
    checked: &Checked,
    args: &args::Inputs,
) -> Result<(), Vec<Report>> {
    let sources = &checked.sources;
    let mut platforms: Vec<Platform> = driver.inputs.platforms.clone();
    if args.platform.is_empty() {
        for platform in driver.lock.platforms() {
            if platforms.iter().all(|known| known.normalize() != platform.normalize()) {
                platforms.push(platform);
            }
        }
    }
    driver.inputs.targets = list_targets(hir).into_iter().map(|target| target.name).collect();
    for platform in platforms {
        driver.inputs.platforms = vec![platform];
        if !driver.inputs.targets.is_empty() {
            driver.run(|inputs| {
                match eval::evaluate(hir, sources, inputs).map_err(|errors| reports(&errors))? {
                    Outcome::Done(_) => Ok(Round::Done(())),
                    Outcome::Needs(needs) => Ok(Round::Needs(needs)),
                }
            })?;
        }
        for test in hir.tests.iter().filter(|test| test.module == hir::Program::ENTRY) {
            // What it claims is not looked at here.
            driver.run(|inputs| match evaluate_test(hir, sources, inputs, test) {
                TestOutcome::Done(_) => Ok(Round::Done(())),
                TestOutcome::Needs(needs) => Ok(Round::Needs(needs)),
            })?;
        }
    }
    Ok(())
}

/// What the program refers to.
fn used(driver: &Driver<'_>) -> BTreeSet<PinName> {
    let name = |request: &Request| match request {
        Request::Image { reference, .. } => {
            Some(PinName::Image(reference.clone().with_default_tag().to_string()))
        }
        Request::Git { url, reference, .. } => Some(PinName::Git(url.clone(), reference.clone())),
        Request::Http { url, .. } => Some(PinName::Http(url.clone())),
        Request::OciLayout { .. } | Request::Read { .. } | Request::Files { .. } => None,
    };
    driver.inputs.answers.keys().filter_map(name).collect()
}

fn changes(before: &Lock, after: &Lock, used: &BTreeSet<PinName>) -> Vec<Change> {
    let old = before.pins();
    let change = |Pin { name, value }: Pin| {
        let old = old.iter().find(|pin| pin.name == name).map(|pin| pin.value.clone());
        let status = match &old {
            _ if !used.contains(&name) => Status::Unused,
            None => Status::New,
            Some(old) if *old == value => Status::Same,
            Some(_) => Status::Changed,
        };
        Change { name, old, new: Some(value), status }
    };
    after.pins().into_iter().map(change).collect()
}

/// Refuses words that mean no reference of the program.
fn unknown(words: &[String], lock: &Lock) -> Result<(), Vec<Report>> {
    let names: Vec<String> = lock.pins().iter().map(|pin| pin.name.familiar()).collect();
    let is_known = |word: &&String| lock.pins().iter().any(|pin| pin.name.is_meant_by(word));
    let report = |word: &String| {
        let report =
            Report::error("bkl::unknown_reference", format!("this program does not refer to `{word}`"));
        match suggest::nearest(word, names.iter().map(String::as_str)) {
            Some(near) => report.help(format!("did you mean `{near}`?")),
            None if names.is_empty() => report.help("it has nothing that is pinned"),
            None => report.help(format!("it refers to {}", names.join(", "))),
        }
    };
    let reports: Vec<Report> = words.iter().filter(|word| !is_known(word)).map(report).collect();
    if reports.is_empty() { Ok(()) } else { Err(reports) }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Lock,
    Update,
    Check,
}

fn print(changes: &[Change], format: Format, verb: Verb) -> Result<(), Failure> {
    let text = match format {
        Format::Json => as_json(changes),
        Format::Human | Format::Short => as_text(changes, verb),
    };
    write_stdout(text.as_bytes())
}

fn as_text(changes: &[Change], verb: Verb) -> String {
    let mut text = String::new();
    for Change { name, old, new, status } in changes {
        let name = name.familiar();
        let value = |value: &Option<String>| value.as_deref().map_or_else(String::new, short);
        match status {
            Status::Same => {}
            Status::Changed => text += &format!("{name}  {} -> {}\n", value(old), value(new)),
            Status::New => text += &format!("{name}  -> {}\n", value(new)),
            Status::Unused if verb == Verb::Lock => {}
            Status::Unused => text += &format!("{name}  is not used; `bkl update --prune` removes it\n"),
            Status::Removed => text += &format!("{name}  removed\n"),
        }
    }
    let count = |status: Status| changes.iter().filter(|it| it.status == status).count();
    let n_all = changes.iter().filter(|it| it.status != Status::Removed).count();
    let references = if n_all == 1 { "reference" } else { "references" };
    let mut parts = vec![format!("{n_all} {references}")];
    let kinds = [(Status::New, "new"), (Status::Changed, "changed"), (Status::Unused, "not used")];
    for (status, word) in kinds.into_iter().filter(|(status, _)| 0 < count(*status)) {
        parts.push(format!("{} {word}", count(status)));
    }
    if parts.len() == 1 {
        parts.push("nothing new".to_owned());
    }
    text + &parts.join(", ") + "\n"
}

/// Twelve digits of a digest or commit.
fn short(value: &str) -> String {
    let (algorithm, digits) = value.split_once(':').map_or(("", value), |(_, digits)| ("sha256:", digits));
    format!("{algorithm}{}", &digits[..digits.len().min(SHOWN_DIGITS)])
}

fn as_json(changes: &[Change]) -> String {
    let entry = |change: &Change| {
        let kind = match change.name {
            PinName::Image(_) => "image",
            PinName::Git(..) => "git",
            PinName::Http(_) => "http",
        };
        let status = match change.status {
            Status::Same => "same",
            Status::Changed => "changed",
            Status::New => "new",
            Status::Unused => "unused",
            Status::Removed => "removed",
        };
        json!({ "kind": kind, "reference": change.name.familiar(), "status": status, "old": change.old, "new": change.new })
    };
    format!("{:#}\n", serde_json::Value::Array(changes.iter().map(entry).collect()))
}
