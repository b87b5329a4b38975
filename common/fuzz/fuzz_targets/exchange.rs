//! See `targets::exchange`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tucano_common_fuzz::exchange(data));
