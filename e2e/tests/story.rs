//! The whole night as one command: every promise of the story is kept, none is left out, and the log verifies.

use serde_json::Value;
use tokio::process::Command;

const STEPS: [&str; 36] = [
    "read-is-permitted",
    "export-is-held",
    "repeat-attaches",
    "double-vote-counts-once",
    "export-runs-once-approved",
    "location-never-executes",
    "replay-is-a-new-request",
    "used-grant-is-spent",
    "revoked-does-not-run",
    "role-binding-is-held",
    "agent-cannot-approve",
    "gateway-has-no-vote",
    "agent-token-cannot-vote",
    "owner-cannot-approve",
    "creator-cannot-approve",
    "beneficiary-cannot-approve",
    "invited-reviewer-cannot-approve",
    "owner-cannot-edit-the-group",
    "anothers-ballot-is-no-vote",
    "role-binding-is-rejected",
    "config-change-is-held",
    "session-vote-counts",
    "changed-body-asks-anew",
    "location-takes-no-bytes",
    "approved-change-runs",
    "withdrawn-does-not-run",
    "wall-refuses",
    "effects-are-what-was-approved",
    "mcp-tool-waits-for-people",
    "mcp-read-is-permitted",
    "mcp-restart-is-held",
    "mcp-restart-runs",
    "sql-read-is-permitted",
    "sql-delete-is-held",
    "sql-delete-runs",
    "sql-wall-refuses",
];

#[tokio::test]
async fn the_story_without_a_person_keeps_every_promise_and_its_log_verifies() {
    let binary = countersign_e2e::binary().unwrap();
    let done = Command::new(binary).args(["demo", "--once", "--output", "json"]).output().await.unwrap();
    let told: Value = serde_json::from_slice(&done.stdout).unwrap();
    let steps = told["steps"].as_array().unwrap();
    let broken: Vec<&Value> = steps.iter().filter(|step| step["ok"] != true).collect();
    assert!(broken.is_empty(), "{broken:#?}");
    let names: Vec<&str> = steps.iter().filter_map(|step| step["step"].as_str()).collect();
    assert_eq!(names, STEPS);
    assert_eq!(told["database"]["played"], true, "{}", told["database"]);
    assert_eq!(told["verify"]["verified"], true, "{}", told["verify"]);
    assert_eq!((told["ok"].as_bool(), done.status.code()), (Some(true), Some(0)));
    // How long it took is told, and no test's concern: the machine may be busy.
    assert!(told["seconds"].as_f64().unwrap() > 0.0);
}
