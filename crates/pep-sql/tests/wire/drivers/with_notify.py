"""One session listens, another one notifies; both go through the gateway."""

import os

import psycopg

where = f"host=127.0.0.1 port={os.environ['PGPORT']} dbname=shop user=bot password=bot-token sslmode=disable"
with psycopg.connect(where, autocommit=True) as listens, psycopg.connect(where, autocommit=True) as tells:
    listens.execute("listen jobs")
    tells.execute("notify jobs, 'one'")
    with tells.transaction():
        tells.execute("select pg_notify('jobs', 'two')")
    count = 0
    for notify in listens.notifies(timeout=30, stop_after=2):
        count += 1
        print(notify.channel, notify.payload)
    listens.execute("unlisten jobs")
    print("told", count)
