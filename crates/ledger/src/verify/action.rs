//! One action, replayed from its entries: asked, approved, authorised, ended. What an entry may follow on is decided
//! here; where it is in the log and who signed it is not.

use super::{
    approval::{Ballot, Held},
    fault::{Breach, Rule, breach, demand, same},
    passkeys::Passkeys,
};
use crate::{
    entry::Entry,
    event::{Asked, Authorization, Event, Recording},
    tree::LeafHash,
};
use countersign_core::{ApprovalId, Assurance, Timestamp, approval::Outcome};

/// An action as far as it was read.
#[derive(Debug)]
pub(super) struct Case {
    /// The leaf of its newest entry.
    last: LeafHash,
    asked: Option<Asked>,
    held: Option<Held>,
    attempts: u32,
    /// The attempt that is running.
    live: Option<u32>,
    revoked_while_running: bool,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    Ran,
    Unknown,
    Resolved,
    /// Refused, or sent nothing under policy's permission: nothing may run.
    Over,
}

/// What an entry adds to the report.
#[derive(Debug, Default)]
pub(super) struct Gain {
    pub(super) executed: u64,
    pub(super) unknown: u64,
    pub(super) approvals: u64,
    pub(super) votes: u64,
}

impl Case {
    /// That an action's first entry names none before it.
    pub(super) fn begin(entry: &Entry, leaf: LeafHash) -> Result<Self, Breach> {
        demand(Rule::Linked, entry.parent.is_none(), "the action's first entry", "one that follows another")?;
        Ok(Self {
            last: leaf,
            asked: None,
            held: None,
            attempts: 0,
            live: None,
            revoked_while_running: false,
            end: End::Open,
        })
    }

    /// That the entry names the one before it.
    pub(super) fn link(&mut self, entry: &Entry, leaf: LeafHash) -> Result<(), Breach> {
        let found = entry.parent.map_or_else(|| "none".to_owned(), |parent| parent.to_string());
        demand(Rule::Linked, entry.parent == Some(self.last), format!("the parent {}", self.last), found)?;
        self.last = leaf;
        Ok(())
    }

    /// A vote, or one person's for all gates.
    fn voted(&mut self, entry: &Entry, passkeys: &Passkeys) -> Result<(), Breach> {
        let (at, actor, asked) = (entry.at, &entry.actor, self.asked.as_ref().map(|asked| asked.digest));
        if let Event::ApprovalVoted { statement, assurance, assertion, sign_in, through, ticket } =
            &entry.event
        {
            let (assurance, assertion, sign_in) = (*assurance, assertion.as_ref(), sign_in.as_ref());
            let ticket = ticket.as_deref().map(|ticket| (ticket, through.as_ref()));
            let ballot = Ballot { at, actor, statement, assurance, assertion, sign_in, ticket };
            self.waiting()?.vote(&asked.unwrap_or(statement.action_digest), &ballot, passkeys)?;
        }
        if let Event::ApprovalGlassBroken { statement, assertion, told, sign_in } = &entry.event {
            let (assurance, assertion, sign_in) = (Assurance::Passkey, Some(assertion), sign_in.as_ref());
            let ballot = Ballot { at, actor, statement, assurance, assertion, sign_in, ticket: None };
            self.waiting()?.break_glass(
                &asked.unwrap_or(statement.action_digest),
                &ballot,
                told,
                passkeys,
            )?;
        }
        Ok(())
    }

    /// What happens to an approval while it waits, beside votes.
    fn waited(&mut self, entry: &Entry) -> Result<(), Breach> {
        if let Event::ApprovalVotesWithdrawn { approval, person } = &entry.event {
            self.waiting()?.withdraw(*approval, *person)?;
        }
        if let Event::ApprovalReminded { approval, .. } | Event::ApprovalEscalated { approval, .. } =
            &entry.event
        {
            self.waiting()?.called(entry.at, *approval)?;
        }
        Ok(())
    }

    /// A ticket does not count, or not any more: then the vote that rests on it does not either.
    fn ticket_refused(&mut self, entry: &Entry) -> Result<(), Breach> {
        let Event::ApprovalTicketRefused { approval, channel, ticket, gate, .. } = &entry.event else {
            return Ok(());
        };
        self.same_approval(*approval)?;
        if let (Some(held), Some(gate), Some(channel), Some(ticket)) = (&mut self.held, gate, channel, ticket)
        {
            held.ticket_lost(gate, channel, ticket);
        }
        Ok(())
    }

    /// Takes one entry in.
    pub(super) fn step(&mut self, entry: &Entry, passkeys: &Passkeys) -> Result<Gain, Breach> {
        let (at, mut gain) = (entry.at, Gain::default());
        match &entry.event {
            Event::ActionRefused { asked, .. } => self.refused(asked)?,
            Event::ApprovalRequested { asked, round } => {
                demand(Rule::Order, self.is_fresh(), "an action that is new", "one that was decided before")?;
                self.same_action(asked)?;
                self.held = Some(Held::requested(at, round)?);
            }
            Event::ApprovalRoundOpened { round, .. } => self.waiting()?.open_round(at, round)?,
            Event::ApprovalVoted { .. } | Event::ApprovalGlassBroken { .. } => {
                self.voted(entry, passkeys)?;
                gain.votes = 1;
            }
            Event::ApprovalGlassReviewed { approval, broken_by, .. } => {
                // Long after it ran, as a rule.
                let none = || breach(Rule::BreakGlass, "an approval", "none");
                self.held.as_ref().ok_or_else(none)?.reviewed(*approval, *broken_by, &entry.actor)?;
            }
            Event::ApprovalGranted { approval, use_by } => {
                self.waiting()?.grant(at, *approval, *use_by)?;
                gain.approvals = 1;
            }
            Event::ApprovalVotesWithdrawn { .. }
            | Event::ApprovalReminded { .. }
            | Event::ApprovalEscalated { .. } => self.waited(entry)?,
            Event::ApprovalClosed { approval, closing, .. } => self.waiting()?.close(*approval, *closing)?,
            Event::ApprovalRevokedWhileRunning { approval, .. } => self.taken_back(*approval)?,
            Event::ExecutionAuthorized(facts) => self.authorized(at, facts)?,
            Event::ExecutionReleased { attempt, .. } => {
                self.ended_attempt(*attempt)?;
                self.released();
            }
            Event::ExecutionResult(facts) => {
                (gain.executed, gain.unknown) = self.ended(facts.attempt, facts.outcome)?;
            }
            Event::ExecutionUnknown { attempt, .. } => {
                self.ended_attempt(*attempt)?;
                self.end = End::Unknown;
                gain.unknown = 1;
            }
            Event::ExecutionResolved { .. } => {
                demand(Rule::Order, self.end == End::Unknown, "an unknown outcome to resolve", "another")?;
                self.end = End::Resolved;
            }
            Event::ResultDelivered { approval } | Event::ApprovalVoteRefused { approval, .. } => {
                self.same_approval(*approval)?;
            }
            Event::ApprovalTicketRefused { .. } => self.ticket_refused(entry)?,
            Event::LogOpened { .. }
            | Event::KeyRotated { .. }
            | Event::RollbackAccepted { .. }
            | Event::GatewayStarted { .. }
            | Event::GatewayStopped { .. }
            | Event::ClockStepped { .. }
            | Event::PolicyLoaded { .. }
            | Event::PolicyRejected { .. }
            | Event::FreezeSet { .. }
            | Event::FreezeLifted { .. }
            | Event::ToolNoticed { .. }
            | Event::ToolAccepted { .. }
            | Event::ToolRefused { .. }
            | Event::NotificationGivenUp { .. }
            | Event::NotificationReplayed { .. }
            | Event::LedgerExported { .. }
            | Event::LedgerRead { .. }
            | Event::LedgerRedacted { .. }
            | Event::PersonInvited { .. }
            | Event::PersonLinkIssued { .. }
            | Event::PersonAttributesChanged { .. }
            | Event::PersonGroupsChanged { .. }
            | Event::PersonRoleChanged { .. }
            | Event::PersonDisabled { .. }
            | Event::PersonReturned { .. }
            | Event::PersonProvisioned { .. }
            | Event::ProvisionerCreated { .. }
            | Event::ProvisionerRevoked { .. }
            | Event::DelegationSet { .. }
            | Event::DelegationEnded { .. }
            | Event::AccountLinked { .. }
            | Event::AccountUnlinked { .. }
            | Event::PasskeyRegistered { .. }
            | Event::PasskeyRemoved { .. }
            | Event::PushSubscribed { .. }
            | Event::PushUnsubscribed { .. }
            | Event::ChannelBound { .. }
            | Event::ChannelUnbound { .. }
            | Event::SessionOpened { .. }
            | Event::SessionClosed { .. }
            | Event::SignalReceived { .. }
            | Event::AgentCreated { .. }
            | Event::AgentChanged { .. }
            | Event::TokenCreated { .. }
            | Event::WorkloadAdmitted { .. }
            | Event::TokenRevoked { .. }
            | Event::IntakeRefused { .. } => {}
        }
        Ok(gain)
    }

    /// How many ran, and of how many nobody knows it: one of either.
    fn ended(&mut self, attempt: u32, outcome: Outcome) -> Result<(u64, u64), Breach> {
        self.ended_attempt(attempt)?;
        let unknown = outcome == Outcome::Unknown;
        self.end = if unknown { End::Unknown } else { End::Ran };
        Ok((u64::from(!unknown), u64::from(unknown)))
    }

    fn taken_back(&mut self, approval: ApprovalId) -> Result<(), Breach> {
        self.same_approval(approval)?;
        demand(Rule::Order, self.live.is_some(), "an attempt that is running", "none")?;
        self.revoked_while_running = true;
        Ok(())
    }

    fn same_approval(&self, approval: ApprovalId) -> Result<(), Breach> {
        let held = self.held.as_ref().map(|held| held.id);
        same(Rule::Order, "approval", &held, &Some(approval))
    }

    fn refused(&mut self, asked: &Asked) -> Result<(), Breach> {
        self.same_action(asked)?;
        if self.is_fresh() {
            self.end = End::Over;
        }
        Ok(())
    }

    /// Only by policy's own permission, or by a grant in force; one attempt at a time, and none after an end.
    fn authorized(&mut self, at: Timestamp, facts: &Authorization) -> Result<(), Breach> {
        self.same_action(&facts.asked)?;
        demand(
            Rule::Once,
            self.live.is_none(),
            "one attempt at a time",
            "a second one while the first runs",
        )?;
        match self.end {
            End::Open => {}
            End::Ran | End::Unknown | End::Resolved => {
                return Err(breach(
                    Rule::Once,
                    "an action that did not run yet",
                    "one that did, or may have",
                ));
            }
            End::Over => return Err(breach(Rule::Granted, "an action that is open", "one that is over")),
        }
        match (&self.held, facts.approval) {
            (Some(held), Some(approval)) => {
                same(Rule::Granted, "the grant of", &held.id, &approval)?;
                held.usable(at)?;
            }
            (Some(held), None) => {
                return Err(breach(Rule::Granted, format!("the grant of `{}`", held.id), "a run without it"));
            }
            (None, Some(approval)) => {
                return Err(breach(Rule::Granted, format!("the entries of `{approval}`"), "none"));
            }
            (None, None) => {}
        }
        let deferred = facts.recording == Recording::Deferred;
        let read = facts.approval.is_none() && facts.asked.class == "read";
        demand(
            Rule::Granted,
            !deferred || read,
            "a record made before it ran",
            "a deferred one of what is no permitted read",
        )?;
        self.attempts = self.attempts.saturating_add(1);
        same(Rule::Attempt, "attempt", &self.attempts, &facts.attempt)?;
        self.live = Some(facts.attempt);
        Ok(())
    }

    fn ended_attempt(&mut self, attempt: u32) -> Result<(), Breach> {
        let live = self.live.take();
        let running =
            live.map_or_else(|| "no attempt that runs".to_owned(), |live| format!("attempt {live}"));
        demand(Rule::Attempt, live == Some(attempt), running, format!("the end of attempt {attempt}"))
    }

    fn released(&mut self) {
        match &mut self.held {
            Some(held) if self.revoked_while_running => held.revoke(),
            Some(_) => {}
            // Policy's own permission is good for one attempt.
            None => self.end = End::Over,
        }
    }

    /// The approval, while votes, grants and closing are possible.
    fn waiting(&mut self) -> Result<&mut Held, Breach> {
        demand(Rule::Order, self.live.is_none(), "an approval that waits", "one that is being executed")?;
        demand(Rule::Order, self.end == End::Open, "an approval that waits", "one that is over")?;
        self.held.as_mut().ok_or_else(|| breach(Rule::Order, "an approval that was requested", "none"))
    }

    fn is_fresh(&self) -> bool {
        self.held.is_none() && self.attempts == 0 && self.end == End::Open
    }

    fn same_action(&mut self, asked: &Asked) -> Result<(), Breach> {
        let known = self.asked.get_or_insert_with(|| asked.clone());
        same(Rule::SameAction, "the action digest", &known.digest, &asked.digest)?;
        same(Rule::SameAction, "the facts", known, asked)
    }
}
