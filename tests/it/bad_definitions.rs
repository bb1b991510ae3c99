//! Definitions that nobody should have written: tests/golden/llb-bad. Each is text, of which the bytes are made that a
//! client would send, then `----` and what is said of it; `BKL_UPDATE=1` rewrites that.
//!
//! A line is an op: `name = fields`, or only fields. A field is `number:value`: a number (a varint), `"text"`, `{ fields }`
//! (a message), `@name` (the digest of an op before), `@prev` (that of the op before this one), or `<ff 00>`, bytes. Bytes
//! without a number stand in the message as they are. `3*` in front of a field writes it three times, and `"a"*3` is a long
//! text. `9 times fields` writes nine ops; `#` in them is which one, as text or number. `def fields` adds to the
//! definition itself, and `cut 2` takes two bytes off its end.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bkl::base::Digest;
use bkl::graph::ir::verify;
use bkl::graph::llb::{MarshalOptions, marshal, unmarshal};
use libtest_mimic::Trial;

/// Between a definition and what is said of it.
const RULE: &str = "----\n";
/// Longer than the largest takes where tests are slow.
const TIME_LIMIT: Duration = Duration::from_secs(60);

pub fn trials() -> Vec<Trial> {
    let files = crate::files_below(&["tests/golden/llb-bad"], "txt");
    assert!(!files.is_empty());
    let name = |file: &Path| file.file_stem().unwrap().to_string_lossy().into_owned();
    let trial =
        |file: PathBuf| crate::trial(format!("bad_definitions::{}", name(&file)), move || check(&file));
    files.into_iter().map(trial).collect()
}

fn check(file: &Path) {
    let text = fs::read_to_string(file).unwrap();
    let (definition, expected) = text.split_once(RULE).unwrap_or((&text, ""));
    let bytes = Writer::default().definition(definition);
    let began = Instant::now();
    let found = match unmarshal(&bytes) {
        Ok((graph, root)) => {
            // What was read is whole, and can be written.
            verify::verify(&graph).unwrap();
            marshal(&graph, root, &MarshalOptions::default());
            let ops = if graph.len() == 1 { "op" } else { "ops" };
            format!("ok: {} {ops}\n", graph.len())
        }
        Err(error) => format!("{error}\n"),
    };
    assert!(began.elapsed() < TIME_LIMIT, "it takes {:?}", began.elapsed());
    if std::env::var_os("BKL_UPDATE").is_some_and(|it| it == "1") {
        fs::write(file, format!("{definition}{RULE}{found}")).unwrap();
    } else {
        assert_eq!(found, expected, "{}", file.display());
    }
}

/// Makes a definition of its text.
#[derive(Default)]
struct Writer {
    /// Digests of ops by their names.
    names: HashMap<String, String>,
    /// Of the last op.
    prev: String,
    bytes: Vec<u8>,
}

impl Writer {
    fn definition(mut self, text: &str) -> Vec<u8> {
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(n) = line.strip_prefix("cut ") {
                self.bytes.truncate(self.bytes.len() - n.parse::<usize>().unwrap());
            } else if let Some(fields) = line.strip_prefix("def ") {
                let fields = self.fields(fields, 0);
                self.bytes.extend(fields);
            } else if let Some((n, fields)) = line.split_once(" times ") {
                (0..n.parse().unwrap()).for_each(|at| self.op(fields, at));
            } else if let Some((name, fields)) = line.split_once(" = ") {
                self.op(fields, 0);
                self.names.insert(name.to_owned(), self.prev.clone());
            } else {
                self.op(line, 0);
            }
        }
        self.bytes
    }

    fn op(&mut self, fields: &str, at: usize) {
        let op = self.fields(fields, at);
        self.prev = Digest::of(&op).to_string();
        put_bytes(1, &op, &mut self.bytes);
    }

    fn fields(&self, text: &str, at: usize) -> Vec<u8> {
        let mut reader = Reader { writer: self, rest: text, at };
        let fields = reader.fields();
        assert!(reader.rest.is_empty(), "what is `{}`?", reader.rest);
        fields
    }
}

struct Reader<'a> {
    writer: &'a Writer,
    rest: &'a str,
    /// What `#` is.
    at: usize,
}

impl<'a> Reader<'a> {
    /// Up to a brace or the end.
    fn fields(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            self.rest = self.rest.trim_start();
            if self.rest.is_empty() || self.rest.starts_with('}') {
                return all;
            }
            if self.rest.starts_with('<') {
                all.extend(self.raw());
                continue;
            }
            let mut number = self.number();
            let n_times = if self.skip("*") { std::mem::replace(&mut number, self.number()) } else { 1 };
            assert!(self.skip(":"), "a value is behind `:`: {}", self.rest);
            let field = self.value(number as u32);
            (0..n_times).for_each(|_| all.extend_from_slice(&field));
        }
    }

    fn value(&mut self, number: u32) -> Vec<u8> {
        let mut field = Vec::new();
        if self.skip("{") {
            let inner = self.fields();
            assert!(self.skip("}"), "`{{` is not closed");
            put_bytes(number, &inner, &mut field);
        } else if self.skip("@") {
            let name = self.while_in(|c| c.is_alphanumeric() || c == '-');
            let digest = if name == "prev" { &self.writer.prev } else { &self.writer.names[name] };
            put_bytes(number, digest.as_bytes(), &mut field);
        } else if self.skip("\"") {
            let text = self.while_in(|c| c != '"').replace('#', &self.at.to_string());
            assert!(self.skip("\""));
            let n_times = if self.skip("*") { self.number() as usize } else { 1 };
            put_bytes(number, text.repeat(n_times).as_bytes(), &mut field);
        } else if self.rest.starts_with('<') {
            let bytes = self.raw();
            put_bytes(number, &bytes, &mut field);
        } else {
            put_varint(u64::from(number) << 3, &mut field);
            put_varint(self.number() as u64, &mut field);
        }
        field
    }

    fn raw(&mut self) -> Vec<u8> {
        assert!(self.skip("<"));
        let digits: String = self.while_in(|c| c != '>').split_whitespace().collect();
        assert!(self.skip(">"));
        let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        (0..digits.len()).step_by(2).map(byte).collect()
    }

    fn number(&mut self) -> i64 {
        if self.skip("#") {
            return self.at as i64;
        }
        let digits = self.while_in(|c| c.is_ascii_digit() || c == '-');
        digits.parse().unwrap_or_else(|_| panic!("`{digits}{}` is no number", self.rest))
    }

    fn skip(&mut self, what: &str) -> bool {
        let rest = self.rest.strip_prefix(what);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn while_in(&mut self, is_in: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !is_in(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }
}

fn put_bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    put_varint(u64::from(number) << 3 | 2, out);
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while 0x80 <= value {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
