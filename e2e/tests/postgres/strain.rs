//! Results larger than any buffer, and clients that stop reading: the gateway's memory stays what it was, and nobody else
//! notices.

use crate::Stage;
use countersign_testkit::pgclient::PgClient;
use std::time::Duration;

/// Rows of one MiB.
const ROWS: u32 = 256;
/// How long one message may take, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);
/// What a relay may take beyond what it had, in KiB, however large the result.
const MORE: u64 = 16 << 10;

async fn agent(stage: &Stage) -> PgClient {
    let addr = format!("127.0.0.1:{}", stage.port).parse().unwrap();
    PgClient::connect(addr, "bot", &stage.token, "shop").await.unwrap()
}

/// Asks for the rows, and reads nothing.
async fn ask(client: &mut PgClient) {
    client.ask(&format!("select repeat('x', 1 << 20) from generate_series(1, {ROWS})")).await.unwrap();
}

/// Reads them all, and says how many there were.
async fn rows(client: &mut PgClient) -> u32 {
    let mut rows = 0;
    loop {
        let message = tokio::time::timeout(PATIENCE, client.message()).await;
        match message.unwrap().unwrap() {
            (b'D', row) => {
                assert_eq!(row.len(), (1 << 20) + 6);
                rows += 1;
            }
            (b'Z', _) => return rows,
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_result_passes_in_little_memory() {
    let stage = Stage::open().await;
    let mut client = agent(&stage).await;
    client.query("select count(*) from orders").await.unwrap();
    let before = stage.gateway.peak_memory_kib().unwrap();
    ask(&mut client).await;
    assert_eq!(rows(&mut client).await, ROWS);
    let grown = stage.gateway.peak_memory_kib().unwrap().saturating_sub(before);
    assert!(grown < MORE, "it took {grown} KiB more for a result of {ROWS} MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_reading_holds_nobody_else_up() {
    let stage = Stage::open().await;
    let mut other = agent(&stage).await;
    other.query("select count(*) from orders").await.unwrap();
    let before = stage.gateway.peak_memory_kib().unwrap();
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut client = agent(&stage).await;
        ask(&mut client).await;
        slow.push(client);
    }
    // The servers wait for somebody to read: nobody in between has taken more than a little.
    let waiting = "select count(*) from pg_stat_activity where wait_event = 'ClientWrite'";
    stage.cluster.comes_to("shop", waiting, "4").await.unwrap();
    for _ in 0..20 {
        let answer = tokio::time::timeout(PATIENCE, other.query("select count(*) from orders"));
        let answer = answer.await.unwrap().unwrap();
        assert!(answer.iter().any(|(tag, _)| *tag == b'D'));
    }
    let grown = stage.gateway.peak_memory_kib().unwrap().saturating_sub(before);
    assert!(grown < MORE, "four clients that read nothing cost {grown} KiB");
    for mut client in slow.drain(..2) {
        assert_eq!(rows(&mut client).await, ROWS);
    }
    // The others leave without having read: their statements are cancelled.
    drop(slow);
    stage.cluster.comes_to("shop", waiting, "0").await.unwrap();
    other.query("select count(*) from orders").await.unwrap();
}
