//! See `targets::response_head`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tucano_common_fuzz::response_head(data));
