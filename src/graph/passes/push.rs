//! A copy out of a copy reads what the first one read: the selector goes into the copy, and the tree in between is not
//! made.
//!
//! ```text
//! scratch.copy(tree, "/dir", "/")       base.copy(that, "/", "/to/")      =>      base.copy(tree, "/dir", "/to/")
//! ```
//!
//! Precondition:
//! - the first op copies one path to the root of scratch and does nothing else: no pattern, owner, mode or time, and
//!   nothing is unpacked;
//! - the second copies all of that into a directory that is there when the copying starts: its destination ends in `/`
//!   or `/.`. One that is not there would be made like the copied directory, and the root of the tree in between is not
//!   like `dir`;
//! - the second copy filters nothing, for `dir` might be a file, and patterns do not apply to what is named itself; where
//!   `dir` is the root it is none, and may be filtered;
//! - the second copy unpacks nothing: `dir` might be an archive, and its tree is none;
//! - both ops agree on using the cache, and neither asks for a worker of its own.
//!
//! What `dir` is makes no difference then: the entries of a directory are copied, anything else goes by its own name. A
//! path below the root of the tree in between is left alone: links in it lead elsewhere in the whole tree. So are mounts:
//! the root of the tree in between is a plain directory of root's, and `dir` may be anything. (`at` in a program makes
//! no tree in between; it becomes a selector when it is evaluated.)
//!
//! For the same reason a copy of a directory of a git source does not make it a source of that subdirectory: which of
//! the two a path is, a directory or a file, only its repository knows, and only directories can be such sources.

use super::Rewritten;
use super::rewrite::{Inputs, Rewriter, map_action};
use crate::base::{glob, path};
use crate::graph::ir::{
    Edge, FileAction, FileActionOp, FileCopy, FileInput, Graph, Location, Op, Tree, Vertex, VertexId,
};

pub(super) fn run(graph: &Graph, roots: &[Tree]) -> Option<Rewritten> {
    let selected: Vec<Option<Selected<'_>>> =
        graph.vertices().map(|(_, vertex)| Selected::of(vertex)).collect();
    if selected.iter().all(Option::is_none) {
        return None;
    }
    let mut rewriter = Rewriter::new(graph);
    let mut n_changes = 0;
    for (_, vertex) in graph.vertices() {
        match pushed(vertex, &selected) {
            Some((vertex, n)) => {
                rewriter.keep(&vertex);
                n_changes += n;
            }
            None => rewriter.keep(vertex),
        }
    }
    Some(Rewritten { roots: rewriter.trees(roots), graph: rewriter.graph, n_changes })
}

/// What a tree in between was made from.
struct Selected<'a> {
    from: Edge,
    copy: &'a FileCopy,
    locations: &'a [Location],
}

impl Selected<'_> {
    fn of(vertex: &Vertex) -> Option<Selected<'_>> {
        let Op::File(file) = &vertex.op else { return None };
        let [action] = file.actions.as_slice() else { return None };
        let (FileInput::Scratch, FileInput::Input(from), FileActionOp::Copy(copy)) =
            (action.input, action.secondary, &action.op)
        else {
            return None;
        };
        let usual = FileCopy {
            src: copy.src.clone(),
            dest: "/".to_owned(),
            follow_symlink: copy.follow_symlink,
            dir_copy_contents: true,
            create_dest_path: copy.create_dest_path,
            allow_wildcard: copy.allow_wildcard,
            allow_empty_wildcard: copy.allow_empty_wildcard,
            ..FileCopy::default()
        };
        let is_one_path = !(copy.allow_wildcard && glob::has_wildcard(&copy.src));
        (**copy == usual && is_one_path && is_plain(vertex)).then(|| Selected {
            from: vertex.inputs[from as usize],
            copy,
            locations: &vertex.locations,
        })
    }
}

/// Whether nothing is said about the op that would be lost with it.
fn is_plain(vertex: &Vertex) -> bool {
    !vertex.sealed
        && vertex.constraints.is_empty()
        && !vertex.metadata.ignore_cache
        && vertex.metadata.export_cache.is_none()
}

/// The file op with its copies out of trees in between replaced, and how many those are.
fn pushed(vertex: &Vertex, selected: &[Option<Selected<'_>>]) -> Option<(Vertex, usize)> {
    let Op::File(file) = &vertex.op else { return None };
    if !is_plain(vertex) {
        return None;
    }
    let between = |action: &FileAction| {
        let (FileActionOp::Copy(copy), FileInput::Input(input)) = (&action.op, action.secondary) else {
            return None;
        };
        let fits = path::clean(&copy.src) == "/"
            && copy.dir_copy_contents
            && !copy.attempt_unpack
            && (copy.dest.ends_with('/') || copy.dest.ends_with("/."));
        let filters = [&copy.include_patterns, &copy.exclude_patterns, &copy.required_paths];
        let is_filtered = filters.iter().any(|patterns| !patterns.is_empty());
        let VertexId(id) = vertex.inputs[input as usize].vertex;
        let found = selected[id as usize].as_ref().filter(|_| fits)?;
        (!is_filtered || path::clean(&found.copy.src) == "/").then_some(found)
    };
    let mut n = 0;
    let mut file = file.clone();
    let mut inputs = Inputs::new(true);
    let mut place = |edge: Edge| inputs.place(Some(edge)).map_or(FileInput::Scratch, FileInput::Input);
    let mut locations = Vec::new();
    for (idx, action) in file.actions.iter_mut().enumerate() {
        let found = between(action);
        if found.is_some() {
            action.secondary = FileInput::Scratch;
        }
        map_action(action, &mut |input| match input {
            FileInput::Input(input) => place(vertex.inputs[input as usize]),
            FileInput::Scratch | FileInput::Action(_) => input,
        });
        if let (Some(found), FileActionOp::Copy(copy)) = (found, &mut action.op) {
            action.secondary = place(found.from);
            copy.src.clone_from(&found.copy.src);
            copy.follow_symlink = found.copy.follow_symlink;
            copy.allow_wildcard = found.copy.allow_wildcard;
            copy.allow_empty_wildcard = found.copy.allow_empty_wildcard;
            let at = |it: &Location| Location { actions: Some(idx as u32..idx as u32 + 1), ..it.clone() };
            locations.extend(found.locations.iter().map(at));
            n += 1;
        }
    }
    (0 < n).then(|| {
        let mut vertex = Vertex { op: Op::File(file), inputs: inputs.edges, ..vertex.clone() };
        vertex.locations.extend(locations);
        (vertex, n)
    })
}
