//! An editor's end of the wires.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long an answer may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long is waited for diagnostics that may not come.
const NEWS: Duration = Duration::from_secs(2);

/// A server and what it said.
pub(super) struct Client {
    child: Child,
    stdin: Option<ChildStdin>,
    messages: Receiver<Value>,
    next_id: i32,
    /// Diagnostics by file, since they were last asked for.
    news: BTreeMap<String, Value>,
    /// Answers nobody waited for.
    answers: Vec<Value>,
}

#[allow(clippy::needless_pass_by_value, reason = "messages are made where they are sent")]
impl Client {
    pub(super) fn start(folder: &Path) -> Client {
        let mut child = Command::new(env!("CARGO_BIN_EXE_bkl"))
            .args(["lsp", "--stdio"])
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, messages) = mpsc::channel();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            while let Some(message) = read(&mut out) {
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let stdin = child.stdin.take();
        Client { child, stdin, messages, next_id: 0, news: BTreeMap::new(), answers: Vec::new() }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("the client did not hang up");
        // A server that is gone is found out when its answer is waited for.
        let _ = stdin.write_all(bytes).and_then(|()| stdin.flush());
    }

    pub(super) fn notify(&mut self, method: &str, params: Value) {
        self.write(&framed(&json!({ "jsonrpc": "2.0", "method": method, "params": params })));
    }

    pub(super) fn request(&mut self, method: &str, params: Value) -> Value {
        let (id, bytes) = self.framed_request(method, params);
        self.write(&bytes);
        self.answer(id)
    }

    /// A request that is taken back in the same breath. The server may be faster; then it is asked again.
    pub(super) fn cancelled_request(&mut self, method: &str, params: &Value) -> Value {
        let mut answer = Value::Null;
        for _ in 0..50 {
            answer = self.request_with_cancel(method, params.clone());
            if answer.get("error").is_some() {
                break;
            }
        }
        answer
    }

    fn request_with_cancel(&mut self, method: &str, params: Value) -> Value {
        let (id, mut bytes) = self.framed_request(method, params);
        let cancel = json!({ "jsonrpc": "2.0", "method": "$/cancelRequest", "params": { "id": id } });
        bytes.extend(framed(&cancel));
        // While the server is busy with a first request, it sees the second one together with its end.
        let (busy, mut first) = self.framed_request("workspace/symbol", json!({}));
        first.extend(bytes);
        self.write(&first);
        self.answer(busy);
        self.answer(id)
    }

    fn framed_request(&mut self, method: &str, params: Value) -> (i32, Vec<u8>) {
        self.next_id += 1;
        let request = json!({ "jsonrpc": "2.0", "id": self.next_id, "method": method, "params": params });
        (self.next_id, framed(&request))
    }

    fn answer(&mut self, id: i32) -> Value {
        let start = Instant::now();
        loop {
            if let Some(at) = self.answers.iter().position(|answer| answer["id"] == id) {
                return self.answers.remove(at);
            }
            let left = PATIENCE.saturating_sub(start.elapsed());
            match self.messages.recv_timeout(left) {
                Ok(message) => self.sort(message),
                Err(error) => panic!("no answer to request {id}: {error}"),
            }
        }
    }

    /// The next answer, also one without an id.
    pub(super) fn next_answer(&mut self) -> Value {
        while self.answers.is_empty() {
            let message = self.messages.recv_timeout(PATIENCE).expect("the server answers");
            self.sort(message);
        }
        self.answers.remove(0)
    }

    fn sort(&mut self, message: Value) {
        match message["method"].as_str() {
            Some("textDocument/publishDiagnostics") => {
                let uri = message["params"]["uri"].as_str().unwrap_or_default().to_owned();
                self.news.insert(uri, message["params"].clone());
            }
            Some(_) => {
                // What the server asks for is granted.
                let id = message["id"].clone();
                self.write(&framed(&json!({ "jsonrpc": "2.0", "id": id, "result": null })));
            }
            None => self.answers.push(message),
        }
    }

    /// Diagnostics that are new; waits until there are some.
    pub(super) fn diagnostics(&mut self) -> Vec<Value> {
        let start = Instant::now();
        while self.news.is_empty() {
            match self.messages.recv_timeout(NEWS.saturating_sub(start.elapsed())) {
                Ok(message) => self.sort(message),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => panic!("the server is gone"),
            }
        }
        // Everything that is said at once comes before the answer to what is asked next.
        self.request("bkl/nothing", Value::Null);
        std::mem::take(&mut self.news).into_values().collect()
    }

    /// The exit code of a server that was told to go.
    pub(super) fn wait(&mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    pub(super) fn hang_up(&mut self) -> i32 {
        self.stdin = None;
        self.wait()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn framed(message: &Value) -> Vec<u8> {
    let body = message.to_string();
    format!("Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn read(out: &mut impl BufRead) -> Option<Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if out.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim().split_once(": ") {
            Some(("Content-Length", n)) => length = n.parse().ok()?,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    out.read_exact(&mut body).ok()?;
    serde_json::from_slice(&body).ok()
}
