//! A kept text runs as the server read it when it took it in: where that is not how it would be read now, it does not run.

use crate::{
    guarded::{bound, execute, runs},
    names::{ANYTHING, CERTAIN, DELETE, asked, bind, parse, query, shown, stage_under, sync, untouched},
    stage::{COMES_WITHIN, POLICY, Stage},
    strict::{login, message},
};
use tokio::net::TcpStream;

async fn stage() -> Stage {
    stage_under(&format!("{POLICY}{CERTAIN}")).await
}

/// Sends a text until the catalog that its names are looked up in is the one that there is.
async fn comes_to(stream: &mut TcpStream, messages: &[u8], wanted: &str) {
    let mut told = String::new();
    let comes = async {
        while told != wanted {
            told = asked(stream, &[messages]).await;
            tokio::task::yield_now().await;
        }
    };
    let came = tokio::time::timeout(COMES_WITHIN, comes).await.is_ok();
    assert!(came, "never {wanted}, but {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn literals_are_what_they_were_when_the_server_read_them() {
    let stage = stage().await;
    stage.direct("alter table orders add made date default '2026-01-01'");
    let dated = "delete from orders where made < '02/01/2026'";
    let (mut stream, _) = login(&stage, &[]).await;
    assert_eq!(query(&mut stream, "set datestyle = 'ISO, MDY'").await, "CZI");
    assert_eq!(query(&mut stream, &format!("prepare p as {dated}")).await, "CZI");
    let parsed = [parse("q", dated), parse("plain", DELETE), sync()].concat();
    assert_eq!(asked(&mut stream, &[&parsed]).await, "11ZI");
    assert_eq!(query(&mut stream, "execute p").await, "EZC001ZI");
    assert_eq!(query(&mut stream, "set datestyle = 'ISO, DMY'").await, "CSZI");
    // By SQL it is not known what it does, and by the protocol it is to be parsed again.
    assert_eq!(query(&mut stream, "execute p").await, "EZC003ZI");
    assert_eq!(asked(&mut stream, &[&bind("", "q"), &execute(""), &sync()]).await, "EZC002ZI");
    // What holds no literal hangs on no setting.
    assert_eq!(asked(&mut stream, &[&bind("", "plain"), &execute(""), &sync()]).await, "EZC001ZI");
    assert_eq!(asked(&mut stream, &[&message(b'C', b"Sq\0"), &parse("q", dated), &sync()]).await, "31ZI");
    assert_eq!(asked(&mut stream, &[&bind("", "q"), &execute(""), &sync()]).await, "EZC001ZI");
    assert_eq!(query(&mut stream, "set datestyle = 'ISO, MDY'").await, "CSZI");
    assert_eq!(query(&mut stream, "execute p").await, "EZC001ZI");
    // In one text or pipeline with the change.
    let told = query(&mut stream, "set datestyle = 'ISO, DMY'; execute p").await;
    assert_eq!(told, "EZC003ZI");
    let moved = [runs("set datestyle = 'ISO, MDY'"), bind("", "q"), execute(""), sync()].concat();
    assert_eq!(asked(&mut stream, &[&moved]).await, "EZC002ZI");
    // The end of a transaction can be such a change.
    let (mut stream, _) = login(&stage, &[]).await;
    assert_eq!(query(&mut stream, "begin; set datestyle = 'ISO, DMY'").await, "CCSZT");
    assert_eq!(asked(&mut stream, &[&parse("r", dated), &sync()]).await, "1ZT");
    let back = [runs("rollback"), bind("", "r"), execute(""), sync()].concat();
    assert_eq!(asked(&mut stream, &[&back]).await, "EZC002ZE");
    untouched(&stage);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_what_they_were_when_the_server_looked_them_up() {
    let stage = stage().await;
    stage.direct("create schema app authorization app");
    let (mut stream, _) = login(&stage, &[]).await;
    assert_eq!(query(&mut stream, &format!("prepare p as {DELETE}")).await, "CZI");
    let parsed = [parse("q", DELETE), parse("", "select count(*) from orders"), sync()].concat();
    assert_eq!(asked(&mut stream, &[&parsed]).await, "11ZI");
    let declared = "begin; declare c cursor for select id from orders";
    let (mut reader, _) = login(&stage, &[]).await;
    assert_eq!(query(&mut reader, declared).await, "CCZT");
    assert_eq!(query(&mut reader, "fetch 1 from c").await, "TDCZT");
    assert_eq!(query(&mut stream, "execute p").await, "EZC001ZI");
    // Something else changes, and nothing that it names.
    stage.direct("create table other (id int); grant select on other to app");
    comes_to(&mut stream, &message(b'Q', b"select count(*) from other\0"), "TDCZI").await;
    assert_eq!(asked(&mut stream, &[&bind("", "q"), &execute(""), &sync()]).await, "EZC001ZI");
    assert_eq!(query(&mut stream, "execute p").await, "EZC001ZI");
    assert_eq!(query(&mut reader, "fetch 1 from c").await, "TDCZT");
    // The server goes on with what it found then.
    stage.direct("create table app.orders (id int); alter table app.orders owner to app");
    comes_to(&mut stream, &message(b'Q', b"execute p\0"), "EZC003ZI").await;
    assert_eq!(asked(&mut stream, &[&bind("", "q"), &execute(""), &sync()]).await, "EZC002ZI");
    let told = query(&mut reader, "fetch 1 from c").await;
    assert!(told.contains("EZC") && !told.contains('D'), "{told}");
    untouched(&stage);
}

/// Code can prepare another statement under a name that is known.
#[tokio::test(flavor = "multi_thread")]
async fn behind_code_that_ran_unseen_no_name_is_believed() {
    let stage = stage_under(&format!("{ANYTHING}{CERTAIN}")).await;
    let anew = |end: &str| {
        format!("do $$ begin execute 'deallocate p'; execute 'prepare p as {DELETE}'; {end} end $$")
    };
    for end in ["", "raise 'x';"] {
        for (begin, at_the_end) in [("select 1", "select 1"), ("begin", "rollback")] {
            let (mut stream, _) = login(&stage, &[]).await;
            assert_eq!(query(&mut stream, "prepare p as select 1").await, "CZI");
            query(&mut stream, begin).await;
            query(&mut stream, &anew(end)).await;
            query(&mut stream, at_the_end).await;
            let told = query(&mut stream, "execute p").await;
            assert_eq!(told, "EZC003ZI", "{begin} {end}");
        }
    }
    let (mut stream, _) = login(&stage, &[]).await;
    assert_eq!(asked(&mut stream, &[&parse("p", "select 1"), &sync()]).await, "1ZI");
    let pipeline = [runs(&anew("")), bind("", "p"), execute(""), sync()].concat();
    assert_eq!(asked(&mut stream, &[&pipeline]).await, "EZC002ZI");
    untouched(&stage);
}

/// A text that was parsed by the protocol runs as a whole.
#[tokio::test(flavor = "multi_thread")]
async fn what_prepares_another_is_not_taken_for_what_it_prepares() {
    let stage = stage().await;
    let (mut stream, _) = login(&stage, &[]).await;
    let parsed = [parse("p", &format!("prepare q as {DELETE}")), sync()].concat();
    assert_eq!(asked(&mut stream, &[&parsed]).await, "1ZI");
    assert_eq!(query(&mut stream, "execute p").await, "EZC003ZI");
    // The types of parameters are part of what is approved.
    let typed = message(b'P', b"t\0delete from orders where id = $1\0\0\x01\0\0\0\x17");
    assert_eq!(asked(&mut stream, &[&typed, &sync()]).await, "1ZI");
    assert_eq!(query(&mut stream, "execute t(7)").await, "EZC001ZI");
    let (_, view) = shown(&stage).await;
    assert!(view.contains("with parameters of the types 23"), "{view}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_bound_and_kept_has_bounds() {
    let stage = stage_under(ANYTHING).await;
    let (mut stream, _) = login(&stage, &[]).await;
    assert_eq!(query(&mut stream, "begin").await, "CZT");
    assert_eq!(asked(&mut stream, &[&parse("s", "select 1"), &sync()]).await, "1ZT");
    for half in 0..2 {
        let many: Vec<u8> = (0..5_000).flat_map(|n| bind(&format!("p{half}_{n}"), "s")).collect();
        assert!(asked(&mut stream, &[&many, &sync()]).await.ends_with("2ZT"));
    }
    // The unnamed one takes the place of the one before.
    assert_eq!(asked(&mut stream, &[&bind("", "s"), &execute(""), &sync()]).await, "2DCZT");
    assert_eq!(asked(&mut stream, &[&bind("more", "s"), &sync()]).await, "E54000ZE");
    // Cursors beyond those that are remembered are not known.
    let (mut stream, _) = login(&stage, &[]).await;
    let many: Vec<String> = (0..1_001).map(|n| format!("declare c{n} cursor for select {n}")).collect();
    assert!(query(&mut stream, &format!("begin; {}", many.join(";"))).await.ends_with("ZT"));
    assert_eq!(query(&mut stream, "fetch c999").await, "TDCZT");
    let told = query(&mut stream, "fetch c1000").await;
    assert_eq!(told, "TDCZT", "it is permitted here, as what nobody knows");
    let facts = stage.entries("execution.result").await;
    assert!(facts.len() > 3);
}

/// Each `Bind` counts with what it plans, whether or not it runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_is_bound_again_and_again_counts_each_time() {
    let stage = Stage::with(&countersign_testkit::postgres::Options::default(), |section| {
        section["limits"] = serde_json::json!({"message": "1MiB"});
    })
    .await;
    let (mut stream, _) = login(&stage, &[]).await;
    let long = format!("select 1 /* {} */", "x".repeat(300_000));
    assert_eq!(asked(&mut stream, &[&parse("s", &long), &sync()]).await, "1ZI");
    assert_eq!(asked(&mut stream, &[&bind("", "s").repeat(50), &sync()]).await, "E54000ZI");
    // Bound once and run once, it counts once.
    assert_eq!(asked(&mut stream, &[&bind("", "s"), &execute(""), &sync()]).await, "2DCZI");
    let once = [bound("", &long), execute(""), sync()].concat();
    assert_eq!(asked(&mut stream, &[&once]).await, "12DCZI");
    // As many as there may be, one behind the other.
    assert_eq!(asked(&mut stream, &[&parse("t", "select 1"), &sync()]).await, "1ZI");
    let told = asked(&mut stream, &[&bind("", "t").repeat(30_000), &execute(""), &sync()]).await;
    assert!(told.ends_with("2DCZI"), "{}", told.len());
}

/// What is left of a copy that has failed is let go, however large its pieces are.
#[tokio::test(flavor = "multi_thread")]
async fn large_pieces_of_a_copy_that_failed_are_not_answered() {
    let stage = Stage::with(&countersign_testkit::postgres::Options::default(), |section| {
        section["limits"] = serde_json::json!({"message": "1MiB"});
    })
    .await;
    let (mut stream, _) = login(&stage, &[]).await;
    let copy = [message(b'Q', b"copy orders from stdin\0"), message(b'd', b"no number\n")].concat();
    assert_eq!(asked(&mut stream, &[&copy]).await, "GE22P02ZI");
    let left = [message(b'd', &vec![b'x'; 2 << 20]), message(b'c', b"")].concat();
    let told = asked(&mut stream, &[&left, &message(b'Q', b"select 7\0")]).await;
    assert_eq!(told, "TDCZI");
}
