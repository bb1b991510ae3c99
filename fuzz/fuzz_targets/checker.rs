//! See `bkl_fuzz::checker`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| drop(bkl_fuzz::checker(data)));
