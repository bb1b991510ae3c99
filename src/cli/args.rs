//! The command line: what is accepted, and what each word means.

use std::ffi::OsStr;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{EnumValueParser, PossibleValue, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

use super::kept::{self, Collection, Restriction};
use crate::engine::exec::SandboxNetwork;
use crate::store::gc::Space;

/// A typed, declarative language for container builds, with its own solver.
#[derive(Debug, Parser)]
#[command(name = "bkl", version, propagate_version = true, disable_help_subcommand = true)]
#[command(after_help = "Start with `bkl build --list`, which shows what the program in build.bkl can build.")]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build targets of a program, on this machine and without a daemon
    Build(Box<Build>),
    /// Parse and type-check a program; nothing is built and nothing is fetched
    Check(Check),
    /// Run the tests of a program and the examples in its docs; asserted checks run as steps of a build
    Test(Test),
    /// Show what would be built: LLB for buildctl, JSON, or a graph for Graphviz
    Lower(Lower),
    /// Draw what would be built: steps, what they use, targets; as Mermaid, DOT, SVG or a page of HTML
    Graph(Graph),
    /// Pin everything that the program refers to and bkl.lock does not have yet; nothing is built
    Lock(Lock),
    /// Look what pinned references mean now, and pin that
    Update(Update),
    /// Put programs into the one layout; comments stay, and nothing but the layout changes
    Fmt(Fmt),
    /// Say what a diagnostic's code means, with a wrong and a right program; without a code, list them
    Explain(Explain),
    /// Print the reference of a module: its types, functions, parameters and targets with their docs
    Doc(Doc),
    /// Say why a step runs: the first thing that is not as it was when it last ran
    Why(Why),
    /// Show the whole output of a step, also of one whose result is cached; without a step, list what is kept
    Log(Log),
    /// Show what the store holds, and what each thing takes
    Du(Du),
    /// Remove what no build uses just now from the store, and say what was gained
    Prune(Prune),
    /// Write a first build.bkl, for what the folder holds (Go, Rust, Node, Python), and a .bklignore
    Init(Init),
    /// Serve an editor: the Language Server Protocol on stdin and stdout
    Lsp(Lsp),
    /// Print a completion script for a shell
    Completions(Completions),
    /// Write the manual pages
    Man(Man),
}

/// Root's lies with the machine's state, another user's with his data.
fn default_store() -> PathBuf {
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

/// What commands are given that no file of the program holds.
#[derive(Debug, Args)]
pub(crate) struct Secrets {
    /// A secret for commands that ask for it: `id=token,src=FILE` or `id=token,env=VARIABLE`; only `id=token` is the
    /// variable of that name, else the file
    #[arg(long = "secret", value_name = "id=ID[,src=FILE|,env=VARIABLE]")]
    pub(crate) secrets: Vec<String>,

    /// An agent for commands and git sources that ask for it: `default` or an id is that of SSH_AUTH_SOCK;
    /// `id=SOCKET` is another one, `id=KEYFILE` one that has these keys
    #[arg(long = "ssh", value_name = "default|ID[=SOCKET|KEYFILE[,KEYFILE]]")]
    pub(crate) ssh: Vec<String>,
}

/// What commands are allowed to do; shared by the verbs that run some.
#[derive(Debug, Args)]
pub(crate) struct Commands {
    /// Grant what commands of the program request: `network.host`, the host's network; `security.insecure`, no
    /// confinement; `device`, all devices, or `device=NAME`. May be repeated, or several by comma
    #[arg(long = "allow", value_name = "ENTITLEMENT", value_delimiter = ',')]
    pub(crate) allow: Vec<String>,

    /// What commands are connected to that ask for no other network
    #[arg(long, value_parser = or_default::<Sandbox>(), env = "BKL_NETWORK", default_value = "auto", hide_env_values = true)]
    pub(crate) network: Sandbox,

    /// What is removed from the store after the build, in the background: `on`, what is wanted least, so that the store
    /// takes at most 100 GB and 80 % of the disk, and 20 % of it stay free; `off`, nothing; or other limits:
    /// `max-used-space=20GB,reserved-space=5GB,min-free-space=10%,max-used-inodes=1000000`
    #[arg(long, value_name = "on|off|LIMITS", value_parser = kept::collection, env = "BKL_GC", default_value = "on", hide_env_values = true)]
    pub(crate) gc: Collection,
}

/// What the sandbox of commands is connected to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sandbox {
    #[default]
    /// The outside, by pasta or slirp4netns; the host's network, with a warning, where neither works
    Auto,
    /// The outside, by pasta
    Pasta,
    /// The outside, by slirp4netns
    Slirp4netns,
    /// The host's network
    Host,
    /// Nothing
    None,
}

impl From<Sandbox> for SandboxNetwork {
    fn from(sandbox: Sandbox) -> SandboxNetwork {
        match sandbox {
            Sandbox::Auto => SandboxNetwork::Auto,
            Sandbox::Pasta => SandboxNetwork::Pasta,
            Sandbox::Slirp4netns => SandboxNetwork::Slirp4netns,
            Sandbox::Host => SandboxNetwork::Host,
            Sandbox::None => SandboxNetwork::None,
        }
    }
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

/// What is exchanged with other machines.
#[derive(Debug, Args)]
pub(crate) struct Caches {
    /// Use results of a cache that was exported, or of an image that has one: `type=registry,ref=REF`, or only `REF`;
    /// `type=local,src=DIR[,tag=TAG|,digest=DIGEST]`. May be repeated
    #[arg(long = "cache-from", value_name = "SPEC")]
    pub(crate) cache_from: Vec<String>,

    /// Export the cache of this build, for bkl and BuildKit: `type=registry,ref=REF`, `type=local,dest=DIR`, or
    /// `type=inline` into the image; `mode=max` also has the results of steps in between. May be repeated
    #[arg(long = "cache-to", value_name = "SPEC")]
    pub(crate) cache_to: Vec<String>,
}

/// How errors are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Human,
    /// One line each
    Short,
    /// A JSON array, for tools
    Json,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    #[default]
    /// tty on a terminal, plain elsewhere
    Auto,
    /// Live and collapsed
    Tty,
    /// Every line of every step
    Plain,
    /// BuildKit's status messages as JSON lines
    Rawjson,
    /// Nothing but errors
    Quiet,
}

/// Reads a `T`; the empty text, as of `BUILDKIT_PROGRESS=`, is its default.
#[derive(Debug)]
pub(crate) struct OrDefault<T>(PhantomData<fn() -> T>);

/// The parser of `T`.
pub(crate) fn or_default<T>() -> OrDefault<T> {
    OrDefault(PhantomData)
}

impl<T> Clone for OrDefault<T> {
    fn clone(&self) -> OrDefault<T> {
        or_default()
    }
}

impl<T: ValueEnum + Default + Clone + Send + Sync + 'static> TypedValueParser for OrDefault<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<T, clap::Error> {
        if value.is_empty() {
            return Ok(T::default());
        }
        EnumValueParser::<T>::new().parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(T::value_variants().iter().filter_map(T::to_possible_value)))
    }
}

/// `bkl build`
#[derive(Debug, Args)]
pub(crate) struct Build {
    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) selection: Selection,

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) inputs: Inputs,

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) secrets: Secrets,

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) commands: Commands,

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) definition: Definition,

    /// Where results go: `dir`, `type=oci|docker|tar|local,dest=PATH`; `-` is stdout. Without it, targets declared
    /// with `-> "dir"` go there and the others stay in the store
    #[arg(short = 'o', long = "output", value_name = "SPEC")]
    pub(crate) output: Option<String>,

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) caches: Caches,

    /// How progress is shown
    #[arg(long, value_parser = or_default::<Progress>(), env = "BUILDKIT_PROGRESS", default_value = "auto", hide_env_values = true)]
    pub(crate) progress: Progress,

    /// Show the targets of the program with their types and docs, and build nothing
    #[arg(long, conflicts_with = "llb")]
    pub(crate) list: bool,

    /// Run every step, even when its result is cached
    #[arg(long)]
    pub(crate) no_cache: bool,

    /// Run these even when their results are cached: a target is all of its steps, else a step by its name or command
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) no_cache_filter: Vec<String>,

    /// Open a shell where a command failed, on this terminal, with its mounts, variables, user and directory; when the
    /// shell is left, the build fails as it would have
    #[arg(long)]
    pub(crate) shell_on_failure: bool,

    /// Commands at once; the number of processors when not given
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<usize>,

    /// Write the digests of what was built to a file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,

    /// How errors and lists are printed
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
}

/// `bkl check`
#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) selection: Selection,

    /// How errors are printed
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
}

/// `bkl test`
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// The program (default build.bkl), and parts of the names of the tests and examples to run:
    /// `bkl test lib/util.bkl version`; of a file of Markdown, its examples: `bkl test README.md`
    #[arg(value_name = "PROGRAM | NAME")]
    pub(crate) words: Vec<String>,

    /// The program, when its name is no .bkl file
    #[arg(short = 'f', long = "file", value_name = "PROGRAM")]
    pub(crate) file: Option<PathBuf>,

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) inputs: Inputs,

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) secrets: Secrets,

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) commands: Commands,

    /// Evaluate only: asserted checks are not run
    #[arg(long)]
    pub(crate) no_run: bool,

    /// Only the examples in the docs of the program
    #[arg(long)]
    pub(crate) doc: bool,

    /// How the progress of checks is shown
    #[arg(long, value_enum, env = "BUILDKIT_PROGRESS", default_value = "quiet", hide_env_values = true)]
    pub(crate) progress: Progress,

    /// How errors are printed
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
}

/// What `bkl lower` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Emit {
    /// A pb.Definition, for `buildctl build`
    Llb,
    /// The definition as JSON, in the shape of protobuf's JSON mapping
    Json,
    /// The graph, for Graphviz
    Dot,
    /// The image config, for the exporter attribute containerimage.config
    Config,
    /// The command lines that build each target with BuildKit, its config and what it asks of the client included
    Buildctl,
}

/// `bkl lower`
#[derive(Debug, Args)]
pub(crate) struct Lower {
    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) selection: Selection,

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) inputs: Inputs,

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) secrets: Secrets,

    /// What to print
    #[arg(long, value_enum, default_value = "llb")]
    pub(crate) emit: Emit,

    /// 0: op for op what BuildKit's Go client writes; 1: after the passes
    #[arg(short = 'O', value_name = "LEVEL", default_value = "1", value_parser = clap::value_parser!(u8).range(0..=1))]
    pub(crate) level: u8,

    /// Of images for several platforms, only the one for this platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) only: Option<String>,

    /// The daemon that will build it: `buildkit-v0.12`, or a file with a capability per line. What it cannot do is
    /// replaced where there is a way, and refused otherwise
    #[arg(long, value_name = "buildkit-vX.Y | FILE")]
    pub(crate) caps: Option<String>,

    /// The value of local.unique, instead of a random one
    #[arg(long, value_name = "ID")]
    pub(crate) unique: Option<String>,

    /// Print what the passes did to stderr; -O0 has none
    #[arg(long)]
    pub(crate) stats: bool,

    /// Write here instead of stdout; into a folder, a file per target and platform. The commands of `--emit buildctl`
    /// are printed in any case, and take the definitions from that folder
    #[arg(short = 'o', long = "output", value_name = "FILE | DIR/")]
    pub(crate) output: Option<PathBuf>,

    /// How errors are printed
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
}

/// What `bkl graph` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphFormat {
    /// For Markdown, as on GitHub
    Mermaid,
    /// For Graphviz
    Dot,
    /// A picture
    Svg,
    /// One page to walk about in, with what each step is; needs no other file and no network
    Html,
}

/// `bkl graph`
#[derive(Debug, Args)]
pub(crate) struct Graph {
    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) selection: Selection,

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) inputs: Inputs,

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) secrets: Secrets,

    /// Draw a pb.Definition in the place of a program; `-` is stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "words", "file", "params", "platform", "lock", "locked", "images",
    ])]
    pub(crate) llb: Option<PathBuf>,

    /// What to write; when not given, what the name of the file says (.mmd, .dot, .svg, .html), else mermaid
    #[arg(long, value_enum)]
    pub(crate) format: Option<GraphFormat>,

    /// 0: the steps as the program makes them; 1: after the passes, as they are built
    #[arg(short = 'O', value_name = "LEVEL", default_value = "1", value_parser = clap::value_parser!(u8).range(0..=1))]
    pub(crate) level: u8,

    /// Write here instead of stdout
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// `bkl lock`
#[derive(Debug, Args)]
pub(crate) struct Lock {
    /// The program (default build.bkl)
    #[arg(value_name = "PROGRAM")]
    pub(crate) words: Vec<String>,

    /// The program, when its name is no .bkl file
    #[arg(short = 'f', long = "file", value_name = "PROGRAM")]
    pub(crate) file: Option<PathBuf>,

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) inputs: Inputs,

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) secrets: Secrets,

    /// How errors and what was pinned are printed
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
}

/// `bkl update`
#[derive(Debug, Args)]
pub(crate) struct Update {
    /// The program (default build.bkl), and what to look at: an image, a URL, or a URL and a branch, as in
    /// `bkl update debian:bookworm https://example.com/x.git#main`; all when not given
    #[arg(value_name = "PROGRAM | REFERENCE")]
    pub(crate) words: Vec<String>,

    /// The program, when its name is no .bkl file
    #[arg(short = 'f', long = "file", value_name = "PROGRAM")]
    pub(crate) file: Option<PathBuf>,

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) inputs: Inputs,

    #[command(flatten)]
    #[allow(missing_docs, reason = "see the type")]
    pub(crate) secrets: Secrets,

    /// Change nothing: say what is newer, and fail if something is
    #[arg(long)]
    pub(crate) check: bool,

    /// Remove what the program no longer refers to, with these parameters and platforms
    #[arg(long, conflicts_with = "check")]
    pub(crate) prune: bool,

    /// How errors and what has changed are printed
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
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

    /// Where images, results and caches are kept
    #[arg(long, value_name = "DIR", env = "BKL_STORE", default_value_os_t = default_store())]
    pub(crate) store: PathBuf,

    /// How the list and errors are printed
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
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

    /// Where images, results and caches are kept
    #[arg(long, value_name = "DIR", env = "BKL_STORE", default_value_os_t = default_store())]
    pub(crate) store: PathBuf,

    /// How the list and errors are printed
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
}

/// `bkl fmt`
#[derive(Debug, Args)]
pub(crate) struct Fmt {
    /// Programs, and folders whose .bkl files are meant; build.bkl when not given
    #[arg(value_name = "FILE | FOLDER")]
    pub(crate) files: Vec<PathBuf>,

    /// Change nothing: name the files that are not formatted, and fail if there are some
    #[arg(long)]
    pub(crate) check: bool,

    /// Read a program from stdin and print it
    #[arg(long, conflicts_with = "files")]
    pub(crate) stdin: bool,

    /// How errors are printed
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
}

/// `bkl explain`
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// A code as diagnostics print it: `bkl::type_mismatch`, or `type_mismatch`
    pub(crate) code: Option<String>,
}

/// What `bkl doc` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DocFormat {
    /// Markdown
    Markdown,
    /// One page of HTML that needs no other file
    Html,
}

/// `bkl doc`
#[derive(Debug, Args)]
pub(crate) struct Doc {
    /// A program, a module of the library (`std/go`), or all of it (`std`: an index, and with -o every page); build.bkl
    /// when not given
    #[arg(value_name = "PROGRAM | std | std/NAME")]
    pub(crate) module: Option<String>,

    /// What to write
    #[arg(long, value_enum, default_value = "markdown")]
    pub(crate) format: DocFormat,

    /// Write a file into this folder instead of printing
    #[arg(short = 'o', long = "output", value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
}

/// `bkl init`
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Where to; the current folder when not given
    #[arg(value_name = "FOLDER", default_value = ".")]
    pub(crate) folder: PathBuf,
}

/// `bkl lsp`
#[derive(Debug, Args)]
pub(crate) struct Lsp {
    /// Taken because editors add it; stdin and stdout are all there is
    #[arg(long, hide = true)]
    pub(crate) stdio: bool,
}

/// `bkl completions`
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

/// Shells there are completion scripts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// bash
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}

/// `bkl man`
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The folder to write bkl.1, bkl-build.1 and so on into; it is made when missing
    #[arg(short = 'o', long = "output", value_name = "DIR")]
    pub(crate) output: PathBuf,
}
