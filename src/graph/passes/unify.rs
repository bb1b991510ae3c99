//! A local directory of which several parts are taken is read once, with the union of the parts.
//!
//! Precondition, for a source that is replaced by a wider one:
//! - both differ in their include patterns only, follow no links, and all trees asked for that need one of them need both:
//!   nobody gets files sent that nothing he builds reads;
//! - its patterns are plain paths;
//! - everything that uses it copies one of these paths, as it is named by the pattern, and does not follow it as a link.
//!   Such a copy reads the path and what is below it, and all of that is in both sources. A copy of the root would show
//!   the other's files, and a path below a pattern could lead through a link to one of them;
//! - no other pattern of the wider source is a folder of one of these paths, again because it might be a link. A source
//!   without patterns is such a folder for all but the entries of the root.
//!
//! A source that is read in another way stays as it is.

use std::collections::BTreeMap;

use super::Rewritten;
use super::rewrite::{Rewriter, map_action};
use crate::base::{glob, path};
use crate::graph::ir::build::go_json_strings;
use crate::graph::ir::{
    FileActionOp, FileInput, Graph, Locations, Metadata, Op, SourceOp, Tree, Vertex, VertexId, attr,
};

pub(super) fn run(graph: &Graph, roots: &[Tree]) -> Option<Rewritten> {
    let classes = classes(graph, roots);
    if classes.sources.is_empty() {
        return None;
    }
    let mut rewriter = Rewriter::new(graph);
    let mut n_changes = 0;
    // Where the source of a class is, once its first member was met.
    let mut made: Vec<Option<VertexId>> = vec![None; classes.sources.len()];
    for (id, vertex) in graph.vertices() {
        let Some(&class) = classes.of.get(&id) else {
            rewriter.keep(vertex);
            continue;
        };
        match made[class] {
            None => {
                made[class] = Some(VertexId(rewriter.graph.len() as u32));
                rewriter.add(classes.sources[class].clone());
            }
            Some(made) => {
                rewriter.same_as(made);
                n_changes += 1;
            }
        }
    }
    Some(Rewritten { roots: rewriter.trees(roots), graph: rewriter.graph, n_changes })
}

/// Sources that become one.
#[derive(Default)]
struct Classes {
    of: BTreeMap<VertexId, usize>,
    sources: Vec<Vertex>,
}

/// A source of a local directory.
struct Member {
    id: VertexId,
    /// Its include patterns as clean paths; `None` when one of them is no plain path. Empty is the whole directory.
    paths: Option<Vec<String>>,
    /// The patterns that are copied, when nothing else is done with it.
    copied: Option<Vec<String>>,
    /// The trees asked for that need it.
    needed_by: Vec<usize>,
}

fn classes(graph: &Graph, roots: &[Tree]) -> Classes {
    let mut classes = Classes::default();
    // By name, directories that are read in the same way but for what is included.
    let mut groups: BTreeMap<String, Vec<(Vertex, Vec<VertexId>)>> = BTreeMap::new();
    for (id, vertex) in graph.vertices() {
        let Some((name, rest)) = without_includes(vertex) else { continue };
        let of_name = groups.entry(name).or_default();
        match of_name.iter_mut().find(|(known, _)| *known == rest) {
            Some((_, ids)) => ids.push(id),
            None => of_name.push((rest, vec![id])),
        }
    }
    let mut groups: Vec<(Vertex, Vec<VertexId>)> = groups.into_values().flatten().collect();
    groups.retain(|(_, ids)| 1 < ids.len());
    if groups.is_empty() {
        return classes;
    }
    let copied = copied(graph, roots);
    let needed: Vec<Vec<bool>> = roots.iter().map(|&root| graph.needed(&[root])).collect();
    for (_, ids) in groups {
        let member = |id: VertexId| {
            let Op::Source(source) = &graph.vertex(id).op else { unreachable!("only sources are grouped") };
            let paths = plain_paths(source);
            let copied = copied[id.0 as usize].clone().filter(|copied| {
                let is_path = |path: &String| paths.as_ref().is_some_and(|paths| paths.contains(path));
                !copied.is_empty() && copied.iter().all(is_path)
            });
            let needed_by = (0..roots.len()).filter(|&root| needed[root][id.0 as usize]).collect();
            Member { id, paths, copied, needed_by }
        };
        let members: Vec<Member> = ids.into_iter().map(member).collect();
        for class in united(&members) {
            let place = classes.sources.len();
            classes.sources.push(source_of(graph, &members, &class));
            classes.of.extend(class.iter().map(|&member| (members[member].id, place)));
        }
    }
    classes
}

/// The name of a directory and its source with nothing said about includes, names and places; `None` for what is not the
/// plain source of a local directory.
fn without_includes(vertex: &Vertex) -> Option<(String, Vertex)> {
    let Op::Source(source) = &vertex.op else { return None };
    let is_plain = source.scheme() == "local"
        && !vertex.sealed
        && !source.attrs.contains_key(attr::LOCAL_FOLLOW)
        && !source.attrs.contains_key(attr::LOCAL_METADATA_TRANSFER);
    is_plain.then(|| {
        let mut attrs = source.attrs.clone();
        attrs.remove(attr::LOCAL_INCLUDE);
        let metadata = Metadata {
            caps: std::collections::BTreeSet::new(),
            description: BTreeMap::new(),
            ..Metadata::clone(&vertex.metadata)
        };
        let source = SourceOp { attrs, ..SourceOp::clone(source) };
        let name = source.identifier.clone();
        let (op, metadata) = (Op::Source(source.into()), metadata.into());
        (name, Vertex { op, metadata, locations: Locations::new(), ..vertex.clone() })
    })
}

/// The include patterns, if all of them are paths and nothing else.
fn plain_paths(source: &SourceOp) -> Option<Vec<String>> {
    let plain = |pattern: String| {
        let is_plain = !pattern.starts_with(['!', '/'])
            && !pattern.contains('\\')
            && pattern.trim() == pattern
            && !glob::has_wildcard(&pattern);
        let path = path::clean(&pattern);
        (is_plain && path != "." && !path.starts_with("..")).then_some(path)
    };
    source.patterns(attr::LOCAL_INCLUDE).into_iter().map(plain).collect()
}

/// For each vertex, the paths of it that are copied, without the slash at their start, when nothing else is done with it.
fn copied(graph: &Graph, roots: &[Tree]) -> Vec<Option<Vec<String>>> {
    let mut copied: Vec<Option<Vec<String>>> = vec![Some(Vec::new()); graph.len()];
    for root in roots.iter().flatten() {
        copied[root.vertex.0 as usize] = None;
    }
    for (_, vertex) in graph.vertices() {
        let Op::File(file) = &vertex.op else {
            vertex.inputs.iter().for_each(|input| copied[input.vertex.0 as usize] = None);
            continue;
        };
        for action in &file.actions {
            let mut others = action.clone();
            if let (FileActionOp::Copy(copy), FileInput::Input(input)) = (&action.op, action.secondary) {
                let is_path = !copy.follow_symlink
                    && copy.src.starts_with('/')
                    && !copy.src.contains('\\')
                    && !glob::has_wildcard(&copy.src);
                let paths = &mut copied[vertex.inputs[input as usize].vertex.0 as usize];
                match paths {
                    Some(paths) if is_path => paths.push(path::clean(&copy.src)[1..].to_owned()),
                    _ => *paths = None,
                }
                others.secondary = FileInput::Scratch;
            }
            map_action(&mut others, &mut |input| {
                if let FileInput::Input(input) = input {
                    copied[vertex.inputs[input as usize].vertex.0 as usize] = None;
                }
                input
            });
        }
    }
    copied
}

/// Which members become one source, by their places.
fn united(members: &[Member]) -> Vec<Vec<usize>> {
    let mut classes: Vec<Vec<usize>> = Vec::new();
    // What nothing can replace takes in what it holds already; the others are put together.
    let fixed: Vec<usize> = (0..members.len()).filter(|&at| members[at].copied.is_none()).collect();
    classes.extend(fixed.iter().map(|&at| vec![at]));
    let mut unions: Vec<Vec<usize>> = Vec::new();
    for at in (0..members.len()).filter(|&at| members[at].copied.is_some()) {
        let member = &members[at];
        let holds = |host: &Member| {
            let is_there = |path: &String| match &host.paths {
                Some(paths) if paths.is_empty() => !path.contains('/'),
                Some(paths) => paths.contains(path) && !has_folder_of(paths, path),
                None => false,
            };
            host.needed_by == member.needed_by && member.copied.iter().flatten().all(is_there)
        };
        if let Some(class) = classes.iter_mut().find(|class| holds(&members[class[0]])) {
            class.push(at);
            continue;
        }
        let fits = |union: &[usize]| {
            let all: Vec<&Member> = union.iter().map(|&at| &members[at]).chain([member]).collect();
            let paths: Vec<String> =
                all.iter().filter_map(|it| it.paths.as_ref()).flatten().cloned().collect();
            all[0].needed_by == member.needed_by
                && all
                    .iter()
                    .filter_map(|it| it.copied.as_ref())
                    .flatten()
                    .all(|path| !has_folder_of(&paths, path))
        };
        match unions.iter_mut().find(|union| fits(union)) {
            Some(union) => union.push(at),
            None => unions.push(vec![at]),
        }
    }
    classes.extend(unions);
    classes.retain(|class| 1 < class.len());
    classes
}

/// Whether one of `paths` is a folder of `path`.
fn has_folder_of(paths: &[String], path: &str) -> bool {
    paths.iter().any(|folder| path.strip_prefix(folder.as_str()).is_some_and(|rest| rest.starts_with('/')))
}

/// The source of a class: that of the member which cannot be replaced, or the union. Everything said about any of them
/// is said about it.
fn source_of(graph: &Graph, members: &[Member], class: &[usize]) -> Vertex {
    let mut vertex = graph.vertex(members[class[0]].id).clone();
    let is_union = members[class[0]].copied.is_some();
    for &at in &class[1..] {
        let other = graph.vertex(members[at].id);
        vertex.metadata.merge(&other.metadata);
        vertex.locations.extend(other.locations.iter().cloned());
    }
    if let (true, Op::Source(source)) = (is_union, &mut vertex.op) {
        let mut paths: Vec<String> = Vec::new();
        for path in class.iter().filter_map(|&at| members[at].paths.as_ref()).flatten() {
            if !paths.contains(path) {
                paths.push(path.clone());
            }
        }
        source.attrs.insert(attr::LOCAL_INCLUDE.to_owned(), go_json_strings(&paths));
    }
    vertex
}
