//! Copies in both directions, byte for byte, and results larger than any buffer.

use crate::{
    guarded::{kinds, runs},
    stage::{Stage, finished},
    strict::{login, message, said},
};
use tokio::io::AsyncWriteExt;

#[tokio::test(flavor = "multi_thread")]
async fn rows_go_in_and_come_out_byte_for_byte() {
    let stage = Stage::set().await;
    let row = |n: u32| format!("{n}\tcustomer \\N{n} ü\t{n}.25\n");
    let rows = (1000..9000).map(row).collect::<Vec<_>>().concat();
    let file = stage.folder.path().join("rows");
    std::fs::write(&file, &rows).unwrap();
    let mut command = stage.psql();
    command.args(["-c", &format!("\\copy orders from '{}'", file.display())]);
    let said = finished(command).await;
    assert_eq!((said.out.as_str(), said.err.as_str()), ("COPY 8000", ""));
    let results = stage.entries("execution.result").await;
    assert_eq!(stage.results(1).await, ["COPY 8000"], "{results:?}");
    let query = "copy (select * from orders order by id) to stdout";
    let said = stage.run(query).await;
    assert_eq!(said.out, stage.direct(query));
    // The server refuses in the middle of it; the session goes on.
    let mut command = stage.psql();
    command.args(["-c", &format!("\\copy orders from '{}'", file.display()), "-c", "select 7"]);
    let said = finished(command).await;
    assert!(said.err.contains("duplicate key") && said.out == "7", "{said:?}");
}

/// The most memory this process, and so the gateway in it, ever had, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap().to_owned();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_result_streams_with_bounded_memory() {
    let stage = Stage::set().await;
    stage.run("select 1").await;
    let before = resident();
    let sql = "select repeat('x', 1000000) from generate_series(1, 200)";
    let mut command = stage.psql();
    command.args(["-o", "/dev/null", "-v", "FETCH_COUNT=0", "-c", sql]);
    let said = finished(command).await;
    assert!(said.fine, "{said:?}");
    assert_eq!(stage.results(2).await[1], "SELECT 200");
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 << 10, "it took {grown} KiB more for a result of 200 MB");
}

/// `make soak` asks for a gibibyte.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_any_size_streams_with_bounded_memory() {
    let mib: u64 = std::env::var("COUNTERSIGN_RESULT_MIB").map_or(128, |mib| mib.parse().unwrap());
    let stage = Stage::set().await;
    stage.run("select 1").await;
    let before = resident();
    let mut command = stage.psql();
    let sql = format!("copy (select repeat('x', 1048575) from generate_series(1, {mib})) to stdout");
    command.args(["-c", &sql]).stdout(std::process::Stdio::null());
    let said = tokio::task::spawn_blocking(move || command.status().unwrap()).await.unwrap();
    assert!(said.success());
    assert_eq!(stage.results(2).await[1], format!("COPY {mib}"));
    let received = &stage.entries("execution.result").await[1]["bytes_received"];
    assert!(received.as_u64().unwrap() > mib << 20, "{received}");
    let grown = resident().saturating_sub(before);
    assert!(grown < 32 << 10, "it took {grown} KiB more for a result of {mib} MiB");
}

/// A client that does not read makes the server wait, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_holds_the_server_back() {
    let stage = Stage::set().await;
    let (mut stream, _) = login(&stage, &[]).await;
    let before = resident();
    let sql = "select repeat('x', 1000000) from generate_series(1, 1000)\0";
    stream.write_all(&message(b'Q', sql.as_bytes())).await.unwrap();
    let waits = "select count(*) from pg_stat_activity where usename = 'app' and wait_event = 'ClientWrite'";
    let mut seen = 0;
    while seen < 5 {
        seen = if stage.direct(waits) == "1" { seen + 1 } else { 0 };
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB for what nobody reads");
    // Another session goes on meanwhile, and this one is cancelled when its client leaves.
    assert_eq!(stage.run("select 7").await.out, "7");
    drop(stream);
    assert!(stage.results(2).await.iter().any(|status| status.contains("57014")));
}

/// How a client that copies leaves: `begun` goes up, and then nothing more.
async fn leaves_in_a_copy(stage: &Stage, begun: &[u8]) {
    let (mut stream, _) = login(stage, &[]).await;
    stream.write_all(begun).await.unwrap();
    let copying = "select count(*) from pg_stat_activity where usename = 'app' and wait_event = 'ClientRead' and query like 'copy orders%' and state = 'active'";
    stage.cluster.comes_to("shop", copying, "1").await.unwrap();
    drop(stream);
    let left = "select count(*) from pg_stat_activity where usename = 'app' and query like 'copy orders%'";
    stage.cluster.comes_to("shop", left, "0").await.unwrap();
    assert_eq!(stage.direct("select count(*) from orders"), "100");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_killed_in_a_copy_leaves_no_transaction_behind() {
    let stage = Stage::set().await;
    let copy = b"copy orders from stdin\0";
    let row = message(b'd', b"1000\tx\t1\n");
    let (cut, _) = row.split_at(9);
    // Between two messages, and in the middle of one.
    leaves_in_a_copy(&stage, &[message(b'Q', copy), row.clone()].concat()).await;
    leaves_in_a_copy(&stage, &[message(b'Q', copy), row.clone(), cut.to_vec()].concat()).await;
    // A pipeline whose copy is whole and which nobody asked to sum up: the server would wait for that.
    let (mut stream, _) = login(&stage, &[]).await;
    let pipeline = [runs("copy orders from stdin"), message(b'S', b"")].concat();
    stream.write_all(&[pipeline, row, message(b'c', b"")].concat()).await.unwrap();
    let copied = "select count(*) from pg_stat_activity where usename = 'app' and state in ('active', 'idle in transaction') and query like 'copy orders%'";
    stage.cluster.comes_to("shop", copied, "1").await.unwrap();
    drop(stream);
    let left = "select count(*) from pg_stat_activity where usename = 'app' and query like 'copy orders%'";
    stage.cluster.comes_to("shop", left, "0").await.unwrap();
    assert_eq!(stage.direct("select count(*) from orders"), "100");
}

/// A `Sync` in a copy says nothing to a server that copies, and to one that does not it is one more to answer.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_behind_a_copy_that_failed_shifts_no_answer() {
    let stage = Stage::set().await;
    let (mut stream, _) = login(&stage, &[]).await;
    let (bad, sync) = (message(b'd', b"no number\n"), message(b'S', b""));
    let all = [message(b'Q', b"copy orders from stdin\0"), bad, sync.clone(), sync].concat();
    stream.write_all(&all).await.unwrap();
    let told = kinds(&said(&mut stream).await);
    assert!(told.starts_with("GE22P02Z"), "{told}");
    for (sql, row) in [("select 41 + 1", "42"), ("select 6 + 1", "7")] {
        stream.write_all(&message(b'Q', format!("{sql}\0").as_bytes())).await.unwrap();
        let mut answer = Vec::new();
        while !kinds(&answer).contains('C') {
            answer.extend(said(&mut stream).await);
        }
        assert!(String::from_utf8_lossy(&answer).contains(row), "{sql}: {answer:?}");
    }
    assert_eq!(stage.results(3).await[1..], ["SELECT 1", "SELECT 1"]);
}

/// An error longer than anything that is read whole passes like a row.
#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_any_length_passes() {
    let stage = Stage::set().await;
    let mut command = stage.psql();
    command.args(["-c", "select repeat('x', 5000000)::int", "-c", "select 7"]);
    let said = finished(command).await;
    assert!(said.err.contains("22P02") && said.err.len() > 5_000_000 && said.out == "7");
    assert_eq!(stage.results(2).await, ["error 22P02", "SELECT 1"]);
}

/// A driver that copies by the extended protocol: `Sync` behind the `Execute`, the rows, and another `Sync`.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_fails_in_a_pipeline_leaves_its_session_as_it_was() {
    let stage = Stage::set().await;
    stage.direct(
        "create function no() returns trigger language plpgsql as $$ begin raise 'not here'; end $$; \
         set role app; create table closed (x int); reset role; \
         create trigger no before insert on closed execute function no()",
    );
    let (mut stream, _) = login(&stage, &[]).await;
    let sync = message(b'S', b"");
    let begins = |sql: &str| [runs(sql), sync.clone()].concat();
    let copy = "copy orders from stdin";
    let (row, bad) = (message(b'd', b"1000\tx\t1\n"), message(b'd', b"no number\n"));
    let ends = [message(b'c', b""), sync.clone()].concat();
    for (sql, rows, told) in [
        // In the middle of it; before the first row was read; before it began, when no rows are sent either.
        (copy, Some(bad), "12GE22P02ZI"),
        ("copy closed from stdin", Some(row.clone()), "12GEP0001ZI"),
        ("copy nowhere from stdin", None, "1E42P01ZI"),
        ("copy orders (nothing) from stdin", None, "12E42703ZI"),
        (copy, Some(row.clone()), "12GCZI"),
        (copy, Some(row.clone()), "12GE23505ZI"),
    ] {
        stream.write_all(&begins(sql)).await.unwrap();
        if let Some(rows) = rows {
            stream.write_all(&[rows, ends.clone()].concat()).await.unwrap();
        }
        let answer = kinds(&said(&mut stream).await);
        // The server finds out about the table when it plans, or when it runs.
        assert_eq!(answer.replace("1E42P01", "12E42P01"), told.replace("1E42P01", "12E42P01"), "{sql}");
        // And what is asked next is answered next.
        stream.write_all(&[runs("select count(*) from orders"), sync.clone()].concat()).await.unwrap();
        assert_eq!(kinds(&said(&mut stream).await), "12DCZI", "{sql}");
    }
    assert_eq!(stage.direct("select count(*) from orders"), "101");
    // Rows that come before the server was asked for the copy are not dropped in silence.
    let early = [runs(copy), row.clone(), ends].concat();
    stream.write_all(&early).await.unwrap();
    assert_eq!(kinds(&said(&mut stream).await), "EZC002ZI");
    // Given up by the client, in a transaction of its own.
    stream.write_all(&message(b'Q', b"begin\0")).await.unwrap();
    said(&mut stream).await;
    let gives_up = [begins(copy), row, message(b'f', b"enough\0"), sync].concat();
    stream.write_all(&gives_up).await.unwrap();
    assert_eq!(kinds(&said(&mut stream).await), "12GE57014ZE");
    stream.write_all(&message(b'Q', b"rollback\0")).await.unwrap();
    assert_eq!(kinds(&said(&mut stream).await), "CZI");
}
