//! Running what people approved through the very exchange it was asked on, such as a database session. It is kept
//! while the action waits, and the action runs only while its requester is there. A requester who leaves loses
//! nothing: the grant stays until it lapses, and the same action asked again attaches to it.

use super::{
    Clearance, Duty, EndFacts, Ending, KeptResults,
    again::{self, Again, Ready, Wanted},
    approved::{self, Beginning, Begun, End},
    broken, unreachable,
};
use crate::{
    error::Error,
    gate::Gate,
    hold::{self, At, Delivery, Held, Work},
    port::{
        store::CommitError,
        upstream::{Exchange, Failed, Kept, Sent},
    },
    record,
    reply::{Refused, Reply},
};
use countersign_core::{ApprovalId, Refusal};
use std::{ops::ControlFlow, sync::Arc, time::Duration};
use tokio::time::Instant;

/// Keeps the exchange until the action is granted, as long as the caller's patience lasts, and then runs it through
/// that exchange. No handle is ever left: nothing runs without the requester.
pub(crate) async fn once_granted<E: Exchange>(
    gate: &Arc<Gate>,
    mut held: Held,
    mut exchange: E,
    patience: Duration,
) -> Result<Reply<E::Reply>, Error> {
    let (id, until) = (held.id(), Instant::now() + patience);
    let mut told = None;
    loop {
        let at = held.standing();
        match at {
            At::Closed => return hold::answer(gate, id).await,
            At::Granted => {
                if let Some(work) = gate.holds.work(id) {
                    let mut work = AtWork { gate, id, work: Some(work), wakes: true };
                    // All that wait would carry its room, and few are at work.
                    match Box::pin(attempt(gate, id, exchange)).await? {
                        ControlFlow::Break(reply) => return Ok(reply),
                        ControlFlow::Continue(kept) => exchange = kept,
                    }
                    // It stands elsewhere now, which those who wait are told anyhow.
                    work.wakes = false;
                }
            }
            At::Pending if told != Some(At::Pending) => {
                let (hold, _) = hold::load(gate, id).await?;
                exchange.held(&hold::ticket(gate, &hold)).await;
            }
            At::Pending | At::Executing => {}
        }
        told = Some(at);
        match tokio::time::timeout_at(until, held.changed()).await {
            Ok(Ok(())) => {}
            // It ended and its answer was delivered elsewhere while this caller waited.
            Ok(Err(_)) => return hold::answer(gate, id).await,
            Err(_) => return too_long(gate, id).await,
        }
    }
}

/// The caller's patience is over: it is told where the approval stands, which stays as it is for the repeat.
async fn too_long<R>(gate: &Arc<Gate>, id: ApprovalId) -> Result<Reply<R>, Error> {
    let (hold, _) = hold::load(gate, id).await?;
    if hold.approval.state.is_closed() {
        return hold::answer(gate, id).await;
    }
    Ok(Reply::Pending(hold::ticket(gate, &hold)))
}

/// The right to work on a hold. Let go with the grant unused, it has the other callers look, so that one can try.
struct AtWork<'a> {
    gate: &'a Gate,
    id: ApprovalId,
    work: Option<Work<'a>>,
    wakes: bool,
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.work = None;
        if self.wakes {
            self.gate.holds.wake(self.id);
        }
    }
}

/// One try: the reply, or the exchange as it was when the approval closed, waits again, or another caller has it.
async fn attempt<E: Exchange>(
    gate: &Arc<Gate>,
    id: ApprovalId,
    mut exchange: E,
) -> Result<ControlFlow<Reply<E::Reply>, E>, Error> {
    let granted = match again::granted(gate, id).await? {
        Again::Ready(granted) => *granted,
        Again::Over => return Ok(ControlFlow::Continue(exchange)),
        Again::NotNow(refusal) => return refused(gate, id, refusal).await.map(ControlFlow::Break),
    };
    let gathered = match granted.evidence {
        Wanted::Yes => exchange.gather(&granted.action).await,
        Wanted::No => None,
    };
    let ready = match again::decide(gate, granted, gathered).await? {
        Again::Ready(ready) => *ready,
        Again::Over => return Ok(ControlFlow::Continue(exchange)),
        Again::NotNow(refusal) => return refused(gate, id, refusal).await.map(ControlFlow::Break),
    };
    // Policy may ask for it only since people were asked.
    if ready.keeps.is_some() && !exchange.keeps_results() {
        return refused(gate, id, record::not_kept()).await.map(ControlFlow::Break);
    }
    if let Err(failed) = exchange.connect().await {
        return refused(gate, id, unreachable(&failed)).await.map(ControlFlow::Break);
    }
    // In a task of its own: a caller who leaves in the middle must not leave a consumed grant without an end.
    let begun = tokio::spawn(begin(Arc::clone(gate), ready));
    let (clearance, mut ending) = match begun.await.map_err(|_| CommitError::Lost)?? {
        Started::Begun(clearance, ending) => (clearance, ending),
        Started::Frozen(refusal) => return refused(gate, id, refusal).await.map(ControlFlow::Break),
        Started::TooLate => return Ok(ControlFlow::Continue(exchange)),
    };
    ending.sending();
    match exchange.send(clearance, ending).await {
        Ok(reply) => Ok(ControlFlow::Break(Reply::Live(reply))),
        Err(failed) => refused(gate, id, broken(&failed)).await.map(ControlFlow::Break),
    }
}

async fn refused<R>(gate: &Gate, id: ApprovalId, refusal: Refusal) -> Result<Reply<R>, Error> {
    let (hold, _) = hold::load(gate, id).await?;
    let link = Some(gate.approval_link(id));
    Ok(Reply::Refused(Refused { refusal, action: Some(hold.action()), approval: Some(id), link }))
}

enum Started {
    Begun(Clearance, Ending),
    Frozen(Refusal),
    TooLate,
}

async fn begin(gate: Arc<Gate>, ready: Ready) -> Result<Started, Error> {
    Ok(match approved::begin(&gate, ready).await? {
        Beginning::Begun(clearance, begun) => {
            let attempt = Box::new(Attempt { gate, begun, sent: Sent::No });
            Started::Begun(clearance, Ending(Duty::Approved(attempt)))
        }
        Beginning::Frozen(refusal) => Started::Frozen(refusal),
        Beginning::TooLate => Started::TooLate,
    })
}

/// An approved action under way on its requester's own exchange.
#[derive(Debug)]
pub(super) struct Attempt {
    gate: Arc<Gate>,
    begun: Box<Begun>,
    /// What is known should it be let go.
    sent: Sent,
}

impl Attempt {
    pub(super) async fn end(self, facts: EndFacts, undelivered: Option<Kept>) -> Result<(), Error> {
        let end = match undelivered {
            None => End { facts, delivery: Delivery::Delivered, answer: None },
            Some(kept) if kept.body.is_some() => End { facts, delivery: Delivery::Kept, answer: Some(kept) },
            Some(_) => End { facts, delivery: Delivery::NotKept, answer: None },
        };
        self.finish(Ok(end), None).await
    }

    pub(super) async fn failed(self, failed: Failed, results: Option<KeptResults>) -> Result<(), Error> {
        self.finish(Err(failed), results).await
    }

    /// In a task of its own: the end is recorded whether or not the caller stays for it.
    async fn finish(self, ran: Result<End, Failed>, lost: Option<KeptResults>) -> Result<(), Error> {
        let finished = tokio::spawn(async move { self.begun.finish(&self.gate, ran, lost).await });
        finished.await.map_err(|_| CommitError::Lost)?
    }

    /// Nobody said how it ended: records what is known.
    pub(super) async fn abandon(self) {
        let why = match self.sent {
            Sent::No => "the caller left before anything was sent",
            Sent::Maybe => "the exchange was let go before it ended",
        };
        let (sent, action) = (self.sent, self.begun.hold.action());
        if let Err(error) = self.failed(Failed { sent, why: why.into() }, None).await {
            tracing::error!(%action, error = %record::chain(&error), "the end of an execution was not recorded");
        }
    }
}

impl Ending {
    /// From here on bytes may have gone out.
    fn sending(&mut self) {
        if let Duty::Approved(attempt) = &mut self.0 {
            attempt.sent = Sent::Maybe;
        }
    }
}
