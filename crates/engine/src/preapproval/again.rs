//! Looking once more, before something runs, at the tickets that it was approved in: they may have been taken back, changed or
//! run out of time since.

use super::{
    Counted, Failing,
    judge::{self, Turns},
};
use crate::{
    error::Error,
    gate::Gate,
    hold::{self, Hold},
};
use countersign_core::{
    Action, Assurance, GateName, PersonId, TicketCheck, Timestamp, decision::Gate as ShutGate,
};
use std::{collections::BTreeSet, time::Duration};

/// What was read so lately is not read again.
const FRESH: Duration = Duration::from_secs(10);
/// How often a system that cannot be reached is asked again before people are, and after how long.
const TRIES: usize = 3;
const PAUSE: Duration = Duration::from_millis(500);

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
        // A gateway may have ended before people were asked again.
        let known = named.lost.iter().filter(|counted| rests(held, counted));
        lost.extend(known.map(|counted| (counted.gate.clone(), counted.by)));
        let mut good: Vec<&Counted> = Vec::new();
        for counted in named.votes.iter().filter(|counted| rests(held, counted)) {
            // One look is for all votes that it was counted with.
            let known = good.iter().any(|one| (one.by, &one.vote) == (counted.by, &counted.vote));
            let held_once = async {
                takes(counted, wanted)?;
                if known { Ok(()) } else { holds(gate, held, action, counted).await }
            };
            match held_once.await {
                Ok(()) => good.push(counted),
                Err(failing) => {
                    lose(gate, held, (&named.claimed, counted), &failing).await?;
                    lost.insert((counted.gate.clone(), counted.by));
                }
            }
        }
    }
    Ok(lost)
}

/// Takes a vote's ticket away, and says which check it failed.
async fn lose(
    gate: &Gate,
    held: &Hold,
    (claimed, counted): (&str, &Counted),
    failing: &Failing,
) -> Result<(), Error> {
    let id = held.approval.id;
    let revised = hold::revise(gate, id, |hold, now| {
        let named = hold.name(claimed, now)?;
        named.votes.retain(|vote| vote != counted);
        named.lost.push(counted.clone());
        named.looked(now);
        Ok(named.fails(id, failing, Some(counted.gate.clone()), now))
    });
    revised.await?.ok();
    Ok(())
}

/// Whether a vote of the newest round of its gate rests on the ticket still: a stronger one of the same person needs none.
fn rests(held: &Hold, counted: &Counted) -> bool {
    let of_the_gate =
        |round: &&countersign_core::approval::Round| round.gates.iter().any(|gate| gate.name == counted.gate);
    let newest = held.approval.rounds.iter().rev().find(of_the_gate);
    let round = newest.filter(|round| round.number == counted.round);
    let vote = round.and_then(|round| round.votes.get(&counted.gate)?.get(&counted.by));
    vote.is_some_and(|vote| vote.assurance == Assurance::Chat)
}

fn failing(counted: &Counted, check: TicketCheck, why: &str) -> Failing {
    let (channel, ticket) = (Some(counted.channel.clone()), Some(counted.vote.ticket.clone()));
    Failing { channel, ticket, check, why: why.to_owned() }
}

/// Whether its gate takes such tickets still.
fn takes(counted: &Counted, wanted: &[ShutGate]) -> Result<(), Failing> {
    let takes = |shut: &ShutGate| shut.name != counted.gate || shut.tickets.contains(&counted.channel);
    if wanted.iter().all(takes) {
        return Ok(());
    }
    Err(failing(counted, TicketCheck::Policy, "policy does not take it any more"))
}

async fn holds(gate: &Gate, held: &Hold, action: &Action, counted: &Counted) -> Result<(), Failing> {
    let Counted { channel, vote, by, .. } = counted;
    let failing = |check, why: &str| failing(counted, check, why);
    let now = gate.now();
    if is_over(counted, now) {
        return Err(failing(TicketCheck::Time, "its time is over"));
    }
    if now.since(vote.read_at) < FRESH {
        return Ok(());
    }
    let gone = || failing(TicketCheck::Policy, "nothing is connected to its system any more");
    let system = gate.tickets().of(channel).ok_or_else(gone)?;
    let mut tries = 0;
    let read = loop {
        tries += 1;
        match judge::read(gate, (channel, system), (&vote.ticket, &held.attach_key), action, Turns::Again)
            .await
        {
            // People are asked again when it is down, not when it was for a moment.
            Err(not) if not.check == TicketCheck::Reached && tries < TRIES => tokio::time::sleep(PAUSE).await,
            read => break read,
        }
    };
    let judged = read.map_err(|not| failing(not.check, &not.why))?;
    if judged.bound.person != *by {
        return Err(failing(TicketCheck::Approver, "somebody else has approved it since"));
    }
    if judged.found.id != vote.id {
        return Err(failing(TicketCheck::Found, "another ticket has its key now"));
    }
    Ok(())
}

fn is_over(counted: &Counted, now: Timestamp) -> bool {
    counted.vote.until.is_some_and(|until| now >= until)
}
