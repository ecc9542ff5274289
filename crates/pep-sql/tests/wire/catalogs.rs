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
    locked
        .args(["-c", "begin; lock table few, audit in access exclusive mode; select pg_sleep(600); commit"]);
    let mut locked = locked.spawn().unwrap();
    let held =
        "select count(*) from pg_locks where mode = 'AccessExclusiveLock' and relation = 'audit'::regclass";
    stage.cluster.comes_to("shop", held, "1").await.unwrap();
    let began = Instant::now();
    let all = [stage.start("select 1"), stage.start("select 2"), stage.start("select count(*) from orders")];
    let mut said = Vec::new();
    for asked in all {
        said.push(asked.await.unwrap());
    }
    assert!(began.elapsed() < Duration::from_mins(2), "{:?}", began.elapsed());
    assert_eq!((said[0].out.as_str(), said[1].out.as_str()), ("1", "2"), "{said:?}");
    // Names were not looked up, so nothing that has one was taken for a read.
    assert!(said[2].err.contains("ZC003") && said[2].err.contains("not understood"), "{said:?}");
    locked.kill().unwrap();
    locked.wait().unwrap();
    stage.direct("select pg_terminate_backend(pid) from pg_stat_activity where query like 'begin; lock%'");
}

/// What people approved is what its names stood for then: whoever changes that while it waits has changed what would run.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_redefined_while_it_waited_goes_back_to_people() {
    let stage = Stage::set().await;
    stage.direct(
        "create view few as select * from orders where id <= 5; grant all on few to app; \
         create function noted() returns trigger language plpgsql as $$ begin return old; end $$; \
         create trigger noted before delete on orders for each row execute function noted()",
    );
    let mut rounds = 0;
    for (sql, change) in [
        ("delete from few where id <= 3", "create or replace view few as select * from orders"),
        (
            "delete from orders where id <= 3",
            "create or replace function noted() returns trigger language plpgsql as \
             $$ begin insert into audit (what) values ('noted'); return old; end $$",
        ),
        (
            "delete from orders where id <= 4",
            "create trigger again after delete on orders for each row execute function noted()",
        ),
        (
            "delete from orders where id <= 5",
            "create rule odd as on delete to orders do also delete from audit",
        ),
    ] {
        let asked = stage.start(sql);
        let id = stage.held().await;
        stage.approve(1, id).await;
        stage.direct(change);
        stage.approve(2, id).await;
        rounds += 1;
        let opened = stage.entries_from("approval.round_opened", rounds).await;
        assert_eq!(opened[rounds - 1]["because"], "evidence", "{change}");
        assert_eq!(stage.direct("select count(*) from orders"), "100", "{change}");
        stage.reject(1, id, "not that").await;
        let said = asked.await.unwrap();
        assert!(said.err.contains("meaning changed since it was shown"), "{change}: {said:?}");
    }
    // A rule makes it another action altogether: nobody knows any more what it does.
    let ids = stage.in_state("rejected", 4).await;
    let sentences = sentences_of(&stage, ids).await;
    assert!(
        sentences.iter().any(|sentence| sentence.starts_with("What it names was changed")),
        "{sentences:?}"
    );
    // What does not matter changes nothing.
    stage.direct("drop rule odd on orders; drop trigger again on orders; drop trigger noted on orders");
    let asked = stage.start("delete from orders where id <= 5");
    let id = stage.held().await;
    stage.approve(1, id).await;
    stage.direct("alter table orders add column note text; create table other (id int); insert into audit (what) values ('x')");
    stage.approve(2, id).await;
    let said = asked.await.unwrap();
    assert_eq!(said.out, "DELETE 5", "{said:?}");
}

async fn sentences_of(stage: &Stage, ids: Vec<countersign_core::ApprovalId>) -> Vec<String> {
    let mut sentences = Vec::new();
    for id in ids {
        let hold = countersign_engine::read::hold(&stage.gate, id).await.unwrap().unwrap();
        sentences.push(hold.view.computed.sentence);
    }
    sentences
}
