# Runs the same work over any connection and prints what came of it, as JSON.
import datetime, decimal, json, sys
import psycopg

def plain(value):
    if isinstance(value, (decimal.Decimal, datetime.date, datetime.datetime, datetime.timedelta)):
        return str(value)
    if isinstance(value, (bytes, memoryview)):
        return bytes(value).hex()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value

out = {}
with psycopg.connect(sys.argv[1]) as conn:
    out["version"] = conn.info.server_version
    with conn.cursor() as cur:
        cur.execute("select id, customer, total from orders where id = any(%s) order by id", ([1, 2, 3],))
        out["rows"] = plain(cur.fetchall())
        out["columns"] = [[column.name, column.type_code] for column in cur.description]
        cur.execute(
            "select %s::numeric, %s::timestamptz, %s::jsonb, %s::int[], %s::bytea, %s::text, %s::bool",
            ("1.50", datetime.datetime(2026, 11, 21, 2, 0, tzinfo=datetime.timezone.utc), json.dumps({"a": 1}),
             [1, None, 3], b"\x00\xff", None, True),
        )
        out["types"] = plain(cur.fetchall())
    conn.commit()
    with conn.cursor(binary=True) as cur:
        for _ in range(8):
            cur.execute("select id, total from orders where id <= %s order by id", (2,), prepare=True)
        out["binary"] = plain(cur.fetchall())
    conn.commit()
    with conn.cursor(name="many") as cur:
        cur.itersize = 7
        cur.execute("select id from orders order by id")
        out["server_side"] = [row[0] for row in cur]
    conn.commit()
    with conn.cursor() as cur:
        cur.executemany("insert into orders values (%s, %s, %s)", [(1000 + n, "many", n) for n in range(20)])
        out["many"] = cur.rowcount
        cur.execute("select count(*) from orders where id >= 1000")
        out["seen"] = cur.fetchone()[0]
    conn.rollback()
    with conn.pipeline():
        first = conn.execute("select 1")
        second = conn.execute("select count(*) from orders where id >= %s", (1000,))
        out["pipeline"] = [first.fetchone()[0], second.fetchone()[0]]
    conn.commit()
    with conn.cursor() as cur:
        with cur.copy("copy orders from stdin") as copy:
            for n in range(50):
                copy.write_row((2000 + n, "copied \t\\ ü", n))
        out["copied"] = cur.rowcount
        with cur.copy("copy (select * from orders where id >= 2000 order by id) to stdout (format binary)") as copy:
            out["copy"] = b"".join(bytes(data) for data in copy).hex()
    conn.rollback()
    try:
        conn.execute("select 1 / 0")
    except psycopg.errors.DivisionByZero as error:
        out["error"] = [error.sqlstate, str(error)]
    conn.rollback()
    try:
        conn.execute("select no_such_column from orders")
    except psycopg.Error as error:
        out["missing"] = [error.sqlstate, error.diag.message_primary, error.diag.statement_position]
print(json.dumps(out, sort_keys=True))
