//! Who is told of what is held, and called again while nobody decides, over restarts too.

use crate::stage::{LONG, POLICY, Stage, person};
use countersign_core::{ApprovalId, ChannelName, Class};
use countersign_engine::outbox::{self, Channel, ChannelSpec, Channels, Hears, Route, Urgency, When};
use std::{collections::BTreeSet, time::Duration};

const MINUTE: Duration = Duration::from_mins(1);

fn names(names: &[&str]) -> BTreeSet<ChannelName> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

/// Exports are told to `privacy` and, after ten minutes of silence, to `leads`; whoever is told is told again after twenty.
fn channels() -> Channels {
    let spec = |name: &str| ChannelSpec {
        name: name.parse().unwrap(),
        kind: "webhook",
        place: String::new(),
        hears: Hears::Named,
        together: None,
    };
    let export = Route {
        name: "exports".into(),
        when: When { classes: [Class::Export].into(), ..When::default() },
        channels: names(&["privacy"]),
        escalate: vec![(10 * MINUTE, names(&["leads"]))],
        remind: Some(20 * MINUTE),
        urgency: Urgency::Unsaid,
    };
    let change = Route {
        name: "second-looks".into(),
        when: When { gates: ["look".parse().unwrap()].into(), ..When::default() },
        channels: names(&["security"]),
        escalate: vec![(5 * MINUTE, names(&["leads"]))],
        remind: None,
        urgency: Urgency::Unsaid,
    };
    let names = ["privacy", "leads", "security", "siem"];
    Channels::new(names.map(spec)).routed(vec![export, change])
}

/// What waits to be told on a channel.
async fn waiting(stage: &Stage, id: ApprovalId, channel: &str) -> Vec<String> {
    let channel = channel.parse().unwrap();
    let outgoing = outbox::load(&stage.gate, id, &channel).await.unwrap();
    let waiting = outgoing.into_iter().flat_map(|(outgoing, _)| outgoing.waiting);
    waiting.map(|news| news.kind).collect()
}

/// The events of an approval once there are so many.
async fn events(stage: &Stage, id: ApprovalId, count: usize) -> Vec<&'static str> {
    let mut changes = stage.gate.changes();
    let reached = async {
        while stage.events_of(id).await.len() < count {
            let _ = tokio::time::timeout(Duration::from_millis(200), changes.recv()).await;
        }
    };
    let _ = tokio::time::timeout(LONG, reached).await;
    stage.events_of(id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nobody_decides_others_are_told_and_then_everybody_again() {
    let stage = Stage::telling(channels).await;
    let id = stage.hold(Class::Export, "all").await;
    assert_eq!(waiting(&stage, id, "privacy").await, ["approval.requested"]);
    assert!(waiting(&stage, id, "leads").await.is_empty());

    stage.clock.pass(10 * MINUTE);
    let told = ["approval.requested", "approval.escalated"];
    assert_eq!(events(&stage, id, 2).await, told);
    assert_eq!(waiting(&stage, id, "privacy").await, told);
    assert_eq!(waiting(&stage, id, "leads").await, ["approval.escalated"]);

    // A vote is no silence: everybody is told again twenty minutes after it, if that is before the deadline.
    stage.clock.pass(5 * MINUTE);
    stage.approve(person(1), id).await.unwrap();
    let hold = countersign_engine::read::hold(&stage.gate, id).await.unwrap().unwrap();
    assert_eq!(hold.next_call(), None, "the deadline is in fifteen minutes");
    stage.approve(person(2), id).await.unwrap();
    stage.until(id, "done").await;
    for channel in ["security", "siem"] {
        assert!(waiting(&stage, id, channel).await.is_empty(), "{channel}");
    }
    let leads = waiting(&stage, id, "leads").await;
    assert_eq!(leads.first().map(String::as_str), Some("approval.escalated"));
    assert!(leads.contains(&"execution.result".to_owned()), "{leads:?}");
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_is_made_up_for_once_and_nothing_is_said_twice_over_restarts() {
    let mut stage = Stage::telling(channels).await;
    let id = stage.hold(Class::Export, "all").await;
    stage.clock.pass(25 * MINUTE);
    let told = ["approval.requested", "approval.escalated"];
    assert_eq!(events(&stage, id, 2).await, told);
    for _ in 0..3 {
        stage = stage.restart().await;
        assert_eq!(waiting(&stage, id, "privacy").await, told);
    }
    // As after `kill -9`.
    let stage = stage.crash().await;
    stage.approve(person(1), id).await.unwrap();
    assert_eq!(stage.events_of(id).await, [&told[..], &["approval.voted"]].concat());
    stage.clock.pass(4 * MINUTE);
    stage.approve(person(2), id).await.unwrap();
    stage.until(id, "done").await;
    let calls = stage.events_of(id).await.into_iter().filter(|kind| *kind == "approval.escalated");
    assert_eq!(calls.count(), 1);
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_was_due_while_nobody_ran_is_made_by_the_next_gateway() {
    let stage = Stage::telling(channels).await;
    let id = stage.hold(Class::Export, "all").await;
    let folder = stage.crash().await;
    folder.clock.pass(21 * MINUTE);
    let stage = folder.restart().await;
    assert_eq!(events(&stage, id, 2).await, ["approval.requested", "approval.escalated"]);
    assert_eq!(waiting(&stage, id, "leads").await, ["approval.escalated"]);
    stage.clock.pass(9 * MINUTE);
    stage.until(id, "lapsed").await;
    assert!(!stage.events_of(id).await.contains(&"approval.reminded"), "too late for anybody");
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_round_is_told_and_called_for_by_the_routes_of_its_gates() {
    let stage = Stage::telling(channels).await;
    let id = stage.hold(Class::Configure, "on").await;
    assert!(waiting(&stage, id, "privacy").await.is_empty(), "no route is for it");
    let look = r#"
@id("look") @gate("look") @approvers("Group::\"privacy\"") @expires("30m") @step_up("session") @reason("a second look")
forbid (principal, action in Action::"configure", resource);
"#;
    stage.policy(&format!("{POLICY}{look}")).await;
    stage.approve(person(1), id).await.unwrap();
    let asked = ["approval.requested", "approval.voted", "approval.granted", "approval.round_opened"];
    assert_eq!(events(&stage, id, 4).await, asked);
    assert_eq!(waiting(&stage, id, "security").await, ["approval.round_opened"]);
    stage.clock.pass(5 * MINUTE);
    assert_eq!(events(&stage, id, 5).await.last(), Some(&"approval.escalated"));
    assert_eq!(waiting(&stage, id, "leads").await, ["approval.escalated"]);
    stage.approve(person(2), id).await.unwrap();
    stage.until(id, "done").await;
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn reminders_come_again_and_again_and_wake_the_channels() {
    let stage = Stage::telling(|| {
        let base = channels();
        let route = Route {
            name: "all".into(),
            when: When::default(),
            channels: names(&["siem"]),
            escalate: vec![],
            remind: Some(MINUTE),
            urgency: Urgency::Unsaid,
        };
        Channels::new(base.all().map(|channel| channel.spec.clone())).routed(vec![route])
    })
    .await;
    let id = stage.hold(Class::Configure, "on").await;
    let siem: &Channel = stage.gate.channels().named(&"siem".parse().unwrap()).unwrap();
    siem.news().await;
    for count in 1..=3 {
        stage.clock.pass(MINUTE);
        assert_eq!(events(&stage, id, 1 + count).await.len(), 1 + count);
        tokio::time::timeout(LONG, siem.news()).await.unwrap();
        assert_eq!(waiting(&stage, id, "siem").await.len(), 1 + count);
    }
    stage.reject(person(1), id, "no").await.unwrap();
    stage.clock.pass(5 * MINUTE);
    let hold = countersign_engine::read::hold(&stage.gate, id).await.unwrap().unwrap();
    assert_eq!(hold.next_call(), None);
    stage.verify();
}
