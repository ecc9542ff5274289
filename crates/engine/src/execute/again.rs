//! Deciding once more: what people approved must still be wanted, by the same requester, under the present policy, with
//! voters who still count.

use crate::{
    error::Error,
    gate::Gate,
    hold::{self, Hold, Write},
    port::store::{Kind, ReadError},
    record, vote,
};
use countersign_core::{
    Action, ApprovalId, Decision, Digest, PersonId, Refusal, Terms,
    approval::{Event as Step, Round, State, Taker},
    decision::{Basis, Gate as ShutGate},
};
use countersign_ledger::event::{Actor, ClosedAs, Event};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// What deciding once more came to.
pub(super) enum Again {
    /// It may begin.
    Ready(Box<Ready>),
    /// Nothing is left to do: it closed, waits again, or runs elsewhere.
    Over,
    /// The grant is as good as before, and now is not the time.
    NotNow(Refusal),
}

/// An approved action that may begin.
pub(super) struct Ready {
    pub(super) held: Hold,
    pub(super) action: Action,
    pub(super) basis: Basis,
}

/// Decides an approved action once more. Nothing of it has run.
pub(super) async fn decide(gate: &Arc<Gate>, id: ApprovalId) -> Result<Again, Error> {
    let (held, _) = hold::load(gate, id).await?;
    if !matches!(held.approval.state, State::Granted { .. }) {
        return Ok(Again::Over);
    }
    let mut action = stored_action(gate, &held).await?;
    if let Some(scope) = gate.frozen(action.requester.principal, &action.target) {
        return Ok(Again::NotNow(record::frozen(&scope)));
    }
    // Groups, owners and the credential are looked at as they are now.
    match gate.identity().requester(action.requester.credential, gate.now()) {
        Ok(requester) if requester.principal == action.requester.principal => action.requester = requester,
        Ok(_) | Err(_) => {
            close(gate, id).await?;
            return Ok(Again::Over);
        }
    }
    let (basis, wanted, terms) = match gate.policies().current().decide(&action, gate.now()).decision {
        Decision::Permit(basis) => (basis, Vec::new(), None),
        Decision::Review(terms) => (terms.basis.clone(), terms.gates.clone(), Some(terms)),
        Decision::Forbid(_) => {
            close(gate, id).await?;
            return Ok(Again::Over);
        }
    };
    let shut = shut_again(gate, &held, &action, &wanted);
    if !shut.is_empty() {
        reopen(gate, &held, &action, shut, basis.bundle, terms.as_ref()).await?;
        return Ok(Again::Over);
    }
    Ok(Again::Ready(Box::new(Ready { held, action, basis })))
}

async fn stored_action(gate: &Gate, held: &Hold) -> Result<Action, Error> {
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

/// Gates that must be lifted (again): newly matching ones, and those whose voters may not vote any more.
fn shut_again(gate: &Gate, held: &Hold, action: &Action, wanted: &[ShutGate]) -> Vec<ShutGate> {
    let before = held.approval.rounds.iter().flat_map(|round| &round.gates);
    let known: BTreeSet<_> = wanted.iter().map(|gate| gate.name.clone()).collect();
    let all = wanted.iter().chain(before.filter(|gate| !known.contains(&gate.name)));
    let excluded = hold::excluded(gate, &action.requester, gate.now());
    let counts = |shut: &ShutGate, person: PersonId| {
        !excluded.contains_key(&person) && vote::eligible(gate, held, shut, person, &excluded).is_ok()
    };
    all.filter(|shut| {
        let votes = held.approval.rounds.iter().filter_map(|round| round.votes.get(&shut.name)).flatten();
        let voices: BTreeSet<_> = votes
            .filter(|(person, vote)| vote.assurance >= shut.assurance && counts(shut, **person))
            .map(|(person, _)| *person)
            .collect();
        u32::try_from(voices.len()).map_or(true, |voices| voices < shut.quorum.get())
    })
    .cloned()
    .collect()
}

async fn reopen(
    gate: &Arc<Gate>,
    held: &Hold,
    action: &Action,
    gates: Vec<ShutGate>,
    bundle: Digest,
    terms: Option<&Terms>,
) -> Result<(), Error> {
    let now = gate.now();
    let last = held.approval.round();
    let waited = last.map_or(Duration::ZERO, |round| round.deadline.since(round.opened_at));
    let deadline = now.plus(terms.map_or(waited, |terms| terms.expires_in));
    let valid_for = last.map_or(0, |round| round.valid_for_micros);
    let view = held.view.clone().on(&gates, deadline);
    let round = Round {
        number: last.map_or(1, |round| round.number.saturating_add(1)),
        bundle,
        evidence: hold::no_evidence(),
        view: view.digest()?,
        opened_at: now,
        deadline,
        valid_for_micros: terms
            .map_or(valid_for, |terms| i64::try_from(terms.valid_for.as_micros()).unwrap_or(i64::MAX)),
        gates,
        votes: BTreeMap::new(),
    };
    let excluded = hold::excluded(gate, &action.requester, deadline);
    let revised = hold::revise(gate, held.approval.id, |hold, now| {
        hold.step(Step::Reopen(Box::new(round.clone())), now)?;
        hold.view = view.clone();
        hold.excluded.extend(excluded.clone());
        let opened = hold.approval.round().unwrap_or(&round);
        let terms = hold::round_terms(hold.approval.id, opened, &hold.excluded);
        Ok(Write::by(Actor::Gateway).event(Event::ApprovalRoundOpened { round: terms }))
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
