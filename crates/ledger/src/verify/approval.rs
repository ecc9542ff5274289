//! One approval, replayed from its entries: rounds, votes, grant. The rules are those of `core::approval`, read
//! again from what the ledger says.

use super::{
    fault::{Breach, Rule, breach, demand, same},
    passkeys::Passkeys,
};
use crate::event::{Actor, Assertion, ClosedAs, GateTerms, RoundTerms, Through, TicketVote};
use countersign_core::{
    ApprovalId, Assurance, ChannelName, Digest, GateName, PersonId, SignIn, TicketKey, Timestamp,
    statement::{Statement, Verdict},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// An approval as far as it was read.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) id: ApprovalId,
    rounds: Vec<Round>,
    rejected: bool,
    granted: Option<Timestamp>,
    /// Revoked while it ran: what is taken back cannot run again.
    revoked: bool,
    closed: bool,
}

#[derive(Debug)]
struct Round {
    terms: RoundTerms,
    /// Each with whose say it is.
    votes: BTreeMap<GateName, BTreeMap<PersonId, (Assurance, PersonId)>>,
    /// Votes that rest on a ticket, each with where that is.
    tickets: BTreeMap<(GateName, PersonId), (ChannelName, TicketKey)>,
    /// Votes that counted and whose tickets count no more.
    lost: BTreeSet<(GateName, PersonId)>,
    /// Gates that one person lifted alone, and who.
    broken: Option<(PersonId, BTreeSet<GateName>)>,
}

impl Round {
    fn opened(terms: &RoundTerms) -> Self {
        let (votes, tickets, lost) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { terms: terms.clone(), votes, tickets, lost, broken: None }
    }
}

/// A vote as recorded.
pub(super) struct Ballot<'a> {
    pub(super) at: Timestamp,
    pub(super) actor: &'a Actor,
    pub(super) statement: &'a Statement,
    pub(super) assurance: Assurance,
    pub(super) assertion: Option<&'a Assertion>,
    pub(super) sign_in: Option<&'a SignIn>,
    /// The ticket it was cast in, with the channel.
    pub(super) ticket: Option<(&'a TicketVote, Option<&'a Through>)>,
}

impl Held {
    pub(super) fn requested(at: Timestamp, terms: &RoundTerms) -> Result<Self, Breach> {
        let mut held = Self {
            id: terms.approval,
            rounds: Vec::new(),
            rejected: false,
            granted: None,
            revoked: false,
            closed: false,
        };
        held.open_round(at, terms)?;
        Ok(held)
    }

    /// A new round: its terms list every gate still shut, which moves into it.
    pub(super) fn open_round(&mut self, at: Timestamp, terms: &RoundTerms) -> Result<(), Breach> {
        self.in_play()?;
        same(Rule::Round, "approval", &self.id, &terms.approval)?;
        let number = self.rounds.len() as u64 + 1;
        same(Rule::Round, "round", &number, &u64::from(terms.number))?;
        if let Some(open) = self.rounds.last() {
            demand(
                Rule::Deadline,
                at < open.terms.deadline,
                format!("a round before {}", open.terms.deadline),
                at,
            )?;
        }
        demand(Rule::Deadline, at < terms.deadline, "a deadline that is still to come", terms.deadline)?;
        demand(Rule::Round, !terms.gates.is_empty(), "at least one gate", "none")?;
        let names: BTreeSet<&GateName> = terms.gates.iter().map(|gate| &gate.gate).collect();
        demand(Rule::Round, names.len() == terms.gates.len(), "each gate once", "a gate twice")?;
        for gate in &terms.gates {
            demand(
                Rule::Round,
                gate.quorum > 0,
                "a quorum of at least one",
                format!("none for `{}`", gate.gate),
            )?;
        }
        for round in &mut self.rounds {
            let shut: BTreeSet<GateName> = round
                .terms
                .gates
                .iter()
                .filter(|gate| !round.lifted(gate))
                .map(|gate| gate.gate.clone())
                .collect();
            if let Some(lost) = shut.iter().find(|gate| !names.contains(gate)) {
                return Err(breach(
                    Rule::Round,
                    format!("the gate `{lost}`, still shut"),
                    "a round without it",
                ));
            }
            round.terms.gates.retain(|gate| !shut.contains(&gate.gate));
        }
        self.rounds.push(Round::opened(terms));
        self.granted = None;
        Ok(())
    }

    pub(super) fn vote(
        &mut self,
        digest: &Digest,
        ballot: &Ballot<'_>,
        passkeys: &Passkeys,
    ) -> Result<(), Breach> {
        let Ballot { at, statement, assurance, .. } = *ballot;
        self.in_play()?;
        let approves = statement.decision == Verdict::Approve;
        let alone = statement.decision == Verdict::BreakGlass;
        demand(Rule::Order, !alone, "a vote", "a break-glass recorded as one")?;
        let granted = self.granted.is_some() && approves;
        demand(Rule::Order, !granted, "no further approval", "a vote on an approval already granted")?;
        let (terms, gate) = self.on_this_round(digest, statement)?;
        check_voter(terms, gate, ballot)?;
        in_time(at, terms, statement)?;
        match ballot.assertion {
            Some(assertion) => passkeys.check(statement, assertion)?,
            None => demand(
                Rule::Passkey,
                assurance < Assurance::Passkey,
                "an assertion with a passkey vote",
                "none",
            )?,
        }
        in_a_ticket(gate, ballot)?;
        if !approves {
            self.rejected = true;
            self.granted = None;
            return Ok(());
        }
        let (wanted, given) = (gate.assurance, assurance);
        demand(Rule::Assurance, given >= wanted, format!("at least `{}`", wanted.as_str()), given.as_str())?;
        let (voter, seat) = (statement.voter, statement.on_behalf_of.unwrap_or(statement.voter));
        signed_in(gate, ballot)?;
        self.check_distinct(gate, voter)?;
        self.check_distinct(gate, seat)?;
        if let Some(round) = self.rounds.last_mut() {
            let votes = round.votes.entry(statement.gate.clone()).or_default();
            let twice = votes.iter().any(|(other, (_, taken))| *other != voter && *taken == seat);
            demand(Rule::StandIn, !twice, "a say that was not had yet", seat)?;
            let is_new = !votes.contains_key(&voter);
            let kept = votes.entry(voter).or_insert((given, seat));
            let place = (statement.gate.clone(), voter);
            if kept.0 < given {
                *kept = (given, seat);
                // A stronger word of the same person rests on no ticket.
                round.tickets.remove(&place);
                round.lost.remove(&place);
            }
            if let (true, Some((ticket, Some(through)))) = (is_new, ballot.ticket) {
                round.tickets.insert(place, (through.channel.clone(), ticket.ticket.clone()));
            }
        }
        Ok(())
    }

    /// A ticket counts no more: the vote at this gate that rests on it does not either.
    pub(super) fn ticket_lost(&mut self, gate: &GateName, channel: &ChannelName, ticket: &TicketKey) {
        let Some(round) = self.rounds.iter_mut().rev().find(|round| round.asks(gate)) else { return };
        let rests = round
            .tickets
            .iter()
            .filter(|((at, _), on)| at == gate && **on == (channel.clone(), ticket.clone()));
        round.lost.extend(rests.map(|(place, _)| place.clone()));
    }

    /// Somebody's votes of the open round count no more.
    pub(super) fn withdraw(&mut self, id: ApprovalId, person: PersonId) -> Result<(), Breach> {
        self.in_play()?;
        same(Rule::Order, "approval", &self.id, &id)?;
        demand(Rule::Order, self.granted.is_none(), "an approval that waits", "one that is granted")?;
        for votes in self.rounds.last_mut().into_iter().flat_map(|round| round.votes.values_mut()) {
            votes.retain(|voter, (_, seat)| *voter != person && *seat != person);
        }
        Ok(())
    }

    /// People are called once more, which decides nothing: only while it waits for them.
    pub(super) fn called(&self, at: Timestamp, id: ApprovalId) -> Result<(), Breach> {
        self.in_play()?;
        same(Rule::Order, "approval", &self.id, &id)?;
        let waits = !self.rejected && self.granted.is_none();
        demand(Rule::Order, waits, "an approval that waits for people", "one that is decided")?;
        let deadline = self.rounds.last().map(|round| round.terms.deadline);
        let expected = "a call before the deadline";
        demand(Rule::Deadline, deadline.is_some_and(|deadline| at < deadline), expected, at)
    }

    /// One person for every gate still shut, where each of them names who may.
    pub(super) fn break_glass(
        &mut self,
        digest: &Digest,
        ballot: &Ballot<'_>,
        told: &BTreeSet<PersonId>,
        passkeys: &Passkeys,
    ) -> Result<(), Breach> {
        let Ballot { at, statement, assertion, .. } = *ballot;
        self.in_play()?;
        let waits = self.granted.is_none() && !self.rejected;
        demand(Rule::Order, waits, "an approval that waits", "one that is decided")?;
        let alone = statement.decision == Verdict::BreakGlass;
        demand(Rule::BreakGlass, alone, "a statement that breaks the glass", "another")?;
        let (terms, _) = self.on_this_round(digest, statement)?;
        let voter = statement.voter;
        let own = statement.on_behalf_of.is_none();
        demand(Rule::BreakGlass, own, "one's own break-glass", "one on behalf of somebody")?;
        same(Rule::Voter, "actor", &Actor::Person { id: voter }, ballot.actor)?;
        demand(Rule::Side, !terms.excluded.contains(&voter), "a person who is not excluded", voter)?;
        in_time(at, terms, statement)?;
        let assertion = assertion.ok_or_else(|| breach(Rule::Passkey, "an assertion", "none"))?;
        passkeys.check(statement, assertion)?;
        let others = told.iter().any(|person| *person != voter) && !told.contains(&voter);
        demand(Rule::BreakGlass, others, "somebody else who was told", "nobody, or themself")?;
        let Some(round) = self.rounds.last_mut() else { return Ok(()) };
        let shut: Vec<&GateTerms> = round.terms.gates.iter().filter(|gate| !round.lifted(gate)).collect();
        for gate in &shut {
            let alone = gate.break_glass.as_ref();
            // Who belongs to a group is asked of policy at the time; named people are in the terms.
            let named = alone.is_some_and(|alone| !alone.groups.is_empty() || alone.people.contains(&voter));
            demand(Rule::BreakGlass, named, format!("break-glass for `{}` by them", gate.gate), "none")?;
            signed_in(gate, ballot)?;
        }
        let gates = shut.into_iter().map(|gate| gate.gate.clone()).collect();
        round.broken = Some((voter, gates));
        Ok(())
    }

    /// That it was broken by this person and looked at by somebody else, not of the requester's side.
    pub(super) fn reviewed(&self, id: ApprovalId, by: PersonId, actor: &Actor) -> Result<(), Breach> {
        same(Rule::BreakGlass, "approval", &self.id, &id)?;
        let broke = |round: &&Round| round.broken.as_ref().is_some_and(|(broken_by, _)| *broken_by == by);
        let round = self.rounds.iter().find(broke);
        let round = round.ok_or_else(|| breach(Rule::BreakGlass, "a break-glass to review", "none"))?;
        let Actor::Person { id: reviewer } = actor else {
            return Err(breach(Rule::BreakGlass, "a person who reviews", "somebody else"));
        };
        let other = *reviewer != by && !round.terms.excluded.contains(reviewer);
        demand(Rule::BreakGlass, other, "a review by somebody else, not of the requester's side", reviewer)
    }

    /// The open round and the gate a statement is on, when it speaks of them as they are.
    fn on_this_round(
        &self,
        digest: &Digest,
        statement: &Statement,
    ) -> Result<(&RoundTerms, &GateTerms), Breach> {
        same(Rule::Ballot, "approval", &self.id, &statement.approval)?;
        let round = self.rounds.last().ok_or_else(|| breach(Rule::Order, "an open round", "none"))?;
        let terms = &round.terms;
        same(Rule::Ballot, "round", &terms.number, &statement.round)?;
        let gate = terms.gates.iter().find(|gate| gate.gate == statement.gate);
        let gate = gate.ok_or_else(|| breach(Rule::Ballot, "a gate of the round", &statement.gate))?;
        same(Rule::Ballot, "action", digest, &statement.action_digest)?;
        same(Rule::Ballot, "policy bundle", &terms.bundle, &statement.bundle_digest)?;
        same(Rule::Ballot, "evidence", &terms.evidence, &statement.evidence_digest)?;
        same(Rule::Ballot, "view", &terms.view, &statement.view_digest)?;
        Ok((terms, gate))
    }

    pub(super) fn grant(&mut self, at: Timestamp, id: ApprovalId, use_by: Timestamp) -> Result<(), Breach> {
        self.in_play()?;
        same(Rule::Granted, "approval", &self.id, &id)?;
        demand(Rule::Order, !self.rejected && self.granted.is_none(), "a pending approval", "another state")?;
        for round in &self.rounds {
            for gate in &round.terms.gates {
                let expected = format!("{} voices for `{}`", gate.quorum, gate.gate);
                demand(Rule::Quorum, round.lifted(gate), expected, round.voices(gate))?;
            }
            let last = round.terms.number as usize == self.rounds.len();
            let deadline = round.terms.deadline;
            demand(Rule::Deadline, !last || at < deadline, format!("a grant before {deadline}"), at)?;
        }
        demand(Rule::Deadline, at <= use_by, "a grant that ends after it begins", use_by)?;
        self.granted = Some(use_by);
        Ok(())
    }

    /// That the grant is in force: the one condition under which a held action runs.
    pub(super) fn usable(&self, at: Timestamp) -> Result<(), Breach> {
        self.in_play()?;
        let what = if self.rejected { "a rejection" } else { "no grant" };
        let use_by =
            self.granted.ok_or_else(|| breach(Rule::Granted, "an approval that was granted", what))?;
        self.rests_on_what_counts()?;
        demand(Rule::Deadline, at < use_by, format!("a start before {use_by}"), at)
    }

    /// That no gate is lifted by votes alone whose tickets count no more: those have to be asked about again.
    fn rests_on_what_counts(&self) -> Result<(), Breach> {
        let mut seen = BTreeSet::new();
        for round in self.rounds.iter().rev() {
            for gate in &round.terms.gates {
                let newest = seen.insert(&gate.gate);
                let lost = round.lost.iter().any(|(at, _)| *at == gate.gate);
                let broken = round.broken.as_ref().is_some_and(|(_, gates)| gates.contains(&gate.gate));
                if newest && lost && !broken {
                    let voices = round.voices_that_count(gate);
                    let enough = u32::try_from(voices).is_ok_and(|voices| voices >= gate.quorum);
                    let expected = format!("a new round for `{}`, whose ticket stopped counting", gate.gate);
                    demand(Rule::Ticket, enough, expected, format!("a run on {voices} voices"))?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn close(&mut self, id: ApprovalId, closing: ClosedAs) -> Result<(), Breach> {
        demand(Rule::Order, !self.closed, "an approval that is open", "one that was closed")?;
        same(Rule::Order, "approval", &self.id, &id)?;
        let rejected = self.rejected || closing != ClosedAs::Rejected;
        demand(Rule::Order, rejected, "a vote that rejects", "an approval closed as rejected without one")?;
        self.closed = true;
        Ok(())
    }

    /// From here on nothing runs on this approval; it may still be recorded as closed.
    pub(super) fn revoke(&mut self) {
        self.revoked = true;
    }

    fn in_play(&self) -> Result<(), Breach> {
        let open = !self.closed && !self.revoked;
        demand(Rule::Granted, open, "an approval that is open", "one that was closed or revoked")
    }

    fn check_distinct(&self, gate: &GateTerms, voter: PersonId) -> Result<(), Breach> {
        for other in self.rounds.iter().flat_map(|round| &round.terms.gates) {
            let apart = other.gate != gate.gate && (other.distinct || gate.distinct);
            let voted = self.rounds.iter().filter_map(|round| round.votes.get(&other.gate));
            let mut voted = voted.flatten();
            let mut alone = self.rounds.iter().filter_map(|round| round.broken.as_ref());
            let spoke = voted.any(|(person, (_, seat))| *person == voter || *seat == voter)
                || alone.any(|(person, gates)| *person == voter && gates.contains(&other.gate));
            if apart && spoke {
                let expected = format!("other people for `{}` than for `{}`", gate.gate, other.gate);
                return Err(breach(Rule::Distinct, expected, voter));
            }
        }
        Ok(())
    }
}

impl Round {
    fn voices(&self, gate: &GateTerms) -> usize {
        let votes = self.votes.get(&gate.gate);
        votes.map_or(0, |votes| votes.values().filter(|(given, _)| *given >= gate.assurance).count())
    }

    /// The same without those whose tickets count no more.
    fn voices_that_count(&self, gate: &GateTerms) -> usize {
        let votes = self.votes.get(&gate.gate).into_iter().flatten();
        let counts = |voter: PersonId| !self.lost.contains(&(gate.gate.clone(), voter));
        votes.filter(|(voter, (given, _))| *given >= gate.assurance && counts(**voter)).count()
    }

    fn asks(&self, gate: &GateName) -> bool {
        self.terms.gates.iter().any(|terms| terms.gate == *gate)
    }

    fn lifted(&self, gate: &GateTerms) -> bool {
        if self.broken.as_ref().is_some_and(|(_, gates)| gates.contains(&gate.gate)) {
            return true;
        }
        u32::try_from(self.voices(gate)).is_ok_and(|voices| voices >= gate.quorum)
    }
}

fn signed_in(gate: &GateTerms, ballot: &Ballot<'_>) -> Result<(), Breach> {
    let Some(terms) = &gate.sign_in else { return Ok(()) };
    let nobody_says = SignIn::default();
    let sign_in = ballot.sign_in.unwrap_or(&nobody_says);
    let met = terms.met_by(sign_in, ballot.assurance, ballot.at);
    met.map_err(|why| breach(Rule::SignIn, format!("a sign-in as `{}` asks", gate.gate), why))
}

/// How long before its vote a ticket was read at most.
const READ_WITHIN: Duration = Duration::from_mins(5);

/// A word in a ticket counts where the gate says so, for oneself, within the time that the ticket says, as often as it says.
fn in_a_ticket(gate: &GateTerms, ballot: &Ballot<'_>) -> Result<(), Breach> {
    let Some((ticket, through)) = ballot.ticket else { return Ok(()) };
    let named = through.is_some_and(|through| gate.tickets.contains(&through.channel));
    demand(Rule::Ticket, named, format!("a channel whose tickets `{}` takes", gate.gate), "another")?;
    let statement = ballot.statement;
    let approves = statement.decision == Verdict::Approve && statement.on_behalf_of.is_none();
    let own = approves && ballot.assurance == Assurance::Chat;
    demand(Rule::Ticket, own, "one's own approval, worth `chat`", "another vote")?;
    let (from, until) = (ticket.from, ticket.until);
    let holds = from.is_none_or(|from| from <= ballot.at) && until.is_none_or(|until| ballot.at < until);
    demand(Rule::Ticket, holds, format!("a vote while `{}` holds", ticket.ticket), ballot.at)?;
    let read = ticket.read_at <= ballot.at && ballot.at.since(ticket.read_at) <= READ_WITHIN;
    demand(Rule::Ticket, read, format!("`{}`, read a moment before", ticket.ticket), ticket.read_at)?;
    // Its system's clock may be ahead of ours.
    let before = ticket.approved_at <= ballot.at.plus(READ_WITHIN);
    demand(Rule::Ticket, before, format!("`{}`, approved before", ticket.ticket), ticket.approved_at)?;
    let within = (1..=ticket.uses).contains(&ticket.used);
    demand(Rule::Ticket, within, format!("at most {} uses of `{}`", ticket.uses, ticket.ticket), ticket.used)
}

fn in_time(at: Timestamp, terms: &RoundTerms, statement: &Statement) -> Result<(), Breach> {
    demand(Rule::Deadline, at < terms.deadline, format!("a vote before {}", terms.deadline), at)?;
    let expires = statement.expires;
    demand(Rule::Deadline, at < expires, format!("a vote before its statement's end, {expires}"), at)
}

fn check_voter(terms: &RoundTerms, gate: &GateTerms, ballot: &Ballot<'_>) -> Result<(), Breach> {
    let voter = ballot.statement.voter;
    same(Rule::Voter, "actor", &Actor::Person { id: voter }, ballot.actor)?;
    demand(Rule::Side, !terms.excluded.contains(&voter), "a voter who is not excluded", voter)?;
    let seat = ballot.statement.on_behalf_of.unwrap_or(voter);
    demand(Rule::Side, !terms.excluded.contains(&seat), "the say of somebody not excluded", seat)?;
    // Who belongs to a group is asked of policy when the vote is cast; named people are in the terms.
    let named = !gate.groups.is_empty() || gate.people.is_empty() || gate.people.contains(&seat);
    demand(Rule::Voter, named, "one of the people the gate names", seat)
}
