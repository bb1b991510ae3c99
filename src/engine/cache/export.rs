//! A cache to elsewhere: the records of what a build was made of, with layers, into a registry, a directory or the config
//! of an image (BuildKit solver/exporter.go, cache/remotecache/export.go).

mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use super::chains::{Chains, Link, RecordId, ResultLayer, ResultLayers};
use super::config::Made;
use super::import::{ANNOTATION_DIFF_ID, ImportedCaches};
use super::spec::Mode;
use super::{content_digest, edge_digest};
use crate::base::Digest;
use crate::engine::export::ImageOptions;
use crate::engine::export::image::{LayerFacts, layer_blob};
use crate::engine::registry::document::Descriptor;
use crate::engine::registry::provider::Provider;
use crate::engine::solver::{Imports as _, Trace, TracedEdge, TracedInput};
use crate::engine::tree::Tree;
use crate::graph::llb::json::base64;
use crate::store::{LayerId, Snapshot, Store, StoreError};

pub(in crate::engine) use write::export;
pub use write::{CacheExportError, CacheReport};

/// What is known of a build when it is over: all that a cache of it is made of.
#[derive(Clone)]
pub struct Known(Arc<Inner>);

struct Inner {
    trace: Trace<Tree>,
    /// By node of the plan.
    facts: Vec<Facts>,
    /// The edges that were asked for, with their trees.
    roots: Vec<((usize, usize), Snapshot)>,
    imports: Option<Arc<ImportedCaches>>,
}

/// What the program says of a vertex, as far as it decides what is exported of it.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::engine) struct Facts {
    /// Whether its results are exported, where it says so.
    pub(in crate::engine) export_cache: Option<bool>,
    /// What it is called means something in this build only.
    pub(in crate::engine) is_session: bool,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Known({} vertices)", self.0.trace.vertices.len())
    }
}

/// Records with all that is needed to write their layers down.
pub(super) struct Draft {
    pub(super) chains: Chains,
    /// By digest.
    pub(super) blobs: BTreeMap<Digest, Blob>,
}

/// A layer's blob.
pub(super) struct Blob {
    /// Says what it unpacks to, not what made it, which each of its layers has of its own; its media type is as it is kept.
    pub(super) descriptor: Descriptor,
    /// Where it can be had, when it was not made here.
    pub(super) elsewhere: Vec<Provider>,
}

/// A record that may have a result.
struct Candidate<'a> {
    record: RecordId,
    result: Found<'a>,
    wish: Wish,
}

enum Found<'a> {
    Here(&'a Snapshot),
    Elsewhere(Vec<ResultLayer>, SystemTime),
}

/// Whether a result is exported.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Yes,
    /// If all its layers are there anyhow.
    IfThere,
}

impl Known {
    pub(in crate::engine) fn new(
        trace: Trace<Tree>,
        facts: Vec<Facts>,
        roots: Vec<((usize, usize), Snapshot)>,
        imports: Option<Arc<ImportedCaches>>,
    ) -> Known {
        Known(Arc::new(Inner { trace, facts, roots, imports }))
    }

    /// The records of everything, with results as `mode` says. Blobs of layers are made in the store. Blocks.
    pub(super) fn draft(
        &self,
        mode: Mode,
        options: &ImageOptions,
        store: &Store,
    ) -> Result<Draft, StoreError> {
        let roots: Vec<usize> = (0..self.0.roots.len()).collect();
        self.draft_of(&roots, mode, options, store)
    }

    /// What the config of an image has to hold so that its own layers serve as a cache: the tree of root `root`, its
    /// layers made with `options`. `None` when nothing could be found by it. Blocks.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn inline(
        &self,
        root: usize,
        options: &ImageOptions,
        store: &Store,
    ) -> Result<Option<String>, StoreError> {
        let Some((_, tree)) = self.0.roots.get(root) else { return Ok(None) };
        let Draft { chains, .. } = self.draft_of(&[root], Mode::Min, options, store)?;
        let layers = tree.layers();
        let layers = layers.par_iter().map(|layer| {
            let (blob, facts) = layer_blob(store, *layer, options)?;
            Ok(ResultLayer { blob: blob.digest, made: made(facts) })
        });
        let config = chains.to_inline(&layers.collect::<Result<Vec<ResultLayer>, StoreError>>()?);
        let has_result = config.records.iter().any(|it| !it.results.is_empty() || !it.chains.is_empty());
        Ok(has_result.then(|| base64(&config.to_inline_bytes())))
    }

    fn draft_of(
        &self,
        roots: &[usize],
        mode: Mode,
        options: &ImageOptions,
        store: &Store,
    ) -> Result<Draft, StoreError> {
        let mut chains = Chains::default();
        let candidates = self.records(roots, mode, &mut chains);
        let trees = || {
            candidates.iter().filter_map(|it| match &it.result {
                Found::Here(tree) => Some((it.wish, tree)),
                Found::Elsewhere(..) => None,
            })
        };
        let layers: BTreeSet<LayerId> =
            trees().filter(|(wish, _)| *wish == Wish::Yes).flat_map(|(_, tree)| tree.downwards()).collect();
        let layers: Vec<LayerId> = layers.into_iter().collect();
        let there = layers.par_iter().map(|&layer| Ok((layer, layer_blob(store, layer, options)?)));
        let mut blobs = BTreeMap::new();
        let mut here: BTreeMap<LayerId, ResultLayer> = BTreeMap::new();
        for (layer, (blob, facts)) in there.collect::<Result<Vec<_>, StoreError>>()? {
            let mut descriptor = Descriptor::new(&blob.media_type, blob.digest, blob.size);
            descriptor.annotations.insert(ANNOTATION_DIFF_ID.to_owned(), blob.diff_id.to_string());
            blobs.insert(blob.digest, Blob { descriptor, elsewhere: Vec::new() });
            here.insert(layer, ResultLayer { blob: blob.digest, made: made(facts) });
        }
        for Candidate { result, wish, .. } in &candidates {
            if let (Found::Elsewhere(layers, _), Wish::Yes) = (result, wish) {
                self.add_imported(layers, &mut blobs);
            }
        }
        for Candidate { record, result, .. } in candidates {
            let layers = match result {
                Found::Here(tree) => {
                    let layers = tree.layers();
                    let layers = layers.iter().map(|it| here.get(it).cloned()).collect::<Option<Vec<_>>>();
                    let Some(layers) = layers else { continue };
                    let Some(created_at) = layers.last().and_then(|top| top.made.at) else { continue };
                    ResultLayers { layers, created_at }
                }
                Found::Elsewhere(layers, created_at) => {
                    if !layers.iter().all(|it| blobs.contains_key(&it.blob)) {
                        continue;
                    }
                    ResultLayers { layers, created_at }
                }
            };
            chains.set_result(record, &layers);
        }
        Ok(Draft { chains, blobs })
    }

    fn add_imported(&self, layers: &[ResultLayer], blobs: &mut BTreeMap<Digest, Blob>) {
        let Some(imports) = &self.0.imports else { return };
        for ResultLayer { blob: digest, .. } in layers {
            if blobs.contains_key(digest) {
                continue;
            }
            let found = imports.blobs(digest);
            let Some((layer, _)) = found.first() else { continue };
            let mut descriptor = layer.blob.clone();
            descriptor.annotations = [(ANNOTATION_DIFF_ID.to_owned(), layer.diff_id.to_string())].into();
            descriptor.urls.clear();
            descriptor.platform = None;
            let elsewhere = found.into_iter().map(|(_, provider)| provider.clone()).collect();
            blobs.insert(*digest, Blob { descriptor, elsewhere });
        }
    }

    /// Adds the records of all edges that `roots` are made of; gives those that may have a result.
    fn records(&self, roots: &[usize], mode: Mode, chains: &mut Chains) -> Vec<Candidate<'_>> {
        let Inner { trace, facts, roots: all_roots, imports } = &*self.0;
        let wanted: BTreeMap<(usize, usize), &Snapshot> =
            roots.iter().map(|&it| (all_roots[it].0, &all_roots[it].1)).collect();
        let mut needed: BTreeSet<(usize, usize)> = wanted.keys().copied().collect();
        // What only this build calls so would never be found by who reads its content.
        let is_linked = |it: &TracedInput| !(it.by_content && facts[it.from.0].is_session);
        for vertex in trace.vertices.iter().rev() {
            if (0..vertex.edges.len()).any(|output| needed.contains(&(vertex.node, output))) {
                needed.extend(vertex.inputs.iter().filter(|it| is_linked(it)).map(|it| it.from));
            }
        }
        let mut records: BTreeMap<(usize, usize), Vec<RecordId>> = BTreeMap::new();
        let mut candidates = Vec::new();
        for vertex in &trace.vertices {
            let said = facts[vertex.node].export_cache;
            for (output, edge) in vertex.edges.iter().enumerate() {
                let place = (vertex.node, output);
                if !needed.contains(&place) {
                    continue;
                }
                let inputs: Vec<BTreeSet<Link>> = vertex
                    .inputs
                    .iter()
                    .enumerate()
                    .map(|(idx, input)| {
                        let edges =
                            records.get(&input.from).into_iter().flatten().filter(|_| is_linked(input));
                        let mut links: BTreeSet<Link> = edges.map(|it| (input.selector, *it)).collect();
                        let own = input.content.map(|it| content_digest(&it));
                        let of =
                            |offer| imports.as_ref().map(|it| it.contents(offer, idx)).unwrap_or_default();
                        let imported = edge.offers.iter().flat_map(|&offer| of(offer));
                        let contents = own.into_iter().chain(imported.filter(|_| input.by_content));
                        links.extend(contents.filter_map(|it| Some((None, chains.add(it, Vec::new())?))));
                        links
                    })
                    .collect();
                // A step has one name. A source has each of its own.
                let names =
                    vertex.names.iter().filter_map(|it| chains.add(edge_digest(it, output), inputs.clone()));
                let added: Vec<RecordId> = names.collect();
                let wish = match (said, mode, wanted.contains_key(&place)) {
                    (Some(false), ..) => None,
                    (Some(true), ..) => Some(Wish::Yes),
                    // What anyone can bring in as well is no use.
                    (None, ..) if vertex.inputs.is_empty() => None,
                    (None, Mode::Max, _) | (None, Mode::Min, true) => Some(Wish::Yes),
                    (None, Mode::Min, false) => Some(Wish::IfThere),
                };
                let root = wanted.get(&place).copied();
                if let (Some(wish), Some(result)) = (wish, self.result(edge, root)) {
                    let one = added.first().map(|&record| Candidate { record, result, wish });
                    candidates.extend(one);
                }
                records.insert(place, added);
            }
        }
        candidates
    }

    /// The result of an edge: what is here, else what a cache has that it was found in.
    fn result<'a>(&'a self, edge: &'a TracedEdge<Tree>, root: Option<&'a Snapshot>) -> Option<Found<'a>> {
        let here = root.or(match &edge.result {
            Some(Tree::Stored(tree)) => Some(tree),
            Some(Tree::Local(_)) | None => None,
        });
        if let Some(tree) = here {
            return Some(tree).filter(|tree| !tree.is_scratch()).map(Found::Here);
        }
        let imports = self.0.imports.as_ref()?;
        let offer = imports.with_results(&edge.offers).into_iter().next()?;
        let layers = imports.layers(offer)?;
        Some(Found::Elsewhere(layers.results(), layers.created_at))
    }
}

fn made(facts: LayerFacts) -> Arc<Made> {
    Arc::new(Made { by: facts.description, at: Some(facts.created_at) })
}

#[cfg(test)]
mod tests;
