//! `git` sources.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bkl::graph::ir::build::GitOptions;
use bkl::graph::ir::{Edge, Graph, SourceOp};
use libtest_mimic::Trial;

use super::server::Repository;
use super::{Bench, Tree};
use crate::images::has_tools;

pub(super) fn trials() -> Vec<Trial> {
    let trial = |name: &str, run: fn()| {
        crate::trial(format!("sources::git::needs_root::{name}"), run).with_ignored_flag(!has_tools(&["git"]))
    };
    vec![
        trial("branches_tags_and_commits", branches_tags_and_commits),
        trial("a_commit_needs_no_server", a_commit_needs_no_server),
        trial("directories", directories),
        trial("the_repository_itself", the_repository_itself),
        trial("submodules", submodules),
        trial("what_the_op_expects", what_the_op_expects),
        trial("tokens_are_in_no_argument", tokens_are_in_no_argument),
        trial("servers_without_depth", servers_without_depth),
        trial("what_goes_wrong", what_goes_wrong),
        trial("nothing_of_a_repository_runs_here", nothing_of_a_repository_runs_here),
        trial("names_that_are_options", names_that_are_options),
        trial("trees_that_are_traps", trees_that_are_traps),
        trial("a_damaged_copy_is_made_anew", a_damaged_copy_is_made_anew),
        trial("a_killed_process_leaves_no_git", a_killed_process_leaves_no_git),
    ]
}

fn options() -> GitOptions {
    GitOptions::default()
}

fn of(url: String, reference: &str, options: GitOptions) -> impl FnOnce(&mut Graph) -> Edge {
    let reference = reference.to_owned();
    move |graph| graph.git(&url, "", &GitOptions { reference: Some(reference), ..options })
}

/// A repository that the server has as `app.git`.
fn app(bench: &Bench) -> Repository {
    Repository::new(&bench.www().join("app.git"))
}

fn built(bench: &Bench, reference: &str, options: GitOptions) -> Tree {
    bench.built(of(bench.url("git/app.git"), reference, options))
}

fn branches_tags_and_commits() {
    let bench = Bench::new();
    let app = app(&bench);
    let first = app.commit(&[("a", "one"), ("dir/run", "x")]);
    fs::set_permissions(app.path.join("dir/run"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("dir/run", app.path.join("link")).unwrap();
    let second = app.commit(&[("a", "two")]);
    app.git(&["tag", "light"]);
    app.git(&["tag", "--annotate", "--message", "x", "v1", &first]);
    let main = built(&bench, "main", options());
    assert_eq!(main.names(), ["a", "dir", "link"]);
    assert_eq!(main.read("a"), "two");
    assert_eq!(fs::read_link(main.path("link")).unwrap(), Path::new("dir/run"));
    for (path, mode) in [("a", 0o644), ("dir", 0o755), ("dir/run", 0o755), (".", 0o755)] {
        let meta = main.path(path).metadata().unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.mtime()), (mode, 0, 1_577_934_245), "{path}");
    }
    // One commit is one tree, whatever it is called.
    for reference in ["light", "refs/heads/main", "refs/tags/light", "HEAD", "", &second] {
        assert_eq!(built(&bench, reference, options()).snapshot, main.snapshot, "{reference}");
    }
    for reference in ["v1", "refs/tags/v1", &first] {
        assert_eq!(built(&bench, reference, options()).read("a"), "one", "{reference}");
    }
    app.commit(&[("a", "three")]);
    assert_eq!(built(&bench, "main", options()).read("a"), "three");
    assert_eq!(built(&bench, &second, options()).read("a"), "two");
}

fn a_commit_needs_no_server() {
    let bench = Bench::new();
    let commit = app(&bench).commit(&[("a", "one"), ("dir/b", "two")]);
    let first = built(&bench, &commit, options());
    bench.up(false);
    let again = built(&bench, &commit, options());
    assert_eq!((again.snapshot == first.snapshot, again.n_fetched), (true, 0));
    // Another part of it, from the copy that the store has.
    let subdir = GitOptions { subdir: Some("dir".to_owned()), ..options() };
    assert_eq!(built(&bench, &commit, subdir).read("b"), "two");
    bench.fails(of(bench.url("git/app.git"), "main", options()), "cannot reach");
}

fn directories() {
    let bench = Bench::new();
    let app = app(&bench);
    symlink("/etc", app.path.join("out")).unwrap();
    symlink("real", app.path.join("link")).unwrap();
    app.commit(&[("real/deep/x", "x"), ("a", "file")]);
    let in_dir = |dir: &str| GitOptions { subdir: Some(dir.to_owned()), ..options() };
    assert_eq!(built(&bench, "main", in_dir("real")).names(), ["deep"]);
    assert_eq!(built(&bench, "main", in_dir("real/deep")).read("x"), "x");
    assert_eq!(built(&bench, "main", in_dir("/real//deep/../deep/")).read("x"), "x");
    for dir in ["none", "a", "out", "link", "link/deep", "../../etc", "real/deep/x"] {
        bench.fails(of(bench.url("git/app.git"), "main", in_dir(dir)), "there is no directory");
    }
}

fn the_repository_itself() {
    let bench = Bench::new();
    let app = app(&bench);
    app.commit(&[("a", "zero")]);
    let commit = app.commit(&[("a", "one")]);
    app.git(&["tag", "--annotate", "--message", "x", "v1"]);
    let keep = || GitOptions { keep_git_dir: true, ..options() };
    let git = |tree: &Tree, args: &[&str]| {
        // A copy, for git may want to write.
        let copy = tempfile::TempDir::new().unwrap();
        // `self` is another process there.
        let from = tree.path(".").display().to_string().replace("self", &std::process::id().to_string());
        let status = Command::new("cp").args(["-a", &from]).arg(copy.path().join("x")).status();
        assert!(status.unwrap().success());
        let output = Command::new("git").args(args).current_dir(copy.path().join("x")).output().unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let by_commit = built(&bench, &commit, keep());
    assert_eq!(git(&by_commit, &["rev-parse", "HEAD"]), commit);
    assert_eq!(git(&by_commit, &["status", "--porcelain"]), "");
    assert_eq!(git(&by_commit, &["rev-list", "--all", "--count", "HEAD"]), "1");
    assert_eq!(git(&by_commit, &["remote", "get-url", "origin"]), bench.url("git/app.git"));
    assert_eq!(git(&by_commit, &["fsck"]), "");
    assert!(!by_commit.has(".git/hooks") && !by_commit.has(".git/FETCH_HEAD"));
    let by_tag = built(&bench, "v1", keep());
    assert_eq!(git(&by_tag, &["describe"]), "v1");
    let by_branch = built(&bench, "main", keep());
    assert_eq!(git(&by_branch, &["rev-parse", "refs/heads/main"]), commit);
    // With a directory there is nothing it could be the repository of.
    let subdir = GitOptions { subdir: Some("d".to_owned()), ..keep() };
    app.commit(&[("d/x", "x")]);
    assert_eq!(built(&bench, "main", subdir).names(), ["x"]);
}

fn submodules() {
    let bench = Bench::new();
    let leaf = Repository::new(&bench.www().join("leaf.git"));
    let leaf_commit = leaf.commit(&[("leaf", "leaf")]);
    let lib = Repository::new(&bench.www().join("lib.git"));
    lib.commit(&[("lib", "lib")]);
    let add = |to: &Repository, url: &str, real: &Path, path: &str| {
        let real = real.display().to_string();
        to.git(&[
            "-c",
            "protocol.file.allow=always",
            "submodule",
            "--quiet",
            "add",
            "--force",
            "--",
            &real,
            path,
        ]);
        to.git(&["config", "--file", ".gitmodules", &format!("submodule.{path}.url"), url]);
        to.commit(&[]);
    };
    add(&lib, "../leaf.git", &leaf.path, "deep/leaf");
    let app = app(&bench);
    app.commit(&[("a", "a")]);
    add(&app, &bench.url("git/lib.git"), &lib.path, "vendor/lib");
    let with = built(&bench, "main", options());
    assert_eq!((with.read("a"), with.read("vendor/lib/lib")), ("a".to_owned(), "lib".to_owned()));
    assert_eq!(with.read("vendor/lib/deep/leaf/leaf"), "leaf");
    assert!(!with.has("vendor/lib/.git"));
    let without = built(&bench, "main", GitOptions { skip_submodules: true, ..options() });
    assert!(without.has("vendor/lib") && !without.has("vendor/lib/lib"));
    let subdir = GitOptions { subdir: Some("vendor/lib/deep".to_owned()), ..options() };
    assert_eq!(built(&bench, "main", subdir).read("leaf/leaf"), "leaf");

    // Nothing that only this machine has, and nothing outside of the tree.
    let refused = |url: &str, path: &str, expected: &str| {
        let tree = format!("160000 commit {leaf_commit}\t{path}\n");
        let modules = format!("[submodule \"x\"]\n\tpath = {path}\n\turl = {url}\n");
        let blob = piped(&app, &["hash-object", "-w", "--stdin"], &modules);
        let tree = piped(&app, &["mktree", "--missing"], &format!("{tree}100644 blob {blob}\t.gitmodules\n"));
        let commit = app.git(&["commit-tree", "-m", "x", &tree]);
        app.git(&["update-ref", "refs/heads/bad", &commit]);
        bench.fails(of(bench.url("git/app.git"), "bad", options()), expected);
    };
    refused("/etc", "sub", "the submodule `sub`: its URL `/etc` is not used");
    refused("file:///srv", "sub", "`file` is not https");
    refused("../../../../../etc", "sub", "leads nowhere");
    refused("ext::sh -c touch% /tmp/x", "sub", "is not used");
    refused("ssh://-oProxyCommand=touch/x", "sub", "git");
    refused(&bench.url("git/none.git"), "sub", "the submodule `sub`: there is no repository");
}

/// Runs git with an input.
fn piped(repository: &Repository, args: &[&str], input: &str) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), input).unwrap();
    let stdin = fs::File::open(file.path()).unwrap();
    let output = Command::new("git").args(args).current_dir(&repository.path).stdin(stdin).output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn what_the_op_expects() {
    let bench = Bench::new();
    let app = app(&bench);
    let first = app.commit(&[("a", "one")]);
    app.git(&["tag", "v1"]);
    let second = app.commit(&[("a", "two")]);
    let expect = |checksum: &str| GitOptions { checksum: checksum.to_owned(), ..options() };
    assert_eq!(built(&bench, "v1", expect(&first)).read("a"), "one");
    assert_eq!(built(&bench, "v1", expect(&first[..8])).read("a"), "one");
    let url = || bench.url("git/app.git");
    bench.fails(
        of(url(), "main", expect(&first)),
        &format!("is the commit {second}, and {first} is expected"),
    );
    bench.fails(of(url(), &second, expect(&first)), "is expected");
    // The branch is elsewhere by now, and the commit is what counts.
    let by_commit = GitOptions { fetch_by_commit: true, ..expect(&first) };
    assert_eq!(built(&bench, "main", by_commit).read("a"), "one");
}

fn tokens_are_in_no_argument() {
    let mut bench = Bench::new();
    let commit = app(&bench).commit(&[("a", "one")]);
    let url = bench.url("private/app.git");
    bench.fails(of(url.clone(), "main", options()), "without credentials");
    bench.fails(of(url.clone(), &commit, options()), "without credentials");
    let named = GitOptions { auth_token_secret: Some("MINE".to_owned()), ..options() };
    bench.fails(of(url.clone(), "main", named.clone()), "the secret `MINE` is not given");
    bench.given.secrets.insert("MINE".to_owned(), "wrong".to_owned());
    bench.fails(of(url.clone(), "main", named.clone()), "with the credentials that were given");

    // Another server never sees one.
    let other = Bench::new();
    app(&other).commit(&[("a", "there")]);
    let away = bench.url(&format!("to/{}", other.url("git/app.git")));
    bench
        .fails(of(away.clone(), "main", named.clone()), "redirects, and credentials are not taken elsewhere");
    assert!(other.server.asked("").is_empty());
    assert_eq!(bench.built(of(away, "main", options())).read("a"), "there");

    // A git that writes down what it is given, and what is in its environment.
    let seen = bench.dir.path().join("seen");
    let bin = bench.dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let real = String::from_utf8(Command::new("sh").args(["-c", "command -v git"]).output().unwrap().stdout);
    let script = format!(
        "#!/bin/sh\n(echo \"$@\"; env; tr '\\0' ' ' < /proc/$PPID/cmdline) >> {}\nexec {} \"$@\"\n",
        seen.display(),
        real.unwrap().trim()
    );
    fs::write(bin.join("git"), script).unwrap();
    fs::set_permissions(bin.join("git"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(
        bench.dir.path().join("build.bkl"),
        format!("secret token\ntarget a = git(\"{url}\", \"main\", token: token)\n"),
    )
    .unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let output = Command::new(env!("CARGO_BIN_EXE_bkl"))
        .args(["build", "a", "-o", "out", "--secret", "id=token,env=TOKEN", "--store", "store2"])
        .current_dir(bench.dir.path())
        .env("PATH", path)
        .env("TOKEN", "secret")
        .env("HTTPS_PROXY", "")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read_to_string(bench.dir.path().join("out/a")).unwrap(), "one");
    let seen = fs::read_to_string(seen).unwrap();
    assert!(seen.contains("ls-remote") && seen.contains("fetch") && seen.contains("GIT_ALLOW_PROTOCOL=none"));
    assert!(seen.contains("core.hooksPath=/dev/null") && seen.contains("HOME=/dev/null"));
    for hidden in ["secret", "eC1hY2Nlc3MtdG9rZW46c2VjcmV0"] {
        let shown = seen.lines().find(|line| line.contains(hidden) && !line.contains("--secret"));
        assert_eq!(shown, None);
    }
    // Nor is it in the store or the lock.
    let found = Command::new("grep")
        .args(["-rlE", "eC1hY2Nlc3MtdG9rZW46c2VjcmV0|Bearer secret", "store2", "bkl.lock"])
        .current_dir(bench.dir.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}

fn servers_without_depth() {
    let bench = Bench::new();
    let app = app(&bench);
    let first = app.commit(&[("a", "one")]);
    app.commit(&[("a", "two")]);
    app.git(&["update-server-info"]);
    // Plain files, as any web server has them.
    let url = bench.url("dumb/app.git/.git");
    assert_eq!(bench.built(of(url.clone(), "main", options())).read("a"), "two");
    assert_eq!(bench.built(of(url, &first, options())).read("a"), "one");
}

fn what_goes_wrong() {
    let mut bench = Bench::new();
    let app = app(&bench);
    app.commit(&[("a", "one")]);
    app.git(&["branch", "feature/long-name"]);
    let address = bench.url("git/app.git");
    let url = || address.clone();
    bench.fails(of(url(), "none", options()), "has no branch or tag `none`");
    bench.fails(of(bench.url("git/none.git"), "main", options()), "there is no repository");
    let id = "0123456789abcdef0123456789abcdef01234567";
    bench.fails(of(url(), id, options()), &format!("has no commit {id}"));
    bench.fails(of("https://127.0.0.1:1/x.git".to_owned(), "main", options()), "cannot reach");
    bench.fails(
        of("ssh://git@127.0.0.1/x.git".to_owned(), "main", options()),
        "the agent `default` is not given",
    );
    bench.given.secrets.insert("GIT_AUTH_TOKEN".to_owned(), "secret".to_owned());
    bench.fails(of("http://example.invalid/x.git".to_owned(), "main", options()), "which is not encrypted");
    let raw = |url: &str| {
        let attrs = [("git.fullurl".to_owned(), url.to_owned())].into();
        let op = SourceOp { identifier: "git://h/x#main".to_owned(), attrs };
        move |graph: &mut Graph| graph.source(op, &[], None)
    };
    bench.fails(raw("file:///etc"), "`file` is not https");
    bench.fails(raw("ssh://-oProxyCommand=touch/x"), "is no host");
    bench.fails(raw("ext::sh -c true"), "cannot be fetched");
    bench.fails(of(url(), "--upload-pack=/tmp/x", options()), "git does not allow it");
}

/// Hooks, filters and settings of a repository, and of the machine, are nobody's here.
fn nothing_of_a_repository_runs_here() {
    let bench = Bench::new();
    let app = app(&bench);
    let canary = bench.dir.path().join("canary");
    let touch = format!("touch {}", canary.display());
    app.commit(&[
        ("a", "one"),
        (".gitattributes", "* filter=evil\n"),
        (".gitconfig", &format!("[filter \"evil\"]\n\tsmudge = {touch}\n")),
        ("hooks/post-checkout", &format!("#!/bin/sh\n{touch}\n")),
    ]);
    let home = bench.dir.path().join("home");
    fs::create_dir(&home).unwrap();
    fs::write(
        home.join(".gitconfig"),
        format!(
            "[filter \"evil\"]\n\tsmudge = {touch}; cat\n[core]\n\tfsmonitor = {touch}\n\tsshCommand = {touch}\n"
        ),
    )
    .unwrap();
    fs::write(
        bench.dir.path().join("build.bkl"),
        format!("target a = git(\"{}\", \"main\", keep_git_dir: true)\n", bench.url("git/app.git")),
    )
    .unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_bkl"))
        .args(["build", "a", "-o", "out", "--store", "store2"])
        .current_dir(bench.dir.path())
        .env("HOME", &home)
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "core.fsmonitor")
        .env("GIT_CONFIG_VALUE_0", &touch)
        .env("GIT_DIR", "/nowhere")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read_to_string(bench.dir.path().join("out/a")).unwrap(), "one");
    assert!(!canary.exists(), "something ran");
}

/// What a repository calls its branches reaches git as names only: a git in the way writes down what it is given.
fn names_that_are_options() {
    let bench = Bench::new();
    let app = app(&bench);
    let commit = app.commit(&[("a", "one")]);
    let option = "--upload-pack=touch${IFS}/var/tmp/bkl-canary";
    let branch = format!("refs/heads/{option}");
    // Git itself refuses to make such a branch: a server need not.
    fs::create_dir_all(app.path.join(".git").join(Path::new(&branch).parent().unwrap())).unwrap();
    fs::write(app.path.join(".git").join(&branch), format!("{commit}\n")).unwrap();
    fs::write(app.path.join(".git/HEAD"), format!("ref: {branch}\n")).unwrap();
    let seen = bench.dir.path().join("seen");
    let bin = bench.dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let real = String::from_utf8(Command::new("sh").args(["-c", "command -v git"]).output().unwrap().stdout);
    let script = format!(
        "#!/bin/sh\nfor it; do printf '%s\\n' \"$it\"; done >> {}\nexec {} \"$@\"\n",
        seen.display(),
        real.unwrap().trim()
    );
    fs::write(bin.join("git"), script).unwrap();
    fs::set_permissions(bin.join("git"), fs::Permissions::from_mode(0o755)).unwrap();
    let url = bench.url("git/app.git");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let bkl = |program: &str| {
        fs::write(bench.dir.path().join("build.bkl"), program).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_bkl"))
            .args(["build", "a", "-o", "out", "--store", "store2"])
            .current_dir(bench.dir.path())
            .env("PATH", &path)
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (ok, said) = bkl(&format!("target a = git(\"{url}\", \"HEAD\", keep_git_dir: true)\n"));
    assert!(ok, "{said}");
    assert_eq!(fs::read_to_string(bench.dir.path().join("out/a")).unwrap(), "one");
    let args = fs::read_to_string(&seen).unwrap();
    assert!(args.contains("ls-remote") && !args.lines().any(|it| it.starts_with("--upload-pack")), "{args}");
    // Named in a program it is refused before git is asked.
    fs::remove_file(&seen).unwrap();
    let (ok, said) = bkl(&format!("target a = git(\"{url}\", \"--upload-pack=x\")\n"));
    assert!(!ok && !seen.exists(), "{said}");
    assert!(!Path::new("/var/tmp/bkl-canary").exists());
}

/// Trees that git itself would not make: what names they have must not become a repository or lead out.
fn trees_that_are_traps() {
    let bench = Bench::new();
    let app = app(&bench);
    let leaf = Repository::new(&bench.www().join("leaf.git"));
    let commit = leaf.commit(&[("leaf", "leaf")]);
    let url = bench.url("git/leaf.git");
    let blob = |text: &str| piped(&app, &["hash-object", "-w", "--stdin"], text);
    let with = |entries: &str| {
        let tree = piped(&app, &["mktree", "--missing", "-z"], &entries.replace('\n', "\0"));
        let commit = app.git(&["commit-tree", "-m", "x", &tree]);
        app.git(&["update-ref", "refs/heads/trap", &commit]);
    };
    let modules =
        |name: &str, path: &str| blob(&format!("[submodule \"{name}\"]\n\tpath = {path}\n\turl = {url}\n"));
    // A name is nobody's path here, so `../x` is as good as another; a path with a carriage return at its end is one.
    with(&format!("100644 blob {}\t.gitmodules\n160000 commit {commit}\tsub\n", modules("../x", "sub")));
    bench.fails(of(bench.url("git/app.git"), "trap", options()), "git");
    let quoted = modules("x", "\"sub\\r\"").trim().to_owned();
    with(&format!("100644 blob {quoted}\t.gitmodules\n160000 commit {commit}\tsub\r\n"));
    match bench.solve(of(bench.url("git/app.git"), "trap", options())) {
        Ok(tree) => assert!(!tree.has("sub") && !tree.has(".git"), "only the path with its return is filled"),
        Err(error) => assert!(super::said(&error).contains("git"), "{}", super::said(&error)),
    }
    // A `.git` in a tree, as a directory, a link or by another spelling, is refused by what takes the objects in.
    let hook = blob("#!/bin/sh\n");
    let inner = piped(&app, &["mktree"], &format!("100755 blob {hook}\tpost-checkout\n"));
    for entry in [
        format!("040000 tree {inner}\t.git\n"),
        format!("120000 blob {}\t.git\n", blob("../elsewhere")),
        format!("040000 tree {inner}\t.GIT\n"),
        format!("040000 tree {inner}\t..\n"),
        format!("040000 tree {inner}\tgit~1\n"),
    ] {
        with(&entry);
        bench.fails(of(bench.url("git/app.git"), "trap", options()), "git");
    }
    // A link and a directory of one name: nothing is written through the link.
    let target = bench.dir.path().join("target");
    fs::create_dir(&target).unwrap();
    let below = piped(&app, &["mktree"], &format!("100644 blob {hook}\tfile\n"));
    let link = blob(&target.display().to_string());
    with(&format!("120000 blob {link}\tA\n040000 tree {below}\ta\n"));
    let tree = bench.built(of(bench.url("git/app.git"), "trap", options()));
    assert!(tree.has("a/file") && fs::read_dir(&target).unwrap().next().is_none());
}

fn a_damaged_copy_is_made_anew() {
    let bench = Bench::new();
    let app = app(&bench);
    app.commit(&[("a", "one")]);
    built(&bench, "main", options());
    let copies: Vec<PathBuf> = fs::read_dir(bench.dir.path().join("store/git"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(copies.len(), 1);
    assert_eq!(copies[0].metadata().unwrap().mode() & 0o777, 0o700);
    // What a killed git leaves.
    fs::write(copies[0].join("shallow.lock"), "").unwrap();
    fs::write(copies[0].join("packed-refs.lock"), "").unwrap();
    app.commit(&[("a", "two")]);
    assert_eq!(built(&bench, "main", options()).read("a"), "two");
    // And what a broken disk does: objects that are gone, a file that is cut.
    for pack in fs::read_dir(copies[0].join("objects")).unwrap().flatten() {
        fs::remove_dir_all(pack.path()).unwrap();
    }
    let commit = app.commit(&[("a", "more")]);
    assert_eq!(built(&bench, &commit, options()).read("a"), "more");
    fs::write(copies[0].join("HEAD"), "").unwrap();
    app.commit(&[("a", "three")]);
    assert_eq!(built(&bench, "main", options()).read("a"), "three");
}

/// A server that says nothing: git's helpers wait for it, and are not told that nobody waits for them.
fn a_killed_process_leaves_no_git() {
    for signal in ["-KILL", "-INT"] {
        let dir = tempfile::TempDir::new_in("/var/tmp").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/silent.git", listener.local_addr().unwrap());
        fs::write(dir.path().join("build.bkl"), format!("target a = git(\"{url}\", \"main\")\n")).unwrap();
        let mut bkl = Command::new(env!("CARGO_BIN_EXE_bkl"))
            .args(["lock", "--store", "store"])
            .current_dir(dir.path())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let _connection = listener.accept().unwrap();
        assert_ne!(processes_of(&url), Vec::<String>::new());
        let status = Command::new("kill").args([signal, &bkl.id().to_string()]).status().unwrap();
        assert!(status.success() && !bkl.wait().unwrap().success());
        let deadline = Instant::now() + Duration::from_secs(5);
        while !processes_of(&url).is_empty() {
            assert!(Instant::now() < deadline, "left after {signal}: {:?}", processes_of(&url));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Commands that run with this text among their arguments.
fn processes_of(text: &str) -> Vec<String> {
    let read = |entry: fs::DirEntry| fs::read(entry.path().join("cmdline")).ok();
    let commands = fs::read_dir("/proc").unwrap().flatten().filter_map(read);
    let commands = commands.map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "));
    commands.filter(|command| command.contains(text)).collect()
}
