//! `bkl lsp`: the language server on stdin and stdout. What it answers is [`crate::lsp`]'s.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufRead, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use lsp_server::{Message, RequestId};

use crate::base::{ImageRef, Report};
use crate::cli::Failure;
use crate::cli::lock::Lock;
use crate::cli::program::io_reason;
use crate::lang::on_deep_stack;
use crate::lsp::{Outside, Server};

/// How long the server waits for more changes before it looks for mistakes.
const QUIET: Duration = Duration::from_millis(50);
/// Longest message that is read.
const MAX_MESSAGE: usize = 64 << 20;
/// Folders below a folder of the editor that programs are looked for in.
const MAX_FOLDERS: usize = 10_000;

/// Runs the verb: serves one editor until it says `exit` or is gone.
pub(super) fn run() -> Result<(), Failure> {
    let (sender, receiver) = mpsc::channel();
    // The thread ends with stdin; it is not waited for, because `exit` may come before that.
    let reader = std::thread::Builder::new().name("bkl-lsp-stdin".to_owned());
    let spawned = reader.spawn(move || {
        let mut input = io::stdin().lock();
        loop {
            let incoming = read_message(&mut input);
            let is_end = matches!(incoming, Incoming::End);
            if sender.send(incoming).is_err() || is_end {
                return;
            }
        }
    });
    if let Err(error) = spawned {
        return Err(
            Report::error("bkl::output", format!("cannot start a thread: {}", io_reason(&error))).into()
        );
    }
    match on_deep_stack(move || serve(&receiver)) {
        0 => Ok(()),
        code => Err(Failure { code, ..Failure::new(crate::base::SourceMap::default(), Vec::new()) }),
    }
}

/// What comes from the editor.
enum Incoming {
    Message(Message),
    /// Something that is no message; says why.
    Garbage(String),
    End,
}

/// Answers messages until the conversation is over; gives the exit code.
fn serve(incoming: &Receiver<Incoming>) -> u8 {
    let mut server = Server::new(Box::new(Disk));
    let mut queue: VecDeque<Incoming> = VecDeque::new();
    let mut due: Option<Instant> = None;
    loop {
        // Everything that is there already is seen first: a request may be taken back behind it.
        queue.extend(incoming.try_iter());
        if queue.is_empty() {
            let next = match due {
                Some(due) => incoming.recv_timeout(due.saturating_duration_since(Instant::now())),
                None => incoming.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match next {
                Ok(next) => queue.push_back(next),
                Err(RecvTimeoutError::Timeout) => {
                    due = None;
                    if !send(&server.news()) {
                        return 1;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return 1,
            }
            continue;
        }
        let answers = match queue.pop_front() {
            None => continue,
            // An editor that is served should say so before it goes.
            Some(Incoming::End) => return u8::from(server.is_running()),
            Some(Incoming::Garbage(why)) => {
                if !send_json(&parse_error(&why)) {
                    return 1;
                }
                continue;
            }
            Some(Incoming::Message(Message::Request(request))) if is_cancelled(&queue, &request.id) => {
                vec![Server::cancelled(request.id)]
            }
            Some(Incoming::Message(message)) => {
                let changes = matches!(&message, Message::Notification(_));
                let answers = server.handle(message);
                if changes && server.has_news() {
                    due = Some(Instant::now() + QUIET);
                }
                answers
            }
        };
        if !send(&answers) {
            return 1;
        }
        if let Some(code) = server.exit_code() {
            return code;
        }
    }
}

/// Whether a request is taken back by a message that came behind it.
fn is_cancelled(queue: &VecDeque<Incoming>, id: &RequestId) -> bool {
    queue.iter().any(|incoming| match incoming {
        Incoming::Message(Message::Notification(it)) if it.method == "$/cancelRequest" => it
            .params
            .get("id")
            .is_some_and(|it| serde_json::from_value(it.clone()).is_ok_and(|it: RequestId| it == *id)),
        _ => false,
    })
}

/// A message that has no id to be answered by (JSON-RPC 2.0, 5.1).
fn parse_error(why: &str) -> serde_json::Value {
    let code = lsp_server::ErrorCode::ParseError as i32;
    serde_json::json!({ "jsonrpc": "2.0", "id": null, "error": { "code": code, "message": why } })
}

// ---- wires

/// Reads the next message: header lines, an empty line, as many bytes as `Content-Length` says.
fn read_message(input: &mut impl BufRead) -> Incoming {
    let mut length: Option<usize> = None;
    let mut n_headers = 0;
    loop {
        let mut line = Vec::new();
        match input.by_ref().take(1 << 16).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return Incoming::End,
            Ok(_) => {}
        }
        let line = String::from_utf8_lossy(&line);
        let line = line.trim();
        if line.is_empty() {
            match length {
                Some(length) => return read_body(input, length),
                // Empty lines between messages do no harm.
                None if n_headers == 0 => continue,
                None => return Incoming::Garbage("a message without `Content-Length`".to_owned()),
            }
        }
        n_headers += 1;
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok();
        }
    }
}

fn read_body(input: &mut impl BufRead, length: usize) -> Incoming {
    if MAX_MESSAGE < length {
        return match io::copy(&mut input.by_ref().take(length as u64), &mut io::sink()) {
            Ok(_) => Incoming::Garbage(format!("a message of {length} bytes")),
            Err(_) => Incoming::End,
        };
    }
    let mut body = vec![0; length];
    if input.read_exact(&mut body).is_err() {
        return Incoming::End;
    }
    match serde_json::from_slice(&body) {
        Ok(message) => Incoming::Message(message),
        Err(error) => Incoming::Garbage(format!("not a message: {error}")),
    }
}

/// Writes messages in order; `false`: the editor does not listen any more.
fn send(messages: &[Message]) -> bool {
    messages.iter().all(|message| {
        let mut value = serde_json::to_value(message).unwrap_or_default();
        value["jsonrpc"] = serde_json::Value::from("2.0");
        send_json(&value)
    })
}

fn send_json(value: &serde_json::Value) -> bool {
    let body = value.to_string();
    let mut out = io::stdout().lock();
    write!(out, "Content-Length: {}\r\n\r\n{body}", body.len()).and_then(|()| out.flush()).is_ok()
}

// ---- the machine

/// Files as they are on disk.
struct Disk;

impl Outside for Disk {
    fn read(&self, path: &Path) -> Result<Option<String>, String> {
        match fs::read(path) {
            Ok(bytes) => String::from_utf8(bytes).map(Some).map_err(|error| {
                let at = error.utf8_error().valid_up_to();
                format!("byte {at} is not UTF-8")
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_reason(&error)),
        }
    }

    fn programs(&self, folder: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![folder.to_owned()];
        let mut n_folders = 0;
        while let Some(folder) = folders.pop() {
            n_folders += 1;
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                let Ok(kind) = entry.file_type() else { continue };
                let skipped = name.starts_with('.') || matches!(&*name, "node_modules" | "target");
                if kind.is_dir() && !skipped && n_folders + folders.len() < MAX_FOLDERS {
                    folders.push(entry.path());
                } else if kind.is_file() && name.ends_with(".bkl") {
                    found.push(entry.path());
                }
            }
        }
        found.sort();
        found
    }

    fn pinned(&self, folder: &Path, reference: &str) -> Option<String> {
        let lock = Lock::read(&folder.join("bkl.lock")).ok()?;
        let image = lock.image(&reference.parse::<ImageRef>().ok()?)?;
        Some(image.digest.to_string())
    }
}
