//! JSON with the bytes of Go's `encoding/json`, by which images of different builders have equal digests.

use serde::Serialize;

/// Go's `json.Marshal`: no spaces.
pub(in crate::engine) fn compact(value: &impl Serialize) -> Vec<u8> {
    escape(serde_json::to_string(value).expect("documents are texts, numbers, lists and maps"))
}

/// Go's `json.MarshalIndent(…, "", "  ")`.
pub(in crate::engine) fn indented(value: &impl Serialize) -> Vec<u8> {
    escape(serde_json::to_string_pretty(value).expect("documents are texts, numbers, lists and maps"))
}

/// Go escapes these so that JSON may stand in HTML. Outside of strings they do not occur in JSON.
fn escape(json: String) -> Vec<u8> {
    if !json.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return json.into_bytes();
    }
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            '&' => escaped.push_str("\\u0026"),
            '\u{2028}' => escaped.push_str("\\u2028"),
            '\u{2029}' => escaped.push_str("\\u2029"),
            c => escaped.push(c),
        }
    }
    escaped.into_bytes()
}
