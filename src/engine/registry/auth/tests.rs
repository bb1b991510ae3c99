//! Who may see whose credentials.

use super::*;

fn check(registry: &str, realm: &str, expected: bool) {
    let url = |text: &str| Url::parse(text).unwrap();
    assert_eq!(
        realm_may_see_credentials(&url(registry), &url(realm), &[]),
        expected,
        "{registry} -> {realm}"
    );
}

#[test]
fn realms() {
    check("https://registry-1.docker.io", "https://auth.docker.io/token", true);
    check("https://ghcr.io", "https://ghcr.io/token", true);
    check("https://registry.gitlab.com", "https://gitlab.com/jwt/auth", true);
    check("http://127.0.0.1:5000", "http://127.0.0.1:5001/token", true);
    check("https://registry.example.co.uk", "https://auth.example.co.uk/t", true);
    check("https://registry.example.com", "https://evil.com/token", false);
    check("https://example.co.uk", "https://evil.co.uk/token", false);
    check("https://a.github.io", "https://b.github.io/token", false);
    check("https://docker.io.evil.com", "https://auth.docker.io/token", false);
    check("https://notdocker.io", "https://docker.io/token", false);
    check("https://1.2.3.4", "https://9.2.3.4/token", false);
    check("https://a.azurecr.io", "https://b.azurecr.io/token", false);
    check("https://1.dkr.ecr.eu-west-1.amazonaws.com", "https://2.dkr.ecr.eu-west-1.amazonaws.com/t", false);
}

#[test]
fn docker_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    let check = |config: &str, registry: &str, expected: &str| {
        std::fs::write(&path, config).unwrap();
        let found = match credentials_in(&path, registry) {
            Ok(Some(Credentials::Basic { user, password })) => format!("{user}:{password}"),
            Ok(Some(Credentials::IdentityToken(token))) => format!("token {token}"),
            Ok(None) => "nobody".to_owned(),
            Err(error) => error.to_string().replace(&path.display().to_string(), "PATH"),
        };
        assert_eq!(found, expected, "{config} {registry}");
    };
    let auths = r#"{"auths": {"https://index.docker.io/v1/": {"auth": "aHViOnB3"}, "r:5000": {"auth": "bWU6cHc="},
        "t.io": {"identitytoken": "abc"}, "bad.io": {"auth": "!"}}}"#;
    check(auths, "docker.io", "hub:pw");
    check(auths, "r:5000", "me:pw");
    check(auths, "r:5001", "nobody");
    check(auths, "r", "nobody");
    check(auths, "t.io", "token abc");
    check(
        auths,
        "bad.io",
        "cannot get the credentials of `bad.io`: `PATH`: unable to decode credential",
    );
    check("{}", "r:5000", "nobody");
    check("{", "r", "cannot get the credentials of `r`: `PATH` is not valid JSON of docker's form");
    assert_eq!(credentials_in(&dir.path().join("none"), "r").ok(), Some(None));
}
