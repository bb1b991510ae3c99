//! What names a program and decides its values.

use std::path::PathBuf;

use clap::Args;

use super::store::default_store;

/// What names a program and its targets; shared by the verbs.
#[derive(Debug, Args)]
pub(crate) struct Selection {
    /// The program (a path that ends in .bkl, or of a file; default build.bkl) and the targets to take:
    /// `bkl build app`, `bkl build ci.bkl images.api`. None: all `pub` targets if there are some, else all
    #[arg(value_name = "PROGRAM | TARGET")]
    pub(crate) words: Vec<String>,

    /// The program, when its name is no .bkl file
    #[arg(short = 'f', long = "file", value_name = "PROGRAM")]
    pub(crate) file: Option<PathBuf>,
}

/// What decides the values of a program; shared by the verbs that evaluate.
#[derive(Debug, Args)]
pub(crate) struct Inputs {
    /// Set a parameter: `-p version=1.2.0`; lists by comma or repeated; records and maps as JSON; `-p notes=@FILE`
    /// reads the value from a file
    #[arg(short = 'p', long = "param", value_name = "NAME=VALUE")]
    pub(crate) params: Vec<String>,

    /// Platform to build for, instead of this machine's: linux/arm64; several by comma
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_delimiter = ',')]
    pub(crate) platform: Vec<String>,

    /// The lock file, instead of bkl.lock beside the program
    #[arg(long, value_name = "FILE")]
    pub(crate) lock: Option<PathBuf>,

    /// Refuse to change the lock file: everything must be pinned already
    #[arg(long)]
    pub(crate) locked: bool,

    /// For this run, take SOURCE for the image REF of the program: `oci-layout://DIR[:TAG]` of disk, or
    /// `docker-image://REF`; without `REF=`, a layout's images stand for their own names. May be repeated; the lock
    /// file neither decides nor learns it
    #[arg(long = "image", value_name = "[REF=]SOURCE", conflicts_with = "locked")]
    pub(crate) images: Vec<String>,

    /// Confine commands that have no argument `security` as if they said `.strict`
    #[arg(long)]
    pub(crate) strict: bool,

    /// Where images, results and caches are kept
    #[arg(long, value_name = "DIR", env = "BKL_STORE", default_value_os_t = default_store())]
    pub(crate) store: PathBuf,
}

/// A marshalled graph in the place of a program, and what its sources are here.
#[derive(Debug, Args)]
pub(crate) struct Definition {
    /// A pb.Definition in the place of a program, as `bkl lower` and BuildKit's clients write it; `-` is stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "params", "platform", "lock", "locked", "images"])]
    pub(crate) llb: Option<PathBuf>,

    /// The directory that the definition calls NAME. May be repeated
    #[arg(long = "local", value_name = "NAME=DIR", requires = "llb")]
    pub(crate) locals: Vec<String>,

    /// The OCI layout that the definition's content store NAME is. May be repeated
    #[arg(long = "oci-layout", value_name = "NAME=DIR", requires = "llb")]
    pub(crate) layouts: Vec<String>,
}
