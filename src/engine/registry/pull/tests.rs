//! Which layers of a store are taken for those that are wanted.

use super::*;
use crate::engine::registry::document::{Descriptor, media};

#[test]
fn names() {
    let check = |wanted: &str, described: &str, naming: Naming, is_it: bool| {
        let digest = Digest::of("x");
        let blob = Descriptor::new(media::OCI_LAYER_GZIP, digest, 1);
        let layer = ImageLayer { blob, diff_id: digest, created_by: wanted.to_owned(), created_at: None };
        assert_eq!(naming.allows(&layer, described), is_it, "{wanted:?} {described:?} {naming:?}");
    };
    check("make", "make", Naming::Kept, true);
    check("make", "make all", Naming::Kept, false);
    check("make", "make all", Naming::Free, true);
    // An image's layers are the same whoever brought them.
    check("", "ADD file:0123 in /", Naming::Kept, true);
    check("ADD file:0123 in /", "", Naming::Kept, true);
    check("pulled from docker.io/library/alpine:latest", "ADD file:0123 in /", Naming::Kept, true);
    check("ADD file:0123 in /", "pulled from docker.io/library/alpine:latest", Naming::Kept, true);
}
