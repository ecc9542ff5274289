//! The life of one approval: states, events and one function. No clock, no I/O.
//!
//! An action never changes. An approval has append-only rounds; each fixes the policy bundle, the gates, the
//! evidence and the view that its votes are cast on. Whether a voter belongs to the gate's people *now* is asked
//! of policy before [`step`] is called; what can be known without asking is decided here.

use crate::{
    ActionId, ApprovalId, BundleDigest, Digest, GateName, GatewayId, PersonId, RefusalCode, Timestamp,
    decision::Gate,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How sure we are that a person meant this vote. Ordered: a gate names the least it accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Assurance {
    /// A click in a chat, by a bound user.
    Chat,
    /// A signed-in session on the console.
    Session,
    /// A passkey's signature over this very statement, with user verification.
    Passkey,
}

impl Assurance {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Session => "session",
            Self::Passkey => "passkey",
        }
    }
}

/// One approval, whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    pub id: ApprovalId,
    pub action: ActionId,
    /// What was asked, and the only thing that may ever begin.
    pub digest: Digest,
    pub requested_at: Timestamp,
    /// The requester's side, fixed when the action was held.
    pub side: BTreeSet<PersonId>,
    /// Oldest first; the last one is open.
    pub rounds: Vec<Round>,
    /// How many attempts began so far.
    pub attempts: u32,
    pub state: State,
}

/// What one series of votes is about. Votes name their round; an older round's votes still lift its gates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// From 1.
    pub number: u32,
    pub bundle: BundleDigest,
    /// Digest of the evidence gathered for reviewers.
    pub evidence: Digest,
    /// Digest of the message model the reviewers saw.
    pub view: Digest,
    pub opened_at: Timestamp,
    /// From here on nobody can vote and the approval lapses.
    pub deadline: Timestamp,
    /// How long a grant lasts once given, in microseconds.
    pub valid_for_micros: i64,
    pub gates: Vec<Gate>,
    /// Accepted votes, one for each gate and person.
    pub votes: BTreeMap<GateName, BTreeMap<PersonId, CastVote>>,
    /// Set when one person lifted what was still shut alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<Broken>,
}

/// A break-glass: who lifted which gates alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    pub by: PersonId,
    pub at: Timestamp,
    pub gates: BTreeSet<GateName>,
}

/// A vote to approve that was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CastVote {
    pub assurance: Assurance,
    pub at: Timestamp,
    /// Whose say it is, when the voter stood in for somebody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<PersonId>,
}

/// Where an approval stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    Pending,
    /// Every gate is lifted; it may begin until `use_by`.
    Granted {
        use_by: Timestamp,
    },
    /// The grant is consumed by this attempt. Only its owner closes it.
    Executing(Attempt),
    Closed(Closing),
}

/// One consumption of the grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    pub owner: GatewayId,
    /// Grows with every start of the owner, so that a predecessor is recognised.
    pub epoch: u64,
    pub began_at: Timestamp,
    /// When the grant would have lapsed; it keeps that deadline when the attempt is taken back.
    pub use_by: Timestamp,
    /// Set when the approval was revoked while its work ran.
    pub revoked_by: Option<Taker>,
}

/// Who took an approval back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Taker {
    Person(PersonId),
    /// The local operator, through the gateway's own socket.
    Operator,
    /// Policy changed and forbids it now.
    Policy,
    /// Frozen: the agent, the target or everything.
    Freeze,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Closing {
    Rejected {
        by: PersonId,
        reason: String,
    },
    Withdrawn,
    Lapsed,
    Revoked {
        by: Taker,
    },
    /// It ran, and this is what is known of it.
    Finished {
        outcome: Outcome,
        revoked_by: Option<Taker>,
    },
}

/// What is known after bytes may have gone out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The target answered to the end.
    Done,
    /// Cancelled while it ran; the record says how far it got.
    Cancelled,
    /// It may have run. Never retried by itself; a person resolves it.
    Unknown,
}

/// What can happen to an approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Approve {
        voter: PersonId,
        /// Whose say it is, when the voter stands in for somebody.
        on_behalf_of: Option<PersonId>,
        round: u32,
        gate: GateName,
        assurance: Assurance,
    },
    Reject {
        voter: PersonId,
        round: u32,
        gate: GateName,
        reason: String,
    },
    /// One person lifts every gate that is still shut.
    BreakGlass {
        voter: PersonId,
        round: u32,
        assurance: Assurance,
    },
    /// The requester takes it back.
    Withdraw,
    /// Somebody has left: their votes of the open round count no more, nor do those cast in their place.
    Leave {
        voter: PersonId,
    },
    /// A timer rang; only `now` decides whether anything lapsed.
    Elapse,
    Revoke(Taker),
    /// Policy was asked again: further gates matched, or evidence drifted.
    Reopen(Box<Round>),
    Begin {
        digest: Digest,
        owner: GatewayId,
        epoch: u64,
    },
    /// The attempt is known to have sent nothing.
    Release {
        owner: GatewayId,
        epoch: u64,
    },
    Finish {
        owner: GatewayId,
        epoch: u64,
        outcome: Outcome,
    },
    /// A fenced successor found the attempt without an owner.
    Orphan {
        successor: GatewayId,
        epoch: u64,
    },
}

/// Why an event was refused. The approval is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("people on the requester's side cannot decide this action")]
    RequesterSide,
    #[error("this vote is worth `{}`, and the gate asks for `{}`", given.as_str(), wanted.as_str())]
    TooWeak { given: Assurance, wanted: Assurance },
    #[error("this gate must be lifted by people who lift no other gate of this approval")]
    NotDistinct,
    #[error("this say has been had: one stands in for the other, and one of them has voted")]
    SeatTaken,
    #[error("gate `{0}` is not open in this round")]
    NoSuchGate(GateName),
    #[error("policy has no break-glass for gate `{0}`")]
    NoBreakGlass(GateName),
    #[error("round {given} is over; the open round is {open}")]
    OldRound { given: u32, open: u32 },
    #[error("the deadline has passed")]
    TooLate,
    #[error("the deadline has not come yet")]
    TooEarly,
    #[error("the action differs from the one approved")]
    DigestMismatch,
    #[error("another gateway owns this attempt")]
    NotTheOwner,
    #[error("the approval is {0}, which does not allow this")]
    OutOfOrder(&'static str),
}

impl Approval {
    /// A new approval, waiting for the votes of its first round.
    pub fn open(
        id: ApprovalId,
        action: ActionId,
        digest: Digest,
        side: BTreeSet<PersonId>,
        first: Round,
    ) -> Self {
        let requested_at = first.opened_at;
        Self {
            id,
            action,
            digest,
            requested_at,
            side,
            rounds: vec![first],
            attempts: 0,
            state: State::Pending,
        }
    }

    /// The round that is voted on.
    pub fn round(&self) -> Option<&Round> {
        self.rounds.last()
    }

    /// Gates still shut, over all rounds.
    pub fn shut_gates(&self) -> impl Iterator<Item = (&Round, &Gate)> {
        self.rounds.iter().flat_map(|round| {
            round.gates.iter().filter(|gate| !round.lifted(gate)).map(move |gate| (round, gate))
        })
    }

    /// Names of the gates of any round that are lifted.
    pub fn lifted_gates(&self) -> BTreeSet<&GateName> {
        let gates = self.rounds.iter().flat_map(|round| round.gates.iter().map(move |gate| (round, gate)));
        gates.filter(|(round, gate)| round.lifted(gate)).map(|(_, gate)| &gate.name).collect()
    }

    /// When the next deadline strikes, if any does.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        match &self.state {
            State::Pending => self.round().map(|round| round.deadline),
            State::Granted { use_by, .. } => Some(*use_by),
            State::Executing(_) | State::Closed(_) => None,
        }
    }

    /// Takes one step, or says why not and stays as it was. There is no `_` arm over events: a new one does not
    /// compile until placed.
    pub fn step(&mut self, event: Event, now: Timestamp) -> Result<(), Refused> {
        self.state = self.next_state(event, now)?;
        Ok(())
    }

    fn next_state(&mut self, event: Event, now: Timestamp) -> Result<State, Refused> {
        use {Event as E, Refused as R, State as S};
        let late = self.next_deadline().is_some_and(|deadline| now >= deadline);
        let state = self.state.clone();
        match (state, event) {
            (S::Pending | S::Granted { .. }, E::Elapse) if late => Ok(S::Closed(Closing::Lapsed)),
            (S::Pending | S::Granted { .. }, E::Elapse) => Err(R::TooEarly),
            (
                S::Pending | S::Granted { .. },
                E::Approve { .. } | E::Reject { .. } | E::BreakGlass { .. } | E::Reopen(_) | E::Begin { .. },
            ) if late => Err(R::TooLate),
            (S::Pending, E::Approve { voter, on_behalf_of, round, gate, assurance }) => {
                self.approve(voter, round, &gate, CastVote { assurance, at: now, on_behalf_of })
            }
            (S::Pending | S::Granted { .. }, E::Reject { voter, round, gate, reason }) => {
                self.votable(voter, round, &gate)?;
                Ok(S::Closed(Closing::Rejected { by: voter, reason }))
            }
            (S::Pending, E::BreakGlass { voter, round, assurance }) => {
                self.break_glass(voter, round, assurance, now)
            }
            (S::Pending, E::Leave { voter }) => self.leave(voter),
            (S::Pending | S::Granted { .. }, E::Withdraw) => Ok(S::Closed(Closing::Withdrawn)),
            (S::Pending | S::Granted { .. }, E::Revoke(by)) => Ok(S::Closed(Closing::Revoked { by })),
            (S::Pending | S::Granted { .. }, E::Reopen(round)) => self.reopen(*round),
            (S::Granted { .. }, E::Begin { digest, .. }) if digest != self.digest => Err(R::DigestMismatch),
            (S::Granted { use_by }, E::Begin { owner, epoch, .. }) => {
                self.attempts = self.attempts.saturating_add(1);
                let number = self.attempts;
                Ok(S::Executing(Attempt { number, owner, epoch, began_at: now, use_by, revoked_by: None }))
            }
            (S::Executing(attempt), E::Release { owner, epoch }) => {
                owned(&attempt, owner, epoch)?;
                Ok(match attempt.revoked_by {
                    Some(by) => S::Closed(Closing::Revoked { by }),
                    None => S::Granted { use_by: attempt.use_by },
                })
            }
            (S::Executing(attempt), E::Finish { owner, epoch, outcome }) => {
                owned(&attempt, owner, epoch)?;
                Ok(S::Closed(Closing::Finished { outcome, revoked_by: attempt.revoked_by }))
            }
            (S::Executing(attempt), E::Orphan { successor, epoch }) => {
                if attempt.owner == successor && epoch <= attempt.epoch {
                    return Err(R::NotTheOwner);
                }
                let revoked_by = attempt.revoked_by;
                Ok(S::Closed(Closing::Finished { outcome: Outcome::Unknown, revoked_by }))
            }
            (S::Executing(mut attempt), E::Revoke(by)) => {
                attempt.revoked_by.get_or_insert(by);
                Ok(S::Executing(attempt))
            }
            (
                state @ (S::Pending | S::Granted { .. } | S::Executing(_) | S::Closed(_)),
                E::Approve { .. }
                | E::Reject { .. }
                | E::BreakGlass { .. }
                | E::Withdraw
                | E::Leave { .. }
                | E::Elapse
                | E::Revoke(_)
                | E::Reopen(_)
                | E::Begin { .. }
                | E::Release { .. }
                | E::Finish { .. }
                | E::Orphan { .. },
            ) => Err(R::OutOfOrder(state.as_str())),
        }
    }

    fn approve(
        &mut self,
        voter: PersonId,
        number: u32,
        gate: &GateName,
        vote: CastVote,
    ) -> Result<State, Refused> {
        let wanted = self.votable(voter, number, gate)?.clone();
        if vote.assurance < wanted.assurance {
            return Err(Refused::TooWeak { given: vote.assurance, wanted: wanted.assurance });
        }
        let seat = vote.on_behalf_of.unwrap_or(voter);
        if self.side.contains(&seat) {
            return Err(Refused::RequesterSide);
        }
        // Nobody's say counts twice, through whomever it is said.
        let votes = self.round().and_then(|round| round.votes.get(&wanted.name)).into_iter().flatten();
        let mut others = votes.filter(|(person, _)| **person != voter);
        if others.any(|(person, cast)| cast.on_behalf_of.unwrap_or(*person) == seat) {
            return Err(Refused::SeatTaken);
        }
        let elsewhere = self.rounds.iter().flat_map(|round| &round.gates).any(|other| {
            let both = other.name != wanted.name && (other.distinct || wanted.distinct);
            let voices = self.voices(&other.name);
            both && (voices.contains(&voter) || voices.contains(&seat))
        });
        if elsewhere {
            return Err(Refused::NotDistinct);
        }
        let now = vote.at;
        if let Some(round) = self.rounds.last_mut() {
            let cast = round.votes.entry(wanted.name).or_default();
            // A set of people: a stronger vote replaces a weaker one, and nobody counts twice.
            if cast.get(&voter).is_none_or(|earlier| earlier.assurance < vote.assurance) {
                cast.insert(voter, vote);
            }
        }
        if self.shut_gates().next().is_some() {
            return Ok(State::Pending);
        }
        Ok(self.granted(now))
    }

    fn leave(&mut self, voter: PersonId) -> Result<State, Refused> {
        let Some(round) = self.rounds.last_mut() else { return Err(Refused::OutOfOrder("empty")) };
        let before: usize = round.votes.values().map(BTreeMap::len).sum();
        for votes in round.votes.values_mut() {
            votes.retain(|person, cast| *person != voter && cast.on_behalf_of != Some(voter));
        }
        let after: usize = round.votes.values().map(BTreeMap::len).sum();
        if before == after {
            Err(Refused::OutOfOrder("without a vote of theirs"))
        } else {
            Ok(State::Pending)
        }
    }

    fn granted(&self, now: Timestamp) -> State {
        let valid = self.rounds.iter().map(|round| round.valid_for_micros).min().unwrap_or(0);
        State::Granted { use_by: Timestamp(now.0.saturating_add(valid)) }
    }

    /// Every gate that is still shut, by one person: where each of them allows it, and only with a passkey.
    fn break_glass(
        &mut self,
        voter: PersonId,
        number: u32,
        given: Assurance,
        now: Timestamp,
    ) -> Result<State, Refused> {
        self.in_round(voter, number)?;
        let shut: Vec<Gate> = self.shut_gates().map(|(_, gate)| gate.clone()).collect();
        if let Some(gate) = shut.iter().find(|gate| gate.break_glass.is_none()) {
            return Err(Refused::NoBreakGlass(gate.name.clone()));
        }
        if given < Assurance::Passkey {
            return Err(Refused::TooWeak { given, wanted: Assurance::Passkey });
        }
        let gates = shut.into_iter().map(|gate| gate.name).collect();
        if let Some(round) = self.rounds.last_mut() {
            round.broken = Some(Broken { by: voter, at: now, gates });
        }
        Ok(self.granted(now))
    }

    /// The gate of the open round this person may have a say in.
    fn votable(&self, voter: PersonId, number: u32, gate: &GateName) -> Result<&Gate, Refused> {
        let round = self.in_round(voter, number)?;
        let found = round.gates.iter().find(|open| open.name == *gate);
        found.ok_or_else(|| Refused::NoSuchGate(gate.clone()))
    }

    /// The open round, for somebody who is not on the requester's side.
    fn in_round(&self, voter: PersonId, number: u32) -> Result<&Round, Refused> {
        if self.side.contains(&voter) {
            return Err(Refused::RequesterSide);
        }
        let round = self.round().ok_or(Refused::OutOfOrder("empty"))?;
        if round.number != number {
            return Err(Refused::OldRound { given: number, open: round.number });
        }
        Ok(round)
    }

    /// A new round: its gates must be lifted, and every gate of the rounds before stays as it was.
    fn reopen(&mut self, mut round: Round) -> Result<State, Refused> {
        let open = self.round().map_or(0, |last| last.number);
        if round.gates.is_empty() || round.number != open.saturating_add(1) {
            return Err(Refused::OldRound { given: round.number, open });
        }
        // What was still shut moves along, or no vote could reach it any more.
        for (_, gate) in self.shut_gates() {
            if round.gates.iter().all(|new| new.name != gate.name) {
                round.gates.push(gate.clone());
            }
        }
        for old in &mut self.rounds {
            let moved: BTreeSet<_> =
                old.gates.iter().filter(|gate| !old.lifted(gate)).map(|gate| gate.name.clone()).collect();
            old.gates.retain(|gate| !moved.contains(&gate.name));
        }
        round.votes.clear();
        round.broken = None;
        self.rounds.push(round);
        Ok(State::Pending)
    }

    /// Everybody who voted on a gate, everybody for whom they did, and whoever lifted it alone.
    fn voices(&self, gate: &GateName) -> BTreeSet<PersonId> {
        let votes = self.rounds.iter().filter_map(|round| round.votes.get(gate)).flatten();
        let broken = self.rounds.iter().filter_map(|round| round.broken.as_ref());
        let alone = broken.filter(|broken| broken.gates.contains(gate)).map(|broken| broken.by);
        votes
            .flat_map(|(person, cast)| std::iter::once(*person).chain(cast.on_behalf_of))
            .chain(alone)
            .collect()
    }
}

impl Round {
    /// Whether enough different people approved, each strongly enough, or one lifted it alone.
    pub fn lifted(&self, gate: &Gate) -> bool {
        if self.broken.as_ref().is_some_and(|broken| broken.gates.contains(&gate.name)) {
            return true;
        }
        let votes = self.votes.get(&gate.name);
        let voices =
            votes.map_or(0, |votes| votes.values().filter(|vote| vote.assurance >= gate.assurance).count());
        u32::try_from(voices).is_ok_and(|voices| voices >= gate.quorum.get())
    }
}

impl State {
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Granted { .. } => "granted",
            Self::Executing(_) => "executing",
            Self::Closed(closing) => closing.as_str(),
        }
    }

    pub const fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }
}

impl Closing {
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Rejected { .. } => "rejected",
            Self::Withdrawn => "withdrawn",
            Self::Lapsed => "lapsed",
            Self::Revoked { .. } => "revoked",
            Self::Finished { outcome, .. } => outcome.as_str(),
        }
    }

    /// What the requester is told when nothing ran; `None` when something did.
    pub const fn refusal_code(&self) -> Option<RefusalCode> {
        match self {
            Self::Rejected { .. } => Some(RefusalCode::Rejected),
            Self::Withdrawn => Some(RefusalCode::Withdrawn),
            Self::Lapsed => Some(RefusalCode::Lapsed),
            Self::Revoked { .. } => Some(RefusalCode::Revoked),
            Self::Finished { .. } => None,
        }
    }
}

impl Outcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
        }
    }
}

fn owned(attempt: &Attempt, owner: GatewayId, epoch: u64) -> Result<(), Refused> {
    if attempt.owner == owner && attempt.epoch == epoch { Ok(()) } else { Err(Refused::NotTheOwner) }
}

#[cfg(test)]
mod tests;
