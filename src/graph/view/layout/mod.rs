//! Where things go: a layered layout after Sugiyama, Tagawa and Toda.
//!
//! 1. [`rank`]: every node gets a rank behind those of what it uses; odd ranks are left for the labels of lines.
//! 2. Lines over several ranks are cut by *bends*, nodes without a name, so that lines and labels have places of their own.
//! 3. [`order`]: the order within ranks is improved sweep by sweep (barycentre), and the one with the fewest crossings kept.
//! 4. [`place`]: positions along the rank, as near as possible to what a node is tied to, never overlapping.
//!
//! Each group of the view is a lane of its own: the same interval in every rank. All is computed twice, with ranks from
//! top to bottom and from left to right, and the one that fits a screen better is taken. The same view has the same layout.

mod order;
mod place;
mod rank;

use super::{NodeId, Role, View, svg::measure};

/// Blank space between ranks that have labels or nodes next to each other.
const RANK_GAP: f64 = 22.0;
/// Blank space between nodes of a rank.
const NODE_GAP: f64 = 26.0;
/// Blank space beside a bend.
const BEND_GAP: f64 = 11.0;
/// Blank space around what a lane holds, up to its frame.
pub(super) const LANE_PAD: f64 = 14.0;
/// Room for the name of a lane, above what it holds.
pub(super) const LANE_HEAD: f64 = 24.0;
/// Between lanes.
const LANE_GAP: f64 = 18.0;
/// The shape of the screen that a picture is to fit.
const SCREEN: (f64, f64) = (1400.0, 860.0);

/// A point or a size, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Xy {
    pub(super) x: f64,
    pub(super) y: f64,
}

/// An upright rectangle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rect {
    pub(super) at: Xy,
    pub(super) size: Xy,
}

/// A line with its label.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Route {
    /// From the border of one node to that of the other; between points with an odd number and the next the line bends.
    pub(super) points: Vec<Xy>,
    /// The middle of the label.
    pub(super) label: Option<Xy>,
}

/// Where everything is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layout {
    /// Whether ranks go from top to bottom.
    pub(super) flow: Flow,
    /// One per node.
    pub(super) nodes: Vec<Rect>,
    /// One per link.
    pub(super) routes: Vec<Route>,
    /// One per group.
    pub(super) groups: Vec<Rect>,
    /// All of it.
    pub(super) size: Xy,
}

/// Which way ranks go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Down,
    Right,
}

/// Something that has a place: a node, or a bend of a line, with its label or without.
struct Item {
    rank: usize,
    /// 0 is what belongs to no group.
    lane: usize,
    /// Extent along the rank and across it.
    extent: (f64, f64),
    node: bool,
    /// Neighbours in the rank before and the one behind, with how much a tie to them weighs.
    before: Vec<(usize, f64)>,
    behind: Vec<(usize, f64)>,
}

impl Item {
    fn gap(&self) -> f64 {
        if self.node { NODE_GAP } else { BEND_GAP }
    }
}

/// Items by rank, in order, and what each link goes through.
struct Layers {
    items: Vec<Item>,
    ranks: Vec<Vec<usize>>,
    /// For each link, its items from first node to last.
    paths: Vec<Vec<usize>>,
    n_lanes: usize,
    /// Blank space between lanes, frames included.
    lane_gap: f64,
}

/// Places all of `view`.
pub(super) fn layout(view: &View) -> Layout {
    let down = lay(view, Flow::Down);
    let right = lay(view, Flow::Right);
    let scale = |layout: &Layout| (SCREEN.0 / layout.size.x).min(SCREEN.1 / layout.size.y).min(1.0);
    if scale(&down) < scale(&right) { right } else { down }
}

fn lay(view: &View, flow: Flow) -> Layout {
    let mut layers = layers(view, flow);
    order::order(&mut layers);
    let along = place::place(&layers);
    finish(view, flow, &layers, &along)
}

/// Extent along the rank and across it.
fn extent(flow: Flow, size: Xy) -> (f64, f64) {
    match flow {
        Flow::Down => (size.x, size.y),
        Flow::Right => (size.y, size.x),
    }
}

/// Gives ranks, and cuts lines by bends.
fn layers(view: &View, flow: Flow) -> Layers {
    let ranks = rank::ranks(view);
    let mut items: Vec<Item> = Vec::new();
    for (id, node) in view.nodes.iter().enumerate() {
        items.push(Item {
            rank: ranks[id],
            lane: node.group.map_or(0, |group| group + 1),
            extent: extent(flow, measure::node(node)),
            node: true,
            before: Vec::new(),
            behind: Vec::new(),
        });
    }
    let mut paths = Vec::with_capacity(view.links.len());
    for link in &view.links {
        let (first, last) = (ranks[link.from.0], ranks[link.to.0]);
        // A label stands right before the node that it says something about.
        let label_rank = (!link.label.is_empty()).then_some(last - 1);
        let lane = items[link.to.0].lane;
        let mut path = vec![link.from.0];
        for rank in first + 1..last {
            let size = match label_rank {
                Some(at) if at == rank => measure::label(&link.label),
                _ => Xy { x: 0.0, y: 0.0 },
            };
            path.push(items.len());
            let extent = extent(flow, size);
            items.push(Item { rank, lane, extent, node: false, before: Vec::new(), behind: Vec::new() });
        }
        path.push(link.to.0);
        let main = if link.role == Role::Base { 3.0 } else { 1.0 };
        for pair in path.windows(2) {
            let weight = match (items[pair[0]].node, items[pair[1]].node) {
                (false, false) => 8.0,
                (true, true) => main,
                _ => 2.0 * main,
            };
            items[pair[0]].behind.push((pair[1], weight));
            items[pair[1]].before.push((pair[0], weight));
        }
        paths.push(path);
    }
    let n_ranks = items.iter().map(|item| item.rank + 1).max().unwrap_or(0);
    let mut ranks = vec![Vec::new(); n_ranks];
    for (id, item) in items.iter().enumerate() {
        ranks[item.rank].push(id);
    }
    let lane_gap = match (view.groups.len(), flow) {
        (0, _) => 0.0,
        (_, Flow::Down) => LANE_GAP + 2.0 * LANE_PAD,
        (_, Flow::Right) => LANE_GAP + 2.0 * LANE_PAD + LANE_HEAD,
    };
    Layers { items, ranks, paths, n_lanes: view.groups.len() + 1, lane_gap }
}

/// From positions along ranks to points.
fn finish(view: &View, flow: Flow, layers: &Layers, along: &[f64]) -> Layout {
    let point = |along: f64, across: f64| match flow {
        Flow::Down => Xy { x: along, y: across },
        Flow::Right => Xy { x: across, y: along },
    };
    let mut starts = Vec::with_capacity(layers.ranks.len());
    let mut thick = Vec::with_capacity(layers.ranks.len());
    let mut across = 0.0;
    for rank in &layers.ranks {
        let extent = rank.iter().map(|&id| layers.items[id].extent.1).fold(0.0, f64::max);
        starts.push(across);
        thick.push(extent);
        // Many lines in a narrow gap would be steep: wide ranks get more room.
        across += extent + RANK_GAP + (rank.len() as f64).sqrt().min(8.0);
    }
    let item = |id: usize| &layers.items[id];
    let nodes: Vec<Rect> = (0..view.nodes.len())
        .map(|id| {
            let (length, depth) = item(id).extent;
            let rank = item(id).rank;
            // Nodes of a rank share their middle line when ranks go right, and their top when they go down.
            let slack = match flow {
                Flow::Down => 0.0,
                Flow::Right => (thick[rank] - depth) / 2.0,
            };
            Rect { at: point(along[id] - length / 2.0, starts[rank] + slack), size: point(length, depth) }
        })
        .collect();
    let ports = ports(view, layers, along);
    let routes = view
        .links
        .iter()
        .zip(&layers.paths)
        .zip(&ports)
        .map(|((link, path), &(out, into))| {
            let (first, last) = (path[0], path[path.len() - 1]);
            let end_of = |id: usize| {
                let Rect { at, size } = nodes[id];
                extent(flow, Xy { x: at.x + size.x, y: at.y + size.y }).1
            };
            let mut points = vec![point(out, end_of(first))];
            points.push(point(out, starts[item(first).rank] + thick[item(first).rank]));
            let mut label = None;
            for &id in &path[1..path.len() - 1] {
                let rank = item(id).rank;
                points.push(point(along[id], starts[rank]));
                points.push(point(along[id], starts[rank] + thick[rank]));
                if item(id).extent.0 > 0.0 && !link.label.is_empty() {
                    label = Some(point(along[id], starts[rank] + thick[rank] / 2.0));
                }
            }
            points.push(point(into, starts[item(last).rank]));
            points.push(point(into, extent(flow, nodes[last].at).1));
            Route { points, label }
        })
        .collect();
    let mut layout = Layout { flow, nodes, routes, groups: Vec::new(), size: Xy { x: 0.0, y: 0.0 } };
    layout.groups = (0..view.groups.len()).map(|group| frame(view, &layout, group)).collect();
    settle(&mut layout);
    layout
}

/// Where each link leaves its first node and enters its last, along the rank: spread over the middle of the side, in the
/// order of where they come from and go to, so that lines do not cross at the node.
fn ports(view: &View, layers: &Layers, along: &[f64]) -> Vec<(f64, f64)> {
    let mut ports = vec![(0.0, 0.0); view.links.len()];
    for id in 0..view.nodes.len() {
        let spread = |links: &mut Vec<(f64, usize)>| -> Vec<(usize, f64)> {
            links.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let side = layers.items[id].extent.0 * 0.7;
            let step = (side / links.len().max(1) as f64).min(16.0);
            let first = along[id] - step * (links.len().saturating_sub(1)) as f64 / 2.0;
            links.iter().enumerate().map(|(n, (_, link))| (*link, first + step * n as f64)).collect()
        };
        let paths = layers.paths.iter().enumerate();
        let node = NodeId(id);
        let mut out: Vec<(f64, usize)> = paths
            .clone()
            .filter(|(link, _)| view.links[*link].from == node)
            .map(|(link, path)| (along[path[1]], link))
            .collect();
        let mut into: Vec<(f64, usize)> = paths
            .filter(|(link, _)| view.links[*link].to == node)
            .map(|(link, path)| (along[path[path.len() - 2]], link))
            .collect();
        for (link, at) in spread(&mut out) {
            ports[link].0 = at;
        }
        for (link, at) in spread(&mut into) {
            ports[link].1 = at;
        }
    }
    ports
}

/// The frame around the nodes of a group, with room for its name.
fn frame(view: &View, layout: &Layout, group: usize) -> Rect {
    let mut low = Xy { x: f64::MAX, y: f64::MAX };
    let mut high = Xy { x: f64::MIN, y: f64::MIN };
    for (node, rect) in view.nodes.iter().zip(&layout.nodes) {
        if node.group == Some(group) {
            low = Xy { x: low.x.min(rect.at.x), y: low.y.min(rect.at.y) };
            high = Xy { x: high.x.max(rect.at.x + rect.size.x), y: high.y.max(rect.at.y + rect.size.y) };
        }
    }
    let at = Xy { x: low.x - LANE_PAD, y: low.y - LANE_PAD - LANE_HEAD };
    Rect { at, size: Xy { x: high.x + LANE_PAD - at.x, y: high.y + LANE_PAD - at.y } }
}

/// Moves everything to the first quadrant and measures it.
fn settle(layout: &mut Layout) {
    let mut low = Xy { x: f64::MAX, y: f64::MAX };
    let mut high = Xy { x: 0.0, y: 0.0 };
    let rects = layout.nodes.iter().chain(&layout.groups);
    let corners = rects.flat_map(|it| [it.at, Xy { x: it.at.x + it.size.x, y: it.at.y + it.size.y }]);
    for corner in corners.chain(layout.routes.iter().flat_map(|route| route.points.iter().copied())) {
        low = Xy { x: low.x.min(corner.x), y: low.y.min(corner.y) };
        high = Xy { x: high.x.max(corner.x), y: high.y.max(corner.y) };
    }
    if layout.nodes.is_empty() {
        return;
    }
    let shift = |at: &mut Xy| *at = Xy { x: at.x - low.x, y: at.y - low.y };
    layout.nodes.iter_mut().chain(&mut layout.groups).for_each(|rect| shift(&mut rect.at));
    for route in &mut layout.routes {
        route.points.iter_mut().chain(&mut route.label).for_each(shift);
    }
    layout.size = Xy { x: high.x - low.x, y: high.y - low.y };
}
