//! Which documents pass, and why the others do not.

use super::*;

const DIGEST: &str = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

fn check(text: &str, announced: &str, expected: &str) {
    let text = text.replace("DIGEST", DIGEST);
    let found = match Document::parse(text.as_bytes(), announced) {
        Ok(Document::Manifest(manifest)) => {
            format!(
                "manifest {} with {} layers",
                manifest.media_type,
                manifest.layers.unwrap_or_default().len()
            )
        }
        Ok(Document::Index(index)) => format!("index {} of {}", index.media_type, index.manifests.len()),
        Err(error) => error.to_string(),
    };
    assert_eq!(found, expected, "{text}");
}

const CONFIG: &str = r#"{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"DIGEST","size":2}"#;

#[test]
fn forms() {
    let manifest = format!(r#"{{"schemaVersion":2,"config":{CONFIG},"layers":[]}}"#);
    check(&manifest, "", "manifest  with 0 layers");
    check(
        &manifest,
        "application/vnd.oci.image.manifest.v1+json; charset=utf-8",
        "manifest application/vnd.oci.image.manifest.v1+json with 0 layers",
    );
    check(
        &manifest,
        media::OCI_INDEX,
        "its type is `application/vnd.oci.image.index.v1+json`, but it has no `manifests`",
    );
    check(
        r#"{"schemaVersion":2,"manifests":null}"#,
        media::OCI_INDEX,
        "index application/vnd.oci.image.index.v1+json of 0",
    );
    check(r#"{"schemaVersion":2}"#, "", "its type is `image`, but it has no `config`");
    check(
        "<html>",
        "text/html",
        "what came is no manifest, but of type `text/html`: a web page or a proxy's answer, perhaps",
    );
    check(&manifest, "text/html", "its type `text/html` is neither an image manifest nor an index");
}

#[test]
fn confusion_is_refused() {
    check(
        &format!(r#"{{"schemaVersion":2,"config":{CONFIG},"layers":[],"manifests":[]}}"#),
        "",
        "it has both `layers` and `manifests`, so it could pass for an image and for an index",
    );
    check(
        &format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{CONFIG}}}"#
        ),
        media::DOCKER_MANIFEST,
        "`Content-Type` says `application/vnd.docker.distribution.manifest.v2+json`, but `mediaType` says \
         `application/vnd.oci.image.manifest.v1+json`",
    );
    check(
        r#"{"schemaVersion":1,"fsLayers":[]}"#,
        "",
        "it is in docker's old format (schema 1), which has no content addresses",
    );
}

#[test]
fn digests_are_parsed_before_use() {
    let text =
        r#"{"schemaVersion":2,"config":{"mediaType":"x","digest":"sha256:../../etc/passwd","size":2}}"#;
    let error = Document::parse(text.as_bytes(), "").unwrap_err();
    assert!(error.to_string().contains("is not a digest"), "{error}");
}
