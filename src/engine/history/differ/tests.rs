//! First differences, case by case: two graphs in their text form, whose last vertices are compared.

use super::*;
use crate::base::Digest;
use crate::engine::history::manifest::Manifest;
use crate::engine::solver::{Account, Input, Standing};
use crate::engine::source::StandsFor;
use crate::graph::ir::{VertexId, parse};
use crate::graph::llb::{MarshalOptions, digests};

/// The manifest of the last vertex of a graph.
fn manifest(text: &str) -> Manifest {
    let (graph, _) = parse::parse(text).expect(text);
    let last = VertexId(graph.len() as u32 - 1);
    let input = Input { content: None, by_content: false, result: None, made_by: None };
    let inputs = vec![input; graph.vertex(last).inputs.len()];
    let account = Account { standing: Standing::Ran, digest: Digest::of(text), run: None, inputs };
    let digests = digests(&graph, &MarshalOptions::default());
    let manifest =
        Manifest::new(&graph, last, |id: VertexId| digests[id.0 as usize], &account, None, StandsFor::Other);
    let mut packer = super::super::manifest::Packer::default();
    assert_eq!(Manifest::decode(&manifest.encode(&mut packer)).as_ref(), Some(&manifest), "{text}");
    manifest
}

#[allow(clippy::needless_pass_by_value, reason = "cases read better")]
fn check(then: &str, now: &str, expected: Option<(Subject, Change)>) {
    let base = "%0 = source identifier=\"local://src\"\n";
    let of = |op: &str| manifest(&format!("{base}%1 = {op}"));
    assert_eq!(first_difference(&of(then), &of(now)), expected, "{then}\n{now}");
}

const ROOT: &str = "{\"dest\":\"/\",\"input\":0,\"output\":0}";

fn exec(fields: &str, mounts: &str) -> String {
    format!("exec [%0] {fields} cwd=\"/\" mounts=[{ROOT}{mounts}]")
}

fn setting(name: &'static str, then: &str, now: &str) -> Option<(Subject, Change)> {
    Some((Subject::Setting(name), changed(then, now)))
}

#[test]
fn commands() {
    let run = |args: &str| exec(&format!("args={args}"), "");
    check(&run("[\"a\"]"), &run("[\"a\"]"), None);
    check(&run("[\"a\"]"), &run("[\"b\"]"), Some((Subject::Argument(0), changed("a", "b"))));
    let added = Change::Added(Some("b".to_owned()));
    check(&run("[\"a\",\"c\"]"), &run("[\"a\",\"b\",\"c\"]"), Some((Subject::Argument(1), added.clone())));
    check(&run("[\"a\"]"), &run("[\"a\",\"b\"]"), Some((Subject::Argument(1), added)));
    let removed = Change::Removed(Some("b".to_owned()));
    check(&run("[\"a\",\"b\"]"), &run("[\"a\"]"), Some((Subject::Argument(1), removed)));
    let text = Some((Subject::Command, changed("x", "y")));
    check(&run("[\"sh\",\"-c\",\"x\"]"), &run("[\"sh\",\"-c\",\"y\"]"), text);
}

#[test]
fn variables() {
    let run = |env: &str| exec(&format!("args=[\"a\"] env={env}"), "");
    let variable = |name: &str, change| Some((Subject::Variable(name.to_owned()), change));
    check(&run("[\"A=1\"]"), &run("[\"A=2\"]"), variable("A", changed("1", "2")));
    check(&run("[\"A=1\"]"), &run("[\"A=1\",\"B=\"]"), variable("B", Change::Added(Some(String::new()))));
    check(&run("[\"A=1\",\"B=2\"]"), &run("[\"B=2\"]"), variable("A", Change::Removed(Some("1".to_owned()))));
    let order = Some((Subject::VariableOrder, changed("A B", "B A")));
    check(&run("[\"A=1\",\"B=2\"]"), &run("[\"B=2\",\"A=1\"]"), order);
}

#[test]
fn settings_of_commands() {
    let run = |fields: &str| exec(&format!("args=[\"a\"] {fields}"), "");
    check(&run(""), &run("user=\"1\""), setting("user", "unset", "1"));
    check(&run(""), &run("user=\"root\""), setting("user", "unset", "root"));
    check(&run(""), &run("network=\"none\""), setting("network", "sandbox", "none"));
    check(&run(""), &run("hostname=\"h\""), setting("hostname", "none", "h"));
    check(&run(""), &run("valid_exit_codes=[0,1]"), setting("exit codes", "0", "0 1"));
    // The address behind a name is in no key, and neither are proxies.
    let host = |ip: &str| run(&format!("extra_hosts=[{{\"host\":\"a\",\"ip\":\"{ip}\"}}]"));
    check(&host("1.1.1.1"), &host("2.2.2.2"), None);
    check(&run(""), &run("proxy_env={\"http_proxy\":\"p\"}"), None);
    let secret = |id: &str| run(&format!("secret_env=[{{\"id\":\"{id}\",\"name\":\"T\"}}]"));
    let variable = || Subject::SecretVariable("T".to_owned());
    check(&run(""), &secret("a"), Some((variable(), Change::Added(None))));
    check(&secret("a"), &secret("b"), Some((variable(), changed("a", "b"))));
}

#[test]
fn mounts_of_commands() {
    let run = |mount: &str| exec("args=[\"a\"]", mount);
    let at = |name, change| Some((Subject::MountSetting("/m".to_owned(), name), change));
    let ro = ",{\"dest\":\"/m\",\"input\":0,\"readonly\":true}";
    let added = Change::Added(Some("ro".to_owned()));
    check(&run(""), &run(ro), Some((Subject::Mount("/m".to_owned()), added)));
    check(&run(ro), &run(&ro.replace("true", "false")), at("kind", changed("ro", "rw")));
    let part = ro.replace("\"readonly\"", "\"selector\":\"sub\",\"readonly\"");
    check(&run(ro), &run(&part), at("part", changed("/", "/sub")));
    // Of a cache, only a shared one named after its place is in the key.
    let cache = |id: &str, sharing: &str| {
        run(&format!(
            ",{{\"dest\":\"/m\",\"kind\":{{\"cache\":{{\"id\":\"{id}\",\"sharing\":\"{sharing}\"}}}}}}"
        ))
    };
    check(&cache("x", "shared"), &cache("y", "locked"), None);
    check(&cache("/m", "shared"), &cache("y", "shared"), at("cache", changed("/m (shared)", "y (shared)")));
}

#[test]
fn file_actions() {
    let file = |actions: &[&str]| {
        let action = |(idx, op): (usize, &&str)| {
            let input = if idx == 0 { "input 0".to_owned() } else { format!("action {}", idx - 1) };
            let output = if idx + 1 == actions.len() { ",\"output\":0" } else { "" };
            format!("{{\"input\":\"{input}\",\"op\":{op}{output}}}")
        };
        format!(
            "file [%0] actions=[{}]",
            actions.iter().enumerate().map(action).collect::<Vec<_>>().join(",")
        )
    };
    let (a, b, c) = (
        "{\"mkdir\":{\"path\":\"/a\",\"mode\":493}}",
        "{\"mkfile\":{\"path\":\"/b\",\"mode\":420,\"data\":\"x\"}}",
        "{\"rm\":{\"path\":\"/c\"}}",
    );
    let action = |name: &str, at, change| Some((Subject::Action(name.to_owned(), at), change));
    check(&file(&[a, b]), &file(&[a, b]), None);
    check(&file(&[a]), &file(&[a, b, c]), action("mkfile /b, rm /c", 1, Change::Added(None)));
    check(&file(&[a, b, c]), &file(&[a, c]), action("mkfile /b", 1, Change::Removed(None)));
    check(&file(&[a, b]), &file(&[a, c]), action("mkfile /b", 1, changed("mkfile /b", "rm /c")));
    let mode = a.replace("493", "448");
    let setting = |name: &str, at, argument| Subject::ActionSetting(name.to_owned(), at, argument);
    check(&file(&[a]), &file(&[&mode]), Some((setting("mkdir /a", 0, "mode"), changed("0755", "0700"))));
    let data = b.replace("\"x\"", "\"y\"");
    check(&file(&[a, b]), &file(&[a, &data]), Some((setting("mkfile /b", 1, "text"), changed("x", "y"))));
}

#[test]
fn other_ops() {
    let run = |platform: &str| exec(&format!("args=[\"a\"]{platform}"), "");
    let arm = run(" platform=\"linux/arm64\"");
    check(
        &run(" platform=\"linux/amd64\""),
        &arm,
        Some((Subject::Platform, changed("linux/amd64", "linux/arm64"))),
    );
    check(&exec("args=[\"a\"]", ""), "merge [%0, %0]", Some((Subject::Kind, changed("a", "merge 2 trees"))));
    check("merge [%0, %0]", "merge [%0, %0, %0]", Some((Subject::Trees, changed("2", "3"))));
}
