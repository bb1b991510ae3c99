//! What an image says about itself: `.with`, `.config`, `.tag`.

use std::sync::Arc;

use super::Args;
use super::command::join_workdir;
use crate::base::ImageRef;
use crate::graph::ir::{Healthcheck, ImageConfig};
use crate::lang::eval::error::Cause;
use crate::lang::eval::interp::{Eval, Evaluator, as_list, as_map, as_text, field};
use crate::lang::eval::value::{BaseConfig, Cmd, Image, Index, Map, Value};
use crate::lang::hir::LiteralKind;
use crate::lang::types::{RecordType, Type};

/// The receiver of a method of `index`.
pub(super) fn as_index<'v>(args: &'v Args<'_>) -> &'v Arc<Index> {
    match args.required("self") {
        Value::Index(index) => index,
        other => panic!("expected an index, found {other:?}: the checker knows the types"),
    }
}

impl Evaluator<'_> {
    /// Settings: an absent argument keeps what there is, `none`, `[]` and `{}` clear it. `env` and `labels` merge,
    /// and `none` removes a key of theirs; `entrypoint` without `cmd` clears a `cmd` that the base brought.
    pub(super) fn with(&mut self, args: &Args<'_>) -> Eval {
        let mut image = Image::clone(args.image());
        let config = &mut image.config;
        if let Some(env) = args.get("env") {
            let env = as_map(env).entries();
            if env.is_empty() {
                config.env.clear();
            }
            for (name, value) in env {
                self.check_variable(name, args.spans_of_entry("env", name).0)?;
                match value {
                    Value::None => config.env.retain(|(known, _)| **known != **name),
                    value => config.set_env(name, as_text(value)),
                }
            }
        }
        if let Some(dir) = args.get("workdir") {
            let before = if config.workdir.is_empty() { "/" } else { &config.workdir };
            config.workdir = join_workdir(before, as_text(dir));
        }
        if let Some(user) = args.get("user") {
            config.user = user.option().map(|user| as_text(user).to_string());
        }
        if let Some(words) = args.get("entrypoint") {
            config.entrypoint = command_words(words);
            if args.get("cmd").is_none() && image.cmd == Cmd::Inherited {
                config.cmd = None;
            }
        }
        if let Some(words) = args.get("cmd") {
            config.cmd = command_words(words);
            image.cmd = Cmd::Set;
        }
        if let Some(labels) = args.get("labels") {
            let labels = as_map(labels).entries();
            if labels.is_empty() {
                config.labels.clear();
            }
            for (name, value) in labels {
                match (value, config.labels.iter_mut().find(|(known, _)| **known == **name)) {
                    (Value::None, _) => config.labels.retain(|(known, _)| **known != **name),
                    (value, Some(label)) => label.1 = as_text(value).to_string(),
                    (value, None) => config.labels.push((name.to_string(), as_text(value).to_string())),
                }
            }
        }
        if args.get("ports").is_some() {
            config.ports = args.texts("ports").iter().flat_map(|port| single_ports(port)).collect();
        }
        if args.get("volumes").is_some() {
            config.volumes = args.texts("volumes");
        }
        if let Some(signal) = args.get("stop_signal") {
            config.stop_signal = signal.option().map(|signal| as_text(signal).to_string());
        }
        if args.get("shell").is_some() {
            config.shell = Some(args.texts("shell")).filter(|words| !words.is_empty());
        }
        if let Some(check) = args.get("healthcheck") {
            config.healthcheck = check.option().map(healthcheck);
        }
        Ok(Value::Image(Arc::new(image)))
    }

    /// The settings as a record.
    pub(super) fn config(&mut self, args: &Args<'_>) -> Eval {
        let image = args.image();
        if image.base == BaseConfig::Unknown {
            return self.error(args.call.name_span, Cause::UnknownConfig);
        }
        let Type::Record(ty) = args.ty else { panic!("`config` is a record") };
        let config = &image.config;
        Ok(record(ty, |name, ty| match name {
            "env" => pairs(&config.env),
            "workdir" => Value::str(image.workdir()),
            "user" => Value::optional(config.user.as_deref()),
            "entrypoint" => config.entrypoint.as_ref().map_or(Value::None, Value::strs),
            "cmd" => config.cmd.as_ref().map_or(Value::None, Value::strs),
            "labels" => pairs(&config.labels),
            "ports" => Value::strs(&config.ports),
            "volumes" => Value::strs(&config.volumes),
            "stop_signal" => Value::optional(config.stop_signal.as_deref()),
            "shell" => shell(config),
            "healthcheck" => config.healthcheck.as_ref().map_or(Value::None, |check| shown_check(check, ty)),
            other => panic!("`Config` has a field `{other}` that is not filled in"),
        }))
    }

    /// Names of an image: they replace those it had.
    pub(super) fn tag_image(&mut self, args: &Args<'_>) -> Eval {
        let mut image = Image::clone(args.image());
        image.tags = self.tags(args)?;
        Ok(Value::Image(Arc::new(image)))
    }

    /// Names of an index of its own: they replace those it had; those of its images stay.
    pub(super) fn tag_index(&mut self, args: &Args<'_>) -> Eval {
        let tags = self.tags(args)?;
        Ok(Value::Index(Arc::new(Index { images: as_index(args).images.clone(), tags })))
    }

    fn tags(&self, args: &Args<'_>) -> Eval<Vec<String>> {
        let mut tags = Vec::new();
        for text in args.texts("refs") {
            match text.parse::<ImageRef>() {
                Ok(reference) => {
                    let tag = reference.with_default_tag().to_string();
                    if !tags.contains(&tag) {
                        tags.push(tag);
                    }
                }
                Err(why) => {
                    let (kind, why) = (LiteralKind::Ref, format!("{why}"));
                    return self.error(args.span_of("refs"), Cause::BadLiteral { kind, text, why });
                }
            }
        }
        Ok(tags)
    }
}

/// `none` and `[]` both mean that there is no command.
fn command_words(words: &Value) -> Option<Vec<String>> {
    let words =
        words.option().map(|words| as_list(words).iter().map(|word| as_text(word).to_string()).collect());
    words.filter(|words: &Vec<String>| !words.is_empty())
}

/// `80/tcp` for each port of `80`, `8000-8010/udp`: OCI names single ports, with their protocols.
fn single_ports(port: &str) -> Vec<String> {
    let (numbers, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    match (first.parse::<u16>(), last.parse::<u16>()) {
        (Ok(first), Ok(last)) => (first..=last).map(|number| format!("{number}/{protocol}")).collect(),
        _ => vec![format!("{numbers}/{protocol}")],
    }
}

fn pairs(pairs: &[(String, String)]) -> Value {
    let map: Map =
        pairs.iter().map(|(key, value)| (Arc::from(key.as_str()), Value::str(value.as_str()))).collect();
    Value::Map(Arc::new(map))
}

fn shell(config: &ImageConfig) -> Value {
    match &config.shell {
        Some(words) => Value::strs(words),
        None => Value::strs(["/bin/sh", "-c"]),
    }
}

fn record(ty: &RecordType, value: impl Fn(&str, &Type) -> Value) -> Value {
    Value::Record(ty.fields.iter().map(|field| (field.name.clone(), value(&field.name, &field.ty))).collect())
}

fn healthcheck(check: &Value) -> Healthcheck {
    let nanos = |name| match field(check, name) {
        Value::Duration(nanos) => i64::try_from(*nanos).unwrap_or(i64::MAX),
        _ => 0,
    };
    Healthcheck {
        test: as_list(field(check, "test")).iter().map(|word| as_text(word).to_string()).collect(),
        interval_ns: nanos("interval"),
        timeout_ns: nanos("timeout"),
        start_period_ns: nanos("start_period"),
        retries: match field(check, "retries") {
            Value::Int(retries) => *retries,
            _ => 0,
        },
    }
}

fn shown_check(check: &Healthcheck, ty: &Type) -> Value {
    let ty = match ty {
        Type::Option(inner) => inner,
        ty => ty,
    };
    let Type::Record(ty) = ty else { panic!("`healthcheck` is a record") };
    let nanos = |nanos: i64| Value::Duration(u64::try_from(nanos).unwrap_or(0));
    record(ty, |name, _| match name {
        "test" => Value::strs(&check.test),
        "interval" => nanos(check.interval_ns),
        "timeout" => nanos(check.timeout_ns),
        "start_period" => nanos(check.start_period_ns),
        "retries" => Value::Int(check.retries),
        other => panic!("`Healthcheck` has a field `{other}` that is not filled in"),
    })
}
