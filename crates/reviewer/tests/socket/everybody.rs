//! Who clicks what, and when: people of whom nobody knows who they are, the requester's side, clicks that are made up, that come
//! in another order than they were made, and a vote on the page at the same moment.

use crate::{ANA, COMES_WITHIN, OLGA, Room, person};
use countersign_ledger::event::{Actor, Event};
use countersign_testkit::slack::{Message, person::Request, socket::Link};
use std::time::Duration;

const NOBODY: &str = "U0000000009";
const BOB: &str = "U0000000002";

/// The message with something else in its button.
fn made_up(message: &Message, action: &str, value: impl Fn(&str) -> String) -> Message {
    let mut message = message.clone();
    for element in
        message.blocks.iter_mut().flat_map(|block| block["elements"].as_array_mut().into_iter().flatten())
    {
        if element["action_id"] == action {
            element["value"] = value(element["value"].as_str().unwrap()).into();
        }
    }
    message
}

impl Room {
    /// A click on reject, and the form behind it, sent with a reason: what its user is told.
    async fn rejects(&self, message: &Message, user: &str) -> String {
        let forms = self.slack.views().len();
        let envelope =
            self.slack.hand_in(&self.slack.click(message, user, "reject").unwrap(), Link::Newest).unwrap();
        self.acknowledged(&envelope).await;
        self.until("the form", |room| room.slack.views().len() > forms).await;
        self.told(&self.slack.submit(user, "because").unwrap(), Link::Newest).await
    }

    async fn handed(&self, click: &Request) {
        let envelope = self.slack.hand_in(click, Link::Newest).unwrap();
        self.acknowledged(&envelope).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_nobody_here_or_on_the_requesters_side_decides_with_no_button() {
    let room = Room::connected(15).await;
    let (id, message) = room.hold("rocket").await;
    for (user, why) in [(NOBODY, "Nobody can be bound"), (OLGA, "equester")] {
        let told = room.told(&room.slack.click(&message, user, "approve").unwrap(), Link::Newest).await;
        assert!(told.contains(why), "{user}: {told}");
        let told = room.rejects(&message, user).await;
        assert!(told.contains(why), "{user}: {told}");
    }
    assert_eq!(room.stage.state(id).await, "pending");
    // Each try is an entry, by whoever it was.
    assert_eq!(room.count(id, "approval.vote_refused").await, 4);
    let tried =
        |entry: &countersign_ledger::entry::Entry| matches!(entry.event, Event::ApprovalVoteRefused { .. });
    let entries = room.stage.entries().await;
    let by: Vec<&Actor> = entries.iter().filter(|entry| tried(entry)).map(|entry| &entry.actor).collect();
    assert_eq!(by.iter().filter(|actor| ***actor == Actor::Unknown).count(), 2, "{by:?}");

    // What no message of ours carried decides nothing, whoever clicks on it.
    let (other, _) = room.hold("another").await;
    let id_of = |value: &str| value.split_once('.').unwrap().1.to_owned();
    for forged in [
        made_up(&message, "approve", |value| format!("{value}0")),
        made_up(&message, "approve", |value| format!("{other}.{}", id_of(value))),
    ] {
        let told = room.told(&room.slack.click(&forged, ANA, "approve").unwrap(), Link::Newest).await;
        assert!(told.contains("look at it again"), "{told}");
    }
    let nonsense = made_up(&message, "approve", |_| "no approval at all".into());
    room.slack.hand_in(&room.slack.click(&nonsense, ANA, "approve").unwrap(), Link::Newest).unwrap();
    let behind = room.slack.hand_in(&room.slack.command(ANA, "what"), Link::Newest).unwrap();
    room.acknowledged(&behind).await;
    for held in [id, other] {
        assert_eq!(room.stage.state(held).await, "pending");
        assert_eq!(room.count(held, "approval.voted").await, 0);
    }
    room.stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_click_that_was_made_before_a_rejection_and_comes_after_it_changes_nothing() {
    let room = Room::connected(15).await;
    room.bind(BOB, person(2)).await;
    let (id, message) = room.hold("rocket").await;
    let earlier = room.slack.click(&message, BOB, "approve").unwrap();
    let told = room.rejects(&message, ANA).await;
    assert!(told.contains("You rejected it"), "{told}");
    let told = room.told(&earlier, Link::Newest).await;
    assert!(!told.contains("counts"), "{told}");
    assert_eq!((room.stage.state(id).await.as_str(), room.stage.cloud.count()), ("rejected", 0));
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vote_in_slack_and_one_on_the_page_at_the_same_moment_let_it_run_once() {
    // Two people, and one person in both places.
    for voter in [person(2), person(1)] {
        let room = Room::connected(15).await;
        for body in ["first", "second", "third"] {
            let (id, message) = room.hold(body).await;
            let click = room.slack.click(&message, ANA, "approve").unwrap();
            let ran = room.stage.cloud.count();
            // Whoever is later is told so: either may be.
            let both = async { tokio::join!(room.handed(&click), room.stage.approve(voter, id)) };
            let ((), voted) = tokio::time::timeout(COMES_WITHIN, both).await.unwrap();
            room.stage.until(id, "done").await;
            let votes = room.count(id, "approval.voted").await;
            assert!(votes >= 1 && (votes == 1 || voted.is_ok()), "{votes} {voted:?}");
            assert_eq!(room.count(id, "approval.granted").await, 1);
            assert_eq!(room.count(id, "execution.authorized").await, 1);
            assert_eq!(room.stage.cloud.count(), ran + 1);
        }
        room.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_click_after_the_deadline_counts_for_nothing() {
    let room = Room::connected(15).await;
    let (id, message) = room.hold("rocket").await;
    let click = room.slack.click(&message, ANA, "approve").unwrap();
    room.stage.clock.pass(Duration::from_hours(1));
    let told = room.told(&click, Link::Newest).await;
    assert!(!told.contains("counts"), "{told}");
    assert_eq!((room.count(id, "approval.voted").await, room.stage.cloud.count()), (0, 0));
    room.close().await;
}
