//! See `targets::request_head`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tucano_common_fuzz::request_head(data));
