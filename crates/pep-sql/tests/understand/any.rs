//! What texts are taken for: the golden files, and what must hold for any text.

use crate::cases::{Case, EVASIONS, STATEMENTS, case, catalog, evasions, written};
use countersign_pep_sql::understand::{Access, Prepared, Reader, ReaderLimits, RowEvidence, SqlOperation};
use proptest::prelude::*;
use std::{collections::BTreeSet, sync::Arc};

/// The whole evasion list, and a statement of every kind. Set `COUNTERSIGN_BLESS` to write down what is found instead of
/// comparing.
#[test]
fn every_text_is_taken_for_what_it_is() {
    let mut operations = BTreeSet::new();
    for path in [EVASIONS, STATEMENTS] {
        let text = std::fs::read_to_string(path).unwrap();
        let cases = evasions(&text);
        assert!(cases.len() > 200, "{} cases", cases.len());
        let found: Vec<String> = cases.iter().map(Case::found).collect();
        operations.extend(cases.iter().map(|case| case.understood().operation));
        if std::env::var_os("COUNTERSIGN_BLESS").is_some() {
            std::fs::write(path, written(&text, &cases, &found)).unwrap();
            continue;
        }
        for (case, found) in cases.iter().zip(&found) {
            assert_eq!(*found, case.expected, "{}\n{}", case.title, case.text);
        }
    }
    assert_eq!(operations, SqlOperation::ALL.into(), "every operation has its sentence here");
}

/// Short texts of every kind the grammar has, as written for the golden file, cut and put together anew.
pub(crate) fn any_text() -> impl Strategy<Value = String> {
    let text = std::fs::read_to_string(EVASIONS).unwrap();
    let texts: Vec<String> = evasions(&text).into_iter().map(|case| case.text).collect();
    let words = texts.iter().flat_map(|text| text.split(' ')).map(str::to_owned).collect::<Vec<_>>();
    prop_oneof![
        prop::sample::select(texts),
        prop::collection::vec(prop::sample::select(words), 1..20).prop_map(|words| words.join(" ")),
        ".{0,80}",
    ]
}

/// Whether the tree holds a node that writes, found by another walk than ours: over the names of its JSON form.
fn writes(value: &serde_json::Value) -> bool {
    let named = |name: &str| {
        matches!(
            name,
            "InsertStmt" | "UpdateStmt" | "DeleteStmt" | "MergeStmt" | "LockingClause" | "IntoClause"
        )
    };
    match value {
        serde_json::Value::Object(members) => members
            .iter()
            .any(|(name, value)| named(name) || (name == "into_clause" && !value.is_null()) || writes(value)),
        serde_json::Value::Array(items) => items.iter().any(writes),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => false,
    }
}

/// The statements whose plan alone is asked for may hold anything.
fn is_plan(value: &serde_json::Value) -> bool {
    value.pointer("/stmt/node/ExplainStmt").is_some()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    /// Two texts in one, and any text at all: never a panic, and what is read-only holds nothing that writes.
    #[test]
    fn whatever_is_read_only_holds_no_writing_node(first in any_text(), second in any_text(), joined in any::<bool>()) {
        let text = if joined { format!("{first}; {second}") } else { first };
        let understood = case(text.clone()).understood();
        prop_assert!(understood.sentence.ends_with('.'), "{}", understood.sentence);
        prop_assert_eq!(understood.class, understood.operation.class());
        if understood.access == Access::ReadOnly {
            let tree = pg_query::parse(&text, 0).unwrap();
            for statement in &tree.protobuf.stmts {
                let statement = serde_json::to_value(statement).unwrap();
                prop_assert!(is_plan(&statement) || !writes(&statement), "{text}");
            }
        }
    }

    /// What follows a statement never makes the action less severe.
    #[test]
    fn more_statements_are_never_less(first in any_text(), second in any_text()) {
        let alone = case(first.clone()).understood();
        let together = case(format!("{first}\n;\n{second}")).understood();
        prop_assert!(together.operation >= alone.operation, "{first} / {second}: {alone:?} {together:?}");
    }
}

/// Whatever is too long or too deep is not understood, and takes nothing else with it.
#[tokio::test]
async fn texts_too_deep_or_too_long_are_not_understood() {
    let reader = Reader::start(ReaderLimits::default()).unwrap();
    let deep = |text: String| case(text).question(catalog());
    for (what, text) in [
        ("long", format!("SELECT '{}'", "x".repeat(70_000))),
        ("subselects", format!("SELECT {}1{}", "(SELECT ".repeat(400), ")".repeat(400))),
        ("operators", format!("SELECT 'a'{}", " || 'a'".repeat(5_000))),
        ("unions", format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(2_000))),
        ("casts", format!("SELECT 1{}", "::int".repeat(8_000))),
        ("arrays", format!("SELECT {}1{}", "ARRAY[".repeat(3_000), "]".repeat(3_000))),
        ("nots", format!("SELECT {} true", "NOT ".repeat(8_000))),
        ("cases", format!("SELECT {}1{}", "CASE WHEN true THEN ".repeat(1_000), " END".repeat(1_000))),
        ("statements", "SELECT 1;".repeat(1_000)),
        ("tokens", "SELECT 1".to_owned() + &",1".repeat(20_000)),
    ] {
        let understood = reader.understand(&deep(text)).await;
        assert_eq!(understood.operation, SqlOperation::Unknown, "{what}");
        assert_eq!(understood.access, Access::Unknown, "{what}");
    }
    // Parentheses leave nothing in the tree.
    let parentheses = format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000));
    assert_eq!(reader.understand(&deep(parentheses)).await.operation, SqlOperation::Read);
    let long_list = format!("SELECT id FROM orders WHERE id IN ({}1)", "1, ".repeat(2_000));
    assert_ne!(reader.understand(&deep(long_list)).await.operation, SqlOperation::Unknown);
}

/// Equal questions have one answer, and it is not found out twice.
#[tokio::test]
async fn equal_questions_share_their_answer() {
    let reader = Reader::start(ReaderLimits::default()).unwrap();
    let question = case("SELECT name FROM countries LIMIT 1".into()).question(catalog());
    let first = reader.understand(&question).await;
    let second = reader.understand(&question).await;
    assert!(Arc::ptr_eq(&first, &second));
    let mut with_more = question.clone();
    let prepared = Prepared { text: "DELETE FROM users".into(), types: Arc::default(), by_sql: true };
    with_more.session.prepared.insert("p".into(), prepared);
    assert!(Arc::ptr_eq(&first, &reader.understand(&with_more).await), "nothing names it");
    with_more.asked[0].sql = "ExEcUtE p".into();
    assert_eq!(reader.understand(&with_more).await.operation, SqlOperation::DeleteUnbounded);
    let mut elsewhere = question;
    elsewhere.session.search_path = vec!["evil".into()];
    assert_ne!(reader.understand(&elsewhere).await.operation, first.operation);
}

/// A number that was counted takes the place of the words for it; sentences without such a place stay as they are.
#[test]
fn counted_rows_stand_in_the_sentence() {
    let delete = case("DELETE FROM countries WHERE area > 5".into()).understood();
    insta::assert_snapshot!(delete.sentence_with(RowEvidence::About(14_000)),
        @"Delete about 14,000 rows (estimate) from `public.countries` in shop (prod). Not reversible.");
    insta::assert_snapshot!(delete.sentence_with(RowEvidence::AtLeast(10_001)),
        @"Delete at least 10,001 rows from `public.countries` in shop (prod). Not reversible.");
    insta::assert_snapshot!(delete.sentence_with(RowEvidence::Exactly(1)),
        @"Delete 1 row from `public.countries` in shop (prod). Not reversible.");
    let drop = case("DROP TABLE countries".into()).understood();
    assert_eq!(drop.sentence_with(RowEvidence::Exactly(3)), drop.sentence);
}
