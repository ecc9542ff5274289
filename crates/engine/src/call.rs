//! Calling people again while nobody decides: reminders, and further channels. Each is an entry, committed with what is to
//! be told, so that none is lost or made twice over a restart; none of them decides anything.

use crate::{
    error::Error,
    gate::Gate,
    hold::{self, Hold, Write},
    outbox::{Call, Calls, Facts, Plan},
};
use countersign_core::{
    Action, ApprovalId, Timestamp,
    approval::{Refused, Round, State},
    decision::Gate as ShutGate,
};
use countersign_ledger::event::{Actor, Event};
use std::collections::BTreeMap;

/// Who is told of an action that these gates hold.
pub(crate) fn plan(gate: &Gate, action: &Action, gates: &[ShutGate]) -> Plan {
    let (target, environment, class) = (&action.target, &action.environment, action.operation.class);
    gate.channels().plan(&Facts { target, environment, class, gates })
}

/// Calls everybody whose turn it is.
pub(crate) async fn make(gate: &Gate, id: ApprovalId) -> Result<(), Error> {
    let revised = hold::revise(gate, id, |hold, now| {
        let mut write = Write::by(Actor::Gateway);
        while let Some((_, call)) = hold.next_call().filter(|(moment, _)| *moment <= now) {
            hold.call(&call, now);
            write = write.event(event(id, call));
        }
        let late = hold.approval.next_deadline().is_none_or(|deadline| deadline <= now);
        if write.events.is_empty() || late { Err(Refused::OutOfOrder("silent")) } else { Ok(write) }
    });
    // Refused: somebody decided meanwhile, or time did.
    revised.await?.ok();
    Ok(())
}

fn event(approval: ApprovalId, call: Call) -> Event {
    match call {
        Call::Remind { reminder } => Event::ApprovalReminded { approval, reminder },
        Call::Escalate { step, channels } => Event::ApprovalEscalated { approval, step, channels },
    }
}

impl Hold {
    /// The next call of people, and when; `None` when nobody is called again.
    pub fn next_call(&self) -> Option<(Timestamp, Call)> {
        let round = self.approval.round().filter(|_| self.approval.state == State::Pending)?;
        self.calls.next(silent_since(round)).filter(|(moment, _)| *moment < round.deadline)
    }

    /// A round begins: whoever its plan names is told from now on.
    pub(crate) fn follow(&mut self, plan: Plan) {
        self.tell_also(plan.channels.iter().map(ToString::to_string));
        self.calls = Calls::new(plan);
        self.calls.heard_from = self.heard_from();
    }

    /// When the first channel is told of the newest round, where all of them are told later.
    fn heard_from(&self) -> Option<Timestamp> {
        let round = self.approval.round()?;
        let (opened, plan) = (round.opened_at, &self.calls.plan);
        let told = |channel: &String| plan.release(channel, opened, (opened, round.deadline));
        let moments: Option<Vec<Timestamp>> = self.notify.iter().map(told).collect();
        moments?.into_iter().min()
    }

    pub(crate) fn tell_also(&mut self, channels: impl IntoIterator<Item = String>) {
        for channel in channels {
            if !self.notify.contains(&channel) {
                self.notify.push(channel);
            }
        }
    }

    fn call(&mut self, call: &Call, now: Timestamp) {
        if let Call::Escalate { channels, .. } = call {
            self.tell_also(channels.iter().map(ToString::to_string));
        }
        self.calls.made(call, now);
    }
}

/// When somebody last decided something about it, or it was last asked.
fn silent_since(round: &Round) -> Timestamp {
    let votes = round.votes.values().flat_map(BTreeMap::values);
    votes.map(|vote| vote.at).fold(round.opened_at, Timestamp::max)
}
