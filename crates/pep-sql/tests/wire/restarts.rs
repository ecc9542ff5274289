//! The server goes away and comes back: what was idle, held, granted or running then ends cleanly, and only what may have
//! run is unknown.

use crate::stage::{COMES_WITHIN, Said, Stage};
use countersign_testkit::pgclient::{PgClient, field, sqlstate};

async fn agent(stage: &Stage) -> PgClient {
    PgClient::connect(stage.addr, "bot", "bot-token", "shop").await.unwrap()
}

/// What a session is told before it is closed.
async fn last_words(client: &mut PgClient) -> (Option<String>, Option<String>) {
    let (mut said, mut over) = (Vec::new(), false);
    let read = async {
        while !over {
            match client.message().await {
                Ok(message) => said.push(message),
                Err(_) => over = true,
            }
        }
    };
    tokio::time::timeout(COMES_WITHIN, read).await.unwrap();
    said.retain(|(tag, _)| *tag == b'E');
    (sqlstate(&said), field(&said, b'M'))
}

async fn works(stage: &Stage, rows: &str) {
    let said = stage.run("select count(*) from orders").await;
    assert_eq!((said.out.as_str(), said.err.as_str()), (rows, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_session_is_told_why_it_ends_and_a_new_one_works() {
    let mut stage = Stage::set().await;
    let mut client = agent(&stage).await;
    client.query("select 1").await.unwrap();
    stage.cluster.stop();
    // The server's own last words.
    let (code, said) = last_words(&mut client).await;
    assert_eq!(code.as_deref(), Some("57P01"), "{said:?}");
    // Nobody gets in meanwhile, and is told so.
    let said = stage.run("select 1").await;
    assert!(said.err.contains("08001") || said.err.contains("could not be logged in to"), "{said:?}");
    stage.cluster.start_again().await.unwrap();
    works(&stage, "100").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_when_the_server_restarts_stays_held_for_the_repeat() {
    let mut stage = Stage::set().await;
    let sql = "delete from orders where id <= 3";
    let asked = stage.start(sql);
    let id = stage.held().await;
    stage.cluster.stop();
    let said: Said = asked.await.unwrap();
    assert!(!said.fine && said.err.contains("what was held stays held"), "{said:?}");
    stage.cluster.start_again().await.unwrap();
    works(&stage, "100").await;
    stage.approve(1, id).await;
    stage.approve(2, id).await;
    assert_eq!(stage.in_state("granted", 1).await, [id]);
    // Approved and not run: a second restart costs nothing either.
    stage.cluster.stop();
    stage.cluster.start_again().await.unwrap();
    let said = stage.run(sql).await;
    assert_eq!((said.out.as_str(), said.err.as_str()), ("DELETE 3", ""));
    works(&stage, "97").await;
    assert_eq!(stage.entries("approval.requested").await.len(), 1, "nobody was asked twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ran_when_the_server_went_is_unknown_and_never_repeated() {
    let mut stage = Stage::set().await;
    stage.direct("create function slowly() returns trigger language plpgsql as $$ begin perform pg_sleep(0.3); return old; end $$");
    stage.direct("create trigger slowly before delete on orders for each row execute function slowly()");
    let sql = "delete from orders where id <= 50";
    let asked = stage.start(sql);
    let id = stage.held().await;
    stage.approve(1, id).await;
    stage.approve(2, id).await;
    let runs = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
    stage.cluster.comes_to("shop", runs, "1").await.unwrap();
    stage.cluster.stop();
    let said = asked.await.unwrap();
    assert!(!said.fine, "{said:?}");
    assert_eq!(stage.in_state("unknown", 1).await, [id]);
    stage.cluster.start_again().await.unwrap();
    works(&stage, "100").await;
    let said = stage.run(sql).await;
    assert!(said.err.contains("it is not known whether the action ran"), "{said:?}");
    works(&stage, "100").await;
}
