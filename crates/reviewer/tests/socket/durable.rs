//! A click is durable before Slack is told that it was taken: on a connection of the gateway's and at its address, with a
//! disk that makes commits wait, or fail.

use crate::{ANA, COMES_WITHIN, Room, Stage, configured, name};
use countersign_core::ApprovalId;
use countersign_engine::{
    Gate,
    settle::{self, Freezer},
};
use countersign_ledger::event::FreezeScope;
use countersign_reviewer::{ChannelConfig, ChannelSection, Reply, SlackDoor as Door, Speaks, run};
use countersign_store::{DiskFault, Fault};
use countersign_testkit::slack::{
    CHANNEL, TOKEN,
    person::{Request, SECRET},
    socket::Link,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::sync::{Arc, Condvar, Mutex};
use tokio::task::JoinSet;

/// A disk on which commits wait, or fail, while it is told so.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    does: Mutex<Does>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Does {
    #[default]
    Work,
    Stall,
    Fail(DiskFault),
}

impl Fault for Disk {
    fn strikes(&self) -> Option<DiskFault> {
        let does = self.does.lock().unwrap();
        let stalled = |does: &mut Does| *does == Does::Stall;
        let (does, _) = self.changed.wait_timeout_while(does, COMES_WITHIN, stalled).unwrap();
        match *does {
            Does::Work | Does::Stall => None,
            Does::Fail(fault) => Some(fault),
        }
    }
}

impl Disk {
    fn does(&self, what: Does) {
        *self.does.lock().unwrap() = what;
        self.changed.notify_all();
    }
}

impl Room {
    /// Hands it in, and something harmless behind it: when that is acknowledged, this would be too, if it was taken at once.
    async fn handed_in(&self, click: &Request) -> String {
        let envelope = self.slack.hand_in(click, Link::Newest).unwrap();
        let behind = self.slack.hand_in(&self.slack.command(ANA, "what"), Link::Newest).unwrap();
        self.acknowledged(&behind).await;
        envelope
    }

    /// Hands the same envelope in until it is acknowledged, as Slack may.
    async fn comes_again(&self, envelope: &str, click: &Request) {
        let again = async {
            while self.slack.acknowledged(envelope).is_none() {
                // Where no connection stands at the moment, the next one has it.
                let _ = self.slack.hand_in_again(envelope, click, Link::Newest);
                let known = |slack: &countersign_testkit::slack::Slack| slack.acknowledged(envelope);
                let _ = tokio::time::timeout(
                    std::time::Duration::from_secs(4),
                    self.slack.comes("an acknowledgement", known),
                )
                .await;
            }
        };
        tokio::time::timeout(COMES_WITHIN, again).await.unwrap();
    }

    async fn counted_once(&self, id: ApprovalId) {
        self.stage.until(id, "done").await;
        assert_eq!(self.count(id, "approval.voted").await, 1);
        assert_eq!(self.stage.cloud.count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_click_is_acknowledged_once_it_is_durable_and_not_before() {
    let room = Room::connected(15).await;
    let (id, message) = room.hold("rocket").await;
    let click = room.slack.click(&message, ANA, "approve").unwrap();
    room.disk.does(Does::Stall);
    let envelope = room.handed_in(&click).await;
    assert_eq!(room.slack.acknowledged(&envelope), None, "nothing of it is on the disk");
    assert_eq!(room.count(id, "approval.voted").await, 0);
    // The same one comes again meanwhile: it waits for the first.
    room.slack.hand_in_again(&envelope, &click, Link::Newest).unwrap();
    room.disk.does(Does::Work);
    room.comes_again(&envelope, &click).await;
    room.counted_once(id).await;
    room.stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_click_of_a_gateway_that_was_killed_before_it_was_acknowledged_counts_once_at_the_next() {
    let mut room = Room::connected(15).await;
    let (id, message) = room.hold("rocket").await;
    let click = room.slack.click(&message, ANA, "approve").unwrap();
    room.disk.does(Does::Stall);
    let envelope = room.handed_in(&click).await;
    assert_eq!(room.slack.acknowledged(&envelope), None);

    // What is on the disk is all that is left of it.
    let next = room.stage.crash().await;
    room.tasks.shutdown().await;
    room.disk.does(Does::Fail(DiskFault::Broken));
    let killed = std::mem::replace(&mut room.stage, next);
    next_gateway(&mut room);
    room.until("another connection", |room| room.slack.greeted() == 2).await;
    assert_eq!(room.stage.state(id).await, "pending");
    room.comes_again(&envelope, &click).await;
    room.counted_once(id).await;
    // Once more, and as another envelope.
    let other = room.slack.hand_in(&click, Link::Newest).unwrap();
    room.comes_again(&other, &click).await;
    room.counted_once(id).await;
    room.stage.verify();
    drop(killed);
}

fn next_gateway(room: &mut Room) {
    room.config = configured(&room.slack, room.folder.path(), 15);
    room.tasks = JoinSet::new();
    room.tasks.spawn(run(Arc::clone(&room.stage.gate), name(), Arc::clone(room.config.tell())));
    let socket = room.config.speaks().socket().unwrap().clone();
    room.tasks.spawn(socket.run(Arc::clone(&room.stage.gate)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_click_that_could_not_be_kept_is_not_acknowledged_and_counts_when_it_comes_again() {
    let room = Room::connected(15).await;
    let (id, message) = room.hold("rocket").await;
    let click = room.slack.click(&message, ANA, "approve").unwrap();
    let told = room.slack.told().len();
    room.disk.does(Does::Fail(DiskFault::Full));
    let envelope = room.slack.hand_in(&click, Link::Newest).unwrap();
    room.until("what its user is told", |room| room.slack.told().len() > told).await;
    assert!(room.slack.told().pop().unwrap().contains("could not do it"));
    let behind = room.slack.hand_in(&room.slack.command(ANA, "what"), Link::Newest).unwrap();
    room.acknowledged(&behind).await;
    assert_eq!(room.slack.acknowledged(&envelope), None);
    room.disk.does(Does::Work);
    room.comes_again(&envelope, &click).await;
    room.counted_once(id).await;
    room.stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_that_it_is_frozen_before_it_is() {
    let room = Room::connected(15).await;
    let freeze = |gate: &Arc<Gate>| {
        let gate = Arc::clone(gate);
        tokio::spawn(async move { settle::freeze(&gate, FreezeScope::All, Freezer::default()).await })
    };
    let gate = &room.stage.gate;
    room.disk.does(Does::Stall);
    let first = freeze(gate);
    room.until("the first to be on its way", |room| !room.stage.gate.freezes().is_empty()).await;
    let second = freeze(gate);
    room.disk.does(Does::Fail(DiskFault::Full));
    for frozen in [first, second] {
        let frozen = tokio::time::timeout(COMES_WITHIN, frozen).await.unwrap().unwrap();
        assert!(frozen.is_err(), "{frozen:?}");
    }
    assert!(gate.freezes().is_empty());
}

/// The same channel, as Slack speaks to its address.
fn at_an_address(room: &Room) -> ChannelConfig {
    std::fs::write(room.folder.path().join("token"), TOKEN).unwrap();
    std::fs::write(room.folder.path().join("signing"), SECRET).unwrap();
    let section = ChannelSection {
        name: "dba".into(),
        kind: "slack".into(),
        token_from: Some("file:token".into()),
        signing_secret_from: Some("file:signing".into()),
        channel: Some(CHANNEL.into()),
        api: Some(room.slack.api()),
        ..ChannelSection::default()
    };
    section.check(room.folder.path()).unwrap()
}

fn door_of(config: &ChannelConfig) -> Door {
    match config.speaks() {
        Speaks::Slack(door) => (**door).clone(),
        other => panic!("{other:?}"),
    }
}

async fn received(door: &Door, gate: &Arc<Gate>, request: &Request) -> Reply {
    let seconds = gate.now().unix_ms() / 1000;
    let signed = Request::signed(SECRET, seconds, "application/x-www-form-urlencoded", request.body.clone());
    let headers: HeaderMap = signed
        .headers
        .iter()
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap()))
        .collect();
    door.receive(gate, &headers, signed.body.as_bytes()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn at_its_address_slack_hears_ok_once_a_click_is_durable_and_counts_it_once() {
    let mut room = Room::open(15).await;
    let (id, message) = room.hold("rocket").await;
    let click = room.slack.click(&message, ANA, "approve").unwrap();
    let config = at_an_address(&room);
    room.disk.does(Does::Stall);
    // Within the time that Slack waits nothing of it is durable.
    assert_eq!(received(&door_of(&config), &room.stage.gate, &click).await, Reply::Busy);
    assert_eq!(room.count(id, "approval.voted").await, 0);

    let next = room.stage.crash().await;
    room.tasks.shutdown().await;
    room.disk.does(Does::Fail(DiskFault::Broken));
    let killed: Stage = std::mem::replace(&mut room.stage, next);
    let config = at_an_address(&room);
    let door = door_of(&config);
    let comes = async { while received(&door, &room.stage.gate, &click).await != Reply::Taken {} };
    tokio::time::timeout(COMES_WITHIN, comes).await.unwrap();
    room.counted_once(id).await;
    assert_eq!(received(&door, &room.stage.gate, &click).await, Reply::Taken);
    room.counted_once(id).await;
    room.stage.verify();
    drop(killed);
}
