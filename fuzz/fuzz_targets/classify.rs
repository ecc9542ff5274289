//! How texts are read, with what the tests of the crate look for as well.
#![no_main]

#[path = "../../crates/pep-sql/tests/understand/fuzzed/classify.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|input: (bool, &str)| body::run(input));
