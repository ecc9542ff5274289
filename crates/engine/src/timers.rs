//! Deadlines: what lapses, what expires, who is called again, what was counted. One task, asleep until the next moment that matters.

use crate::{call, error::Error, gate::Gate, hold::Hold, journal::Note, port::store::Kind, record, settle};
use countersign_core::Timestamp;
use countersign_ledger::event::{Actor, Event};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// The longest sleep: a stepped clock is noticed this soon.
const LONGEST: Duration = Duration::from_secs(1);
/// A difference between both clocks beyond this is a step.
const STEP: Duration = Duration::from_secs(2);
/// How often counted refusals are written and undelivered answers looked through.
const SWEEP: Duration = Duration::from_secs(10);

/// Runs until the task is dropped.
pub async fn run(gate: Arc<Gate>) {
    let mut clock = (gate.now(), Instant::now());
    let mut swept = Instant::now();
    loop {
        let wait = gate.holds.next_moment().map_or(LONGEST, |moment| moment.since(gate.now()).min(LONGEST));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = gate.holds.timer.notified() => {}
        }
        let ticked = tick(&gate, &mut clock, &mut swept).await;
        if let Err(error) = ticked {
            tracing::error!(error = %record::chain(&error), "deadlines could not be kept up");
            tokio::time::sleep(LONGEST).await;
        }
    }
}

async fn tick(gate: &Arc<Gate>, clock: &mut (Timestamp, Instant), swept: &mut Instant) -> Result<(), Error> {
    let (now, instant) = (gate.now(), Instant::now());
    let expected = clock.0.plus(instant.duration_since(clock.1));
    if now.since(expected).max(expected.since(now)) > STEP {
        let event = Event::ClockStepped { from: expected, to: now };
        gate.journal().commit(Vec::new(), vec![Note::new(Actor::Gateway, event)]).await?;
    }
    *clock = (now, instant);
    for id in gate.holds.due(now) {
        settle::lapse(gate, id).await?;
    }
    for id in gate.holds.silent(now) {
        call::make(gate, id).await?;
    }
    if swept.elapsed() >= SWEEP {
        *swept = instant;
        record::flush(gate).await?;
        expire_answers(gate, now).await?;
    }
    Ok(())
}

async fn expire_answers(gate: &Gate, now: Timestamp) -> Result<(), Error> {
    let before = now.minus(gate.limits().retention);
    for id in gate.holds.undelivered() {
        let record = gate.store().fetch(Kind::Hold, &id.to_string()).await?;
        let Some(record) = record else { continue };
        let hold = Hold::read(&record)?;
        if hold.closed_at.is_some_and(|closed| closed < before) {
            settle::expire(gate, &hold).await?;
        }
    }
    Ok(())
}
