//! What may be asked beforehand: the text that counts, the text that explains, and why there is none.

use crate::cases::{case, catalog};
use countersign_pep_sql::understand::preflight;

/// `count`, then `explain`, each the text or why not.
fn asked(text: &str) -> String {
    let found = preflight(&case(text.into()).question(catalog()));
    let count = found.count.map_or_else(
        |why| format!("not counted: {why}"),
        |count| format!("{} {:?}", count.sql, count.parameters),
    );
    format!(
        "{count}\n{}",
        found.explain.map_or_else(|why| format!("not explained: {why}"), |explain| explain.sql)
    )
}

#[test]
fn statements_are_counted_and_explained_where_that_is_safe() {
    insta::assert_snapshot!(TEXTS.map(|text| format!("{text}\n{}", asked(text))).join("\n\n"));
}

const TEXTS: [&str; 22] = [
    "DELETE FROM countries WHERE area > 5",
    "DELETE FROM countries",
    "DELETE FROM ONLY parent AS p WHERE p.id = $3 AND p.v < $1",
    "UPDATE orders SET status = 'x' FROM users u WHERE u.id = orders.user_id AND u.active",
    "DELETE FROM orders USING users WHERE users.id = orders.user_id AND users.email LIKE $2",
    "WITH old AS (SELECT id FROM orders WHERE total < 5) DELETE FROM items WHERE order_id IN (SELECT id FROM old)",
    "WITH gone AS (DELETE FROM logs RETURNING id) DELETE FROM orders WHERE id IN (SELECT id FROM gone)",
    "BEGIN; DELETE FROM countries WHERE code = 'de'; COMMIT",
    "DELETE FROM countries; DELETE FROM orders",
    "DELETE FROM countries WHERE writes() > 0",
    "DELETE FROM countries WHERE name = pg_read_file('/etc/passwd')",
    "DELETE FROM countries WHERE upper(name) = 'X'",
    "DELETE FROM nowhere",
    "DELETE FROM tenants WHERE id = 1",
    "TRUNCATE countries",
    "TRUNCATE countries, orders",
    "SELECT email FROM users WHERE active ORDER BY id",
    "SELECT id FROM orders FOR UPDATE",
    "INSERT INTO logs (line) SELECT name FROM countries",
    "INSERT INTO logs (line) VALUES ('x')",
    "UPDATE orders SET status = 'x' WHERE CURRENT OF c",
    "DROP TABLE countries",
];
