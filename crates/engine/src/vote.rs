//! Votes: what a person is asked to sign, and what becomes of it.

mod ballots;
mod code;

pub(crate) use ballots::Nonces;
pub use code::rule_code;

use crate::{
    error::Error,
    execute,
    gate::Gate,
    glass,
    hold::{self, Hold, Write},
    inward::Arrival,
    port::store::{Change, Receipt},
    preapproval::Voucher,
    rules,
};
use countersign_core::{
    ApprovalId, Assurance, Digest, GateName, PersonId, Requester, SignIn, Timestamp,
    approval::{CastVote, Event as Step, Refused, State},
    decision::Gate as ShutGate,
    sign_in::NotMet,
    statement::{Statement, Verdict},
};
use countersign_ledger::{
    entry::PrivateField,
    event::{Actor, Assertion, ClosedAs, Event, Through},
};
use countersign_policy::{VoteContext, Voter};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// Why a vote does not count. Nothing changed but the record of the attempt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VoteRefused {
    #[error(transparent)]
    Rule(#[from] Refused),
    /// The words say why.
    #[error("{0}")]
    NotEligible(String),
    #[error("only enrolled people vote")]
    NotAPerson,
    #[error("this ballot was used, has lapsed or was never handed out; open the approval again")]
    Ballot,
    #[error("a rejection needs a reason, which reaches the requester")]
    ReasonMissing,
    #[error("breaking the glass needs a reason, which everybody who may decide reads")]
    GlassReasonMissing,
    #[error("your break-glass of approval `{0}` has not been reviewed by somebody else yet")]
    ReviewOpen(ApprovalId),
    #[error(transparent)]
    StepUp(#[from] NotMet),
    #[error("nobody else who may decide could be told, so the glass stays whole")]
    NobodyTold,
}

/// What a person is about to sign.
#[derive(Clone, Debug)]
pub struct Ballot {
    pub statement: Statement,
    /// What a passkey signs.
    pub challenge: Digest,
    /// The least this vote must be worth.
    pub wanted: Assurance,
}

/// A vote as it came in. Whoever calls has verified the assertion against the statement's challenge.
#[derive(Clone, Debug)]
pub struct Cast {
    pub statement: Statement,
    pub assurance: Assurance,
    pub assertion: Option<Assertion>,
    /// Reaches the requester when the vote is a no.
    pub reason: Option<String>,
    /// How the voter is signed in.
    pub sign_in: SignIn,
}

/// How long a ballot may be filled in.
pub(crate) const BALLOT_FOR: Duration = Duration::from_mins(10);

/// The way a vote came.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Came<'w> {
    /// From a page, on a ballot.
    Page,
    /// Through a channel, on the message that it showed.
    Channel(&'w Arrival),
    /// In a ticket, before the action was asked for.
    Ticket(&'w Voucher),
}

impl Came<'_> {
    fn through(self) -> Option<Through> {
        match self {
            Self::Page => None,
            Self::Channel(arrival) => arrival.way(),
            Self::Ticket(voucher) => Some(voucher.through.clone()),
        }
    }

    fn private(self) -> Vec<PrivateField> {
        match self {
            Self::Page => Vec::new(),
            Self::Channel(arrival) => arrival.private(),
            Self::Ticket(voucher) => voucher.private(),
        }
    }

    /// Remembers with the approval that it counted: the changes that go with it.
    fn counted(
        self,
        gate: &Gate,
        hold: &mut Hold,
        statement: &Statement,
        now: Timestamp,
    ) -> Result<Vec<Change>, Refused> {
        match self {
            Self::Page => Ok(Vec::new()),
            Self::Channel(arrival) => arrival.counted(gate, hold, now).map(|()| Vec::new()),
            Self::Ticket(voucher) => {
                voucher.counted(hold, statement, now)?;
                Ok(voucher.changes().collect())
            }
        }
    }
}

/// Hands out a ballot for the first shut gate this person may lift.
pub async fn prepare(
    gate: &Gate,
    voter: PersonId,
    approval: ApprovalId,
    decision: Verdict,
) -> Result<Result<Ballot, VoteRefused>, Error> {
    let (hold, _) = hold::load(gate, approval).await?;
    let found = match decision {
        Verdict::Approve | Verdict::Reject => seat_for(gate, &hold, voter),
        Verdict::BreakGlass => glass::may(gate, &hold, voter).await?.map(Seat::own),
    };
    let own = |seat: Seat<'_>| match decision {
        Verdict::Approve => own_voice(gate, &hold, seat.gate, voter),
        Verdict::Reject | Verdict::BreakGlass => Ok(()),
    };
    let found = found.and_then(|seat| own(seat).map(|()| seat));
    let Seat { gate: shut, on_behalf_of } = match found {
        Ok(seat) => seat,
        Err(refused) => return refuse(gate, approval, voter, None, refused).await,
    };
    let wanted = match decision {
        Verdict::Approve | Verdict::Reject => shut.assurance,
        Verdict::BreakGlass => Assurance::Passkey,
    };
    let Some(round) = hold.approval.round() else {
        return Ok(Err(Refused::OutOfOrder("empty").into()));
    };
    let now = gate.now();
    let statement = Statement {
        approval,
        round: round.number,
        gate: shut.name.clone(),
        decision,
        voter,
        on_behalf_of,
        action_digest: hold.asked.digest,
        bundle_digest: round.bundle,
        evidence_digest: round.evidence,
        view_digest: round.view,
        nonce: Digest(gate.journal().random()).hex(),
        expires: round.deadline.min(now.plus(BALLOT_FOR)),
    };
    let challenge = statement.challenge()?;
    gate.nonces.hand_out(&statement, now);
    Ok(Ok(Ballot { statement, challenge, wanted }))
}

/// Counts a vote. The first terminal decision stands; later ones are told so.
pub async fn cast(gate: &Arc<Gate>, cast: Cast) -> Result<Result<Hold, VoteRefused>, Error> {
    let statement = &cast.statement;
    let (voter, approval) = (statement.voter, statement.approval);
    let reason = cast.reason.as_deref().map(str::trim).filter(|said| !said.is_empty());
    if statement.decision == Verdict::Reject && reason.is_none() {
        return Ok(Err(VoteRefused::ReasonMissing));
    }
    if !gate.nonces.use_up(statement, gate.now()) {
        return refuse(gate, approval, voter, None, VoteRefused::Ballot).await;
    }
    if statement.decision == Verdict::BreakGlass {
        return match glass::shatter(gate, &cast).await? {
            Ok(hold) => {
                went_on(gate, &hold);
                Ok(Ok(hold))
            }
            Err(refused) => refuse(gate, approval, voter, None, refused).await,
        };
    }
    match count(gate, &cast, Came::Page).await? {
        Ok((hold, _)) => Ok(Ok(hold)),
        Err(refused) => refuse(gate, approval, voter, Some(statement.gate.clone()), refused).await,
    }
}

/// Counts a vote that may be cast: its ballot was used up, or the message it was made on was recognised.
pub(crate) async fn count(
    gate: &Arc<Gate>,
    cast: &Cast,
    came: Came<'_>,
) -> Result<Result<(Hold, Receipt), VoteRefused>, Error> {
    let statement = &cast.statement;
    let (voter, approval) = (statement.voter, statement.approval);
    let (hold, _) = hold::load(gate, approval).await?;
    let named =
        hold.approval.round().and_then(|round| round.gates.iter().find(|gate| gate.name == statement.gate));
    if let Some(shut) = named
        && let Err(refused) =
            may_cast(gate, &hold, shut, statement).and_then(|()| Ok(signed_in(shut, cast, gate.now())?))
    {
        return Ok(Err(refused));
    }
    let asked = named.and_then(|shut| shut.sign_in.as_ref()).map(|_| cast.sign_in.clone());
    let voted = Event::ApprovalVoted {
        statement: statement.clone(),
        assurance: cast.assurance,
        assertion: cast.assertion.clone(),
        sign_in: asked,
        through: came.through(),
        ticket: match came {
            Came::Ticket(voucher) => Some(Box::new(voucher.vote.clone())),
            Came::Page | Came::Channel(_) => None,
        },
    };
    let revised = hold::revise(gate, approval, |hold, now| {
        let (round, gate_name) = (statement.round, statement.gate.clone());
        let write = Write::by(Actor::Person { id: voter });
        let write = match statement.decision {
            Verdict::Approve => {
                // Said again in another delivery while the first was on its way to the disk, it is one word.
                let known = hold.approval.round().and_then(|round| round.votes.get(&gate_name));
                if matches!(came, Came::Channel(_)) && known.is_some_and(|votes| votes.contains_key(&voter)) {
                    return Err(Refused::OutOfOrder("as this person said before"));
                }
                let (on_behalf_of, assurance) = (statement.on_behalf_of, cast.assurance);
                let step = Step::Approve { voter, on_behalf_of, round, gate: gate_name, assurance };
                hold.step(step, now)?;
                let write = write.with_private(voted.clone(), came.private());
                match hold.approval.state {
                    State::Granted { use_by } => write.event(Event::ApprovalGranted { approval, use_by }),
                    State::Pending | State::Executing(_) | State::Closed(_) => write,
                }
            }
            // Its own way, above.
            Verdict::BreakGlass => return Err(Refused::OutOfOrder("a break-glass")),
            Verdict::Reject => {
                let said = cast.reason.as_deref().map(str::trim).unwrap_or_default().to_owned();
                hold.step(Step::Reject { voter, round, gate: gate_name, reason: said.clone() }, now)?;
                hold.rejection = Some(said.clone());
                let reason = PrivateField { path: "reason".into(), value: said.into_bytes().into() };
                let closed = Event::ApprovalClosed { approval, closing: ClosedAs::Rejected, by: None };
                let private = came.private().into_iter().chain([reason]).collect();
                write.with_private(voted.clone(), private).event(closed)
            }
        };
        Ok(came.counted(gate, hold, statement, now)?.into_iter().fold(write, Write::change))
    });
    let counted = revised.await?;
    if let Ok((hold, _)) = &counted {
        went_on(gate, hold);
    }
    Ok(counted.map_err(VoteRefused::from))
}

/// Whether the voter's sign-in is what a gate asks for. Whoever says no is asked nothing.
pub(crate) fn signed_in(shut: &ShutGate, cast: &Cast, now: Timestamp) -> Result<(), NotMet> {
    match (&shut.sign_in, cast.statement.decision) {
        (None, _) | (Some(_), Verdict::Reject) => Ok(()),
        (Some(terms), Verdict::Approve | Verdict::BreakGlass) => {
            terms.met_by(&cast.sign_in, cast.assurance, now)
        }
    }
}

/// Starts what was granted and whose caller has left for an answer later.
fn went_on(gate: &Arc<Gate>, hold: &Hold) {
    if matches!(hold.approval.state, State::Granted { .. }) && hold.handle_given {
        execute::start(gate, hold.approval.id);
    }
}

/// Records that somebody who may not vote tried to.
pub async fn attempted(gate: &Gate, approval: ApprovalId, actor: Actor, why: &str) -> Result<(), Error> {
    let revised = hold::revise(gate, approval, |_, _| {
        let event =
            Event::ApprovalVoteRefused { approval, gate: None, reason: why.to_owned(), channel: None };
        Ok(Write::by(actor.clone()).event(event))
    });
    revised.await?.ok();
    Ok(())
}

/// A say that somebody has: at which gate, and whose it is.
#[derive(Clone, Copy, Debug)]
pub struct Seat<'h> {
    pub gate: &'h ShutGate,
    /// For whom they stand in; `None`: their own.
    pub on_behalf_of: Option<PersonId>,
}

impl<'h> Seat<'h> {
    fn own(gate: &'h ShutGate) -> Self {
        Self { gate, on_behalf_of: None }
    }
}

/// The first shut gate this person may lift, or why there is none.
pub fn gate_for<'h>(gate: &Gate, hold: &'h Hold, voter: PersonId) -> Result<&'h ShutGate, VoteRefused> {
    seat_for(gate, hold, voter).map(|seat| seat.gate)
}

/// The first say this person has here: their own before that of somebody for whom they stand in; or why there is none.
pub fn seat_for<'h>(gate: &Gate, hold: &'h Hold, voter: PersonId) -> Result<Seat<'h>, VoteRefused> {
    seat_among(gate, hold, voter, |_| true)
}

/// Every gate that is not lifted yet and on which this person has a say that they have not had.
pub fn left_for<'h>(gate: &Gate, hold: &'h Hold, voter: PersonId) -> Vec<&'h ShutGate> {
    let Some(round) = hold.approval.round() else { return Vec::new() };
    let cast = |shut: &ShutGate| round.votes.get(&shut.name).is_some_and(|votes| votes.contains_key(&voter));
    // Who had their say on a gate that wants voices of its own has none on the others.
    let spoken = |shut: &ShutGate| {
        let apart = |other: &&ShutGate| other.name == shut.name || other.distinct || shut.distinct;
        round.gates.iter().filter(apart).any(cast)
    };
    let left = |shut: &&ShutGate| {
        let seat = || seat_among(gate, hold, voter, |one| one.name == shut.name);
        !round.lifted(shut) && !spoken(shut) && seat().is_ok()
    };
    round.gates.iter().filter(left).collect()
}

/// The first say this person has among some of the gates.
pub(crate) fn seat_among<'h>(
    gate: &Gate,
    hold: &'h Hold,
    voter: PersonId,
    meant: impl Fn(&ShutGate) -> bool,
) -> Result<Seat<'h>, VoteRefused> {
    let excluded = exclusions(gate, hold);
    let open = hold.approval.round().map(|round| round.gates.as_slice()).unwrap_or_default();
    let cast = |shut: &ShutGate| {
        // A vote of an earlier round was on what is not so any more.
        let votes = hold.approval.round().and_then(|round| round.votes.get(&shut.name));
        votes.is_some_and(|votes| votes.contains_key(&voter))
    };
    let mut why = VoteRefused::NotEligible("no gate of this approval names you or a group of yours".into());
    let mut voted = None;
    let absent = absent_for(gate, voter);
    for shut in open.iter().filter(|shut| meant(shut)) {
        let mut found = eligible(gate, hold, shut, voter, &excluded).map(|()| None);
        for person in &absent {
            if found.is_ok() {
                break;
            }
            if eligible_for(gate, hold, shut, (voter, *person), &excluded).is_ok() {
                found = Ok(Some(*person));
            }
        }
        match found {
            Ok(on_behalf_of) if cast(shut) => voted = Some(Seat { gate: shut, on_behalf_of }),
            Ok(on_behalf_of) => return Ok(Seat { gate: shut, on_behalf_of }),
            Err(refused) => why = refused,
        }
    }
    voted.ok_or(why)
}

/// Those in whose place this person votes now. Never those in whose place these do: there are no chains.
fn absent_for(gate: &Gate, voter: PersonId) -> Vec<PersonId> {
    let now = gate.now();
    let known = gate.identity().voter(voter).map(|voter| voter.stands_in).unwrap_or_default();
    known.iter().filter(|one| one.from <= now && now < one.until).map(|one| one.absent).collect()
}

/// Whether a filled-in ballot may be cast now.
fn may_cast(gate: &Gate, hold: &Hold, shut: &ShutGate, ballot: &Statement) -> Result<(), VoteRefused> {
    let excluded = exclusions(gate, hold);
    if ballot.decision == Verdict::Approve {
        own_voice(gate, hold, shut, ballot.voter)?;
    }
    match ballot.on_behalf_of {
        None => eligible(gate, hold, shut, ballot.voter, &excluded),
        Some(absent) if absent_for(gate, ballot.voter).contains(&absent) => {
            eligible_for(gate, hold, shut, (ballot.voter, absent), &excluded)
        }
        Some(_) => Err(VoteRefused::NotEligible("you do not stand in for them now".into())),
    }
}

/// Whether a yes of this person would be a voice of its own, beside those who said yes already at this gate, and where one of
/// two gates wants voices of its own, at the other.
fn own_voice(gate: &Gate, hold: &Hold, shut: &ShutGate, voter: PersonId) -> Result<(), VoteRefused> {
    let gates = hold.approval.rounds.iter().flat_map(|round| &round.gates);
    // Where a gate wants voices of its own, those of the others are looked at too.
    let beside: BTreeSet<&GateName> = gates
        .filter(|other| other.name == shut.name || other.distinct || shut.distinct)
        .map(|other| &other.name)
        .collect();
    let votes = hold.approval.rounds.iter().flat_map(|round| &round.votes);
    let votes = votes.filter(|(name, _)| beside.contains(name)).flat_map(|(_, votes)| votes.keys());
    let mut others = votes.copied().filter(|person| *person != voter);
    let Some(other) = others.find(|other| one_hand(gate, hold, voter, *other)) else { return Ok(()) };
    let other = gate.identity().called(other).unwrap_or_else(|| "somebody who said yes".into());
    Err(VoteRefused::NotEligible(format!(
        "you and {other} are one voice here: within the cooling-off time one hand brought both of you in"
    )))
}

/// Whether one person's hand was in the standing of both within the cooling-off time, or one of them brought in the other:
/// whoever can make two sessions has not become two people by that.
pub(crate) fn one_hand(gate: &Gate, hold: &Hold, first: PersonId, second: PersonId) -> bool {
    let since = hold.approval.requested_at.minus(gate.limits().cooling_off);
    let hands = |person| {
        let mut hands = hold::hands(&gate.identity().introductions(person), since);
        hands.insert(person);
        hands
    };
    !hands(first).is_disjoint(&hands(second))
}

/// Whether a vote that was cast still counts. Whoever stood in for somebody when it was cast need not any more.
pub(crate) fn still_counts(
    gate: &Gate,
    hold: &Hold,
    shut: &ShutGate,
    (voter, cast): (PersonId, &CastVote),
    excluded: &BTreeMap<PersonId, String>,
) -> bool {
    match cast.on_behalf_of {
        None => eligible(gate, hold, shut, voter, excluded).is_ok(),
        Some(absent) => eligible_for(gate, hold, shut, (voter, absent), excluded).is_ok(),
    }
}

/// Whether policy lets one person lift this gate now in the place of another.
fn eligible_for(
    gate: &Gate,
    hold: &Hold,
    shut: &ShutGate,
    (stand_in, absent): (PersonId, PersonId),
    excluded: &BTreeMap<PersonId, String>,
) -> Result<(), VoteRefused> {
    let (absent, _) = question(gate, hold, absent, excluded)?;
    let (stand_in, context) = question(gate, hold, stand_in, excluded)?;
    let bundle = gate.policies().current();
    let may = bundle.may_stand_in(&stand_in, &absent, shut, &context);
    may.map_err(|refused| VoteRefused::NotEligible(refused.to_string()))
}

/// Everyone who could not vote on what this caller asked now, and why.
pub fn excluded(gate: &Gate, requester: &Requester) -> BTreeMap<PersonId, String> {
    hold::excluded(gate, requester, gate.now())
}

/// The requester's side of a waiting action, and those too near to it.
pub fn side_of(gate: &Gate, hold: &Hold) -> BTreeSet<PersonId> {
    let since = hold.approval.requested_at.minus(gate.limits().cooling_off);
    let near = hold::near(gate, &hold.approval.side, since).map(|(person, _)| person);
    near.chain(hold.approval.side.iter().copied()).collect()
}

/// Everyone who may not vote on this action now: as recorded when it was held, and whoever joined them since.
pub fn exclusions(gate: &Gate, hold: &Hold) -> BTreeMap<PersonId, String> {
    let mut excluded = hold.excluded.clone();
    let since = hold.approval.requested_at.minus(gate.limits().cooling_off);
    for (person, why) in hold::near(gate, &hold.approval.side, since) {
        excluded.entry(person).or_insert(why);
    }
    for (person, why) in rules::changed(gate, hold) {
        excluded.entry(person).or_insert_with(|| why.to_owned());
    }
    excluded
}

/// Whether policy lets this person lift this gate now.
pub(crate) fn eligible(
    gate: &Gate,
    hold: &Hold,
    shut: &ShutGate,
    person: PersonId,
    excluded: &BTreeMap<PersonId, String>,
) -> Result<(), VoteRefused> {
    let (asked, context) = question(gate, hold, person, excluded)?;
    let bundle = gate.policies().current();
    bundle.may_vote(&asked, shut, &context).map_err(|refused| VoteRefused::NotEligible(refused.to_string()))
}

/// What policy is asked about a person who would lift a gate, once it is known that they are not of the requester's side.
pub(crate) fn question(
    gate: &Gate,
    hold: &Hold,
    person: PersonId,
    excluded: &BTreeMap<PersonId, String>,
) -> Result<(Voter, VoteContext), VoteRefused> {
    let voter = gate.identity().voter(person).ok_or(VoteRefused::NotAPerson)?;
    if hold.approval.side.contains(&person) {
        return Err(Refused::RequesterSide.into());
    }
    let context = VoteContext {
        target: hold.asked.target.clone(),
        environment: hold.asked.environment.clone(),
        class: hold.asked.class.clone(),
        operation: hold.asked.operation.clone(),
        side: hold.approval.side.clone(),
        excluded: excluded.clone(),
        now: gate.now(),
    };
    Ok((Voter { person, groups: voter.groups, attributes: voter.attributes }, context))
}

async fn refuse<T>(
    gate: &Gate,
    approval: ApprovalId,
    voter: PersonId,
    named: Option<GateName>,
    refused: VoteRefused,
) -> Result<Result<T, VoteRefused>, Error> {
    let revised = hold::revise(gate, approval, |_, _| {
        let (gate, reason) = (named.clone(), refused.to_string());
        let event = Event::ApprovalVoteRefused { approval, gate, reason, channel: None };
        Ok(Write::by(Actor::Person { id: voter }).event(event))
    });
    revised.await?.ok();
    Ok(Err(refused))
}
