//! Where things go: a layered layout after Sugiyama, Tagawa and Toda.
//!
//! 1. [`rank`]: every node gets a rank behind those of what it uses; odd ranks are left for the labels of lines.
//! 2. Lines over several ranks are cut by *bends*, nodes without a name, so that lines and labels have places of their own.
//! 3. [`order`]: the order within ranks is improved sweep by sweep (barycentre), and the one with the fewest crossings kept.
//! 4. [`place`]: positions along the rank, as near as possible to what a node is tied to, never overlapping.
//!
//! Each group of the view is a lane of its own: the same interval in every rank. Lines of nodes that have very many are
//! not drawn through: they end in a word ([`parts`]), and what then hangs together is laid out apart and packed in rows.
//! All is computed twice, with ranks from top to bottom and from left to right, and the one that fits a screen better is
//! taken. The same view has the same layout.

mod order;
mod parts;
mod place;
mod rank;

use parts::{Line, Part};

use super::svg::measure;
use super::{NodeId, Role, View};

/// Blank space between ranks that have labels or nodes next to each other.
const RANK_GAP: f64 = 16.0;
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
/// Between parts that do not hang together.
const PART_GAP: f64 = 44.0;
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
    /// The label, and its middle.
    pub(super) label: Option<(String, Xy)>,
    /// The end that is not drawn, if one is cut off; the label names it.
    pub(super) far: Option<NodeId>,
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
    /// The line that a bend belongs to.
    line: Option<usize>,
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
    /// For each line, its items from first to last.
    paths: Vec<Vec<usize>>,
    n_lanes: usize,
    /// Blank space between lanes, frames included.
    lane_gap: f64,
}

/// Places all of `view`.
pub(super) fn layout(view: &View) -> Layout {
    let parts = parts::parts(view);
    let down = lay(view, &parts, Flow::Down);
    let right = lay(view, &parts, Flow::Right);
    let scale = |layout: &Layout| (SCREEN.0 / layout.size.x).min(SCREEN.1 / layout.size.y).min(1.0);
    if scale(&down) < scale(&right) { right } else { down }
}

/// Lays out each part, and packs them in rows about as wide as a screen would have them.
fn lay(view: &View, parts: &[Part], flow: Flow) -> Layout {
    let nothing = Rect { at: Xy { x: 0.0, y: 0.0 }, size: Xy { x: 0.0, y: 0.0 } };
    let mut all = Layout {
        flow,
        nodes: vec![nothing; view.nodes.len()],
        routes: vec![Route { points: Vec::new(), label: None, far: None }; view.links.len()],
        groups: vec![nothing; view.groups.len()],
        size: Xy { x: 0.0, y: 0.0 },
    };
    let laid: Vec<Layout> = parts
        .iter()
        .map(|part| {
            let mut layers = layers(view, part, flow);
            order::order(&mut layers);
            let along = place::place(&layers);
            finish(part, flow, &layers, &along)
        })
        .collect();
    let area: f64 = laid.iter().map(|it| (it.size.x + PART_GAP) * (it.size.y + PART_GAP)).sum();
    let widest = laid.iter().map(|it| it.size.x).fold(0.0, f64::max);
    let row_width = (area * SCREEN.0 / SCREEN.1).sqrt().max(widest);
    let (mut x, mut y, mut row_height) = (0.0, 0.0, 0.0_f64);
    for (part, laid) in parts.iter().zip(laid) {
        if 0.0 < x && row_width < x + laid.size.x {
            (x, y, row_height) = (0.0, y + row_height + PART_GAP, 0.0);
        }
        let moved = |at: Xy| Xy { x: at.x + x, y: at.y + y };
        let frame = |rect: Rect| Rect { at: moved(rect.at), size: rect.size };
        for (&node, rect) in part.nodes.iter().zip(laid.nodes) {
            all.nodes[node] = frame(rect);
        }
        for (&group, rect) in part.groups.iter().zip(laid.groups) {
            all.groups[group] = frame(rect);
        }
        for (line, route) in part.lines.iter().zip(laid.routes) {
            let points = route.points.into_iter().map(moved).collect();
            let label = route.label.map(|(text, at)| (text, moved(at)));
            let link = &view.links[line.link];
            let far = match (line.from, line.to) {
                (None, _) => Some(link.from),
                (_, None) => Some(link.to),
                _ => None,
            };
            all.routes[line.link] = Route { points, label, far };
        }
        all.size = Xy { x: all.size.x.max(x + laid.size.x), y: all.size.y.max(y + laid.size.y) };
        (x, row_height) = (x + laid.size.x + PART_GAP, row_height.max(laid.size.y));
    }
    all
}

/// Extent along the rank and across it.
fn extent(flow: Flow, size: Xy) -> (f64, f64) {
    match flow {
        Flow::Down => (size.x, size.y),
        Flow::Right => (size.y, size.x),
    }
}

/// Gives ranks, and cuts lines by bends.
fn layers(view: &View, part: &Part, flow: Flow) -> Layers {
    let ranks = rank::ranks(part);
    let mut items: Vec<Item> = Vec::new();
    for (&id, &rank) in part.nodes.iter().zip(&ranks) {
        let node = &view.nodes[id];
        let group = node.group.and_then(|group| part.groups.iter().position(|it| *it == group));
        items.push(Item {
            rank,
            lane: group.map_or(0, |group| group + 1),
            extent: extent(flow, measure::node(node)),
            node: true,
            before: Vec::new(),
            behind: Vec::new(),
            line: None,
        });
    }
    let mut n_users = vec![0_usize; part.nodes.len()];
    part.lines.iter().filter_map(|line| line.from).for_each(|from| n_users[from] += 1);
    let mut paths = Vec::with_capacity(part.lines.len());
    for (number, line) in part.lines.iter().enumerate() {
        // A label stands right before the node that it says something about.
        let (between, label_rank) = match (line.from, line.to) {
            (Some(from), Some(to)) => (ranks[from] + 1..ranks[to], ranks[to] - 1),
            (None, Some(to)) => (ranks[to] - 1..ranks[to], ranks[to] - 1),
            (Some(from), None) => (ranks[from] + 1..ranks[from] + 2, ranks[from] + 1),
            (None, None) => (0..0, 0),
        };
        let lane = line.to.or(line.from).map_or(0, |end| items[end].lane);
        let mut path: Vec<usize> = line.from.into_iter().collect();
        for rank in between {
            let has_label = rank == label_rank && !line.label.is_empty();
            let size = if has_label { measure::label(&line.label) } else { Xy { x: 0.0, y: 0.0 } };
            path.push(items.len());
            items.push(Item {
                rank,
                lane,
                extent: extent(flow, size),
                node: false,
                before: Vec::new(),
                behind: Vec::new(),
                line: Some(number),
            });
        }
        path.extend(line.to);
        // What is built on nothing else stands under it.
        let is_chain = line.from.is_some_and(|from| n_users[from] == 1);
        let main = match line.role {
            Role::Base if is_chain => 8.0,
            Role::Base => 3.0,
            _ => 1.0,
        };
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
    let lane_gap = match (part.groups.len(), flow) {
        (0, _) => 0.0,
        (_, Flow::Down) => LANE_GAP + 2.0 * LANE_PAD,
        (_, Flow::Right) => LANE_GAP + 2.0 * LANE_PAD + LANE_HEAD,
    };
    Layers { items, ranks, paths, n_lanes: part.groups.len() + 1, lane_gap }
}

/// From positions along ranks to points. Nodes, routes and groups are in the order of the part.
fn finish(part: &Part, flow: Flow, layers: &Layers, along: &[f64]) -> Layout {
    let point = |along: f64, across: f64| match flow {
        Flow::Down => Xy { x: along, y: across },
        Flow::Right => Xy { x: across, y: along },
    };
    let mut starts = Vec::with_capacity(layers.ranks.len());
    let mut ends = Vec::with_capacity(layers.ranks.len());
    let mut across = 0.0;
    for rank in &layers.ranks {
        let thick = rank.iter().map(|&id| layers.items[id].extent.1).fold(0.0, f64::max);
        starts.push(across);
        ends.push(across + thick);
        // Many lines in a narrow gap would be steep: long ranks get more room.
        across += thick + RANK_GAP + (rank.len() as f64).sqrt().min(10.0);
    }
    let nodes: Vec<Rect> = (0..part.nodes.len())
        .map(|id| {
            let Item { rank, extent: (length, depth), .. } = layers.items[id];
            // Nodes of a rank share their middle line when ranks go right, and their top when they go down.
            let slack = match flow {
                Flow::Down => 0.0,
                Flow::Right => (ends[rank] - starts[rank] - depth) / 2.0,
            };
            Rect { at: point(along[id] - length / 2.0, starts[rank] + slack), size: point(length, depth) }
        })
        .collect();
    let across_of = |at: Xy| extent(flow, at).1;
    let ports = ports(part, layers, along);
    let route = |line: &Line, path: &[usize], (out, into): (f64, f64)| -> Route {
        let mut route = Route { points: Vec::new(), label: None, far: None };
        for &id in path {
            let rank = layers.items[id].rank;
            let points = &mut route.points;
            if !layers.items[id].node {
                let middle = (starts[rank] + ends[rank]) / 2.0;
                if !line.label.is_empty() && 0.0 < layers.items[id].extent.0 {
                    route.label = Some((line.label.clone(), point(along[id], middle)));
                }
                // A line that begins or ends in its label stays out of it.
                match (line.from, line.to) {
                    (None, _) => points.extend([point(along[id], ends[rank]); 2]),
                    (_, None) => points.extend([point(along[id], starts[rank]); 2]),
                    // Between two ranks of nodes a line without a label goes its own way.
                    _ if rank % 2 == 1 && layers.items[id].extent.0 == 0.0 => {}
                    _ => points.extend([point(along[id], starts[rank]), point(along[id], ends[rank])]),
                }
            } else if Some(id) == line.from {
                let Rect { at, size } = nodes[id];
                points.extend([point(out, across_of(at) + across_of(size)), point(out, ends[rank])]);
            } else {
                points.extend([point(into, starts[rank]), point(into, across_of(nodes[id].at))]);
            }
        }
        route
    };
    let lines = part.lines.iter().zip(&layers.paths).zip(&ports);
    let routes = lines.map(|((line, path), &ports)| route(line, path, ports)).collect();
    let mut layout = Layout { flow, nodes, routes, groups: Vec::new(), size: Xy { x: 0.0, y: 0.0 } };
    layout.groups = (1..layers.n_lanes).map(|lane| frame(layers, &layout, lane)).collect();
    settle(&mut layout);
    layout
}

/// Where each line leaves its first node and enters its last, along the rank: spread over the middle of the side, in the
/// order of where they come from and go to, so that lines do not cross at the node.
fn ports(part: &Part, layers: &Layers, along: &[f64]) -> Vec<(f64, f64)> {
    let mut out: Vec<Vec<(f64, usize)>> = vec![Vec::new(); part.nodes.len()];
    let mut into = out.clone();
    for (number, (line, path)) in part.lines.iter().zip(&layers.paths).enumerate() {
        if let (Some(from), [_, next, ..]) = (line.from, path.as_slice()) {
            out[from].push((along[*next], number));
        }
        if let (Some(to), [.., last, _]) = (line.to, path.as_slice()) {
            into[to].push((along[*last], number));
        }
    }
    let mut ports = vec![(0.0, 0.0); part.lines.len()];
    let spread = |id: usize, lines: &mut Vec<(f64, usize)>| -> Vec<(usize, f64)> {
        lines.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let side = layers.items[id].extent.0 * 0.7;
        let step = (side / lines.len().max(1) as f64).min(16.0);
        let first = along[id] - step * (lines.len().saturating_sub(1)) as f64 / 2.0;
        lines.iter().enumerate().map(|(n, (_, line))| (*line, first + step * n as f64)).collect()
    };
    for (id, (mut out, mut into)) in out.into_iter().zip(into).enumerate() {
        for (line, at) in spread(id, &mut out) {
            ports[line].0 = at;
        }
        for (line, at) in spread(id, &mut into) {
            ports[line].1 = at;
        }
    }
    ports
}

/// The frame around the nodes of a lane, with room for its name.
fn frame(layers: &Layers, layout: &Layout, lane: usize) -> Rect {
    let mut low = Xy { x: f64::MAX, y: f64::MAX };
    let mut high = Xy { x: f64::MIN, y: f64::MIN };
    for (item, rect) in layers.items.iter().zip(&layout.nodes) {
        if item.lane == lane {
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
    let mut high = Xy { x: f64::MIN, y: f64::MIN };
    let far = |rect: &Rect| Xy { x: rect.at.x + rect.size.x, y: rect.at.y + rect.size.y };
    let labels = layout.routes.iter().filter_map(|route| route.label.as_ref());
    let labels = labels.flat_map(|(text, at)| {
        let Xy { x, y } = measure::label(text);
        [Xy { x: at.x - x / 2.0, y: at.y - y / 2.0 }, Xy { x: at.x + x / 2.0, y: at.y + y / 2.0 }]
    });
    let points = layout.routes.iter().flat_map(|route| route.points.iter().copied());
    let rects = layout.nodes.iter().chain(&layout.groups).flat_map(|rect| [rect.at, far(rect)]);
    for corner in rects.chain(labels).chain(points) {
        low = Xy { x: low.x.min(corner.x), y: low.y.min(corner.y) };
        high = Xy { x: high.x.max(corner.x), y: high.y.max(corner.y) };
    }
    let shift = |at: &mut Xy| *at = Xy { x: at.x - low.x, y: at.y - low.y };
    layout.nodes.iter_mut().chain(&mut layout.groups).for_each(|rect| shift(&mut rect.at));
    for route in &mut layout.routes {
        route.points.iter_mut().chain(route.label.as_mut().map(|(_, at)| at)).for_each(shift);
    }
    layout.size = Xy { x: high.x - low.x, y: high.y - low.y };
}
