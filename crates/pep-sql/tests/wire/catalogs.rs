//! What the gateway knows of a database's catalog, and what becomes of it when others change it.

use crate::stage::{POLICY, Stage};
use std::time::{Duration, Instant};

/// Whoever changes a table keeps nobody else from being read.
#[tokio::test(flavor = "multi_thread")]
async fn a_locked_table_does_not_keep_the_catalog_from_being_read_for_long() {
    let certain = POLICY.to_owned()
        + r#"@id("certain") @reason("not understood") forbid (principal, action in Action::"unknown", resource);"#;
    let stage = Stage::under(&certain, |_| {}).await;
    stage.direct("create view few as select * from audit; create index on audit (lower(what))");
    let mut locked = stage.cluster.psql("shop");
    locked.args(["-c", "begin; lock table few, audit in access exclusive mode; select pg_sleep(60); commit"]);
    let mut locked = locked.spawn().unwrap();
    let held =
        "select count(*) from pg_locks where mode = 'AccessExclusiveLock' and relation = 'audit'::regclass";
    while stage.direct(held) != "1" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let began = Instant::now();
    let all = [stage.start("select 1"), stage.start("select 2"), stage.start("select count(*) from orders")];
    let mut said = Vec::new();
    for asked in all {
        said.push(asked.await.unwrap());
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!((said[0].out.as_str(), said[1].out.as_str()), ("1", "2"), "{said:?}");
    // Names were not looked up, so nothing that has one was taken for a read.
    assert!(said[2].err.contains("ZC003") && said[2].err.contains("not understood"), "{said:?}");
    locked.kill().unwrap();
    locked.wait().unwrap();
    stage.direct("select pg_terminate_backend(pid) from pg_stat_activity where query like 'begin; lock%'");
}
