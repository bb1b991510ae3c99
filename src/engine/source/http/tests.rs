//! What ops and servers say, and the keys that files have.

use super::client::redirect_objection;
use super::*;

#[test]
fn names_from_servers() {
    #[track_caller]
    fn check(header: &str, expected: Option<&str>) {
        assert_eq!(disposition_name(header).as_deref(), expected, "{header}");
    }
    check("attachment; filename=\"tool.tgz\"", Some("tool.tgz"));
    check("attachment; filename=tool.tgz; size=3", Some("tool.tgz"));
    check("attachment; filename=\"../../etc/passwd\"", Some("passwd"));
    check("attachment; filename=\"a/\"", None);
    check("attachment; filename=x; filename*=UTF-8''%e2%82%ac.txt", Some("€.txt"));
    check("attachment; filename=\"\"", None);
    check("attachment", None);
    check("", None);
}

#[test]
fn redirects() {
    #[track_caller]
    fn check(from: &str, to: &str, is_followed: bool) {
        let (from, to) = (Url::parse(from).unwrap(), Url::parse(to).unwrap());
        assert_eq!(redirect_objection(&from, &to).is_none(), is_followed, "{from} to {to}");
    }
    check("https://a/x", "https://b/x", true);
    check("http://a/x", "https://b/x", true);
    check("http://a/x", "http://b/x", true);
    check("https://a/x", "http://a/x", false);
    check("https://a/x", "file:///etc/passwd", false);
    check("http://a/x", "http://127.0.0.1/x", false);
    check("http://a/x", "http://169.254.169.254/latest/meta-data", false);
    check("http://a/x", "http://[::1]/x", false);
    check("http://a/x", "http://[::ffff:10.0.0.1]/x", false);
    check("http://a/x", "http://localhost/x", false);
    check("http://127.0.0.1:1/x", "http://127.0.0.1:2/x", true);
}

/// The key is BuildKit's, so that what a checksum pins is the same there and here.
#[test]
fn keys() {
    #[track_caller]
    fn check(attrs: &[(&str, &str)], expected: &str) {
        let checksum = format!("sha256:{}", "1".repeat(64));
        let mut op = SourceOp { identifier: "https://h/a%20b/x.tgz?q=1".to_owned(), ..SourceOp::default() };
        op.attrs.insert(attr::HTTP_CHECKSUM.to_owned(), checksum.clone());
        for (key, value) in attrs {
            op.attrs.insert((*key).to_owned(), (*value).to_owned());
        }
        let wanted = Wanted::read(&op).unwrap();
        let file = HttpFile {
            clients: Arc::new(Clients::new(RegistryOptions::default())),
            digest: wanted.checksum.unwrap(),
            filename: wanted.file_name(""),
            last_modified: String::new(),
            wanted,
        };
        assert_eq!(file.key(), Digest::of(expected.replace("SUM", &checksum)));
    }
    check(&[], r#"{"Filename":"x.tgz","Perm":0,"UID":0,"GID":0,"Checksum":"SUM"}"#);
    check(
        &[
            (attr::HTTP_FILENAME, "a&b"),
            (attr::HTTP_PERM, "0755"),
            (attr::HTTP_UID, "1000"),
            (attr::HTTP_AUTH_HEADER_SECRET, "S"),
            (attr::HTTP_HEADER_USER_AGENT, "u"),
            (attr::HTTP_HEADER_ACCEPT, "a/b"),
        ],
        r#"{"Filename":"a\u0026b","Perm":493,"UID":1000,"GID":0,"Checksum":"SUM","AuthHeaderSecret":"S","Header":[{"Name":"Accept","Value":"a/b"},{"Name":"User-Agent","Value":"u"}]}"#,
    );
}
