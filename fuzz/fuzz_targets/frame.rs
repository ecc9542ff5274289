//! How bytes are framed, with what the tests of the crate look for as well.
#![no_main]

#[path = "../../crates/pep-sql/tests/understand/fuzzed/frame.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|input: (usize, &[u8])| body::run(input));
