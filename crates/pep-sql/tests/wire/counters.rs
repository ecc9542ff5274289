//! Many small steps: what a session has done so far is something policy can look at.

use crate::{
    guarded::kinds,
    stage::{POLICY, Said, Stage, finished},
    strict::{login, message, said},
};
use tokio::io::AsyncWriteExt as _;

async fn session(stage: &Stage, statements: &[&str]) -> Said {
    let mut command = stage.psql();
    for sql in statements {
        command.args(["-c", sql]);
    }
    finished(command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_read_or_wrote_or_was_refused_too_often_gets_no_further() {
    let policy = POLICY.to_owned()
        + r#"@id("read-enough") @reason("this session has read enough") forbid (principal, action in Action::"read", resource)
             when { context has sql && context.sql.session_rows_read >= 50 };
             @id("wrote-enough") @reason("this session has written enough") forbid (principal, action in Action::"write", resource)
             when { context has sql && context.sql.session_rows_written >= 4 };
             @id("refused-enough") @reason("this session was refused too often") forbid (principal, action, resource)
             when { context has sql && context.sql.session_refusals >= 3 };"#;
    let stage = Stage::under(&policy, |_| {}).await;
    let slice = |from: u32| format!("select id, customer from orders where id > {from} order by id limit 20");
    let (first, second, third) = (slice(0), slice(20), slice(40));
    let said = session(&stage, &[&first, &second, &third, "select id from orders where id = 7"]).await;
    assert_eq!(said.out.lines().count(), 60, "{said:?}");
    assert!(said.err.contains("ZC003") && said.err.contains("this session has read enough"), "{said:?}");
    // Rows that a write returns count as read, those of a cursor too.
    let cursor = ["begin", "declare c cursor for select * from orders", "fetch 50 from c", "fetch 1 from c"];
    let said = session(&stage, &cursor).await;
    assert!(said.err.contains("this session has read enough"), "{said:?}");
    // And those that are copied out.
    let copied = ["copy (select id from orders limit 50) to stdout", "select id from orders where id = 7"];
    let said = session(&stage, &copied).await;
    assert_eq!(said.out.lines().count(), 50, "{said:?}");
    assert!(said.err.contains("this session has read enough"), "{said:?}");
    let update = "update orders set total = 1 where id in (1, 2)";
    let said = session(&stage, &[update, update, update]).await;
    assert!(
        said.out.starts_with("UPDATE 2\nUPDATE 2") && said.err.contains("has written enough"),
        "{said:?}"
    );
    let wall = "create role evil";
    let said = session(&stage, &[wall, wall, wall, "select 1"]).await;
    assert!(said.err.contains("this session was refused too often") && said.out.is_empty(), "{said:?}");
    // Another session begins anew.
    assert_eq!(stage.run("select id from orders where id = 7").await.out, "7");
}

/// A driver that fetches by the portion asks for each, and each counts.
#[tokio::test(flavor = "multi_thread")]
async fn every_portion_of_a_portal_is_recorded_and_counted() {
    let policy = POLICY.to_owned()
        + r#"@id("read-enough") @reason("this session has read enough") forbid (principal, action in Action::"sql.read", resource)
             when { context has sql && context.sql.session_rows_read >= 60 };"#;
    let stage = Stage::under(&policy, |_| {}).await;
    let (mut stream, _) = login(&stage, &[]).await;
    let fetch = |rows: u8| message(b'E', &[b"p\0\0\0\0", &[rows][..]].concat());
    let opens = [
        message(b'P', b"\0select id from orders order by id limit 90\0\0\0"),
        message(b'B', b"p\0\0\0\0\0\0\0\0"),
    ];
    let (opens, sync) = (opens.concat(), message(b'S', b""));
    let mut ask = async |bytes: &[u8]| {
        stream.write_all(bytes).await.unwrap();
        kinds(&said(&mut stream).await)
    };
    assert_eq!(ask(&message(b'Q', b"begin\0")).await, "CZT");
    // Two of one portal at once, then what is left of it.
    let told = ask(&[opens.clone(), fetch(20), fetch(25), sync.clone()].concat()).await;
    assert_eq!(told, format!("12{}s{}sZT", "D".repeat(20), "D".repeat(25)));
    let told = ask(&[fetch(15), sync.clone()].concat()).await;
    assert_eq!(told, format!("{}sZT", "D".repeat(15)));
    // 60 rows by now.
    let told = ask(&[fetch(0), sync.clone()].concat()).await;
    assert_eq!(told, "EZC003ZE");
    let told = ask(&message(b'Q', b"rollback\0")).await;
    assert_eq!(told, "CZI");
    let want =
        ["BEGIN", "suspended after 20 rows; suspended after 25 rows", "suspended after 15 rows", "ROLLBACK"];
    assert_eq!(stage.results(4).await, want);
    // The last portion ends the statement in the server's own words.
    let (mut stream, _) = login(&stage, &[]).await;
    stream.write_all(&[opens, fetch(50), fetch(0), sync].concat()).await.unwrap();
    said(&mut stream).await;
    assert_eq!(stage.results(5).await[4], "suspended after 50 rows; SELECT 40");
}
