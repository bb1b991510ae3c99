//! Progress for programs: BuildKit's `SolveStatus` as JSON lines, one message per event (client/graph.go).
//!
//! Every message about a vertex tells all that is known of it: readers replace what they had, and buildx passes over one
//! without `started` (util/progress/progressui/display.go).

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::SystemTime;

use serde_json::{Value, json};

use super::Display;
use crate::base::Digest;
use crate::base::time::rfc3339;
use crate::engine::event::{Event, Stream};

/// The display.
#[derive(Default)]
pub(super) struct RawJson {
    /// What was said of vertices that still run.
    running: BTreeMap<Digest, Value>,
}

impl Display for RawJson {
    fn event(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.message(event))
    }

    fn frame(&mut self, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

impl RawJson {
    fn message(&mut self, event: &Event) -> Value {
        match event {
            Event::Started { vertex, name, inputs, at } => {
                let message = json!({
                    "digest": vertex, "inputs": inputs, "name": name, "started": rfc3339(*at),
                });
                self.running.insert(*vertex, message.clone());
                json!({ "vertexes": [message] })
            }
            Event::Cached { vertex, name, inputs, at } => json!({ "vertexes": [{
                "digest": vertex, "inputs": inputs, "name": name, "cached": true,
                "started": rfc3339(*at), "completed": rfc3339(*at),
            }]}),
            Event::Completed { vertex, at, error, cached } => {
                let mut vertex = self.running.remove(vertex).unwrap_or_else(|| json!({ "digest": vertex }));
                vertex["completed"] = json!(rfc3339(*at));
                if *cached {
                    vertex["cached"] = json!(true);
                }
                if let Some(error) = error {
                    vertex["error"] = json!(error);
                }
                json!({ "vertexes": [vertex] })
            }
            Event::Progress { vertex, id, current, total, .. } => json!({ "statuses": [{
                "id": id, "vertex": vertex, "current": current, "total": total, "timestamp": rfc3339(SystemTime::now()),
            }]}),
            Event::Log { vertex, stream, bytes } => json!({ "logs": [{
                "vertex": vertex,
                "stream": match stream { Stream::Stdout => 1, Stream::Stderr => 2 },
                "data": base64(bytes),
                "timestamp": rfc3339(SystemTime::now()),
            }]}),
            Event::Warning { vertex, message } => json!({ "warnings": [{
                "vertex": vertex, "level": 1, "short": base64(message.as_bytes()),
            }]}),
        }
    }
}

/// Standard base64 with padding, as Go encodes `[]byte` in JSON.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |word, &byte| (word << 8) | u32::from(byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            if digit <= chunk.len() {
                text.push(ALPHABET[(word >> (18 - 6 * digit)) as usize & 63] as char);
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests;
