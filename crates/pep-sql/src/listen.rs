//! Listeners for agents. Nothing here looks into a message.

use crate::{
    config::PostgresTarget,
    error::ServeError,
    session::{self, Door, Slots},
    understand::{Reader, ReaderLimits},
};
use countersign_engine::Gate;
use countersign_pep::{Doors, sharing};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Connections beside those of sessions: who has not said who it is, cancel requests, and who is told that there is no room.
const BESIDE: usize = 100;

/// Opens a listener for every address. Targets with the same address share one.
pub async fn listen(
    doors: &mut Doors,
    gate: Arc<Gate>,
    targets: Vec<PostgresTarget>,
) -> Result<(), ServeError> {
    if targets.is_empty() {
        return Ok(());
    }
    let reader = Reader::start(ReaderLimits::default()).map_err(ServeError::Threads)?;
    let slots = Slots::default();
    for group in sharing(targets, |target| target.listen) {
        let Some(first) = group.first() else { continue };
        let (addr, connections) = (first.listen, first.limits.connections);
        let names: Vec<_> = group.iter().map(|target| target.name().clone()).collect();
        let door = Door {
            gate: Arc::clone(&gate),
            reader: reader.clone(),
            targets: group,
            slots: slots.clone(),
            room: Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))),
            stopping: doors.shutdown(),
        };
        let connections = connections.saturating_add(BESIDE).min(Semaphore::MAX_PERMITS);
        doors.bind(addr, names, connections, move |stream| session::serve(door.clone(), stream)).await?;
    }
    Ok(())
}
