//! Edges that are one, and what becomes of results.

use std::time::Duration;

use super::*;

fn digest(name: &str) -> Digest {
    Digest::of(name)
}

fn input(links: &[(Option<&str>, RecordId)]) -> BTreeSet<Link> {
    links.iter().map(|&(selector, id)| (selector.map(digest), id)).collect()
}

/// A layer with this blob that `by` made.
fn layer(blob: &str, by: &str) -> ResultLayer {
    ResultLayer { blob: digest(blob), made: Arc::new(Made { by: by.to_owned(), at: None }) }
}

fn result(blobs: &[&str], millis: u64) -> ResultLayers {
    let created_at = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
    ResultLayers { layers: blobs.iter().map(|it| layer(it, "")).collect(), created_at }
}

/// Two ways to the same content are two ways to one record.
#[test]
fn equal_edges_are_one() {
    let mut chains = Chains::default();
    let base = chains.add(digest("base"), Vec::new()).unwrap();
    assert_eq!(chains.add(digest("base"), Vec::new()), Some(base));
    let content = chains.add(digest("content"), Vec::new()).unwrap();
    let other = chains.add(digest("other"), Vec::new()).unwrap();
    let copy = chains.add(digest("copy"), vec![input(&[(None, base)]), input(&[(None, content)])]).unwrap();
    let links = vec![input(&[(None, base)]), input(&[(None, content), (Some("/a"), other)])];
    assert_eq!(chains.add(digest("copy"), links), Some(copy));
    // Another content is another edge.
    let third = vec![input(&[(None, base)]), input(&[(None, base)])];
    assert_ne!(chains.add(digest("copy"), third), Some(copy));
    // So is another part of the same.
    let part = vec![input(&[(None, base)]), input(&[(Some("/b"), content)])];
    assert_ne!(chains.add(digest("copy"), part), Some(copy));
    let config = chains.to_config();
    assert_eq!(config.records[3].inputs[1].len(), 2);
    assert_eq!(config.records.len(), 6);
}

/// A step on its own result that reads the same as before: one record, which is not made of itself.
#[test]
fn no_loops() {
    let mut chains = Chains::default();
    let content = chains.add(digest("content"), Vec::new()).unwrap();
    let first = chains.add(digest("step"), vec![input(&[(None, content)])]).unwrap();
    let second = chains.add(digest("step"), vec![input(&[(None, content), (Some("/"), first)])]);
    assert_eq!(second, Some(first));
    CacheConfig::parse(&chains.to_config().to_bytes()).unwrap();
}

#[test]
fn a_record_that_nothing_leads_to_is_none() {
    let mut chains = Chains::default();
    assert_eq!(chains.add(digest("copy"), vec![BTreeSet::new()]), None);
    assert!(chains.is_empty());
}

/// Layers that are below several are written once; of several results the newest is.
#[test]
fn layers() {
    let mut chains = Chains::default();
    let a = chains.add(digest("a"), Vec::new()).unwrap();
    let b = chains.add(digest("b"), Vec::new()).unwrap();
    chains.set_result(a, &result(&["base", "a"], 1));
    chains.set_result(b, &result(&["base", "old"], 1));
    chains.set_result(b, &result(&["base", "b"], 3));
    chains.set_result(b, &result(&["base", "older"], 2));
    let config = chains.to_config();
    let blobs: Vec<Digest> = config.layers.iter().map(|it| it.blob).collect();
    assert_eq!(blobs, ["base", "a", "b"].map(digest));
    assert_eq!(config.layers.iter().map(|it| it.parent).collect::<Vec<_>>(), [None, Some(0), Some(0)]);
}

/// In an image, a prefix of its layers is one; others are lists; what it does not have has no result.
#[test]
fn of_an_image() {
    let mut chains = Chains::default();
    let names = ["whole", "base", "part", "foreign"];
    let [whole, base, part, foreign] = names.map(|it| chains.add(digest(it), Vec::new()).unwrap());
    chains.set_result(whole, &result(&["1", "2", "3"], 1));
    chains.set_result(base, &result(&["1"], 1));
    chains.set_result(part, &result(&["1", "3"], 1));
    chains.set_result(foreign, &result(&["1", "x"], 1));
    let config = chains.to_inline(&["1", "2", "3"].map(|it| layer(it, "")));
    let found = |it: usize| {
        let record = &config.records[it];
        (record.results.first().map(|it| it.layer), record.chains.first().map(|it| it.layers.clone()))
    };
    assert_eq!(found(0), (Some(2), None));
    assert_eq!(found(1), (Some(0), None));
    assert_eq!(found(2), (None, Some(vec![0, 2])));
    assert_eq!(found(3), (None, None));
}

/// What other steps made of the same bytes, on the same layers or others, is another layer.
#[test]
fn layers_of_equal_bytes() {
    let mut chains = Chains::default();
    let names = ["first", "second", "both", "elsewhere"];
    let [first, second, both, elsewhere] = names.map(|it| chains.add(digest(it), Vec::new()).unwrap());
    let created_at = SystemTime::UNIX_EPOCH;
    let mut set = |record, layers: &[(&str, &str)]| {
        let layers = layers.iter().map(|(blob, by)| layer(blob, by)).collect();
        chains.set_result(record, &ResultLayers { layers, created_at });
    };
    set(first, &[("x", "first")]);
    set(second, &[("x", "second")]);
    set(both, &[("x", "first"), ("x", "second")]);
    set(elsewhere, &[("x", "what another machine calls it")]);
    let config = chains.to_config();
    let made: Vec<(Option<usize>, &str)> =
        config.layers.iter().map(|it| (it.parent, it.made.by.as_str())).collect();
    let expected = [(None, "first"), (None, "second"), (Some(0), "second")];
    assert_eq!(made[..3], expected);
    // In an image each has its own, and what has none any of the same bytes.
    let inline = chains.to_inline(&[layer("x", "first"), layer("x", "second")]);
    let found = |it: usize| {
        let record = &inline.records[it];
        (record.results.first().map(|it| it.layer), record.chains.first().map(|it| it.layers.clone()))
    };
    assert_eq!(found(0), (Some(0), None));
    assert_eq!(found(1), (None, Some(vec![1])));
    assert_eq!(found(2), (Some(1), None));
    assert_eq!(found(3), (Some(0), None));
}

/// Without a layer, nothing is left that is made of it; what it was called, and all else, is.
#[test]
fn results_without_a_layer() {
    let check = |removed: &[&str], n_expected: usize, left: &[&str]| {
        let mut chains = Chains::default();
        let base = chains.add(digest("base"), Vec::new()).unwrap();
        let next = chains.add(digest("next"), vec![input(&[(None, base)])]).unwrap();
        let side = chains.add(digest("side"), vec![input(&[(None, base)])]).unwrap();
        chains.set_result(base, &result(&["a"], 1));
        chains.set_result(next, &result(&["a", "b"], 2));
        chains.set_result(side, &result(&["a", "c"], 3));
        let removed: BTreeSet<Digest> = removed.iter().map(|it| digest(it)).collect();
        assert_eq!(chains.remove_layers(&removed), n_expected, "{removed:?}");
        let config = chains.to_config();
        assert_eq!(config.records.len(), 3);
        let mut found: Vec<Digest> = config.layers.iter().map(|it| it.blob).collect();
        let mut left: Vec<Digest> = left.iter().map(|it| digest(it)).collect();
        found.sort();
        left.sort();
        assert_eq!(found, left, "{removed:?}");
    };
    check(&[], 0, &["a", "b", "c"]);
    check(&["x"], 0, &["a", "b", "c"]);
    check(&["b"], 1, &["a", "c"]);
    check(&["b", "c"], 2, &["a"]);
    check(&["a"], 3, &[]);
}
