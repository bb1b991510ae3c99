//! What a large graph takes while it is solved.

use super::*;
use crate::base::heap::measured;
use crate::engine::solver::vertex::Vertex;

/// A result that is nothing but its name.
#[derive(Clone)]
struct Name(Arc<Digest>);

impl Output for Name {
    fn identity(&self) -> Digest {
        *self.0
    }
}

/// A step of a chain.
struct Link {
    name: Digest,
    n_inputs: usize,
}

impl Op for Link {
    type Output = Name;
    type Error = FakeError;

    fn vertex(&self) -> Digest {
        self.name
    }

    fn name(&self) -> String {
        "link".to_owned()
    }

    fn n_outputs(&self) -> usize {
        1
    }

    fn ignore_cache(&self) -> bool {
        false
    }

    fn cache_map<'a>(&'a self, _: &'a ExecCtx) -> BoxFuture<'a, Result<CacheMap, FakeError>> {
        let inputs = vec![InputRule::Key { selector: None }; self.n_inputs];
        Box::pin(async { Ok(CacheMap { digest: self.name, names: vec![self.name], inputs }) })
    }

    fn content_key<'a>(
        &'a self,
        _: &'a ExecCtx,
        _: usize,
        _: &'a Name,
    ) -> BoxFuture<'a, Result<Digest, FakeError>> {
        unreachable!("no input counts by its content")
    }

    fn exec<'a>(&'a self, _: &'a ExecCtx, _: Vec<Name>) -> BoxFuture<'a, Result<Vec<Name>, FakeError>> {
        Box::pin(async { Ok(vec![Name(Arc::new(self.name))]) })
    }

    fn slot(&self) -> Slot {
        Slot::Disk
    }
}

/// `n` steps, each on the one before.
fn chain(n: usize) -> Plan<Link> {
    let node = |idx: usize| Node {
        op: Arc::new(Link { name: Digest::of(idx.to_le_bytes()), n_inputs: usize::from(0 < idx) }),
        inputs: idx.checked_sub(1).map(|below| (below, 0)).into_iter().collect(),
    };
    Plan { nodes: (0..n).map(node).collect(), roots: vec![(n - 1, 0)] }
}

/// A cache that knows nothing.
struct Nothing;

impl CacheStore for Nothing {
    type Output = Name;
    type Lease = ();

    fn get(&self, _: &Digest) -> Option<Record<Name>> {
        None
    }

    fn adopt(&self, output: Name) -> BoxFuture<'_, Name> {
        Box::pin(std::future::ready(output))
    }

    fn put(&self, _: &[Digest], _: &Record<Name>) {}

    fn lease<'a>(&'a self, _: &'a Digest) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// A graph may have a hundred thousand vertices, all of which are there from the first to the last.
#[test]
fn a_vertex_takes_little_memory() {
    assert!(size_of::<Option<Vertex<Name>>>() <= 176, "{}", size_of::<Option<Vertex<Name>>>());
    assert!(size_of::<Node<Link>>() <= 32, "{}", size_of::<Node<Link>>());
    const N: usize = 10_000;
    let plan = chain(N);
    let (n_ran, heap) = measured(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let scheduler = Arc::new(Scheduler::new(Limits::for_cpus(2)));
        let (cancel, hold) = (Cancel::new(), Hold::default());
        let solving = scheduler.solve(&plan, Arc::new(Nothing), Arc::new(|_| {}), &cancel, &hold);
        runtime.block_on(solving).result.unwrap().executed.len()
    });
    assert_eq!(n_ran, N);
    // Beside the vertex its result, which is 48, and lists of the vertices.
    assert!(heap.most / N <= 270, "{heap:?}");
}
