//! Heads of requests, as rules see them.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| warren_fuzz::facts(data));
