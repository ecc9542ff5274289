//! What of a request is fixed and what is volatile.

use super::*;
use crate::config::McpSection;
use serde_json::json;

fn target() -> McpTarget {
    let section = json!({
        "name": "files", "environment": "prod", "listen": "127.0.0.1:0", "upstream": "http://127.0.0.1:1/mcp",
        "volatile_meta": ["trace"],
    });
    serde_json::from_value::<McpSection>(section).unwrap().check(std::path::Path::new(".")).unwrap()
}

fn prepared(params: &str) -> Result<Prepared, &'static str> {
    let raw = RawValue::from_string(params.to_owned()).unwrap();
    prepare(Some(&raw), &target())
}

#[test]
fn only_what_is_volatile_is_taken_out() {
    let same = r#"{ "name":"x" , "arguments":{"b":1.0,"a":[ 1]},"_meta":{"k":1},"later":null}"#;
    assert_eq!(prepared(same).unwrap().params, same);
    let with = r#"{"_meta":{"progressToken":"t\u0031","k": 2,"trace":"z","countersign/reason":"why","countersign/idempotency-key":"i"},"name":"x"}"#;
    let with = prepared(with).unwrap();
    assert_eq!(
        with.params, r#"{"_meta":{"k":2},"name":"x"}"#,
        "spaces between members are no part of a value"
    );
    assert_eq!(with.progress_token.as_deref(), Some(r#""t\u0031""#));
    assert_eq!((with.reason.as_deref(), with.idempotency_key.as_deref()), (Some("why"), Some("i")));
    let bare = prepared(r#"{"name":"x","_meta":{"progressToken":1}}"#).unwrap();
    assert_eq!(bare.params, prepared(r#"{"name":"x"}"#).unwrap().params);
}

#[test]
fn parameters_with_two_readings_are_refused() {
    for bad in [
        r#"{"n\u0061me":"x"}"#,
        r#"{"_meta":{"progressToken":{}}}"#,
        r#"{"_meta":[]}"#,
        r#"{"_meta":{"countersign/reason":1}}"#,
        r#"{"_meta":{"progress\u0054oken":1}}"#,
        r#"{"name":"x","task":{"ttl":1}}"#,
    ] {
        assert!(prepared(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_head_is_read_as_it_was_written() {
    let call = Head { method: "tools/call".into(), tool: Some(("x y".into(), "sha256:0".into())) };
    for head in [call, Head { method: "tools/list".into(), tool: None }] {
        assert_eq!(Head::read(&head.write()), Some(head));
    }
    assert_eq!(Head::read(b"countersign-http/1\n4:POST"), None);
}

#[test]
fn a_session_is_opened_without_capabilities_and_told_without_what_is_not_offered() {
    let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
    let asks = raw(
        r#"{"protocolVersion":"1999","capabilities":{"sampling":{},"tasks":{}},"clientInfo":{"name":"c"}}"#,
    );
    assert_eq!(
        opening(Some(&asks)).unwrap(),
        r#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c"}}"#
    );
    let (version, told) = opened(
        r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true},"tasks":{},"logging":{}},"serverInfo":{"x":1.0}}"#,
    )
    .unwrap();
    assert_eq!(version, "2025-06-18");
    assert_eq!(
        told,
        r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{},"logging":{}},"serverInfo":{"x":1.0}}"#
    );
    assert!(opened(r#"{"protocolVersion":"2026-07-28","capabilities":{}}"#).is_none());
}
