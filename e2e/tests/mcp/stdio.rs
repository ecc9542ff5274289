//! Over standard input and output, in both directions: clients that start the gateway's shim, and servers that the gateway
//! starts, with the official SDK on the other side.

use crate::{
    named, rows,
    stage::{Stage, until},
};
use serde_json::{Value, json};

/// Whether a process is there and at work.
fn lives(id: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

async fn ends(id: u64) {
    until(&format!("process {id} has ended"), || !lives(id)).await;
}

impl Stage {
    /// The processes that were started, in their order.
    fn started(&self) -> Vec<Value> {
        self.log().into_iter().filter(|line| line.get("started").is_some()).collect()
    }
}

fn id(started: &Value) -> u64 {
    started.get("started").and_then(Value::as_u64).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_starts_its_servers_works_through_the_shim_and_outlives_the_gateway() {
    let mut stage = Stage::open("50s").await;
    let (back, told) = (stage.beside("back"), stage.beside("told"));
    let steps = json!([
        {"do": "tools"}, {"do": "call", "tool": "slowly", "progress": true}, {"do": "call", "tool": "fails"},
        {"do": "call", "tool": "delete_rows", "arguments": rows(3), "progress": true},
        {"do": "mark", "file": told}, {"do": "await", "file": back},
        {"do": "call", "tool": "count_rows", "arguments": {"table": "orders"}},
    ]);
    let agent = stage.desktop(&steps);
    let approval = stage.approval("pending").await;
    stage.vote(&approval, "approve", None).await;
    stage.runs("delete_rows").await;
    assert_eq!(stage.approval("done").await, approval);
    until("it has its answer", || told.exists()).await;
    stage.gateway.kill().unwrap();
    stage.gateway.restart().await.unwrap();
    std::fs::write(&back, "").unwrap();
    let said = agent.ended().await;
    let message = |line: &Value| line.get("message").and_then(Value::as_str).map(str::to_owned);
    assert_eq!(said.first(), Some(&json!({"version": "2025-11-25", "server": "shop"})));
    assert_eq!(said.get(2), Some(&json!({"progress": 1.0, "message": "step 1"})));
    assert!(
        said.iter().filter_map(message).any(|told| told.starts_with("held until people approve it")),
        "{said:?}"
    );
    assert!(said.contains(&json!({"error": false, "text": "deleted 3 rows of orders"})), "{said:?}");
    assert_eq!(said.last(), Some(&json!({"error": false, "text": "orders: 100"})), "{said:?}");
    assert_eq!(stage.ran("delete_rows"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_that_cancels_withdraws_and_one_that_ends_detaches() {
    let stage = Stage::open("50s").await;
    let steps = json!([{"do": "call", "tool": "delete_rows", "arguments": rows(5)}]);
    let agent = stage.desktop(&steps);
    let approval = stage.approval("pending").await;
    agent.kill();
    let leaving = json!([{"do": "leave", "tool": "delete_rows", "arguments": rows(5)}, {"do": "stay"}]);
    let agent = stage.desktop(&leaving);
    assert_eq!(stage.approval("withdrawn").await, approval, "the second call attached to the first one's");
    agent.kill();
    assert_eq!(stage.ran("delete_rows"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_never_stands_in_the_shims_arguments() {
    let stage = Stage::open("50s").await;
    let program = countersign_e2e::binary().unwrap();
    let mut shim = std::process::Command::new(program);
    let said = shim.args(["mcp", "stdio", &stage.url, "--token", &stage.token]).output().unwrap();
    let told = String::from_utf8(said.stderr).unwrap();
    assert_eq!(said.status.code(), Some(2), "{told}");
    assert!(told.contains("this is not a reference to a secret") && !told.contains(&stage.token), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_the_gateway_starts_has_what_is_written_and_ends_with_its_session() {
    let mut stage = Stage::open_started("300ms").await;
    let said = stage
        .said(
            &stage.token,
            &json!([
                {"do": "call", "tool": "count_rows", "arguments": {"table": "orders"}},
                {"do": "call", "tool": "slowly", "progress": true}, {"do": "call", "tool": "asks_the_user"},
                {"do": "call", "tool": "delete_rows", "arguments": rows(3)},
            ]),
        )
        .await;
    assert_eq!(said.first(), Some(&json!({"error": false, "text": "orders: 100"})), "{said:?}");
    assert_eq!(said.get(3), Some(&json!({"progress": 3.0, "message": "step 3"})), "{said:?}");
    let held = named(said.last().and_then(|line| line.get("text")).and_then(Value::as_str).unwrap());
    let first = stage.started().remove(0);
    let environment = first.get("environment").unwrap();
    assert_eq!(
        environment,
        &json!(["LC_CTYPE", "PATH", "PWD", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "SHOP_KEY"])
    );
    // Its session was ended by the agent, and the process with it.
    ends(id(&first)).await;
    stage.vote(&held, "approve", None).await;
    // Another session is another process, where the approved call runs.
    let by_id = json!({"approval": held});
    assert_eq!(stage.call("approval_wait", &by_id).await, (false, "deleted 3 rows of orders".into()));
    assert_eq!((stage.ran("delete_rows"), stage.started().len()), (1, 2));
    assert!(stage.gateway.log().contains("the shop is open"), "{}", stage.gateway.log());
    assert!(!stage.gateway.log().contains(crate::stage::SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_started_server_that_dies_ends_the_session_and_none_outlives_the_gateway() {
    let mut stage = Stage::open_started("50s").await;
    let dead = stage.beside("dead");
    let steps = json!([
        {"do": "call", "tool": "slowly"}, {"do": "await", "file": dead},
        {"do": "call", "tool": "count_rows", "arguments": {"table": "b"}}, {"do": "stay"},
    ]);
    // The shim opens another session where the first was lost.
    let agent = stage.desktop(&steps);
    stage.runs("slowly").await;
    let first = id(&stage.started().remove(0));
    let killed = std::process::Command::new("kill").args(["-9", &first.to_string()]).status().unwrap();
    assert!(killed.success());
    ends(first).await;
    until("the gateway says so", || stage.gateway.log().contains("a server ended by itself")).await;
    std::fs::write(&dead, "").unwrap();
    until("another server is there", || stage.started().len() > 1).await;
    let second = id(stage.started().last().unwrap());
    assert_eq!(stage.gateway.stop().unwrap(), Some(0));
    ends(second).await;
    agent.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_call_to_a_started_server_survives_the_gateways_death_and_runs_once() {
    let mut stage = Stage::open_started("50s").await;
    let steps = json!([{"do": "call", "tool": "delete_rows", "arguments": rows(7)}]);
    let agent = stage.agent(&stage.token, "legacy", &steps);
    let approval = stage.approval("pending").await;
    stage.gateway.kill().unwrap();
    agent.ended().await;
    // Its input is closed: that ends it.
    ends(id(&stage.started().remove(0))).await;
    stage.gateway.restart().await.unwrap();
    stage.vote(&approval, "approve", None).await;
    assert_eq!(stage.call("delete_rows", &rows(7)).await, (false, "deleted 7 rows of orders".into()));
    assert_eq!(stage.ran("delete_rows"), 1);
}
