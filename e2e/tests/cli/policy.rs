//! Policy files: every mistake at once, why a decision is as it is, and changes while the gateway runs.

use crate::Desk;
use countersign_e2e::night::{self, Night};
use std::{
    fs,
    path::Path,
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

/// How long something may take to come, on a busy machine.
const COMES_WITHIN: Duration = Duration::from_mins(3);

/// Puts a whole file there: whoever watches the folder never reads half of one.
fn put(night: &Night, file: &Path, text: &str) {
    let beside = night.gateway.folder().join("beside");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, file).unwrap();
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
        assert!(begun.elapsed() < COMES_WITHIN, "{found} of {wanted} {kind}");
    }
}

async fn status(night: &Night) -> u16 {
    let client = night::client().unwrap();
    let asked = night.ask(&client, reqwest::Method::GET, "/v1/services/checkout/status");
    asked.send().await.unwrap().status().as_u16()
}

/// Waits until a request is answered so: what comes into force is recorded before.
async fn comes_to(night: &Night, wanted: u16) {
    let begun = Instant::now();
    loop {
        let found = status(night).await;
        if found == wanted {
            return;
        }
        assert!(begun.elapsed() < COMES_WITHIN, "it is still answered {found} and not {wanted}");
    }
}

#[tokio::test]
async fn a_changed_policy_comes_into_force_and_a_bad_one_changes_nothing() {
    let night = Night::open(&[]).await.unwrap();
    assert_eq!(status(&night).await, 200);
    let file = night.gateway.folder().join("policy/99-wall.cedar");
    let wall = r#"@id("night-wall") @reason("not tonight") forbid (principal, action, resource);"#;
    recorded(&night, "policy.loaded", 1).await;
    put(&night, &file, wall);
    recorded(&night, "policy.loaded", 2).await;
    // The wall is in force without a restart.
    comes_to(&night, 403).await;
    put(&night, &file, "permit (principal, action");
    recorded(&night, "policy.rejected", 1).await;
    assert_eq!(status(&night).await, 403, "the bundle before stays in force");
    night.gateway.signal("HUP").unwrap();
    recorded(&night, "policy.rejected", 2).await;
    fs::remove_file(&file).unwrap();
    recorded(&night, "policy.loaded", 3).await;
    comes_to(&night, 200).await;
}

/// Says who made the policies what they are now.
async fn name_authors(night: &Night, address: &str) {
    let checked = night.gateway.command(&["policy", "check"]).await.unwrap();
    let files = checked.pointer("/files_digest").and_then(serde_json::Value::as_str).unwrap();
    let text = format!("# last change\nfiles: {files}\n{address}\n");
    put(night, &night.gateway.folder().join("CHANGED_BY"), &text);
}

#[tokio::test]
async fn a_policy_that_names_nobody_who_changed_it_does_not_come_into_force_where_that_is_asked() {
    let mut night = Night::open(&[]).await.unwrap();
    let folder = night.gateway.folder().to_owned();
    // Beside the configuration, where the log is as well.
    let authors = folder.join("CHANGED_BY");
    let configuration = folder.join("countersign.toml");
    let text = fs::read_to_string(&configuration).unwrap();
    let asked = text.replace("path = \"policy\"", "path = \"policy\"\nchanged_by = \"CHANGED_BY\"");
    fs::write(&configuration, asked).unwrap();
    assert_eq!(night.gateway.stop().unwrap(), Some(0));
    night.gateway.restart().await.unwrap();
    recorded(&night, "policy.loaded", 2).await;
    let wall = r#"@id("night-wall") @reason("not tonight") forbid (principal, action, resource);"#;
    put(&night, &folder.join("policy/99-wall.cedar"), wall);
    recorded(&night, "policy.rejected", 1).await;
    name_authors(&night, "nobody@example.com").await;
    recorded(&night, "policy.rejected", 2).await;
    assert_eq!(status(&night).await, 200, "the bundle before stays in force");
    for words in ["CHANGED_BY", "nobody here has the address `nobody@example.com`"] {
        assert!(night.gateway.log().contains(words), "{words}: {}", night.gateway.log());
    }
    // Nor does a change by somebody whose own agent waits for a decision.
    let client = night::client().unwrap();
    let ask = night.ask(&client, reqwest::Method::PUT, "/v1/config/prod/timeout");
    let ask = ask.header("prefer", "respond-async").json(&serde_json::json!({"value": "3000"}));
    assert_eq!(ask.send().await.unwrap().status(), 202);
    let held = night.gateway.approval("pending").await.unwrap();
    name_authors(&night, "olga@example.com").await;
    recorded(&night, "policy.rejected", 3).await;
    recorded(&night, "approval.vote_refused", 1).await;
    let said = format!("whose own side asked for approval `{held}`");
    assert!(night.gateway.log().contains(&said), "{}", night.gateway.log());
    night.gateway.command(&["approvals", "revoke", &held, "--reason", "not tonight"]).await.unwrap();
    name_authors(&night, "ana@example.com").await;
    recorded(&night, "policy.loaded", 3).await;
    comes_to(&night, 403).await;

    // The next change needs its own names: those of the last one are of other files.
    put(&night, &folder.join("policy/99-wall.cedar"), &format!("{wall}\n// again"));
    recorded(&night, "policy.rejected", 4).await;
    assert!(night.gateway.log().contains("it is of other files"), "{}", night.gateway.log());
    // The same of a change while it was down.
    assert_eq!(night.gateway.stop().unwrap(), Some(0));
    fs::remove_file(folder.join("policy/99-wall.cedar")).unwrap();
    fs::remove_file(&authors).unwrap();
    assert!(night.gateway.restart().await.is_err(), "it does not start with a change that nobody made");
    assert!(night.gateway.log().contains("who changed the policy cannot be read"), "{}", night.gateway.log());
    name_authors(&night, "ben@example.com").await;
    night.gateway.restart().await.unwrap();
    assert_eq!(status(&night).await, 200);
    let entries = night::verified_entries(&night.gateway).await.unwrap();
    let loaded: Vec<_> = entries.iter().filter(|entry| entry.kind == "policy.loaded").collect();
    let named =
        |entry: &&countersign_e2e::ledger::Entry| entry.data["changed_by"].as_array().map_or(0, Vec::len);
    assert_eq!(loaded.iter().map(named).collect::<Vec<_>>(), [0, 0, 1, 1]);
    let rejected = entries.iter().filter(|entry| entry.kind == "policy.rejected").count();
    // A watcher may tell of one change twice.
    assert!((4..8).contains(&rejected), "told of in the log, and not read again for that: {rejected}");
}
