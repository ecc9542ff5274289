//! What the fuzzer looks for, looked for with every run of the tests.
#![expect(clippy::panic, reason = "a test stops at the first surprise")]

#[path = "fuzzed/frame.rs"]
mod frame;

use proptest::prelude::*;

/// Texts that are nearly messages: the parts of one, with something put in the place of each.
fn nearly() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        Just("{}".to_owned()),
        Just("[1,2]".to_owned()),
        Just("null".to_owned()),
        Just(r#"{"a":{"b":[{"c":"\u0000\ud83d\ude00"}]},"a":1}"#.to_owned()),
        Just(r#" {"_meta" : {"progressToken":1e400},"n":-0.0 } "#.to_owned()),
        "[ -~]{0,24}",
    ];
    let id =
        prop_oneof![Just("1".to_owned()), Just("\"x\"".to_owned()), Just("1.50".to_owned()), "[ -~]{0,6}"];
    let method = prop_oneof![Just("tools/call".to_owned()), "[ -~]{0,12}", "\\PC{0,6}"];
    (id, method, value, any::<bool>()).prop_map(|(id, method, params, swapped)| {
        if swapped {
            format!(r#"{{"params":{params},"id":{id},"method":"{method}","jsonrpc":"2.0"}}"#)
        } else {
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn what_is_nearly_a_message_is_read_as_it_stands_or_not_at_all(text in nearly()) {
        frame::run(text.as_bytes());
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        frame::run(&bytes);
    }
}

#[test]
fn a_good_message_gets_to_the_end() {
    let good = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{}}}"#;
    assert!(frame::run(good));
}
