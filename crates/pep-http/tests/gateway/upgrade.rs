//! Upgrades that people have to approve: held on the caller's own connection, and run there.

use crate::{agent::Agent, stage::Stage};
use countersign_core::{ApprovalId, approval::Taker};
use countersign_engine::settle;

const ASK: &str = "GET /watched HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer bot\r\nConnection: upgrade\r\nUpgrade: echo\r\n";

async fn set() -> Stage {
    Stage::with(|section| section["upgrades"] = "action".into()).await
}

/// An upgrade that waits for people.
async fn held(stage: &Stage) -> (Agent, ApprovalId) {
    let mut changes = stage.gate.changes();
    let mut agent = stage.agent().await;
    agent.say(format!("{ASK}\r\n").as_bytes()).await;
    let id = Stage::asked(&mut changes).await;
    assert!(stage.cloud.arrived().is_empty(), "nothing reaches the target before somebody approves");
    (agent, id)
}

#[tokio::test]
async fn a_reviewed_upgrade_is_held_and_runs_on_its_own_connection_once_approved() {
    let stage = set().await;
    let (mut agent, id) = held(&stage).await;
    // What the caller says too early waits with it.
    agent.say(b"early").await;
    stage.approve(id).await;
    let answer = agent.answer().await;
    assert_eq!((answer.status, answer.header("upgrade")), (101, Some("echo")));
    agent.until("early").await;
    agent.say(b" late").await;
    agent.until(" late").await;
    assert_eq!(stage.cloud.arrived().len(), 1);
    drop(agent);
    let results = stage.until("execution.result", 1).await;
    assert_eq!((&results[0]["outcome"], &results[0]["status"]), (&"done".into(), &"101".into()));
    assert_eq!(stage.entries("result.delivered").await.len(), 1);
    let authorized = stage.entries("execution.authorized").await;
    assert_eq!(authorized.len(), 1);
    assert_eq!(authorized[0]["approval"], id.to_string());
}

#[tokio::test]
async fn revoking_a_running_stream_cuts_it() {
    let stage = set().await;
    let (mut agent, id) = held(&stage).await;
    stage.approve(id).await;
    assert_eq!(agent.answer().await.status, 101);
    agent.say(b"hello").await;
    agent.until("hello").await;
    settle::revoke(&stage.gate, id, Taker::Operator, "enough").await.unwrap().unwrap();
    agent.rest().await;
    let results = stage.until("execution.result", 1).await;
    assert_eq!((&results[0]["outcome"], &results[0]["ended_by"]), (&"cancelled".into(), &"revoked".into()));
}

#[tokio::test]
async fn without_its_caller_an_approved_upgrade_does_not_run() {
    let stage = set().await;
    let (mut agent, id) = held(&stage).await;
    agent.close_side().await;
    assert!(agent.rest().await.is_empty(), "the gateway has let go of it");
    stage.approve(id).await;
    // The same request again comes to the same approval, and is the one that runs.
    let mut agent = stage.agent().await;
    agent.say(format!("{ASK}\r\n").as_bytes()).await;
    assert_eq!(agent.answer().await.status, 101);
    assert_eq!((stage.cloud.arrived().len(), stage.entries("approval.requested").await.len()), (1, 1));
}

#[tokio::test]
async fn a_caller_who_does_not_wait_is_told_where_it_stands_and_nothing_after_it_is_read() {
    let stage = set().await;
    let mut agent = stage.agent().await;
    let smuggled = "GET /orders HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer bot\r\n\r\n";
    agent.say(format!("{ASK}Prefer: respond-async\r\n\r\n{smuggled}").as_bytes()).await;
    let answer = agent.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (202, Some("close")), "{}", answer.text());
    assert!(agent.is_closed().await);
    let mut stranger = stage.agent().await;
    let refused =
        stranger.ask_as("nobody", "GET /socket", "Connection: upgrade\r\nUpgrade: echo\r\n", "").await;
    assert_eq!((refused.status, refused.header("connection")), (401, Some("close")));
    assert!(stage.cloud.arrived().is_empty());
}
