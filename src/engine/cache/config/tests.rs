//! Forms, order and refusals.

use std::time::{Duration, SystemTime};

use super::*;

fn digest(name: &str) -> Digest {
    Digest::of(name)
}

fn record(name: &str, inputs: Vec<Vec<CacheInput>>) -> CacheRecord {
    CacheRecord { digest: digest(name), inputs, results: Vec::new(), chains: Vec::new() }
}

fn link(selector: Option<&str>, link: usize) -> CacheInput {
    CacheInput { selector: selector.map(digest), link }
}

fn layer(blob: Digest, parent: Option<usize>) -> CacheLayer {
    CacheLayer { blob, parent, made: Arc::default() }
}

/// What BuildKit's `json.Marshal` gives of the same: fields in order, zeros left out, -1 written.
#[test]
fn written_as_go_writes() {
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500);
    let mut step = record("step", vec![vec![link(Some("/"), 1), link(None, 2)]]);
    step.results.push(CacheResult { layer: 1, created_at: at });
    step.chains.push(CacheChain { layers: vec![0, 1], created_at: SystemTime::UNIX_EPOCH });
    let config = CacheConfig {
        layers: vec![layer(digest("below"), None), layer(digest("above"), Some(0))],
        records: vec![step, record("base", Vec::new()), record("content", Vec::new())],
    };
    let (below, above) = (digest("below"), digest("above"));
    assert!(above < below);
    let (base, content, step, slash) = (digest("base"), digest("content"), digest("step"), digest("/"));
    assert!(step < base && base < content);
    // Sorted by blob, so that the upper one comes first; index 1 is written, index 0 would not be.
    let expected = format!(
        "{{\"layers\":[{{\"blob\":\"{above}\",\"parent\":1}},{{\"blob\":\"{below}\",\"parent\":-1}}],\
         \"records\":[{{\"layers\":[{{\"layer\":0,\"createdAt\":\"1970-01-01T00:00:01.5Z\"}}],\
         \"chains\":[{{\"layers\":[1,0],\"createdAt\":\"1970-01-01T00:00:00Z\"}}],\"digest\":\"{step}\",\
         \"inputs\":[[{{\"selector\":\"{slash}\",\"link\":1}},{{\"link\":2}}]]}},\
         {{\"digest\":\"{base}\"}},{{\"digest\":\"{content}\"}}]}}"
    );
    assert_eq!(String::from_utf8(config.to_bytes()).unwrap(), expected);
    let read = CacheConfig::parse(&config.to_bytes()).unwrap();
    assert_eq!(read, config.sorted());
    assert_eq!(read.chain(0), [1, 0]);
}

/// Layers of equal bytes on equal ones are in the order of what is said of them, and of those below them.
#[test]
fn layers_of_equal_bytes() {
    let made = |blob: &str, parent, by: &str| {
        let made = Made { by: by.to_owned(), at: None };
        CacheLayer { blob: digest(blob), parent, made: Arc::new(made) }
    };
    let lists = [
        [made("x", None, "b"), made("x", None, "a"), made("y", Some(0), "c"), made("y", Some(1), "c")],
        [made("x", None, "a"), made("y", Some(0), "c"), made("x", None, "b"), made("y", Some(2), "c")],
    ];
    let sorted = lists.map(|layers| CacheConfig { layers: layers.into(), records: Vec::new() }.sorted());
    assert_eq!(sorted[0], sorted[1]);
    let names = |config: &CacheConfig, top: usize| -> String {
        config.chain(top).into_iter().map(|it| config.layers[it].made.by.as_str()).collect()
    };
    let mut found: Vec<String> = (0..4).map(|it| names(&sorted[0], it)).collect();
    assert!(found == ["a", "b", "ac", "bc"] || found == ["ac", "bc", "a", "b"], "{found:?}");
    found.sort();
    assert_eq!(found, ["a", "ac", "b", "bc"]);
}

/// Index 0 is left out, and read so.
#[test]
fn the_first_layer_as_parent() {
    let (a, b) = (digest("above"), digest("below"));
    let text = format!("{{\"layers\":[{{\"blob\":\"{a}\",\"parent\":-1}},{{\"blob\":\"{b}\"}}]}}");
    let read = CacheConfig::parse(text.as_bytes()).unwrap();
    assert_eq!(read.layers[1].parent, Some(0));
    assert_eq!(read.to_bytes(), text.as_bytes());
}

#[test]
fn records_of_an_image() {
    let layers = [digest("a"), digest("b")];
    let text = format!(
        "[{{\"layers\":[{{\"layer\":1,\"createdAt\":\"0001-01-01T00:00:00Z\"}}],\"digest\":\"{}\"}}]",
        layers[0]
    );
    let read = CacheConfig::parse_inline(text.as_bytes(), &layers).unwrap();
    assert_eq!(read.layers[0].parent, None);
    assert_eq!(read.layers[1], layer(layers[1], Some(0)));
    assert_eq!(read.records[0].results[0].layer, 1);
    assert_eq!(CacheConfig::parse_inline(&read.to_inline_bytes(), &layers).unwrap(), read);
}

#[test]
fn refused() {
    let d = digest("x");
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let error = CacheConfig::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let records =
        |inputs: &str| format!("{{\"records\":[{{\"digest\":\"{}\",\"inputs\":{inputs}}}]}}", digest("x"));
    check("", "it is not valid");
    check("1", "it is not valid");
    check("{\"records\":[{}]}", "missing field `digest`");
    check("{\"records\":[{\"digest\":\"random:0123\"}]}", "is not a digest");
    check(&records("[[{\"link\":1}]]"), "its record 1 does not exist");
    check(&records("[[{\"link\":-1}]]"), "its record -1 does not exist");
    check(&records("[[{\"link\":0}]]"), "its record 0 is made of itself");
    check(&records("[[{\"link\":0,\"selector\":\"x\"}]]"), "is not a digest");
    check(&format!("{{\"layers\":[{{\"blob\":\"{d}\",\"parent\":-2}}]}}"), "its layer -2 does not exist");
    check(&format!("{{\"layers\":[{{\"blob\":\"{d}\"}}]}}"), "its layer 0 is made of itself");
    check(
        &format!("{{\"layers\":[{{\"blob\":\"{d}\",\"parent\":1}},{{\"blob\":\"{d}\"}}]}}"),
        "is made of itself",
    );
    check(
        &format!("{{\"records\":[{{\"digest\":\"{d}\",\"layers\":[{{\"layer\":0}}]}}]}}"),
        "its layer 0 does not exist",
    );
}

/// A time is what it is in Go, before 1970, too; none is Go's zero. BuildKit refuses what Go cannot read.
#[test]
fn times() {
    let layers = [digest("a")];
    let parse = |at: &str| {
        let result = format!("\"layers\":[{{\"layer\":0{at}}}],\"chains\":[{{\"layers\":[0]{at}}}]");
        CacheConfig::parse_inline(format!("[{{{result},\"digest\":\"{}\"}}]", layers[0]).as_bytes(), &layers)
    };
    let check = |at: &str, written: &str| {
        let read = parse(at).unwrap_or_else(|error| panic!("{at}: {error}"));
        assert_eq!(read.records[0].chains[0].created_at, read.records[0].results[0].created_at);
        let text = String::from_utf8(read.to_inline_bytes()).unwrap();
        assert_eq!(text.matches(&format!("\"createdAt\":\"{written}\"")).count(), 2, "{at}: {text}");
    };
    check("", "0001-01-01T00:00:00Z");
    check(",\"createdAt\":null", "0001-01-01T00:00:00Z");
    let at = |text: &str| format!(",\"createdAt\":\"{text}\"");
    check(&at("0001-01-01T00:00:00Z"), "0001-01-01T00:00:00Z");
    check(&at("1600-02-29T12:00:00.123456789Z"), "1600-02-29T12:00:00.123456789Z");
    check(&at("2026-11-21T10:00:00.5+05:30"), "2026-11-21T04:30:00.5Z");
    for bad in
        ["", "yesterday", "2026-02-30T00:00:00Z", "2026-11-21T10:00:00+99:00", "9999-12-31T23:59:59-01:00"]
    {
        let error = parse(&at(bad)).unwrap_err().to_string();
        assert_eq!(error, format!("its time `{bad}` is not valid"));
    }
    let error = parse(&at(&"ü".repeat(1000))).unwrap_err().to_string();
    assert!(error.contains("üü…") && error.len() < 120, "{error}");
}

/// What Go writes for absent lists, and what later versions may add.
#[test]
fn taken() {
    let d = digest("x");
    for text in [
        "{}".to_owned(),
        "{\"layers\":null,\"records\":null}".to_owned(),
        format!("{{\"records\":[{{\"digest\":\"{d}\",\"inputs\":[null,[]],\"layers\":null,\"later\":1}}]}}"),
        format!("{{\"layers\":[{{\"blob\":\"{d}\",\"parent\":-1,\"annotations\":{{\"size\":1}}}}]}}"),
    ] {
        CacheConfig::parse(text.as_bytes()).unwrap();
    }
}

/// A small generator of numbers; the same every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n.max(1)
    }
}

fn random(numbers: &mut Numbers) -> CacheConfig {
    let mut config = CacheConfig::default();
    for idx in 0..numbers.below(8) {
        let parent = (0 < idx && numbers.below(3) != 0).then(|| numbers.below(idx));
        config.layers.push(layer(digest(&format!("blob {}", numbers.below(6))), parent));
    }
    for idx in 0..numbers.below(12) {
        let mut it = record(&format!("record {}", numbers.below(8)), Vec::new());
        for _ in 0..if idx == 0 { 0 } else { numbers.below(3) } {
            let input = (0..numbers.below(3)).map(|_| {
                let selector = (numbers.below(2) == 0).then(|| format!("{}", numbers.below(3)));
                link(selector.as_deref(), numbers.below(idx))
            });
            it.inputs.push(input.collect());
        }
        if !config.layers.is_empty() && numbers.below(2) == 0 {
            let created_at = SystemTime::UNIX_EPOCH + Duration::from_millis(numbers.below(1 << 40) as u64);
            it.results.push(CacheResult { layer: numbers.below(config.layers.len()), created_at });
        }
        config.records.push(it);
    }
    config
}

/// What is written is read as it was, however it was found; what is damaged is refused or taken, and nothing else.
#[test]
fn any_config() {
    let mut numbers = Numbers(7);
    for _ in 0..500 {
        let config = random(&mut numbers);
        let bytes = config.to_bytes();
        let read = CacheConfig::parse(&bytes).unwrap();
        assert_eq!(read, config.sorted());
        assert_eq!(read.to_bytes(), bytes);
        for _ in 0..8 {
            let mut damaged = bytes.clone();
            for _ in 0..=numbers.below(4) {
                if damaged.is_empty() {
                    break;
                }
                let at = numbers.below(damaged.len());
                match numbers.below(3) {
                    0 => damaged[at] = b"0123456789-[]{},\"x"[numbers.below(18)],
                    1 => drop(damaged.remove(at)),
                    _ => damaged.truncate(at.max(1)),
                }
            }
            if let Ok(config) = CacheConfig::parse(&damaged) {
                (0..config.layers.len()).for_each(|it| drop(config.chain(it)));
                config.to_bytes();
            }
        }
    }
}
