//! See `bkl_fuzz::evaluator`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bkl_fuzz::evaluator(data));
