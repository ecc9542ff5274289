//! An approval as it is stored, with everything needed to go on with it after a restart.

use crate::{
    error::Error,
    inward::Heard,
    outbox::Calls,
    port::store::{Change, Expect, Key, Kind, ReadError, Record},
    preapproval::NamedTicket,
    reply::{TellTicket, Ticket, WaitsFor},
    view::{View, approvers_in_words},
};
use countersign_core::{
    ActionId, Approval, Caller, Digest, Evidence, PersonId, PrincipalId, Timestamp,
    approval::{Closing, Event, Outcome, Refused, State, Taker},
    evidence::DriftBound,
    ticket::Scope,
};
use countersign_ledger::event::{Asked, Found, Judged};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One held action: the approval and what surrounds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub approval: Approval,
    pub principal: PrincipalId,
    pub asked: Asked,
    pub view: View,
    /// Salts the action digest that the ledger publishes.
    pub salt: [u8; 32],
    /// Identical actions of the same principal attach under this key until the answer was delivered.
    pub attach_key: String,
    /// Leaf hash of the action's newest entry.
    pub last_leaf: Digest,
    /// A handle was given: the gateway runs the action on approval and keeps the answer.
    pub handle_given: bool,
    pub delivery: Delivery,
    /// What a person found out after an unknown outcome.
    pub resolution: Option<Resolution>,
    /// Who rejected and why, in the reviewer's words: they reach the agent.
    pub rejection: Option<String>,
    /// What was found out about it, for the newest round.
    #[serde(default)]
    pub evidence: Option<Evidence>,
    /// By how much that may have grown when it runs.
    #[serde(default)]
    pub drift: DriftBound,
    /// Why people have to decide again, when what they decided on was not so any more.
    #[serde(default)]
    pub drifted: Option<String>,
    /// People who may not vote, with the reason, as known when the last round opened.
    pub excluded: BTreeMap<PersonId, String>,
    /// When one person lifted gates of it alone, and what others say of that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub glass: Vec<Glass>,
    /// What lately came in about it through channels, and what was answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heard: Vec<Heard>,
    /// Tickets that the requester named, in the order in which they were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tickets: Vec<NamedTicket>,
    /// The moment of the newest summons that each person has opened: older ones are used up with it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub summoned: BTreeMap<PersonId, Timestamp>,
    /// Where reviewers are told, beside the console.
    pub notify: Vec<String>,
    /// When they are told again while nobody decides, for the newest round.
    #[serde(default, skip_serializing_if = "Calls::is_empty")]
    pub calls: Calls,
    pub closed_at: Option<Timestamp>,
}

/// One break-glass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Glass {
    pub by: PersonId,
    pub at: Timestamp,
    pub reason: String,
    /// Who was told at once.
    pub told: BTreeSet<PersonId>,
    /// `None`: it waits for somebody else to look at it, and they break no other until then.
    pub review: Option<GlassReview>,
}

/// What somebody else says of a break-glass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GlassReview {
    pub by: PersonId,
    pub found: Judged,
    pub note: String,
    pub at: Timestamp,
}

/// Where the answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// There is none yet.
    Waiting,
    /// It is kept for the requester.
    Kept,
    /// It was larger than what is kept, or lost from sight.
    NotKept,
    Delivered,
    /// Nobody came for it in time.
    Expired,
}

/// How an unknown outcome was settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    pub by: Option<PersonId>,
    pub found: Found,
    pub note: String,
    pub at: Timestamp,
}

impl Hold {
    /// Who asked.
    pub fn caller(&self) -> Caller {
        Caller {
            principal: self.principal,
            on_behalf_of: self.asked.on_behalf_of.clone(),
            claims: self.view.computed.claims.clone(),
        }
    }

    /// Reads a stored hold.
    pub fn read(record: &Record) -> Result<Self, ReadError> {
        serde_json::from_slice(&record.doc)
            .map_err(|error| ReadError::Garbled { kind: Kind::Hold, why: error.to_string() })
    }

    /// The change that stores it, guarded by the version it was read at.
    pub(crate) fn put(&self, expect: Expect) -> Result<Change, Error> {
        Ok(Change::Put {
            kind: Kind::Hold,
            id: self.approval.id.to_string(),
            expect,
            doc: json(self)?.into(),
            keys: self.keys(),
        })
    }

    fn keys(&self) -> Vec<Key> {
        let key = |name, value: String| Key { name, value, unique: false };
        let mut keys = vec![
            key("status", self.approval.state.as_str().into()),
            key("open", if self.approval.state.is_closed() { "no" } else { "yes" }.into()),
            key("principal", self.principal.to_string()),
            key("target", self.asked.target.to_string()),
            key("environment", self.asked.environment.to_string()),
            key("class", self.asked.class.clone()),
            key("action", self.approval.action.to_string()),
        ];
        if self.was_refused() {
            keys.push(key("refused", self.attach_key.clone()));
        }
        if self.is_unresolved() {
            keys.push(key("unresolved", "yes".into()));
        }
        if self.glass.iter().any(|glass| glass.review.is_none()) {
            keys.push(key("review", "open".into()));
        }
        for glass in self.glass.iter().filter(|glass| glass.review.is_none()) {
            // INVARIANT: one open review for each person, whatever two gateways or two requests do at once.
            keys.push(Key { name: "broken_by", value: glass.by.to_string(), unique: true });
        }
        if self.attaches() {
            keys.push(key("attachable", "yes".into()));
            keys.push(Key { name: "attach", value: self.attach_key.clone(), unique: true });
        }
        keys
    }

    /// Whether an identical action still attaches here.
    pub fn attaches(&self) -> bool {
        matches!(self.delivery, Delivery::Waiting | Delivery::Kept | Delivery::NotKept)
    }

    /// Whether nobody knows if it ran, and no person has found out yet.
    pub fn is_unresolved(&self) -> bool {
        let unknown =
            matches!(self.approval.state, State::Closed(Closing::Finished { outcome: Outcome::Unknown, .. }));
        unknown && self.resolution.is_none()
    }

    /// Takes one step of the approval's life; unchanged when that is refused.
    pub(crate) fn step(&mut self, event: Event, now: Timestamp) -> Result<(), Refused> {
        self.approval.step(event, now)?;
        if self.approval.state.is_closed() && self.closed_at.is_none() {
            self.closed_at = Some(now);
        }
        Ok(())
    }

    /// Whether it is asked for by this person, or on their behalf.
    pub(crate) fn is_for(&self, person: PersonId) -> bool {
        self.principal == PrincipalId::Person(person) || self.asked.on_behalf_of.contains(&person)
    }

    pub fn action(&self) -> ActionId {
        self.approval.action
    }

    /// What the waiting caller is told.
    pub fn ticket(&self, link: String, name_of: impl Fn(PersonId) -> Option<String>) -> Ticket {
        let waits_for = self.approval.shut_gates().map(|(round, gate)| WaitsFor {
            gate: gate.name.to_string(),
            reason: gate.reason.clone(),
            approvers: approvers_in_words(gate, &name_of),
            votes: round
                .votes
                .get(&gate.name)
                .map_or(0, |votes| u32::try_from(votes.len()).unwrap_or(u32::MAX)),
            quorum: gate.quorum.get(),
            assurance: gate.assurance,
        });
        Ticket {
            approval: self.approval.id,
            action: self.approval.action,
            code: self.view.computed.code.clone(),
            state: self.approval.state.as_str().into(),
            sentence: self.view.computed.sentence.clone(),
            waits_for: waits_for.collect(),
            deadline: self.approval.next_deadline(),
            drifted: self.drifted.clone(),
            named: self.tickets.iter().map(TellTicket::of).collect(),
            scope: self.scope_of_a_ticket(),
            link,
        }
    }

    /// Whether somebody said no to it, or took it back.
    fn was_refused(&self) -> bool {
        match &self.approval.state {
            State::Closed(Closing::Rejected { .. }) => true,
            State::Closed(Closing::Revoked { by } | Closing::Finished { revoked_by: Some(by), .. }) => {
                match by {
                    Taker::Person(_) | Taker::Operator | Taker::Freeze => true,
                    Taker::Policy => false,
                }
            }
            State::Closed(
                Closing::Withdrawn | Closing::Lapsed | Closing::Finished { revoked_by: None, .. },
            )
            | State::Pending
            | State::Granted { .. }
            | State::Executing(_) => false,
        }
    }

    /// What a ticket would have to say to cover this action alone, where a gate that is shut takes tickets.
    pub fn scope_of_a_ticket(&self) -> Option<String> {
        let takes = self.approval.shut_gates().any(|(_, gate)| !gate.tickets.is_empty());
        let place = (self.asked.target.clone(), self.asked.environment.clone());
        takes.then(|| Scope::only(self.principal, place, self.approval.digest).to_string())
    }

    /// One plain sentence on why it did not run, or may not run again.
    pub(crate) fn closing_in_words(&self) -> (countersign_core::RefusalCode, String, &'static str) {
        use countersign_core::RefusalCode as Code;
        const CHANGE: &str =
            "change the request as the reviewer says, or stop; the same request opens a new approval";
        match &self.approval.state {
            State::Closed(Closing::Rejected { .. }) => {
                let said = self.rejection.as_deref().unwrap_or_default();
                (Code::Rejected, format!("a reviewer rejected this action: {said}"), CHANGE)
            }
            State::Closed(Closing::Lapsed) => {
                (Code::Lapsed, "nobody decided in time".into(), "repeat the request if it is still wanted")
            }
            State::Closed(Closing::Withdrawn) => (
                Code::Withdrawn,
                "the request was withdrawn".into(),
                "repeat the request if it is wanted again",
            ),
            State::Closed(Closing::Revoked { .. }) => (
                Code::Revoked,
                "the approval was revoked before anything ran".into(),
                "stop, and ask the reviewers",
            ),
            State::Closed(Closing::Finished { outcome: Outcome::Done, .. })
                if matches!(self.delivery, Delivery::Delivered | Delivery::Expired) =>
            {
                let what =
                    if self.delivery == Delivery::Delivered { "was handed over" } else { "has expired" };
                (
                    Code::Spent,
                    format!("the action ran, and its answer {what}"),
                    "send the request again if it is wanted once more: that is a new action",
                )
            }
            State::Closed(Closing::Finished { outcome: Outcome::Done, .. }) => (
                Code::Spent,
                "the action ran to its end; its answer was larger than what is kept".into(),
                "do not repeat it: read the result from the target with a new request",
            ),
            State::Closed(Closing::Finished { outcome: Outcome::Cancelled, .. }) => (
                Code::Revoked,
                "the action was cancelled while it ran; it may have had effects".into(),
                "stop; a person must look at the target first",
            ),
            State::Closed(Closing::Finished { outcome: Outcome::Unknown, .. }) => (
                Code::Spent,
                "it is not known whether the action ran; it will not be repeated by itself".into(),
                "stop; a person must look at the target first",
            ),
            State::Pending | State::Granted { .. } | State::Executing(_) => {
                (Code::NotRecordable, "the action is still open".into(), "repeat the request to attach to it")
            }
        }
    }
}

/// A document as JSON bytes.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    let shape = |error: serde_json::Error| crate::journal::JournalError::Shape(error.to_string());
    Ok(serde_json::to_vec(value).map_err(shape)?)
}
