//! Sections are checked whole: every fault with its place, no secret repeated.

use super::*;
use serde_json::json;

fn checked(change: impl FnOnce(&mut serde_json::Value)) -> Result<McpTarget, Vec<Fault>> {
    let mut section = json!({
        "name": "files", "environment": "prod", "listen": "127.0.0.1:0", "upstream": "https://files.internal/mcp?x=1",
    });
    change(&mut section);
    serde_json::from_value::<McpSection>(section).unwrap().check(Path::new("."))
}

#[test]
fn a_minimal_section_has_safe_defaults() {
    let target = checked(|_| {}).unwrap();
    assert_eq!(target.path, "/mcp");
    assert_eq!(target.hold_limit, Duration::from_secs(50));
    assert_eq!(target.upstream(), "https://files.internal/mcp?x=1");
    assert_eq!(target.credential_profile, "none");
}

#[test]
fn every_fault_is_told_at_once_with_its_place() {
    let sql = json!({"argument": "query", "target": "orders", "database": "shop"});
    let faults = checked(|section| {
        section["name"] = "no name".into();
        section["listen"] = "0.0.0.0:7201".into();
        section["path"] = "mcp".into();
        section["upstream"] = "ftp://user@files/x".into();
        section["credential"] = json!({"profile": "p", "value_from": "hunter2"});
        section["tools"] = json!([
            {"name": "a\u{200b}", "class": "read"},
            {"name": "mcp.list", "class": "read"},
            {"name": "approval_wait", "class": "read"},
            {"name": "b", "class": "read", "sentence": "Read {x} and {"},
            {"name": "b", "class": "read"},
            {"name": "c"},
            {"name": "d", "class": "read", "sql": sql},
            {"name": "e", "sql": sql, "arguments": {"query": "text"}},
        ]);
    });
    let told: Vec<_> = faults.unwrap_err().iter().map(ToString::to_string).collect();
    let places = [
        "name",
        "upstream",
        "credential.value_from",
        "path",
        "listen",
        "tools[0].name",
        "tools[1].name",
        "tools[2].name",
        "tools[3].sentence",
        "tools[3].sentence",
        "tools[5].class",
        "tools[6].class",
        "tools[7].sql",
        "tools",
    ];
    assert_eq!(told.len(), places.len(), "{told:#?}");
    for (told, place) in told.iter().zip(places) {
        assert!(told.starts_with(&format!("mcp.no name.{place}: ")), "{told}");
        assert!(!told.contains("hunter2"), "a secret written by mistake is not repeated");
    }
}
