//! Which records stand for an edge, and which layers are whole.

use super::super::config::{CacheInput, CacheLayer, CacheRecord, CacheResult};
use super::*;

fn digest(name: &str) -> Digest {
    Digest::of(name)
}

fn record(digest: Digest, inputs: Vec<Vec<(Option<&str>, usize)>>, layer: Option<usize>) -> CacheRecord {
    let link =
        |(selector, link): (Option<&str>, usize)| CacheInput { selector: selector.map(Digest::of), link };
    CacheRecord {
        digest,
        inputs: inputs.into_iter().map(|it| it.into_iter().map(link).collect()).collect(),
        results: layer
            .map(|layer| CacheResult { layer, created_at: SystemTime::UNIX_EPOCH })
            .into_iter()
            .collect(),
        chains: Vec::new(),
    }
}

/// A cache with these records; of its layers `there` are there.
fn imported(records: Vec<CacheRecord>, layers: &[(&str, Option<usize>)], there: &[&str]) -> ImportedCaches {
    let layers = layers.iter().map(|&(blob, parent)| CacheLayer { blob: digest(blob), parent }).collect();
    let config = CacheConfig { layers, records };
    let layer = |name: &&str| {
        let blob = Descriptor::new(media::OCI_LAYER_GZIP, digest(name), 1);
        let (created_by, created_at) = (String::new(), None);
        (digest(name), ImageLayer { blob, diff_id: digest(name), created_by, created_at })
    };
    let blobs: HashMap<Digest, ImageLayer> = there.iter().map(layer).collect();
    let depth = depths(&config, &blobs);
    let provider = Provider::Layout(Layout::new("/none", ""));
    let mut all = ImportedCaches::default();
    all.add(Imported {
        shown: "first".to_owned(),
        provider: provider.clone(),
        config: CacheConfig::default(),
        blobs: HashMap::new(),
        depth: Vec::new(),
    });
    all.add(Imported { shown: "test".to_owned(), provider, config, blobs, depth });
    all
}

#[test]
fn edges() {
    let source = edge_digest(&digest("source"), 0);
    let content = content_digest(&digest("content"));
    let step = edge_digest(&digest("step"), 1);
    let all = imported(
        vec![
            record(source, vec![], None),
            record(content, vec![], None),
            record(step, vec![vec![(Some("/"), 0)], vec![(Some("/a"), 0), (None, 1)]], None),
        ],
        &[],
        &[],
    );
    let roots = all.matching(&[digest("other"), digest("source")], 0, &[]);
    assert_eq!(roots, [Offer(0)]);
    assert_eq!(all.origin(roots[0]), "test");
    assert!(all.matching(&[digest("source")], 1, &[]).is_empty(), "another output");
    let input = |edge: &'static [Offer], selector: &str, content: Option<&str>| InputOffers {
        edge,
        selector: Some(Digest::of(selector)),
        content: content.map(Digest::of),
    };
    let find = |inputs: &[InputOffers<'_>]| all.matching(&[digest("step")], 1, inputs).len();
    const SOURCE: &[Offer] = &[Offer(0)];
    let whole = input(SOURCE, "/", None);
    assert_eq!(find(&[whole, input(SOURCE, "/a", None)]), 1, "by definition");
    assert_eq!(find(&[whole, input(&[], "/b", Some("content"))]), 1, "by content");
    assert_eq!(find(&[whole, input(&[], "/b", Some("other"))]), 0, "other content");
    assert_eq!(find(&[whole, input(SOURCE, "/b", None)]), 0, "another part");
    assert_eq!(find(&[whole, input(&[], "/a", None)]), 0, "an input that is not known");
    assert_eq!(find(&[whole]), 0, "an input less");
    assert_eq!(all.contents(Offer(2), 1), [content]);
    assert!(all.contents(Offer(2), 0).is_empty());
}

/// A record whose layers are not all there has no result.
#[test]
fn layers() {
    let records = vec![
        record(digest("0"), vec![], Some(1)),
        record(digest("1"), vec![], Some(3)),
        record(digest("2"), vec![], None),
    ];
    let chain = [("base", None), ("a", Some(0)), ("gone", Some(0)), ("b", Some(2))];
    let all = imported(records, &chain, &["base", "a", "b"]);
    let offers = [Offer(0), Offer(1), Offer(2)];
    assert_eq!(all.with_results(&offers), [Offer(0)]);
    let found: Vec<Digest> = all.layers(Offer(0)).unwrap().layers.iter().map(|it| it.blob.digest).collect();
    assert_eq!(found, [digest("base"), digest("a")]);
    assert!(all.layers(Offer(1)).is_none());
}
