//! A registry in this process that can be told to misbehave, and remembers what it was asked.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use bkl::base::Digest;

use crate::images::{OCI_INDEX, OCI_MANIFEST, TestImage};

/// What happens to one request.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// This status with these headers instead of an answer.
    Status(u16, &'static str),
    /// The connection is closed without an answer.
    Reset,
    /// The body ends after this many bytes, the connection with it.
    Truncate(usize),
    /// Nothing comes for two seconds, then the end.
    Stall,
    /// One bit of the body is another.
    Flip,
    /// Another `Content-Type`.
    ContentType(&'static str),
    /// `Range` is not looked at.
    NoRange,
    /// This body, whatever was asked for.
    Body(Vec<u8>),
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
}

/// How requests must be authorized: by a bearer token from `/token` of this server, good for this many requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tokens {
    pub(crate) uses: usize,
}

#[derive(Default)]
struct State {
    blobs: BTreeMap<Digest, Vec<u8>>,
    tags: BTreeMap<String, Digest>,
    /// Served in order to requests whose path contains the text.
    faults: VecDeque<(String, Fault)>,
    asked: Vec<Asked>,
    tokens: Option<Tokens>,
    n_tokens: usize,
    n_token_uses: usize,
}

/// A registry on a loopback port; stops when dropped.
pub(crate) struct Fake {
    pub(crate) address: String,
    state: Arc<Mutex<State>>,
}

impl Fake {
    pub(crate) fn start() -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(Mutex::new(State::default()));
        let (shared, own) = (state.clone(), address.clone());
        thread::spawn(move || {
            // The state is dropped with the `Fake`; the request that wakes us afterwards ends the thread.
            for stream in listener.incoming().flatten() {
                if Arc::strong_count(&shared) == 1 {
                    return;
                }
                let (state, address) = (shared.clone(), own.clone());
                thread::spawn(move || serve(stream, &state, &address));
            }
        });
        Fake { address, state }
    }

    /// Adds an image under a tag.
    pub(crate) fn push(&self, tag: &str, image: &TestImage) {
        let mut state = self.state.lock().unwrap();
        state.blobs.extend(image.blobs.clone());
        state.tags.insert(tag.to_owned(), image.root);
    }

    /// The next request whose path contains `part` is served with the fault.
    pub(crate) fn fault(&self, part: &str, fault: Fault) {
        self.state.lock().unwrap().faults.push_back((part.to_owned(), fault));
    }

    pub(crate) fn require(&self, tokens: Tokens) {
        self.state.lock().unwrap().tokens = Some(tokens);
    }

    /// Replaces a blob's bytes without changing its name.
    pub(crate) fn damage(&self, digest: &Digest, bytes: Vec<u8>) {
        self.state.lock().unwrap().blobs.insert(*digest, bytes);
    }

    /// The requests so far whose path contains `part`.
    pub(crate) fn asked(&self, part: &str) -> Vec<Asked> {
        let state = self.state.lock().unwrap();
        state.asked.iter().filter(|asked| asked.path.contains(part)).cloned().collect()
    }

    pub(crate) fn reference(&self, rest: &str) -> String {
        format!("{}/{rest}", self.address)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        // Wakes the listener, which then sees that it is alone.
        let address = self.address.clone();
        let state = std::mem::take(&mut self.state);
        drop(state);
        let _ = TcpStream::connect(address);
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>, address: &str) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    while let Some(asked) = read_request(&mut reader) {
        if !answer(&mut stream, state, address, &asked) {
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n_read| 0 < *n_read)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_lowercase(), value.to_owned()),
            None => return Some(Asked { method, path, headers }),
        };
    }
}

/// Whether the connection stays open.
fn answer(stream: &mut TcpStream, state: &Mutex<State>, address: &str, asked: &Asked) -> bool {
    let mut state = state.lock().unwrap();
    state.asked.push(asked.clone());
    let authorization = asked.headers.get("authorization").cloned().unwrap_or_default();
    if asked.path.starts_with("/token") {
        state.n_tokens += 1;
        state.n_token_uses = 0;
        let body = if authorization == "Basic bWU6c2VjcmV0" {
            format!(r#"{{"token":"t{}"}}"#, state.n_tokens)
        } else {
            r#"{"access_token":"anonymous"}"#.to_owned()
        };
        return write(stream, 200, "Content-Type: application/json\r\n", body.as_bytes(), None);
    }
    if let Some(Tokens { uses }) = state.tokens {
        let good = authorization == format!("Bearer t{}", state.n_tokens) && state.n_token_uses < uses;
        if !good {
            let header = format!(
                "WWW-Authenticate: Bearer realm=\"http://{address}/token\",service=\"fake\",scope=\"repository:x:pull\"\r\n"
            );
            return write(stream, 401, &header, b"", None);
        }
        state.n_token_uses += 1;
    }
    let fault = state.faults.iter().position(|(part, _)| asked.path.contains(part));
    let fault = fault.and_then(|at| state.faults.remove(at)).map(|(_, fault)| fault);
    match &fault {
        Some(Fault::Status(status, headers)) => return write(stream, *status, headers, b"", None),
        Some(Fault::Reset) => return false,
        Some(Fault::Stall) => {
            drop(state);
            thread::sleep(std::time::Duration::from_secs(2));
            return false;
        }
        Some(Fault::Truncate(_) | Fault::Flip | Fault::ContentType(_) | Fault::NoRange | Fault::Body(_))
        | None => {}
    }
    let path = asked.path.split('?').next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    let is_manifest = asked.path.contains("/manifests/");
    let digest = name.parse().ok().or_else(|| state.tags.get(name).copied());
    let Some(mut body) = digest.and_then(|digest| state.blobs.get(&digest).cloned()) else {
        return write(stream, 404, "", br#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#, None);
    };
    drop(state);
    let mut headers = String::new();
    let content_type = match &fault {
        Some(Fault::ContentType(content_type)) => content_type,
        _ if !is_manifest => "application/octet-stream",
        _ if body.windows(11).any(|it| it == b"\"manifests\"") => OCI_INDEX,
        _ => OCI_MANIFEST,
    };
    headers += &format!("Content-Type: {content_type}\r\n");
    match &fault {
        Some(Fault::Flip) => {
            let middle = body.len() / 2;
            body[middle] ^= 1;
        }
        Some(Fault::Body(other)) => body.clone_from(other),
        _ => {}
    }
    let range = asked.headers.get("range").and_then(|range| {
        let start: usize = range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()?;
        Some(start)
    });
    let mut status = 200;
    if let Some(start) = range
        && !matches!(fault, Some(Fault::NoRange))
    {
        status = 206;
        headers += &format!("Content-Range: bytes {start}-{}/{}\r\n", body.len() - 1, body.len());
        body.drain(..start);
    }
    let cut = match fault {
        Some(Fault::Truncate(cut)) => Some(cut),
        _ if asked.method == "HEAD" => {
            return write(stream, status, &headers, &body, Some(0)) | true;
        }
        _ => None,
    };
    write(stream, status, &headers, &body, cut)
}

fn write(stream: &mut TcpStream, status: u16, headers: &str, body: &[u8], cut: Option<usize>) -> bool {
    let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    let sent = cut.map_or(body, |cut| &body[..cut.min(body.len())]);
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(sent)).is_ok() && cut.is_none()
}
