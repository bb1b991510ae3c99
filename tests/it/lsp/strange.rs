//! What no one writes on purpose: random edits, texts cut anywhere, very long lines. The server answers everything, and
//! nothing in it fails.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::client::Client;

/// Every request there is about a place of a text, and what it wants besides.
const QUESTIONS: &[&str] = &[
    "hover",
    "completion",
    "signatureHelp",
    "definition",
    "references",
    "prepareRename",
    "rename",
    "documentHighlight",
    "documentSymbol",
    "codeLens",
    "inlayHint",
    "semanticTokens/full",
    "foldingRange",
    "formatting",
    "codeAction",
];

/// What edits put in.
const PIECES: &[&str] = &[
    "",
    "",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "\"\"\"",
    "#{",
    ".",
    ",",
    ":",
    "=",
    "=>",
    "|>",
    "//",
    "///",
    "\n",
    "let ",
    "fn f(",
    "match x {",
    "if ",
    "🦀",
    "漢",
    "\\",
    "\r\n",
    "import x from \"./build.bkl\"\n",
    "pub ",
    "0x",
    "none",
    "x",
];

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % below.max(1)
    }
}

fn start(folder: &Path) -> Client {
    let mut client = Client::start(folder);
    client.request(
        "initialize",
        json!({ "capabilities": {}, "workspaceFolders": [
            { "uri": format!("file://{}", folder.display()), "name": "x" },
        ]}),
    );
    client.notify("initialized", json!({}));
    client
}

fn open(client: &mut Client, uri: &str, text: &str) {
    let document = json!({ "uri": uri, "languageId": "bkl", "version": 1, "text": text });
    client.notify("textDocument/didOpen", json!({ "textDocument": document }));
}

/// Asks; an answer may be that there is none, but not that the server failed.
#[track_caller]
fn ask(client: &mut Client, question: &str, uri: &str, line: usize, column: usize) {
    let at = json!({ "line": line, "character": column });
    let params = json!({
        "textDocument": { "uri": uri },
        "position": at,
        "range": { "start": { "line": 0, "character": 0 }, "end": { "line": line + 9, "character": column } },
        "context": { "includeDeclaration": true, "diagnostics": [], "triggerKind": 1, "isRetrigger": false },
        "options": { "tabSize": 2, "insertSpaces": true },
        "newName": "renamed",
    });
    let answer = client.request(&format!("textDocument/{question}"), params);
    let code = &answer["error"]["code"];
    assert!(*code == Value::Null || *code == -32803, "{question} at {line}:{column}: {answer}");
}

/// Cases of this folder, edited at random, with random questions in between.
pub(super) fn anything_goes() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/lsp");
    let texts = ["completion", "view", "utf16", "rename"].map(|case| {
        let text = fs::read_to_string(cases.join(case).join("build.bkl")).unwrap();
        text.replace(['‹', '›'], "")
    });
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().canonicalize().unwrap();
    let uri = format!("file://{}/build.bkl", root.display());
    let mut client = start(&root);
    let mut dice = Dice(7);
    for text in texts {
        open(&mut client, &uri, &text);
        let n_lines = text.lines().count();
        for version in 2..60 {
            let (line, column) = (dice.roll(n_lines + 1), dice.roll(60));
            let end = json!({ "line": line + dice.roll(20) / 18, "character": column + dice.roll(6) });
            let change = json!({
                "range": { "start": { "line": line, "character": column }, "end": end },
                "text": PIECES[dice.roll(PIECES.len())],
            });
            let document = json!({ "uri": uri, "version": version });
            let params = json!({ "textDocument": document, "contentChanges": [change] });
            client.notify("textDocument/didChange", params);
            for _ in 0..3 {
                let question = QUESTIONS[dice.roll(QUESTIONS.len())];
                ask(&mut client, question, &uri, dice.roll(n_lines + 1), dice.roll(60));
            }
            if version % 16 == 0 {
                client.diagnostics();
            }
        }
    }
    // Down to nothing, and on.
    let whole = json!({ "textDocument": { "uri": uri, "version": 99 }, "contentChanges": [{ "text": "" }] });
    client.notify("textDocument/didChange", whole);
    for question in QUESTIONS {
        ask(&mut client, question, &uri, 0, 0);
    }
    client.request("shutdown", Value::Null);
    client.notify("exit", Value::Null);
    assert_eq!(client.wait(), 0);
}

/// A line of a megabyte, brackets without end, a program of thousands of lines.
pub(super) fn large_texts() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().canonicalize().unwrap();
    let mut client = start(&root);
    let items = |n: usize, separator: &str| {
        (0..n).fold(String::new(), |mut text, i| {
            write!(text, "let v{i}: [str] = [\"a\", \"é\", \"c#{{{i}}}\"]{separator}").unwrap();
            text
        })
    };
    let texts = [
        format!("let long = \"{}\"\nlet after = long.", "é".repeat(500_000)),
        format!("let deep = {}", "[".repeat(5_000)),
        format!("let chain = scratch{}.", ".at(\"/x\")".repeat(1_500)),
        items(2_000, " "),
        items(4_000, "\n") + "let last = v1.",
        "\u{0}\u{1}\u{FEFF}\u{FFFD}".repeat(100),
    ];
    for (index, text) in texts.iter().enumerate() {
        let uri = format!("file://{}/{index}.bkl", root.display());
        open(&mut client, &uri, text);
        let last = text.lines().count().saturating_sub(1);
        for question in QUESTIONS {
            ask(&mut client, question, &uri, last, 17);
        }
        client.notify("textDocument/didClose", json!({ "textDocument": { "uri": uri } }));
    }
    client.request("shutdown", Value::Null);
}
