//! `--cache-to` and `--cache-from`: what is exchanged with other machines, and what becomes of it.

use std::sync::Arc;

use crate::base::{Report, Severity};
use crate::cli::args;
use crate::engine::Engine;
use crate::engine::cache::{
    self, CacheExportError, CacheFrom, CacheReport, CacheTo, Known,
    spec::{Mode, ToPlace},
};
use crate::engine::cancel::Cancel;
use crate::engine::event::EventSink;
use crate::engine::export::{self, ExportItem, ExportKind, OutputSpec};
use crate::engine::solver::Aftermath;
use crate::graph::ir::Tree;
use crate::session::Session;

/// The caches of a build.
#[derive(Debug, Clone, Default)]
pub(super) struct Caches {
    to: Vec<CacheTo>,
    pub(super) from: Vec<CacheFrom>,
}

/// What became of an export.
pub(super) struct CacheExported {
    to: CacheTo,
    pub(super) outcome: Result<CacheReport, CacheExportError>,
}

impl Caches {
    /// Reads the flags; `spec` is where results go.
    pub(super) fn read(args: &args::Caches, spec: Option<&OutputSpec>) -> Result<Caches, Report> {
        let to = cache::parse_to(&args.cache_to).map_err(|error| error.report())?;
        let from = cache::parse_from(&args.cache_from).map_err(|error| error.report())?;
        let caches = Caches { to, from };
        let has_images =
            |spec: &OutputSpec| matches!(spec.format, export::Format::Oci | export::Format::Docker);
        if caches.is_inline() && !spec.is_some_and(has_images) {
            let message = "`--cache-to type=inline` writes into an image, and no image is exported";
            return Err(Report::error("bkl::bad_cache", message)
                .help("add `-o type=oci,dest=FILE`, or export with `type=registry` or `type=local`"));
        }
        Ok(caches)
    }

    /// What the engine has to find out when the build is over.
    pub(super) fn aftermath(&self) -> Aftermath {
        if self.to.is_empty() { Aftermath::Nothing } else { Aftermath::Trace }
    }

    fn is_inline(&self) -> bool {
        self.to.iter().any(|it| it.place == ToPlace::Inline)
    }

    /// Exports to all places but images, one after the other.
    pub(super) async fn export(
        &self,
        engine: &Engine,
        known: &Known,
        session: &Arc<dyn Session>,
        events: &EventSink,
        cancel: &Cancel,
    ) -> Vec<CacheExported> {
        let mut all = Vec::new();
        for to in self.to.iter().filter(|it| it.place != ToPlace::Inline) {
            let outcome = engine.export_cache(known, to, session, events.clone(), cancel).await;
            all.push(CacheExported { to: to.clone(), outcome });
        }
        all
    }

    /// Puts the cache of each image into it. `roots` are the trees of all items in order, `spec` makes the layers.
    pub(super) fn put_inline<'a>(
        &self,
        engine: &Engine,
        known: Option<&Known>,
        roots: &[Tree],
        items: impl Iterator<Item = Option<&'a mut ExportItem>>,
        spec: Option<&OutputSpec>,
    ) -> Result<(), Report> {
        let (true, Some(known), Some(spec)) = (self.is_inline(), known, spec) else { return Ok(()) };
        // Scratch is nothing that was solved.
        let mut roots = roots.iter().scan(0, |n_solved, root| {
            let root = root.map(|_| *n_solved);
            *n_solved += usize::from(root.is_some());
            Some(root)
        });
        for item in items {
            let images = match item.map(|it| &mut it.kind) {
                Some(ExportKind::Image(image)) => std::slice::from_mut(&mut **image),
                Some(ExportKind::Index { images, .. }) => images.as_mut_slice(),
                Some(ExportKind::Fs(_)) | None => {
                    roots.next();
                    continue;
                }
            };
            for image in images {
                let Some(root) = roots.next().flatten() else { continue };
                let made = known.inline(root, &spec.image, engine.store());
                image.cache = made.map_err(|error| CacheExportError::from(error).report())?;
            }
        }
        Ok(())
    }
}

impl CacheExported {
    /// What is to be said of it: an error, or a warning where that was asked for.
    pub(super) fn report(&self) -> Option<Report> {
        let error = self.outcome.as_ref().err()?;
        let report = error.report();
        Some(if self.to.ignore_error { Report { severity: Severity::Warning, ..report } } else { report })
    }

    /// Whether the build was stopped meanwhile.
    pub(super) fn is_cancelled(&self) -> bool {
        matches!(self.outcome, Err(CacheExportError::Cancelled))
    }

    /// A line for the end of the build.
    pub(super) fn summary(&self) -> Option<String> {
        let report = self.outcome.as_ref().ok()?;
        let mode = match self.to.mode {
            Mode::Min => "min",
            Mode::Max => "max",
        };
        let manifest = report.manifest.as_ref()?;
        let (digest, n_records, n_layers) = (manifest.digest, report.n_records, report.n_layers);
        let to = self.to.shown();
        Some(format!("cache  {digest}  -> {to} (mode={mode}: {n_records} records, {n_layers} layers)\n"))
    }
}
