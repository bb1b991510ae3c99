//! `bkl fmt`: programs in the one layout.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::base::{Report, SourceMap};
use crate::cli::Failure;
use crate::cli::args;
use crate::cli::lower::write_stdout;
use crate::cli::program::io_reason;
use crate::lang::syntax::format;

/// The program that is taken when no file is named.
const DEFAULT_FILE: &str = "build.bkl";

/// Runs the verb. Every file is looked at, also when some cannot be formatted.
pub(super) fn run(args: &args::Fmt) -> Result<(), Failure> {
    let mut failed = Failure::new(SourceMap::default(), Vec::new());
    if args.stdin {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map_err(|error| unreadable(Path::new("-"), &error))?;
        match formatted(&mut failed, "<stdin>", &text) {
            Some(new) if args.check && new != text => {
                failed.reports.push(Report::error("bkl::not_formatted", "the text is not formatted"));
            }
            Some(_) if args.check => {}
            Some(new) => write_stdout(new.as_bytes())?,
            None => {}
        }
        return done(failed);
    }
    let named: Vec<PathBuf> =
        if args.files.is_empty() { vec![PathBuf::from(DEFAULT_FILE)] } else { args.files.clone() };
    let mut n_unformatted = 0;
    for path in named.iter().flat_map(|path| programs(path)) {
        let path = match path {
            Ok(path) => path,
            Err(report) => {
                failed.reports.push(report);
                continue;
            }
        };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                failed.reports.push(unreadable(&path, &error));
                continue;
            }
        };
        let Some(new) = formatted(&mut failed, &path.to_string_lossy(), &text) else { continue };
        if new == text {
            continue;
        }
        if args.check {
            n_unformatted += 1;
            write_stdout(format!("{}\n", path.display()).as_bytes())?;
        } else if let Err(error) = replace(&path, &new) {
            let message = format!("cannot write `{}`: {}", path.display(), io_reason(&error));
            failed.reports.push(Report::error("bkl::output", message));
        }
    }
    if 0 < n_unformatted {
        let files =
            if n_unformatted == 1 { "1 file is".to_owned() } else { format!("{n_unformatted} files are") };
        let report = Report::error("bkl::not_formatted", format!("{files} not formatted"));
        failed.reports.push(report.help("`bkl fmt` without `--check` formats them"));
    }
    done(failed)
}

fn done(failed: Failure) -> Result<(), Failure> {
    if failed.reports.is_empty() { Ok(()) } else { Err(failed) }
}

/// The text in the one layout; else what is wrong is added to `failed`.
fn formatted(failed: &mut Failure, name: &str, text: &str) -> Option<String> {
    let file = failed.sources.add(name, text);
    match format::format(failed.sources.file(file)) {
        Ok(new) => Some(new),
        Err(error) => {
            failed.reports.extend(error.reports());
            None
        }
    }
}

/// The file itself; of a folder, the `.bkl` files below it in order, hidden folders left out.
fn programs(path: &Path) -> Vec<Result<PathBuf, Report>> {
    if !path.is_dir() {
        return vec![Ok(path.to_owned())];
    }
    let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut entries = match entries {
        Ok(entries) => entries,
        Err(error) => return vec![Err(unreadable(path, &error))],
    };
    entries.sort_by_key(fs::DirEntry::file_name);
    let mut found = Vec::new();
    for entry in entries {
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        let kind = entry.file_type().ok();
        if kind.is_some_and(|kind| kind.is_dir()) && !hidden {
            found.extend(programs(&entry.path()));
        } else if kind.is_some_and(|kind| kind.is_file())
            && entry.path().extension().is_some_and(|it| it == "bkl")
        {
            found.push(Ok(entry.path()));
        }
    }
    found
}

fn unreadable(path: &Path, error: &io::Error) -> Report {
    let message = format!("cannot read `{}`: {}", path.display(), io_reason(error));
    Report::error("bkl::no_program", message).help("check the path")
}

/// Puts `text` in the place of a file at once: whoever reads meanwhile sees the old text or the new one. A link stays
/// a link, and the mode of the file stays.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let path = path.canonicalize()?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let temporary = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let write = || -> io::Result<()> {
        let mut file = fs::File::create_new(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(fs::metadata(&path)?.permissions())?;
        file.sync_all()?;
        fs::rename(&temporary, &path)
    };
    write().inspect_err(|_| drop(fs::remove_file(&temporary)))
}
