//! How messages are taken apart, with what the tests of the crate look for as well.
#![no_main]

#[path = "../../crates/pep-mcp/tests/fuzzed/frame.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    body::run(bytes);
});
