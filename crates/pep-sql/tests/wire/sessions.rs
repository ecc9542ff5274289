//! `psql` through the gateway: permitted, held, refused, cancelled.

use crate::stage::{SECRET, Stage};
use countersign_testkit::postgres::Options;

#[tokio::test(flavor = "multi_thread")]
async fn reads_run_at_once_and_are_recorded_and_the_server_refuses_hidden_writes() {
    // A function that is taken to be harmless, and is not.
    let trusting = |section: &mut serde_json::Value| {
        section["trusted_functions"] = serde_json::json!(["public.sneaky"]);
    };
    let stage = Stage::with(&Options::default(), trusting).await;
    let said = stage.run("select id, customer from orders where id <= 2 order by id").await;
    assert_eq!((said.out.as_str(), said.err.as_str()), ("1|customer 1\n2|customer 2", ""));
    assert_eq!(stage.results(1).await, ["SELECT 2"]);
    for sql in ["select count(*), sneaky() from orders", "select 1; select sneaky()"] {
        let said = stage.run(sql).await;
        assert!(said.err.contains("25006") && said.err.contains("read-only transaction"), "{said:?}");
    }
    assert_eq!(stage.direct("select count(*) from audit"), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_is_held_shown_approved_by_two_and_run_once() {
    let stage = Stage::set().await;
    let asked = stage.start("delete from orders where id <= 14");
    let id = stage.held().await;
    assert_eq!(stage.direct("select count(*) from orders"), "100");
    stage.approve(1, id).await;
    assert_eq!(stage.direct("select count(*) from orders"), "100");
    stage.approve(2, id).await;
    let said = asked.await.unwrap();
    assert!(said.fine, "{said:?}");
    assert_eq!(said.out, "DELETE 14");
    for shown in [
        "NOTICE:  ZC000: held until people approve it: Delete",
        &id.to_string(),
        "https://sign.example/approvals/",
        "waits for: 2 people of sre",
    ] {
        assert!(said.err.contains(shown), "{shown}: {said:?}");
    }
    assert_eq!(stage.direct("select count(*) from orders"), "86");
    assert_eq!(stage.results(1).await, ["DELETE 14"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_that_returns_any_number_of_rows_is_held_as_well() {
    let stage = Stage::set().await;
    let asked = stage.start("delete from orders where total > 148 returning *");
    let id = stage.held().await;
    stage.approve(1, id).await;
    stage.approve(2, id).await;
    let said = asked.await.unwrap();
    assert!(said.fine && said.out.ends_with("DELETE 2"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wall_a_rejection_and_a_bad_token_are_told_with_their_own_codes() {
    let stage = Stage::set().await;
    let said = stage.run("create role evil superuser").await;
    assert!(said.err.contains("ERROR:  ZC003: policy `wall` forbids this: never in production"), "{said:?}");
    assert!(said.err.contains("policies: wall"), "{said:?}");
    let asked = stage.start("delete from orders");
    let id = stage.held().await;
    stage.reject(1, id, "use the archive instead").await;
    let said = asked.await.unwrap();
    assert!(said.err.contains("ZC006") && said.err.contains("use the archive instead"), "{said:?}");
    let mut command = stage.psql();
    command.env("PGPASSWORD", "no such token").args(["-c", "select 1"]);
    let said = crate::stage::finished(command).await;
    assert!(!said.fine && said.err.contains("the credential is not one this gateway issued"), "{said:?}");
    *stage.people.revoked.lock().unwrap() = true;
    let said = stage.run("select 1").await;
    assert!(!said.fine, "{said:?}");
    assert_eq!(stage.direct("select count(*) from orders"), "100");
    assert!(!said.err.contains(SECRET));
}
