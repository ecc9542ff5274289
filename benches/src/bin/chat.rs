//! How soon a held request goes out after somebody clicked in Slack: from the click, as Slack hands it in at the console's
//! address or on a connection of the gateway's, to the first byte at the target. What Slack itself takes is not in it.

use countersign_benches::{
    Result,
    arrivals::upstream,
    gateway::{Gateway, Setup},
    percentile,
    report::{Figure, Goal, publish},
};
use countersign_demo::person::Person;
use countersign_testkit::slack::{
    CHANNEL, Message, Slack, TOKEN,
    person::{Request, SECRET},
    socket::{APP_TOKEN, Link},
};
use serde_json::json;
use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};
use tempfile::NamedTempFile;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};

/// Slack takes a message a second: it takes as many seconds to ask.
const CLICKS: u32 = 40;
/// One user may say no more than thirty things at once.
const USERS: [(&str, &str); 2] = [("U0000000001", "ana@example.com"), ("U0000000002", "bea@example.com")];
const PATIENCE: Duration = Duration::from_mins(1);

const POLICY: &str = r#"
@id("agents")
permit (principal in Group::"agents", action, resource in Environment::"prod");
@id("change") @gate("change") @approvers("Group::\"sre\"") @expires("2h") @step_up("chat") @reason("an order is changed")
forbid (principal, action in Action::"write", resource);
"#;

const TARGET: &str = r#"
hold_limit = "1h"
limits = { request_head = "1h", response_head = "1h", idle = "1h" }

[[http.operations]]
name = "changeOrder"
method = "PUT"
path = "/orders/{order}"
class = "write"
sentence = "Change the order {order}"
resources = [{ kind = "order", name = "{order}" }]
"#;

/// How clicks are handed in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Address,
    Socket,
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut address = clicks(Way::Address).await?;
    let mut socket = clicks(Way::Socket).await?;
    let of = |times: &mut [f64]| json!({"p50": percentile(times, 50), "p99": percentile(times, 99)});
    let measured = json!({"clicks": CLICKS, "address_ms": of(&mut address), "socket_ms": of(&mut socket)});
    let figure = |what: &str, times: &mut [f64]| {
        let what = format!("from a click in Slack to the first forwarded byte, {what}, 99th percentile");
        Figure::new(what, percentile(times, 99), "ms", Goal::AtMost(100.0))
    };
    let figures = [figure("at an address", &mut address), figure("on a connection", &mut socket)];
    publish("chat", measured, &figures)
}

/// Has people asked in Slack and click, one after the other: how long each took, in milliseconds.
async fn clicks(way: Way) -> Result<Vec<f64>> {
    let (upstream, mut arrivals) = upstream().await?;
    let slack = Slack::start().await?;
    let (token, secret) = (kept(TOKEN)?, kept(if way == Way::Address { SECRET } else { APP_TOKEN })?);
    let key = if way == Way::Address { "signing_secret_from" } else { "app_token_from" };
    let channel = format!(
        "\n[[channel]]\nname = \"sre\"\nkind = \"slack\"\nhears = \"everything\"\nalone = 1000\nchannel = \"{CHANNEL}\"\n\
         api = \"{}\"\ntoken_from = \"file:{}\"\n{key} = \"file:{}\"\n",
        slack.api(),
        token.path().display(),
        secret.path().display()
    );
    let target = format!("{TARGET}{channel}");
    let setup =
        Setup { policy: POLICY, upstream: &upstream, target: &target, limits: "pending_per_principal = 100" };
    let gateway = Gateway::start(&setup)?;
    let agent = gateway.agent("bot")?;
    if way == Way::Socket {
        slack.comes("a connection", |slack| (slack.connections() > 0).then_some(())).await?;
    }
    for (user, email) in USERS {
        let mut person = gateway.person(email).await?;
        bind(&gateway, &slack, way, &mut person, user).await?;
    }
    let mut waiting = Vec::new();
    for order in 0..CLICKS {
        let mut stream = TcpStream::connect(gateway.wire()).await?;
        let asked = format!(
            "PUT /orders/{order} HTTP/1.1\r\nhost: shop\r\nauthorization: Bearer {agent}\r\ncontent-length: 0\r\n\r\n"
        );
        stream.write_all(asked.as_bytes()).await?;
        waiting.push(stream);
    }
    let roots = |messages: &[Message]| -> Vec<Message> {
        messages.iter().filter(|message| message.thread.is_none()).cloned().collect()
    };
    // As many seconds as there are messages, which is more than is waited for at once.
    let mut messages = Vec::new();
    for posted in (0..=CLICKS).step_by(10) {
        messages = roots(&slack.until("the messages", |all| roots(all).len() >= posted as usize).await?);
    }
    let mut times = Vec::new();
    for (message, (user, _)) in messages.iter().zip(USERS.iter().cycle()) {
        times.push(
            click(&gateway, &slack, way, &slack.click(message, user, "approve")?, &mut arrivals).await?,
        );
    }
    if times.len() != CLICKS as usize || !slack.faults().is_empty() {
        return Err(format!("{} clicks; {:?}", times.len(), slack.faults()).into());
    }
    drop(waiting);
    Ok(times)
}

async fn click(
    gateway: &Gateway,
    slack: &Slack,
    way: Way,
    request: &Request,
    arrivals: &mut mpsc::UnboundedReceiver<Instant>,
) -> Result<f64> {
    let begun = Instant::now();
    let (handed, arrived) =
        tokio::join!(hand_in(gateway, slack, way, request), timeout(PATIENCE, arrivals.recv()));
    handed?;
    let arrived = arrived?.ok_or("the target is gone")?;
    Ok(arrived.duration_since(begun).as_secs_f64() * 1e3)
}

/// Hands in what somebody did, as Slack does.
async fn hand_in(gateway: &Gateway, slack: &Slack, way: Way, request: &Request) -> Result<()> {
    if way == Way::Socket {
        slack.hand_in(request, Link::Newest)?;
        return Ok(());
    }
    let mut head = format!(
        "POST /api/v1/channels/sre/slack HTTP/1.1\r\nhost: localhost:{}\r\nconnection: close\r\ncontent-length: {}\r\n",
        gateway.console().port(),
        request.body.len()
    );
    for (name, value) in &request.headers {
        write!(head, "{name}: {value}\r\n")?;
    }
    let mut stream = TcpStream::connect(gateway.console()).await?;
    stream.write_all(format!("{head}\r\n{}", request.body).as_bytes()).await?;
    let mut said = String::new();
    stream.read_to_string(&mut said).await?;
    if said.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(format!("not taken in: {said}").into()) }
}

/// Makes a user of Slack a person's.
async fn bind(gateway: &Gateway, slack: &Slack, way: Way, person: &mut Person, user: &str) -> Result<()> {
    let before = slack.told().len();
    hand_in(gateway, slack, way, &slack.command(user, "bind")).await?;
    let told = slack.comes("a link", |slack| slack.told().get(before).cloned()).await?;
    let (_, code) = told.split_once('#').ok_or("there is no link")?;
    let code = code.split('|').next().unwrap_or_default();
    person.write("bindings", &json!({"code": code})).await?.success("binding")?;
    Ok(())
}

/// A secret in a file of its own.
fn kept(secret: &str) -> Result<NamedTempFile> {
    let file = NamedTempFile::new()?;
    std::fs::write(&file, secret)?;
    Ok(file)
}
