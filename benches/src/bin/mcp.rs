//! What the gateway adds to an MCP tool call that policy permits, with everything recorded: beside the same server
//! reached directly, in one run. One server is of the official TypeScript SDK and has tools that do nothing, as servers are
//! that people write; the other does not even read its calls, which shows what the gateway itself costs. And what a held call
//! costs while it waits.

use countersign_benches::{
    Result,
    disk::fdatasync_us,
    gateway::{Gateway, drivers},
    load::{Load, wrk_script},
    report::{Figure, Goal, publish},
};
use serde_json::{Value, json};
use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

const SPAN: Duration = Duration::from_secs(4);
const WARM: Duration = Duration::from_secs(1);
const MANY: usize = 16;
const HELD: u32 = 10_000;
/// How many requests are on their way in at once while the stage is set.
const AT_ONCE: usize = 64;
const PATIENCE: Duration = Duration::from_mins(2);
/// After which memory has settled.
const REST: Duration = Duration::from_secs(2);

const POLICY: &str = r#"
@id("agents")
permit (principal in Group::"agents", action in Action::"mcp", resource in Environment::"prod");
@id("change") @gate("change") @approvers("Group::\"sre\"") @expires("2h") @reason("an order is changed")
forbid (principal, action in Action::"write", resource);
"#;

const TOOLS: &str = r#"{"tools":[
{"name":"look","description":"Looks at an order.","inputSchema":{"type":"object","properties":{"order":{"type":"integer"}}}},
{"name":"large","description":"Gives a large answer.","inputSchema":{"type":"object"}},
{"name":"change","description":"Changes an order.","inputSchema":{"type":"object","properties":{"order":{"type":"integer"}}}}]}"#;

fn section(name: &str, wire: u16, server: SocketAddr) -> String {
    format!(
        r#"[[mcp]]
name = "{name}"
environment = "prod"
listen = "127.0.0.1:{wire}"
upstream = "http://{server}/mcp"
hold_limit = "1h"
limits = {{ request_head = "1h", idle = "1h", connections = 12000 }}

[[mcp.tools]]
name = "look"
class = "read"

[[mcp.tools]]
name = "large"
class = "read"

[[mcp.tools]]
name = "change"
class = "write"
"#
    )
}

/// The server of the SDK. Dropping it kills it.
struct Sdk(Child);

impl Drop for Sdk {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Sdk {
    /// Starts it beside the packages that it uses, and waits until it answers.
    async fn start() -> Result<(Self, SocketAddr)> {
        let script = drivers()?.join("node/sdk_server.mjs");
        fs::write(&script, include_str!("../sdk_server.mjs"))?;
        let address = SocketAddr::from(([127, 0, 0, 1], countersign_testkit::ports::free()?));
        let started = Command::new("node").arg(script).arg(address.port().to_string()).spawn()?;
        let sdk = Self(started);
        let answers = async {
            while TcpStream::connect(address).await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, answers).await?;
        Ok((sdk, address))
    }
}

/// One server, each way.
struct Cells {
    direct: [Load; 3],
    through: [Load; 3],
}

impl Cells {
    fn of(direct: &Way, through: &Way) -> Result<Self> {
        direct.warm()?;
        through.warm()?;
        Ok(Self { direct: direct.loads()?, through: through.loads()? })
    }

    /// What the gateway adds to a call, 1 at once, in microseconds; its rate, 16 at once; and its time for a large result, each
    /// beside the server itself.
    fn figures(&self) -> (f64, f64, f64) {
        let ([one, many, large], [own_one, own_many, own_large]) = (&self.direct, &self.through);
        let added = own_one.p50_us - one.p50_us;
        (added, own_many.per_second / many.per_second, own_large.p50_us / large.p50_us)
    }

    fn told(&self) -> Value {
        let of = |load: &Load| json!({"per_second": load.per_second, "p50_us": load.p50_us, "p99_us": load.p99_us});
        let all = |[one, many, large]: &[Load; 3]| json!({"calls_1": of(one), "calls_16": of(many), "large_1": of(large)});
        json!({"direct": all(&self.direct), "gateway": all(&self.through)})
    }
}

/// A way to the server: where, and with which headers.
struct Way {
    url: String,
    token: String,
    session: String,
    folder: PathBuf,
}

impl Way {
    /// Every answer is looked at.
    fn warm(&self) -> Result<()> {
        self.load("look", MANY, WARM).map(drop)
    }

    /// Small calls one at once and many, and large results.
    fn loads(&self) -> Result<[Load; 3]> {
        Ok([self.load("look", 1, SPAN)?, self.load("look", MANY, SPAN)?, self.load("large", 1, SPAN)?])
    }

    /// Calls of this tool, one after the other on each connection.
    fn load(&self, tool: &str, connections: usize, span: Duration) -> Result<Load> {
        let script = self.folder.join("call.lua");
        let text = format!(
            r#"wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Accept"] = "application/json, text/event-stream"
wrk.headers["Authorization"] = "Bearer {}"
wrk.headers["Mcp-Session-Id"] = "{}"
local id = 100
request = function()
  id = id + 1
  return wrk.format(nil, nil, nil, '{{"jsonrpc":"2.0","id":' .. id .. ',"method":"tools/call","params":{{"name":"{tool}","arguments":{{"order":4711}}}}}}')
end
response = function(status, headers, body)
  if body:find('"isError":true') or body:find('"error"') then wrk.thread:stop() end
end
"#,
            self.token, self.session
        );
        // Reading every answer in Lua costs the client time: only while warming up.
        let quick = text.split("response =").next().unwrap_or_default().to_owned();
        fs::write(&script, if span == WARM { &text } else { &quick })?;
        wrk_script(&self.url, connections, span, &script)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    rlimit::increase_nofile_limit(u64::MAX)?;
    let server = serve().await?;
    let (sdk, sdk_address) = Sdk::start().await?;
    let limits = format!("pending_per_principal = {HELD}");
    let sdk_wire = countersign_testkit::ports::free()?;
    let gateway = Gateway::before(POLICY, &limits, |_, wire| {
        Ok(section("shop", wire, server) + &section("sdk", sdk_wire, sdk_address))
    })?;
    for name in ["shop", "sdk"] {
        gateway.command(&["mcp", "accept", name, "--all"])?;
    }
    let token = gateway.agent("bot")?;
    let auditor = gateway.person("ana@example.com").await?;
    let fdatasync = fdatasync_us(gateway.folder())?;
    let folder = gateway.folder().to_owned();
    let direct = |server| Way {
        url: format!("http://{server}/mcp"),
        token: "none".into(),
        session: "s".into(),
        folder: folder.clone(),
    };
    let through = async |wire| {
        let session = open(wire, &token).await?;
        let url = format!("http://{wire}/mcp");
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Way {
            url,
            token: token.clone(),
            session,
            folder: folder.clone(),
        })
    };
    let own = Cells::of(&direct(sdk_address), &through(SocketAddr::from(([127, 0, 0, 1], sdk_wire))).await?)?;
    drop(sdk);
    let way = through(gateway.wire()).await?;
    let direct = direct(server);
    direct.warm()?;
    let direct = direct.loads()?;
    way.warm()?;
    let before = (gateway.cpu()?, gateway.entries(&auditor).await?);
    let bare = Cells { direct, through: way.loads()? };
    let session = way.session;
    let calls: f64 = bare.through.iter().map(|load| load.requests).sum();
    let recorded = (gateway.entries(&auditor).await? - before.1) / calls;
    if recorded < 2.0 {
        return Err(format!("only {recorded} entries were recorded for each call").into());
    }
    let cpu = gateway.cpu()?.saturating_sub(before.0).as_secs_f64() * 1e6 / calls;

    let empty = gateway.resident_kib()?;
    let streams = connect(gateway.wire(), &token, &session).await?;
    sleep(REST).await;
    let idle = gateway.resident_kib()?;
    let waiting = hold(streams, &token, &session).await?;
    sleep(REST).await;
    let held = gateway.resident_kib()?;
    drop(waiting);

    let per_held = (held - idle) / f64::from(HELD);
    let bound = (2.0 * fdatasync + 500.0).round();
    let (added, rate, transfer) = own.figures();
    let (bare_added, bare_rate, bare_transfer) = bare.figures();
    let what = "permitted MCP tool call, recorded before and after: added latency, 1 at once, median";
    let figures = [
        Figure::new(
            format!("{what} (2 × fdatasync of {fdatasync:.0} µs + 500 µs)"),
            bare_added.max(added),
            "µs",
            Goal::AtMost(bound),
        ),
        Figure::new(
            "the same, 16 at once: calls beside a server of the TypeScript SDK reached directly",
            rate,
            "",
            Goal::AtLeast(0.5),
        ),
        Figure::new(
            "the same beside a server that does not read its calls",
            bare_rate,
            "",
            Goal::AtLeast(0.5),
        ),
        Figure::new(
            "an MCP result of 1 MiB: time beside a server of the TypeScript SDK reached directly",
            transfer,
            "",
            Goal::AtMost(1.15),
        ),
        Figure::new("the same beside a server that only writes it", bare_transfer, "", Goal::AtMost(1.15)),
        Figure::new(
            "10,000 held MCP calls: memory each, above its connection",
            per_held,
            "KiB",
            Goal::AtMost(32.0),
        ),
    ];
    let measured = json!({
        "fdatasync_us": fdatasync, "sdk": own.told(), "bare": bare.told(), "added_latency_us": [added, bare_added],
        "rate_to_direct": [rate, bare_rate], "large_to_direct": [transfer, bare_transfer], "cpu_us_per_call": cpu,
        "entries_per_call": recorded, "held": HELD, "empty_mib": empty / 1024.0, "idle_connections_mib": idle / 1024.0,
        "held_mib": held / 1024.0, "per_connection_kib": (idle - empty) / f64::from(HELD), "per_held_kib": per_held,
    });
    publish("mcp", measured, &figures)
}

/// A server that answers everything at once, as JSON.
async fn serve() -> Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let large = "x".repeat(1 << 20);
    let large: &'static str =
        Box::leak(format!(r#"{{"content":[{{"type":"text","text":"{large}"}}]}}"#).into_boxed_str());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, large));
        }
    });
    Ok(address)
}

async fn answer(mut stream: TcpStream, large: &'static str) {
    let _ = stream.set_nodelay(true);
    let mut read = Vec::new();
    while let Some(body) = next(&mut stream, &mut read).await {
        let message: Value = serde_json::from_slice(&body).unwrap_or_default();
        let text = |pointer: &str| message.pointer(pointer).and_then(Value::as_str);
        let result = match (text("/method"), text("/params/name")) {
            (Some("initialize"), _) => {
                r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"bench","version":"1"}}"#
            }
            (Some("tools/list"), _) => TOOLS,
            (Some("tools/call"), Some("large")) => large,
            (Some("tools/call"), _) => r#"{"content":[{"type":"text","text":"paid"}]}"#,
            _ => "",
        };
        let told = match message.get("id") {
            Some(id) if !result.is_empty() => {
                let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
                format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nmcp-session-id: s\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                )
            }
            _ => "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".into(),
        };
        if stream.write_all(told.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The next request's body.
async fn next(stream: &mut TcpStream, read: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut piece = [0; 4096];
    loop {
        if let Some(head) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(read.get(..head)?).to_ascii_lowercase();
            let length =
                text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            let end = head + 4 + length.unwrap_or(0);
            if read.len() >= end {
                let body = read.get(head + 4..end)?.to_vec();
                read.drain(..end);
                return Some(body);
            }
        }
        match stream.read(&mut piece).await.ok()? {
            0 => return None,
            count => read.extend_from_slice(piece.get(..count)?),
        }
    }
}

fn request(token: &str, session: Option<&str>, body: &str) -> String {
    let session = session.map_or_else(String::new, |session| format!("mcp-session-id: {session}\r\n"));
    format!(
        "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\n{session}content-type: application/json\r\n\
         accept: application/json, text/event-stream\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn call(tool: &str, id: u32) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{{"order":{id}}}}}}}"#
    )
}

/// Opens a session through the gateway.
async fn open(gateway: SocketAddr, token: &str) -> Result<String> {
    let mut stream = TcpStream::connect(gateway).await?;
    let hello = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}"#;
    stream.write_all(request(token, None, hello).as_bytes()).await?;
    let said = head(&mut stream).await?;
    let session = said.lines().find_map(|line| line.strip_prefix("mcp-session-id: "));
    let session = session.ok_or_else(|| format!("no session was opened:\n{said}"))?.trim().to_owned();
    let mut stream = TcpStream::connect(gateway).await?;
    let ready = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    stream.write_all(request(token, Some(&session), ready).as_bytes()).await?;
    head(&mut stream).await?;
    Ok(session)
}

/// What has come of an answer once its head is there.
async fn head(stream: &mut TcpStream) -> Result<String> {
    let mut said = Vec::new();
    while !said.windows(4).any(|window| window == b"\r\n\r\n") {
        let mut piece = [0; 2048];
        let read = timeout(PATIENCE, stream.read(&mut piece)).await??;
        if read == 0 {
            return Err("the gateway ended the connection".into());
        }
        said.extend_from_slice(piece.get(..read).unwrap_or_default());
    }
    Ok(String::from_utf8_lossy(&said).into_owned())
}

/// Sends one call on a connection and waits for the head of its answer.
async fn ask(mut stream: TcpStream, asked: String, wants: &str) -> Result<TcpStream> {
    stream.write_all(asked.as_bytes()).await?;
    let said = head(&mut stream).await?;
    if !said.to_ascii_lowercase().contains(wants) {
        return Err(format!("not answered with {wants}:\n{said}").into());
    }
    Ok(stream)
}

/// Opens every connection and has one permitted call answered on it, so that each is one at rest.
async fn connect(gateway: SocketAddr, token: &str, session: &str) -> Result<Vec<TcpStream>> {
    let (mut streams, mut opening) = (Vec::with_capacity(HELD as usize), JoinSet::new());
    for id in 0..HELD {
        let asked = request(token, Some(session), &call("look", id));
        opening
            .spawn(async move { ask(TcpStream::connect(gateway).await?, asked, "application/json").await });
        if opening.len() >= AT_ONCE
            && let Some(opened) = opening.join_next().await
        {
            streams.push(opened??);
        }
    }
    while let Some(opened) = opening.join_next().await {
        streams.push(opened??);
    }
    Ok(streams)
}

/// Has a call that must wait held on every connection: its stream has begun.
async fn hold(streams: Vec<TcpStream>, token: &str, session: &str) -> Result<Vec<TcpStream>> {
    let (mut held, mut asking) = (Vec::with_capacity(HELD as usize), JoinSet::new());
    for (id, stream) in (HELD..).zip(streams) {
        let asked = request(token, Some(session), &call("change", id));
        asking.spawn(async move {
            // What is left of the answer before.
            let mut piece = [0; 2048];
            while let Ok(read) = stream.try_read(&mut piece)
                && read > 0
            {}
            ask(stream, asked, "text/event-stream").await
        });
        if asking.len() >= AT_ONCE
            && let Some(asked) = asking.join_next().await
        {
            held.push(asked??);
        }
    }
    while let Some(asked) = asking.join_next().await {
        held.push(asked??);
    }
    Ok(held)
}
