//! What may be asked beforehand: the text that counts, the text that explains, and why there is none.

use crate::cases::{case, catalog};
use countersign_pep_sql::understand::preflight;

/// What counts, then what explains, or why neither.
fn asked(text: &str) -> String {
    match preflight(&case(text.into()).question(catalog())).rows {
        Ok(rows) => format!("{} {:?}\n{}", rows.count, rows.parameters, rows.explain),
        Err(why) => format!("not counted: {why}"),
    }
}

#[test]
fn statements_are_counted_and_explained_where_that_is_safe() {
    insta::assert_snapshot!(TEXTS.map(|text| format!("{text}\n{}", asked(text))).join("\n\n"));
}

const TEXTS: [&str; 29] = [
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
    "DELETE FROM countries WHERE code = current_user::text",
    "DELETE FROM countries WHERE code = current_setting('x.y')",
    "DELETE FROM countries WHERE random() < 0.5",
    "DELETE FROM countries WHERE set_config('transaction_read_only', 'off', true) = 'off'",
    "DELETE FROM countries WHERE pg_sleep(100) IS NULL",
    "DELETE FROM countries WHERE code = (SELECT 'x' FROM users u FOR UPDATE LIMIT 1)",
    "DELETE FROM countries WHERE code = $2 OR code = $1 OR code = $2",
];
