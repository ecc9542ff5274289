//! Something held, with hostile text wherever somebody can put one.

use bytes::Bytes;
use countersign_core::{
    Action, ActionId, Approval, ApprovalId, Assurance, Body, Class, Digest, EntryId, Operation, Payload,
    PersonId, PrincipalId, PrincipalKind, Requester, Resource, Timestamp,
    approval::Round,
    decision::{Approvers, Gate},
    visible,
};
use countersign_engine::{
    hold::{Delivery, Hold},
    outbox::News,
    view::View,
};
use countersign_ledger::event::Asked;
use countersign_reviewer::{
    Before, Behind, Letter,
    message::{Links, Message, Offer, Room},
};
use serde_json::json;
use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    time::{SystemTime, UNIX_EPOCH},
};

pub(crate) use crate::corpus::CORPUS;

pub(crate) fn owner() -> PersonId {
    PersonId::from_parts(1, 1)
}

/// Something held, with this text wherever a requester can put one.
pub(crate) fn held(text: &str, body: &str) -> (Hold, Action) {
    let agent = countersign_core::AgentId::from_parts(1, 2);
    let action = Action {
        id: ActionId::from_parts(1, 3),
        received_at: Timestamp(0),
        requester: Requester {
            principal: PrincipalId::Agent(agent),
            kind: PrincipalKind::Agent,
            name: text.into(),
            groups: [].into(),
            clearances: [].into(),
            claims: BTreeMap::new(),
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
        claimed_ticket: None,
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
        tickets: [].into(),
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
    let id = ApprovalId::from_parts(1, 5);
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
        heard: vec![],
        tickets: vec![],
        summoned: [].into(),
        notify: vec![],
        calls: countersign_engine::outbox::Calls::default(),
        closed_at: None,
    };
    (hold, action)
}

pub(crate) fn message(hold: &Hold, action: Option<&Action>, characters: Option<usize>) -> Message {
    let name_of = |person| (person == owner()).then(|| "Olga\u{202e}".to_owned());
    let page = "https://sign.example/approvals/x";
    let links = Links { page: page.into(), decide: format!("{page}/decide") };
    Message::of(hold, action, Room { characters }, links, name_of)
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp(i64::try_from(since.as_micros()).unwrap())
}

/// News number so and so of one approval.
pub(crate) fn letter(number: u32, kind: &str, state: &str) -> Letter {
    let (hold, action) = held("logs", "drop table logs");
    let mut message = message(&hold, Some(&action), Some(8192));
    message.state = state.into();
    let now = now();
    let entry = EntryId::from_parts(now.unix_ms(), u128::from(number));
    Letter {
        id: format!("{entry}{number}"),
        approval: ApprovalId::from_parts(now.unix_ms(), 7),
        action: ActionId::from_parts(1, 3),
        news: News {
            number,
            entry,
            kind: kind.into(),
            by: String::new(),
            at: now,
            state: state.into(),
            gates: vec![],
            after: None,
            gather: None,
        },
        message,
        shown: "shown".into(),
        by: Some("Ana".into()),
        deciders: vec![],
        requesters: vec![],
        meant: true,
        reached: BTreeMap::new(),
        posted: None,
        before: Before::Never,
        behind: Behind::Nothing,
        source: "https://sign.example".into(),
        now,
    }
}

/// Every gate asks for votes that are worth so much.
pub(crate) fn asks_for(message: &mut Message, assurance: Assurance) {
    for ask in &mut message.asks {
        (ask.assurance, ask.in_chat) = (assurance, assurance == Assurance::Chat);
    }
}

/// What is told of an approval after the first, with this text wherever somebody can put one.
pub(crate) fn steps(first: &Letter, text: &str, posted: Option<&String>) -> Vec<Letter> {
    let (mut hold, action) = held(text, text);
    hold.drifted = Some(text.into());
    let news = [
        ("approval.voted", "rejected"),
        ("approval.round_opened", "pending"),
        ("approval.reminded", "pending"),
        ("approval.glass_broken", "granted"),
        (text, "pending"),
    ];
    let one = |(number, (kind, state)): (u32, (&str, &str))| {
        let mut message = message(&hold, Some(&action), Some(8192));
        if state != "pending" {
            (message.state, message.offers) = (state.into(), Offer::Nothing);
        }
        let by = Some(visible::name(text));
        let (approval, posted) = (first.approval, posted.cloned());
        Letter { message, by, approval, posted, ..letter(number, kind, state) }
    };
    (2..).zip(news).map(one).collect()
}
