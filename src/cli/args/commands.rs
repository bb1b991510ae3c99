//! What commands are given and allowed, and what is exchanged with other machines.

use clap::{Args, ValueEnum};

use super::output::or_default;
use crate::cli::kept::{self, Collection};
use crate::engine::exec::SandboxNetwork;

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
