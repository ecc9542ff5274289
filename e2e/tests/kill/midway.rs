//! Killed while an approved action runs: nobody can know what became of it, so it is said to be unknown, shown to
//! people, and never sent again.

use countersign_demo::{Cloud, http, person::Strength};
use countersign_e2e::night::{self, CREDENTIAL, Night};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};

const PATIENCE: Duration = Duration::from_mins(3);

/// Takes requests and never answers: how many came.
async fn silent_target() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let came = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&came);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(swallow(stream, Arc::clone(&counter)));
        }
    });
    (address, came)
}

async fn swallow(mut stream: TcpStream, came: Arc<AtomicUsize>) {
    let mut buffer = [0; 4096];
    let mut first = true;
    while let Ok(read) = stream.read(&mut buffer).await {
        if read == 0 {
            return;
        }
        if std::mem::take(&mut first) {
            came.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[tokio::test]
async fn killed_while_it_runs_an_action_ends_unknown_and_is_never_sent_again() {
    let (upstream, came) = silent_target().await;
    let cloud = Cloud::start(CREDENTIAL).await.unwrap();
    let mut night = Night::open_before(cloud, &upstream, &[]).await.unwrap();
    let client = night::client().unwrap();
    let ask = night.ask(&client, Method::PUT, "/v1/config/prod/timeout").header("prefer", "respond-async");
    let held = http::send("the gateway", ask.json(&json!({ "value": "1" }))).await.unwrap();
    let (approval, place) = (held.word("approval"), held.header("location").unwrap().to_owned());
    let vote = night.ana.vote(&approval, "approve", Strength::Session, None).await.unwrap();
    assert!(vote.is_success(), "{}", vote.told());
    let begun = Instant::now();
    while came.load(Ordering::SeqCst) == 0 {
        assert!(begun.elapsed() < PATIENCE, "it never reaches its target");
        sleep(Duration::from_millis(5)).await;
    }
    night.gateway.kill().unwrap();
    night.gateway.restart().await.unwrap();
    let shown = night.ana.approval(&approval).await.unwrap();
    assert_eq!(shown.get("state").and_then(Value::as_str), Some("unknown"), "{shown}");
    let look = night.ask(&client, Method::GET, &place).header("prefer", "wait=0");
    let told = http::send("the location", look).await.unwrap();
    assert!((400..600).contains(&told.status), "{}", told.told());
    let listed = night.ana.read("unresolved").await.unwrap().json();
    let action = listed.pointer("/0/action").and_then(Value::as_str).unwrap().to_owned();
    let found = json!({ "found": "ran", "note": "the setting is there" });
    let resolved = night.ben.write(&format!("actions/{action}/resolve"), &found).await.unwrap();
    assert!(resolved.is_success(), "{}", resolved.told());
    assert_eq!(night.ana.read("unresolved").await.unwrap().json(), json!([]));
    let entries = night::verified_entries(&night.gateway).await.unwrap();
    let count = |kind: &str| entries.iter().filter(|entry| entry.kind == kind).count();
    let kinds =
        ["execution.authorized", "execution.outcome_unknown", "execution.resolved", "execution.result"];
    assert_eq!(kinds.map(count), [1, 1, 1, 0]);
    assert_eq!(came.load(Ordering::SeqCst), 1, "it is sent once, whatever becomes of it");
}
