//! The message model over a held action: nothing hidden stays hidden, nothing is cut while it can be approved, and what
//! the requester claims stays apart.

use crate::stage::{CORPUS, held, message};
use countersign_core::{Timestamp, approval::State, visible};
use countersign_engine::preapproval::{NamedTicket, TicketStand};
use countersign_reviewer::message::{Excerpt, MARKED, Offer};
use serde_json::Value;

/// Every text of a JSON value, names of members too.
fn texts(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::String(text) => out.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, out)),
        Value::Object(members) => {
            for (name, value) in members {
                out.push(name.clone());
                texts(value, out);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[test]
fn whoever_wrote_it_nothing_hidden_stays_hidden() {
    for hostile in CORPUS {
        let (mut hold, action) = held(hostile, hostile);
        let (claimed, stands) = (hostile.to_owned(), TicketStand::Unread);
        let (looked_at, votes, lost) = (None, Vec::new(), Vec::new());
        hold.view.claimed.ticket = Some(claimed.clone());
        hold.tickets =
            vec![NamedTicket { claimed, named_at: Timestamp(1), looks: 0, looked_at, stands, votes, lost }];
        let message = message(&hold, Some(&action), Some(1000));
        let mut all = Vec::new();
        texts(&serde_json::to_value(&message).unwrap(), &mut all);
        for text in all {
            // Our own marks are what hidden characters were made into; nothing else is left to find.
            let left = text.replace(['⟨', '⟩'], "");
            assert!(!visible::has_hidden(&left), "{hostile:?} in {text:?}");
        }
        let hides = visible::has_hidden(hostile);
        let want = if hides { Offer::Review } else { Offer::Decide };
        assert_eq!((message.offers, message.hidden_characters), (want, hides), "{hostile:?}");
        assert_eq!(message.claimed.marked, MARKED);
        assert_eq!(message.claimed.reason.as_deref(), Some(&*visible::escaped(hostile)));
        assert_eq!(message.claimed.ticket.as_deref(), Some(&*visible::escaped(hostile)));
        let named = message.computed.evidence.last().unwrap();
        assert!(named.says.ends_with("has not been looked up") && !named.says.contains('\n'), "{named:?}");
    }
}

#[test]
fn what_is_not_shown_whole_cannot_be_decided_here() {
    let (mut hold, action) = held("logs", "drop table logs; drop table customers");
    let whole = message(&hold, Some(&action), Some(37));
    assert_eq!(whole.offers, Offer::Decide);
    let request = whole.request.unwrap();
    assert_eq!((request.body.is_whole(), request.body_bytes), (true, 37));
    assert_eq!(request.head, Excerpt::Whole { text: "DELETE /x".into() });

    let part = message(&hold, Some(&action), Some(36));
    assert_eq!(part.offers, Offer::Review);
    let Some(Excerpt::Ends { left_out, .. }) = part.request.map(|request| request.body) else {
        panic!("it was shown whole")
    };
    assert_eq!(left_out, 1);
    assert_eq!(message(&hold, Some(&action), None).offers, Offer::Review, "no bytes are shown");
    assert_eq!(message(&hold, None, Some(37)).offers, Offer::Review, "what was asked is erased");
    hold.approval.state = State::Granted { use_by: Timestamp(9) };
    assert_eq!(message(&hold, Some(&action), Some(37)).offers, Offer::Nothing);
}

#[test]
fn it_says_who_asks_for_whom_why_and_who_decides() {
    let (hold, action) = held("logs", "");
    let message = message(&hold, Some(&action), Some(100));
    assert_eq!(message.computed.owners.first().map(|owner| &*owner.name), Some("Olga⟨U+202E⟩"));
    assert_eq!(message.computed.on_behalf_of.len(), 1);
    let ask = message.asks.first().unwrap();
    assert_eq!((&*ask.reason, ask.votes, ask.quorum), ("what is deleted is gone", 0, 2));
    assert_eq!(ask.approvers, "2 people of dba, each with a passkey");
    assert_eq!(message.deadline, Some(Timestamp(60_000_000)));
    assert_eq!(message.computed.sentence, "Drop the table “logs”.");
}
