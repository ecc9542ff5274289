//! Whatever order of messages a client sends, and wherever they are cut: only what was authorized runs. The server's own
//! log of what it executed is the witness.

use crate::{
    stage::Stage,
    strict::{login, message, said},
};
use countersign_testkit::postgres::Options;
use proptest::{
    prelude::*,
    sample::{Index, select},
    strategy::ValueTree,
    test_runner::TestRunner,
};
use tokio::io::AsyncWriteExt;

const SEQUENCES: usize = 120;

/// A wall refuses it, and it would be seen afterwards.
const REFUSED: &str = "create role evil";
/// Permitted; each run leaves a row.
const PERMITTED: &str = "insert into audit (what) values ('ran')";

/// One message of a client: for names that other messages use as well, or anything at all.
fn one() -> impl Strategy<Value = Vec<u8>> {
    let sql = || {
        select(vec![
            REFUSED,
            PERMITTED,
            "select 1",
            "insert into audit (what) values ('ran'); create role evil",
        ])
    };
    let name = || select(vec!["", "a", "b"]);
    let text =
        |parts: &[&str]| parts.iter().flat_map(|part| [part.as_bytes(), b"\0"].concat()).collect::<Vec<u8>>();
    prop_oneof![
        6 => sql().prop_map(move |sql| message(b'Q', &text(&[sql]))),
        6 => (name(), sql()).prop_map(move |(name, sql)| message(b'P', &[text(&[name, sql]), vec![0, 0]].concat())),
        6 => (name(), name()).prop_map(move |(portal, name)| message(b'B', &[text(&[portal, name]), vec![0; 6]].concat())),
        6 => (name(), 0..2_u8).prop_map(move |(portal, rows)| message(b'E', &[text(&[portal]), vec![0, 0, 0, rows]].concat())),
        1 => (select(b"SP".to_vec()), name()).prop_map(move |(kind, name)| message(b'D', &[vec![kind], text(&[name])].concat())),
        1 => (select(b"SP".to_vec()), name()).prop_map(move |(kind, name)| message(b'C', &[vec![kind], text(&[name])].concat())),
        2 => Just(message(b'S', b"")),
        1 => Just(message(b'H', b"")),
        1 => (prop_oneof![select(b"cdfF".to_vec()), any::<u8>()], proptest::collection::vec(any::<u8>(), 0..12))
            .prop_map(|(tag, body)| message(tag, &body)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_order_of_messages_runs_what_was_not_authorized() {
    let settings = vec!["log_statement = 'all'".to_owned()];
    let stage = Stage::with(&Options { settings, ..Options::default() }, |_| {}).await;
    let sequences =
        (proptest::collection::vec(one(), 1..14), proptest::collection::vec(any::<Index>(), 0..4));
    let mut runner = TestRunner::deterministic();
    for _ in 0..SEQUENCES {
        let (messages, cuts) = sequences.new_tree(&mut runner).unwrap().current();
        let (mut stream, _) = login(&stage, &[]).await;
        let bytes = messages.concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let mut from = 0;
        for to in cuts.into_iter().chain([bytes.len()]) {
            // The gateway may have closed already.
            let _ = stream.write_all(&bytes[from..to]).await;
            let _ = stream.flush().await;
            from = to;
        }
        let _ = stream.write_all(&[message(b'S', b""), message(b'X', b"")].concat()).await;
        while !said(&mut stream).await.is_empty() {}
    }
    // Every one that was authorized has ended, one way or another.
    let (mut authorized, mut ended) = (1, 0);
    while ended < authorized {
        authorized = stage.entries("execution.authorized").await.len();
        ended = 0;
        for kind in ["execution.result", "execution.outcome_unknown", "execution.released"] {
            ended += stage.entries(kind).await.len();
        }
    }
    let lost = stage.entries("execution.outcome_unknown").await;
    assert!(lost.is_empty(), "{lost:?}");
    let log = stage.cluster.log();
    let executed = |sql: &str| {
        let ran = log.lines().filter(|line| line.contains("execute ") || line.contains("statement: "));
        ran.filter(|line| line.contains(sql)).count()
    };
    assert_eq!(executed(REFUSED), 0, "{log}");
    assert_eq!(stage.direct("select count(*) from pg_roles where rolname = 'evil'"), "0");
    let rows: usize = stage.direct("select count(*) from audit").parse().unwrap();
    assert!(rows > 10, "only {rows} permitted statements ran");
    assert!(rows <= authorized, "{rows} rows of {authorized} authorized actions");
}

/// Bytes of any kind: whole messages, the beginnings of some, lengths that lie, and none of the protocol at all.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let raw = proptest::collection::vec(any::<u8>(), 0..64);
    let lying = (any::<u8>(), any::<i32>(), proptest::collection::vec(any::<u8>(), 0..32))
        .prop_map(|(tag, length, body)| [vec![tag], length.to_be_bytes().to_vec(), body].concat());
    let cut =
        (one(), any::<Index>()).prop_map(|(message, at)| message[..at.index(message.len() + 1)].to_vec());
    proptest::collection::vec(prop_oneof![3 => one(), 1 => raw, 1 => lying, 1 => cut], 1..8)
        .prop_map(|parts| parts.concat())
}

/// Before a session begins, and in one.
#[tokio::test(flavor = "multi_thread")]
async fn no_stream_of_bytes_breaks_the_door_or_gets_past_it() {
    let panicked = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = std::sync::Arc::clone(&panicked);
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        seen.store(true, std::sync::atomic::Ordering::SeqCst);
        usual(info);
    }));
    let settings = vec!["log_statement = 'all'".to_owned()];
    let stage = Stage::with(&Options { settings, ..Options::default() }, |_| {}).await;
    let mut runner = TestRunner::deterministic();
    let strategy = (any::<bool>(), bytes());
    for _ in 0..SEQUENCES {
        let (begun, bytes) = strategy.new_tree(&mut runner).unwrap().current();
        let mut stream = if begun {
            login(&stage, &[]).await.0
        } else {
            tokio::net::TcpStream::connect(stage.addr).await.unwrap()
        };
        // The gateway may have closed already.
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        while !said(&mut stream).await.is_empty() {}
    }
    assert!(!panicked.load(std::sync::atomic::Ordering::SeqCst), "the gateway panicked");
    assert_eq!(stage.direct("select count(*) from pg_roles where rolname = 'evil'"), "0");
    let rows: usize = stage.direct("select count(*) from audit").parse().unwrap();
    let authorized = stage.entries("execution.authorized").await.len();
    assert!(rows <= authorized && authorized > 0, "{rows} rows of {authorized} authorized actions");
}
