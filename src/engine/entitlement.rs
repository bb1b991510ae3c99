//! What a command may only have if whoever builds says so: the host's network, no confinement, devices.
//!
//! An op requests, the person who builds grants (`--allow`), and [`authorize`] is the one place where the two meet. What it
//! gives are [`Granted`] tokens, which nobody else can make: whoever runs commands takes them, not flags, so that no way to a
//! command leads around this file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;

use crate::graph::ir::{ExecOp, Graph, NetMode, Op, SecurityMode, Tree};

/// Something that has to be granted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entitlement {
    /// The network of the host.
    NetworkHost,
    /// All capabilities and devices, and no filter of system calls.
    SecurityInsecure,
    /// The device of this name (CDI: `vendor/class=name`).
    Device(String),
}

/// As `--allow` takes it.
impl fmt::Display for Entitlement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Entitlement::NetworkHost => f.write_str("network.host"),
            Entitlement::SecurityInsecure => f.write_str("security.insecure"),
            Entitlement::Device(name) => write!(f, "device={name}"),
        }
    }
}

/// What is granted to the commands of a build. The default is nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    network_host: bool,
    security_insecure: bool,
    all_devices: bool,
    devices: BTreeSet<String>,
}

/// A text that names no entitlement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no entitlement `{text}`")]
pub struct UnknownEntitlement {
    /// What was given.
    pub text: String,
}

impl Grants {
    /// The forms that [`Grants::of`] takes, for people.
    pub const FORMS: [&str; 4] = ["network.host", "security.insecure", "device", "device=NAME"];

    /// The grants that `texts` name: `network.host`, `security.insecure`, `device` (all of them), `device=NAME`.
    ///
    /// # Errors
    /// For the first text that is none of these.
    pub fn of<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Grants, UnknownEntitlement> {
        let mut grants = Grants::default();
        for text in texts {
            match text.as_ref() {
                "network.host" => grants.network_host = true,
                "security.insecure" => grants.security_insecure = true,
                "device" => grants.all_devices = true,
                text => match text.strip_prefix("device=").filter(|name| !name.is_empty()) {
                    Some(name) => {
                        grants.devices.insert(name.to_owned());
                    }
                    None => return Err(UnknownEntitlement { text: text.to_owned() }),
                },
            }
        }
        Ok(grants)
    }

    /// Whether this is granted.
    pub fn has(&self, entitlement: &Entitlement) -> bool {
        match entitlement {
            Entitlement::NetworkHost => self.network_host,
            Entitlement::SecurityInsecure => self.security_insecure,
            Entitlement::Device(name) => self.all_devices || self.devices.contains(name),
        }
    }
}

/// As `--allow` takes them, sorted, with commas between; empty when there are none.
impl fmt::Display for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let devices = self.devices.iter().filter(|_| !self.all_devices).map(|it| format!("device={it}"));
        let named = [
            (self.all_devices, "device"),
            (self.network_host, "network.host"),
            (self.security_insecure, "security.insecure"),
        ];
        let named = named.into_iter().filter(|(is_granted, _)| *is_granted).map(|(_, name)| name.to_owned());
        f.write_str(&named.chain(devices).collect::<Vec<_>>().join(","))
    }
}

/// Proof that `E` was granted to one command.
pub struct Granted<E> {
    entitlement: PhantomData<fn() -> E>,
}

/// The network of the host, as a type.
pub enum HostNetwork {}

/// No confinement, as a type.
pub enum Insecure {}

/// All devices that the op names, as a type.
pub enum NamedDevices {}

impl<E> Granted<E> {
    /// Private: only [`authorize`] has the right to.
    fn new() -> Granted<E> {
        Granted { entitlement: PhantomData }
    }
}

impl<E> Clone for Granted<E> {
    fn clone(&self) -> Granted<E> {
        *self
    }
}

impl<E> Copy for Granted<E> {}

impl<E> fmt::Debug for Granted<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Granted")
    }
}

/// What a command was granted: a token for each thing that it requests.
#[derive(Debug, Clone, Copy)]
pub struct Authorized {
    /// If it requests the host's network.
    pub host_network: Option<Granted<HostNetwork>>,
    /// If it requests to run without confinement.
    pub insecure: Option<Granted<Insecure>>,
    /// If it names devices.
    pub devices: Option<Granted<NamedDevices>>,
}

/// What a command requests and was not granted; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it requests {}, which is not allowed", list(missing))]
pub struct Denied {
    /// In the order of [`requested`].
    pub missing: Vec<Entitlement>,
}

impl Denied {
    /// The flags that would allow it.
    pub fn flags(&self) -> String {
        let flags: Vec<String> = self.missing.iter().map(|it| format!("--allow {it}")).collect();
        flags.join(" ")
    }
}

/// Entitlements in backticks, for a sentence.
pub fn list(entitlements: &[Entitlement]) -> String {
    let quoted: Vec<String> = entitlements.iter().map(|it| format!("`{it}`")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [before @ .., last] => format!("{} and {last}", before.join(", ")),
    }
}

/// What an op requests, in one order.
///
/// A device that may be missing is requested like any other: whether there is one changes the result, and a result that
/// was made with it must not be anybody's who may not have it.
pub fn requested(op: &ExecOp) -> Vec<Entitlement> {
    let network = (op.network == NetMode::Host).then_some(Entitlement::NetworkHost);
    let security = (op.security == SecurityMode::Insecure).then_some(Entitlement::SecurityInsecure);
    let devices: BTreeSet<&String> = op.cdi_devices.iter().map(|it| &it.name).collect();
    let devices = devices.into_iter().map(|it| Entitlement::Device(it.clone()));
    network.into_iter().chain(security).chain(devices).collect()
}

/// The tokens for what `op` requests.
///
/// # Errors
/// [`Denied`] when something of it is not in `grants`.
pub fn authorize(op: &ExecOp, grants: &Grants) -> Result<Authorized, Denied> {
    let requested = requested(op);
    let missing: Vec<Entitlement> = requested.iter().filter(|it| !grants.has(it)).cloned().collect();
    if !missing.is_empty() {
        return Err(Denied { missing });
    }
    let has = |is: fn(&Entitlement) -> bool| requested.iter().any(is);
    Ok(Authorized {
        host_network: has(|it| matches!(it, Entitlement::NetworkHost)).then(Granted::new),
        insecure: has(|it| matches!(it, Entitlement::SecurityInsecure)).then(Granted::new),
        devices: has(|it| matches!(it, Entitlement::Device(_))).then(Granted::new),
    })
}

/// Names of steps that a line shows.
const MAX_NAMES: usize = 3;

/// What commands that `roots` are made of request and are granted, a line for each: `granted: network.host to …`. `short`
/// makes names of steps fit into one.
pub fn granted(
    graph: &Graph,
    roots: &[Tree],
    grants: &Grants,
    short: &dyn Fn(&str) -> String,
) -> Vec<String> {
    let needed = graph.needed(roots);
    let mut wanted: BTreeMap<Entitlement, Vec<String>> = BTreeMap::new();
    for (id, vertex) in graph.vertices() {
        if let (true, Op::Exec(op)) = (needed[id.0 as usize], &vertex.op) {
            for entitlement in requested(op).into_iter().filter(|it| grants.has(it)) {
                wanted.entry(entitlement).or_default().push(short(&vertex.name()));
            }
        }
    }
    let line = |(entitlement, mut names): (Entitlement, Vec<String>)| {
        names.dedup();
        let n_more = names.len().saturating_sub(MAX_NAMES);
        names.truncate(MAX_NAMES);
        let names: Vec<String> = names.iter().map(|it| format!("`{it}`")).collect();
        let more = if 0 < n_more { format!(" and {n_more} more") } else { String::new() };
        format!("granted: {entitlement} to {}{more}", names.join(", "))
    };
    wanted.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests;
