//! Clients that leave, come back, and cancel.

use crate::stage::{COMES_WITHIN, Stage};
use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Runs a while for each row.
const SLOWLY: [&str; 2] = [
    "create function slowly() returns trigger language plpgsql as $$ begin perform pg_sleep(0.2); return old; end $$",
    "create trigger slowly before delete on orders for each row execute function slowly()",
];
/// What runs there has begun.
const SLEEPING: &str = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
/// What the gateway has open at the server: a connection of each session, and its own.
const OPEN: &str = "select count(*) from pg_stat_activity where usename = 'app'";

/// A `psql` that can be told to stop.
fn waiting(stage: &Stage, sql: &str) -> Child {
    let mut command = stage.psql();
    command.args(["-c", sql]).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn signal(child: &Child, name: &str) {
    let told = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(told.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_left_repeats_itself_and_it_runs_once() {
    let stage = Stage::set().await;
    let sql = "delete from orders where id <= 3";
    let mut child = waiting(&stage, sql);
    let id = stage.held().await;
    let open: u32 = stage.direct(OPEN).parse().unwrap();
    signal(&child, "-KILL");
    child.wait().unwrap();
    // Its session is over: before that it would still run what is approved.
    stage.cluster.comes_to("shop", OPEN, &(open - 1).to_string()).await.unwrap();
    stage.approve(1, id).await;
    stage.approve(2, id).await;
    stage.in_state("granted", 1).await;
    assert_eq!(stage.direct("select count(*) from orders"), "100", "nothing runs without its requester");
    let said = stage.run(sql).await;
    assert_eq!((said.out.as_str(), said.err.as_str()), ("DELETE 3", ""));
    assert_eq!(stage.direct("select count(*) from orders"), "97");
    // The same text again is a new action.
    let again = stage.start(sql);
    let other = stage.held().await;
    assert_ne!(other, id);
    stage.reject(1, other, "once was enough").await;
    assert!(again.await.unwrap().err.contains("once was enough"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_request_withdraws_what_is_held() {
    let stage = Stage::set().await;
    let child = waiting(&stage, "delete from orders");
    let id = stage.held().await;
    signal(&child, "-INT");
    assert_eq!(stage.in_state("withdrawn", 1).await, [id]);
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.contains("57014"), "{err}");
    assert_eq!(stage.direct("select count(*) from orders"), "100");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_request_reaches_what_runs_and_so_does_a_revocation() {
    let stage = Stage::set().await;
    // Slow, and nothing but a read: every row is compared with every other.
    let slow = "select count(*) from orders a, orders b, orders c, orders d, orders e where a.total + b.total + c.total + d.total + e.total < 0";
    let child = waiting(&stage, slow);
    let running = || {
        stage.direct("select count(*) from pg_stat_activity where usename = 'app' and query like 'select count(*) from orders a%' and state = 'active'")
    };
    until(|| running() == "1").await;
    signal(&child, "-INT");
    let err = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
    assert!(err.contains("57014"), "{err}");
    until(|| running() == "0").await;
    assert_eq!(stage.results(1).await, ["error 57014"]);
    // The client leaves instead: the server is told to stop as well.
    let mut child = waiting(&stage, slow);
    until(|| running() == "1").await;
    signal(&child, "-KILL");
    child.wait().unwrap();
    until(|| running() == "0").await;
    let ended = stage.results(2).await;
    assert_eq!(ended, ["error 57014", "error 57014"]);
    assert_eq!(stage.entries("execution.result").await[1]["ended_by"], "client");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ran_while_its_client_was_gone_is_told_to_the_repeat() {
    let stage = Stage::set().await;
    for sql in SLOWLY {
        stage.direct(sql);
    }
    let sql = "delete from orders where id <= 90";
    let mut child = waiting(&stage, sql);
    let id = stage.held().await;
    stage.approve(1, id).await;
    stage.approve(2, id).await;
    stage.in_state("executing", 1).await;
    // Not only about to: whoever leaves before anything was sent takes nothing along.
    stage.cluster.comes_to("shop", SLEEPING, "1").await.unwrap();
    signal(&child, "-KILL");
    child.wait().unwrap();
    let said = stage.run(sql).await;
    assert_eq!((said.out.as_str(), said.err.as_str()), ("DELETE 90", ""));
    assert_eq!(stage.direct("select count(*) from orders"), "10");
    assert_eq!(stage.entries("execution.authorized").await.len(), 1);
}

/// Its connection's end rolls back what it began.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_rolled_back_with_its_client_is_not_told_as_done() {
    let stage = Stage::set().await;
    for sql in SLOWLY {
        stage.direct(sql);
    }
    let sql = "begin; delete from orders where id <= 90";
    let mut child = waiting(&stage, sql);
    let id = stage.held().await;
    stage.approve(1, id).await;
    stage.approve(2, id).await;
    stage.in_state("executing", 1).await;
    // Not only about to: whoever leaves before anything was sent takes nothing along.
    stage.cluster.comes_to("shop", SLEEPING, "1").await.unwrap();
    signal(&child, "-KILL");
    child.wait().unwrap();
    let said = stage.run(sql).await;
    assert!(said.out.is_empty() && said.err.contains("its transaction was rolled back"), "{said:?}");
    assert_eq!(stage.direct("select count(*) from orders"), "100");
}

pub(crate) async fn until(mut reached: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !reached() {
        assert!(begun.elapsed() < COMES_WITHIN, "never reached");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
