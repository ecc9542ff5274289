//! Deciding once more: what people approved must still be wanted, by the same requester, under the present policy, with
//! voters who still count.

use crate::{
    call,
    error::Error,
    gate::Gate,
    glass,
    hold::{self, Hold, Write},
    intake,
    port::{
        store::{Kind, ReadError},
        upstream::Gathered,
    },
    preapproval, record, rules, vote,
};
use countersign_core::{
    Action, ApprovalId, Decision, Digest, GateName, PersonId, Refusal, Terms, Timestamp,
    approval::{Broken, CastVote, Event as Step, Round, State, Taker},
    decision::{Basis, Gate as ShutGate},
};
use countersign_ledger::{
    entry::PrivateField,
    event::{Actor, ClosedAs, Event, Reopened},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// What looking at an approval that is about to run came to.
pub(super) enum Again<T> {
    /// It may go on.
    Ready(Box<T>),
    /// Nothing is left to do: it closed, waits again, or runs elsewhere.
    Over,
    /// The grant is as good as before, and now is not the time.
    NotNow(Refusal),
}

/// A granted approval with what it is for.
pub(super) struct Granted {
    held: Hold,
    pub(super) action: Action,
    pub(super) evidence: Wanted,
}

/// Whether something is to be found out before it is decided again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Yes,
    No,
}

/// An approved action that may begin.
pub(super) struct Ready {
    pub(super) held: Hold,
    pub(super) action: Action,
    pub(super) basis: Basis,
    /// How many bytes of the result policy wants kept.
    pub(super) keeps: Option<u64>,
}

/// Loads what people approved.
pub(super) async fn granted(gate: &Arc<Gate>, id: ApprovalId) -> Result<Again<Granted>, Error> {
    let (held, _) = hold::load(gate, id).await?;
    if !matches!(held.approval.state, State::Granted { .. }) {
        return Ok(Again::Over);
    }
    let action = stored_action(gate, &held).await?;
    if let Some(scope) = gate.frozen(action.requester.principal, &action.target) {
        return Ok(Again::NotNow(record::frozen(&scope)));
    }
    let wanted = held.evidence.is_some() || gate.policies().current().needs_evidence(&action);
    let evidence = if wanted { Wanted::Yes } else { Wanted::No };
    Ok(Again::Ready(Box::new(Granted { held, action, evidence })))
}

/// Decides an approved action once more, in the light of what was found out just now. Nothing of it has run.
pub(super) async fn decide(
    gate: &Arc<Gate>,
    granted: Granted,
    gathered: Option<Gathered>,
) -> Result<Again<Ready>, Error> {
    let Granted { held, mut action, .. } = granted;
    let id = held.approval.id;
    if let Some(scope) = gate.frozen(action.requester.principal, &action.target) {
        return Ok(Again::NotNow(record::frozen(&scope)));
    }
    // Groups, owners and the credential are looked at as they are now.
    let Some(requester) = gate.renewed(&action.requester) else {
        close(gate, id).await?;
        return Ok(Again::Over);
    };
    action.requester = requester;
    action.evidence = None;
    if let Some(gathered) = gathered {
        intake::take_in(&mut action, gathered);
    }
    let policy = gate.policies().current();
    let (basis, wanted, terms) = match policy.decide(&action, gate.now()).decision {
        Decision::Permit(basis) => (basis, Vec::new(), None),
        Decision::Review(terms) => (terms.basis.clone(), terms.gates.clone(), Some(terms)),
        Decision::Forbid(_) => {
            close(gate, id).await?;
            return Ok(Again::Over);
        }
    };
    let drifted = drift(&held, &action, terms.as_ref());
    let shut = if drifted.is_some() {
        // What the votes were cast on is not so: every gate has to be lifted again.
        every_gate(&held, &wanted)
    } else {
        let lost = preapproval::lost(gate, &held, &action, &wanted).await?;
        shut_again(gate, &held, &action, (&wanted, &lost))
    };
    if !shut.is_empty() {
        reopen(gate, &held, &action, Reopening { gates: shut, drifted, bundle: basis.bundle, terms }).await?;
        return Ok(Again::Over);
    }
    let keeps = policy.keeps(&basis);
    Ok(Again::Ready(Box::new(Ready { held, action, basis, keeps })))
}

/// Why what is found now is not what was decided on. What cannot be found out any more is not what was decided on.
fn drift(held: &Hold, action: &Action, terms: Option<&Terms>) -> Option<String> {
    let then = held.evidence.as_ref()?;
    let bound = terms.map_or(held.drift, |terms| terms.drift.min(held.drift));
    match &action.evidence {
        Some(now) => then.drift(now, bound),
        None => Some("what was found out before could not be found out again".into()),
    }
}

/// The gates that policy wants now, and those of earlier rounds: each once.
fn every_gate(held: &Hold, wanted: &[ShutGate]) -> Vec<ShutGate> {
    let before = held.approval.rounds.iter().rev().flat_map(|round| &round.gates);
    let mut seen = BTreeSet::new();
    wanted.iter().chain(before).filter(|gate| seen.insert(&gate.name)).cloned().collect()
}

pub(crate) async fn stored_action(gate: &Gate, held: &Hold) -> Result<Action, Error> {
    let id = held.action().to_string();
    let record = gate.store().fetch(Kind::Action, &id).await?;
    let record = record.ok_or(Error::Missing { kind: Kind::Action, id })?;
    let garbled = |why: String| Error::Read(ReadError::Garbled { kind: Kind::Action, why });
    let action: Action = serde_json::from_slice(&record.doc).map_err(|error| garbled(error.to_string()))?;
    // What was approved is what runs: the stored bytes must still be those the votes speak of.
    if action.digest()? != held.approval.digest {
        return Err(garbled("its digest is not the approved one".into()));
    }
    Ok(action)
}

/// Gates that must be lifted (again): newly matching ones, and those whose voters may not vote any more, or whose votes were
/// lost with their tickets.
fn shut_again(
    gate: &Gate,
    held: &Hold,
    action: &Action,
    (wanted, lost): (&[ShutGate], &BTreeSet<(GateName, PersonId)>),
) -> Vec<ShutGate> {
    let all = every_gate(held, wanted).into_iter();
    let excluded = excluded(gate, held, action, gate.now());
    let counts = |shut: &ShutGate, person: PersonId, cast: &CastVote| {
        !lost.contains(&(shut.name.clone(), person))
            && vote::still_counts(gate, held, shut, (person, cast), &excluded)
    };
    // Who counted at which gate so far, and whether that wants voices of its own.
    let mut counted: Vec<(PersonId, bool)> = Vec::new();
    all.filter(|shut| {
        // Only the newest votes on a gate are on what holds now.
        let mut rounds = held.approval.rounds.iter().rev();
        let newest = rounds.find(|round| round.gates.iter().any(|gate| gate.name == shut.name));
        let alone = newest.and_then(|round| round.broken.as_ref());
        let stands = |broken: &Broken| {
            broken.gates.contains(&shut.name)
                && !excluded.contains_key(&broken.by)
                && glass::named_at(gate, held, shut, broken.by, &excluded).is_ok()
        };
        if alone.is_some_and(stands) {
            return false;
        }
        let votes = newest.and_then(|round| round.votes.get(&shut.name)).into_iter().flatten();
        let mut voices: Vec<PersonId> = Vec::new();
        for (person, vote) in votes {
            let elsewhere =
                counted.iter().filter(|(other, distinct)| other != person && (*distinct || shut.distinct));
            let mut others = voices.iter().chain(elsewhere.map(|(other, _)| other));
            let mut own = || !others.any(|other| vote::one_hand(gate, held, *person, *other));
            if vote.assurance >= shut.assurance && counts(shut, *person, vote) && own() {
                voices.push(*person);
            }
        }
        counted.extend(voices.iter().map(|person| (*person, shut.distinct)));
        // Where a vote was lost, what people were told of holds: fewer voices that policy asks for by now do not make up for it.
        let was = newest.and_then(|round| round.gates.iter().find(|gate| gate.name == shut.name));
        let was = was.filter(|_| lost.iter().any(|(gate, _)| *gate == shut.name));
        let quorum = was.map_or(shut.quorum, |was| was.quorum.max(shut.quorum));
        u32::try_from(voices.len()).map_or(true, |voices| voices < quorum.get())
    })
    .collect()
}

/// Everyone who may not vote on what is decided again: the requester's side as it is now, and who changed the rules since
/// it was asked.
fn excluded(gate: &Gate, held: &Hold, action: &Action, deadline: Timestamp) -> BTreeMap<PersonId, String> {
    let mut out = hold::excluded(gate, &action.requester, deadline);
    for (person, why) in rules::changed(gate, held) {
        out.entry(person).or_insert_with(|| why.to_owned());
    }
    out
}

/// Why people have to decide again, and on what terms.
struct Reopening {
    gates: Vec<ShutGate>,
    drifted: Option<String>,
    bundle: Digest,
    terms: Option<Terms>,
}

async fn reopen(gate: &Arc<Gate>, held: &Hold, action: &Action, reopening: Reopening) -> Result<(), Error> {
    let Reopening { gates, drifted, bundle, terms } = reopening;
    let now = gate.now();
    let last = held.approval.round();
    let waited = last.map_or(Duration::ZERO, |round| round.deadline.since(round.opened_at));
    let deadline = now.plus(terms.as_ref().map_or(waited, |terms| terms.expires_in));
    let valid_for = last.map_or(0, |round| round.valid_for_micros);
    let view = held.view.clone().in_light_of(action).on(&gates, deadline);
    let round = Round {
        number: last.map_or(1, |round| round.number.saturating_add(1)),
        bundle,
        evidence: hold::evidence_digest(action.evidence.as_ref())?,
        view: view.digest()?,
        opened_at: now,
        deadline,
        valid_for_micros: terms
            .as_ref()
            .map_or(valid_for, |terms| i64::try_from(terms.valid_for.as_micros()).unwrap_or(i64::MAX)),
        gates,
        votes: BTreeMap::new(),
        broken: None,
    };
    let excluded = excluded(gate, held, action, deadline);
    let plan = call::plan(gate, action, &round.gates);
    let because = if drifted.is_some() { Reopened::Evidence } else { Reopened::Gates };
    let mut private: Vec<_> = hold::evidence_field(action.evidence.as_ref())?.into_iter().collect();
    private.extend(
        drifted
            .as_ref()
            .map(|why| PrivateField { path: "drifted".into(), value: why.clone().into_bytes().into() }),
    );
    let revised = hold::revise(gate, held.approval.id, |hold, now| {
        hold.step(Step::Reopen(Box::new(round.clone())), now)?;
        hold.view = view.clone();
        hold.evidence.clone_from(&action.evidence);
        hold.drift = terms.as_ref().map_or(hold.drift, |terms| terms.drift.min(hold.drift));
        hold.drifted.clone_from(&drifted);
        hold.tell_also(terms.iter().flat_map(|terms| terms.notify.iter().cloned()));
        hold.follow(plan.clone());
        hold.excluded.extend(excluded.clone());
        let opened = hold.approval.round().unwrap_or(&round);
        let terms = hold::round_terms(hold.approval.id, opened, &hold.excluded);
        let event = Event::ApprovalRoundOpened { round: terms, because: Some(because) };
        Ok(Write::by(Actor::Gateway).with_private(event, private.clone()))
    });
    revised.await?.ok();
    Ok(())
}

/// Policy forbids now what people approved, or the requester is not who it was.
pub(super) async fn close(gate: &Gate, id: ApprovalId) -> Result<(), Error> {
    let revised = hold::revise(gate, id, |hold, now| {
        hold.step(Step::Revoke(Taker::Policy), now)?;
        let by = Some(Taker::Policy);
        Ok(Write::by(Actor::Gateway).event(Event::ApprovalClosed {
            approval: id,
            closing: ClosedAs::Revoked,
            by,
        }))
    });
    revised.await?.ok();
    Ok(())
}
