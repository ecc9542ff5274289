//! Every command: its help, its JSON, and the names nobody knows.

use crate::{Desk, policy::ACTION, run_in};
use countersign_e2e::night::Night;
use serde_json::Value;

const COMMANDS: [&[&str]; 36] = [
    &["demo"],
    &["init"],
    &["check"],
    &["serve"],
    &["person"],
    &["person", "invite"],
    &["person", "list"],
    &["person", "link"],
    &["person", "groups"],
    &["person", "disable"],
    &["agent"],
    &["agent", "create"],
    &["agent", "list"],
    &["agent", "token", "create"],
    &["agent", "token", "list"],
    &["agent", "token", "revoke"],
    &["target", "list"],
    &["approvals"],
    &["approvals", "list"],
    &["approvals", "show"],
    &["approvals", "revoke"],
    &["policy", "check"],
    &["policy", "why"],
    &["export"],
    &["verify"],
    &["freeze", "all"],
    &["freeze", "agent"],
    &["freeze", "target"],
    &["freeze", "list"],
    &["freeze", "lift"],
    &["log", "key"],
    &["log", "tiles"],
    &["log", "redact"],
    &["log", "audit"],
    &["log", "rotate-keys"],
    &["log", "accept-rollback"],
];

#[tokio::test]
async fn every_command_explains_itself() {
    let desk = Desk::open().await;
    for command in COMMANDS {
        let ran = desk.run(&[command, &["--help"]].concat()).await;
        assert_eq!(ran.status, Some(0), "{command:?}");
        assert!(ran.stdout.contains(&format!("Usage: countersign {}", command.join(" "))), "{}", ran.stdout);
    }
    let help = desk.run(&["--help"]).await.stdout;
    for words in
        ["Exit status: 0 done, 1 it did not work, 2 the command line or a file is wrong", "3 something"]
    {
        assert!(help.contains(words), "{help}");
    }
}

#[tokio::test]
async fn every_command_answers_in_json() {
    let desk = Desk::open().await;
    desk.write("action.json", ACTION);
    let text = |value: &Value, pointer: &str| value.pointer(pointer).unwrap().as_str().unwrap().to_owned();
    desk.json(&["check"]).await;
    desk.json(&["target", "list"]).await;
    let invited = desk.json(&["person", "invite", "ana@example.com", "--group", "sre"]).await;
    assert!(text(&invited, "/link").contains("/enrol#"));
    desk.json(&["person", "list"]).await;
    desk.json(&["person", "link", "ana@example.com"]).await;
    desk.json(&["person", "groups", "ana@example.com", "--add", "security", "--remove", "sre"]).await;
    let agent = ["agent", "create", "bot", "--owner", "ana@example.com", "--group", "platform-agents"];
    assert!(text(&desk.json(&agent).await, "/id").starts_with("agt_"));
    desk.json(&["agent", "list"]).await;
    let token = ["agent", "token", "create", "bot", "--expires", "30d", "--for", "ana@example.com"];
    let token = desk.json(&token).await;
    assert!(text(&token, "/token").starts_with("csn_"));
    desk.json(&["agent", "token", "list", "bot"]).await;
    desk.json(&["agent", "token", "revoke", &text(&token, "/id")]).await;
    desk.json(&["approvals", "list", "--status", "pending"]).await;
    desk.json(&["policy", "check"]).await;
    desk.json(&["policy", "why", "action.json"]).await;
    for scope in [&["all"][..], &["agent", "bot"], &["target", "example"]] {
        desk.json(&[&["freeze"], scope].concat()).await;
        assert_eq!(desk.json(&["freeze", "list"]).await.as_array().unwrap().len(), 1);
        let listed = desk.run(&["freeze", "list"]).await.stdout;
        assert!(listed.contains(scope[0]), "{listed}");
        desk.json(&[&["freeze", "lift"], scope].concat()).await;
    }
    let key = text(&desk.json(&["log", "key"]).await, "/log_key");
    desk.json(&["export", "--file", "all.jsonl", "--disclose", "all"]).await;
    assert_eq!(desk.json(&["verify", "all.jsonl", "--key", &key]).await["verified"], true);
    desk.json(&["log", "audit"]).await;
    desk.json(&["log", "rotate-keys"]).await;
    desk.json(&["person", "disable", "ana@example.com"]).await;
}

#[tokio::test]
async fn what_nobody_knows_is_named_in_the_refusal() {
    let desk = Desk::open().await;
    desk.json(&["person", "invite", "ana@example.com"]).await;
    let unknown = "apr_00000000000000000000000000";
    for (arguments, says) in [
        (
            &["person", "invite", "bob@example.com", "--group", "srx"][..],
            &["`srx`", "did you mean `sre`?"][..],
        ),
        (&["person", "invite", "bob"], &["`bob`", "e-mail"]),
        (&["person", "invite", "ana@example.com"], &["`ana@example.com`"]),
        (
            &["person", "link", "bob@example.com"],
            &["`bob@example.com`", "hint: see `countersign person list`"],
        ),
        (&["person", "groups", "ana@example.com", "--add", "nope"], &["`nope`"]),
        (&["person", "disable", "bob@example.com"], &["`bob@example.com`"]),
        (&["agent", "create", "bot", "--owner", "bob@example.com"], &["`bob@example.com`"]),
        (&["agent", "create", "bot", "--owner", "ana@example.com", "--group", "nope"], &["`nope`"]),
        (&["agent", "token", "create", "ghost"], &["`ghost`", "hint: see `countersign agent list`"]),
        (&["agent", "token", "list", "ghost"], &["`ghost`"]),
        (&["agent", "token", "revoke", "tok"], &["`tok`", "crd_"]),
        (&["approvals", "show", "apr_1"], &["`apr_1`", "apr_"]),
        (&["approvals", "show", unknown], &[unknown]),
        (&["approvals", "revoke", unknown, "--reason", "no"], &[unknown]),
        (&["freeze", "agent", "ghost"], &["`ghost`"]),
        (&["freeze", "target", "nowhere"], &["`nowhere`"]),
        (&["log", "accept-rollback"], &["nothing was changed"]),
    ] {
        desk.refused(arguments, 1, says).await;
    }
}

#[tokio::test]
async fn a_command_line_that_cannot_be_read_ends_with_2() {
    let desk = Desk::open().await;
    for (arguments, says) in [
        (&["frobnicate"][..], "frobnicate"),
        (&["chek"], "check"),
        (&["check", "--output", "yaml"], "yaml"),
        (&["person", "invite"], "<EMAIL>"),
        (&["person", "invite", "a@example.com", "--role", "king"], "king"),
        (&["approvals", "list", "--status", "odd"], "odd"),
        (&["approvals", "list", "--limit", "many"], "many"),
        (&["approvals", "revoke", "apr_1"], "--reason"),
        (&["export", "--from", "-1"], "-1"),
        (&["verify", "x"], "--key"),
        (&["verify", "none.jsonl", "--key", "y"], "`y` is not a public key"),
        (&["freeze", "lift", "everyone"], "everyone"),
        (&["freeze", "lift", "agent"], "which agent?"),
        (&["demo", "--port", "99999"], "99999"),
        (&["policy", "why", "none.json"], "`none.json`"),
    ] {
        desk.refused(arguments, 2, &[says]).await;
    }
}

#[tokio::test]
async fn init_never_writes_over_a_file() {
    let desk = Desk::open().await;
    desk.write("countersign.toml", "# mine");
    desk.refused(&["init"], 2, &["countersign.toml", "nothing was written", "\n\nhint: "]).await;
    assert_eq!(std::fs::read_to_string(desk.path().join("countersign.toml")).unwrap(), "# mine");
}

#[tokio::test]
async fn two_gateways_never_share_a_folder() {
    let mut night = Night::open(&[]).await.unwrap();
    for command in [&["serve"][..], &["log", "audit"], &["log", "rotate-keys"], &["log", "accept-rollback"]] {
        let ran = run_in(night.gateway.folder(), command).await;
        assert_eq!(ran.status, Some(1), "{command:?}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains("error: ") && ran.stderr.contains("hint: "), "{}", ran.stderr);
    }
    assert!(night.ana.read("approvals").await.unwrap().is_success(), "the first one is not disturbed");
    assert_eq!(night.gateway.stop().unwrap(), Some(0), "{}", night.gateway.log());
}
