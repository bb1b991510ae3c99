//! What is taken, and what is said of what is not.

use super::*;

#[test]
fn to() {
    let read = |text: &str| parse_to(&[text.to_owned()]).unwrap().remove(0);
    let plain = read("type=registry,ref=example.com/app:cache");
    let image: ImageRef = "example.com/app:cache".parse().unwrap();
    let place = ToPlace::Registry { image, insecure: false, form: Form::Image };
    let expected = CacheTo { place, mode: Mode::Min, ignore_error: false, image: ImageOptions::default() };
    assert_eq!(plain, expected);
    assert_eq!(read("example.com/app:cache"), expected);
    assert_eq!(plain.shown(), "registry example.com/app:cache");
    let full = read(
        "TYPE=registry,ref=r.io/a,mode=max,ignore-error=true,registry.insecure=1,oci-mediatypes=true,\
         image-manifest=false,compression=zstd,compression-level=9,force-compression=true",
    );
    assert_eq!((full.mode, full.ignore_error), (Mode::Max, true));
    assert!(full.image.force_compression);
    assert_eq!(full.image.compression, crate::store::Compression::Zstd(9));
    let index = |types| Form::Index(types);
    assert!(
        matches!(full.place, ToPlace::Registry { insecure: true, form, .. } if form == index(MediaTypes::Oci))
    );
    let docker = read("type=registry,ref=a,oci-mediatypes=false");
    assert!(matches!(docker.place, ToPlace::Registry { form, .. } if form == index(MediaTypes::Docker)));
    let local = read("type=local,dest=dir,reset=true,tag=v1");
    let dir = PathBuf::from("dir");
    assert_eq!(local.place, ToPlace::Local { dir, tag: "v1".to_owned(), reset: true, form: Form::Image });
    let inline = ["type=inline", "type=inline,mode=min", "type=local,dest=x"].map(str::to_owned);
    assert_eq!(parse_to(&inline).unwrap().len(), 2);
}

#[test]
fn from() {
    let read = |text: &str| parse_from(&[text.to_owned()]).unwrap();
    let registry = |text: &str, insecure| CacheFrom::Registry { image: text.parse().unwrap(), insecure };
    assert_eq!(read("example.com/a"), [registry("example.com/a:latest", false)]);
    assert_eq!(read("r.io/a:1,r.io/b:2"), [registry("r.io/a:1", false), registry("r.io/b:2", false)]);
    assert_eq!(read("type=registry,ref=r.io/a:1,registry.insecure=true"), [registry("r.io/a:1", true)]);
    let local = |name| CacheFrom::Local { dir: "d".into(), name };
    assert_eq!(read("type=local,src=d"), [local(LocalName::Tag("latest".to_owned()))]);
    assert_eq!(read("type=local,src=d,tag=x"), [local(LocalName::Tag("x".to_owned()))]);
    let digest = Digest::of("x");
    assert_eq!(read(&format!("type=local,src=d,digest={digest}")), [local(LocalName::Digest(digest))]);
    let twice = ["r.io/a:1", "type=registry,ref=r.io/a:1"].map(str::to_owned);
    assert_eq!(parse_from(&twice).unwrap().len(), 1);
}

#[track_caller]
fn check(error: &CacheSpecError, message: &str, help: Option<&str>) {
    assert_eq!((error.to_string().as_str(), error.help().as_deref()), (message, help));
}

#[test]
fn to_refused() {
    #[track_caller]
    fn refused(text: &str, reason: &str, help: Option<&str>) {
        let error = parse_to(&[text.to_owned()]).unwrap_err();
        check(&error, &format!("`--cache-to {text}`: {reason}"), help);
    }
    let types = Some("the types are `registry`, `local` and `inline`");
    let instead = Some("use `type=registry`, or `type=local` and copy the directory");
    refused("type=oci,dest=x", "there is no cache type `oci`", types);
    refused("type=s3,bucket=x", "caches of `type=s3` are not supported", instead);
    refused("type=gha", "caches of `type=gha` are not supported", instead);
    refused("type=azblob", "caches of `type=azblob` are not supported", instead);
    refused("type=registry", "`type=registry` needs `ref`", Some("add `ref=REPOSITORY:TAG`"));
    refused("type=local", "`type=local` needs `dest`", Some("add `dest=DIR`"));
    refused("type=local,dst=x", "`type=local` has no attribute `dst`", Some("did you mean `dest`?"));
    refused("type=inline,ref=x", "`type=inline` has no attribute `ref`", None);
    refused("type=local,dest=a,dest=b", "`dest` is given twice", None);
    refused("type=local,dest=a,mode=all", "`mode=all` is not valid: expected min or max", None);
    refused(
        "type=inline,mode=max",
        "`mode=max` is not valid: expected min: an image has no layers but its own",
        None,
    );
    refused("type=registry,ref=A b", "`ref=A b` is not valid: expected an image reference", None);
    refused(
        "type=local,dest=a,ignore-error=x",
        "`ignore-error=x` is not valid: expected true or false",
        None,
    );
    refused(
        "type=local,dest=a,compression=lz4",
        "`compression=lz4` is not valid: expected gzip, zstd or uncompressed",
        None,
    );
    refused(
        "type=local,dest=a,image-manifest=true,oci-mediatypes=false",
        "`image-manifest=true` needs OCI media types",
        Some("drop `oci-mediatypes=false`, or say `image-manifest=false`"),
    );
    refused("mode=max", "`mode=max` is not of the form key=value", None);
    let same = ["type=local,dest=a", "type=local,dest=a,mode=max"].map(str::to_owned);
    let error = parse_to(&same).unwrap_err();
    check(
        &error,
        "`--cache-to type=local,dest=a,mode=max`: the same place is given twice",
        Some("leave one of them away"),
    );
}

#[test]
fn from_refused() {
    #[track_caller]
    fn refused(text: &str, reason: &str, help: Option<&str>) {
        let error = parse_from(&[text.to_owned()]).unwrap_err();
        check(&error, &format!("`--cache-from {text}`: {reason}"), help);
    }
    refused("type=foo", "there is no cache type `foo`", Some("the types are `registry` and `local`"));
    refused(
        "type=inline",
        "`type=inline` is for exporting: what it wrote is imported from the image",
        Some("name the image: `type=registry,ref=REF`"),
    );
    refused("type=local", "`type=local` needs `src`", Some("add `src=DIR`"));
    refused("type=local,src=d,digest=x", "`digest=x` is not valid: expected a digest, sha256:…", None);
    refused("A:b:c", "`ref=A:b:c` is not valid: expected an image reference", None);
    refused("type=registry,ref=a,mode=max", "`type=registry` has no attribute `mode`", None);
}
