//! From the words of a command line to a checked and evaluated program: reads files, answers what evaluation needs to
//! know, keeps the lock file.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::ignore::ignore_patterns as ignore_patterns_of;
use crate::base::{Digest, Platform, Report, SourceMap, Span};
use crate::cli::args;
use crate::cli::lock::Lock;
use crate::cli::replace::Replacements;
use crate::cli::resolver::{Pinning, Resolver};
use crate::engine::history;
use crate::lang::eval::{
    self, Confinement, Evaluated, Inputs, Need, Outcome, Params, PlatformChoice, Request,
};
use crate::lang::resolve::{Entry, ModuleSource, ModuleText};
use crate::lang::{self, hir};

/// The program that is taken when none is named.
const DEFAULT_PROGRAM: &str = "build.bkl";
/// Files with patterns that keep things out of `local(".")`; the first that exists counts.
const IGNORE_FILES: [&str; 2] = [".bklignore", ".dockerignore"];
/// How often evaluation may come back with something new to know: chains of images whose names depend on configs.
const MAX_ROUNDS: usize = 100;

/// A program on disk, as named on the command line.
pub(crate) struct Program {
    /// Folder of the program, absolute: what `local` and imports are relative to.
    pub(crate) root: PathBuf,
    /// Name of the program's file in `root`.
    pub(crate) entry: String,
    /// The targets that were named.
    pub(crate) targets: Vec<String>,
    /// The folder as people wrote it, for messages: empty or ending in `/`.
    pub(crate) shown: String,
}

/// A checked program, ready to be evaluated any number of times.
pub(crate) struct Checked {
    /// Texts of all modules.
    pub(crate) sources: SourceMap,
    /// The program, when there is no error.
    pub(crate) program: Option<hir::Program>,
    /// Errors and warnings, in the order of their places.
    pub(crate) reports: Vec<Report>,
}

impl Program {
    /// Tells program and targets apart: an argument that ends in `.bkl` or names an existing file is the program.
    pub(crate) fn find(selection: &args::Selection) -> Result<Program, Report> {
        let mut file = selection.file.clone();
        let mut targets = Vec::new();
        for word in &selection.words {
            let is_file = word.ends_with(".bkl") || (word.contains(['/', '.']) && Path::new(word).is_file());
            if is_file && file.is_none() {
                file = Some(PathBuf::from(word));
            } else if is_file {
                return Err(Report::error("bkl::usage", format!("`{word}` is a second program"))
                    .help("one program is built at a time"));
            } else {
                targets.push(word.clone());
            }
        }
        let named = file.is_some();
        let file = file.unwrap_or_else(|| PathBuf::from(DEFAULT_PROGRAM));
        let missing = |why: String| {
            let report = Report::error("bkl::no_program", format!("cannot read `{}`: {why}", file.display()));
            report.help(if named {
                "check the path, or name another program with `-f`"
            } else {
                "run this in the folder of a build.bkl, or name a program: `bkl build path/to/program.bkl`"
            })
        };
        match fs::metadata(&file) {
            Ok(meta) if meta.is_dir() => return Err(missing("it is a directory".to_owned())),
            Ok(_) => {}
            Err(error) => return Err(missing(io_reason(&error))),
        }
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let root = folder.canonicalize().map_err(|error| missing(io_reason(&error)))?;
        let entry = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let shown = match folder.to_string_lossy() {
            shown if shown == "." => String::new(),
            shown => format!("{}/", shown.trim_end_matches('/')),
        };
        Ok(Program { root, entry, targets, shown })
    }

    /// Names the program in the store's history.
    pub(crate) fn history(&self) -> Digest {
        history::program(&self.root.join(&self.entry))
    }

    /// Loads and checks the program with everything it imports.
    pub(crate) fn check(&self) -> Checked {
        let mut sources = SourceMap::default();
        let entry = Entry { path: &self.entry, origin: hir::Origin::Root };
        let texts = self.texts();
        let lang::Checked { program, reports, .. } = lang::load_and_check(&mut sources, entry, &texts);
        Checked { sources, program, reports }
    }

    /// Module texts from the program's folder.
    pub(crate) fn texts(&self) -> impl ModuleSource + Sync {
        Files { root: &self.root, shown: &self.shown }
    }

    /// The program's file as people wrote it.
    pub(crate) fn shown_entry(&self) -> String {
        format!("{}{}", self.shown, self.entry)
    }
}

/// Module texts from the folder of the program.
struct Files<'a> {
    root: &'a Path,
    shown: &'a str,
}

impl ModuleSource for Files<'_> {
    fn module(&self, path: &str) -> ModuleText {
        let file = self.root.join(path);
        match fs::read(&file) {
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => {
                    let (name, text) = (format!("{}{path}", self.shown).into(), text.into());
                    // A link that leads out of the folder makes the module one of someone else's.
                    let inside = file.canonicalize().is_ok_and(|file| file.starts_with(self.root));
                    if inside { ModuleText::Text { name, text } } else { ModuleText::Outside { name, text } }
                }
                Err(error) => {
                    let at = error.utf8_error().valid_up_to();
                    ModuleText::Unreadable(format!("byte {at} is not UTF-8"))
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => ModuleText::Missing,
            Err(error) => ModuleText::Unreadable(io_reason(&error)),
        }
    }
}

/// A program with its values.
pub(crate) struct Ready {
    /// The graph and the targets.
    pub(crate) evaluated: Evaluated,
    /// What should be said although nothing is wrong.
    pub(crate) notes: Vec<Report>,
}

/// What evaluation is given, and how it learns more: the lock file is read once and written when something was pinned.
pub(crate) struct Driver<'a> {
    args: &'a args::Inputs,
    resolver: &'a Resolver,
    /// What is pinned.
    pub(crate) lock: Lock,
    lock_as_read: Lock,
    lock_path: PathBuf,
    replacements: Replacements,
    /// What may be done about what is not.
    pub(crate) pinning: Pinning,
    /// What is known so far.
    pub(crate) inputs: Inputs,
    /// What should be said although nothing is wrong.
    notes: Vec<Report>,
}

impl<'a> Driver<'a> {
    /// Reads params, platforms, patterns and the lock file.
    pub(crate) fn new(
        program: &Program,
        checked: &mut Checked,
        hir: &hir::Program,
        args: &'a args::Inputs,
        resolver: &'a Resolver,
    ) -> Result<Driver<'a>, Vec<Report>> {
        let platforms = platforms(args).map_err(|report| vec![report])?;
        let params = params(args).map_err(|report| vec![report])?;
        let params = Params::read(hir, &mut checked.sources, &params).map_err(|errors| reports(&errors))?;
        let lock_path = args.lock.clone().unwrap_or_else(|| program.root.join("bkl.lock"));
        let lock = Lock::read(&lock_path).map_err(|error| vec![error.report()])?;
        let replacements = Replacements::read(&args.images).map_err(|report| vec![report])?;
        let inputs = Inputs {
            targets: program.targets.clone(),
            params,
            platform_choice: if args.platform.is_empty() {
                PlatformChoice::Default
            } else {
                PlatformChoice::Explicit
            },
            platforms,
            confinement: if args.strict { Confinement::Strict } else { Confinement::Sandbox },
            build_platform: Platform::host(),
            ignore: ignore_patterns(&program.root).map_err(|report| vec![report])?,
            replacements: replacements.images.clone(),
            answers: BTreeMap::new(),
        };
        let lock_as_read = lock.clone();
        let pinning = if args.locked { Pinning::Refused } else { Pinning::Allowed };
        let notes = Vec::new();
        Ok(Driver { args, resolver, lock, lock_as_read, lock_path, replacements, pinning, inputs, notes })
    }

    /// Runs `evaluate`, answering what it asks for, until it asks for nothing.
    pub(crate) fn run<T>(
        &mut self,
        mut evaluate: impl FnMut(&Inputs) -> Result<Round<T>, Vec<Report>>,
    ) -> Result<T, Vec<Report>> {
        for _ in 0..MAX_ROUNDS {
            match evaluate(&self.inputs)? {
                Round::Done(done) => return Ok(done),
                Round::Needs(needs) => self.answer(needs)?,
            }
        }
        Err(vec![Report::error(
            "bkl::too_many_rounds",
            "the names of this program's images depend on too long a chain of images",
        )])
    }

    fn answer(&mut self, needs: Vec<Need>) -> Result<(), Vec<Report>> {
        for need in &needs {
            if let Request::Image { reference, pull: eval::Pull::Always, .. } = &need.request
                && !self.replacements.asked(&need.request)
            {
                let note = format!(
                    "`{}` is taken from the registry: `pull: .always` ignores the lock",
                    reference.familiar()
                );
                // Each platform asks for itself; people are told once.
                if !self.notes.iter().any(|known| known.message == note) {
                    self.notes.push(Report::warning("bkl::lock_ignored", note).label(need.span, "said here"));
                }
            }
        }
        let answers = self.resolver.answer(&needs, &mut self.lock, self.pinning);
        let mut failed = Vec::new();
        for (need, answer) in needs.into_iter().zip(answers) {
            match answer {
                Ok(answer) => drop(self.inputs.answers.insert(need.request, answer)),
                Err(report) => failed.push(at_need(report, need.span)),
            }
        }
        if failed.is_empty() { Ok(()) } else { Err(failed) }
    }

    /// Writes the lock file if something was pinned; never with `--locked`.
    pub(crate) fn keep_lock(&self) -> Result<(), Vec<Report>> {
        if self.args.locked || self.lock == self.lock_as_read {
            return Ok(());
        }
        self.lock.write(&self.lock_path).map_err(|error| vec![error.report()])
    }
}

/// What one evaluation gives.
pub(crate) enum Round<T> {
    Done(T),
    /// These have to be answered first.
    Needs(Vec<Need>),
}

/// Evaluates the targets of `program`, asking for image configs as they turn out to be needed, and writes the lock
/// file when something was pinned.
pub(crate) fn evaluate(
    program: &Program,
    checked: &mut Checked,
    hir: &hir::Program,
    args: &args::Inputs,
    resolver: &Resolver,
) -> Result<Ready, Vec<Report>> {
    let mut driver = Driver::new(program, checked, hir, args, resolver)?;
    let sources = &checked.sources;
    let evaluated = driver.run(|inputs| {
        match eval::evaluate(hir, sources, inputs).map_err(|errors| reports(&errors))? {
            Outcome::Done(evaluated) => Ok(Round::Done(evaluated)),
            Outcome::Needs(needs) => Ok(Round::Needs(needs)),
        }
    })?;
    if args.locked {
        refuse_unpinned(&evaluated)?;
    }
    driver.keep_lock()?;
    driver.notes.extend(driver.replacements.notes(&evaluated.replaced, &evaluated.used));
    Ok(Ready { evaluated: *evaluated, notes: driver.notes })
}

/// What is said of errors.
pub(crate) fn reports(errors: &[eval::EvalError]) -> Vec<Report> {
    errors.iter().map(eval::EvalError::report).collect()
}

/// Puts the place that asked for an image in front of what is wrong with it.
fn at_need(mut report: Report, span: Span) -> Report {
    report.labels.insert(0, crate::base::Label { span, text: "needed here".to_owned() });
    report
}

fn refuse_unpinned(evaluated: &Evaluated) -> Result<(), Vec<Report>> {
    let reports: Vec<Report> = evaluated
        .unpinned
        .iter()
        .map(|(reference, span)| {
            Report::error("bkl::not_locked", format!("`{}` has no digest", reference.familiar()))
                .label(*span, "taken without its config, so nothing pins it")
                .help("give it a digest, `name:tag@sha256:…`, or build without `--locked`")
        })
        .collect();
    if reports.is_empty() { Ok(()) } else { Err(reports) }
}

fn platforms(args: &args::Inputs) -> Result<Vec<Platform>, Report> {
    if args.platform.is_empty() {
        return Ok(vec![Platform::host()]);
    }
    let parse = |text: &String| {
        text.parse::<Platform>().map_err(|error| {
            Report::error("bkl::usage", format!("`--platform {text}` is not a platform: {error}"))
                .help("write it as in `--platform linux/arm64`")
        })
    };
    args.platform.iter().map(parse).collect()
}

/// The texts of `-p`, `@file` replaced by what the file holds (one trailing newline removed).
fn params(args: &args::Inputs) -> Result<Vec<String>, Report> {
    let read = |text: &String| match text.split_once("=@") {
        Some((name, file)) if !name.contains('=') => {
            let unreadable = |why: String| {
                Report::error("bkl::param_value", format!("cannot read `{file}` for `-p {name}`: {why}"))
                    .help("`@` reads the value from a file, as text; check the path")
            };
            let bytes = fs::read(file).map_err(|error| unreadable(io_reason(&error)))?;
            let value = String::from_utf8(bytes).map_err(|error| {
                unreadable(format!("byte {} is not UTF-8", error.utf8_error().valid_up_to()))
            })?;
            Ok(format!("{name}={}", value.strip_suffix('\n').unwrap_or(&value)))
        }
        _ => Ok(text.clone()),
    };
    args.params.iter().map(read).collect()
}

fn ignore_patterns(root: &Path) -> Result<Vec<String>, Report> {
    for name in IGNORE_FILES {
        match fs::read_to_string(root.join(name)) {
            Ok(text) => return Ok(ignore_patterns_of(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let path = root.join(name).display().to_string();
                return Err(Report::error(
                    "bkl::ignore_file",
                    format!("cannot read `{path}`: {}", io_reason(&error)),
                ));
            }
        }
    }
    Ok(Vec::new())
}

/// What the system says, without its number.
pub(crate) fn io_reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}
