//! Names that a session gives to texts: whatever a client calls what, by SQL or by the protocol, what runs is what was
//! read and decided on.

use crate::{
    guarded::{bound, execute, kinds, runs},
    stage::{POLICY, Stage},
    strict::{login, message, said},
};
use countersign_core::ApprovalId;
use countersign_engine::{
    read::{self, HoldFilter},
    shown::request_lines,
};
use countersign_testkit::postgres::Options;
use tokio::{io::AsyncWriteExt, net::TcpStream};

pub(crate) const DELETE: &str = "delete from orders where id <= 3";

/// A client is told at once that it waits.
pub(crate) async fn stage_under(policy: &str) -> Stage {
    Stage::under(policy, |section| {
        (section["hold_limit"], section["transaction_hold_limit"]) = ("1ms".into(), "1ms".into());
    })
    .await
}

/// What is not known to be something is not let run.
pub(crate) const CERTAIN: &str =
    r#"@id("certain") @reason("not understood") forbid (principal, action in Action::"unknown", resource);"#;
pub(crate) const ANYTHING: &str =
    r#"@id("agents") permit (principal in Group::"agents", action, resource in Environment::"prod");"#;

async fn stage() -> Stage {
    stage_under(&format!("{POLICY}{CERTAIN}")).await
}

pub(crate) async fn asked(stream: &mut TcpStream, messages: &[&[u8]]) -> String {
    stream.write_all(&messages.concat()).await.unwrap();
    kinds(&said(stream).await).replace('N', "")
}

pub(crate) async fn query(stream: &mut TcpStream, sql: &str) -> String {
    asked(stream, &[&message(b'Q', format!("{sql}\0").as_bytes())]).await
}

pub(crate) fn parse(name: &str, sql: &str) -> Vec<u8> {
    message(b'P', format!("{name}\0{sql}\0\0\0").as_bytes())
}

pub(crate) fn bind(portal: &str, statement: &str) -> Vec<u8> {
    message(b'B', format!("{portal}\0{statement}\0\0\0\0\0\0\0").as_bytes())
}

pub(crate) fn sync() -> Vec<u8> {
    message(b'S', b"")
}

pub(crate) fn untouched(stage: &Stage) {
    assert_eq!(stage.direct("select count(*) from orders"), "100");
}

/// What was shown of the only approval that waits.
pub(crate) async fn shown(stage: &Stage) -> (ApprovalId, String) {
    let id = stage.held().await;
    let hold = read::hold(&stage.gate, id).await.unwrap().unwrap();
    let action = read::action(&stage.gate, hold.action()).await.unwrap().unwrap();
    (id, format!("{}\n{}", hold.view.computed.sentence, request_lines(&action.payload.head)))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_prepared_statement_holds_is_part_of_what_is_approved() {
    let stage = stage().await;
    let (mut one, _) = login(&stage, &[]).await;
    assert_eq!(query(&mut one, &format!("prepare p as {DELETE}")).await, "CZI");
    assert_eq!(query(&mut one, "execute p").await, "EZC001ZI");
    let (id, view) = shown(&stage).await;
    assert!(view.contains("id <= 3"), "whoever decides sees it: {view}");
    stage.approve(1, id).await;
    stage.approve(2, id).await;
    // The same words, and something else behind them.
    let (mut other, _) = login(&stage, &[]).await;
    assert_eq!(query(&mut other, "prepare p as delete from orders").await, "CZI");
    assert_eq!(query(&mut other, "execute p").await, "EZC001ZI");
    untouched(&stage);
    let pending = HoldFilter { status: Some("pending".into()), limit: 10, ..HoldFilter::default() };
    assert_eq!(read::holds(&stage.gate, pending).await.unwrap().len(), 1, "it is an approval of its own");
    // What was approved still runs, once.
    assert_eq!(query(&mut one, "execute p").await, "CZI");
    assert_eq!(stage.direct("select count(*) from orders"), "97");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_text_makes_no_other_statement_taken_for_done() {
    let stage = stage().await;
    let (mut stream, _) = login(&stage, &[]).await;
    assert_eq!(asked(&mut stream, &[&parse("p", DELETE), &sync()]).await, "1ZI");
    let told = asked(&mut stream, &[&runs(""), &runs("prepare p as select 1"), &sync()]).await;
    assert_eq!(told, "12I12E42P05ZI");
    assert_eq!(query(&mut stream, "begin; execute p").await, "EZC001ZI");
    untouched(&stage);
    assert!(shown(&stage).await.1.contains("id <= 3"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursors_name_outlives_no_cursor() {
    let stage = stage().await;
    let deleting = format!("{DELETE} returning id");
    for declared in [
        "begin; declare c cursor for select 1; commit",
        "begin; savepoint s; declare c cursor for select 1; rollback to s; commit",
    ] {
        let (mut stream, _) = login(&stage, &[]).await;
        query(&mut stream, declared).await;
        assert_eq!(query(&mut stream, "begin").await, "CZT");
        let told = asked(&mut stream, &[&bound("c", &deleting), &sync()]).await;
        assert_eq!(told, "12ZT");
        let told = query(&mut stream, "savepoint x; fetch all from c").await;
        assert!(!told.contains('D') && told.contains("ZC"), "{declared}: {told}");
        let told = query(&mut stream, "commit").await;
        assert!(told.ends_with("ZI"), "{told}");
        untouched(&stage);
    }
    // One that the protocol closed, and made anew, in one go.
    let (mut stream, _) = login(&stage, &[]).await;
    assert_eq!(query(&mut stream, "begin; declare c cursor for select 1").await, "CCZT");
    let close = message(b'C', b"Pc\0");
    let told =
        asked(&mut stream, &[&close, &bound("c", &deleting), &runs("fetch all from c"), &sync()]).await;
    assert!(!told.contains('D') && told.contains("ZC"), "{told}");
    query(&mut stream, "commit").await;
    untouched(&stage);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_changed_within_a_pipeline_is_not_taken_for_what_it_was() {
    let stage = stage().await;
    let (prepare, declare) = (format!("prepare p as {DELETE}"), "declare c cursor for select 1");
    let pipelines: [(&str, Vec<Vec<u8>>); 4] = [
        (
            "prepared anew by SQL",
            vec![parse("p", "select 1"), runs("deallocate p"), runs(&prepare), bind("q", "p"), execute("q")],
        ),
        ("all of them", vec![parse("p", "select 1"), runs("deallocate all"), bind("q", "p"), execute("q")]),
        (
            "a cursor by SQL",
            vec![runs("begin"), bound("c", "select 2"), runs("close c"), runs(declare), execute("c")],
        ),
        ("parsed anew", vec![message(b'C', b"Sp\0"), parse("p", DELETE), runs("execute p")]),
    ];
    for (name, pipeline) in pipelines {
        let (mut stream, _) = login(&stage, &[]).await;
        assert_eq!(query(&mut stream, "prepare p as select 1").await, "CZI");
        if name != "parsed anew" {
            assert_eq!(query(&mut stream, "deallocate p").await, "CZI");
        }
        let messages: Vec<u8> = pipeline.concat();
        let told = asked(&mut stream, &[&messages, &sync()]).await;
        assert!(told.contains("EZC") && !told.contains('D'), "{name}: {told}");
        untouched(&stage);
    }
    // To the server these are one name, and to a reader of texts two.
    let long = "n".repeat(63);
    let (mut stream, _) = login(&stage, &[]).await;
    let told = asked(&mut stream, &[&parse(&format!("{long}a"), "select 1"), &sync()]).await;
    assert_eq!(told, "EZC002ZI");
    assert_eq!(asked(&mut stream, &[&parse(&long, "select 1"), &sync()]).await, "1ZI");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sql_prepared_is_no_plain_setting_to_whoever_binds_it() {
    let stage = stage().await;
    let (mut stream, _) = login(&stage, &[]).await;
    assert_eq!(query(&mut stream, &format!("prepare p as {DELETE}")).await, "CZI");
    assert_eq!(asked(&mut stream, &[&bind("", "p"), &execute(""), &sync()]).await, "EZC002ZI");
    untouched(&stage);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_given_in_the_order_in_which_a_pipeline_gives_them() {
    let stage = stage().await;
    let (mut stream, _) = login(&stage, &[]).await;
    let close = message(b'C', b"Sp\0");
    let harmless = runs("prepare p as insert into audit (what) values ('x')");
    let told = asked(&mut stream, &[&harmless, &close, &parse("p", DELETE), &sync()]).await;
    assert_eq!(told, "12C31ZI");
    assert_eq!(query(&mut stream, "execute p").await, "EZC001ZI");
    assert!(shown(&stage).await.1.contains("id <= 3"));
    untouched(&stage);
    let (mut stream, _) = login(&stage, &[]).await;
    assert_eq!(query(&mut stream, "begin").await, "CZT");
    let (declare, close) = (runs("declare c cursor for select 1"), message(b'C', b"Pc\0"));
    let told =
        asked(&mut stream, &[&declare, &close, &bound("c", "select customer from orders"), &sync()]).await;
    assert_eq!(told, "12C312ZT");
    let told = query(&mut stream, "fetch all from c").await;
    assert!(told.contains("EZC") && !told.contains('D'), "{told}");
    // What poolers and drivers do.
    let (mut stream, _) = login(&stage, &[]).await;
    let pipeline = [runs("deallocate all"), parse("n", "select 1"), bind("", "n"), execute(""), sync()];
    assert_eq!(asked(&mut stream, &[&pipeline.concat()]).await, "12C12DCZI");
    assert_eq!(asked(&mut stream, &[&bind("", "n"), &execute(""), &sync()]).await, "2DCZI");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_text_that_a_name_stands_for_while_an_action_runs_is_shown() {
    let stage = stage().await;
    let (mut stream, _) = login(&stage, &[]).await;
    assert_eq!(query(&mut stream, "prepare p as delete from orders where id = 1").await, "CZI");
    let twice = "execute p; deallocate p; prepare p as select 1; execute p";
    assert_eq!(query(&mut stream, twice).await, "EZC001ZI");
    let (_, view) = shown(&stage).await;
    assert!(view.contains("id = 1") && view.contains("select 1"), "{view}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_bound_before_names_changed_their_meaning_is_not_read_as_they_are_now() {
    let stage = stage_under(&format!("{ANYTHING}{CERTAIN}")).await;
    let (mut stream, _) = login(&stage, &[]).await;
    let (begin, moved) = (runs("begin"), runs("set search_path = pg_temp"));
    let told = asked(&mut stream, &[&begin, &bound("q", DELETE), &moved, &execute("q"), &sync()]).await;
    assert!(told.starts_with("EZC002"), "{told}");
    for (named, used) in [
        (
            "begin; declare c cursor for select customer from orders; set search_path = pg_temp",
            "fetch all from c",
        ),
        (
            "begin; declare c cursor for select customer from orders; set search_path = pg_temp; savepoint s",
            "move c",
        ),
    ] {
        let (mut stream, _) = login(&stage, &[]).await;
        let told = query(&mut stream, named).await;
        assert!(told.ends_with("ZT"), "{told}");
        let told = query(&mut stream, used).await;
        assert!(told.contains("EZC") && !told.contains('D'), "{told}");
    }
    untouched(&stage);
}

/// The server swallows a `Flush` within the copy, and answers what stands before it and the `Sync` behind it as one.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_behind_a_flush_leaves_no_answer_for_what_comes_next() {
    let stage = stage().await;
    let (mut stream, _) = login(&stage, &[]).await;
    let copy = [runs("copy orders from stdin"), message(b'H', b"")].concat();
    let row = [message(b'd', b"1000\tx\t1\n"), message(b'c', b""), sync()].concat();
    stream.write_all(&[copy, row].concat()).await.unwrap();
    let mut told = Vec::new();
    while !kinds(&told).contains("E08006") {
        let more = said(&mut stream).await;
        assert!(!more.is_empty(), "{}", kinds(&told));
        told.extend(more);
    }
    // The session is over: nothing is answered by what was left.
    assert!(stage.results(1).await[0].starts_with("COPY"), "{:?}", stage.results(1).await);
}

/// Whoever plans may run functions, and what they find stands in an error.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_told_by_what_is_bound_and_never_run() {
    let stage = stage().await;
    let (mut stream, _) = login(&stage, &[]).await;
    let tells = "select 1 limit (table_to_xml('public.orders', true, false, '')::text)::bigint";
    for messages in [vec![bound("", tells), sync()], vec![bound("p", tells), runs("select 1"), sync()]] {
        stream.write_all(&messages.concat()).await.unwrap();
        let answer = said(&mut stream).await;
        assert!(!String::from_utf8_lossy(&answer).contains("customer 7"));
        assert_eq!(kinds(&answer), "EZC002ZI");
    }
    // What names data alone is planned, and run later.
    assert_eq!(query(&mut stream, "begin").await, "CZT");
    let told = asked(&mut stream, &[&bound("p", "select id from orders limit 1"), &sync()]).await;
    assert_eq!(told, "12ZT");
    assert_eq!(asked(&mut stream, &[&execute("p"), &sync()]).await, "DCZT");
    // Not for somebody whose token is not good any more.
    *stage.people.revoked.lock().unwrap() = true;
    let told = asked(&mut stream, &[&bound("r", "select id from orders limit 1"), &sync()]).await;
    assert_eq!(told, "E28P01ZE");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_behind_a_failed_step_is_skipped_as_the_server_does() {
    let stage = stage().await;
    let (mut stream, _) = login(&stage, &[]).await;
    assert_eq!(query(&mut stream, "select 1").await, "TDCZI");
    let select = message(b'Q', b"select 2\0");
    let told =
        asked(&mut stream, &[&parse("a", "select 1"), &parse("a", "select 1"), &select, &sync()]).await;
    assert_eq!(told, "1E42P05ZI");
    assert_eq!(query(&mut stream, "select 3").await, "TDCZI");
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_values_are_bound_as_the_protocol_can_count() {
    const MANY: u16 = 40_000;
    let stage = stage_under(POLICY).await;
    let (mut stream, _) = login(&stage, &[]).await;
    let places: Vec<String> = (1..=MANY).map(|n| format!("(${n})")).collect();
    let sql = format!("insert into audit (what) values {}", places.join(","));
    let mut values = [b"\0\0\0\0".as_slice(), &MANY.to_be_bytes()].concat();
    for _ in 0..MANY {
        values.extend_from_slice(b"\0\0\0\x01x");
    }
    values.extend_from_slice(b"\0\0");
    let told = asked(&mut stream, &[&parse("", &sql), &message(b'B', &values), &execute(""), &sync()]).await;
    assert_eq!(told, "12CZI");
    assert_eq!(stage.direct("select count(*) from audit"), MANY.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn going_back_to_a_savepoint_takes_nothing_back_that_was_committed() {
    let stage = stage_under(POLICY).await;
    let (mut stream, _) = login(&stage, &[]).await;
    let made = "begin; create temporary table orders (id int); savepoint s; rollback to s; commit";
    assert_eq!(query(&mut stream, made).await, "CCCCCZI");
    assert_eq!(query(&mut stream, DELETE).await, "EZC001ZI");
    let (_, view) = shown(&stage).await;
    assert!(!view.contains("public.orders"), "it is the session's own table: {view}");
}

/// What was open before a savepoint is still open behind a return to it, which frameworks do with every block that fails.
#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_from_before_a_savepoint_is_still_what_it_was() {
    let stage = stage().await;
    let (mut stream, _) = login(&stage, &[]).await;
    query(&mut stream, "begin; declare c cursor for select id from orders").await;
    query(&mut stream, "savepoint s").await;
    assert_eq!(query(&mut stream, "select 1 / 0").await, "E22012ZE");
    assert_eq!(query(&mut stream, "rollback to s").await, "CZT");
    assert_eq!(query(&mut stream, "fetch 2 from c").await, "TDDCZT");
    // Closed and declared anew since, it is another, and gone.
    let anew = "close c; declare c cursor for select total from orders";
    assert_eq!(query(&mut stream, anew).await, "CCZT");
    assert_eq!(query(&mut stream, "rollback to s").await, "CZT");
    let told = query(&mut stream, "fetch all from c").await;
    assert!(told.contains("EZC") && !told.contains('D'), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_keeps_only_so_many_prepared_statements() {
    let stage = stage().await;
    let (mut stream, _) = login(&stage, &[]).await;
    for half in 0..2 {
        let many: Vec<u8> = (0..5_000).flat_map(|n| parse(&format!("s{half}_{n}"), "select 1")).collect();
        assert!(asked(&mut stream, &[&many, &sync()]).await.ends_with("1ZI"));
    }
    assert_eq!(asked(&mut stream, &[&parse("more", "select 1"), &sync()]).await, "E54000ZI");
    assert_eq!(query(&mut stream, "prepare more as select 1").await, "E54000ZI");
    // The unnamed one takes the place of the one before.
    assert_eq!(asked(&mut stream, &[&runs("select 1"), &sync()]).await, "12DCZI");
    assert_eq!(query(&mut stream, "deallocate s0_1").await, "CZI");
    assert_eq!(query(&mut stream, "prepare more as select 1").await, "CZI");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_has_bounds_in_what_it_makes_the_gateway_keep() {
    let stage = Stage::with(&Options::default(), |section| {
        section["limits"] = serde_json::json!({"message": "1MiB"});
    })
    .await;
    let (mut stream, _) = login(&stage, &[]).await;
    // A text that is run a thousand times is kept a thousand times.
    let long = format!("select 1 /* {} */", "x".repeat(10_000));
    let told = asked(&mut stream, &[&bound("p", &long), &execute("p").repeat(1_000), &sync()]).await;
    assert_eq!(told, "E54000ZI");
    let told = asked(&mut stream, &[&message(b'C', b"Pp\0").repeat(140_000), &sync()]).await;
    assert_eq!(told, "E54000ZI");
    assert_eq!(query(&mut stream, "select 3").await, "TDCZI");
}
