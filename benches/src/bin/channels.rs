//! Whether channels keep up: a thousand approvals in a minute, each with its whole life, told to three webhooks; and once more
//! with one of them away for the middle of it.

use countersign_benches::{
    Result,
    gateway::{Gateway, Setup},
    percentile,
    report::{Figure, Goal, publish},
};
use countersign_demo::person::{Person, Strength};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{MissedTickBehavior, interval, sleep, timeout},
};

const APPROVALS: u32 = 1_000;
const WITHIN: Duration = Duration::from_mins(1);
const CHANNELS: usize = 3;
/// After that many approvals the third channel is away, and back after the others.
const AWAY: std::ops::Range<u32> = 250..750;
const PATIENCE: Duration = Duration::from_mins(2);

const POLICY: &str = r#"
@id("agents")
permit (principal in Group::"agents", action, resource in Environment::"prod");
@id("change") @gate("change") @approvers("Group::\"sre\"") @expires("2h") @reason("an order is changed")
forbid (principal, action in Action::"write", resource);
"#;

const TARGET: &str = r#"
[[http.operations]]
name = "changeOrder"
method = "PUT"
path = "/orders/{order}"
class = "write"
sentence = "Change the order {order}"
resources = [{ kind = "order", name = "{order}" }]
"#;

/// Somebody who is told.
#[derive(Clone, Default)]
struct Receiver {
    heard: Arc<Mutex<Heard>>,
    away: Arc<AtomicBool>,
}

#[derive(Default)]
struct Heard {
    /// From the entry's own moment until it was heard, in milliseconds.
    lags: Vec<f64>,
    last: Option<Instant>,
    /// By approval: how many pieces of news, and whether they came without a gap.
    news: HashMap<String, u64>,
    disordered: usize,
}

#[tokio::main]
async fn main() -> Result<()> {
    let upstream = answering(|_| true).await?;
    let receivers: [Receiver; CHANNELS] = std::array::from_fn(|_| Receiver::default());
    let secret = tempfile::NamedTempFile::new()?;
    std::fs::write(&secret, "whsec_YmVuY2gtc2VjcmV0LWJlbmNoLXNlY3JldC0xMjM0")?;
    let secret = secret.path().display();
    let mut sections = TARGET.to_owned();
    for (at, receiver) in receivers.iter().enumerate() {
        let told = receiver.clone();
        let url = answering(move |body| told.hear(body)).await?;
        let section = format!(
            "\n[[channel]]\nname = \"c{at}\"\nkind = \"webhook\"\nurl = \"{url}\"\nsecret_from = \"file:{secret}\"\nhears = \"everything\"\n"
        );
        sections.push_str(&section);
    }
    let limits = format!("pending_per_principal = {APPROVALS}");
    let setup = Setup { policy: POLICY, upstream: &upstream, target: &sections, limits: &limits };
    let gateway = Gateway::start(&setup)?;
    let token = gateway.agent("bot")?;
    let mut voter = gateway.person("ana@example.com").await?;
    let quiet = pass(&gateway, &token, &mut voter, &receivers, 0, None).await?;
    let away =
        pass(&gateway, &token, &mut voter, &receivers, APPROVALS, Some(&receivers[CHANNELS - 1])).await?;
    let figures = [
        Figure::new(
            "1,000 approvals a minute told to three channels: from an entry to its message, 99th percentile",
            quiet.p99,
            "ms",
            Goal::AtMost(1_000.0),
        ),
        Figure::new(
            "the same while one channel is away for half of it: the other two, 99th percentile",
            away.p99,
            "ms",
            Goal::AtMost(1_000.0),
        ),
        Figure::new("messages lost or out of order", quiet.wrong + away.wrong, "", Goal::AtMost(0.0)),
    ];
    let of = |pass: &Pass| {
        json!({"took_s": pass.took, "messages": pass.messages, "p50_ms": pass.p50, "p99_ms": pass.p99,
        "behind_at_the_end_s": pass.behind, "wrong": pass.wrong})
    };
    publish(
        "channels",
        json!({"approvals": APPROVALS, "all_there": of(&quiet), "one_away": of(&away)}),
        &figures,
    )
}

struct Pass {
    took: f64,
    messages: usize,
    p50: f64,
    p99: f64,
    /// From the last approval's end until the last message.
    behind: f64,
    wrong: f64,
}

/// Has a thousand approvals asked for, decided and run within the minute. `away`: who hears nothing in the middle of it.
async fn pass(
    gateway: &Gateway,
    token: &str,
    voter: &mut Person,
    receivers: &[Receiver; CHANNELS],
    first: u32,
    away: Option<&Receiver>,
) -> Result<Pass> {
    for receiver in receivers {
        *receiver.lock() = Heard::default();
    }
    let mut asking = TcpStream::connect(gateway.wire()).await?;
    let mut ticks = interval(WITHIN / APPROVALS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let begun = Instant::now();
    let mut asked = Vec::new();
    for at in 0..APPROVALS {
        ticks.tick().await;
        if let Some(away) = away {
            away.away.store(AWAY.contains(&at), Ordering::Relaxed);
        }
        let approval = ask(&mut asking, first + at, token).await?;
        let ballot = voter.ballot(&approval, "approve").await?.success("ballot")?.json();
        let vote = voter.sign(&ballot, Strength::Session, None)?;
        voter.cast(&approval, &vote).await?.success("vote")?;
        asked.push(approval);
    }
    let ended = Instant::now();
    let whole = async {
        while !receivers.iter().all(|receiver| receiver.lock().has_all(&asked)) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    let complete = timeout(PATIENCE, whole).await.is_ok();
    let (mut lags, mut messages, mut wrong, mut last) = (Vec::new(), 0, 0.0, ended);
    for receiver in receivers {
        let heard = receiver.lock();
        messages += heard.lags.len();
        wrong += f64::from(u32::try_from(heard.disordered)?);
        if away.is_none_or(|away| !Arc::ptr_eq(&away.heard, &receiver.heard)) {
            lags.extend_from_slice(&heard.lags);
        }
        last = heard.last.map_or(last, |heard| heard.max(last));
    }
    if !complete {
        wrong += 1.0;
    }
    Ok(Pass {
        took: ended.duration_since(begun).as_secs_f64(),
        messages,
        p50: percentile(&mut lags, 50),
        p99: percentile(&mut lags, 99),
        behind: last.duration_since(ended).as_secs_f64(),
        wrong,
    })
}

/// Asks for a change that is held: the approval.
async fn ask(stream: &mut TcpStream, order: u32, token: &str) -> Result<String> {
    let request = format!(
        "PUT /orders/{order} HTTP/1.1\r\nhost: shop\r\nauthorization: Bearer {token}\r\nprefer: respond-async\r\ncontent-length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut said = Vec::new();
    let mut piece = [0; 4096];
    while !is_whole(&said) {
        let read = stream.read(&mut piece).await?;
        if read == 0 {
            return Err("the gateway closed the connection".into());
        }
        said.extend_from_slice(piece.get(..read).unwrap_or_default());
    }
    let said = String::from_utf8_lossy(&said).into_owned();
    let at = said.find("apr_").ok_or_else(|| format!("not held: {said}"))?;
    Ok(said.get(at..at + 30).ok_or("the approval is cut off")?.to_owned())
}

/// Whether a message with a length is all there.
fn is_whole(said: &[u8]) -> bool {
    let text = String::from_utf8_lossy(said);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    body.len() >= length_of(head)
}

fn length_of(head: &str) -> usize {
    let line = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok()).flatten()
    });
    line.unwrap_or(0)
}

/// A server that hands every body to `hear`, and answers 204, or 503 where that says no.
async fn answering(hear: impl Fn(&[u8]) -> bool + Clone + Send + Sync + 'static) -> Result<String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let hear = hear.clone();
            tokio::spawn(async move {
                let mut said = Vec::new();
                let mut piece = vec![0; 64 << 10];
                while let Ok(read @ 1..) = stream.read(&mut piece).await {
                    said.extend_from_slice(piece.get(..read).unwrap_or_default());
                    if !is_whole(&said) {
                        continue;
                    }
                    let at = said.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |at| at + 4);
                    let good = hear(said.get(at..).unwrap_or_default());
                    said.clear();
                    let status = if good { "200 OK" } else { "503 Service Unavailable" };
                    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(url)
}

impl Receiver {
    fn lock(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False while it is away.
    fn hear(&self, body: &[u8]) -> bool {
        if self.away.load(Ordering::Relaxed) {
            return false;
        }
        let Ok(event) = serde_json::from_slice::<Value>(body) else { return false };
        self.lock().hear(&event).is_some()
    }
}

impl Heard {
    fn hear(&mut self, event: &Value) -> Option<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        let at = countersign_core::Timestamp::parse(event.get("time")?.as_str()?).ok()?;
        let now = countersign_core::Timestamp(i64::try_from(now.as_micros()).ok()?);
        self.lags.push(now.since(at).as_secs_f64() * 1e3);
        self.last = Some(Instant::now());
        let number = event.pointer("/data/number")?.as_u64()?;
        let known = self.news.entry(event.get("subject")?.as_str()?.to_owned()).or_default();
        // The same once more is allowed; a gap is not.
        if number > *known + 1 {
            self.disordered += 1;
        }
        *known = number.max(*known);
        Some(())
    }

    /// Each of them was told to its end: requested, voted, granted, authorized, result, delivered or closed.
    fn has_all(&self, asked: &[String]) -> bool {
        asked.iter().all(|approval| self.news.get(approval).is_some_and(|number| *number >= 5))
    }
}
