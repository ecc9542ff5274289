//! What the gateway adds to PostgreSQL statements that policy permits, with everything recorded: beside the server
//! reached directly, and beside pgbouncer pooling sessions before it, in one run. And what an idle session takes, and how
//! soon a cancel request is at the server. With the argument `short`, only what the goals are about.

use countersign_benches::{
    Result,
    disk::fdatasync_us,
    gateway::Gateway,
    median,
    pgbench::{Door, Run, Script, pgbench},
    pgbouncer::{Behind, PgBouncer},
    process,
    report::{Figure, Goal, publish},
};
use countersign_testkit::{
    pgclient::{PgClient, sqlstate},
    postgres::{Options, Postgres},
};
use rcgen::generate_simple_self_signed;
use serde_json::{Map, Value, json};
use std::{
    fs,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};
use tokio::time::sleep;

const SPAN: Duration = Duration::from_secs(2);
/// What the goals are about is measured longer.
const LONG: Duration = Duration::from_secs(4);
const MANY: usize = 16;
const IDLE: u32 = 200;
const CANCELS: usize = 20;
/// Rows that are copied.
const COPIED: u32 = 500_000;
const COPIES: usize = 3;

const DATABASE: &str = "bench";
const SECRET: &str = "bench-secret";

const POLICY: &str = r#"
@id("agents")
permit (principal in Group::"agents", action, resource in Environment::"prod");
"#;

/// The same with its reads recorded afterwards.
const DEFERRED: &str = r#"
@id("agents") @record("deferred")
permit (principal in Group::"agents", action, resource in Environment::"prod");
"#;

const THOUSAND: &str = "SELECT * FROM pgbench_accounts WHERE aid BETWEEN 5001 AND 6000;\n";

/// The ways to one server.
struct Ways<'a> {
    cluster: &'a Postgres,
    gateway: &'a Gateway,
    pgbouncer: &'a PgBouncer,
    token: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Direct,
    PgBouncer,
    Gateway,
}

const WAYS: [Way; 3] = [Way::Direct, Way::PgBouncer, Way::Gateway];

impl Way {
    const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::PgBouncer => "pgbouncer",
            Self::Gateway => "gateway",
        }
    }
}

/// A run, and the processor time of whatever stood between.
struct Cell {
    run: Run,
    cpu_us: f64,
}

impl<'a> Ways<'a> {
    fn door(&self, way: Way, tls: bool) -> Door<'a> {
        let (addr, user, password) = match way {
            Way::Direct => (SocketAddr::from(([127, 0, 0, 1], self.cluster.port())), "app", SECRET),
            Way::PgBouncer => (self.pgbouncer.addr(), "app", SECRET),
            Way::Gateway => (self.gateway.wire(), "bot", self.token),
        };
        Door { addr, user, password, database: DATABASE, tls }
    }

    fn cpu(&self, way: Way) -> Result<Duration> {
        match way {
            Way::Direct => Ok(Duration::ZERO),
            Way::PgBouncer => process::cpu(self.pgbouncer.pid()),
            Way::Gateway => self.gateway.cpu(),
        }
    }

    fn cell(
        &self,
        way: Way,
        tls: bool,
        script: &Script<'_>,
        mode: &str,
        clients: usize,
        span: Duration,
    ) -> Result<Cell> {
        let before = self.cpu(way)?;
        let run = pgbench(self.cluster, &self.door(way, tls), script, mode, clients, span)?;
        let used = self.cpu(way)?.saturating_sub(before).as_secs_f64();
        Ok(Cell { cpu_us: used * 1e6 / run.transactions, run })
    }

    /// The three ways under one load, one after the other.
    fn row(
        &self,
        tls: bool,
        script: &Script<'_>,
        mode: &str,
        clients: usize,
        span: Duration,
    ) -> Result<[Cell; 3]> {
        let [direct, pgbouncer, gateway] = WAYS.map(|way| self.cell(way, tls, script, mode, clients, span));
        Ok([direct?, pgbouncer?, gateway?])
    }

    /// Seconds for copying rows out and in, by way: what is copied in is what was copied out of the server itself.
    fn copied(&self) -> Result<([f64; 3], [f64; 3])> {
        let file = self.gateway.folder().join("rows");
        let text =
            format!("\\copy (select * from pgbench_accounts where aid <= {COPIED}) to '{}'", file.display());
        let mut psql = self.door(Way::Direct, false).program(self.cluster, "psql");
        let written = psql.args(["-d", DATABASE, "-c", &text]).output()?;
        if !written.status.success() {
            return Err(String::from_utf8_lossy(&written.stderr).into_owned().into());
        }
        let copies = |file: Option<&Path>| -> Result<[f64; 3]> {
            let [direct, pgbouncer, gateway] = WAYS.map(|way| self.copies(way, file));
            Ok([direct?, pgbouncer?, gateway?])
        };
        Ok((copies(None)?, copies(Some(&file))?))
    }

    /// Seconds a copy takes, out of the server or into it; the middle of a few.
    fn copies(&self, way: Way, file: Option<&Path>) -> Result<f64> {
        let text = match file {
            None => format!("copy (select * from pgbench_accounts where aid <= {COPIED}) to stdout"),
            Some(file) => format!("\\copy copied from '{}'", file.display()),
        };
        let mut times = Vec::new();
        for _ in 0..COPIES {
            self.cluster.run(DATABASE, "truncate copied")?;
            let mut command = self.door(way, false).program(self.cluster, "psql");
            command.args(["-X", "-q", "-d", DATABASE, "-o", "/dev/null", "-c", &text]);
            let begun = Instant::now();
            let done = command.output()?;
            times.push(begun.elapsed().as_secs_f64());
            if !done.status.success() {
                return Err(format!("`{text}` failed: {}", String::from_utf8_lossy(&done.stderr)).into());
            }
        }
        Ok(median(&mut times))
    }
}

fn told(cells: &[Cell; 3]) -> Value {
    let cell = |cell: &Cell| json!({"per_second": cell.run.per_second, "p50_us": cell.run.p50_us, "p99_us": cell.run.p99_us, "cpu_us": cell.cpu_us});
    let named = WAYS.iter().zip(cells).map(|(way, told)| (way.name().to_owned(), cell(told)));
    Value::Object(named.collect())
}

fn rate([_, pgbouncer, gateway]: &[Cell; 3]) -> f64 {
    gateway.run.per_second / pgbouncer.run.per_second
}

async fn cluster(tls: (&str, &str)) -> Result<Postgres> {
    let settings = [
        // As it is run where it matters.
        "fsync = on",
        "shared_buffers = 256MB",
        "max_connections = 300",
        "max_wal_size = 4GB",
        "checkpoint_timeout = 1h",
    ];
    let tls = Some((tls.0.to_owned(), tls.1.to_owned()));
    let settings = settings.map(str::to_owned).to_vec();
    let cluster = Postgres::start(&Options { tls, settings, ..Options::default() }).await?;
    cluster.run("postgres", &format!("create role app login password '{SECRET}'"))?;
    cluster.run("postgres", &format!("create database {DATABASE} owner app"))?;
    let addr = SocketAddr::from(([127, 0, 0, 1], cluster.port()));
    let door = Door { addr, user: "app", password: SECRET, database: DATABASE, tls: false };
    let made = door.program(&cluster, "pgbench").args(["-i", "-q", "-s", "10", DATABASE]).output()?;
    if !made.status.success() {
        return Err(String::from_utf8_lossy(&made.stderr).into_owned().into());
    }
    cluster.run(DATABASE, "set role app; create unlogged table copied (like pgbench_accounts)")?;
    cluster.run(DATABASE, "vacuum analyze")?;
    Ok(cluster)
}

fn section(folder: &Path, wire: u16, database: u16, tls: (&str, &str)) -> Result<String> {
    for (name, text) in [("secret", SECRET), ("crt", tls.0), ("key", tls.1)] {
        fs::write(folder.join(name), text)?;
    }
    Ok(format!(
        r#"[[postgres]]
name = "bench"
environment = "prod"
listen = "127.0.0.1:{wire}"
upstream = "127.0.0.1:{database}"
databases = ["{DATABASE}"]
credential = {{ profile = "app", user = "app", value_from = "file:secret" }}
listener_tls = {{ certificate = "crt", key = "key" }}
"#
    ))
}

/// KiB that one more session takes, having run a statement.
async fn idle(gateway: &Gateway, token: &str) -> Result<f64> {
    let mut sessions = Vec::new();
    let before = gateway.resident_kib()?;
    for number in 0..IDLE {
        let mut client = PgClient::connect(gateway.wire(), "bot", token, DATABASE).await?;
        client.query(&format!("select abalance from pgbench_accounts where aid = {}", number + 1)).await?;
        sessions.push(client);
    }
    sleep(Duration::from_secs(1)).await;
    Ok((gateway.resident_kib()? - before) / f64::from(IDLE))
}

/// Milliseconds from a cancel request until the client has the server's word that it was cancelled: the middle, and
/// the longest.
async fn cancel(cluster: &Postgres, gateway: &Gateway, token: &str) -> Result<(f64, f64)> {
    let mut client = PgClient::connect(gateway.wire(), "bot", token, DATABASE).await?;
    let key = client.key();
    let running =
        "select count(*) from pg_stat_activity where query = 'select pg_sleep(60)' and state = 'active'";
    let mut times = Vec::new();
    for _ in 0..CANCELS {
        client.ask("select pg_sleep(60)").await?;
        while cluster.run(DATABASE, running)? != "1" {}
        let begun = Instant::now();
        let (asked, answer) = tokio::join!(key.cancel(), client.until_ready());
        asked?;
        let answer = answer?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        if sqlstate(&answer).as_deref() != Some("57014") {
            return Err("a statement was not cancelled".into());
        }
    }
    let middle = median(&mut times);
    Ok((middle, times.last().copied().unwrap_or_default()))
}

/// The loads that no goal speaks of.
fn others(ways: &Ways<'_>, loads: &mut Map<String, Value>) -> Result<()> {
    let rows = ways.row(true, &Script::Text(THOUSAND), "simple", 1, SPAN)?;
    loads.insert("1000 rows simple tls 1".into(), told(&rows));
    for name in ["select-only", "tpcb-like"] {
        for mode in ["simple", "prepared"] {
            for tls in [false, true] {
                for clients in [1, MANY] {
                    let wire = if tls { "tls" } else { "plain" };
                    let load = format!("{name} {mode} {wire} {clients}");
                    if !loads.contains_key(&load) {
                        loads.insert(load, told(&ways.row(tls, &Script::Own(name), mode, clients, SPAN)?));
                    }
                }
            }
        }
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let short = std::env::args().any(|argument| argument == "short");
    let made = generate_simple_self_signed(["localhost".to_owned()])?;
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let tls = (certificate.as_str(), key.as_str());
    let cluster = cluster(tls).await?;
    let behind = Behind { port: cluster.port(), database: DATABASE, user: "app", password: SECRET, tls };
    let pgbouncer = PgBouncer::start(&behind)?;
    let database = cluster.port();
    let gateway = Gateway::before(POLICY, "", |folder, wire| section(folder, wire, database, tls))?;
    let token = gateway.agent("bot")?;
    let auditor = gateway.person("ana@example.com").await?;
    let ways = Ways { cluster: &cluster, gateway: &gateway, pgbouncer: &pgbouncer, token: &token };

    // First, while no load has left memory behind that is used again.
    let per_idle = idle(&gateway, &token).await?;
    let fdatasync = fdatasync_us(gateway.folder())?;
    let select = Script::Own("select-only");
    let one = ways.row(false, &select, "simple", 1, LONG)?;
    let entries = gateway.entries(&auditor).await?;
    let many = ways.row(false, &select, "simple", MANY, LONG)?;
    let [_, bouncing, many_gateway] = &many;
    let recorded = (gateway.entries(&auditor).await? - entries) / many_gateway.run.transactions;
    // The newest may not be in the tree yet when it is asked.
    if recorded < 1.99 {
        return Err(format!("only {recorded} entries were recorded for each statement").into());
    }
    let rows = ways.row(false, &Script::Text(THOUSAND), "simple", 1, LONG)?;

    let mut loads = Map::new();
    loads.insert("select-only simple plain 1".into(), told(&one));
    loads.insert("select-only simple plain 16".into(), told(&many));
    loads.insert("1000 rows simple plain 1".into(), told(&rows));
    if !short {
        others(&ways, &mut loads)?;
    }
    let (copied_out, copied_in) = ways.copied()?;
    let ratio = |[_, pgbouncer, gateway]: [f64; 3]| pgbouncer / gateway;
    let (cancelled, slowest) = cancel(&cluster, &gateway, &token).await?;
    drop(gateway);
    let gateway = Gateway::before(DEFERRED, "", |folder, wire| section(folder, wire, database, tls))?;
    let token = gateway.agent("bot")?;
    let auditor = gateway.person("ana@example.com").await?;
    let ways = Ways { cluster: &cluster, gateway: &gateway, pgbouncer: &pgbouncer, token: &token };
    let entries = gateway.entries(&auditor).await?;
    let [_, deferred_pgbouncer, deferred] = ways.row(false, &select, "simple", MANY, LONG)?;
    let afterwards = (gateway.entries(&auditor).await? - entries) / deferred.run.transactions;
    if afterwards < 1.99 {
        return Err(format!("only {afterwards} entries were recorded for each deferred read").into());
    }
    let deferred_rate = deferred.run.per_second / deferred_pgbouncer.run.per_second;

    let [direct, _, through] = &one;
    let added = through.run.p50_us - direct.run.p50_us;
    let bound = 2.0 * fdatasync + 400.0;
    let figures = [
        Figure::new(
            format!(
                "permitted SQL statement, recorded before and after: added latency, 1 client, median (2 × fdatasync of {fdatasync:.0} µs + 400 µs)"
            ),
            added,
            "µs",
            Goal::AtMost(bound.round()),
        ),
        Figure::new(
            "the same, 16 clients: rate beside pgbouncer pooling sessions",
            rate(&many),
            "",
            Goal::AtLeast(0.5),
        ),
        Figure::new(
            format!("the same: processor time in the gateway (pgbouncer took {:.0} µs)", bouncing.cpu_us),
            many_gateway.cpu_us,
            "µs",
            Goal::AtMost(95.0),
        ),
        Figure::new(
            "the same, recorded afterwards by policy: rate beside pgbouncer",
            deferred_rate,
            "",
            Goal::AtLeast(0.8),
        ),
        Figure::new("1,000 rows, 1 client: rate beside pgbouncer", rate(&rows), "", Goal::AtLeast(0.8)),
        Figure::new(
            "`COPY` out of 500,000 rows: rate beside pgbouncer",
            ratio(copied_out),
            "",
            Goal::AtLeast(0.9),
        ),
        Figure::new("`COPY` in of as many: rate beside pgbouncer", ratio(copied_in), "", Goal::AtLeast(0.9)),
        Figure::new("idle PostgreSQL session: memory in the gateway", per_idle, "KiB", Goal::AtMost(256.0)),
        Figure::new(
            "from a cancel request to the server's answer to it, slowest of 20",
            slowest,
            "ms",
            Goal::AtMost(50.0),
        ),
    ];
    let measured = json!({
        "fdatasync_us": fdatasync, "added_latency_us": added, "entries_per_statement": recorded, "loads": loads,
        "copy_out_s": copied_out, "copy_in_s": copied_in, "idle_kib": per_idle,
        "cancel_ms": {"p50": cancelled, "max": slowest},
        "deferred": {"per_second": deferred.run.per_second, "pgbouncer": deferred_pgbouncer.run.per_second, "cpu_us": deferred.cpu_us},
    });
    publish("sql", measured, &figures)
}
