//! Ranks: how far behind the first sources a node stands.

use super::View;

/// The rank of each node: even, and at least two behind the rank of everything it uses.
///
/// The longest way from a source decides; then whatever has no more inputs than users moves as near to its users as it
/// can, so that a base image stands beside what is made of it.
pub(super) fn ranks(view: &View) -> Vec<usize> {
    let n_nodes = view.nodes.len();
    let mut ranks = vec![0; n_nodes];
    let (mut n_inputs, mut n_users) = (vec![0_usize; n_nodes], vec![0_usize; n_nodes]);
    // Links are in the order of their users, and inputs stand before their users.
    for link in &view.links {
        ranks[link.to.0] = ranks[link.to.0].max(ranks[link.from.0] + 2);
        n_inputs[link.to.0] += 1;
        n_users[link.from.0] += 1;
    }
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); n_nodes];
    for link in &view.links {
        users[link.from.0].push(link.to.0);
    }
    for id in (0..n_nodes).rev() {
        if n_inputs[id] <= n_users[id]
            && let Some(nearest) = users[id].iter().map(|user| ranks[*user]).min()
        {
            ranks[id] = nearest - 2;
        }
    }
    let first = ranks.iter().copied().min().unwrap_or(0);
    ranks.iter().map(|rank| rank - first).collect()
}
