//! What a branch or tag is now.

use super::command::{CallError, Git, Place, Reach, Refusal};
use super::error::GitError;
use super::mirror::network_error;
use crate::base::suggest::nearest;
use crate::base::url::{is_commit, ref_objection};

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// `refs/heads/main`, `refs/tags/v1`, or `HEAD`.
    pub(super) name: String,
    /// The object it names: a commit, or an annotated tag.
    pub(super) object: String,
    /// The commit.
    pub(super) commit: String,
}

/// Asks the remote what `reference` is; empty is its default branch. It lies where `reach` gets to.
pub(super) fn ask(git: &Git<'_>, reach: Reach, reference: &str) -> Result<Found, GitError> {
    let reference = if reference.is_empty() { "HEAD" } else { reference };
    if let Some(why) = ref_objection(reference) {
        return Err(GitError::Op { identifier: format!("{}#{reference}", git.url), reason: why });
    }
    let peeled = format!("{reference}^{{}}");
    let output = list(git, reach, &["ls-remote", "--", git.url, reference, &peeled])?;
    if let Some(found) = choose(&output, reference) {
        return Ok(found);
    }
    let output =
        list(git, reach, &["ls-remote", "--refs", "--heads", "--tags", "--", git.url]).unwrap_or_default();
    let names = lines(&output).filter_map(|(_, name)| {
        name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/tags/")).map(str::to_owned)
    });
    let names: Vec<String> = names.collect();
    let near = nearest(reference, names.iter().map(String::as_str)).map(str::to_owned);
    Err(GitError::NoRef { url: git.url.to_owned(), reference: reference.to_owned(), near })
}

fn list(git: &Git<'_>, reach: Reach, args: &[&str]) -> Result<String, GitError> {
    let mut n_tries = 0;
    loop {
        n_tries += 1;
        match git.call(reach, Place::default(), args) {
            Ok(output) => return Ok(String::from_utf8_lossy(&output).into_owned()),
            Err(CallError::Broken(error)) => return Err(error),
            Err(CallError::Refused(Refusal { what, said })) => {
                let error = network_error(git, &what, said);
                super::mirror::wait_to_retry(git, error, n_tries)?;
            }
        }
    }
}

fn lines(output: &str) -> impl Iterator<Item = (&str, &str)> {
    output.lines().filter_map(|line| line.split_once('\t'))
}

/// The one that is meant: `refs/<name>`, else the branch, else the tag (BuildKit source/git/source.go).
fn choose(output: &str, reference: &str) -> Option<Found> {
    let object = |name: &str| {
        let found = lines(output).find(|(_, it)| *it == name).map(|(object, _)| object.to_owned());
        found.filter(|object| is_commit(object))
    };
    let candidates = [
        if reference == "HEAD" { "HEAD".to_owned() } else { format!("refs/{}", without(reference, "refs/")) },
        format!("refs/heads/{}", without(reference, "refs/heads/")),
        format!("refs/tags/{}", without(reference, "refs/tags/")),
    ];
    candidates.into_iter().find_map(|name| {
        let object_id = object(&name)?;
        let commit = object(&format!("{name}^{{}}")).unwrap_or_else(|| object_id.clone());
        Some(Found { name, object: object_id, commit })
    })
}

fn without<'a>(text: &'a str, prefix: &str) -> &'a str {
    text.strip_prefix(prefix).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_is_meant() {
        let id = |digit: char| digit.to_string().repeat(40);
        let output = [
            ('1', "refs/heads/v1"),
            ('2', "refs/tags/v1"),
            ('3', "refs/tags/v1^{}"),
            ('4', "refs/tags/v2"),
            ('5', "refs/tags/v2^{}"),
            ('6', "refs/heads/deep/v2"),
            ('7', "HEAD"),
        ];
        let output: String = output.iter().map(|(digit, name)| format!("{}\t{name}\n", id(*digit))).collect();
        let check = |reference: &str, expected: Option<(&str, char, char)>| {
            let expected = expected.map(|(name, object, commit)| Found {
                name: name.to_owned(),
                object: id(object),
                commit: id(commit),
            });
            assert_eq!(choose(&output, reference), expected, "{reference}");
        };
        check("v1", Some(("refs/heads/v1", '1', '1')));
        check("refs/tags/v1", Some(("refs/tags/v1", '2', '3')));
        check("tags/v1", Some(("refs/tags/v1", '2', '3')));
        check("v2", Some(("refs/tags/v2", '4', '5')));
        check("deep/v2", Some(("refs/heads/deep/v2", '6', '6')));
        check("HEAD", Some(("HEAD", '7', '7')));
        check("v3", None);
    }

    #[test]
    fn objects_that_are_none() {
        assert_eq!(choose("--upload-pack=x\trefs/heads/main\n", "main"), None);
    }
}
