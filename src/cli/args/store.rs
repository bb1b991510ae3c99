//! What looks at the store and tidies it: `bkl why`, `bkl log`, `bkl du` and `bkl prune`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{Definition, Format, Inputs};
use crate::cli::kept::{self, Restriction};
use crate::store::gc::Space;

/// Root's lies with the machine's state, another user's with his data.
pub(super) fn default_store() -> PathBuf {
    let given = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|it| it.is_absolute());
    match rustix::process::geteuid().is_root() {
        true => PathBuf::from("/var/lib/bkl"),
        false => match (given("XDG_DATA_HOME"), given("HOME")) {
            (Some(data), _) => data.join("bkl"),
            (None, Some(home)) => home.join(".local/share/bkl"),
            (None, None) => PathBuf::from("/var/lib/bkl"),
        },
    }
}

/// `bkl why`
#[derive(Debug, Args)]
pub(crate) struct Why {
    /// A target, or a step by its name, its command, a part of that, or its digest; and the program (default
    /// build.bkl): `bkl why app`, `bkl why compile ci.bkl`. Without a target or step: what `bkl build` builds
    #[arg(value_name = "TARGET | STEP | PROGRAM")]
    pub(crate) words: Vec<String>,

    /// The program, when its name is no .bkl file
    #[arg(short = 'f', long = "file", value_name = "PROGRAM")]
    pub(crate) file: Option<PathBuf>,

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) inputs: Inputs,

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) definition: Definition,

    /// As if the build was given it
    #[arg(long)]
    pub(crate) no_cache: bool,

    /// As if the build was given it
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) no_cache_filter: Vec<String>,

    /// How the answer and errors are printed
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
}

/// `bkl log`
#[derive(Debug, Args)]
pub(crate) struct Log {
    /// A target, or a step by its name, its command, a part of that, or its digest, or a run by the digest that the
    /// list shows; and the program (default build.bkl). Without a target or step: the list
    #[arg(value_name = "TARGET | STEP | PROGRAM")]
    pub(crate) words: Vec<String>,

    /// The program, when its name is no .bkl file
    #[arg(short = 'f', long = "file", value_name = "PROGRAM")]
    pub(crate) file: Option<PathBuf>,

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) inputs: Inputs,

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) definition: Definition,

    /// How the list and errors are printed
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
}

/// Of which store something is listed, and how; shared by the verbs that need no program.
#[derive(Debug, Args)]
pub(crate) struct Listing {
    /// Where images, results and caches are kept
    #[arg(long, value_name = "DIR", env = "BKL_STORE", default_value_os_t = default_store())]
    pub(crate) store: PathBuf,

    /// How the list and errors are printed
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
}

/// `bkl du`
#[derive(Debug, Args)]
pub(crate) struct Du {
    /// Only what this matches: `type==exec.cachemount`, `description~=apt`, `inuse`, several conditions by comma; fields
    /// are id, parents, description, inuse, mutable, immutable, type, shared, private; `until=24h` is what was not
    /// used for a day. May be repeated: what any of them matches
    #[arg(long = "filter", value_name = "FILTER", value_parser = kept::restriction)]
    pub(crate) filters: Vec<Restriction>,

    /// Show all that is known of each, and also the output of each step
    #[arg(short = 'v', long)]
    pub(crate) verbose: bool,

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) listing: Listing,
}

/// `bkl prune`
#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Also what only helps: images of frontends, squashed layers, outputs of steps
    #[arg(short = 'a', long)]
    pub(crate) all: bool,

    /// Only what this matches: `type==exec.cachemount`, `description~=apt`, several conditions by comma; fields are id,
    /// parents, description, inuse, mutable, immutable, type, shared, private; `until=24h` is what was not used for a
    /// day. May be repeated: what any of them matches
    #[arg(long = "filter", value_name = "FILTER", value_parser = kept::restriction)]
    pub(crate) filters: Vec<Restriction>,

    /// Only what was not used for so long: `12h`, `7d`
    #[arg(long, value_name = "DURATION", value_parser = kept::duration)]
    pub(crate) keep_duration: Option<Duration>,

    /// So much stays in any case: `5GB`, `512MiB`, or `10%` of the disk. With this or one of the next only what is wanted
    /// least goes, until the rest may stay
    #[arg(long, visible_alias = "keep-storage", value_name = "SIZE", value_parser = kept::space)]
    pub(crate) reserved_space: Option<Space>,

    /// The most that stays
    #[arg(long, value_name = "SIZE", value_parser = kept::space)]
    pub(crate) max_used_space: Option<Space>,

    /// What should be free on the disk
    #[arg(long, value_name = "SIZE", value_parser = kept::space)]
    pub(crate) min_free_space: Option<Space>,

    /// The most files and directories that stay, or `50%` of what the disk can have
    #[arg(long, value_name = "N", value_parser = kept::space)]
    pub(crate) max_used_inodes: Option<Space>,

    /// Show all that is known of each
    #[arg(short = 'v', long)]
    pub(crate) verbose: bool,

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) listing: Listing,
}
