//! See `bkl_fuzz::parser`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bkl_fuzz::parser(data));
