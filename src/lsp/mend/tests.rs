//! Texts as they are while they are written.

use super::{Call, marked};
use crate::lang::syntax::parses;

/// `‸` is the cursor; the mended text parses.
#[track_caller]
fn check(text: &str) {
    let offset = text.find('‸').expect("the text has a cursor");
    let text = text.replace('‸', "");
    let marked = marked(&text, offset as u32, Call::AsWritten).expect("the cursor is in no number");
    assert!(parses(&marked.text), "{}", marked.text);
}

#[test]
fn half_written_items_are_mended() {
    check("let a = img.‸");
    check("let a = img.‸\nlet b = 1");
    check("target a = img.ru‸\n  .with(env: {})");
    check("target a = img.run(\"make\", mo‸");
    check("target a = img.run(\"make\", mounts: [cache(\"/x\", sharing: .‸");
    check("fn f(a: image) -> image { let x = a.‸");
    check("fn f(a: image) -> image { let x = a.‸ }");
    check("fn f(a: image) -> image { if c { a.‸ }");
    check("fn f(a: image) -> image { if c { a.run(‸");
    check("let a = match m { .‸ }");
    check("let a = match m { .debug => 1, .‸");
    check("let a = [for x in xs‸");
    check("let a = [for x in xs: x.‸");
    check("let a = \"text #{version.‸ more\"");
    check("let a = { name: ‸");
    check("let a: ‸");
    check("fn f(a: ‸");
    check("param p: ‸ = 1");
}

#[test]
fn numbers_are_left_alone() {
    assert_eq!(marked("let a = 12", 10, Call::AsWritten), None);
}
