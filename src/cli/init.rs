//! `bkl init`: a first program to change.

use std::fs;
use std::io::{self, Write};

use crate::base::Report;
use crate::cli::Failure;
use crate::cli::args;
use crate::cli::lower::write_stdout;
use crate::cli::program::io_reason;

/// What is written: name and text.
const FILES: [(&str, &str); 2] =
    [("build.bkl", include_str!("init/build.bkl")), (".bklignore", include_str!("init/bklignore"))];

/// Runs the verb; when one of the files is there already, none is written.
pub(super) fn run(args: &args::Init) -> Result<(), Failure> {
    let cannot = |name: &str, error: &io::Error| {
        let path = args.folder.join(name);
        Report::error("bkl::output", format!("cannot write `{}`: {}", path.display(), io_reason(error)))
    };
    fs::create_dir_all(&args.folder).map_err(|error| cannot("", &error))?;
    for (name, _) in FILES {
        let path = args.folder.join(name);
        if path.symlink_metadata().is_ok() {
            return Err(Report::error("bkl::exists", format!("`{}` is there already", path.display()))
                .help("`bkl init` changes no file; choose another folder: `bkl init FOLDER`")
                .into());
        }
    }
    for (name, text) in FILES {
        let path = args.folder.join(name);
        let written = fs::File::create_new(&path).and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|error| cannot(name, &error))?;
        let shown = path.strip_prefix(".").unwrap_or(&path);
        write_stdout(format!("{}\n", shown.display()).as_bytes())?;
    }
    Ok(())
}
