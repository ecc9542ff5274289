//! What is found out before people decide: shown with the hold, signed with the votes, looked at again before it runs.

use crate::stage::{POLICY, Stage};
use countersign_core::{Evidence, evidence::Found};
use countersign_engine::read;
use serde_json::json;

const READER: &str = "create role reader login password 'planted-reader-secret'; \
    grant select on all tables in schema public to reader";

/// A stage on which the role `reader` counts.
async fn stage(policy: &str) -> Stage {
    stage_within(policy, "30s").await
}

/// The same where counting may take so long.
async fn stage_within(policy: &str, within: &str) -> Stage {
    let counting = json!({"user": "reader", "value_from": "file:reader", "within": within});
    let stage = Stage::under(policy, |section| section["preflight"] = counting).await;
    std::fs::write(stage.folder.path().join("reader"), "planted-reader-secret").unwrap();
    stage.direct(READER);
    stage
}

/// The evidence of the only open hold, which is what its newest round names.
async fn evidence(stage: &Stage) -> Evidence {
    let hold = read::hold(&stage.gate, stage.held().await).await.unwrap().unwrap();
    let evidence = hold.evidence.unwrap();
    assert_eq!(hold.approval.rounds.last().unwrap().evidence, evidence.digest().unwrap());
    assert_eq!(hold.view.computed.evidence.as_ref(), Some(&evidence));
    evidence
}

fn missing(evidence: &Evidence) -> String {
    let why = evidence.findings.iter().find_map(|finding| match &finding.found {
        Found::Missing { why } => Some(why.clone()),
        Found::Number { .. } | Found::Text { .. } | Found::Fixed { .. } => None,
    });
    why.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_delete_says_how_many_rows_and_the_votes_are_on_that() {
    let stage = stage(POLICY).await;
    let asked = stage.start("delete from orders where id <= 14");
    let id = stage.held().await;
    let evidence = evidence(&stage).await;
    let said = format!("{:?}", evidence.findings);
    assert!(said.contains("Number { value: 14, quality: Exact }") && said.contains("Node Type"), "{said}");
    let round = &stage.entries("approval.requested").await[0]["round"];
    assert_eq!(round["evidence"], evidence.digest().unwrap().to_string());
    stage.approve(1, id).await;
    stage.approve(2, id).await;
    let said = asked.await.unwrap();
    assert_eq!(said.out, "DELETE 14", "{said:?}");
    assert!(said.err.contains("approve it: Delete 14 rows from `public.orders` in shop (prod)"), "{said:?}");
    let voted = &stage.entries("approval.voted").await[0]["statement"];
    assert_eq!(voted["evidence_digest"], round["evidence"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_grew_since_goes_back_to_people_and_what_shrank_does_not() {
    let stage = stage(POLICY).await;
    let sql = "delete from orders where id <= 1000";
    let asked = stage.start(sql);
    let id = stage.held().await;
    stage.approve(1, id).await;
    stage.direct("insert into orders select n, 'more', 1 from generate_series(101, 201) n");
    stage.approve(2, id).await;
    let opened = stage.entries_from("approval.round_opened", 1).await[0].clone();
    assert_eq!((&opened["because"], &opened["round"]["number"]), (&json!("evidence"), &json!(2)));
    assert_eq!(stage.direct("select count(*) from orders"), "201", "nothing ran");
    assert_eq!(stage.held().await, id);
    // Both have to say it again; what shrinks meanwhile is less than they agreed to.
    stage.approve(1, id).await;
    stage.direct("delete from orders where id > 150");
    stage.approve(2, id).await;
    let said = asked.await.unwrap();
    assert_eq!(said.out, "DELETE 150", "{said:?}");
    assert!(said.err.contains("held again until people approve it: Delete 201 rows"), "{said:?}");
    assert!(said.err.contains("changed: rows: 100 were shown, and now there are 201"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_counted_is_said_and_permits_nothing() {
    let small = POLICY.to_owned()
        + r#"@id("small") @gate("not-small") @approvers("Group::\"sre\"") @reason("not known to be small")
             forbid (principal, action in Action::"write", resource)
             unless { context has sql && context.sql has est_exact && context.sql has est_rows && context.sql.est_exact && context.sql.est_rows <= 5 };"#;
    let stage = stage(&small).await;
    assert_eq!(stage.run("update orders set total = 2 where id <= 5").await.out, "UPDATE 5");
    let asked = stage.start("update orders set total = 2 where id <= 6");
    let first = stage.held().await;
    assert_eq!(missing(&evidence(&stage).await), "");
    asked.abort();
    // A table that the role may not read.
    stage.direct("revoke select on orders from reader");
    let asked = stage.start("update orders set total = 2 where id <= 4");
    let both = stage.in_state("pending", 2).await;
    let newest = both.into_iter().find(|id| *id != first).unwrap();
    let newest = read::hold(&stage.gate, newest).await.unwrap().unwrap();
    assert_eq!(missing(&newest.evidence.unwrap()), "the role that counts may not read it");
    assert!(
        newest.view.computed.facts["est_problem"]
            .as_str()
            .unwrap()
            .starts_with("could not be counted: the role")
    );
    asked.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_can_write_counts_nothing() {
    let stage = stage(POLICY).await;
    stage.direct("grant update (total) on orders to reader");
    let asked = stage.start("delete from orders where id <= 14");
    stage.held().await;
    assert_eq!(missing(&evidence(&stage).await), "the role that counts may write, and it must not");
    asked.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_locks_and_schemas_out_of_sight_are_no_way_around() {
    // Settings are let through here.
    let stage = stage(&POLICY.replace(r#"Action::"administer""#, r#"Action::"connect""#)).await;
    let table = r#""x""; drop table orders; --""#;
    stage.direct(&format!(
        "create table {table} (id int); alter table {table} owner to app; grant select on {table} to reader"
    ));
    stage.direct(&format!("insert into {table} values (1), (2)"));
    let asked = stage.start(&format!("delete from {table}"));
    let id = stage.held().await;
    assert!(format!("{:?}", evidence(&stage).await).contains("value: 2, quality: Exact"));
    for n in 1..3 {
        stage.approve(n, id).await;
    }
    assert_eq!(asked.await.unwrap().out, "DELETE 2");
    // The same name in a schema that only the agent's role sees.
    stage.direct("create schema hidden authorization app; create table hidden.orders (id int)");
    stage.direct("alter table hidden.orders owner to app; grant select on hidden.orders to reader");
    let mut command = stage.psql();
    command.args(["-c", "set search_path = hidden, public", "-c", "delete from orders"]);
    let asked = tokio::spawn(crate::stage::finished(command));
    stage.held().await;
    let why = missing(&evidence(&stage).await);
    asked.abort();
    assert_eq!(why, "the role that counts may not look into every schema of the search path");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_locked_is_not_waited_for_long() {
    let stage = stage_within(POLICY, "1s").await;
    // The catalog is known by now: reading it anew would wait for the lock as well.
    assert_eq!(stage.run("select count(*) from orders").await.out, "100");
    let mut locked = stage.cluster.psql("shop");
    locked.args(["-c", "begin; lock table orders; select pg_sleep(600); commit"]);
    let mut locked = locked.spawn().unwrap();
    let held =
        "select count(*) from pg_locks where mode = 'AccessExclusiveLock' and relation = 'orders'::regclass";
    stage.cluster.comes_to("shop", held, "1").await.unwrap();
    let asked = stage.start("delete from orders where id <= 14");
    stage.held().await;
    let why = missing(&evidence(&stage).await);
    assert!(["a lock stood in the way", "it took too long"].contains(&why.as_str()), "{why}");
    asked.abort();
    locked.kill().unwrap();
    locked.wait().unwrap();
    stage.direct("select pg_terminate_backend(pid) from pg_stat_activity where query like 'begin; lock%'");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_statement_of_a_text_is_counted_and_what_a_drop_takes_away_is_told() {
    let stage = stage(POLICY).await;
    let asked = stage.start("delete from orders where id <= 14; delete from orders where id > 90");
    let id = stage.held().await;
    let found = evidence(&stage).await;
    let told = |about: &str| {
        let mut about = found.findings.iter().filter(|finding| finding.about == about);
        format!("{:?}", about.next().map(|finding| finding.found.clone()))
    };
    assert!(told("rows of statement 1 (DELETE)").contains("value: 14, quality: Exact"), "{found:?}");
    // What the first one leaves is not known before it ran.
    assert!(told("rows of statement 2 (DELETE)").contains("value: 10, quality: Estimate"), "{found:?}");
    let hold = read::hold(&stage.gate, id).await.unwrap().unwrap();
    let computed = &hold.view.computed;
    assert_eq!((&computed.facts["est_rows"], &computed.facts["est_exact"]), (&json!(24), &json!(false)));
    assert!(computed.sentence.contains("The gravest: Delete 14 rows"), "{}", computed.sentence);
    stage.reject(1, id, "no").await;
    asked.await.unwrap();
    let asked = stage.start("drop table orders, audit");
    stage.held().await;
    let found = evidence(&stage).await;
    let told = format!("{:?}", found.findings);
    assert!(told.contains("value: 100, quality: Exact"), "{told}");
    let bytes = found.findings.iter().find(|finding| finding.about == "bytes").unwrap();
    let real = stage.direct("select pg_total_relation_size('orders') + pg_total_relation_size('audit')");
    let real =
        Found::Number { value: real.parse().unwrap(), quality: countersign_core::evidence::Quality::Exact };
    assert_eq!(bytes.found, real);
    asked.abort();
}
