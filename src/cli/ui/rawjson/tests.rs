//! A message is read alone: it must tell all of its vertex.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::RawJson;
use crate::base::Digest;
use crate::engine::event::Event;

#[test]
fn the_message_of_a_completed_vertex_tells_all_of_it() {
    let at = SystemTime::UNIX_EPOCH;
    let (vertex, input) = (Digest::of("op"), Digest::of("input"));
    let mut display = RawJson::default();
    let started = Event::Started { vertex, name: "make".to_owned(), inputs: vec![input], at };
    display.message(&started);
    let completed = Event::Completed { vertex, at, error: Some("it failed".to_owned()), cached: false };
    let message: Value = display.message(&completed);
    assert_eq!(
        message,
        json!({ "vertexes": [{
            "digest": vertex, "inputs": [input], "name": "make",
            "started": "1970-01-01T00:00:00Z", "completed": "1970-01-01T00:00:00Z", "error": "it failed",
        }]}),
    );
}
