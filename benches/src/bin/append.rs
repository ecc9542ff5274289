//! How fast entries become durable: the whole way from a draft to a signed receipt, against the bare database.
//!
//! Prints one JSON object. Rates are per second, times in microseconds; compare the ratios, since disks differ.

use countersign_benches::{
    Result,
    report::{Figure, Goal, publish},
};
use countersign_core::{
    ActionId, AgentId, CredentialId, Digest, EntryId, EnvironmentName, GatewayId, PolicyId, TargetName,
    Timestamp, approval::Outcome,
};
use countersign_engine::port::store::{Commit, EntryRow, Execution, Store};
use countersign_ledger::{
    EntryDraft, LogKeys, PrivateField, Sealing,
    event::{Actor, Asked, Authorization, Event, Recording, ResultFacts},
    seal,
};
use countersign_store::{SqliteOptions, SqliteStore};
use rusqlite::{Connection, params};
use serde_json::{Value, json};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

const ORIGIN: &str = "bench.example/log";
const SPAN: Duration = Duration::from_secs(4);

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let folder = tempfile::tempdir_in(folder)?;
    let raw = raw_commits(&folder.path().join("raw.db"))?;
    let sealing = sealing_alone()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let one = runtime.block_on(append(&folder.path().join("one"), 1))?;
    let many = runtime.block_on(append(&folder.path().join("many"), 64))?;
    let ratio = rate(&one) / rate(&raw);
    let report = json!({
        "raw_sqlite_full_1_row": raw, "seal": sealing, "append_1_writer": one, "append_64_writers": many,
        "append_1_writer_to_raw": ratio,
    });
    let figures = [
        Figure::new(
            "ledger append, one writer: rate beside bare SQLite (FULL, one row)",
            ratio,
            "",
            Goal::AtLeast(0.2),
        ),
        Figure::new("ledger append, 64 writers", rate(&many), "/s", Goal::AtLeast(20_000.0)),
    ];
    publish("append", report, &figures)
}

fn rate(figures: &Value) -> f64 {
    figures.get("per_second").and_then(Value::as_f64).unwrap_or(f64::NAN)
}

/// One row of 300 bytes in each durable commit.
fn raw_commits(path: &Path) -> Result<Value> {
    let connection = Connection::open(path)?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE row (id INTEGER PRIMARY KEY, bytes BLOB)",
    )?;
    let mut statement = connection.prepare("INSERT INTO row (bytes) VALUES (?1)")?;
    let (begin, mut times) = (Instant::now(), Vec::new());
    while begin.elapsed() < SPAN {
        let start = Instant::now();
        statement.execute(params![[7_u8; 300]])?;
        times.push(start.elapsed());
    }
    Ok(figures(times, begin.elapsed()))
}

/// What a gateway does before it hands an entry in.
fn sealing_alone() -> Result<Value> {
    let (begin, mut times) = (Instant::now(), Vec::new());
    for n in 0..100_000 {
        let start = Instant::now();
        std::hint::black_box(row(n)?);
        times.push(start.elapsed());
    }
    Ok(figures(times, begin.elapsed()))
}

async fn append(folder: &Path, writers: u64) -> Result<Value> {
    std::fs::create_dir(folder)?;
    let keys = Arc::new(LogKeys::open(folder, ORIGIN)?);
    let store =
        Arc::new(SqliteStore::open(&SqliteOptions::new(folder.join("state.db"), folder.join("mark"), keys))?);
    let next = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|_| {
            let (writer, next) = (store.writer().clone(), Arc::clone(&next));
            tokio::spawn(async move {
                let mut times = Vec::new();
                while begin.elapsed() < SPAN {
                    let start = Instant::now();
                    let entries = vec![row(next.fetch_add(1, Ordering::Relaxed))?];
                    writer.commit(Commit { changes: Vec::new(), entries }).await?;
                    times.push(start.elapsed());
                }
                Result::Ok(times)
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await??);
    }
    let took = begin.elapsed();
    let checking = Instant::now();
    let audited = store.verify_all().await?;
    let mut figures = figures(times, took);
    if let Some(figures) = figures.as_object_mut() {
        let batches = u32::try_from(audited.batches)?;
        let entries = u32::try_from(audited.entries)?;
        figures.insert("entries_per_batch".into(), json!(f64::from(entries) / f64::from(batches)));
        figures.insert(
            "verified_per_second".into(),
            json!((f64::from(entries) / checking.elapsed().as_secs_f64()).round()),
        );
    }
    Ok(figures)
}

fn figures(mut times: Vec<Duration>, took: Duration) -> Value {
    times.sort_unstable();
    let at = |percent: usize| {
        let place = times.len().saturating_sub(1) * percent / 100;
        times.get(place).map_or(0, Duration::as_micros)
    };
    let count = u32::try_from(times.len()).unwrap_or(u32::MAX);
    json!({
        "per_second": (f64::from(count) / took.as_secs_f64()).round(),
        "p50_us": u64::try_from(at(50)).unwrap_or(u64::MAX),
        "p99_us": u64::try_from(at(99)).unwrap_or(u64::MAX),
    })
}

/// The two entries of a proxied request, in turn.
fn row(n: u64) -> Result<EntryRow> {
    let action = ActionId::from_parts(1_800_000_000_000 + n / 2 * 2, u128::from(n / 2));
    let opens = n.is_multiple_of(2);
    let (event, execution) =
        if opens { (authorized()?, Execution::Opens) } else { (result(), Execution::Closes) };
    let private = if opens {
        vec![
            PrivateField { path: "operation".into(), value: b"GET /api/v1/orders/4711".to_vec().into() },
            PrivateField {
                path: "sentence".into(),
                value: b"Read the order 4711 in the shop's database".to_vec().into(),
            },
        ]
    } else {
        Vec::new()
    };
    let agent = AgentId::from_parts(1, 2);
    let draft = EntryDraft {
        id: EntryId::from_parts(1_800_000_000_000 + n, u128::from(n)),
        at: Timestamp(1_800_000_000_000_000 + i64::try_from(n)?),
        action: Some(action),
        parent: None,
        actor: Actor::Agent { id: agent, credential: CredentialId::from_parts(1, 3) },
        event,
        private,
    };
    let sealing = Sealing { origin: ORIGIN.into(), gateway: GatewayId::from_parts(1, 1) };
    let mut salts = 0_u64;
    let sealed = seal(draft, &sealing, &mut |salt| {
        salts += 1;
        *salt = Digest::of(&(n * 8 + salts).to_be_bytes()).0;
    })?;
    let target = opens.then(|| "shop-api".to_owned());
    Ok(EntryRow { sealed, actor: agent.to_string(), target, execution })
}

fn authorized() -> Result<Event> {
    Ok(Event::ExecutionAuthorized(Authorization {
        asked: Asked {
            class: "read".into(),
            digest: Digest([9; 32]),
            environment: EnvironmentName::new("prod")?,
            on_behalf_of: Vec::new(),
            operation: "GET /api/v1/orders/{id}".into(),
            target: TargetName::new("shop-api")?,
            wire: "http".into(),
        },
        attempt: 1,
        epoch: 1,
        gateway: GatewayId::from_parts(1, 1),
        approval: None,
        bundle: Digest([8; 32]),
        policies: [PolicyId::new("read-orders")?].into(),
        body_bound: true,
        recording: Recording::First,
    }))
}

fn result() -> Event {
    Event::ExecutionResult(ResultFacts {
        attempt: 1,
        outcome: Outcome::Done,
        status: "200".into(),
        duration_us: 1234,
        bytes_sent: 321,
        bytes_received: 4567,
        ended_by: None,
        kept: None,
    })
}
