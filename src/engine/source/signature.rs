//! Signatures on files and on git's objects.
//!
//! The mathematics is that of the machine's `gpgv` and `ssh-keygen`; what they are given is taken apart here first, so that
//! neither sees anything but the keys of the policy, a detached signature and the signed bytes: no home directory, no
//! agent, no configuration. What they answer is measured by BuildKit's rules (util/pgpsign, util/gitutil/gitsign).

pub(in crate::engine) mod armor;
mod openpgp;

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use super::program::{self, MemoryFile, ProgramError, tidy};
use crate::engine::cancel::Cancel;
use armor::SSH_SIGNATURE;
use openpgp::Verdict;

/// Why something does not count as signed.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// There is no such program.
    #[error("there is no `{program}` on this machine, and signatures are verified with it")]
    NoProgram {
        /// Which.
        program: &'static str,
    },
    /// The program could not be run.
    #[error("cannot run `{program}`: {source}")]
    Start {
        /// Which.
        program: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The keys of the policy are none.
    #[error("the public key cannot be used: {reason}")]
    Key {
        /// What is wrong with it.
        reason: String,
    },
    /// There is no signature where one is wanted.
    #[error("there is no signature")]
    Missing,
    /// A signature that cannot be read.
    #[error("the signature cannot be read: {reason}")]
    Form {
        /// What is wrong with it.
        reason: String,
    },
    /// A signature that does not count.
    #[error("the signature is not good: {reason}")]
    Bad {
        /// Why.
        reason: String,
    },
    /// The build was stopped.
    #[error("cancelled")]
    Cancelled,
}

impl SignatureError {
    /// The way out, when there is one to name.
    pub fn help(&self) -> Option<String> {
        match self {
            SignatureError::NoProgram { program: "gpgv" } => Some("`apt-get install gpgv`, say".to_owned()),
            SignatureError::NoProgram { .. } => Some("`apt-get install openssh-client`, say".to_owned()),
            _ => None,
        }
    }
}

/// What is signed.
#[derive(Clone, Copy)]
pub(super) enum Signed<'a> {
    Bytes(&'a [u8]),
    File(&'a Path),
}

/// What counts as a good signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Policy {
    /// Armored OpenPGP keys, or lines of public ssh keys.
    pub(super) keys: String,
    /// What of keys that have expired since they signed.
    pub(super) expired: Expired,
}

/// Whether a key may sign no more, but what it signed before counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expired {
    Accepted,
    Rejected,
}

/// Verifies a detached OpenPGP signature.
pub(super) fn verify_pgp(
    signed: Signed<'_>,
    signature: &str,
    policy: &Policy,
    cancel: &Cancel,
) -> Result<(), SignatureError> {
    let signature = openpgp::detached(signature)?;
    let keys = openpgp::keyring(&policy.keys)?;
    let start = |source| SignatureError::Start { program: "gpgv", source };
    let (keys, signature) =
        (MemoryFile::new(&keys).map_err(start)?, MemoryFile::new(&signature).map_err(start)?);
    let held;
    let data = match signed {
        Signed::File(path) => path.to_owned(),
        Signed::Bytes(bytes) => {
            held = MemoryFile::new(bytes).map_err(start)?;
            held.path().into()
        }
    };
    let mut command = program::program("gpgv");
    command.args(["--homedir", "/nonexistent", "--status-fd", "1", "--keyring", &keys.path()]);
    command.arg(signature.path()).arg(data);
    let ran = run(&mut command, "gpgv", cancel)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    match openpgp::verdict(&String::from_utf8_lossy(&ran.stdout), policy.expired, now) {
        Verdict::Good => Ok(()),
        Verdict::Bad(reason) => Err(SignatureError::Bad { reason }),
        Verdict::Nothing => Err(SignatureError::Form { reason: tidy(&ran.stderr) }),
    }
}

/// Verifies the signature of one of git's objects, by OpenPGP or ssh as the signature says.
pub(super) fn verify_object(
    signed: &[u8],
    signature: &str,
    policy: &Policy,
    cancel: &Cancel,
) -> Result<(), SignatureError> {
    if signature.contains(SSH_SIGNATURE) {
        verify_ssh(signed, signature, policy, cancel)
    } else {
        verify_pgp(Signed::Bytes(signed), signature, policy, cancel)
    }
}

/// Verifies an ssh signature of the namespace `git`.
fn verify_ssh(
    signed: &[u8],
    signature: &str,
    policy: &Policy,
    cancel: &Cancel,
) -> Result<(), SignatureError> {
    armor::block(signature, SSH_SIGNATURE).map_err(|reason| SignatureError::Form { reason })?;
    let signers = ssh_signers(&policy.keys)?;
    let start = |source| SignatureError::Start { program: "ssh-keygen", source };
    let signers = MemoryFile::new(signers.as_bytes()).map_err(start)?;
    let signature = MemoryFile::new(signature.as_bytes()).map_err(start)?;
    let signed = MemoryFile::new(signed).map_err(start)?;
    let mut command = program::program("ssh-keygen");
    command.args(["-Y", "verify", "-n", "git", "-I", SIGNER, "-f", &signers.path(), "-s", &signature.path()]);
    command.stdin(Stdio::from(std::fs::File::open(signed.path()).map_err(start)?));
    let ran = run(&mut command, "ssh-keygen", cancel)?;
    if ran.status.success() {
        return Ok(());
    }
    let said = if ran.stdout.is_empty() { &ran.stderr } else { &ran.stdout };
    Err(SignatureError::Bad { reason: tidy(said) })
}

/// Whom the allowed signers are called: who it is does not matter here, their key does.
const SIGNER: &str = "signer";

/// The lines of an allowed-signers file (ssh-keygen(1)) for lines of public keys. Options are refused: some of them widen
/// what a key may sign.
fn ssh_signers(keys: &str) -> Result<String, SignatureError> {
    let bad = |reason: &str| SignatureError::Key { reason: reason.to_owned() };
    let mut lines = String::new();
    for line in keys.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let (kind, key) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let is_kind =
            ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-sha2-"].iter().any(|it| kind.starts_with(it));
        let is_plain =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=@.-".contains(&byte));
        if !is_kind || kind.contains("-cert-") || !is_plain(kind) || key.is_empty() || !is_plain(key) {
            return Err(bad("it is no public ssh key, as in a `.pub` file"));
        }
        lines += &format!("{SIGNER} namespaces=\"git\" {kind} {key}\n");
    }
    if lines.is_empty() { Err(bad("it is empty")) } else { Ok(lines) }
}

fn run(
    command: &mut std::process::Command,
    program: &'static str,
    cancel: &Cancel,
) -> Result<program::Ran, SignatureError> {
    program::run(command, cancel).map_err(|error| match error {
        ProgramError::Missing => SignatureError::NoProgram { program },
        ProgramError::Start(source) => SignatureError::Start { program, source },
        ProgramError::Cancelled => SignatureError::Cancelled,
    })
}

#[cfg(test)]
mod tests;
