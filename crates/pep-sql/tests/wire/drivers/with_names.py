"""A statement prepared by name, behind so many others that its name differs from session to session."""

import os

import psycopg

where = f"host=127.0.0.1 port={os.environ['PGPORT']} dbname=shop user=bot password=bot-token sslmode=disable"
with psycopg.connect(where, autocommit=True) as conn:
    for number in range(int(os.environ["BEFORE"])):
        conn.execute(f"select {number}", prepare=True)
    try:
        print(conn.execute("delete from orders where id <= %s", (7,), prepare=True).statusmessage)
    except psycopg.Error as error:
        print(error.sqlstate, error)
