//! What a wire adapter hands back to its caller.

use crate::{hold::Handover, preapproval::NamedTicket};
use countersign_core::{ActionId, ApprovalId, Assurance, Refusal, TicketCheck, Timestamp, visible};
use serde::Serialize;

/// The answer to one request. `R` is the wire's own live reply.
#[derive(Debug)]
pub enum Reply<R> {
    /// It runs now, and this is the target's answer as it arrives.
    Live(R),
    /// It ran once its gates were lifted; the whole answer, to be handed over once.
    Kept(Box<Handover>),
    /// It waits for people. Repeating the request attaches to the same approval.
    Pending(Ticket),
    /// It does not run.
    Refused(Refused),
}

/// Why an action does not run, and where to read more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub refusal: Refusal,
    pub action: Option<ActionId>,
    pub approval: Option<ApprovalId>,
    /// Where a signed-in person reads more.
    pub link: Option<String>,
}

/// What a waiting caller is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ticket {
    pub approval: ApprovalId,
    pub action: ActionId,
    /// Eight characters of the action digest, the same on every screen.
    pub code: String,
    /// `pending`, `granted` or `executing`.
    pub state: String,
    pub sentence: String,
    /// Gates still shut.
    pub waits_for: Vec<WaitsFor>,
    pub deadline: Option<Timestamp>,
    /// Why it waits again although it was approved: what was found out beforehand is not so any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drifted: Option<String>,
    /// Tickets that were named, and how they stand.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub named: Vec<TellTicket>,
    /// What a ticket has to say to cover this action alone, where one may be named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Where a signed-in person decides.
    pub link: String,
}

/// What the requester is told of a ticket that it named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TellTicket {
    /// As it was named, with hidden characters written out.
    pub ticket: String,
    /// `unread`, `counted` or `failed`.
    pub state: &'static str,
    /// The check that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<TicketCheck>,
    /// How it stands, in words of ours.
    pub says: String,
}

impl TellTicket {
    pub(crate) fn of(named: &NamedTicket) -> Self {
        Self {
            ticket: visible::one_line(&named.claimed),
            state: named.state(),
            check: named.failed(),
            says: named.in_words(),
        }
    }

    /// On one line.
    pub fn line(&self) -> String {
        format!("ticket `{}` {}", self.ticket, self.says)
    }
}

/// One gate that is still shut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WaitsFor {
    pub gate: String,
    pub reason: String,
    /// In plain words: `2 people of privacy, each with a passkey`.
    pub approvers: String,
    pub votes: u32,
    pub quorum: u32,
    pub assurance: Assurance,
}
