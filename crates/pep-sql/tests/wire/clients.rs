//! Clients nobody here wrote: their results through the gateway are what the server itself gives them.

use crate::stage::{Stage, finished};

#[tokio::test(flavor = "multi_thread")]
async fn pgbench_runs_in_every_mode() {
    let stage = Stage::set().await;
    let port = stage.cluster.port().to_string();
    let mut made = stage.cluster.program("pgbench");
    made.env("PGPASSWORD", crate::stage::SECRET).args([
        "-h",
        "127.0.0.1",
        "-p",
        &port,
        "-U",
        "app",
        "-i",
        "-q",
        "shop",
    ]);
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
