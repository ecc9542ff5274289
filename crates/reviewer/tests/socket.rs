//! Socket Mode, with a gateway, its store and a Slack that hands in on the connections that are opened to it: what comes
//! counts once, over renewals, broken connections and repetitions; and what is not Slack's, or too much, does nothing.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a failed expectation is how a test fails"
)]

#[path = "reviewer/corpus.rs"]
mod corpus;
#[path = "socket/durable.rs"]
mod durable;
#[path = "socket/everybody.rs"]
mod everybody;
#[path = "../../engine/tests/engine/stage.rs"]
#[expect(dead_code, reason = "it is the engine's own stage; channels need a part of it")]
mod gateway;
#[path = "socket/hostile.rs"]
mod hostile;
#[path = "socket/people.rs"]
mod people;

use crate::gateway::{POLICY, Stage, olga, person};
use countersign_core::{ApprovalId, ChannelName, Class, CredentialId, PersonId};
use countersign_engine::{
    journal::Note,
    outbox::{Channel, ChannelSpec, Channels, Hears},
    port::identity::Bound,
};
use countersign_ledger::event::{Actor, Event};
use countersign_reviewer::{ChannelConfig, ChannelSection, run};
use countersign_testkit::slack::{
    CHANNEL, Message, Slack, TEAM, TOKEN,
    person::Request,
    socket::{APP_TOKEN, Link},
};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::task::JoinSet;

/// A gate that accepts a word in a channel.
const CHAT: &str = r#"
@id("launch") @gate("launch") @approvers("Group::\"sre\"") @expires("30m") @valid_for("10m") @step_up("chat")
@reason("what is launched costs") forbid (principal, action in Action::"execute", resource);
"#;
/// How long something may take to come, on a busy machine.
const COMES_WITHIN: Duration = Duration::from_mins(1);
const ANA: &str = "U0000000001";
const OLGA: &str = "U0000000100";

fn name() -> ChannelName {
    "dba".parse().unwrap()
}

fn channels() -> Channels {
    Channels::new([ChannelSpec {
        name: name(),
        kind: "slack",
        place: String::new(),
        hears: Hears::Everything,
        together: None,
    }])
}

/// A gateway that is connected to Slack.
struct Room {
    slack: Slack,
    stage: Stage,
    config: ChannelConfig,
    tasks: JoinSet<()>,
    folder: tempfile::TempDir,
    disk: Arc<durable::Disk>,
}

/// The channel as it is configured in a folder.
fn configured(slack: &Slack, folder: &std::path::Path, seconds: u64) -> ChannelConfig {
    let section = ChannelSection {
        name: "dba".into(),
        kind: "slack".into(),
        token_from: Some("file:token".into()),
        app_token_from: Some("file:app".into()),
        channel: Some(CHANNEL.into()),
        api: Some(slack.api()),
        time_limit: Some(countersign_pep::Span(Duration::from_secs(seconds))),
        ..ChannelSection::default()
    };
    section.check(folder).unwrap()
}

impl Room {
    /// With a Slack that answers within so many seconds.
    async fn open(seconds: u64) -> Self {
        Self::with(seconds, APP_TOKEN).await
    }

    /// With these channels.
    async fn on(seconds: u64, channels: fn() -> Channels) -> Self {
        Self::built(seconds, APP_TOKEN, channels).await
    }

    async fn with(seconds: u64, app_token: &str) -> Self {
        Self::built(seconds, app_token, channels).await
    }

    async fn built(seconds: u64, app_token: &str, channels: fn() -> Channels) -> Self {
        let (slack, folder) = (Slack::start().await.unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(folder.path().join("token"), TOKEN).unwrap();
        std::fs::write(folder.path().join("app"), app_token).unwrap();
        let config = configured(&slack, folder.path(), seconds);
        let disk = Arc::new(durable::Disk::default());
        let stage = Stage::asking_on(channels, Vec::new(), Some(Arc::clone(&disk) as _)).await;
        stage.policy(&format!("{POLICY}{CHAT}")).await;
        let mut tasks = JoinSet::new();
        tasks.spawn(run(Arc::clone(&stage.gate), name(), Arc::clone(config.tell())));
        tasks.spawn(config.speaks().socket().unwrap().clone().run(Arc::clone(&stage.gate)));
        let room = Self { slack, stage, config, tasks, folder, disk };
        room.bind(ANA, person(1)).await;
        room.bind(OLGA, olga()).await;
        room
    }

    /// The same, once the connection stands.
    async fn connected(seconds: u64) -> Self {
        let room = Self::open(seconds).await;
        room.until("a connection", |room| room.slack.greeted() == 1).await;
        room
    }

    async fn bind(&self, user: &str, person: PersonId) {
        let binding = CredentialId::from_parts(1, user.trim_start_matches('U').parse().unwrap());
        let bound = Bound { person, binding, since: self.stage.gate.now() };
        self.stage.people.bound.lock().unwrap().insert((name(), format!("{TEAM}/{user}")), bound);
        let event = Event::ChannelBound { person, binding, channel: name() };
        let note = Note::new(Actor::Person { id: person }, event);
        self.stage.gate.journal().commit(vec![], vec![note]).await.unwrap();
    }

    fn unbind(&self, user: &str) {
        self.stage.people.bound.lock().unwrap().remove(&(name(), format!("{TEAM}/{user}"))).unwrap();
    }

    fn channel(&self) -> &Channel {
        self.stage.gate.channels().named(&name()).unwrap()
    }

    async fn until(&self, what: &str, enough: impl Fn(&Self) -> bool) {
        let comes = async {
            while !enough(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let came = tokio::time::timeout(COMES_WITHIN, comes).await.is_ok();
        assert!(came, "{what} never came; {:?}; {:?}", self.slack.calls(), self.slack.faults());
    }

    /// Something held, with its message.
    async fn hold(&self, body: &str) -> (ApprovalId, Message) {
        let posts = self.roots().len();
        let id = self.stage.hold(Class::Execute, body).await;
        self.until("the message", |room| room.roots().len() > posts).await;
        (id, self.roots().pop().unwrap())
    }

    fn roots(&self) -> Vec<Message> {
        self.slack.messages().into_iter().filter(|message| message.thread.is_none()).collect()
    }

    /// Waits until it was acknowledged: with what.
    async fn acknowledged(&self, envelope: &str) -> Value {
        self.until(envelope, |room| room.slack.acknowledged(envelope).is_some()).await;
        self.slack.acknowledged(envelope).unwrap()
    }

    /// Hands it in, and waits for what its user is told.
    async fn told(&self, request: &Request, on: Link) -> String {
        let before = self.slack.told().len();
        let envelope = self.slack.hand_in(request, on).unwrap();
        assert_eq!(self.acknowledged(&envelope).await, Value::Null);
        self.until("an answer", |room| room.slack.told().len() > before).await;
        self.slack.told().pop().unwrap()
    }

    async fn count(&self, id: ApprovalId, kind: &str) -> usize {
        self.stage.events_of(id).await.into_iter().filter(|one| *one == kind).count()
    }

    async fn close(mut self) {
        assert_eq!(self.slack.faults(), Vec::<String>::new());
        self.tasks.shutdown().await;
        self.stage.verify();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_on_the_connection_is_acknowledged_and_counts_once_however_often_it_comes() {
    let room = Room::connected(15).await;
    let (id, message) = room.hold("rocket").await;
    // Nobody bound, and the requester's side.
    let told = room.told(&room.slack.click(&message, "U0000000009", "approve").unwrap(), Link::Newest).await;
    assert!(told.contains("Nobody can be bound"), "{told}");
    let told = room.told(&room.slack.click(&message, OLGA, "approve").unwrap(), Link::Newest).await;
    assert!(told.contains("equester"), "{told}");
    assert_eq!(room.stage.state(id).await, "pending");

    let click = room.slack.click(&message, ANA, "approve").unwrap();
    let told = room.told(&click, Link::Newest).await;
    assert!(told.contains("Your approval counts"), "{told}");
    room.stage.until(id, "done").await;
    let (told, calls) = (room.slack.told().len(), room.slack.calls().len());
    // The same envelope again, and the same click in another.
    room.slack.hand_in_again("envelope-again", &click, Link::Newest).unwrap();
    room.acknowledged("envelope-again").await;
    room.until("the same answer", |room| room.slack.told().len() > told).await;
    assert!(room.slack.told().pop().unwrap().contains("Your approval counts"), "answered as before");
    room.slack.hand_in_again("envelope-again", &click, Link::Newest).unwrap();
    room.until("no fault", |room| room.slack.faults().is_empty()).await;
    let told = room.told(&room.slack.command(ANA, ""), Link::Newest).await;
    assert!(told.contains("Nothing waits for you."), "{told}");
    assert_eq!(room.count(id, "approval.voted").await, 1);
    assert_eq!(room.stage.cloud.count(), 1);
    assert!(room.slack.calls().len() >= calls);
    assert!(room.channel().listening().is_some() && room.channel().unread().is_none());
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_without_a_reason_is_answered_on_the_connection() {
    let room = Room::connected(15).await;
    let (id, message) = room.hold("rocket").await;
    let reject = room.slack.click(&message, ANA, "reject").unwrap();
    let envelope = room.slack.hand_in(&reject, Link::Newest).unwrap();
    room.acknowledged(&envelope).await;
    room.until("the form", |room| !room.slack.views().is_empty()).await;
    let empty = room.slack.hand_in(&room.slack.submit(ANA, " ").unwrap(), Link::Newest).unwrap();
    assert_eq!(room.acknowledged(&empty).await["response_action"], "errors");
    let told = room.told(&room.slack.submit(ANA, "not tonight").unwrap(), Link::Newest).await;
    assert!(told.contains("You rejected it"), "{told}");
    assert_eq!(room.stage.state(id).await, "rejected");
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_renewed_hands_in_until_the_next_stands_and_for_a_while_after() {
    for reason in ["warning", "refresh_requested"] {
        // It lingers for fifteen seconds.
        let room = Room::connected(15).await;
        let (first, message) = room.hold("first").await;
        let (second, other) = room.hold("second").await;
        room.slack.asks_to_leave(reason, Link::Oldest).unwrap();
        room.until("a second connection", |room| room.slack.connections() == 2).await;
        room.told(&room.slack.click(&message, ANA, "approve").unwrap(), Link::Oldest).await;
        room.told(&room.slack.click(&other, ANA, "approve").unwrap(), Link::Newest).await;
        for id in [first, second] {
            room.stage.until(id, "done").await;
            assert_eq!(room.count(id, "approval.voted").await, 1);
        }
        assert!(room.channel().listening().is_some() && room.channel().unread().is_none());
        room.until("the end of the first", |room| room.slack.connections() == 1).await;
        assert_eq!(room.slack.greeted(), 2);
        room.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_else_who_is_connected_for_the_app_is_told_of_until_they_are_gone() {
    let room = Room::connected(5).await;
    assert_eq!(room.channel().shared(), None);
    room.slack.others(1);
    room.slack.asks_to_leave("refresh_requested", Link::Newest).unwrap();
    room.until("the warning", |room| room.channel().shared().is_some()).await;
    let why = room.channel().shared().unwrap();
    assert!(why.contains("Slack counts 3 connections of this app and 2 of them the gateway's"), "{why}");
    assert!(room.channel().listening().is_some(), "it goes on hearing");
    room.slack.others(0);
    room.until("the end of the first", |room| room.slack.connections() == 1).await;
    room.slack.asks_to_leave("refresh_requested", Link::Newest).unwrap();
    room.until("the end of the warning", |room| room.channel().shared().is_none()).await;
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_lost_comes_back_and_posts_go_on_meanwhile() {
    // Closed, gone without a word, and silent, which nothing but its silence tells.
    let room = Room::connected(5).await;
    for lose in [Slack::close as fn(&Slack, Link) -> _, Slack::vanish, Slack::stall] {
        let before = room.slack.greeted();
        lose(&room.slack, Link::Newest).unwrap();
        room.until("another connection", |room| room.slack.greeted() > before).await;
    }
    let (id, message) = room.hold("after").await;
    room.told(&room.slack.click(&message, ANA, "approve").unwrap(), Link::Newest).await;
    room.stage.until(id, "done").await;

    // While Socket Mode is off nobody is heard, which is said, and people are told all the same.
    room.slack.socket_mode(false);
    room.until("it is said", |room| room.channel().unread().is_some()).await;
    assert_eq!(room.channel().listening(), None);
    room.hold("meanwhile").await;
    assert_eq!(room.channel().standing().failures, 0);
    let refused =
        |room: &Room| room.channel().unread().is_some_and(|unread| unread.why.contains("`link_disabled`"));
    room.until("the reason", refused).await;
    room.slack.socket_mode(true);
    room.until("it is heard again", |room| room.channel().listening().is_some()).await;
    assert_eq!(room.channel().unread(), None);
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_or_not_slacks_does_nothing_and_keeps_nobody_out() {
    let room = Room::connected(15).await;
    let (id, message) = room.hold("rocket").await;
    let long = "x".repeat(300);
    for text in [
        "no JSON at all",
        "[]",
        "{}",
        r#"{"type":"hello"}"#,
        r#"{"type":"interactive","payload":{}}"#,
        r#"{"type":"interactive","envelope_id":"planted","payload":{"type":"block_actions"}}"#,
        r#"{"type":"interactive","envelope_id":7,"payload":null}"#,
        &format!(r#"{{"type":"slash_commands","envelope_id":"{long}","payload":{{}}}}"#),
        &format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)),
    ] {
        room.slack.say(text, Link::Newest).unwrap();
    }
    // What the app does not know it takes in, and does nothing about.
    let event = r#"{"type":"events_api","envelope_id":"known","payload":{"event":{"type":"app_mention"}}}"#;
    room.slack.say(event, Link::Newest).unwrap();
    room.until("its acknowledgement", |room| room.slack.acknowledged("known").is_some()).await;
    assert_eq!(room.slack.acknowledged("planted"), None);
    assert_eq!(room.slack.greeted(), 1, "the connection stands");
    // More than is read at once: that connection ends, and another takes its place.
    room.slack.say(&"y".repeat(1 << 20), Link::Newest).unwrap();
    room.until("another connection", |room| room.slack.greeted() == 2).await;
    assert_eq!(room.stage.events_of(id).await, ["approval.requested"]);
    room.told(&room.slack.click(&message, ANA, "approve").unwrap(), Link::Newest).await;
    room.stage.until(id, "done").await;
    assert_eq!(room.slack.faults(), ["acknowledged, but not handed in: {\"envelope_id\":\"known\"}"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_kind_is_told_and_connects_nobody() {
    for (token, why) in [(TOKEN, "another kind of token"), ("xapp-another", "the token is not valid")] {
        let room = Room::with(15, token).await;
        let said = |room: &Room| room.channel().unread().is_some_and(|unread| unread.why.contains(why));
        room.until("the reason", said).await;
        assert_eq!((room.slack.greeted(), room.channel().listening()), (0, None));
        let checked = room.config.speaks().socket().unwrap().check().await.unwrap_err();
        assert!(checked.why.contains(why) && !checked.why.contains(token), "{}", checked.why);
        room.hold("all the same").await;
    }
    // A try leaves no connection behind: Slack would hand in there.
    let room = Room::connected(15).await;
    assert_eq!(room.config.speaks().socket().unwrap().check().await, Ok(()));
    assert_eq!(room.slack.greeted(), 1);
    room.close().await;
}
