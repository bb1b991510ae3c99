//! A tree with what commands and file actions on it inherit: environment, directory, user, platform and so on
//! (BuildKit client/llb/state.go, meta.go). Frontends that build like the Go client keep one of these per stage.

use super::{ExecBuilder, ExecOp, HostIp, NetMode, SecurityMode, Tree, Ulimit};
use crate::base::{Platform, path};

/// A tree and the values that go with it. Cloning is how programs branch.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// The files.
    pub tree: Tree,
    /// Platform the tree's own op was made for, verbatim; survives [`State::reset_to`].
    own_platform: Option<Platform>,
    /// Environment in order, each key once.
    env: Vec<(String, String)>,
    /// Working directory.
    dir: String,
    /// Platform of commands, normalised; `None` takes the one the graph is marshalled for.
    platform: Option<Platform>,
    /// `user[:group]`; empty is root.
    pub user: String,
    /// Empty is the engine's default.
    pub hostname: String,
    /// Network of commands.
    pub network: NetMode,
    /// Confinement of commands.
    pub security: SecurityMode,
    /// Parent of the commands' cgroups; empty is the engine's default.
    pub cgroup_parent: String,
    /// Lines of /etc/hosts.
    pub extra_hosts: Vec<HostIp>,
    /// Resource limits.
    pub ulimits: Vec<Ulimit>,
}

impl State {
    /// A tree with nothing but its op's platform, if it has one; the directory is `/`.
    pub fn new(tree: Tree, own_platform: Option<Platform>) -> State {
        State {
            tree,
            platform: own_platform.as_ref().map(Platform::normalize),
            own_platform,
            env: Vec::new(),
            dir: "/".to_owned(),
            user: String::new(),
            hostname: String::new(),
            network: NetMode::Sandbox,
            security: SecurityMode::Sandbox,
            cgroup_parent: String::new(),
            extra_hosts: Vec::new(),
            ulimits: Vec::new(),
        }
    }

    /// The same values with another tree; the platform of that tree's op, if it has one, is taken over.
    #[must_use]
    pub fn with_tree(&self, tree: Tree, own_platform: Option<Platform>) -> State {
        let mut state = self.clone();
        state.tree = tree;
        if let Some(platform) = &own_platform {
            state.platform = Some(platform.normalize());
        }
        state.own_platform = own_platform;
        state
    }

    /// This tree with the values of `other`. As in the Go client, the tree's own platform wins over `other`'s, and
    /// where it has none it is the directory that becomes `/`.
    #[must_use]
    pub fn reset_to(&self, other: &State) -> State {
        let mut state = State { tree: self.tree, own_platform: self.own_platform.clone(), ..other.clone() };
        match &self.own_platform {
            Some(platform) => state.platform = Some(platform.normalize()),
            None => "/".clone_into(&mut state.dir),
        }
        state
    }

    /// Platform the tree's own op was made for, verbatim.
    pub fn own_platform(&self) -> Option<&Platform> {
        self.own_platform.as_ref()
    }

    /// Platform of commands, in its canonical spelling.
    pub fn platform(&self) -> Option<&Platform> {
        self.platform.as_ref()
    }

    /// Makes later commands run for `platform`.
    pub fn set_platform(&mut self, platform: &Platform) {
        self.platform = Some(platform.normalize());
    }

    /// Working directory.
    pub fn dir(&self) -> &str {
        &self.dir
    }

    /// Changes the directory; a relative one starts at the current one. Absolute ones are kept as they are.
    pub fn set_dir(&mut self, dir: &str) {
        self.dir = if dir.starts_with('/') { dir.to_owned() } else { path::join(&[&self.dir, dir]) };
    }

    /// Sets a variable; one that is set again moves to the end.
    pub fn set_env(&mut self, key: &str, value: &str) {
        self.env.retain(|(known, _)| known != key);
        self.env.push((key.to_owned(), value.to_owned()));
    }

    /// `K=V` in order.
    pub fn env(&self) -> Vec<String> {
        self.env.iter().map(|(key, value)| format!("{key}={value}")).collect()
    }

    /// Takes environment, directory and platform of an image's OCI config; not its user.
    pub fn set_image_config(&mut self, oci: &serde_json::Value) {
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        for var in oci["config"]["Env"].as_array().into_iter().flatten() {
            let var = text(var);
            let (key, value) = var.split_once('=').unwrap_or((&var, ""));
            if !key.is_empty() {
                self.set_env(key, value);
            }
        }
        self.set_dir(&text(&oci["config"]["WorkingDir"]));
        let (os, arch) = (text(&oci["os"]), text(&oci["architecture"]));
        if !os.is_empty() && !arch.is_empty() {
            let features = oci["os.features"].as_array().into_iter().flatten().map(text).collect();
            self.set_platform(&Platform {
                os,
                arch,
                variant: text(&oci["variant"]),
                os_version: text(&oci["os.version"]),
                os_features: features,
            });
        }
    }

    /// `path` from the working directory, cleaned: what mkdir, mkfile and rm name.
    pub fn path(&self, path: &str) -> String {
        let clean = path::clean(path);
        if clean.starts_with('/') { clean } else { path::join(&["/", &self.dir, &clean]) }
    }

    /// `path` from the working directory as the destination of a copy: a `/` or `/.` at its end, which asks for a
    /// directory, stays.
    pub fn dest_path(&self, path: &str) -> String {
        let mut dest = self.path(path);
        if path.ends_with('/') && !dest.ends_with('/') {
            dest.push('/');
        } else if path.ends_with("/.") {
            if dest != "/" {
                dest.push('/');
            }
            dest.push('.');
        }
        dest
    }

    /// A command on this tree with these values; the caller adds arguments, mounts and the rest.
    pub fn exec(&self) -> ExecBuilder {
        ExecBuilder {
            op: ExecOp {
                env: self.env(),
                cwd: self.dir.clone(),
                user: self.user.clone(),
                hostname: self.hostname.clone(),
                network: self.network,
                security: self.security,
                cgroup_parent: self.cgroup_parent.clone(),
                extra_hosts: self.extra_hosts.clone(),
                ulimits: self.ulimits.clone(),
                ..ExecOp::default()
            },
            base: self.tree,
            platform: self.platform.clone(),
            ..ExecBuilder::default()
        }
    }
}
