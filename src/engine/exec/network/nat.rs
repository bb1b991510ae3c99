//! The programs that connect a namespace to the outside: how each is called, and when it is ready.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::link;
use super::message::Wish;
use crate::engine::exec::netfiles;

/// A program that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    /// Of passt.
    Pasta,
    /// On libslirp.
    Slirp4netns,
}

impl Kind {
    /// Its name, also that of the program.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Pasta => "pasta",
            Kind::Slirp4netns => "slirp4netns",
        }
    }
}

// Of the network between namespace and NAT, as slirp4netns has them.
const GATEWAY: u8 = 2;
const FORWARDER: u8 = 3;
const OWN: u8 = 100;
/// The same of IPv6, a prefix that nobody else has. It is there only where the host has IPv6.
const OWN6: &str = "fd62:6b6c::100";
const GATEWAY6: &str = "fd62:6b6c::2";

/// Networks to choose from: one that the host has no route into hides nothing from commands.
const SUBNETS: [Ipv4Addr; 3] =
    [Ipv4Addr::new(10, 0, 2, 0), Ipv4Addr::new(172, 30, 254, 0), Ipv4Addr::new(192, 168, 254, 0)];

/// The first of the networks that the host does not use; the first of all when it uses all.
pub(super) fn free_subnet() -> Ipv4Addr {
    let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    first_free(&routes)
}

fn first_free(routes: &str) -> Ipv4Addr {
    // Interface, destination, gateway, flags, …, mask: addresses as the machine stores them, in hexadecimal.
    let routes = routes.lines().skip(1).filter_map(|line| {
        let mut words = line.split_whitespace();
        let number = |it: Option<&str>| u32::from_str_radix(it?, 16).ok().map(u32::from_be);
        Some((number(words.nth(1))?, number(words.nth(5))?))
    });
    let routes: Vec<(u32, u32)> = routes.filter(|(_, mask)| *mask != 0).collect();
    let is_free = |subnet: &Ipv4Addr| {
        let subnet = subnet.to_bits();
        // Either may hold the other.
        !routes.iter().any(|(to, mask)| subnet & mask == *to || to & 0xffff_ff00 == subnet)
    };
    SUBNETS.into_iter().find(is_free).unwrap_or(SUBNETS[0])
}

/// The address at which the NAT passes questions on to the host's own name server, wherever that listens.
pub(super) fn forwarder(subnet: Ipv4Addr) -> Ipv4Addr {
    host(subnet, FORWARDER)
}

fn host(subnet: Ipv4Addr, number: u8) -> Ipv4Addr {
    let [a, b, c, _] = subnet.octets();
    Ipv4Addr::new(a, b, c, number)
}

/// The program `name` in the directories of `path`.
pub(super) fn find(name: &str, path: &OsStr) -> Option<PathBuf> {
    let is_program = |it: &PathBuf| {
        it.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    path.as_bytes()
        .split(|it| *it == b':')
        .map(|dir| Path::new(OsStr::from_bytes(dir)).join(name))
        .find(|it| it.is_absolute() && is_program(it))
}

/// A NAT that is to be started, and what becomes readable when it is ready.
pub(super) struct Start {
    pub(super) command: Command,
    pub(super) ready: OwnedFd,
}

/// How the NAT of `wish` is started for the namespace at `namespace`. `fifo` is a path where there may be a file, until it is
/// ready.
pub(super) fn start(wish: &Wish, namespace: &Path, fifo: &Path) -> io::Result<Start> {
    let mut command = Command::new(&wish.program);
    command.env_clear().current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
    let ready = match wish.kind {
        Kind::Pasta => {
            rustix::fs::mknodat(
                rustix::fs::CWD,
                fifo,
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::from_raw_mode(0o600),
                0,
            )?;
            // Open for both, it never ends, and whoever writes does not wait.
            let ready = File::options().read(true).write(true).open(fifo)?;
            command
                .args(["--foreground", "--quiet", "--config-net", "--netns-only"])
                // It gives up everything but what it needs by itself; as another user it could not enter the namespace.
                .args(["--runas", "0:0"])
                // No way in, and none to the host's own ports.
                .args(["-t", "none", "-u", "none", "-T", "none", "-U", "none", "--no-map-gw"])
                .args(["--no-dhcp", "--no-dhcpv6", "--no-ra"])
                .args(["-I", link::NAME])
                .args(["-a", &host(wish.subnet, OWN).to_string(), "-n", "24"])
                .args(["-g", &host(wish.subnet, GATEWAY).to_string()])
                .args(["-a", OWN6, "-g", GATEWAY6])
                // Written when it has set everything up.
                .arg("-P")
                .arg(fifo)
                .arg("--netns")
                .arg(namespace);
            // Where it forwards, its answers in the host's server's name bear the forwarder's address, and nobody knows them.
            let forwarder = forwarder(wish.subnet);
            if netfiles::names(forwarder.into()) {
                command.args(["--dns-forward", &forwarder.to_string()]);
            }
            ready.into()
        }
        Kind::Slirp4netns => {
            let (ready, ready_in) = io::pipe()?;
            command
                .args(["--configure", "--mtu=65520", "--disable-host-loopback"])
                .args(["--enable-sandbox", "--enable-seccomp"])
                .arg(format!("--cidr={}/24", wish.subnet))
                // Standard input is the one descriptor whose number is known.
                .stdin(Stdio::from(OwnedFd::from(ready_in)))
                .args(["--ready-fd=0", "--netns-type=path"])
                .arg(namespace)
                .arg(link::NAME);
            ready.into()
        }
    };
    Ok(Start { command, ready })
}

/// What a NAT that failed had to say: its last line that means something.
pub(super) fn complaint(text: &str) -> Option<&str> {
    let is_noise = |line: &&str| {
        line.is_empty() || line.starts_with("Failed to send ") || line.starts_with("Don't run as root")
    };
    text.lines().rev().map(str::trim).find(|line| !is_noise(line))
}

#[cfg(test)]
mod tests;
