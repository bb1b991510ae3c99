//! Circles: functions that call themselves, values that need themselves.

use std::collections::BTreeMap;

use super::super::error::TypeError;
use super::{Checker, Node};
use crate::base::Span;
use crate::lang::circles::shortest_circles;

impl Checker<'_> {
    /// Reports the shortest circle of each group of items that need each other.
    pub(super) fn find_recursion(&mut self) {
        let mut numbers: BTreeMap<Node, usize> = BTreeMap::new();
        for (from, to, _) in &self.uses {
            for node in [from, to] {
                let next = numbers.len();
                numbers.entry(*node).or_insert(next);
            }
        }
        let mut nodes: Vec<Node> = numbers.keys().copied().collect();
        nodes.sort_by_key(|node| numbers[node]);
        let mut edges: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
        for (from, to, _) in &self.uses {
            edges[numbers[from]].push(numbers[to]);
        }
        for circle in shortest_circles(nodes.len(), |node| edges[node].iter().copied()) {
            let circle: Vec<Node> = circle.into_iter().map(|node| nodes[node]).collect();
            self.report_circle(&circle);
        }
    }

    /// The use that comes first in the text closes the circle; the one it uses is the one that needs itself.
    fn report_circle(&mut self, circle: &[Node]) {
        let mut links: Vec<(Node, Span)> = Vec::new();
        for (i, from) in circle.iter().enumerate() {
            let to = circle[(i + 1) % circle.len()];
            let uses = self.uses.iter().filter(|(a, b, _)| a == from && *b == to);
            let first = uses.map(|(_, _, at)| *at).min();
            links.push((to, first.expect("neighbours in a circle use each other")));
        }
        let closing = (0..links.len()).min_by_key(|&i| links[i].1).expect("a circle has a link");
        links.rotate_left(closing);
        let (node, at) = links[0];
        let (name, declared) = self.node_name(node);
        // Two calls explain themselves; of longer circles every further step is shown.
        let steps = if links.len() > 2 { &links[1..links.len()] } else { &[] };
        let through = steps.iter().map(|&(node, at)| (self.node_name(node).0, at)).collect();
        let function = matches!(node, Node::Fn(_));
        self.error(TypeError::Recursion { name, function, at, declared, through });
    }

    fn node_name(&self, node: Node) -> (String, Span) {
        use crate::lang::syntax::ast::ItemKind;
        let item = match node {
            Node::Param(id) => &self.program.params[id.index()].item,
            Node::Fn(id) => &self.program.functions[id.index()].item,
            Node::Record(id) => {
                let record = &self.program.records[id.index()];
                let name = record.name.as_ref().map_or("this record".to_owned(), ToString::to_string);
                return (name, record.span);
            }
            Node::Let(id) => match &self.lets[id.index()].item.kind {
                ItemKind::Let(decl) => return (decl.name.text.to_string(), decl.name.span),
                _ => unreachable!("a let is declared by a let"),
            },
            Node::Target(id) => match &self.targets[id.index()].item.kind {
                ItemKind::Target { name, .. } => return (name.text.to_string(), name.span),
                _ => unreachable!("a target is declared by a target"),
            },
        };
        (item.name.to_string(), item.span)
    }
}
