# Runs the same work over any connection and prints what came of it, as JSON.
import asyncio, io, json, sys
import asyncpg

async def main(host, port, user, password):
    out = {}
    conn = await asyncpg.connect(host=host, port=int(port), user=user, password=password, database="shop", ssl=False)
    out["rows"] = [list(map(str, row)) for row in await conn.fetch("select * from orders where id = any($1::int[]) order by id", [1, 2, 3])]
    prepared = await conn.prepare("select customer, total from orders where id = $1")
    out["prepared"] = [str(list((await prepared.fetchrow(n)).values())) for n in (5, 6)]
    out["parameters"] = [str(kind.name) for kind in prepared.get_parameters()]
    async with conn.transaction():
        out["cursor"] = [row["id"] async for row in conn.cursor("select id from orders order by id", prefetch=9)]
    transaction = conn.transaction()
    await transaction.start()
    await conn.executemany("insert into orders values ($1, $2, $3)", [(1000 + n, "many", n) for n in range(20)])
    out["seen"] = await conn.fetchval("select count(*) from orders where id >= 1000")
    out["copied"] = await conn.copy_records_to_table("orders", records=[(2000 + n, "ü\t", n) for n in range(30)])
    into = io.BytesIO()
    out["copy"] = await conn.copy_from_query("select * from orders where id >= 2000 order by id", output=into)
    out["copy_bytes"] = into.getvalue().hex()
    await transaction.rollback()
    try:
        await conn.execute("select 1 / 0")
    except asyncpg.DivisionByZeroError as error:
        out["error"] = [error.sqlstate, str(error)]
    await conn.close()
    print(json.dumps(out, sort_keys=True))

asyncio.run(main(*sys.argv[1:]))
