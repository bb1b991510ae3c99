//! Who sees credentials: the registry they belong to, and its own token server; nobody a redirect or a challenge names
//! (security.md, S6).

use bkl::base::ImageRef;
use bkl::session::{Credentials, Session, SessionError};
use libtest_mimic::Trial;

use super::fake::{Fake, Fault, Tokens};
use super::{Puller, sample};

pub(crate) fn trials() -> Vec<Trial> {
    vec![crate::trial("registry::authority::only_the_registry_sees_credentials", only_the_registry)]
}

/// Known at every registry.
struct Login(Credentials);

impl Session for Login {
    fn local_dir(&self, _name: &str) -> Option<std::path::PathBuf> {
        None
    }

    fn credentials(&self, _registry: &str) -> Result<Option<Credentials>, SessionError> {
        Ok(Some(self.0.clone()))
    }
}

/// What a row may come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Pulled,
    Failed,
}

/// What the registry does with a request whose path contains `part`, and what the other server does then.
struct Row {
    name: &'static str,
    part: fn(&str) -> String,
    fault: fn(&str, &str) -> Fault,
    then: Option<fn(&str, &str) -> Fault>,
    token: bool,
    end: End,
}

fn status(code: u16, header: String) -> Fault {
    Fault::Status(code, header.leak())
}

fn only_the_registry() {
    let layer = |layer: &str| layer.to_owned();
    let manifest = |_: &str| "/manifests/".to_owned();
    fn to(code: u16) -> impl Fn(&str, &str) -> Fault {
        move |other, rest| status(code, format!("Location: http://{other}{rest}\r\n"))
    }
    let row = |name, part: fn(&str) -> String, fault: fn(&str, &str) -> Fault, end| Row {
        name,
        part,
        fault,
        then: None,
        token: true,
        end,
    };
    let rows = [
        row("a blob elsewhere, 301", layer, |other, rest| to(301)(other, rest), End::Pulled),
        row("a blob elsewhere, 302", layer, |other, rest| to(302)(other, rest), End::Pulled),
        row("a blob elsewhere, 303", layer, |other, rest| to(303)(other, rest), End::Pulled),
        row("a blob elsewhere, 307", layer, |other, rest| to(307)(other, rest), End::Pulled),
        row("a blob elsewhere, 308", layer, |other, rest| to(308)(other, rest), End::Pulled),
        row("a manifest elsewhere", manifest, |other, rest| to(307)(other, rest), End::Pulled),
        row(
            "an address with a user",
            layer,
            |other, rest| status(307, format!("Location: http://me:secret@{other}{rest}\r\n")),
            End::Pulled,
        ),
        Row {
            then: Some(|_, _| status(401, "WWW-Authenticate: Basic realm=x\r\n".to_owned())),
            ..row("the other one asks who we are", layer, |other, rest| to(307)(other, rest), End::Failed)
        },
        Row {
            then: Some(|other, _| {
                status(401, format!("WWW-Authenticate: Bearer realm=\"http://{other}/token\"\r\n"))
            }),
            ..row("the other one has a token server", layer, |other, rest| to(307)(other, rest), End::Failed)
        },
        Row {
            then: Some(|other, rest| to(307)(other, rest)),
            ..row("there and on", layer, |other, rest| to(307)(other, rest), End::Pulled)
        },
        // Both are this machine, under names that show no kinship.
        Row {
            token: false,
            ..row(
                "a token server elsewhere",
                manifest,
                |other, _| {
                    let port = other.rsplit(':').next().unwrap().to_owned();
                    status(
                        401,
                        format!("WWW-Authenticate: Bearer realm=\"http://localhost:{port}/token\"\r\n"),
                    )
                },
                End::Pulled,
            )
        },
        Row {
            token: false,
            ..row(
                "a token server elsewhere, as somebody",
                manifest,
                |other, _| {
                    let port = other.rsplit(':').next().unwrap().to_owned();
                    let realm = format!("http://me:secret@localhost:{port}/token");
                    status(401, format!("WWW-Authenticate: Bearer realm=\"{realm}\"\r\n"))
                },
                End::Pulled,
            )
        },
    ];
    assert_eq!(rows.len(), 12);
    let basic = Credentials::Basic { user: "me".to_owned(), password: "secret".to_owned() };
    for row in rows {
        for login in [basic.clone(), Credentials::IdentityToken("refresh".to_owned())] {
            let image = sample();
            let (registry, other) = (Fake::start(), Fake::start());
            registry.push("v1", &image);
            other.push("v1", &image);
            let is_basic = matches!(login, Credentials::Basic { .. });
            if row.token && is_basic {
                registry.require(Tokens { uses: 100 });
            }
            let blob = image.layers[0].to_string();
            let part = (row.part)(&blob);
            let rest = match part.as_str() {
                "/manifests/" => "/v2/x/manifests/v1".to_owned(),
                _ => format!("/v2/x/blobs/{blob}"),
            };
            registry.fault(&part, (row.fault)(&other.address, &rest));
            if let Some(then) = row.then {
                other.fault(&part, then(&other.address, &rest));
            }
            let puller = Puller::of(Login(login));
            let reference: ImageRef = registry.reference("x:v1").parse().unwrap();
            let end = match puller.get(&reference.to_string()) {
                Ok(_) => End::Pulled,
                Err(_) => End::Failed,
            };
            assert_eq!(end, row.end, "{}", row.name);
            let seen = other.asked("");
            assert!(!seen.is_empty(), "{}: the other one is asked", row.name);
            for asked in seen {
                assert_eq!(asked.headers.get("authorization"), None, "{}: {}", row.name, asked.path);
                assert_eq!(asked.method, "GET", "{}: no token is sent to be exchanged", row.name);
                assert!(!asked.path.contains("refresh"), "{}: {}", row.name, asked.path);
            }
            if row.token && is_basic {
                let own = registry.asked("");
                assert!(own.iter().any(|it| it.headers.contains_key("authorization")), "{}", row.name);
            }
        }
    }
}
