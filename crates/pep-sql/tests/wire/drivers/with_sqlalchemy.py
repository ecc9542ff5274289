# Runs the same work over any connection and prints what came of it, as JSON.
import json, sys
from sqlalchemy import create_engine, exc, func, inspect, select, text, update
from sqlalchemy.engine import URL
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

class Base(DeclarativeBase):
    pass

class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[str]
    total: Mapped[float]

host, port, user, password = sys.argv[1:]
url = URL.create("postgresql+psycopg", user, password, host, int(port), "shop", query={"sslmode": "disable"})
engine = create_engine(url, pool_size=2, max_overflow=0, pool_pre_ping=True)
out = {}

found = inspect(engine)
out["tables"] = sorted(found.get_table_names())
out["columns"] = [[column["name"], str(column["type"]), column["nullable"]] for column in found.get_columns("orders")]
out["key"] = found.get_pk_constraint("orders")["constrained_columns"]

with engine.connect() as conn:
    orders = Order.__table__
    out["rows"] = [list(map(str, row)) for row in conn.execute(select(orders).where(orders.c.id.in_([1, 2, 3])).order_by(orders.c.id))]
    out["grouped"] = [list(map(str, row)) for row in conn.execute(
        select(func.length(orders.c.customer), func.count(), func.sum(orders.c.total))
        .group_by(func.length(orders.c.customer)).order_by(func.length(orders.c.customer)))]
    out["streamed"] = sum(1 for _ in conn.execution_options(stream_results=True, max_row_buffer=7).execute(select(orders.c.id)))
    conn.rollback()

with Session(engine) as session:
    session.add_all(Order(id=1000 + n, customer="ü", total=n) for n in range(30))
    session.flush()
    session.execute(update(Order).where(Order.id >= 1010).values(total=Order.total * 2))
    with session.begin_nested() as savepoint:
        session.execute(text("update orders set customer = 'gone' where id = 1"))
        savepoint.rollback()
    out["after"] = [[order.id, order.customer, str(order.total)] for order in session.scalars(select(Order).where(Order.id.in_([1, 1009, 1029])).order_by(Order.id))]
    session.rollback()
    out["count"] = session.scalar(select(func.count()).select_from(Order))

with engine.connect() as conn:
    try:
        conn.execute(text("insert into orders values (1, 'again', 1)"))
    except exc.IntegrityError as error:
        out["error"] = [error.orig.sqlstate, error.orig.diag.constraint_name]
    conn.rollback()
    out["values"] = list(map(str, conn.execute(text("select :a + 1, :b, cast(:c as date)"), {"a": 1, "b": "x", "c": "2026-11-21"}).one()))
engine.dispose()
print(json.dumps(out, sort_keys=True))
