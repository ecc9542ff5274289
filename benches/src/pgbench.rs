//! Load from `pgbench`, and what it measured.

use crate::{Result, percentile};
use countersign_testkit::postgres::Postgres;
use std::{
    fs,
    net::SocketAddr,
    process::{Command, Output},
    time::Duration,
};
use tempfile::TempDir;

/// Somewhere to connect to, as somebody.
#[derive(Clone, Debug)]
pub struct Door<'a> {
    pub addr: SocketAddr,
    pub user: &'a str,
    pub password: &'a str,
    pub database: &'a str,
    /// Whether the client wants TLS.
    pub tls: bool,
}

/// What is run, over and over.
#[derive(Clone, Debug)]
pub enum Script<'a> {
    /// One of `pgbench`'s own: `select-only`, `tpcb-like`.
    Own(&'a str),
    /// A script's text.
    Text(&'a str),
}

/// One run of `pgbench`.
#[derive(Clone, Debug)]
pub struct Run {
    pub transactions: f64,
    pub per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
}

impl Door<'_> {
    /// A program of PostgreSQL's that connects here.
    pub fn program(&self, cluster: &Postgres, name: &str) -> Command {
        let mut command = cluster.program(name);
        command
            .env("PGPASSWORD", self.password)
            .env("PGSSLMODE", if self.tls { "require" } else { "disable" });
        command.args(["-h", "127.0.0.1", "-p", &self.addr.port().to_string(), "-U", self.user]);
        command
    }
}

/// Keeps `clients` busy with one transaction after the other. `mode` is the protocol, as `pgbench` names it. Any
/// failure is an error.
pub fn pgbench(
    cluster: &Postgres,
    door: &Door<'_>,
    script: &Script<'_>,
    mode: &str,
    clients: usize,
    span: Duration,
) -> Result<Run> {
    let folder = TempDir::new()?;
    let mut command = door.program(cluster, "pgbench");
    match script {
        Script::Own(name) => command.args(["-b", name]),
        Script::Text(text) => {
            fs::write(folder.path().join("script"), text)?;
            command.args(["-f", "script"])
        }
    };
    command.args(["-n", "-M", mode, "-c", &clients.to_string(), "-T", &span.as_secs().to_string()]);
    // A line for each transaction tells more than the mean.
    command.args(["-l", "--log-prefix", "log", door.database]).current_dir(folder.path());
    let Output { status, stdout, stderr } = command.output()?;
    let said = String::from_utf8_lossy(&stdout).into_owned();
    if !status.success() || !said.contains("number of failed transactions: 0") {
        let errors = String::from_utf8_lossy(&stderr).into_owned();
        return Err(format!("`pgbench` met failures:\n{said}{errors}").into());
    }
    let mut times = Vec::new();
    for entry in fs::read_dir(folder.path())? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("log") {
            let text = fs::read_to_string(entry.path())?;
            times.extend(text.lines().filter_map(|line| line.split(' ').nth(2)?.parse::<f64>().ok()));
        }
    }
    let after = |name: &str| said.lines().find_map(|line| line.strip_prefix(name));
    let rate = after("tps = ").and_then(|rest| rest.split(' ').next()?.parse().ok());
    let count = after("number of transactions actually processed: ").and_then(|rest| rest.parse().ok());
    let (Some(per_second), Some(transactions)) = (rate, count) else {
        return Err(format!("`pgbench` says something unknown:\n{said}").into());
    };
    Ok(Run {
        transactions,
        per_second,
        p50_us: percentile(&mut times, 50),
        p99_us: percentile(&mut times, 99),
    })
}
