//! The message model over a held action: nothing hidden stays hidden, nothing is cut while it can be approved, and what
//! the requester claims stays apart.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use bytes::Bytes;
use countersign_core::{
    Action, Approval, Assurance, Body, Class, Digest, Operation, Payload, PersonId, PrincipalId,
    PrincipalKind, Requester, Resource, Timestamp,
    approval::{Round, State},
    decision::{Approvers, Gate},
    visible,
};
use countersign_engine::{
    hold::{Delivery, Hold},
    view::View,
};
use countersign_ledger::event::Asked;
use countersign_reviewer::message::{Excerpt, MARKED, Message, Offer, Room};
use serde_json::{Value, json};
use std::num::NonZeroU32;

/// Texts that hide something, or look like something of ours.
const CORPUS: [&str; 12] = [
    "invoice\u{202e}fdp.exe",
    "\u{2066}admin\u{2069} \u{2067}x\u{2069}",
    "pass\u{200b}word\u{200d}\u{feff}",
    "no\u{2060}where",
    "hello\u{e0041}\u{e0042}",
    "\u{1b}[2J\u{1b}[31mAPPROVED\u{1b}[0m\u{1b}]0;title\u{7}",
    "harmless\u{0}; drop everything",
    "a\u{9b}31mb",
    "rm -rf /\u{8}\u{8}\u{8}\u{8}",
    "<script>alert(1)</script><!channel> <@U123> *bold* \"'&amp;",
    "1500\r\nApproved by: Ana Almeida\r\n\r\nstate done",
    "```\n# **Approved**\n[here](javascript:alert(1)) ⟨U+202E⟩",
];

fn owner() -> PersonId {
    PersonId::from_parts(1, 1)
}

/// Something held, with this text wherever a requester can put one.
fn held(text: &str, body: &str) -> (Hold, Action) {
    let agent = countersign_core::AgentId::from_parts(1, 2);
    let action = Action {
        id: countersign_core::ActionId::from_parts(1, 3),
        received_at: Timestamp(0),
        requester: Requester {
            principal: PrincipalId::Agent(agent),
            kind: PrincipalKind::Agent,
            name: text.into(),
            groups: [].into(),
            clearances: [].into(),
            owners: [owner()].into(),
            created_by: None,
            on_behalf_of: vec![owner()],
            credential: countersign_core::CredentialId::from_parts(1, 4),
        },
        target: "shop".parse().unwrap(),
        environment: "prod".parse().unwrap(),
        credential_profile: "shop".into(),
        wire: "http".into(),
        operation: Operation { name: None, class: Class::Delete },
        resources: vec![Resource { kind: "table".into(), name: text.into(), labels: [].into() }],
        facts: serde_json::from_value(json!({"path": text, "deep": {text: [text, 7]}})).unwrap(),
        session: [].into(),
        payload: Payload {
            head: Bytes::from_static(b"countersign-http/1\n6:DELETE\n2:/x\n0:\n"),
            body: Body::Bound(Bytes::copy_from_slice(body.as_bytes())),
        },
        idempotency_key: None,
        sentence: format!("Drop the table “{text}”."),
        evidence: None,
        claimed_reason: Some(text.into()),
    };
    let digest = action.digest().unwrap();
    let gate = Gate {
        name: "deletes".parse().unwrap(),
        policies: [].into(),
        approvers: Approvers { groups: ["dba".parse().unwrap()].into(), people: [].into() },
        quorum: NonZeroU32::new(2).unwrap(),
        assurance: Assurance::Passkey,
        reason: "what is deleted is gone".into(),
        distinct: false,
        break_glass: None,
        sign_in: None,
    };
    let round = Round {
        number: 1,
        bundle: Digest([1; 32]),
        evidence: Digest([2; 32]),
        view: Digest([3; 32]),
        opened_at: Timestamp(0),
        deadline: Timestamp(60_000_000),
        valid_for_micros: 1,
        gates: vec![gate],
        votes: [].into(),
        broken: None,
    };
    let view = View::of(&action, &digest, &round.gates, round.deadline);
    let id = countersign_core::ApprovalId::from_parts(1, 5);
    let approval = Approval::open(id, action.id, digest, [owner()].into(), round);
    let asked = Asked {
        class: "delete".into(),
        digest,
        environment: "prod".parse().unwrap(),
        on_behalf_of: vec![owner()],
        operation: String::new(),
        target: "shop".parse().unwrap(),
        wire: "http".into(),
    };
    let hold = Hold {
        approval,
        principal: action.requester.principal,
        asked,
        view,
        salt: [0; 32],
        attach_key: String::new(),
        last_leaf: digest,
        handle_given: true,
        delivery: Delivery::Waiting,
        resolution: None,
        rejection: Some(text.into()),
        evidence: None,
        drift: countersign_core::evidence::DriftBound::default(),
        drifted: None,
        excluded: [].into(),
        glass: vec![],
        notify: vec![],
        closed_at: None,
    };
    (hold, action)
}

fn message(hold: &Hold, action: Option<&Action>, characters: Option<usize>) -> Message {
    let name_of = |person| (person == owner()).then(|| "Olga\u{202e}".to_owned());
    Message::of(hold, action, Room { characters }, "https://sign.example/approvals/x".into(), name_of)
}

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
        let (hold, action) = held(hostile, hostile);
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
