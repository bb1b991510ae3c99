//! See `bkl_fuzz::cache_config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bkl_fuzz::cache_config(data));
