//! Labelled values are hidden from agents that may only see masked data, however they ask for them.

use crate::{
    clients::python,
    guarded::{kinds, runs},
    stage::{POLICY, Said, Stage, finished},
    strict::{login, message},
};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

const TABLES: &str = "set role app; \
    create table people (id int primary key, email text, born date, city text); \
    insert into people values (1, 'secret-jane@example.org', '1969-07-20', 'Bern'), (2, 'secret-joe@example.org', null, 'Köln'); \
    create table notes (id int, line text); \
    create view addresses as select id, email as e from people; \
    create view cities as select id, city as e from people;";

fn labelled(with: &str, except: &[&str]) -> impl FnOnce(&mut Value) {
    let mask = json!({"labels": ["pii"], "with": with, "except": except});
    move |section: &mut Value| {
        section["tables"] =
            json!([{"table": "public.people", "columns": ["email", "born"], "labels": ["pii"]}]);
        section["mask"] = mask;
    }
}

async fn stage(with: &str, except: &[&str]) -> Stage {
    // What only people decide on elsewhere is permitted here: hiding must hold by itself.
    let open = POLICY.lines().filter(|line| line.contains("\"agents\"")).collect::<String>();
    let stage = Stage::under(&open, labelled(with, except)).await;
    stage.direct(TABLES);
    stage
}

async fn session(stage: &Stage, statements: &[&str]) -> Said {
    let mut command = stage.psql();
    for sql in statements {
        command.args(["-c", sql]);
    }
    finished(command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_hidden_in_every_shape_of_a_result_and_others_are_not() {
    let stage = stage("partial", &[]).await;
    for (sql, want) in [
        ("select * from people where id = 1", "1|s…g||Bern"),
        ("select p.email as harmless, p.city from people p where id = 1", "s…g|Bern"),
        ("select x.e, x.c from (select email e, city c from people where id = 1) x", "s…g|Bern"),
        ("with x as (select email from people where id = 1) select email from x", "s…g"),
        ("select email || '' from people where id = 1", ""),
        ("select upper(email), length(email), 7 from people where id = 1", "||"),
        ("select p from people p where id = 1", ""),
        ("select row_to_json(p) from people p where id = 1", ""),
        ("select array_agg(email) from people", ""),
        ("select email from people union all select line from notes", ""),
        ("select e from addresses where id = 1", ""),
        ("select count(*) from people where email like 's%'", ""),
        ("select city from people where id = 1", "Bern"),
        ("select count(*) from people", "2"),
        ("select n.id, p.email from orders n join people p on p.id = n.id where n.id = 1", "1|s…g"),
    ] {
        let said = stage.run(sql).await;
        assert!(said.fine, "{sql}: {said:?}");
        assert_eq!(said.out.trim_end(), want, "{sql}");
    }
    // Cursors, kept statements, transactions, returned rows.
    for statements in [
        &["begin", "declare c cursor for select email from people", "fetch all from c", "commit"][..],
        &["prepare p as select email, id from people order by id", "execute p"],
        &["select 1; select email from people; select city from people"],
        &["delete from people where id = 2 returning email"],
        &["begin", "select email from people", "rollback"],
    ] {
        let said = session(&stage, statements).await;
        assert!(!said.out.contains("secret") && !said.err.contains("secret"), "{statements:?}: {said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_other_way_out() {
    let stage = stage("hash", &[]).await;
    for sql in [
        "copy people to stdout",
        "copy (select email from people) to stdout",
        "insert into notes select id, email from people",
        "create table stolen as select * from people",
        "select * into stolen from people",
        "update people set city = email",
        "update people set email = city returning email",
        "with x as (insert into notes select id, email from people returning line) select * from x",
        "select most_common_vals from pg_stats where tablename = 'people'",
        "do $$ begin raise notice '%', (select email from people limit 1); end $$",
        "create view v as select email from people",
        "alter table people rename to persons",
        "alter table people rename column email to post",
        "alter table people add column copied text generated always as (email) stored",
        "alter schema public rename to private",
        "create index on people (email)",
        "delete from notes using people where line = email",
        "insert into people values (1, 'x') on conflict (id) do update set city = people.email",
        "merge into notes n using people p on n.id = p.id when not matched then insert values (p.id, p.email)",
        "explain (analyze) insert into notes select id, email from people",
        "begin; select email from people; commit",
        "select query_to_xml('select email from people', true, true, '')",
    ] {
        let said = stage.run(sql).await;
        assert!(!said.fine && said.err.contains("ZC002"), "{sql}: {said:?}");
        assert!(!said.out.contains("secret") && !said.err.contains("secret"), "{sql}: {said:?}");
    }
    assert_eq!(stage.direct("select count(*) from notes"), "0");
    // An error could quote what it failed on.
    let said = stage.run("select email::int from people").await;
    assert!(said.err.contains("22P02") && !said.err.contains("secret"), "{said:?}");
    let names = stage.run("select email from people order by id").await.out;
    let names: Vec<&str> = names.lines().collect();
    assert!(
        names.len() == 2 && names.iter().all(|name| name.len() == 32) && names[0] != names[1],
        "{names:?}"
    );
    assert_eq!(stage.run("select email from people order by id limit 1").await.out, names[0], "equal names");
    // Whoever writes what is not hidden may.
    assert_eq!(stage.run("delete from notes where id = 7").await.out, "DELETE 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn drivers_get_masked_rows_in_both_formats_and_by_kept_statements() {
    let stage = stage("partial", &[]).await;
    let mut command = python("with_masks.py");
    command.env("PGPORT", stage.addr.port().to_string());
    let said = finished(command).await;
    assert!(said.fine, "{said:?}");
    let got: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(got["text"], json!([1, "s…g", null, "Bern"]));
    assert_eq!(got["binary"], json!([1, "s…g", null, "Bern"]));
    assert_eq!(got["prepared"], json!([["s…g"], ["s…g"], ["s…g"], ["s…g"], ["s…g"], ["s…g"], ["s…g"]]));
    assert_eq!(got["described"], json!([[1, "s…g", null, "Bern"], [2, "s…g", null, "Köln"]]));
    assert!(!said.out.contains("secret"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_excepted_groups_see_everything() {
    let stage = stage("null", &["agents"]).await;
    assert_eq!(stage.run("select email from people where id = 1").await.out, "secret-jane@example.org");
    assert_eq!(
        stage.run("copy (select email from people where id = 1) to stdout").await.out,
        "secret-jane@example.org"
    );
}

/// A temporary table hides another one of its name only while it is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_a_temporary_table_had_is_masked_again() {
    let stage = stage("null", &[]).await;
    for before in [
        &["create temp table people (id int, email text)", "drop table pg_temp.people"][..],
        &["create temp table people (id int, email text)", "discard temp"],
        &["create temp table people (id int, email text) on commit drop"],
        &["begin", "create temp table people (id int, email text)", "rollback"],
        &["begin", "savepoint a", "create temp table people (id int, email text)", "rollback to a"],
        &["create temp table people as select 1 as id", "drop table people"],
    ] {
        let statements = [before, &["select email from people where id = 1"]].concat();
        let said = session(&stage, &statements).await;
        assert!(!said.out.contains("secret"), "{statements:?}: {said:?}");
    }
    // One of a name of its own is of use.
    let said = session(&stage, &["create temp table mine as select 7 as n", "select n from mine"]).await;
    assert_eq!(said.out, "SELECT 1\n7", "{said:?}");
}

/// Rows are masked one by one, and one that cannot be held whole fails its statement, as the server would have it.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_too_large_to_be_masked_fails_its_statement_and_nothing_else() {
    let stage = stage("partial", &[]).await;
    stage.direct("insert into people select n, 'secret-' || n, null, repeat('x', 5000000) from generate_series(3, 22) n");
    let large = "select email, city from people where id > 1 order by id";
    let said = session(&stage, &[large, "select 7"]).await;
    assert!(
        said.err.contains("54000: a row of 50000") && said.err.contains("too large to be masked"),
        "{said:?}"
    );
    assert!(said.err.contains("ask for fewer columns") && said.out.ends_with('7'), "{said:?}");
    assert!(!said.out.contains("secret"), "{said:?}");
    // What is asked for without the long column is shown.
    assert_eq!(stage.run("select email, length(city) from people where id = 3").await.out, "s…3|");
    // In a transaction and by the extended protocol.
    let said = session(&stage, &["begin", large, "rollback", "select 7"]).await;
    assert!(said.err.contains("54000") && said.out.ends_with("ROLLBACK\n7"), "{said:?}");
    let (mut stream, _) = login(&stage, &[]).await;
    let pipeline = [runs(large), runs("select 1"), message(b'S', b"")].concat();
    stream.write_all(&pipeline).await.unwrap();
    assert_eq!(kinds(&crate::strict::said(&mut stream).await), "12DE54000ZI");
    stream.write_all(&[runs("select 1"), message(b'S', b"")].concat()).await.unwrap();
    assert_eq!(kinds(&crate::strict::said(&mut stream).await), "12DCZI");
    // The server's own words are kept back, however long they are.
    let said = session(
        &stage,
        &["select (email || repeat('y', 5000000))::int from people where id = 1", "select 7"],
    )
    .await;
    assert!(said.err.contains("22P02: the statement failed") && said.out == "7", "{said:?}");
    let ended = stage.entries_from("execution.result", 10).await;
    let failed = ended.iter().filter(|entry| entry["status"].as_str().unwrap().contains("54000"));
    assert_eq!(failed.count(), 3, "{ended:?}");
    // What was removed stays removed: nobody is told that it failed.
    let said = session(&stage, &["delete from people where id = 3 returning city", "select 7"]).await;
    assert!(said.err.contains("FATAL") && said.err.contains("54000"), "{said:?}");
    assert!(said.err.contains("what its statement did stands") && !said.out.contains('7'), "{said:?}");
    assert_eq!(stage.entries_from("execution.outcome_unknown", 1).await.len(), 1);
}
