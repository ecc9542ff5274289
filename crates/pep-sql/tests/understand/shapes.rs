//! Texts that differ in constants alone may share a reading; each must be read as it would be alone.

use crate::cases::{self, Case, catalog, target};
use countersign_pep_sql::understand::{
    Asked, Question, Reader, ReaderLimits, SessionFacts, Understood, understand,
};
use proptest::{prelude::*, test_runner::TestRunner};
use std::sync::Arc;

fn question(sql: &str) -> Question {
    let session = SessionFacts { user: "agent".into(), database: "shop".into(), ..SessionFacts::default() };
    let asked = vec![Asked { sql: sql.into(), types: Vec::new(), values: None }];
    Question { asked, session, catalog: Arc::new(catalog()), target: Arc::new(target()) }
}

fn read(reader: &Reader, question: &Question) -> Arc<Understood> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(reader.understand(question))
}

/// The text with every run of digits that stands alone, and every plain string, changed.
fn varied(text: &str, by: u32) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (token, after) = rest.split_at(word.max(first.len_utf8()));
        if token.bytes().all(|byte| byte.is_ascii_digit()) {
            let number: u64 = token.parse().unwrap_or(7);
            out.push_str(&(number + u64::from(by)).to_string());
        } else {
            out.push_str(token);
        }
        rest = after;
    }
    out
}

#[test]
fn every_known_text_is_read_as_it_is_alone_whatever_was_read_before() {
    let reader = Reader::start(ReaderLimits::default()).unwrap();
    let files = [cases::STATEMENTS, cases::EVASIONS];
    let all: Vec<Case> =
        files.iter().flat_map(|file| cases::evasions(&std::fs::read_to_string(file).unwrap())).collect();
    assert!(all.len() > 100);
    for by in [0, 1, 0, 40] {
        for case in &all {
            let mut question = case.question(catalog());
            for asked in &mut question.asked {
                asked.sql = varied(&asked.sql, by).into();
            }
            let alone = understand(&question);
            let text = question.asked[0].sql.clone();
            assert_eq!(*read(&reader, &question), alone, "{text}");
        }
    }
}

#[test]
fn generated_texts_are_read_as_they_are_alone() {
    let reader = Reader::start(ReaderLimits::default()).unwrap();
    let column = prop::sample::select(vec!["id", "users.id", "email", "true", "total", "x.y", "day", "null"]);
    let operator = prop::sample::select(vec!["=", "<", ">=", "<>", "+", "-", "like", "||", "=-"]);
    let constant = prop::sample::select(vec![
        "1",
        "0",
        "2",
        "-1",
        "'a'",
        "'%'",
        "'on'",
        "'f'",
        "007",
        "1.5",
        "E'a'",
        "5000000000",
        "null",
    ]);
    let term = (column, operator, constant.clone(), any::<bool>()).prop_map(
        |(column, operator, constant, turned)| {
            if turned {
                format!("{constant} {operator} {column}")
            } else {
                format!("{column} {operator} {constant}")
            }
        },
    );
    let joined =
        prop::sample::select(vec![" and ", " or ", " or not ", ") or not (", ", ", " = ", " between 1 and "]);
    let condition = prop::collection::vec((term, joined), 1..4).prop_map(|terms| {
        terms.iter().fold(String::from("("), |all, (term, joined)| {
            let joined = if all.len() > 1 { *joined } else { "" };
            format!("{all}{joined}{term}")
        }) + ")"
    });
    let before = prop::sample::select(vec![
        "select id from users where ",
        "delete from users where ",
        "update users set email = 'x', note = note + 1 where ",
        "insert into users (id, email) values (1, 'a'), (2, 'b') on conflict (id) do update set email = 'c' where ",
        "select set_config('role', 'a', true) from users where ",
        "prepare p as select 1 from users where ",
        "select count(*) from users group by id having ",
        "declare c cursor for select 1 from users where ",
        "explain select 1 from users where ",
        "set work_mem = 5; select 1 from users where ",
        "create view v as select 1 from users where ",
    ]);
    let after = prop::sample::select(vec![
        "",
        ";",
        " limit 5",
        " limit all",
        " order by 1 limit 0",
        " for update",
        " returning id",
        "; drop table users",
    ]);
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 1_500,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let outcome = runner.run(&(before, condition, after), |(before, condition, after)| {
        let question = question(&format!("{before}{condition}{after}"));
        let alone = understand(&question);
        let text = question.asked[0].sql.clone();
        prop_assert_eq!(&*read(&reader, &question), &alone, "{}", text);
        Ok(())
    });
    outcome.unwrap();
}
