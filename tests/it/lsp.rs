//! The language server as editors use it: the real binary, over stdin and stdout, by scripts under tests/golden/lsp.
//!
//! A case is a folder of `.bkl` files with marks like `‹1›` and a `script.txt`. Its lines behind `> ` say what the editor
//! does; what the server answers stands below each. The folder is copied without its marks. `BKL_UPDATE=1` rewrites.
//!
//! - `# utf-8`, `# snippets`: what the editor offers; other lines behind `# ` are comments
//! - `open FILE`, `close FILE`, `save FILE`
//! - `edit FILE MARK[..MARK] TEXT`: replaces what is between two marks; `\n` is a new line
//! - `write FILE TEXT`: changes a file on disk
//! - `diagnostics`: waits for the next ones
//! - `hover | complete | signature | definition | references | prepare | rename | actions FILE MARK [ARGUMENT]`
//! - `symbols | lenses | inlays | tokens | folds | format FILE`
//! - `request METHOD JSON`, `cancelled METHOD JSON`, `notify METHOD JSON`, `bytes TEXT`
//! - `shutdown`, `exit`

mod client;
mod show;
mod strange;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};

use client::Client;

/// One trial per folder of tests/golden/lsp.
pub(crate) fn trials() -> Vec<Trial> {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/lsp");
    let entries = fs::read_dir(&cases).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    let trial = |case: PathBuf| {
        let name = format!("lsp::{}", case.file_name().unwrap().to_string_lossy());
        Trial::test(name, move || check(&case))
    };
    let mut trials: Vec<Trial> = folders.into_iter().map(trial).collect();
    trials.push(crate::trial("lsp::anything_goes", strange::anything_goes));
    trials.push(crate::trial("lsp::large_texts", strange::large_texts));
    trials
}

fn check(case: &Path) -> Result<(), Failed> {
    let path = case.join("script.txt");
    let script = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().canonicalize().unwrap();
    let mut files = BTreeMap::new();
    copy(case, &root, &mut files);
    let mut session = Session::new(&root, files, &script);
    let mut printed = String::new();
    for line in script.lines() {
        if line.starts_with('#') {
            printed += &format!("{line}\n");
        } else if let Some(command) = line.strip_prefix("> ") {
            let answer = session.run(command);
            printed += &format!("{line}\n{answer}");
        }
    }
    let printed = printed.replace(&*root.to_string_lossy(), "[ROOT]");
    if std::env::var_os("BKL_UPDATE").is_some() {
        fs::write(&path, &printed).unwrap();
        return Ok(());
    }
    if printed == script { Ok(()) } else { Err(format!("expected:\n{script}\nfound:\n{printed}").into()) }
}

/// A text of the case and where its marks are.
struct File {
    text: String,
    marks: BTreeMap<String, usize>,
    version: i32,
}

impl File {
    fn read(marked: &str) -> File {
        let (mut text, mut marks, mut rest) = (String::new(), BTreeMap::new(), marked);
        while let Some(start) = rest.find('‹') {
            text += &rest[..start];
            rest = &rest[start + '‹'.len_utf8()..];
            let end = rest.find('›').expect("a mark ends with ›");
            marks.insert(rest[..end].to_owned(), text.len());
            rest = &rest[end + '›'.len_utf8()..];
        }
        text += rest;
        File { text, marks, version: 1 }
    }
}

/// Copies the programs of a case without their marks.
fn copy(from: &Path, to: &Path, files: &mut BTreeMap<String, File>) {
    fn walk(from: &Path, to: &Path, below: &str, files: &mut BTreeMap<String, File>) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let inner = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
            if path.is_dir() {
                walk(&path, &to.join(&name), &inner, files);
            } else if name != "script.txt" {
                let file = File::read(&fs::read_to_string(&path).unwrap());
                fs::write(to.join(&name), &file.text).unwrap();
                files.insert(inner, file);
            }
        }
    }
    walk(from, to, "", files);
}

/// An editor with its server.
struct Session {
    root: PathBuf,
    files: BTreeMap<String, File>,
    utf8: bool,
    client: Client,
}

impl Session {
    fn new(root: &Path, files: BTreeMap<String, File>, script: &str) -> Session {
        let offers = |what: &str| script.lines().any(|line| line == what);
        let utf8 = offers("# utf-8");
        let mut client = Client::start(root);
        if !offers("# not initialized") {
            let encodings = if utf8 { json!(["utf-16", "utf-8"]) } else { json!(["utf-16"]) };
            let answer = client.request(
                "initialize",
                json!({
                    "processId": null,
                    "capabilities": {
                        "general": { "positionEncodings": encodings },
                        "textDocument": {
                            "completion": { "completionItem": { "snippetSupport": offers("# snippets") } },
                        },
                    },
                    "workspaceFolders": [{ "uri": format!("file://{}", root.display()), "name": "case" }],
                }),
            );
            let encoding = answer["result"]["capabilities"]["positionEncoding"].clone();
            assert_eq!(encoding, if utf8 { "utf-8" } else { "utf-16" }, "{answer}");
            client.notify("initialized", json!({}));
        }
        Session { root: root.to_owned(), files, utf8, client }
    }

    fn run(&mut self, command: &str) -> String {
        let mut words = command.splitn(4, ' ');
        let mut word = || words.next().unwrap_or_default();
        let (verb, first, second, third) = (word(), word(), word(), word());
        match verb {
            "open" => {
                let params = json!({ "textDocument": {
                    "uri": self.uri(first), "languageId": "bkl", "version": 1, "text": self.file(first).text,
                }});
                self.client.notify("textDocument/didOpen", params);
                String::new()
            }
            "close" | "save" => {
                let method = if verb == "close" { "didClose" } else { "didSave" };
                let params = json!({ "textDocument": { "uri": self.uri(first) } });
                self.client.notify(&format!("textDocument/{method}"), params);
                String::new()
            }
            "edit" => {
                self.edit(first, second, &third.replace("\\n", "\n"));
                String::new()
            }
            "write" => {
                let text = command.splitn(3, ' ').nth(2).unwrap_or_default().replace("\\n", "\n") + "\n";
                fs::write(self.root.join(first), &text).unwrap();
                let params = json!({ "changes": [{ "uri": self.uri(first), "type": 2 }] });
                self.client.notify("workspace/didChangeWatchedFiles", params);
                String::new()
            }
            "diagnostics" => show::diagnostics(&self.client.diagnostics()),
            "request" | "cancelled" => {
                let params = command.splitn(3, ' ').nth(2).map_or(Value::Null, |json| self.json(json));
                let answer = match verb {
                    "request" => self.client.request(first, params),
                    _ => self.client.cancelled_request(first, &params),
                };
                show::plain(&answer)
            }
            "notify" => {
                let params = command.splitn(3, ' ').nth(2).map_or(Value::Null, |json| self.json(json));
                self.client.notify(first, params);
                String::new()
            }
            "bytes" => {
                let text = command.split_once(' ').map_or("", |(_, text)| text);
                self.client.write(text.replace("\\r\\n", "\r\n").as_bytes());
                String::new()
            }
            "reply" => show::plain(&self.client.next_answer()),
            "shutdown" => show::plain(&self.client.request("shutdown", Value::Null)),
            "exit" => {
                self.client.notify("exit", Value::Null);
                format!("exit code {}\n", self.client.wait())
            }
            "hangup" => format!("exit code {}\n", self.client.hang_up()),
            _ => self.ask(verb, first, second, third),
        }
    }

    fn ask(&mut self, verb: &str, file: &str, mark: &str, argument: &str) -> String {
        let document = json!({ "uri": self.uri(file) });
        let mut params = json!({ "textDocument": document });
        let (at, to) = mark.split_once("..").unwrap_or((mark, mark));
        let mut whole = json!({
            "start": { "line": 0, "character": 0 }, "end": { "line": 100_000, "character": 0 },
        });
        if !mark.is_empty() {
            params["position"] = self.position(file, at);
            whole = json!({ "start": self.position(file, at), "end": self.position(file, to) });
        }
        let method = match verb {
            "hover" => "hover",
            "complete" => "completion",
            "signature" => "signatureHelp",
            "definition" => "definition",
            "references" => {
                params["context"] = json!({ "includeDeclaration": argument != "uses" });
                "references"
            }
            "highlight" => "documentHighlight",
            "prepare" => "prepareRename",
            "rename" => {
                params["newName"] = json!(argument);
                "rename"
            }
            "actions" => {
                params["range"] = whole;
                params["context"] = json!({ "diagnostics": [] });
                "codeAction"
            }
            "symbols" => "documentSymbol",
            "lenses" => "codeLens",
            "inlays" => {
                params["range"] = whole;
                "inlayHint"
            }
            "tokens" => "semanticTokens/full",
            "folds" => "foldingRange",
            "format" => {
                params["options"] = json!({ "tabSize": 2, "insertSpaces": true });
                "formatting"
            }
            _ => panic!("`{verb}` is nothing an editor does"),
        };
        let answer = self.client.request(&format!("textDocument/{method}"), params);
        if answer.get("error").is_some() {
            return show::plain(&answer);
        }
        let result = &answer["result"];
        let text = |uri: &str| {
            let name = uri.rsplit_once(&*self.root.to_string_lossy()).map_or(uri, |(_, name)| name);
            let name = name.trim_start_matches('/').to_owned();
            let text = self.files.get(&name).map(|file| file.text.clone()).unwrap_or_default();
            (name, text)
        };
        let view = show::View { text: &text, utf8: self.utf8 };
        match verb {
            "hover" => show::hover(result),
            "complete" => show::completion(result, argument),
            "signature" => show::signature(result),
            "actions" => show::actions(result, &view),
            "rename" => show::edits(result, &view),
            "definition" | "references" => show::locations(result, &view),
            "symbols" => show::symbols(result, 0),
            "lenses" => show::lenses(result),
            "inlays" => show::inlays(result, &self.file(file).text, self.utf8),
            "tokens" => show::tokens(result, &self.file(file).text, self.utf8),
            "format" => show::text_edits(result, &self.file(file).text, self.utf8),
            _ => show::plain(&answer),
        }
    }

    fn edit(&mut self, name: &str, marks: &str, new: &str) {
        let (from, to) = marks.split_once("..").unwrap_or((marks, marks));
        let range = json!({ "start": self.position(name, from), "end": self.position(name, to) });
        let (start, end) = (self.file(name).marks[from], self.file(name).marks[to]);
        let uri = self.uri(name);
        let file = self.files.get_mut(name).unwrap();
        file.text.replace_range(start..end, new);
        for at in file.marks.values_mut().filter(|at| end <= **at) {
            *at = *at - (end - start) + new.len();
        }
        // The mark where the edit starts stays in front of what is new.
        if from != to {
            file.marks.insert(from.to_owned(), start);
        }
        file.version += 1;
        let params = json!({
            "textDocument": { "uri": uri, "version": file.version },
            "contentChanges": [{ "range": range, "text": new }],
        });
        self.client.notify("textDocument/didChange", params);
    }

    fn file(&self, name: &str) -> &File {
        self.files.get(name).unwrap_or_else(|| panic!("the case has no file `{name}`"))
    }

    fn uri(&self, name: &str) -> String {
        if name.contains(':') { name.to_owned() } else { format!("file://{}/{name}", self.root.display()) }
    }

    fn json(&self, text: &str) -> Value {
        let root = format!("file://{}", self.root.display());
        serde_json::from_str(&text.replace("[URI]", &root)).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn position(&self, name: &str, mark: &str) -> Value {
        let file = self.file(name);
        let at = *file.marks.get(mark).unwrap_or_else(|| panic!("`{name}` has no mark ‹{mark}›"));
        show::position(&file.text, at, self.utf8)
    }
}
