//! The program: arguments to a verb, a verb to an exit code. Everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A command's helper is this same program started afresh. It must stay single-threaded and may not read the
    // environment, so it is recognised before anything else happens.
    if std::env::args_os().nth(1).is_some_and(|verb| verb == "internal-run") {
        return bkl::engine::exec::helper::main();
    }
    bkl::cli::main()
}
