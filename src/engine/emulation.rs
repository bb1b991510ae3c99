//! How commands for other machines run on this one: by the kernel, with an interpreter that is registered with it, or
//! through BuildKit's emulators, static programs `buildkit-qemu-<arch>` in the machine's PATH (solver/llbsolver/ops,
//! exec_binfmt.go).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::exec::Emulation;
use crate::base::Platform;
use crate::store::{Store, StoreError, WorkDir};

/// Where the kernel lists the interpreters of foreign programs.
const BINFMT: &str = "/proc/sys/fs/binfmt_misc";

/// Names of architectures: ours and QEMU's, where they differ.
const QEMU: [(&str, &str); 5] = [
    ("amd64", "x86_64"),
    ("386", "i386"),
    ("arm64", "aarch64"),
    ("loong64", "loongarch64"),
    ("mips64le", "mips64el"),
];

/// What this machine runs.
#[derive(Debug, Clone)]
pub struct Machine {
    host: Platform,
    binfmt: PathBuf,
    /// Where emulators are looked for.
    path: OsString,
}

/// How a machine runs the commands of a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// The kernel does.
    Kernel,
    /// Through this emulator.
    Through(PathBuf),
    /// There is none known; the kernel may know better.
    Unknown,
}

impl Machine {
    /// This one.
    pub fn this() -> Machine {
        Machine::with(&Platform::host(), Path::new(BINFMT), std::env::var_os("PATH").unwrap_or_default())
    }

    /// A machine `host` with these interpreters and this PATH.
    pub fn with(host: &Platform, binfmt: &Path, path: OsString) -> Machine {
        Machine { host: host.normalize(), binfmt: binfmt.to_owned(), path }
    }

    /// Its platform.
    pub fn host(&self) -> &Platform {
        &self.host
    }

    /// How commands for `platform` run here. What the kernel can do itself is preferred.
    pub fn way(&self, platform: &Platform) -> Way {
        let platform = platform.normalize();
        if self.host.os != platform.os {
            return Way::Unknown;
        }
        let natively = self.host.arch == platform.arch
            || matches!((&*self.host.arch, &*platform.arch), ("amd64", "386") | ("arm64", "arm"));
        if natively || self.is_registered(&platform.arch) {
            return Way::Kernel;
        }
        self.find(&program(&platform.arch)).map_or(Way::Unknown, Way::Through)
    }

    fn is_registered(&self, arch: &str) -> bool {
        // With `F` the interpreter was opened when it was registered: the container need not have it.
        fs::read_to_string(self.binfmt.join(format!("qemu-{}", qemu_arch(arch)))).is_ok_and(|text| {
            let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).unwrap_or_default();
            text.starts_with("enabled") && flags.contains('F')
        })
    }

    /// A program in PATH. Relative directories do not count: what a build runs must not depend on where it was started.
    fn find(&self, name: &str) -> Option<PathBuf> {
        let dirs = std::env::split_paths(&self.path).filter(|dir| dir.is_absolute());
        let is_program = |path: &PathBuf| {
            fs::metadata(path).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
        };
        dirs.map(|dir| dir.join(name)).find(is_program)
    }
}

/// The name of the emulator for an architecture.
pub fn program(arch: &str) -> String {
    format!("buildkit-qemu-{}", qemu_arch(arch))
}

fn qemu_arch(arch: &str) -> &str {
    QEMU.iter().find(|(ours, _)| *ours == arch).map_or(arch, |(_, qemu)| qemu)
}

/// The emulators that commands were run through, each copied once: whoever may execute the machine's own, commands may
/// execute the copy, and nothing that they do to it reaches the machine's.
pub struct Emulators {
    machine: Machine,
    copies: Mutex<BTreeMap<PathBuf, Arc<WorkDir>>>,
}

impl Emulators {
    /// Those of a machine.
    pub(super) fn of(machine: Machine) -> Emulators {
        Emulators { machine, copies: Mutex::default() }
    }

    /// How a command for `platform` is run.
    ///
    /// # Errors
    /// When the emulator cannot be copied.
    pub(super) fn emulation(&self, platform: &Platform, store: &Store) -> Result<Emulation, StoreError> {
        let name = program(&platform.normalize().arch);
        match self.machine.way(platform) {
            Way::Kernel => Ok(Emulation::Kernel),
            Way::Unknown => Ok(Emulation::Missing { platform: platform.normalize().to_string(), name }),
            Way::Through(emulator) => {
                let copy = self.copy(&emulator, store)?;
                Ok(Emulation::Program { path: copy.path().join(COPY), name })
            }
        }
    }

    fn copy(&self, emulator: &Path, store: &Store) -> Result<Arc<WorkDir>, StoreError> {
        // A panic while it is held leaves a list of copies all the same.
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(copy) = copies.get(emulator) {
            return Ok(copy.clone());
        }
        let dir = store.work_dir()?;
        let to = dir.path().join(COPY);
        let failed = |attempt, path: &Path| {
            let path = path.to_owned();
            move |error| StoreError::io(attempt, &path, error)
        };
        fs::copy(emulator, &to).map_err(failed("copy", emulator))?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o555))
            .map_err(failed("set the mode of", &to))?;
        let dir = Arc::new(dir);
        copies.insert(emulator.to_owned(), dir.clone());
        Ok(dir)
    }
}

/// Name of a copy in its directory.
const COPY: &str = "emulator";

#[cfg(test)]
mod tests;
