//! `--emit buildctl`: per tree, the command line that builds it with BuildKit.
//!
//! A definition says neither where its directories are on the client nor what its image is like: the command line does.
//! An image's config goes with the exporter's attribute `containerimage.config`: BuildKit copies attributes that it
//! does not know into the metadata of the result, where the exporter looks for it.

use std::fmt::Write as _;
use std::path::Path;

use super::{Lowering, Piece};
use crate::base::{Platform, Report, path};
use crate::cli::args::Emit;
use crate::graph::ir::{ExecOp, MountKind, NetMode, Op, OutputKind, SecurityMode, SourceOp, attr};
use crate::lang::eval::quote::{is_safe, single_quoted};

/// Secrets that every git source names whether it needs them or not.
const GIT_SECRETS: [&str; 2] = ["GIT_AUTH_TOKEN", "GIT_AUTH_HEADER"];

/// The commands for all pieces. The definitions are in `folder`, or are made by a `bkl lower` in front of a pipe.
pub(super) fn commands(lowering: &Lowering<'_>, folder: Option<&Path>) -> Result<String, Report> {
    let mut text = String::new();
    for piece in lowering.pieces {
        let mut words: Vec<String> = Vec::new();
        asked(lowering, piece)?.words(&mut words, &lowering.program.shown);
        words.extend(output(piece));
        let (before, behind) = match folder {
            Some(folder) => {
                let file = folder.join(piece.file(Emit::Llb));
                (String::new(), format!(" \\\n  < {}", word(&file.to_string_lossy())))
            }
            None => (format!("{} \\\n  | ", lower_again(lowering, piece)), String::new()),
        };
        let indent = if folder.is_some() { "  " } else { "    " };
        let _ = write!(text, "{before}buildctl build");
        for pair in words.chunks(2) {
            let _ = write!(text, " \\\n{indent}{}", pair.join(" "));
        }
        let _ = writeln!(text, "{behind}");
    }
    for output in lowering.outputs {
        let OutputKind::Index { images, tags } = &output.kind else { continue };
        if tags.is_empty() || lowering.args.only.is_some() {
            continue;
        }
        text += "# When the images have been pushed (add push=true to their outputs), this makes one index of them:\n";
        for tag in tags {
            let of = images.iter().map(|image| word(&tag_of_platform(tag, &image.config.platform)));
            let of: Vec<String> = of.collect();
            let _ = writeln!(text, "# docker buildx imagetools create --tag {} {}", word(tag), of.join(" "));
        }
    }
    Ok(text)
}

/// What a definition asks of the client.
#[derive(Default)]
struct Asked {
    /// Names of directories.
    locals: Vec<String>,
    /// Names of OCI layouts.
    layouts: Vec<String>,
    secrets: Vec<String>,
    agents: Vec<String>,
    /// Entitlements.
    allow: Vec<&'static str>,
}

fn asked(lowering: &Lowering<'_>, piece: &Piece<'_>) -> Result<Asked, Report> {
    let mut asked = Asked::default();
    let needed = lowering.graph.needed(&[piece.root]);
    for (id, vertex) in lowering.graph.vertices() {
        match &vertex.op {
            _ if !needed[id.0 as usize] => {}
            Op::Source(source) => asked.source(source),
            Op::Exec(exec) => asked.exec(exec),
            Op::File(_) | Op::Merge(_) | Op::Diff(_) | Op::Passthrough(_) | Op::Build(_) => {}
        }
    }
    match asked.locals.iter().chain(&asked.layouts).find(|name| name.contains('=')) {
        None => Ok(asked),
        Some(name) => {
            let message = format!("the directory `{name}` cannot be given to buildctl");
            Err(Report::error("bkl::usage", message).help(
                "what stands before the first `=` of its `--local` is a name; call the directory otherwise",
            ))
        }
    }
}

fn add<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

impl Asked {
    fn source(&mut self, source: &SourceOp) {
        let attr = |key: &str| source.attrs.get(key).filter(|value| !value.is_empty());
        match source.scheme() {
            "local" => add(&mut self.locals, source.locator().to_owned()),
            "oci-layout" | "oci-layout+blob" => {
                if let Some(store) = attr(attr::OCI_STORE) {
                    add(&mut self.layouts, store.clone());
                }
            }
            "git" => {
                for key in [attr::GIT_AUTH_TOKEN_SECRET, attr::GIT_AUTH_HEADER_SECRET] {
                    if let Some(id) = attr(key).filter(|id| !GIT_SECRETS.contains(&id.as_str())) {
                        add(&mut self.secrets, id.clone());
                    }
                }
                if let Some(agent) = attr(attr::GIT_MOUNT_SSH_SOCK) {
                    add(&mut self.agents, agent.clone());
                }
            }
            "http" | "https" => {
                if let Some(id) = attr(attr::HTTP_AUTH_HEADER_SECRET) {
                    add(&mut self.secrets, id.clone());
                }
            }
            _ => {}
        }
    }

    fn exec(&mut self, exec: &ExecOp) {
        for mount in &exec.mounts {
            match &mount.kind {
                MountKind::Secret(secret) => add(&mut self.secrets, secret.id.clone()),
                MountKind::Ssh(agent) if agent.id.is_empty() => add(&mut self.agents, "default".to_owned()),
                MountKind::Ssh(agent) => add(&mut self.agents, agent.id.clone()),
                MountKind::Bind | MountKind::Cache { .. } | MountKind::Tmpfs { .. } => {}
            }
        }
        for secret in &exec.secret_env {
            add(&mut self.secrets, secret.id.clone());
        }
        if exec.network == NetMode::Host {
            add(&mut self.allow, "network.host");
        }
        if exec.security == SecurityMode::Insecure {
            add(&mut self.allow, "security.insecure");
        }
        if !exec.cdi_devices.is_empty() {
            add(&mut self.allow, "device");
        }
    }

    /// Flags and their values, in turn. Directories are named from the program's folder, `shown`.
    fn words(&self, words: &mut Vec<String>, shown: &str) {
        let mut flag = |flag: &str, value: &str| words.extend([flag.to_owned(), word(value)]);
        for name in &self.locals {
            flag("--local", &format!("{name}={}", path::join(&[".", shown, name])));
        }
        for name in &self.layouts {
            // One that stands in for an image has an absolute path.
            let dir = if name.starts_with('/') { name.clone() } else { path::join(&[".", shown, name]) };
            flag("--oci-layout", &format!("{name}={dir}"));
        }
        // Only an id: buildctl takes the variable of that name, or the file.
        for id in &self.secrets {
            flag("--secret", &csv(&[format!("id={id}")]));
        }
        for id in &self.agents {
            flag("--ssh", id);
        }
        for name in &self.allow {
            flag("--allow", name);
        }
    }
}

/// `--output` and its value: an image with tags goes to the daemon's image store, one without into an archive, files
/// into a folder, a check nowhere.
fn output(piece: &Piece<'_>) -> Vec<String> {
    let fields = match (&piece.output.kind, piece.image) {
        (OutputKind::Check(_), _) => return Vec::new(),
        (_, Some(image)) => {
            let tags = match &piece.output.kind {
                OutputKind::Index { tags, .. } => {
                    tags.iter().map(|tag| tag_of_platform(tag, &piece.platform)).collect()
                }
                OutputKind::Fs(_) | OutputKind::Image(_) | OutputKind::Check(_) => image.tags.clone(),
            };
            let mut fields = match tags.as_slice() {
                [] => vec!["type=oci".to_owned(), format!("dest={}.tar", piece.stem())],
                tags => vec!["type=image".to_owned(), format!("name={}", tags.join(","))],
            };
            fields.push(format!("containerimage.config={}", image.config.to_oci()));
            fields
        }
        (_, None) => {
            let dest = piece.output.dest.clone().unwrap_or_else(|| piece.stem());
            vec!["type=local".to_owned(), format!("dest={dest}")]
        }
    };
    vec!["--output".to_owned(), word(&csv(&fields))]
}

/// The name of one image of an index.
fn tag_of_platform(tag: &str, platform: &Platform) -> String {
    format!("{tag}-{}", platform.to_string().replace('/', "-"))
}

/// This `bkl lower`, for one piece and as a definition.
fn lower_again(lowering: &Lowering<'_>, piece: &Piece<'_>) -> String {
    let args = lowering.args;
    let mut words = vec!["bkl".to_owned(), "lower".to_owned()];
    let entry = format!("{}{}", lowering.program.shown, lowering.program.entry);
    if entry != "build.bkl" {
        words.extend(["-f".to_owned(), entry]);
    }
    let mut flag = |flag: &str, value: String| words.extend([flag.to_owned(), value]);
    args.inputs.params.iter().for_each(|param| flag("-p", param.clone()));
    if !args.inputs.platform.is_empty() {
        flag("--platform", args.inputs.platform.join(","));
    }
    if piece.of_index {
        flag("--only", piece.platform.to_string());
    }
    if let Some(lock) = &args.inputs.lock {
        flag("--lock", lock.to_string_lossy().into_owned());
    }
    args.inputs.images.iter().for_each(|image| flag("--image", image.clone()));
    if let Some(caps) = &args.caps {
        flag("--caps", caps.clone());
    }
    if let Some(unique) = &args.unique {
        flag("--unique", unique.clone());
    }
    if args.level == 0 {
        words.push("-O0".to_owned());
    }
    if args.inputs.locked {
        words.push("--locked".to_owned());
    }
    words.push(piece.output.name.clone());
    let words: Vec<String> = words.iter().map(|text| word(text)).collect();
    words.join(" ")
}

/// A word for a POSIX shell.
fn word(text: &str) -> String {
    if !text.is_empty() && is_safe(text) { text.to_owned() } else { single_quoted(text) }
}

/// Fields of a list that Go's encoding/csv reads.
fn csv(fields: &[String]) -> String {
    let quoted = |field: &String| match field.contains([',', '"', '\n', '\r']) || field.starts_with(' ') {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.clone(),
    };
    fields.iter().map(quoted).collect::<Vec<_>>().join(",")
}
