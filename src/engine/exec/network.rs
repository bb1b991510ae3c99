//! The sandbox's network: a namespace of the command's own, connected to the outside by a NAT that is an ordinary process.
//!
//! Two such programs are known, `pasta` (of passt) and `slirp4netns`. A *keeper*, a helper process of this program, makes the
//! namespaces and starts one NAT for each; it is the first process of a pid namespace, so that all of them end with it, and it
//! ends with the engine however that ends. Namespaces are pooled: a command that finds a free one has its network within
//! microseconds. No two commands that run share one, and one in which anything is left is not used again.
//!
//! - `nat`: how the two programs are called, and when they are ready.
//! - `link`: the interface of a namespace.
//! - `guard`: the filter on it, below all that a command can do: nothing that is for the host's loopback gets through. The
//!   programs themselves would pass it on (a command may send raw frames).
//! - `keeper`: the helper process.
//! - `pool`: namespaces that are free, and what is done where there can be none.
//! - `message`: what engine and keeper say to each other.

mod guard;
pub(crate) mod keeper;
mod link;
mod message;
mod nat;
mod pool;

pub(crate) use pool::{Life, Namespace, Network, Networks, none_to_be_had};

/// What the sandbox of commands is on this machine; chosen by who builds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SandboxNetwork {
    /// A NAT: pasta, else slirp4netns, else, with a notice, the host's network.
    #[default]
    Auto,
    /// A NAT by pasta, or an error.
    Pasta,
    /// A NAT by slirp4netns, or an error.
    Slirp4netns,
    /// The network of the host.
    Host,
    /// Nothing but a loopback.
    None,
}

impl SandboxNetwork {
    /// Its name in options.
    pub fn name(self) -> &'static str {
        match self {
            SandboxNetwork::Auto => "auto",
            SandboxNetwork::Pasta => "pasta",
            SandboxNetwork::Slirp4netns => "slirp4netns",
            SandboxNetwork::Host => "host",
            SandboxNetwork::None => "none",
        }
    }
}
