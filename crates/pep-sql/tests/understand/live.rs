//! The golden file against a real server: its own catalog gives the same answers, and whatever is taken for a read
//! writes nothing when it runs.

use crate::cases::{Case, EVASIONS, case, evasions};
use countersign_pep_sql::understand::{Access, Catalog, preflight, understand};
use countersign_testkit::postgres::{Options, Postgres};
use std::process::Command;

const SCHEMA: &str = include_str!("../golden/schema.sql");
const DATABASE: &str = "shop";

#[tokio::test]
async fn what_is_taken_for_a_read_writes_nothing() {
    let server = Postgres::start(&Options::default()).await.unwrap();
    server.run("postgres", "CREATE DATABASE shop").unwrap();
    server.run(DATABASE, SCHEMA).unwrap();
    let catalog = catalog(&server);
    let before = state(&server);
    let text = std::fs::read_to_string(EVASIONS).unwrap();
    let mut ran = 0;
    for case in evasions(&text) {
        let understood = understand(&case.question(catalog.clone()));
        let expected = case.expected.lines().next().unwrap();
        let refused = if understood.refused.is_some() { " refused" } else { "" };
        let found = format!("=> {} {}{refused}", understood.operation.as_str(), understood.access.as_str());
        assert_eq!(found, expected, "{}: the real catalog says something else", case.title);
        if understood.access != Access::ReadOnly {
            continue;
        }
        let guarded = run(&server, &case, "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY;");
        assert!(!guarded.contains("read-only transaction"), "{}: {guarded}", case.title);
        let free = run(&server, &case, "");
        ran += usize::from(!free.contains("ERROR"));
        assert_eq!(state(&server), before, "{}: {free}", case.title);
    }
    assert!(ran >= 40, "only {ran} ran without an error");
}

/// What is counted beforehand is what is deleted then, and counting leaves everything as it was.
#[tokio::test]
async fn counting_says_what_happens() {
    let server = Postgres::start(&Options::default()).await.unwrap();
    server.run("postgres", "CREATE DATABASE shop").unwrap();
    server.run(DATABASE, SCHEMA).unwrap();
    let catalog = catalog(&server);
    for (text, rows) in [
        ("DELETE FROM logs WHERE line LIKE '%1%'", 11),
        ("DELETE FROM items", 0),
        ("UPDATE orders SET status = 'x' FROM users WHERE users.id = orders.user_id AND users.id > 15", 5),
        ("DELETE FROM orders USING users u, logs l WHERE u.id = orders.user_id AND u.id <= 3", 3),
        ("DELETE FROM parent", 2),
        ("TRUNCATE countries", 0),
        ("INSERT INTO logs (line) VALUES ('x'), ('y')", 2),
        ("MERGE INTO logs USING users ON users.id = logs.id WHEN MATCHED THEN UPDATE SET line = 'm'", 9),
    ] {
        let before = state(&server);
        let found = preflight(&case(text.into()).question(catalog.clone()));
        let asked = found.counts[0].rows.clone().unwrap();
        let counted = server.run(DATABASE, &asked.count).unwrap();
        assert_eq!(counted, rows.to_string(), "{text}");
        assert!(server.run(DATABASE, &asked.explain).unwrap().starts_with('['), "{text}");
        if let Some(bytes) = &asked.bytes {
            assert!(server.run(DATABASE, bytes).unwrap().parse::<u64>().is_ok(), "{text}");
        }
        assert_eq!(state(&server), before, "{text}");
        let said = server.psql(DATABASE).args(["-c", "\\set QUIET off", "-c", text]).output().unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        if !text.starts_with("TRUNCATE") {
            assert!(said.trim().ends_with(&format!(" {rows}")), "{text}: {said}");
        }
    }
}

/// The same queries the gateway asks, each answer a list of rows.
fn catalog(server: &Postgres) -> Catalog {
    let ask = |query: &str| {
        let path = "SET search_path = pg_catalog, pg_temp;";
        let out = server.psql(DATABASE).args(["-c", path, "-c", query]).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let answers: Vec<Vec<String>> = Catalog::QUERIES.iter().map(|query| ask(query)).collect();
    Catalog::read(&ask(Catalog::STAMP).concat(), &answers).unwrap()
}

/// Everything a read must leave as it was: all rows, all definitions, the sequences.
fn state(server: &Postgres) -> String {
    let rows = "SELECT md5(string_agg(t, '|')) FROM (SELECT 'l' || logs::text FROM logs UNION ALL \
        SELECT 'u' || users::text FROM users UNION ALL SELECT 'o' || orders::text FROM orders UNION ALL \
        SELECT 'p' || parent::text FROM parent UNION ALL SELECT 's' || last_value FROM counter) AS all_rows(t)";
    let rows = server.run(DATABASE, rows).unwrap();
    format!(
        "{rows} {}",
        server.run(DATABASE, &format!("SET search_path = pg_catalog; {}", Catalog::STAMP)).unwrap()
    )
}

/// Runs a case in the session it asks for; what the server said.
fn run(server: &Postgres, case: &Case, first: &str) -> String {
    let mut before = vec!["SET ROLE NONE;".to_owned()];
    for (name, value) in case.session() {
        before.push(match name.split_once(':').unwrap_or((&name, "")) {
            ("scs", _) => "SET standard_conforming_strings = off;".into(),
            ("path", _) => format!("SET search_path = {value};"),
            ("prepared", name) if value.starts_with("PREPARE") => {
                format!("DEALLOCATE ALL; {value}; -- {name}")
            }
            ("prepared", name) => format!("PREPARE {name} AS {value};"),
            ("cursor", _) => format!("BEGIN; {value};"),
            ("temp", name) => format!("CREATE TEMP TABLE {name} AS SELECT 'x'::pg_catalog.text AS name;"),
            _ => String::new(),
        });
    }
    let text = case.text.replace("$1", "10");
    let mut psql: Command = server.psql(DATABASE);
    psql.args(before.iter().flat_map(|line| ["-c", line]));
    let out = psql.args(["-c", first, "-c", &text]).output().unwrap();
    String::from_utf8_lossy(&out.stderr).into_owned()
}
