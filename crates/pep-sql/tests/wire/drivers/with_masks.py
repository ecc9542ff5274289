"""Labelled values through psycopg (text, binary, prepared) and asyncpg, which describes once and executes later."""

import asyncio
import json
import os

import asyncpg
import psycopg

out = {}
where = f"host=127.0.0.1 port={os.environ['PGPORT']} dbname=shop user=bot password=bot-token sslmode=disable"
with psycopg.connect(where, autocommit=True) as conn:
    sql = "select id, email, born, city from people where id = %s"
    out["text"] = list(conn.execute(sql, (1,)).fetchone())
    with conn.cursor(binary=True) as cursor:
        out["binary"] = list(cursor.execute(sql, (1,)).fetchone())
    out["prepared"] = [
        list(conn.execute("select email from people where id = %s", (1,), prepare=True).fetchone()) for _ in range(7)
    ]


async def described():
    conn = await asyncpg.connect(
        host="127.0.0.1", port=int(os.environ["PGPORT"]), database="shop", user="bot", password="bot-token", ssl=False
    )
    kept = await conn.prepare("select id, email, born, city from people where id = $1")
    rows = [list(await kept.fetchrow(number)) for number in (1, 2)]
    await conn.close()
    return rows


out["described"] = asyncio.run(described())
print(json.dumps(out))
