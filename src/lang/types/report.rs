//! Type errors as people get them: labels and ways out.

use super::error::{Guess, Mismatch, TypeError};
use super::help::{buildable_help, it_has, mismatch_help, operator_help, outs_of, text_help};
use super::ty::Type;
use crate::base::{Edit, Fix, Report, Span};

/// Says which name was probably meant, and how to write it in the place of what is at `at`.
fn did_you_mean(report: Report, at: Span, near: Option<&String>) -> Report {
    let Some(near) = near else { return report };
    report.help(format!("did you mean `{near}`?")).fixes([write_near(at, near)])
}

/// Says what was probably meant, and how to write it.
fn guessed(report: Report, at: Span, guess: Option<&Guess>) -> Report {
    let Some(guess) = guess else { return report };
    report.help(&guess.text).fixes(guess.replacement.iter().map(|meant| write_near(at, meant)))
}

fn write_near(at: Span, near: &str) -> Fix {
    Fix::replace(format!("write `{near}`"), at, near)
}

impl TypeError {
    /// Whether this is a circle of uses through several files.
    pub(in crate::lang) fn crosses_files(&self) -> bool {
        matches!(self, TypeError::Recursion { at, declared, .. } if at.file != declared.file)
    }
    /// As people get it.
    pub fn report(&self) -> Report {
        let message = self.to_string();
        let error =
            |code: &'static str, at: Span, label: &str| Report::error(code, &message).label(at, label);
        match self {
            TypeError::UnknownName { help, at, .. } => {
                guessed(error("bkl::unknown_name", *at, "unknown name"), *at, help.as_ref())
            }
            TypeError::UnknownType { help, at, .. } => {
                guessed(error("bkl::unknown_type", *at, "unknown type"), *at, help.as_ref())
            }
            TypeError::NotInModule { near, at, .. } => {
                did_you_mean(error("bkl::unknown_name", *at, "not in this module"), *at, near.as_ref())
            }
            TypeError::Private { name, at, declared, .. } => error("bkl::private", *at, "not visible here")
                .label(*declared, format!("`{name}` is declared without `pub`"))
                .help("write `pub` in front of its declaration to export it"),
            TypeError::Duplicate { at, first, .. } => {
                error("bkl::duplicate", *at, "declared again here").label(*first, "declared here first")
            }
            TypeError::BuiltinTypeName { at, .. } => error("bkl::duplicate", *at, "choose another name"),
            TypeError::NotAValue { help, at, .. } => {
                error("bkl::not_a_value", *at, "a value is wanted here").maybe_help(help.clone())
            }
            TypeError::NotCallable { declared, hides, at, .. } => {
                let report = error("bkl::not_callable", *at, "not a function");
                let report = match declared {
                    Some(declared) => report.label(*declared, "declared here"),
                    None => report,
                };
                let help = |name| format!("it hides the function `{name}`; choose another name for it");
                report.maybe_help(hides.as_ref().map(help))
            }
            TypeError::Recursion { .. } => self.recursion(),
            TypeError::RecursiveType { at, .. } => error("bkl::recursion", *at, "used inside of itself here")
                .help("a record cannot hold one of its own kind; a list of them is no way out either"),
            TypeError::Mismatch(mismatch) => {
                let Mismatch { expected, found, at, cause, hint } = &**mismatch;
                let mut report = error("bkl::type_mismatch", *at, &format!("this is {found}"));
                if let Some((span, text)) = cause {
                    report = report.label(*span, text);
                }
                report
                    .maybe_help(mismatch_help(expected, found))
                    .maybe_help(hint.clone())
                    .fixes(mismatch_fixes(expected, found, *at))
            }
            TypeError::TooLarge { at } => {
                error("bkl::too_large", *at, "too many types inside of each other")
                    .help("a record with two fields of one type has twice its size; keep what belongs together in a list")
            }
            TypeError::Untyped { help, at, .. } => {
                error("bkl::untyped", *at, "its type cannot be seen from this").help(help.clone())
            }
            TypeError::UnknownMethod { near, help, at, .. } => {
                error("bkl::unknown_method", *at, "no such method")
                    .maybe_help(help.clone())
                    .fixes(near.iter().map(|near| write_near(*at, near)))
            }
            TypeError::UnknownProperty { near, help, at, .. } => {
                error("bkl::unknown_field", *at, "no such property")
                    .maybe_help(help.clone())
                    .fixes(near.iter().map(|near| write_near(*at, near)))
            }
            TypeError::UnknownField { record, near, at, .. } => {
                let report = error("bkl::unknown_field", *at, "unknown field");
                match record {
                    Type::Record(record) if near.is_none() => {
                        report.maybe_help(it_has(record.fields.iter().map(|field| &*field.name)))
                    }
                    _ => did_you_mean(report, *at, near.as_ref()),
                }
            }
            TypeError::MissingField { names, add, at } => {
                let fields: Vec<String> = names.iter().map(|name| format!("{name}: …")).collect();
                error("bkl::missing_field", *at, "in this record")
                    .help(format!("write `{}`", fields.join(", ")))
                    .fixes([added(names, add)])
            }
            TypeError::GivenTwice { at, first, .. } => {
                error("bkl::given_twice", *at, "given again here").label(*first, "given here first")
            }
            TypeError::UnknownVariant { variants, near, pattern, at, .. } => {
                let label = if *pattern {
                    "unknown".to_owned()
                } else {
                    let variants: Vec<String> = variants.iter().map(|name| format!(".{name}")).collect();
                    format!("expected one of {}", variants.join(", "))
                };
                let near = near.as_ref().map(|near| format!(".{near}"));
                did_you_mean(error("bkl::unknown_variant", *at, &label), *at, near.as_ref())
            }
            TypeError::NotExhaustive { missing, found, add, at } => {
                error("bkl::not_exhaustive", *at, &format!("this is {found}"))
                    .help("add the missing arms, or `_ =>`")
                    .fixes([added(missing, add)])
            }
            TypeError::Unreachable { at } => {
                error("bkl::unreachable_arm", *at, "the arms before it take everything it would")
            }
            TypeError::NotMatchable { at, .. } => {
                error("bkl::type_mismatch", *at, "`match` works on enums and on optional values")
                    .help("use `if` for conditions")
            }
            TypeError::WrongPattern { found, at } => {
                let help = match found {
                    Type::Option(_) => {
                        "the patterns of an optional value are `some(x)` and `none`".to_owned()
                    }
                    _ => format!("the patterns of {found} are its variants"),
                };
                error("bkl::wrong_pattern", *at, "cannot match").help(help)
            }
            TypeError::Operator { op, left, right, at } => {
                error("bkl::bad_operand", *at, &format!("{left} {op} {right}"))
                    .maybe_help(operator_help(op, left, right))
            }
            TypeError::NotOptional { found, rest, at } => {
                error("bkl::not_optional", *at, &format!("this is {found}"))
                    .help("remove `??` and what follows it")
                    .fixes([Fix::replace("remove the `??`", *rest, "")])
            }
            TypeError::NotIterable { at, .. } => {
                error("bkl::type_mismatch", *at, "a list or a map is wanted here")
            }
            TypeError::MapNeedsTwoNames { at } => {
                error("bkl::map_loop", *at, "this is a map").help("write `for key, value in …`")
            }
            TypeError::NotIndexable { found, at } => {
                let help = match found {
                    Type::Record(_) => Some("fields of a record are read with `.name`".to_owned()),
                    Type::Option(_) => Some("give it a default first: `(x ?? …)[…]`".to_owned()),
                    _ => None,
                };
                error("bkl::type_mismatch", *at, &format!("this is {found}")).maybe_help(help)
            }
            TypeError::UnknownArg { function, name, near, have, at } => {
                let report = error("bkl::unknown_arg", *at, "unknown argument");
                match (&**function, &**name) {
                    ("check", "outs") => report.help("a check has no results; `.run(…)` has `outs`"),
                    _ if near.is_none() => report.maybe_help(it_has(have.iter().map(String::as_str))),
                    _ => did_you_mean(report, *at, near.as_ref()),
                }
            }
            TypeError::MissingArg { function, names, all, add, declared, at } => {
                let label = if names.len() == 1 { "missing here" } else { "these are missing here" };
                let report = error("bkl::missing_arg", *at, label);
                let report = match declared {
                    Some(declared) => report.label(*declared, "declared here"),
                    None => report,
                };
                report.help(format!("write `{function}({})`", all.join(", "))).fixes([added(names, add)])
            }
            TypeError::TooManyArgs { help, name_it, at, .. } => {
                let named = name_it
                    .iter()
                    .map(|name| Fix::wrap(format!("name it: `{name}: …`"), *at, &format!("{name}: "), ""));
                error("bkl::too_many_args", *at, "one too many").maybe_help(help.clone()).fixes(named)
            }
            TypeError::PositionalAfterNamed { at } => {
                error("bkl::positional_arg", *at, "behind a named argument")
                    .help("move it to the front or name it")
            }
            TypeError::PipeIntoMethod { name, at } => error("bkl::not_callable", *at, "a method")
                .help(format!("call the method on the left side: `x.{name}(…)`")),
            TypeError::NotCalled { name, what, at } => {
                let (label, help) = if *what == "a method" {
                    ("not called", format!("write `.{name}(…)`"))
                } else {
                    ("called", format!("write `.{name}` without parentheses"))
                };
                let call =
                    (*what == "a method").then(|| Fix::append(format!("call it: `.{name}()`"), *at, "()"));
                error("bkl::not_callable", *at, label).help(help).fixes(call)
            }
            TypeError::FunctionAsValue { name, at } => {
                error("bkl::not_a_value", *at, "a value is wanted here")
                    .help(format!("call it: `{name}(…)`"))
                    .fixes([Fix::append(format!("call it: `{name}()`"), *at, "()")])
            }
            TypeError::BadLiteral { why, help, at, .. } => {
                error("bkl::bad_literal", *at, why).maybe_help(help.clone())
            }
            TypeError::SecretInText { .. } => self.secret_in_text(),
            TypeError::NotText { found, command, at } => {
                let default = matches!(found, Type::Option(inner) if **inner == Type::Str)
                    .then(|| Fix::append("give it a default: `?? \"\"`", *at, " ?? \"\""));
                error("bkl::not_text", *at, &format!("this is {found}"))
                    .maybe_help(text_help(found, *command))
                    .fixes(default)
            }
            TypeError::ShellVariable { name, at } => Report::warning("bkl::shell_variable", &message)
                .label(*at, "the shell will read this, and find it empty")
                .help(format!("write `#{{{name}}}` to insert the value"))
                .fixes([Fix::replace(
                    format!("insert the value: `#{{{name}}}`"),
                    *at,
                    format!("#{{{name}}}"),
                )]),
            TypeError::Unused { name, at, .. } => Report::warning("bkl::unused", &message)
                .label(*at, "nothing uses it")
                .help(format!("remove it, or write `_{name}` to keep it")),
            TypeError::Shadowed { name, at, first } => Report::warning("bkl::shadowed", &message)
                .label(*at, "from here on this one is meant")
                .label(*first, "this one cannot be seen there")
                .help(format!("choose another name for this `{name}`")),
            TypeError::MountAsOut { at } => {
                error("bkl::mount_as_out", *at, "a cache, secret or read-only mount has no result")
                    .help("results are declared with `out(\"/dir\")`; put this one under `mounts:`")
            }
            TypeError::RootInOuts { at } => error("bkl::reserved_name", *at, "this name is taken")
                .help("it is always there: `.root` of the result"),
            TypeError::ReadOnlyWithoutOuts { at } => {
                error("bkl::no_result", *at, "nothing can be written, and there are no `outs`").help(
                    "declare results with `outs:`, or use `.check(…)` for a command that only has to succeed",
                )
            }
            TypeError::NotBuildable { found, at } => {
                let label = "not a tree, an image, an index, a check, or a list or map of them";
                error("bkl::not_buildable", *at, label).maybe_help(buildable_help(found))
            }
            TypeError::ParamType { at, .. } => {
                error("bkl::param_type", *at, "the command line gives text, numbers, lists, maps and records")
            }
            TypeError::PlatformInDefault { through, at } => {
                let report = error("bkl::platform_in_default", *at, "depends on what is built");
                let report = match through {
                    Some(used) => report.label(*used, "here it depends on the platform"),
                    None => report,
                };
                report.help(
                    "use `target_platform` where the param is used, or say for which platform: `on p { … }`",
                )
            }
            TypeError::RemoteLocal { reads, help, at, .. } => {
                error("bkl::remote_local", *at, reads).maybe_help(help.clone())
            }
            TypeError::NotImportable { at, .. } => error("bkl::private", *at, "not visible here"),
        }
    }

    fn recursion(&self) -> Report {
        let TypeError::Recursion { function, at, declared, through, .. } = self else {
            unreachable!("called for recursion only")
        };
        let (closing, help) = if *function {
            (
                "this call closes the circle",
                "bkl programs always end, so functions cannot recurse; loop over a list: `[for x in xs: …]`",
            )
        } else {
            ("this use closes the circle", "a value cannot be made of itself; one of these uses has to go")
        };
        let mut report = Report::error("bkl::recursion", self.to_string()).label(*at, closing);
        for (used, span) in through {
            report = report.label(*span, format!("by way of `{used}`"));
        }
        report.label(*declared, "defined here").help(help)
    }

    fn secret_in_text(&self) -> Report {
        let TypeError::SecretInText { name, declared, command, at } = self else {
            unreachable!("called for secrets in text only")
        };
        let mut report = Report::error("bkl::secret_in_text", self.to_string());
        if let Some(declared) = declared {
            report = report.label(*declared, "declared as a secret here");
        }
        let name = name.as_deref().unwrap_or("token");
        if *command {
            report
                .label(*at, "this would write the secret into the command, its cache key and the logs")
                .help(format!(
                    "give it to the command instead: `secret_env: {{ TOKEN: {name} }}` and `$TOKEN`, or \
                     `mounts: [{name}.file(\"/run/secrets/{name}\")]`"
                ))
        } else {
            report.label(*at, "this would make the secret readable").help(format!(
                "a secret can only be mounted (`{name}.file(\"/run/x\")`) or given to one command with `secret_env:`"
            ))
        }
    }
}

/// What adds arguments, fields or arms.
fn added(names: &[String], add: &Edit) -> Fix {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    Fix { title: format!("add {}", names.join(", ")), edits: vec![add.clone()] }
}

/// The way out of [`mismatch_help`] as edits, where it is one.
fn mismatch_fixes(expected: &Type, found: &Type, at: Span) -> Vec<Fix> {
    if let (Type::Option(expected), false) = (expected, matches!(found, Type::Option(_))) {
        return mismatch_fixes(expected, found, at);
    }
    let wrap =
        |before: &str, after: &str| vec![Fix::wrap(format!("write `{before}…{after}`"), at, before, after)];
    let append = |text: &str| Fix::append(format!("write `…{text}`"), at, text);
    match (expected, found) {
        (Type::Fs | Type::Image | Type::Tree, Type::Record(record)) if outs_of(found).is_some() => {
            let fits = |ty: &Type| super::relate::coercion(ty, expected).is_some();
            let trees = record.fields.iter().filter(|field| fits(&field.ty));
            trees.map(|field| append(&format!(".{}", field.name))).collect()
        }
        (Type::Image, Type::Ref) => wrap("image(", ")"),
        (Type::Image, Type::Fs) => vec![append(".image()")],
        (Type::Mount, Type::Ssh) => vec![append(".agent()")],
        (Type::Image, Type::Index) => vec![append(".images[0]")],
        (Type::Str, _) if found.is_scalar() => wrap("\"#{", "}\""),
        (Type::List(element), found) if super::relate::coercion(found, element).is_some() => wrap("[", "]"),
        (Type::Bool, Type::Option(_)) => vec![append(" != none")],
        _ => Vec::new(),
    }
}
