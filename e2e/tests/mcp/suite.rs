//! The protocol's official conformance suite, against a server of the official SDK by itself and through the gateway: what
//! it finds is the same, but for what the gateway refuses on purpose.

use crate::stage::{Stage, node, suite};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    process::Child,
    time::Duration,
};

/// Which of the suite's scenarios pass, by name: passed and failed checks.
type Found = BTreeMap<String, (u32, u32)>;

/// Runs what a revision of the protocol requires.
fn found(url: &str, revision: &str) -> Found {
    let folder = tempfile::tempdir().unwrap();
    let mut run = suite();
    run.args(["server", "--url", url, "--requirements", revision, "--timeout", "120000", "-o"])
        .arg(folder.path());
    let said = run.output().unwrap();
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let mut found = Found::new();
    for line in text.lines() {
        let Some(line) = line.strip_prefix("✓ ").or_else(|| line.strip_prefix("✗ ")) else { continue };
        let Some((name, counts)) = line.split_once(": ") else { continue };
        let mut numbers = counts.split(' ').filter_map(|word| word.parse().ok());
        found.insert(name.to_owned(), (numbers.next().unwrap(), numbers.next().unwrap()));
    }
    assert!(found.len() > 30, "{text}{}", String::from_utf8_lossy(&said.stderr));
    found
}

struct Before(Child);

impl Drop for Before {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What adds the agent's token, which the suite has no way to send.
fn with_token(stage: &Stage) -> (Before, String) {
    let port = countersign_testkit::ports::free().unwrap();
    let gateway = stage.url.split(':').nth(2).unwrap().split('/').next().unwrap();
    let mut before = node("with_token.mjs");
    let mut child = before.args([&port.to_string(), gateway, &stage.token]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    (Before(child), format!("http://localhost:{port}/mcp"))
}

/// Scenarios that find something else through the gateway, and why.
const OTHERWISE: [(&str, &str); 5] = [
    ("server-sse-multiple-streams", "the server streams what the gateway gives in one, as either may"),
    ("server-sse-polling", "the server streams what the gateway gives in one, as either may"),
    ("server-stateless", "the server offers subscriptions, the gateway none"),
    (
        "input-required-result-ignore-extra-params",
        "a tool the server does not have: an error here, a result there",
    ),
    ("tasks-dispatch-and-envelope", "a tool the server does not have: an error here, a result there"),
];

/// What passes directly and not through the gateway: name, direct, through.
fn differences(direct: &Found, through: &Found) -> Vec<Value> {
    let known = |name: &str| OTHERWISE.iter().any(|(known, _)| *known == name);
    let worse = direct.iter().filter(|(name, (passed, failed))| match through.get(*name) {
        Some((also, fails)) => (fails > failed || also < passed) && !known(name),
        None => true,
    });
    worse.map(|(name, counts)| serde_json::json!([name, counts, through.get(name)])).collect()
}

const PERMITTED: &str =
    r#"@id("agents") permit (principal in Group::"agents", action in Action::"mcp", resource);"#;

/// One of the tools that the suite expects is asked about.
const ASKED: &str = r#"
@id("agents") permit (principal in Group::"agents", action in Action::"mcp", resource);
@id("text") @gate("text") @approvers("Group::\"sre\"") @quorum("1") @step_up("session") @reason("it says something")
forbid (principal, action in Action::"mcp.tool", resource)
when { context has mcp && context.mcp.tool == "test_simple_text" };
"#;

/// The same while people are asked about one tool, and approve each call two seconds after it came.
async fn compared_while_held(revision: &'static str, protocol: &str) -> Vec<Value> {
    let mut stage = Stage::open_suite(protocol, ASKED).await;
    let direct = found(&stage.server_url("/mcp").replace("127.0.0.1", "localhost"), revision);
    let (_before, url) = with_token(&stage);
    let through = tokio::task::spawn_blocking(move || found(&url, revision));
    let mut approved = 0;
    while !through.is_finished() {
        let waiting = stage.gateway.approvals("pending").await.unwrap();
        for approval in waiting.iter().filter_map(|approval| approval.get("id")?.as_str()) {
            // As long as people take.
            tokio::time::sleep(Duration::from_secs(2)).await;
            stage.vote(approval, "approve", None).await;
            approved += 1;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(approved > 0, "nothing was held");
    differences(&direct, &through.await.unwrap())
}

async fn compared(revision: &str, protocol: &str) -> Vec<Value> {
    let stage = Stage::open_suite(protocol, PERMITTED).await;
    let direct = found(&stage.server_url("/mcp").replace("127.0.0.1", "localhost"), revision);
    let (_before, url) = with_token(&stage);
    differences(&direct, &found(&url, revision))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_of_the_earlier_era_finds_the_same_through_the_gateway() {
    assert_eq!(compared("2025-11-25", "earlier").await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_of_the_later_era_finds_the_same_through_the_gateway() {
    assert_eq!(compared("2026-07-28", "auto").await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_of_the_earlier_era_finds_the_same_while_a_tool_waits_for_people() {
    assert_eq!(compared_while_held("2025-11-25", "earlier").await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_of_the_later_era_finds_the_same_while_a_tool_waits_for_people() {
    assert_eq!(compared_while_held("2026-07-28", "auto").await, Vec::<Value>::new());
}
