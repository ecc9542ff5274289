//! Hostile text where one user alone is answered: forms, what `/countersign` says, and what names something to freeze.

use crate::{
    ANA, Room,
    corpus::{CORPUS, hides},
    gateway::request,
};
use countersign_core::{AgentId, ApprovalId, Class};
use countersign_engine::{Reply, flow};
use countersign_testkit::slack::{
    blocks::{controls, texts_of},
    socket::Link,
};
use serde_json::Value;
use std::time::Duration;

/// Marks of Slack's own.
const MARKS: [&str; 4] = [
    "*bold* _it_ ~gone~ `code` ```fence``` > quoted",
    "<!channel> <@U0123456789> <https://evil.example|Open its page>",
    "line\n*Approved by everybody*",
    "&lt;!channel&gt; &amp;lt;",
];
/// So many texts stand in one sentence: a form shows all of it.
const TOGETHER: usize = 4;

/// That nothing of what stands between two `zqz` means anything, or hides.
fn means_nothing(blocks: &[Value], what: &str) {
    for control in controls(blocks) {
        assert!(control.starts_with("http://localhost:7100/"), "{what}: `{control}`");
    }
    for text in texts_of(blocks, "mrkdwn") {
        let outside: String = text.split('`').step_by(2).collect();
        assert!(!outside.contains("zqz") && text.matches('`').count() % 2 == 0, "{what}: {text}");
        assert!(!hides(&text) && !text.contains("\nzqz"), "{what}: {text:?}");
    }
    for text in texts_of(blocks, "plain_text") {
        assert!(!text.contains(['<', '>', '\n']) && !hides(&text), "{what}: {text:?}");
    }
}

fn blocks_of(said: &Value) -> Vec<Value> {
    said["blocks"].as_array().unwrap().clone()
}

/// Something held whose sentence holds these texts.
async fn held(room: &Room, number: usize, texts: &[&str]) -> ApprovalId {
    let said: Vec<String> = texts.iter().map(|text| format!("zqz{text}zqz")).collect();
    let mut asked = request(Class::Execute, Duration::ZERO);
    asked.sentence = format!("Launch “{}”.", said.join("”, “"));
    let exchange = room.stage.reading(&format!("rocket {number}"));
    match flow::handle(&room.stage.gate, asked, exchange).await.unwrap() {
        Reply::Pending(ticket) => ticket.approval,
        other => panic!("not held: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_and_answers_show_others_words_and_read_nothing_in_them() {
    let room = Room::connected(15).await;
    let all: Vec<&str> = CORPUS.into_iter().chain(MARKS).collect();
    for (number, texts) in all.chunks(TOGETHER).enumerate() {
        let id = held(&room, number, texts).await;
        room.until("the message", |room| room.roots().len() == number + 1).await;
        // A message that hides characters offers no button; a click on another carries what that one carried.
        let views = room.slack.views().len();
        let told = room.slack.answers().len();
        let words = format!("status {id}");
        let envelope = room.slack.hand_in(&room.slack.command(ANA, &words), Link::Newest).unwrap();
        room.acknowledged(&envelope).await;
        room.until("how it stands", |room| room.slack.answers().len() > told).await;
        let said = room.slack.answers().pop().unwrap();
        assert!(said.to_string().contains("zqz"), "{said}");
        means_nothing(&blocks_of(&said), "status");
        let message = room.roots().pop().unwrap();
        if let Ok(click) = room.slack.click(&message, ANA, "reject") {
            let envelope = room.slack.hand_in(&click, Link::Newest).unwrap();
            room.acknowledged(&envelope).await;
            room.until("the form", |room| room.slack.views().len() > views).await;
            let view = room.slack.views().pop().unwrap();
            assert!(view.to_string().contains("zqz"), "{view}");
            means_nothing(&blocks_of(&view), "the form");
        }
    }
    assert!(!room.slack.views().is_empty(), "some hide nothing, and can be rejected in place");
    let told = room.slack.answers().len();
    let envelope = room.slack.hand_in(&room.slack.command(ANA, ""), Link::Newest).unwrap();
    room.acknowledged(&envelope).await;
    room.until("the list", |room| room.slack.answers().len() > told).await;
    let said = room.slack.answers().pop().unwrap();
    assert_eq!(said.to_string().matches("Launch").count(), all.len() / TOGETHER, "{said}");
    means_nothing(&blocks_of(&said), "the list");
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_what_is_to_be_frozen_mean_nothing_either() {
    let room = Room::connected(15).await;
    let texts =
        CORPUS.into_iter().chain(MARKS).map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
    for (number, text) in (1..).zip(texts) {
        let name = format!("zqz{text}zqz");
        // Nobody is called so.
        let told = room.slack.answers().len();
        let command = room.slack.command(ANA, &format!("freeze agent {name}"));
        let envelope = room.slack.hand_in(&command, Link::Newest).unwrap();
        room.acknowledged(&envelope).await;
        room.until("an answer", |room| room.slack.answers().len() > told).await;
        let said = room.slack.answers().pop().unwrap();
        assert!(said.to_string().contains("There is no agent"), "{said}");
        means_nothing(&blocks_of(&said), &name);
        assert!(!said["text"].as_str().unwrap().contains(['<', '>', '\n']), "{said}");
        // Somebody is.
        let agent = AgentId::from_parts(2, number);
        room.stage.people.agents.lock().unwrap().insert(agent, name.clone());
        let views = room.slack.views().len();
        let envelope = room.slack.hand_in(&command, Link::Newest).unwrap();
        room.acknowledged(&envelope).await;
        room.until("the form", |room| room.slack.views().len() > views).await;
        let view = room.slack.views().pop().unwrap();
        assert!(view.to_string().contains("This freezes agent"), "{view}");
        means_nothing(&blocks_of(&view), &name);
        let told = room.slack.answers().len();
        let sent = room.slack.submit(ANA, "it runs wild").unwrap();
        let envelope = room.slack.hand_in(&sent, Link::Newest).unwrap();
        room.acknowledged(&envelope).await;
        room.until("that it is frozen", |room| room.slack.answers().len() > told).await;
        let said = room.slack.answers().pop().unwrap();
        assert!(said.to_string().contains("Frozen"), "{said}");
        means_nothing(&blocks_of(&said), &name);
    }
    room.close().await;
}
