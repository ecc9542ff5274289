//! How long the gateway takes from its start until it is ready, how much memory it rests in, and how large it is.

use countersign_benches::{
    Result,
    gateway::{Gateway, Setup, binary},
    median,
    report::{Figure, Goal, publish},
};
use serde_json::json;
use std::{
    thread::sleep,
    time::{Duration, Instant},
};

const RESTARTS: usize = 9;
/// After which it has settled.
const REST: Duration = Duration::from_secs(3);

const POLICY: &str = r#"
@id("read")
permit (principal in Group::"agents", action in Action::"read", resource in Environment::"prod");
@id("change") @gate("change") @approvers("Group::\"sre\"") @reason("production is changed")
forbid (principal, action in Action::"configure", resource);
"#;

const TARGET: &str = r#"
[[http.operations]]
name = "readStatus"
method = "GET"
path = "/status"
class = "read"
"#;

fn main() -> Result<()> {
    let setup = Setup { policy: POLICY, upstream: "http://127.0.0.1:9", target: TARGET, limits: "" };
    let begun = Instant::now();
    let mut gateway = Gateway::start(&setup)?;
    let first = begun.elapsed().as_secs_f64() * 1e3;
    let mut times = Vec::new();
    for _ in 0..RESTARTS {
        times.push(gateway.restart()?.as_secs_f64() * 1e3);
    }
    let again = median(&mut times);
    sleep(REST);
    let idle = gateway.resident_kib()? / 1024.0;
    let size = f64::from(u32::try_from(std::fs::metadata(binary()?)?.len() >> 10)?) / 1024.0;
    let figures = [
        Figure::new("from start to ready", again, "ms", Goal::AtMost(1000.0)),
        Figure::new("memory at rest", idle, "MiB", Goal::AtMost(64.0)),
        Figure::new("release binary", size, "MiB", Goal::AtMost(60.0)),
    ];
    let measured = json!({"first_start_ms": first, "start_ms": again, "idle_mib": idle, "binary_mib": size});
    publish("start", measured, &figures)
}
