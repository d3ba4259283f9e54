//! `fuzz::cancel_answer` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::cancel_answer(input));
