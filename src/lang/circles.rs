//! Circles in graphs of names: imports, calls, lets.

use std::collections::VecDeque;

/// The shortest circles of a graph with the nodes `0..n`, one for each group of nodes that reach each other.
///
/// Each circle starts at its lowest node and follows the edges; the last node has an edge to the first. Circles come
/// in the order of their first nodes.
pub(super) fn shortest_circles<I>(n: usize, next: impl Fn(usize) -> I) -> Vec<Vec<usize>>
where
    I: Iterator<Item = usize>,
{
    let mut circles: Vec<Vec<usize>> = Vec::new();
    let groups = groups(n, &next);
    let mut by_group: Vec<Vec<usize>> = vec![Vec::new(); n];
    for (node, &group) in groups.iter().enumerate() {
        by_group[group].push(node);
    }
    for members in by_group.iter().filter(|members| !members.is_empty()) {
        if members.len() == 1 && !next(members[0]).any(|to| to == members[0]) {
            continue;
        }
        let within = |node: usize| next(node).filter(|&to| groups[to] == groups[members[0]]);
        let shortest =
            members.iter().filter_map(|&from| circle_through(n, from, within)).min_by_key(Vec::len);
        circles.extend(shortest);
    }
    circles.sort();
    circles
}

/// The shortest way from `start` back to it.
fn circle_through<I>(n: usize, start: usize, next: impl Fn(usize) -> I) -> Option<Vec<usize>>
where
    I: Iterator<Item = usize>,
{
    let mut before: Vec<Option<usize>> = vec![None; n];
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        for to in next(node) {
            if to == start {
                let mut circle = vec![node];
                while let Some(from) = before[circle[circle.len() - 1]] {
                    circle.push(from);
                }
                circle.reverse();
                return Some(circle);
            }
            if before[to].is_none() {
                before[to] = Some(node);
                queue.push_back(to);
            }
        }
    }
    None
}

/// For each node the number of its strongly connected component.
fn groups<I>(n: usize, next: &impl Fn(usize) -> I) -> Vec<usize>
where
    I: Iterator<Item = usize>,
{
    let mut graph = petgraph::Graph::<(), (), petgraph::Directed, usize>::with_capacity(n, 0);
    for _ in 0..n {
        graph.add_node(());
    }
    for node in 0..n {
        for to in next(node) {
            graph.add_edge(node.into(), to.into(), ());
        }
    }
    let mut groups = vec![0; n];
    for (group, members) in petgraph::algo::tarjan_scc(&graph).into_iter().enumerate() {
        for member in members {
            groups[member.index()] = group;
        }
    }
    groups
}
