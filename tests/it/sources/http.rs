//! `http` sources.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use bkl::base::Digest;
use bkl::graph::ir::build::{FileInfo, HttpOptions};
use bkl::graph::ir::{Edge, Graph};
use libtest_mimic::Trial;

use super::Bench;

pub(super) fn trials() -> Vec<Trial> {
    let trial = |name: &str, run: fn()| crate::trial(format!("sources::http::needs_root::{name}"), run);
    vec![
        trial("a_file_as_the_op_wants_it", a_file_as_the_op_wants_it),
        trial("a_server_is_asked_what_has_changed", a_server_is_asked_what_has_changed),
        trial("what_is_pinned_needs_no_server", what_is_pinned_needs_no_server),
        trial("redirects_and_credentials", redirects_and_credentials),
        trial("what_goes_wrong", what_goes_wrong),
    ]
}

fn options() -> HttpOptions {
    HttpOptions::default()
}

fn pinned(content: &str) -> HttpOptions {
    HttpOptions { checksum: Some(Digest::of(content)), ..options() }
}

fn of(url: String, options: HttpOptions) -> impl FnOnce(&mut Graph) -> Edge {
    move |graph| graph.http(&url, &options)
}

fn a_file_as_the_op_wants_it() {
    let bench = Bench::new();
    fs::write(bench.www().join("tool.sh"), "tool").unwrap();
    let plain = bench.built(of(bench.url("files/tool.sh?x=1"), options()));
    assert_eq!(plain.names(), ["tool.sh"]);
    let meta = plain.path("tool.sh").metadata().unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid(), meta.mtime()), (0o600, 0, 0, 784_111_777));

    let file = FileInfo { filename: "a/b".to_owned(), mode: 0o755, uid: 1000, gid: 1001 };
    let all = bench.built(of(bench.url("plain/tool.sh"), HttpOptions { file, ..options() }));
    let meta = all.path("b").metadata().unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid(), meta.mtime()), (0o755, 1000, 1001, 0));
    assert_eq!(all.read("b"), "tool");

    // A server's name for it is reduced to a name, and does not count for what is pinned.
    assert_eq!(bench.built(of(bench.url("name/tool.sh"), options())).names(), ["passwd"]);
    assert_eq!(bench.built(of(bench.url("name/tool.sh"), pinned("tool"))).names(), ["tool.sh"]);

    let header = Some(("text/x".to_owned(), "me/1".to_owned()));
    bench.built(of(bench.url("files/tool.sh?header"), HttpOptions { header, ..options() }));
    let asked = bench.server.asked("files/tool.sh").pop().unwrap();
    assert_eq!((asked.headers["accept"].as_str(), asked.headers["user-agent"].as_str()), ("text/x", "me/1"));
}

fn a_server_is_asked_what_has_changed() {
    let bench = Bench::new();
    fs::write(bench.www().join("x"), "one").unwrap();
    let url = bench.url("files/x");
    let first = bench.built(of(url.clone(), options()));
    let again = bench.built(of(url.clone(), options()));
    assert_eq!(again.snapshot, first.snapshot);
    let asked = bench.server.asked("files/x");
    assert_eq!(asked.len(), 2);
    assert!(asked[1].headers.contains_key("if-none-match"), "the second request is conditional");
    fs::write(bench.www().join("x"), "two").unwrap();
    assert_eq!(bench.built(of(url, options())).read("x"), "two");
    // Without anything to compare by, all of it comes each time, and the same content is the same tree.
    let plain = bench.url("plain/x");
    let first = bench.built(of(plain.clone(), options()));
    let again = bench.built(of(plain, options()));
    assert_eq!((again.snapshot == first.snapshot, again.n_fetched), (true, 0));
}

fn what_is_pinned_needs_no_server() {
    let bench = Bench::new();
    fs::write(bench.www().join("x"), "one").unwrap();
    let url = bench.url("files/x");
    let first = bench.built(of(url.clone(), pinned("one")));
    bench.up(false);
    let again = bench.built(of(url.clone(), pinned("one")));
    assert_eq!((again.snapshot == first.snapshot, again.n_fetched), (true, 0));
    assert_eq!(bench.server.asked("files/x").len(), 1);
    // Another name is another tree, of the same bytes.
    let file = FileInfo { filename: "y".to_owned(), ..FileInfo::default() };
    assert_eq!(bench.built(of(url.clone(), HttpOptions { file, ..pinned("one") })).read("y"), "one");
    bench.fails(of(url, options()), "cannot fetch");
}

fn redirects_and_credentials() {
    let mut bench = Bench::new();
    let other = Bench::new();
    fs::write(bench.www().join("x"), "here").unwrap();
    fs::write(other.www().join("x"), "there").unwrap();
    let secret = |id: &str| HttpOptions { auth_header_secret: id.to_owned(), ..options() };
    bench.fails(of(bench.url("auth/x"), options()), "does not allow");
    bench.fails(of(bench.url("auth/x"), secret("TOKEN")), "the secret `TOKEN` is not given");
    bench.given.secrets.insert("TOKEN".to_owned(), "Bearer secret\n".to_owned());
    assert_eq!(bench.built(of(bench.url("auth/x"), secret("TOKEN"))).read("x"), "here");
    // By the name of the host.
    bench.given.secrets.insert("HTTP_AUTH_TOKEN_127.0.0.1".to_owned(), "secret".to_owned());
    assert_eq!(bench.built(of(bench.url("auth/x?2"), options())).read("x"), "here");
    // It is not shown to another server, but to the same one.
    let away = format!("to/{}", other.url("files/x"));
    assert_eq!(bench.built(of(bench.url(&away), secret("TOKEN"))).read("x"), "there");
    assert!(bench.server.asked("/to/").iter().all(|asked| asked.headers.contains_key("authorization")));
    assert!(!other.server.asked("files/x")[0].headers.contains_key("authorization"));
    assert_eq!(bench.built(of(bench.url("to//auth/x"), secret("TOKEN"))).read("x"), "here");

    bench.fails(of(bench.url("to/file:///etc/passwd"), options()), "neither http nor https");
    bench.fails(of(bench.url("to/."), options()), "more than 10 times");
    bench.given.secrets.insert("BAD".to_owned(), "a\nb".to_owned());
    bench.fails(of(bench.url("auth/x"), secret("BAD")), "cannot be a header");
    bench.fails(of("http://example.invalid/x".to_owned(), secret("TOKEN")), "which is not encrypted");
}

fn what_goes_wrong() {
    let bench = Bench::new();
    fs::write(bench.www().join("x"), "one").unwrap();
    bench.fails(of(bench.url("files/none"), options()), "there is no `");
    bench.fails(
        of(bench.url("files/x"), pinned("two")),
        &format!("its digest is {}, and {} is expected", Digest::of("one"), Digest::of("two")),
    );
    // A body that ends too early is tried again, and nothing of it stays.
    bench.fails(of(bench.url("short/x"), options()), "cannot fetch");
    assert_eq!(bench.server.asked("short/x").len(), 6);
    assert_eq!(bench.built(of(bench.url("busy/x"), options())).read("x"), "one");
    bench.fails(of("ftp://h/x".to_owned(), options()), "there is no source for `ftp://`");
    let content = bench.engine().store().root().join("ingest");
    assert_eq!(fs::read_dir(content).unwrap().count(), 0, "unfinished bodies are left");
}
