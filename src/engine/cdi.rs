//! Devices by name, as the Container Device Interface has them (CNCF TAG runtime, SPEC.md): what specifications in the
//! machine's directories say that a container gets for `vendor.com/class=name`.
//!
//! Names are matched as BuildKit matches them (solver/llbsolver/cdidevices, manager.go). Specifications are JSON; those in
//! YAML are not read, and named when a device is not found.

mod spec;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use spec::{DeviceNode, Edits, Mount, Spec, is_class, is_vendor};

use super::exec::{Access, ExecMount, MountSource, NewNode, NodeKind};
use crate::graph::ir::CdiDevice;

/// Where specifications are, of equal names the last counts.
pub const DIRECTORIES: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// A device may say which class it belongs to, besides the one of its name.
const CLASS: &str = "org.mobyproject.buildkit.device.class";

/// Why a command cannot have its devices.
#[derive(Debug, thiserror::Error)]
pub enum CdiError {
    /// The op's name is none.
    #[error("`{name}` does not name a device: `vendor.com/class=device`")]
    Name {
        /// As the op has it.
        name: String,
    },
    /// Nothing has this name.
    #[error(
        "there is no device `{name}` on this machine{}",
        problems.iter().map(|it| format!("; {it}")).collect::<String>()
    )]
    Missing {
        /// As the op has it.
        name: String,
        /// Specifications that were not read.
        problems: Vec<String>,
    },
    /// It wants something of the container that this engine does not do.
    #[error("the device `{name}` needs {what}, which this engine does not do")]
    Unsupported {
        /// Its whole name.
        name: String,
        /// What.
        what: String,
    },
    /// The machine does not have what its specification says.
    #[error("the device `{name}` is not as its specification says: {what}")]
    Node {
        /// Its whole name.
        name: String,
        /// What is wrong.
        what: String,
    },
}

impl CdiError {
    /// The way out, where there is one.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            CdiError::Missing { problems, .. } if problems.iter().any(|it| it.contains(spec::ONLY_JSON)) => {
                Some(
                    "write that specification as JSON: `nvidia-ctk cdi generate --format=json`, or any converter of YAML",
                )
            }
            CdiError::Missing { .. } => Some(
                "specifications are JSON files in /etc/cdi and /var/run/cdi; a device that may be missing is `optional`",
            ),
            CdiError::Unsupported { .. } => Some("build it with BuildKit, or without the device"),
            CdiError::Name { .. } | CdiError::Node { .. } => None,
        }
    }
}

/// What a command gets with its devices.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// `K=V`: instead of others of the same name.
    pub(super) env: Vec<String>,
    pub(super) nodes: Vec<NewNode>,
    pub(super) mounts: Vec<ExecMount>,
    /// Further groups of the process.
    pub(super) groups: Vec<u32>,
}

/// The devices of a machine, by their whole names.
#[derive(Default)]
struct Devices {
    all: BTreeMap<String, Device>,
    /// Files that were not read, and why.
    problems: Vec<String>,
}

struct Device {
    spec: Rc<Spec>,
    /// Index in its specification.
    index: usize,
}

/// What the machine gives for `wanted`, by the specifications in `directories` as they are now. Optional devices that are not
/// there are passed over.
pub(super) fn given(wanted: &[CdiDevice], directories: &[PathBuf]) -> Result<Given, CdiError> {
    let devices = Devices::read(directories);
    let mut names: Vec<String> = Vec::new();
    for device in wanted {
        for name in devices.find(device)? {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    let mut given = Given::default();
    let mut seen: BTreeSet<*const Spec> = BTreeSet::new();
    for name in &names {
        let Device { spec, index } = &devices.all[name];
        if seen.insert(Rc::as_ptr(spec)) {
            given.add(name, &spec.container_edits)?;
        }
        given.add(name, &spec.devices[*index].container_edits)?;
    }
    Ok(given)
}

impl Devices {
    fn read(directories: &[PathBuf]) -> Devices {
        let mut devices = Devices::default();
        for directory in directories {
            // Of equal names in one directory none counts.
            let mut here: BTreeMap<String, Option<Device>> = BTreeMap::new();
            for path in spec_files(directory) {
                let spec = match Spec::read(&path) {
                    Ok(spec) => Rc::new(spec),
                    Err(why) => {
                        devices.problems.push(format!("`{}` is not read: {why}", path.display()));
                        continue;
                    }
                };
                for (index, device) in spec.devices.iter().enumerate() {
                    let name = format!("{}={}", spec.kind, device.name);
                    let device = Device { spec: spec.clone(), index };
                    here.entry(name).and_modify(|it| *it = None).or_insert(Some(device));
                }
            }
            for (name, device) in here {
                match device {
                    Some(device) => {
                        devices.all.insert(name, device);
                    }
                    None => {
                        devices.all.remove(&name);
                        let directory = directory.display();
                        devices.problems.push(format!("`{name}` is there several times in `{directory}`"));
                    }
                }
            }
        }
        devices
    }

    /// The whole names of what `wanted` stands for.
    fn find(&self, wanted: &CdiDevice) -> Result<Vec<String>, CdiError> {
        let bad_name = || CdiError::Name { name: wanted.name.clone() };
        let (kind, name) = wanted.name.split_once('=').unwrap_or((&wanted.name, ""));
        let (vendor, class) = kind.split_once('/').ok_or_else(bad_name)?;
        if !is_vendor(vendor) || !is_class(class) {
            return Err(bad_name());
        }
        let of_kind = self.all.iter().filter(|(_, it)| it.spec.kind == kind);
        let found: Vec<String> = match name {
            "" => of_kind.take(1).map(|(name, _)| name.clone()).collect(),
            "*" => of_kind.map(|(name, _)| name.clone()).collect(),
            _ if self.all.contains_key(&wanted.name) => vec![wanted.name.clone()],
            class => {
                let has_class = |device: &Device| {
                    let own = device.spec.devices[device.index].annotations.get(CLASS);
                    own.or(device.spec.annotations.get(CLASS)).is_some_and(|it| it == class)
                };
                of_kind.filter(|(_, it)| has_class(it)).map(|(name, _)| name.clone()).collect()
            }
        };
        match found.is_empty() && !wanted.optional {
            true => Err(CdiError::Missing { name: wanted.name.clone(), problems: self.problems.clone() }),
            false => Ok(found),
        }
    }
}

/// Specifications of a directory, in the order of their names.
fn spec_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|it| it.path());
    let is_spec = |path: &PathBuf| {
        path.extension().is_some_and(|it| ["json", "yaml", "yml"].iter().any(|known| it == *known))
    };
    let mut files: Vec<PathBuf> = entries.filter(is_spec).collect();
    files.sort();
    files
}

impl Given {
    /// Adds what the device `name` asks for.
    fn add(&mut self, name: &str, edits: &Edits) -> Result<(), CdiError> {
        let unsupported = |what: &str| CdiError::Unsupported { name: name.to_owned(), what: what.to_owned() };
        // They are programs of the host, run as root between the making of a container and its start. BuildKit leaves them to
        // runc; here nothing of the host is run for a command.
        if let Some(hook) = edits.hooks.first() {
            return Err(unsupported(&format!("a hook (`{}`)", hook.path)));
        }
        if edits.intel_rdt.is_some() {
            return Err(unsupported("a class of Intel's RDT"));
        }
        if !edits.net_devices.is_empty() {
            return Err(unsupported("a network device"));
        }
        self.env.extend(edits.env.iter().cloned());
        for node in &edits.device_nodes {
            let node = node_of(name, node)?;
            self.nodes.retain(|it| it.path != node.path);
            self.nodes.push(node);
        }
        for mount in &edits.mounts {
            let source = source_of(mount).ok_or_else(|| {
                let kind = &mount.kind;
                unsupported(&format!("a mount of type `{kind}` on `{}`", mount.container_path))
            })?;
            let access =
                if mount.options.iter().any(|it| it == "ro") { Access::ReadOnly } else { Access::ReadWrite };
            self.mounts.retain(|it| it.dest != mount.container_path);
            self.mounts.push(ExecMount { dest: mount.container_path.clone(), source, access });
        }
        self.groups.extend(edits.additional_gids.iter().filter(|it| **it != 0));
        Ok(())
    }
}

fn source_of(mount: &Mount) -> Option<MountSource> {
    match &*mount.kind {
        "" | "bind" | "none" => {
            Some(MountSource::Dir { path: PathBuf::from(&mount.host_path), selector: String::new() })
        }
        "tmpfs" => Some(MountSource::Tmpfs { size: None }),
        _ => None,
    }
}

/// A node with what its specification leaves to the machine.
fn node_of(name: &str, node: &DeviceNode) -> Result<NewNode, CdiError> {
    let wrong = |what: String| CdiError::Node { name: name.to_owned(), what };
    let path = node
        .path
        .strip_prefix("/dev/")
        .filter(|it| !it.is_empty() && it.split('/').all(|part| !["", ".", ".."].contains(&part)));
    let path = path.ok_or_else(|| CdiError::Unsupported {
        name: name.to_owned(),
        what: format!("a node outside of /dev (`{}`)", node.path),
    })?;
    let named = match &*node.kind {
        "" => None,
        "c" | "u" => Some(NodeKind::Character),
        "b" => Some(NodeKind::Block),
        other => {
            let what = format!("a node of type `{other}`");
            return Err(CdiError::Unsupported { name: name.to_owned(), what });
        }
    };
    let (kind, major, minor) = match (named, node.major) {
        (Some(kind), major) if major != 0 => (kind, major, node.minor),
        _ => {
            let host = if node.host_path.is_empty() { &node.path } else { &node.host_path };
            let found =
                fs::metadata(host).map_err(|error| wrong(format!("cannot look at `{host}`: {error}")))?;
            let kind = match found.file_type() {
                it if it.is_char_device() => NodeKind::Character,
                it if it.is_block_device() => NodeKind::Block,
                _ => return Err(wrong(format!("`{host}` is no device"))),
            };
            if named.is_some_and(|it| it != kind) {
                return Err(wrong(format!("`{host}` is not of type `{}`", node.kind)));
            }
            let number = found.rdev();
            (kind, libc::major(number), libc::minor(number))
        }
    };
    // What is there in every container: the null device also hides files of the kernel's.
    let usual = [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)]
        .map(|(it, minor)| (it, 1, minor));
    let others = ["tty", "ptmx", "pts", "shm", "mqueue", "fd", "stdin", "stdout", "stderr"];
    let is_other = others.contains(&path.split('/').next().unwrap_or(path));
    if is_other || usual.iter().any(|it| it.0 == path && (it.1, it.2) != (major, minor)) {
        let what = format!("a node in place of what every command has (`{}`)", node.path);
        return Err(CdiError::Unsupported { name: name.to_owned(), what });
    }
    let has = |letter| node.permissions.is_empty() || node.permissions.contains(letter);
    Ok(NewNode {
        path: path.to_owned(),
        kind,
        major,
        minor,
        mode: node.file_mode.unwrap_or(0o666) & 0o777,
        uid: node.uid,
        gid: node.gid,
        reads: has('r'),
        writes: has('w'),
    })
}

/// `env` with the variables of devices: instead of what has the same name, else behind.
pub(super) fn with_variables(mut env: Vec<String>, more: &[String]) -> Vec<String> {
    for variable in more {
        let name = variable.split_inclusive('=').next().unwrap_or_default();
        match env.iter_mut().rfind(|it| it.starts_with(name)) {
            Some(place) => *place = variable.clone(),
            None => env.push(variable.clone()),
        }
    }
    env
}

#[cfg(test)]
mod tests;
