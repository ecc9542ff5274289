//! Sections are checked whole: every fault with its place and remedy, no secret repeated.

use super::*;

fn section(json: serde_json::Value) -> Result<HttpSection, serde_json::Error> {
    serde_json::from_value(json)
}

fn minimal() -> serde_json::Value {
    serde_json::json!({
        "name": "billing", "environment": "prod", "listen": "127.0.0.1:0", "upstream": "https://billing.internal:8443",
    })
}

fn with(member: &str, value: serde_json::Value) -> serde_json::Value {
    let mut json = minimal();
    json[member] = value;
    json
}

#[test]
fn a_minimal_section_has_safe_defaults() {
    let target = section(minimal()).unwrap().check(Path::new(".")).unwrap();
    assert_eq!(target.hold_limit, Duration::from_secs(55));
    assert_eq!(target.way.body_limit, 1 << 20);
    assert_eq!(target.upgrades, Upgrades::Deny);
    assert_eq!(target.origin.authority, "billing.internal:8443");
    assert_eq!(target.credential_profile, "none");
}

#[test]
fn unknown_members_and_unreadable_values_are_refused() {
    for (member, value) in [
        ("upsteam", serde_json::json!("x")),
        ("hold_limit", serde_json::json!("55")),
        ("hold_limit", serde_json::json!("-1s")),
        ("body_limit", serde_json::json!("1MB")),
        ("upgrades", serde_json::json!("allow")),
        ("listen", serde_json::json!("billing")),
        ("operations", serde_json::json!([{"name": "x", "method": "GET", "path": "/", "class": "reed"}])),
    ] {
        assert!(section(with(member, value.clone())).is_err(), "{member} {value}");
    }
    let sized = section(with("body_limit", serde_json::json!("64KiB"))).unwrap();
    assert_eq!(sized.body_limit, Size(65536));
}

#[test]
fn every_fault_is_told_at_once() {
    let mut json = with(
        "operations",
        serde_json::json!([
            {"name": "a", "method": "get", "path": "v1", "class": "read"},
            {"name": "b", "method": "GET", "path": "/b", "class": "read", "facts": [{"name": "x"}], "sentence": "Do {"},
            {"name": "c", "method": "GET", "path": "/c/{id}", "class": "read", "sentence": "Do {missing}"},
        ]),
    );
    json["name"] = "no name".into();
    json["upstream"] = "ftp://user@host/path".into();
    json["credential"] = serde_json::json!({"profile": "p", "value_from": "hunter2"});
    json["drop_headers"] = serde_json::json!(["bad header"]);
    let faults = section(json).unwrap().check(Path::new(".")).unwrap_err();
    let told = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n");
    insta::assert_snapshot!(told);
    assert!(!told.contains("hunter2"), "a secret written by mistake is not repeated");
}

#[test]
fn upstreams_are_origins_alone() {
    for bad in ["https://a/b", "https://u:p@a", "https://a?x", "https://a#x", "ws://a", "a", "file:///etc"] {
        assert!(section(with("upstream", bad.into())).unwrap().check(Path::new(".")).is_err(), "{bad}");
    }
}
