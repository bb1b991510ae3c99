//! What each input of an op means.

use super::{Link, NodeId, Role, node, place_of};
use crate::graph::ir::{Edge, FileActionOp, FileInput, Graph, MountKind, Op, VertexId};

/// One meaning of an input.
struct Meaning {
    role: Role,
    note: String,
    label: String,
}

impl Meaning {
    /// A meaning that the line itself shows.
    fn plain(role: Role, note: impl Into<String>) -> Meaning {
        Meaning { role, note: note.into(), label: String::new() }
    }

    fn labelled(role: Role, note: impl Into<String>, label: impl Into<String>) -> Meaning {
        Meaning { role, note: note.into(), label: label.into() }
    }
}

/// The links that lead to a vertex, one per vertex that it uses, in the order of its inputs.
pub(super) fn of(graph: &Graph, id: VertexId) -> Vec<Link> {
    let vertex = graph.vertex(id);
    let mut links: Vec<Link> = Vec::new();
    for (idx, &edge) in vertex.inputs.iter().enumerate() {
        let place = place_of(graph, edge);
        for meaning in meanings(&vertex.op, idx as u32) {
            let Meaning { role, note, label } = with_place(meaning, place.as_deref());
            match links.iter_mut().find(|link| link.from == node(edge.vertex)) {
                Some(link) => {
                    link.role = link.role.min(role);
                    if !link.notes.contains(&note) {
                        link.notes.push(note);
                    }
                    if !label.is_empty() && !link.label.split(", ").any(|known| known == label) {
                        let comma = if link.label.is_empty() { "" } else { ", " };
                        link.label = format!("{}{comma}{label}", link.label);
                    }
                }
                None => {
                    links.push(Link {
                        from: node(edge.vertex),
                        to: node(id),
                        role,
                        notes: vec![note],
                        label,
                    });
                }
            }
        }
    }
    links
}

/// The link from the tree `edge` to the target `to`; `label` tells images of an index apart.
pub(super) fn output(graph: &Graph, edge: Edge, to: NodeId, label: &str) -> Link {
    let meaning = match label {
        "" => Meaning::plain(Role::Output, "output"),
        platform => Meaning::labelled(Role::Output, format!("output for {platform}"), platform),
    };
    let Meaning { role, note, label } = with_place(meaning, place_of(graph, edge).as_deref());
    Link { from: node(edge.vertex), to, role, notes: vec![note], label }
}

/// Adds which of a command's results is meant.
fn with_place(meaning: Meaning, place: Option<&str>) -> Meaning {
    let Some(place) = place else { return meaning };
    let Meaning { role, note, label } = meaning;
    let of = if role == Role::Copy { "" } else { "of " };
    let label = if label.is_empty() { place.to_owned() } else { format!("{place} → {label}") };
    Meaning { role, note: format!("{note} {of}{place}"), label }
}

/// What the input `idx` is to an op; at least one thing.
fn meanings(op: &Op, idx: u32) -> Vec<Meaning> {
    let mut meanings = Vec::new();
    match op {
        Op::Exec(exec) => {
            for mount in exec.mounts.iter().filter(|mount| mount.input == Some(idx)) {
                if mount.dest == "/" {
                    meanings.push(Meaning::plain(Role::Base, "base"));
                    continue;
                }
                let (what, short) = match (&mount.kind, mount.readonly, mount.output) {
                    (MountKind::Cache { .. }, _, _) => ("cache seed", " cache"),
                    (_, true, _) => ("read-only", ""),
                    (_, false, Some(_)) => ("kept", " rw"),
                    (_, false, None) => ("read-write", " rw"),
                };
                let part = match &*mount.selector {
                    "" | "/" => String::new(),
                    dir => format!("{dir} "),
                };
                let note = format!("mount {part}at {} ({what})", mount.dest);
                meanings.push(Meaning::labelled(Role::Mount, note, format!("{}{short}", mount.dest)));
            }
        }
        Op::File(file) => {
            for action in &file.actions {
                if action.input == FileInput::Input(idx) {
                    meanings.push(Meaning::plain(Role::Base, "base"));
                }
                if action.secondary == FileInput::Input(idx)
                    && let FileActionOp::Copy(_) = &action.op
                {
                    meanings.push(Meaning::plain(Role::Copy, "copy from"));
                }
            }
        }
        Op::Merge(merge) => {
            for (layer, input) in merge.inputs.iter().enumerate() {
                if *input == Some(idx) {
                    let note = format!("layer {}", layer + 1);
                    meanings.push(Meaning::plain(Role::Part, note));
                }
            }
        }
        Op::Diff(diff) => {
            for (side, input) in [("lower", diff.lower), ("upper", diff.upper)] {
                if input == Some(idx) {
                    meanings.push(Meaning::labelled(Role::Part, side, side));
                }
            }
        }
        Op::Passthrough(passthrough) => {
            let role = if passthrough.outputs.contains(&idx) { Role::Base } else { Role::Needs };
            meanings.push(Meaning::plain(role, role.word()));
        }
        Op::Build(build) => {
            for (name, input) in &build.inputs {
                if *input == i64::from(idx) {
                    meanings.push(Meaning::plain(Role::Part, name));
                }
            }
        }
        Op::Source(_) => {}
    }
    if meanings.is_empty() {
        // Read from a definition: an input that only names of users are looked up in, or that nothing uses.
        meanings.push(Meaning::plain(Role::Needs, "input"));
    }
    meanings
}
