//! Transactions: reads are guarded inside them, refusals fail them, holds keep them open for a while.

use crate::stage::{Said, Stage, finished};
use countersign_testkit::postgres::Options;

/// Several statements of one session, each sent by itself.
async fn session(stage: &Stage, statements: &[&str]) -> Said {
    let mut command = stage.psql();
    for sql in statements {
        command.args(["-c", sql]);
    }
    finished(command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_in_a_transaction_cannot_write_and_writes_still_can() {
    let trusting = |section: &mut serde_json::Value| {
        section["trusted_functions"] = serde_json::json!(["public.sneaky"]);
    };
    let stage = Stage::with(&Options::default(), trusting).await;
    let said = session(
        &stage,
        &[
            "begin",
            "insert into orders values (200, 'new', 1)",
            "select count(*) from orders",
            "update orders set total = 2 where id = 200",
            "select total from orders where id = 200",
            "commit",
        ],
    )
    .await;
    assert_eq!(said.out, "BEGIN\nINSERT 0 1\n101\nUPDATE 1\n2\nCOMMIT", "{said:?}");
    assert_eq!(stage.direct("select total from orders where id = 200"), "2");
    // A function is taken to be harmless, and is not: its savepoint does not let the write through.
    let said =
        session(&stage, &["begin", "insert into orders values (201, 'new', 1)", "select sneaky()", "commit"])
            .await;
    assert!(said.err.contains("25006"), "{said:?}");
    assert_eq!(stage.direct("select count(*) from audit"), "0");
    assert_eq!(stage.direct("select count(*) from orders"), "101", "its transaction has failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_fails_the_transaction_as_the_server_would() {
    let stage = Stage::set().await;
    let said = session(
        &stage,
        &[
            "begin",
            "insert into orders values (200, 'new', 1)",
            "create role evil",
            "select 1",
            "commit",
            "select count(*) from orders",
        ],
    )
    .await;
    assert!(said.err.contains("ZC003"), "{said:?}");
    assert!(said.err.contains("current transaction is aborted"), "{said:?}");
    assert!(said.out.ends_with("ROLLBACK\n100"), "{said:?}");
}

/// A kept statement is called something else in the next session; what is asked for is the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_attaches_whatever_its_statements_are_called() {
    let stage = Stage::with(&Options::default(), |section| section["hold_limit"] = "300ms".into()).await;
    let run = |before: &str| {
        let mut command = crate::clients::python("with_names.py");
        command.env("PGPORT", stage.addr.port().to_string()).env("BEFORE", before);
        finished(command)
    };
    let said = run("0").await;
    assert!(said.out.starts_with("ZC001"), "{said:?}");
    let id = stage.held().await;
    for person in 1..3 {
        stage.approve(person, id).await;
    }
    assert_eq!(run("3").await.out, "DELETE 7");
    assert_eq!(stage.direct("select count(*) from orders"), "93");
    assert_eq!(stage.entries("approval.requested").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_keeps_its_transaction_open_up_to_a_limit_and_the_approval_for_the_repeat() {
    let stage =
        Stage::with(&Options::default(), |section| section["transaction_hold_limit"] = "300ms".into()).await;
    let statements =
        ["begin", "insert into orders values (200, 'new', 1)", "delete from orders where id <= 2", "commit"];
    let said = session(&stage, &statements).await;
    assert!(said.err.contains("ZC001: not run yet"), "{said:?}");
    assert!(said.out.ends_with("ROLLBACK"), "{said:?}");
    let id = stage.held().await;
    stage.approve(1, id).await;
    stage.approve(2, id).await;
    // The same statement behind other ones is another action.
    let other = session(&stage, &["begin", "delete from orders where id <= 2", "rollback"]).await;
    assert!(other.err.contains("ZC001"), "{other:?}");
    let said = session(&stage, &statements).await;
    assert_eq!(said.out, "BEGIN\nINSERT 0 1\nDELETE 2\nCOMMIT", "{said:?}");
    assert_eq!(stage.direct("select count(*) from orders"), "99");
}
