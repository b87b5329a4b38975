//! See `targets::chunked`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tucano_common_fuzz::chunked(data));
