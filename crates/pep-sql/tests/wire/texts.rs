//! Texts that reach the database by another wire: read against its catalog, and counted, without a session of theirs.

use crate::stage::Stage;
use countersign_core::Class;
use countersign_engine::port::text::TextReader as _;
use countersign_pep_sql::{
    text::SqlTexts,
    understand::{Reader, ReaderLimits},
};
use countersign_testkit::postgres::Options;
use serde_json::json;
use std::sync::Arc;

async fn texts() -> (Stage, SqlTexts) {
    let options = Options::default();
    let stage = Stage::with(&options, |section| {
        section["preflight"] = json!({"user": "reader", "value_from": "file:secret", "within": "30s"});
    });
    let stage = stage.await;
    let reader = "create role reader login password 'planted-upstream-secret'; grant select on all tables in schema public to reader";
    stage.direct(reader);
    let target =
        stage.section.clone().check(stage.folder.path()).map_err(|faults| format!("{faults:?}")).unwrap();
    let reader = Reader::start(ReaderLimits::default()).unwrap();
    assert!(SqlTexts::new(Arc::clone(&stage.gate), reader.clone(), &target, "other", None).is_none());
    let texts = SqlTexts::new(Arc::clone(&stage.gate), reader, &target, "shop", None).unwrap();
    (stage, texts)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_read_and_its_rows_are_counted() {
    let (_stage, texts) = texts().await;
    let sql = "delete from orders where total > 75";
    let effect = texts.read(sql).await.unwrap();
    assert_eq!(
        (effect.operation.class, effect.operation.name.as_deref()),
        (Class::Delete, Some("sql.delete.unbounded"))
    );
    assert_eq!(effect.facts["tables"], json!(["public.orders"]));
    assert_eq!(effect.facts.get("est_rows"), None);
    let gathered = texts.gather(sql, &effect.facts, effect.resources.len()).await.unwrap();
    assert_eq!((&gathered.facts["est_rows"], &gathered.facts["est_exact"]), (&json!(50), &json!(true)));
    assert_eq!(gathered.sentence, "Delete 50 rows from `public.orders` in shop (prod). Not reversible.");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_text_means_by_now_is_told_where_it_is_something_else() {
    let (stage, texts) = texts().await;
    let sql = "select count(*) from orders";
    let effect = texts.read(sql).await.unwrap();
    assert_eq!(effect.operation.class, Class::Read);
    let gathered = texts.gather(sql, &effect.facts, effect.resources.len()).await.unwrap();
    assert_ne!(gathered.facts.get("understood"), Some(&json!(false)), "{:?}", gathered.facts);
    let digest = gathered.evidence.digest().unwrap();
    // Somebody puts a view in the table's place that runs code.
    stage.direct("alter table orders rename to kept; create view orders as select sneaky() from kept");
    let gathered = texts.gather(sql, &effect.facts, effect.resources.len()).await.unwrap();
    assert_eq!(gathered.facts.get("understood"), Some(&json!(false)), "{:?}", gathered.facts);
    assert_ne!(gathered.evidence.digest().unwrap(), digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_changes_its_session_is_refused() {
    let (_stage, texts) = texts().await;
    for sql in [
        "set search_path = evil",
        "begin",
        "prepare p as select 1",
        "create temp table t (x int)",
        "select 1; discard all",
    ] {
        assert!(texts.read(sql).await.is_err(), "{sql}");
    }
    assert!(texts.read("set standard_conforming_strings = off").await.is_err());
}
