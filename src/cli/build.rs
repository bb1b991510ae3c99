//! `bkl build`
use super::*;
pub(super) fn run(_args: &args::Build) -> Result<(), Failure> { Ok(()) }
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap())
}
