//! See `bkl_fuzz::llb_decode`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bkl_fuzz::llb_decode(data));
