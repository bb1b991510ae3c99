//! A web server of this process for files and repositories, which remembers what it was asked.
//!
//! ```text
//! /files/…      files of <root>, with ETag and Last-Modified          /dumb/…      the same, for git without its protocol
//! /auth/…       the same, for `Authorization: Bearer secret`          /short/…     a body that ends too early
//! /plain/…      the same, without ETag and Last-Modified              /name/…      with a Content-Disposition that lies
//! /to/<url>     a redirect to the rest of the path                    /busy/…      503 once, then the file
//! /git/…        repositories of <root>, by `git http-backend`         /private/…   the same, for the token `secret`
//! ```
//!
//! While the file <root>/down exists, connections are closed without an answer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use bkl::base::Digest;

const LAST_MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
/// base64 of `x-access-token:secret`.
const BASIC: &str = "basic eC1hY2Nlc3MtdG9rZW46c2VjcmV0";

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
}

#[derive(Default)]
struct State {
    asked: Vec<Asked>,
    was_busy: BTreeSet<String>,
}

/// A server on a loopback port; stops when dropped.
pub(crate) struct Server {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub(crate) fn start(root: &Path) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let (shared, root) = (state.clone(), root.to_owned());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // The state is dropped with the `Server`; the request that wakes us afterwards ends the thread.
                if Arc::strong_count(&shared) == 1 {
                    return;
                }
                let (state, root) = (shared.clone(), root.clone());
                thread::spawn(move || {
                    let _ = serve(stream, &root, &state);
                });
            }
        });
        Server { url, state }
    }

    /// The requests so far whose path contains `part`.
    pub(crate) fn asked(&self, part: &str) -> Vec<Asked> {
        let state = self.state.lock().unwrap();
        state.asked.iter().filter(|asked| asked.path.contains(part)).cloned().collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(std::mem::take(&mut self.state));
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
    }
}

struct Request {
    method: String,
    path: String,
    query: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

fn serve(mut stream: TcpStream, root: &Path, state: &Mutex<State>) -> std::io::Result<()> {
    if root.join("down").exists() {
        return Ok(());
    }
    let request = read(&stream)?;
    let asked = Asked { path: request.path.clone(), headers: request.headers.clone() };
    state.lock().unwrap().asked.push(asked);
    let (kind, rest) = request.path.trim_start_matches('/').split_once('/').unwrap_or((&request.path, ""));
    let authorization = request.headers.get("authorization").map_or("", String::as_str);
    match kind {
        "to" => {
            let query = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
            answer(&mut stream, "302 Found", &[("Location", format!("{rest}{query}"))], b"")
        }
        "auth" if authorization != "Bearer secret" => answer(&mut stream, "401 Unauthorized", &[], b""),
        "private" if !authorization.eq_ignore_ascii_case(BASIC) => {
            answer(&mut stream, "401 Unauthorized", &[("WWW-Authenticate", "Basic realm=x".to_owned())], b"")
        }
        "git" | "private" => backend(&mut stream, root, rest, &request),
        "busy" if state.lock().unwrap().was_busy.insert(rest.to_owned()) => {
            answer(&mut stream, "503 Service Unavailable", &[("Retry-After", "0".to_owned())], b"")
        }
        "files" | "auth" | "plain" | "name" | "short" | "dumb" | "busy" => {
            file(&mut stream, root, kind, rest, &request)
        }
        _ => answer(&mut stream, "404 Not Found", &[], b""),
    }
}

fn read(stream: &TcpStream) -> std::io::Result<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: BTreeMap::new(),
        body: Vec::new(),
    };
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            request.headers.insert(name.trim().to_lowercase(), value.trim().to_owned());
        }
    }
    let length = request.headers.get("content-length").and_then(|it| it.parse().ok()).unwrap_or(0);
    request.body.resize(length, 0);
    reader.read_exact(&mut request.body)?;
    Ok(request)
}

fn answer(
    stream: &mut TcpStream,
    status: &str,
    headers: &[(&str, String)],
    body: &[u8],
) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "Content-Length") {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    head.extend(headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")));
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"\r\n")?;
    stream.write_all(body)?;
    stream.flush()
}

fn file(
    stream: &mut TcpStream,
    root: &Path,
    kind: &str,
    rest: &str,
    request: &Request,
) -> std::io::Result<()> {
    let Ok(body) = fs::read(root.join(rest)) else { return answer(stream, "404 Not Found", &[], b"") };
    let etag = format!("\"{}\"", &Digest::of(&body).hex()[..16]);
    let mut headers = Vec::new();
    if !matches!(kind, "plain" | "dumb") {
        headers.extend([("ETag", etag.clone()), ("Last-Modified", LAST_MODIFIED.to_owned())]);
        if request.headers.get("if-none-match") == Some(&etag) {
            return answer(stream, "304 Not Modified", &headers, b"");
        }
    }
    match kind {
        "name" => {
            headers.push(("Content-Disposition", "attachment; filename=\"../../etc/passwd\"".to_owned()));
        }
        "short" => {
            headers.push(("Content-Length", (body.len() + 100).to_string()));
        }
        _ => {}
    }
    answer(stream, "200 OK", &headers, &body)
}

/// Git's own server side, as a CGI program.
fn backend(stream: &mut TcpStream, root: &Path, rest: &str, request: &Request) -> std::io::Result<()> {
    let header = |name: &str| request.headers.get(name).cloned().unwrap_or_default();
    let mut child = Command::new("git")
        .arg("http-backend")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .env("PATH_INFO", format!("/{rest}"))
        .env("QUERY_STRING", &request.query)
        .env("REQUEST_METHOD", &request.method)
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut stdin = child.stdin.take().unwrap();
    let body = request.body.clone();
    let writing = thread::spawn(move || stdin.write_all(&body));
    let mut output = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut output)?;
    child.wait()?;
    let _ = writing.join();
    let end = output.windows(4).position(|it| it == b"\r\n\r\n").unwrap_or(output.len());
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let mut status = "200 OK".to_owned();
    let mut headers = Vec::new();
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
        match name {
            "Status" => status = value.to_owned(),
            "Content-Type" => headers.push(("Content-Type", value.to_owned())),
            _ => {}
        }
    }
    answer(stream, &status, &headers, output.get(end + 4..).unwrap_or_default())
}

/// A repository to be filled with commits at fixed times.
pub(crate) struct Repository {
    pub(crate) path: PathBuf,
}

impl Repository {
    pub(crate) fn new(path: &Path) -> Repository {
        let repository = Repository { path: path.to_owned() };
        fs::create_dir_all(path).unwrap();
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository.git(&["config", "protocol.file.allow", "always"]);
        repository
    }

    /// Runs git there; gives what it prints.
    pub(crate) fn git(&self, args: &[&str]) -> String {
        let output = Command::new("git").args(args).current_dir(&self.path).envs(IDENTITY).output().unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Writes files, commits them, and gives the commit.
    pub(crate) fn commit(&self, files: &[(&str, &str)]) -> String {
        for (path, content) in files {
            let path = self.path.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", "x"]);
        self.git(&["rev-parse", "HEAD"])
    }
}

/// Who commits when: the same files are the same commit.
pub(crate) const IDENTITY: [(&str, &str); 7] = [
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_AUTHOR_NAME", "a"),
    ("GIT_AUTHOR_EMAIL", "a@example.com"),
    ("GIT_AUTHOR_DATE", "2020-01-02T03:04:05Z"),
    ("GIT_COMMITTER_NAME", "a"),
    ("GIT_COMMITTER_EMAIL", "a@example.com"),
    ("GIT_COMMITTER_DATE", "2020-01-02T03:04:05Z"),
];
