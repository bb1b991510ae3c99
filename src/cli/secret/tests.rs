//! How `--secret` is read.

use super::{Source, parse};

fn check(text: &str, expected: Result<(&str, Source), &str>) {
    let expected = expected.map(|(id, source)| (id.to_owned(), source)).map_err(|why: &str| why.to_owned());
    assert_eq!(parse(text), expected, "{text}");
}

#[test]
fn as_docker_does() {
    let file = |path: &str| Source::File(path.into());
    let variable = |name: &str| Source::Variable(name.into());
    check("id=a,src=/x", Ok(("a", file("/x"))));
    check("source=/x,id=a", Ok(("a", file("/x"))));
    check("id=a,env=TOKEN", Ok(("a", variable("TOKEN"))));
    check("type=env,id=TOKEN", Ok(("TOKEN", variable("TOKEN"))));
    check("type=env,id=a,src=TOKEN", Ok(("a", variable("TOKEN"))));
    check("type=file,id=PATH", Ok(("PATH", file("PATH"))));
    check("id=PATH", Ok(("PATH", variable("PATH"))));
    check("id=no-such-variable", Ok(("no-such-variable", file("no-such-variable"))));
}

#[test]
fn what_is_wrong_is_said() {
    check("src=/x", Err("it has no id"));
    check("id=,src=/x", Err("it has no id"));
    check("id", Err("`id` has no value"));
    check("id=a,src=x,env=Y", Err("it is either a file or a variable"));
    check("id=a,type=vault", Err("`vault` is no type; use file or env"));
    check("id=a,path=x", Err("`path` means nothing here"));
}
