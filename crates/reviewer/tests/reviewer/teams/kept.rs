//! Every kind of card, kept as it is: what changes in one is seen where it is changed. The same cards are held against Microsoft's
//! published schema and drawn by its renderer (`e2e/tests/channels/teams/looks.rs`).

use super::{
    deliver::Stage,
    draw::{MARKS, chat},
};
use crate::{
    stage::{CORPUS, asks_for, letter},
    together::{gathering, hostile, over},
};
use countersign_core::{Assurance, Timestamp, visible::escaped};
use countersign_reviewer::{Letter, card, message::Offer};
use countersign_testkit::teams::{CHANNEL, CHAT, Refusal, cards::check};
use serde_json::{Map, Value};

#[tokio::test]
async fn every_kind_of_card_is_kept() {
    let mut cards = Map::new();
    let mut keep = |name: String, card: Value| {
        assert_eq!(check(&card), Ok(()), "{name}");
        assert!(cards.insert(name.clone(), card).is_none(), "{name} is there twice");
    };
    let open = chat("logs", "{\"rows\": 3}\n  drop  table logs");
    keep("open".into(), card(&open, Some("opaque")).card);
    keep("open, nobody listens".into(), card(&open, None).card);
    let mut asks = open.clone();
    asks_for(&mut asks, Assurance::Passkey);
    keep("open, asks for a passkey".into(), card(&asks, Some("opaque")).card);
    let mut again = open.clone();
    again.drifted = Some("the table has 4 rows now".into());
    keep("open again".into(), card(&again, Some("opaque")).card);
    keep("cut".into(), card(&chat("logs", &"x\n".repeat(9_000)), Some("opaque")).card);
    for state in ["granted", "executing", "done", "cancelled", "unknown", "rejected", "lapsed", "revoked"] {
        let mut message = open.clone();
        (message.state, message.offers) = (state.into(), Offer::Nothing);
        keep(state.into(), card(&message, Some("opaque")).card);
    }
    for (number, text) in CORPUS.into_iter().chain(MARKS).enumerate() {
        keep(format!("hostile {number:02}"), card(&chat(text, text), Some("opaque")).card);
    }
    // What only a conversation shows: a line in a thread, a call in a chat, a card that is too large, several in one.
    for (conversation, name) in [(CHANNEL, "thread"), (CHAT, "chat")] {
        let stage = Stage::open(conversation).await;
        let first = letter(1, "approval.requested", "pending");
        let posted = stage.tell(&first).await.unwrap();
        for (number, kind, state) in [(2, "approval.reminded", "pending"), (3, "approval.voted", "rejected")]
        {
            let mut later = letter(number, kind, state);
            later.by = Some(escaped(MARKS[0]));
            later.message.rejection = Some(escaped(MARKS[1]));
            let later = Letter { posted: posted.clone(), approval: first.approval, ..later };
            stage.tell(&later).await.unwrap();
        }
        for (at, message) in stage.teams.messages().iter().enumerate().skip(1) {
            keep(format!("{name} {at}"), message.card.clone());
        }
    }
    let stage = Stage::open(CHANNEL).await;
    stage.teams.trouble(|trouble| trouble.answers.push_back(Refusal::Error(413, "MessageSizeTooBig")));
    stage.tell(&letter(1, "approval.requested", "pending")).await.unwrap();
    keep("brief".into(), stage.teams.messages()[0].card.clone());
    let mut many = gathering(10_000, &hostile());
    many.items.iter_mut().for_each(|item| item.deadline = Some(Timestamp(60_000_000)));
    let posted = stage.tell.tell_together(&many).await.unwrap().unwrap();
    keep("several".into(), stage.teams.messages()[1].card.clone());
    stage.tell.over(&over(&posted)).await.unwrap();
    keep("several, over".into(), stage.teams.messages()[1].card.clone());
    // A line for each.
    let lines: Vec<String> = cards.iter().map(|(name, card)| format!("{name}: {card}")).collect();
    insta::assert_snapshot!("cards", lines.join("\n"));
}
