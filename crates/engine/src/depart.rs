//! Somebody has left: their votes are taken back, and what they approved and has not run is revoked. They count for
//! nothing from the moment the directory says so; this is for what was decided before.

use crate::{
    error::Error,
    gate::Gate,
    hold::{self, Hold, Write},
    read, settle,
};
use countersign_core::{
    ApprovalId, PersonId,
    approval::{Event as Step, State, Taker},
};
use countersign_ledger::event::{Actor, Event};

const WHY: &str = "somebody whose word it rested on has left";

/// What was taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Departed {
    /// Approvals that wait without this person's votes now.
    pub withdrawn: usize,
    /// Approvals that were granted and will not run.
    pub revoked: usize,
}

/// Takes back what rests on a person's word and has not run. What runs goes on; who stands on the requester's side there is
/// looked at when it is asked for again.
pub async fn depart(gate: &Gate, person: PersonId) -> Result<Departed, Error> {
    let mut departed = Departed::default();
    for (hold, _) in read::holds_with(gate, ("open", "yes")).await? {
        if !rests_on(&hold, person) {
            continue;
        }
        let id = hold.approval.id;
        if matches!(hold.approval.state, State::Pending) && withdraw(gate, id, person).await? {
            departed.withdrawn += 1;
            continue;
        }
        // Granted, or just now: as it is at this moment.
        let (hold, _) = hold::load(gate, id).await?;
        if matches!(hold.approval.state, State::Granted { .. })
            && settle::revoke(gate, id, Taker::Policy, WHY).await?.is_ok()
        {
            departed.revoked += 1;
        }
    }
    Ok(departed)
}

/// Whether a vote or a break-glass of theirs, or one cast in their place, lifts a gate of it.
fn rests_on(hold: &Hold, person: PersonId) -> bool {
    hold.approval.rounds.iter().any(|round| {
        let broke = round.broken.as_ref().is_some_and(|broken| broken.by == person);
        let mut votes = round.votes.values().flatten();
        broke || votes.any(|(voter, cast)| *voter == person || cast.on_behalf_of == Some(person))
    })
}

/// False: it does not wait any more, or they had no vote in the open round.
async fn withdraw(gate: &Gate, approval: ApprovalId, person: PersonId) -> Result<bool, Error> {
    let revised = hold::revise(gate, approval, |hold, now| {
        hold.step(Step::Leave { voter: person }, now)?;
        Ok(Write::by(Actor::Gateway).event(Event::ApprovalVotesWithdrawn { approval, person }))
    });
    Ok(revised.await?.is_ok())
}
