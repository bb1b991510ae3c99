//! What to tell people about a build that failed: the step, its line in the program, the last lines of its output.

use std::path::{Path, PathBuf};

use super::ui::{one_line, size};
use crate::base::{FileId, Report, SourceMap, Span};
use crate::engine::content_hash::HashError;
use crate::engine::entitlement;
use crate::engine::exec::RunError;
use crate::engine::exec::rootless::MORE_USERS;
use crate::engine::ops::{BuildError, ExecError, FileError, OpError};
use crate::engine::registry::ImageError;
use crate::engine::source::SourceError;
use crate::engine::source::git::{GitError, no_agent_help};
use crate::engine::source::http::HttpError;
use crate::engine::source::local::LocalError;
use crate::engine::{FailedVertex, SolveError};
use crate::graph::ir::{Graph, Location};
use crate::session::SessionError;
use crate::store::{StoreError, Usage, gc, in_user_namespace, n_users};

/// Lines of a failed step's output that a report shows.
const TAIL_LINES: usize = 20;

/// What a report can point to.
pub(super) struct Context<'a> {
    /// Texts of the program.
    pub(super) sources: &'a SourceMap,
    /// The graph that was solved.
    pub(super) graph: &'a Graph,
    /// Root of the store.
    pub(super) store_root: &'a Path,
    /// Where the whole log of what failed is kept.
    pub(super) log_path: &'a dyn Fn(&FailedVertex) -> Option<PathBuf>,
}

/// One report per failed vertex, the first failure first. A cancelled build has nothing to report.
pub(super) fn reports(error: &SolveError, context: &Context<'_>) -> Vec<Report> {
    match error {
        SolveError::Cancelled => Vec::new(),
        SolveError::Store(error) => vec![store(error, context.store_root)],
        SolveError::Vertex { failed, others } => {
            std::iter::once(&**failed).chain(others).map(|failed| report(failed, context)).collect()
        }
    }
}

fn report(failed: &FailedVertex, context: &Context<'_>) -> Report {
    let (mut report, what) = explain(failed, context);
    if report.help.is_none() && wants_users(&*failed.cause) {
        report = report.help(MORE_USERS);
    }
    for location in &failed.locations {
        // Calls that came to the same step say the same place.
        if let Some(span) = span_of(location, context.sources, context.graph)
            && !report.labels.iter().any(|label| label.span == span)
        {
            report = report.label(span, what);
        }
    }
    report
}

/// Whether it failed because this user namespace has one user only: giving files to others is then an invalid argument, and
/// devices are not permitted.
fn wants_users(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |it| it.source());
    let refused = |it: &std::io::Error| matches!(it.raw_os_error(), Some(libc::EINVAL | libc::EPERM));
    in_user_namespace()
        && n_users() <= 1
        && causes.any(|it| it.downcast_ref::<std::io::Error>().is_some_and(refused))
}

/// The report without places, and what to say at the step's place.
fn explain(failed: &FailedVertex, context: &Context<'_>) -> (Report, &'static str) {
    match &*failed.cause {
        OpError::Exec(ExecError::Exit { code, reason, tail, .. }) => {
            let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let message = format!("`{}` ended with {code}{reason}", one_line(&failed.name));
            let mut report = Report::error("bkl::step_failed", message);
            let lines: Vec<&str> = tail.trim_end().lines().collect();
            let mut details = String::new();
            if !lines.is_empty() {
                let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
                details += "  the last lines of its output:\n";
                details.extend(last.iter().map(|line| format!("  │ {line}\n")));
            }
            // Not in the help: a path must stay on one line to be copied.
            if let Some(log) = (context.log_path)(failed).filter(|log| log.exists()) {
                details += &format!("  the whole output: {}\n", log.display());
            }
            // A step that wrote nothing has no log either.
            if !details.is_empty() {
                report = report.details(details);
            }
            (report, "this step failed")
        }
        OpError::Exec(ExecError::Run(error)) => {
            let message = format!("`{}` could not be run: {}", one_line(&failed.name), with_causes(error));
            let code =
                if matches!(error, RunError::Environment { .. }) { "bkl::environment" } else { "bkl::run" };
            (Report::error(code, message).maybe_help(error.help().map(str::to_owned)), "needed by this step")
        }
        OpError::Exec(ExecError::NoSecret { id }) => (
            Report::error("bkl::no_secret", format!("the secret `{id}` is not given to this build"))
                .help(format!("give it with `--secret id={id},src=FILE` or `--secret id={id},env=VARIABLE`")),
            "this step asks for it",
        ),
        OpError::Exec(ExecError::NoAgent { id }) => {
            let id = if id.is_empty() { "default" } else { id };
            let report =
                Report::error("bkl::no_agent", format!("the agent `{id}` is not given to this build"));
            (report.help(no_agent_help(id)), "this step asks for it")
        }
        OpError::Exec(ExecError::Denied(denied)) => {
            let requested = entitlement::list(&denied.missing);
            let message = format!("`{}` requests {requested}, which is not granted", one_line(&failed.name));
            let help = format!("if you trust it with that, build with `{}`", denied.flags());
            (Report::error("bkl::not_allowed", message).help(help), "this step requests it")
        }
        OpError::Exec(ExecError::Device(error)) => {
            let message = format!("{}: {error}", one_line(&failed.name));
            let report = Report::error("bkl::device", message).maybe_help(error.help().map(str::to_owned));
            (report, "this step asks for it")
        }
        OpError::Exec(ExecError::Session(error @ SessionError::Agent { .. })) => {
            (Report::error("bkl::ssh", with_causes(error)), "needed by this step")
        }
        OpError::Exec(ExecError::Session(error)) => {
            (Report::error("bkl::secret", with_causes(error)), "needed by this step")
        }
        OpError::Exec(ExecError::Store(error)) | OpError::Store(error) => {
            (store(error, context.store_root), "needed by this step")
        }
        OpError::Source(SourceError::Source(error)) => {
            (source(&**error, context.store_root), "this source cannot be used")
        }
        OpError::Source(error @ SourceError::Scheme { known, .. }) => {
            let known = known.iter().map(|it| format!("`{it}://`")).collect::<Vec<_>>().join(", ");
            let report = Report::error("bkl::bad_source", error.to_string());
            (report.help(format!("there are sources for {known}")), "this source cannot be used")
        }
        OpError::File(failed) => match &failed.error {
            FileError::NoSpace { attempt, path } => {
                // A path in a tree, which is in the store.
                let path = path.strip_prefix("/").unwrap_or(path);
                (no_space(attempt, path, context.store_root), "needed by this step")
            }
            FileError::Local(error) => (local(error, context.store_root), "this step reads it"),
            FileError::NotFound { path } => (
                Report::error(
                    "bkl::not_found",
                    format!("`{path}` does not exist in the tree it is taken from"),
                )
                .help("check the path; an action that may find nothing says `optional: true`"),
                "this file action failed",
            ),
            FileError::NoParent { path } => (
                Report::error(
                    "bkl::not_found",
                    format!("the directory `{path}` does not exist in the tree that is copied to"),
                )
                .help("make it first, or copy with `createDestPath`"),
                "this file action failed",
            ),
            error => (
                Report::error("bkl::file_failed", format!("{}: {error}", failed.name)),
                "this file action failed",
            ),
        },
        OpError::Hash(HashError::NotFound { path }) => (
            Report::error("bkl::not_found", format!("`{path}` does not exist in the tree it is taken from"))
                .help("check the path; an action that may find nothing says `optional: true`"),
            "this step reads it",
        ),
        OpError::Mount { path } => (
            Report::error("bkl::not_found", format!("`{path}` does not exist in the tree that is mounted"))
                .help("check the path of the mount (`.at(…)` of the tree, the selector in LLB)"),
            "this step mounts it",
        ),
        OpError::Build(error) => match &**error {
            BuildError::Failed { failed: inner, places } => {
                let (mut report, _) = explain(inner, context);
                let place = places.first().map(|place| format!(", at {place}")).unwrap_or_default();
                let details = report.details.take().unwrap_or_default();
                let outer = one_line(&failed.name);
                let said = format!("  in the definition that `{outer}` builds{place}\n{details}");
                (report.details(said), "this step builds it")
            }
            error => {
                let message = format!("{}: {}", one_line(&failed.name), with_causes(error));
                (Report::error("bkl::bad_definition", message), "this step builds it")
            }
        },
        cause => {
            let message = format!("{}: {}", one_line(&failed.name), with_causes(cause));
            (Report::error("bkl::build_failed", message), "this step failed")
        }
    }
}

fn source(error: &(dyn std::error::Error + Send + Sync + 'static), store_root: &Path) -> Report {
    if let Some(error) = error.downcast_ref::<ImageError>() {
        return match error {
            ImageError::Store { source, .. } | ImageError::Unpack { source, .. } if source.is_no_space() => {
                store(source, store_root)
            }
            _ => error.report(),
        };
    }
    if let Some(error) = error.downcast_ref::<HttpError>() {
        return match error {
            HttpError::Store(error) => store(error, store_root),
            _ => error.report(),
        };
    }
    if let Some(error) = error.downcast_ref::<GitError>() {
        return match error {
            GitError::Store(error) => store(error, store_root),
            _ => error.report(),
        };
    }
    match error.downcast_ref::<LocalError>() {
        Some(error) => local(error, store_root),
        None => Report::error("bkl::source_failed", with_causes(error)),
    }
}

fn local(error: &LocalError, store_root: &Path) -> Report {
    if let LocalError::Vanished { path } | LocalError::Changed { path } = error
        && let Ok(root) = store_root.canonicalize()
        && path.starts_with(&root)
    {
        let message = format!(
            "the store `{}` lies in a directory that is copied, and changes while it is: {error}",
            store_root.display()
        );
        return Report::error("bkl::context_changed", message).help(
            "keep it elsewhere (`--store DIR` or BKL_STORE), or leave it out with an exclude pattern or in .bklignore",
        );
    }
    let code = match error {
        LocalError::Store(error) => return store(error, store_root),
        LocalError::Missing { .. } | LocalError::NotADirectory { .. } | LocalError::NotGiven { .. } => {
            "bkl::no_directory"
        }
        LocalError::Attribute { .. } => "bkl::bad_source",
        LocalError::Pattern { .. } => "bkl::bad_pattern",
        LocalError::Vanished { .. } | LocalError::Changed { .. } => "bkl::context_changed",
        LocalError::Unreadable { .. } | LocalError::Cancelled => "bkl::unreadable",
    };
    Report::error(code, error.to_string()).maybe_help(error.help())
}

/// What to say when the store at `root` cannot be used.
pub(super) fn store(error: &StoreError, root: &Path) -> Report {
    match error {
        StoreError::NoSpace { attempt, path } => no_space(attempt, path, root),
        StoreError::InUse { .. } => Report::error("bkl::store", error.to_string())
            .help("it is put aside once nobody else uses the store: end the other builds, or wait for them"),
        StoreError::NotEmpty { .. } => Report::error("bkl::store", error.to_string()).help(
            "a store needs a directory of its own: one that is empty or not there yet, `--store DIR` or BKL_STORE",
        ),
        StoreError::NoStore { .. } => Report::error("bkl::store", error.to_string())
            .help("a build makes one; where it is is said with `--store DIR` or BKL_STORE"),
        StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::ReadOnlyFilesystem => {
            let message = format!("the disk of the store `{}` is read-only: {error}", root.display());
            Report::error("bkl::store", message).help(
                "who only looks at a store needs locks in it, too: mount the disk so that it can be written to, or use \
                 another store, `--store DIR` or BKL_STORE",
            )
        }
        StoreError::Io { source, .. } if is_refused(source) => Report::error("bkl::store", error.to_string()).help(
            "the store must be a place that this user can write to; it is chosen with `--store DIR` or BKL_STORE; \
             when neither is given it is /var/lib/bkl for root and ~/.local/share/bkl for others",
        ),
        _ => Report::error("bkl::store", error.to_string()),
    }
}

/// What an error of the store is to people who remove things from it.
pub(super) fn pruning(error: &StoreError, root: &Path) -> Report {
    let report = store(error, root);
    if !error.is_no_space() {
        return report;
    }
    report.help(
        "removing needs half a megabyte and a few files, and what was held back for that is not there: free so much on this disk \
         in another way, and then run `bkl prune` again",
    )
}

fn is_refused(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotFound, PermissionDenied};
    matches!(error.kind(), PermissionDenied | NotFound)
}

fn no_space(attempt: &str, path: &Path, store_root: &Path) -> Report {
    let disk = if path.is_absolute() && !path.starts_with(store_root) {
        format!("the disk of `{}`", path.parent().unwrap_or(path).display())
    } else {
        let mounted = match mount_point(store_root) {
            Some(place) if place != store_root => format!(" (mounted on `{}`)", place.display()),
            _ => String::new(),
        };
        format!("the disk of the store `{}`{mounted}", store_root.display())
    };
    let takes = match gc::noted_size(store_root) {
        Some(Usage { bytes, inodes }) => {
            format!("; the store takes {} of it, in {inodes} files and directories", size(bytes))
        }
        None => String::new(),
    };
    let what = if lacks_inodes(store_root) { "no inode is" } else { "no space" };
    let message = format!("{what} left on {disk}: cannot {attempt} `{}`{takes}", path.display());
    Report::error("bkl::no_space", message).help(
        "nothing half-written was kept; `bkl du` shows what takes the space, `bkl prune` removes what no build uses \
         just now; or use a store on another disk: `--store DIR` or BKL_STORE",
    )
}

/// Whether it is not bytes that the disk of `path` has too few of.
fn lacks_inodes(path: &Path) -> bool {
    // What had no room is gone by now: some of both is free.
    rustix::fs::statvfs(path).is_ok_and(|it| {
        let share = |free: u64, total: u64| free as f64 / total.max(1) as f64;
        let (bytes, inodes) = (share(it.f_bavail, it.f_blocks), share(it.f_favail, it.f_files));
        it.f_files != 0 && inodes < bytes && 0.1 < bytes
    })
}

/// The directory on which the file system of `path` is mounted.
fn mount_point(path: &Path) -> Option<PathBuf> {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| path.metadata().ok().map(|it| it.dev());
    let own = device(path)?;
    path.ancestors().take_while(|it| device(it) == Some(own)).last().map(Path::to_owned)
}

/// The message with those of its causes that say something it does not.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

/// The place of a location of `graph` in the program's texts.
pub(super) fn span_of(location: &Location, sources: &SourceMap, graph: &Graph) -> Option<Span> {
    let info = graph.sources.get(location.source as usize)?;
    let is_it = |text: &str| info.data.is_empty() || text.as_bytes() == info.data;
    let file = sources.files().iter().find(|file| *file.name == *info.filename && is_it(&file.text))?;
    let range = location.ranges.first()?;
    let (start, end) = (offset(sources, file.id, range.start)?, offset(sources, file.id, range.end)?);
    // Definitions say where they were written themselves.
    Some(Span::new(file.id, start, end.max(start)))
}

/// Byte offset of a line (from 1) and a character (from 0).
fn offset(sources: &SourceMap, file: FileId, (line, character): (i32, i32)) -> Option<u32> {
    let text = &sources.file(file).text;
    let line = usize::try_from(line).ok()?.checked_sub(1)?;
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = text.get(start..)?;
    let within = rest.char_indices().nth(usize::try_from(character).ok()?).map_or(rest.len(), |(at, _)| at);
    u32::try_from(start + within).ok()
}
