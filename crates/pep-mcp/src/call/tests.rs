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
    ] {
        assert!(prepared(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_head_is_read_as_it_was_written() {
    let call = Head {
        method: "tools/call".into(),
        tool: Some(("x y".into(), "sha256:0".into())),
        ..Head::default()
    };
    let asked = Some(r#"{"message":"result a"}"#.to_owned());
    let again = Head { asked: asked.clone(), ..call.clone() };
    let answer = Head {
        method: "roots/list".into(),
        answers: Some(("a-0".into(), Form::Error)),
        asked,
        ..Head::default()
    };
    let within = Head { during: Some(r#"{"action":"act_1"}"#.into()), ..answer.clone() };
    for head in [call, again, answer, within, Head { method: "tools/list".into(), ..Head::default() }] {
        assert_eq!(Head::read(&head.write()), Some(head));
    }
    for bad in ["tool x\n", "tool x\nasked {}\n", "result a\nerror a\n", "asked {}\nresult a\n", "else\n"] {
        assert_eq!(Head::read(format!("{FORM}tools/call\n{bad}").as_bytes()), None, "{bad}");
    }
    assert_eq!(Head::read(b"countersign-http/1\n4:POST"), None);
}

#[test]
fn a_session_is_opened_with_what_is_offered_and_told_without_what_is_not_offered() {
    let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
    let asks = raw(
        r#"{"protocolVersion":"1999","capabilities":{"sampling":{},"tasks":{}},"clientInfo":{"name":"c"}}"#,
    );
    let (client, version, capabilities) = opening(Some(&asks)).unwrap();
    assert_eq!(capabilities.unwrap().get(), r#"{"sampling":{},"tasks":{}}"#);
    assert_eq!(
        opening_with(version, Some(&client), r#"{"sampling":{}}"#),
        r#"{"protocolVersion":"2025-11-25","capabilities":{"sampling":{}},"clientInfo":{"name":"c"}}"#
    );
    let (version, told) = opened(
        r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{},"tasks":{},"logging":{},"resources":{"subscribe":true,"x":1}},"serverInfo":{"x":1.0}}"#,
    )
    .unwrap();
    assert_eq!(version, "2025-06-18");
    assert_eq!(
        told,
        r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true},"logging":{},"resources":{"subscribe":true}},"serverInfo":{"x":1.0}}"#
    );
    assert!(opened(r#"{"protocolVersion":"2026-07-28","capabilities":{}}"#).is_none());
}

#[test]
fn what_a_server_is_is_told_in_the_words_of_each_era() {
    let later = r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{},"resources":{"listChanged":true,"subscribe":true},"extensions":{}},"instructions":"look","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s"}},"ttlMs":5,"cacheScope":"public"}"#;
    assert!(speaks_later(later));
    assert_eq!(
        opened_later(later, "2025-06-18").unwrap(),
        r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true},"resources":{"listChanged":true}},"serverInfo":{"name":"s"},"instructions":"look"}"#
    );
    let versions = r#"["2026-07-28","2025-11-25","2025-06-18","2025-03-26"]"#;
    let about = r#""instructions":"look","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s"}},"ttlMs":0,"cacheScope":"private"}"#;
    let told = format!(
        r#"{{"resultType":"complete","supportedVersions":{versions},"capabilities":{{"extensions":{{"io.modelcontextprotocol/tasks":{{}}}},"tools":{{"listChanged":true}},"resources":{{"listChanged":true,"subscribe":true}}}},{about}"#
    );
    assert_eq!(discovered(later), Some(told.clone()));
    let told = told.replace(r#","subscribe":true"#, "");
    let earlier = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"resources":{"listChanged":true,"subscribe":true}},"serverInfo":{"name":"s"},"instructions":"look"}"#;
    assert!(!speaks_later(earlier));
    assert_eq!(discovered(earlier), Some(told));
}

#[test]
fn the_envelope_and_the_state_are_no_part_of_what_is_decided_on() {
    let target = target();
    let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
    let plain = raw(r#"{"name":"x","arguments":{"n":1.0}}"#);
    let later = raw(
        r#"{"name":"x","arguments":{"n":1.0},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"c"}},"requestState":"s","inputResponses":{}}"#,
    );
    let prepared = prepare(Some(&later), &target).unwrap();
    assert_eq!(prepared.params, prepare(Some(&plain), &target).unwrap().params);
    assert_eq!(prepared.state.as_deref(), Some("s"));
    let answers = raw(r#"{"name":"x","inputResponses":{"a":{"action":"accept"}}}"#);
    let prepared = prepare(Some(&answers), &target).unwrap();
    assert_eq!((prepared.params.as_str(), prepared.state), (r#"{"name":"x"}"#, None));
    assert_eq!(prepared.responses.as_deref(), Some(r#"{"a":{"action":"accept"}}"#));
    // No task is made, so that the wish for one changes nothing.
    let task = raw(r#"{"name":"x","task":{"ttl":1},"arguments":{"n":1.0}}"#);
    assert_eq!(prepare(Some(&task), &target).unwrap().params, r#"{"name":"x","arguments":{"n":1.0}}"#);
}
