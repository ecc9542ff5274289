//! Fetches the events of transmitters that do not push (RFC 8936). What an event ends is ended before it is acknowledged.

use countersign_engine::{Gate, depart};
use countersign_identity::{Answered, Directory, Heard, SignalError};
use std::{sync::Arc, time::Duration};

/// The longest pause after failures.
const LONGEST: Duration = Duration::from_mins(5);

pub(super) async fn fetch(gate: Arc<Gate>, directory: Arc<Directory>, transmitter: String, every: Duration) {
    let mut answered = Answered::default();
    let mut pause = every;
    loop {
        match directory.poll(&transmitter, &answered).await {
            Ok(fetched) => {
                pause = every;
                answered = Answered::default();
                for (id, token) in &fetched.tokens {
                    hear(&gate, &directory, &transmitter, (id, token), &mut answered).await;
                }
                // What was not taken now is there again: it waits for the next turn.
                if fetched.more && !answered.is_empty() {
                    continue;
                }
            }
            Err(_) => pause = pause.saturating_mul(2).clamp(every, LONGEST.max(every)),
        }
        tokio::time::sleep(pause).await;
    }
}

async fn hear(
    gate: &Gate,
    directory: &Directory,
    transmitter: &str,
    (id, token): (&String, &str),
    answered: &mut Answered,
) {
    match directory.hear_polled(transmitter, token).await {
        Ok(Heard::Nothing) => answered.taken.push(id.clone()),
        Ok(Heard::Distrust { person, until }) => match depart::distrust(gate, person, until).await {
            Ok(_) => answered.taken.push(id.clone()),
            Err(error) => {
                tracing::error!(%error, transmitter, "what rests on a signal could not be taken back");
            }
        },
        Err(SignalError::Refused { code, why }) => {
            tracing::warn!(transmitter, why, "a signal was refused");
            answered.refused.push((id.clone(), code, why.to_owned()));
        }
        Err(error) => tracing::warn!(%error, transmitter, "a signal could not be looked at"),
    }
}
