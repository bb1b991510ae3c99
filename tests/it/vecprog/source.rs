//! Sources.

use std::collections::BTreeMap;

use bkl::base::{Digest, ImageRef};
use bkl::graph::ir::build::{
    Differ, FileInfo, GitOptions, HttpOptions, ImageOptions, LocalOptions, OciStore, ResolveMode,
};
use bkl::graph::ir::{Edge, SourceOp, State};
use serde::Deserialize;
use serde_json::Value;

use super::constraint::{ConstraintOpt, Constraints};
use super::{Interpreter, Result, args};

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Image {
    #[serde(rename = "ref")]
    reference: String,
    resolve_mode: Option<Mode>,
    layer_limit: Option<i64>,
    checksum: Option<String>,
    #[serde(default)]
    internal: bool,
    meta_resolver: Option<Resolver>,
    #[serde(default)]
    opts: Vec<ConstraintOpt>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    Default,
    Pull,
    Local,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Resolver {
    config: Value,
    digest: Option<String>,
    #[serde(default)]
    resolve_digest: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Local {
    name: String,
    #[serde(default)]
    session: String,
    #[serde(default)]
    include: Vec<String>,
    #[serde(default)]
    exclude: Vec<String>,
    #[serde(default)]
    follow_paths: Vec<String>,
    #[serde(default)]
    shared_key_hint: String,
    differ: Option<DifferArg>,
    metadata_only: Option<Vec<String>>,
    #[serde(default)]
    opts: Vec<ConstraintOpt>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DifferArg {
    #[serde(rename = "type")]
    kind: DifferKind,
    #[serde(default)]
    required: bool,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum DifferKind {
    None,
    Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Git {
    url: String,
    #[serde(default)]
    fragment: String,
    #[serde(rename = "ref")]
    reference: Option<String>,
    subdir: Option<String>,
    #[serde(default)]
    keep_git_dir: bool,
    auth_token_secret: Option<String>,
    auth_header_secret: Option<String>,
    #[serde(default)]
    known_ssh_hosts: Vec<String>,
    #[serde(default)]
    mount_ssh_sock: String,
    #[serde(default)]
    checksum: String,
    #[serde(default)]
    skip_submodules: bool,
    #[serde(default)]
    mtime: String,
    #[serde(default)]
    fetch_by_commit: bool,
    bundle: Option<Bundle>,
    #[serde(default)]
    checkout_bundle: bool,
    #[serde(default)]
    opts: Vec<ConstraintOpt>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Bundle {
    url: String,
    #[serde(default)]
    oci_store: StoreArg,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct StoreArg {
    #[serde(default)]
    session: String,
    #[serde(default)]
    store: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ids {
    #[serde(default)]
    uid: i64,
    #[serde(default)]
    gid: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Http {
    url: String,
    checksum: Option<String>,
    #[serde(default)]
    filename: String,
    chmod: Option<String>,
    chown: Option<Ids>,
    #[serde(default)]
    auth_header_secret: String,
    header: Option<Header>,
    pgp_signature: Option<Signature>,
    #[serde(default)]
    opts: Vec<ConstraintOpt>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Header {
    #[serde(default)]
    accept: String,
    #[serde(default)]
    user_agent: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Signature {
    #[serde(default)]
    pub_key: String,
    #[serde(default)]
    signature: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct OciLayout {
    #[serde(rename = "ref")]
    reference: String,
    #[serde(default)]
    store: StoreArg,
    layer_limit: Option<i64>,
    /// The reference client takes it and does nothing with it.
    #[serde(rename = "checksum")]
    _checksum: Option<String>,
    #[serde(default)]
    opts: Vec<ConstraintOpt>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Blob {
    #[serde(rename = "ref")]
    reference: String,
    #[serde(default)]
    filename: String,
    chmod: Option<String>,
    chown: Option<Ids>,
    store: Option<StoreArg>,
    #[serde(default)]
    opts: Vec<ConstraintOpt>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    identifier: String,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
    #[serde(default)]
    opts: Vec<ConstraintOpt>,
}

impl StoreArg {
    fn store(self) -> OciStore {
        OciStore { session: self.session, store: self.store }
    }
}

fn digest(text: Option<String>) -> Result<Option<Digest>> {
    text.map(|text| text.parse().map_err(|error| format!("{error}"))).transpose()
}

fn reference(text: &str) -> Result<ImageRef> {
    text.parse().map_err(|error| format!("`{text}`: {error}"))
}

fn file_info(filename: String, chmod: Option<String>, chown: Option<Ids>) -> Result<FileInfo> {
    let mode =
        chmod.map_or(Ok(0), |mode| u32::from_str_radix(&mode, 8).map_err(|error| error.to_string()))?;
    let Ids { uid, gid } = chown.unwrap_or(Ids { uid: 0, gid: 0 });
    Ok(FileInfo { filename, mode, uid, gid })
}

impl Interpreter<'_> {
    pub(super) fn source(&self, op: &str, json: &Value) -> Result<State> {
        let (edge, constraints) = match op {
            "image" => return self.image(args(json)?),
            "local" => {
                let local: Local = args(json)?;
                let constraints = self.constraints(&local.opts)?;
                let options = LocalOptions {
                    session: local.session,
                    include: local.include,
                    exclude: local.exclude,
                    follow: local.follow_paths,
                    shared_key_hint: local.shared_key_hint,
                    differ: local.differ.map(|it| Differ {
                        metadata: it.kind == DifferKind::Metadata,
                        required: it.required,
                    }),
                    metadata_only: local.metadata_only,
                    unique: constraints.unique.clone(),
                };
                (self.graph.borrow_mut().local_with(&local.name, &options), constraints)
            }
            "git" => {
                let git: Git = args(json)?;
                let bundle =
                    git.bundle.unwrap_or(Bundle { url: String::new(), oci_store: StoreArg::default() });
                let options = GitOptions {
                    reference: git.reference,
                    subdir: git.subdir,
                    keep_git_dir: git.keep_git_dir,
                    auth_token_secret: git.auth_token_secret,
                    auth_header_secret: git.auth_header_secret,
                    known_ssh_hosts: git.known_ssh_hosts,
                    ssh_agent: git.mount_ssh_sock,
                    checksum: git.checksum,
                    skip_submodules: git.skip_submodules,
                    mtime: git.mtime,
                    fetch_by_commit: git.fetch_by_commit,
                    bundle: bundle.url,
                    bundle_store: bundle.oci_store.store(),
                    checkout_bundle: git.checkout_bundle,
                };
                let edge = self.graph.borrow_mut().git(&git.url, &git.fragment, &options);
                (edge, self.constraints(&git.opts)?)
            }
            "http" => {
                let http: Http = args(json)?;
                let options = HttpOptions {
                    checksum: digest(http.checksum)?,
                    file: file_info(http.filename, http.chmod, http.chown)?,
                    auth_header_secret: http.auth_header_secret,
                    header: http.header.map(|it| (it.accept, it.user_agent)),
                    signature: http.pgp_signature.map(|it| (it.pub_key, it.signature)),
                };
                (self.graph.borrow_mut().http(&http.url, &options), self.constraints(&http.opts)?)
            }
            "oci-layout" => {
                let layout: OciLayout = args(json)?;
                let store = layout.store.store();
                let mut graph = self.graph.borrow_mut();
                let edge = graph.oci_layout_with(&layout.reference, &store, layout.layer_limit, None);
                drop(graph);
                (edge, self.constraints(&layout.opts)?)
            }
            "image-blob" | "oci-layout-blob" => {
                let blob: Blob = args(json)?;
                let info = file_info(blob.filename, blob.chmod, blob.chown)?;
                let store = blob.store.unwrap_or_default().store();
                let store = (op == "oci-layout-blob").then_some(&store);
                let edge = self.graph.borrow_mut().blob(&reference(&blob.reference)?, &info, store);
                (edge.map_err(|error| error.to_string())?, self.constraints(&blob.opts)?)
            }
            _ => {
                let raw: Raw = args(json)?;
                let constraints = self.constraints(&raw.opts)?;
                let op = SourceOp { identifier: raw.identifier, attrs: raw.attrs };
                (self.graph.borrow_mut().source(op, &[], None), constraints)
            }
        };
        Ok(self.source_state(edge, constraints))
    }

    /// The state of a source: the platform it was made with is both the op's and the state's.
    fn source_state(&self, edge: Edge, constraints: Constraints) -> State {
        self.constrain(edge, &constraints);
        self.graph.borrow_mut().vertex_mut(edge.vertex).platform =
            constraints.platform.clone().map(Into::into);
        State::new(Some(edge), constraints.platform)
    }

    fn image(&self, image: Image) -> Result<State> {
        let mut reference = reference(&image.reference)?;
        if let Some(resolver) = &image.meta_resolver
            && resolver.resolve_digest
            && reference.digest.is_none()
        {
            reference = reference.with_default_tag();
            reference.digest = digest(resolver.digest.clone())?;
        }
        let options = ImageOptions {
            mode: match image.resolve_mode {
                None | Some(Mode::Default) => ResolveMode::Default,
                Some(Mode::Pull) => ResolveMode::Pull,
                Some(Mode::Local) => ResolveMode::Local,
            },
            platform: None,
            layer_limit: image.layer_limit,
            checksum: digest(image.checksum)?,
            internal: image.internal,
        };
        let edge = self.graph.borrow_mut().image_with(&reference, options);
        let mut state = self.source_state(edge, self.constraints(&image.opts)?);
        if let Some(resolver) = &image.meta_resolver {
            state.set_image_config(&resolver.config);
        }
        Ok(state)
    }
}
