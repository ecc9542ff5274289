//! Many small steps: what a session has done so far is something policy can look at.

use crate::stage::{POLICY, Said, Stage, finished};

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
