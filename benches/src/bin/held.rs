//! What a held request costs while it waits, and how soon it goes out once it may: ten thousand requests held on
//! open connections, and votes cast by a signed-in person through the API.

use countersign_benches::{
    Result,
    arrivals::upstream,
    gateway::{Gateway, Setup},
    percentile,
    report::{Figure, Goal, publish},
};
use countersign_demo::person::{Person, Strength};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};

const HELD: u32 = 10_000;
const VOTES: usize = 300;
/// How many requests are on their way in at once while the stage is set.
const AT_ONCE: usize = 64;
const PATIENCE: Duration = Duration::from_mins(2);
/// After which memory has settled.
const REST: Duration = Duration::from_secs(2);

const POLICY: &str = r#"
@id("agents")
permit (principal in Group::"agents", action, resource in Environment::"prod");
@id("change") @gate("change") @approvers("Group::\"sre\"") @expires("2h") @reason("an order is changed")
forbid (principal, action in Action::"write", resource);
"#;

const TARGET: &str = r#"
hold_limit = "1h"
limits = { request_head = "1h", response_head = "1h", idle = "1h", connections = 12000 }

[[http.operations]]
name = "readOrder"
method = "GET"
path = "/orders/{order}"
class = "read"
sentence = "Read the order {order}"

[[http.operations]]
name = "changeOrder"
method = "PUT"
path = "/orders/{order}"
class = "write"
sentence = "Change the order {order}"
resources = [{ kind = "order", name = "{order}" }]
"#;

#[tokio::main]
async fn main() -> Result<()> {
    rlimit::increase_nofile_limit(u64::MAX)?;
    let (upstream, mut arrivals) = upstream().await?;
    let limits = format!("pending_per_principal = {HELD}");
    let setup = Setup { policy: POLICY, upstream: &upstream, target: TARGET, limits: &limits };
    let gateway = Gateway::start(&setup)?;
    let token = gateway.agent("bot")?;
    let mut voter = gateway.person("ana@example.com").await?;

    let empty = gateway.resident_kib()?;
    let streams = connect(&gateway, &token).await?;
    sleep(REST).await;
    let idle = gateway.resident_kib()?;
    let waiting = hold(streams, &token).await?;
    until_pending(&gateway, &voter).await?;
    sleep(REST).await;
    let held = gateway.resident_kib()?;

    // What was permitted before has arrived; it is no vote's doing.
    while arrivals.try_recv().is_ok() {}
    let mut times = vote(&mut voter, &mut arrivals).await?;
    if !waiting.are_answered(VOTES).await {
        return Err("not every approved request was answered".into());
    }
    let per_held = (held - idle) / f64::from(HELD);
    let (p50, p99) = (percentile(&mut times, 50), percentile(&mut times, 99));
    let figures = [
        Figure::new(
            "10,000 held HTTP requests: memory each, above its connection",
            per_held,
            "KiB",
            Goal::AtMost(32.0),
        ),
        Figure::new(
            "from a vote to the first forwarded byte, 99th percentile",
            p99,
            "ms",
            Goal::AtMost(20.0),
        ),
    ];
    let measured = json!({
        "held": HELD, "votes": VOTES, "empty_mib": empty / 1024.0, "idle_connections_mib": idle / 1024.0,
        "held_mib": held / 1024.0, "per_connection_kib": (idle - empty) / f64::from(HELD), "per_held_kib": per_held,
        "vote_to_first_byte_ms": {"p50": p50, "p99": p99},
    });
    publish("held", measured, &figures)
}

fn request(method: &str, order: u32, token: &str) -> String {
    format!(
        "{method} /orders/{order} HTTP/1.1\r\nhost: shop\r\nauthorization: Bearer {token}\r\ncontent-length: 0\r\n\r\n"
    )
}

/// Opens every connection and has one permitted request answered on it, so that each is one at rest.
async fn connect(gateway: &Gateway, token: &str) -> Result<Vec<TcpStream>> {
    let mut streams = Vec::with_capacity(HELD as usize);
    let mut opening = JoinSet::new();
    for order in 0..HELD {
        let (address, asked) = (gateway.wire(), request("GET", order, token));
        opening.spawn(async move {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(asked.as_bytes()).await?;
            let mut said = [0; 1024];
            let read = stream.read(&mut said).await?;
            if !said.get(..read).is_some_and(|said| said.starts_with(b"HTTP/1.1 200")) {
                return Err(format!("not permitted: {}", String::from_utf8_lossy(&said)).into());
            }
            Result::Ok(stream)
        });
        if opening.len() >= AT_ONCE
            && let Some(opened) = opening.join_next().await
        {
            streams.push(opened??);
        }
    }
    while let Some(opened) = opening.join_next().await {
        streams.push(opened??);
    }
    Ok(streams)
}

/// Requests that wait, and how many of them have been answered.
struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    async fn are_answered(&self, count: usize) -> bool {
        let all = async {
            while self.0.load(Ordering::Relaxed) < count {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, all).await.is_ok()
    }
}

/// Sends a request that must wait on every connection, each for an order of its own.
async fn hold(streams: Vec<TcpStream>, token: &str) -> Result<Waiting> {
    let answered = Arc::new(AtomicUsize::new(0));
    for (order, mut stream) in (0..).zip(streams) {
        stream.write_all(request("PUT", order, token).as_bytes()).await?;
        let answered = Arc::clone(&answered);
        tokio::spawn(async move {
            let mut said = [0; 1024];
            if let Ok(read) = stream.read(&mut said).await
                && said.get(..read).is_some_and(|said| said.starts_with(b"HTTP/1.1 200"))
            {
                answered.fetch_add(1, Ordering::Relaxed);
            }
            // The connection stays open, as a client's would.
            let _ = stream.read(&mut said).await;
        });
    }
    Ok(Waiting(answered))
}

/// Waits until every request is in the ledger: three entries each, permitted before and held now.
async fn until_pending(gateway: &Gateway, person: &Person) -> Result<()> {
    let begun = Instant::now();
    while gateway.entries(person).await? < 3.0 * f64::from(HELD) {
        if begun.elapsed() > PATIENCE {
            return Err("the gateway takes too long to hold everything".into());
        }
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Votes for one request after the other, and waits for each to arrive at the target: the times from handing in the
/// vote, in milliseconds.
async fn vote(voter: &mut Person, arrivals: &mut mpsc::UnboundedReceiver<Instant>) -> Result<Vec<f64>> {
    let mut times = Vec::with_capacity(VOTES);
    for approval in pending(voter).await? {
        let ballot = voter.ballot(&approval, "approve").await?.success("ballot")?.json();
        let vote = voter.sign(&ballot, Strength::Session, None)?;
        let begun = Instant::now();
        let (cast, arrived) = tokio::join!(voter.cast(&approval, &vote), timeout(PATIENCE, arrivals.recv()));
        cast?.success("vote")?;
        let arrived = arrived?.ok_or("the target is gone")?;
        times.push(arrived.duration_since(begun).as_secs_f64() * 1e3);
    }
    Ok(times)
}

/// Ids of some of the approvals that wait.
async fn pending(voter: &Person) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut path = "approvals?status=pending&limit=100".to_owned();
    while found.len() < VOTES {
        let page = voter.read(&path).await?.success("approvals")?.json();
        let items = page.get("items").and_then(Value::as_array).ok_or("no approvals")?;
        let ids = items.iter().filter_map(|item| item.get("id")?.as_str());
        found.extend(ids.map(str::to_owned));
        let next = page.get("next").and_then(Value::as_str).ok_or("too few approvals wait")?;
        path = format!("approvals?status=pending&limit=100&before={next}");
    }
    found.truncate(VOTES);
    Ok(found)
}
