//! What is a message, what is none, and that its parts stay the bytes they were.

use super::*;

fn refused(body: &str) -> FrameRefusal {
    read(body.as_bytes()).unwrap_err()
}

#[test]
fn parts_are_the_bytes_of_the_body() {
    let body = br#" { "params" : {"name":"x","arguments":{"n":12345678901234567890123,"f":1.0e2}} , "method":"tools/call","id":"a\u0062","jsonrpc":"2.0"} "#;
    let Message::Request { id, method, params } = read(body).unwrap() else { unreachable!() };
    assert_eq!(id.get(), r#""a\u0062""#);
    assert_eq!(method, "tools/call");
    assert_eq!(params.unwrap().get(), r#"{"name":"x","arguments":{"n":12345678901234567890123,"f":1.0e2}}"#);
    let note = read(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).unwrap();
    assert!(matches!(note, Message::Notification { method: "notifications/initialized", params: None }));
    let response = read(br#"{"jsonrpc":"2.0","id":1,"result":{}}"#).unwrap();
    assert!(matches!(response, Message::Response { answer: Answer::Result(_), .. }));
}

#[test]
fn whatever_two_readers_could_read_differently_is_refused() {
    let deep =
        format!(r#"{{"jsonrpc":"2.0","method":"m","params":{{"a":{}1{}}}}}"#, "[".repeat(70), "]".repeat(70));
    for (body, why) in [
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, FrameRefusal::Batch),
        (" \n[]", FrameRefusal::Batch),
        ("", FrameRefusal::NotJson),
        ("\u{feff}{}", FrameRefusal::NotJson),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping"}{"jsonrpc":"2.0","id":2,"method":"x"}"#,
            FrameRefusal::NotJson,
        ),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}"#, FrameRefusal::NotJson),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","m\u0065thod":"tools/call"}"#, FrameRefusal::NotJson),
        (r#"{"jsonrpc":"2.0","id":1,"m\u0065thod":"tools/call"}"#, FrameRefusal::NotAMessage),
        (r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":{"b":1,"b":2}}}"#, FrameRefusal::NotJson),
        (r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":"\ud800"}}"#, FrameRefusal::NotJson),
        (&deep, FrameRefusal::NotJson),
        (r#"{"jsonrpc":"2.0","id":1,"method":"m","params":[]}"#, FrameRefusal::NotAMessage),
        (r#"{"jsonrpc":"2.0","id":1,"method":"m","extra":1}"#, FrameRefusal::NotAMessage),
        (r#"{"jsonrpc":"2.0","id":1,"method":"m","result":1}"#, FrameRefusal::NotAMessage),
        (r#"{"jsonrpc":"1.0","id":1,"method":"m"}"#, FrameRefusal::NotAMessage),
        (r#"{"id":1,"method":"m"}"#, FrameRefusal::NotAMessage),
        (r#"{"jsonrpc":"2.0","id":1}"#, FrameRefusal::NotAMessage),
        (r#"{"jsonrpc":"2.0","id":null,"method":"m"}"#, FrameRefusal::Id),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"m"}"#, FrameRefusal::Id),
        (r#"{"jsonrpc":"2.0","id":{},"method":"m"}"#, FrameRefusal::Id),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools\/call"}"#, FrameRefusal::Method),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call "}"#, FrameRefusal::Method),
        (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, FrameRefusal::Method),
    ] {
        assert_eq!(refused(body), why, "{body}");
    }
    assert_eq!(read(b"{\"a\":\"\xff\"}").unwrap_err(), FrameRefusal::NotUtf8);
    let huge = format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"m"}}"#, "9".repeat(200));
    assert_eq!(refused(&huge), FrameRefusal::Id);
}
