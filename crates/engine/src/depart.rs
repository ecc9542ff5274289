//! What rests on somebody's word is taken back: they have left, or what was done in their name up to a moment is not to be
//! trusted. Whether they count from now on is the directory's to say; this is for what was decided before.

use crate::{
    error::Error,
    gate::Gate,
    hold::{self, Hold, Write},
    read, settle,
};
use countersign_core::{
    ApprovalId, PersonId, Timestamp,
    approval::{CastVote, Event as Step, State, Taker},
};
use countersign_ledger::event::{Actor, Event};

const LEFT: &str = "somebody whose word it rested on has left";
const DISTRUSTED: &str = "what somebody whose word it rested on did is not to be trusted";
const FOR_THEM: &str = "somebody it was asked for is not to be trusted at present";

/// What was taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Departed {
    /// Approvals that wait without this person's votes now.
    pub withdrawn: usize,
    /// Approvals that were granted and will not run, or were stopped while they ran.
    pub revoked: usize,
}

/// What of a person's is taken back.
#[derive(Clone, Copy)]
struct Taken {
    person: PersonId,
    /// Votes up to this moment; `None`: all.
    until: Option<Timestamp>,
    why: &'static str,
}

/// Takes back what rests on a person's word and has not run. What runs goes on; who stands on the requester's side there is
/// looked at when it is asked for again.
pub async fn depart(gate: &Gate, person: PersonId) -> Result<Departed, Error> {
    let taken = Taken { person, until: None, why: LEFT };
    let mut departed = Departed::default();
    for (hold, _) in read::holds_with(gate, ("open", "yes")).await? {
        if taken.holds_up(&hold) {
            taken.take_back(gate, hold.approval.id, &mut departed).await?;
        }
    }
    Ok(departed)
}

/// Somebody's sessions or credentials are in other hands, or may be: votes they cast up to that moment are taken back, and
/// what rests on them is revoked, and stopped
/// where it runs, as is what is done for them. What they do afterwards counts.
pub async fn distrust(gate: &Gate, person: PersonId, until: Timestamp) -> Result<Departed, Error> {
    let taken = Taken { person, until: Some(until), why: DISTRUSTED };
    let mut departed = Departed::default();
    gate.running.cancel_for(person);
    for (hold, _) in read::holds_with(gate, ("open", "yes")).await? {
        let id = hold.approval.id;
        if hold.is_for(person) && hold.approval.requested_at <= until {
            departed.revoked += usize::from(revoke(gate, id, FOR_THEM).await?);
        } else if taken.holds_up(&hold) {
            taken.take_back(gate, id, &mut departed).await?;
        }
    }
    Ok(departed)
}

impl Taken {
    /// Whether a vote or a break-glass of theirs, or one cast in their place, lifts a gate of it.
    fn holds_up(&self, hold: &Hold) -> bool {
        let in_time = |at: Timestamp| self.until.is_none_or(|until| at <= until);
        hold.approval.rounds.iter().any(|round| {
            let broken = round.broken.as_ref();
            let broke = broken.is_some_and(|broken| broken.by == self.person && in_time(broken.at));
            let mut votes = round.votes.values().flatten();
            let theirs = |voter: PersonId, cast: &CastVote| {
                voter == self.person || cast.on_behalf_of == Some(self.person)
            };
            broke || votes.any(|(voter, cast)| theirs(*voter, cast) && in_time(cast.at))
        })
    }

    async fn take_back(&self, gate: &Gate, id: ApprovalId, departed: &mut Departed) -> Result<(), Error> {
        let (hold, _) = hold::load(gate, id).await?;
        if matches!(hold.approval.state, State::Pending) && withdraw(gate, id, self.person).await? {
            departed.withdrawn += 1;
            return Ok(());
        }
        // Granted, or just now: as it is at this moment.
        let (hold, _) = hold::load(gate, id).await?;
        let takes = match hold.approval.state {
            State::Granted { .. } => true,
            State::Executing(_) => self.until.is_some(),
            State::Pending | State::Closed(_) => false,
        };
        if takes && revoke(gate, id, self.why).await? {
            departed.revoked += 1;
        }
        Ok(())
    }
}

async fn revoke(gate: &Gate, id: ApprovalId, why: &str) -> Result<bool, Error> {
    Ok(settle::revoke(gate, id, Taker::Policy, why).await?.is_ok())
}

/// False: it does not wait any more, or they had no vote in the open round.
async fn withdraw(gate: &Gate, approval: ApprovalId, person: PersonId) -> Result<bool, Error> {
    let revised = hold::revise(gate, approval, |hold, now| {
        hold.step(Step::Leave { voter: person }, now)?;
        Ok(Write::by(Actor::Gateway).event(Event::ApprovalVotesWithdrawn { approval, person }))
    });
    Ok(revised.await?.is_ok())
}
