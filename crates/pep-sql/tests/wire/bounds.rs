//! How long connections may rest, how many there may be, and who is found to be gone.

use crate::{
    leaving::until,
    stage::Stage,
    strict::{contains, login, message, packet, said},
};
use countersign_testkit::{pgclient::PgClient, postgres::Options};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

async fn stage(limits: Value) -> Stage {
    Stage::with(&Options::default(), |section| section["limits"] = limits).await
}

fn told(bytes: &[u8], fields: &[&str]) {
    for field in fields {
        assert!(contains(bytes, field), "{field}: {}", String::from_utf8_lossy(bytes));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_in_which_nobody_speaks_is_ended_with_a_code_of_its_own() {
    let stage = stage(json!({"idle": "8s"})).await;
    let (mut stream, _) = login(&stage, &[]).await;
    told(&said(&mut stream).await, &["SFATAL", "C57P05", "Hconnect again"]);
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    // In a transaction, which is over with it.
    let (mut stream, _) = login(&stage, &[]).await;
    let sql = b"begin; insert into orders values (200, 'new', 1)\0";
    stream.write_all(&message(b'Q', sql)).await.unwrap();
    assert!(said(&mut stream).await.ends_with(b"T"));
    told(&said(&mut stream).await, &["SFATAL", "C25P03", "the transaction was rolled back"]);
    let open = "select count(*) from pg_stat_activity where usename = 'app' and state like 'idle in%'";
    stage.cluster.comes_to("shop", open, "0").await.unwrap();
    assert_eq!(stage.direct("select count(*) from orders"), "100");
    // Who waits for people does not rest. Another session says how long that takes.
    let asked = stage.start("delete from orders where id <= 14");
    let id = stage.held().await;
    let (mut clock, _) = login(&stage, &[]).await;
    told(&said(&mut clock).await, &["C57P05"]);
    stage.approve(1, id).await;
    stage.approve(2, id).await;
    assert_eq!(asked.await.unwrap().out, "DELETE 14");
    // Nor does a client rest that runs something for longer.
    assert_eq!(stage.run("select pg_sleep(9)").await.err, "");
    // Nor may somebody rest in the middle of a message that is let go.
    let (mut stream, _) = login(&stage, &[]).await;
    let mut half = vec![b'Q'];
    half.extend((17_u32 << 20).to_be_bytes());
    stream.write_all(&half).await.unwrap();
    told(&said(&mut stream).await, &["C57P05"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_says_by_itself_is_no_silence() {
    let stage = stage(json!({"idle": "15s"})).await;
    let mut listening = PgClient::connect(stage.addr, "bot", "bot-token", "shop").await.unwrap();
    listening.query("listen jobs").await.unwrap();
    let (mut clock, _) = login(&stage, &[]).await;
    let ended = tokio::spawn(async move { said(&mut clock).await });
    // Told something now and then until a session ended that was told nothing.
    let mut rings = 0;
    while !ended.is_finished() {
        stage.direct("notify jobs, 'one'");
        let (tag, body) = listening.message().await.unwrap();
        assert!(tag == b'A' && contains(&body, "jobs\0one"), "{tag} {body:?}");
        rings += 1;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    told(&ended.await.unwrap(), &["C57P05"]);
    assert!(rings > 1);
    listening.query("select 7").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_say_who_it_is_is_not_waited_for() {
    let stage = stage(json!({"login": "15s"})).await;
    // Nothing, half a packet, and no password.
    let mut silent = TcpStream::connect(stage.addr).await.unwrap();
    let mut half = TcpStream::connect(stage.addr).await.unwrap();
    half.write_all(&[0, 0, 0, 80, 0, 3]).await.unwrap();
    let open = [("user", "bot"), ("database", "shop")];
    let mut mute = TcpStream::connect(stage.addr).await.unwrap();
    mute.write_all(&packet(196_608, &open)).await.unwrap();
    said(&mut mute).await;
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(half.read(&mut [0]).await.unwrap(), 0);
    told(&said(&mut mute).await, &["SFATAL", "C57014", "Mno password came in time", "Hthe password is"]);
    // What is no password, and what is no start-up packet, is answered with what would be.
    let mut other = TcpStream::connect(stage.addr).await.unwrap();
    other.write_all(&packet(196_608, &open)).await.unwrap();
    said(&mut other).await;
    other.write_all(&message(b'Q', b"select 1\0")).await.unwrap();
    told(&said(&mut other).await, &["SFATAL", "C08P01", "Hthe password is"]);
    let mut web = TcpStream::connect(stage.addr).await.unwrap();
    web.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    told(&said(&mut web).await, &["SFATAL", "C08P01", "Hconnect with a client of PostgreSQL"]);
    let mut bytes = TcpStream::connect(stage.addr).await.unwrap();
    bytes.write_all(b"\0\0\0\x10\0\x03\0\0user\0\xff\0\0").await.unwrap();
    told(&said(&mut bytes).await, &["SFATAL", "C08P01", "Hsend names and values as UTF-8"]);
    let found = stage.entries("execution.authorized").await;
    assert!(found.is_empty(), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_one_agent_are_bounded() {
    let stage = stage(json!({"agent_connections": 2})).await;
    let (first, _) = login(&stage, &[]).await;
    let (_second, opened) = login(&stage, &[]).await;
    assert!(opened.ends_with(b"I"));
    let (_, refused) = login(&stage, &[]).await;
    told(&refused, &["SFATAL", "C53300", "`bot` has as many sessions with target `shop`", "Hclose sessions"]);
    drop(first);
    let mut opened = refused;
    while !opened.ends_with(b"I") {
        told(&opened, &["C53300"]);
        (_, opened) = login(&stage, &[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_sessions_are_taken_one_can_still_be_cancelled() {
    let stage = stage(json!({"connections": 1})).await;
    let mut only = PgClient::connect(stage.addr, "bot", "bot-token", "shop").await.unwrap();
    let (_, refused) = login(&stage, &[]).await;
    told(&refused, &["SFATAL", "C53300", "Mthere are as many sessions here as there may be"]);
    only.ask("select count(*) from orders a, orders b, orders c, orders d, orders e").await.unwrap();
    let runs = "select count(*) from pg_stat_activity where query like '%orders e' and state = 'active' and usename = 'app'";
    until(|| stage.direct(runs) == "1").await;
    only.key().cancel().await.unwrap();
    let answer = only.until_ready().await.unwrap();
    assert_eq!(countersign_testkit::pgclient::sqlstate(&answer).as_deref(), Some("57014"));
}

/// What the kernel waits for on a connection: its timer, by its kind and what is left of it in hundredths of a second.
fn timers(ours: impl Fn(u16, u16) -> bool) -> Vec<(String, u64)> {
    let port = |address: &str| u16::from_str_radix(address.rsplit(':').next().unwrap(), 16).unwrap();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row[3] == "01" && ours(port(row[1]), port(row[2])))
        .map(|row| {
            let (kind, left) = row[5].split_once(':').unwrap();
            (kind.to_owned(), u64::from_str_radix(left, 16).unwrap())
        })
        .collect()
}

/// A machine that lost its power sends no end of a connection. The kernel asks it, on both sides, also while its statement
/// waits for people.
#[tokio::test(flavor = "multi_thread")]
async fn both_sides_are_asked_for_a_sign_of_life() {
    let stage = stage(json!({"keepalive": "7s"})).await;
    let asked = stage.start("delete from orders");
    let id = stage.held().await;
    let (clients, server) = (stage.addr.port(), stage.cluster.port());
    let asks = |(kind, left): &(String, u64)| kind == "02" && *left <= 700;
    until(|| {
        let sides = [timers(|own, _| own == clients), timers(|_, other| other == server)];
        sides.iter().all(|side| !side.is_empty() && side.iter().all(asks))
    })
    .await;
    stage.reject(1, id, "not today").await;
    assert!(asked.await.unwrap().err.contains("not today"));
}
