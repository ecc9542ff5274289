//! What may be asked beforehand: the text that counts, the text that explains, and why there is none.

use crate::cases::{case, catalog};
use countersign_pep_sql::understand::{Counted, preflight};

/// What counts, then what explains, or why neither.
fn asked(text: &str) -> String {
    let counts = preflight(&case(text.into()).question(catalog())).counts;
    let several = counts.len() > 1;
    let one = |counted: &Counted| {
        let lead =
            if several { format!("{} {}: ", counted.statement + 1, counted.verb) } else { String::new() };
        match &counted.rows {
            Ok(rows) => {
                let sure = if rows.sure { "" } else { " at most" };
                let bytes = rows.bytes.as_ref().map_or(String::new(), |bytes| format!("\n{bytes}"));
                format!("{lead}{} {:?}{sure}\n{}{bytes}", rows.count, rows.parameters, rows.explain)
            }
            Err(why) => format!("{lead}not counted: {why}"),
        }
    };
    counts.iter().map(one).collect::<Vec<_>>().join("\n")
}

#[test]
fn statements_are_counted_and_explained_where_that_is_safe() {
    insta::assert_snapshot!(TEXTS.map(|text| format!("{text}\n{}", asked(text))).join("\n\n"));
}

const TEXTS: [&str; 47] = [
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
    "DELETE FROM countries WHERE code = 'de'; SELECT 1 FROM orders; UPDATE orders SET status = 'x'",
    "CREATE TABLE fresh (id int); DELETE FROM orders",
    "DELETE FROM orders; DELETE FROM orders; DELETE FROM orders; DELETE FROM orders; DELETE FROM orders",
    "DROP TABLE public.countries, orders",
    "DROP TABLE countries CASCADE",
    "DROP VIEW adults",
    "DROP SCHEMA public",
    "TRUNCATE ONLY parent",
    "INSERT INTO logs (line) VALUES ('x'), (writes()::text), ('z')",
    "INSERT INTO logs (line) VALUES ('x') ON CONFLICT DO NOTHING",
    "INSERT INTO logs DEFAULT VALUES",
    "MERGE INTO orders USING users u ON u.id = orders.user_id WHEN MATCHED THEN DELETE",
    "MERGE INTO orders o USING (SELECT id FROM users) u ON u.id = o.user_id WHEN MATCHED THEN DO NOTHING WHEN NOT MATCHED THEN INSERT (id) VALUES (u.id)",
    "MERGE INTO orders o USING users u ON u.id = o.user_id WHEN NOT MATCHED BY SOURCE THEN DELETE",
    "EXPLAIN DELETE FROM countries",
    "EXPLAIN (ANALYZE) DELETE FROM countries",
    "COPY orders TO STDOUT",
    "SELECT * INTO copied FROM users",
];
