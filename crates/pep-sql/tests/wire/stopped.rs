//! What was revoked, frozen, or whose agent is not known any more: nothing of it begins, goes on or is committed.

use crate::{
    guarded::{kinds, runs},
    names::{ANYTHING, DELETE, asked, parse, query, sync, untouched},
    stage::{POLICY, Stage},
    strict::{login, message, said},
};
use countersign_core::approval::Taker;
use countersign_engine::settle;
use countersign_ledger::event::FreezeScope;
use std::process::Command;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Writes are asked for.
async fn stage() -> Stage {
    let policy = POLICY.to_owned()
        + r#"@id("writes") @gate("writes") @approvers("Group::\"sre\"") @reason("rows change")
             forbid (principal, action in Action::"write", resource);"#;
    Stage::under(&policy, |_| {}).await
}

/// A client that has been told nothing but that it waits.
async fn waits(stream: &mut tokio::net::TcpStream) {
    let mut notice = [0; 5];
    stream.read_exact(&mut notice).await.unwrap();
    assert_eq!(notice[0], b'N');
    let rest = u32::from_be_bytes([notice[1], notice[2], notice[3], notice[4]]) as usize - 4;
    stream.read_exact(&mut vec![0; rest]).await.unwrap();
}

fn signal(process: &str, name: &str) {
    assert!(Command::new("kill").args([name, process]).status().unwrap().success());
}

/// The server is busy when it is to be told to let go of its guard, and the approval is taken back meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_revoked_before_its_first_byte_is_not_sent() {
    let stage = stage().await;
    let (mut stream, _) = login(&stage, &[]).await;
    assert_eq!(query(&mut stream, "select 1").await, "TDCZI");
    let backend = "select pid from pg_stat_activity where query like '%READ ONLY' or query = 'select 1'";
    let process = stage.direct(backend);
    let insert = "insert into audit (what) values ('ran')";
    stream.write_all(&message(b'Q', format!("{insert}\0").as_bytes())).await.unwrap();
    waits(&mut stream).await;
    let id = stage.held().await;
    signal(&process, "-STOP");
    stage.approve(1, id).await;
    assert_eq!(stage.in_state("executing", 1).await, [id]);
    settle::revoke(&stage.gate, id, Taker::Operator, "wrong table").await.unwrap().unwrap();
    signal(&process, "-CONT");
    let told = kinds(&said(&mut stream).await);
    assert_eq!(told, "E57014ZI");
    assert_eq!(stage.direct("select count(*) from audit"), "0");
    assert_eq!(stage.in_state("revoked", 1).await, [id]);
    assert_eq!(stage.entries("execution.released").await.len(), 1);
    assert_eq!(query(&mut stream, "select 1").await, "TDCZI");
}

/// A server that waits for its client hears of no cancellation.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_revoked_ends_whatever_its_client_does() {
    let stage = stage().await;
    let (mut stream, _) = login(&stage, &[]).await;
    stream.write_all(&message(b'Q', b"copy orders from stdin\0")).await.unwrap();
    waits(&mut stream).await;
    let id = stage.held().await;
    stage.approve(1, id).await;
    stream.write_all(&message(b'd', b"1000\tx\t1\n")).await.unwrap();
    let copying = "select count(*) from pg_stat_activity where wait_event = 'ClientRead' and query like 'copy orders%' and state = 'active'";
    stage.cluster.comes_to("shop", copying, "1").await.unwrap();
    settle::revoke(&stage.gate, id, Taker::Operator, "wrong table").await.unwrap().unwrap();
    let told = kinds(&said(&mut stream).await);
    assert_eq!(told, "GE57014ZI");
    assert_eq!(stage.in_state("cancelled", 1).await, [id]);
    // What it goes on to send belongs to nothing.
    let done = [message(b'd', b"1001\tx\t1\n"), message(b'c', b""), message(b'Q', b"select 7\0")].concat();
    assert_eq!(asked(&mut stream, &[&done]).await, "TDCZI");
    untouched(&stage);
    // In the middle of a piece whose rest never comes.
    let (mut stream, _) = login(&stage, &[]).await;
    stream.write_all(&message(b'Q', b"copy orders from stdin\0")).await.unwrap();
    waits(&mut stream).await;
    let id = stage.held().await;
    stage.approve(1, id).await;
    stream.write_all(&message(b'd', b"1000\tx\t1\n")[..8]).await.unwrap();
    stage.cluster.comes_to("shop", copying, "1").await.unwrap();
    settle::revoke(&stage.gate, id, Taker::Operator, "wrong table").await.unwrap().unwrap();
    // What was made up of the piece is no row: the server says which error it came upon first.
    let ended = stage.results(3).await;
    assert!(ended[2].starts_with("error"), "{ended:?}");
    let left = "select count(*) from pg_stat_activity where usename = 'app' and query like 'copy orders%' and state <> 'idle'";
    stage.cluster.comes_to("shop", left, "0").await.unwrap();
    untouched(&stage);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_revoked_ends_though_its_client_does_not_read() {
    let stage = stage().await;
    let (mut stream, _) = login(&stage, &[]).await;
    let sql = b"select repeat('x', 1000000) from orders for update\0";
    stream.write_all(&message(b'Q', sql)).await.unwrap();
    waits(&mut stream).await;
    let id = stage.held().await;
    stage.approve(1, id).await;
    let waits = "select count(*) from pg_stat_activity where usename = 'app' and wait_event = 'ClientWrite'";
    stage.cluster.comes_to("shop", waits, "1").await.unwrap();
    settle::revoke(&stage.gate, id, Taker::Operator, "wrong table").await.unwrap().unwrap();
    assert_eq!(stage.in_state("cancelled", 1).await, [id]);
    let left = "select count(*) from pg_stat_activity where usename = 'app' and query like 'select repeat%' and state <> 'idle'";
    stage.cluster.comes_to("shop", left, "0").await.unwrap();
    // Nobody waits for its locks.
    stage.direct("update orders set total = 2 where id = 1");
    drop(stream);
}

/// A `Sync` is the commit of what was flushed.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_commits_who_could_not_begin() {
    let stage = Stage::under(ANYTHING, |_| {}).await;
    let flushed = [runs(DELETE), message(b'H', b"")].concat();
    let deleting = async || {
        let (mut stream, _) = login(&stage, &[]).await;
        stream.write_all(&flushed).await.unwrap();
        let mut told = Vec::new();
        while !kinds(&told).ends_with('C') {
            let mut piece = [0; 256];
            let read = stream.read(&mut piece).await.unwrap();
            told.extend_from_slice(&piece[..read]);
        }
        stream
    };
    let mut frozen = deleting().await;
    settle::freeze(&stage.gate, FreezeScope::All, settle::Freezer { by: None, through: None, reason: None })
        .await
        .unwrap();
    assert_eq!(asked(&mut frozen, &[&sync()]).await, "EZC00AZI");
    untouched(&stage);
    settle::thaw(&stage.gate, FreezeScope::All, None).await.unwrap();
    let mut justified = deleting().await;
    settle::freeze(&stage.gate, FreezeScope::All, settle::Freezer { by: None, through: None, reason: None })
        .await
        .unwrap();
    let told = query(&mut justified, "set countersign.justification = 'x'").await;
    assert_eq!(told, "EZC00AZI");
    untouched(&stage);
    settle::thaw(&stage.gate, FreezeScope::All, None).await.unwrap();
    // The server sums up where a simple query has it do so.
    let mut summed = deleting().await;
    assert_eq!(query(&mut summed, "set countersign.justification = 'x'").await, "CZI");
    assert_eq!(stage.direct("select count(*) from orders"), "97");
    let mut revoked = deleting().await;
    *stage.people.revoked.lock().unwrap() = true;
    assert_eq!(asked(&mut revoked, &[&sync()]).await, "E28P01ZI");
    assert_eq!(asked(&mut revoked, &[&parse("", "select 1"), &sync()]).await, "E28P01ZI");
    assert_eq!(stage.direct("select count(*) from orders"), "97");
}
