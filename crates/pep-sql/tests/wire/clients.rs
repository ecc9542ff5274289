//! Clients nobody here wrote: their results through the gateway are what the server itself gives them.

use crate::stage::{SECRET, Said, Stage, finished};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Where `.ci/drivers` puts what it fetches.
pub(crate) fn drivers() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from);
    let drivers = target.join("drivers");
    assert!(drivers.exists(), "the drivers are not there\n\nhint: run `.ci/drivers`, as `make test` does");
    drivers
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/drivers").join(name)
}

pub(crate) fn python(name: &str) -> Command {
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", drivers().join("python")).env("PYTHONDONTWRITEBYTECODE", "1").arg(script(name));
    command
}

/// Runs a driver's script at the server itself and through the gateway, with host, port, user and password behind it.
async fn both(stage: &Stage, command: impl Fn() -> Command) -> (Said, Said) {
    let run = |port: u16, user: &str, password: &str| {
        let mut command = command();
        command.args(["127.0.0.1", &port.to_string(), user, password]);
        finished(command)
    };
    let direct = run(stage.cluster.port(), "app", SECRET).await;
    (direct, run(stage.addr.port(), "bot", "bot-token").await)
}

fn equal((direct, through): (Said, Said)) {
    assert!(direct.fine, "{direct:?}");
    assert!(through.fine, "{through:?}");
    assert_eq!(through.out, direct.out);
    assert!(direct.out.len() > 300, "{direct:?}");
}

/// The work of psycopg's script at the server itself, and through the gateway.
pub(crate) async fn psycopg(stage: &Stage) -> (Said, Said) {
    let run = |port: u16, user: &str, password: &str| {
        let mut command = python("with_psycopg.py");
        command.arg(format!(
            "host=127.0.0.1 port={port} user={user} password={password} dbname=shop sslmode=disable"
        ));
        finished(command)
    };
    let direct = run(stage.cluster.port(), "app", SECRET).await;
    (direct, run(stage.addr.port(), "bot", "bot-token").await)
}

#[tokio::test(flavor = "multi_thread")]
async fn psycopg_gets_what_the_server_gives() {
    let stage = Stage::set().await;
    equal(psycopg(&stage).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlalchemy_gets_what_the_server_gives() {
    let stage = Stage::set().await;
    equal(both(&stage, || python("with_sqlalchemy.py")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn jdbc_gets_what_the_server_gives() {
    const JARS: &str = "/usr/share/java";
    let jar = Path::new(JARS).join("postgresql.jar");
    assert!(jar.exists(), "the driver is not there\n\nhint: apt-get install libpostgresql-jdbc-java");
    let stage = Stage::set().await;
    let java = || {
        let mut command = Command::new("java");
        command.args(["-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", "-XX:TieredStopAtLevel=1", "-cp"]);
        command.arg(format!("{}:{JARS}/scram-client.jar:{JARS}/scram-common.jar", jar.display()));
        command.arg(script("WithJdbc.java"));
        command
    };
    equal(both(&stage, java).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn asyncpg_gets_what_the_server_gives() {
    let stage = Stage::set().await;
    equal(both(&stage, || python("with_asyncpg.py")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn node_postgres_gets_what_the_server_gives() {
    let stage = Stage::set().await;
    let node = || {
        let mut command = Command::new("node");
        command.env("NODE_PATH", drivers().join("node/node_modules")).arg(script("with_node.js"));
        command
    };
    equal(both(&stage, node).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn pg_dump_gets_what_the_server_gives() {
    let stage = Stage::set().await;
    let dump = |port: u16, user: &str, password: &str| {
        let mut command = stage.cluster.program("pg_dump");
        command.env("PGPASSWORD", password);
        command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", user, "--no-sync", "shop"]);
        finished(command)
    };
    let direct = dump(stage.cluster.port(), "app", SECRET).await;
    let through = dump(stage.addr.port(), "bot", "bot-token").await;
    // Newer releases mark each dump with a random word.
    let bare = |said: &Said| -> Vec<String> {
        said.out.lines().filter(|line| !line.starts_with('\\')).map(str::to_owned).collect()
    };
    assert!(through.fine, "{through:?}");
    assert_eq!(bare(&through), bare(&direct));
}

#[tokio::test(flavor = "multi_thread")]
async fn pgbench_runs_in_every_mode() {
    let stage = Stage::set().await;
    let port = stage.cluster.port().to_string();
    let mut made = stage.cluster.program("pgbench");
    made.env("PGPASSWORD", SECRET).args(["-h", "127.0.0.1", "-p", &port, "-U", "app", "-i", "-q", "shop"]);
    let made = finished(made).await;
    assert!(made.fine, "{made:?}");
    let port = stage.addr.port().to_string();
    for mode in ["simple", "extended", "prepared"] {
        for script in ["select-only", "tpcb-like"] {
            let mut command = stage.cluster.program("pgbench");
            command.env("PGPASSWORD", "bot-token").args(["-h", "127.0.0.1", "-p", &port, "-U", "bot"]);
            command.args(["-n", "-M", mode, "-b", script, "-c", "4", "-t", "25", "shop"]);
            let said = finished(command).await;
            assert!(
                said.fine && said.out.contains("number of transactions actually processed: 100/100"),
                "{mode} {script}: {said:?}"
            );
            assert!(said.out.contains("number of failed transactions: 0"), "{mode} {script}: {said:?}");
        }
    }
    assert_eq!(stage.direct("select count(*) from pgbench_history"), "300");
}
