//! Servers of every release that is supported, beside the system's own which all other tests use: the same core of what
//! a session is good for.

use crate::{
    clients::{drivers, psycopg},
    stage::{Stage, finished},
};
use countersign_pep_sql::understand::knows_setting;
use countersign_testkit::pgclient::{PgClient, sqlstate};
use countersign_testkit::postgres::Options;
use std::{fmt::Write as _, fs};

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_14() {
    core(14).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_16() {
    core(16).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_17() {
    core(17).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_18() {
    core(18).await;
}

async fn core(release: u32) {
    let bin = drivers().join(format!("servers/{release}/bin"));
    let options = Options { bin: Some(fs::canonicalize(bin).unwrap()), ..Options::default() };
    let trusting = |section: &mut serde_json::Value| {
        section["trusted_functions"] = serde_json::json!(["public.sneaky"]);
    };
    let stage = Stage::with(&options, trusting).await;
    let version = stage.direct("show server_version_num");
    assert_eq!(version.parse::<u32>().unwrap() / 10_000, release);

    // Whatever a session could set is on one of our lists.
    let settings = stage.direct("select lower(name) from pg_settings where context in ('user', 'superuser')");
    let unknown: Vec<&str> = settings.lines().filter(|name| !knows_setting(name)).collect();
    assert!(unknown.is_empty() && settings.lines().count() > 150, "{unknown:?}");

    let said = stage.run("select id, customer from orders where id <= 2 order by id").await;
    assert_eq!((said.out.as_str(), said.err.as_str()), ("1|customer 1\n2|customer 2", ""));
    for sql in ["select sneaky()", "select 1; select sneaky()"] {
        let said = stage.run(sql).await;
        assert!(said.err.contains("25006"), "{said:?}");
    }
    let mut command = stage.psql();
    for sql in ["begin", "insert into orders values (200, 'new', 1)", "select sneaky()", "commit"] {
        command.args(["-c", sql]);
    }
    let said = finished(command).await;
    assert!(said.err.contains("25006"), "{said:?}");
    assert_eq!(stage.direct("select count(*) from audit"), "0");
    assert_eq!(stage.direct("select count(*) from orders"), "100");

    let asked = stage.start("delete from orders where id <= 14");
    let id = stage.held().await;
    stage.approve(1, id).await;
    stage.approve(2, id).await;
    assert_eq!(asked.await.unwrap().out, "DELETE 14");
    assert_eq!(stage.direct("select count(*) from orders"), "86");
    let said = stage.run("create role evil superuser").await;
    assert!(said.err.contains("ZC003"), "{said:?}");

    portions_and_cancels(&stage).await;

    let (direct, through) = psycopg(&stage).await;
    assert!(direct.fine && through.fine, "{direct:?} {through:?}");
    assert_eq!(through.out, direct.out);

    let mut rows = String::new();
    for n in 1000..3000 {
        writeln!(rows, "{n}\tcustomer {n} ü\t{n}.25").unwrap();
    }
    let file = stage.folder.path().join("rows");
    fs::write(&file, rows).unwrap();
    let mut command = stage.psql();
    command.args(["-c", &format!("\\copy orders from '{}'", file.display())]);
    assert_eq!(finished(command).await.out, "COPY 2000");
    let query = "copy (select * from orders order by id) to stdout";
    assert_eq!(stage.run(query).await.out, stage.direct(query));
}

/// Cursors, notifications, and a cancel request, in one session.
async fn portions_and_cancels(stage: &Stage) {
    let mut client = PgClient::connect(stage.addr, "bot", "bot-token", "shop").await.unwrap();
    let rows = |messages: &[(u8, Vec<u8>)]| messages.iter().filter(|(tag, _)| *tag == b'D').count();
    client.query("begin").await.unwrap();
    client.query("declare c cursor for select id from orders order by id").await.unwrap();
    for (sql, want) in [("fetch 50 from c", 50), ("fetch 50 from c", 36), ("close c", 0)] {
        assert_eq!(rows(&client.query(sql).await.unwrap()), want, "{sql}");
    }
    client.query("commit").await.unwrap();
    client.query("listen jobs").await.unwrap();
    stage.direct("notify jobs, 'one'");
    let (tag, body) = client.message().await.unwrap();
    assert!(tag == b'A' && body.ends_with(b"jobs\0one\0"), "{tag} {body:?}");
    client.ask("select count(*) from orders a, orders b, orders c, orders d, orders e").await.unwrap();
    let runs = "select count(*) from pg_stat_activity where query like '%orders e' and state = 'active' and usename = 'app'";
    stage.cluster.comes_to("shop", runs, "1").await.unwrap();
    client.key().cancel().await.unwrap();
    assert_eq!(sqlstate(&client.until_ready().await.unwrap()).as_deref(), Some("57014"));
    assert_eq!(rows(&client.query("select 7").await.unwrap()), 1);
}
