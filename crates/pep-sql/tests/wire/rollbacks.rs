//! What a session goes back to, and what it does not: a text is read as the server reads it behind every end of a
//! transaction, whoever ended it.

use crate::{
    guarded::{execute, runs},
    names::{ANYTHING, DELETE, asked, bind, parse, query, shown, stage_under, sync, untouched},
    stage::Stage,
    strict::{login, message},
};
use countersign_engine::read;
use tokio::net::TcpStream;

/// Everything is permitted but to delete, which is asked for: what is shown then is what was read.
const DELETING: &str = r#"
@id("agents") permit (principal in Group::"agents", action, resource in Environment::"prod");
@id("delete") @gate("delete") @approvers("Group::\"sre\"") @reason("rows go away")
forbid (principal, action in Action::"delete", resource);
"#;

async fn stage() -> Stage {
    let stage = stage_under(DELETING).await;
    stage.direct("create schema decoy; create table decoy.orders (id int); grant all on schema decoy to app; grant all on decoy.orders to app");
    stage
}

fn flush() -> Vec<u8> {
    message(b'H', b"")
}

/// What is asked for is about the table of this name, and it is let go of.
async fn reads(stage: &Stage, name: &str, told: &str, case: &str) {
    assert!(told.contains("EZC001"), "{case}: {told}");
    let id = stage.held().await;
    let hold = read::hold(&stage.gate, id).await.unwrap().unwrap();
    let action = read::action(&stage.gate, hold.action()).await.unwrap().unwrap();
    let named: Vec<&str> = action.resources.iter().map(|one| one.name.as_str()).collect();
    let tables: Vec<&&str> = named.iter().filter(|one| one.ends_with("orders")).collect();
    assert!(tables.contains(&&name), "{case}: {named:?}");
    let others = ["public.orders", "decoy.orders"].into_iter().filter(|other| *other != name);
    assert!(others.into_iter().all(|other| !tables.contains(&&other)), "{case}: {named:?}");
    stage.reject(1, id, "seen").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_its_own_rollback_a_text_means_what_it_meant_before() {
    let stage = stage().await;
    let moved = "set search_path = decoy";
    for texts in [
        &["begin; set search_path = decoy; rollback; delete from orders where id <= 3"][..],
        &["begin; savepoint s; set search_path = decoy; rollback to s; delete from orders where id <= 3"],
        &["set search_path = decoy; rollback; delete from orders where id <= 3"],
        &["begin; set local search_path = decoy; commit; delete from orders where id <= 3"],
        &["begin", moved, "select 1/0", "rollback; delete from orders where id <= 3"],
        &["begin", moved, "select 1/0", "commit; delete from orders where id <= 3"],
        &["begin; savepoint s", moved, "select 1/0", "rollback to s; delete from orders where id <= 3"],
        &["begin", moved, "rollback and chain; delete from orders where id <= 3"],
        &["begin; create temp table orders (id int); set search_path = pg_catalog; rollback", DELETE],
    ] {
        let (mut stream, _) = login(&stage, &[]).await;
        let mut told = String::new();
        for text in texts {
            told = query(&mut stream, text).await;
        }
        reads(&stage, "public.orders", &told, &texts.join(" / ")).await;
    }
    // The same piece by piece.
    let (mut stream, _) = login(&stage, &[]).await;
    let pipeline = [runs("begin"), runs(moved), runs("rollback"), runs(DELETE), sync()].concat();
    let told = asked(&mut stream, &[&pipeline]).await;
    reads(&stage, "public.orders", &told, "a pipeline").await;
    // What lasts, lasts.
    let (mut stream, _) = login(&stage, &[]).await;
    let told = query(&mut stream, "begin; set search_path = decoy; commit; delete from orders").await;
    reads(&stage, "decoy.orders", &told, "committed").await;
    untouched(&stage);
}

/// A name that a temporary table had is another's behind a rollback that nobody had the server tell.
#[tokio::test(flavor = "multi_thread")]
async fn a_temporary_table_that_was_rolled_back_hides_nothing_in_the_same_text() {
    let stage = stage().await;
    for text in [
        "begin; create temp table orders (id int); set search_path = pg_catalog; rollback; delete from orders",
        "begin; savepoint s; create temp table orders (id int); set search_path = pg_catalog; rollback to s; delete from orders",
        "create temp table orders (id int) on commit drop; commit; set search_path = pg_catalog; rollback; delete from orders",
        "create temp table orders (id int); discard temp; delete from orders",
    ] {
        let (mut stream, _) = login(&stage, &[]).await;
        let told = query(&mut stream, text).await;
        reads(&stage, "public.orders", &told, text).await;
    }
    // One that hides another is not taken for the session's own where it could be the other.
    let (mut stream, _) = login(&stage, &[]).await;
    assert_eq!(query(&mut stream, "create temp table orders (id int)").await, "CZI");
    let told = query(&mut stream, "set search_path = pg_catalog; delete from orders").await;
    assert!(!told.contains("CCZ"), "{told}");
    if told.contains("EZC001") {
        let (_, view) = shown(&stage).await;
        assert!(!view.contains("pg_temp"), "{view}");
    }
    untouched(&stage);
}

async fn rows(stream: &mut TcpStream, sql: &str) -> usize {
    query(stream, sql).await.matches('D').count()
}

/// What failed before a `Sync` is not rolled back before the server says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_flushed_pipeline_that_failed_is_where_the_server_says_it_is() {
    let stage = stage().await;
    let (mut stream, _) = login(&stage, &[]).await;
    let begun = [runs("begin"), runs("create temp table orders (id int)"), runs("savepoint s"), flush()];
    let failing = [runs("rollback to nosuch"), flush(), sync()];
    let told = asked(&mut stream, &[&begun.concat(), &failing.concat()]).await;
    assert!(told.ends_with("ZE"), "{told}");
    assert_eq!(query(&mut stream, "rollback to s").await, "CZT");
    let told = query(&mut stream, DELETE).await;
    assert!(told.starts_with("EZC001"), "{told}");
    let (_, view) = shown(&stage).await;
    assert!(!view.contains("public.orders"), "it is the session's own table: {view}");
    untouched(&stage);
}

/// What a pipeline did before something failed that was no action is rolled back with it.
#[tokio::test(flavor = "multi_thread")]
async fn what_failed_without_having_been_asked_for_rolls_back_as_well() {
    let stage = stage().await;
    let (mut stream, _) = login(&stage, &[]).await;
    let told = asked(
        &mut stream,
        &[&runs("set datestyle = 'German'"), &flush(), &parse("", "garbage"), &flush(), &sync()],
    )
    .await;
    assert!(told.ends_with("E42601ZI"), "{told}");
    assert_eq!(rows(&mut stream, "select 1").await, 1);
    let (mut other, _) = login(&stage, &[]).await;
    // The same in a session that never set anything: one approval for both.
    assert!(query(&mut stream, DELETE).await.contains("EZC001"));
    let id = stage.held().await;
    assert!(query(&mut other, DELETE).await.contains("EZC001"));
    assert_eq!(stage.in_state("pending", 1).await, [id]);
}

/// Code that commits and then fails leaves what it committed.
#[tokio::test(flavor = "multi_thread")]
async fn code_that_committed_before_it_failed_leaves_nothing_believed() {
    let stage = stage_under(&format!("{ANYTHING}{}", crate::names::CERTAIN)).await;
    stage.direct("create schema decoy; create table decoy.orders (id int); grant all on schema decoy to app; grant all on decoy.orders to app; create procedure slyly() language plpgsql as $$ begin perform set_config('search_path', 'decoy', false); commit; raise 'x'; end $$");
    let code = "do $$ begin perform set_config('search_path', 'decoy', false); commit; raise 'x'; end $$";
    for (number, messages) in [
        message(b'Q', format!("{code}\0").as_bytes()),
        message(b'Q', b"call slyly()\0"),
        [runs(code), sync()].concat(),
        [runs(code), flush(), sync()].concat(),
    ]
    .iter()
    .enumerate()
    {
        let (mut stream, _) = login(&stage, &[]).await;
        let told = asked(&mut stream, &[messages]).await;
        assert!(told.ends_with("EP0001ZI"), "{told}");
        let told = query(&mut stream, DELETE).await;
        assert_eq!(told, "EZC003ZI", "names are not taken for what the catalog says");
        let status = &stage.results(number + 1).await[number];
        assert_eq!(status, "error P0001; code that may have committed ran before that");
    }
    // In a transaction of the client's own code cannot commit.
    let (mut stream, _) = login(&stage, &[]).await;
    assert_eq!(query(&mut stream, "begin").await, "CZT");
    assert_eq!(query(&mut stream, "do $$ begin raise 'x'; end $$").await, "EP0001ZE");
    assert_eq!(query(&mut stream, "rollback").await, "CZI");
    assert_eq!(query(&mut stream, DELETE).await, "CZI");
    let (mut stream, _) = login(&stage, &[]).await;
    assert_eq!(asked(&mut stream, &[&parse("p", DELETE), &sync()]).await, "1ZI");
    assert_eq!(query(&mut stream, "do $$ begin raise 'x'; end $$").await, "EP0001ZI");
    let told = asked(&mut stream, &[&bind("", "p"), &execute(""), &sync()]).await;
    assert!(told.starts_with("EZC"), "{told}");
}

/// What one part of a `DISCARD` keeps, and what a local setting does not hide.
#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_forgotten_than_the_server_forgets() {
    let stage = stage().await;
    let (mut stream, _) = login(&stage, &[]).await;
    assert_eq!(asked(&mut stream, &[&parse("p", "select 1"), &sync()]).await, "1ZI");
    assert_eq!(query(&mut stream, "discard temp").await, "CZI");
    assert_eq!(asked(&mut stream, &[&bind("", "p"), &execute(""), &sync()]).await, "2DCZI");
    let both = "begin; set local datestyle = 'German'; set lc_monetary = 'C'; commit";
    assert_eq!(query(&mut stream, both).await, "CCCCZI");
    let (mut other, _) = login(&stage, &[]).await;
    for (stream, asked_for) in [(&mut stream, 1), (&mut other, 2)] {
        assert!(query(stream, DELETE).await.contains("EZC001"));
        assert_eq!(
            stage.in_state("pending", asked_for).await.len(),
            asked_for,
            "another setting, another action"
        );
    }
}
