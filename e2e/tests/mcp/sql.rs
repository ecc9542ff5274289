//! A tool that runs SQL in a real database: its calls are decided on by what their texts do, not by the tool's name.

use super::Stage;
use crate::stage::SECRET;
use countersign_testkit::postgres::{Options, Postgres};
use serde_json::json;

async fn cluster() -> Postgres {
    let cluster = Postgres::start(&Options::default()).await.unwrap();
    for role in ["app", "reader"] {
        cluster.run("postgres", &format!("create role {role} login password '{SECRET}'")).unwrap();
    }
    cluster.run("postgres", "create database shop owner app").unwrap();
    let tables = "set role app; create table orders (id int primary key); create table customers (id int, email text); \
        insert into orders select generate_series(1, 100); insert into customers values (1, 'ana@example.com'); \
        grant select on orders to reader; \
        create function tidy() returns int language sql as 'delete from orders where id < 50 returning 1'; \
        create view kept as select * from orders";
    cluster.run("shop", tables).unwrap();
    cluster
}

fn count(cluster: &Postgres) -> String {
    cluster.run("shop", "select count(*) from orders").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tools_sql_is_decided_on_by_what_it_does() {
    let cluster = cluster().await;
    let mut stage = Stage::open_sql(&cluster).await;
    let sql = |query: &str| json!({"query": query});
    assert_eq!(stage.call("run_sql", &sql("select count(*) from orders")).await, (false, "100".into()));

    // What is a read by its looks alone does not run, and neither does what leaves the tool's session changed.
    for (query, why) in [
        ("select tidy()", "nobody can say what it does"),
        ("do $$ begin delete from orders; end $$", "nobody can say what it does"),
        ("select * from nowhere", "nobody can say what it does"),
        ("not even sql", "nobody can say what it does"),
        ("select email from customers", "personal data leave no tool"),
        ("set search_path = elsewhere", "the text changes its database session"),
        ("begin; delete from orders; commit", "the text changes its database session"),
        ("create temporary table orders (id int)", "the text changes its database session"),
    ] {
        let (failed, said) = stage.call("run_sql", &sql(query)).await;
        assert!(failed && said.contains(why), "{query}: {said}");
    }
    let (failed, said) = stage.call("run_sql", &json!({"query": ["select 1"]})).await;
    assert!(failed && said.contains("What to do"), "{said}");
    // Another argument could say where the text goes.
    let elsewhere = json!({"query": "select 1", "database": "elsewhere"});
    let (failed, said) = stage.call("run_sql", &elsewhere).await;
    assert!(failed && said.contains("by its `query` alone"), "{said}");
    let limited = json!({"query": "select count(*) from orders", "seconds": 5});
    assert_eq!(stage.call("run_sql", &limited).await, (false, "100".into()));
    assert_eq!((count(&cluster).as_str(), stage.ran("run_sql")), ("100", 2));

    // Rows go away only with somebody's word, however the text is dressed up.
    let dressed = "select 1 /* harmless */; delete/**/from only orders where id <= 14";
    let steps = json!([{"do": "call", "tool": "run_sql", "arguments": sql(dressed)}]);
    let agent = stage.agent(&stage.token, "legacy", &steps);
    let id = stage.approval("pending").await;
    let shown = stage.command(&["approvals", "show", &id]).await;
    let sentence = shown.pointer("/sentence").and_then(serde_json::Value::as_str).unwrap();
    assert!(
        sentence.contains("Delete 14 rows from `public.orders` in orders (prod).")
            && sentence.ends_with("Asked of the tool “run_sql” on shop."),
        "{sentence}"
    );
    stage.vote(&id, "approve", None).await;
    let said = agent.ended().await;
    assert_eq!(said.last().unwrap()["error"], json!(false), "{said:?}");
    assert_eq!((count(&cluster).as_str(), stage.ran("run_sql")), ("86", 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tools_sql_would_do_is_looked_at_again_before_it_runs() {
    let cluster = cluster().await;
    let mut stage = Stage::open_sql(&cluster).await;
    let steps =
        json!([{"do": "call", "tool": "run_sql", "arguments": {"query": "delete from kept where id <= 14"}}]);
    let agent = stage.agent(&stage.token, "legacy", &steps);
    let id = stage.approval("pending").await;
    // The view comes to stand for something else while people think: their word was for what it stood for.
    cluster
        .run("shop", "set role app; create or replace view kept as select * from orders where id > 0")
        .unwrap();
    stage.vote(&id, "approve", None).await;
    let again = stage.approval("pending").await;
    assert_eq!((again.as_str(), count(&cluster).as_str()), (id.as_str(), "100"));
    stage.vote(&again, "approve", None).await;
    let said = agent.ended().await;
    assert_eq!(said.last().unwrap()["error"], json!(false), "{said:?}");
    assert_eq!(count(&cluster), "86");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_is_listed_for_whom_some_text_could_be_permitted() {
    let cluster = cluster().await;
    let stage = Stage::open_sql(&cluster).await;
    let reader = stage.gateway.agent("reader", "olga@example.com", "readers").await.unwrap();
    let steps = json!([{"do": "tools"}]);
    let listed = |said: Vec<serde_json::Value>| said.last().unwrap()["tools"].clone();
    assert_eq!(
        listed(stage.said(&reader, &steps).await),
        json!(["run_sql", "approval_wait", "approval_status"])
    );
    let (failed, said) =
        stage.call_as(&reader, "run_sql", &json!({"query": "select count(*) from orders"})).await;
    assert_eq!((failed, said.as_str()), (false, "100"));
    let (failed, said) =
        stage.call_as(&reader, "run_sql", &json!({"query": "delete from orders where id = 1"})).await;
    assert!(failed, "{said}");
    assert_eq!(count(&cluster), "100");
    let listing = stage.command(&["mcp", "inspect", "shop", "--agent", "reader"]).await;
    let of_tool = listing["items"].as_array().unwrap().iter().find(|tool| tool["tool"] == "run_sql").unwrap();
    assert_eq!(of_tool["agent"], "by its `query`");
}
