//! Times there and back.

use super::*;

fn check(text: &str, seconds: i64, written: &str) {
    let time = parse_rfc3339(text).unwrap_or_else(|| panic!("{text}"));
    assert_eq!(since_epoch(time).0, seconds, "{text}");
    assert_eq!(rfc3339(time), written, "{text}");
}

#[test]
fn there_and_back() {
    check("1970-01-01T00:00:00Z", 0, "1970-01-01T00:00:00Z");
    check("2000-02-29T12:30:15.120Z", 951_827_415, "2000-02-29T12:30:15.12Z");
    check("2026-11-21T10:27:50+01:00", 1_795_253_270, "2026-11-21T09:27:50Z");
    check("1969-12-31T23:59:59.5Z", -1, "1969-12-31T23:59:59.5Z");
    check("0001-01-01T00:00:00Z", -62_135_596_800, "0001-01-01T00:00:00Z");
    check("2100-03-01T00:00:00.000000001Z", 4_107_542_400, "2100-03-01T00:00:00.000000001Z");
}

#[test]
fn what_is_no_time() {
    for text in
        ["", "2026-11-21", "2026-13-01T00:00:00Z", "2026-11-21T09:27:50", "2026-11-21T09:27:50.Z", "x"]
    {
        assert_eq!(parse_rfc3339(text), None, "{text}");
    }
}

#[test]
fn http_dates() {
    assert_eq!(parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT"), from_epoch(784_111_777));
    assert_eq!(parse_http_date("Sunday, 06-Nov-94 08:49:37 GMT"), None);
    assert_eq!(parse_http_date("120"), None);
}
