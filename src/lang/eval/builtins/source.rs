//! `image`, `local`, `oci_layout`.

use std::sync::Arc;

use super::Args;
use crate::base::{Digest, FileId, ImageRef, Platform, Span, path};
use crate::graph::ir::build::ResolveMode;
use crate::graph::ir::{Edge, ImageConfig};
use crate::lang::eval::error::Cause;
use crate::lang::eval::interp::{Eval, Evaluator};
use crate::lang::eval::value::{BaseConfig, Cmd, Files, Image, Value};
use crate::lang::eval::{Answer, ImageAnswer, Pull, Replacement, Request};
use crate::lang::hir::{LiteralKind, Program};

impl Evaluator<'_> {
    /// An image of a registry. Its platform stands on the source as it was given; the answer's digest is written behind
    /// the tag, unless the program gave one.
    pub(super) fn image(&mut self, args: &Args<'_>) -> Eval {
        let mut reference = self.reference(args)?;
        if let Some(digest) = args.maybe_text("digest") {
            match digest.parse() {
                Ok(digest) => reference.digest = Some(digest),
                Err(why) => {
                    let (kind, text, why) = (LiteralKind::Digest, digest.to_string(), format!("{why}"));
                    return self.error(args.span_of("digest"), Cause::BadLiteral { kind, text, why });
                }
            }
        }
        let reference = reference.with_default_tag();
        let platform = self.platform_arg(args, "platform");
        let (pull, mode) = match args.variant("pull") {
            1 => (Pull::Always, ResolveMode::Pull),
            2 => (Pull::Local, ResolveMode::Local),
            _ => (Pull::Auto, ResolveMode::Default),
        };
        let (origin, mode) = match self.inputs.replacements.get(&reference) {
            None => (Origin::Registry { reference, pull }, mode),
            Some(replacement) => {
                if !self.replaced.contains(&reference) {
                    self.replaced.push(reference);
                }
                // Asked for by hand, for this run: the lock has no say.
                (Origin::of(replacement), ResolveMode::Default)
            }
        };
        if !args.flag("config", true) {
            if let Origin::Registry { reference, .. } = &origin
                && reference.digest.is_none()
                && !self.unpinned.iter().any(|(known, _)| known == reference)
            {
                self.unpinned.push((reference.clone(), args.span));
            }
            let edge = self.source(&origin, None, mode, &platform, args.span);
            return Ok(Value::Image(Arc::new(Image {
                tree: Some(edge),
                config: ImageConfig::scratch(Platform::clone(&platform)),
                tags: Vec::new(),
                base: BaseConfig::Unknown,
                cmd: Cmd::Inherited,
            })));
        }
        self.known_image(&origin, mode, &platform, args)
    }

    /// An image of an OCI layout below the root directory: `oci-layout://<reference>@<digest>`, the store's name is the
    /// folder's, relative to the root directory.
    pub(super) fn oci_layout(&mut self, args: &Args<'_>) -> Eval {
        let reference = self.reference(args)?.with_default_tag();
        let dir = self.below_root(args, "dir")?;
        let platform = self.platform_arg(args, "platform");
        self.known_image(&Origin::OciLayout { dir, reference }, ResolveMode::Default, &platform, args)
    }

    /// An image with its config, pinned to the digest that was answered unless the program gave one.
    fn known_image(
        &mut self,
        origin: &Origin,
        mode: ResolveMode,
        platform: &Platform,
        args: &Args<'_>,
    ) -> Eval {
        let answer = self.image_answer(origin.request(platform), args)?;
        self.check_platform(origin, &answer.config, platform, args)?;
        let edge = self.source(origin, Some(answer.digest), mode, platform, args.span);
        Ok(Value::Image(Arc::new(Image {
            tree: Some(edge),
            config: ImageConfig::from_oci(&answer.config, platform),
            tags: Vec::new(),
            base: BaseConfig::Known,
            cmd: Cmd::Inherited,
        })))
    }

    /// Refuses an image for another operating system or architecture than the one it is taken for. A config that does
    /// not say is believed.
    fn check_platform(
        &self,
        origin: &Origin,
        config: &serde_json::Value,
        platform: &Platform,
        args: &Args<'_>,
    ) -> Eval<()> {
        let text = |key: &str| config[key].as_str().unwrap_or_default();
        let (os, arch) = (text("os"), text("architecture"));
        if os.is_empty() || arch.is_empty() {
            return Ok(());
        }
        let have = Platform {
            os: os.to_owned(),
            arch: arch.to_owned(),
            variant: text("variant").to_owned(),
            os_version: String::new(),
            os_features: Vec::new(),
        };
        let (found, want) = (have.normalize(), platform.normalize());
        if (&found.os, &found.arch) == (&want.os, &want.arch) {
            return Ok(());
        }
        let (Origin::Registry { reference, .. } | Origin::OciLayout { reference, .. }) = origin;
        let image = reference.familiar();
        self.error(
            args.span,
            Cause::WrongPlatform { image, have: have.to_string(), want: platform.to_string() },
        )
    }

    /// The source op of an image; `found` is the digest it has when the reference does not say.
    fn source(
        &mut self,
        origin: &Origin,
        found: Option<Digest>,
        mode: ResolveMode,
        platform: &Platform,
        span: Span,
    ) -> Edge {
        let platform = Some(platform.clone());
        let pinned =
            |reference: &ImageRef| ImageRef { digest: reference.digest.or(found), ..reference.clone() };
        match origin {
            Origin::Registry { reference, .. } => {
                self.add_edge(span, |graph| graph.image(&pinned(reference), mode, platform))
            }
            Origin::OciLayout { dir, reference } => {
                self.add_edge(span, |graph| graph.oci_layout(&pinned(reference).to_string(), dir, platform))
            }
        }
    }

    /// A directory, named by its path from the root directory (`.` is the root directory itself).
    ///
    /// What the program's targets write to by `-> "dir"` is left out; `.bklignore` applies to the program's folder.
    pub(super) fn local(&mut self, args: &Args<'_>) -> Eval {
        let dir = self.below_root(args, "dir")?;
        let entry = path::join(&[".", &self.program.modules[Program::ENTRY.index()].dir]);
        let mut exclude = Vec::new();
        if dir == entry {
            exclude.extend(self.inputs.ignore.iter().cloned());
        }
        exclude.extend(args.texts("exclude"));
        for dest in self.dest_folders() {
            let below = if dir == "." { Some(dest.as_str()) } else { dest.strip_prefix(&format!("{dir}/")) };
            let pattern = below.map(escape_pattern);
            if let Some(pattern) = pattern
                && !exclude.contains(&pattern)
            {
                exclude.push(pattern);
            }
        }
        let (include, follow) = (args.texts("include"), args.texts("follow"));
        let edge = self.add_edge(args.span, |graph| graph.local(&dir, &include, &exclude, &follow));
        Ok(Value::Fs(Files::all(Some(edge))))
    }

    /// The folders that targets write to by default, from the root directory.
    pub(super) fn dest_folders(&self) -> Vec<String> {
        let entry = &self.program.modules[Program::ENTRY.index()].dir;
        let dests = self.program.entry_targets().filter_map(|(_, target)| target.dest.as_ref());
        dests.map(|(dest, _)| path::join(&[".", entry, dest])).collect()
    }

    fn reference(&self, args: &Args<'_>) -> Eval<ImageRef> {
        let text = args.text("ref");
        match text.parse() {
            Ok(reference) => Ok(reference),
            Err(why) => {
                let (kind, text, why) = (LiteralKind::Ref, text.to_string(), format!("{why}"));
                self.error(args.span_of("ref"), Cause::BadLiteral { kind, text, why })
            }
        }
    }

    fn image_answer(&mut self, request: Request, args: &Args<'_>) -> Eval<ImageAnswer> {
        match self.answer(request, args)? {
            Answer::Image(answer) => Ok(answer),
            other => panic!("an image is answered with {other:?}"),
        }
    }

    /// The answer, if it is known.
    pub(super) fn answer(&mut self, request: Request, args: &Args<'_>) -> Eval<Answer> {
        let Some(answer) = self.inputs.answers.get(&request).cloned() else {
            return self.need(request, args.span);
        };
        if !self.used.contains(&request) {
            self.used.push(request);
        }
        Ok(answer)
    }

    /// The folder of the module `file`, from the root directory; `.` is the root directory.
    pub(super) fn module_dir(&self, file: FileId) -> String {
        let module = self.program.module_of(file);
        path::join(&[".", module.map_or("", |module| &module.dir)])
    }

    /// A path argument, relative to the module that says it, as a clean path from the root directory.
    pub(super) fn below_root(&self, args: &Args<'_>, name: &str) -> Eval<String> {
        let text = args.text(name);
        let joined = path::join(&[".", &self.module_dir(args.span.file), text]);
        if text.starts_with('/') || joined == ".." || joined.starts_with("../") {
            return self.error(args.span_of(name), Cause::OutsideRoot { path: text.to_string() });
        }
        Ok(joined)
    }
}

/// Where an image comes from.
enum Origin {
    Registry { reference: ImageRef, pull: Pull },
    OciLayout { dir: String, reference: ImageRef },
}

impl Origin {
    fn of(replacement: &Replacement) -> Origin {
        match replacement {
            Replacement::OciLayout { dir, reference } => {
                Origin::OciLayout { dir: dir.clone(), reference: reference.clone() }
            }
            Replacement::Image(reference) => {
                Origin::Registry { reference: reference.clone(), pull: Pull::Always }
            }
        }
    }

    fn request(&self, platform: &Platform) -> Request {
        let platform = platform.clone();
        match self {
            Origin::Registry { reference, pull } => {
                Request::Image { reference: reference.clone(), platform, pull: *pull }
            }
            Origin::OciLayout { dir, reference } => {
                Request::OciLayout { dir: dir.clone(), reference: reference.clone(), platform }
            }
        }
    }
}

/// `path` as a pattern that matches only itself.
pub(super) fn escape_pattern(path: &str) -> String {
    let mut pattern = String::with_capacity(path.len());
    for c in path.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}
