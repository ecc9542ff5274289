//! A policy that wants to hear why: how a client says it, and that it is only claimed.

use crate::stage::{POLICY, Said, Stage, finished};
use countersign_engine::read;

async fn stage() -> Stage {
    Stage::under(&POLICY.replace(r#"@quorum("2")"#, r#"@justification("required")"#), |_| {}).await
}

async fn session(stage: &Stage, options: &str, statements: &[&str]) -> Said {
    let mut command = stage.psql();
    command.env("PGOPTIONS", options);
    for sql in statements {
        command.args(["-c", sql]);
    }
    finished(command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reason_comes_by_a_setting_or_at_start_up_and_is_only_claimed() {
    let stage = stage().await;
    let sql = "delete from orders where id <= 3";
    let said = session(&stage, "", &[sql]).await;
    assert!(said.err.contains("ZC00D") && said.err.contains("SET countersign.justification = "), "{said:?}");
    // A pooler's reset, and ours, take it back.
    let set = "set countersign.justification = 'because; drop table orders'";
    for forget in ["reset all", "discard all", "reset countersign.justification"] {
        let said = session(&stage, "", &[set, forget, sql]).await;
        assert!(said.err.contains("ZC00D"), "{forget}: {said:?}");
    }
    let mut command = stage.psql();
    command.args(["-c", set, "-c", sql]);
    let asked = tokio::spawn(finished(command));
    let id = stage.held().await;
    let hold = read::hold(&stage.gate, id).await.unwrap().unwrap();
    assert_eq!(hold.view.claimed.reason.as_deref(), Some("because; drop table orders"));
    assert_eq!(hold.view.computed.operation.as_deref(), Some("sql.delete.unbounded"));
    assert!(!hold.view.computed.sentence.contains("because"));
    stage.approve(1, id).await;
    assert_eq!(asked.await.unwrap().out, "SET\nDELETE 3");
    assert!(!stage.cluster.log().contains("because"), "it never reaches the server");
    let mut command = stage.psql();
    command.env("PGOPTIONS", "-c countersign.justification=ticket\\ 7").args(["-c", sql]);
    let asked = tokio::spawn(finished(command));
    let id = stage.held().await;
    let hold = read::hold(&stage.gate, id).await.unwrap().unwrap();
    assert_eq!(hold.view.claimed.reason.as_deref(), Some("ticket 7"));
    stage.approve(1, id).await;
    assert_eq!(asked.await.unwrap().out, "DELETE 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn our_setting_is_set_by_itself_or_not_at_all() {
    let stage = stage().await;
    for sql in [
        "set countersign.justification = 'x'; delete from orders",
        "begin; set local countersign.justification = 'x'",
        "select set_config('countersign.justification', 'x', false)",
        "set countersign.other = 'x'",
        "set countersign.ticket = 'OPS-1'; delete from orders",
        "select set_config('countersign.ticket', 'OPS-1', false)",
    ] {
        let said = session(&stage, "", &[sql]).await;
        assert!(
            said.err.contains(
                "ZC002: `countersign.justification` and `countersign.ticket` are the gateway's own"
            ),
            "{sql}: {said:?}"
        );
    }
    assert_eq!(stage.direct("select count(*) from orders"), "100");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_named_by_a_setting_or_at_start_up_and_only_claimed() {
    let stage = Stage::under(&POLICY.replace(r#"@quorum("2")"#, ""), |_| {}).await;
    let sql = "delete from orders where id <= 3";
    let too_long = format!("set countersign.ticket = '{}'", "x".repeat(101));
    assert!(session(&stage, "", &[&too_long]).await.err.contains("54000"));
    for (options, statements, named) in [
        ("", vec!["set countersign.ticket = 'CHG0030001'", sql], "CHG0030001"),
        ("-c countersign.ticket=OPS-12", vec![sql], "OPS-12"),
        (
            "-c countersign.ticket=OPS-12",
            vec!["set countersign.ticket = 'OPS-13'", "reset all", sql],
            "OPS-12",
        ),
    ] {
        let mut command = stage.psql();
        command.env("PGOPTIONS", options);
        for sql in statements {
            command.args(["-c", sql]);
        }
        let asked = tokio::spawn(finished(command));
        let id = stage.held().await;
        let hold = read::hold(&stage.gate, id).await.unwrap().unwrap();
        assert_eq!(hold.view.claimed.ticket.as_deref(), Some(named));
        assert!(!hold.view.computed.sentence.contains(named));
        stage.approve(1, id).await;
        let said = asked.await.unwrap();
        assert!(said.err.contains(&format!("ticket `{named}` does not count")), "{said:?}");
        assert!(!stage.cluster.log().contains(named), "it never reaches the server");
    }
}
