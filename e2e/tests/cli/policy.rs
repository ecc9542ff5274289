//! Policy files: every mistake at once, why a decision is as it is, and changes while the gateway runs.

use crate::Desk;
use countersign_e2e::night::{self, Night};
use std::{
    fs,
    time::{Duration, Instant},
};

/// A request as people describe it.
pub(crate) const ACTION: &str =
    r#"{ "groups": ["platform-agents"], "target": "example", "method": "PUT", "path": "/settings/x" }"#;

const WRONG: &str = r#"permit (principal, action, resoruce);
@id("a") @gaet("x") forbid (principal in Group::"nope", action, resource);
@id("a") forbid (principal, action, resource) when { context.http.methd == "GET" };
@id("b") @gate("g") @quorum("0") @approvers("Group::\"sre\"") @reason("r") forbid (principal, action, resource);
"#;

#[tokio::test]
async fn every_mistake_in_the_policies_is_told_with_file_line_and_hint() {
    let desk = Desk::open().await;
    desk.write("policy/99-wrong.cedar", WRONG);
    let says = ["99-wrong.cedar:1:", "99-wrong.cedar:2:", "did you mean `@gate`?", "`nope`", "hint: "];
    for command in [&["policy", "check"][..], &["check"], &["serve"]] {
        let ran = desk.refused(command, 2, &says).await;
        assert!(ran.stderr.contains("mistakes in the policies"), "{}", ran.stderr);
    }
    desk.write("policy/99-wrong.cedar", WRONG.lines().skip(2).collect::<Vec<_>>().join("\n"));
    desk.refused(&["policy", "check"], 2, &["99-wrong.cedar:1:", "99-wrong.cedar:2:"]).await;
    desk.refused(&["policy", "check", "nowhere"], 2, &["nowhere"]).await;
    desk.json(&["policy", "check", "policy/10-access.cedar"]).await;
}

#[tokio::test]
async fn why_names_every_rule_that_matched_and_what_lifts_it() {
    let desk = Desk::open().await;
    desk.write("action.json", ACTION);
    let told = desk.run(&["policy", "why", "action.json"]).await.stdout;
    for words in
        ["review", "permit `platform-agents` (10-access.cedar:4:1)", "gate `prod-settings`", "lifted by"]
    {
        assert!(told.contains(words), "{told}");
    }
    desk.write("action.json", ACTION.replace("/settings/x", "/elsewhere"));
    let told = desk.run(&["policy", "why", "action.json"]).await.stdout;
    assert!(told.contains("wall `unrecognised-wall`"), "{told}");
    for (wrong, says) in [("{", "not an action"), ("[]", "not an action"), ("{\"id\": 1}", "not an action")] {
        desk.write("action.json", wrong);
        desk.refused(&["policy", "why", "action.json"], 2, &["`action.json`", says, "\n\nhint: "]).await;
    }
    for (from, to, says) in [
        ("example", "exmple", "there is no target `exmple`"),
        ("PUT", "P T", "`P T` is not a method"),
        ("/settings/x", "/settings/../x", "`/settings/../x`"),
    ] {
        desk.write("action.json", ACTION.replace(from, to));
        desk.refused(&["policy", "why", "action.json"], 2, &[says, "\n\nhint: "]).await;
    }
}

/// Waits until the record holds this many entries of a kind.
async fn recorded(night: &Night, kind: &str, wanted: usize) {
    let begun = Instant::now();
    loop {
        let entries = night::verified_entries(&night.gateway).await.unwrap();
        let found = entries.iter().filter(|entry| entry.kind == kind).count();
        if found >= wanted {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{found} of {wanted} {kind}");
    }
}

async fn status(night: &Night) -> u16 {
    let client = night::client().unwrap();
    let asked = night.ask(&client, reqwest::Method::GET, "/v1/services/checkout/status");
    asked.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_changed_policy_comes_into_force_and_a_bad_one_changes_nothing() {
    let night = Night::open(&[]).await.unwrap();
    assert_eq!(status(&night).await, 200);
    let file = night.gateway.folder().join("policy/99-wall.cedar");
    let wall = r#"@id("night-wall") @reason("not tonight") forbid (principal, action, resource);"#;
    recorded(&night, "policy.loaded", 1).await;
    fs::write(&file, wall).unwrap();
    recorded(&night, "policy.loaded", 2).await;
    assert_eq!(status(&night).await, 403, "the wall is in force without a restart");
    fs::write(&file, "permit (principal, action").unwrap();
    recorded(&night, "policy.rejected", 1).await;
    assert_eq!(status(&night).await, 403, "the bundle before stays in force");
    night.gateway.signal("HUP").unwrap();
    recorded(&night, "policy.rejected", 2).await;
    fs::remove_file(&file).unwrap();
    recorded(&night, "policy.loaded", 3).await;
    assert_eq!(status(&night).await, 200);
}
