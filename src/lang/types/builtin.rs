//! The names the prelude gives, as a closed set: what the evaluator must know how to do.

macro_rules! builtins {
    ($($(#[$doc:meta])* $variant:ident = $key:literal;)*) => {
        /// One entry of `stdlib/prelude.bkl`; a unit test holds the two equal.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Builtin {
            $($(#[$doc])* #[doc = concat!("`", $key, "`")] $variant,)*
        }

        impl Builtin {
            /// All of them, in the order of the prelude.
            pub const ALL: &[Builtin] = &[$(Builtin::$variant,)*];

            /// The name with its receiver in front: `image`, `tree.copy`, `[T].len`, `{str: T}.get`.
            pub fn key(self) -> &'static str {
                match self { $(Builtin::$variant => $key,)* }
            }
        }
    };
}

builtins! {
    Scratch = "scratch";
    TargetPlatform = "target_platform";
    BuildPlatform = "build_platform";
    Image = "image";
    Local = "local";
    Git = "git";
    Http = "http";
    OciLayout = "oci_layout";
    Dockerfile = "dockerfile";

    Read = "read";
    ReadJson = "read_json";
    Files = "files";

    Copy = "copy";
    Merge = "merge";
    Diff = "diff";
    TreeCopy = "tree.copy";
    TreeLayer = "tree.layer";
    TreeMkdir = "tree.mkdir";
    TreeWrite = "tree.write";
    TreeSymlink = "tree.symlink";
    TreeRemove = "tree.remove";
    TreeAt = "tree.at";
    TreeOnly = "tree.only";
    TreeWithout = "tree.without";
    TreeRequire = "tree.require";
    TreeImage = "tree.image";

    ImageRun = "image.run";
    ImageExec = "image.exec";
    ImageCheck = "image.check";
    Raw = "raw";
    Ro = "ro";
    Rw = "rw";
    Cache = "cache";
    Tmpfs = "tmpfs";
    Out = "out";
    SecretFile = "secret.file";
    SshAgent = "ssh.agent";

    ImageConfig = "image.config";
    ImagePlatform = "image.platform";
    ImageTags = "image.tags";
    IndexTags = "index.tags";
    IndexImages = "index.images";
    ImageWith = "image.with";
    ImageTag = "image.tag";
    IndexTag = "index.tag";

    PlatformOs = "platform.os";
    PlatformArch = "platform.arch";
    PlatformVariant = "platform.variant";
    StrTrim = "str.trim";
    StrUpper = "str.upper";
    StrLower = "str.lower";
    StrStartsWith = "str.starts_with";
    StrEndsWith = "str.ends_with";
    StrContains = "str.contains";
    StrMatches = "str.matches";
    StrReplace = "str.replace";
    StrSplit = "str.split";
    StrLen = "str.len";
    PathBase = "path.base";
    PathDir = "path.dir";
    ListLen = "[T].len";
    ListUnique = "[T].unique";
    ListSort = "[T].sort";
    ListContains = "[T].contains";
    ListJoin = "[T].join";
    MapLen = "{str: T}.len";
    MapKeys = "{str: T}.keys";
    MapValues = "{str: T}.values";
    MapGet = "{str: T}.get";
    Range = "range";
}
