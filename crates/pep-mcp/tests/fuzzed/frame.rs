//! What holds of any bytes: a message that is read is made of slices of them, and reading its parts again under another
//! envelope gives the same parts.

use countersign_pep_mcp::frame::{Message, read};

/// Whether they are a request with parameters at all.
pub(crate) fn run(bytes: &[u8]) -> bool {
    let Ok(Message::Request { id, method, params: Some(params) }) = read(bytes) else { return false };
    for part in [id.get(), method, params.get()] {
        assert!(bytes.as_ptr_range().contains(&part.as_ptr()));
    }
    let again = format!(r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{}}}"#, params.get());
    let Ok(Message::Request { params: Some(found), method: same, .. }) = read(again.as_bytes()) else {
        panic!("what was read once is not read again: {again}");
    };
    assert_eq!((found.get(), same), (params.get(), method));
    true
}
