//! What verbs about the store's contents have in common: sizes, times and filters as people write them, and lists.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::base::time::rfc3339;
use crate::cli::steps;
use crate::cli::ui::{one_line, size};
use crate::store::Usage;
use crate::store::gc::{Filter, Item, Limits, RecordType, Space};

/// What `--filter` says.
#[derive(Debug, Clone)]
pub(crate) enum Restriction {
    /// Only what matches.
    Filter(Filter),
    /// Only what was not used for so long.
    Unused(Duration),
}

/// What `--gc` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Collection {
    /// Nothing is removed.
    Off,
    /// What is beyond these limits.
    On(Limits),
}

/// Reads `--filter`. `until` and `unused-for` are docker's.
pub(crate) fn restriction(text: &str) -> Result<Restriction, String> {
    match text.split_once('=') {
        Some(("until" | "unused-for", time)) => {
            duration(time.trim_start_matches('=')).map(Restriction::Unused)
        }
        _ => Filter::parse(text).map(Restriction::Filter).map_err(|error| error.to_string()),
    }
}

/// The filters, and how long what is meant must not have been used.
pub(super) fn split(restrictions: &[Restriction]) -> (Vec<Filter>, Duration) {
    let mut unused_for = Duration::ZERO;
    let mut filters = Vec::new();
    for restriction in restrictions {
        match restriction {
            Restriction::Filter(filter) => filters.push(filter.clone()),
            Restriction::Unused(time) => unused_for = unused_for.max(*time),
        }
    }
    (filters, unused_for)
}

/// Reads `90s`, `12h`, `1h30m`, `7d`, `2w`; `0` is no time.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration: write `90m`, `12h`, `7d` or `2w`");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut sum = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(wrong)?;
        let (number, after) = rest.split_at(end);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        sum += number
            * match unit {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 24.0 * 3600.0,
                "w" => 7.0 * 24.0 * 3600.0,
                _ => return Err(wrong()),
            };
        rest = after;
    }
    let is_empty = text.is_empty();
    Duration::try_from_secs_f64(sum).ok().filter(|_| !is_empty).ok_or_else(wrong)
}

/// Reads `5GB`, `512MiB`, `1000000`, `10%`.
pub(crate) fn space(text: &str) -> Result<Space, String> {
    let wrong =
        || format!("`{text}` is no amount: write `5GB`, `512MiB`, a number of bytes, or `10%` of the disk");
    if let Some(percent) = text.strip_suffix('%') {
        let percent = percent.parse::<u8>().ok().filter(|it| *it <= 100);
        return percent.map(Space::Percent).ok_or_else(wrong);
    }
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "kib" => f64::from(1 << 10),
        "mib" => f64::from(1 << 20),
        "gib" => f64::from(1 << 30),
        "tib" => 1024.0 * f64::from(1 << 30),
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    // Casts of floats stay within bounds.
    Ok(Space::Exactly((number * factor) as u64))
}

/// Reads `--gc`; an empty value, as of `BKL_GC=`, is the default.
pub(crate) fn collection(text: &str) -> Result<Collection, String> {
    match text.trim() {
        "" | "on" => return Ok(Collection::On(Limits::default())),
        "off" => return Ok(Collection::Off),
        _ => {}
    }
    let mut limits = Limits::default();
    for part in text.split(',') {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let limit = match name.trim() {
            "max-used-space" => &mut limits.max_used,
            "reserved-space" => &mut limits.reserved,
            "min-free-space" => &mut limits.min_free,
            "max-used-inodes" => &mut limits.max_inodes,
            other => {
                return Err(format!(
                    "`{other}` is neither `on` nor `off` nor a limit: there are `max-used-space`, `reserved-space`, `min-free-space`, `max-used-inodes`"
                ));
            }
        };
        *limit = Some(space(value.trim())?);
    }
    Ok(Collection::On(limits))
}

/// How long ago, in the largest unit that fits.
fn ago(at: SystemTime, now: SystemTime) -> String {
    let seconds = now.duration_since(at).unwrap_or_default().as_secs();
    let (n, unit) = match seconds {
        0..60 => return "just now".to_owned(),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{n} {unit}{} ago", if n == 1 { "" } else { "s" })
}

/// The text as a line that says nothing to the terminal: others may have written it, in a cache or an image.
fn quiet(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    one_line(text).chars().map(|c| if turns(c) { '\u{fffd}' } else { c }).collect()
}

/// A line for each item below a line of headings.
pub(super) fn table(items: &[&Item], now: SystemTime) -> String {
    let width = items.iter().map(|it| it.id.len()).max().unwrap_or(0).max(2);
    let kinds = RecordType::ALL.map(|it| it.name().len()).into_iter().max().unwrap_or(0);
    let mut text = String::new();
    let mut line = |cells: [&str; 7]| {
        let [id, kind, bytes, used, in_use, shared, description] = cells;
        let line = format!(
            "{id:width$}  {kind:kinds$}  {bytes:>8}  {used:14}  {in_use:6}  {shared:6}  {description}"
        );
        let _ = writeln!(text, "{}", line.trim_end());
    };
    line(["ID", "TYPE", "SIZE", "LAST USED", "IN USE", "SHARED", "DESCRIPTION"]);
    for item in items {
        let description = quiet(&steps::short(&item.description));
        let yes = |it: bool| if it { "yes" } else { "no" };
        let used = ago(item.last_used, now);
        let bytes = size(item.usage.bytes);
        let kind = item.record_type.name();
        line([&item.id, kind, &bytes, &used, yes(item.in_use), yes(item.shared), &description]);
    }
    text
}

/// Everything about each item, a paragraph each, as `buildctl du --verbose` has it.
pub(super) fn paragraphs(items: &[&Item]) -> String {
    let mut text = String::new();
    for item in items {
        let parents = item.parents.join(", ");
        let (bytes, inodes) = (size(item.usage.bytes), item.usage.inodes);
        let fields = [
            ("ID", item.id.clone()),
            ("Type", item.record_type.name().to_owned()),
            ("Parents", parents),
            ("Created at", rfc3339(item.created_at)),
            ("Last used", rfc3339(item.last_used)),
            ("Usage count", item.uses.to_string()),
            ("Mutable", item.mutable.to_string()),
            ("In use", item.in_use.to_string()),
            ("Shared", item.shared.to_string()),
            ("Size", bytes),
            ("Inodes", inodes.to_string()),
            ("Description", item.description.clone()),
        ];
        let shown = fields.map(|(name, value)| (name, quiet(&value)));
        for (name, value) in shown.iter().filter(|(_, value)| !value.is_empty()) {
            let _ = writeln!(text, "{:13} {value}", format!("{name}:"));
        }
        text.push('\n');
    }
    text
}

/// An item for tools.
pub(super) fn to_json(item: &Item) -> Value {
    json!({
        "id": item.id,
        "type": item.record_type.name(),
        "parents": item.parents,
        "created_at": rfc3339(item.created_at),
        "last_used": rfc3339(item.last_used),
        "uses": item.uses,
        "mutable": item.mutable,
        "in_use": item.in_use,
        "shared": item.shared,
        "bytes": item.usage.bytes,
        "inodes": item.usage.inodes,
        "description": item.description,
    })
}

/// An amount for tools.
pub(super) fn usage_json(usage: Usage) -> Value {
    json!({ "bytes": usage.bytes, "inodes": usage.inodes })
}

/// What items take together.
pub(super) fn sum<'a>(items: impl IntoIterator<Item = &'a Item>) -> Usage {
    items.into_iter().fold(Usage::default(), |sum, it| Usage {
        bytes: sum.bytes + it.usage.bytes,
        inodes: sum.inodes + it.usage.inodes,
    })
}
