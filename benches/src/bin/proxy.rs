//! What the gateway adds to an HTTP request that policy permits, with everything recorded: beside the same target
//! reached directly, and beside nginx as a plain reverse proxy before it, in one run.

use countersign_benches::{
    Result,
    disk::fdatasync_us,
    gateway::{Gateway, Setup},
    load::{Load, wrk},
    process,
    report::{Figure, Goal, publish},
};
use countersign_testkit::nginx::{Nginx, Site};
use serde_json::{Value, json};
use std::time::Duration;

const SPAN: Duration = Duration::from_secs(5);
const WARM: Duration = Duration::from_secs(1);
const MANY: usize = 32;

const POLICY: &str = r#"
@id("read-orders")
permit (principal in Group::"agents", action in Action::"read", resource in Environment::"prod");
"#;

const TARGET: &str = r#"
[[http.operations]]
name = "readOrder"
method = "GET"
path = "/orders/{order}"
class = "read"
sentence = "Read the order {order}"
resources = [{ kind = "order", name = "{order}" }]
"#;

/// One way to the target, under both loads.
struct Way {
    one: Load,
    many: Load,
}

impl Way {
    fn load(url: &str, header: Option<&str>) -> Result<Self> {
        wrk(url, MANY, WARM, header)?;
        Ok(Self { one: wrk(url, 1, SPAN, header)?, many: wrk(url, MANY, SPAN, header)? })
    }

    fn told(&self) -> Value {
        let told = |load: &Load| json!({"per_second": load.per_second, "p50_us": load.p50_us, "p99_us": load.p99_us});
        json!({"connections_1": told(&self.one), "connections_32": told(&self.many)})
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let upstream = Nginx::start(Site::Files).await?;
    std::fs::create_dir(upstream.root().join("orders"))?;
    std::fs::write(upstream.root().join("orders/4711"), "paid\n")?;
    let nginx = Nginx::start(Site::ReverseProxy { upstream: upstream.url() }).await?;
    let setup = Setup { policy: POLICY, upstream: &upstream.url(), target: TARGET, limits: "" };
    let gateway = Gateway::start(&setup)?;
    let authorization = format!("authorization: Bearer {}", gateway.agent("bot")?);
    let auditor = gateway.person("ana@example.com").await?;

    let fdatasync = fdatasync_us(gateway.folder())?;
    let direct = Way::load(&format!("{}/orders/4711", upstream.url()), None)?;
    let before = process::cpu(nginx.pid())?;
    let through_nginx = Way::load(&format!("{}/orders/4711", nginx.url()), None)?;
    let nginx_requests = through_nginx.one.requests + through_nginx.many.requests;
    let nginx_cpu = process::cpu(nginx.pid())?.saturating_sub(before).as_secs_f64() * 1e6 / nginx_requests;
    let url = format!("{}/orders/4711", gateway.url());
    wrk(&url, MANY, WARM, Some(&authorization))?;
    let one = wrk(&url, 1, SPAN, Some(&authorization))?;
    let (entries, cpu) = (gateway.entries(&auditor).await?, gateway.cpu()?);
    let many = wrk(&url, MANY, SPAN, Some(&authorization))?;
    let used = gateway.cpu()?.saturating_sub(cpu).as_secs_f64() * 1e6 / many.requests;
    let recorded = (gateway.entries(&auditor).await? - entries) / many.requests;
    if recorded < 2.0 {
        return Err(format!("only {recorded} entries were recorded for each request").into());
    }

    let added = one.p50_us - direct.one.p50_us;
    let bound = 2.0 * fdatasync + 500.0;
    let ratio = many.per_second / through_nginx.many.per_second;
    let gateway_way = Way { one, many };
    let figures = [
        Figure::new(
            format!(
                "permitted HTTP request, recorded before and after: added latency, 1 connection, median (2 × fdatasync of {fdatasync:.0} µs + 500 µs)"
            ),
            added,
            "µs",
            Goal::AtMost(bound.round()),
        ),
        Figure::new(
            "the same, 32 connections: rate beside nginx as a plain proxy",
            ratio,
            "",
            Goal::AtLeast(0.4),
        ),
        Figure::new(
            format!(
                "the same: processor time in the gateway (nginx as a plain proxy took {nginx_cpu:.0} µs)"
            ),
            used,
            "µs",
            Goal::AtMost(60.0),
        ),
    ];
    let measured = json!({
        "fdatasync_us": fdatasync, "direct": direct.told(), "nginx": through_nginx.told(),
        "gateway": gateway_way.told(), "added_latency_us": added, "rate_to_nginx": ratio,
        "cpu_us_per_request": used, "nginx_cpu_us_per_request": nginx_cpu, "entries_per_request": recorded,
    });
    publish("proxy", measured, &figures)
}
