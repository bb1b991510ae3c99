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
    let layer = |&(blob, parent): &(&str, Option<usize>)| {
        let made = Made { by: format!("what made {blob}"), at: None };
        CacheLayer { blob: digest(blob), parent, made: Arc::new(made) }
    };
    let layers = layers.iter().map(layer).collect();
    let config = CacheConfig { layers, records };
    let layer = |name: &&str| {
        let blob = Descriptor::new(media::OCI_LAYER_GZIP, digest(name), 1);
        (digest(name), nameless(blob, digest(name)))
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
        notice: None,
        depth: Vec::new(),
    });
    all.add(Imported { shown: "test".to_owned(), provider, config, blobs, notice: None, depth });
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
    let found = all.layers(Offer(0)).unwrap();
    let named = |it: ImageLayer| (it.blob.digest, it.created_by);
    let named: Vec<(Digest, String)> = found.images().into_iter().map(named).collect();
    let expected = [("base", "what made base"), ("a", "what made a")];
    assert_eq!(named, expected.map(|(blob, by)| (digest(blob), by.to_owned())));
    let blobs: Vec<Digest> = found.results().iter().map(|it| it.blob).collect();
    assert_eq!(blobs, expected.map(|(blob, _)| digest(blob)));
    assert!(all.layers(Offer(1)).is_none());
}

/// Each layer's descriptor stands at its place. Where there are fewer, one speaks for all layers of its bytes.
#[test]
fn what_descriptors_say() {
    let described = |blob: &str, by: &str, at: &str| {
        let mut descriptor = Descriptor::new(media::OCI_LAYER_GZIP, digest(blob), 1);
        descriptor.annotations.insert(ANNOTATION_DESCRIPTION.to_owned(), by.to_owned());
        descriptor.annotations.insert(ANNOTATION_CREATED.to_owned(), at.to_owned());
        descriptor
    };
    let check = |descriptors: &[Descriptor], expected: [(&str, Option<u64>); 3]| {
        let layer = |blob: &str, parent| CacheLayer { blob: digest(blob), parent, made: Arc::default() };
        let mut layers = [layer("x", None), layer("x", Some(0)), layer("y", Some(1))];
        let mut times = Times::default();
        say_made(&mut layers, descriptors, &mut times);
        let is_bad = descriptors.iter().any(|it| it.annotations[ANNOTATION_CREATED] == "yesterday");
        let notice = "the cache `c` does not say in a valid form when a layer was made (`yesterday`): that counts as now";
        assert_eq!(times.notice("c").as_deref(), is_bad.then_some(notice));
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let made = layers.map(|it| it.made.clone());
        assert_eq!(
            made.map(|it| (it.by.clone(), it.at)),
            expected.map(|(by, seconds)| (by.to_owned(), seconds.map(at)))
        );
    };
    let [first, second] = [1, 2].map(|n| format!("1970-01-01T00:00:0{n}Z"));
    let (a, b) = (described("x", "a", &first), described("x", "b", &second));
    let c = described("y", "c", "yesterday");
    check(&[a.clone(), b.clone(), c.clone()], [("a", Some(1)), ("b", Some(2)), ("c", None)]);
    check(&[a.clone(), c.clone()], [("a", Some(1)), ("a", Some(1)), ("c", None)]);
    check(&[c, b.clone()], [("b", Some(2)), ("b", Some(2)), ("c", None)]);
    check(&[b], [("b", Some(2)), ("b", Some(2)), ("", None)]);
    check(&[], [("", None); 3]);
}
