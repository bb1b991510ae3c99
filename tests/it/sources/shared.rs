//! Two processes that want the same of the same servers, on one store, at the same time.

use std::fs;
use std::process::{Child, Command, Stdio};

use libtest_mimic::Trial;

use super::Bench;
use super::server::Repository;
use crate::images::{TestImage, has_tools};
use crate::registry::fake::Fake;

pub(super) fn trials() -> Vec<Trial> {
    let trial =
        crate::trial("sources::shared::needs_root::two_processes_fetch_once", two_processes_fetch_once);
    vec![trial.with_ignored_flag(!has_tools(&["git"]))]
}

fn two_processes_fetch_once() {
    let bench = Bench::new();
    let fake = Fake::start();
    let image = TestImage::new("linux/amd64", &[&[("a", "1")], &[("b", "2")]]);
    fake.push("v1", &image);
    Repository::new(&bench.www().join("app.git")).commit(&[("from-git", "git")]);
    fs::write(bench.www().join("file"), "http").unwrap();
    let dir = bench.dir.path();
    fs::create_dir(dir.join("ctx")).unwrap();
    for n in 0..200 {
        fs::write(dir.join(format!("ctx/{n}")), n.to_string()).unwrap();
    }
    let program = format!(
        "target files = merge([git(\"{}\", \"main\"), http(\"{}\"), local(\"ctx\")])\ntarget base = image(\"{}\", platform: \"linux/amd64\")\n",
        bench.url("git/app.git"),
        bench.url("files/file"),
        fake.reference("x:v1"),
    );
    fs::write(dir.join("build.bkl"), program).unwrap();
    let bkl = |args: &[&str]| -> Child {
        Command::new(env!("CARGO_BIN_EXE_bkl"))
            .args(args)
            .current_dir(dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let wait = |child: Child| {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    // What the names stand for is pinned first, in a store that nobody else uses.
    wait(bkl(&["lock", "--store", "pins", "--platform", "linux/amd64"]));
    let layers = |fake: &Fake| {
        image.layers.iter().map(|layer| fake.asked(&layer.to_string()).len()).collect::<Vec<_>>()
    };
    let counts = || {
        (bench.server.asked("git-upload-pack").len(), bench.server.asked("files/file").len(), layers(&fake))
    };
    let build = |store: &str| bkl(&["build", "files", "base", "--store", store]);
    let before = counts();
    wait(build("alone"));
    let alone = counts();
    let children: Vec<Child> = (0..2).map(|_| build("shared")).collect();
    children.into_iter().for_each(wait);
    let both = counts();
    assert_eq!(both.0 - alone.0, alone.0 - before.0, "the repository");
    assert_eq!((both.1 - alone.1, alone.1 - before.1), (1, 1), "the file");
    assert_eq!((alone.2, both.2), (vec![1, 1], vec![2, 2]), "the layers");
}
