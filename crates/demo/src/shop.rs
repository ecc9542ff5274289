//! A small shop database to act on, where a PostgreSQL server is installed: a cluster of its own, with 240 customers and
//! 1,200 orders, that ends with the demo however that ends.

use crate::{DemoError, policy};
use countersign_testkit::{
    pgclient::PgClient,
    postgres::{Options, Postgres},
};
use std::net::SocketAddr;

/// What the agent does in the story, and a person may paste.
pub const READ: &str = "SELECT status, count(*) FROM orders GROUP BY status ORDER BY status";
pub const DELETE: &str = "DELETE FROM orders WHERE status = 'cancelled'";
pub const DELETE_ALL: &str = "DELETE FROM orders";
/// Without a limit it may be all of them, and so is an export.
pub const EXPORT: &str = "SELECT name, email FROM customers";

/// How many orders there are, and how many of them are cancelled.
pub const ORDERS: u32 = 1_200;
pub const CANCELLED: u32 = 75;

const DATABASE: &str = "shop";
const ROLE: &str = "shop";

const TABLES: &str = "
SET ROLE shop;
CREATE TABLE customers (
    id int PRIMARY KEY, name text NOT NULL, email text NOT NULL UNIQUE);
CREATE TABLE orders (
    id int PRIMARY KEY, customer int NOT NULL REFERENCES customers, placed date NOT NULL,
    status text NOT NULL, total numeric(8, 2) NOT NULL);
INSERT INTO customers SELECT n, 'Customer ' || n, 'customer' || n || '@example.com' FROM generate_series(1, 240) n;
INSERT INTO orders SELECT n, 1 + n % 240, date '2026-01-01' + n % 300,
    CASE WHEN n % 16 = 0 THEN 'cancelled' WHEN n % 5 = 0 THEN 'open' ELSE 'paid' END, 5 + n % 97
    FROM generate_series(1, 1200) n;
ANALYZE;
";

/// The running database.
#[derive(Debug)]
pub struct Shop {
    cluster: Postgres,
}

/// How to get what is missing for it.
#[must_use]
pub fn hint() -> String {
    format!("on Debian or Ubuntu: apt-get install {}", Postgres::PACKAGE)
}

impl Shop {
    /// Starts it with the gateway's own password for it; `None` where no server is installed.
    pub async fn start(password: &str) -> Result<Option<Self>, DemoError> {
        if !Postgres::is_installed() {
            return Ok(None);
        }
        let cluster = Postgres::start(&Options::default()).await?;
        let role = format!("CREATE ROLE {ROLE} LOGIN PASSWORD '{password}'");
        let database = format!("CREATE DATABASE {DATABASE} OWNER {ROLE}");
        for (database, sql) in [("postgres", role.as_str()), ("postgres", &database), (DATABASE, TABLES)] {
            cluster.run(database, sql).map_err(DemoError::Database)?;
        }
        Ok(Some(Self { cluster }))
    }

    /// The target's section of the configuration; the password is in the file `shop.password`.
    pub fn section(&self, listen: SocketAddr) -> String {
        format!(
            r#"
[[postgres]]
name = "{target}"
environment = "{environment}"
listen = "{listen}"
upstream = "127.0.0.1:{port}"
databases = ["{DATABASE}"]
credential = {{ profile = "shop-owner", user = "{ROLE}", value_from = "file:shop.password" }}
tables = [{{ table = "public.customers", labels = ["pii"] }}]
"#,
            target = policy::SHOP,
            environment = policy::ENVIRONMENT,
            port = self.cluster.port(),
        )
    }

    /// How many rows the table has, asked without the gateway.
    pub(crate) fn count(&self, table: &str) -> Result<String, DemoError> {
        self.cluster.run(DATABASE, &format!("SELECT count(*) FROM {table}")).map_err(DemoError::Database)
    }

    /// A session of the agent's, through the gateway at `addr`.
    pub(crate) async fn session(addr: SocketAddr, agent: &str, token: &str) -> Result<PgClient, DemoError> {
        PgClient::connect(addr, agent, token, DATABASE).await.map_err(DemoError::Database)
    }
}

/// What to set so that plain `psql` finds the gateway.
pub(crate) fn environment(addr: SocketAddr, agent: &str) -> String {
    let (host, port) = (addr.ip(), addr.port());
    format!("export PGHOST={host} PGPORT={port} PGUSER={agent} PGDATABASE={DATABASE} PGPASSWORD=$TOKEN")
}
