//! From the targets that were asked for to outputs.

use std::sync::Arc;

use super::error::{Cause, EvalError, near};
use super::interp::{Evaluator, Stop};
use super::value::{Image, Index, Value};
use super::{Evaluated, Inputs, Outcome, PlatformChoice};
use crate::base::{Platform, SourceMap, Span};
use crate::graph::ir::outputs::{ImageOutput, Output, OutputKind};
use crate::graph::llb::name_requirements;
use crate::lang::hir::{Program, Target, TargetId};

/// A target, for `bkl build --list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetInfo {
    /// Its name.
    pub name: String,
    /// Its type as written in source.
    pub ty: String,
    /// Its doc comment.
    pub doc: Option<String>,
    /// Folder of its default local output.
    pub dest: Option<String>,
    /// `pub`.
    pub public: bool,
}

/// The targets of the entry module, in source order.
pub fn list_targets(program: &Program) -> Vec<TargetInfo> {
    program
        .entry_targets()
        .map(|(_, target)| TargetInfo {
            name: target.item.name.to_string(),
            ty: target.ty.to_string(),
            doc: target.item.doc.as_deref().map(str::to_owned),
            dest: target.dest.as_ref().map(|(dest, _)| dest.to_string()),
            public: target.item.public,
        })
        .collect()
}

/// The errors of asking for targets that do not exist. What stands behind a dot is known only when it is evaluated.
pub fn unknown_targets(program: &Program, requested: &[String]) -> Vec<EvalError> {
    let have: Vec<String> = program.entry_targets().map(|(_, target)| target.item.name.to_string()).collect();
    let first = |path: &String| path.split('.').next().unwrap_or(path).to_owned();
    let unknown = requested.iter().map(first).filter(|name| !have.contains(name));
    unknown.map(|name| EvalError::unplaced(unknown_target(name, have.clone()))).collect()
}

fn unknown_target(target: String, have: Vec<String>) -> Cause {
    Cause::UnknownTarget { near: near(&target, &have), target, have }
}

/// A requested target and the path into it.
struct Selected<'a> {
    id: TargetId,
    target: &'a Target,
    /// As requested.
    path: String,
    /// Behind the target's name; empty for all of it.
    rest: String,
}

/// A thing to build, before the platforms are put together.
struct Leaf {
    name: String,
    dest: Option<String>,
    span: Span,
    value: Value,
}

/// A leaf on each platform that has it.
struct Group {
    name: String,
    versions: Vec<Version>,
}

/// A leaf as it is on a platform.
struct Version {
    platform: Arc<Platform>,
    leaf: Leaf,
}

/// See [`super::evaluate`].
pub(super) fn run(
    program: &Program,
    sources: &SourceMap,
    inputs: &Inputs,
) -> Result<Outcome, Vec<EvalError>> {
    let selected = select(program, &inputs.targets)?;
    let mut evaluator = Evaluator::new(program, sources, inputs);
    let mut errors: Vec<EvalError> = Vec::new();
    let mut fail = |error: EvalError| {
        let known = |it: &EvalError| it.cause == error.cause && it.span == error.span;
        if !errors.iter().any(known) {
            errors.push(error);
        }
    };
    // Per platform, the leaves of all selected targets.
    let mut built: Vec<(Arc<Platform>, Vec<Leaf>)> = Vec::new();
    for platform in &inputs.platforms {
        evaluator.platform = Arc::new(platform.clone());
        let mut leaves = Vec::new();
        for it in &selected {
            evaluator.reset();
            evaluator.target = it.path.clone();
            let stop = match evaluator.target_part(it.id, &it.rest) {
                Ok(value) => match walk(it, value, &mut leaves) {
                    Ok(()) => continue,
                    // To say what there is instead, all of the target has to be known.
                    Err(_) => match evaluator.target(it.id) {
                        Ok(whole) => match walk(it, whole, &mut leaves) {
                            Ok(()) => continue,
                            Err(error) => Stop::Error(error),
                        },
                        Err(stop) => stop,
                    },
                },
                Err(stop) => stop,
            };
            if let Stop::Error(error) = stop {
                fail(error);
            }
        }
        built.push((evaluator.platform.clone(), leaves));
    }
    let mut outputs: Vec<Output> = Vec::new();
    if errors.is_empty() && evaluator.needs.is_empty() {
        for group in by_name(built) {
            match group_outputs(&mut evaluator, &group, inputs) {
                Ok(of_group) => outputs.extend(of_group),
                Err(error) => errors.push(error),
            }
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    if !evaluator.needs.is_empty() {
        return Ok(Outcome::Needs(evaluator.needs));
    }
    let Evaluator { mut graph, used, unpinned, replaced, .. } = evaluator;
    name_requirements(&mut graph);
    Ok(Outcome::Done(Box::new(Evaluated { graph, outputs, used, unpinned, replaced })))
}

fn select<'a>(program: &'a Program, requested: &[String]) -> Result<Vec<Selected<'a>>, Vec<EvalError>> {
    let targets: Vec<(TargetId, &Target)> = program.entry_targets().collect();
    let whole = |(id, target): (TargetId, &'a Target)| Selected {
        id,
        target,
        path: target.item.name.to_string(),
        rest: String::new(),
    };
    if targets.is_empty() {
        return Err(vec![EvalError::unplaced(Cause::NoTargets)]);
    }
    if requested.is_empty() {
        let public = targets.iter().any(|(_, target)| target.item.public);
        return Ok(targets
            .into_iter()
            .filter(|(_, target)| target.item.public || !public)
            .map(whole)
            .collect());
    }
    let mut selected: Vec<Selected<'a>> = Vec::new();
    let mut errors = Vec::new();
    for path in requested {
        let (name, rest) = path.split_once('.').unwrap_or((path, ""));
        match targets.iter().find(|(_, target)| &*target.item.name == name) {
            Some(&(id, target)) => {
                if !selected.iter().any(|it| it.path == *path) {
                    selected.push(Selected { id, target, path: path.clone(), rest: rest.to_owned() });
                }
            }
            None => {
                let have: Vec<String> =
                    targets.iter().map(|(_, target)| target.item.name.to_string()).collect();
                errors.push(EvalError::unplaced(unknown_target(name.to_owned(), have)));
            }
        }
    }
    if errors.is_empty() { Ok(selected) } else { Err(errors) }
}

/// Walks the path into the target's value, then into everything below it.
fn walk(selected: &Selected<'_>, value: Value, leaves: &mut Vec<Leaf>) -> Result<(), EvalError> {
    let (mut value, mut rest) = (value, selected.rest.as_str());
    let mut name = selected.target.item.name.to_string();
    let span = selected.target.item.span;
    let mut dest = selected.target.dest.as_ref().map(|(dest, _)| dest.to_string());
    while !rest.is_empty() {
        // Keys may have dots themselves: the longest one that fits is meant.
        let children = children(&value);
        let fits =
            |key: &str| rest == key || rest.strip_prefix(key).is_some_and(|tail| tail.starts_with('.'));
        let found = children.iter().filter(|(key, _)| fits(key)).max_by_key(|(key, _)| key.len());
        let Some((key, child)) = found else {
            let have: Vec<String> = children.iter().map(|(key, _)| format!("{name}.{key}")).collect();
            let target = format!("{name}.{rest}");
            return Err(EvalError::unplaced(unknown_target(target, have)));
        };
        name = format!("{name}.{key}");
        dest = below(dest.as_deref(), key, span)?;
        rest = rest[key.len()..].strip_prefix('.').unwrap_or_default();
        value = child.clone();
    }
    collect(name, dest, span, value, leaves)
}

fn collect(
    name: String,
    dest: Option<String>,
    span: Span,
    value: Value,
    leaves: &mut Vec<Leaf>,
) -> Result<(), EvalError> {
    match value {
        Value::List(_) | Value::Map(_) | Value::Record(_) => {
            for (key, child) in children(&value) {
                let dest = below(dest.as_deref(), &key, span)?;
                collect(format!("{name}.{key}"), dest, span, child, leaves)?;
            }
        }
        value => {
            // Asking for `images` and `images.api` asks for `images.api` once.
            if !leaves.iter().any(|leaf| leaf.name == name) {
                leaves.push(Leaf { name, dest, span, value });
            }
        }
    }
    Ok(())
}

/// The folder of an element of a target: named by its key, so that the key has to be a name.
fn below(dest: Option<&str>, key: &str, span: Span) -> Result<Option<String>, EvalError> {
    let Some(dest) = dest else { return Ok(None) };
    if matches!(key, "" | "." | "..") || key.contains(['/', '\0']) {
        return Err(EvalError::at(span, Cause::BadFolder { key: key.to_owned() }));
    }
    Ok(Some(format!("{dest}/{key}")))
}

fn children(value: &Value) -> Vec<(String, Value)> {
    match value {
        Value::List(items) => {
            items.iter().enumerate().map(|(idx, item)| (idx.to_string(), item.clone())).collect()
        }
        Value::Map(map) => map.entries().iter().map(|(key, item)| (key.to_string(), item.clone())).collect(),
        Value::Record(fields) => fields.iter().map(|(key, item)| (key.to_string(), item.clone())).collect(),
        _ => Vec::new(),
    }
}

/// The versions of each leaf, in the order of the first platform that has it.
fn by_name(built: Vec<(Arc<Platform>, Vec<Leaf>)>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (platform, leaves) in built {
        for leaf in leaves {
            let platform = platform.clone();
            match groups.iter_mut().find(|group| group.name == leaf.name) {
                Some(group) => group.versions.push(Version { platform, leaf }),
                None => {
                    groups
                        .push(Group { name: leaf.name.clone(), versions: vec![Version { platform, leaf }] });
                }
            }
        }
    }
    groups
}

/// The outputs of what a leaf is on each platform: one, but for checks, of which each is one.
fn group_outputs(
    evaluator: &mut Evaluator<'_>,
    group: &Group,
    inputs: &Inputs,
) -> Result<Vec<Output>, EvalError> {
    let mut outputs: Vec<Output> = Vec::new();
    for Version { leaf, .. } in &group.versions {
        let Value::Check(edge) = leaf.value else { return Ok(vec![output(evaluator, group, inputs)?]) };
        if let Some(dest) = &leaf.dest {
            let cause = Cause::CheckDest { target: group.name.clone(), dest: dest.clone() };
            return Err(EvalError::at(leaf.span, cause));
        }
        let kind = OutputKind::Check(edge);
        if !outputs.iter().any(|known| known.kind == kind) {
            outputs.push(Output { name: group.name.clone(), dest: None, kind, span: leaf.span });
        }
    }
    Ok(outputs)
}

/// One output of what a leaf is on each platform.
fn output(evaluator: &mut Evaluator<'_>, group: &Group, inputs: &Inputs) -> Result<Output, EvalError> {
    let Group { name, versions } = group;
    let first = &versions[0].leaf;
    let several = || {
        let platforms = versions.iter().map(|version| Platform::clone(&version.platform)).collect();
        EvalError::at(first.span, Cause::SeveralPlatforms { target: name.clone(), platforms })
    };
    let same = versions.iter().all(|version| version.leaf.value == first.value);
    let kind = match &first.value {
        Value::Fs(files) if same => OutputKind::Fs(evaluator.materialise(files, first.span)),
        Value::Image(_) => {
            let mut images = Vec::new();
            for Version { platform, leaf } in versions {
                let Value::Image(image) = &leaf.value else { return Err(several()) };
                if inputs.platform_choice == PlatformChoice::Explicit {
                    check_platforms(
                        name,
                        leaf.span,
                        std::slice::from_ref(image),
                        std::slice::from_ref(&**platform),
                    )?;
                }
                images.push(image.clone());
            }
            match images.as_slice() {
                [image] => OutputKind::Image(Box::new(image_output(image))),
                _ => index_output(&Index { images, tags: Vec::new() }),
            }
        }
        Value::Index(index) => {
            if inputs.platform_choice == PlatformChoice::Explicit {
                check_platforms(name, first.span, &index.images, &inputs.platforms)?;
            }
            index_output(index)
        }
        _ => return Err(several()),
    };
    Ok(Output { name: name.clone(), dest: first.dest.clone(), kind, span: first.span })
}

fn check_platforms(
    name: &str,
    span: Span,
    images: &[Arc<Image>],
    want: &[Platform],
) -> Result<(), EvalError> {
    let names = |platforms: &mut dyn Iterator<Item = Platform>| {
        let mut names: Vec<String> = platforms.map(|platform| platform.normalize().to_string()).collect();
        names.sort();
        names.dedup();
        names.join(", ")
    };
    let have = names(&mut images.iter().map(|image| image.config.platform.clone()));
    let want = names(&mut want.iter().cloned());
    if have == want {
        return Ok(());
    }
    Err(EvalError::at(span, Cause::PlatformConflict { target: name.to_owned(), have, want }))
}

fn image_output(image: &Image) -> ImageOutput {
    ImageOutput { tree: image.tree, config: image.config.clone(), tags: image.tags.clone() }
}

fn index_output(index: &Index) -> OutputKind {
    OutputKind::Index {
        images: index.images.iter().map(|image| image_output(image)).collect(),
        tags: index.all_tags(),
    }
}
