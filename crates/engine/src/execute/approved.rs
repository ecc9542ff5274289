//! Running what people approved: decided once more, its voters checked once more, then its grant consumed.

use super::{Clearance, EndFacts, result_facts, unreachable};
use crate::{
    error::Error,
    gate::{Gate, actor_of},
    hold::{self, Delivery, Hold, Write, json},
    port::{
        store::{Change, Expect, Kind, ReadError},
        upstream::{Failed, Kept, Sent, StoredExchange},
    },
    record, vote,
};
use countersign_core::{
    Action, ApprovalId, Body, Decision, Digest, PersonId, Refusal, Terms, Timestamp,
    approval::{Event as Step, Outcome, Round, State, Taker},
    decision::Gate as ShutGate,
};
use countersign_ledger::event::{Actor, Authorization, ClosedAs, Event};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// What one try came to.
enum Tried {
    /// Nothing is left to do: it ran, closed, waits again, or another gateway has it.
    Over,
    /// Nothing was sent and the grant is as good as before.
    NothingSent(Refusal),
}

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Runs a granted action in a task of its own, unless one is at it already. With a handle given, what sent nothing
/// is tried again until the grant lapses; without one, the requester is told and comes again.
pub(crate) fn start(gate: &Arc<Gate>, id: ApprovalId) {
    let gate = Arc::clone(gate);
    tokio::spawn(async move {
        let Some(_work) = gate.holds.work(id) else { return };
        let mut pause = FIRST_PAUSE;
        loop {
            let refusal = match attempt(&gate, id).await {
                Ok(Tried::Over) => return,
                Ok(Tried::NothingSent(refusal)) => refusal,
                Err(error) => {
                    tracing::error!(approval = %id, error = %record::chain(&error), "an approved action did not run");
                    record::not_recordable()
                }
            };
            gate.holds.hiccup(id, refusal);
            if !gate.holds.handle_given(id) {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    });
}

async fn attempt(gate: &Arc<Gate>, id: ApprovalId) -> Result<Tried, Error> {
    let (held, _) = hold::load(gate, id).await?;
    if !matches!(held.approval.state, State::Granted { .. }) {
        return Ok(Tried::Over);
    }
    let mut action = stored_action(gate, &held).await?;
    if let Some(scope) = gate.frozen(action.requester.principal, &action.target) {
        return Ok(Tried::NothingSent(record::frozen(&scope)));
    }
    // Groups, owners and the credential are looked at as they are now.
    match gate.identity().requester(action.requester.credential, gate.now()) {
        Ok(requester) if requester.principal == action.requester.principal => action.requester = requester,
        Ok(_) | Err(_) => return close(gate, id).await,
    }
    let terms = match gate.policies().current().decide(&action, gate.now()).decision {
        Decision::Permit(basis) => (basis, Vec::new(), None),
        Decision::Review(terms) => (terms.basis.clone(), terms.gates.clone(), Some(terms)),
        Decision::Forbid(_) => return close(gate, id).await,
    };
    let (basis, wanted, terms) = terms;
    let shut = shut_again(gate, &held, &action, &wanted);
    if !shut.is_empty() {
        return reopen(gate, &held, &action, shut, basis.bundle, terms.as_ref()).await;
    }
    let Some(upstream) = gate.upstream(&action.target) else { return close(gate, id).await };
    let exchange = match upstream.connect(&action).await {
        Ok(exchange) => exchange,
        Err(failed) => return Ok(Tried::NothingSent(unreachable(&failed))),
    };
    run(gate, &held, action, &basis, exchange).await
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
) -> Result<Tried, Error> {
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
    Ok(Tried::Over)
}

/// Policy forbids now what people approved, or the requester is not who it was.
async fn close(gate: &Gate, id: ApprovalId) -> Result<Tried, Error> {
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
    Ok(Tried::Over)
}

async fn run(
    gate: &Arc<Gate>,
    held: &Hold,
    action: Action,
    basis: &countersign_core::decision::Basis,
    exchange: Box<dyn StoredExchange>,
) -> Result<Tried, Error> {
    let id = held.approval.id;
    let (owner, epoch) = (gate.who().id, gate.who().epoch);
    let (_place, cancel) = gate.running.enter(action.id, action.requester.principal, action.target.clone());
    if let Some(scope) = gate.frozen(action.requester.principal, &action.target) {
        return Ok(Tried::NothingSent(record::frozen(&scope)));
    }
    let body_bound = matches!(action.payload.body, Body::Bound(_));
    let begun = hold::revise(gate, id, |hold, now| {
        hold.step(Step::Begin { digest: held.approval.digest, owner, epoch }, now)?;
        let event = Event::ExecutionAuthorized(Authorization {
            asked: hold.asked.clone(),
            attempt: hold.approval.attempts,
            epoch,
            gateway: owner,
            approval: Some(id),
            bundle: basis.bundle,
            policies: basis.policies.clone(),
            body_bound,
        });
        Ok(Write::by(actor_of(&action.requester)).event(event))
    });
    let Ok((hold, receipt)) = begun.await? else { return Ok(Tried::Over) };
    let began_at = gate.now();
    let clearance = Clearance { action: Arc::new(action), cancel: cancel.clone(), _receipt: receipt };
    let limit = tokio::spawn(cancel_after(cancel.clone(), gate.limits().run_for));
    let ran = exchange.run(clearance, gate.limits().keep_bytes).await;
    limit.abort();
    finish(gate, &hold, began_at, ran, &cancel).await
}

async fn cancel_after(cancel: CancellationToken, span: Duration) {
    tokio::time::sleep(span).await;
    cancel.cancel();
}

async fn finish(
    gate: &Arc<Gate>,
    running: &Hold,
    began_at: Timestamp,
    ran: Result<Kept, Failed>,
    cancel: &CancellationToken,
) -> Result<Tried, Error> {
    let (id, attempt) = (running.approval.id, running.approval.attempts);
    let (owner, epoch) = (gate.who().id, gate.who().epoch);
    let answer = match &ran {
        Ok(kept) if kept.body.is_some() => Some(Change::Put {
            kind: Kind::Answer,
            id: id.to_string(),
            expect: Expect::Absent,
            doc: json(kept)?.into(),
            keys: vec![],
        }),
        Ok(_) | Err(_) => None,
    };
    let revised = hold::revise(gate, id, |hold, now| {
        let write = Write::by(Actor::Gateway);
        Ok(match &ran {
            Ok(kept) => {
                hold.step(Step::Finish { owner, epoch, outcome: Outcome::Done }, now)?;
                hold.delivery = if answer.is_some() { Delivery::Kept } else { Delivery::NotKept };
                let write = write.event(result(attempt, began_at, now, kept));
                answer.iter().fold(write, |write, change| write.change(change.clone()))
            }
            Err(failed) if failed.sent == Sent::No => {
                hold.step(Step::Release { owner, epoch }, now)?;
                write.event(Event::ExecutionReleased { attempt, why: failed.why.clone() })
            }
            Err(_) if cancel.is_cancelled() => {
                hold.step(Step::Finish { owner, epoch, outcome: Outcome::Cancelled }, now)?;
                hold.delivery = Delivery::NotKept;
                write.event(cancelled(attempt, began_at, now))
            }
            Err(failed) => {
                hold.step(Step::Finish { owner, epoch, outcome: Outcome::Unknown }, now)?;
                hold.delivery = Delivery::NotKept;
                write.event(Event::ExecutionUnknown { attempt, why: failed.why.clone() })
            }
        })
    });
    revised.await?.ok();
    Ok(match &ran {
        Err(failed) if failed.sent == Sent::No => Tried::NothingSent(unreachable(failed)),
        Ok(_) | Err(_) => Tried::Over,
    })
}

fn result(attempt: u32, began_at: Timestamp, now: Timestamp, kept: &Kept) -> Event {
    let facts = EndFacts {
        outcome: Outcome::Done,
        status: kept.status.clone(),
        bytes_sent: kept.bytes_sent,
        bytes_received: kept.bytes_received,
        ended_by: None,
        streamed_body: None,
    };
    Event::ExecutionResult(result_facts(attempt, began_at, now, facts))
}

fn cancelled(attempt: u32, began_at: Timestamp, now: Timestamp) -> Event {
    let facts = EndFacts {
        outcome: Outcome::Cancelled,
        status: String::new(),
        bytes_sent: 0,
        bytes_received: 0,
        ended_by: Some("revoked".into()),
        streamed_body: None,
    };
    Event::ExecutionResult(result_facts(attempt, began_at, now, facts))
}
