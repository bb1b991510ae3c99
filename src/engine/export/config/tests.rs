//! Config bytes: an image of nothing as BuildKit writes it, and histories that do not fit their layers.

use serde_json::json;

use super::*;
use crate::base::Platform;
use crate::base::time::from_epoch;

fn layers(n_layers: usize) -> Vec<LayerFacts> {
    (0..n_layers)
        .map(|at| LayerFacts {
            diff_id: Digest::of([at as u8]),
            created_at: from_epoch(1000 + at as i64).unwrap(),
            description: format!("step {at} <&>"),
        })
        .collect()
}

fn check(base_history: &Value, n_layers: usize, epoch: Option<i64>, expected: &[&str]) {
    let base = json!({"architecture": "amd64", "os": "linux", "zzz": {"b": 1, "a": 2}, "history": base_history,
        "created": "1970-01-01T00:00:01Z"});
    let config = ImageConfig::from_oci(&base, &Platform::default());
    let bytes = config_bytes(&config, &layers(n_layers), epoch.and_then(from_epoch), None);
    let value: Value = serde_json::from_slice(&bytes).unwrap();
    let mut found: Vec<String> = value["history"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|entry| {
            let text = |key: &str| entry[key].as_str().unwrap_or("-").to_owned();
            let empty = if entry["empty_layer"] == true { " empty" } else { "" };
            format!("{} {}{empty}", text("created").replace("1970-01-01T00:", ""), text("created_by"))
        })
        .collect();
    found.push(value["created"].to_string().replace("1970-01-01T00:", ""));
    assert_eq!(found, expected);
    assert!(bytes.windows(19).any(|it| it == br#""zzz":{"b":1,"a":2}"#), "nested values are kept verbatim");
}

#[test]
fn image_of_nothing() {
    let mut config = ImageConfig::scratch("linux/amd64".parse().unwrap());
    config.set_env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    config.workdir = "/".to_owned();
    let bytes = config_bytes(&config, &[], None, None);
    assert_eq!(
        String::from_utf8(bytes.clone()).unwrap(),
        r#"{"architecture":"amd64","config":{"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"WorkingDir":"/"},"created":null,"history":null,"os":"linux","rootfs":{"type":"layers","diff_ids":null}}"#
    );
    assert!(Digest::of(bytes).to_string().starts_with("sha256:471a1b8817ee"), "BuildKit's digest");
}

#[test]
fn new_layers_are_described() {
    check(
        &json!([{"created": "1970-01-01T00:00:01Z", "created_by": "base"}, {"created_by": "ENV", "empty_layer": true}]),
        3,
        None,
        &["00:01Z base", "16:41Z ENV empty", "16:41Z step 1 <&>", "16:42Z step 2 <&>", "\"16:42Z\""],
    );
}

#[test]
fn surplus_history_is_empty() {
    check(
        &json!([{"created_by": "a"}, {"created_by": "b"}, {"created_by": "c"}]),
        1,
        None,
        &["16:40Z a", "16:40Z b empty", "16:40Z c empty", "\"00:01Z\""],
    );
    check(&Value::Null, 0, None, &["\"00:01Z\""]);
}

#[test]
fn epoch_clamps_what_is_new() {
    check(
        &json!([{"created": "1970-01-01T00:59:00Z", "created_by": "base"}]),
        2,
        Some(5),
        &["59:00Z base", "00:05Z step 1 <&>", "\"00:05Z\""],
    );
}
