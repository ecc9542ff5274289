//! Reads recorded a moment afterwards, where policy says so: those that the server itself holds to reading, and nothing else.

use crate::stage::{POLICY, Stage, finished};

#[tokio::test(flavor = "multi_thread")]
async fn only_what_the_server_holds_to_reading_is_recorded_afterwards() {
    let policy = POLICY.replace("@id(\"agents\")", "@id(\"agents\") @record(\"deferred\")");
    let stage = Stage::under(&policy, |_| {}).await;
    let mut command = stage.psql();
    for sql in [
        "select id from orders where id = 7",
        "update orders set total = 2 where id = 7",
        "begin",
        "select total from orders where id = 7",
        "commit",
        // All rows: an export.
        "select * from orders",
        "select id from orders where id = 8",
        // In a transaction that has failed, no guard of ours stands.
        "begin",
        "update orders set total = 1 / 0 where id = 7",
        "select id from orders where id = 9",
        "rollback",
    ] {
        command.args(["-c", sql]);
    }
    let said = finished(command).await;
    assert!(
        said.out.starts_with("7\nUPDATE 1\nBEGIN\n2") && said.out.ends_with("8\nBEGIN\nROLLBACK"),
        "{said:?}"
    );
    assert_eq!(stage.results(11).await.len(), 11);
    let authorized = stage.entries("execution.authorized").await;
    let mut recorded: Vec<(&str, &str)> = authorized
        .iter()
        .map(|data| {
            let recording = data["recording"].as_str().unwrap_or("first");
            (data["asked"]["operation"].as_str().unwrap(), recording)
        })
        .collect();
    recorded.sort_unstable();
    assert_eq!(
        recorded,
        [
            ("sql.export", "first"),
            ("sql.read", "deferred"),
            ("sql.read", "deferred"),
            ("sql.read", "deferred"),
            ("sql.read", "first"),
            ("sql.txn", "first"),
            ("sql.txn", "first"),
            ("sql.txn", "first"),
            ("sql.txn", "first"),
            ("sql.update.bounded", "first"),
            ("sql.update.bounded", "first"),
        ]
    );
}
