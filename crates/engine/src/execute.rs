//! Execution: the grant is consumed and the authorization durable before a byte goes out, and never again after.

mod again;
mod approved;
mod deferred;
mod own;

pub(crate) use again::stored_action;
pub(crate) use approved::start;
pub(crate) use own::once_granted;

use crate::{
    error::Error,
    gate::{Changed, Gate, actor_of, asked},
    journal::Note,
    late::Late,
    port::{
        store::{Commit, CommitError, Receipt, Slot},
        upstream::{Exchange, Failed, Kept, Sent},
    },
    record,
    reply::{Refused, Reply},
    running::Place,
};
use bytes::Bytes;
use countersign_core::{
    Action, ActionId, Body, Class, Digest, Payload, Refusal, RefusalCode, Timestamp, approval::Outcome,
    decision::Basis,
};
use countersign_ledger::{
    entry::PrivateField,
    event::{Actor, Authorization, Event, KeptAmount, Recording, ResultFacts},
};
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// Leave to send one action's exact bytes, once.
// INVARIANT: made only here, from the receipt of a durable `execution.authorized`, or for a read that policy has recorded
// afterwards from a place kept for its entries; neither cloned nor built elsewhere.
#[derive(Debug)]
pub struct Clearance {
    action: Arc<Action>,
    cancel: CancellationToken,
    keeps: Option<u64>,
    _recorded: Recorded,
}

/// Where the authorization is.
#[derive(Debug)]
enum Recorded {
    Durably {
        _receipt: Receipt,
    },
    /// In its place in the buffer, on its way to the disk.
    Soon,
}

impl Clearance {
    /// How many bytes of the result policy wants to be kept ([`EndFacts::results`]). A wire that cannot keep them sends
    /// nothing.
    pub const fn keeps_results(&self) -> Option<u64> {
        self.keeps
    }

    pub fn action(&self) -> &Action {
        &self.action
    }

    /// The bytes that may go out. Nothing else may.
    pub fn payload(&self) -> &Payload {
        &self.action.payload
    }

    /// Resolves when the work must stop: revoked, frozen, or too long under way.
    pub fn cancelled(&self) -> tokio_util::sync::WaitForCancellationFutureOwned {
        self.cancel.clone().cancelled_owned()
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// A token that is cancelled when the work must stop. Whoever holds it can end what hangs on the work, and not the work.
    pub fn life(&self) -> CancellationToken {
        self.cancel.child_token()
    }
}

/// How an exchange ended, as the wire adapter saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndFacts {
    pub outcome: Outcome,
    /// The wire's own word for how it went, such as an HTTP status.
    pub status: String,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    /// Where something ended early: who ended it, in one word (`client`, `target`, `revoked`).
    pub ended_by: Option<String>,
    /// Digest of a body that streamed unread, so that the record says what it was.
    pub streamed_body: Option<Digest>,
    /// What is kept of the result where policy asks for it.
    pub results: Option<KeptResults>,
}

/// What is kept of a result, sealed by its wire before the engine sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptResults {
    pub amount: KeptAmount,
    /// The entry's private value; `None` when nothing could be kept.
    pub sealed: Option<Bytes>,
}

/// The duty to say how an execution ended. Let go unsaid, it records what is known: that nothing was sent, when the
/// exchange was not begun, and that nobody knows, when it was.
#[derive(Debug)]
pub struct Ending(Duty);

/// Whose end is still to be said.
#[derive(Debug, Default)]
enum Duty {
    #[default]
    Done,
    /// Of what policy permitted outright.
    Permitted(Open),
    /// Of a read that is recorded afterwards.
    Deferred(Box<deferred::Deferred>),
    /// Of what people approved and its own exchange carries out.
    Approved(Box<own::Attempt>),
}

#[derive(Debug)]
struct Open {
    gate: Arc<Gate>,
    /// Reserved before the authorization, so that handing in the end cannot fail.
    slot: Slot,
    action: ActionId,
    actor: Actor,
    last_leaf: Digest,
    began_at: Timestamp,
    phase: Phase,
    _place: Place,
}

/// How far an execution is, for the case that its caller leaves in the middle.
#[derive(Debug)]
enum Phase {
    /// The authorization is handed in, and it is not known yet whether it is durable.
    Authorizing(oneshot::Receiver<Result<Receipt, CommitError>>),
    /// Bytes may have gone out.
    Sending,
}

impl Ending {
    /// Waits until the authorization is durable. When it is not, there is nothing to end.
    async fn authorized(&mut self) -> Result<Receipt, Error> {
        let Duty::Permitted(open) = &mut self.0 else { return Err(CommitError::Lost.into()) };
        let answered = match &mut open.phase {
            Phase::Authorizing(answer) => answer.await.map_err(|_| CommitError::Lost).flatten(),
            Phase::Sending => Err(CommitError::Lost),
        };
        match answered {
            Ok(receipt) => {
                open.phase = Phase::Sending;
                Ok(receipt)
            }
            Err(error) => {
                self.0 = Duty::Done;
                Err(error.into())
            }
        }
    }

    /// Whether people approved what runs: then it is followed to its end even when its caller leaves.
    pub fn is_approved(&self) -> bool {
        matches!(self.0, Duty::Approved(_))
    }

    /// Records how it ended, its caller having the answer; returns once that is durable.
    pub async fn finish(self, facts: EndFacts) -> Result<(), Error> {
        self.end(facts, None).await
    }

    /// Hands in how it ended, its caller having the answer, and leaves the waiting to the one who goes on meanwhile. What
    /// people approved is durable when this returns.
    pub async fn finish_behind(mut self, facts: EndFacts) -> Result<Closing, Error> {
        match std::mem::take(&mut self.0) {
            Duty::Permitted(open) => {
                let (event, private) = ended(open.began_at, open.gate.now(), facts);
                Ok(Closing(Some(open.submit(event, private)?)))
            }
            duty @ (Duty::Done | Duty::Deferred(_) | Duty::Approved(_)) => {
                Self(duty).finish(facts).await.map(|()| Closing(None))
            }
        }
    }

    /// Records how it ended while its caller was gone. Of an approved action the answer is kept, so that the caller
    /// gets it when it comes back; what policy permits outright is simply asked for again.
    pub async fn finish_undelivered(self, facts: EndFacts, kept: Kept) -> Result<(), Error> {
        self.end(facts, Some(kept)).await
    }

    async fn end(mut self, facts: EndFacts, undelivered: Option<Kept>) -> Result<(), Error> {
        match std::mem::take(&mut self.0) {
            Duty::Done => Ok(()),
            Duty::Permitted(open) => {
                let (event, private) = ended(open.began_at, open.gate.now(), facts);
                open.close(event, private).await
            }
            Duty::Deferred(read) => read.end(facts),
            Duty::Approved(attempt) => attempt.end(facts, undelivered).await,
        }
    }

    /// Records that the exchange failed: taken back when nothing was sent, unknown otherwise.
    pub async fn failed(self, failed: &Failed) -> Result<(), Error> {
        self.lost(failed, None).await
    }

    /// The same, with what was kept of the result until then.
    pub async fn lost(mut self, failed: &Failed, results: Option<KeptResults>) -> Result<(), Error> {
        let open = match std::mem::take(&mut self.0) {
            Duty::Done => return Ok(()),
            Duty::Permitted(open) => open,
            Duty::Deferred(read) => return read.failed(failed),
            Duty::Approved(attempt) => return attempt.failed(failed.clone(), results).await,
        };
        let private = kept_results(results.as_ref()).into_iter().collect();
        open.close(failure(failed), private).await
    }
}

impl Open {
    async fn close(self, event: Event, private: Vec<PrivateField>) -> Result<(), Error> {
        self.submit(event, private)?.durable().await
    }

    fn submit(self, event: Event, private: Vec<PrivateField>) -> Result<Submitted, Error> {
        let Self { gate, slot, action, actor, last_leaf, _place: place, .. } = self;
        let answer = slot.submit(commit(&gate, action, &actor, last_leaf, event, private)?);
        Ok(Submitted { answer, gate, action, _place: place })
    }
}

/// An end that is on its way to the disk.
#[derive(Debug)]
struct Submitted {
    answer: oneshot::Receiver<Result<Receipt, CommitError>>,
    gate: Arc<Gate>,
    action: ActionId,
    _place: Place,
}

impl Submitted {
    async fn durable(&mut self) -> Result<(), Error> {
        (&mut self.answer).await.map_err(|_| CommitError::Lost)??;
        self.gate.announce(Changed::Action { id: self.action });
        Ok(())
    }
}

/// The end of a caller's last action, perhaps still on its way to the disk. Nothing else of that caller may run before
/// [`Self::durable`] has returned.
#[derive(Debug, Default)]
pub struct Closing(Option<Submitted>);

impl Closing {
    pub fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// Waits until it is durable. Nothing is lost when that is let go.
    pub async fn durable(&mut self) -> Result<(), Error> {
        let Some(submitted) = &mut self.0 else { return Ok(()) };
        let durable = submitted.durable().await;
        self.0 = None;
        durable
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        match std::mem::take(&mut self.0) {
            Duty::Done => {}
            // Only whoever waits for the authorization can be interrupted before the exchange begins.
            Duty::Permitted(open) => drop(tokio::spawn(open.abandon())),
            Duty::Deferred(read) => read.abandon(),
            Duty::Approved(attempt) => drop(tokio::spawn(attempt.abandon())),
        }
    }
}

impl Open {
    /// The caller left: records what is known, in the place reserved for it.
    async fn abandon(mut self) {
        let event = match std::mem::replace(&mut self.phase, Phase::Sending) {
            Phase::Sending => {
                let why = "the exchange was let go before it ended".into();
                Event::ExecutionUnknown { attempt: 1, why }
            }
            Phase::Authorizing(answer) => {
                if !matches!(answer.await, Ok(Ok(_))) {
                    return;
                }
                Event::ExecutionReleased {
                    attempt: 1,
                    why: "the caller left before anything was sent".into(),
                }
            }
        };
        let action = self.action;
        if let Err(error) = self.close(event, Vec::new()).await {
            tracing::error!(%action, error = %record::chain(&error), "the end of an execution was not recorded");
        }
    }
}

fn commit(
    gate: &Gate,
    action: ActionId,
    actor: &Actor,
    last_leaf: Digest,
    event: Event,
    private: Vec<PrivateField>,
) -> Result<Commit, Error> {
    let unresolved = matches!(event, Event::ExecutionUnknown { .. });
    let note = Note { action: Some(action), parent: Some(last_leaf), actor: actor.clone(), event, private };
    let row = gate.journal().row(note)?;
    let mut changes = Vec::new();
    if unresolved {
        changes.push(record::unresolved(action, Digest(row.sealed.leaf.0), gate.now())?);
    }
    Ok(Commit { changes, entries: vec![row] })
}

fn ended(began_at: Timestamp, now: Timestamp, facts: EndFacts) -> (Event, Vec<PrivateField>) {
    let private = private_of_end(&facts);
    (Event::ExecutionResult(result_facts(1, began_at, now, facts)), private)
}

fn failure(failed: &Failed) -> Event {
    let why = failed.why.clone();
    match failed.sent {
        Sent::No => Event::ExecutionReleased { attempt: 1, why },
        Sent::Maybe => Event::ExecutionUnknown { attempt: 1, why },
    }
}

/// What policy asks of the record of what it permits outright.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asks {
    pub(crate) recording: countersign_policy::Recording,
    /// How many bytes of the result are kept.
    pub(crate) keeps: Option<u64>,
}

/// Runs what policy permits outright, answering as the target does.
pub(crate) async fn permitted<E: Exchange>(
    gate: &Arc<Gate>,
    mut action: Action,
    basis: Basis,
    asks: Asks,
    mut exchange: E,
) -> Result<Reply<E::Reply>, Error> {
    if let Err(failed) = exchange.connect().await {
        return record::refused(gate, &action, unreachable(&failed)).await;
    }
    let (place, cancel) = gate.running.enter(action.id, &action.requester, action.target.clone());
    // A freeze set since intake either sees this place or is seen here.
    if let Some(scope) = gate.frozen(action.requester.principal, &action.target) {
        return record::refused(gate, &action, record::frozen(&scope)).await;
    }
    if asks.recording == countersign_policy::Recording::Deferred
        && action.operation.class == Class::Read
        && exchange.only_reads()
        && let Some(places) = Late::admit(gate, 2)
    {
        return deferred::run(gate, action, basis, places, (place, cancel), exchange).await;
    }
    let writer = gate.store().writer();
    let (before, slot) = (writer.reserve().await?, writer.reserve().await?);
    let actor = actor_of(&action.requester);
    let row = gate.journal().row(authorization(gate, &action, basis, Recording::First)?)?;
    let last_leaf = Digest(row.sealed.leaf.0);
    let answer = before.submit(Commit { changes: Vec::new(), entries: vec![row] });
    let (id, began_at) = (action.id, gate.now());
    let open = Open {
        gate: Arc::clone(gate),
        slot,
        action: id,
        actor,
        last_leaf,
        began_at,
        phase: Phase::Authorizing(answer),
        _place: place,
    };
    let mut ending = Ending(Duty::Permitted(open));
    let receipt = ending.authorized().await?;
    exchange.unload(&mut action.payload);
    let recorded = Recorded::Durably { _receipt: receipt };
    let clearance = Clearance { action: Arc::new(action), cancel, keeps: asks.keeps, _recorded: recorded };
    match exchange.send(clearance, ending).await {
        Ok(reply) => Ok(Reply::Live(reply)),
        Err(failed) => Ok(Reply::Refused(Refused {
            refusal: broken(&failed),
            action: Some(id),
            approval: None,
            link: Some(gate.action_link(id)),
        })),
    }
}

fn authorization(gate: &Gate, action: &Action, basis: Basis, recording: Recording) -> Result<Note, Error> {
    let digest = action.digest()?;
    let salt: [u8; 32] = gate.journal().random();
    let event = Event::ExecutionAuthorized(Authorization {
        asked: asked(action, &digest, &salt),
        attempt: 1,
        epoch: gate.who().epoch,
        gateway: gate.who().id,
        approval: None,
        bundle: basis.bundle,
        policies: basis.policies,
        body_bound: matches!(action.payload.body, Body::Bound(_)),
        recording,
    });
    Ok(Note {
        action: Some(action.id),
        parent: None,
        actor: actor_of(&action.requester),
        event,
        private: crate::hold::private_fields(action, &digest, &salt)?,
    })
}

fn result_facts(attempt: u32, began_at: Timestamp, now: Timestamp, facts: EndFacts) -> ResultFacts {
    ResultFacts {
        attempt,
        outcome: facts.outcome,
        status: facts.status,
        duration_us: u64::try_from(now.since(began_at).as_micros()).unwrap_or(u64::MAX),
        bytes_sent: facts.bytes_sent,
        bytes_received: facts.bytes_received,
        ended_by: facts.ended_by,
        kept: facts.results.map(|results| results.amount),
    }
}

/// What is bound to the end of an execution and not told by it.
fn private_of_end(facts: &EndFacts) -> Vec<PrivateField> {
    let field = |digest: &Digest| PrivateField {
        path: "streamed_body_digest".into(),
        value: digest.to_string().into_bytes().into(),
    };
    facts.streamed_body.iter().map(field).chain(kept_results(facts.results.as_ref())).collect()
}

fn kept_results(results: Option<&KeptResults>) -> Option<PrivateField> {
    let value = results?.sealed.clone()?;
    Some(PrivateField { path: "results".into(), value })
}

pub(crate) fn unreachable(failed: &Failed) -> Refusal {
    Refusal {
        code: RefusalCode::Unreachable,
        reason: format!("the target could not be reached, and nothing was sent: {}", failed.why),
        remedy: "repeat the request later".into(),
        basis: None,
    }
}

/// What a caller is told when the exchange failed after the authorization.
fn broken(failed: &Failed) -> Refusal {
    match failed.sent {
        Sent::No => unreachable(failed),
        Sent::Maybe => Refusal {
            code: RefusalCode::Spent,
            reason: format!("the target was lost from sight, so the action may have run: {}", failed.why),
            remedy: "look at the target before repeating the request".into(),
            basis: None,
        },
    }
}
