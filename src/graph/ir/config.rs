//! The OCI image config that travels with an image value.

use serde_json::{Map, Value, json};

use crate::base::Platform;

/// Where commands are looked for when nothing says otherwise.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An image's platform and run configuration, and what its base brought along.
///
/// Lists and maps keep their order. A config read by [`ImageConfig::from_oci`] keeps every key it does not know and
/// writes it back.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageConfig {
    /// What the image is for.
    pub platform: Platform,
    /// Environment in order; keys are unique.
    pub env: Vec<(String, String)>,
    /// Working directory; empty when not set.
    pub workdir: String,
    /// `user[:group]`.
    pub user: Option<String>,
    /// Words that always start the command.
    pub entrypoint: Option<Vec<String>>,
    /// Default arguments.
    pub cmd: Option<Vec<String>>,
    /// Labels in order.
    pub labels: Vec<(String, String)>,
    /// `8080/tcp`, in order.
    pub ports: Vec<String>,
    /// Mount points that ask for a volume, in order.
    pub volumes: Vec<String>,
    /// `SIGTERM`.
    pub stop_signal: Option<String>,
    /// Words in front of a shell command; `None` is `/bin/sh -c`.
    pub shell: Option<Vec<String>>,
    /// How to see whether a container is well.
    pub healthcheck: Option<Healthcheck>,
    /// The whole config of the base, if there is one: `history`, `rootfs` and unknown keys are taken from it.
    pub base: Option<Value>,
}

/// Docker's HEALTHCHECK. Durations are nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healthcheck {
    /// `["CMD", …]`, `["CMD-SHELL", text]`, `["NONE"]`.
    pub test: Vec<String>,
    /// Between two checks.
    pub interval_ns: i64,
    /// For one check.
    pub timeout_ns: i64,
    /// Grace at the start.
    pub start_period_ns: i64,
    /// Failures in a row that make a container unhealthy.
    pub retries: i64,
}

impl ImageConfig {
    /// The config of an image made from nothing: no environment, no command.
    pub fn scratch(platform: Platform) -> ImageConfig {
        ImageConfig {
            platform,
            env: Vec::new(),
            workdir: String::new(),
            user: None,
            entrypoint: None,
            cmd: None,
            labels: Vec::new(),
            ports: Vec::new(),
            volumes: Vec::new(),
            stop_signal: None,
            shell: None,
            healthcheck: None,
            base: None,
        }
    }

    /// What BuildKit gives an image whose build named no config: a search path and a directory.
    pub fn plain(platform: &Platform) -> ImageConfig {
        let mut config = ImageConfig::scratch(platform.normalize());
        config.set_env("PATH", DEFAULT_PATH);
        "/".clone_into(&mut config.workdir);
        config
    }

    /// Reads an OCI or docker image config; `fallback` is the platform when the config names none.
    pub fn from_oci(oci: &Value, fallback: &Platform) -> ImageConfig {
        let config = &oci["config"];
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let list = |value: &Value| -> Option<Vec<String>> {
            Some(value.as_array()?.iter().filter_map(|it| it.as_str().map(str::to_owned)).collect())
        };
        let keys = |value: &Value| -> Vec<String> {
            value.as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default()
        };
        let env = list(&config["Env"]).unwrap_or_default();
        let mut image = ImageConfig::scratch(fallback.clone());
        for var in &env {
            if let Some((key, value)) = var.split_once('=')
                && !key.is_empty()
            {
                image.set_env(key, value);
            }
        }
        if let (Some(os), Some(arch)) = (text(&oci["os"]), text(&oci["architecture"])) {
            image.platform = Platform {
                os,
                arch,
                variant: text(&oci["variant"]).unwrap_or_default(),
                os_version: text(&oci["os.version"]).unwrap_or_default(),
                os_features: list(&oci["os.features"]).unwrap_or_default(),
            };
        }
        image.workdir = text(&config["WorkingDir"]).unwrap_or_default();
        image.user = text(&config["User"]);
        image.entrypoint = list(&config["Entrypoint"]).filter(|words| !words.is_empty());
        image.cmd = list(&config["Cmd"]).filter(|words| !words.is_empty());
        image.labels = config["Labels"]
            .as_object()
            .map(|labels| {
                labels
                    .iter()
                    .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
                    .collect()
            })
            .unwrap_or_default();
        image.ports = keys(&config["ExposedPorts"]);
        image.volumes = keys(&config["Volumes"]);
        image.stop_signal = text(&config["StopSignal"]);
        image.shell = list(&config["Shell"]).filter(|words| !words.is_empty());
        image.healthcheck = config["Healthcheck"].as_object().map(|check| Healthcheck {
            test: check.get("Test").and_then(list).unwrap_or_default(),
            interval_ns: check.get("Interval").and_then(Value::as_i64).unwrap_or(0),
            timeout_ns: check.get("Timeout").and_then(Value::as_i64).unwrap_or(0),
            start_period_ns: check.get("StartPeriod").and_then(Value::as_i64).unwrap_or(0),
            retries: check.get("Retries").and_then(Value::as_i64).unwrap_or(0),
        });
        image.base = Some(oci.clone());
        image
    }

    /// Sets a variable. A key that is set again moves to the end, as Go's `EnvList` does (client/llb/meta.go).
    pub fn set_env(&mut self, key: &str, value: &str) {
        self.env.retain(|(known, _)| known != key);
        self.env.push((key.to_owned(), value.to_owned()));
    }

    /// `K=V` in order.
    pub fn env_list(&self) -> Vec<String> {
        self.env.iter().map(|(key, value)| format!("{key}={value}")).collect()
    }

    /// The OCI config with everything but `rootfs` and `history` final: those two are still the base's, and the
    /// exporter extends them by the layers that were added. Empty settings are left out; keys are in OCI's order.
    pub fn to_oci(&self) -> Value {
        let mut root = match &self.base {
            Some(Value::Object(base)) => base.clone(),
            _ => Map::new(),
        };
        root.insert("architecture".to_owned(), json!(self.platform.arch));
        root.insert("os".to_owned(), json!(self.platform.os));
        set(&mut root, "variant", (!self.platform.variant.is_empty()).then(|| json!(self.platform.variant)));
        let mut config = match root.get("config") {
            Some(Value::Object(config)) => config.clone(),
            _ => Map::new(),
        };
        let words = |words: &Option<Vec<String>>| words.as_ref().map(|words| json!(words));
        let empty_objects = |keys: &[String]| -> Option<Value> {
            (!keys.is_empty())
                .then(|| Value::Object(keys.iter().map(|key| (key.clone(), json!({}))).collect()))
        };
        set(&mut config, "User", self.user.as_ref().map(|user| json!(user)));
        set(&mut config, "ExposedPorts", empty_objects(&self.ports));
        set(&mut config, "Env", (!self.env.is_empty()).then(|| json!(self.env_list())));
        set(&mut config, "Entrypoint", words(&self.entrypoint));
        set(&mut config, "Cmd", words(&self.cmd));
        set(&mut config, "Volumes", empty_objects(&self.volumes));
        set(&mut config, "WorkingDir", (!self.workdir.is_empty()).then(|| json!(self.workdir)));
        let labels = self.labels.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        set(&mut config, "Labels", (!self.labels.is_empty()).then_some(Value::Object(labels)));
        set(&mut config, "StopSignal", self.stop_signal.as_ref().map(|signal| json!(signal)));
        set(&mut config, "Shell", words(&self.shell));
        let healthcheck = self.healthcheck.as_ref().map(|check| {
            let mut entry = Map::new();
            entry.insert("Test".to_owned(), json!(check.test));
            // Docker's own writer leaves out what is 0, which is the base's, or the default.
            let numbers = [
                ("Interval", check.interval_ns),
                ("Timeout", check.timeout_ns),
                ("StartPeriod", check.start_period_ns),
                ("Retries", check.retries),
            ];
            for (key, number) in numbers.into_iter().filter(|(_, number)| *number != 0) {
                entry.insert(key.to_owned(), json!(number));
            }
            Value::Object(entry)
        });
        set(&mut config, "Healthcheck", healthcheck);
        root.insert("config".to_owned(), Value::Object(config));
        Value::Object(root)
    }
}

/// Sets or removes a key.
fn set(map: &mut Map<String, Value>, key: &str, value: Option<Value>) {
    match value {
        Some(value) => drop(map.insert(key.to_owned(), value)),
        None => drop(map.shift_remove(key)),
    }
}
