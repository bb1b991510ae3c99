//! `bkl completions` and `bkl man`: both are made from the same table the arguments are read by.

use std::fs;
use std::io;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::base::Report;
use crate::cli::Failure;
use crate::cli::args;
use crate::cli::lower::write_stdout;
use crate::cli::program::io_reason;

/// `bkl completions`
pub(super) fn completions(args: &args::Completions) -> Result<(), Failure> {
    let shell = match args.shell {
        args::Shell::Bash => Shell::Bash,
        args::Shell::Zsh => Shell::Zsh,
        args::Shell::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::Cli::command(), "bkl", &mut script);
    write_stdout(&script)
}

/// `bkl man`
pub(super) fn pages(args: &args::Man) -> Result<(), Failure> {
    let write = || -> io::Result<()> {
        fs::create_dir_all(&args.output)?;
        clap_mangen::generate_to(args::Cli::command(), &args.output)
    };
    write().map_err(|error| {
        let message =
            format!("cannot write manual pages to `{}`: {}", args.output.display(), io_reason(&error));
        Report::error("bkl::output", message).into()
    })
}
