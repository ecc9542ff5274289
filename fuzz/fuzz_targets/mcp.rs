//! Any bytes: a message that is read is made of slices of them, and reading its parts again under another envelope gives the
//! same parts.
#![no_main]

use countersign_pep_mcp::frame::{Message, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(Message::Request { id, method, params: Some(params) }) = read(bytes) else { return };
    for part in [id.get(), method, params.get()] {
        assert!(bytes.as_ptr_range().contains(&part.as_ptr()));
    }
    let again = format!(r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{}}}"#, params.get());
    let Ok(Message::Request { params: Some(found), method: same, .. }) = read(again.as_bytes()) else {
        panic!("what was read once is not read again");
    };
    assert_eq!((found.get(), same), (params.get(), method));
});
