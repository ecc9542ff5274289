//! Break-glass: one person lifts every gate alone, where policy names who may. Everybody else who may decide is told at
//! once, and until one of them has reviewed it, the same person breaks no other. Never anybody of the requester's side.

use crate::{
    error::Error,
    gate::{Changed, Gate},
    hold::{self, Glass, GlassReview, Hold, Write},
    port::store::{Find, Kind},
    read,
    vote::{self, Cast, VoteRefused},
};
use countersign_core::{
    ApprovalId, Assurance, PersonId, SignIn,
    approval::{Event as Step, Refused, State},
    decision::Gate as ShutGate,
    sign_in::NotMet,
};
use countersign_ledger::{
    entry::PrivateField,
    event::{Actor, Event, Judged},
};
use std::collections::{BTreeMap, BTreeSet};

/// What somebody says of another's break-glass.
#[derive(Clone, Debug)]
pub struct Review {
    pub approval: ApprovalId,
    pub broken_by: PersonId,
    pub by: PersonId,
    pub found: Judged,
    /// Private: it may speak of what was done.
    pub note: String,
}

/// Why a review does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReviewRefused {
    #[error("there is no such review, or it is closed")]
    NotOpen,
    #[error("nobody reviews their own break-glass")]
    Own,
    /// The words say why.
    #[error("you cannot review this: {0}")]
    NotEligible(String),
}

/// The first gate this person may lift alone with all the others that are shut; or why they may not. Policy alone is
/// asked: see [`may`].
pub fn named<'h>(gate: &Gate, hold: &'h Hold, person: PersonId) -> Result<&'h ShutGate, VoteRefused> {
    let State::Pending = hold.approval.state else {
        return Err(Refused::OutOfOrder(hold.approval.state.as_str()).into());
    };
    let excluded = vote::exclusions(gate, hold);
    let mut first = None;
    for (_, shut) in hold.approval.shut_gates() {
        named_at(gate, hold, shut, person, &excluded)?;
        first = first.or(Some(shut));
    }
    first.ok_or_else(|| Refused::OutOfOrder("lifted").into())
}

/// Whether policy lets this person lift this gate alone now.
pub(crate) fn named_at(
    gate: &Gate,
    hold: &Hold,
    shut: &ShutGate,
    person: PersonId,
    excluded: &BTreeMap<PersonId, String>,
) -> Result<(), VoteRefused> {
    let (asked, context) = vote::question(gate, hold, person, excluded)?;
    if shut.break_glass.is_none() {
        return Err(Refused::NoBreakGlass(shut.name.clone()).into());
    }
    let bundle = gate.policies().current();
    let may = bundle.may_break_glass(&asked, shut, &context);
    may.map_err(|refused| VoteRefused::NotEligible(refused.to_string()))
}

/// [`named`], and no review of this person's is open, and there is somebody else to tell.
pub async fn may<'h>(
    gate: &Gate,
    hold: &'h Hold,
    person: PersonId,
) -> Result<Result<&'h ShutGate, VoteRefused>, Error> {
    let shut = match named(gate, hold, person) {
        Ok(shut) => shut,
        Err(refused) => return Ok(Err(refused)),
    };
    if let Some(open) = open_of(gate, person).await? {
        return Ok(Err(VoteRefused::ReviewOpen(open)));
    }
    if to_tell(gate, hold, person).is_empty() {
        return Ok(Err(VoteRefused::NobodyTold));
    }
    Ok(Ok(shut))
}

/// Everybody else who may decide, with others or alone.
fn to_tell(gate: &Gate, hold: &Hold, person: PersonId) -> BTreeSet<PersonId> {
    let voters = gate.identity().voters().into_iter().map(|voter| voter.person);
    let decides =
        |other: &PersonId| vote::gate_for(gate, hold, *other).is_ok() || named(gate, hold, *other).is_ok();
    voters.filter(|other| *other != person).filter(decides).collect()
}

/// The approval whose break-glass by this person nobody else has reviewed yet.
pub async fn open_of(gate: &Gate, person: PersonId) -> Result<Option<ApprovalId>, Error> {
    let find = Find { keys: vec![("broken_by", person.to_string())], before: None, limit: 1 };
    let found = gate.store().find(Kind::Hold, find).await?;
    Ok(found.first().map(Hold::read).transpose()?.map(|hold| hold.approval.id))
}

/// Every approval with a break-glass that waits for its review, newest first.
pub async fn open(gate: &Gate) -> Result<Vec<Hold>, Error> {
    Ok(read::holds_with(gate, ("review", "open")).await?.into_iter().map(|(hold, _)| hold).collect())
}

/// Breaks the glass: the ballot was used up and its passkey verified before.
pub(crate) async fn shatter(gate: &Gate, cast: &Cast) -> Result<Result<Hold, VoteRefused>, Error> {
    let (approval, voter) = (cast.statement.approval, cast.statement.voter);
    let reason = cast.reason.as_deref().map_or("", str::trim);
    if reason.is_empty() {
        return Ok(Err(VoteRefused::GlassReasonMissing));
    }
    let (Assurance::Passkey, Some(assertion)) = (cast.assurance, &cast.assertion) else {
        let (given, wanted) = (cast.assurance.min(Assurance::Session), Assurance::Passkey);
        return Ok(Err(Refused::TooWeak { given, wanted }.into()));
    };
    let (hold, _) = hold::load(gate, approval).await?;
    if let Err(refused) = may(gate, &hold, voter).await? {
        return Ok(Err(refused));
    }
    let sign_in = match signed_in(gate, &hold, cast) {
        Ok(sign_in) => sign_in,
        Err(why) => return Ok(Err(why.into())),
    };
    let told = to_tell(gate, &hold, voter);
    let revised = hold::revise(gate, approval, |hold, now| {
        let (round, assurance) = (cast.statement.round, cast.assurance);
        hold.step(Step::BreakGlass { voter, round, assurance }, now)?;
        let (told, review) = (told.clone(), None);
        hold.glass.push(Glass { by: voter, at: now, reason: reason.to_owned(), told: told.clone(), review });
        let private = PrivateField { path: "reason".into(), value: reason.to_owned().into_bytes().into() };
        let (statement, assertion) = (cast.statement.clone(), assertion.clone());
        let sign_in = sign_in.clone();
        let broken = Event::ApprovalGlassBroken { statement, assertion, told, sign_in };
        let write = Write::by(Actor::Person { id: voter }).with_private(broken, vec![private]);
        Ok(match hold.approval.state {
            State::Granted { use_by } => write.event(Event::ApprovalGranted { approval, use_by }),
            State::Pending | State::Executing(_) | State::Closed(_) => write,
        })
    });
    match revised.await {
        Ok(Ok((hold, _))) => {
            gate.announce(Changed::Glass { id: approval });
            Ok(Ok(hold))
        }
        Ok(Err(refused)) => Ok(Err(refused.into())),
        // The store lets one person have one open review: another of theirs was faster.
        Err(Error::Contended { .. }) if open_of(gate, voter).await?.is_some() => {
            let open = open_of(gate, voter).await?.unwrap_or(approval);
            Ok(Err(VoteRefused::ReviewOpen(open)))
        }
        Err(error) => Err(error),
    }
}

/// How the voter signed in, where a gate they lift asks for it; or what is missing.
fn signed_in(gate: &Gate, hold: &Hold, cast: &Cast) -> Result<Option<SignIn>, NotMet> {
    let mut asked = None;
    for (_, shut) in hold.approval.shut_gates().filter(|(_, shut)| shut.sign_in.is_some()) {
        vote::signed_in(shut, cast, gate.now())?;
        asked = Some(cast.sign_in.clone());
    }
    Ok(asked)
}

/// Whether this person may review that break-glass: they decide here or administer, did not break it, are not of the
/// requester's side, and were not brought in by whoever broke it within the cooling-off time.
pub fn may_review(gate: &Gate, hold: &Hold, broken_by: PersonId, by: PersonId) -> Result<(), ReviewRefused> {
    if by == broken_by {
        return Err(ReviewRefused::Own);
    }
    let Some(voter) = gate.identity().voter(by) else {
        return Err(ReviewRefused::NotEligible("only enrolled people who may vote do".into()));
    };
    if let Some(why) = vote::exclusions(gate, hold).get(&by) {
        return Err(ReviewRefused::NotEligible(why.clone()));
    }
    let since = gate.now().minus(gate.limits().cooling_off);
    if hold::near(gate, &[broken_by].into(), since).any(|(near, _)| near == by) {
        let why = "you or whoever broke the glass brought the other in within the cooling-off time";
        return Err(ReviewRefused::NotEligible(why.into()));
    }
    let gates = hold.approval.rounds.iter().flat_map(|round| &round.gates);
    let concerned = gates.flat_map(|gate| std::iter::once(&gate.approvers).chain(&gate.break_glass));
    let mut concerned =
        concerned.filter(|whom| whom.people.contains(&by) || !whom.groups.is_disjoint(&voter.groups));
    if concerned.next().is_some() || voter.administrator {
        return Ok(());
    }
    Err(ReviewRefused::NotEligible("you are neither asked about it nor an administrator".into()))
}

/// Closes a review; the person who broke the glass may break another from then on.
pub async fn review(gate: &Gate, review: Review) -> Result<Result<Hold, ReviewRefused>, Error> {
    let Review { approval, broken_by, by, found, note } = review;
    let (hold, _) = hold::load(gate, approval).await?;
    if let Err(refused) = may_review(gate, &hold, broken_by, by) {
        vote::attempted(gate, approval, Actor::Person { id: by }, &refused.to_string()).await?;
        return Ok(Err(refused));
    }
    let revised = hold::revise(gate, approval, |hold, now| {
        let open = hold.glass.iter_mut().find(|glass| glass.by == broken_by && glass.review.is_none());
        let glass = open.ok_or(Refused::OutOfOrder("reviewed"))?;
        glass.review = Some(GlassReview { by, found, note: note.clone(), at: now });
        let private = PrivateField { path: "note".into(), value: note.clone().into_bytes().into() };
        let event = Event::ApprovalGlassReviewed { approval, broken_by, found };
        Ok(Write::by(Actor::Person { id: by }).with_private(event, vec![private]))
    });
    match revised.await? {
        Ok((hold, _)) => {
            gate.announce(Changed::Glass { id: approval });
            Ok(Ok(hold))
        }
        Err(_) => Ok(Err(ReviewRefused::NotOpen)),
    }
}
