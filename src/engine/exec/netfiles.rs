//! The texts of /etc/hosts and /etc/resolv.conf of a command (BuildKit `executor/oci/{hosts,resolvconf}.go`).

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use super::spec::HostLine;

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

/// Which name servers a command can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// All that the host can.
    Host,
    /// None on the host's loopback.
    Isolated,
    /// None there, but this address leads to the host's own, wherever it listens.
    Forwarded(IpAddr),
}

/// Text of /etc/resolv.conf for a command, from the host's files.
pub(crate) fn resolv_conf(reach: Reach) -> String {
    let read = |path| std::fs::read_to_string(Path::new(path)).unwrap_or_default();
    let host = read("/etc/resolv.conf");
    // systemd-resolved's stub listens on the host's loopback only; the real servers stand in its own file.
    if reach != Reach::Host && servers(&host) == ["127.0.0.53"] {
        return filter_servers(&read("/run/systemd/resolve/resolv.conf"), reach);
    }
    filter_servers(&host, reach)
}

/// Whether commands that reach a forwarder at `address` are told to ask there.
pub(crate) fn names(address: IpAddr) -> bool {
    servers(&resolv_conf(Reach::Forwarded(address))).contains(&address.to_string().as_str())
}

/// The text with the servers that can be reached; when none remains, with the one that is forwarded to or the default ones.
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
        let forwarder = match reach {
            // Nothing listens there when the host has no server at all.
            Reach::Forwarded(address) if !all.is_empty() => Some(address.to_string()),
            Reach::Forwarded(_) | Reach::Host | Reach::Isolated => None,
        };
        let servers = match &forwarder {
            Some(one) => &[one.as_str()],
            None => DEFAULT_SERVERS,
        };
        for it in servers {
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
