//! Ranks: how far behind the first sources a node stands.

use super::parts::Part;

/// The rank of each node: even, and at least two behind the rank of everything it uses.
///
/// The longest way from a source decides; then whatever has no more inputs than users moves as near to its users as it
/// can, so that a base image stands beside what is made of it.
pub(super) fn ranks(part: &Part) -> Vec<usize> {
    let n_nodes = part.nodes.len();
    // Names of what is cut off stand before the first nodes.
    let mut ranks = vec![2; n_nodes];
    let (mut n_inputs, mut n_users) = (vec![0_usize; n_nodes], vec![0_usize; n_nodes]);
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); n_nodes];
    // Lines are in the order of their users, and inputs stand before their users.
    for line in &part.lines {
        if let (Some(from), Some(to)) = (line.from, line.to) {
            ranks[to] = ranks[to].max(ranks[from] + 2);
            n_inputs[to] += 1;
            n_users[from] += 1;
            users[from].push(to);
        }
    }
    for id in (0..n_nodes).rev() {
        if n_inputs[id] <= n_users[id]
            && let Some(nearest) = users[id].iter().map(|user| ranks[*user]).min()
        {
            ranks[id] = nearest - 2;
        }
    }
    ranks
}
