//! The texts of /etc/hosts and /etc/resolv.conf of a command (BuildKit `executor/oci/{hosts,resolvconf}.go`).

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use super::spec::{HostLine, Network};

/// Servers for a container whose host has none that it can reach (libnetwork's defaults).
const DEFAULT_SERVERS: &[&str] = &["8.8.8.8", "8.8.4.4", "2001:4860:4860::8888", "2001:4860:4860::8844"];

/// Text of /etc/hosts.
pub(crate) fn hosts(hostname: &str, extra: &[HostLine]) -> String {
    let mut text = format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for line in extra {
        writeln!(text, "{}\t{}", line.ip, line.host).expect("writing to a string cannot fail");
    }
    text
}

/// Text of /etc/resolv.conf for a command with this network, from the host's files.
pub(crate) fn resolv_conf(network: Network) -> String {
    let read = |path| std::fs::read_to_string(Path::new(path)).unwrap_or_default();
    let host = read("/etc/resolv.conf");
    match network {
        Network::Host | Network::Sandbox => filter_servers(&host, Reach::Host),
        // systemd-resolved's stub listens on the host's loopback only; the real servers stand in its own file.
        Network::None if servers(&host) == ["127.0.0.53"] => {
            filter_servers(&read("/run/systemd/resolve/resolv.conf"), Reach::Isolated)
        }
        Network::None => filter_servers(&host, Reach::Isolated),
    }
}

/// Which servers a command could reach.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    Host,
    Isolated,
}

/// The text with the servers that can be reached, and the default ones when none remains.
fn filter_servers(text: &str, reach: Reach) -> String {
    let all = servers(text);
    if reach == Reach::Host && !all.is_empty() {
        return text.to_owned();
    }
    let is_loopback = |it: &str| it.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let mut out: String = text
        .lines()
        .filter(|line| !server(line).is_some_and(is_loopback))
        .flat_map(|line| [line, "\n"])
        .collect();
    if servers(&out).is_empty() {
        for it in DEFAULT_SERVERS {
            writeln!(out, "nameserver {it}").expect("writing to a string cannot fail");
        }
    }
    out
}

fn servers(text: &str) -> Vec<&str> {
    text.lines().filter_map(server).collect()
}

fn server(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    (words.next() == Some("nameserver")).then(|| words.next()).flatten()
}

#[cfg(test)]
mod tests;
