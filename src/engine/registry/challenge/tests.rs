//! Headers as registries send them, and broken ones.

use super::*;

fn check(header: &str, expected: &[Challenge]) {
    assert_eq!(parse(header), expected, "{header}");
}

fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
    Challenge::Bearer {
        realm: realm.to_owned(),
        service: service.map(str::to_owned),
        scope: scope.map(str::to_owned),
    }
}

#[test]
fn headers() {
    check("Basic realm=\"Registry Realm\"", &[Challenge::Basic]);
    check(
        "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",\
         scope=\"repository:library/debian:pull,push\"",
        &[bearer(
            "https://auth.docker.io/token",
            Some("registry.docker.io"),
            Some("repository:library/debian:pull,push"),
        )],
    );
    check("bearer Realm=http://127.0.0.1/t , service=x", &[bearer("http://127.0.0.1/t", Some("x"), None)]);
    check("Negotiate, Basic realm=\"a\\\"b\"", &[Challenge::Basic]);
    check(
        "Bearer realm=\"https://a/\", Basic realm=\"b\"",
        &[bearer("https://a/", None, None), Challenge::Basic],
    );
}

#[test]
fn broken_headers_give_nothing() {
    check("", &[]);
    check("Bearer realm=\"unclosed", &[]);
    check("Bearer", &[]);
    check("=,=\"", &[]);
}
