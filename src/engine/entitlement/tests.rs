//! Every request against every grant.

use super::*;
use crate::graph::ir::CdiDevice;

const REQUESTS: [&str; 4] = ["network.host", "security.insecure", "device=v/c=a", "device=v/c=b"];

fn op(requests: &[&str]) -> ExecOp {
    let mut op = ExecOp::default();
    for request in requests {
        match *request {
            "network.host" => op.network = NetMode::Host,
            "security.insecure" => op.security = SecurityMode::Insecure,
            device => op
                .cdi_devices
                .push(CdiDevice { name: device.trim_start_matches("device=").to_owned(), optional: false }),
        }
    }
    op
}

/// `missing` in order, `None` when all is granted.
fn check(requests: &[&str], grants: &[&str], missing: &[&str]) {
    let outcome = authorize(&op(requests), &Grants::of(grants).expect("good grants"));
    let got: Vec<String> = match &outcome {
        Ok(tokens) => {
            assert_eq!(tokens.host_network.is_some(), requests.contains(&"network.host"));
            assert_eq!(tokens.insecure.is_some(), requests.contains(&"security.insecure"));
            assert_eq!(tokens.devices.is_some(), requests.iter().any(|it| it.starts_with("device")));
            Vec::new()
        }
        Err(denied) => denied.missing.iter().map(ToString::to_string).collect(),
    };
    assert_eq!(got, missing, "{requests:?} with {grants:?}");
}

#[test]
fn a_request_needs_its_own_grant() {
    for request in REQUESTS {
        check(&[request], &[], &[request]);
        for grant in REQUESTS {
            check(&[request], &[grant], if request == grant { &[] } else { std::slice::from_ref(&request) });
        }
        check(&[request], &REQUESTS, &[]);
        check(&[], &[request], &[]);
        let is_device = request.starts_with("device");
        check(&[request], &["device"], if is_device { &[] } else { std::slice::from_ref(&request) });
    }
    check(&REQUESTS, &[], &REQUESTS);
    check(&REQUESTS, &["device", "network.host"], &["security.insecure"]);
}

#[test]
fn what_may_be_missing_is_requested_too() {
    let mut op = op(&["device=v/c=a"]);
    op.cdi_devices[0].optional = true;
    let denied = authorize(&op, &Grants::default()).expect_err("not granted");
    assert_eq!(denied.to_string(), "it requests `device=v/c=a`, which is not allowed");
    assert_eq!(denied.flags(), "--allow device=v/c=a");
}

#[test]
fn grants_as_text() {
    let check = |texts: &[&str], expected: &str| {
        assert_eq!(Grants::of(texts).expect("good grants").to_string(), expected);
    };
    check(&[], "");
    check(&["device=b", "security.insecure", "device=a"], "security.insecure,device=a,device=b");
    check(&["device=b", "device", "network.host"], "device,network.host");
}

#[test]
fn texts_that_are_none() {
    for text in ["", "network", "network.none", "insecure", "device=", "fs.write=/"] {
        assert_eq!(Grants::of([text]), Err(UnknownEntitlement { text: text.to_owned() }));
    }
}
