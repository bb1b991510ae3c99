//! Chain IDs, against values computed elsewhere.

use super::*;

fn check(layers: &[&str], expected: Option<&str>) {
    let diff_ids: Vec<Digest> = layers.iter().map(Digest::of).collect();
    assert_eq!(chain_id(&diff_ids).map(|digest| digest.hex()).as_deref(), expected, "{layers:?}");
}

#[test]
fn chain_ids() {
    check(&[], None);
    check(&["a"], Some("ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"));
    check(&["a", "b"], Some("51c0c8ace48498d6f5fee6b0592cc06f2da0f3cbe09c5a34a97dce85c3889676"));
    check(&["a", "b", "c"], Some("2fce7f8ce91bcf0a1428b36e1024639fdbd9469eea762dba98aa749631885106"));
}

#[test]
fn resolve_modes() {
    assert_eq!(ResolveMode::from_attr(None), Some(ResolveMode::Default));
    assert_eq!(ResolveMode::from_attr(Some("local")), Some(ResolveMode::Local));
    assert_eq!(ResolveMode::from_attr(Some("never")), None);
}
