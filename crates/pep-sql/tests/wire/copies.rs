//! Copies in both directions, byte for byte, and results larger than any buffer.

use crate::stage::{Stage, finished};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_large_result_streams_with_bounded_memory() {
    let stage = Stage::set().await;
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
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
