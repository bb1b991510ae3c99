//! `bkl prune`: removes what no build uses.

use std::fmt::Write as _;
use std::time::SystemTime;

use serde_json::json;

use crate::cli::Failure;
use crate::cli::args::{self, Format};
use crate::cli::failure;
use crate::cli::kept::{self, paragraphs, table, to_json, usage_json};
use crate::cli::lower::write_stdout;
use crate::cli::ui::size;
use crate::store::gc::{Caps, Disk, Item, Policy, Pruned, Space};
use crate::store::{Options, Store, StoreError};

/// Runs the verb.
pub(super) fn run(args: &args::Prune) -> Result<(), Failure> {
    let failed = |error: StoreError| failure::pruning(&error, &args.listing.store);
    let store = Store::open_existing(&args.listing.store, &Options::default()).map_err(failed)?;
    let policy = policy(args, store.disk().map_err(failed)?);
    let pruned = store.prune(&[policy]).map_err(failed)?;
    print(args, &pruned)?;
    match pruned.failed {
        Some(error) => Err(failed(error).into()),
        None => Ok(()),
    }
}

/// What is asked for, on this disk.
fn policy(args: &args::Prune, (bytes, inodes): (Disk, Disk)) -> Policy {
    let (filters, unused_for) = kept::split(&args.filters);
    let of = |space: Option<Space>, disk: Disk| space.map_or(0, |it| it.of(disk));
    // Nothing at all is asked for as one byte: 0 is no limit.
    let most = |space: Option<Space>, disk: Disk| space.map_or(0, |it| it.of(disk).max(1));
    Policy {
        all: args.all,
        filters,
        unused_for: unused_for.max(args.keep_duration.unwrap_or_default()),
        bytes: Caps {
            reserved: of(args.reserved_space, bytes),
            max_used: most(args.max_used_space, bytes),
            min_free: of(args.min_free_space, bytes),
        },
        inodes: Caps { max_used: most(args.max_used_inodes, inodes), ..Caps::default() },
    }
}

fn print(args: &args::Prune, pruned: &Pruned) -> Result<(), Failure> {
    let reclaimed = pruned.reclaimed();
    if args.listing.format == Format::Json {
        let removed: Vec<_> = pruned.removed.iter().map(to_json).collect();
        let all = json!({ "removed": removed, "reclaimed": usage_json(reclaimed), "left": usage_json(pruned.left) });
        return write_stdout(format!("{all:#}\n").as_bytes());
    }
    let items: Vec<&Item> = pruned.removed.iter().collect();
    let mut text = match (items.is_empty(), args.verbose) {
        (true, _) => String::new(),
        (false, true) => paragraphs(&items),
        (false, false) => table(&items, SystemTime::now()),
    };
    let _ = writeln!(text, "Total: {}", size(reclaimed.bytes));
    write_stdout(text.as_bytes())
}
