//! Looking once more, before something runs, at the tickets that it was approved in: they may have been taken back, changed or
//! run out of time since.

use super::{Counted, Failing, TicketStand, failed, judge};
use crate::{error::Error, gate::Gate, hold::Hold};
use countersign_core::{
    Action, Assurance, GateName, PersonId, TicketCheck, Timestamp, decision::Gate as ShutGate,
};
use std::{collections::BTreeSet, time::Duration};

/// What was read so lately is not read again.
const FRESH: Duration = Duration::from_secs(10);

/// Votes that do not count any more, because their tickets do not. Each is recorded with the check that failed. `wanted` are the
/// gates as policy has them now.
pub(crate) async fn lost(
    gate: &Gate,
    held: &Hold,
    action: &Action,
    wanted: &[ShutGate],
) -> Result<BTreeSet<(GateName, PersonId)>, Error> {
    let mut lost = BTreeSet::new();
    for named in &held.tickets {
        let TicketStand::Counted(counted) = &named.stands else { continue };
        let still = stands(held, counted);
        if still.is_empty() {
            continue;
        }
        if let Err(failing) = holds(gate, action, counted, wanted).await {
            failed(gate, held.approval.id, &named.claimed, &failing).await?;
            lost.extend(still.into_iter().map(|gate| (gate, counted.by)));
        }
    }
    Ok(lost)
}

/// At which gates it is still the ticket that a vote rests on: a stronger vote of the same person needs none.
fn stands(held: &Hold, counted: &Counted) -> BTreeSet<GateName> {
    let rests = |(name, number): &(&GateName, &u32)| {
        let round = held.approval.rounds.iter().find(|round| round.number == **number);
        let votes = round.and_then(|round| round.votes.get(*name));
        let vote = votes.and_then(|votes| votes.get(&counted.by));
        vote.is_some_and(|vote| vote.assurance == Assurance::Chat)
    };
    counted.gates.iter().filter(rests).map(|(name, _)| name.clone()).collect()
}

async fn holds(gate: &Gate, action: &Action, counted: &Counted, wanted: &[ShutGate]) -> Result<(), Failing> {
    let Counted { channel, vote, by, .. } = counted;
    let failing = |check, why: String| Failing {
        channel: Some(channel.clone()),
        ticket: Some(vote.ticket.clone()),
        check,
        why,
    };
    let takes = |shut: &ShutGate| !counted.gates.contains_key(&shut.name) || shut.tickets.contains(channel);
    if !wanted.iter().all(takes) {
        return Err(failing(TicketCheck::Policy, "policy does not take it any more".into()));
    }
    let now = gate.now();
    if is_over(counted, now) {
        return Err(failing(TicketCheck::Time, "its time is over".into()));
    }
    if now.since(vote.read_at) < FRESH {
        return Ok(());
    }
    let gone = || failing(TicketCheck::Policy, "nothing is connected to its system any more".into());
    let system = gate.tickets().of(channel).ok_or_else(gone)?;
    let read = judge::read(gate, (channel, system), &vote.ticket, action).await;
    let judged = read.map_err(|not| failing(not.check, not.why))?;
    if judged.bound.person != *by {
        return Err(failing(TicketCheck::Approver, "somebody else has approved it since".into()));
    }
    if judged.found.id != vote.id {
        return Err(failing(TicketCheck::Found, "another ticket has its key now".into()));
    }
    Ok(())
}

fn is_over(counted: &Counted, now: Timestamp) -> bool {
    counted.vote.until.is_some_and(|until| now >= until)
}
