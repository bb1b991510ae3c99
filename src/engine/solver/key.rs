//! Keys: what a result is found by.

use crate::base::Digest;

/// What an input contributes to the key of the op that uses it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    /// The key of the input's edge and the part of it that is used.
    Key { edge: Digest, selector: Option<Digest> },
    /// Digest of what is read.
    Content(Digest),
}

#[cfg(test)]
thread_local! {
    /// How many were computed on this thread.
    pub(super) static N_VERTEX_KEYS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Key of a vertex: `op` is what it does, `parts` are its inputs in order.
pub(super) fn vertex(op: &Digest, parts: impl Iterator<Item = Part>) -> Digest {
    #[cfg(test)]
    N_VERTEX_KEYS.with(|n| n.set(n.get() + 1));
    let mut bytes = Vec::with_capacity(256);
    bytes.extend_from_slice(b"bkl.key.v1\0");
    bytes.extend_from_slice(op.as_bytes());
    for part in parts {
        match part {
            Part::Key { edge, selector: None } => {
                bytes.push(b'k');
                bytes.extend_from_slice(edge.as_bytes());
            }
            Part::Key { edge, selector: Some(selector) } => {
                bytes.push(b's');
                bytes.extend_from_slice(edge.as_bytes());
                bytes.extend_from_slice(selector.as_bytes());
            }
            Part::Content(content) => {
                bytes.push(b'c');
                bytes.extend_from_slice(content.as_bytes());
            }
        }
    }
    Digest::of(bytes)
}

/// Key of output `output` of the vertex with key `vertex`.
pub(super) fn edge(vertex: &Digest, output: usize) -> Digest {
    tagged(b"bkl.edge.v1\0", &[vertex.as_bytes(), &(output as u64).to_le_bytes()])
}

/// Key of a vertex by the very results it works on: `op` is what it does, `inputs` names each result and which part of
/// it is used.
pub(super) fn exact(op: &Digest, inputs: impl Iterator<Item = (Digest, Option<Digest>)>) -> Digest {
    let parts = inputs.map(|(edge, selector)| Part::Key { edge, selector });
    tagged(b"bkl.exact.v1\0", &[vertex(op, parts).as_bytes()])
}

/// Key of an edge whose op had to run although a result was there: it stands for this run's result only.
pub(super) fn rerun(edge: &Digest, identity: &Digest) -> Digest {
    tagged(b"bkl.rerun.v1\0", &[edge.as_bytes(), identity.as_bytes()])
}

/// Key of the execution of a vertex that may not use results that exist: it is shared only among its like.
pub(super) fn fresh(vertex: &Digest) -> Digest {
    tagged(b"bkl.fresh.v1\0", &[vertex.as_bytes()])
}

/// Digest of parts of fixed length behind a tag.
fn tagged(tag: &[u8], parts: &[&[u8]]) -> Digest {
    let mut bytes = tag.to_vec();
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    Digest::of(bytes)
}
