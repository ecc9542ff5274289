//! Whether a named ticket is for this action, and approved by somebody whom we know: everything but whether they may decide here.

use super::{Failing, LOOK_FOR};
use crate::{
    error::Error,
    execute,
    gate::Gate,
    hold::Hold,
    port::{
        identity::{Bound, ChannelUser},
        ticket::{Found, NotVouched, Tickets},
    },
    read::holds_with,
    record,
};
use countersign_core::{
    Action, ChannelName, Digest, PrincipalId, TicketCheck, TicketKey, Timestamp,
    decision::Gate as ShutGate,
    ticket::{Effect, Scope},
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// How far a ticket system's clock may be ahead of ours.
const SKEW: Duration = Duration::from_mins(5);

/// Whose turn it is to look something up.
#[derive(Clone, Copy, Debug)]
pub(super) enum Turns {
    /// A requester's, who has named it.
    Of(PrincipalId),
    /// Something is about to run.
    Again,
}

/// A ticket that is for an action, and who approved it.
pub(super) struct Judged {
    pub(super) channel: ChannelName,
    pub(super) system: &'static str,
    pub(super) origin: String,
    pub(super) ticket: TicketKey,
    pub(super) found: Found,
    pub(super) bound: Bound,
    pub(super) scope: Scope,
    /// Within what time it holds.
    pub(super) from: Option<Timestamp>,
    pub(super) until: Timestamp,
    pub(super) read_at: Timestamp,
}

/// Looks a ticket up, and whether it is for what is held.
pub(super) async fn judge(gate: &Gate, hold: &Hold, claimed: &str) -> Result<Result<Judged, Failing>, Error> {
    let fail = |check, why: String| Failing { channel: None, ticket: None, check, why };
    let Ok(ticket) = claimed.parse::<TicketKey>() else {
        let why = "what was named is no key of a ticket, such as `OPS-12` or `CHG0030001`".to_owned();
        return Ok(Err(fail(TicketCheck::Name, why)));
    };
    let places = match places(gate, hold, &ticket) {
        Ok(places) => places,
        Err(why) => return Ok(Err(Failing { ticket: Some(ticket), ..fail(TicketCheck::Policy, why) })),
    };
    let action = execute::stored_action(gate, hold).await?;
    let turns = Turns::Of(hold.principal);
    let mut failing = fail(TicketCheck::Found, "there is no such ticket".into());
    for (channel, system) in &places {
        match read(gate, (channel, system), (&ticket, &hold.attach_key), &action, turns).await {
            Ok(judged) => return Ok(Ok(judged)),
            Err(not) => {
                let elsewhere = not.check == TicketCheck::Found;
                let (channel, ticket) = (Some(channel.clone()), Some(ticket.clone()));
                failing = Failing { channel, ticket, check: not.check, why: not.why };
                // The first that has it says what becomes of it.
                if !elsewhere {
                    break;
                }
            }
        }
    }
    Ok(Err(failing))
}

/// A channel, and what looks up tickets there.
type Place = (ChannelName, Arc<dyn Tickets>);

/// The channels that a shut gate takes tickets of, and that could have this one.
fn places(gate: &Gate, hold: &Hold, ticket: &TicketKey) -> Result<Vec<Place>, String> {
    let channels: BTreeSet<&ChannelName> =
        open_gates(hold).flat_map(|shut: &ShutGate| &shut.tickets).collect();
    if channels.is_empty() {
        return Err("policy takes no ticket at a gate that is shut".into());
    }
    let known = channels.into_iter().filter_map(|channel| Some((channel, gate.tickets().of(channel)?)));
    let could = known.filter(|(_, system)| system.could_be(ticket));
    let places: Vec<_> = could.map(|(channel, system)| (channel.clone(), Arc::clone(system))).collect();
    if places.is_empty() {
        return Err("it is a ticket of none of the places whose tickets policy takes here".into());
    }
    Ok(places)
}

/// The gates that still wait, in this round.
pub(super) fn open_gates(hold: &Hold) -> impl Iterator<Item = &ShutGate> {
    let round = hold.approval.round();
    round.into_iter().flat_map(|round| round.gates.iter().filter(|shut| !round.lifted(shut)))
}

/// Reads a ticket and holds it against an action: everything but whether its approver may decide, and how often it was used.
pub(super) async fn read(
    gate: &Gate,
    (channel, system): (&ChannelName, &Arc<dyn Tickets>),
    (ticket, attach_key): (&TicketKey, &str),
    action: &Action,
    turns: Turns,
) -> Result<Judged, NotVouched> {
    let found = look_up(gate, system, ticket, turns).await?;
    let digest = action
        .digest()
        .map_err(|_| NotVouched::new(TicketCheck::Scope, "the action has no canonical form"))?;
    let effects = gate.policies().current().effects(action).unwrap_or_default();
    let scope = covered(&found, action, (&digest, &effects))?;
    let read_at = gate.now();
    let (from, until) = holds(&found, &scope, system.good_for(), read_at)?;
    if was_refused_since(gate, attach_key, found.approved_at).await? {
        let why = "somebody said no to this very action since it was approved";
        return Err(NotVouched::new(TicketCheck::State, why));
    }
    let Some(bound) = gate.identity().bound(channel, &found.approver) else {
        invite(gate, channel, system, &found);
        let why = "nobody here is known to be whoever approved it; they were sent a link to say so, and may approve it anew";
        return Err(NotVouched::new(TicketCheck::Approver, why));
    };
    // Whoever could not speak then has said nothing then.
    if bound.since > found.approved_at {
        let why = "whoever approved it was not known here then; they may approve it anew";
        return Err(NotVouched::new(TicketCheck::Approver, why));
    }
    let (channel, ticket) = (channel.clone(), ticket.clone());
    let (system, origin) = (system.system(), system.origin());
    Ok(Judged { channel, system, origin, ticket, found, bound, scope, from, until, read_at })
}

/// Bounded in time, and in how many are looked up at once: a slow system holds up its own tickets and nothing else.
async fn look_up(
    gate: &Gate,
    system: &Arc<dyn Tickets>,
    ticket: &TicketKey,
    turns: Turns,
) -> Result<Found, NotVouched> {
    let systems = gate.tickets();
    let looked = async {
        let over = |_| NotVouched::new(TicketCheck::Reached, "nothing is looked up any more");
        let (own, all) = match turns {
            Turns::Of(principal) => (Some(systems.turns_of(principal)), &systems.looks),
            Turns::Again => (None, &systems.again),
        };
        let _own = match &own {
            Some(own) => Some(own.acquire().await.map_err(over)?),
            None => None,
        };
        let _turn = all.acquire().await.map_err(over)?;
        system.look_up(ticket).await
    };
    let late = |_| {
        let why = format!("it was not read within {} s", LOOK_FOR.as_secs());
        NotVouched::new(TicketCheck::Reached, why)
    };
    tokio::time::timeout(LOOK_FOR, looked).await.map_err(late)?
}

/// Whether people said no to this action of this requester, or took it back, since a moment: an older yes is not to override
/// that. Whoever cannot find it out counts nothing.
async fn was_refused_since(gate: &Gate, attach_key: &str, moment: Timestamp) -> Result<bool, NotVouched> {
    let found = holds_with(gate, ("refused", attach_key)).await;
    let found = found.map_err(|error| {
        tracing::error!(error = %record::chain(&error), "earlier approvals could not be read");
        NotVouched::new(TicketCheck::State, "what became of this action before could not be read")
    })?;
    Ok(found.iter().any(|(hold, _)| hold.closed_at.is_none_or(|at| at >= moment)))
}

fn covered(
    found: &Found,
    action: &Action,
    (digest, effects): (&Digest, &[Effect]),
) -> Result<Scope, NotVouched> {
    let scope =
        Scope::find(&found.text).map_err(|error| NotVouched::new(TicketCheck::Scope, error.to_string()))?;
    scope
        .covers(action, digest, effects)
        .map_err(|error| NotVouched::new(TicketCheck::Scope, error.to_string()))?;
    Ok(scope)
}

/// From when until when it holds, where that is now.
pub(super) fn holds(
    found: &Found,
    scope: &Scope,
    good_for: Duration,
    now: Timestamp,
) -> Result<(Option<Timestamp>, Timestamp), NotVouched> {
    let not = |why: &str| Err(NotVouched::new(TicketCheck::Time, why));
    if found.approved_at > now.plus(SKEW) {
        return not("by its system's clock it was approved in the time to come");
    }
    let aged = found.approved_at.plus(good_for);
    if now >= aged {
        return not("it was approved too long ago");
    }
    let from = found.from.max(scope.from);
    let until = [found.until, scope.until].into_iter().flatten().fold(aged, Timestamp::min);
    if from.is_some_and(|from| now < from) {
        return not("its time has not come yet");
    }
    if now >= until {
        return not("its time is over");
    }
    Ok((from, until))
}

/// Has the approver told, alone and in a task of its own, how they say whose word theirs is.
fn invite(gate: &Gate, channel: &ChannelName, system: &Arc<dyn Tickets>, found: &Found) {
    let user = ChannelUser {
        channel: channel.clone(),
        user: found.approver.clone(),
        name: found.approver_name.clone(),
    };
    let Ok(offer) = gate.identity().offer_binding(user) else { return };
    let (system, found) = (Arc::clone(system), found.clone());
    tokio::spawn(async move {
        let told = tokio::time::timeout(LOOK_FOR, system.invite(&found, &offer.link)).await;
        if !matches!(told, Ok(Ok(()))) {
            tracing::warn!("the approver of a ticket could not be told how to be bound");
        }
    });
}
