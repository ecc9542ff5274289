//! Reading private values leaves a trace too. The same reader looking at the same thing again within a while adds
//! nothing, so that a page that refreshes itself does not fill the ledger.

use crate::{
    caller::Caller,
    console::{Console, actor},
    error::Problem,
};
use countersign_core::Timestamp;
use countersign_engine::{
    journal::{JournalError, Note},
    port::store::CommitError,
};
use countersign_ledger::event::Event;
use parking_lot::Mutex;
use std::{collections::HashMap, time::Duration};

/// How long one trace stands for what is read again.
const WHILE: Duration = Duration::from_mins(10);
/// How many traces are remembered.
const MOST: usize = 10_000;

/// What was traced lately.
#[derive(Debug, Default)]
pub(crate) struct Readings(Mutex<HashMap<String, Timestamp>>);

impl Readings {
    /// Whether this has not been traced lately; from now on it has.
    pub(crate) fn begin(&self, what: &str, now: Timestamp) -> bool {
        let mut known = self.0.lock();
        if known.get(what).is_some_and(|at| now.since(*at) < WHILE) {
            return false;
        }
        if known.len() >= MOST {
            known.retain(|_, at| now.since(*at) < WHILE);
        }
        if known.len() < MOST {
            known.insert(what.to_owned(), now);
        }
        true
    }
}

/// Writes into the ledger that this caller read something. `what` names it and holds no private text. While the disk
/// is full the console stays readable, as nothing can run then either.
pub(crate) async fn read(console: &Console, caller: &Caller, what: String) -> Result<(), Problem> {
    let now = console.gate().now();
    let key = format!("{:?} {what}", caller.author);
    if !console.readings().begin(&key, now) {
        return Ok(());
    }
    let note = Note::new(actor(caller.author), Event::LedgerRead { what });
    match console.gate().journal().commit(Vec::new(), vec![note]).await {
        Ok(_) => Ok(()),
        Err(JournalError::Commit(CommitError::Full | CommitError::Poisoned(_))) => {
            tracing::warn!("a reading could not be recorded: the store accepts nothing");
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_reading_is_traced_once_in_a_while() {
        let readings = Readings::default();
        let start = Timestamp(1);
        assert!(readings.begin("ana history", start));
        assert!(!readings.begin("ana history", start.plus(Duration::from_secs(599))));
        assert!(readings.begin("ben history", start));
        assert!(readings.begin("ana history", start.plus(WHILE)));
    }
}
