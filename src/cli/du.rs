//! `bkl du`: what the store holds, byte for byte.

use std::fmt::Write as _;
use std::time::SystemTime;

use serde_json::json;

use crate::cli::Failure;
use crate::cli::args::{self, Format};
use crate::cli::failure;
use crate::cli::kept::{self, paragraphs, sum, table, to_json, usage_json};
use crate::cli::lower::write_stdout;
use crate::cli::ui::size;
use crate::store::gc::{Item, Sizes};
use crate::store::{Options, Store};

/// Runs the verb.
pub(super) fn run(args: &args::Du) -> Result<(), Failure> {
    let failed = |error| failure::store(&error, &args.listing.store);
    let store: Store = Store::open_existing(&args.listing.store, &Options::default()).map_err(failed)?;
    let contents = store.contents(Sizes::Looked).map_err(failed)?;
    let now = SystemTime::now();
    let (filters, unused_for) = kept::split(&args.filters);
    let is_meant = |item: &&Item| {
        (filters.is_empty() || filters.iter().any(|it| it.matches(item)))
            && unused_for <= now.duration_since(item.last_used).unwrap_or_default()
    };
    let items: Vec<&Item> = contents.items.iter().filter(is_meant).collect();
    let is_all = args.filters.is_empty();
    let reclaimable = sum(items.iter().copied().filter(|it| !it.in_use));
    if args.listing.format == Format::Json {
        let list: Vec<_> = items.iter().map(|it| to_json(it)).collect();
        let mut all = json!({ "records": list, "reclaimable": usage_json(reclaimable) });
        if is_all {
            all["database"] = usage_json(contents.database);
            all["other"] = usage_json(contents.other);
            all["total"] = usage_json(contents.total());
        } else {
            all["total"] = usage_json(sum(items));
        }
        return write_stdout(format!("{all:#}\n").as_bytes());
    }
    let mut text = String::new();
    if args.verbose {
        text += &paragraphs(&items);
    } else {
        // Of outputs there are as many as steps.
        let (logs, rest): (Vec<&Item>, Vec<&Item>) =
            items.iter().partition(|it| is_all && it.description == "output of a step");
        if !rest.is_empty() {
            text += &table(&rest, now);
        }
        if !logs.is_empty() {
            let bytes = size(sum(logs.iter().copied()).bytes);
            let of = if logs.len() == 1 {
                "output of a step".to_owned()
            } else {
                format!("outputs of {} steps", logs.len())
            };
            let _ = writeln!(text, "and the {of}: {bytes}");
        }
    }
    let shared = sum(items.iter().copied().filter(|it| it.shared));
    let all = sum(items);
    let mut lines = vec![
        ("Shared:", size(shared.bytes)),
        ("Private:", size(all.bytes - shared.bytes)),
        ("Reclaimable:", size(reclaimable.bytes)),
    ];
    let total = if is_all {
        lines.push(("Database:", size(contents.database.bytes)));
        lines.push(("Other:", size(contents.other.bytes)));
        contents.total()
    } else {
        all
    };
    lines.push(("Total:", format!("{} in {} files and directories", size(total.bytes), total.inodes)));
    for (name, value) in lines {
        let _ = writeln!(text, "{name:13} {value}");
    }
    write_stdout(text.as_bytes())
}
