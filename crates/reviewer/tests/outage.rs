//! Ten minutes in which a channel is down, for each kind, with the worker, the store and the channel's own server: nothing is
//! lost, what is told of one approval comes in order, and another channel hears of everything at once. The gateway's
//! clock is driven.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a failed expectation is how a test fails"
)]

#[path = "../../engine/tests/engine/stage.rs"]
#[expect(dead_code, reason = "it is the engine's own stage; channels need a part of it")]
mod gateway;
#[path = "outage/pagers.rs"]
mod pagers;
#[path = "outage/people.rs"]
mod people;

use crate::gateway::{Stage, person};
use async_trait::async_trait;
use countersign_core::{ApprovalId, Class, Timestamp};
use countersign_engine::{
    Gate,
    outbox::{self, Channel, ChannelSpec, Channels, Hears, News, Outgoing, Shelf},
};
use countersign_reviewer::{ChannelConfig, ChannelSection, Failed, Letter, Tell, message::Room, run};
use countersign_testkit::{
    jira::{self, Jira},
    server::{Server, empty},
    servicenow::{self, ServiceNow},
    slack::{self, Slack},
    smtp::{Mode, Smtp},
    teams::{self, Teams, cards},
};
use http::StatusCode;
use parking_lot::Mutex;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinSet;

const MINUTE: Duration = Duration::from_mins(1);
/// How long something may take to come, on a busy machine.
const COMES_WITHIN: Duration = Duration::from_mins(4);
/// News that a channel is not told for so long is given up.
const GIVE_UP_AFTER: Duration = Duration::from_hours(72);

/// The channel that goes down, and one that does not.
fn channels() -> Channels {
    Channels::new(["down", "up"].map(|name| ChannelSpec {
        name: name.parse().unwrap(),
        kind: "webhook",
        place: String::new(),
        hears: Hears::Everything,
        together: None,
    }))
}

/// Takes everything, and remembers when.
#[derive(Debug)]
struct Up {
    gate: Arc<Gate>,
    told: Mutex<Vec<(ApprovalId, News, Timestamp)>>,
    /// Breaks down over what it is told next, as a library may over what a server answers.
    breaks: AtomicBool,
}

impl Up {
    /// What it was told of an approval, oldest first.
    fn kinds(&self, id: ApprovalId) -> Vec<String> {
        let told = self.told.lock();
        told.iter().filter(|(approval, ..)| *approval == id).map(|(_, news, _)| news.kind.clone()).collect()
    }
}

#[async_trait]
impl Tell for Up {
    fn room(&self, _news: &News) -> Room {
        Room { characters: None }
    }

    fn give_up_after(&self) -> Duration {
        GIVE_UP_AFTER
    }

    async fn tell(&self, letter: &Letter) -> Result<Option<String>, Failed> {
        assert!(!self.breaks.swap(false, Ordering::SeqCst), "an answer that nobody foresaw");
        self.told.lock().push((letter.approval, letter.news.clone(), self.gate.now()));
        Ok(None)
    }
}

/// What arrived about each approval, oldest first: the code of its action, and what was said.
type Arrived = BTreeMap<String, Vec<String>>;

/// A channel's own server.
trait Far {
    /// Whoever is told there is known to the gateway before anything happens.
    fn meets(&self, _stage: &Stage, _channel: &ChannelConfig) {}
    fn is_down(&self, down: bool);
    fn arrived(&self) -> Arrived;
    /// What has to arrive of an approval that stands so, after so much became of it.
    fn wanted(&self, title: &'static str, kinds: &[String]) -> Vec<String>;
}

async fn until(what: &str, mut enough: impl AsyncFnMut() -> bool) {
    let comes = async {
        while !enough().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(COMES_WITHIN, comes).await.is_ok(), "{what} never came");
}

/// What waits for the channel, as its records stand.
async fn waiting(stage: &Stage) -> Vec<Outgoing> {
    // In one look: what moves from one shelf to the other between two is on neither.
    let all = outbox::page(&stage.gate, &"down".parse().unwrap(), Shelf::All, None, 100).await.unwrap();
    all.into_iter().filter(|outgoing| !outgoing.waiting.is_empty()).collect()
}

/// How often in a row the channel failed, or one piece of its news did.
async fn in_vain(stage: &Stage, down: &Channel) -> u32 {
    let of_news = waiting(stage).await.iter().map(|outgoing| outgoing.tries).max();
    of_news.unwrap_or(0).max(down.standing().failures)
}

/// Moves the clock on to the next try, once whatever is due was tried.
async fn next_try(stage: &Stage, down: &Channel) {
    let now = stage.gate.now();
    let of_news = waiting(stage).await.iter().map(|outgoing| outgoing.next_try.unwrap_or(now)).min();
    let next = of_news.unwrap_or(now).max(down.standing().next_try.unwrap_or(now));
    stage.clock.pass(next.since(now));
}

async fn through_an_outage(far: &dyn Far, section: ChannelSection, folder: &std::path::Path) {
    let config = section.check(folder).unwrap();
    let tell = Arc::clone(config.tell());
    let stage = Stage::telling(channels).await;
    far.meets(&stage, &config);
    let up = Arc::new(Up {
        gate: Arc::clone(&stage.gate),
        told: Mutex::default(),
        breaks: AtomicBool::new(false),
    });
    let mut workers = JoinSet::new();
    workers.spawn(run(Arc::clone(&stage.gate), "down".parse().unwrap(), tell));
    workers.spawn(run(Arc::clone(&stage.gate), "up".parse().unwrap(), Arc::clone(&up) as Arc<dyn Tell>));
    let down = stage.gate.channels().named(&"down".parse().unwrap()).unwrap();
    far.is_down(true);
    let begun = stage.gate.now();
    let (mut asked, mut rejected) = (Vec::new(), Vec::new());
    for minute in 0..10 {
        let id = stage.hold(Class::Configure, &format!("change {minute}")).await;
        asked.push(id);
        if minute % 2 == 1 {
            stage.reject(person(1), id, "not tonight").await.unwrap();
            rejected.push(id);
        }
        // The other channel hears of it in the same minute.
        let last = if minute % 2 == 1 { "approval.closed" } else { "approval.requested" };
        until("the other channel's news", async || up.kinds(id).iter().any(|kind| kind == last)).await;
        if minute == 0 {
            until("a try in vain", async || in_vain(&stage, down).await > 0).await;
        }
        stage.clock.pass(MINUTE);
    }
    assert_eq!(stage.gate.now().since(begun), 10 * MINUTE);
    for (_, news, at) in up.told.lock().iter() {
        assert!(at.since(news.at) < MINUTE, "{} was told {:?} later", news.kind, at.since(news.at));
    }
    until("tries in vain", async || {
        next_try(&stage, down).await;
        in_vain(&stage, down).await > 1
    })
    .await;
    assert_eq!(far.arrived(), Arrived::new(), "nothing got through");

    far.is_down(false);
    stage.clock.pass(2 * MINUTE);
    let name = "down".parse().unwrap();
    until("the end of what waits", async || {
        next_try(&stage, down).await;
        waiting(&stage).await.is_empty()
    })
    .await;
    assert_eq!(outbox::count(&stage.gate, &name, Shelf::GivenUp, 100).await.unwrap(), 0);
    let (arrived, mut of) = (far.arrived(), 0);
    for id in &asked {
        let hold = countersign_engine::read::hold(&stage.gate, *id).await.unwrap().unwrap();
        let title = if rejected.contains(id) { "Rejected" } else { "Waiting for people" };
        let wanted = far.wanted(title, &up.kinds(*id));
        of += usize::from(!wanted.is_empty());
        let came = arrived.get(&hold.view.computed.code).cloned().unwrap_or_default();
        assert_eq!(came.len(), wanted.len(), "{id}: {came:?}");
        for (came, wanted) in came.iter().zip(&wanted) {
            assert!(came.contains(&**wanted), "{id}: `{wanted}` is not in {came}");
        }
        let (outgoing, _) = outbox::load(&stage.gate, *id, &name).await.unwrap().unwrap();
        assert_eq!((outgoing.told, outgoing.waiting.len()), (outgoing.wanted, 0), "{id}");
    }
    assert_eq!(arrived.len(), of, "{:?}", arrived.keys());
    assert_eq!(down.standing().failures, 0);
    workers.shutdown().await;
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_breaks_down_over_one_answer_goes_on() {
    let stage = Stage::telling(channels).await;
    let gate = Arc::clone(&stage.gate);
    let up = Arc::new(Up { gate, told: Mutex::default(), breaks: AtomicBool::new(true) });
    let mut workers = JoinSet::new();
    workers.spawn(run(Arc::clone(&stage.gate), "up".parse().unwrap(), Arc::clone(&up) as Arc<dyn Tell>));
    let id = stage.hold(Class::Configure, "change").await;
    let known = stage.gate.channels().named(&"up".parse().unwrap()).unwrap();
    until("the news", async || {
        let (now, next) = (stage.gate.now(), known.standing().next_try);
        stage.clock.pass(next.map_or(Duration::ZERO, |next| next.since(now)));
        !up.kinds(id).is_empty()
    })
    .await;
    assert!(!up.breaks.load(Ordering::SeqCst));
    workers.shutdown().await;
}

fn section(kind: &str) -> ChannelSection {
    ChannelSection { name: "down".into(), kind: kind.into(), ..ChannelSection::default() }
}

/// A folder with one secret.
fn folder(secret: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), secret).unwrap();
    folder
}

fn secret() -> String {
    "file:secret".into()
}

struct Hooks {
    down: Arc<AtomicBool>,
    got: Arc<Mutex<Vec<Value>>>,
}

impl Far for Hooks {
    fn is_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    fn arrived(&self) -> Arrived {
        let mut arrived = Arrived::new();
        for event in self.got.lock().iter() {
            let code = event["data"]["message"]["code"].as_str().unwrap().to_owned();
            arrived.entry(code).or_default().push(format!("{} {}", event["data"]["number"], event["type"]));
        }
        arrived
    }

    fn wanted(&self, _title: &'static str, kinds: &[String]) -> Vec<String> {
        let events = kinds.iter().enumerate();
        events.map(|(at, kind)| format!("{} \"io.github.countersign.{kind}\"", at + 1)).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_webhook() {
    let hooks = Hooks { down: Arc::default(), got: Arc::default() };
    let (down, got) = (Arc::clone(&hooks.down), Arc::clone(&hooks.got));
    let server = Server::start(Arc::new(move |asked| {
        if down.load(Ordering::SeqCst) {
            return empty(StatusCode::SERVICE_UNAVAILABLE);
        }
        got.lock().push(serde_json::from_slice(asked.body()).unwrap());
        empty(StatusCode::NO_CONTENT)
    }));
    let server = server.await.unwrap();
    let folder = folder("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let section =
        ChannelSection { url: Some(server.url()), secret_from: Some(secret()), ..section("webhook") };
    through_an_outage(&hooks, section, folder.path()).await;
}

/// Of titles such as `⛔ Rejected · 1a2b3c4d`.
fn code_of(title: &str) -> String {
    title.rsplit(' ').next().unwrap_or_default().to_owned()
}

/// One message as it stands, and a line under it for whatever came after the first.
fn in_a_thread(title: &'static str, kinds: &[String]) -> Vec<String> {
    let line = |kind: &String| if kind == "approval.voted" { "rejected it" } else { "Rejected" };
    [title].into_iter().chain(kinds.iter().skip(1).map(line)).map(str::to_owned).collect()
}

impl Far for Slack {
    fn is_down(&self, down: bool) {
        self.trouble(|trouble| trouble.down = down.then_some(slack::Refusal::Status(503)));
    }

    fn arrived(&self) -> Arrived {
        let messages = self.messages();
        let roots = messages.iter().filter(|message| message.thread.is_none());
        let one = |root: &slack::Message| {
            let title = root.blocks[0]["text"]["text"].as_str().unwrap().to_owned();
            let under = messages.iter().filter(|message| message.thread.as_ref() == Some(&root.ts));
            (code_of(&title), [title].into_iter().chain(under.map(|line| line.text.clone())).collect())
        };
        roots.map(one).collect()
    }

    fn wanted(&self, title: &'static str, kinds: &[String]) -> Vec<String> {
        in_a_thread(title, kinds)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_slack() {
    let (server, folder) = (Slack::start().await.unwrap(), folder(slack::TOKEN));
    let section = ChannelSection {
        token_from: Some(secret()),
        channel: Some(slack::CHANNEL.into()),
        api: Some(server.api()),
        ..section("slack")
    };
    through_an_outage(&server, section, folder.path()).await;
}

impl Far for Teams {
    fn is_down(&self, down: bool) {
        self.trouble(|trouble| {
            trouble.down = down.then_some(teams::Refusal::Error(503, "ServiceUnavailable"));
        });
    }

    fn arrived(&self) -> Arrived {
        let messages = self.messages();
        let title = |message: &teams::Message| cards::texts_of(&message.card, "TextBlock")[0].clone();
        let roots = messages.iter().filter(|message| message.is_root());
        let one = |root: &teams::Message| {
            let under =
                messages.iter().filter(|other| !other.is_root() && other.conversation == root.conversation);
            (
                code_of(&title(root)),
                [title(root)].into_iter().chain(under.map(|line| line.summary.clone())).collect(),
            )
        };
        roots.map(one).collect()
    }

    fn wanted(&self, title: &'static str, kinds: &[String]) -> Vec<String> {
        in_a_thread(title, kinds)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_teams() {
    let (server, folder) = (Teams::start().await.unwrap(), folder(teams::SECRET));
    let section = ChannelSection {
        app_id: Some(teams::APP.into()),
        tenant: Some(teams::TENANT.into()),
        client_secret_from: Some(secret()),
        conversation: Some(teams::CHANNEL.into()),
        service: Some(server.service()),
        login: Some(server.login()),
        issuer: Some(server.issuer()),
        ..section("teams")
    };
    through_an_outage(&server, section, folder.path()).await;
}

impl Far for Smtp {
    fn is_down(&self, down: bool) {
        self.trouble(|trouble| trouble.down = down);
    }

    fn arrived(&self) -> Arrived {
        let mut arrived = Arrived::new();
        for taken in self.taken() {
            let title = taken.mail.text.lines().next().unwrap_or_default().to_owned();
            arrived.entry(code_of(&title)).or_default().push(title);
        }
        arrived
    }

    fn wanted(&self, title: &'static str, _kinds: &[String]) -> Vec<String> {
        // Nobody is asked any more what was rejected before the mail could go.
        vec![title.to_owned()]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_e_mail() {
    let (server, folder) = (Smtp::start(Mode::Plain, None).await.unwrap(), folder("unused"));
    let section = ChannelSection {
        server: Some("127.0.0.1".into()),
        port: Some(server.port()),
        tls: Some("none".into()),
        from: Some("countersign@example.com".into()),
        to: Some(vec!["dba@example.com".into()]),
        ..section("email")
    };
    through_an_outage(&server, section, folder.path()).await;
}

/// A ticket that waits or is closed, and a note for whatever came after the first.
fn in_a_ticket(title: &'static str, kinds: &[String]) -> Vec<String> {
    in_a_thread(if title == "Rejected" { "closed" } else { "waiting" }, kinds)
}

fn ticket(title: &str, is_closed: bool, notes: Vec<String>) -> (String, Vec<String>) {
    let stands = if is_closed { "closed" } else { "waiting" };
    let code = title.split(' ').next().unwrap_or_default().to_owned();
    (code, std::iter::once(stands.to_owned()).chain(notes).collect())
}

impl Far for Jira {
    fn is_down(&self, down: bool) {
        self.down(down.then_some(jira::Refusal::Error(503, "")));
    }

    fn arrived(&self) -> Arrived {
        let issues = self.issues();
        issues.iter().map(|issue| ticket(&issue.summary, issue.status == "Done", issue.said())).collect()
    }

    fn wanted(&self, title: &'static str, kinds: &[String]) -> Vec<String> {
        in_a_ticket(title, kinds)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_jira() {
    let (server, folder) = (Jira::start().await.unwrap(), folder(jira::TOKEN));
    let section = ChannelSection {
        site: Some(server.site()),
        user: Some(jira::USER.into()),
        token_from: Some(secret()),
        project: Some(jira::PROJECT.into()),
        ..section("jira")
    };
    through_an_outage(&server, section, folder.path()).await;
}

impl Far for ServiceNow {
    fn is_down(&self, down: bool) {
        self.down(down.then_some(servicenow::Refusal::Error(503)));
    }

    fn arrived(&self) -> Arrived {
        let records = self.records();
        let one = |record: &servicenow::Record| {
            let notes = self.notes(servicenow::USER, &record["sys_id"]);
            ticket(&record["short_description"], record["state"] == servicenow::CLOSED, notes)
        };
        records.iter().map(one).collect()
    }

    fn wanted(&self, title: &'static str, kinds: &[String]) -> Vec<String> {
        in_a_ticket(title, kinds)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_servicenow() {
    let (server, folder) = (ServiceNow::start().await.unwrap(), folder(servicenow::PASSWORD));
    let section = ChannelSection {
        site: Some(server.site()),
        user: Some(servicenow::USER.into()),
        password_from: Some(secret()),
        ..section("servicenow")
    };
    through_an_outage(&server, section, folder.path()).await;
}
