//! LLB messages as JSON, in the two shapes that exist: the standard protobuf mapping, and the one Go's encoding/json
//! makes of the generated structs, which cache keys are digests of.

use serde_json::{Map, Value};

use crate::graph::ir::build::go_escape;
use crate::graph::llb::pb;

/// Which JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// The protobuf mapping with the original field names: 64-bit integers are strings, enums are names.
    Protobuf,
    /// Go's struct tags: integers and enums are numbers, oneofs have a wrapper. Fields stand in the order of the struct.
    Keys,
}

/// A message that can be written as JSON.
pub trait Describe {
    /// Puts the fields that are not default into `out`, in the order of the message.
    fn describe(&self, out: &mut Fields);
}

/// The object made of `message`.
pub fn to_value(message: &dyn Describe, shape: Shape) -> Value {
    let mut fields = Fields { shape, object: Map::new() };
    message.describe(&mut fields);
    Value::Object(fields.object)
}

/// The text that Go's encoding/json makes of `message`.
pub fn to_go_text(message: &dyn Describe) -> String {
    go_escape(&to_value(message, Shape::Keys).to_string())
}

/// Fields of an object in the making. Default values are left out.
pub struct Fields {
    shape: Shape,
    object: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.object.insert(name.to_owned(), value.into());
    }

    fn str(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.put(name, value);
        }
    }

    fn strs(&mut self, name: &str, values: &[String]) {
        if !values.is_empty() {
            self.put(name, values);
        }
    }

    fn bool(&mut self, name: &str, value: bool) {
        if value {
            self.put(name, value);
        }
    }

    fn int32(&mut self, name: &str, value: i32) {
        if value != 0 {
            self.put(name, value);
        }
    }

    fn uint32(&mut self, name: &str, value: u32) {
        if value != 0 {
            self.put(name, value);
        }
    }

    fn int64(&mut self, name: &str, value: i64) {
        if value != 0 {
            let value = self.wide(value);
            self.put(name, value);
        }
    }

    fn uint64(&mut self, name: &str, value: u64) {
        if value != 0 {
            let value: Value = match self.shape {
                Shape::Protobuf => value.to_string().into(),
                Shape::Keys => value.into(),
            };
            self.put(name, value);
        }
    }

    fn int64s(&mut self, name: &str, values: &[i64]) {
        if !values.is_empty() {
            let values: Vec<Value> = values.iter().map(|&value| self.wide(value)).collect();
            self.put(name, values);
        }
    }

    fn wide(&self, value: i64) -> Value {
        match self.shape {
            Shape::Protobuf => value.to_string().into(),
            Shape::Keys => value.into(),
        }
    }

    fn bytes(&mut self, name: &str, value: &[u8]) {
        if !value.is_empty() {
            self.put(name, base64(value));
        }
    }

    /// An enum whose values from 0 are called `names`; a number without a name is written as it is.
    fn enumeration(&mut self, name: &str, value: i32, names: &[&str]) {
        let known = usize::try_from(value).ok().and_then(|value| names.get(value));
        match (self.shape, known) {
            _ if value == 0 => {}
            (Shape::Protobuf, Some(&known)) => self.put(name, known),
            (Shape::Protobuf | Shape::Keys, _) => self.put(name, value),
        }
    }

    fn message<T: Describe>(&mut self, name: &str, message: Option<&T>) {
        if let Some(message) = message {
            let value = to_value(message, self.shape);
            self.put(name, value);
        }
    }

    fn messages<T: Describe>(&mut self, name: &str, messages: &[T]) {
        if !messages.is_empty() {
            let values: Vec<Value> = messages.iter().map(|it| to_value(it, self.shape)).collect();
            self.put(name, values);
        }
    }

    /// A map; `entries` are sorted by key.
    fn map(&mut self, name: &str, entries: impl Iterator<Item = (String, Value)>) {
        let object: Map<String, Value> = entries.collect();
        if !object.is_empty() {
            self.put(name, object);
        }
    }

    fn str_map(&mut self, name: &str, entries: &[pb::StrEntry]) {
        let entry = |it: &pb::StrEntry| {
            (it.key.clone().unwrap_or_default(), it.value.clone().unwrap_or_default().into())
        };
        self.map(name, entries.iter().map(entry));
    }

    /// A definition nested in another message as bytes.
    fn definition(&mut self, name: &str, bytes: Option<&Vec<u8>>) {
        let Some(bytes) = bytes else { return };
        match <pb::Definition as prost::Message>::decode(bytes.as_slice()) {
            Ok(definition) => self.message(name, Some(&definition)),
            // Nothing that was read goes unseen; this is only for people.
            Err(_) => self.put(name, base64(bytes)),
        }
    }
}

impl Describe for pb::Op {
    fn describe(&self, out: &mut Fields) {
        out.messages("inputs", &self.head.inputs);
        match &self.op {
            Some(pb::OpKind::Exec(op)) => out.message("exec", Some(&**op)),
            Some(pb::OpKind::Source(op)) => out.message("source", Some(op)),
            Some(pb::OpKind::File(op)) => out.message("file", Some(op)),
            Some(pb::OpKind::Build(op)) => out.message("build", Some(op)),
            Some(pb::OpKind::Merge(op)) => out.message("merge", Some(op)),
            Some(pb::OpKind::Diff(op)) => out.message("diff", Some(op)),
            Some(pb::OpKind::Passthrough(op)) => out.message("passthrough", Some(op)),
            None => {}
        }
        out.message("platform", self.head.platform.as_ref());
        out.message("constraints", self.head.constraints.as_ref());
    }
}

/// Lists a message's fields: `kind "jsonName" = field`, in the order of the message.
macro_rules! describe {
    ($($message:ident { $($kind:ident $name:literal = $field:ident $(as $names:expr)?;)* })*) => {$(
        impl Describe for pb::$message {
            fn describe(&self, out: &mut Fields) {
                $(describe!(@$kind out, $name, self.$field $(, $names)?);)*
            }
        }
    )*};
    (@int32 $out:ident, $name:literal, $value:expr) => { $out.int32($name, $value) };
    (@uint32 $out:ident, $name:literal, $value:expr) => { $out.uint32($name, $value) };
    (@int64 $out:ident, $name:literal, $value:expr) => { $out.int64($name, $value) };
    (@uint64 $out:ident, $name:literal, $value:expr) => { $out.uint64($name, $value) };
    (@bool $out:ident, $name:literal, $value:expr) => { $out.bool($name, $value) };
    (@enumeration $out:ident, $name:literal, $value:expr, $names:expr) => {
        $out.enumeration($name, $value, $names)
    };
    (@message $out:ident, $name:literal, $value:expr) => { $out.message($name, $value.as_ref()) };
    (@definition $out:ident, $name:literal, $value:expr) => { $out.definition($name, $value.as_ref()) };
    (@$kind:ident $out:ident, $name:literal, $value:expr) => { $out.$kind($name, &$value) };
}

describe! {
    Platform {
        str "Architecture" = architecture;
        str "OS" = os;
        str "Variant" = variant;
        str "OSVersion" = os_version;
        strs "OSFeatures" = os_features;
    }
    Input {
        str "digest" = digest;
        int64 "index" = index;
    }
    WorkerConstraints {
        strs "filter" = filter;
    }
    SourceOp {
        str "identifier" = identifier;
        str_map "attrs" = attrs;
    }
    BuildInput {
        int64 "input" = input;
    }
    MergeOp {
        messages "inputs" = inputs;
    }
    MergeInput {
        int64 "input" = input;
    }
    DiffOp {
        message "lower" = lower;
        message "upper" = upper;
    }
    DiffInput {
        int64 "input" = input;
    }
    PassthroughOp {
        str "id" = id;
        int64s "outputs" = outputs;
    }
    ExecOp {
        message "meta" = meta;
        messages "mounts" = mounts;
        enumeration "network" = network as &["UNSET", "HOST", "NONE"];
        enumeration "security" = security as &["SANDBOX", "INSECURE"];
        messages "secretenv" = secretenv;
        messages "cdiDevices" = cdi_devices;
    }
    Meta {
        strs "args" = args;
        strs "env" = env;
        str "cwd" = cwd;
        str "user" = user;
        message "proxy_env" = proxy_env;
        messages "extraHosts" = extra_hosts;
        str "hostname" = hostname;
        messages "ulimit" = ulimit;
        str "cgroupParent" = cgroup_parent;
        bool "removeMountStubsRecursive" = remove_mount_stubs_recursive;
        int32s "validExitCodes" = valid_exit_codes;
    }
    HostIp {
        str "Host" = host;
        str "IP" = ip;
    }
    Ulimit {
        str "Name" = name;
        int64 "Soft" = soft;
        int64 "Hard" = hard;
    }
    SecretEnv {
        str "ID" = id;
        str "name" = name;
        bool "optional" = optional;
    }
    CdiDevice {
        str "name" = name;
        bool "optional" = optional;
    }
    ProxyEnv {
        str "http_proxy" = http_proxy;
        str "https_proxy" = https_proxy;
        str "ftp_proxy" = ftp_proxy;
        str "no_proxy" = no_proxy;
        str "all_proxy" = all_proxy;
    }
    Mount {
        int64 "input" = input;
        str "selector" = selector;
        str "dest" = dest;
        int64 "output" = output;
        bool "readonly" = readonly;
        enumeration "mountType" = mount_type as &["BIND", "SECRET", "SSH", "CACHE", "TMPFS"];
        message "TmpfsOpt" = tmpfs_opt;
        message "cacheOpt" = cache_opt;
        message "secretOpt" = secret_opt;
        message "SSHOpt" = ssh_opt;
        str "resultID" = result_id;
        enumeration "contentCache" = content_cache as &["DEFAULT", "ON", "OFF"];
    }
    TmpfsOpt {
        int64 "size" = size;
    }
    CacheOpt {
        str "ID" = id;
        enumeration "sharing" = sharing as &["SHARED", "PRIVATE", "LOCKED"];
    }
    CredentialOpt {
        str "ID" = id;
        uint32 "uid" = uid;
        uint32 "gid" = gid;
        uint32 "mode" = mode;
        bool "optional" = optional;
    }
    FileOp {
        messages "actions" = actions;
    }
    FileActionCopy {
        str "src" = src;
        str "dest" = dest;
        message "owner" = owner;
        int32 "mode" = mode;
        bool "followSymlink" = follow_symlink;
        bool "dirCopyContents" = dir_copy_contents;
        bool "attemptUnpackDockerCompatibility" = attempt_unpack_docker_compatibility;
        bool "createDestPath" = create_dest_path;
        bool "allowWildcard" = allow_wildcard;
        bool "allowEmptyWildcard" = allow_empty_wildcard;
        int64 "timestamp" = timestamp;
        strs "include_patterns" = include_patterns;
        strs "exclude_patterns" = exclude_patterns;
        bool "alwaysReplaceExistingDestPaths" = always_replace_existing_dest_paths;
        str "modeStr" = mode_str;
        strs "required_paths" = required_paths;
    }
    FileActionMkFile {
        str "path" = path;
        int32 "mode" = mode;
        bytes "data" = data;
        message "owner" = owner;
        int64 "timestamp" = timestamp;
    }
    FileActionMkDir {
        str "path" = path;
        int32 "mode" = mode;
        bool "makeParents" = make_parents;
        message "owner" = owner;
        int64 "timestamp" = timestamp;
    }
    FileActionRm {
        str "path" = path;
        bool "allowNotFound" = allow_not_found;
        bool "allowWildcard" = allow_wildcard;
    }
    FileActionSymlink {
        str "oldpath" = oldpath;
        str "newpath" = newpath;
        message "owner" = owner;
        int64 "timestamp" = timestamp;
    }
    ChownOpt {
        message "user" = user;
        message "group" = group;
    }
    NamedUserOpt {
        str "name" = name;
        int64 "input" = input;
    }
    ExportCache {
        bool "Value" = value;
    }
    ProgressGroup {
        str "id" = id;
        str "name" = name;
        bool "weak" = weak;
    }
    LinuxResources {
        int64 "memory" = memory;
        int64 "memorySwap" = memory_swap;
        uint64 "cpuShares" = cpu_shares;
        uint64 "cpuPeriod" = cpu_period;
        int64 "cpuQuota" = cpu_quota;
        str "cpusetCpus" = cpuset_cpus;
        str "cpusetMems" = cpuset_mems;
    }
    SourceInfo {
        str "filename" = filename;
        bytes "data" = data;
        definition "definition" = definition;
        str "language" = language;
    }
    Locations {
        messages "locations" = locations;
    }
    Location {
        int32 "sourceIndex" = source_index;
        messages "ranges" = ranges;
    }
    Range {
        message "start" = start;
        message "end" = end;
    }
    Position {
        int32 "line" = line;
        int32 "character" = character;
    }
}

impl Fields {
    fn int32s(&mut self, name: &str, values: &[i32]) {
        if !values.is_empty() {
            self.put(name, values);
        }
    }
}

impl Describe for pb::BuildOp {
    fn describe(&self, out: &mut Fields) {
        out.int64("builder", self.builder);
        let shape = out.shape;
        let input = |it: &pb::BuildInputEntry| {
            (it.key.clone().unwrap_or_default(), to_value(&it.value.unwrap_or_default(), shape))
        };
        out.map("inputs", self.inputs.iter().map(input));
        out.definition("def", self.def.as_ref());
        out.str_map("attrs", &self.attrs);
    }
}

impl Describe for pb::FileAction {
    fn describe(&self, out: &mut Fields) {
        out.int64("input", self.input);
        out.int64("secondaryInput", self.secondary_input);
        out.int64("output", self.output);
        match &self.action {
            Some(pb::FileActionKind::Copy(copy)) => out.message("copy", Some(&**copy)),
            Some(pb::FileActionKind::Mkfile(mkfile)) => out.message("mkfile", Some(mkfile)),
            Some(pb::FileActionKind::Mkdir(mkdir)) => out.message("mkdir", Some(mkdir)),
            Some(pb::FileActionKind::Rm(rm)) => out.message("rm", Some(rm)),
            Some(pb::FileActionKind::Symlink(symlink)) => out.message("symlink", Some(symlink)),
            None => {}
        }
    }
}

impl Describe for pb::UserOpt {
    fn describe(&self, out: &mut Fields) {
        match (out.shape, &self.user) {
            (Shape::Protobuf, Some(pb::UserKind::ByName(named))) => out.message("byName", Some(named)),
            (Shape::Protobuf, Some(pb::UserKind::ById(id))) => out.put("byID", *id),
            (Shape::Protobuf, None) => {}
            (Shape::Keys, user) => {
                let mut fields = Fields { shape: Shape::Keys, object: Map::new() };
                match user {
                    Some(pb::UserKind::ByName(named)) => fields.message("byName", Some(named)),
                    Some(pb::UserKind::ById(id)) => fields.uint32("byId", *id),
                    None => {}
                }
                out.put("User", fields.object);
            }
        }
    }
}

impl Describe for pb::OpMetadata {
    fn describe(&self, out: &mut Fields) {
        out.bool("ignore_cache", self.ignore_cache);
        out.str_map("description", &self.description);
        out.message("export_cache", self.export_cache.as_ref());
        let cap =
            |it: &pb::CapEntry| (it.key.clone().unwrap_or_default(), it.value.unwrap_or_default().into());
        out.map("caps", self.caps.iter().map(cap));
        out.message("progress_group", self.progress_group.as_ref());
        out.message("linux_resources", self.linux_resources.as_ref());
    }
}

impl Describe for pb::Source {
    fn describe(&self, out: &mut Fields) {
        let shape = out.shape;
        let locations = |it: &pb::LocationsEntry| {
            let value = it.value.as_ref().map_or_else(|| Map::new().into(), |it| to_value(it, shape));
            (it.key.clone().unwrap_or_default(), value)
        };
        out.map("locations", self.locations.iter().map(locations));
        out.messages("infos", &self.infos);
    }
}

impl Describe for pb::Definition {
    fn describe(&self, out: &mut Fields) {
        if !self.def.is_empty() {
            let ops: Vec<Value> = self.def.iter().map(|op| base64(op).into()).collect();
            out.put("def", ops);
        }
        let shape = out.shape;
        let metadata = |it: &pb::MetadataEntry| {
            let value = it.value.as_ref().map_or_else(|| Map::new().into(), |it| to_value(it, shape));
            (it.key.clone().unwrap_or_default(), value)
        };
        out.map("metadata", self.metadata.iter().map(metadata));
        out.message("Source", self.source.as_ref());
    }
}

/// Standard base64 with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let at = |idx: usize| u32::from(group.get(idx).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) & 63;
            text.push(if digit <= group.len() { char::from(DIGITS[value as usize]) } else { '=' });
        }
    }
    text
}
