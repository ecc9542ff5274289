//! What is taken back while it runs is cancelled at the server, and the record says how far it got.

use crate::stage::{POLICY, Stage};
use countersign_core::approval::Taker;
use countersign_engine::settle;
use std::time::Duration;

/// Functions that nobody listed may run once somebody has agreed.
async fn stage() -> Stage {
    let policy = POLICY.to_owned()
        + r#"@id("code") @gate("code") @approvers("Group::\"sre\"") @reason("code runs")
             forbid (principal, action in [Action::"execute", Action::"unknown", Action::"write"], resource);"#;
    Stage::under(&policy, |_| {}).await
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_cancels_what_runs_at_the_server_and_the_record_says_so() {
    let stage = stage().await;
    let asked = stage.start("update orders set total = 0 where pg_sleep(600) is not null");
    let id = stage.held().await;
    stage.approve(1, id).await;
    let sleeping = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
    stage.cluster.comes_to("shop", sleeping, "1").await.unwrap();
    let began = std::time::Instant::now();
    settle::revoke(&stage.gate, id, Taker::Operator, "wrong table").await.unwrap().unwrap();
    let said = asked.await.unwrap();
    assert!(began.elapsed() < Duration::from_mins(2), "it was cancelled, and did not sleep to its end");
    assert!(said.err.contains("57014"), "{said:?}");
    assert_eq!(stage.direct(sleeping), "0");
    assert_eq!(stage.in_state("cancelled", 1).await, [id]);
    let result = &stage.entries("execution.result").await[0];
    assert_eq!((&result["outcome"], &result["ended_by"]), (&"cancelled".into(), &"revoked".into()));
    // What the server acknowledged: an error of its own, and no row.
    assert_eq!(result["status"], "error 57014");
    assert_eq!(stage.entries("approval.revoked_while_running").await.len(), 1);
    assert_eq!(stage.direct("select count(*) from orders where total = 0"), "0");
}

/// A function may catch its cancellation and go on.
#[tokio::test(flavor = "multi_thread")]
async fn what_swallows_a_cancellation_is_cancelled_again() {
    let stage = stage().await;
    stage.direct(
        "create function stubborn() returns int language plpgsql as $$ begin \
           begin perform pg_sleep(600); exception when query_canceled then null; end; \
           perform pg_sleep(600); return 1; \
         end $$",
    );
    let asked = stage.start("update orders set total = 0 where stubborn() is not null");
    let id = stage.held().await;
    stage.approve(1, id).await;
    let sleeping = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
    stage.cluster.comes_to("shop", sleeping, "1").await.unwrap();
    settle::revoke(&stage.gate, id, Taker::Operator, "wrong table").await.unwrap().unwrap();
    let said = asked.await.unwrap();
    assert!(said.err.contains("57014"), "{said:?}");
    assert_eq!(stage.in_state("cancelled", 1).await, [id]);
    assert_eq!(stage.direct("select count(*) from orders where total = 0"), "0");
}
