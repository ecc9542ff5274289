use super::*;

#[test]
#[rustfmt::skip]
fn constants_are_lifted_where_their_value_is_nothing_to_be_read() {
    for (text, shape) in [
        ("SELECT abalance FROM pgbench_accounts WHERE aid = 12345;", Some("SELECT abalance FROM pgbench_accounts WHERE aid = $1;")),
        ("UPDATE a SET abalance = abalance + -3127 WHERE aid = 7;", Some("UPDATE a SET abalance = abalance + -$1 WHERE aid = $2;")),
        ("UPDATE a SET n = n+1 WHERE aid=7", Some("UPDATE a SET n = n+$1 WHERE aid=$2")),
        ("insert into h (t, d) values (1, -2, 'a b', current_timestamp), (1, 9, 'c', now())", Some("insert into h (t, d) values ($1, -$2, $3, current_timestamp), ($1, $4, $5, now())")),
        ("select * from t where s.t.name <> 'it' and (age >= 0 or x = 4) limit 5", Some("select * from t where s.t.name <> $1 and (age >= $2 or x = $3) limit 5")),
        ("select * from t where a = 5 limit 5", None),
        // What is the same stays the same.
        ("select 1 from t where a = 5 or not a = 5 and b = 6", Some("select 1 from t where a = $1 or not a = $1 and b = $2")),
        ("select 1 from t where (a = 5) or not (a = 5)", Some("select 1 from t where (a = $1) or not (a = $1)")),
        ("select 1 from t where a = 5 or not (a = 5 and true)", Some("select 1 from t where a = $1 or not (a = $1 and true)")),
        ("select 1 from t where a = 5 and b = 6 or 5 = a", Some("select 1 from t where a = 5 and b = $1 or 5 = a")),
        // A value decides, or could.
        ("select 1 from t where 1 = 1", None),
        ("select 1 from t where true = 'on'", None),
        ("select 1 from t where interval '1' day = '1'", None),
        ("select set_config('role', 'x', false)", None),
        ("select 1 from t limit 5", None),
        ("select 1 from t where a in (1, 2)", None),
        ("select 1 from t where a = 5 + 1", None),
        ("select 1 from t where a + 5 = 6", None),
        ("select 1 from t where a = 007", None),
        ("select 1 from t where a = 1234567890", None),
        ("select f(1, 2)", None),
        ("insert into t values (f(1))", None),
        ("select 1 where date '2020-01-01' = '2020-01-01'", None),
        // And what is not plain.
        ("select 1 from t where a = 5 -- b", None),
        ("select 1 from t where a = 5 /* b */", None),
        ("select 1 from t where a = 5 and \"b\" = 1", None),
        ("select 1 from t where a = E'x' and b = 1", None),
        ("select 1 from t where a = 'it''s' and b = 1", None),
        ("select 1 from t where a = 'a\\' and b = 1", None),
        ("select 1 from t where a = 'a' \n 'b'", None),
        ("select 1 from t where a = 1.5 and b = 1", None),
        ("select 1 from t where a = 1::text and b = 1", None),
        ("select 1 from t where a = $1 and b = 1", None),
        ("select 1 from t where a = $$x$$ and b = 1", None),
        ("select 1 from t where a = 0x1F and b = 1", None),
        ("select 1 from t where a = 1and b = 1", None),
        ("select 1 from t where ä = 1", None),
        ("select 1 from t where a = 'x", None),
        ("select 1 from t where a = 1[1]", None),
        ("", None),
    ] {
        assert_eq!(of(text).as_deref(), shape, "{text}");
    }
}
