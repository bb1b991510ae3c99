//! How two streams become lines.

use super::{Seam, Stream};

/// Each chunk begins with `o` or `e`, for stdout or stderr, which is no part of it.
fn check(chunks: &[&str], expected: &str) {
    let (mut seam, mut kept) = (Seam::default(), Vec::new());
    for chunk in chunks {
        let (stream, bytes) = chunk.split_at(1);
        let stream = if stream == "o" { Stream::Stdout } else { Stream::Stderr };
        seam.append(&mut kept, stream, bytes.as_bytes());
    }
    assert_eq!(String::from_utf8(kept).unwrap(), expected, "{chunks:?}");
}

#[test]
fn no_line_has_bytes_of_both_streams() {
    check(&["oa\n", "eb\n", "oc\n"], "a\nb\nc\n");
    check(&["oa", "ob\n"], "ab\n");
    check(&["oa", "eb\n"], "a\nb\n");
    check(&["oa", "eb", "oc", "ed"], "a\nb\nc\nd");
    check(&["oa\nb", "ec\nd", "oe\n"], "a\nb\nc\nd\ne\n");
}

/// A line that was ended early is not ended again; an empty line stays one.
#[test]
fn no_line_is_added() {
    check(&["oa", "eb\n", "o\n", "oc\n"], "a\nb\nc\n");
    check(&["oa", "eb\n", "o\r\n"], "a\nb\n");
    check(&["oa", "eb\n", "o\n\n", "ec\n"], "a\nb\n\nc\n");
    check(&["oa", "eb", "o\n", "e\n"], "a\nb\n");
    check(&["oa", "eb", "o\n", "ec\n"], "a\nb\nc\n");
    check(&["oa", "e\n", "ob\n"], "a\n\nb\n");
    check(&["oa", "e", "o", "ob\n"], "ab\n");
    check(&["oa", "eb\n", "oc\n", "o\n"], "a\nb\nc\n\n");
}
