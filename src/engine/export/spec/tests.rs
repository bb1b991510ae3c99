//! Texts behind `-o`, good and bad.

use super::*;

fn check(text: &str, expected: &str) {
    let found = match parse(text) {
        Ok(spec) => {
            let dest = match &spec.dest {
                Dest::Stdout => "stdout".to_owned(),
                Dest::Path(path) => path.display().to_string(),
            };
            let dir = if spec.as_dir { " as dir" } else { "" };
            let image = &spec.image;
            let mut found = format!("{}{dir} to {dest}", spec.format.name());
            if *image != ImageOptions::default() {
                found += &format!(
                    " {:?} {:?} {:?} {:?}",
                    image.names,
                    image.compression,
                    image.media_types,
                    image.epoch.is_some()
                );
                for it in &image.annotations {
                    let platform = it.platform.as_ref().map(ToString::to_string).unwrap_or_default();
                    found += &format!(" {:?}[{platform}]{}={}", it.place, it.key, it.value);
                }
            }
            found
        }
        Err(error) => match error.help() {
            Some(help) => format!("{error}; {help}"),
            None => error.to_string(),
        },
    };
    assert_eq!(found, expected, "{text}");
}

#[test]
fn forms() {
    check("out", "local to out");
    check("-", "tar to stdout");
    check("type=oci,dest=x.tar", "oci to x.tar");
    check("type=oci,dest=layout/", "oci as dir to layout/");
    check("type=oci,dest=layout,tar=false", "oci as dir to layout");
    check("type=docker,dest=-", "docker to stdout");
    check("TYPE=local,Dest=a b", "local to a b");
    check("\"dest=a,b\",type=local", "local to a,b");
    check(
        "type=oci,dest=x,\"name=a,b:1\",compression=zstd,compression-level=9,oci-mediatypes=false",
        "oci to x [\"docker.io/library/a:latest\", \"docker.io/library/b:1\"] Zstd(9) Docker false",
    );
    check(
        "type=oci,dest=x,source-date-epoch=0,annotation.K.x=v,annotation-index[linux/arm/v7].k==",
        "oci to x [] Gzip(6) Oci true Manifest[]K.x=v Index[linux/arm/v7]k==",
    );
}

#[test]
fn mistakes() {
    check("", "`` is not of the form key=value");
    check("type=oci", "`type=oci` needs a destination; add `dest=PATH`, or `dest=-` for standard output");
    check("dest=x", "`dest=x` is not of the form key=value");
    check(
        "type=oic,dest=x",
        "there is no output type `oic`; the types are `oci`, `docker`, `tar` and `local`",
    );
    check(
        "type=image,dest=x",
        "there is no output type `image`; pushing is not supported yet: export `type=oci` and copy it with `skopeo copy`",
    );
    check(
        "type=oci,dest=x,compresion=gzip",
        "`type=oci` has no option `compresion`; did you mean `compression`?",
    );
    check(
        "type=oci,dest=x,oci-mediatypes=false,annotation.a=b",
        "annotations need OCI media types; drop `oci-mediatypes=false`",
    );
    check("type=tar,dest=x,compression=gzip", "`type=tar` has no option `compression`");
    check(
        "type=oci,dest=x,compression=xz",
        "`compression=xz` is not valid: expected gzip, zstd or uncompressed",
    );
    check("type=oci,dest=x,compression-level=10", "`compression-level=10` is not valid: expected 0 to 9");
    check(
        "type=local,dest=-",
        "a directory cannot be written to standard output; use `type=tar`, or drop `tar=false`",
    );
    check(
        "type=oci,dest=\"x",
        "`type=oci,dest=\"x` has a stray quote; a field with a comma is quoted as a whole: `\"name=a,b\"`",
    );
}
