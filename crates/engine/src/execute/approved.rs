//! Running what people approved: decided once more, connected, and only then its grant consumed.

use super::{
    Clearance, EndFacts, KeptResults, Recorded,
    again::{self, Again, Ready, Wanted},
    kept_results, private_of_end, result_facts, unreachable,
};
use crate::{
    error::Error,
    gate::{Gate, actor_of},
    hold::{self, Delivery, Hold, Write, json},
    port::{
        store::{Change, Expect, Kind},
        upstream::{Failed, Kept, Sent},
    },
    record,
    running::Place,
};
use countersign_core::{
    ApprovalId, Body, Refusal, Timestamp,
    approval::{Event as Step, Outcome},
};
use countersign_ledger::event::{Actor, Authorization, Event, Recording};
use std::{sync::Arc, time::Duration};
use tokio::task::AbortHandle;
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
    let granted = match again::granted(gate, id).await? {
        Again::Ready(granted) => granted,
        Again::Over => return Ok(Tried::Over),
        Again::NotNow(refusal) => return Ok(Tried::NothingSent(refusal)),
    };
    let Some(upstream) = gate.upstream(&granted.action.target) else {
        again::close(gate, id).await?;
        return Ok(Tried::Over);
    };
    let gathered = match granted.evidence {
        Wanted::Yes => upstream.gather(&granted.action).await,
        Wanted::No => None,
    };
    let ready = match again::decide(gate, *granted, gathered).await? {
        Again::Ready(ready) => ready,
        Again::Over => return Ok(Tried::Over),
        Again::NotNow(refusal) => return Ok(Tried::NothingSent(refusal)),
    };
    // Policy asks for it since it was approved, and answers that are fetched are kept by no wire.
    if ready.keeps.is_some() {
        return Ok(Tried::NothingSent(record::not_kept()));
    }
    let exchange = match upstream.connect(&ready.action).await {
        Ok(exchange) => exchange,
        Err(failed) => return Ok(Tried::NothingSent(unreachable(&failed))),
    };
    let (clearance, begun) = match begin(gate, *ready).await? {
        Beginning::Begun(clearance, begun) => (clearance, begun),
        Beginning::Frozen(refusal) => return Ok(Tried::NothingSent(refusal)),
        Beginning::TooLate => return Ok(Tried::Over),
    };
    let ran = exchange.run(clearance, gate.limits().keep_bytes).await;
    let nothing_sent = ran.as_ref().err().filter(|failed| failed.sent == Sent::No).map(unreachable);
    begun.finish(gate, ran.map(End::fetched), None).await?;
    Ok(nothing_sent.map_or(Tried::Over, Tried::NothingSent))
}

/// What the wish to begin came to.
pub(super) enum Beginning {
    Begun(Clearance, Box<Begun>),
    /// Frozen since it was decided; the grant is as good as before.
    Frozen(Refusal),
    /// The grant is gone: used, lapsed or taken back.
    TooLate,
}

/// An attempt under way: the grant is consumed, and its end has to be recorded.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) hold: Hold,
    began_at: Timestamp,
    cancel: CancellationToken,
    limit: AbortHandle,
    _place: Place,
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.limit.abort();
    }
}

/// Consumes the grant: `Begin` and `execution.authorized` in one commit, whose receipt makes the clearance.
pub(super) async fn begin(gate: &Arc<Gate>, ready: Ready) -> Result<Beginning, Error> {
    let Ready { held, action, basis, keeps } = ready;
    let id = held.approval.id;
    let (owner, epoch) = (gate.who().id, gate.who().epoch);
    let (place, cancel) = gate.running.enter(action.id, &action.requester, action.target.clone());
    if let Some(scope) = gate.frozen(action.requester.principal, &action.target) {
        return Ok(Beginning::Frozen(record::frozen(&scope)));
    }
    let body_bound = matches!(action.payload.body, Body::Bound(_));
    let private: Vec<_> = hold::evidence_field(action.evidence.as_ref())?.into_iter().collect();
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
            recording: Recording::First,
        });
        Ok(Write::by(actor_of(&action.requester)).with_private(event, private.clone()))
    });
    let Ok((hold, receipt)) = begun.await? else { return Ok(Beginning::TooLate) };
    let limit = tokio::spawn(cancel_after(cancel.clone(), gate.limits().run_for)).abort_handle();
    let clearance = Clearance {
        action: Arc::new(action),
        cancel: cancel.clone(),
        keeps,
        _recorded: Recorded::Durably { _receipt: receipt },
    };
    let begun = Begun { hold, began_at: gate.now(), cancel, limit, _place: place };
    Ok(Beginning::Begun(clearance, Box::new(begun)))
}

async fn cancel_after(cancel: CancellationToken, span: Duration) {
    tokio::time::sleep(span).await;
    cancel.cancel();
}

/// How an attempt ended, and where its answer is.
pub(super) struct End {
    pub(super) facts: EndFacts,
    pub(super) delivery: Delivery,
    pub(super) answer: Option<Kept>,
}

impl End {
    /// The target's answer was fetched, for a requester who will come for it.
    fn fetched(kept: Kept) -> Self {
        let facts = EndFacts {
            outcome: Outcome::Done,
            status: kept.status.clone(),
            bytes_sent: kept.bytes_sent,
            bytes_received: kept.bytes_received,
            ended_by: None,
            streamed_body: None,
            results: None,
        };
        let delivery = if kept.body.is_some() { Delivery::Kept } else { Delivery::NotKept };
        Self { facts, delivery, answer: Some(kept).filter(|kept| kept.body.is_some()) }
    }
}

impl Begun {
    /// Records how the attempt ended: taken back when nothing was sent, unknown when it was lost from sight.
    /// `lost` is what was kept of a result whose end was not seen.
    pub(super) async fn finish(
        self,
        gate: &Arc<Gate>,
        ran: Result<End, Failed>,
        lost: Option<KeptResults>,
    ) -> Result<(), Error> {
        let (id, attempt, began_at) = (self.hold.approval.id, self.hold.approval.attempts, self.began_at);
        let (owner, epoch) = (gate.who().id, gate.who().epoch);
        let answer = match ran.as_ref().ok().and_then(|end| end.answer.as_ref()) {
            Some(kept) => Some(Change::Put {
                kind: Kind::Answer,
                id: id.to_string(),
                expect: Expect::Absent,
                doc: json(kept)?.into(),
                keys: vec![],
            }),
            None => None,
        };
        let kept: Vec<_> = kept_results(lost.as_ref()).into_iter().collect();
        let revised = hold::revise(gate, id, |hold, now| {
            let write = Write::by(Actor::Gateway);
            Ok(match &ran {
                Ok(end) => {
                    hold.step(Step::Finish { owner, epoch, outcome: end.facts.outcome }, now)?;
                    hold.delivery = end.delivery;
                    let private = private_of_end(&end.facts);
                    let facts = result_facts(attempt, began_at, now, end.facts.clone());
                    let write = write.with_private(Event::ExecutionResult(facts), private);
                    let write = answer.iter().fold(write, |write, change| write.change(change.clone()));
                    match end.delivery {
                        Delivery::Delivered => write.event(Event::ResultDelivered { approval: id }),
                        Delivery::Waiting | Delivery::Kept | Delivery::NotKept | Delivery::Expired => write,
                    }
                }
                Err(failed) if failed.sent == Sent::No => {
                    hold.step(Step::Release { owner, epoch }, now)?;
                    write.event(Event::ExecutionReleased { attempt, why: failed.why.clone() })
                }
                Err(_) if self.cancel.is_cancelled() => {
                    hold.step(Step::Finish { owner, epoch, outcome: Outcome::Cancelled }, now)?;
                    hold.delivery = Delivery::NotKept;
                    write.with_private(cancelled(attempt, began_at, now, lost.clone()), kept.clone())
                }
                Err(failed) => {
                    hold.step(Step::Finish { owner, epoch, outcome: Outcome::Unknown }, now)?;
                    hold.delivery = Delivery::NotKept;
                    let event = Event::ExecutionUnknown { attempt, why: failed.why.clone() };
                    write.with_private(event, kept.clone())
                }
            })
        });
        revised.await?.ok();
        Ok(())
    }
}

fn cancelled(attempt: u32, began_at: Timestamp, now: Timestamp, results: Option<KeptResults>) -> Event {
    let facts = EndFacts {
        outcome: Outcome::Cancelled,
        status: String::new(),
        bytes_sent: 0,
        bytes_received: 0,
        ended_by: Some("revoked".into()),
        streamed_body: None,
        results,
    };
    Event::ExecutionResult(result_facts(attempt, began_at, now, facts))
}
