//! Notifications reach whoever listens, also while its own statement waits for people.

use crate::{
    clients::python,
    leaving::until,
    stage::{Stage, finished},
};
use countersign_testkit::pgclient::PgClient;

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_hears_what_others_tell_it() {
    let stage = Stage::set().await;
    let mut command = python("with_notify.py");
    command.env("PGPORT", stage.addr.port().to_string());
    let said = finished(command).await;
    assert_eq!((said.out.as_str(), said.err.as_str()), ("jobs one\njobs two\ntold 2", ""), "{said:?}");
    // Both sides of it are statements that policy decides on.
    let operations: Vec<_> = stage.entries("execution.authorized").await;
    assert!(operations.len() >= 3, "{operations:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_people_hears_it_when_they_have_decided() {
    let stage = Stage::set().await;
    let mut client = PgClient::connect(stage.addr, "bot", "bot-token", "shop").await.unwrap();
    client.query("listen jobs").await.unwrap();
    client.ask("delete from orders where id <= 14").await.unwrap();
    let id = stage.held().await;
    stage.direct("notify jobs, 'meanwhile'");
    let queued = || stage.direct("select pg_notification_queue_usage() = 0");
    until(|| queued() == "t").await;
    stage.approve(1, id).await;
    stage.approve(2, id).await;
    let answer = client.until_ready().await.unwrap();
    let tags: Vec<u8> = answer.iter().map(|(tag, _)| *tag).collect();
    assert!(tags.contains(&b'A') && tags.contains(&b'C'), "{tags:?}");
    assert!(answer.iter().any(|(tag, body)| *tag == b'A' && body.ends_with(b"jobs\0meanwhile\0")));
}
