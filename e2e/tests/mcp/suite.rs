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
#[expect(clippy::print_stdout, reason = "what the suite found wrong is shown where the test fails")]
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
    if found.values().any(|(_, failed)| *failed > 0) {
        print!("{text}");
    }
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

/// A program of ours before the gateway, which sends the agent's token: the suite has no way to.
fn before(stage: &Stage, script: &str, more: &[&str]) -> (Before, String) {
    let port = countersign_testkit::ports::free().unwrap();
    let gateway = stage.url.split(':').nth(2).unwrap().split('/').next().unwrap();
    let mut before = node(script);
    let mut child = before.args([&port.to_string(), gateway, &stage.token]).args(more).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    (Before(child), format!("http://localhost:{port}/mcp"))
}

/// Scenarios that find something else through the gateway, and why.
const OTHERWISE: [(&str, &str); 3] = [
    ("server-sse-multiple-streams", "the server streams what the gateway gives in one, as either may"),
    ("server-sse-polling", "the server streams what the gateway gives in one, as either may"),
    ("input-required-result-ignore-extra-params", "answers that nobody has asked for are left out here"),
];

/// Checks that only warn when what they wait for does not come within 1.5 seconds: that tools and prompts are told to have
/// changed. The gateway looks at tools first, and a busy machine may take that long.
const IN_TIME: [(&str, u32); 1] = [("server-stateless", 2)];

/// What passes directly and not through the gateway: name, direct, through.
fn differences(direct: &Found, through: &Found) -> Vec<Value> {
    let known = |name: &str| OTHERWISE.iter().any(|(known, _)| *known == name);
    let late = |name: &str| IN_TIME.iter().find(|(known, _)| *known == name).map_or(0, |(_, late)| *late);
    let worse = direct.iter().filter(|(name, (passed, failed))| match through.get(*name) {
        Some((also, fails)) => (fails > failed || also + late(name) < *passed) && !known(name),
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

/// Approves whatever waits, two seconds after it came, until something is done: that, and how many it approved.
async fn approving<T: Send + 'static>(
    stage: &mut Stage,
    done: impl FnOnce() -> T + Send + 'static,
) -> (T, u32) {
    let done = tokio::task::spawn_blocking(done);
    let mut approved = 0;
    while !done.is_finished() {
        let waiting = stage.gateway.approvals("pending").await.unwrap();
        for approval in waiting.iter().filter_map(|approval| approval.get("id")?.as_str()) {
            // As long as people take at the least.
            tokio::time::sleep(Duration::from_secs(2)).await;
            stage.vote(approval, "approve", None).await;
            approved += 1;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    (done.await.unwrap(), approved)
}

/// The whole suite while people are asked about one tool, whose calls are held on their streams.
async fn compared_while_held(revision: &'static str, protocol: &str) -> Vec<Value> {
    let mut stage = Stage::open_suite(protocol, ASKED, "50s").await;
    let direct = found(&stage.server_url("/mcp").replace("127.0.0.1", "localhost"), revision);
    let (_before, url) = before(&stage, "with_token.mjs", &[]);
    let (through, approved) = approving(&mut stage, move || found(&url, revision)).await;
    assert!(approved > 0, "nothing was held");
    differences(&direct, &through)
}

/// What the suite makes of the answer of the tool that is asked about: passed and failed checks.
fn found_of_the_tool(url: &str, revision: &str) -> (usize, usize) {
    let folder = tempfile::tempdir().unwrap();
    let mut run = suite();
    run.args([
        "server",
        "--url",
        url,
        "--scenario",
        "tools-call-simple-text",
        "--spec-version",
        revision,
        "--timeout",
        "120000",
        "-o",
    ])
    .arg(folder.path());
    let said = run.output().unwrap();
    let checks = std::fs::read_dir(folder.path()).unwrap().map(|run| run.unwrap().path().join("checks.json"));
    let checks: Vec<Value> = checks
        .flat_map(|file| serde_json::from_slice::<Vec<Value>>(&std::fs::read(file).unwrap()).unwrap())
        .collect();
    let of = |status: &str| checks.iter().filter(|check| check.get("status") == Some(&status.into())).count();
    let found = (of("SUCCESS"), of("FAILURE"));
    assert!(
        found.0 + found.1 > 0,
        "{}{}",
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr)
    );
    found
}

/// The same with clients that know one of the other ways in which a call is held.
async fn the_tool_on(ways: &[&str], revision: &'static str, protocol: &str) {
    let mut stage = Stage::open_suite(protocol, ASKED, "300ms").await;
    let direct = found_of_the_tool(&stage.server_url("/mcp").replace("127.0.0.1", "localhost"), revision);
    assert_eq!(direct.1, 0, "{direct:?}");
    for way in ways {
        let (_before, url) = before(&stage, "with_layer.mjs", &[way, "test_simple_text"]);
        let used = url.replace("/mcp", "/used");
        let (through, approved) = approving(&mut stage, move || found_of_the_tool(&url, revision)).await;
        let used: u32 = reqwest::get(used).await.unwrap().text().await.unwrap().parse().unwrap();
        assert_eq!(through, direct, "{way}");
        assert!(approved > 0 && used > 0, "{way}: {approved} approved, came back {used} times");
    }
}

/// What the server itself fails in, and what it fails in through the gateway alone.
async fn compared(revision: &str, protocol: &str) -> (Vec<String>, Vec<Value>) {
    let stage = Stage::open_suite(protocol, PERMITTED, "50s").await;
    let direct = found(&stage.server_url("/mcp").replace("127.0.0.1", "localhost"), revision);
    let (_before, url) = before(&stage, "with_token.mjs", &[]);
    let fails = direct.iter().filter(|(_, (_, failed))| *failed > 0);
    (fails.map(|(name, _)| name.clone()).collect(), differences(&direct, &found(&url, revision)))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_of_the_earlier_era_finds_the_same_through_the_gateway() {
    assert_eq!(compared("2025-11-25", "earlier").await, (vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_of_the_later_era_finds_the_same_through_the_gateway() {
    assert_eq!(compared("2026-07-28", "auto").await, (vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_of_the_earlier_era_finds_the_same_while_a_tool_waits_for_people() {
    assert_eq!(compared_while_held("2025-11-25", "earlier").await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_of_the_later_era_finds_the_same_while_a_tool_waits_for_people() {
    assert_eq!(compared_while_held("2026-07-28", "auto").await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_held_tool_of_the_earlier_era_gives_satisfies_the_suite_however_it_was_held() {
    the_tool_on(&["task", "handle"], "2025-11-25", "earlier").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_held_tool_of_the_later_era_gives_satisfies_the_suite_however_it_was_held() {
    the_tool_on(&["task", "legs"], "2026-07-28", "auto").await;
}
