//! The command line: the only place that reads arguments and prints.

use std::process::ExitCode;

/// The whole program behind `main`: reads the arguments, runs the verb.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
