//! Reads that policy permits to be recorded afterwards: both of their entries wait in [`crate::late`], and nobody waits
//! for them.

use super::{Clearance, Duty, EndFacts, Ending, Recorded, authorization, broken, ended, failure};
use crate::{
    error::Error,
    gate::{Gate, actor_of},
    journal::Note,
    late::Places,
    port::upstream::{Exchange, Failed},
    record,
    reply::{Refused, Reply},
    running::Place,
};
use countersign_core::{Action, ActionId, Digest, Timestamp, decision::Basis};
use countersign_ledger::{
    entry::PrivateField,
    event::{Actor, Event, Recording},
};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// A read under way, with the place of its last entry.
#[derive(Debug)]
pub(super) struct Deferred {
    gate: Arc<Gate>,
    places: Places,
    action: ActionId,
    actor: Actor,
    last_leaf: Digest,
    began_at: Timestamp,
    _place: Place,
}

pub(super) async fn run<E: Exchange>(
    gate: &Arc<Gate>,
    mut action: Action,
    basis: Basis,
    mut places: Places,
    (place, cancel): (Place, CancellationToken),
    mut exchange: E,
) -> Result<Reply<E::Reply>, Error> {
    let row = gate.journal().row(authorization(gate, &action, basis, Recording::Deferred)?)?;
    let last_leaf = Digest(row.sealed.leaf.0);
    places.put(row);
    let id = action.id;
    let deferred = Deferred {
        gate: Arc::clone(gate),
        places,
        action: id,
        actor: actor_of(&action.requester),
        last_leaf,
        began_at: gate.now(),
        _place: place,
    };
    exchange.unload(&mut action.payload);
    let clearance = Clearance { action: Arc::new(action), cancel, keeps: None, _recorded: Recorded::Soon };
    match exchange.send(clearance, Ending(Duty::Deferred(Box::new(deferred)))).await {
        Ok(reply) => Ok(Reply::Live(reply)),
        Err(failed) => Ok(Reply::Refused(Refused {
            refusal: broken(&failed),
            action: Some(id),
            approval: None,
            link: Some(gate.action_link(id)),
        })),
    }
}

impl Deferred {
    pub(super) fn end(self, facts: EndFacts) -> Result<(), Error> {
        let (event, private) = ended(self.began_at, self.gate.now(), facts);
        self.close(event, private)
    }

    pub(super) fn failed(self, failed: &Failed) -> Result<(), Error> {
        self.close(failure(failed), Vec::new())
    }

    /// Nobody said how it ended.
    pub(super) fn abandon(self) {
        let action = self.action;
        let why = "the exchange was let go before it ended".into();
        if let Err(error) = self.close(Event::ExecutionUnknown { attempt: 1, why }, Vec::new()) {
            tracing::error!(%action, error = %record::chain(&error), "the end of a read was not recorded");
        }
    }

    /// A read that was lost from sight changed nothing, so nobody has to find out what became of it.
    fn close(mut self, event: Event, private: Vec<PrivateField>) -> Result<(), Error> {
        let (action, parent) = (Some(self.action), Some(self.last_leaf));
        let note = Note { action, parent, actor: self.actor.clone(), event, private };
        self.places.put(self.gate.journal().row(note)?);
        Ok(())
    }
}
