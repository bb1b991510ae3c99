//! What hangs together.
//!
//! A base image that sixty steps start from would draw sixty lines across everything. Lines of a node with more than
//! [`HUB`] of them are cut, and so are lines from a node to [`GROUPS`] groups or more: a short line with the name of the
//! other end is drawn at the end that has fewer. What is connected by the other lines, or is of one group, is one part.

use super::super::{Role, View, title};

/// Most lines on one side of a node that are drawn through.
const HUB: usize = 10;
/// As many groups as get a copy of a node's name rather than a line from it.
const GROUPS: usize = 3;
/// Columns of the name of the other end of a cut line.
const NAME: usize = 26;

/// Nodes that are laid out together.
pub(super) struct Part {
    /// Indexes in [`View::nodes`], rising.
    pub(super) nodes: Vec<usize>,
    /// In the order of the view's links.
    pub(super) lines: Vec<Line>,
    /// Indexes in [`View::groups`], rising.
    pub(super) groups: Vec<usize>,
}

/// A link of a part. Ends are indexes in [`Part::nodes`]; one that is cut off is `None`.
pub(super) struct Line {
    /// Index in [`View::links`].
    pub(super) link: usize,
    pub(super) from: Option<usize>,
    pub(super) to: Option<usize>,
    pub(super) role: Role,
    pub(super) label: String,
}

/// The parts of a view, in the order of their first nodes.
pub(super) fn parts(view: &View) -> Vec<Part> {
    let n_nodes = view.nodes.len();
    let (mut n_users, mut n_inputs) = (vec![0_usize; n_nodes], vec![0_usize; n_nodes]);
    for link in &view.links {
        n_users[link.from.0] += 1;
        n_inputs[link.to.0] += 1;
    }
    let mut leader: Vec<usize> = (0..n_nodes).collect();
    let mut groups_of: Vec<Vec<usize>> = vec![Vec::new(); n_nodes];
    for link in &view.links {
        if let Some(group) = view.nodes[link.to.0].group
            && view.nodes[link.from.0].group.is_none()
            && !groups_of[link.from.0].contains(&group)
        {
            groups_of[link.from.0].push(group);
        }
    }
    let is_cut = |from: usize, to: usize| {
        let enters = view.nodes[to].group.is_some() && GROUPS <= groups_of[from].len();
        HUB < n_users[from] || HUB < n_inputs[to] || enters
    };
    for link in view.links.iter().filter(|link| !is_cut(link.from.0, link.to.0)) {
        unite(&mut leader, link.from.0, link.to.0);
    }
    let mut first_of: Vec<Option<usize>> = vec![None; view.groups.len()];
    for (id, node) in view.nodes.iter().enumerate() {
        if let Some(group) = node.group {
            let first = *first_of[group].get_or_insert(id);
            unite(&mut leader, first, id);
        }
    }
    let mut part_of: Vec<usize> = Vec::with_capacity(n_nodes);
    let mut place: Vec<usize> = Vec::with_capacity(n_nodes);
    let mut parts: Vec<Part> = Vec::new();
    for id in 0..n_nodes {
        // A leader is the smallest of its part, so it was met before.
        let leader = find(&mut leader, id);
        let part = if leader == id { parts.len() } else { part_of[leader] };
        if part == parts.len() {
            parts.push(Part { nodes: Vec::new(), lines: Vec::new(), groups: Vec::new() });
        }
        part_of.push(part);
        place.push(parts[part].nodes.len());
        parts[part].nodes.push(id);
        if let Some(group) = view.nodes[id].group.filter(|group| !parts[part].groups.contains(group)) {
            parts[part].groups.push(group);
        }
    }
    parts.iter_mut().for_each(|part| part.groups.sort_unstable());
    for (number, link) in view.links.iter().enumerate() {
        let (from, to) = (link.from.0, link.to.0);
        let mut line = Line {
            link: number,
            from: Some(place[from]),
            to: Some(place[to]),
            role: link.role,
            label: link.label.clone(),
        };
        if !is_cut(from, to) {
            parts[part_of[to]].lines.push(line);
            continue;
        }
        let name = |id: usize| title::clipped(&view.nodes[id].lines[0], NAME);
        if n_users[from] < n_inputs[to] && HUB < n_inputs[to] {
            line.to = None;
            line.label = format!("{} → {}", link.label, name(to)).trim_start().to_owned();
            parts[part_of[from]].lines.push(line);
        } else {
            line.from = None;
            line.label = match &*link.label {
                "" => name(from),
                label => format!("{} → {label}", name(from)),
            };
            parts[part_of[to]].lines.push(line);
        }
    }
    parts
}

fn find(leader: &mut [usize], id: usize) -> usize {
    let mut at = id;
    while leader[at] != at {
        leader[at] = leader[leader[at]];
        at = leader[at];
    }
    at
}

/// The smaller leads.
fn unite(leader: &mut [usize], a: usize, b: usize) {
    let (a, b) = (find(leader, a), find(leader, b));
    leader[a.max(b)] = a.min(b);
}
