//! How approvals end other than by running: withdrawn, revoked, lapsed, expired; and how the unknown is resolved.

use crate::{
    error::Error,
    execute,
    gate::{Changed, Frozen, Gate},
    hold::{self, Delivery, Hold, Resolution, Write, json},
    journal::Note,
    port::{
        store::{Change, Commit, CommitError, Expect, Key, Kind, ReadError},
        upstream::Exchange,
    },
    read,
    record::{Unresolved, put_unresolved},
    reply::{Reply, Ticket},
};
use countersign_core::{
    ActionId, ApprovalId, Digest, PersonId, Requester, TargetName,
    approval::{Event as Step, Refused, Taker},
};
pub use countersign_ledger::event::{FreezeScope, Through};
use countersign_ledger::{
    entry::PrivateField,
    event::{Actor, ClosedAs, Event, Found},
};
use std::{collections::BTreeSet, convert::Infallible, sync::Arc, time::Duration};

/// What a caller who comes back for a handle is told.
pub type Status = Reply<Infallible>;

/// The state of an approval for the caller that asked for it, once it is closed or `patience` is over; never
/// executes anything. `None`: it has no such approval, which is all a stranger is told.
pub async fn status(
    gate: &Arc<Gate>,
    requester: &Requester,
    id: ApprovalId,
    patience: Duration,
) -> Result<Option<Status>, Error> {
    if own(gate, requester, id).await?.is_none() {
        return Ok(None);
    }
    if let Some(mut standing) = gate.holds.watch(id) {
        // Late or let go, the state is read afresh below.
        let closed = standing.wait_for(|standing| standing.at == hold::At::Closed);
        let _ = tokio::time::timeout(patience, closed).await;
    }
    let (hold, _) = hold::load(gate, id).await?;
    if hold.approval.state.is_closed() {
        return hold::answer(gate, id).await.map(Some);
    }
    let ticket: Ticket = hold::ticket(gate, &hold);
    Ok(Some(Reply::Pending(ticket)))
}

/// Takes a request back. Works until it runs.
pub async fn withdraw(
    gate: &Gate,
    requester: &Requester,
    actor: Actor,
    id: ApprovalId,
) -> Result<Option<Result<(), Refused>>, Error> {
    if own(gate, requester, id).await?.is_none() {
        return Ok(None);
    }
    let revised = hold::revise(gate, id, |hold, now| {
        hold.step(Step::Withdraw, now)?;
        let closed = Event::ApprovalClosed { approval: id, closing: ClosedAs::Withdrawn, by: None };
        Ok(Write::by(actor.clone()).event(closed))
    });
    Ok(Some(revised.await?.map(|_| ())))
}

/// Closes an approval of this caller's of which nothing can come any more, for a reason of the gateway's. What runs already, or
/// has ended, is left as it is.
pub async fn let_go(gate: &Gate, requester: &Requester, id: ApprovalId, why: &str) -> Result<(), Error> {
    if own(gate, requester, id).await?.is_none() {
        return Ok(());
    }
    close(gate, id, why).await
}

async fn close(gate: &Gate, id: ApprovalId, why: &str) -> Result<(), Error> {
    let private = || vec![PrivateField { path: "reason".into(), value: why.as_bytes().to_vec().into() }];
    let revised = hold::revise(gate, id, |hold, now| {
        hold.step(Step::Withdraw, now)?;
        let closed = Event::ApprovalClosed { approval: id, closing: ClosedAs::Withdrawn, by: None };
        Ok(Write::by(Actor::Gateway).with_private(closed, private()))
    });
    revised.await?.ok();
    Ok(())
}

/// Closes what waits at these targets for this operation, of which nothing can come since whoever asked went with the gateway
/// that took it in.
pub async fn let_go_of_all(
    gate: &Gate,
    targets: &BTreeSet<TargetName>,
    operation: &str,
    why: &str,
) -> Result<(), Error> {
    for (hold, _) in read::holds_with(gate, ("open", "yes")).await? {
        if targets.contains(&hold.asked.target) && hold.asked.operation == operation {
            close(gate, hold.approval.id, why).await?;
        }
    }
    Ok(())
}

/// Who comes back for an approval, and how long it stays.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    pub requester: &'a Requester,
    /// Where its exchange goes to: nothing of another target runs through it.
    pub target: &'a TargetName,
    pub approval: ApprovalId,
    pub patience: Duration,
}

/// Attaches a caller to an approval of its own, as repeating the request would, and runs what was approved through the
/// exchange it comes with. `None`: it has no such approval at this target, which is all a stranger is told.
pub async fn claim<E: Exchange>(
    gate: &Arc<Gate>,
    claim: Claim<'_>,
    exchange: E,
) -> Result<Option<Reply<E::Reply>>, Error> {
    let Claim { requester, target, approval, patience } = claim;
    if own_at(gate, requester, target, approval).await?.is_none() {
        return Ok(None);
    }
    match hold::held(gate, approval) {
        Some(held) => execute::once_granted(gate, held, exchange, patience).await.map(Some),
        None => hold::answer(gate, approval).await.map(Some),
    }
}

/// Where an approval of the caller's at this target stands. Runs nothing and hands nothing over; `None` as for
/// [`claim`].
pub async fn look(
    gate: &Arc<Gate>,
    requester: &Requester,
    target: &TargetName,
    id: ApprovalId,
) -> Result<Option<Ticket>, Error> {
    Ok(own_at(gate, requester, target, id).await?.map(|hold| hold::ticket(gate, &hold)))
}

/// An approval that repeating the request at this target could attach to.
async fn own_at(
    gate: &Gate,
    requester: &Requester,
    target: &TargetName,
    id: ApprovalId,
) -> Result<Option<Hold>, Error> {
    let hold = own(gate, requester, id).await?;
    Ok(hold.filter(|hold| hold.asked.target == *target))
}

/// An approval of this very caller's.
async fn own(gate: &Gate, requester: &Requester, id: ApprovalId) -> Result<Option<Hold>, Error> {
    match hold::load(gate, id).await {
        Ok((hold, _)) => Ok((hold.caller() == requester.caller()).then_some(hold)),
        Err(Error::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes an approval back. Before it runs, nothing runs; while it runs, the work is cancelled and its end recorded.
pub async fn revoke(
    gate: &Gate,
    id: ApprovalId,
    by: Taker,
    why: &str,
) -> Result<Result<Hold, Refused>, Error> {
    let actor = match &by {
        Taker::Person(person) => Actor::Person { id: *person },
        Taker::Operator => Actor::Operator,
        Taker::Policy | Taker::Freeze => Actor::Gateway,
    };
    let private = || vec![PrivateField { path: "reason".into(), value: why.as_bytes().to_vec().into() }];
    let revised = hold::revise(gate, id, |hold, now| {
        hold.step(Step::Revoke(by.clone()), now)?;
        let event = if hold.approval.state.is_closed() {
            Event::ApprovalClosed { approval: id, closing: ClosedAs::Revoked, by: Some(by.clone()) }
        } else {
            Event::ApprovalRevokedWhileRunning { approval: id, by: by.clone() }
        };
        Ok(Write::by(actor.clone()).with_private(event, private()))
    });
    let hold = match revised.await? {
        Ok((hold, _)) => hold,
        Err(refused) => return Ok(Err(refused)),
    };
    gate.running.cancel(hold.action());
    Ok(Ok(hold))
}

/// Closes what nobody decided, or nobody used, in time.
pub(crate) async fn lapse(gate: &Gate, id: ApprovalId) -> Result<(), Error> {
    let revised = hold::revise(gate, id, |hold, now| {
        hold.step(Step::Elapse, now)?;
        let closed = Event::ApprovalClosed { approval: id, closing: ClosedAs::Lapsed, by: None };
        Ok(Write::by(Actor::Gateway).event(closed))
    });
    revised.await?.ok();
    Ok(())
}

/// Lets go of answers nobody came for.
pub(crate) async fn expire(gate: &Gate, hold: &Hold) -> Result<(), Error> {
    let id = hold.approval.id;
    let answer = gate.store().fetch(Kind::Answer, &id.to_string()).await?;
    let revised = hold::revise(gate, id, |hold, _| {
        if !hold.attaches() || !hold.approval.state.is_closed() {
            return Err(Refused::OutOfOrder("delivered"));
        }
        hold.delivery = Delivery::Expired;
        let write = Write::by(Actor::Gateway);
        Ok(match &answer {
            Some(record) => write.change(Change::Delete {
                kind: Kind::Answer,
                id: record.id.clone(),
                expect: Expect::Version(record.version),
            }),
            None => write,
        })
    });
    revised.await?.ok();
    Ok(())
}

/// Records what a person found out about an execution whose outcome was unknown.
pub async fn resolve(
    gate: &Gate,
    action: ActionId,
    by: Taker,
    found: Found,
    note: &str,
) -> Result<Result<(), Refused>, Error> {
    let (actor, person) = match &by {
        Taker::Person(person) => (Actor::Person { id: *person }, Some(*person)),
        Taker::Operator | Taker::Policy | Taker::Freeze => (Actor::Operator, None),
    };
    let event = Event::ExecutionResolved { by, found };
    let private = vec![PrivateField { path: "note".into(), value: note.as_bytes().to_vec().into() }];
    let resolution = |at| Resolution { by: person, found, note: note.into(), at };
    if let Some(record) = gate.store().fetch(Kind::Unresolved, &action.to_string()).await? {
        let mut doc: Unresolved = serde_json::from_slice(&record.doc)
            .map_err(|error| ReadError::Garbled { kind: Kind::Unresolved, why: error.to_string() })?;
        if doc.resolution.is_some() {
            return Ok(Err(Refused::OutOfOrder("resolved")));
        }
        let note = Note { action: Some(action), parent: Some(doc.last_leaf), actor, event, private };
        let row = gate.journal().row(note)?;
        doc.last_leaf = Digest(row.sealed.leaf.0);
        doc.resolution = Some(resolution(gate.now()));
        let changes = vec![put_unresolved(&doc, Expect::Version(record.version))?];
        gate.store().writer().commit(Commit { changes, entries: vec![row] }).await?;
        gate.announce(Changed::Action { id: action });
        return Ok(Ok(()));
    }
    let find =
        crate::port::store::Find { keys: vec![("action", action.to_string())], before: None, limit: 1 };
    let holds = gate.store().find(Kind::Hold, find).await?;
    let Some(record) = holds.first() else {
        return Err(Error::Missing { kind: Kind::Unresolved, id: action.to_string() });
    };
    let id = Hold::read(record)?.approval.id;
    let revised = hold::revise(gate, id, |hold, now| {
        if !hold.is_unresolved() {
            return Err(Refused::OutOfOrder("not unknown"));
        }
        hold.resolution = Some(resolution(now));
        Ok(Write::by(actor.clone()).with_private(event.clone(), private.clone()))
    });
    Ok(revised.await?.map(|_| ()))
}

/// Who freezes something, and what they say about it.
#[derive(Clone, Debug, Default)]
pub struct Freezer {
    /// `None`: the local operator.
    pub by: Option<PersonId>,
    /// The way it came, where that was a channel.
    pub through: Option<Through>,
    pub reason: Option<String>,
}

/// Whether a freeze is a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Froze {
    Now,
    /// It was frozen already, which stays as it is.
    Before,
}

/// Freezes a scope: nothing new runs there, and what runs is cancelled.
pub async fn freeze(gate: &Gate, scope: FreezeScope, freezer: Freezer) -> Result<Froze, Error> {
    // One after the other: whoever is told that it was frozen before can rely on it.
    let _turn = gate.freezing.lock().await;
    if gate.freezes().contains(&scope) {
        return Ok(Froze::Before);
    }
    let Freezer { by, through, reason } = freezer;
    let id = freeze_id(&scope);
    let doc = json(&scope)?.into();
    let key = Key { name: "frozen", value: "yes".into(), unique: false };
    let put = Change::Put { kind: Kind::Freeze, id, expect: Expect::Absent, doc, keys: vec![key] };
    let note = Note::new(operator(by), Event::FreezeSet { scope: scope.clone(), through });
    let note = match &reason {
        Some(reason) => note.private("reason", reason.as_str()),
        None => note,
    };
    let entries = vec![gate.journal().row(note)?];
    // First in memory: between here and the commit nothing may slip through.
    gate.set_frozen(scope.clone(), Frozen::Yes);
    let stopped = scope.clone();
    let frozen = gate.commit(Commit { changes: vec![put], entries }, move |gate| {
        gate.running.cancel_scope(&stopped);
        gate.announce(Changed::Freeze);
    });
    match frozen.await {
        Ok(_) => Ok(Froze::Now),
        // Somebody else froze it at the same time, which stays.
        Err(CommitError::Conflict { .. }) => Ok(Froze::Before),
        Err(error) => {
            gate.set_frozen(scope, Frozen::No);
            Err(error.into())
        }
    }
}

/// Lifts a freeze.
pub async fn thaw(gate: &Gate, scope: FreezeScope, by: Option<PersonId>) -> Result<(), Error> {
    let _turn = gate.freezing.lock().await;
    let id = freeze_id(&scope);
    let Some(record) = gate.store().fetch(Kind::Freeze, &id).await? else { return Ok(()) };
    let delete = Change::Delete { kind: Kind::Freeze, id, expect: Expect::Version(record.version) };
    let note = Note::new(operator(by), Event::FreezeLifted { scope: scope.clone() });
    let entries = vec![gate.journal().row(note)?];
    let thawed = gate.commit(Commit { changes: vec![delete], entries }, move |gate| {
        gate.set_frozen(scope, Frozen::No);
        gate.announce(Changed::Freeze);
    });
    thawed.await?;
    Ok(())
}

fn operator(by: Option<PersonId>) -> Actor {
    by.map_or(Actor::Operator, |id| Actor::Person { id })
}

fn freeze_id(scope: &FreezeScope) -> String {
    match scope {
        FreezeScope::All => "all".into(),
        FreezeScope::Agent { id } => id.to_string(),
        FreezeScope::Target { name } => format!("target:{name}"),
    }
}
