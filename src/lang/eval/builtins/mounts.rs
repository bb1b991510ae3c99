//! `ro`, `rw`, `cache`, `tmpfs`, `secret.file`, `ssh.agent`, `out`: what a command sees. Paths are bound to the command's directory when it runs.

use std::sync::Arc;

use super::Args;
use crate::graph::ir::{FileSecret, MountKind, MountSpec, Sharing};
use crate::lang::eval::error::Cause;
use crate::lang::eval::interp::{Eval, Evaluator};
use crate::lang::eval::value::{Files, Mount, Out, Value};

impl Evaluator<'_> {
    /// A directory of a tree is mounted by its path: such a mount has no output.
    pub(super) fn ro(&mut self, args: &Args<'_>) -> Value {
        let mut files = args.files("src");
        if files.tree.is_none() {
            // There is nothing to select from: the copy is what fails, and says so.
            files = Files::all(self.materialise(&files, args.span));
        }
        let mut spec = MountSpec::readonly(&**args.text("at"), files.tree);
        spec.selector = files.dir.as_deref().unwrap_or_default().to_owned();
        mount(spec, args)
    }

    /// A directory of a tree becomes a tree first: what is left in the mount is an output.
    pub(super) fn rw(&mut self, args: &Args<'_>) -> Value {
        let source = self.materialise(&args.files("src"), args.span);
        mount(MountSpec::bind(&**args.text("at"), source), args)
    }

    /// Without `id` the cache is named by its path, as in Dockerfile; [`Evaluator::run`] does that.
    pub(super) fn cache(&mut self, args: &Args<'_>) -> Value {
        let seed = match args.get("seed") {
            Some(_) => self.materialise(&args.files("seed"), args.span),
            None => None,
        };
        let sharing = match args.variant("sharing") {
            1 => Sharing::Private,
            2 => Sharing::Locked,
            _ => Sharing::Shared,
        };
        let id = args.maybe_text("id").map(|id| id.to_string()).unwrap_or_default();
        mount(MountSpec::cache(&**args.text("at"), id, sharing, seed), args)
    }

    pub(super) fn tmpfs(&mut self, args: &Args<'_>) -> Eval {
        let size = match args.get("size") {
            Some(Value::Size(bytes)) => *bytes,
            _ => 0,
        };
        match i64::try_from(size) {
            Ok(size) => Ok(mount(MountSpec::tmpfs(&**args.text("at"), size), args)),
            Err(_) => self.error(args.span_of("size"), Cause::Overflow),
        }
    }

    /// A secret as a file. What it holds is never known here, only its id.
    pub(super) fn secret_file(&mut self, args: &Args<'_>) -> Eval {
        let (uid, gid) = match args.maybe_text("owner") {
            None => (0, 0),
            Some(owner) => match numeric_owner(owner) {
                Some(ids) => ids,
                None => {
                    let owner = owner.to_string();
                    return self.error(args.span_of("owner"), Cause::BadOwner { owner });
                }
            },
        };
        let mode = match args.get("mode") {
            Some(Value::Mode(mode)) => *mode,
            _ => 0o400,
        };
        let (id, optional) = (self.secret_id(args.required("self")), args.flag("optional", false));
        let spec = MountSpec {
            kind: MountKind::Secret(FileSecret { id, uid, gid, mode, optional }),
            ..MountSpec::bind(&**args.text("at"), None)
        };
        Ok(mount(spec, args))
    }

    /// The socket of an agent. Without `at`, its place is told by its number; [`Evaluator::run`] does that.
    pub(super) fn ssh_agent(&self, args: &Args<'_>) -> Value {
        let mode = match args.get("mode") {
            Some(Value::Mode(mode)) => *mode,
            _ => 0o600,
        };
        let (id, optional) = (self.ssh_id(args.required("self")), args.flag("optional", false));
        let at = args.maybe_text("at").map(|at| at.to_string()).unwrap_or_default();
        let agent = FileSecret { id, uid: 0, gid: 0, mode, optional };
        mount(MountSpec { kind: MountKind::Ssh(agent), ..MountSpec::bind(at, None) }, args)
    }

    /// The id that an agent is asked for by.
    pub(super) fn ssh_id(&self, ssh: &Value) -> String {
        match ssh {
            Value::Ssh(id) => self.program.ssh[id.index()].id.to_string(),
            other => panic!("expected an ssh, found {other:?}: the checker knows the types"),
        }
    }

    /// The id that a secret is asked for by.
    pub(super) fn secret_id(&self, secret: &Value) -> String {
        match secret {
            Value::Secret(id) => self.program.secrets[id.index()].id.to_string(),
            other => panic!("expected a secret, found {other:?}: the checker knows the types"),
        }
    }
}

/// `uid[:gid]`; `root` is 0. Names would have to be looked up in a tree, and a secret has none.
fn numeric_owner(text: &str) -> Option<(u32, u32)> {
    let id = |part: &str| if part == "root" { Some(0) } else { part.parse().ok() };
    match text.split_once(':') {
        Some((user, group)) => Some((id(user)?, id(group)?)),
        None => id(text).map(|user| (user, user)),
    }
}

fn mount(spec: MountSpec, args: &Args<'_>) -> Value {
    Value::Mount(Arc::new(Mount { spec, span: args.span }))
}

/// A result directory.
pub(super) fn out(args: &Args<'_>) -> Value {
    let init = match args.get("init") {
        Some(_) => args.files("init"),
        None => Files::all(None),
    };
    Value::Out(Arc::new(Out { at: args.text("at").clone(), init, span: args.span }))
}
