//! A definition as JSON for people and for comparing: the ops in order with digest, size and metadata, then the
//! source map.

use serde_json::{Value, json};

use crate::base::Digest;
use crate::graph::llb::json::{Describe, Shape, to_value};
use crate::graph::llb::pb;

/// The dump of `definition`, keys sorted: `{"source": …, "vertices": [{"digest", "metadata", "op", "size"}, …]}`.
///
/// # Errors
/// When an op is no protobuf message.
pub fn dump(definition: &pb::Definition) -> Result<Value, prost::DecodeError> {
    let value = |message: &dyn Describe| to_value(message, Shape::Protobuf);
    let mut vertices = Vec::with_capacity(definition.def.len());
    for bytes in &definition.def {
        let digest = Digest::of(bytes).to_string();
        // Sorted by key in what we write; what others write may not be.
        let metadata = definition
            .metadata
            .iter()
            .find(|entry| entry.key.as_deref() == Some(&digest))
            .and_then(|entry| entry.value.as_ref());
        vertices.push(json!({
            "digest": digest,
            "metadata": metadata.map_or_else(|| json!({}), |it| value(it)),
            "op": value(&pb::Op::from_bytes(bytes)?),
            "size": bytes.len(),
        }));
    }
    let mut dump = json!({ "vertices": vertices });
    if let Some(source) = &definition.source {
        dump["source"] = value(source);
    }
    dump.sort_all_objects();
    Ok(dump)
}

/// The text of a dump: one blank per level, no line feed at the end.
pub fn to_text(dump: &Value) -> String {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b" ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    serde::Serialize::serialize(dump, &mut serializer)
        .expect("a value has only text keys, and memory takes it");
    String::from_utf8(text).expect("JSON is UTF-8")
}
