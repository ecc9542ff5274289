//! Messages to people: only to whom it concerns, each in their own conversation, changed in place, and decided on there.

use crate::{
    ANA, CHAT, OLGA, Room,
    gateway::{POLICY, person},
    name,
};
use countersign_core::{ChannelName, Class};
use countersign_engine::outbox::{self, ChannelSpec, Channels, Hears};
use countersign_reviewer::{ChannelSection, Over, run};
use countersign_testkit::slack::{Message, socket::Link};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

const BOB: &str = "U0000000002";

fn direct() -> ChannelName {
    "direct".parse().unwrap()
}

/// The channel hears of what names it, which is nothing here; its people of everything.
fn channels() -> Channels {
    let spec = |name: ChannelName, hears| ChannelSpec {
        name,
        kind: "slack",
        place: String::new(),
        hears,
        together: None,
    };
    Channels::new([spec(name(), Hears::Named), spec(direct(), Hears::Everything)])
}

/// A room in which people are written to.
async fn room(most_each: Option<usize>) -> Room {
    let mut room = Room::on(15, channels).await;
    room.until("a connection", |room| room.slack.greeted() == 1).await;
    room.bind(BOB, person(2)).await;
    let config = direct_section(&room, most_each).check(room.folder.path()).unwrap();
    room.tasks.spawn(run(Arc::clone(&room.stage.gate), direct(), Arc::clone(config.tell())));
    room
}

fn direct_section(room: &Room, most_each: Option<usize>) -> ChannelSection {
    ChannelSection {
        name: "direct".into(),
        kind: "slack".into(),
        token_from: Some("file:token".into()),
        people_of: Some("dba".into()),
        api: Some(room.slack.api()),
        most_each,
        ..ChannelSection::default()
    }
}

/// The messages in somebody's conversation with the app, oldest first.
fn messages_of(room: &Room, user: &str) -> Vec<Message> {
    let conversation = user.replacen('U', "D", 1);
    room.slack.messages().into_iter().filter(|message| message.channel == conversation).collect()
}

fn heading(message: &Message) -> String {
    message.blocks[0]["text"]["text"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_decide_has_a_message_of_their_own_and_the_requester_is_told_how_it_ends() {
    let room = room(None).await;
    let id = room.stage.hold(Class::Execute, "rocket").await;
    let asked = |room: &Room| messages_of(room, ANA).len() == 1 && messages_of(room, BOB).len() == 1;
    room.until("both messages", asked).await;
    assert!(messages_of(&room, OLGA).is_empty(), "the requester's side is asked nothing");
    let message = messages_of(&room, ANA).pop().unwrap();
    let told = room.told(&room.slack.click(&message, ANA, "approve").unwrap(), Link::Newest).await;
    assert!(told.contains("Your approval counts"), "{told}");
    room.stage.until(id, "done").await;
    let ended = |room: &Room| {
        [ANA, BOB, OLGA].iter().all(|user| {
            let messages = messages_of(room, user);
            messages.len() == 1 && heading(&messages[0]).contains("Approved and done")
        })
    };
    room.until("the end, in place", ended).await;
    let olgas = messages_of(&room, OLGA).pop().unwrap();
    for action in ["approve", "reject"] {
        assert!(room.slack.click(&olgas, OLGA, action).is_err(), "nothing is asked of them");
    }
    assert_eq!(room.slack.messages().len(), 3, "nobody else is told, and nothing stands in the channel");
    assert_eq!(room.count(id, "approval.voted").await, 1);
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_requesters_message_offers_nothing_when_people_are_asked_anew() {
    let room = room(None).await;
    room.stage.cloud.offline.store(1_000, Ordering::SeqCst);
    let id = room.stage.hold(Class::Execute, "rocket").await;
    room.until("the question", |room| messages_of(room, ANA).len() == 1).await;
    let message = messages_of(&room, ANA).pop().unwrap();
    room.told(&room.slack.click(&message, ANA, "approve").unwrap(), Link::Newest).await;
    room.until("the answer", |room| messages_of(room, OLGA).len() == 1).await;
    // Another gate shuts before it ran: the same action waits for people again.
    let anew = CHAT.replace("launch", "second");
    room.stage.policy(&format!("{POLICY}{CHAT}{anew}")).await;
    room.stage.cloud.offline.store(0, Ordering::SeqCst);
    assert_eq!(room.stage.hold(Class::Execute, "rocket").await, id);
    let again = |room: &Room| {
        [ANA, OLGA].iter().all(|user| heading(&messages_of(room, user)[0]).contains("Waiting for people"))
    };
    room.until("the new round, in place", again).await;
    let click = |user| room.slack.click(&messages_of(&room, user)[0], user, "approve");
    assert!(click(ANA).is_ok() && click(OLGA).is_err(), "there is nothing for her to decide");
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_bound_any_more_sees_nothing_more_and_whoever_cannot_be_reached_keeps_nobody_from_theirs()
 {
    let room = room(None).await;
    // Asked in the order of their ids, and the first cannot be conversed with.
    room.slack.trouble(|trouble| trouble.shut.extend([ANA.into()]));
    let id = room.stage.hold(Class::Execute, "rocket").await;
    room.until("the message", |room| messages_of(room, BOB).len() == 1).await;
    assert!(room.stage.gate.channels().named(&direct()).unwrap().standing().failures == 0);
    room.slack.trouble(|trouble| trouble.shut.clear());
    let other = room.stage.hold(Class::Execute, "second rocket").await;
    room.until("both", |room| messages_of(room, ANA).len() == 1 && messages_of(room, BOB).len() == 2).await;
    assert!(heading(&messages_of(&room, ANA)[0]).contains("Waiting"));

    room.unbind(ANA);
    for id in [id, other] {
        room.stage.reject(person(2), id, "said in confidence").await.unwrap();
    }
    let over = |message: &Message| heading(message).contains("Rejected");
    room.until("the end", |room| messages_of(room, BOB).iter().all(over)).await;
    let hers = messages_of(&room, ANA).remove(0);
    let shown = serde_json::to_string(&hers.blocks).unwrap();
    assert!(shown.contains("not meant for you any more"), "{shown}");
    assert!(
        !shown.contains("rocket") && !shown.contains("confidence") && !shown.contains("action_id"),
        "{shown}"
    );
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_several_are_over_a_closed_conversation_keeps_nobody_from_hearing_of_it() {
    let room = room(None).await;
    let id = room.stage.hold(Class::Execute, "rocket").await;
    let asked = |room: &Room| messages_of(room, ANA).len() == 1 && messages_of(room, BOB).len() == 1;
    room.until("both messages", asked).await;
    let posted = async {
        loop {
            let told = outbox::load(&room.stage.gate, id, &direct()).await.unwrap();
            if let Some(posted) = told.and_then(|(outgoing, _)| outgoing.posted) {
                break posted;
            }
        }
    };
    let posted = tokio::time::timeout(crate::COMES_WITHIN, posted).await.unwrap();
    room.slack.trouble(|trouble| trouble.shut.extend([ANA.into()]));
    let now = room.stage.gate.now();
    let over = Over { id: "gathering".into(), posted, link: "https://countersign.example/".into(), now };
    let section = direct_section(&room, None).check(room.folder.path()).unwrap();
    section.tell().over(&over).await.unwrap();
    assert!(heading(&messages_of(&room, BOB)[0]).contains("waits for people any more"));
    assert!(heading(&messages_of(&room, ANA)[0]).contains("Waiting"));
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_left_keeps_nobody_from_theirs_and_a_lost_answer_writes_nothing_twice() {
    let room = room(None).await;
    room.slack.trouble(|trouble| {
        trouble.gone.insert(ANA.into());
        trouble.lost = 1;
    });
    let id = room.stage.hold(Class::Execute, "rocket").await;
    let failed = |room: &Room| {
        room.stage.gate.channels().named(&direct()).is_some_and(|channel| channel.standing().failures > 0)
    };
    room.until("the lost answer", failed).await;
    room.stage.clock.pass(Duration::from_mins(2));
    let works = |room: &Room| {
        room.stage
            .gate
            .channels()
            .named(&direct())
            .is_some_and(|channel| channel.standing().last_told.is_some())
    };
    room.until("another try", works).await;
    let message = messages_of(&room, BOB).pop().unwrap();
    let told = room.told(&room.slack.click(&message, BOB, "approve").unwrap(), Link::Newest).await;
    assert!(told.contains("Your approval counts"), "{told}");
    room.stage.until(id, "done").await;
    room.until("the end, in place", |room| heading(&messages_of(room, BOB)[0]).contains("Approved and done"))
        .await;
    assert_eq!((messages_of(&room, ANA).len(), messages_of(&room, BOB).len()), (0, 1));
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_asked_enough_is_left_alone_as_long_as_another_can_decide() {
    let room = room(Some(1)).await;
    room.stage.hold(Class::Execute, "first").await;
    let both = |room: &Room| messages_of(room, ANA).len() == 1 && messages_of(room, BOB).len() == 1;
    room.until("both messages", both).await;
    // Both have enough, and somebody has to be asked: one of them is.
    room.stage.hold(Class::Execute, "second").await;
    room.until("one more", |room| room.slack.messages().len() == 3).await;
    room.close().await;
}
