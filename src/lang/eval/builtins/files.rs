//! Methods of trees. Each call makes one vertex; `at` makes none until a tree is needed.
//!
//! What `copy` writes into LLB: `from` is a path of the source tree, rooted there, and may have wildcards; `to` is
//! relative to the receiver's working directory and keeps a trailing slash; a directory copies its contents; missing
//! parents of `to` are made; `optional` allows an empty match; `follow` dereferences the source path itself; `unpack`
//! unpacks an archive; `include` and `exclude` select below the source; `mode` and `chown` apply to all that is copied.
//! `parents` copies from the root (or from the part before `/./`) what `from` matches, with its folders, as Dockerfile's
//! `COPY --parents` does (BuildKit frontend/dockerfile/dockerfile2llb/convert.go, dispatchCopy).

use std::sync::Arc;

use super::{Args, as_files};
use crate::base::{Span, path};
use crate::graph::ir::build::{FileStep, chown};
use crate::graph::ir::{
    CUSTOM_NAME, Chown, Edge, FileCopy, FileInput, FileMkdir, FileMkfile, FileRm, FileSymlink, Graph,
    ImageConfig, Tree,
};
use crate::lang::eval::error::Cause;
use crate::lang::eval::interp::{Eval, Evaluator, as_list};
use crate::lang::eval::value::{BaseConfig, Cmd, Files, Image, Value};

/// The receiver of a method of trees.
struct Receiver {
    tree: Tree,
    /// The image it was, if it was one: its config goes with the result.
    image: Option<Arc<Image>>,
}

impl Receiver {
    fn workdir(&self) -> &str {
        self.image.as_ref().map_or("/", |image| image.workdir())
    }

    fn result(self, tree: Tree) -> Value {
        match self.image {
            Some(image) => Value::Image(Arc::new(image.with_tree(tree))),
            None => Value::Fs(Files::all(tree)),
        }
    }
}

impl Evaluator<'_> {
    /// A tree for what may be a directory of one.
    pub(in crate::lang::eval) fn materialise(&mut self, files: &Files, span: Span) -> Tree {
        match &files.dir {
            None => files.tree,
            Some(_) => self.filtered_copy(files, Vec::new(), Vec::new(), span),
        }
    }

    fn receiver(&mut self, args: &Args<'_>) -> Receiver {
        match args.required("self") {
            Value::Image(image) => Receiver { tree: image.tree, image: Some(image.clone()) },
            value => {
                let files = as_files(value);
                Receiver { tree: self.materialise(&files, args.span), image: None }
            }
        }
    }

    /// File actions on the receiver, as one vertex.
    fn change(&mut self, args: &Args<'_>, receiver: Receiver, steps: Vec<FileStep>) -> Value {
        let base = receiver.tree;
        let edge = self.add_edge(args.span, |graph| graph.file(base, steps));
        receiver.result(Some(edge))
    }

    pub(super) fn copy(&mut self, args: &Args<'_>) -> Eval {
        let source = args.files("src");
        let receiver = self.receiver(args);
        let from = args.get("from").map_or(".", |from| crate::lang::eval::interp::as_text(from));
        let to = args.get("to").map_or("/", |to| crate::lang::eval::interp::as_text(to));
        let mut include_patterns = args.texts("include");
        let optional = args.flag("optional", false);
        let mut required_paths = Vec::new();
        let mut src = from;
        if args.flag("parents", false) {
            if !include_patterns.is_empty() {
                return self.error(args.span_of("include"), Cause::IncludeWithParents);
            }
            let (pivot, pattern) = from.split_once("/./").unwrap_or(("/", from));
            let pattern = rooted("/", pattern, Slash::Drop);
            src = pivot;
            if pattern != "/" {
                let pattern = pattern.trim_start_matches('/').to_owned();
                // Required paths are no patterns: what stands before a wildcard must be there.
                let (literal, _) = crate::base::glob::split_wildcard(&pattern);
                let literal = literal.trim_end_matches('/');
                if !optional && !literal.is_empty() {
                    required_paths.push(literal.to_owned());
                }
                include_patterns.push(pattern);
            }
        }
        let whole = path::clean(src);
        // A directory that `at` chose is followed as a mount of it would be.
        let is_at = source.dir.is_some() && matches!(whole.as_str(), "." | "/");
        let src = match &source.dir {
            None => rooted("/", src, Slash::Drop),
            Some(dir) => path::join(&[&super::source::escape_pattern(dir), &rooted("/", src, Slash::Drop)]),
        };
        let copy = FileCopy {
            src: if optional { as_pattern(src) } else { src },
            dest: destination(receiver.workdir(), to),
            owner: owner(args, receiver.tree),
            mode: match args.get("mode") {
                Some(Value::Mode(mode)) => *mode as i32,
                _ => -1,
            },
            follow_symlink: args.flag("follow", false) || is_at,
            dir_copy_contents: true,
            attempt_unpack: args.flag("unpack", false),
            create_dest_path: true,
            allow_wildcard: true,
            allow_empty_wildcard: optional,
            include_patterns,
            exclude_patterns: args.texts("exclude"),
            required_paths,
            ..FileCopy::default()
        };
        Ok(self.change(args, receiver, vec![FileStep::Copy { from: source.tree, copy }]))
    }

    /// The receiver through a filter, or only a directory of it: a copy into scratch.
    pub(super) fn filtered(&mut self, args: &Args<'_>, include: Vec<String>, exclude: Vec<String>) -> Eval {
        let files = as_files(args.required("self"));
        let tree = self.filtered_copy(&files, include, exclude, args.span);
        Ok(Value::Fs(Files::all(tree)))
    }

    fn filtered_copy(
        &mut self,
        files: &Files,
        include: Vec<String>,
        exclude: Vec<String>,
        span: Span,
    ) -> Tree {
        let copy = FileCopy {
            src: files.dir.as_deref().unwrap_or("/").to_owned(),
            dest: "/".to_owned(),
            follow_symlink: files.dir.is_some(),
            dir_copy_contents: true,
            create_dest_path: true,
            include_patterns: include,
            exclude_patterns: exclude,
            ..FileCopy::default()
        };
        let from = files.tree;
        Some(self.add_edge(span, |graph| graph.file(None, vec![FileStep::Copy { from, copy }])))
    }

    pub(super) fn at(&mut self, args: &Args<'_>) -> Eval {
        let files = as_files(args.required("self"));
        let base = files.dir.as_deref().unwrap_or("/");
        let dir = path::join(&[base, &rooted("/", args.text("dir"), Slash::Drop)]);
        let dir = (dir != "/").then(|| Arc::from(dir));
        Ok(Value::Fs(Files { tree: files.tree, dir }))
    }

    pub(super) fn merge(&mut self, args: &Args<'_>) -> Eval {
        let mut trees = Vec::new();
        for layer in as_list(args.required("layers")) {
            trees.push(self.materialise(&as_files(layer), args.span));
        }
        let merged = self.add_tree(args.span, |graph: &mut Graph| graph.merge(&trees));
        Ok(Value::Fs(Files::all(merged)))
    }

    pub(super) fn diff(&mut self, args: &Args<'_>) -> Eval {
        let lower = self.materialise(&args.files("lower"), args.span);
        let upper = self.materialise(&args.files("upper"), args.span);
        let diff = self.add_tree(args.span, |graph: &mut Graph| graph.diff(lower, upper));
        Ok(Value::Fs(Files::all(diff)))
    }

    pub(super) fn layer(&mut self, args: &Args<'_>) -> Eval {
        let receiver = self.receiver(args);
        let trees = [receiver.tree, self.materialise(&args.files("add"), args.span)];
        let merged = self.add_tree(args.span, |graph: &mut Graph| graph.merge(&trees));
        Ok(receiver.result(merged))
    }

    /// The receiver, which cannot be had unless the checks succeed. The op gets its id when the graph is complete
    /// ([`name_requirements`](crate::graph::llb::name_requirements)).
    pub(super) fn require(&mut self, args: &Args<'_>) -> Eval {
        let receiver = self.receiver(args);
        let mut checks: Vec<Edge> = Vec::new();
        for check in args.items("checks") {
            let Value::Check(edge) = check else { panic!("expected a check, found {check:?}") };
            if !checks.contains(edge) {
                checks.push(*edge);
            }
        }
        let Some(tree) = receiver.tree else { return self.error(args.span, Cause::RequireOnScratch) };
        if checks.is_empty() {
            return Ok(receiver.result(Some(tree)));
        }
        let edge = self.add_edge(args.span, |graph| graph.require("", tree, &checks));
        let name = format!("require {} check{}", checks.len(), if checks.len() == 1 { "" } else { "s" });
        self.graph.vertex_mut(edge.vertex).metadata.description.insert(CUSTOM_NAME.to_owned(), name);
        Ok(receiver.result(Some(edge)))
    }

    pub(super) fn mkdir(&mut self, args: &Args<'_>) -> Eval {
        if let Some(cause) = special_bits(args) {
            return self.error(args.span_of("mode"), cause);
        }
        let receiver = self.receiver(args);
        let mkdir = FileMkdir {
            path: rooted(receiver.workdir(), args.text("dir"), Slash::Drop),
            mode: mode(args, 0o755),
            make_parents: true,
            owner: owner(args, receiver.tree),
            timestamp: -1,
        };
        Ok(self.change(args, receiver, vec![FileStep::Mkdir(mkdir)]))
    }

    /// Writes a file, after making its folder where that is missing.
    pub(super) fn write(&mut self, args: &Args<'_>) -> Eval {
        if let Some(cause) = special_bits(args) {
            return self.error(args.span_of("mode"), cause);
        }
        let receiver = self.receiver(args);
        let path = rooted(receiver.workdir(), args.text("file"), Slash::Drop);
        let mut steps = folder_of(&path);
        steps.push(FileStep::Mkfile(FileMkfile {
            path,
            mode: mode(args, 0o644),
            data: args.text("content").as_bytes().to_vec(),
            owner: owner(args, receiver.tree),
            timestamp: -1,
        }));
        Ok(self.change(args, receiver, steps))
    }

    /// Makes a symlink, after making its folder where that is missing; what it points to is verbatim.
    pub(super) fn symlink(&mut self, args: &Args<'_>) -> Eval {
        let receiver = self.receiver(args);
        let newpath = rooted(receiver.workdir(), args.text("file"), Slash::Drop);
        let mut steps = folder_of(&newpath);
        steps.push(FileStep::Symlink(FileSymlink {
            oldpath: args.text("points_to").to_string(),
            newpath,
            owner: None,
            timestamp: -1,
        }));
        Ok(self.change(args, receiver, steps))
    }

    pub(super) fn remove(&mut self, args: &Args<'_>) -> Eval {
        let receiver = self.receiver(args);
        let rm = FileRm {
            path: rooted(receiver.workdir(), args.text("what"), Slash::Drop),
            allow_not_found: args.flag("optional", false),
            allow_wildcard: true,
        };
        Ok(self.change(args, receiver, vec![FileStep::Rm(rm)]))
    }

    /// A tree as an image without any settings; those an image had are gone.
    pub(super) fn image_of_tree(&mut self, args: &Args<'_>) -> Eval {
        let platform = self.platform_arg(args, "platform");
        let tree = self.materialise(&as_files(args.required("self")), args.span);
        Ok(Value::Image(Arc::new(Image {
            tree,
            config: ImageConfig::scratch(crate::base::Platform::clone(&platform)),
            tags: Vec::new(),
            base: BaseConfig::Known,
            cmd: Cmd::Inherited,
        })))
    }
}

/// What happens to a slash at the end of a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slash {
    Keep,
    Drop,
}

/// `path` below `dir` unless it is absolute, cleaned (BuildKit client/llb/fileop.go, normalizePath).
fn rooted(dir: &str, path: &str, slash: Slash) -> String {
    let mut rooted = path::clean(path);
    if !rooted.starts_with('/') {
        rooted = path::join(&["/", dir, &rooted]);
    }
    if slash == Slash::Keep {
        if path.ends_with('/') && !rooted.ends_with('/') {
            rooted.push('/');
        } else if path.ends_with("/.") {
            rooted.push_str(if rooted == "/" { "." } else { "/." });
        }
    }
    rooted
}

/// Where a copy goes: `.` and the empty path are the directory itself, as in Dockerfile.
fn destination(workdir: &str, to: &str) -> String {
    rooted(workdir, if matches!(to, "" | ".") { "./" } else { to }, Slash::Keep)
}

/// The step that makes the folder of `path`: existing ones are left alone.
fn folder_of(path: &str) -> Vec<FileStep> {
    let folder = path::clean(&path::dir(path));
    if folder == "/" {
        return Vec::new();
    }
    vec![FileStep::Mkdir(FileMkdir {
        path: folder,
        mode: 0o755,
        make_parents: true,
        owner: None,
        timestamp: -1,
    })]
}

/// Bits that [`mode`] would lose: a file meant to be sticky or set-id must not silently be neither.
fn special_bits(args: &Args<'_>) -> Option<Cause> {
    match args.get("mode") {
        Some(Value::Mode(mode)) if mode & !0o777 != 0 => Some(Cause::SpecialModeBits { mode: *mode }),
        _ => None,
    }
}

/// Permission bits of something made (BuildKit client/llb/fileop.go keeps these nine).
fn mode(args: &Args<'_>, default: u32) -> i32 {
    let mode = match args.get("mode") {
        Some(Value::Mode(mode)) => *mode,
        _ => default,
    };
    (mode & 0o777) as i32
}

/// `chown`: names are looked up in the tree that is changed.
fn owner(args: &Args<'_>, base: Tree) -> Option<Box<Chown>> {
    let text = args.maybe_text("chown")?;
    Some(Box::new(chown(text, if base.is_some() { FileInput::Input(0) } else { FileInput::Scratch })))
}

/// A pattern that matches nothing but `path`. LLB lets only a pattern go without a match, so a plain path that is optional
/// becomes one.
fn as_pattern(path: String) -> String {
    let (_, wildcard) = crate::base::glob::split_wildcard(&path);
    if !wildcard.is_empty() {
        return path;
    }
    let is_plain = |at: usize, c: char| c.is_alphanumeric() && !path[..at].ends_with('\\');
    let name = path.rfind('/').map_or(0, |slash| slash + 1);
    match path.char_indices().rev().take_while(|&(at, _)| name <= at).find(|&(at, c)| is_plain(at, c)) {
        Some((at, c)) => format!("{}[{c}]{}", &path[..at], &path[at + c.len_utf8()..]),
        None => path,
    }
}
