//! See `bkl_fuzz::formatter`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bkl_fuzz::formatter(data));
